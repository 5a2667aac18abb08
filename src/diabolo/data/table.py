"""A table in memory: one float matrix with names and types, whatever container it came in."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from diabolo.data.dialect.record import Dialect
from diabolo.data.dtypes import arrow_dtype, cells_of, float_type, restored
from diabolo.data.frames import arrow_table, is_pandas, pandas_column, pandas_columns
from diabolo.data.types import Types, types_of_arrow, types_of_pandas
from diabolo.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import ArrayLike

__all__ = [
    "Container",
    "RowsOut",
    "Table",
    "TableLike",
    "TableOut",
    "as_numbers",
    "as_table",
    "check_weights",
    "from_values",
]

Container = Literal["numpy", "pandas", "arrow"]
#: A table [n, C] as a user gives it (nested lists are array-like), and in the container that a user gets back.
TableLike: TypeAlias = "ArrayLike | pd.DataFrame | pa.Table | Table"
TableOut: TypeAlias = "np.ndarray | pd.DataFrame | pa.Table"
#: A value a row, [n]: a Series with the index of a pandas frame that came in, else an array.
RowsOut: TypeAlias = "np.ndarray | pd.Series[Any]"


@dataclasses.dataclass
class Table:
    """n rows of C columns as numbers (see `diabolo.data.dtypes`); NaN is a missing cell."""

    values: np.ndarray  #: [n, C] float32 or float64
    names: list[str]
    dtypes: list[str]  #: type names as they came
    container: Container
    named: bool  #: whether the names came with the data
    levels: dict[str, list[str]] = dataclasses.field(default_factory=dict)  #: of text columns
    shape: tuple[int, ...] | None = None  #: (h, w) or (h, w, c) where rows are images, flattened in C order
    start: int = 0  #: number of its first row in the file that it is a chunk of
    dialect: Dialect | None = None  #: how its text is read, if it came as text
    #: Numbers of cells below and above all numbers, of columns that had infinite ones, which are missing here.
    infinite: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    types: Types = dataclasses.field(default_factory=Types)  #: of a data frame, where type names do not tell them

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, index: Any) -> Table:
        return dataclasses.replace(self, values=self.values[index])


def as_table(data: Any, names: Sequence[str] | None = None) -> Table:
    """Read an array, data frame, Arrow table or nested list as a table of numbers.

    Args:
        data: [n, C] numbers, truth values, text and dates: an array, a frame of pandas, polars or whatever else has
            `__arrow_c_stream__`; an array of images [n, h, w] or [n, h, w, c]; a `Table`.
        names: column names for data that has none.

    Raises:
        DataError: objects in a column, a wrong number of dimensions, no rows.
    """
    if isinstance(data, Table):
        return data
    if type(data) is not np.ndarray:
        if is_pandas(data):
            columns = pandas_columns(data)
            return _from_columns(columns, "pandas", types_of_pandas(columns))
        frame = arrow_table(data)
        if frame is not None:
            columns = {n: frame.column(i) for i, n in enumerate(frame.column_names)}
            return _from_columns(columns, "arrow", types_of_arrow(frame.schema, _dictionaries(columns)))
        if type(data).__module__.startswith("torch"):
            data = data.detach().cpu().numpy()
    if isinstance(data, np.ma.MaskedArray):
        # A masked cell is a missing one, whatever lies below the mask.
        hidden, cells = np.ma.getmaskarray(data), np.asarray(data.data)
        data = np.where(hidden, np.nan, cells.astype(np.result_type(cells, np.float32))) if hidden.any() else cells
    shape = None
    if isinstance(data, np.ndarray) and data.ndim > 2:
        if data.ndim > 4 or min(data.shape[1:]) < 1:
            raise DataError(
                f"the array has shape {list(data.shape)}; allowed are rows [n, columns] and images [n, h, w] or "
                "[n, h, w, channels]: reshape it"
            )
        shape = data.shape[1:]
        data = data.reshape(len(data), math.prod(shape))
    array = as_numbers(data)
    kind = array.dtype.name
    if array.dtype.kind not in "fiub":
        raise DataError(f"the array has type {kind}; allowed are numbers and booleans")
    values = np.asarray(array, dtype=float_type([kind]))
    width = values.shape[1]
    if names is not None and len(names) != width:
        raise DataError(f"{len(names)} names for {width} columns")
    given = list(names) if names is not None else [f"x{i}" for i in range(width)]
    return Table(values, given, [kind] * width, "numpy", names is not None, shape=shape)


def as_numbers(data: Any) -> np.ndarray:
    """[n, C] of whatever scikit-learn takes for an array; its complaints as one line each."""
    if type(data) is np.ndarray and data.ndim == 2 and data.size and data.dtype in (np.float32, np.float64):
        return data  # what the checks below give back as it is, after longer than a row takes to score
    from scipy.sparse import issparse
    from sklearn.utils.validation import check_array

    allowed = "allowed are rows [n, columns] of numbers, or a data frame or Arrow table"
    mapping = isinstance(data, Mapping) and not issparse(data)  # SciPy 1.11 has a sparse array that is a dictionary
    if data is None or mapping or isinstance(data, str | bytes | os.PathLike):
        hint = ": pandas.DataFrame(X) makes one" if mapping else ""
        hint = hint or (": read the file first" if data is not None else "")
        raise DataError(f"X is {str(data)[:60]!r} of type {type(data).__name__}; {allowed}{hint}")
    try:
        return np.asarray(check_array(data, dtype="numeric", ensure_all_finite=False, ensure_min_samples=1))
    except (TypeError, ValueError) as error:
        if isinstance(error, TypeError) and "Sparse" not in str(error):
            raise  # scikit-learn's contract for cells that are neither numbers nor text
        # The second line of some is the array itself.
        said = re.sub(r"\s*array=.*?(?=Reshape|$)", " ", str(error), flags=re.S)
        said = " ".join(re.sub(r"\n\s*\[.*", "", said, flags=re.S).split())
        raise DataError(f"{said.rstrip('.')}; {allowed}") from None


def _dictionaries(columns: Mapping[str, Any]) -> dict[str, Any]:
    import pyarrow as pa

    return {n: c for n, c in columns.items() if pa.types.is_dictionary(c.type)}


def _from_columns(columns: dict[str, Any], container: Container, types: Types) -> Table:
    n = len(next(iter(columns.values()))) if columns else 0
    if n == 0:
        raise DataError(
            f"Found array with {n} sample(s) (shape=({n}, {len(columns)})) while a minimum of 1 is required."
        )
    levels: dict[str, list[str]] = {}
    read = _pandas_cells if container == "pandas" else _arrow_cells
    cells = {name: read(name, column, levels) for name, column in columns.items()}
    dtypes = [dtype for _, dtype in cells.values()]
    values = np.empty((n, len(cells)), float_type(dtypes))
    for i, (cell, _) in enumerate(cells.values()):
        values[:, i] = cell
    return Table(values, list(cells), dtypes, container, True, levels, types=types)


def _arrow_cells(name: str, column: Any, levels: dict[str, list[str]]) -> tuple[np.ndarray, str]:
    return cells_of(name, column, levels), arrow_dtype(column.type, name)


def _pandas_cells(name: str, column: Any, levels: dict[str, list[str]]) -> tuple[np.ndarray, str]:
    column = pandas_column(name, column)
    kind = column.dtype
    if getattr(kind, "kind", "O") in "fiub":
        # Nullable extension types carry their missing cells apart; as floats they become NaN.
        if hasattr(kind, "numpy_dtype") and column.isna().any():
            return np.asarray(column.to_numpy(dtype="float64", na_value=np.nan)), "float64"
        cell = np.asarray(column.to_numpy(dtype=getattr(kind, "numpy_dtype", kind)))
        return cell, cell.dtype.name
    import pyarrow as pa

    try:
        return _arrow_cells(name, pa.array(column, from_pandas=True), levels)
    except DataError:
        raise
    except (pa.ArrowException, TypeError, ValueError) as error:
        what = " ".join(str(error).split())[:120]
        raise DataError(
            f"column {name!r} holds {kind} of mixed kinds ({what}); allowed are numbers, truth values, text and dates, "
            "one kind per column: mend it or leave it out"
        ) from None


def check_weights(weights: Any, n: int) -> np.ndarray | None:
    """Weights [n], finite and not negative, with a positive sum; None for equal ones.

    Raises:
        DataError: names the first one that is not.
    """
    if weights is None:
        return None
    try:
        w = np.asarray(weights, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"sample_weight: {error}; allowed are finite numbers from 0 up, one per row") from None
    if w.shape != (n,):
        raise DataError(f"sample_weight has shape {w.shape}; expected ({n},), one weight per row")
    wrong = np.flatnonzero(~(np.isfinite(w) & (w >= 0)))
    if len(wrong):
        raise DataError(f"sample_weight of row {wrong[0]} is {w[wrong[0]]}; allowed are finite numbers from 0 up")
    if not w.sum() > 0:
        raise DataError("sample_weight sums to zero: every weight is zero; at least one row needs a positive weight")
    return w


def from_values(
    values: np.ndarray,
    names: Sequence[str],
    dtypes: Sequence[str],
    container: Container,
    levels: Mapping[str, Sequence[str]] | None = None,
    shape: tuple[int, ...] | None = None,
    types: Types | None = None,
) -> Any:
    """Give values [n, C] back in the container and column types that fit was given."""
    types = types or Types()
    if container == "numpy":
        return _array(values, names, dtypes, levels or {}, shape)
    import pyarrow as pa

    columns = {
        name: restored(values[:, i], dtype, (levels or {}).get(name, ()))
        for i, (name, dtype) in enumerate(zip(names, dtypes, strict=True))
    }
    columns = types.applied(columns)
    if container == "arrow":
        return types.noted(pa.table(columns))
    try:
        import pandas as pd
    except ImportError:
        raise MissingExtraError("pandas", "pandas", "returning a data frame") from None
    series = {n: c.cast("float64") if c.null_count and _whole(c) else c for n, c in columns.items()}
    return types.in_pandas(pd.DataFrame({n: c.to_pandas() for n, c in series.items()}))


def _whole(column: Any) -> bool:
    """NumPy has no missing integer or truth value: such a column becomes floats."""
    import pyarrow as pa

    return bool(pa.types.is_integer(column.type) or pa.types.is_boolean(column.type))


def _array(
    values: np.ndarray,
    names: Sequence[str],
    dtypes: Sequence[str],
    levels: Mapping[str, Sequence[str]],
    shape: tuple[int, ...] | None,
) -> np.ndarray:
    if len(set(dtypes)) == 1 and dtypes[0].startswith("float"):
        return values.astype(dtypes[0]).reshape(len(values), *(shape or values.shape[1:]))
    columns = []
    for i, (name, dtype) in enumerate(zip(names, dtypes, strict=True)):
        column = restored(values[:, i], dtype, levels.get(name, ()))
        if column.null_count:
            column = column.cast("uint8") if dtype == "bool" else column
            column = column.cast("float64")
        columns.append(column.to_numpy(zero_copy_only=False))
    same = len({c.dtype for c in columns}) == 1
    out = np.stack(columns, axis=1) if same else np.stack([c.astype(np.float64) for c in columns], axis=1)
    return out if shape is None else out.reshape(len(out), *shape)
