"""Checks of the rows: whether the fit has seen them, and columns that give something away."""

from __future__ import annotations

import numpy as np

from diabolo.data.hashing import hash_rows
from diabolo.data.remarks import remarks
from diabolo.detect.doubts import equal_by_chance
from diabolo.report.alarms.base import Alarm, Finding, Status, alarms
from diabolo.report.evidence import Evidence, spaced
from diabolo.report.html import number, percent


@alarms.register("seen")
class Seen(Alarm):
    """Leakage of rows: a table that is taken for new holds rows that the model was trained on.

    An alarm if more than 0.1 % of the rows of another table were trained or stopped on, by their 64-bit hashes.
    """

    place = 40
    title = "Leakage of rows"
    limit = 0.001

    def __call__(self, e: Evidence) -> Finding:
        if e.same_table and e.seen is not None:
            hashes = hash_rows(e.rows.values)
            fresh = hashes[~np.asarray(e.seen)]
            again = float(np.isin(fresh, hashes[np.asarray(e.seen)]).mean()) if len(fresh) else 0.0
            said = f"the training table itself; {percent(again)} of the rows kept apart equal a training row"
            if again > self.limit and not _by_nature(e, again):
                return self.found(
                    "alarm",
                    said,
                    "Rows occur more than once, so scores of rows kept apart look better than those of new ones will. "
                    "Remove duplicates before the fit, or fit --group content.",
                )
            return self.found("sound", said + "; numbers below are of rows kept apart")
        if e.seen is None:
            return self.found(
                "skipped", "the file keeps no hashes of so many training rows, so it cannot tell (fits to 200,000 rows)"
            )
        known = float(e.seen.mean())
        said = f"{percent(known)} of the rows were trained on"
        if known > self.limit and not _by_nature(e, known):
            return self.found(
                "alarm",
                said,
                f"{number(int(e.seen.sum()))} rows of this table were trained on: whatever is measured on them looks "
                "better than it is. They are left out of the rates and errors on this page; evaluate on rows that the "
                "model has not seen.",
            )
        return self.found("sound", said)


def _by_nature(e: Evidence, share: float) -> bool:
    """Whether so many equal rows are to be expected of columns of few values."""
    values = e.rows.values[spaced(len(e.rows.values), 20_000)]
    return 2 * equal_by_chance(values, e.fitted.roles.rows) >= share


@alarms.register("columns")
class Columns(Alarm):
    """Leakage of columns: one that is named like a label, one that numbers the rows, one that copies another.

    An alarm for a column of at most 20 values with a name that only labels have; for one whose rank correlation with
    the row number exceeds 0.99; and for two that are the same numbers up to scale, or a few values that go with each
    other one to one. A note for a name that is often a label's, like class, for whole numbers that never repeat, and
    for whole numbers of more than 53 bits.
    """

    place = 50
    title = "Leakage of columns"

    def __call__(self, e: Evidence) -> Finding:
        if e.is_image:
            return self.found("skipped", "pixels have no names, and neighbours may be alike")
        names = e.schema.names
        found = remarks(e.rows.values, names, [c.dtype for c in e.schema.columns], e.present)
        if not found:
            return self.found("sound", f"none of {len(names)} columns is a label, a row number or another's copy")
        harmless = ("perhaps a label", "identifier", "rounded")
        status: Status = "note" if all(r.kind in harmless for r in found) else "alarm"
        more = f"; and {len(found) - 6} more" if len(found) > 6 else ""
        said = "; ".join(f"{r.column} {r.seen}" for r in found[:6]) + more
        return self.found(status, said, " ".join(f"{r.remedy[0].upper()}{r.remedy[1:]}." for r in found[:6]))
