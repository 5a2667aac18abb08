"""All trainable numbers of a model in one buffer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from diabolo.model.networks.operations import Operation

__all__ = ["ParameterStore", "parameter_shapes"]


class ParameterStore:
    """All trainable numbers of a model in one tensor [*lead, P], with a named view for each parameter.

    One buffer makes gradient norms, skipped steps and best weights one operation per *member*, and the
    optimiser one kernel per step.
    """

    def __init__(self, shapes: dict[str, tuple[int, ...]], lead: tuple[int, ...] = ()) -> None:
        self.shapes, self.lead = shapes, lead
        self.flat = torch.zeros(*lead, sum(math.prod(s) for s in shapes.values()))
        self.bind()

    def bind(self) -> None:
        """Renew the views after `flat` has been replaced."""
        self.views = self.split(self.flat)

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        out: dict[str, Tensor] = {}
        start = 0
        for name, shape in self.shapes.items():
            size = math.prod(shape)
            out[name] = flat[..., start : start + size].view(*flat.shape[:-1], *shape)
            start += size
        return out

    def initialise(self, prefix: str, operations: Sequence[Operation], seed: int) -> None:
        """Let each operation draw its first values; an affine map's weights are N(0, gain²/inputs), its biases 0.

        Seeds go in twos, for encoder and decoder: member m has the weights of a model of random_state + m.
        """
        for member in range(math.prod(self.lead)):
            views = self.split(self.flat.view(-1, self.flat.shape[-1])[member])
            generator = torch.Generator().manual_seed((seed + 2 * member) % (1 << 63))
            for i, operation in enumerate(operations):
                own = {name: views[f"{prefix}.{i}.{name}"] for name in operation.shapes()}
                operation.initialise(own, generator)


def parameter_shapes(prefix: str, operations: Sequence[Operation]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network's parameters: `encoder.0.weight`, ..."""
    return {
        f"{prefix}.{i}.{name}": shape
        for i, operation in enumerate(operations)
        for name, shape in operation.shapes().items()
    }
