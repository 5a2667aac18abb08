"""Groups of a neighbor graph: the edges that a grouping cuts, and groups merged so that it cuts few."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["merged", "modularity", "shared"]


def shared(graph: csr_array, groups: np.ndarray, count: int) -> np.ndarray:
    """Shares of a graph's weight between groups, [count, count], sum 1.

    Args:
        graph: weights, a symmetric sparse matrix [n, n], some of them above 0.
        groups: [n] from 0 to count − 1.
        count: number of groups.
    """
    from scipy.sparse import csr_array

    n = len(groups)
    member = csr_array((np.ones(n), groups, np.arange(n + 1)), shape=(n, count))
    out = (member.T @ graph @ member).toarray()
    return np.asarray(out / out.sum())


def modularity(shares: np.ndarray) -> float:
    """Q = Σ_c e_cc − (Σ_b e_cb)², the weight inside groups, above its expectation by chance.

    The source is Newman, Girvan 2004 (arXiv:cond-mat/0308217); 0 for one group, below 1. `shares` e [count, count] are
    those of `shared`.
    """
    return float(np.trace(shares) - np.square(shares.sum(axis=1)).sum())


def merged(shares: np.ndarray, k: int) -> np.ndarray:
    """The group from 0 to k − 1 of each of the groups of `shares`, [count], merged two by two until k are left.

    Each time the two whose merger makes `modularity` largest: it grows by 2 (e_ab − a_a a_b), with a = Σ_b e_ab
    (Clauset, Newman, Moore 2004, arXiv:cond-mat/0408187).
    """
    shares, at = shares.copy(), np.arange(len(shares))
    while len(shares) > k:
        total = shares.sum(axis=1)
        gain = shares - np.outer(total, total)
        np.fill_diagonal(gain, -np.inf)
        i, j = sorted(np.unravel_index(gain.argmax(), gain.shape))
        shares[i] += shares[j]
        shares[:, i] += shares[:, j]
        shares = np.delete(np.delete(shares, j, axis=0), j, axis=1)
        at = np.where(at == j, i, np.where(at > j, at - 1, at))
    return at
