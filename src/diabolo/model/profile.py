"""The best code of each row: the least of a smooth function of z and a prior's cost, row by row."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from diabolo.device import on_cpu

__all__ = ["descend"]

#: Gains below this share of the value are nothing: of 100 nats, a thousandth of one.
TOLERANCE = 1e-5


def descend(
    smooth: Callable[[Tensor], Tensor],
    cost: Callable[[Tensor], Tensor | float],
    prox: Callable[[Tensor, Tensor], Tensor],
    start: Tensor,
    iterations: int,
) -> Tensor:
    """Proximal gradient steps of spectral length, each row with a step of its own.

    Wright, Nowak, Figueiredo 2009, "Sparse reconstruction by separable approximation": z ← prox(z − t ∇f(z), t) with
    the step t of Barzilai, Borwein 1988, taken only where it lowers the sum, else shortened. So the result never lies
    above its start, nor above that of fewer iterations.

    Args:
        smooth: f, codes [*, B, K] to [*, B], through which a gradient passes.
        cost: what is added to f, [*, B].
        prox: argmin over v of |v − z|²/(2 t) + cost(v) of codes z [*, B, K] and steps t [*, B, 1].
        start: codes to begin with, [*, B, K].
        iterations: gradients per row at most; a row ends before, once three steps in a row gained nothing.

    Returns:
        The codes found, [*, B, K].
    """

    def evaluate(code: Tensor) -> tuple[Tensor, Tensor]:
        """The sum, and the gradient of its smooth part."""
        code = code.detach().requires_grad_()
        value = smooth(code)
        gradient = torch.autograd.grad(value.sum(), code)[0]
        with torch.no_grad():
            return value + cost(code), gradient

    z = start
    value, gradient = evaluate(z)
    with torch.no_grad():
        # A first step of a tenth of the codes' scale, or less where the slope is small.
        step = 0.1 / torch.linalg.vector_norm(gradient, dim=-1).clamp_min(0.1)
        idle = torch.zeros_like(value)
    for _ in range(iterations):
        with torch.no_grad():
            tried = prox(z - step.unsqueeze(-1) * gradient, step.unsqueeze(-1))
        tried_value, tried_gradient = evaluate(tried)
        with torch.no_grad():
            moved, turned = tried - z, tried_gradient - gradient
            length, bend = moved.square().sum(-1), (moved * turned).sum(-1)
            gain = value - tried_value
            # A row that has ended stays so: its result does not depend on how long other rows need.
            better = (gain >= 0.005 * length / step) & (idle < 3)
            small = ~(gain > TOLERANCE * (1 + value.abs()))
            idle = torch.where(idle < 3, torch.where(small, idle + 1, 0), idle)
            spectral = torch.where(bend > 0, length / bend, 4 * step)
            shorter = torch.minimum(torch.maximum(spectral, 0.01 * step), 0.5 * step)
            step = torch.where(better, spectral.clamp(1e-12, 1e6), shorter)
            value = torch.where(better, tried_value, value)
            z = torch.where(better.unsqueeze(-1), tried, z)
            gradient = torch.where(better.unsqueeze(-1), tried_gradient, gradient)
            # A card would wait for the answer; there the iterations that are left change nothing.
            if on_cpu(idle) and bool((idle >= 3).all()):
                break
    return z
