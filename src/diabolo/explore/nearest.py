"""The nearest rows of each row by whitened codes."""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestNeighbors

from diabolo.explore.projection import Whitening

__all__ = ["nearest_rows"]


def nearest_rows(codes: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions [n, count] and distances [n, count] of the nearest other rows; −1 and NaN where there is none.

    Args:
        codes: [n, K]; a row whose code is not finite is nobody's neighbor and has none.
        count: of each row.

    >>> nearest_rows(np.array([[0.0], [1.0], [3.0], [np.nan]]), 1)[0].tolist()
    [[1], [0], [1], [-1]]
    """
    at = np.full((len(codes), count), -1)
    distance = np.full((len(codes), count), np.nan)
    good = np.flatnonzero(np.isfinite(codes).all(axis=1))
    most = min(count, len(good) - 1)
    if most < 1:
        return at, distance
    z = Whitening.of(codes)(codes[good])
    # Asked without rows, each is not its own neighbor.
    far, near = NearestNeighbors(n_neighbors=most).fit(z).kneighbors()
    at[good, :most], distance[good, :most] = good[near], far
    return at, distance
