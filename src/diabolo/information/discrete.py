"""Amounts of information of distributions and histograms."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import rel_entr, xlogy

from diabolo.errors import DataError
from diabolo.information.base import in_base

__all__ = [
    "normalize",
    "entropy",
    "cross_entropy",
    "kl_divergence",
    "symmetrized_kl",
    "js_divergence",
    "js_distance",
    "mutual_information",
]

#: How far from 1 a sum may lie: single-precision probabilities pass, percentages and counts do not.
TOLERANCE = 1e-5


def normalize(counts: ArrayLike) -> np.ndarray:
    """The distribution counts / Σ counts of a histogram, of any shape.

    Args:
        counts: numbers ≥ 0, not all 0. Of labels: `np.unique(labels, return_counts=True)[1]`; of numbers:
            `np.histogram(x, edges)[0]`, with the same edges for all that is compared.

    Raises:
        DataError: a number is negative or not finite, or all are 0.

    >>> normalize([3, 1, 0])
    array([0.75, 0.25, 0. ])
    """
    values = _masses("counts", counts)
    total = float(values.sum())
    if total == 0:
        raise DataError("counts: all are 0; a distribution needs at least one above 0")
    return values / total


def entropy(p: ArrayLike, *, widths: ArrayLike | None = None, base: float | None = None) -> float:
    """Shannon entropy H(p) = −Σ p log p, the mean code length of the best code for p.

    With the bins' `widths` w it is the differential entropy −Σ p log(p / w) of the density that is constant in each
    bin, which can be negative and depends on the unit of the axis.

    Args:
        p: any shape, numbers ≥ 0 that sum to 1.
        widths: > 0, of the shape of p or one number.
        base: of the logarithm; None for nats, 2 for bits.

    Raises:
        DataError: p is no distribution, or a width is not above 0.

    >>> entropy([0.5, 0.25, 0.25], base=2)
    1.5
    >>> round(entropy([0.5, 0.5], widths=[2.0, 2.0]), 4)  # uniform on [0, 4]: log 4
    1.3863
    """
    probabilities = _distribution("p", p)
    nats = -xlogy(probabilities, probabilities).sum()
    if widths is not None:
        w = np.asarray(widths, np.float64)
        if w.shape not in ((), probabilities.shape):
            raise DataError(f"widths: shape {w.shape}; allowed: one number, or the shape {probabilities.shape} of p")
        if not (np.isfinite(w) & (w > 0)).all():
            raise DataError(f"widths: {w[~(np.isfinite(w) & (w > 0))].flat[0]:g} came; allowed: finite numbers above 0")
        nats += (probabilities * np.log(w)).sum()
    return in_base(nats, base)


def cross_entropy(p: ArrayLike, q: ArrayLike, *, base: float | None = None) -> float:
    """Cross-entropy H(p, q) = −Σ p log q = H(p) + D_KL(p ‖ q): the mean length of p's symbols in the best code for q.

    Args:
        p, q: distributions of one shape; inf where q = 0 < p.
        base: of the logarithm; None for nats, 2 for bits.

    Raises:
        DataError: p or q is no distribution, or their shapes differ.

    >>> cross_entropy([0.5, 0.5], [0.25, 0.75], base=2) > entropy([0.5, 0.5], base=2)
    True
    """
    p, q = _pair(p, q)
    return in_base(-xlogy(p, q).sum(), base)


def kl_divergence(p: ArrayLike, q: ArrayLike, *, base: float | None = None) -> float:
    """Kullback-Leibler divergence D_KL(p ‖ q) = Σ p log(p / q) ≥ 0: the EXTRA length when p is coded as if it were q.

    It is 0 only for p = q, is not symmetric, and is inf where q = 0 < p. Of two histograms with the same bins it needs
    no widths: they cancel. (Kullback & Leibler 1951.)

    Args:
        p, q: distributions of one shape.
        base: of the logarithm; None for nats, 2 for bits.

    Raises:
        DataError: p or q is no distribution, or their shapes differ.

    >>> kl_divergence([1.0, 0.0], [0.5, 0.5], base=2), kl_divergence([0.5, 0.5], [1.0, 0.0])
    (1.0, inf)
    """
    p, q = _pair(p, q)
    return in_base(max(rel_entr(p, q).sum(), 0.0), base)


def symmetrized_kl(p: ArrayLike, q: ArrayLike, *, base: float | None = None) -> float:
    """Symmetrized Kullback-Leibler divergence ½ [D_KL(p ‖ q) + D_KL(q ‖ p)]: half of Jeffreys' divergence (1946).

    Lectures often write D_JS for it. It is not the Jensen-Shannon divergence, is inf as soon as one has a zero where
    the other has none, and neither it nor its square root is a metric.

    Args:
        p, q: distributions of one shape.
        base: of the logarithm; None for nats, 2 for bits.

    Raises:
        DataError: p or q is no distribution, or their shapes differ.

    >>> round(symmetrized_kl([0.75, 0.25], [0.25, 0.75]), 4)  # ½ log 3
    0.5493
    """
    p, q = _pair(p, q)
    return in_base(max((rel_entr(p, q) + rel_entr(q, p)).sum() / 2, 0.0), base)


def js_divergence(p: ArrayLike, q: ArrayLike, *, base: float | None = None) -> float:
    """Jensen-Shannon divergence ½ D_KL(p ‖ m) + ½ D_KL(q ‖ m) with m = (p + q)/2: from 0 to log 2, that is to 1 bit.

    It is the mutual information of a draw and of the coin that chose p or q. It is no metric: its square root,
    `js_distance`, is. (Lin 1991.)

    Args:
        p, q: distributions of one shape; always finite.
        base: of the logarithm; None for nats, 2 for bits.

    Raises:
        DataError: p or q is no distribution, or their shapes differ.

    >>> js_divergence([1.0, 0.0], [0.0, 1.0], base=2)
    1.0
    """
    p, q = _pair(p, q)
    total = p + q
    u = np.divide(p - q, total, out=np.zeros_like(total), where=total > 0)
    # Two forms of (1+u) log(1+u) + (1-u) log(1-u): one keeps its digits as u goes to 0, the other as it goes to ±1.
    far = xlogy(1 + u, 1 + u) + xlogy(1 - u, 1 - u)
    small = np.where(np.abs(u) < 0.5, u, 0.0)
    near = 2 * small * np.arctanh(small) + np.log1p(-(small**2))
    return in_base((total * np.where(np.abs(u) < 0.5, near, far)).sum() / 4, base)


def js_distance(p: ArrayLike, q: ArrayLike, *, base: float | None = None) -> float:
    """Jensen-Shannon distance √JSD(p, q), a metric: symmetric, 0 only for p = q, and the triangle inequality holds.

    The unit is the square root of a nat (of a bit for base 2, where it lies between 0 and 1). (Endres &
    Schindelin 2003, doi 10.1109/TIT.2003.813506.)

    Args:
        p, q: distributions of one shape.
        base: of the divergence's logarithm; None for nats, 2 for bits.

    Raises:
        DataError: p or q is no distribution, or their shapes differ.

    >>> js_distance([1.0, 0.0], [0.0, 1.0], base=2)
    1.0
    """
    return float(np.sqrt(js_divergence(p, q, base=base)))


def mutual_information(joint: ArrayLike, *, base: float | None = None) -> float:
    """Mutual information I(X; Y) = D_KL(p(x, y) ‖ p(x) p(y)) of a joint table: knowing one, the gain about the other.

    Args:
        joint: [number of x, number of y], numbers ≥ 0 that sum to 1.
        base: of the logarithm; None for nats, 2 for bits.

    Raises:
        DataError: joint is no distribution, or has not two axes.

    >>> mutual_information([[0.5, 0.0], [0.0, 0.5]], base=2)
    1.0
    """
    p = _distribution("joint", joint)
    if p.ndim != 2:
        raise DataError(f"joint: an array of {p.ndim} axes came; allowed: 2 axes, one per variable")
    return in_base(max(rel_entr(p, np.outer(p.sum(1), p.sum(0))).sum(), 0.0), base)


def _masses(name: str, values: ArrayLike) -> np.ndarray:
    array: np.ndarray
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError) as cause:
        raise DataError(f"{name}: {cause}; allowed: an array of numbers of 0 or more") from None
    if array.size == 0:
        raise DataError(f"{name}: no numbers came; allowed: one or more")
    wrong = ~(np.isfinite(array) & (array >= 0))
    if wrong.any():
        at = ", ".join(str(i) for i in np.argwhere(wrong)[0])
        raise DataError(f"{name}: {array[wrong][0]:g} at [{at}]; allowed: finite numbers of 0 or more")
    return array


def _distribution(name: str, values: ArrayLike) -> np.ndarray:
    array = _masses(name, values)
    total = float(array.sum())
    if abs(total - 1) > TOLERANCE:
        raise DataError(f"{name}: sums to {total:.6g}; allowed: a sum of 1; for counts, pass normalize({name})")
    return array / total


def _pair(p: ArrayLike, q: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    first, second = _distribution("p", p), _distribution("q", q)
    if first.shape != second.shape:
        raise DataError(f"p has the shape {first.shape}, q {second.shape}; allowed: one shape, the same bins in both")
    return first, second
