"""Factor analysis: a mean, a few factors and each column's own noise, fitted exactly where cells are missing.

    x = m + W z + e,   z ~ N(0, 1),   e ~ N(0, diag ψ)

Maximum likelihood by expectation and maximisation (Rubin, Thayer 1982, doi:10.1007/BF02293851) with the parameter
expansion of Liu, Rubin, Wu 1998 (doi:10.1093/biomet/85.4.755) and the extrapolation of `train/climbing.py`. Rows with
gaps count with what they have: cells that are missing at random bias nothing. Isotropic noise without gaps has a closed
form (Tipping, Bishop 1999, doi:10.1111/1467-9868.00196).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Literal

import torch
from torch import Tensor

from diabolo.errors import ConfigError, DataError
from diabolo.train.climbing import climb
from diabolo.train.factor_sums import Factors, Rows, Sums, log_likelihood, sums_of_moments, sums_of_rows
from diabolo.train.pairs import Pairs
from diabolo.world import ALONE, Total

__all__ = ["Factors", "Noise", "drawn_apart", "factors_of_covariance", "fit_factors", "log_likelihood"]

Noise = Literal["diagonal", "isotropic"]
#: Passes over rows or covariance at most, and the gain per row in nats that ends them.
PASSES, GAIN = 1000, 1e-7
#: Factors at most, where the table chooses their number.
MOST = 32
#: Quantile of the law of the largest eigenvalue of noise that 1 table in 1,000 exceeds (Tracy, Widom 1996).
TRACY_WIDOM = 3.3


def fit_factors(
    chunks: Callable[[], Iterable[Rows]],
    width: int,
    rank: int | None,
    noise: Noise = "diagonal",
    floor: float | Tensor = 1e-6,
    shrink: float = 0.005,
    passes: int = PASSES,
    total: Total = ALONE.total,
    unrelated: float = 0.0,
) -> Factors:
    """The factor model of largest likelihood under ψ_d ≥ max(floor_d, shrink · variance_d).

    Without the bound a column's noise can run to 0 while the likelihood grows (Heywood 1931).

    Args:
        chunks: gives the rows anew at each call, as (x [n, D], weights [n] or None, seen [n, D] or None for all). It
            is called once where no cell is missing, else once per pass of EM. A weight of 2 counts as two rows.
        width: D.
        rank: r, from 0 to D; None lets the table choose, see `choose_rank`.
        noise: "diagonal", one variance per column, or "isotropic", one for all: principal components.
        floor: smallest noise variance, a number or [D]; above 0.
        shrink: smallest noise variance as a share of the column's own.
        passes: passes of EM at most.
        total: adds up the sums of processes that share the rows.
        unrelated: rows that count beside the table's own, of columns of the same variances that have nothing to do
            with each other: they draw all covariances towards 0. The penalty is that of an inverse Wishart prior.

    Raises:
        ConfigError: a rank or floor out of range.
        DataError: no row with a weight.

    >>> x = torch.randn(500, 1, generator=torch.Generator().manual_seed(0)) @ torch.tensor([[1.0, 2.0, 3.0]])
    >>> fitted = fit_factors(lambda: [(x, None, None)], width=3, rank=1)
    >>> (fitted.loadings[:, 0] / fitted.loadings[0, 0]).round(decimals=1).tolist()
    [1.0, 2.0, 3.0]
    """
    floor = torch.as_tensor(floor, dtype=torch.float64).expand(width)
    if not bool((floor > 0).all()):
        raise ConfigError(f"the smallest noise variance is {float(floor.min())}; it must be above 0")
    if rank is not None and not 0 <= rank <= width:
        raise ConfigError(f"{rank} factors of {width} columns; allowed are 0 to {width}")
    pairs = Pairs(width)
    for x, weights, seen in chunks():
        pairs.add(x, weights, seen)
    pairs.merge(total)
    if not pairs.weight > 0:
        raise DataError("a factor model needs at least one row with a weight above 0")
    mean, covariance = pairs.mean_and_covariance()
    variance = covariance.diagonal()
    bound = torch.maximum(floor, shrink * (variance if noise == "diagonal" else variance.mean()))
    rank = choose_rank(covariance, float(pairs.count.mean())) if rank is None else rank
    prior, weight = variance.clamp_min(0.0).diag(), pairs.weight
    covariance = drawn_apart(covariance, weight, unrelated)
    start = _principal(mean, covariance, rank, noise, bound, pairs.there)
    if rank == 0 or (noise == "isotropic" and not pairs.gaps):
        return _canonical(start)
    if not pairs.gaps:
        return _em(lambda at: sums_of_moments(covariance, at), start, noise, bound, passes)
    if unrelated == 0:
        return _em(lambda at: sums_of_rows(chunks(), at, total), start, noise, bound, passes)

    def sums(at: Factors) -> Sums:
        return _beside(sums_of_rows(chunks(), at, total), weight, sums_of_moments(prior, at), unrelated)

    return _em(sums, start, noise, bound, passes)


def factors_of_covariance(
    mean: Tensor, covariance: Tensor, rank: int, floor: Tensor, shrink: float, passes: int = PASSES
) -> Factors:
    """The likeliest factor model with a noise of each column's own, of rows without gaps with these moments."""
    variance = covariance.diagonal()
    bound = torch.maximum(floor, shrink * variance)
    start = _principal(mean, covariance, rank, "diagonal", bound, variance > 0)
    return _em(lambda at: sums_of_moments(covariance, at), start, "diagonal", bound, passes)


def drawn_apart(covariance: Tensor, weight: float, unrelated: float) -> Tensor:
    """A covariance of so many rows with `unrelated` rows of unrelated columns beside them: shrunk to its diagonal."""
    if unrelated == 0:
        return covariance
    return (weight * covariance + unrelated * covariance.diagonal().diag()) / (weight + unrelated)


def _beside(found: Sums, weight: float, of_moments: Sums, rows: float) -> Sums:
    """The sums of a pass over rows of a weight, with those of `rows` rows of given moments; value per row."""
    value = (weight * found.value + rows * of_moments.value) / (weight + rows)
    parts = (a + rows * b for a, b in zip(found[1:], of_moments[1:], strict=True))
    return Sums(value, *parts)


def choose_rank(covariance: Tensor, n: float) -> int:
    """Number of eigenvalues of the correlation that noise in n rows would not show, at most 32 and below D.

    The largest eigenvalue of n rows of D independent columns is μ + σ T with μ = (√n + √D)² / n and
    σ = (√n + √D) (1/√n + 1/√D)^⅓ / n, and T is below 3.3 in 999 of 1,000 tables (Johnstone 2001,
    doi:10.1214/aos/1009210544).
    """
    there = covariance.diagonal() > 0
    width = int(there.sum())
    if width < 2:
        return 0
    scale = torch.where(there, covariance.diagonal(), 1.0).rsqrt()
    values = torch.linalg.eigvalsh(covariance * scale * scale[:, None])
    root = math.sqrt(n) + math.sqrt(width)
    edge = (root**2 + TRACY_WIDOM * root * (n**-0.5 + width**-0.5) ** (1 / 3)) / n
    return min(int((values > edge).sum()), MOST, width - 1)


def _principal(mean: Tensor, covariance: Tensor, rank: int, noise: Noise, bound: Tensor, there: Tensor) -> Factors:
    """Probabilistic principal components, of the correlation where each column has its own noise."""
    variance = covariance.diagonal()
    scale = torch.where(variance > 0, variance, 1.0).sqrt() if noise == "diagonal" else torch.ones_like(variance)
    values, vectors = torch.linalg.eigh(covariance / scale / scale[:, None])
    values, vectors = values.flip(-1).clamp_min(0.0), vectors.flip(-1)
    rest = float(values[rank:].mean()) if rank < len(values) else 0.0
    if noise == "isotropic":
        rest = max(rest, float(bound.max()))
        psi = torch.full_like(variance, rest)
    loadings = scale[:, None] * vectors[:, :rank] * (values[:rank] - rest).clamp_min(0.0).sqrt()
    if noise == "diagonal":
        psi = variance - loadings.square().sum(1)
    return Factors(mean, loadings * there[:, None], torch.maximum(psi, bound))


def _em(sums: Callable[[Factors], Sums], start: Factors, noise: Noise, bound: Tensor, passes: int) -> Factors:
    """Climb from `start`; the numbers that are extrapolated have no units, and ψ is its logarithm."""
    width, rank = start.loadings.shape
    unit = (start.noise + start.loadings.square().sum(1)).sqrt()

    def pack(at: Factors) -> Tensor:
        return torch.cat([(at.mean - start.mean) / unit, (at.loadings / unit[:, None]).flatten(), at.noise.log()])

    def unpack(flat: Tensor) -> Factors:
        mean, loadings, psi = flat[:width], flat[width:-width], flat[-width:]
        return Factors(
            start.mean + mean * unit, loadings.reshape(width, rank) * unit[:, None], torch.maximum(psi.exp(), bound)
        )

    def step(flat: Tensor) -> tuple[float, Tensor]:
        at = unpack(flat)
        found = sums(at)
        return found.value, pack(_maximised(at, found, noise, bound))

    return _canonical(unpack(climb(step, pack(start), passes, GAIN)))


def _maximised(at: Factors, sums: Sums, noise: Noise, bound: Tensor) -> Factors:
    """One regression on the factors per column, then the factors get mean 0 and covariance 1 again."""
    unseen = (sums.weight == 0).double()[:, None, None] * torch.eye(sums.total.shape[0], dtype=torch.float64)
    if len(sums.by_column) == 1:
        lines = torch.linalg.solve(sums.by_column[0], sums.cross.T).T
    else:
        lines = torch.linalg.solve(sums.by_column + unseen, sums.cross)
    left = (sums.squares - (lines * sums.cross).sum(1)).clamp_min(0.0)
    if noise == "diagonal":
        psi = torch.maximum(left / sums.weight.clamp_min(1e-300), bound)
    else:
        psi = torch.maximum(left.sum() / sums.weight.expand(len(left)).sum(), bound)
    total = sums.total / sums.total[0, 0]
    center = total[0, 1:]
    spread = torch.linalg.cholesky(total[1:, 1:] - torch.outer(center, center))
    return Factors(at.mean + lines[:, 0] + lines[:, 1:] @ center, lines[:, 1:] @ spread, psi)


def _canonical(at: Factors) -> Factors:
    """Turn the factors so that Wᵀ Ψ⁻¹ W is diagonal and falls."""
    if at.loadings.shape[1] == 0:
        return at
    _, vectors = torch.linalg.eigh(at.loadings.T @ (at.loadings / at.noise[:, None]))
    loadings = at.loadings @ vectors.flip(-1)
    largest = loadings.gather(0, loadings.abs().argmax(0, keepdim=True))
    return dataclasses.replace(at, loadings=torch.where(largest < 0, -loadings, loadings))
