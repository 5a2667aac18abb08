"""Neighbors of rows: the exact nearest ones, and UMAP's fuzzy graph of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["correlated", "fuzzy_graph", "nearest_neighbors", "principal"]

#: Distances that are looked at together: 64 MiB of them.
PAIRS = 1 << 24
#: Halvings of the interval of a row's scale.
HALVINGS = 32


def principal(x: np.ndarray, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean [D] and directions [D, d] of the largest variance of rows x [n, D], d ≤ dims."""
    mean = x.mean(axis=0, dtype=np.float64)
    centered = (x - mean).astype(np.float32)
    values, vectors = np.linalg.eigh((centered.T @ centered).astype(np.float64) / len(x))
    kept = np.argsort(-values)[: min(dims, x.shape[1])]
    return mean, vectors[:, kept]


def correlated(x: np.ndarray) -> np.ndarray:
    """Rows x [n, D] with mean 0 and length 1, so that |x_i − x_j|² = 2 − 2r with r their correlation; 0 if uniform.

    Global contrast normalization (Goodfellow et al. 2013, arXiv:1302.4389) where rows are images.
    """
    centered = x - x.mean(axis=1, keepdims=True)
    length = np.sqrt(np.square(centered).sum(axis=1, keepdims=True))
    # Rounding of a uniform row must not become a direction of its own.
    uniform = length <= 1e-4 * np.abs(x).max(axis=1, keepdims=True) * np.sqrt(x.shape[1])
    return np.asarray(np.where(uniform, 0, centered / np.where(uniform, 1, length)), x.dtype)


def nearest_neighbors(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions and distances [n, k] of the k nearest other rows of x [n, D], nearest first."""
    rows = torch.from_numpy(np.ascontiguousarray(x - x.mean(axis=0), np.float32))
    n, half = len(rows), 0.5 * rows.square().sum(1)
    places, distances = np.empty((n, k), np.int64), np.empty((n, k))
    step = max(1, PAIRS // n)
    for start in range(0, n, step):
        part = rows[start : start + step]
        # |a − b|² / 2 without |a|², which is the same for all b.
        score = torch.addmm(half, part, rows.T, alpha=-1)
        score[torch.arange(len(part)), torch.arange(start, start + len(part))] = math.inf
        at = score.topk(k, largest=False).indices
        # Exact for the few that are kept: the product above loses digits of small distances.
        exact = (rows[at].double() - part[:, None].double()).square().sum(-1).sqrt()
        exact, order = exact.sort(dim=1, stable=True)
        places[start : start + len(part)] = at.gather(1, order).numpy()
        distances[start : start + len(part)] = exact.numpy()
    return places, distances


def fuzzy_graph(places: np.ndarray, distances: np.ndarray) -> csr_array:
    """Memberships of a neighbor graph's edges, a symmetric sparse matrix [n, n] (McInnes et al. 2018, algorithm 2).

    v(i→j) = exp(−max(0, d_ij − ρ_i) / σ_i), ρ_i the distance to the nearest and σ_i such that Σ_j v(i→j) = log₂ k;
    then the fuzzy union v + vᵀ − v ∘ vᵀ.
    """
    from scipy.sparse import csr_array

    n, k = places.shape
    beyond = distances - distances[:, :1]
    low, high = np.zeros(n), np.full(n, beyond.max() * 1e3 + 1e-12)
    target = math.log2(k) if k > 1 else 1.0
    for _ in range(HALVINGS * 2):
        middle = 0.5 * (low + high)
        total = np.exp(-beyond / middle[:, None]).sum(axis=1)
        low, high = np.where(total < target, middle, low), np.where(total < target, high, middle)
    floor = 1e-3 * distances.mean()
    one_way = np.exp(-beyond / np.maximum(0.5 * (low + high), floor + 1e-300)[:, None])
    graph = csr_array((one_way.ravel(), places.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n))
    return (graph + graph.T - graph * graph.T).tocsr()
