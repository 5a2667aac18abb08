"""Given values of drawn rows, as cells of the table."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from diabolo.data.dtypes import TEXT, is_date, is_time
from diabolo.data.schema import Column, Schema
from diabolo.data.times import absolute, clock, local, moment, radians, zone_of
from diabolo.errors import ConfigError, nearest

__all__ = ["given_cells", "words_of"]

TRUTH = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0}


def given_cells(schema: Schema, given: Mapping[str, Any] | None) -> dict[int, float]:
    """Cells by position of column.

    Args:
        schema: of the columns.
        given: values by name: numbers, words, truth values and dates, or text of them; None, NaN or an empty text for a
            missing cell. A date without a zone is one by the clock of its column's zone.

    Raises:
        ConfigError: no such column, a value that no training row comes near, a missing cell where none is missing.
    """
    out = {}
    for name, value in (given or {}).items():
        if name not in schema.names:
            raise ConfigError(f"given {name!r}: {nearest(str(name), schema.names)}")
        i = schema.names.index(name)
        if _is_missing(schema.columns[i], value):
            out[i] = float("nan")
            continue
        cell, allowed = _cell(schema.columns[i], value)
        absent = cell == 0 and any(i in slot for group in schema.groups for slot in group.slots)
        if not absent and (cell is None or not _seen(schema.columns[i], cell)):
            raise ConfigError(f"given {name} = {value!r}; allowed are {allowed}, as in training rows")
        out[i] = float(cell or 0.0)
    return out


def words_of(schema: Schema, given: Mapping[int, float]) -> str:
    """Given cells in words, as they were given."""
    return ", ".join(f"{schema.names[c]} = {_word(schema.columns[c], v)}" for c, v in given.items())


def _word(column: Column, cell: float) -> str:
    if np.isnan(cell):
        return "missing"
    if column.kind == "categorical":
        return column.levels[int(cell)]
    if is_date(column.dtype):
        return _moment(column, cell)
    return clock(cell) if is_time(column.dtype) else f"{cell:.10g}"


def _is_missing(column: Column, value: Any) -> bool:
    """Whether a value stands for a missing cell.

    Raises:
        ConfigError: it does, and the column has none.
    """
    if isinstance(value, str):
        missing = not value.strip() and value not in column.levels
    else:
        missing = str(value) in ("None", "nan", "NaT", "<NA>")
    if not missing:
        return False
    if column.missing > 0:
        return True
    allowed = _cell(column, "")[1]
    raise ConfigError(f"given {column.name} = {value!r}: no training row lacks this cell; allowed are {allowed}")


def _moment(column: Column, seconds: float) -> str:
    """A date in words, by the clock of its column's zone."""
    return moment(float(local(np.array([seconds]), zone_of(column.dtype))[0]))


def _cell(column: Column, value: object) -> tuple[float | None, str]:
    """A value as a cell, None if it is none; and the allowed values."""
    said = str(value).strip()
    words = column.levels
    if column.dtype in TEXT or column.kind == "categorical":
        shown = ", ".join(words[:6]) + (f" and {len(words) - 6} more" if len(words) > 6 else "")
        number = _number(value)
        same = [k for k, w in enumerate(words) if said == w or (column.dtype not in TEXT and number == float(w))]
        return (float(same[0]) if same else None), shown
    if is_date(column.dtype):
        low, high = _moment(column, column.low), _moment(column, column.high)
        utc = _in_utc(said)
        try:
            stamp = np.datetime64(said if utc is None else utc)
            whole = stamp.astype("datetime64[s]")
            rest = float((stamp - whole) / np.timedelta64(1, "s"))
        except (ValueError, OverflowError, TypeError):
            return None, f"dates from {low} to {high}"
        if np.isnat(stamp):
            return None, f"dates from {low} to {high}"
        seconds = np.array([float(whole.astype(np.int64))])
        if utc is None:
            seconds = absolute(seconds, zone_of(column.dtype))
        return float(seconds[0]) + rest, f"dates from {low} to {high}"
    if is_time(column.dtype):
        return radians(said), f"times of day from {clock(column.low)} to {clock(column.high)}"
    if column.kind == "boolean":
        return TRUTH.get(said.lower()), "true and false"
    if column.kind == "ordinal":
        number = _number(value)
        if column.dtype == "float32" and number is not None:
            number = float(np.float32(number))  # as the levels are
        return number, ", ".join(words)
    whole = "whole numbers" if column.resolution == 1 else "numbers"
    return _number(value), f"{whole} from {column.low:.10g} to {column.high:.10g}"


def _in_utc(said: str) -> str | None:
    """A date with an offset from UTC as one in UTC; None for one without."""
    try:
        stamp = datetime.fromisoformat(said)
    except ValueError:
        return None
    return None if stamp.tzinfo is None else stamp.astimezone(UTC).replace(tzinfo=None).isoformat()


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _seen(column: Column, cell: float) -> bool:
    """Whether a cell is one of a few levels, or within the range of a column of numbers."""
    if column.kind == "ordinal":
        return any(cell == float(w) for w in column.levels)
    whole = column.kind in ("integer", "count") or (column.resolution == 1 and column.kind != "date")
    return column.low <= cell <= column.high and not (whole and cell != round(cell))
