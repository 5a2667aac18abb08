"""Given values of drawn rows, as cells of the table."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from diabolo.data.dtypes import TEXT, is_date, is_time
from diabolo.data.schema import Column, Schema
from diabolo.data.times import clock, moment, radians
from diabolo.errors import ConfigError, nearest

__all__ = ["given_cells"]

TRUTH = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0}


def given_cells(schema: Schema, given: Mapping[str, Any] | None) -> dict[int, float]:
    """Cells by position of column.

    Args:
        schema: of the columns.
        given: values by name: numbers, words, truth values and dates, or text of them.

    Raises:
        ConfigError: no such column, or a value that no training row comes near.
    """
    out = {}
    for name, value in (given or {}).items():
        if name not in schema.names:
            raise ConfigError(f"given {name!r}: {nearest(str(name), schema.names)}")
        i = schema.names.index(name)
        cell, allowed = _cell(schema.columns[i], value)
        absent = cell == 0 and any(i in slot for group in schema.groups for slot in group.slots)
        if not absent and (cell is None or not _seen(schema.columns[i], cell)):
            raise ConfigError(f"given {name} = {value!r}; allowed are {allowed}, as in training rows")
        out[i] = float(cell or 0.0)
    return out


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
        low, high = moment(column.low), moment(column.high)
        try:
            stamp = np.datetime64(_without_zone(said))
            whole = stamp.astype("datetime64[s]")
            rest = float((stamp - whole) / np.timedelta64(1, "s"))
        except (ValueError, OverflowError, TypeError):
            return None, f"dates from {low} to {high}"
        if np.isnat(stamp):
            return None, f"dates from {low} to {high}"
        return float(whole.astype(np.int64)) + rest, f"dates from {low} to {high}"
    if is_time(column.dtype):
        return radians(said), f"times of day from {clock(column.low)} to {clock(column.high)}"
    if column.kind == "boolean":
        return TRUTH.get(said.lower()), "true and false"
    if column.kind == "ordinal":
        return _number(value), ", ".join(words)
    whole = "whole numbers" if column.resolution == 1 else "numbers"
    return _number(value), f"{whole} from {column.low:.10g} to {column.high:.10g}"


def _without_zone(said: str) -> str:
    """A date with an offset from UTC, as one in UTC, like the cells."""
    try:
        stamp = datetime.fromisoformat(said)
    except ValueError:
        return said
    return said if stamp.tzinfo is None else stamp.astimezone(UTC).replace(tzinfo=None).isoformat()


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _seen(column: Column, cell: float) -> bool:
    """Whether a cell is one of a few levels, or within the range of a column of numbers."""
    if column.kind == "ordinal":
        return any(cell == float(w) for w in column.levels)
    whole = column.resolution == 1 or column.kind in ("integer", "count")
    return column.low <= cell <= column.high and not (whole and cell != round(cell))
