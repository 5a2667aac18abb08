"""The class of all corruptions."""

from __future__ import annotations

import abc

import torch
from torch import Tensor

from diabolo.data.encoding import Encoded, Encoding
from diabolo.registry import Entry, Registry

__all__ = ["Corruption", "corruptions"]


class Corruption(Entry, abc.ABC):
    """A change of x before the encoder sees it; the distance is to the clean x."""

    @property
    def marks(self) -> bool:
        """Whether the encoder is told which cells are hidden, by one more input for each variable."""
        return False

    @abc.abstractmethod
    def __call__(self, x: Tensor, encoding: Encoding, lead: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Return x̃ [*lead, B, D] for x [B, D]; each member gets its own noise."""

    def hide(
        self, rows: Encoded, encoding: Encoding, lead: tuple[int, ...], generator: torch.Generator
    ) -> Tensor | None:
        """The cells that the encoder may not see, [*lead, B, V] bool, where the distance is to these alone; or None.

        V variables in the order of `Encoding.parents`.
        """
        return None


corruptions: Registry[Corruption] = Registry("corruption", __package__)
