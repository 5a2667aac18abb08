"""A table in memory: one float matrix with names and types, whatever container it came in."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from diabolo.data.dtypes import TEXT, arrow_dtype, cells_of, float_type, is_date, restored
from diabolo.data.schema import Column, Schema
from diabolo.errors import DataError, MissingExtraError, nearest

__all__ = [
    "Container",
    "Table",
    "as_numbers",
    "as_table",
    "check_weights",
    "check_words",
    "from_values",
    "like_schema",
    "matched",
]

Container = Literal["numpy", "pandas", "arrow"]


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

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, index: Any) -> Table:
        return dataclasses.replace(self, values=self.values[index])


def as_table(data: Any, names: Sequence[str] | None = None) -> Table:
    """Read an array, data frame, Arrow table or nested list as a table of numbers.

    Args:
        data: [n, C] numbers, truth values, text and dates; an array of images [n, h, w] or [n, h, w, c]; a `Table`.
        names: column names for data that has none.

    Raises:
        DataError: objects in a column, a wrong number of dimensions, no rows.
    """
    if isinstance(data, Table):
        return data
    if type(data).__module__.startswith("pandas") and hasattr(data, "columns"):
        columns = {str(c): data[c] for c in data.columns}
        if len(columns) < len(data.columns):
            raise DataError("duplicate column names in the data frame; rename them")
        return _from_columns(columns, "pandas")
    if type(data).__module__.startswith("pyarrow") and hasattr(data, "column_names"):
        twice = sorted({n for n in data.column_names if data.column_names.count(n) > 1})
        if twice:
            raise DataError(f"duplicate column names in the Arrow table: {', '.join(twice)}; rename them")
        return _from_columns({n: data.column(i) for i, n in enumerate(data.column_names)}, "arrow")
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
    from sklearn.utils.validation import check_array

    allowed = "allowed are rows [n, columns] of numbers, or a data frame or Arrow table"
    if data is None or isinstance(data, str | bytes | os.PathLike | Mapping):
        hint = ": pandas.DataFrame(X) makes one" if isinstance(data, Mapping) else ""
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


def _from_columns(columns: dict[str, Any], container: Container) -> Table:
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
    return Table(values, list(cells), dtypes, container, True, levels)


def _arrow_cells(name: str, column: Any, levels: dict[str, list[str]]) -> tuple[np.ndarray, str]:
    return cells_of(name, column, levels), arrow_dtype(column.type, name)


def _pandas_cells(name: str, column: Any, levels: dict[str, list[str]]) -> tuple[np.ndarray, str]:
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
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        what = " ".join(str(error).split())[:120]
        raise DataError(
            f"column {name!r} holds {kind} of mixed kinds ({what}); allowed are numbers, truth values, text and dates, "
            "one kind per column: mend it or leave it out"
        ) from None


def matched(table: Table, schema: Schema, who: str) -> Table:
    """Bring a table into a schema's order (by name where it has names, else by position) and its levels.

    A category that the schema does not know gets the position after its last level.

    Raises:
        DataError: a column is missing, the number of columns or the size of images differs, text for numbers.
    """
    return _recoded(_ordered(table, schema, who), schema)


def _ordered(table: Table, schema: Schema, who: str) -> Table:
    names = schema.names
    if schema.shape is not None and table.shape is not None and (*table.shape, 1)[:3] != schema.shape:
        raise DataError(
            f"X has images of shape {list(table.shape)}; {who} was fitted on {list(schema.shape)} (h, w, channels)"
        )
    if not table.named:
        if len(table.names) != len(names):
            raise DataError(
                f"X has {len(table.names)} features, but {who} is expecting {len(names)} features as input."
            )
        return table
    if table.names == names:
        return table
    index = {n: i for i, n in enumerate(table.names)}
    absent = [n for n in names if n not in index]
    if absent:
        if len(table.names) == len(names) and all(n == f"x{i}" for i, n in enumerate(names)):
            return dataclasses.replace(table, levels={})  # the fit had no names to compare with
        raise DataError(
            f"column {absent[0]!r} is missing ({len(absent)} of the model's {len(names)} are): "
            f"{nearest(absent[0], table.names, 'X has')}"
        )
    order = [index[n] for n in names]
    return dataclasses.replace(
        table, values=table.values[:, order], names=list(names), dtypes=[table.dtypes[i] for i in order]
    )


def _recoded(table: Table, schema: Schema) -> Table:
    """Positions among a table's own levels → positions among the schema's; numbers that are categories likewise."""
    values, levels = table.values, dict(table.levels)
    for i, column in enumerate(schema.columns):
        own = levels.get(table.names[i])
        if not column.levels:
            if column.dtype not in TEXT:
                _check_kind(table, i, column, own)
            if own is None or column.dtype not in TEXT:
                continue
        if column.kind == "ordinal":
            if own is not None:
                raise DataError(f"{_first_word(table, i, own)}; the model was fitted on numbers there")
            continue
        if column.dtype in TEXT and own is None and table.dtypes[i] not in TEXT:
            if not np.isnan(values[:, i]).all():
                raise DataError(
                    f"column {column.name!r} holds {table.dtypes[i]}; the model was fitted on text there "
                    f"({', '.join(column.levels[:3])})"
                )
            continue
        if own == list(column.levels):
            continue
        if values is table.values:
            values = values.copy()
        values[:, i] = _positions(values[:, i], own, column.levels)
        levels[table.names[i]] = list(column.levels)
    return dataclasses.replace(table, values=values, levels=levels)


def _check_kind(table: Table, i: int, column: Column, own: Sequence[str] | None) -> None:
    """Refuse dates or text where the model was fitted on numbers, and so on; missing cells have no kind.

    Raises:
        DataError: names the column, and the first word where a number should be.
    """
    dated = is_date(column.dtype)
    if not table.named or (own is None and dated == is_date(table.dtypes[i])) or np.isnan(table.values[:, i]).all():
        return
    if own is not None and not dated:
        raise DataError(f"{_first_word(table, i, own)}; the model was fitted on numbers there")
    what = "text" if own is not None else table.dtypes[i]
    raise DataError(
        f"column {column.name!r} holds {what}; the model was fitted on {'dates' if dated else 'numbers'} there"
    )


def check_words(table: Table, kinds: Mapping[str, str]) -> None:
    """Refuse a text column that is numbers but for a few stray words, rather than making each number a level.

    Raises:
        DataError: names the first row whose cell is no number.
    """
    for i, name in enumerate(table.names):
        words = table.levels.get(name)
        numbers = sum(_is_number(w) for w in words or ())
        if words and kinds.get(name) != "categorical" and len(words) > numbers >= max(3, len(words) / 2):
            raise DataError(
                f"{_first_word(table, i, words)}; the column's other cells are: mend it, leave the column out "
                f'(--exclude {name}), or say that it is a category (kinds.{name} = "categorical")'
            )


def _first_word(table: Table, i: int, words: Sequence[str]) -> str:
    """Say where the first cell of a column stands that is no number."""
    odd = [k for k, word in enumerate(words) if not _is_number(word)] or [0]
    rows = np.flatnonzero(np.isin(table.values[:, i], odd))
    row = f"row {table.start + int(rows[0])}, " if len(rows) else ""
    word = words[int(table.values[rows[0], i])] if len(rows) else words[odd[0]]
    return f"{row}column {table.names[i]!r}: {word[:40]!r} is not a number"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _positions(cells: np.ndarray, own: Sequence[str] | None, levels: Sequence[str]) -> np.ndarray:
    there = ~np.isnan(cells)
    if own is not None:
        place = {word: k for k, word in enumerate(levels)}
        to = np.array([*(place.get(w, len(levels)) for w in own), len(levels)], cells.dtype)
        code = np.where(there, cells, 0).astype(np.int64)
        return np.where(there, to[np.minimum(code, len(own))], np.nan)
    numbers = np.array([float(w) for w in levels])
    order = np.argsort(numbers)
    at = np.clip(np.searchsorted(numbers, cells, sorter=order), 0, len(numbers) - 1)
    found = numbers[order[at]] == cells
    return np.where(there, np.where(found, order[at], len(levels)), np.nan)


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
) -> Any:
    """Give values [n, C] back in the container and column types that fit was given."""
    if container == "numpy":
        return _array(values, names, dtypes, levels or {}, shape)
    import pyarrow as pa

    columns = {
        name: restored(values[:, i], dtype, (levels or {}).get(name, ()))
        for i, (name, dtype) in enumerate(zip(names, dtypes, strict=True))
    }
    if container == "arrow":
        return pa.table(columns)
    try:
        import pandas as pd
    except ImportError:
        raise MissingExtraError("pandas", "pandas", "returning a data frame") from None
    series = {n: c.cast("float64") if c.null_count and _whole(c) else c for n, c in columns.items()}
    return pd.DataFrame({n: c.to_pandas() for n, c in series.items()})


def like_schema(schema: Schema, values: np.ndarray) -> Table:
    """Rows [n, C] in a schema's order and levels as a table of its columns."""
    levels = {name: list(words) for name, words in schema.levels.items()}
    return Table(values, schema.names, [c.dtype for c in schema.columns], "arrow", True, levels)


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
