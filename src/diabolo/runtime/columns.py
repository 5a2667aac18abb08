"""The columns of a graph: what each one takes, and cells of tables and single rows as its inputs."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .cells import is_number, is_text, numbers

__all__ = ["Column", "ScorerError", "columns_of", "row_cells", "table_cells"]

TEXT = ("str", "category")


class ScorerError(ValueError):
    """Rows that cannot be scored by a graph, or a file that is none; one line says what came and what is allowed."""


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of the schema.

    Attributes:
        name: in tables.
        kind, dtype: as `diabolo info` shows them.
        levels: of a category, in order; a graph takes words of text, numbers of numbers.
        input: its name in the graph.
        missing: the word that stands for a missing cell of text.
    """

    name: str
    kind: str
    dtype: str
    levels: tuple[str, ...]
    input: str
    missing: str | None

    @functools.cached_property
    def meaning(self) -> str:
        """What its cells stand for."""
        if self.dtype in TEXT:
            return "text"
        for start, said in (("datetime64", "dates"), ("time32", "times of day"), ("time64", "times of day")):
            if self.dtype.startswith(start):
                return said
        return "durations" if self.dtype.startswith("timedelta64") else "numbers"

    @property
    def new(self) -> str:
        """A word that is no level and stands for one that was never seen."""
        word = "?"
        while word in self.levels or word == self.missing:
            word += "?"
        return word

    def words(self, cells: Sequence[str | None]) -> np.ndarray:
        """Words as the graph takes them, None where a cell is missing: [n] objects."""
        known, gone = set(self.levels), str(self.missing)
        return np.array([gone if w is None else w if w in known else self.new for w in cells], object)

    def by_position(self, cells: np.ndarray) -> np.ndarray:
        """Words of positions among the levels, one beyond the last for a new one: [n] objects."""
        words = np.array([*self.levels, self.new, str(self.missing)], object)
        n = len(self.levels)
        return np.asarray(words[np.where(np.isnan(cells), n + 1, np.minimum(cells, n)).astype(np.int64)])

    @property
    def values(self) -> np.ndarray:
        """Levels that are numbers, and one more number that is none of them."""
        known = np.array([float(w) for w in self.levels])
        return np.append(known, known.max(initial=0.0) + 1.0)

    @property
    def is_category_of_numbers(self) -> bool:
        return bool(self.levels) and self.kind != "ordinal" and self.dtype not in TEXT


def columns_of(schema: Mapping[str, Any], inputs: Mapping[str, Any]) -> list[Column]:
    """The columns of a graph's metadata."""
    names = inputs["names"] if len(inputs["names"]) == len(schema["columns"]) else ["x"] * len(schema["columns"])
    return [
        Column(c["name"], c["kind"], c["dtype"], tuple(c["levels"]), name, inputs["missing"].get(c["name"]))
        for c, name in zip(schema["columns"], names, strict=True)
    ]


def table_cells(columns: Sequence[Column], table: pa.Table) -> list[np.ndarray]:
    """Cells of a table by column: floats, or words of text.

    Raises:
        ScorerError: columns that are missing, or hold something else than the model was fitted on; all are named.
    """
    there, faults, out = set(table.column_names), [], []
    absent = [c.name for c in columns if c.name not in there]
    if absent:
        raise ScorerError(_absent(absent, len(columns), table.column_names))
    for column in columns:
        cells = table.column(column.name)
        came = _meaning(cells.type)
        if came == column.meaning or cells.null_count == len(cells):
            out.append(_words(column, cells) if column.meaning == "text" else numbers(_plain(cells)))
        else:
            faults.append(f"column {column.name!r} holds {came}; the model was fitted on {column.meaning} there")
    if faults:
        raise ScorerError("; ".join(faults))
    return out


def _plain(cells: Any) -> Any:
    """Cells of missing ones alone have no type."""
    return pa.nulls(len(cells), pa.float64()) if cells.null_count == len(cells) else cells


def _words(column: Column, cells: Any) -> np.ndarray:
    if cells.null_count == len(cells):
        return column.words([None] * len(cells))
    kind = cells.type.value_type if pa.types.is_dictionary(cells.type) else cells.type
    cells = cells.cast(kind) if pa.types.is_dictionary(cells.type) else cells
    known = pa.array(list(column.levels), kind)
    # Words of many rows are few.
    at = pc.fill_null(pc.index_in(cells, known), len(column.levels))
    at = pc.if_else(pc.is_null(cells), pa.scalar(None, pa.int32()), at)
    return column.by_position(np.asarray(numbers(at), np.float64))


def row_cells(columns: Sequence[Column], row: Mapping[str, Any]) -> list[float | str]:
    """Cells of one row by column: numbers, NaN for None; words; times and dates, or their text as ISO 8601 has it.

    Raises:
        ScorerError: columns that are missing, or hold something else than the model was fitted on; all are named.
    """
    out: list[float | str] = []
    absent, faults = [], []
    for column in columns:
        try:
            cell = row[column.name]
        except KeyError:
            absent.append(column.name)
            continue
        kind = type(cell)
        meaning = column.meaning if kind is not float else "numbers"
        if meaning == "numbers" and (kind is float or kind is int or kind is bool):
            if kind is float and column.meaning != "numbers" and cell == cell:
                faults.append(_odd(column, cell))
            elif kind is float and column.dtype in TEXT:
                out.append(str(column.missing))
            else:
                out.append(float(cell))
        elif cell is None:
            out.append(str(column.missing) if column.dtype in TEXT else float("nan"))
        elif meaning == "text" and isinstance(cell, str):
            out.append(cell if cell in column.levels else column.new)
        else:
            found = _converted(column, cell)
            out.append(found) if found is not None else faults.append(_odd(column, cell))
    if absent:
        raise ScorerError(_absent(absent, len(columns), list(row)))
    if faults:
        raise ScorerError("; ".join(faults))
    return out


def _converted(column: Column, cell: Any) -> float | None:
    """A cell by way of Arrow: NumPy's numbers, times and dates; None for one that means something else."""
    try:
        value = pa.array([cell])
        if is_text(value.type) and column.meaning in ("dates", "times of day"):
            unit = column.dtype.partition("[")[2].partition("]")[0]
            fine = unit if unit in ("s", "ms", "us", "ns") else "us"
            if column.meaning == "dates":
                zone = column.dtype.partition(" ")[2]
                value = value.cast(pa.timestamp(fine, tz=zone or None))
            else:
                value = value.cast(pa.time64("us"))
        if _meaning(value.type) != column.meaning:
            return None
        return float(numbers(value)[0])
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None


def _meaning(kind: Any) -> str:
    t = pa.types
    if is_text(kind):
        return "text"
    if t.is_timestamp(kind) or t.is_date(kind):
        return "dates"
    if t.is_time(kind):
        return "times of day"
    if t.is_duration(kind):
        return "durations"
    return "numbers" if is_number(kind) or t.is_null(kind) else str(kind)


def _odd(column: Column, cell: Any) -> str:
    return f"column {column.name!r} has {str(cell)[:40]!r}; the model was fitted on {column.meaning} there"


def _absent(absent: Sequence[str], count: int, there: Sequence[str]) -> str:
    shown = ", ".join(repr(n) for n in absent[:5])
    said = f"column{'s' * (len(absent) > 1)} {shown} missing ({len(absent)} of the model's {count})"
    return f"{said}; there are: {', '.join(map(str, there[:20]))}"
