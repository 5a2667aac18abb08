"""Arrow's newer layouts of cells that are kept as those that every one of its functions knows."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

__all__ = ["in_plain_layouts", "plain_layout"]


def plain_layout(schema: Any) -> Any:
    """A schema in which runs of the same value are single values, and views of lists are lists."""
    import pyarrow as pa

    return pa.schema([f.with_type(_plain(f.type)) for f in schema], schema.metadata)


def in_plain_layouts(batch: Any, schema: Any) -> Any:
    """A batch, or a part of one, in the types of `plain_layout`.

    >>> import pyarrow as pa
    >>> runs = pa.RunEndEncodedArray.from_arrays([2, 3], [0.5, 1.5])
    >>> batch = pa.record_batch({"a": runs})
    >>> in_plain_layouts(batch, plain_layout(batch.schema)).column("a").to_pylist()
    [0.5, 0.5, 1.5]
    """
    import pyarrow as pa

    if batch.schema.types == schema.types:
        return batch
    columns = [_in(c, f.type) for c, f in zip(batch.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _in(column: Any, kind: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.type == kind:
        return column
    if pa.types.is_run_end_encoded(column.type):
        return pc.run_end_decode(column)
    # Not by a cast, which makes an offset too few.
    gone = np.asarray(column.is_null().to_numpy(zero_copy_only=False))
    sizes = np.where(gone, 0, column.sizes.to_numpy(zero_copy_only=False))
    offsets = pa.array(np.concatenate([[0], np.cumsum(sizes)]), column.sizes.type)
    make = pa.LargeListArray if pa.types.is_large_list(kind) else pa.ListArray
    return make.from_arrays(offsets, column.flatten(), type=kind, mask=pa.array(gone))


@functools.lru_cache(1024)
def _plain(kind: Any) -> Any:
    """The plain type of a type; itself where there is none, or where this version of Arrow cannot change it."""
    import pyarrow as pa

    t = pa.types
    if t.is_run_end_encoded(kind):
        plain = kind.value_type
    elif t.is_list_view(kind):
        plain = pa.list_(kind.value_field)
    elif t.is_large_list_view(kind):
        plain = pa.large_list(kind.value_field)
    else:
        return kind
    try:
        _in(pa.nulls(1, kind), plain)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return kind
    return plain
