"""Fitted partitions: plain arrays, from which the cluster of any row follows."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np

__all__ = ["Components", "Exemplars", "FittedPartition"]

#: Rows that are looked at together.
CHUNK = 4_096


class FittedPartition(Protocol):
    @property
    def n_clusters(self) -> int: ...

    def proba(self, z: np.ndarray) -> np.ndarray:
        """Belief that rows z [n, K] belong to each cluster, [n, clusters] float64; a row of zeros belongs to none."""
        ...


@dataclasses.dataclass
class Components:
    """Gaussian components, of which each cluster has one or several.

    p(j|z) = Σ_{c in j} w_c N(z; m_c, S_c) / Σ_c w_c N(z; m_c, S_c).

    Attributes:
        weights: [c], sum 1.
        means: [c, K].
        covariances: [c, K, K], positive definite.
        group: [c] int64, the cluster of each component; every cluster from 0 on has one.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    group: np.ndarray

    def __post_init__(self) -> None:
        lower = np.linalg.cholesky(self.covariances)
        self._whiten = np.linalg.inv(lower)
        self._log_det = np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)

    @property
    def n_clusters(self) -> int:
        return int(self.group.max()) + 1

    def log_joint(self, z: np.ndarray) -> np.ndarray:
        """log w_c N(z; m_c, S_c), [n, c]."""
        out = np.empty((len(z), len(self.weights)))
        constant = np.log(self.weights) - self._log_det - 0.5 * z.shape[1] * np.log(2 * np.pi)
        for c, (mean, whiten) in enumerate(zip(self.means, self._whiten, strict=True)):
            # Not by a matrix product, whose last digits depend on the number of rows.
            out[:, c] = constant[c] - 0.5 * np.square(np.einsum("nk,jk->nj", z - mean, whiten)).sum(axis=1)
        return out

    def log_likelihood(self, z: np.ndarray) -> float:
        """Mean log-density of rows, nats."""
        from scipy.special import logsumexp

        return float(logsumexp(self.log_joint(z), axis=1).mean())

    def proba(self, z: np.ndarray) -> np.ndarray:
        joint = self.log_joint(z)
        from scipy.special import logsumexp

        each = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
        out = np.zeros((len(z), self.n_clusters))
        for c, j in enumerate(self.group):
            out[:, j] += each[:, c]
        return out

    def regrouped(self, group: np.ndarray) -> Components:
        """The same components in other clusters, numbered from 0 by falling weight."""
        names, inverse = np.unique(group, return_inverse=True)
        weight = np.bincount(inverse, self.weights, len(names))
        rank = np.empty(len(names), np.int64)
        rank[np.argsort(-weight, kind="stable")] = np.arange(len(names))
        return dataclasses.replace(self, group=rank[inverse])


@dataclasses.dataclass
class Exemplars:
    """Rows with their clusters; another row follows the nearest of them, unless that one is out of reach.

    Attributes:
        points: [m, K].
        labels: [m] int64, −1 for a row of no cluster.
        confidence: [m] from 0 to 1.
        reach: farther than this from every one of them, a row belongs to no cluster.
    """

    points: np.ndarray
    labels: np.ndarray
    confidence: np.ndarray
    reach: float

    @property
    def n_clusters(self) -> int:
        return max(1, int(self.labels.max(initial=-1)) + 1)

    def proba(self, z: np.ndarray) -> np.ndarray:
        from sklearn.neighbors import NearestNeighbors

        out = np.zeros((len(z), self.n_clusters))
        search = NearestNeighbors(n_neighbors=1).fit(self.points)
        for start in range(0, len(z), CHUNK):
            distance, at = (a[:, 0] for a in search.kneighbors(z[start : start + CHUNK]))
            label = self.labels[at]
            rows = np.flatnonzero((label >= 0) & (distance <= self.reach))
            out[start + rows, label[rows]] = self.confidence[at[rows]]
        return out
