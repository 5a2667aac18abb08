"""Cells of Arrow columns as numbers: truth values as 0 and 1, dates and durations in seconds, times as angles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

__all__ = ["DAY", "TURN", "is_number", "is_text", "numbers"]

TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
#: Seconds of a day, and the angle of a second in it.
DAY = 86_400
TURN = 2 * np.pi / DAY


def is_text(kind: Any) -> bool:
    """Whether cells of an Arrow type are words."""
    t = pa.types
    if t.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind))


def is_number(kind: Any) -> bool:
    """Whether cells of an Arrow type are numbers or truth values; those of missing cells alone are any."""
    t = pa.types
    if t.is_dictionary(kind):
        return is_number(kind.value_type)
    return bool(t.is_boolean(kind) or t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind))


def numbers(column: Any) -> np.ndarray:
    """An Arrow column as floats [n], NaN where a cell is missing; text has none.

    >>> numbers(pa.array([True, None])).tolist(), numbers(pa.array([60], pa.duration("s"))).tolist()
    ([1.0, nan], [60.0])
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    kind, t = column.type, pa.types
    if t.is_dictionary(kind):
        return numbers(column.cast(kind.value_type))
    if t.is_date(kind):
        return _seconds(column.cast(pa.timestamp("s")))
    if t.is_timestamp(kind) or t.is_duration(kind):
        return _seconds(column)
    if t.is_time(kind):
        whole = column.cast(pa.int32() if t.is_time32(kind) else pa.int64()).cast(pa.int64())
        return _whole(whole, TICKS[kind.unit]) * TURN
    if t.is_null(kind) or t.is_decimal(kind):
        column = column.cast(pa.float64())
    elif t.is_boolean(kind):
        column = column.cast(pa.uint8())
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _seconds(column: Any) -> np.ndarray:
    return _whole(column.cast(pa.int64()), TICKS[column.type.unit])


def _whole(count: Any, ticks: int) -> np.ndarray:
    gone = count.is_null().to_numpy(zero_copy_only=False)
    number = count.fill_null(0).to_numpy(zero_copy_only=False)
    # Whole seconds and the rest apart: nanoseconds since 1970 exceed what a double holds.
    return np.where(gone, np.nan, number // ticks + (number % ticks) / ticks)
