"""A table as a TTree: numbers, text, arrays of fixed shape, and jagged branches with their counters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from diabolo.data.formats.base import cannot_hold, plain_cells
from diabolo.data.formats.notes import counted_by
from diabolo.data.formats.ragged import is_list

__all__ = ["write_tree"]

#: The tree that is written.
TREE = "events"
WHAT = "a ROOT file"


def write_tree(file: Any, schema: Any, batches: Iterator[Any]) -> None:
    """Write batches as the tree events; structs and lists in lists are no branches that uproot writes."""
    counters = _counters(schema)
    types = {f.name: _type(f.name, f.type) for f in schema if f.name not in set(counters.values())}
    tree = file.mktree(TREE, types, counter_name=counters.__getitem__)
    for batch in batches:
        if batch.num_rows:
            tree.extend({name: _cells(batch.column(name), name, kind) for name, kind in types.items()})


def _counters(schema: Any) -> dict[str, str]:
    """The counter of each list: the column that counts it where it came with one, or one of its own."""
    counters: dict[str, str] = {}
    for field in schema:
        said = [n for n in counted_by(field) if n in schema.names and is_list(schema.field(n).type)]
        counters |= dict.fromkeys(said, field.name)
    for field in schema:
        if is_list(field.type) and field.name not in counters:
            name = f"n{field.name}"
            while name in schema.names:
                name += "_"
            counters[field.name] = name
    return counters


def _type(name: str, kind: Any) -> Any:
    """What uproot calls the type of a branch."""
    import awkward as ak
    import pyarrow as pa

    if is_list(kind):
        inner = _dtype(name, kind.value_type, kind)
        return ak.types.ListType(ak.types.NumpyType(inner.name))
    shape = []
    while pa.types.is_fixed_size_list(kind):
        shape.append(kind.list_size)
        kind = kind.value_type
    if shape:
        return np.dtype((_dtype(name, kind, kind), tuple(shape)))
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_string(plain) or pa.types.is_large_string(plain):
        return "string"
    return _dtype(name, plain, kind)


def _dtype(name: str, kind: Any, said: Any) -> np.dtype[Any]:
    import pyarrow as pa

    if pa.types.is_null(kind):
        return np.dtype(np.float64)
    if not (pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise cannot_hold(name, said, WHAT)
    return np.dtype(np.float32) if pa.types.is_float16(kind) else np.dtype(kind.to_pandas_dtype())


def _cells(column: Any, name: str, kind: Any) -> Any:
    import awkward as ak

    if isinstance(kind, ak.types.ListType):
        # The values of a missing list are none, and so is what comes back: an empty one.
        lengths = np.asarray(column.value_lengths().fill_null(0)).astype(np.int64)
        values = plain_cells(column.flatten(), name, WHAT).astype(kind.content.primitive)
        offsets = ak.index.Index64(np.concatenate([[0], np.cumsum(lengths)]))
        return ak.Array(ak.contents.ListOffsetArray(offsets, ak.contents.NumpyArray(values)))
    if isinstance(kind, np.dtype) and kind.shape:
        flat = column
        while str(flat.type).startswith("fixed_size_list"):
            if flat.null_count:
                raise cannot_hold(name, f"missing cells of type {column.type}", WHAT)
            flat = flat.flatten()
        return plain_cells(flat, name, WHAT).reshape(len(column), *kind.shape)
    cells = plain_cells(column, name, WHAT, text=True)
    return ak.Array(cells.tolist()) if isinstance(kind, str) else cells.astype(kind)
