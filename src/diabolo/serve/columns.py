"""A model's columns as a caller sees them: which cells each takes, and lists of cells as an Arrow table."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import time
from itertools import accumulate, chain
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from diabolo.data.dtypes import TEXT, float_type, is_date, is_duration, is_time
from diabolo.data.schema import Column, Schema
from diabolo.errors import nearest
from diabolo.serve.faults import Fault

__all__ = ["Cells", "Columns", "Field"]

Cells = Literal["number", "truth", "text", "date", "time", "duration"]

#: What is allowed in a cell, by its meaning.
ALLOWED = {
    "number": "a number, or null where it is missing",
    "truth": "true, false, 0 or 1, or null where it is missing",
    "text": "a string, or null where it is missing",
    "date": "a date without an offset from UTC, like 2024-05-01T12:00:00, or null where it is missing",
    "time": "a time of day without an offset, like 12:30:00, or null where it is missing",
    "duration": "a number of seconds, or null where it is missing",
}


@dataclasses.dataclass(frozen=True)
class Field:
    """One column: its name, what its cells mean, the Arrow type that they are given to the model in."""

    name: str
    cells: Cells
    type: Any
    column: Column

    @property
    def allowed(self) -> str:
        if getattr(self.type, "tz", None):
            return "a date with its offset from UTC, like 2024-05-01T12:00:00Z, or null where it is missing"
        return ALLOWED[self.cells]

    @property
    def numeric(self) -> bool:
        return self.cells in ("number", "truth", "duration")


class Columns:
    """The columns of a model, in the order of its schema."""

    def __init__(self, schema: Schema) -> None:
        # As the fit read them: a column of doubles is rounded to single precision where the fit's own table was.
        number = pa.float32() if float_type([c.dtype for c in schema.columns]) is np.float32 else pa.float64()
        self.schema = schema
        self.fields = tuple(_field(c, number) for c in schema.columns)
        self.names = [f.name for f in self.fields]
        self.arrow = pa.schema([(f.name, f.type) for f in self.fields])
        #: Of numbers alone, none of which stand for levels: the cells are what the model takes.
        self.plain = all(f.cells == "number" and not f.column.levels for f in self.fields)
        self._known = {f.name: f for f in self.fields}

    def __getitem__(self, name: str) -> Field:
        return self._known[name]

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def missing(self, there: Sequence[str]) -> Fault | None:
        """What to say of columns that did not come."""
        absent = [n for n in self.names if n not in there]
        if not absent:
            return None
        hint = nearest(absent[0], list(there)[:20], "there are") if there else "no column came"
        return Fault(
            f"column {absent[0]!r} is missing ({len(absent)} of the model's {len(self.names)} are): {hint}",
            column=absent[0],
            allowed=self.names,
        )

    def table(self, cells: Mapping[str, Any]) -> pa.Table:
        """Lists or arrays of cells by column as a table of the model's columns; others are left out.

        Raises:
            Fault: a column is missing; names the first cell that is of another kind.
        """
        try:
            given = [cells[name] for name in self.names]
        except KeyError:
            raise self.missing(list(cells)) or Fault("columns are missing") from None
        found = self._at_once(given) if self.plain else None
        if found is None:
            found = [arrow_cells(f, c) for f, c in zip(self.fields, given, strict=True)]
        return pa.Table.from_arrays(found, self.names)

    def _at_once(self, given: Sequence[Any]) -> list[Any] | None:
        """Lists of numbers as slices of one array, which costs one call; None where a cell has to be looked at."""
        if not all(isinstance(cells, list) for cells in given):
            return None
        try:
            flat = list(chain.from_iterable(given))
            _refuse_truth(flat)
            whole = pa.array(flat, self.fields[0].type)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            return None
        ends = list(accumulate(map(len, given)))
        return [whole.slice(end - len(cells), len(cells)) for end, cells in zip(ends, given, strict=True)]

    def lists(self, rows: Sequence[Any]) -> dict[str, list[Any]]:
        """Cells by column of rows as dicts, each with every column of the model.

        Raises:
            Fault: names the first row that is no such dict, or lacks a column.
        """
        try:
            return {name: [row[name] for row in rows] for name in self.names}
        except (KeyError, TypeError, IndexError):
            raise self._row_fault(rows) from None

    def uniform(self, table: pa.Table) -> pa.Table:
        """A table that may come from a file, with each cell in the type that a caller's JSON gets.

        Raises:
            ArrowException: a type that cannot be cast.
        """
        if table.schema.equals(self.arrow):
            return table
        return pa.Table.from_arrays([_cast(table[f.name], f.type) for f in self.fields], self.names)

    def _row_fault(self, rows: Sequence[Any]) -> Fault:
        for i, row in enumerate(rows):
            if not isinstance(row, dict):
                return Fault(f"row {i} is no object of cells by column", row=i, allowed=self.names)
            absent = self.missing(list(row))
            if absent is not None:
                said = f"row {i}: {absent}; a cell that is missing is null"
                return Fault(said, column=absent.said["column"], row=i, allowed=self.names)
        return Fault("the rows cannot be read", 400)


def _field(c: Column, number: Any) -> Field:
    if c.dtype in TEXT:
        return Field(c.name, "text", pa.string(), c)
    if is_date(c.dtype):
        name, _, zone = c.dtype.partition(" ")
        unit = "ns" if name == "datetime64[ns]" else "us"
        return Field(c.name, "date", pa.timestamp(unit, zone or None), c)
    if is_time(c.dtype):
        return Field(c.name, "time", pa.time64("us"), c)
    if is_duration(c.dtype):
        return Field(c.name, "duration", pa.duration("us"), c)
    return Field(c.name, "truth" if c.dtype == "bool" else "number", number, c)


def arrow_cells(field: Field, cells: Any) -> Any:
    """One column's cells as an Arrow array of the field's type.

    Raises:
        Fault: names the first cell that is of another kind, without its value.
    """
    try:
        return CONVERT[field.cells](field, cells)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        raise _cell_fault(field, cells) from None


def _cell_fault(field: Field, cells: Any) -> Fault:
    for i, cell in enumerate(cells):
        try:
            CONVERT[field.cells](field, [cell])
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            what = type(cell).__name__.replace("NoneType", "null")
            said = f"row {i}: column {field.name!r} holds a cell of type {what}; allowed is {field.allowed}"
            return Fault(said, column=field.name, row=i, allowed=field.allowed)
    return Fault(f"column {field.name!r} cannot be read", column=field.name, allowed=field.allowed)


def _numbers(field: Field, cells: Any) -> Any:
    if isinstance(cells, np.ndarray):
        if cells.dtype.kind not in "fiub":
            raise TypeError("no numbers")
        return pa.array(cells.astype(field.type.to_pandas_dtype()))
    _refuse_truth(cells)
    try:
        return pa.array(cells, field.type)
    except (pa.ArrowInvalid, OverflowError):
        # Whole numbers beyond 2^53 are rounded, as they are in a file; infinity is what single precision makes of more.
        if not all(c is None or (isinstance(c, int | float) and not isinstance(c, bool)) for c in cells):
            raise
        wide = [None if c is None else float(c) for c in cells]
        with np.errstate(over="ignore"):
            return pa.array(
                np.array([math.nan if c is None else c for c in wide]).astype(field.type.to_pandas_dtype()),
                mask=np.array([c is None for c in wide], bool),
            )


def _refuse_truth(cells: Any) -> None:
    """Arrow takes true for 1."""
    if bool in map(type, cells):
        raise TypeError("no numbers")


def _truth(field: Field, cells: Any) -> Any:
    if not isinstance(cells, np.ndarray):
        cells = [float(c) if isinstance(c, bool) else c for c in cells]
    return _numbers(field, cells)


def _text(field: Field, cells: Any) -> Any:
    return pa.array(cells, pa.string())


def _moments(field: Field, cells: Any) -> Any:
    return pa.array(cells, pa.string()).cast(field.type)


def _times(field: Field, cells: Any) -> Any:
    found = [None if c is None else time.fromisoformat(c) for c in cells]
    if any(t is not None and t.tzinfo is not None for t in found):
        raise ValueError("an offset")
    return pa.array(found, field.type)


def _durations(field: Field, cells: Any) -> Any:
    if not isinstance(cells, np.ndarray):
        _refuse_truth(cells)
    seconds = cells if isinstance(cells, np.ndarray) else pa.array(cells, pa.float64())
    ticks = np.round(np.asarray(seconds, np.float64) * 1e6)
    gone = ~np.isfinite(ticks)
    if (np.abs(ticks[~gone]) > 2.0**62).any():
        raise OverflowError("too long")
    return pa.array(np.where(gone, 0, ticks).astype(np.int64), mask=gone).cast(field.type)


CONVERT: dict[str, Callable[[Field, Any], Any]] = {
    "number": _numbers,
    "truth": _truth,
    "text": _text,
    "date": _moments,
    "time": _times,
    "duration": _durations,
}


def _cast(cells: Any, kind: Any) -> Any:
    if pa.types.is_dictionary(cells.type):
        cells = cells.cast(cells.type.value_type)
    return cells if cells.type == kind else cells.cast(kind, safe=False)
