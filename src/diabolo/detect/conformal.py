"""Split-conformal p-values: false-alarm rates that hold for any score and any model.

For n calibration rows that the model has not seen, exchangeable with a new normal row,

    p(x) = (1 + #{i : s_i ≥ s(x)}) / (n + 1),      P(p ≤ α) ≤ α

(Vovk, Gammerman, Shafer 2005, ch. 2; Bates et al. 2023, arXiv:2104.08279). Given the calibration rows, the
realised rate of the rule p ≤ α follows Beta(l, n + 1 − l) with l = ⌊α (n + 1)⌋ when scores have no ties.
"""

from __future__ import annotations

import math
import numbers
from fractions import Fraction

import numpy as np

from diabolo.errors import CalibrationError

__all__ = ["Calibration", "counted", "default_rate", "rows_needed"]

#: Fewest calibration rows of a detector around an autoencoder that was fitted before: 1 % needs them.
FEWEST = 99


def default_rate(n: int) -> float:
    """max(0.01, 1/(n+1)): one per cent, or the smallest rate that n rows can guarantee."""
    return max(0.01, 1 / (n + 1))


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

    def __init__(self, scores: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Scores [n] of rows that could be scored.

        Weights are scaled to mean 1 and a new row weighs 1 (weighted exchangeability, Tibshirani et al.
        2019, arXiv:1904.06019).
        """
        scores = np.asarray(scores, np.float64)
        order = np.argsort(scores, kind="stable")
        self.scores = scores[order]
        self.weights = None if weights is None else np.asarray(weights, np.float64)[order]
        unit = np.ones(len(scores)) if self.weights is None else self.weights / self.weights.mean()
        #: Weight of calibration rows from each position upwards.
        self._above = np.append(np.cumsum(unit[::-1])[::-1], 0.0)

    def __len__(self) -> int:
        return len(self.scores)

    def places(self, scores: np.ndarray) -> np.ndarray:
        """Number of calibration scores strictly below each score, [m] int64, from 0 to n."""
        return np.asarray(np.searchsorted(self.scores, scores, side="left"))

    def p_of_places(self) -> np.ndarray:
        """The p-value of each place, [n + 1] float64, falling from 1 to 1/(n+1)."""
        # Sums of weights may exceed n by rounding.
        return np.minimum((1 + self._above) / (len(self) + 1), 1.0)

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """p per row, [m] float64, from 1/(n+1) to 1."""
        return np.asarray(self.p_of_places()[self.places(scores)])

    @property
    def size(self) -> float:
        """(Σw)² / Σw²: the number of rows of equal weight that say as much; n without weights."""
        if self.weights is None:
            return float(len(self))
        return float(self.weights.sum() ** 2 / np.square(self.weights).sum())

    def realised(self, rate: float, confidence: float = 0.95) -> tuple[float, float]:
        """Where the share of flagged normal rows lies for these very calibration rows, not on average over them.

        Beta(l, n + 1 − l) with l = ⌊rate (n + 1)⌋, exact for scores without ties; n is `size` where rows have weights.

        Returns:
            (low, high), which hold the share with probability `confidence`.
        """
        from scipy.stats import beta

        at = max(1, math.floor(self.check_rate(rate) * (self.size + 1) * (1 + 1e-12)))
        low, high = beta.ppf([(1 - confidence) / 2, (1 + confidence) / 2], at, max(self.size + 1 - at, 1e-9))
        return float(low), float(high)

    def check_rate(self, rate: float) -> float:
        """Refuse a false-alarm rate that n rows cannot guarantee.

        Raises:
            CalibrationError: outside (0, 1), or below 1/(n+1), with the n that it needs.
        """
        if not (isinstance(rate, numbers.Real) and 0 < rate < 1):
            raise CalibrationError(f"false_alarm_rate = {rate!r}; allowed are numbers above 0 and below 1")
        if rate < 1 / (len(self) + 1) * (1 - 1e-12):
            needed, least = counted(rows_needed(rate)), 1 / (len(self) + 1)
            raise CalibrationError(
                f"a false-alarm rate of {rate:g} needs at least {needed} calibration rows, there are {len(self):,}; "
                f"calibrate on more rows, or allow a rate of {least:.3g} or more"
            )
        return float(rate)

    def threshold(self, rate: float) -> float:
        """t such that `score > t` is the rule p ≤ rate: the ⌊rate (n+1)⌋-th largest calibration score."""
        self.check_rate(rate)
        allowed = rate * (len(self) + 1) * (1 + 1e-12) - 1
        # p ≤ rate ⇔ weight at or above s is at most rate (n+1) − 1 ⇔ s lies above the first score too many.
        too_many = np.flatnonzero(self._above[:-1] > allowed)
        return float(self.scores[too_many[-1]]) if len(too_many) else -math.inf
