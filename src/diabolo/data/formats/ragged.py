"""Nested columns made flat: fields of structs, arrays of fixed shape, and the first objects of jagged collections."""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diabolo.data.dialect.record import Reading
from diabolo.data.formats.base import Source, numbered
from diabolo.data.formats.listed import RowList
from diabolo.data.formats.notes import counted_by
from diabolo.errors import DataError, nearest

__all__ = ["LIST", "Data", "Flat", "Taken", "collection_of", "counters", "flattened", "is_list", "jagged"]

#: Key of a field's metadata: the jagged column that it was taken from.
LIST = b"diabolo.list"


@dataclasses.dataclass(frozen=True)
class Taken:
    """A table with what is known of how to read it; goes wherever a path goes.

    Attributes:
        data: a file, folder, pattern or URL.
        take: how many objects of its jagged collections are columns.
        reading: what is asked and known of a table written as text.
        agreed: Arrow schema of the files that it is one of, where its own has narrower types.
        without: rows that are left out; the others are numbered anew.
    """

    data: str
    take: Mapping[str, int] = dataclasses.field(default_factory=dict)
    reading: Reading | None = None
    agreed: Any = None
    without: RowList | None = None

    def __str__(self) -> str:
        return self.data


#: What names a table: a file, folder, pattern or URL, with or without what is known of how to read it.
Data = str | Path | Taken


def is_list(kind: Any) -> bool:
    """Whether cells of an Arrow type are lists of different lengths."""
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


@dataclasses.dataclass(frozen=True)
class Leaf:
    """A column that is made of the file's column `source`."""

    source: str
    #: Positions of struct fields on the way to it.
    way: tuple[int, ...]
    kind: Any
    #: Position of the cell in an array of fixed shape.
    cell: tuple[int, ...] = ()
    #: Object k of a jagged column, from 0.
    slot: int | None = None
    group: str = ""


class Flat:
    """How a file's columns become flat ones.

    Args:
        schema: Arrow schema of the file.
        take: how many objects of each jagged collection become columns: {"jets": 10} makes jets1_pt, jets1_eta, ...,
            jets10_eta of the lists jets_pt and jets_eta; 0 (false) where a row has fewer.
        source: for messages.
        arrays: whether the cells of arrays of fixed shape become columns, or each array stays one.

    Raises:
        DataError: duplicate names; no list belongs to a collection of `take`.
    """

    def __init__(self, schema: Any, take: Mapping[str, int] | None, source: Source, arrays: bool = True) -> None:
        import pyarrow as pa

        self.source = source
        self.leaves: dict[str, Leaf] = {}
        self.fields: dict[str, Any] = {}
        _check_names(schema.names, source)
        if not take and not any(pa.types.is_nested(kind) for kind in set(schema.types)):
            self.plain, self.schema = True, schema
            return
        found = [pair for field in schema for pair in _leaves(field.name, field.name, (), field.type, source, arrays)]
        _check_names([n for n, _ in found], source)
        leaves = dict(found)
        taken = _taken(leaves, take or {}, source)
        self.plain = list(taken) == schema.names and not take
        #: Flat columns, and lists that are taken, which can be read as well.
        self.leaves = {**leaves, **taken}
        for name, leaf in self.leaves.items():
            notes = dict(schema.field(leaf.source).metadata or {})
            if leaf.slot is not None:
                notes[LIST] = leaf.group.encode()
            self.fields[name] = pa.field(name, leaf.kind, metadata=notes or None)
        self.schema = schema if self.plain else pa.schema([self.fields[n] for n in taken], schema.metadata)

    def sources(self, columns: Sequence[str]) -> list[str]:
        """The file's columns that are needed for some flat ones."""
        return list(dict.fromkeys(self.leaves[n].source for n in columns))

    def batch(self, batch: Any, columns: Sequence[str], row: int) -> Any:
        """Flat columns of one batch; `row` is the number of its first row, for messages."""
        import pyarrow as pa

        lists: dict[tuple[str, tuple[int, ...]], Any] = {}
        blocks: dict[tuple[str, tuple[int, ...]], Any] = {}
        cells = []
        for name in columns:
            leaf = self.leaves[name]
            column = batch.column(leaf.source)
            key = (leaf.source, leaf.way)
            if leaf.slot is None:
                if key not in blocks:
                    blocks[key] = _walk(column, leaf.way)
                    if leaf.cell:
                        blocks[key] = _block(blocks[key])
                cells.append(blocks[key][leaf.cell] if leaf.cell else blocks[key])
                continue
            if key not in lists:
                lists[key] = _lengths_and_values(column, leaf.way)
            lengths, values = lists[key]
            cells.append(_slot(lengths, values, leaf.slot, leaf.kind))
        self._check_alike(lists, columns, row)
        return pa.RecordBatch.from_arrays(cells, schema=pa.schema([self.fields[n] for n in columns]))

    def _check_alike(self, lists: Mapping[Any, Any], columns: Sequence[str], row: int) -> None:
        """Lists of one collection tell of the same objects, so each row has as many in all of them."""
        first: dict[str, tuple[str, np.ndarray]] = {}
        for name in columns:
            leaf = self.leaves[name]
            if leaf.slot is None:
                continue
            lengths = lists[leaf.source, leaf.way][0]
            other, expected = first.setdefault(_stem(leaf.group), (leaf.group, lengths))
            if lengths is not expected and not np.array_equal(lengths, expected):
                at = int(np.flatnonzero(lengths != expected)[0])
                raise DataError(
                    f"{self.source}: row {row + at}: {other!r} lists {expected[at]} objects and {leaf.group!r} "
                    f"{lengths[at]}; lists of one collection must be equally long: leave one out (--exclude)"
                )


def counters(schema: Any) -> dict[str, str]:
    """Columns that count the objects of lists that are taken, whose number the slots tell, and one list of each."""
    taken = [f.metadata[LIST].decode() for f in schema if f.metadata and LIST in f.metadata]
    found = {}
    for field in schema:
        for counted in counted_by(field):
            if any(name == counted or name.startswith(f"{counted}_") for name in taken):
                found[field.name] = counted
    return found


def flattened(schema: Any, batches: Iterator[Any], source: Source, arrays: bool = True) -> tuple[Any, Iterator[Any]]:
    """A table whose structs, and arrays of fixed shape, are columns, for a file that holds none."""
    flat = Flat(schema, None, source, arrays)
    if flat.plain:
        return schema, batches
    names = flat.schema.names
    return flat.schema, (flat.batch(batch, names, 0) for batch in batches)


def _check_names(names: Sequence[str], source: Source) -> None:
    if len(set(names)) < len(names):
        twice = sorted(n for n, count in collections.Counter(names).items() if count > 1)
        raise DataError(f"{source}: duplicate column names: {', '.join(twice)}; rename them")


def jagged(schema: Any, group: str) -> list[str]:
    """Columns that are lists of numbers and belong to a collection: jets_pt, jets.eta or jets for `jets`."""
    pattern = re.compile(rf"{re.escape(group)}([_.].+)?")
    return [name for name in _lists_of_numbers(schema) if pattern.fullmatch(name)]


def collection_of(schema: Any) -> dict[str, str]:
    """The collection that `--take` would name, of each column that is a list of numbers: jets of jets_pt."""
    parts = {name: re.split(r"[_.]", name, maxsplit=1) for name in _lists_of_numbers(schema)}
    return {name: group for name, (group, *rest) in parts.items() if rest != [""]}


def _lists_of_numbers(schema: Any) -> list[str]:
    return [f.name for f in schema if is_list(f.type) and _is_number(f.type.value_type)]


def _stem(name: str) -> str:
    return re.split(r"[_.]", name, maxsplit=1)[0]


def _leaves(
    name: str, source: str, way: tuple[int, ...], kind: Any, where: Source, arrays: bool
) -> list[tuple[str, Leaf]]:
    import pyarrow as pa

    inner = kind.value_type if is_list(kind) else kind
    if pa.types.is_struct(inner):
        found = []
        for i in range(inner.num_fields):
            field = inner.field(i)
            own = pa.list_(field.type) if inner is not kind else field.type
            found += _leaves(f"{name}_{field.name}", source, (*way, i), own, where, arrays)
        return found
    shape, cell = [], kind
    while arrays and pa.types.is_fixed_size_list(cell):
        shape.append(cell.list_size)
        cell = cell.value_type
    if not shape:
        return [(name, Leaf(source, way, kind))]
    names = numbered(f"{name}_", shape, where)
    return [(n, Leaf(source, way, cell, cell=at)) for n, at in zip(names, np.ndindex(*shape), strict=True)]


def _taken(leaves: dict[str, Leaf], take: Mapping[str, int], source: Source) -> dict[str, Leaf]:
    """Put the columns of the first objects in the place of the lists that are taken."""
    import pyarrow as pa

    flat_schema = pa.schema([(n, leaf.kind) for n, leaf in leaves.items()])
    groups: dict[str, dict[str, str]] = {}
    for group in take:
        groups[group] = {n: n[len(group) :] for n in jagged(flat_schema, group)}
        if not groups[group]:
            there = dict.fromkeys(_stem(n) for n, leaf in leaves.items() if is_list(leaf.kind))
            allowed = nearest(group, there) if there else "it has no lists at all"
            raise DataError(f"{source}: no jagged columns {group}_...: {allowed}")
    of = {name: group for group, members in groups.items() for name in members}
    flat: dict[str, Leaf] = {}
    for name, leaf in leaves.items():
        if name not in of:
            flat[name] = leaf
            continue
        group = of[name]
        if name != next(iter(groups[group])):
            continue
        for k in range(take[group]):
            for member, rest in groups[group].items():
                jagged_leaf = leaves[member]
                flat[f"{group}{k + 1}{rest}"] = dataclasses.replace(
                    jagged_leaf, kind=jagged_leaf.kind.value_type, slot=k, group=member
                )
    return flat


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _walk(column: Any, way: Sequence[int]) -> Any:
    """Down to a struct's field; a list of structs becomes a list of the field."""
    import pyarrow as pa

    if is_list(column.type) and way:
        lengths, values = _lengths_and_values(column, way)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        return pa.ListArray.from_arrays(offsets, values)
    for i in way:
        column = column.flatten()[i]
    return column


def _lengths_and_values(column: Any, way: Sequence[int]) -> tuple[np.ndarray, Any]:
    """Number of objects in each row, and the values of all rows one after another; no list is an empty one."""
    import pyarrow.compute as pc

    while way and not is_list(column.type):
        column, way = column.flatten()[way[0]], way[1:]
    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0)).astype(np.int64)
    values = column.flatten()
    for i in way:
        values = values.flatten()[i]
    return lengths, values


def _slot(lengths: np.ndarray, values: Any, k: int, kind: Any) -> Any:
    """Object k of each row, 0 where there are not so many."""
    import pyarrow as pa
    import pyarrow.compute as pc

    there = lengths > k
    at = np.cumsum(lengths) - lengths + k
    picked = values.take(pa.array(at[there]))
    if picked.null_count:  # a missing cell of an object that is there stays missing
        index = pa.array(np.where(there, np.cumsum(there) - 1, 0), mask=~there)
        return pc.if_else(pa.array(there), picked.take(index), pa.scalar(0).cast(kind))
    padded = np.zeros(len(lengths), kind.to_pandas_dtype())
    padded[there] = picked.to_numpy(zero_copy_only=False)
    return pa.array(padded, kind)


def _block(column: Any) -> dict[tuple[int, ...], Any]:
    """The cells of arrays of fixed shape by position, each as a column; those of a missing array are missing."""
    import pyarrow as pa

    n, size, kind = len(column), column.type.list_size, column.type.value_type
    values = column.values.slice(column.offset * size, n * size)
    if not column.null_count and not values.null_count and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        turned = np.ascontiguousarray(values.to_numpy().reshape(n, size).T)
        return {(j,): pa.Array.from_buffers(kind, n, [None, pa.py_buffer(cells)]) for j, cells in enumerate(turned)}
    gone = column.is_null().to_numpy(zero_copy_only=False)
    found: dict[tuple[int, ...], Any] = {}
    for j in range(size):
        cells = values.take(pa.array(np.arange(n) * size + j, mask=gone))
        inner = _block(cells) if pa.types.is_fixed_size_list(kind) else {(): cells}
        found |= {(j, *rest): one for rest, one in inner.items()}
    return found
