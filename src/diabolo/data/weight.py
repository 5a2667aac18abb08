"""What Arrow columns come to in memory once nothing is shared: one long word may stand in every row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["halved", "is_varied", "lengths", "weight"]


def weight(array: Any) -> int:
    """Bytes of an Arrow array's cells written out one after the other, whatever they share in memory."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, t = array.type, pa.types
    if t.is_null(kind) or not len(array):
        return 0
    if t.is_dictionary(kind):
        if is_varied(kind.value_type):
            sizes = pc.sum(pa.array(lengths(array.dictionary)).take(array.indices)).as_py() or 0
            return 4 * len(array) + int(sizes)
        return int(array.indices.nbytes)
    if is_varied(kind):
        return 4 * len(array) + int(lengths(array).sum())
    if t.is_list(kind) or t.is_large_list(kind):
        return 8 * len(array) + weight(array.flatten())
    if t.is_list_view(kind) or t.is_large_list_view(kind):
        cells = pc.sum(pc.list_value_length(array).cast("int64")).as_py() or 0
        return 8 * len(array) + cells * -(-weight(array.values) // max(len(array.values), 1))
    if t.is_map(kind):
        return 8 * len(array) + weight(array.keys) + weight(array.items)
    if t.is_fixed_size_list(kind):
        return int(weight(array.flatten()))
    if t.is_struct(kind):
        return sum(weight(array.field(i)) for i in range(kind.num_fields))
    if isinstance(kind, pa.BaseExtensionType):
        return weight(array.storage)
    try:
        return -(-int(kind.bit_width) // 8) * len(array)
    except ValueError:
        return int(array.nbytes)


def lengths(array: Any) -> np.ndarray:
    """Bytes of each cell of text, [n] int64; 0 of one that is missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_string_view(array.type) or pa.types.is_binary_view(array.type):
        # A view of 16 bytes begins with the length.
        found = np.frombuffer(array.buffers()[1], "<i4")[::4][array.offset : array.offset + len(array)]
        gone = array.is_null().to_numpy(zero_copy_only=False)
        return np.where(gone, 0, found).astype(np.int64)
    return np.asarray(pc.binary_length(array).fill_null(0).cast("int64").to_numpy())


def is_varied(kind: Any) -> bool:
    """Whether cells are text or bytes of any length."""
    import pyarrow as pa

    t = pa.types
    views = t.is_string_view(kind) or t.is_binary_view(kind)
    return bool(t.is_string(kind) or t.is_large_string(kind) or t.is_binary(kind) or t.is_large_binary(kind) or views)


def halved(batch: Any, most: int) -> Iterator[Any]:
    """A record batch in halves, and these in halves, until each weighs at most so many bytes or is one row."""
    if batch.num_rows < 2 or sum(weight(c) for c in batch.columns) <= most:
        yield batch
        return
    half = batch.num_rows // 2
    yield from halved(batch.slice(0, half), most)
    yield from halved(batch.slice(half), most)
