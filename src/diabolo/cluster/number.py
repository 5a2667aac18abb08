"""How many clusters there are, and whether there are any: valleys between the components of a mixture.

A mixture of Gaussians describes a skewed or bent cluster by several components, so their best number (BIC; Schwarz
1978; covariances all equal or each its own) is not the number of clusters. Two groups of rows are two clusters only if
the density between them is lower than at both: no unimodal density has a valley (Hartigan, Hartigan 1985). Rows are
halved at random, and one half gives the components. For two groups, each half gives the axis that separates them best
(Fisher 1936), both centers on it, and the emptiest place between; the other half is counted in three windows of one
width, at the centers and at that place. Under a density without a valley the middle count is about the smaller of the
other two or more, so with the counts of both halves

    p = max over the two sides of P[Bin(middle + side, ½) ≤ middle]

is small only by chance. The two groups of the largest p become one, until every p is at most 1 %. One group left means
that no cluster structure was found.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from diabolo.cluster.fitted import Components
from diabolo.cluster.partition import gaussian_mixture

__all__ = ["LEVEL", "MOST_CLUSTERS", "ClusterCount", "count_clusters", "valley"]

#: Largest p of two clusters.
LEVEL = 0.01
#: Components tried at most.
MOST_CLUSTERS = 30
#: Numbers of components in a row that may bring nothing before no more are tried.
PATIENCE = 3
#: Rows that are looked at: more make the counts no clearer where clusters matter.
MOST_ROWS = 8_000
#: Runs of EM from different starts for each number.
STARTS = 1
#: Rows below which a half says nothing.
FEWEST = 20


@dataclasses.dataclass
class ClusterCount:
    """The components found, and the course of the count."""

    components: Components
    #: BIC by number of components, from 1 on, nats per row; the smallest decides.
    bic: list[float]
    #: p of each two groups when they became one, in that order; then the largest p left, if any.
    p_values: list[float]


def count_clusters(z: np.ndarray, seed: int, most: int = MOST_CLUSTERS) -> ClusterCount:
    """Components of codes z [n, K], in as many groups as there are clusters; see the module."""
    order = np.random.default_rng(seed).permutation(len(z))[:MOST_ROWS]
    first, second = z[order[: len(order) // 2]], z[order[len(order) // 2 :]]
    if len(first) < FEWEST or not z.std(axis=0).max() > 0:
        return ClusterCount(gaussian_mixture(z, 1, seed), [], [])
    found, tied, bic = _by_bic(first, most, seed)
    group, p_values = _merged(found, first, second)
    whole = z[order] if len(z) > MOST_ROWS else z
    refitted = gaussian_mixture(whole, len(found.weights), seed, means=found.means, tied=tied)
    return ClusterCount(refitted.regrouped(group), bic, p_values)


def _by_bic(z: np.ndarray, most: int, seed: int) -> tuple[Components, bool, list[float]]:
    n, dims = z.shape
    best, tied_is_best = gaussian_mixture(z, 1, seed), False
    bic: list[float] = []
    for k in range(1, min(most, n // (dims + 2)) + 1):
        bic.append(np.inf)
        for tied in (True, False)[: min(k, 2)]:
            found = gaussian_mixture(z, k, seed, starts=STARTS, tied=tied)
            free = (k - 1) + k * dims + (1 if tied else k) * dims * (dims + 1) // 2
            criterion = -found.log_likelihood(z) + 0.5 * free * np.log(n) / n
            if criterion < min(bic):
                best, tied_is_best = found, tied
            bic[-1] = min(bic[-1], criterion)
        if k - 1 - int(np.argmin(bic)) >= PATIENCE:
            break
    return best, tied_is_best, bic


def _merged(found: Components, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, list[float]]:
    group = np.arange(len(found.weights))
    labels = [found.log_joint(half).argmax(axis=1) for half in (first, second)]
    p_values: list[float] = []
    known: dict[tuple[int, int], float] = {}
    while len(names := np.unique(group)) > 1:
        a, b = (group[label] for label in labels)
        for i, g in enumerate(names):
            for h in names[i + 1 :]:
                if (g, h) not in known:
                    known[g, h] = valley(first[a == g], first[a == h], second[b == g], second[b == h])
        (g, h), p = max(known.items(), key=lambda item: item[1])
        p_values.append(p)
        if p <= LEVEL:
            break
        group[group == h] = g
        known = {pair: p for pair, p in known.items() if g not in pair and h not in pair}
    return group, p_values


def valley(a: np.ndarray, b: np.ndarray, new_a: np.ndarray, new_b: np.ndarray) -> float:
    """The p of two groups of rows [·, K] being one; a and b are their parts in one half, new_a and new_b in the other.

    Each half chooses where to look, and the other is counted there.
    """
    counts = np.zeros(3, np.int64)
    for chosen, seen in (((a, b), (new_a, new_b)), ((new_a, new_b), (a, b))):
        counts += _windows(*chosen, np.concatenate(seen))
    from scipy.stats import binom  # half a second that reading a model file does not pay

    return float(max(binom.cdf(counts[1], counts[1] + side, 0.5) for side in (counts[0], counts[2])))


def _windows(a: np.ndarray, b: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """How many rows lie at the center of a, between, and at that of b, in windows of one width; zeros where unclear."""
    if min(len(a), len(b)) < 2:
        return np.zeros(3, np.int64)
    dims = a.shape[1]
    within = (np.cov(a.T).reshape(dims, dims) * len(a) + np.cov(b.T).reshape(dims, dims) * len(b)) / (len(a) + len(b))
    ridge = 1e-3 * np.trace(within) / dims + 1e-12
    axis = np.linalg.solve(within + ridge * np.eye(dims), b.mean(axis=0) - a.mean(axis=0))
    left, right = a @ axis, b @ axis
    low, high = float(np.median(left)), float(np.median(right))
    if not high > low:
        return np.zeros(3, np.int64)
    place = np.linspace(low, high, 101)[1:-1]
    density = np.zeros(len(place))
    for side, center in ((left, low), (right, high)):
        spread = max(float(side.std()), 1e-6 * (high - low))
        density += len(side) / spread * np.exp(-0.5 * np.square((place - center) / spread))
    middle = float(place[np.argmin(density)])
    width = min(middle - low, high - middle) / 3
    at = seen @ axis
    return np.array([(np.abs(at - where) <= width).sum() for where in (low, middle, high)], np.int64)
