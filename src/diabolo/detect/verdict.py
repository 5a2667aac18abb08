"""The verdict of a monitor: whether new rows still fit a detector, in numbers and in sentences."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

from diabolo.results import Result
from diabolo.screen import percent

__all__ = ["ColumnDrift", "Health", "RateNow"]

#: Findings on columns that are named at most.
NAMED = 10


@dataclasses.dataclass(frozen=True)
class RateNow:
    """The false-alarm rate among new rows, beside the promised one."""

    promised: float
    now: float  #: share of the new rows that is flagged
    low: float  #: 95 % interval of the share that this detector flags where the new rows come from
    high: float
    usual_low: float  #: 95 % interval of `now` where nothing has changed
    usual_high: float
    p_value: float  #: adjusted, of a rate that has risen


@dataclasses.dataclass(frozen=True)
class ColumnDrift:
    """One test of one column: a share of its cells that was `before` and is `now`."""

    column: str
    #: "values", "missing", or "cost": −log p(x_c|z), the column's relation to the others.
    what: str
    p_value: float  #: adjusted for all tests
    drifted: bool
    distance: float  #: largest difference of shares
    of: str  #: the share is of cells "at or below", "above" or "equal to" `at`, "new" ones, or those "missing"
    at: float | str | None
    before: float
    now: float

    def __str__(self) -> str:
        what = {"values": "", "missing": "", "cost": "cost given the others "}[self.what]
        at = f"{self.at:.4g}" if isinstance(self.at, float) else str(self.at)
        share = {"missing": "missing", "new": "of no known value"}.get(self.of, f"{what}{self.of} {at}")
        return f"{self.column}: {share}: {self.before:.2%} → {self.now:.2%} (p = {self.p_value:.1g})"


@dataclasses.dataclass(frozen=True)
class Health(Result):
    """Whether new rows still fit a detector; p-values are adjusted, so that each may be compared with `level`."""

    healthy: bool
    level: float  #: probability of an alarm where nothing has changed, at most
    n_rows: int
    n_calibration: int
    n_groups: int | None  #: of the calibration rows, where they come in groups
    n_seen: int  #: new rows that are, by their contents, rows the autoencoder was trained on
    n_unscorable: int
    unscorable_p_value: float
    score: str
    distance: float  #: largest difference between the distributions of p-values, 0 to 1
    p_value: float  #: adjusted, of that difference
    rate: RateNow
    columns: tuple[ColumnDrift, ...]  #: the clearest first

    @property
    def drifted(self) -> tuple[str, ...]:
        """Names of the columns that have drifted, the clearest first."""
        return tuple(dict.fromkeys(c.column for c in self.columns if c.drifted))

    def sentences(self) -> list[str]:
        """The verdict, then rate, scores, rows without a score and columns, a line each."""
        r, level = self.rate, self.level
        verdict = "still fits" if self.healthy else "has changed"
        beside = f"{self.n_calibration:,} calibration rows" + (f" in {self.n_groups:,} groups" if self.n_groups else "")
        lines = [
            f"{verdict} ({self.n_rows:,} rows beside {beside}; false-alarm level {level:g})",
            f"  rate     your {percent(r.promised)} is now {percent(r.now)} [{percent(r.low)} to {percent(r.high)}]; "
            f"unchanged rows give {percent(r.usual_low)} to {percent(r.usual_high)} (p = {r.p_value:.2g})"
            f"{_mark(r.p_value, level)}",
            f"  scores   {self.score}: distance {self.distance:.3f} from the calibration rows' "
            f"(p = {self.p_value:.2g}){_mark(self.p_value, level)}",
        ]
        if self.n_unscorable:
            p = self.unscorable_p_value
            lines.append(f"  unscored {self.n_unscorable:,} rows could not be scored (p = {p:.2g}){_mark(p, level)}")
        drifted = [c for c in self.columns if c.drifted]
        lines.append(f"  columns  {len(self.drifted)} have drifted" if drifted else "  columns  none has drifted")
        lines += [f"    {c}" for c in drifted[:NAMED]]
        if len(drifted) > NAMED:
            lines.append(f"    ... and {len(drifted) - NAMED} more findings (--json lists all, in Python .to_frame())")
        if self.n_seen:
            lines.append(
                f"  {self.n_seen:,} rows are ones that the autoencoder was trained on: it knows those better than "
                "new ones"
            )
        return lines

    def records(self) -> list[dict[str, Any]]:
        """One dict for each test of a column, the clearest first."""
        return [dataclasses.asdict(c) for c in self.columns]

    def to_json(self) -> str:
        """All of it as one line of JSON; numbers that do not exist are null."""
        return json.dumps(_plain(dataclasses.asdict(self)), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _mark(p: float, level: float) -> str:
    return "  ALARM" if p <= level else ""
