"""Lengths of the lists and words of an HDF5 dataset, before HDF5's library makes room for what they say.

A cell is stored as its length (4 bytes) and where its values lie in the file, which are never packed
(HDF5 File Format Specification 3.0, III.D, "Global Heap", and IV.A.2.d, variable-length types).
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np

from diabolo.data.formats.base import Source
from diabolo.errors import DataError

__all__ = ["check_lengths"]


def check_lengths(dataset: Any, path: str, source: Source) -> None:
    """Refuse cells that say to be longer than the file; of packed chunks the lengths are not known before.

    Raises:
        DataError: names the dataset.
    """
    import h5py

    words, inner = h5py.check_string_dtype(dataset.dtype), h5py.check_vlen_dtype(dataset.dtype)
    if dataset.dtype.kind != "O" or (words is None and inner is None):
        return
    width = 1 if words is not None else np.dtype(inner).itemsize
    most = source.path.stat().st_size
    with open(source.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for at, size, count in _places(dataset):
            if at + size > most or size < 4 * count:
                raise DataError(f"{source}: the dataset {path!r} has cells beyond the end of the file")
            lengths = np.ndarray((count,), "<u4", data, at, (size // count,)).astype(np.int64)
            if int(lengths.max()) * width > most:
                raise DataError(
                    f"{source}: the dataset {path!r} has a cell of {lengths.max():,} values, of {most:,} bytes"
                )


def _places(dataset: Any) -> Iterator[tuple[int, int, int]]:
    """First byte, bytes, and cells of each part that is stored as it is."""
    if dataset.chunks is None:
        at = dataset.id.get_offset()
        if at is not None and dataset.size:
            yield at, dataset.id.get_storage_size(), dataset.size
    elif not dataset.id.get_create_plist().get_nfilters():
        for i in range(dataset.id.get_num_chunks()):
            info = dataset.id.get_chunk_info(i)
            yield info.byte_offset, info.size, math.prod(dataset.chunks)
