"""Structs and arrays of fixed shape as columns of a chunk, and back: what is nested is coded cell by cell.

A struct becomes its fields, an array of fixed shape its cells, a list of structs one list per field; where such a thing
may be missing, a column of truth values says whether it is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

__all__ = ["Nest"]

#: An array of more cells, and what lies deeper, stays one column, which is carried.
MOST_CELLS, DEEPEST = 4096, 16
#: Columns of one that is nested, and what makes it of them again.
Split = Callable[[Any], list[Any]]
Join = Callable[[Iterator[Any]], Any]


class Nest:
    """How the columns of a schema become flat ones.

    Args:
        schema: Arrow schema of a table.
    """

    def __init__(self, schema: Any) -> None:
        import pyarrow as pa

        self.schema = schema
        parts = [_part(f.name, f.type, f.nullable, 0) for f in schema]
        taken = set(schema.names)
        fields = []
        for own, (inner, _, _) in zip(schema, parts, strict=True):
            if len(inner) == 1 and inner[0].type == own.type:
                fields.append(own)
                continue
            for field in inner:
                name = field.name
                while name in taken:
                    name += "'"
                taken.add(name)
                fields.append(field.with_name(name))
        self._parts = parts
        self.plain = len(fields) == len(schema) and all(a.type == b.type for a, b in zip(fields, schema, strict=True))
        #: Schema of the flat columns.
        self.flat = schema if self.plain else pa.schema(fields, schema.metadata)

    def __reduce__(self) -> tuple[type[Nest], tuple[Any]]:
        # Made again from the schema, as scikit-learn copies estimators: its functions cannot be.
        return Nest, (self.schema,)

    def split(self, batch: Any) -> Any:
        """A batch of the schema as one of flat columns."""
        import pyarrow as pa

        if self.plain:
            return batch
        arrays = [
            cells for column, (_, split, _) in zip(batch.columns, self._parts, strict=True) for cells in split(column)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.flat)

    def join(self, batch: Any) -> Any:
        """The batch that `split` made flat."""
        import pyarrow as pa

        if self.plain:
            return batch
        cells = iter(batch.columns)
        return pa.RecordBatch.from_arrays([join(cells) for _, _, join in self._parts], schema=self.schema)


def _part(name: str, kind: Any, nullable: bool, depth: int, inside: bool = False) -> tuple[list[Any], Split, Join]:
    """Flat fields of a column, and the ways to them and back; `inside` a list, only structs are taken apart."""
    import pyarrow as pa

    t = pa.types
    if isinstance(kind, pa.BaseExtensionType) or depth > DEEPEST:
        return _whole(name, kind, nullable)
    if t.is_struct(kind) and kind.num_fields:
        return _struct(name, kind, nullable, depth, inside)
    if t.is_fixed_size_list(kind) and not inside and 0 < kind.list_size <= MOST_CELLS:
        return _array(name, kind, nullable, depth)
    if (t.is_list(kind) or t.is_large_list(kind)) and not inside and t.is_struct(kind.value_type):
        return _list(name, kind, nullable, depth)
    return _whole(name, kind, nullable)


def _whole(name: str, kind: Any, nullable: bool) -> tuple[list[Any], Split, Join]:
    import pyarrow as pa

    return [pa.field(name, kind, nullable)], lambda column: [column], next


def _there(name: str, nullable: bool) -> list[Any]:
    import pyarrow as pa

    return [pa.field(f"{name}?", pa.bool_(), False)] if nullable else []


def _gone(cells: Iterator[Any], nullable: bool) -> Any:
    """Mask of what is missing, of the column that says so."""
    import pyarrow.compute as pc

    return pc.invert(next(cells)) if nullable else None


def _struct(name: str, kind: Any, nullable: bool, depth: int, inside: bool) -> tuple[list[Any], Split, Join]:
    import pyarrow as pa

    own = list(kind)
    parts = [_part(f"{name}_{f.name}", f.type, f.nullable or nullable, depth + 1, inside) for f in own]

    def split(column: Any) -> list[Any]:
        there = [column.is_valid()] if nullable else []
        return there + [c for cells, (_, of, _) in zip(column.flatten(), parts, strict=True) for c in of(cells)]

    def join(cells: Iterator[Any]) -> Any:
        gone = _gone(cells, nullable)
        arrays = [of(cells) for _, _, of in parts]
        if not any(f.nullable is False for f in own):
            return pa.StructArray.from_arrays(arrays, fields=own, mask=gone)
        # A field that is never missing is not so below a struct that is.
        loose = pa.StructArray.from_arrays(arrays, fields=[f.with_nullable(True) for f in own], mask=gone)
        return pa.Array.from_buffers(
            kind, len(loose), loose.buffers()[:1], children=[loose.field(i) for i in range(len(own))]
        )

    return _there(name, nullable) + [f for inner, _, _ in parts for f in inner], split, join


def _array(name: str, kind: Any, nullable: bool, depth: int) -> tuple[list[Any], Split, Join]:
    import pyarrow as pa

    size, may = kind.list_size, kind.value_field.nullable or nullable
    if size * len(_part(name, kind.value_type, may, depth + 1)[0]) > MOST_CELLS:
        return _whole(name, kind, nullable)
    parts = [_part(f"{name}_{j}", kind.value_type, may, depth + 1) for j in range(size)]

    def split(column: Any) -> list[Any]:
        n = len(column)
        values = column.values.slice(column.offset * size, n * size)
        mask = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
        cells = [values.take(pa.array(np.arange(n) * size + j, mask=mask)) for j in range(size)]
        there = [column.is_valid()] if nullable else []
        return there + [c for one, (_, of, _) in zip(cells, parts, strict=True) for c in of(one)]

    def join(cells: Iterator[Any]) -> Any:
        gone = _gone(cells, nullable)
        columns = [of(cells) for _, _, of in parts]
        n = len(columns[0])
        order = (np.arange(n)[:, None] + np.arange(size) * n).reshape(-1)
        values = pa.concat_arrays(columns).take(pa.array(order))
        return pa.FixedSizeListArray.from_arrays(values, type=kind, mask=gone)

    return _there(name, nullable) + [f for inner, _, _ in parts for f in inner], split, join


def _list(name: str, kind: Any, nullable: bool, depth: int) -> tuple[list[Any], Split, Join]:
    import pyarrow as pa

    inner = kind.value_field
    fields, into, out_of = _part(name, kind.value_type, inner.nullable, depth + 1, True)
    make = pa.large_list if pa.types.is_large_list(kind) else pa.list_
    way = pa.LargeListArray if pa.types.is_large_list(kind) else pa.ListArray
    kinds = [make(pa.field("item", f.type, f.nullable)) for f in fields]
    offset = np.int64 if pa.types.is_large_list(kind) else np.int32

    def split(column: Any) -> list[Any]:
        lengths = np.asarray(column.value_lengths().fill_null(0))
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(offset))
        mask = column.is_null() if column.null_count else None
        return [
            way.from_arrays(offsets, cells, type=k, mask=mask)
            for cells, k in zip(into(column.flatten()), kinds, strict=True)
        ]

    def join(cells: Iterator[Any]) -> Any:
        lists = [next(cells) for _ in kinds]
        first = lists[0]
        lengths = np.asarray(first.value_lengths().fill_null(0))
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(offset))
        values = out_of(iter([one.flatten() for one in lists]))
        return way.from_arrays(offsets, values, type=kind, mask=first.is_null() if first.null_count else None)

    return [pa.field(f.name, k, nullable) for f, k in zip(fields, kinds, strict=True)], split, join
