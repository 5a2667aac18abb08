"""Noise on numbers, and none."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from diabolo.data.encoding import Encoding
from diabolo.model.corruption.base import Corruption, corruptions


@corruptions.register("none")
class Nothing(Corruption):
    """x̃ = x."""

    def __call__(self, x: Tensor, encoding: Encoding, lead: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return x


@corruptions.register("gaussian")
class GaussianNoise(Corruption):
    """x̃ = x + std · ε, ε ~ N(0, 1), on real columns and angles, in standardised units (Vincent et al. 2010)."""

    std: Annotated[float, Ge(0)] = 0.3

    def __call__(self, x: Tensor, encoding: Encoding, lead: tuple[int, ...], generator: torch.Generator) -> Tensor:
        noise = torch.zeros(*lead, *x.shape, device=x.device)
        noise[..., : encoding.continuous].normal_(0, self.std, generator=generator)
        return noise.add_(x)
