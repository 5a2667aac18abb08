"""Networks of affine maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar

from annotated_types import Ge, Lt

from diabolo.errors import ConfigError
from diabolo.model.networks.base import networks
from diabolo.model.networks.operations import Affine, Operation, Rectify
from diabolo.model.networks.protocol import Shape
from diabolo.registry import Entry


@networks.register("mlp")
class MLP(Entry):
    """Affine layers with rectifiers between them (Rumelhart, Hinton, Williams 1986)."""

    needs_shape: ClassVar[bool] = False
    #: Slope for negative values; 0 is the ReLU.
    slope: Annotated[float, Ge(0), Lt(1)] = 0.0

    def encoder(self, inputs: int, hidden: Sequence[int], outputs: int, shape: Shape | None = None) -> list[Operation]:
        operations: list[Operation] = []
        for width in hidden:
            operations += [Affine(inputs, width, rectifier_gain(self.slope)), Rectify(self.slope)]
            inputs = width
        return [*operations, Affine(inputs, outputs)]

    decoder = encoder

    def default_hidden(self, inputs: int, shape: Shape | None = None) -> tuple[int, ...]:
        first = min(512, max(16, 2 ** math.ceil(math.log2(max(inputs, 1)))))
        return (first, first // 2)


@networks.register("linear")
class Linear(Entry):
    """One affine map each way: principal components under a Gaussian likelihood."""

    needs_shape: ClassVar[bool] = False

    def encoder(self, inputs: int, hidden: Sequence[int], outputs: int, shape: Shape | None = None) -> list[Operation]:
        if hidden:
            raise ConfigError(f"network 'linear' has no hidden layers, got hidden = {tuple(hidden)}; leave it out")
        return [Affine(inputs, outputs)]

    decoder = encoder

    def default_hidden(self, inputs: int, shape: Shape | None = None) -> tuple[int, ...]:
        return ()


def rectifier_gain(slope: float) -> float:
    """√(2 / (1 + slope²)), which keeps a signal's size through a rectifier (He et al. 2015, arXiv:1502.01852)."""
    return math.sqrt(2.0 / (1 + slope**2))
