"""The format of MNIST and its kin."""

from __future__ import annotations

import gzip
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
    plain_cells,
    rows_within,
)
from diabolo.errors import DataError

#: Codes of the third byte (Y. LeCun, C. Cortes, C. Burges, the MNIST database).
TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
CODES = {np.dtype(t).newbyteorder("="): code for code, t in TYPES.items()}


@formats.register("idx")
class Idx(Format):
    """IDX, in which MNIST comes: one array, like train-images-idx3-ubyte, also gzipped."""

    suffixes: ClassVar[tuple[str, ...]] = (".idx", ".idx.gz", "-ubyte", "-ubyte.gz")

    def _open(self, path: Path, mode: str = "rb") -> Any:
        return gzip.open(path, mode) if path.suffix.lower() == ".gz" else open(path, mode)

    def _header(self, source: Source, handle: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
        magic = handle.read(4)
        if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES or not 1 <= magic[3] <= 4:
            raise DataError(f"{source}: is not an IDX file; its first bytes are {magic.hex(' ') or 'missing'}")
        sizes = handle.read(4 * magic[3])
        if len(sizes) < 4 * magic[3]:
            raise DataError(f"{source}: is cut off within its header")
        return tuple(int(n) for n in np.frombuffer(sizes, ">u4")), np.dtype(TYPES[magic[2]])

    def _layout(self, source: Source) -> tuple[tuple[int, ...], np.dtype[Any], list[str], Any]:
        with self._open(source.path) as handle:
            shape, dtype = self._header(source, handle)
        columns, metadata = fixed_columns({"x": shape[1:]}, source)
        return shape, dtype, columns["x"], metadata

    def schema(self, source: Source) -> tuple[Any, int | None]:
        import pyarrow as pa

        shape, dtype, names, metadata = self._layout(source)
        kind = pa.from_numpy_dtype(dtype.newbyteorder("="))
        return pa.schema([(n, kind) for n in names], metadata), shape[0]

    def read(self, source: Source, columns: Sequence[str] | None, rows: int) -> Iterator[Any]:
        import pyarrow as pa

        shape, dtype, names, _ = self._layout(source)
        there = self.schema(source)[0]
        schema = pa.schema([there.field(n) for n in known(columns, names, source)], there.metadata)
        width = len(names) * dtype.itemsize
        step = rows_within(rows, width)
        with self._open(source.path) as handle:
            self._header(source, handle)
            for start in range(0, shape[0], step):
                count = min(step, shape[0] - start)
                data = handle.read(count * width)
                if len(data) < count * width:
                    raise DataError(f"{source}: ends after row {start + len(data) // width} of {shape[0]}")
                yield block_batches([(names, np.frombuffer(data, dtype).reshape(count, -1))], schema)
            if handle.read(1):
                raise DataError(f"{source}: goes on after its {shape[0]} rows")

    def write(self, path: Path, schema: Any, batches: Iterator[Any]) -> None:
        """All columns as one array; it needs one type for them all, of 8 to 32 bits or floats."""
        image = image_of(schema)
        shape, names = image if image and len(image[1]) == len(schema) else ((len(schema),), schema.names)
        first = schema.field(0)
        for field in schema:
            if field.type != first.type:
                raise cannot_hold(field.name, f"{field.type} beside {first.type}", "an IDX file")
        code = _code(first.type)
        if code is None:
            raise cannot_hold(first.name, first.type, "an IDX file")
        if schema.names == ["x"]:
            shape = ()
        parts = [np.empty((0, len(names)), TYPES[code])]  # gathered first: the header says how many rows there are
        for batch in batches:
            cells = [plain_cells(batch.column(n), n, "an IDX file") for n in names]
            parts.append(np.stack(cells, axis=1))
        body = np.concatenate(parts).astype(TYPES[code])
        with self._open(path, "wb") as handle:
            handle.write(bytes([0, 0, code, 1 + len(shape)]) + np.array([len(body), *shape], ">u4").tobytes())
            handle.write(body.tobytes())


def _code(kind: Any) -> int | None:
    import pyarrow as pa

    number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return CODES.get(np.dtype(kind.to_pandas_dtype())) if number else None
