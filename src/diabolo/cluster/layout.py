"""UMAP's loss over points of their own: neighbors are pulled together, others pushed apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["curve", "laid_out"]

#: Longest step of a point by one other, before the rate.
CLIP = 4.0
#: Number of points that are pushed by the same others together, and of these others.
TOGETHER, OTHERS = 256, 16
#: Keeps the push between points that fall together finite.
SOFT = 1e-3
#: Spread of the starting points along the first direction.
START = 3.0


def curve(min_dist: float) -> tuple[float, float]:
    """a and b of 1/(1 + a d^2b), nearest to 1 up to min_dist and e^−(d − min_dist) beyond."""
    from scipy.optimize import curve_fit

    d = np.linspace(0, 3, 300)
    wanted = np.where(d < min_dist, 1.0, np.exp(-(d - min_dist)))
    (a, b), _ = curve_fit(lambda d, a, b: 1 / (1 + a * d ** (2 * b)), d, wanted, p0=(1.5, 0.9))
    return float(a), float(b)


def pull(squared: Tensor, a: float, b: float) -> Tensor:
    """c such that −∂(−log q)/∂e_i = c (e_i − e_j): at most 0."""
    safe = squared.clamp_min(1e-12)
    power = safe**b
    return -2 * a * b * power / safe / (1 + a * power)


def push(squared: Tensor, a: float, b: float) -> Tensor:
    """c such that −∂(−log(1 − q))/∂e_i = c (e_i − e_j), softened where points fall together: at least 0."""
    return 2 * b / ((SOFT + squared) * (1 + a * squared.clamp_min(1e-12) ** b))


def laid_out(
    graph: csr_array, start: np.ndarray, shape: tuple[float, float], epochs: int, negatives: int, seed: int
) -> np.ndarray:
    """Points [n, d] float64 of small cross-entropy with a graph's memberships (McInnes et al. 2018, algorithm 5).

    In each epoch an edge acts with a probability in proportion to its membership; each time some others of the n points
    stand for all that are no neighbors. Edges act in groups of about half as many as there are points. TOGETHER of them
    are pushed by the same OTHERS points, each by the share negatives/OTHERS: the same mean as `negatives` of their own,
    with less scatter, and by two small matrix products instead of a difference for each pair.

    Args:
        graph: memberships, a symmetric sparse matrix [n, n].
        start: first points [n, d].
        shape: a and b of `curve`.
        epochs: passes; the rate falls from 1 to 0.
        negatives: others for each edge.
        seed: of all choices.
    """
    coo = graph.tocoo()
    ends = torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64))
    chance = torch.from_numpy((coo.data / coo.data.max()).astype(np.float32))
    points = torch.from_numpy(start.astype(np.float32))
    n, generator = len(points), torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        rate = 1 - epoch / epochs
        acting = torch.nonzero(torch.rand(len(chance), generator=generator) < chance)[:, 0]
        acting = acting.index_select(0, torch.randperm(len(acting), generator=generator))
        for part in acting.split(max(1, n // 2)):  # type: ignore[no-untyped-call]
            i, j = ends.index_select(1, part)
            here = points.index_select(0, i)
            gap = here - points.index_select(0, j)
            squared = gap.square().sum(1)
            step = _short(pull(squared, *shape), squared).unsqueeze(1) * gap
            away = _pushed(here, points, shape, generator).mul_(negatives / OTHERS)
            points += rate * _gathered(torch.stack([i, j]), torch.stack([step + away, -step]), n)
    return points.double().numpy()


def _gathered(rows: Tensor, steps: Tensor, n: int) -> Tensor:
    """[n, d] sums of steps [r, m, d] by rows [r, m]."""
    from scipy.sparse import csc_array

    m = rows.numel()
    # One entry in each column: several times as fast as index_add_.
    share = csc_array((np.ones(m, np.float32), rows.flatten().numpy(), np.arange(m + 1)), shape=(n, m))
    return torch.from_numpy(share @ steps.flatten(0, 1).numpy())


def _short(coefficient: Tensor, squared: Tensor) -> Tensor:
    """A coefficient of at most 0 of a difference of length d, bounded so that the step is CLIP long at most."""
    return coefficient.maximum(-CLIP * squared.clamp_min(1e-12).rsqrt())


def _pushed(here: Tensor, points: Tensor, shape: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Sum of the pushes on points [m, d] by OTHERS of the points [n, d] each, the same ones for TOGETHER in a row."""
    m, d = here.shape
    groups = -(-m // TOGETHER)
    mine = torch.nn.functional.pad(here, (0, 0, 0, groups * TOGETHER - m)).view(groups, TOGETHER, d)
    at = torch.randint(0, len(points), (groups * OTHERS,), generator=generator)
    others = points.index_select(0, at).view(groups, OTHERS, d)
    squared = torch.baddbmm(others.square().sum(-1).unsqueeze(1), mine, others.mT, alpha=-2.0)
    squared = squared.add_(mine.square().sum(-1, keepdim=True)).clamp_min_(1e-12)
    c = torch.minimum(push(squared, *shape), CLIP * squared.rsqrt())
    away = c.sum(-1, keepdim=True) * mine - c @ others
    return away.view(-1, d)[:m]
