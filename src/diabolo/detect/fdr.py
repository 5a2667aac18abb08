"""Benjamini-Hochberg: of the rows that are flagged in a table, at most a share q is normal, on average.

For m p-values p_(1) ≤ ... ≤ p_(m), reject the k smallest, k the largest with p_(k) ≤ q k / m (Benjamini, Hochberg
1995). Conformal p-values of one calibration set depend on each other, but positively (PRDS), and then the rule still
keeps E[false / max(1, rejected)] ≤ q (Bates, Candès, Lei, Romano, Sesia 2023, arXiv:2104.08279, theorem 2). That proof
is for calibration rows of equal weight, so not for groups.
"""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np

from diabolo.detect.conformal import Calibration
from diabolo.errors import CalibrationError, DataError
from diabolo.results import Result
from diabolo.screen import at_most_percent

__all__ = ["Discoveries", "benjamini_hochberg"]

#: Slack for rates such as 0.1, which have no exact binary form.
ROUNDING = 1 + 1e-12


def _check(q: object) -> float:
    if not (isinstance(q, numbers.Real) and not isinstance(q, bool) and 0 < float(q) < 1):
        raise CalibrationError(f"fdr = {q!r}; allowed are numbers above 0 and below 1")
    return float(q)


def benjamini_hochberg(p: np.ndarray, q: float) -> np.ndarray:
    """Which of m hypotheses are rejected at false discovery rate q.

    Args:
        p: [m] p-values.
        q: share in (0, 1).

    Returns:
        [m] bool.

    Raises:
        CalibrationError: q outside (0, 1).
        DataError: a p-value outside [0, 1].

    >>> benjamini_hochberg(np.array([0.001, 0.6, 0.02, 0.03]), 0.05).tolist()
    [True, False, True, True]
    """
    q, p = _check(q), np.asarray(p, np.float64)
    wrong = np.flatnonzero(~((p >= 0) & (p <= 1)))
    if len(wrong):
        raise DataError(f"p-value {wrong[0]} is {p[wrong[0]]}; allowed are numbers from 0 to 1")
    ordered = np.sort(p)
    passed = np.flatnonzero(ordered * len(p) <= q * np.arange(1, len(p) + 1) * ROUNDING)
    return p <= ordered[passed[-1]] if len(passed) else np.zeros(len(p), bool)


class Discoveries(Result):
    """Benjamini-Hochberg over a table of any length: of its rows it needs n + 1 counts alone.

    Among n calibration scores a row has one of n + 1 places, and its place decides its p-value. A row that cannot be
    scored is no test, and no discovery.

    Args:
        calibration: of the score that `add` is given.
        q: false discovery rate in (0, 1).

    Raises:
        CalibrationError: q outside (0, 1), or below 1/(n+1), where no table could show anything.
    """

    def __init__(self, calibration: Calibration, q: float) -> None:
        self.q, self.calibration = _check(q), calibration
        calibration.refuse_below("false discovery rate", q)
        self._counts = np.zeros(len(calibration) + 1, np.int64)

    def add(self, scores: np.ndarray) -> None:
        """Count rows, [b] scores; those that are not finite are passed over."""
        places = self.calibration.places(scores[np.isfinite(scores)])
        self._counts += np.bincount(places, minlength=len(self._counts))

    @property
    def tests(self) -> int:
        """m, the rows that could be scored."""
        return int(self._counts.sum())

    @property
    def needed(self) -> int:
        """Rows at the smallest p-value, 1/(n+1), without which nothing can be rejected: ⌈m / (q (n+1))⌉, at least 1."""
        return max(1, math.ceil(self.tests / (self.q * (self.calibration.units + 1) * ROUNDING)))

    @property
    def threshold(self) -> float:
        """t such that `score > t` is the rule; +inf where nothing is rejected."""
        at = self._place
        if at is None:
            return math.inf
        # Place a or above ⇔ at least a calibration scores lie strictly below.
        return float(self.calibration.scores[at - 1]) if at else -math.inf

    @property
    def rejected(self) -> int:
        """Rows that are discoveries."""
        return 0 if self._place is None else int(self._counts[self._place :].sum())

    @property
    def _place(self) -> int | None:
        """The first place among the calibration scores that is rejected."""
        at_or_above = np.cumsum(self._counts[::-1])[::-1]
        p = self.calibration.p_of_places()
        passed = np.flatnonzero((at_or_above > 0) & (p * self.tests <= self.q * at_or_above * ROUNDING))
        return int(passed[0]) if len(passed) else None

    def sentences(self) -> list[str]:
        """How many rows are discoveries, what that promises, and how many rows it takes."""
        c = self.calibration
        lines = [
            f"{self.rejected:,} discoveries among {self.tests:,} rows: on average at most {at_most_percent(self.q)} of "
            f"them are normal, where normal rows are exchangeable with the {c.said} (Benjamini-Hochberg)",
            f"nothing can be rejected before {self.needed:,} rows have the smallest p-value, 1/{c.units + 1:,}; more "
            f"calibration rows need fewer (diabolo calibrate)",
        ]
        if c.weights is not None:
            what = "have weights" if c.groups is None else "come in groups"
            lines.append(f"the calibration rows {what}: the rate is proved for independent rows of equal weight only")
        return lines

    def records(self) -> list[dict[str, Any]]:
        """One dict: the rate, the number of tests, how many were rejected, and the threshold."""
        return [{"fdr": self.q, "tests": self.tests, "discoveries": self.rejected, "threshold": self.threshold}]
