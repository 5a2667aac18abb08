"""Arrow columns as integers, and back: types, missing cells, text and bit patterns exactly."""

from __future__ import annotations

from typing import Any

import numpy as np

from diabolo.compress.bytesio import unpack
from diabolo.compress.limits import Budget, check_plain
from diabolo.data.weight import weight
from diabolo.errors import CompressedFileError

__all__ = [
    "carried",
    "from_ipc",
    "integers",
    "ipc",
    "is_coded",
    "is_coded_list",
    "is_float",
    "is_text",
    "leaf",
    "leaves",
    "rebuilt",
    "rebuilt_integers",
    "whole_width",
]


def is_float(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_floating(kind))


def is_text(kind: Any) -> bool:
    """Whether cells are text or bytes, which are coded by position among the distinct ones."""
    import pyarrow as pa

    t = pa.types
    return bool(t.is_string(kind) or t.is_large_string(kind) or t.is_binary(kind) or t.is_large_binary(kind))


def is_coded(kind: Any) -> bool:
    """Whether cells are coded value by value: numbers, dates, text, categories; all else is carried as it is."""
    import pyarrow as pa

    return bool(is_float(kind) or is_text(kind) or whole_width(kind) or pa.types.is_dictionary(kind))


def is_coded_list(kind: Any) -> bool:
    """Whether cells are lists whose values are coded one by one."""
    import pyarrow as pa

    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return False
    inner = kind.value_type
    return is_coded_list(inner) or (is_coded(inner) and not pa.types.is_dictionary(inner))


def leaf(kind: Any) -> Any:
    """The type of the values of a list, of lists in lists; any other type itself."""
    while is_coded_list(kind):
        kind = kind.value_type
    return kind


def leaves(array: Any) -> Any:
    """The values of a column's lists, one after another; any other column itself."""
    while is_coded_list(array.type):
        array = array.flatten()
    return array


def whole_width(kind: Any) -> int:
    """Bytes of a cell that is an integer at heart; 0 for other types, which are carried."""
    import pyarrow as pa

    t = pa.types
    if t.is_boolean(kind):
        return 1
    if t.is_integer(kind) or t.is_date(kind) or t.is_time(kind) or t.is_timestamp(kind) or t.is_duration(kind):
        return int(kind.bit_width // 8)
    return 0


def integers(array: Any) -> np.ndarray:
    """Cells without nulls as int64; unsigned ones of 8 bytes modulo 2⁶⁴."""
    import pyarrow as pa

    kind = array.type
    if pa.types.is_boolean(kind):
        return np.asarray(array.to_numpy(zero_copy_only=False)).astype(np.int64)
    width = kind.bit_width // 8
    sign = "u" if pa.types.is_unsigned_integer(kind) else "i"
    cells = np.frombuffer(array.buffers()[1], f"<{sign}{width}", len(array), array.offset * width)
    return cells.astype(np.uint64).view(np.int64) if sign == "u" else cells.astype(np.int64)


def _validity(valid: np.ndarray | None) -> Any:
    import pyarrow as pa

    return None if valid is None else pa.array(valid).buffers()[1]


def rebuilt(cells: np.ndarray, kind: Any, valid: np.ndarray | None) -> Any:
    """Cells [n] of a NumPy type that lies in memory as the Arrow type does."""
    import pyarrow as pa

    return pa.Array.from_buffers(kind, len(cells), [_validity(valid), pa.py_buffer(np.ascontiguousarray(cells))])


def rebuilt_integers(values: np.ndarray, kind: Any, valid: np.ndarray | None) -> Any:
    import pyarrow as pa

    if pa.types.is_boolean(kind):
        bits = pa.array(values != 0).buffers()[1]
        return pa.Array.from_buffers(kind, len(values), [_validity(valid), bits])
    return rebuilt(values.astype(f"<i{kind.bit_width // 8}"), kind, valid)


def ipc(array: Any) -> bytes:
    """An array as an Arrow stream of one column."""
    import pyarrow as pa

    batch = pa.RecordBatch.from_arrays([array], names=["x"])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as out:
        out.write_batch(batch)
    return bytes(sink.getvalue())


def from_ipc(data: bytes) -> Any:
    import pyarrow as pa

    check_plain(data)
    with pa.ipc.open_stream(data) as stream:
        array = stream.read_next_batch().column(0)
    array.validate(full=True)
    return array


def carried(data: bytes, kind: Any, n: int | None, budget: Budget) -> Any:
    """A packed array of a type and length that are known.

    Args:
        budget: bytes that it may take in memory.

    Raises:
        CompressedFileError: it is of another, or takes more.
    """
    plain = unpack(data, budget.left)
    budget.spend(len(plain))
    array = from_ipc(plain)
    if array.type != kind or (n is not None and len(array) != n):
        raise CompressedFileError(f"a carried column is {len(array)} cells of {array.type}, not {n} of {kind}")
    # Cells of some types may lie on one another.
    budget.spend(max(0, weight(array) - len(plain)))
    return array
