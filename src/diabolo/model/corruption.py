"""What x suffers on its way into the encoder: x → x̃, in training only; the distance is to the clean x."""

from __future__ import annotations

from typing import Annotated, Protocol

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor

from diabolo.data.encoding import Encoding
from diabolo.registry import Registry

__all__ = ["Corruption", "corruptions"]


class Corruption(Protocol):
    name: str

    def __call__(self, x: Tensor, encoding: Encoding, lead: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Return x̃ [*lead, B, D] for x [B, D]; each member gets its own noise."""
        ...


corruptions: Registry[Corruption] = Registry("corruption")


@corruptions.register("none")
class Nothing:
    """x̃ = x."""

    name = "none"

    def __call__(self, x: Tensor, encoding: Encoding, lead: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return x


@corruptions.register("gaussian")
class GaussianNoise:
    """x̃ = x + std · ε, ε ~ N(0, 1), on real columns and angles, in standardised units (Vincent et al. 2010)."""

    name = "gaussian"
    std: Annotated[float, Ge(0)] = 0.3

    def __call__(self, x: Tensor, encoding: Encoding, lead: tuple[int, ...], generator: torch.Generator) -> Tensor:
        noise = torch.zeros(*lead, *x.shape, device=x.device)
        noise[..., : encoding.continuous].normal_(0, self.std, generator=generator)
        return noise.add_(x)


@corruptions.register("mask")
class Mask:
    """x̃ hides each cell with probability `rate` (it enters as 0, the mean) (Vincent et al. 2008)."""

    name = "mask"
    rate: Annotated[float, Gt(0), Lt(1)] = 0.25

    def __call__(self, x: Tensor, encoding: Encoding, lead: tuple[int, ...], generator: torch.Generator) -> Tensor:
        real, angle, boolean = len(encoding.real), len(encoding.angle), len(encoding.boolean)
        drawn = torch.rand(*lead, x.shape[0], real + angle + boolean, device=x.device, generator=generator)
        keep = (drawn >= self.rate).to(x.dtype)
        out = x.expand(*lead, *x.shape).clone()
        out[..., :real] *= keep[..., :real]
        out[..., real : real + angle] *= keep[..., real : real + angle]
        out[..., real + angle : real + 2 * angle] *= keep[..., real : real + angle]
        out[..., real + 2 * angle : real + 2 * angle + boolean] *= keep[..., real + angle :]
        return out
