"""Split-conformal p-values: false-alarm rates that hold for any score and any model.

For n calibration rows that the model has not seen, exchangeable with a new normal row,

    p(x) = (1 + #{i : s_i ≥ s(x)}) / (n + 1),      P(p ≤ α) ≤ α

(Vovk, Gammerman, Shafer 2005, ch. 2; Bates et al. 2023, arXiv:2104.08279). Given the calibration rows, the
realised rate of the rule p ≤ α follows Beta(l, n + 1 − l) with l = ⌊α (n + 1)⌋ when scores have no ties.

Rows that come in G groups (repeated measurements, copies) are not exchangeable; their groups may be. With the same
weight for each group,

    p(x) = (1 + Σ_g share of group g's rows with s_i ≥ s(x)) / (G + 1),      P(p ≤ α) ≤ α

for a row of a new group (Lee, Barber, Willett 2023, arXiv:2306.06342). G then takes the place of n, also in the law of
the realised rate, which it bounds: rows of one group that are not all alike scatter less.
"""

from __future__ import annotations

import math
import numbers
from fractions import Fraction

import numpy as np

from diabolo.errors import CalibrationError

__all__ = ["Calibration", "by_group", "counted", "default_rate", "rows_needed"]

#: Fewest calibration rows of a detector around an autoencoder that was fitted before: 1 % needs them.
FEWEST = 99
#: Rows up to which their own scatter is counted.
EXACT = 1_000_000


def default_rate(n: int) -> float:
    """max(0.01, 1/(n+1)): one per cent, or the smallest rate that n rows can guarantee."""
    return max(0.01, 1 / (n + 1))


def by_group(groups: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, int]:
    """Weights that give each group of rows the mean weight of its rows, and the number of groups.

    >>> by_group(np.array([7, 7, 9]), None)
    (array([0.5, 0.5, 1. ]), 2)
    """
    _, of, rows = np.unique(groups, return_inverse=True, return_counts=True)
    return (1.0 if weights is None else weights) / rows[of], len(rows)


def rows_needed(rate: float) -> int:
    """The fewest calibration rows n with 1/(n+1) ≤ rate, of any rate above 0.

    >>> rows_needed(0.01), len(str(rows_needed(1e-320)))
    (99, 321)
    """
    near = 1 / rate - 1 - 1e-9
    return math.ceil(near) if math.isfinite(near) else math.ceil(1 / Fraction(rate) - 1)


def counted(number: int) -> str:
    """A number of rows in words; one that nobody could count by its power of ten.

    >>> counted(39_999), counted(10**30)
    ('39,999', '10^30')
    """
    return f"{number:,}" if number < 10**15 else f"10^{len(str(number)) - 1}"


class Calibration:
    """The sorted scores of n calibration rows, with weights where rows had them."""

    def __init__(self, scores: np.ndarray, weights: np.ndarray | None = None, groups: int | None = None) -> None:
        """Scores [n] of rows that could be scored.

        Weights are scaled to mean 1 and a new row weighs 1 (weighted exchangeability, Tibshirani et al.
        2019, arXiv:1904.06019). Of rows in `groups` groups they come from `by_group`, and are scaled to that sum.
        """
        scores = np.asarray(scores, np.float64)
        order = np.argsort(scores, kind="stable")
        self.scores = scores[order]
        self.weights = None if weights is None else np.asarray(weights, np.float64)[order]
        self.groups = groups
        unit = np.ones(len(scores)) if self.weights is None else self.weights / self.weights.mean()
        if groups is not None:
            unit = unit * (groups / len(scores))
        #: Weight of calibration rows from each position upwards.
        self._above = np.append(np.cumsum(unit[::-1])[::-1], 0.0)

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def units(self) -> int:
        """What the promise counts: groups where rows have them, else rows."""
        return len(self) if self.groups is None else self.groups

    @property
    def counted(self) -> str:
        """The units in words: "120 rows", or "20 groups (120 rows)"."""
        return f"{len(self):,} rows" if self.groups is None else f"{self.groups:,} groups ({len(self):,} rows)"

    @property
    def said(self) -> str:
        """The same, as calibration rows."""
        number, rest = self.counted.split(" ", 1)
        return f"{number} calibration {rest}"

    def places(self, scores: np.ndarray) -> np.ndarray:
        """Number of calibration scores strictly below each score, [m] int64, from 0 to n."""
        return np.asarray(np.searchsorted(self.scores, scores, side="left"))

    def p_of_places(self) -> np.ndarray:
        """The p-value of each place, [n + 1] float64, falling from 1 to 1/(units + 1)."""
        # Sums of weights may exceed n by rounding.
        return np.minimum((1 + self._above) / (self.units + 1), 1.0)

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """p per row, [m] float64, from 1/(units + 1) to 1."""
        return np.asarray(self.p_of_places()[self.places(scores)])

    @property
    def size(self) -> float:
        """(Σw)² / Σw²: the number of rows of equal weight that say as much; n without weights, at most the groups."""
        if self.weights is None:
            return float(len(self))
        return min(float(self.weights.sum() ** 2 / np.square(self.weights).sum()), float(self.units))

    def as_units(self, rows: int) -> int:
        """How many units so many new rows are, where their groups are as large as those of the calibration."""
        return math.ceil(rows * self.units / len(self))

    def realised(self, rate: float, confidence: float = 0.95) -> tuple[float, float]:
        """Interval of the share of normal rows that is flagged, given these calibration rows.

        Beta(l, n + 1 − l) with l = ⌊rate (n + 1)⌋, exact for scores without ties; n is `size` where rows have weights.

        Returns:
            (low, high); the share lies between them with probability `confidence`.
        """
        from scipy.stats import beta

        at = self._at(rate)
        low, high = beta.ppf([(1 - confidence) / 2, (1 + confidence) / 2], at, max(self.size + 1 - at, 1e-9))
        return float(low), float(high)

    def most_flagged(self, rate: float, rows: int, level: float = 0.01) -> float:
        """Share of so many rows that is flagged at most, up to a chance of `level`, if they are exchangeable.

        The number flagged is beta-binomial: the realised rate of `realised`, and then the draw of the rows.
        """
        from scipy.stats import beta, betabinom

        m = self.as_units(rows)
        if not m:
            return 1.0
        law = (self._at(rate), max(self.size + 1 - self._at(rate), 1e-9))
        if m > EXACT:  # the draw of so many rows adds nothing to the scatter of the rate
            return float(beta.ppf(1 - level, *law))
        return float(betabinom.ppf(1 - level, m, *law)) / m

    def _at(self, rate: float) -> int:
        return max(1, math.floor(self.check_rate(rate) * (self.size + 1) * (1 + 1e-12)))

    def check_rate(self, rate: float) -> float:
        """Refuse a false-alarm rate that the calibration cannot guarantee.

        Raises:
            CalibrationError: outside (0, 1), or below 1/(units + 1), with the number that it needs.
        """
        if not (isinstance(rate, numbers.Real) and 0 < rate < 1):
            raise CalibrationError(f"false_alarm_rate = {rate!r}; allowed are numbers above 0 and below 1")
        self.refuse_below("false-alarm rate", rate)
        return float(rate)

    def refuse_below(self, what: str, rate: float) -> None:
        """Refuse a rate below 1/(units + 1), the smallest p-value.

        Raises:
            CalibrationError: with the number of rows or groups that it needs.
        """
        if rate < 1 / (self.units + 1) * (1 - 1e-12):
            needed, unit = rows_needed(rate), "rows" if self.groups is None else "groups"
            raise CalibrationError(
                f"a {what} of {rate:g} needs at least {counted(needed)} calibration {unit}, there are "
                f"{self.units:,}; calibrate on more {unit}, or allow a rate of {1 / (self.units + 1):.3g} or more",
                needed,
                unit,
            )

    def threshold(self, rate: float) -> float:
        """t such that `score > t` is the rule p ≤ rate: the ⌊rate (n+1)⌋-th largest calibration score."""
        self.check_rate(rate)
        allowed = rate * (self.units + 1) * (1 + 1e-12) - 1
        # p ≤ rate ⇔ weight at or above s is at most rate (n+1) − 1 ⇔ s lies above the first score too many.
        too_many = np.flatnonzero(self._above[:-1] > allowed)
        return float(self.scores[too_many[-1]]) if len(too_many) else -math.inf
