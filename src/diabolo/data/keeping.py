"""Columns of a table that are carried beside what is told of its rows: ids, run and event numbers, an index."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from diabolo.data.formats import Data, Taken, format_of, schema_of
from diabolo.data.frames import arrow_table, is_pandas, pandas_columns
from diabolo.data.table import RowsOut
from diabolo.errors import ConfigError, DataError, nearest

__all__ = ["as_held", "kept_names", "like_rows", "table_of", "with_kept"]


def kept_names(data: Data, words: Iterable[str], own: Iterable[str]) -> list[str]:
    """Names of the columns to keep, each word one or several with commas between.

    Args:
        own: names of the columns that are written anyway.

    Raises:
        DataError: the table has no such column.
        ConfigError: a name is one of `own`.
    """
    there = [f.name for f in _fields(data)]
    names = [n for word in words for n in ([word] if word in there else [w.strip() for w in word.split(",")]) if n]
    for name in names:
        if name not in there:
            raise DataError(f"{data}: no column {name!r} to keep: {nearest(name, there, 'it has')}")
        if name in own:
            raise ConfigError(f"--keep {name}: the output has a column {name!r} of its own; rename the table's")
    return list(dict.fromkeys(names))


def with_kept(schema: Any, data: Data, names: Sequence[str], first: int = 1) -> Any:
    """A schema with the kept columns behind its first one, which numbers the rows, or behind its first few."""
    fields = {f.name: f for f in _fields(data)}
    for place, name in enumerate(names, first):
        schema = schema.insert(place, fields[name])
    return schema


def _fields(data: Data) -> list[Any]:
    """Fields of a table: its columns, and the lists that columns are taken of."""
    flat = list(schema_of(data)[0])
    if not isinstance(data, Taken) or not data.take:
        return flat
    names = {f.name for f in flat}
    return flat + [f for f in schema_of(dataclasses.replace(data, take={}))[0] if f.name not in names]


def as_held(out: str, schema: Any, batches: Iterator[Any], unknown: Sequence[str] = ()) -> tuple[Any, Iterator[Any]]:
    """What is told of rows, as a file's format can hold it: a missing word is empty, a number NaN, a verdict false.

    Args:
        out: where it goes.
        unknown: columns that hold nothing at all, which a format without missing cells is written without.
    """
    if format_of(out).complete:
        return schema, batches
    names = [n for n in schema.names if n not in unknown]
    kept = pa.schema([schema.field(n) for n in names], schema.metadata)

    def held() -> Iterator[Any]:
        for batch in batches:
            cells = [batch.column(n) for n in names]
            yield pa.RecordBatch.from_arrays([_filled(c) for c in cells], schema=kept)

    return kept, held()


def _filled(cells: Any) -> Any:
    kinds = ((pa.types.is_string, ""), (pa.types.is_floating, math.nan), (pa.types.is_boolean, False))
    blank = next((b for fits, b in kinds if fits(cells.type)), None)
    return cells if blank is None or not cells.null_count else pc.fill_null(cells, blank)


def like_rows(X: Any, told: np.ndarray, name: str) -> RowsOut:
    """What is told of rows X, [n]: a pandas Series with X's index where X is a pandas frame, else the array.

    The one rule for what a method of diabolo's own returns for each row. Methods that scikit-learn names (`predict`,
    `decision_function`, `score_samples`, `predict_proba`) and fitted attributes are arrays, which its tools expect.

    >>> import pandas as pd
    >>> like_rows(pd.DataFrame({"a": [1.0, 2.0]}, index=["u", "v"]), np.array([0.5, 1.0]), "p_value").to_dict()
    {'u': 0.5, 'v': 1.0}
    >>> like_rows([[1.0], [2.0]], np.array([0.5, 1.0]), "p_value").tolist()
    [0.5, 1.0]
    """
    if not is_pandas(X):
        return told
    import pandas as pd

    return pd.Series(told, index=X.index, name=name)


def table_of(X: Any, told: dict[str, np.ndarray], keep: str | Sequence[str] | None) -> Any:
    """What is told of rows X and the columns kept of them: a pandas frame with X's index, or else an Arrow table.

    Raises:
        DataError: X has no such column, or no names at all.
    """
    names = [keep] if isinstance(keep, str) else list(keep or [])
    if is_pandas(X):
        import pandas as pd

        columns = pandas_columns(X)
        _check(names, columns, told)
        return pd.DataFrame({**{n: columns[n] for n in names}, **told}, index=X.index)
    frame = arrow_table(X, flat=False)
    if frame is None and names:
        raise DataError(f"keep = {names!r}, but X has no column names: give a data frame")
    columns = {} if frame is None else {n: frame.column(n) for n in frame.column_names}
    _check(names, columns, told)
    return pa.table({**{n: columns[n] for n in names}, **{n: _arrow(c) for n, c in told.items()}})


def _arrow(cells: np.ndarray) -> pa.Array:
    """Cells as Arrow's; objects are words, all of which may be missing."""
    return pa.array(cells, pa.string()) if cells.dtype == object else pa.array(cells)


def _check(names: Sequence[str], there: Iterable[str], own: Iterable[str]) -> None:
    for name in names:
        if name not in there:
            raise DataError(f"no column {name!r} to keep: {nearest(name, list(there), 'X has')}")
        if name in own:
            raise DataError(f"keep names {name!r}, which is what a result is called; rename the column")
