"""NumPy's files."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from diabolo.data.formats.base import (
    Format,
    Source,
    block_batches,
    cannot_hold,
    fixed_columns,
    formats,
    image_of,
    known,
    longest,
    plain_cells,
    rows_within,
)
from diabolo.errors import DataError, nearest

Member = tuple[tuple[int, ...], np.dtype[Any], bool]


@formats.register("numpy")
class NumPy(Format):
    """.npy, an array of one row per entry with columns x0, x1, ...; .npz, arrays of one length by their keys."""

    suffixes: ClassVar[tuple[str, ...]] = (".npy", ".npz")
    named = (".npz",)

    def _members(self, source: Source) -> dict[str, Member]:
        if source.path.suffix.lower() == ".npy":
            with open(source.path, "rb") as handle:
                return {"x": self._header(source, handle)}
        with zipfile.ZipFile(source.path) as archive:
            found = {}
            for name in archive.namelist():
                with archive.open(name) as handle:
                    found[name.removesuffix(".npy")] = self._header(source, handle)
        if not source.inner:
            return found
        chosen = source.inner.split(",")
        for name in chosen:
            if name not in found:
                raise DataError(f"{source}: no array {name!r}: {nearest(name, found, 'it has')}")
        return {name: found[name] for name in chosen}

    @staticmethod
    def _header(source: Source, handle: Any) -> Member:
        version = np.lib.format.read_magic(handle)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(handle)
        if dtype.hasobject:
            raise DataError(f"{source}: holds Python objects, which could run code when read; save numbers instead")
        if dtype.kind not in "biufSUM" or (dtype.kind == "f" and dtype.itemsize > 8):
            raise DataError(f"{source}: holds {dtype}; allowed are numbers of up to 64 bits, booleans, text and dates")
        return shape, dtype, fortran

    def _layout(self, source: Source) -> tuple[int, dict[str, Member], dict[str, list[str]], Any]:
        """Number of rows, the arrays, the columns that each becomes, and the schema's metadata."""
        members = self._members(source)
        if not members or any(not 1 <= len(m[0]) <= 4 or min(m[0]) < 0 for m in members.values()):
            shapes = ", ".join(f"{k} {list(m[0])}" for k, m in members.items()) or "nothing"
            raise DataError(
                f"{source}: holds {shapes}; allowed are arrays [rows, ...] of up to 4 dimensions: reshape or leave out"
            )
        rows = longest({k: m[0][0] for k, m in members.items()}, source, "{source}::{names}")
        columns, metadata = fixed_columns({k: m[0][1:] for k, m in members.items()}, source)
        return rows, members, columns, metadata

    def schema(self, source: Source) -> tuple[Any, int | None]:
        import pyarrow as pa

        rows, members, columns, metadata = self._layout(source)
        fields = [(n, _arrow_type(members[k][1])) for k, names in columns.items() for n in names]
        return pa.schema(fields, metadata), rows

    def read(self, source: Source, columns: Sequence[str] | None, rows: int) -> Iterator[Any]:
        import pyarrow as pa

        total, members, layout, _ = self._layout(source)
        there = self.schema(source)[0]
        wanted = known(columns, there.names, source)
        schema = pa.schema([there.field(n) for n in wanted], there.metadata)
        needed = {k: names for k, names in layout.items() if not set(names).isdisjoint(wanted)}
        step = rows_within(rows, sum(members[k][1].itemsize * len(names) for k, names in needed.items()))
        with contextlib.ExitStack() as stack:
            readers = {k: self._blocks(source, k, total, step, stack) for k in needed}
            for _ in range(0, total, step):
                yield block_batches([(names, next(readers[k])) for k, names in needed.items()], schema)

    def _blocks(
        self, source: Source, key: str, rows: int, step: int, stack: contextlib.ExitStack
    ) -> Iterator[np.ndarray]:
        if source.path.suffix.lower() == ".npy":
            array = np.load(source.path, mmap_mode="r", allow_pickle=False)
            yield from (np.array(array[i : i + step]) for i in range(0, rows, step))
            return
        archive = stack.enter_context(zipfile.ZipFile(source.path))
        inside = f"{key}.npy" if f"{key}.npy" in archive.namelist() else key
        handle = stack.enter_context(archive.open(inside))
        shape, dtype, fortran = self._header(source, handle)
        if fortran and len(shape) > 1:
            # Rows of a column-major array lie all over it: on disk, where its size is no matter.
            size = int(np.prod(shape, dtype=object)) * dtype.itemsize
            with tempfile.TemporaryFile() as spool:
                shutil.copyfileobj(handle, spool, 1 << 20)
                if spool.tell() != size:
                    raise DataError(f"{source}: {key} has {spool.tell():,} bytes, its header says {size:,}")
                spool.flush()
                if rows:
                    array = np.memmap(spool, dtype, "r", shape=shape, order="F")
                    yield from (np.array(array[i : i + step]) for i in range(0, rows, step))
            return
        width = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
        for start in range(0, rows, step):
            count = min(step, rows - start)
            data = handle.read(count * width)
            if len(data) < count * width:
                raise DataError(f"{source}: {key} ends after row {start + len(data) // max(width, 1)} of {rows}")
            yield np.frombuffer(data, dtype).reshape(count, *shape[1:])

    def write(self, path: Path, schema: Any, batches: Iterator[Any]) -> None:
        """A `.npz` of one vector per column; `.npy` and `.npz` alike gather the result in memory first."""
        pieces: dict[str, list[np.ndarray]] = {n: [] for n in schema.names}
        for batch in batches:
            for name in schema.names:
                pieces[name].append(_cells(batch.column(name), name))
        empty = {f.name: np.empty(0, f.type.to_pandas_dtype()) for f in schema if not pieces[f.name]}
        arrays = {n: np.concatenate(c) if c else empty[n] for n, c in pieces.items()}
        image = image_of(schema)
        if image is not None:
            shape, names = image
            stacked = np.stack([arrays.pop(n) for n in names], axis=1)
            arrays = {"x": stacked.reshape(len(stacked), *shape), **arrays}
        elif path.suffix == ".npy":
            text = [n for n, a in arrays.items() if a.dtype.kind not in "biuf"]
            if text:
                raise cannot_hold(text[0], schema.field(text[0]).type, "a matrix of numbers (.npy)")
            arrays = {"x": np.stack(list(arrays.values()), axis=1)}
        with open(path, "wb") as handle:
            if path.suffix == ".npz":
                np.savez_compressed(handle, **arrays)  # type: ignore[arg-type]
            elif len(arrays) == 1:
                np.save(handle, arrays["x"], allow_pickle=False)
            else:
                more = next(n for n in arrays if n != "x")
                raise cannot_hold(more, "cells beside an image's", "one array (.npy)")


def _arrow_type(dtype: np.dtype[Any]) -> Any:
    import pyarrow as pa

    return pa.string() if dtype.kind in "SU" else pa.from_numpy_dtype(dtype.newbyteorder("="))


def _cells(column: Any, name: str) -> np.ndarray:
    """Numbers with NaN for missing ones, text, or dates with NaT."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_date(kind) or (pa.types.is_timestamp(kind) and kind.tz is None):
        unit = "D" if pa.types.is_date(kind) else kind.unit
        return np.asarray(column.cast(pa.date32()) if unit == "D" else column).astype(f"datetime64[{unit}]")
    if column.null_count and pa.types.is_boolean(kind):
        column = column.cast("uint8")
    if column.null_count and pa.types.is_integer(column.type):
        cells = np.asarray(column.to_numpy(zero_copy_only=False))  # floats, with NaN for null
        if np.nanmax(np.abs(cells), initial=0) > 2**53:
            raise cannot_hold(name, "missing cells beside whole numbers above 2^53", "a NumPy file")
        return cells
    return plain_cells(column, name, "a NumPy file", text=True)
