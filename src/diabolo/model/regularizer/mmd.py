"""A penalty of the distance between the codes and draws of π, by kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from diabolo.model.drawn import for_rows
from diabolo.model.latent import Posterior
from diabolo.model.regularizer.base import Context, Regularizer, regularizers

__all__ = ["PAIRED", "SCALES", "mmd_squared"]

#: Rows whose pairs are looked at together: 4 MiB for each table of distances.
PAIRED = 1_024
#: Kernel widths, in units of the squared distance of two prior draws (Tolstikhin et al. 2018, app. C).
SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


@regularizers.register("mmd")
class MaximumMeanDiscrepancy(Regularizer):
    """Ω = MMD²(codes, π) with the kernels Σ_s C_s / (C_s + |a − b|²): the Wasserstein autoencoder's penalty.

    Tolstikhin, Bousquet, Gelly, Schölkopf 2018, arXiv:1711.01558, algorithm 2; the unbiased U-statistic of Gretton et
    al. 2012, eq. 3, over at most 1,024 rows at a time. It has no unit and is at most 14: `beta` gives it its weight.
    """

    matches_prior = True
    draws = True

    def __call__(self, posterior: Posterior, context: Context) -> Tensor | None:
        z = posterior.sample(1, context.generator)
        n, k = z.shape[-2:]
        drawn = for_rows(lambda s: context.prior.sample(s, context.generator), (n, k), context.generator)
        weight = torch.ones(n, device=z.device) if context.share is None else context.share
        width, parts = 2 * k * context.prior.variances, -(-n // PAIRED)
        omega = torch.zeros(z.shape[:-2], device=z.device)
        for rows in torch.arange(n, device=z.device).chunk(parts):
            w = weight[rows]
            part = mmd_squared(z[..., rows, :], drawn[..., rows, :], w, width)
            omega = omega + part * (w.sum() / weight.sum())
        return omega.unsqueeze(-1).expand(z.shape[:-1])


def mmd_squared(a: Tensor, b: Tensor, weight: Tensor, width: float | Tensor) -> Tensor:
    """U-statistic of MMD², [*lead], of rows a [*lead, n, K] with these weights and rows b, [m, K] or [*lead, m, K]."""
    m = b.shape[-2]
    pairs = weight.sum().square() - weight.square().sum()
    among_a = (weight * torch.matmul(_kernel(a, a, width), weight)).sum(-1) - len(SCALES) * weight.square().sum()
    among_b = _kernel(b, b, width).sum((-1, -2)) - len(SCALES) * m
    between = torch.matmul(weight, _kernel(a, b, width)).sum(-1)
    tiny = torch.finfo(a.dtype).tiny
    return among_a / pairs.clamp_min(tiny) + among_b / max(1, m * (m - 1)) - 2 * between / (m * weight.sum())


def _kernel(a: Tensor, b: Tensor, width: float | Tensor) -> Tensor:
    """Σ_s C_s / (C_s + |a_i − b_j|²), [*, n, m]; 7 where the rows are equal."""
    squared = a.square().sum(-1).unsqueeze(-1) + b.square().sum(-1).unsqueeze(-2)
    squared = (squared - 2 * torch.matmul(a, b.mT)).clamp_min(0)
    total = torch.zeros_like(squared)
    for scale in SCALES:
        total = total + (1 + squared / (scale * width)).reciprocal()
    return total
