"""What a look at the columns of a table says before a fit: a label, a row number, a clock, an identifier, a copy.

The one place for it: `diabolo fit`, `diabolo info` and the report print the same remarks.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from diabolo.data.dtypes import TEXT, is_date, is_time
from diabolo.data.usable import flags

__all__ = ["LOOKED", "Remark", "remarks"]

RemarkKind = Literal["label", "perhaps a label", "count", "clock", "identifier", "copy", "rounded"]

#: Rows that are looked at, and the fewest that say anything.
LOOKED, FEWEST = 5_000, 50
#: Names of columns that say what a row is, and names that often do.
LABEL = re.compile(
    r"(^|[_\W])(label|labels|target|truth|ground_?truth|y_true|outcome|is_(anomaly|outlier|fraud|signal)|anomaly|outlier|"
    r"fraud)$",
    re.IGNORECASE,
)
OFTEN = re.compile(r"(^|[_\W])(class|y|process)$", re.IGNORECASE)
#: Whole numbers from here on may have no double of their own.
EXACT = 2.0**53
#: Different values of a label at most.
MOST_CLASSES = 20


@dataclasses.dataclass(frozen=True)
class Remark:
    """Something to know of a column, and what to do about it.

    Attributes:
        kind: what was seen.
        column: the name of the column.
        seen: a sentence without its subject.
        remedy: the option that acts on it.
    """

    kind: RemarkKind
    column: str
    seen: str
    remedy: str

    @property
    def line(self) -> str:
        return f"{self.column!r} {self.seen}: {self.remedy}"


def remarks(
    values: np.ndarray,
    names: Sequence[str],
    dtypes: Sequence[str],
    present: Callable[[np.ndarray], np.ndarray] = np.isfinite,
) -> list[Remark]:
    """Remarks on the columns of rows in their order in the file.

    Args:
        values: [n, C] cells as numbers; `LOOKED` of them are looked at, evenly spaced.
        names: C names.
        dtypes: C type names.
        present: which cells [m, C] are there.
    """
    some = values[np.unique(np.linspace(0, len(values) - 1, min(LOOKED, len(values))).astype(int))]
    there = present(some)
    out = [r for i in range(len(names)) for r in _of_one(some[there[:, i], i], some[:, i], names[i], dtypes[i])]
    # p_y beside p_x is a coordinate.
    out = [r for r in out if not (r.column[-2:] in ("_y", ".y") and f"{r.column[:-1]}x" in names)]
    alone = {r.column for r in out}
    for first, second in _copies(some, there, dtypes):
        if names[second] not in alone:
            said = f"is a copy of {names[first]!r}, and counts twice in every score"
            out.append(Remark("copy", names[second], said, flags("--exclude", [names[second]])))
    return out


def _of_one(there: np.ndarray, column: np.ndarray, name: str, dtype: str) -> list[Remark]:
    if dtype.lower() in ("int64", "uint64") and np.abs(there).max(initial=0) >= EXACT:
        said = "has whole numbers of more than 53 bits, whose last digits are lost, so that some that differ are equal"
        return [Remark("rounded", name, said, f"give it less a constant, or {flags('--exclude', [name])}")]
    different = len(np.unique(there))
    sure, often = LABEL.search(name), OFTEN.search(name)
    if (sure or often) and 2 <= different <= MOST_CLASSES:
        remedy = f"if it says what a row is, {flags('--label', [name])} keeps it out of the fit"
        return [Remark("label" if sure else "perhaps a label", name, "is named like a label", remedy)]
    n = len(column)
    if n < FEWEST or len(there) < n or dtype in TEXT or is_time(dtype) or different <= 0.9 * n:
        return []
    rank = np.argsort(np.argsort(column, kind="stable"), kind="stable")
    if abs(np.corrcoef(rank, np.arange(n))[0, 1]) > 0.99:
        dated = is_date(dtype)
        said = (
            "rises with the rows like a clock, so that new rows lie beyond it"
            if dated
            else ("counts up with the rows, which says nothing of new ones")
        )
        return [Remark("clock" if dated else "count", name, said, flags("--exclude", [name]))]
    if different == n and not is_date(dtype) and _whole(column):
        said = "holds another whole number in every row, like an identifier"
        return [Remark("identifier", name, said, f"if it only names rows, {flags('--exclude', [name])}")]
    return []


def _whole(column: np.ndarray) -> bool:
    """Whether all are whole numbers; beyond `EXACT` every double is one, and that says nothing."""
    return bool((column == np.round(column)).all() and np.abs(column).max() < EXACT)


def _copies(some: np.ndarray, there: np.ndarray, dtypes: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of columns that are the same: numbers up to scale, or a few values that go with each other one to one."""
    return sorted({**_same_groups(some, there), **_same_numbers(some, there, dtypes)}.items(), key=lambda p: p[::-1])


def _same_groups(some: np.ndarray, there: np.ndarray) -> dict[int, int]:
    """Columns of few values that part the rows alike: {first: second}; each value occurs five times at least."""
    seen: dict[bytes, int] = {}
    out: dict[int, int] = {}
    for i in range(some.shape[1]):
        cells = np.where(there[:, i], some[:, i], np.inf)
        _, first, code, counts = np.unique(cells, return_index=True, return_inverse=True, return_counts=True)
        if len(cells) < FEWEST or not 2 <= len(first) <= len(cells) // 10 or np.sort(counts)[-2] < 5:
            continue
        order = np.argsort(np.argsort(first))  # numbers of the groups by first appearance
        key = order[code.reshape(-1)].astype(np.int32).tobytes()
        if key in seen:
            out[seen[key]] = i
        seen.setdefault(key, i)
    return out


def _same_numbers(some: np.ndarray, there: np.ndarray, dtypes: Sequence[str]) -> dict[int, int]:
    """Columns of numbers that are the same up to scale, where they are there: at least 50 rows, three values."""
    able = [i for i, d in enumerate(dtypes) if d not in TEXT and d != "bool" and there[:, i].sum() >= FEWEST]
    able = [i for i in able if len(np.unique(some[there[:, i], i])) > 2][:1_000]
    v = np.zeros((len(some), len(able)))
    for k, i in enumerate(able):
        cells = some[there[:, i], i].astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            v[there[:, i], k] = (cells - cells.mean()) / (cells.std() or 1.0)
    close = np.abs(v.T @ v)
    size = np.diag(close)
    out = {}
    for a, b in np.argwhere(np.triu(close > 0.9999 * np.sqrt(np.outer(size, size)), 1)):
        sign = np.sign(v[:, a] @ v[:, b])
        if np.abs(v[:, a] - sign * v[:, b]).max() < 1e-4 * max(1.0, float(np.abs(v[:, a]).max())):
            out[able[a]] = able[b]
    return out
