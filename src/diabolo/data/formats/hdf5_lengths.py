"""Lengths of the lists and words of an HDF5 dataset, before HDF5's library makes room for what they say.

A list or word is stored as its length (4 bytes) and where its values lie in the file, which are never packed
(HDF5 File Format Specification 3.0, III.E, "Global Heap", and IV.A.2.d, variable-length types).
"""

from __future__ import annotations

import math
import mmap
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from diabolo.data.formats.base import Source
from diabolo.errors import DataError

__all__ = ["check_lengths"]

#: Filters that are undone here, by number; of chunks packed otherwise the lengths are not known before.
DEFLATE, SHUFFLE = 1, 2


def check_lengths(dataset: Any, path: str, source: Source) -> None:
    """Refuse cells that say to be longer than the file, those of fields of a compound dataset too.

    Raises:
        DataError: names the dataset.
    """
    if not dataset.dtype.hasobject or not dataset.size:
        return
    pointer = 8 + dataset.file.id.get_create_plist().get_sizes()[0]
    size, lists = _stored(dataset.id.get_type(), pointer)
    most = source.path.stat().st_size
    with open(source.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for part, count in _parts(dataset, data, size):
            if part is None or len(part) < size * count:
                raise DataError(f"{source}: the dataset {path!r} has cells beyond the end of the file")
            for at, width in lists:
                longest = int(np.ndarray((count,), "<u4", part, at, (size,)).max())
                if longest * width > most:
                    raise DataError(
                        f"{source}: the dataset {path!r} has a cell of {longest:,} values, of {most:,} bytes"
                    )


def _stored(kind: Any, pointer: int) -> tuple[int, list[tuple[int, int]]]:
    """(bytes of a cell in the file, (place, bytes of a value) of each list or word in it).

    h5py says how a cell lies in memory, where a word takes other bytes than in the file; what lies after it moves.
    """
    import h5py

    what = kind.get_class()
    if what == h5py.h5t.VLEN:
        return pointer, [(0, kind.get_super().get_size())]
    if what == h5py.h5t.STRING and kind.is_variable_str():
        return pointer, [(0, 1)]
    if what == h5py.h5t.ARRAY:
        size, lists = _stored(kind.get_super(), pointer)
        count = math.prod(kind.get_array_dims())
        return count * size, [(i * size + at, width) for i in range(count if lists else 0) for at, width in lists]
    if what != h5py.h5t.COMPOUND:
        return kind.get_size(), []
    moved, found = 0, []
    fields = [(kind.get_member_offset(i), kind.get_member_type(i)) for i in range(kind.get_nmembers())]
    for offset, inner in sorted(fields, key=lambda f: f[0]):
        size, lists = _stored(inner, pointer)
        found += [(offset + moved + at, width) for at, width in lists]
        moved += size - inner.get_size()
    return kind.get_size() + moved, found


def _parts(dataset: Any, data: mmap.mmap, size: int) -> Iterator[tuple[Any, int]]:
    """(bytes, cells) of each part that is stored; None for bytes beyond the end of the file."""
    if dataset.chunks is None:
        at = dataset.id.get_offset()
        if at is not None:
            yield _within(data, at, size * dataset.size), dataset.size
        return
    plist, count = dataset.id.get_create_plist(), math.prod(dataset.chunks)
    filters = [(number, values) for number, _, values, _ in map(plist.get_filter, range(plist.get_nfilters()))]
    if any(number not in (DEFLATE, SHUFFLE) for number, _ in filters):
        return
    for i in range(dataset.id.get_num_chunks()):
        info = dataset.id.get_chunk_info(i)
        part = _within(data, info.byte_offset, info.size)
        yield None if part is None else _plain(part, filters, info.filter_mask, size * count), count


def _within(data: mmap.mmap, at: int, size: int) -> bytes | None:
    return data[at : at + size] if at + size <= len(data) else None


def _plain(part: bytes, filters: list[tuple[int, tuple[int, ...]]], left_out: int, most: int) -> bytes:
    """The cells of a chunk as its filters, (number, settings) each, got them; the library will undo them likewise."""
    for i, (number, settings) in reversed(list(enumerate(filters))):
        if left_out >> i & 1:
            continue
        if number == DEFLATE:
            try:
                part = zlib.decompressobj().decompress(part, most)
            except zlib.error:
                return b""
        elif settings and 1 < settings[0] <= len(part):
            whole = len(part) // settings[0] * settings[0]
            cells = np.frombuffer(part[:whole], np.uint8).reshape(settings[0], -1)
            part = cells.T.tobytes() + part[whole:]
    return part
