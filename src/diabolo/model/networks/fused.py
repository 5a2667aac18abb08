"""A list of affine maps and rectifiers as one differentiable node over kept memory, members as one batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from diabolo.memory import Memory
from diabolo.model.networks.operations import Affine, Rectify

__all__ = ["Fused", "forward"]

#: Outputs below which a product is computed transposed.
NARROW = 8


def forward(
    operations: Sequence[Affine | Rectify],
    parameters: Sequence[Tensor],
    x: Tensor,
    memory: Memory,
    name: str,
    keep: bool,
) -> tuple[Tensor, list[Tensor]]:
    """The result [B, ·] or [M, B, ·], and the input of each affine map.

    Args:
        parameters: of one model, or of members [M, ·].
        x: [B, D], or [M, B, D] where members see rows of their own.
        keep: lay all out row by row, for a backward pass.
    """
    remaining, inputs, h = iter(parameters), [], x
    for i, operation in enumerate(operations):
        if isinstance(operation, Affine):
            weight, bias = next(remaining), next(remaining)
            if weight.dim() == 3 and h.dim() == 2:
                h = h.expand(len(weight), *h.shape)
            inputs.append(h)
            h = _affine(h, weight, bias, operation, memory, f"{name}.{i}", keep)
        else:
            h = torch.relu_(h) if operation.slope == 0 else functional.leaky_relu_(h, operation.slope)
    # One layout whatever the path: sums over columns then run in one order.
    return h.contiguous(), inputs


def _affine(
    h: Tensor, weight: Tensor, bias: Tensor, operation: Affine, memory: Memory, name: str, keep: bool
) -> Tensor:
    if weight.dim() == 3:
        out = memory.get(name, (*h.shape[:-1], operation.outputs), h)
        return torch.baddbmm(bias.unsqueeze(1), h, weight.mT, out=out)
    rows = h.shape[0]
    if keep:
        return torch.addmm(bias, h, weight.t(), out=memory.get(name, (rows, operation.outputs), h))
    if operation.outputs < NARROW:
        # The library's kernels are slow for a few columns and quick for a few rows.
        out = memory.get(name, (operation.outputs, rows), h)
        return torch.mm(weight, h.t(), out=out).add_(bias[:, None]).t()
    # Turning the weights once for thousands of rows is cheaper than reading them sideways.
    shape = (operation.inputs, operation.outputs)
    straight = memory.once(name, lambda: memory.get(f"{name}.turned", shape, h).copy_(weight.t()))
    return torch.addmm(bias, h, straight, out=memory.get(name, (rows, operation.outputs), h))


def _product(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    return torch.mm(a, b, out=out) if a.dim() == 2 else torch.bmm(a, b, out=out)


def _row_sum(gradient: Tensor, memory: Memory, out: Tensor | None = None) -> Tensor:
    """Σ over rows of [*, B, columns]."""
    if gradient.dim() == 3:
        return torch.sum(gradient, 1) if out is None else torch.sum(gradient, 1, out=out)
    # As a product: the library's sum over the outer axis of a matrix is slower, but not that of a batch.
    return torch.mv(gradient.t(), memory.ones(gradient), out=out)


class Fused(torch.autograd.Function):
    """The whole list as one node: no graph to build, and no memory to ask for at each step.

    The gradient is the chain rule over the same list; a test compares it with PyTorch's own. Members are one batched
    product per layer.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, operations: Sequence[Affine | Rectify], memory: Memory, name: str, *parameters: Tensor
    ) -> Tensor:
        h, ctx.inputs = forward(operations, parameters, x, memory, name, keep=True)
        ctx.operations, ctx.memory, ctx.network, ctx.parameters = operations, memory, name, parameters
        ctx.shared = x.dim() < h.dim()
        # A new tensor object over the same memory: autograd marks the object that it returns.
        return h.view(h.shape)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> Any:
        gradient, affine, memory = outputs[0], len(ctx.inputs), ctx.memory
        # Into the flat gradient itself, but for a second run of the network in one pass, which has to be added.
        targets = None if ctx.network in memory.written else memory.targets.get(ctx.network)
        if targets is not None:
            memory.written.add(ctx.network)
        grads: list[Tensor | None] = []
        for i in range(len(ctx.operations) - 1, -1, -1):
            operation = ctx.operations[i]
            if isinstance(operation, Affine):
                affine -= 1
                x, weight, turned = ctx.inputs[affine], ctx.parameters[2 * affine], gradient.transpose(-1, -2)
                if targets is None:
                    grads += [_row_sum(gradient, memory), _product(turned, x)]
                else:
                    _row_sum(gradient, memory, targets[2 * affine + 1])
                    _product(turned, x, targets[2 * affine])
                    grads += [None, None]
                if affine or ctx.needs_input_grad[0]:
                    out = memory.get(f"{ctx.network}.{i}.gradient", (*gradient.shape[:-1], operation.inputs), gradient)
                    gradient = _product(gradient, weight, out)
            else:
                # The rectifier worked in place: its result is the next affine map's input.
                result = ctx.inputs[affine]
                if operation.slope == 0:
                    torch.ops.aten.threshold_backward.grad_input(gradient, result, 0, grad_input=gradient)
                else:
                    gradient.copy_(torch.ops.aten.leaky_relu_backward(gradient, result, operation.slope, True))
        if not ctx.needs_input_grad[0]:
            return (None, None, None, None, *reversed(grads))
        return (gradient.sum(0) if ctx.shared else gradient, None, None, None, *reversed(grads))
