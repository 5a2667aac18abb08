"""Mean and covariance of a Gaussian from rows with gaps, by EM: the likeliest ones given the cells that are there.

For a row that shows S, let G be Σ_SS⁻¹ in the seen cells and 0 elsewhere, and y = G (x − m). The expected row is
m + Σ y, and its covariance Σ − Σ G Σ, so that one pass of EM (Dempster, Laird, Rubin 1977; Orchard, Woodbury 1972) is

    Σ ← Σ + Σ (mean of y yᵀ − mean of G − ȳ ȳᵀ) Σ,   m ← m + Σ ȳ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from diabolo.train.climbing import climb
from diabolo.train.factor_sums import Rows, patterns_of
from diabolo.train.pairs import Pairs
from diabolo.world import ALONE, Total

__all__ = ["fit_covariance"]

#: Gain per row in nats that ends the passes.
GAIN = 1e-6
#: Doubles of the matrices of a tile's rows.
TILE = 2_000_000


def fit_covariance(
    chunks: Callable[[], Iterable[Rows]],
    width: int,
    floor: float = 1e-6,
    passes: int = 200,
    total: Total = ALONE.total,
) -> tuple[Tensor, Tensor]:
    """Mean [D] and covariance [D, D], float64, of rows where cells are missing at random.

    Args:
        chunks: gives the rows anew at each call, once per pass, as for `diabolo.train.factors.fit_factors`.
        width: D. A pass costs D³ for each different pattern of gaps.
        floor: what is added to the variances, as a share of their mean: rows of an exact plane have a density then.
        passes: at most.
        total: adds up the sums of processes that share the rows.

    >>> x = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0)) @ torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    >>> seen = torch.ones_like(x).bool()
    >>> seen[:, 1] = x[:, 0] < 0.5  # which cells are missing depends on cells that are there
    >>> bool((fit_covariance(lambda: [(x, None, seen)], 2)[1][1] - torch.tensor([1.0, 2.0])).abs().max() < 0.2)
    True
    """
    pairs = Pairs(width)
    for x, weights, seen in chunks():
        pairs.add(x, weights, seen)
    pairs.merge(total)
    origin, covariance = pairs.mean_and_covariance()
    if not pairs.gaps:
        return origin, covariance
    ridge = (floor * covariance.diagonal().mean()).clamp_min(1e-30) * torch.eye(width, dtype=torch.float64)
    below = torch.tril_indices(width, width, -1)
    unit = (covariance + ridge).diagonal().sqrt()
    # What a column has beside the ones before it is no less than the ridge.
    least = (ridge.diagonal().sqrt() / unit).log()

    def pack(mean: Tensor, sigma: Tensor) -> Tensor:
        root = _cholesky(sigma / unit / unit[:, None])
        return torch.cat([mean / unit, root.diagonal().log(), root[below[0], below[1]]])

    def unpack(flat: Tensor) -> tuple[Tensor, Tensor]:
        root = torch.zeros(width, width, dtype=torch.float64)
        root[below[0], below[1]] = flat[2 * width :]
        root = unit[:, None] * (root + torch.maximum(flat[width : 2 * width], least).exp().diag())
        return flat[:width] * unit, root @ root.T

    def step(flat: Tensor) -> tuple[float, Tensor]:
        mean, sigma = unpack(flat)
        try:
            value, first, second = _pass(chunks(), origin + mean, sigma, total)
            better = sigma + sigma @ (second - torch.outer(first, first)) @ sigma
            return value, pack(mean + sigma @ first, 0.5 * (better + better.T) + ridge)
        except ArithmeticError:  # a leap to where rounding decides: it is taken back
            return -math.inf, flat

    # The covariance of pairs may have eigenvalues below 0.
    values, vectors = torch.linalg.eigh(covariance / unit / unit[:, None])
    start = vectors * values.clamp_min(1e-2) @ vectors.T * unit * unit[:, None]
    mean, sigma = unpack(climb(step, pack(torch.zeros_like(origin), start), passes, GAIN))
    return origin + mean, sigma


def _cholesky(matrices: Tensor) -> Tensor:
    lower: Tensor
    lower, info = torch.linalg.cholesky_ex(matrices)
    if bool(info.any()):
        raise ArithmeticError("a covariance is not positive definite")
    return lower


def _pass(rows: Iterable[Rows], mean: Tensor, sigma: Tensor, total: Total) -> tuple[float, Tensor, Tensor]:
    """Log-likelihood per row, ȳ, and the mean of y yᵀ − G."""
    width = len(mean)
    one = torch.eye(width, dtype=torch.float64)
    value, weight = 0.0, 0.0
    first, second = torch.zeros_like(mean), torch.zeros_like(sigma)
    size = max(64, TILE // width**2)
    for chunk, weights, mask in rows:
        for part in range(0, len(chunk), size):
            x = chunk[part : part + size].cpu()
            seen = torch.ones_like(x, dtype=torch.bool) if mask is None else mask[part : part + size].cpu() > 0
            w = torch.ones(len(x), dtype=torch.float64)
            w = w if weights is None else weights[part : part + size].cpu().double()
            there, which = patterns_of(seen)
            both = there[:, :, None] * there[:, None, :]
            # Cells that are not there get a variance of 1 and no covariance, and their part of the inverse is dropped.
            lower = _cholesky(both * sigma + (1 - there)[:, :, None] * one)
            inverse = torch.cholesky_inverse(lower) * both
            away = torch.where(seen, x.double() - mean, 0.0)
            y = (inverse[which] @ away[:, :, None])[:, :, 0]
            counts = torch.zeros(len(there), dtype=torch.float64).index_add_(0, which, w)
            logdet = there.sum(1) * math.log(2 * math.pi) + 2 * lower.diagonal(dim1=1, dim2=2).log().sum(1)
            value -= 0.5 * float(counts @ logdet + w @ (away * y).sum(1))
            first += w @ y
            second += (w[:, None] * y).T @ y - (counts @ inverse.flatten(1)).reshape(width, width)
            weight += float(w.sum())
    sums = torch.tensor([value, weight], dtype=torch.float64)
    (whole, of), first, second = total([sums, first, second])
    return float(whole) / float(of), first / of, second / of
