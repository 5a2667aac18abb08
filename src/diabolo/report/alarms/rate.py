"""The check of the flagged share and of all else that `diabolo health` tests: whether the rows still fit."""

from __future__ import annotations

from diabolo.detect.health import Health
from diabolo.report.alarms.base import Alarm, Finding, alarms
from diabolo.report.evidence import Evidence
from diabolo.report.html import percent

#: Probability of an alarm where nothing has changed; that of `diabolo health` by default.
LEVEL = 0.01
#: Columns named at most.
NAMED = 5


@alarms.register("rate")
class Rate(Alarm):
    """The flagged share beside the promised rate, and the verdict of `Monitor` on the rows.

    The page and `diabolo health` raise their alarm for the same rows: it is one test of scores, rate, rows that cannot
    be scored and columns, at one level.
    """

    place = 45
    title = "Flagged share, and whether the rows still fit"

    def __call__(self, e: Evidence) -> Finding:
        if e.detector is None:
            return self.found("skipped", "the file has no detector, so no rate is promised")
        if e.same_table:
            return self.found("skipped", "these rows set the threshold: give a table that the fit has not seen")
        monitor = e.detector.monitor(LEVEL)
        monitor.add(e.rows.values)
        h = monitor.report()
        r = h.rate
        said = (
            f"flagged {percent(r.now, 2)}, {percent(r.promised, 2)} promised; unchanged rows give "
            f"{percent(r.usual_low, 2)} to {percent(r.usual_high, 2)} (95 %)"
        )
        if h.healthy:
            return self.found("sound", said)
        return self.found(
            "alarm",
            f"{said}; changed: {', '.join(_changed(h))}",
            "The table holds anomalies, or its rows are not exchangeable with the calibration rows: copies, groups, "
            "another time or place. diabolo health MODEL DATA tells how they differ.",
        )


def _changed(h: Health) -> list[str]:
    """What is below the level, in words."""
    tests = {
        "the flagged share": h.rate.p_value,
        "the scores": h.p_value,
        "rows that cannot be scored": h.unscorable_p_value,
    }
    columns = list(h.drifted)
    named = [f"column {name}" for name in columns[:NAMED]]
    more = [f"{len(columns) - NAMED} more columns"] if len(columns) > NAMED else []
    return [*(what for what, p in tests.items() if p <= h.level), *named, *more]
