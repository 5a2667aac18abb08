"""Types of a data frame's columns that type names do not tell: pandas' own ones, categories in their order."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diabolo.data.dtypes import TEXT, arrow_dtype, cells_of, meaning, restored
from diabolo.errors import DataError

__all__ = ["Categories", "Types", "types_of_arrow", "types_of_pandas"]

#: Levels of a category that are kept in their order, at most.
MOST = 10_000
#: pandas' types whose cells come back as such by themselves, or are stored in another form.
PLAIN = ("datetime64", "period", "Sparse", "interval", "object")
#: pandas' own types by the names that its notes have.
OWN = frozenset(
    ["boolean", "string", "Float32", "Float64", *(f"{u}Int{bits}" for u in ("", "U") for bits in (8, 16, 32, 64))]
)


@dataclasses.dataclass(frozen=True)
class Categories:
    """All levels of a category in their order, used or not."""

    #: Type name of the levels.
    dtype: str
    #: Levels that are text, or those that are numbers and dates, as cells.
    words: tuple[str, ...] = ()
    cells: tuple[float, ...] = ()
    ordered: bool = False

    def applied(self, column: Any) -> Any:
        """An Arrow column of levels as one of the category; levels that the category lacks come last."""
        import pyarrow as pa
        import pyarrow.compute as pc

        kind = pa.string() if self.dtype in TEXT else restored(np.array(self.cells), self.dtype).type
        plain = column.cast(kind)
        levels = pa.array(list(self.words), kind) if self.dtype in TEXT else restored(np.array(self.cells), self.dtype)
        known = pc.drop_null(pc.unique(plain))
        levels = pa.concat_arrays([levels, known.filter(pc.invert(pc.is_in(known, levels)))])
        code = pc.index_in(plain, levels).cast(pa.int32())
        return pa.DictionaryArray.from_arrays(code, levels, ordered=self.ordered)


@dataclasses.dataclass(frozen=True)
class Types:
    """What is to be known of columns beside their type names; empty for arrays and plain tables."""

    #: pandas' name of a type of its own, by column.
    pandas: dict[str, str] = dataclasses.field(default_factory=dict)
    categories: dict[str, Categories] = dataclasses.field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.pandas or self.categories)

    def of(self, names: Sequence[str]) -> Types:
        """Those of some columns."""
        pandas = {n: k for n, k in self.pandas.items() if n in names}
        return Types(pandas, {n: c for n, c in self.categories.items() if n in names})

    @property
    def of_means(self) -> Types:
        """Those of means, which are no whole numbers or truth values and no level of a category of numbers."""
        categories = {n: c for n, c in self.categories.items() if meaning(c.dtype) == "text"}
        return Types(
            {n: k for n, k in self.pandas.items() if n in categories or k.startswith(("str", "Float"))}, categories
        )

    def applied(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Arrow columns by name, those of categories as such."""
        return {n: self.categories[n].applied(c) if n in self.categories else c for n, c in columns.items()}

    def noted(self, table: Any) -> Any:
        """An Arrow table with pandas' note of its types, from which `to_pandas` gives them back."""
        if not self.pandas:
            return table
        columns = [
            {
                "name": n,
                "field_name": n,
                "pandas_type": str(table.schema.field(n).type),
                "numpy_type": k,
                "metadata": None,
            }
            for n, k in self.pandas.items()
            if n in table.column_names
        ]
        note = {"index_columns": [], "column_indexes": [], "columns": columns, "pandas_version": None}
        return table.replace_schema_metadata({**(table.schema.metadata or {}), b"pandas": json.dumps(note).encode()})

    def in_pandas(self, frame: Any) -> Any:
        """A pandas frame whose columns have pandas' own types again."""
        wrong = {n: k for n, k in self.pandas.items() if n in frame.columns and str(frame[n].dtype) != k}
        return frame.astype(wrong) if wrong else frame


def types_of_pandas(columns: Mapping[str, Any]) -> Types:
    """Types of a pandas frame's columns by name."""
    pandas, categories = {}, {}
    for name, column in columns.items():
        kind = column.dtype
        if isinstance(kind, np.dtype) or str(kind) == "str" or str(kind).startswith(PLAIN):
            continue
        if str(kind) == "category":
            found = _categories(_levels_of(kind), bool(kind.ordered), name)
            if found is not None:
                categories[name] = found
        else:
            pandas[name] = str(kind)
    return Types(pandas, categories)


def _levels_of(kind: Any) -> Any:
    import pyarrow as pa

    levels = kind.categories
    if str(levels.dtype).startswith(("interval[", "period[")):
        levels = levels.astype(str)
    try:
        return pa.array(levels, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError):
        return None


def types_of_arrow(schema: Any, first: Mapping[str, Any]) -> Types:
    """Types of an Arrow table's columns.

    Args:
        schema: with pandas' note, where a data frame was written.
        first: the first cells of dictionary columns, by name.
    """
    pandas, categories = _noted(schema.metadata), {}
    for name, column in first.items():
        chunks = getattr(column, "chunks", [column])
        if chunks:
            found = _categories(chunks[0].dictionary, bool(schema.field(name).type.ordered), name)
            if found is not None:
                categories[name] = found
    known = set(schema.names) - set(categories)
    return Types({n: k for n, k in pandas.items() if n in known}, categories)


def _noted(metadata: Any) -> dict[str, str]:
    """pandas' own types by column, from its note in a file, which anybody may have written."""
    try:
        columns = json.loads((metadata or {}).get(b"pandas", b"{}")).get("columns", [])
        said = {c["field_name"]: c["numpy_type"] for c in columns if isinstance(c["field_name"], str)}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}
    return {n: k for n, k in said.items() if isinstance(k, str) and k in OWN}


def _categories(levels: Any, ordered: bool, name: str) -> Categories | None:
    """The levels of a category; None where they are too many, or no values of a column."""
    if levels is None or len(levels) > MOST or levels.null_count:
        return None
    try:
        dtype = arrow_dtype(levels.type, name)
        if dtype in TEXT:
            return Categories("str", words=tuple(str(w) for w in levels.to_pylist()), ordered=ordered)
        cells = np.asarray(cells_of(name, levels, {}), np.float64)
    except DataError:
        return None
    return Categories(dtype, cells=tuple(cells.tolist()), ordered=ordered) if np.isfinite(cells).all() else None
