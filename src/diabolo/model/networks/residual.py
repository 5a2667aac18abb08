"""Networks with skips: each block adds to its input."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from diabolo.model.networks.base import networks
from diabolo.model.networks.operations import Affine, Operation
from diabolo.model.networks.protocol import Shape
from diabolo.registry import Entry

__all__ = ["Block"]


@dataclasses.dataclass(frozen=True)
class Block:
    """y = x + W₂ φ(W₁ n(x) + b₁) + b₂ with n(x) = x / root mean square of x, and φ(h) = h σ(h) (He et al. 2016; Zhang,
    Sennrich 2019, arXiv:1910.07467; Elfwing, Uchibe, Doya 2018).
    """

    width: int

    def shapes(self) -> dict[str, tuple[int, ...]]:
        w = self.width
        return {"weight": (w, w), "bias": (w,), "out_weight": (w, w), "out_bias": (w,)}

    def initialise(self, parameters: Mapping[str, Tensor], generator: torch.Generator) -> None:
        parameters["weight"].normal_(0, math.sqrt(2 / self.width), generator=generator)
        parameters["out_weight"].normal_(0, 0.5 / math.sqrt(self.width), generator=generator)

    @property
    def multiply_adds(self) -> int:
        return 2 * self.width**2

    def __call__(self, x: Tensor, parameters: Iterator[Tensor]) -> Tensor:
        w1, b1, w2, b2 = (next(parameters) for _ in range(4))
        h = x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt()
        return x + functional.linear(functional.silu(functional.linear(h, w1, b1)), w2, b2)


@networks.register("residual")
class ResidualNetwork(Entry):
    """An affine map to the first width, a block of each width that adds to its input, and an affine map out."""

    needs_shape: ClassVar[bool] = False

    def encoder(self, inputs: int, hidden: Sequence[int], outputs: int, shape: Shape | None = None) -> list[Operation]:
        operations: list[Operation] = []
        for width in hidden:
            operations += [Block(width)] if operations and width == inputs else [Affine(inputs, width), Block(width)]
            inputs = width
        return [*operations, Affine(inputs, outputs)]

    decoder = encoder

    def default_hidden(self, inputs: int, shape: Shape | None = None) -> tuple[int, ...]:
        return (128, 128)
