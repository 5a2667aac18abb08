"""UMAP's loss over points of their own: neighbors are pulled together, others pushed apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["cross_entropy", "curve", "laid_out"]

#: Longest step of a point along one dimension, before the rate.
CLIP = 4.0
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


def cross_entropy(squared: Tensor, membership: Tensor, a: float, b: float) -> Tensor:
    """−v log q − (1 − v) log(1 − q) per pair, q = 1/(1 + a d^2b), of squared distances d² > 0."""
    # log q = −log(1 + a d^2b), and log(1 − q) = log(a d^2b) + log q.
    odds = b * squared.log() + float(np.log(a))
    softplus = torch.nn.functional.softplus
    return membership * softplus(odds) + (1 - membership) * softplus(-odds)


def pull(squared: Tensor, a: float, b: float) -> Tensor:
    """c such that −∂(−log q)/∂e_i = c (e_i − e_j): at most 0."""
    safe = squared.clamp_min(1e-12)
    power = safe**b
    return -2 * a * b * power / safe / (1 + a * power)


def push(squared: Tensor, a: float, b: float) -> Tensor:
    """c such that −∂(−log(1 − q))/∂e_i = c (e_i − e_j), softened where points fall together: at least 0."""
    return 2 * b / ((SOFT + squared) * (1 + a * squared.clamp_min(1e-12) ** b))


def laid_out(
    graph: Any, start: np.ndarray, shape: tuple[float, float], epochs: int, negatives: int, seed: int
) -> np.ndarray:
    """Points [n, d] float64 of small cross-entropy with a graph's memberships (McInnes et al. 2018, algorithm 5).

    In each epoch an edge acts with a probability in proportion to its membership; each time some others of the n points
    stand for all that are no neighbors. Edges act in groups of about half as many as there are points.

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
        acting = acting[torch.randperm(len(acting), generator=generator)]
        for part in acting.split(max(1, n // 2)):  # type: ignore[no-untyped-call]
            i, j = ends[:, part]
            gap = points[i] - points[j]
            step = (pull(gap.square().sum(1), *shape).unsqueeze(1) * gap).clamp(-CLIP, CLIP)
            others = torch.randint(0, n, (len(part), negatives), generator=generator)
            wide = points[i].unsqueeze(1) - points[others]
            away = (push(wide.square().sum(-1), *shape).unsqueeze(-1) * wide).clamp(-CLIP, CLIP).sum(1)
            points.index_add_(0, j, step, alpha=-rate)
            points.index_add_(0, i, step + away, alpha=rate)
    return points.double().numpy()
