"""Checks of the rows: whether the fit has seen them, and columns that give something away."""

from __future__ import annotations

import re

import numpy as np

from diabolo.data.hashing import hash_rows
from diabolo.report.alarms.base import Alarm, Finding, alarms
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
        if e.same_table:
            hashes = hash_rows(e.rows.values)
            fresh = hashes[~np.asarray(e.seen)]
            again = float(np.isin(fresh, hashes[np.asarray(e.seen)]).mean()) if len(fresh) else 0.0
            said = f"the training table itself; {percent(again)} of the rows kept apart equal a training row"
            if again > self.limit and not _few_patterns(e):
                return self.found(
                    "alarm",
                    said,
                    "Rows occur more than once, so scores of rows kept apart look better than those of new ones will. "
                    "Remove duplicates before the fit.",
                )
            return self.found("sound", said + "; numbers below are of rows kept apart")
        if e.seen is None:
            return self.found(
                "skipped", "the file keeps no hashes of so many training rows, so it cannot tell (fits to 200,000 rows)"
            )
        known = float(e.seen.mean())
        said = f"{percent(known)} of the rows were trained on"
        if known > self.limit and not _few_patterns(e):
            return self.found(
                "alarm",
                said,
                f"{number(int(e.seen.sum()))} rows of this table were trained on: whatever is measured on them looks "
                "better than it is. They are left out of the rates and errors on this page; evaluate on rows that the "
                "model has not seen.",
            )
        return self.found("sound", said)


def _few_patterns(e: Evidence) -> bool:
    """Whether equal rows are to be expected: fewer different rows than half of them."""
    hashes = hash_rows(e.rows.values[spaced(len(e.rows.values), 20_000)])
    return len(np.unique(hashes)) < 0.5 * len(hashes)


#: Names of columns that say what a row is.
LABEL = re.compile(
    r"(^|[_\W])(label|labels|target|class|truth|ground_?truth|y|y_true|outcome|is_(anomaly|outlier|fraud|signal)|anomaly|"
    r"outlier|fraud|process)$",
    re.IGNORECASE,
)


@alarms.register("columns")
class Columns(Alarm):
    """Leakage of columns: one that is named like a label, one that numbers the rows, one that copies another.

    An alarm for a column of at most 20 values with a label's name; for one whose rank correlation with the row number
    exceeds 0.99; and for two whose standardised values differ by less than 10⁻⁴ everywhere, up to sign.
    """

    place = 50
    title = "Leakage of columns"

    def __call__(self, e: Evidence) -> Finding:
        if e.is_image:
            return self.found("skipped", "pixels have no names, and neighbours may be alike")
        labels, numbers, copies = _labels(e), _numbering(e), _copies(e)
        parts, advice = [], []
        if labels:
            parts.append(f"named like a label: {', '.join(labels)}")
            advice.append(f"Leave labels out of the fit (--label {labels[0]}).")
        if numbers:
            parts.append(f"numbers the rows: {', '.join(numbers)}")
            advice.append(f"A row number or clock says nothing of new rows: leave it out (--exclude {numbers[0]}).")
        if copies:
            parts.append(f"the same column twice: {', '.join(f'{a} and {b}' for a, b in copies[:3])}")
            advice.append(f"A copied column counts twice in every score: leave one out (--exclude {copies[0][1]}).")
        if parts:
            return self.found("alarm", "; ".join(parts), " ".join(advice))
        return self.found("sound", f"none of {len(e.schema.names)} columns is a label, a row number or another's copy")


def _labels(e: Evidence) -> list[str]:
    values = e.rows.values[spaced(len(e.rows.values), 20_000)]
    out = []
    for i, name in enumerate(e.schema.names):
        if LABEL.search(name):
            v = values[:, i]
            if len(np.unique(v[np.isfinite(v)])) <= 20:
                out.append(name)
    return out


def _numbering(e: Evidence) -> list[str]:
    at = spaced(len(e.rows.values), 5_000)
    if len(at) < 50:
        return []
    values = e.rows.values[at]
    place = np.arange(len(at), dtype=float)
    out = []
    for i, column in enumerate(e.schema.columns):
        v = values[:, i]
        if column.kind in ("constant", "categorical", "boolean", "angle") or not np.isfinite(v).all():
            continue
        rank = np.argsort(np.argsort(v, kind="stable"), kind="stable")
        if len(np.unique(v)) > 0.9 * len(v) and abs(np.corrcoef(rank, place)[0, 1]) > 0.99:
            out.append(column.name)
    return out


def _copies(e: Evidence) -> list[tuple[str, str]]:
    """Pairs of columns that are the same numbers, up to scale, where they are there: at least 50 rows, three values."""
    some = e.rows.values[spaced(len(e.rows.values), 4_000)]
    there = e.present(some)
    kinds = ("real", "date", "integer", "count", "ordinal", "angle")
    able = [i for i, c in enumerate(e.schema.columns) if c.kind in kinds and there[:, i].sum() >= 50]
    able = [i for i in able if len(np.unique(some[there[:, i], i])) > 2][:1_000]
    v = np.zeros((len(some), len(able)))
    for k, i in enumerate(able):
        cells = some[there[:, i], i].astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            v[there[:, i], k] = (cells - cells.mean()) / (cells.std() or 1.0)
    close = np.abs(v.T @ v)
    size = np.diag(close)
    out = []
    for a, b in np.argwhere(np.triu(close > 0.9999 * np.sqrt(np.outer(size, size)), 1)):
        sign = np.sign(v[:, a] @ v[:, b])
        if np.abs(v[:, a] - sign * v[:, b]).max() < 1e-4 * max(1.0, float(np.abs(v[:, a]).max())):
            out.append((e.schema.names[able[a]], e.schema.names[able[b]]))
    return out
