"""Amounts of information of samples, by distances to nearest neighbors."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree
from scipy.special import digamma, gammaln

from diabolo.errors import DataError
from diabolo.information.base import in_base

__all__ = ["sample_entropy", "sample_kl", "sample_mutual_information"]


def sample_entropy(x: ArrayLike, neighbors: int = 3, *, base: float | None = None) -> float:
    """Differential entropy of the density that drew x: ψ(n) − ψ(k) + log V_d + (d/n) Σ_i log r_i.

    r_i is the Euclidean distance of row i to its k-th neighbor, V_d the volume of the unit ball. (Kozachenko & Leonenko
    1987; with k neighbors: Kraskov, Stögbauer & Grassberger 2004, arXiv:cond-mat/0305641, equation 20.)

    Args:
        x: [n] or [n, d], continuous and finite; the bias grows with d.
        neighbors: k, from 1 to n − 1; more is smoother and less local.
        base: of the logarithm; None for nats, 2 for bits.

    Raises:
        DataError: x is not finite, has too few rows, or repeats rows as a continuous variable does not.

    >>> x = np.random.default_rng(0).uniform(0, 4, size=5000)
    >>> round(sample_entropy(x), 1)  # log 4 = 1.386
    1.4
    """
    rows = _rows("x", x, neighbors)
    n, d = rows.shape
    radius = _radii("x", rows, rows, neighbors)
    log_ball = d / 2 * np.log(np.pi) - gammaln(d / 2 + 1)
    return in_base(digamma(n) - digamma(neighbors) + log_ball + d * np.log(radius).mean(), base)


def sample_kl(x: ArrayLike, y: ArrayLike, neighbors: int = 3, *, base: float | None = None) -> float:
    """D_KL(p ‖ q) of x drawn from p and y drawn from q: (d/n) Σ_i log(s_i / r_i) + log(m / (n − 1)).

    r_i and s_i are the Euclidean distances of row i of x to its k-th neighbor in x and in y. The estimate can be
    slightly negative. It is too low as soon as p reaches where q has few draws, also far below log n, and finite where
    the divergence is not. (Wang, Kulkarni & Verdú 2009, doi 10.1109/TIT.2009.2016060.)

    Args:
        x: [n] or [n, d], continuous and finite.
        y: [m] or [m, d], in the same unit.
        neighbors: k, from 1 to n − 1 and to m.
        base: of the logarithm; None for nats, 2 for bits.

    Raises:
        DataError: a sample is not finite, has too few rows, or repeats rows, or the numbers of columns differ.

    >>> rng = np.random.default_rng(0)
    >>> round(sample_kl(rng.normal(0, 1, 5000), rng.normal(1, 1, 5000)), 1)  # two Gaussians one σ apart: 1/2
    0.5
    """
    a, b = _rows("x", x, neighbors), _rows("y", y, neighbors, itself=False)
    (n, d), m = a.shape, len(b)
    if b.shape[1] != d:
        raise DataError(f"x has {d} columns, y has {b.shape[1]}; allowed: the same columns in both")
    own, other = _radii("x", a, a, neighbors), _radii("x beside y", a, b, neighbors)
    return in_base(d * np.log(other / own).mean() + np.log(m / (n - 1)), base)


def sample_mutual_information(x: ArrayLike, y: ArrayLike, neighbors: int = 3, *, base: float | None = None) -> float:
    """I(X; Y) of paired rows: ψ(k) + ψ(n) − mean_i [ψ(a_i + 1) + ψ(b_i + 1)].

    a_i and b_i count the rows that are nearer to row i in x alone, in y alone, than its k-th neighbor is in both
    (largest difference of a coordinate). The estimate can be slightly negative. (Kraskov, Stögbauer & Grassberger 2004,
    arXiv:cond-mat/0305641, equation 8.)

    Args:
        x: [n] or [n, d], continuous and finite; bring columns to like scales, which leaves I as it is.
        y: [n] or [n, e], row for row with x.
        neighbors: k, from 1 to n − 1.
        base: of the logarithm; None for nats, 2 for bits.

    Raises:
        DataError: a sample is not finite, has too few rows, or repeats rows, or the numbers of rows differ.

    >>> x, y = np.random.default_rng(0).multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], size=5000).T
    >>> round(sample_mutual_information(x, y), 1)
    0.2
    """
    a, b = _rows("x", x, neighbors), _rows("y", y, neighbors)
    n = len(a)
    if len(b) != n:
        raise DataError(f"x has {n} rows, y has {len(b)}; allowed: one row of y per row of x")
    joint = np.hstack([a, b])
    # Strictly nearer: the k-th neighbor itself lies at the radius in one of the two.
    inside = np.nextafter(_radii("x with y", joint, joint, neighbors, norm=np.inf), 0)
    nearer = [cKDTree(side).query_ball_point(side, inside, p=np.inf, return_length=True) for side in (a, b)]
    # A row counts itself, which is the +1.
    return in_base(digamma(neighbors) + digamma(n) - (digamma(nearer[0]) + digamma(nearer[1])).mean(), base)


def _rows(name: str, values: ArrayLike, neighbors: int, itself: bool = True) -> np.ndarray:
    """[n, d], refused if a row has too few neighbors; with `itself` it is one of these rows, and does not count."""
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError) as cause:
        raise DataError(f"{name}: {cause}; allowed: numbers, [n] or [n, d]") from None
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or array.shape[1] == 0:
        raise DataError(f"{name}: shape {array.shape}; allowed: [n] or [n, d]")
    most = len(array) - itself
    if most < 1:
        raise DataError(f"{name}: {len(array)} rows came; allowed: {1 + itself} or more")
    if not (isinstance(neighbors, int | np.integer) and 1 <= neighbors <= most):
        raise DataError(
            f"neighbors {neighbors}: allowed are whole numbers from 1 to {most}, of the {len(array)} rows of {name}"
        )
    if not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array).all(1))[0])
        raise DataError(f"{name}: row {row} holds {array[row][~np.isfinite(array[row])][0]}; allowed: finite numbers")
    return array


def _radii(name: str, rows: np.ndarray, others: np.ndarray, neighbors: int, norm: float = 2.0) -> np.ndarray:
    """Distance of each row to its nearest neighbor of that rank among `others`; a row is not its own neighbor."""
    rank = neighbors + (others is rows)
    radius = np.asarray(cKDTree(others).query(rows, k=[rank], p=norm)[0])[:, 0]
    if not radius.all():
        raise DataError(
            f"{name}: {(radius == 0).sum()} rows have {neighbors} neighbors at distance 0; allowed: continuous values; "
            "raise neighbors, or count the values and use the functions of a distribution"
        )
    return radius
