"""A table in memory: one float matrix with names and types, whatever container it came in."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from diabolo.errors import DataError, MissingExtraError, nearest

__all__ = ["Container", "Table", "arrow_dtype", "as_table", "batch_values", "float_type", "from_values", "matched"]

Container = Literal["numpy", "pandas", "arrow"]


@dataclasses.dataclass
class Table:
    """n rows of C numeric columns; NaN is a missing cell."""

    values: np.ndarray  #: [n, C] float32 or float64
    names: list[str]
    dtypes: list[str]  #: NumPy type names as they came
    container: Container
    named: bool  #: whether the names came with the data

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, index: Any) -> Table:
        return dataclasses.replace(self, values=self.values[index])


def float_type(dtypes: Sequence[str]) -> type[np.floating[Any]]:
    """float32 where it holds every column exactly, else float64."""
    small = {"float32", "float16", "bool", "int8", "uint8", "int16", "uint16"}
    return np.float32 if all(d in small for d in dtypes) else np.float64


def as_table(data: Any, names: Sequence[str] | None = None) -> Table:
    """Read an array, data frame, Arrow table or nested list as a table of numbers.

    Args:
        data: [n, C]; numbers and booleans.
        names: column names for data that has none.

    Raises:
        DataError: text or objects in a column, a wrong number of dimensions, no rows.
    """
    if type(data).__module__.startswith("pandas") and hasattr(data, "columns"):
        columns = {str(c): data[c] for c in data.columns}
        if len(columns) < len(data.columns):
            raise DataError("duplicate column names in the data frame; rename them")
        return _from_columns({n: _pandas_cells(n, c) for n, c in columns.items()}, "pandas")
    if type(data).__module__.startswith("pyarrow") and hasattr(data, "column_names"):
        cells = {n: _arrow_cells(n, data.column(i)) for i, n in enumerate(data.column_names)}
        return _from_columns(cells, "arrow")
    from sklearn.utils.validation import check_array

    if type(data).__module__.startswith("torch"):
        data = data.detach().cpu().numpy()
    array = check_array(data, dtype="numeric", ensure_all_finite=False, ensure_min_samples=1)
    kind = array.dtype.name
    if array.dtype.kind not in "fiub":
        raise DataError(f"the array has type {kind}; allowed are numbers and booleans")
    values = np.asarray(array, dtype=float_type([kind]))
    width = values.shape[1]
    if names is not None and len(names) != width:
        raise DataError(f"{len(names)} names for {width} columns")
    given = list(names) if names is not None else [f"x{i}" for i in range(width)]
    return Table(values, given, [kind] * width, "numpy", names is not None)


def _from_columns(cells: dict[str, np.ndarray], container: Container) -> Table:
    dtypes = [c.dtype.name for c in cells.values()]
    n = len(next(iter(cells.values()))) if cells else 0
    if n == 0:
        raise DataError(f"Found array with {n} sample(s) (shape=({n}, {len(cells)})) while a minimum of 1 is required.")
    values = np.empty((n, len(cells)), float_type(dtypes))
    for i, cell in enumerate(cells.values()):
        values[:, i] = cell
    return Table(values, list(cells), dtypes, container, True)


def _pandas_cells(name: str, column: Any) -> np.ndarray:
    kind = column.dtype
    if getattr(kind, "kind", "O") in "fiub":
        # Nullable extension types carry their missing cells apart; as floats they become NaN.
        if hasattr(kind, "numpy_dtype") and column.isna().any():
            return np.asarray(column.to_numpy(dtype="float64", na_value=np.nan))
        return np.asarray(column.to_numpy(dtype=getattr(kind, "numpy_dtype", kind)))
    raise _text(name, str(kind))


def arrow_dtype(kind: Any, name: str, where: str = "") -> str:
    """NumPy's name for an Arrow column's type.

    Raises:
        DataError: text, dates and other types that are not numbers.
    """
    import pyarrow as pa

    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return str(np.dtype(kind.to_pandas_dtype()).name)
    raise _text(name, str(kind), where)


def batch_values(batch: Any, columns: Sequence[str]) -> np.ndarray:
    """A record batch's columns as one C-ordered matrix, [n, C] float32 or float64, NaN for null."""
    kinds = [batch.schema.field(n).type for n in columns]
    dtypes = [arrow_dtype(k, n) for k, n in zip(kinds, columns, strict=True)]
    if len(set(dtypes)) == 1 and dtypes[0] in ("float32", "float64"):
        tensor = batch.select(list(columns)).to_tensor(null_to_nan=True, row_major=True)
        return np.asarray(tensor.to_numpy())
    values = np.empty((batch.num_rows, len(columns)), float_type(dtypes))
    for i, name in enumerate(columns):
        values[:, i] = _arrow_cells(name, batch.column(name))
    return values


def _arrow_cells(name: str, column: Any) -> np.ndarray:
    """One Arrow column as NumPy: floats with NaN where nulls are, else its own type."""
    dtype = arrow_dtype(column.type, name)
    if column.null_count and dtype == "bool":
        column = column.cast("uint8")
    cells = column.to_numpy() if hasattr(column, "chunks") else column.to_numpy(zero_copy_only=False)
    return np.asarray(cells)


def _text(name: str, kind: str, where: str = "") -> DataError:
    return DataError(
        f"{where}{': ' if where else ''}column {name!r} holds {kind}; allowed are numbers and booleans: leave it out "
        f"(--exclude {name}) or, if it is the truth, name it with --label {name}"
    )


def matched(table: Table, names: Sequence[str], who: str) -> Table:
    """Bring a table's columns into the order of `names`: by name where it has names, else by position.

    Raises:
        DataError: a column is missing, or the number of columns differs.
    """
    if not table.named:
        if len(table.names) != len(names):
            raise DataError(
                f"X has {len(table.names)} features, but {who} is expecting {len(names)} features as input."
            )
        return table
    if table.names == list(names):
        return table
    index = {n: i for i, n in enumerate(table.names)}
    absent = [n for n in names if n not in index]
    if absent:
        if len(table.names) == len(names) and all(n == f"x{i}" for i, n in enumerate(names)):
            return table  # the fit had no names to compare with
        raise DataError(
            f"column {absent[0]!r} is missing ({len(absent)} of {len(names)} are): {nearest(absent[0], table.names)}"
        )
    order = [index[n] for n in names]
    return dataclasses.replace(
        table, values=table.values[:, order], names=list(names), dtypes=[table.dtypes[i] for i in order]
    )


def from_values(values: np.ndarray, names: Sequence[str], dtypes: Sequence[str], container: Container) -> Any:
    """Give values [n, C] back in the container and column types that fit was given."""
    columns = {}
    for i, (name, dtype) in enumerate(zip(names, dtypes, strict=True)):
        cell = values[:, i]
        kind = np.dtype(dtype)
        gone = ~np.isfinite(cell)
        if kind.kind in "iub" and (container == "arrow" or not gone.any()):
            limits = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
            columns[name] = np.clip(np.round(np.where(gone, 0, cell)), *limits).astype(kind)
            if gone.any():
                columns[name] = np.ma.array(columns[name], mask=gone)
        else:
            columns[name] = cell.astype(kind if kind.kind == "f" else np.float64)
    if container == "numpy":
        same = len({c.dtype for c in columns.values()}) == 1
        return np.stack(list(columns.values()), axis=1) if same else values
    if container == "pandas":
        try:
            import pandas as pd
        except ImportError:
            raise MissingExtraError("pandas", "pandas", "returning a data frame") from None
        return pd.DataFrame(columns)
    import pyarrow as pa

    # Arrow has room for a missing integer: the column keeps its type.
    return pa.table({n: pa.array(c.data, mask=c.mask) if np.ma.isMaskedArray(c) else c for n, c in columns.items()})
