"""Data frames of any library by the names of their columns: pandas itself, others by Arrow's C stream interface."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from diabolo.data.formats.base import Source
from diabolo.data.formats.ragged import Flat
from diabolo.data.layouts import in_plain_layouts, plain_layout
from diabolo.errors import DataError

__all__ = ["arrow_table", "is_pandas", "pandas_column", "pandas_columns", "pandas_table"]

#: Methods by which frames that have no Arrow stream give one of those that do.
WAYS = ("to_arrow", "to_pandas", "to_pyarrow")


def is_pandas(data: Any) -> bool:
    """Whether data is a pandas frame, or one of a subclass; pandas is not imported for that."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(data, pandas.DataFrame)


def pandas_columns(frame: Any) -> dict[str, Any]:
    """Columns of a pandas frame by name.

    Raises:
        DataError: two columns of one name.
    """
    labels = [str(c) for c in frame.columns]
    _refuse_twice(labels, "data frame")
    return {label: frame.iloc[:, i] for i, label in enumerate(labels)}


def pandas_column(name: str, column: Any) -> Any:
    """A column whose cells Arrow knows: a sparse one written out, a period as its first moment, bins as categories.

    Raises:
        DataError: intervals and other objects; names the column and says what would be one value a cell.
    """
    kind = str(column.dtype)
    if kind.startswith("Sparse["):
        return column.sparse.to_dense()
    if kind.startswith("period["):
        return column.dt.to_timestamp()
    if _of_bins(column):
        return column.cat.rename_categories(str)
    if kind.startswith("interval["):
        raise DataError(
            f"column {name!r} holds intervals ({kind}); allowed are numbers, truth values, text and dates: "
            f"X[{name!r}].astype(str) makes a category of it, .array.mid a number"
        )
    return column


def pandas_table(frame: Any) -> Any:
    """A pandas frame as Arrow's, with what pandas notes of its index and types: so that it comes back as it was.

    Raises:
        DataError: columns that would not come back; all are named.
    """
    import pyarrow as pa

    wrong = []
    for name, column in pandas_columns(frame).items():
        kind = str(column.dtype)
        if kind.startswith("Sparse["):
            wrong.append(f"{name!r} is sparse (X[{name!r}].sparse.to_dense() is not)")
        elif _of_bins(column):
            wrong.append(f"{name!r} is a category of intervals (X[{name!r}].astype(str) is text)")
    if wrong:
        raise DataError(f"columns that would not come back as they are: {'; '.join(wrong)}")
    try:
        return pa.Table.from_pandas(frame)
    except (pa.ArrowException, TypeError, ValueError) as error:
        what = " ".join(" ".join(map(str, error.args)).split())[:200]
        raise DataError(f"the data frame has a column of mixed kinds: {what}; mend it or leave it out") from None


def _of_bins(column: Any) -> bool:
    """Whether levels are intervals or periods, as of `pandas.cut`."""
    kind = column.dtype
    return str(kind) == "category" and str(kind.categories.dtype).startswith(("interval[", "period["))


def arrow_table(data: Any, flat: bool = True) -> Any | None:
    """A frame of another library than pandas as an Arrow table; None for what is no frame.

    Taken are Arrow's tables, batches and readers, and whatever has `__arrow_c_stream__` (Arrow's PyCapsule interface:
    polars, DuckDB, ibis, ...) or turns into such a frame by a method of its own.

    Args:
        flat: fields of structs and cells of fixed arrays are columns, and text has one of Arrow's older layouts.

    Raises:
        DataError: a frame without a way to its columns, a single column, two columns of one name.
    """
    import pyarrow as pa

    if hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"):
        try:
            table = data if isinstance(data, pa.Table) else pa.table(data)
        except (TypeError, ValueError, pa.ArrowException) as error:
            what = " ".join(str(error).split())[:120]
            raise DataError(f"X of type {type(data).__name__} is no table ({what}); give its frame") from None
        _refuse_twice(table.column_names, "Arrow table")
        return _flat(_without_views(table)) if flat else table
    # A lazy frame is asked for no more than whether it is one.
    if isinstance(data, type) or not (hasattr(data, "collect_schema") or hasattr(data, "columns")):
        return None
    for way in WAYS:
        if callable(getattr(data, way, None)):
            made = getattr(data, way)()
            return pa.Table.from_pandas(made, preserve_index=False) if is_pandas(made) else arrow_table(made, flat)
    raise DataError(
        f"X is a frame of type {type(data).__name__} whose columns cannot be read by name: give it as one of pandas, "
        "polars or Arrow"
        + (" (X.collect())" if hasattr(data, "collect") else "")
        + (" (X.compute())" if hasattr(data, "compute") else "")
    )


def _flat(table: Any) -> Any:
    """Fields of structs and cells of fixed arrays as columns, by the names that they have in a file."""
    import pyarrow as pa

    flat = Flat(table.schema, None, Source(Path(), "X"))
    if flat.plain:
        return table
    names = flat.schema.names
    return pa.Table.from_batches([flat.batch(b, names, 0) for b in table.to_batches()], flat.schema)


def _refuse_twice(names: list[str], what: str) -> None:
    twice = sorted({n for n in names if names.count(n) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise DataError(f"duplicate column names in the {what}: {', '.join(twice)}; rename them")


def _without_views(table: Any) -> Any:
    """Text, bytes, lists and runs in Arrow's older layouts, which every one of its functions knows."""
    import pyarrow as pa

    single = plain_layout(table.schema)
    if single.types != table.schema.types:
        table = pa.Table.from_batches([in_plain_layouts(b, single) for b in table.to_batches()], single)
    plain = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}

    def kind(t: Any) -> Any:
        if pa.types.is_dictionary(t) and t.value_type in plain:
            return pa.dictionary(t.index_type, plain[t.value_type], t.ordered)
        return plain.get(t, t)

    for i, field in enumerate(table.schema):
        wanted = kind(field.type)
        if wanted == field.type:
            continue
        column = table.column(i)
        if pa.types.is_dictionary(wanted):
            chunks = [
                pa.DictionaryArray.from_arrays(c.indices, c.dictionary.cast(wanted.value_type), ordered=wanted.ordered)
                for c in column.chunks
            ]
            column = pa.chunked_array(chunks, wanted)
        else:
            column = column.cast(wanted)
        table = table.set_column(i, field.with_type(wanted), column)
    return table
