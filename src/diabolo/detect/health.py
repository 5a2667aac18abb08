"""Whether new rows still fit: do their scores, their flags and their columns look like the calibration rows'?

All tests compare new rows with calibration rows and hold under the exchangeability that the false-alarm rate itself
rests on. Conformal p-values of many new rows share one calibration set: their spread around the uniform law is that of
n rows, however many there are, so that a test of one sample against U(0, 1) would raise its alarm on healthy data.

An alarm is raised with probability at most `level` where nothing has changed: half of it for the score, the rate and
the rows that cannot be scored, half for the columns, by the step-down rule of Holm (1979) within each half.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diabolo.data.hashing import hash_rows
from diabolo.detect.conformal import Calibration
from diabolo.detect.marginals import Counts, Difference, Marginals, fisher, kolmogorov
from diabolo.detect.monitored import monitored
from diabolo.detect.reference import Reference
from diabolo.detect.scoring import score_table
from diabolo.detect.verdict import ColumnDrift, Health, RateNow
from diabolo.errors import ConfigError, DataError

__all__ = ["ColumnDrift", "Health", "Monitor", "RateNow"]


class Monitor:
    """Counts new rows, as many as there are, in bounded memory; then says whether they fit.

    Args:
        reference: model and stored rows, for the score.
        score: its name.
        calibration: of that score.
        marginals: of the calibration rows.
        unscorable: rows that were left out of the calibration because they could not be scored.
        rate: false-alarm rate in use.
        row_hashes: sorted, of the rows that the autoencoder was trained on; None if they are not known.
        level: probability of an alarm where nothing has changed.

    Raises:
        ConfigError: level outside (0, 1).
    """

    def __init__(
        self,
        reference: Reference,
        score: str,
        calibration: Calibration,
        marginals: Marginals,
        unscorable: int,
        rate: float,
        row_hashes: np.ndarray | None = None,
        level: float = 0.01,
    ) -> None:
        self._reference = reference
        self._score = score
        self._calibration = calibration
        self._unscorable = unscorable
        self._rate = rate
        self._known = row_hashes
        self._level = _checked(level)
        self._threshold = calibration.threshold(rate)
        #: A new row is so much of a unit, if its groups are as large as those of the calibration.
        self._unit = calibration.units / len(calibration)
        self._counts = Counts(marginals, len(reference.model.encoding.schema.names), self._unit)
        #: By number of calibration scores strictly below, and below or equal.
        self._left = np.zeros(len(calibration) + 1, np.int64)
        self._right = np.zeros(len(calibration) + 1, np.int64)
        self._rows = self._bad = self._seen = self._flags = 0

    def add(self, values: np.ndarray) -> None:
        """Count rows [b, C] in the schema's order."""
        scores = score_table(self._reference, values, [self._score])[self._score]
        there = np.isfinite(scores)
        self._rows += len(values)
        self._bad += int((~there).sum())
        if self._known is not None and len(self._known):
            h = hash_rows(values)
            self._seen += int((self._known[np.searchsorted(self._known, h).clip(max=len(self._known) - 1)] == h).sum())
        scores, values = scores[there], values[there]
        self._flags += int((scores > self._threshold).sum())
        known = self._calibration.scores
        self._left += np.bincount(np.searchsorted(known, scores, side="left"), minlength=len(self._left))
        self._right += np.bincount(np.searchsorted(known, scores, side="right"), minlength=len(self._right))
        if len(values):
            self._counts.add(monitored(self._reference, values))

    def state(self) -> dict[str, Any]:
        """All that was counted, as plain JSON; `join` adds it up."""
        places = {"left": self._left.tolist(), "right": self._right.tolist()}
        rows = {"rows": self._rows, "bad": self._bad, "seen": self._seen, "flags": self._flags}
        return {**rows, **places, "columns": self._counts.state()}

    def join(self, state: Mapping[str, Any]) -> None:
        """Add what another monitor of this detector has counted, in whatever order: whole numbers are added."""
        self._rows += state["rows"]
        self._bad += state["bad"]
        self._seen += state["seen"]
        self._flags += state["flags"]
        self._left += np.asarray(state["left"], np.int64)
        self._right += np.asarray(state["right"], np.int64)
        self._counts.join(state["columns"])

    def report(self) -> Health:
        """The verdict on the rows so far.

        Raises:
            DataError: there were none.
        """
        if not self._rows:
            raise DataError("there are no rows; at least one is needed")
        n, scored = self._calibration.size, self._rows - self._bad
        bad, flags, m = (math.ceil(k * self._unit) for k in (self._bad, self._flags, scored))
        distance = self._distance()
        alike = kolmogorov(distance, n, m) if m else 1.0
        at = max(1, math.floor(self._rate * (n + 1) * (1 + 1e-12)))
        risen = fisher(at - 1, n, flags, m, risen=True)
        lost = fisher(self._unscorable, n + self._unscorable, bad, m + bad)
        alike, risen, lost = 2 * _holm([alike, risen, lost])
        columns = self._columns()
        healthy = min(alike, risen, lost, *(c.p_value for c in columns)) > self._level
        return Health(
            healthy=bool(healthy),
            level=self._level,
            n_rows=self._rows,
            n_calibration=len(self._calibration),
            n_groups=self._calibration.groups,
            n_seen=self._seen,
            n_unscorable=self._bad,
            unscorable_p_value=min(1.0, float(lost)),
            score=self._score,
            distance=distance,
            p_value=min(1.0, float(alike)),
            rate=self._rate_now(at, flags, m, min(1.0, float(risen))),
            columns=columns,
        )

    def _distance(self) -> float:
        """Kolmogorov's and Smirnov's D of new and calibration scores."""
        m = int(self._left.sum())
        if not m:
            return 0.0
        scores, w = self._calibration.scores, self._calibration.weights
        share = np.cumsum(np.ones(len(scores)) if w is None else w)
        share /= share[-1]
        new = np.diff(scores) > 0
        last, first = np.append(new, True), np.append(True, new)
        upto = np.cumsum(self._left)[:-1] / m  # new rows at or below each calibration score
        below = np.cumsum(self._right)[:-1] / m
        before = np.append(0.0, share[:-1])
        return float(max(np.abs(upto - share)[last].max(), np.abs(below - before)[first].max()))

    def _rate_now(self, at: int, k: int, m: int, p_value: float) -> RateNow:
        from scipy.stats import beta

        n, scored = self._calibration.size, self._rows - self._bad
        low = beta.ppf(0.025, k, m - k + 1) if k else 0.0
        high = beta.ppf(0.975, k + 1, m - k) if k < m else 1.0
        usual = [_quantile(q, at, n, m) / max(m, 1) for q in (0.025, 0.975)]
        share = self._flags / scored if scored else math.nan
        return RateNow(self._rate, share, float(low), float(high), usual[0], usual[1], p_value)

    def _columns(self) -> tuple[ColumnDrift, ...]:
        schema = self._reference.model.encoding.schema
        names, found = schema.names, []
        for f, name in enumerate([*names, *schema.output_names]):
            found.append((name, "values" if f < len(names) else "cost", self._counts.differ(f)))
            if f < len(names):
                found.append((name, "missing", self._counts.lacks(f)))
        adjusted = np.minimum(2 * _holm([d.p_value for *_, d in found]), 1.0)
        rows = [
            self._drift(name, what, difference, float(p))
            for (name, what, difference), p in zip(found, adjusted, strict=True)
        ]
        return tuple(sorted(rows, key=lambda c: (c.p_value, -c.distance)))

    def _drift(self, name: str, what: str, d: Difference, p: float) -> ColumnDrift:
        levels = self._reference.model.encoding.schema.levels.get(name)
        at: float | str | None = float(d.at) if math.isfinite(d.at) else None
        if levels is not None and at is not None and what == "values":
            at = levels[round(d.at)] if round(d.at) < len(levels) else "(not seen in the fit)"
        before, now = float(d.before), float(d.now)
        return ColumnDrift(name, what, p, p <= self._level, float(d.distance), d.of, at, before, now)


def _quantile(q: float, at: int, n: float, m: int) -> int:
    """The smallest k with P(X ≤ k) ≥ q, X ~ BetaBinomial(m, at, n + 1 − at) the flags among m unchanged rows."""
    low, high = 0, m
    while low < high:
        k = (low + high) // 2
        if 1 - fisher(at - 1, n, k + 1, m, risen=True) >= q:
            high = k
        else:
            low = k + 1
    return low


def _checked(level: object) -> float:
    if not (isinstance(level, numbers.Real) and not isinstance(level, bool) and 0 < float(level) < 1):
        raise ConfigError(f"level = {level!r}; allowed are numbers above 0 and below 1")
    return float(level)


def _holm(p: Sequence[float]) -> np.ndarray:
    """Adjusted p-values by Holm's step-down rule, [k], not capped at 1."""
    raw = np.asarray(p, np.float64)
    order = np.argsort(raw, kind="stable")
    adjusted = np.empty(len(raw))
    adjusted[order] = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1))
    return adjusted
