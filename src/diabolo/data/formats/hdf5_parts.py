"""What of an HDF5 file becomes columns: datasets, fields of compound ones, and what cannot."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from diabolo.data.formats.base import Source, numbered
from diabolo.data.formats.claims import check_claim
from diabolo.errors import DataError

__all__ = ["Part", "Unfit", "check_filters", "check_sizes", "fields_of", "part_of", "walk"]

#: Filters that are no part of HDF5, by number.
PLUGINS = {
    307: "bzip2",
    32000: "LZF",
    32001: "Blosc",
    32004: "LZ4",
    32008: "bitshuffle",
    32013: "ZFP",
    32015: "Zstandard",
    32017: "SZ",
    32024: "SZ3",
    32026: "Blosc2",
    32028: "SPERR",
}
#: PyTables' LZO, which no package brings.
LZO = 305
#: Bytes of a chunk, which HDF5's library unpacks as a whole.
MOST_CHUNK = 1 << 29


class Unfit(Exception):
    """What cannot be a column, and why."""


@dataclasses.dataclass(frozen=True)
class Part:
    """A dataset, or one field of a compound dataset: a block of columns."""

    dataset: Any
    #: Names of the fields on the way to it; a number is that of a column of an array.
    way: tuple[str | int, ...]
    dtype: np.dtype[Any]
    #: Of the cells of one row.
    shape: tuple[int, ...]
    #: Arrow type of a cell.
    kind: Any
    #: Names of its columns where the file says them; else they follow from the name and shape.
    columns: tuple[str, ...] | None = None
    #: What makes cells of that type of those that were read, where they are not such.
    made: Callable[[Any], Any] | None = None

    def of(self, rows: Any) -> np.ndarray:
        """Its cells of rows of the dataset."""
        for step in self.way:
            rows = rows[step] if isinstance(step, str) else rows.reshape(len(rows), -1)[:, step]
        return np.asarray(rows)


def part_of(dataset: Any, way: tuple[str | int, ...], dtype: np.dtype[Any]) -> Part:
    """A block of columns.

    Raises:
        Unfit: cells that are no column's.
    """
    inner, more = dtype.subdtype or (dtype, ())
    shape = (*dataset.shape[1:], *more)
    if len(shape) > 3:
        raise Unfit(f"{inner} in {len(shape) + 1} dimensions; allowed are up to 4")
    if 0 in shape:
        raise Unfit(f"rows of shape {list(shape)}, which are empty")
    if inner == np.uint8 and _is_truth(dataset, way):
        import pyarrow as pa

        return Part(dataset, way, inner, shape, pa.bool_())
    return Part(dataset, way, inner, shape, _kind(inner, shape))


def _is_truth(dataset: Any, way: tuple[str | int, ...]) -> bool:
    """Whether bytes are PyTables' truth values, which HDF5 calls bit fields."""
    import h5py

    kind = dataset.id.get_type()
    for step in way:
        if isinstance(step, str):
            kind = kind.get_member_type(kind.get_member_index(step.encode()))
    if kind.get_class() == h5py.h5t.ARRAY:
        kind = kind.get_super()
    return bool(kind.get_class() == h5py.h5t.BITFIELD)


def fields_of(dataset: Any, name: str, source: Source, left_out: dict[str, str]) -> Iterator[tuple[str, Part]]:
    """Fields of a compound dataset by name, those within fields too; arrays of them by cell."""

    def walk_fields(dtype: np.dtype[Any], way: tuple[str | int, ...], name: str) -> Iterator[tuple[str, Part]]:
        for field in dtype.names or ():
            own, inner = f"{name}.{field}" if name else field, dtype[field]
            if inner.names is not None:
                yield from walk_fields(inner, (*way, field), own)
                continue
            try:
                part = part_of(dataset, (*way, field), inner)
            except Unfit as why:
                left_out[own] = str(why)
                continue
            columns = tuple(numbered(f"{own}_", part.shape, source)) if part.shape else (own,)
            yield own, dataclasses.replace(part, columns=columns)

    yield from walk_fields(dataset.dtype, (), name)


def check_filters(dataset: Any, path: str, source: Source) -> None:
    """Refuse what only a plugin reads, with what installs it.

    Raises:
        DataError: names the filter.
    """
    import h5py

    plist = dataset.id.get_create_plist()
    for i in range(plist.get_nfilters()):
        number = plist.get_filter(i)[0]
        if h5py.h5z.filter_avail(number):
            continue
        said = PLUGINS.get(number, "LZO" if number == LZO else plist.get_filter(i)[3].decode("utf-8", "replace"))
        help_ = "pip install hdf5plugin" if number in PLUGINS else "write it anew: h5repack -f GZIP=4 IN.h5 OUT.h5"
        raise DataError(f"{source}: {path!r} is compressed by {said} (filter {number}), which HDF5 lacks: {help_}")


def check_sizes(dataset: Any, path: str, source: Source) -> None:
    """Refuse chunks that would fill memory, and rows without end: those that were never written take no bytes.

    Raises:
        DataError: names the dataset.
    """
    stored = min(dataset.id.get_storage_size(), source.path.stat().st_size)
    check_claim(source, f"the dataset {path!r}", stored, math.prod(dataset.shape) * dataset.dtype.itemsize)
    if dataset.chunks and math.prod(dataset.chunks) * dataset.dtype.itemsize > MOST_CHUNK:
        raise DataError(
            f"{source}: the dataset {path!r} has chunks of {list(dataset.chunks)}, which are unpacked as a whole; "
            f"allowed are {MOST_CHUNK:,} bytes: write it with smaller ones"
        )


def walk(group: Any, under: str, seen: set[Any]) -> Iterator[tuple[str, Any]]:
    """Datasets with rows, and frames of pandas, by path, in the order of the file.

    By hard links alone, each group once, and without the indices that PyTables keeps of its tables.
    """
    import h5py

    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            continue
        item = group[name]
        address = h5py.h5o.get_info(item.id).addr
        if isinstance(item, h5py.Dataset):
            if item.shape:
                yield f"{under}{name}", item
        elif isinstance(item, h5py.Group) and address not in seen and not name.startswith("_i_"):
            seen.add(address)
            if "pandas_type" in item.attrs:
                yield f"{under}{name}", item
            else:
                yield from walk(item, f"{under}{name}/", seen)


def _kind(dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
    """The Arrow type of cells.

    Raises:
        Unfit: neither numbers, text nor lists of numbers.
    """
    import h5py
    import pyarrow as pa

    plain = not shape
    if h5py.check_string_dtype(dtype) is not None and (plain or dtype.kind == "S"):
        return pa.string()
    inner = h5py.check_vlen_dtype(dtype)
    if inner is not None and plain and np.dtype(inner).kind in "biuf" and np.dtype(inner).itemsize <= 8:
        return pa.list_(pa.from_numpy_dtype(np.dtype(inner).newbyteorder("=")))
    if dtype.kind in "biuf" and dtype.itemsize <= 8:
        return pa.from_numpy_dtype(dtype.newbyteorder("="))
    raise Unfit(f"{dtype}{list(shape) or ''}")
