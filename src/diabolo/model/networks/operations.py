"""The operations of a network, which know their parameters' shapes, their first values and their size.

Each takes rows [n, inputs] or images [n, channels, h, w]; `execution.run` adds the leading axes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Affine", "Convolution", "ImageToRow", "Operation", "Rectify", "RowToImage", "TransposedConvolution"]


class Operation(Protocol):
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of its parameters, in the order in which a call takes them."""
        ...

    def initialise(self, parameters: Mapping[str, Tensor], generator: torch.Generator) -> None:
        """Draw the first values of its parameters, which hold zeros, in place."""
        ...

    @property
    def multiply_adds(self) -> int:
        """Multiplications per row, which decide whether a second thread pays."""
        ...

    def __call__(self, x: Tensor, parameters: Iterator[Tensor]) -> Tensor: ...


class _Free:
    """An operation without parameters."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {}

    def initialise(self, parameters: Mapping[str, Tensor], generator: torch.Generator) -> None:
        pass

    @property
    def multiply_adds(self) -> int:
        return 0


@dataclasses.dataclass(frozen=True)
class Affine:
    """y = x Wᵀ + b, with W [*lead, outputs, inputs] and b [*lead, outputs]."""

    inputs: int
    outputs: int
    #: He's gain before a rectifier, 1 before an output.
    gain: float = 1.0

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"weight": (self.outputs, self.inputs), "bias": (self.outputs,)}

    def initialise(self, parameters: Mapping[str, Tensor], generator: torch.Generator) -> None:
        parameters["weight"].normal_(0, self.gain / math.sqrt(self.inputs), generator=generator)

    @property
    def multiply_adds(self) -> int:
        return self.inputs * self.outputs

    def __call__(self, x: Tensor, parameters: Iterator[Tensor]) -> Tensor:
        weight, bias = next(parameters), next(parameters)
        if weight.dim() == 2:
            return functional.linear(x, weight, bias)
        return torch.matmul(x, weight.transpose(-1, -2)) + bias.unsqueeze(-2)


@dataclasses.dataclass(frozen=True)
class Rectify(_Free):
    """max(x, slope · x): ReLU for slope 0, leaky ReLU above."""

    slope: float = 0.0

    def __call__(self, x: Tensor, parameters: Iterator[Tensor]) -> Tensor:
        # In place: the operation before it does not need its own output for the gradient.
        return torch.relu_(x) if self.slope == 0 else functional.leaky_relu_(x, self.slope)


@dataclasses.dataclass(frozen=True)
class RowToImage(_Free):
    """Rows [n, h·w·c] in C order of (h, w, c) as images [n, c, h, w], without a copy."""

    height: int
    width: int
    channels: int

    def __call__(self, x: Tensor, parameters: Iterator[Tensor]) -> Tensor:
        return x.reshape(len(x), self.height, self.width, self.channels).permute(0, 3, 1, 2)


@dataclasses.dataclass(frozen=True)
class ImageToRow(_Free):
    """Images [n, parts·c, h, w] as rows [n, parts·h·w·c]: all first numbers of the pixels, then all second ones, ..."""

    parts: int = 1

    def __call__(self, x: Tensor, parameters: Iterator[Tensor]) -> Tensor:
        n, channels, height, width = x.shape
        apart = x.reshape(n, self.parts, channels // self.parts, height, width)
        return apart.permute(0, 1, 3, 4, 2).reshape(n, -1)


@dataclasses.dataclass(frozen=True)
class Convolution:
    """y = W ⋆ x + b on images of `size`, with W [outputs, inputs, kernel, kernel] (LeCun et al. 1998)."""

    inputs: int
    outputs: int
    size: tuple[int, int]
    kernel: int
    stride: int = 1
    padding: int = 0
    gain: float = 1.0

    @property
    def output_size(self) -> tuple[int, int]:
        h, w = ((side + 2 * self.padding - self.kernel) // self.stride + 1 for side in self.size)
        return h, w

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"weight": (self.outputs, self.inputs, self.kernel, self.kernel), "bias": (self.outputs,)}

    def initialise(self, parameters: Mapping[str, Tensor], generator: torch.Generator) -> None:
        fan_in = self.inputs * self.kernel**2
        parameters["weight"].normal_(0, self.gain / math.sqrt(fan_in), generator=generator)

    @property
    def multiply_adds(self) -> int:
        return self.kernel**2 * self.inputs * self.outputs * math.prod(self.output_size)

    def __call__(self, x: Tensor, parameters: Iterator[Tensor]) -> Tensor:
        weight, bias = next(parameters), next(parameters)
        return functional.conv2d(x, weight, bias, stride=self.stride, padding=self.padding)


@dataclasses.dataclass(frozen=True)
class TransposedConvolution:
    """The transpose of a convolution that maps images of `output_size` to those of `size`, plus b.

    W is [inputs, outputs, kernel, kernel] (Dumoulin, Visin 2016, arXiv:1603.07285, ch. 4).
    """

    inputs: int
    outputs: int
    size: tuple[int, int]
    output_size: tuple[int, int]
    kernel: int
    stride: int = 1
    padding: int = 0
    gain: float = 1.0

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"weight": (self.inputs, self.outputs, self.kernel, self.kernel), "bias": (self.outputs,)}

    def initialise(self, parameters: Mapping[str, Tensor], generator: torch.Generator) -> None:
        # Each output pixel is reached by one in stride² of the kernel's entries.
        fan_in = self.inputs * self.kernel**2 / self.stride**2
        parameters["weight"].normal_(0, self.gain / math.sqrt(fan_in), generator=generator)

    @property
    def multiply_adds(self) -> int:
        return self.kernel**2 * self.inputs * self.outputs * math.prod(self.size)

    def __call__(self, x: Tensor, parameters: Iterator[Tensor]) -> Tensor:
        weight, bias = next(parameters), next(parameters)
        # Several sizes shrink to one: the missing row and column at the end say which it was.
        missing = [
            target - ((side - 1) * self.stride - 2 * self.padding + self.kernel)
            for side, target in zip(self.size, self.output_size, strict=True)
        ]
        return functional.conv_transpose2d(x, weight, bias, self.stride, self.padding, missing)
