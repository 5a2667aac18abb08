"""How a list of operations runs: with leading axes, over kept memory, and in training as one node."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor
from torch.nn import functional

from diabolo.memory import Memory
from diabolo.model.networks.operations import Affine, Operation, Rectify

__all__ = ["run"]

#: Outputs below which a product is computed transposed.
NARROW = 8
#: Rows that pass through other operations at once where no gradient is asked for: what lies between stays in the
#: cache, and the tiles of a score are a multiple of it.
PART = 256


def is_dense(operations: Sequence[Operation]) -> TypeGuard[Sequence[Affine | Rectify]]:
    """Whether a list is affine maps and rectifiers alone, which take leading axes at once and have a short cut."""
    return all(isinstance(operation, Affine | Rectify) for operation in operations)


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
    if not is_dense(operations):
        return _by_member(operations, parameters, x)
    if memory is not None and parameters[0].dim() == 2:
        flat = x.reshape(-1, x.shape[-1])
        if torch.is_grad_enabled():
            out: Tensor = _Fused.apply(flat, operations, memory, name, *parameters)  # type: ignore[no-untyped-call]
        else:
            out = _forward(operations, parameters, flat, memory, name, keep=False)[0]
        return out.view(*x.shape[:-1], out.shape[-1]) if x.dim() > 2 else out
    return _apply(operations, parameters, x)


def _apply(operations: Sequence[Operation], parameters: Sequence[Tensor], x: Tensor) -> Tensor:
    remaining = iter(parameters)
    for operation in operations:
        x = operation(x, remaining)
    return x


def _by_member(operations: Sequence[Operation], parameters: Sequence[Tensor], x: Tensor) -> Tensor:
    """Members one after the other: their operations are long, and each is then what it would be alone."""
    ranks = [len(shape) for operation in operations for shape in operation.shapes().values()]
    lead = parameters[0].shape[: parameters[0].dim() - ranks[0]] if ranks else torch.Size()
    if not lead:
        return _in_parts(operations, parameters, x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], -1)
    if x.dim() < 2 + len(lead):
        x = x.expand(*lead, *x.shape[-2:])
    draws = x.shape[: x.dim() - 2 - len(lead)]
    apart = x.reshape(math.prod(draws), math.prod(lead), *x.shape[-2:])
    own = [p.flatten(0, len(lead) - 1) for p in parameters]
    outs = []
    for member in range(apart.shape[1]):
        rows = apart[:, member].reshape(-1, x.shape[-1])
        out = _in_parts(operations, [p[member] for p in own], rows)
        outs.append(out.reshape(len(apart), -1, out.shape[-1]))
    return torch.stack(outs, dim=1).reshape(*draws, *lead, x.shape[-2], -1)


def _in_parts(operations: Sequence[Operation], parameters: Sequence[Tensor], x: Tensor) -> Tensor:
    if torch.is_grad_enabled() or len(x) <= PART:
        return _apply(operations, parameters, x)
    return torch.cat([_apply(operations, parameters, part) for part in torch.split(x, PART)])


def _forward(
    operations: Sequence[Affine | Rectify],
    parameters: Sequence[Tensor],
    x: Tensor,
    memory: Memory,
    name: str,
    keep: bool,
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
        ctx: Any, x: Tensor, operations: Sequence[Affine | Rectify], memory: Memory, name: str, *parameters: Tensor
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
