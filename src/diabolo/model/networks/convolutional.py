"""Networks for images: strided convolutions down, transposed ones up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar

from annotated_types import Ge, Le, Lt

from diabolo.errors import ConfigError
from diabolo.model.networks.base import networks
from diabolo.model.networks.dense import rectifier_gain
from diabolo.model.networks.operations import (
    Affine,
    Convolution,
    ImageToRow,
    Operation,
    Rectify,
    RowToImage,
    TransposedConvolution,
)
from diabolo.model.networks.protocol import Shape
from diabolo.registry import Entry

#: Shortest side of an image that can be halved, and halved again.
SMALLEST = 8


@networks.register("conv")
class Conv(Entry):
    """Strided convolutions down to a small map, an affine map to the code, and the mirror of both back (LeCun 1998).

    For images of any size from 8 × 8 and any number of channels. `hidden` gives each stage's channels; a stage
    halves both sides. The way back is by transposed convolutions (Dumoulin, Visin 2016, arXiv:1603.07285).
    """

    needs_shape: ClassVar[bool] = True
    #: Pixels on a side of each convolution's window; even ones overlap evenly on the way back.
    kernel: Annotated[int, Ge(3), Le(7)] = 4
    #: Slope for negative values; 0 is the ReLU.
    slope: Annotated[float, Ge(0), Lt(1)] = 0.1
    #: Width of an affine layer between the map and the code; 0 for none.
    dense: Annotated[int, Ge(0), Le(1 << 16)] = 0

    def encoder(self, inputs: int, hidden: Sequence[int], outputs: int, shape: Shape | None) -> list[Operation]:
        height, width, channels = _checked(shape, inputs, hidden)
        operations: list[Operation] = [RowToImage(height, width, channels)]
        for stage in self._stages((height, width), channels, hidden):
            operations += [stage, Rectify(self.slope)]
            (height, width), channels = stage.output_size, stage.outputs
        operations.append(ImageToRow())
        inputs = height * width * channels
        if self.dense:
            operations += [Affine(inputs, self.dense, rectifier_gain(self.slope)), Rectify(self.slope)]
            inputs = self.dense
        return [*operations, Affine(inputs, outputs)]

    def decoder(self, inputs: int, hidden: Sequence[int], outputs: int, shape: Shape | None) -> list[Operation]:
        height, width, channels = _checked(shape, math.prod(shape or ()), hidden)
        parts, left = divmod(outputs, height * width * channels)
        if left:
            raise ConfigError(
                f"network 'conv' gives every pixel of {height} × {width} × {channels} equally many numbers, and the "
                f"likelihood asks for {outputs} in all; give all pixels one likelihood (no column_likelihood)"
            )
        stages = self._stages((height, width), channels, hidden[::-1])
        (h, w), c, gain = stages[-1].output_size, stages[-1].outputs, rectifier_gain(self.slope)
        operations: list[Operation] = []
        if self.dense:
            operations += [Affine(inputs, self.dense, gain), Rectify(self.slope)]
            inputs = self.dense
        operations += [Affine(inputs, h * w * c, gain), Rectify(self.slope), RowToImage(h, w, c)]
        for stage in stages[:0:-1]:
            operations += [self._back(stage, stage.inputs, gain), Rectify(self.slope)]
        return [*operations, self._back(stages[0], parts * channels, 1.0), ImageToRow(parts)]

    def _stages(self, size: tuple[int, int], channels: int, hidden: Sequence[int]) -> list[Convolution]:
        stages: list[Convolution] = []
        for width in hidden:
            padding = (self.kernel - 1) // 2
            stages.append(Convolution(channels, width, size, self.kernel, 2, padding, rectifier_gain(self.slope)))
            size, channels = stages[-1].output_size, width
        return stages

    def _back(self, stage: Convolution, channels: int, gain: float) -> TransposedConvolution:
        return TransposedConvolution(
            stage.outputs, channels, stage.output_size, stage.size, self.kernel, stage.stride, stage.padding, gain
        )

    def default_hidden(self, inputs: int, shape: Shape | None) -> tuple[int, ...]:
        """Stages down to a map of 4 to 7 pixels on its shorter side, channels doubling from 16."""
        height, width, _ = _checked(shape, inputs, (1,))
        return tuple(min(128, 16 << stage) for stage in range(_halvings(height, width) - 2))


def _halvings(height: int, width: int) -> int:
    return int(math.log2(min(height, width)))


def _checked(shape: Shape | None, inputs: int, hidden: Sequence[int]) -> Shape:
    if shape is None:
        raise ConfigError(
            "network 'conv' needs images, an array [n, h, w] or [n, h, w, c] without missing pixels; these rows have "
            "no such shape: give the images themselves, or take network='mlp'"
        )
    height, width, channels = shape
    if min(height, width) < SMALLEST:
        raise ConfigError(
            f"network 'conv' needs images of at least {SMALLEST} × {SMALLEST} pixels, got {height} × {width}; "
            "take network='mlp'"
        )
    if inputs != height * width * channels:
        raise ConfigError(
            f"network 'conv' needs one input for each of {height} × {width} × {channels} pixels, got {inputs}; "
            "take network='mlp'"
        )
    most = _halvings(height, width)
    if not 1 <= len(hidden) <= most:
        raise ConfigError(
            f"network 'conv' halves an image at each stage, and {height} × {width} pixels take 1 to {most} stages; "
            f"got hidden = {tuple(hidden)}, one number of channels per stage"
        )
    return shape
