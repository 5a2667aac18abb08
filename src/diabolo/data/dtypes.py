"""One column's cells as numbers, and back: numbers, truth values, text by position among its levels, dates in seconds.

A missing cell is NaN. Text becomes the position of its level in a list that grows while a table is read; the schema
later fixes the list. A date is the number of seconds since 1970-01-01 (UTC where it has a time zone), a duration one of
seconds. A time of day is an angle, in radians from midnight: 23:59 lies beside 0:01.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from diabolo.data.times import DAY, TURN
from diabolo.data.weight import lengths
from diabolo.errors import ColumnsError, DataError

__all__ = [
    "TEXT",
    "arrow_dtype",
    "batch_values",
    "cells_of",
    "float_type",
    "is_date",
    "is_duration",
    "is_known",
    "is_time",
    "python_cells",
    "mean_type",
    "meaning",
    "restored",
    "text_codes",
]

#: Type names of columns whose cells are positions among levels.
TEXT = ("str", "category")
#: Columns that single precision holds exactly.
SMALL = {"float32", "float16", "bool", "int8", "uint8", "int16", "uint16", *TEXT}
TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
#: Bytes of a word of a category, which a model file keeps.
MOST_WORD = 1 << 16


def is_time(dtype: str) -> bool:
    """Whether a type name is that of times of day: `time32[s]`, `time64[us]`."""
    return dtype.startswith("time32") or dtype.startswith("time64")


def is_duration(dtype: str) -> bool:
    """Whether a type name is that of durations: `timedelta64[us]`."""
    return dtype.startswith("timedelta64")


def is_known(dtype: str) -> bool:
    """Whether a type name is one that `arrow_dtype` gives.

    >>> is_known("datetime64[us] UTC"), is_known("time32[s]"), is_known("int8")
    (True, True, True)
    """
    if dtype in TEXT:
        return True
    name, _, zone = dtype.partition(" ")
    if is_date(dtype):
        return name in {f"datetime64[{unit}]" for unit in (*TICKS, "D")} and (not zone or zone.isprintable())
    if is_time(dtype) or is_duration(dtype):
        return dtype in {"time32[s]", "time32[ms]", "time64[us]", "time64[ns]", *(f"timedelta64[{u}]" for u in TICKS)}
    try:
        return np.dtype(dtype).kind in "fiub"
    except TypeError:
        return False


@functools.lru_cache(1024)
def meaning(dtype: str) -> str:
    """What the cells of a type stand for: cells of another meaning are no values of the same column.

    >>> meaning("int8"), meaning("datetime64[us]"), meaning("time32[s]")
    ('numbers', 'dates', 'times of day')
    """
    if is_time(dtype):
        return "times of day"
    if is_duration(dtype):
        return "durations"
    return "text" if dtype in TEXT else "dates" if is_date(dtype) else "numbers"


def is_date(dtype: str) -> bool:
    """Whether a type name is that of dates: `datetime64[us]`, with a time zone behind a space."""
    return dtype.startswith("datetime64")


def float_type(dtypes: Sequence[str]) -> type[np.floating[Any]]:
    """float32 where it holds every column exactly, else float64."""
    return np.float32 if all(d in SMALL for d in dtypes) else np.float64


def arrow_dtype(kind: Any, name: str, where: str = "") -> str:
    """The name under which a schema keeps an Arrow column's type.

    Raises:
        DataError: lists, structures, bytes and other types that are no single value.
    """
    found = _type_name(kind)
    if found is None:
        raise DataError(
            f"{where}{': ' if where else ''}column {name!r} holds {kind}; allowed are numbers, truth values, text and "
            f"dates: leave it out (--exclude {name}) or, if it is the truth, name it with --label {name}"
        )
    return found


@functools.lru_cache(1024)
def _type_name(kind: Any) -> str | None:
    """The name of an Arrow type of single values; None of others."""
    import pyarrow as pa

    t = pa.types
    if t.is_boolean(kind):
        return "bool"
    if t.is_integer(kind) or t.is_floating(kind):
        return _number_name(kind)
    if t.is_null(kind) or t.is_decimal(kind):
        return "float64"
    if t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind):
        return "str"
    if t.is_dictionary(kind):
        inner = _type_name(kind.value_type)
        return "category" if inner == "str" else inner
    if t.is_timestamp(kind):
        return f"datetime64[{kind.unit}]" + (f" {kind.tz}" if kind.tz else "")
    if t.is_date(kind):
        return "datetime64[D]"
    if t.is_time(kind):
        return str(kind)
    if t.is_duration(kind):
        return f"timedelta64[{kind.unit}]"
    return None


@functools.cache
def _number_name(kind: Any) -> str:
    return str(np.dtype(kind.to_pandas_dtype()).name)


def cells_of(name: str, column: Any, levels: dict[str, list[str]]) -> np.ndarray:
    """One Arrow column as numbers; text grows its list in `levels`."""
    import pyarrow as pa

    dtype = arrow_dtype(column.type, name)
    if dtype in TEXT:
        _check_words(name, column)
        return text_codes(column, levels.setdefault(name, []))
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if is_date(dtype):
        return _seconds(column)
    if is_time(dtype):
        whole = column.cast(pa.int32()) if dtype.startswith("time32") else column
        return _ticks(whole, TICKS[column.type.unit]) * TURN
    if is_duration(dtype):
        return _ticks(column, TICKS[column.type.unit])
    if pa.types.is_null(column.type) or pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    if column.null_count and dtype == "bool":
        column = column.cast("uint8")
    cells = column.to_numpy() if hasattr(column, "chunks") else column.to_numpy(zero_copy_only=False)
    return np.asarray(cells)


def _check_words(name: str, column: Any) -> None:
    import pyarrow as pa

    for chunk in getattr(column, "chunks", [column]):
        words = chunk.dictionary if pa.types.is_dictionary(chunk.type) else chunk
        longest = int(lengths(words).max(initial=0))
        if longest > MOST_WORD:
            why = f"holds a text of {longest:,} bytes; a category has words of at most {MOST_WORD:,}"
            raise ColumnsError({name: why})


def python_cells(column: Any) -> list[Any]:
    """Cells of an Arrow column as Python's values; times as NumPy's where Python's calendar, of 9,999 years, ends.

    >>> import pyarrow as pa
    >>> python_cells(pa.array([253_433_836_800, None], pa.timestamp("s")))
    [np.datetime64('10000-12-31T00:00:00'), None]
    """
    import pyarrow as pa

    try:
        return column.to_pylist()  # type: ignore[no-any-return]
    except (ValueError, OverflowError):
        if not pa.types.is_temporal(column.type):
            raise
    if not pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ms"))
    unit = column.type.unit
    counts = column.cast(pa.timestamp(unit)).cast(pa.int64()).to_pylist()
    return [None if n is None else np.datetime64(n, unit) for n in counts]


def text_codes(column: Any, known: list[str]) -> np.ndarray:
    """Positions of text cells in `known`, which grows by what is new; NaN where a cell is missing."""
    import pyarrow as pa

    if hasattr(column, "chunks"):
        parts = [text_codes(chunk, known) for chunk in column.chunks]
        return np.concatenate(parts) if parts else np.empty(0, np.float32)
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    words = column.dictionary.to_pylist()
    # Positions are often unsigned, and then hold no −1.
    index = column.indices.cast("int64").fill_null(-1).to_numpy(zero_copy_only=False)
    place = {word: i for i, word in enumerate(known)}
    used = np.unique(index)
    to = np.full(len(words) + 1, np.nan, np.float32)  # the last place is that of -1
    for i in used[used >= 0]:
        word = words[i]
        if word is None:
            continue
        if word not in place:
            place[word] = len(known)
            known.append(word)
        to[i] = place[word]
    return np.asarray(to[index])


def _seconds(column: Any) -> np.ndarray:
    import pyarrow as pa

    if hasattr(column, "chunks"):
        parts = [_seconds(chunk) for chunk in column.chunks]
        return np.concatenate(parts) if parts else np.empty(0)
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("s"))
    ticks = TICKS[column.type.unit]
    gone = column.is_null().to_numpy(zero_copy_only=False)
    whole = column.cast(pa.timestamp(column.type.unit)).cast(pa.int64()).fill_null(0)
    count = whole.to_numpy(zero_copy_only=False)
    # Whole seconds and the rest apart: nanoseconds since 1970 exceed what a double holds.
    return np.where(gone, np.nan, count // ticks + (count % ticks) / ticks)


def _ticks(column: Any, ticks: int) -> np.ndarray:
    """Whole ticks in seconds, NaN where a cell is missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    gone = pc.is_null(column).to_numpy() if hasattr(column, "chunks") else column.is_null().to_numpy(False)
    count = column.cast(pa.int64()).fill_null(0)
    count = count.to_numpy() if hasattr(count, "chunks") else count.to_numpy(zero_copy_only=False)
    return np.where(gone, np.nan, count // ticks + (count % ticks) / ticks)


def batch_values(batch: Any, columns: Sequence[str], levels: dict[str, list[str]] | None = None) -> np.ndarray:
    """A record batch's columns as one C-ordered matrix, [n, C] float32 or float64, NaN for null."""
    import pyarrow as pa

    kinds = [batch.schema.field(n).type for n in columns]
    dtypes = [arrow_dtype(k, n) for k, n in zip(kinds, columns, strict=True)]
    # By type, not by its name: decimals count as doubles.
    if len(set(kinds)) == 1 and dtypes[0] in ("float32", "float64") and pa.types.is_floating(kinds[0]):
        tensor = batch.select(list(columns)).to_tensor(null_to_nan=True, row_major=True)
        return np.asarray(tensor.to_numpy())
    values = np.empty((batch.num_rows, len(columns)), float_type(dtypes))
    for i, name in enumerate(columns):
        values[:, i] = cells_of(name, batch.column(name), {} if levels is None else levels)
    return values


def restored(cells: np.ndarray, dtype: str, levels: Sequence[str] = ()) -> Any:
    """Cells [n] as an Arrow array of the type that they came in; integers and truth values keep it by nulls."""
    import pyarrow as pa

    gone = ~np.isfinite(cells)
    if levels or dtype in TEXT:
        gone |= (cells >= len(levels)) | (cells < 0)
        code = np.where(gone, 0, cells).astype(np.int32)
        if dtype not in TEXT:
            return restored(np.where(gone, np.nan, np.array([float(w) for w in levels])[code]), dtype)
        text = pa.DictionaryArray.from_arrays(pa.array(code, mask=gone), pa.array(list(levels), pa.string()))
        return text if dtype == "category" else text.cast(pa.string())
    if is_date(dtype):
        return _dates(np.where(gone, 0.0, cells), gone, dtype)
    if is_time(dtype) or is_duration(dtype):
        return _times(np.where(gone, 0.0, cells), gone, dtype)
    kind = np.dtype(dtype)
    if kind.kind in "iub":
        limits = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, _largest(kind))
        whole = np.clip(np.round(np.where(gone, 0, cells)), *limits).astype(kind)
        return pa.array(whole, mask=gone) if gone.any() else pa.array(whole)
    return pa.array(cells.astype(kind), mask=np.isnan(cells))


def _largest(kind: np.dtype[Any]) -> float:
    """The largest double that an integer type holds: of 64 bits its maximum would round up, and wrap around."""
    top = int(np.iinfo(kind).max)
    return float(top) if int(float(top)) == top else float(np.nextafter(float(top), 0.0))


def _dates(seconds: np.ndarray, gone: np.ndarray, dtype: str) -> Any:
    import pyarrow as pa

    name, _, zone = dtype.partition(" ")
    unit = name[len("datetime64[") : -1]
    if unit == "D":
        days = np.clip(np.floor(seconds / DAY), -(2.0**31), 2.0**31 - 1)
        return pa.array(days.astype(np.int32), mask=gone).cast(pa.date32())
    # Numbers that a network expects may lie beyond what the type holds.
    limit = np.nextafter(2.0**63 / TICKS[unit], 0) - 1
    seconds = np.clip(seconds, -limit, limit)
    whole = np.floor(seconds)
    ticks = whole.astype(np.int64) * TICKS[unit] + np.round((seconds - whole) * TICKS[unit]).astype(np.int64)
    return pa.array(ticks, mask=gone).cast(pa.timestamp(unit, tz=zone or None))


def mean_type(dtype: str) -> str:
    """The type of a mean: text, dates, times and floats keep theirs, a mean of integers is no integer."""
    return dtype if meaning(dtype) != "numbers" or dtype.startswith("float") else "float64"


def _times(cells: np.ndarray, gone: np.ndarray, dtype: str) -> Any:
    """Times of day from angles, durations from seconds."""
    import pyarrow as pa

    name, unit = dtype.rstrip("]").split("[")
    if is_duration(dtype):
        most = float(1 << 62) / TICKS[unit]
        whole = np.round(np.clip(cells, -most, most) * TICKS[unit]).astype(np.int64)
        return pa.array(whole, mask=gone).cast(pa.duration(unit))
    ticks = np.round(np.mod(cells, 2 * np.pi) / TURN * TICKS[unit]).astype(np.int64) % (DAY * TICKS[unit])
    kind = pa.time32(unit) if name == "time32" else pa.time64(unit)
    return pa.array(ticks.astype(np.int32 if name == "time32" else np.int64), mask=gone).cast(kind)
