"""Columns as small numbers: the bar of a histogram that each cell falls into, one byte per cell, on disk."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from diabolo.data.dtypes import TEXT, arrow_dtype, cells_of, is_date
from diabolo.errors import DataError
from diabolo.explore.measuring import Measured

__all__ = ["MISSING", "MOST_FIELDS", "Field", "binned"]

#: Columns of the table that have a histogram, the first ones, at most.
MOST_FIELDS = 256
#: Bars of a column of numbers; whole numbers of a span up to `WHOLE` have one each; words that have a bar.
BARS, WHOLE, WORDS = 40, 48, 24
#: The byte of a missing cell.
MISSING = 255
#: Rows from which bars are chosen, and rows that are looked at together.
SAMPLE, CHUNK = 100_000, 1 << 17
#: Beyond these quantiles, cells fall into the first and the last bar.
ENDS = (0.002, 0.998)
OTHER = "other words"


@dataclasses.dataclass
class Field:
    """A column with its bars.

    Attributes:
        name: of the column, or of what the model says of rows.
        own: whether it is the latter.
        kind: "number", "date" (seconds since 1970), or "level".
        edges: of the bars of numbers, one more than there are bars.
        levels: names of the bars otherwise.
        open: whether the first and the last bar hold cells beyond their outer edge.
        counts: [256] rows of each bar, and of missing cells at `MISSING`.
        apart: largest difference of the distributions of anomalies and of all rows, 0 to 1 (Kolmogorov and Smirnov's).
    """

    name: str
    own: bool
    kind: str
    edges: list[float] = dataclasses.field(default_factory=list)
    levels: list[str] = dataclasses.field(default_factory=list)
    open: tuple[bool, bool] = (False, False)
    counts: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(256, np.int64))
    apart: float = 0.0

    @property
    def bars(self) -> int:
        return len(self.levels) if self.kind == "level" else len(self.edges) - 1


def binned(m: Measured, folder: Path) -> tuple[list[Field], np.ndarray]:
    """The fields of measured rows, and their bytes [fields, n], memory-mapped."""
    own = {"score": m.score, "p_value": m.p_value} | ({} if m.cluster is None else {"cluster": m.cluster})
    columns = [(f.name, f.type) for f in m.cells.schema][:MOST_FIELDS]
    most = len(own) + len(columns)
    codes = np.memmap(folder / "bars.u8", np.uint8, "w+", shape=(most, len(m)))
    fields: list[Field] = []
    for name, values in own.items():
        field = _number_field(name, True, "number", np.asarray(values[_sample(len(m))], np.float64))
        _put(field, codes[len(fields)], lambda at, v=values: np.asarray(v[at], np.float64))
        fields.append(field)
    for name, kind in columns:
        found = _column_field(m, name, kind, codes[len(fields)])
        if found is not None:
            fields.append(found)
    odd = np.flatnonzero(m.is_anomaly)
    for field, column in zip(fields, codes, strict=False):
        field.counts = np.bincount(column, minlength=256)
        field.apart = _apart(field.counts, np.bincount(column[odd], minlength=256))
    return fields, codes[: len(fields)]


def _sample(n: int) -> np.ndarray:
    return np.unique(np.linspace(0, n - 1, min(n, SAMPLE)).astype(np.int64))


def _column_field(m: Measured, name: str, kind: Any, codes: np.ndarray) -> Field | None:
    """The field of a column of the table; None for one of lists, structures or bytes."""
    column = m.cells.column(name)
    try:
        dtype = arrow_dtype(kind, name)
    except DataError:
        return None
    if dtype in TEXT:
        return _word_field(name, column, codes)
    if dtype == "bool":
        field = Field(name, False, "level", levels=["false", "true"])
        _put(field, codes, lambda at: _cells(column, at, name))
        return field
    picked = [_cells(column, slice(s, s + 1024), name) for s in _starts(len(m))]
    field = _number_field(name, False, "date" if is_date(dtype) else "number", np.concatenate(picked))
    _put(field, codes, lambda at: _cells(column, at, name))
    return field


def _starts(n: int) -> range:
    """Where pieces of 1,024 rows begin, about as many as `SAMPLE` has rows."""
    return range(0, n, max(1024, n * 1024 // SAMPLE))


def _cells(column: pa.ChunkedArray, at: slice, name: str) -> np.ndarray:
    """Cells as numbers; NaN for a missing one."""
    part = column.slice(at.start, at.stop - at.start).combine_chunks()
    part = part.chunk(0) if isinstance(part, pa.ChunkedArray) else part
    return np.asarray(cells_of(name, part, {}), np.float64)


def _number_field(name: str, own: bool, kind: str, sample: np.ndarray) -> Field:
    good = sample[np.isfinite(sample)]
    if not len(good):
        return Field(name, own, kind, edges=[0.0, 1.0])
    low, high = float(good.min()), float(good.max())
    if high - low <= WHOLE and bool((good == np.rint(good)).all()):
        return Field(name, own, kind, edges=(np.arange(low, high + 2) - 0.5).tolist())
    a, b = (float(q) for q in np.quantile(good, ENDS))
    if b > a:
        low, high = a, b
    if not high > low:
        low, high = low - 0.5, low + 0.5
    return Field(name, own, kind, edges=np.linspace(low, high, BARS + 1).tolist())


def _put(field: Field, codes: np.ndarray, cells: Any) -> None:
    """Write the bytes of a field of numbers or truth values."""
    edges = np.array(field.edges) if field.kind != "level" else np.array([-0.5, 0.5, 1.5])
    bars, width = len(edges) - 1, edges[1] - edges[0]
    below = above = False
    for start in range(0, len(codes), CHUNK):
        v = cells(slice(start, min(start + CHUNK, len(codes))))
        gone = np.isnan(v)
        with np.errstate(invalid="ignore", over="ignore"):
            place = np.clip(np.nan_to_num((v - edges[0]) / width, posinf=bars, neginf=-1.0), -1, bars)
        below |= bool((v < edges[0]).any())
        above |= bool((v > edges[-1]).any())
        codes[start : start + len(v)] = np.where(gone, MISSING, np.clip(place, 0, bars - 1).astype(np.uint8))
    field.open = (below, above)


def _word_field(name: str, column: pa.ChunkedArray, codes: np.ndarray) -> Field:
    """The words that are frequent in a sample have a bar each, the rest one together."""
    parts = [column.slice(s, 1024) for s in _starts(len(codes))]
    counts = pc.value_counts(pa.chunked_array([c for p in parts for c in p.chunks], column.type)).to_pylist()
    found = sorted((c for c in counts if c["values"] is not None), key=lambda c: (-c["counts"], c["values"]))
    words = [c["values"] for c in found[:WORDS]]
    known = pa.array(words, column.type)
    at, rest = 0, False
    for chunk in column.chunks:
        place = pc.index_in(chunk, value_set=known)
        place = np.where(chunk.is_null(), MISSING, pc.fill_null(place, len(words)).to_numpy(zero_copy_only=False))
        codes[at : at + len(chunk)] = place
        rest |= bool((place == len(words)).any())
        at += len(chunk)
    return Field(name, False, "level", levels=[*words, *([OTHER] if rest or not words else [])])


def _apart(every: np.ndarray, odd: np.ndarray) -> float:
    if not every.sum() or not odd.sum():
        return 0.0
    return float(np.abs(np.cumsum(every) / every.sum() - np.cumsum(odd) / odd.sum()).max())
