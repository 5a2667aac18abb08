"""Structs and arrays of fixed shape as columns of a chunk, and back: what is nested is coded cell by cell.

A struct becomes its fields, an array of fixed shape its cells, a list of structs one list per field; where such a thing
may be missing, a column of truth values says whether it is there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

__all__ = ["MOST_NAMES", "Nest"]

#: An array of more cells, and what lies deeper, stays one column, which is carried.
MOST_CELLS, DEEPEST = 4096, 16
#: Characters of the names of all flat columns that nested ones become, each name with 16 more; what would need more
#: stays whole. A few bytes of a schema can ask for any number of them.
MOST_NAMES, OF_EACH = 1 << 23, 16


class Part(NamedTuple):
    """The flat columns of a kind: how many, what they are called, and the ways to them and back.

    All but their number and the length of their names waits until it is asked for.
    """

    columns: int
    #: Characters of their names, without that of the column itself, which each begins with.
    characters: int
    fields: Callable[[str], Iterator[Any]]
    split: Callable[[Any], list[Any]]
    join: Callable[[Iterator[Any]], Any]
    whole: bool = False


class Nest:
    """How the columns of a schema become flat ones.

    Args:
        schema: Arrow schema of a table.
    """

    def __init__(self, schema: Any) -> None:
        import pyarrow as pa

        self.schema = schema
        most, taken = MOST_NAMES, Names(schema.names)
        parts, fields = [], []
        for own in schema:
            part = _part(own.type, own.nullable, 0)
            weight = part.characters + part.columns * (OF_EACH + len(own.name))
            if part.whole or weight > most:
                parts.append(_whole(own.type, own.nullable))
                fields.append(own)
                continue
            parts.append(part)
            most -= weight
            fields += [f.with_name(taken.free(f.name)) for f in part.fields(own.name)]
        self._parts = parts
        self.plain = all(part.whole for part in parts)
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
            cells for column, part in zip(batch.columns, self._parts, strict=True) for cells in part.split(column)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.flat)

    def join(self, batch: Any) -> Any:
        """The batch that `split` made flat."""
        import pyarrow as pa

        if self.plain:
            return batch
        cells = iter(batch.columns)
        return pa.RecordBatch.from_arrays([part.join(cells) for part in self._parts], schema=self.schema)


class Names:
    """Names that are taken; each that is asked for again gets a number.

    >>> names = Names(["x"])
    >>> names.free("x"), names.free("x"), names.free("y")
    ("x'1", "x'2", 'y')
    """

    def __init__(self, taken: Iterable[str]) -> None:
        self.taken = set(taken)
        self.last: dict[str, int] = {}

    def free(self, name: str) -> str:
        """The name, or it with a number; taken from now on."""
        base, number = name, self.last.get(name, 0)
        while name in self.taken:
            number += 1
            name = f"{base}'{number}"
        self.last[base] = number
        self.taken.add(name)
        return name


def _part(kind: Any, nullable: bool, depth: int, inside: bool = False) -> Part:
    """The flat columns of a kind; `inside` a list, only structs are taken apart."""
    import pyarrow as pa

    t = pa.types
    if isinstance(kind, pa.BaseExtensionType) or depth > DEEPEST:
        return _whole(kind, nullable)
    if t.is_struct(kind) and kind.num_fields:
        return _struct(kind, nullable, depth, inside)
    if t.is_fixed_size_list(kind) and not inside and 0 < kind.list_size <= MOST_CELLS:
        return _array(kind, nullable, depth)
    if (t.is_list(kind) or t.is_large_list(kind)) and not inside and t.is_struct(kind.value_type):
        return _list(kind, nullable, depth)
    return _whole(kind, nullable)


def _whole(kind: Any, nullable: bool) -> Part:
    import pyarrow as pa

    return Part(1, 0, lambda name: iter([pa.field(name, kind, nullable)]), lambda column: [column], next, True)


def _there(name: str, nullable: bool) -> Iterator[Any]:
    import pyarrow as pa

    if nullable:
        yield pa.field(f"{name}?", pa.bool_(), False)


def _gone(cells: Iterator[Any], nullable: bool) -> Any:
    """Mask of what is missing, of the column that says so."""
    import pyarrow.compute as pc

    return pc.invert(next(cells)) if nullable else None


def _struct(kind: Any, nullable: bool, depth: int, inside: bool) -> Part:
    import pyarrow as pa

    own = list(kind)
    parts = [_part(f.type, f.nullable or nullable, depth + 1, inside) for f in own]

    def fields(name: str) -> Iterator[Any]:
        yield from _there(name, nullable)
        for f, part in zip(own, parts, strict=True):
            yield from part.fields(f"{name}_{f.name}")

    def split(column: Any) -> list[Any]:
        there = [column.is_valid()] if nullable else []
        return there + [c for cells, part in zip(column.flatten(), parts, strict=True) for c in part.split(cells)]

    def join(cells: Iterator[Any]) -> Any:
        gone = _gone(cells, nullable)
        arrays = [part.join(cells) for part in parts]
        if not any(f.nullable is False for f in own):
            return pa.StructArray.from_arrays(arrays, fields=own, mask=gone)
        # A field that is never missing is not so below a struct that is.
        loose = pa.StructArray.from_arrays(arrays, fields=[f.with_nullable(True) for f in own], mask=gone)
        return pa.Array.from_buffers(
            kind, len(loose), loose.buffers()[:1], children=[loose.field(i) for i in range(len(own))]
        )

    count = nullable + sum(part.columns for part in parts)
    names = sum(part.characters + part.columns * (1 + len(f.name)) for f, part in zip(own, parts, strict=True))
    return Part(count, nullable + names, fields, split, join)


def _array(kind: Any, nullable: bool, depth: int) -> Part:
    import pyarrow as pa

    size = kind.list_size
    part = _part(kind.value_type, kind.value_field.nullable or nullable, depth + 1)
    if size * part.columns > MOST_CELLS:
        return _whole(kind, nullable)

    def fields(name: str) -> Iterator[Any]:
        yield from _there(name, nullable)
        for j in range(size):
            yield from part.fields(f"{name}_{j}")

    def split(column: Any) -> list[Any]:
        n = len(column)
        values = column.values.slice(column.offset * size, n * size)
        mask = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
        cells = (values.take(pa.array(np.arange(n) * size + j, mask=mask)) for j in range(size))
        there = [column.is_valid()] if nullable else []
        return there + [c for one in cells for c in part.split(one)]

    def join(cells: Iterator[Any]) -> Any:
        gone = _gone(cells, nullable)
        columns = [part.join(cells) for _ in range(size)]
        n = len(columns[0])
        order = (np.arange(n)[:, None] + np.arange(size) * n).reshape(-1)
        values = pa.concat_arrays(columns).take(pa.array(order))
        return pa.FixedSizeListArray.from_arrays(values, type=kind, mask=gone)

    names = size * part.characters + part.columns * sum(len(f"_{j}") for j in range(size))
    return Part(nullable + size * part.columns, nullable + names, fields, split, join)


def _list(kind: Any, nullable: bool, depth: int) -> Part:
    import pyarrow as pa

    inner = kind.value_field
    part = _part(kind.value_type, inner.nullable, depth + 1, True)
    make = pa.large_list if pa.types.is_large_list(kind) else pa.list_
    way = pa.LargeListArray if pa.types.is_large_list(kind) else pa.ListArray

    @functools.cache
    def kinds() -> list[Any]:
        return [make(pa.field("item", f.type, f.nullable)) for f in part.fields("")]

    offset = np.int64 if pa.types.is_large_list(kind) else np.int32

    def fields(name: str) -> Iterator[Any]:
        return (pa.field(f.name, k, nullable) for f, k in zip(part.fields(name), kinds(), strict=True))

    def split(column: Any) -> list[Any]:
        lengths = np.asarray(column.value_lengths().fill_null(0))
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(offset))
        mask = column.is_null() if column.null_count else None
        return [
            way.from_arrays(offsets, cells, type=k, mask=mask)
            for cells, k in zip(part.split(column.flatten()), kinds(), strict=True)
        ]

    def join(cells: Iterator[Any]) -> Any:
        lists = [next(cells) for _ in range(part.columns)]
        first = lists[0]
        lengths = np.asarray(first.value_lengths().fill_null(0))
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(offset))
        values = part.join(iter([one.flatten() for one in lists]))
        return way.from_arrays(offsets, values, type=kind, mask=first.is_null() if first.null_count else None)

    return Part(part.columns, part.characters, fields, split, join)
