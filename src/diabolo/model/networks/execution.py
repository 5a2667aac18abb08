"""How a list of operations runs: with leading axes, over kept memory, and in training as one node."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeGuard

import torch
from torch import Tensor

from diabolo.memory import Memory
from diabolo.model.networks.fused import Fused, forward
from diabolo.model.networks.operations import Affine, Operation, Rectify

__all__ = ["run"]

#: Rows that pass through other operations at once where no gradient is asked for: results between operations stay in
#: the cache. The tiles of a score are a multiple of it.
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

    With `memory`, a network of no or one member axis runs over kept tensors under that name, and in training as one
    differentiable node; its result is good until the next run.
    """
    if not is_dense(operations):
        return _by_member(operations, parameters, x)
    members = parameters[0].dim() - 2
    # Draws of a lone model are more rows; those of members would have to be laid out anew.
    if memory is None or members > 1 or (members and x.dim() > 3):
        return _apply(operations, parameters, x)
    flat = x if members else x.reshape(-1, x.shape[-1])
    if torch.is_grad_enabled():
        out: Tensor = Fused.apply(flat, operations, memory, name, *parameters)  # type: ignore[no-untyped-call]
    else:
        out = forward(operations, parameters, flat, memory, name, keep=False)[0]
    return out.view(*x.shape[:-1], out.shape[-1]) if x.dim() > out.dim() else out


def _apply(operations: Sequence[Operation], parameters: Sequence[Tensor], x: Tensor) -> Tensor:
    remaining = iter(parameters)
    for operation in operations:
        x = operation(x, remaining)
    return x


def _by_member(operations: Sequence[Operation], parameters: Sequence[Tensor], x: Tensor) -> Tensor:
    """Members one after the other: their operations are long, and each gives the same result as alone."""
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
