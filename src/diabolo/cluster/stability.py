"""Whether clusters would come out again from other rows of the same kind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diabolo.cluster.fitted import FittedPartition
from diabolo.progress import tick

__all__ = ["most_likely", "stability"]

#: Rows that are drawn from.
MOST_ROWS = 4_000


def most_likely(proba: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cluster [n] int32, −1 where no belief is above 0, and the belief in it [n] float32."""
    at = proba.argmax(axis=1)
    confidence = proba[np.arange(len(proba)), at]
    return np.where(confidence > 0, at, -1).astype(np.int32), confidence.astype(np.float32)


def stability(
    z: np.ndarray, labels: np.ndarray, fit: Callable[[np.ndarray, int], FittedPartition], resamples: int, seed: int
) -> np.ndarray:
    """Adjusted Rand index (Hubert, Arabie 1985) of labels and those of a fit to a bootstrap resample, [resamples].

    Both label the rows z [n, K]; 1 is full agreement, 0 that of chance. `fit` takes positions of rows and a
    seed.
    """
    from sklearn.metrics import adjusted_rand_score

    rng = np.random.default_rng(seed)
    out = np.empty(resamples)
    rows = rng.permutation(len(z))[:MOST_ROWS]
    for i in range(resamples):
        tick(i, resamples, "resamples")
        drawn = rows[rng.integers(0, len(rows), len(rows))]
        again = most_likely(fit(drawn, seed + 1 + i).proba(z[rows]))[0]
        out[i] = adjusted_rand_score(labels[rows], again)
    return out
