"""Encoder and decoder families as lists of plain operations over one flat parameter buffer.

A network is data, not code: `[Affine(57, 32), Rectify(), Affine(32, 3)]`. Batching over ensemble members,
exact integer evaluation and hand-off to other runtimes all walk that list.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Protocol

import torch
from annotated_types import Ge, Lt
from torch import Tensor
from torch.nn import functional

from diabolo.errors import ConfigError
from diabolo.memory import Memory
from diabolo.registry import Registry

__all__ = ["Affine", "Operation", "ParameterStore", "Rectify", "networks", "run"]


@dataclasses.dataclass(frozen=True)
class Affine:
    """y = x Wᵀ + b, with W [*lead, outputs, inputs] and b [*lead, outputs]."""

    inputs: int
    outputs: int
    #: He's gain for what a rectifier follows, 1 before an output.
    gain: float = 1.0

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"weight": (self.outputs, self.inputs), "bias": (self.outputs,)}

    def __call__(self, x: Tensor, parameters: Iterator[Tensor]) -> Tensor:
        weight, bias = next(parameters), next(parameters)
        if weight.dim() == 2:
            return functional.linear(x, weight, bias)
        return torch.matmul(x, weight.transpose(-1, -2)) + bias.unsqueeze(-2)


@dataclasses.dataclass(frozen=True)
class Rectify:
    """max(x, slope · x): ReLU for slope 0, leaky ReLU above."""

    slope: float = 0.0

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {}

    def __call__(self, x: Tensor, parameters: Iterator[Tensor]) -> Tensor:
        # In place: the affine map before it does not need its own output for the gradient.
        return torch.relu_(x) if self.slope == 0 else functional.leaky_relu_(x, self.slope)


Operation = Affine | Rectify

#: Outputs below which a product is computed transposed.
NARROW = 8


def run(
    operations: Sequence[Operation],
    parameters: Sequence[Tensor],
    x: Tensor,
    memory: Memory | None = None,
    name: str = "",
) -> Tensor:
    """Apply the operations in order; [*lead, B, inputs] → [*lead, B, outputs].

    With `memory`, a network without member axes runs over kept tensors under that name, and in training as one
    differentiable node; its result is good until the next run.
    """
    if memory is not None and parameters[0].dim() == 2:
        flat = x.reshape(-1, x.shape[-1])
        if torch.is_grad_enabled():
            out: Tensor = _Fused.apply(flat, operations, memory, name, *parameters)  # type: ignore[no-untyped-call]
        else:
            out = _forward(operations, parameters, flat, memory, name, keep=False)[0]
        return out.view(*x.shape[:-1], out.shape[-1]) if x.dim() > 2 else out
    remaining = iter(parameters)
    for operation in operations:
        x = operation(x, remaining)
    return x


def _forward(
    operations: Sequence[Operation], parameters: Sequence[Tensor], x: Tensor, memory: Memory, name: str, keep: bool
) -> tuple[Tensor, list[Tensor]]:
    """The result, and the input of each affine map; `keep` lays all out row by row, for a backward pass."""
    remaining, inputs, h = iter(parameters), [], x
    for i, operation in enumerate(operations):
        if isinstance(operation, Affine):
            inputs.append(h)
            weight, bias = next(remaining), next(remaining)
            if operation.outputs < NARROW and not keep:
                # The library's kernels are slow for a few columns and quick for a few rows.
                out = memory.get(f"{name}.{i}", operation.outputs, h.shape[0], h)
                h = torch.mm(weight, h.t(), out=out).add_(bias[:, None]).t()
            else:
                out = memory.get(f"{name}.{i}", h.shape[0], operation.outputs, h)
                if keep:
                    h = torch.addmm(bias, h, weight.t(), out=out)
                else:
                    # Turning the weights once for thousands of rows is cheaper than reading them sideways.
                    turned = memory.get(f"{name}.{i}.turned", operation.inputs, operation.outputs, h)
                    h = torch.addmm(bias, h, turned.copy_(weight.t()), out=out)
        else:
            h = torch.relu_(h) if operation.slope == 0 else functional.leaky_relu_(h, operation.slope)
    # One layout whatever the path: sums over columns then run in one order.
    return h.contiguous(), inputs


class _Fused(torch.autograd.Function):
    """A whole affine/rectifier list as one node: no graph to build, and no memory to ask for at each step.

    The gradient is the chain rule over the same list; a test compares it with PyTorch's own.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, operations: Sequence[Operation], memory: Memory, name: str, *parameters: Tensor
    ) -> Tensor:
        h, ctx.inputs = _forward(operations, parameters, x, memory, name, keep=True)
        ctx.operations, ctx.memory, ctx.network, ctx.parameters = operations, memory, name, parameters
        # A new tensor object over the same memory: autograd marks what it returns.
        return h.view(h.shape)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> Any:
        gradient, affine, memory = outputs[0], len(ctx.inputs), ctx.memory
        targets = memory.targets.get(ctx.network)
        grads: list[Tensor | None] = []
        for i in range(len(ctx.operations) - 1, -1, -1):
            operation = ctx.operations[i]
            if isinstance(operation, Affine):
                affine -= 1
                x, weight = ctx.inputs[affine], ctx.parameters[2 * affine]
                ones = memory.ones(gradient)
                if targets is None:
                    grads += [torch.mv(gradient.t(), ones), torch.mm(gradient.t(), x)]
                else:
                    torch.mv(gradient.t(), ones, out=targets[2 * affine + 1])
                    torch.mm(gradient.t(), x, out=targets[2 * affine])
                    grads += [None, None]
                if affine or ctx.needs_input_grad[0]:
                    out = memory.get(f"{ctx.network}.{i}.gradient", gradient.shape[0], operation.inputs, gradient)
                    gradient = torch.mm(gradient, weight, out=out)
            else:
                # The rectifier worked in place: its result is the next affine map's input.
                result = ctx.inputs[affine]
                if operation.slope == 0:
                    torch.ops.aten.threshold_backward.grad_input(gradient, result, 0, grad_input=gradient)
                else:
                    gradient.copy_(torch.ops.aten.leaky_relu_backward(gradient, result, operation.slope, True))
        return (gradient if ctx.needs_input_grad[0] else None, None, None, None, *reversed(grads))


class Network(Protocol):
    """A registry entry: settings plus the rule from widths to operations."""

    name: str

    def build(self, inputs: int, hidden: Sequence[int], outputs: int) -> list[Operation]: ...

    def default_hidden(self, inputs: int) -> tuple[int, ...]: ...


networks: Registry[Network] = Registry("network")


@networks.register("mlp")
class MLP:
    """Affine layers with rectifiers between them (Rumelhart, Hinton, Williams 1986)."""

    name = "mlp"
    #: Slope for negative values; 0 is the ReLU.
    slope: Annotated[float, Ge(0), Lt(1)] = 0.0

    def build(self, inputs: int, hidden: Sequence[int], outputs: int) -> list[Operation]:
        operations: list[Operation] = []
        for width in hidden:
            operations += [Affine(inputs, width, math.sqrt(2.0 / (1 + self.slope**2))), Rectify(self.slope)]
            inputs = width
        return [*operations, Affine(inputs, outputs)]

    def default_hidden(self, inputs: int) -> tuple[int, ...]:
        first = min(512, max(16, 2 ** math.ceil(math.log2(max(inputs, 1)))))
        return (first, first // 2)


@networks.register("linear")
class Linear:
    """One affine map each way: principal components under a Gaussian likelihood."""

    name = "linear"

    def build(self, inputs: int, hidden: Sequence[int], outputs: int) -> list[Operation]:
        if hidden:
            raise ConfigError(f"network 'linear' has no hidden layers, got hidden = {tuple(hidden)}; leave it out")
        return [Affine(inputs, outputs)]

    def default_hidden(self, inputs: int) -> tuple[int, ...]:
        return ()


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
        """Draw weights N(0, gain²/inputs) and zero biases.

        Seeds go in twos, for encoder and decoder: member m has the weights of a model of random_state + m.
        """
        for member in range(math.prod(self.lead)):
            views = self.split(self.flat.view(-1, self.flat.shape[-1])[member])
            generator = torch.Generator().manual_seed((seed + 2 * member) % (1 << 63))
            for i, operation in enumerate(operations):
                if isinstance(operation, Affine):
                    weight = views[f"{prefix}.{i}.weight"]
                    weight.normal_(0, operation.gain / math.sqrt(operation.inputs), generator=generator)


def parameter_shapes(prefix: str, operations: Sequence[Operation]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network's parameters: `encoder.0.weight`, ..."""
    return {
        f"{prefix}.{i}.{name}": shape
        for i, operation in enumerate(operations)
        for name, shape in operation.shapes().items()
    }
