"""How far each input of a network reaches: the size of all paths from it to the outputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diabolo.model.networks.execution import run
from diabolo.model.networks.operations import Affine, Convolution, Operation, Rectify, TransposedConvolution

__all__ = ["has_paths", "path_norms"]

#: Operations whose outputs are sums of inputs times weights, and a bias.
WEIGHTED = (Affine, Convolution, TransposedConvolution)


def has_paths(operations: Sequence[Operation]) -> bool:
    """Whether every operation with parameters is a weighted sum; of a network of one's own nobody knows."""
    return all(isinstance(operation, WEIGHTED) for operation in operations if operation.shapes())


def path_norms(operations: Sequence[Operation], parameters: Sequence[Tensor], inputs: int) -> Tensor:
    """c_j = √(Σ over paths from input j to any output of the product of their squared weights), [*lead, inputs].

    Of one affine map it is ‖W_j‖, the length of column j. Through rectifiers it stays as it is where a unit's weights
    grow and those behind it shrink by as much: nothing is gained by that (Neyshabur, Salakhutdinov, Srebro 2015,
    arXiv:1506.02617, eq. 4, for p = 2).

    Args:
        operations: of a network that `has_paths`.
        parameters: their parameters, in order, with leading axes [*lead].
        inputs: number of inputs.
    """
    sums = [operation for operation in operations if not isinstance(operation, Rectify)]
    squared, remaining = [], iter(parameters)
    for operation in operations:
        for name in operation.shapes():
            value = next(remaining)
            squared.append(torch.zeros_like(value) if name == "bias" else value.square())
    one = torch.eye(inputs, device=squared[0].device)
    # √ has no slope at 0, where a column has no weight left.
    return (run(sums, squared, one).sum(-1) + 1e-12).sqrt()
