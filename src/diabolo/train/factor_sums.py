"""What rows say of a factor model: densities, and the expected second moments that EM maximises on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from diabolo.world import ALONE, Total

__all__ = ["Factors", "Rows", "Sums", "log_likelihood", "patterns_of", "sums_of_moments", "sums_of_rows"]

#: x [n, D], weights [n] or None, seen [n, D] or None where every cell is.
Rows = tuple[Tensor, Tensor | None, Tensor | None]
#: Doubles of a tile of rows with their second moments.
TILE = 4_000_000


@dataclasses.dataclass(frozen=True)
class Factors:
    """x = m + W z + e with z ~ N(0, 1) and e ~ N(0, diag ψ), in double precision.

    Wᵀ Ψ⁻¹ W is diagonal and falls; the largest entry of each column of W is positive.
    """

    mean: Tensor  #: m, [D]
    loadings: Tensor  #: W, [D, r]
    noise: Tensor  #: ψ, [D], variances


class Sums(NamedTuple):
    """Expected second moments of a pass, and the log-likelihood per row of the parameters that they are taken at."""

    value: float
    total: Tensor  #: Σ E z̃z̃ᵀ over all rows, [r+1, r+1]; z̃ = (1, z)
    by_column: Tensor  #: Σ E z̃z̃ᵀ over the rows where the column is seen, [D or 1, r+1, r+1]
    cross: Tensor  #: Σ (x − m) E z̃ᵀ, [D, r+1]
    squares: Tensor  #: Σ (x − m)², [D]
    weight: Tensor  #: Σ of weights by column, [D or 1]


def log_likelihood(factors: Factors, x: Tensor, seen: Tensor | None = None) -> Tensor:
    """Log density of each row's seen cells in nats, [B] float64; 0 where none is seen."""
    seen = torch.ones_like(x, dtype=torch.bool) if seen is None else seen > 0
    parts = [_expect(factors, x[tile], seen[tile]).log_density for tile in _tiles(len(x), factors)]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)


def _tiles(n: int, factors: Factors) -> Iterator[slice]:
    width, rank = factors.loadings.shape
    size = max(64, TILE // (width + (rank + 1) ** 2))
    return (slice(i, i + size) for i in range(0, n, size))


def sums_of_moments(covariance: Tensor, at: Factors) -> Sums:
    """The sums of rows without gaps, per row, of their moments alone; the mean is already the best."""
    width, rank = at.loadings.shape
    pull = at.loadings / at.noise[:, None]
    inner = torch.linalg.cholesky(torch.eye(rank, dtype=torch.float64) + at.loadings.T @ pull)
    beta = torch.cholesky_solve(pull.T, inner)
    cross = covariance @ beta.T
    total = torch.eye(rank + 1, dtype=torch.float64)
    total[1:, 1:] = torch.cholesky_inverse(inner) + beta @ cross
    logdet = at.noise.log().sum() + 2 * inner.diagonal().log().sum()
    distance = (covariance.diagonal() / at.noise).sum() - (pull * cross).sum()
    value = -0.5 * float(width * math.log(2 * math.pi) + logdet + distance)
    cross = torch.cat([torch.zeros(width, 1, dtype=torch.float64), cross], dim=1)
    return Sums(value, total, total[None], cross, covariance.diagonal(), torch.ones(1, dtype=torch.float64))


class Expected(NamedTuple):
    """What a tile of rows says of its factors."""

    patterns: Tensor  #: different rows of `seen`, [P, D] float64
    which: Tensor  #: each row's pattern, [n]
    away: Tensor  #: x − m where seen, else 0, [n, D]
    mean: Tensor  #: E z, [n, r]
    covariance: Tensor  #: Cov z by pattern, [P, r, r]
    log_density: Tensor  #: [n]


def _expect(at: Factors, x: Tensor, seen: Tensor) -> Expected:
    width, rank = at.loadings.shape
    patterns, which = patterns_of(seen)
    pull = at.loadings / at.noise[:, None]
    squares = (pull[:, :, None] * at.loadings[:, None, :]).reshape(width, rank * rank)
    inner = (patterns @ squares).reshape(len(patterns), rank, rank) + torch.eye(rank, dtype=torch.float64)
    lower = torch.linalg.cholesky(inner)
    covariance = torch.cholesky_inverse(lower)
    away = torch.where(seen, x.double() - at.mean, 0.0)
    pulled = away @ pull
    mean = (covariance[which] @ pulled[:, :, None])[:, :, 0]
    logdet = patterns @ (at.noise.log() + math.log(2 * math.pi)) + 2 * lower.diagonal(dim1=1, dim2=2).log().sum(1)
    distance = away.square() @ at.noise.reciprocal() - (pulled * mean).sum(1)
    return Expected(patterns, which, away, mean, covariance, -0.5 * (logdet[which] + distance))


def patterns_of(seen: Tensor) -> tuple[Tensor, Tensor]:
    """Different rows of `seen`, and which each row is: rows that lack the same cells share one matrix."""
    there = seen.double()
    key = there @ torch.arange(2, seen.shape[1] + 2, dtype=torch.float64).sqrt()
    different, which = torch.unique(key, return_inverse=True)
    first = torch.zeros(len(different), dtype=torch.long).scatter_(0, which, torch.arange(len(seen)))
    # Two patterns may have one key, in theory: then each row stands for itself.
    if bool((seen[first][which] == seen).all()):
        return there[first], which
    return there, torch.arange(len(seen))


def sums_of_rows(rows: Iterable[Rows], at: Factors, merge: Total = ALONE.total) -> Sums:
    """One pass over the rows: expected moments, by column over the rows where it is seen."""
    width, rank = at.loadings.shape
    upper = torch.triu_indices(rank, rank)
    by_column = torch.zeros(width, 1 + rank + upper.shape[1], dtype=torch.float64)
    total, cross = by_column.new_zeros(by_column.shape[1]), by_column.new_zeros(width, rank + 1)
    squares, value = by_column.new_zeros(width), 0.0
    for chunk, weights, mask in rows:
        for tile in _tiles(len(chunk), at):
            x = chunk[tile].cpu()
            seen = torch.ones_like(x, dtype=torch.bool) if mask is None else mask[tile].cpu() > 0
            w = x.new_ones(len(x), dtype=torch.float64) if weights is None else weights[tile].cpu().double()
            found = _expect(at, x, seen)
            z = found.mean
            moments = torch.cat([torch.ones_like(w)[:, None], z, z[:, upper[0]] * z[:, upper[1]]], dim=1) * w[:, None]
            spread = found.covariance[:, upper[0], upper[1]]
            spread *= torch.zeros(len(spread), dtype=torch.float64).index_add_(0, found.which, w)[:, None]
            by_column += seen.double().T @ moments
            by_column[:, 1 + rank :] += found.patterns.T @ spread
            total += moments.sum(0)
            total[1 + rank :] += spread.sum(0)
            weighted = found.away * w[:, None]
            cross += weighted.T @ torch.cat([torch.ones_like(w)[:, None], z], dim=1)
            squares += (weighted * found.away).sum(0)
            value += float(found.log_density @ w)
    likelihood = torch.tensor(value, dtype=torch.float64)
    by_column, total, cross, squares, likelihood = merge([by_column, total, cross, squares, likelihood])
    full = _symmetric(torch.cat([by_column, total[None]]), rank)
    return Sums(float(likelihood) / float(total[0]), full[-1], full[:-1], cross, squares, by_column[:, 0])


def _symmetric(packed: Tensor, rank: int) -> Tensor:
    """[*, 1 + r + r(r+1)/2] to matrices [*, r+1, r+1]."""
    upper = torch.triu_indices(rank + 1, rank + 1)
    full = packed.new_empty(len(packed), rank + 1, rank + 1)
    full[:, upper[0], upper[1]] = full[:, upper[1], upper[0]] = packed
    return full
