"""The class of all corruptions."""

from __future__ import annotations

import abc

import torch
from torch import Tensor

from diabolo.data.encoding import Encoding
from diabolo.registry import Entry, Registry

__all__ = ["Corruption", "corruptions"]


class Corruption(Entry, abc.ABC):
    """A change of x before the encoder sees it; the distance is to the clean x."""

    @abc.abstractmethod
    def __call__(self, x: Tensor, encoding: Encoding, lead: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Return x̃ [*lead, B, D] for x [B, D]; each member gets its own noise."""


corruptions: Registry[Corruption] = Registry("corruption", __package__)
