"""Tables on disk: read in chunks of bounded size, written by atomic rename; one class per format."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from diabolo.errors import DataError, OutputError, nearest
from diabolo.registry import Registry

__all__ = [
    "CHUNK",
    "Format",
    "atomic",
    "check_writable",
    "format_of",
    "formats",
    "read_batches",
    "schema_of",
    "write_batches",
]

#: Rows per chunk: some 15 MB of 57 single-precision columns.
CHUNK = 65_536


class Format(Protocol):
    """A registry entry. A chunk is a `pyarrow.RecordBatch`, whatever the file."""

    name: str
    suffixes: ClassVar[tuple[str, ...]]

    def schema(self, path: Path) -> tuple[Any, int | None]:
        """Arrow schema and number of rows (None if only reading tells)."""
        ...

    def read(self, path: Path, columns: Sequence[str] | None) -> Iterator[Any]: ...

    def write(self, path: Path, schema: Any, batches: Iterator[Any]) -> None: ...


formats: Registry[Format] = Registry("format")


def format_of(path: str | Path) -> Format:
    """The format that a file's suffix names.

    Raises:
        DataError: an unknown suffix.
    """
    suffix = Path(path).suffix.lower()
    for name in formats:
        if suffix in formats.get(name).suffixes:
            return formats.create(name)
    known = [s for n in formats for s in formats.get(n).suffixes]
    raise DataError(f"{path}: unknown file type {suffix or '(no suffix)'!r}; allowed: {', '.join(known)}")


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place on success and vanishes on failure.

    Raises:
        OutputError: the folder is missing, not writable or full, or `path` is a folder or a device.
    """
    target = Path(path)
    _check_place(target)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=f".part{target.suffix}", dir=target.parent)
        os.close(handle)
    except OSError as error:
        raise _cannot_write(target, error) from None
    part = Path(name)
    try:
        yield part
        with open(part, "rb+") as written:
            os.fsync(written.fileno())
        # mkstemp makes a private file; a result should have the mode any new file has.
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        part.replace(target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}; nothing was left behind") from None
    finally:
        part.unlink(missing_ok=True)


def check_writable(path: str | Path) -> None:
    """Fail before hours of work, not after them, where a result could not be written.

    Raises:
        OutputError: the folder is missing or not writable.
    """
    target = Path(path)
    _check_place(target)
    try:
        with tempfile.NamedTemporaryFile(prefix=f".{target.name}.", dir=target.parent):
            pass
    except OSError as error:
        raise _cannot_write(target, error) from None


def _check_place(target: Path) -> None:
    """A rename would put a file in the place of a device or a pipe, and fail at the end on a folder."""
    if target.exists() and not target.is_file():
        raise OutputError(f"cannot write {target}: it is a folder or a device; choose the name of a file")


def _cannot_write(target: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot write {target}: {error.strerror or error}; choose a folder that exists and is writable")


def read_batches(path: str | Path, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """Yield record batches of at most `CHUNK` rows.

    Raises:
        DataError: no such file, an unreadable one, an unknown column.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise DataError(f"{path}: no such file")
        yield from format_of(path).read(path, columns)
    except DataError:
        raise
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read: {_one_line(error)}") from None


def schema_of(path: str | Path) -> tuple[Any, int | None]:
    """Arrow schema and row count of a file, without reading its rows."""
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file")
    try:
        return format_of(path).schema(path)
    except DataError:
        raise
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read: {_one_line(error)}") from None


def write_batches(path: str | Path, schema: Any, batches: Iterator[Any]) -> None:
    """Write batches to a file that appears only once it is whole."""
    with atomic(path) as part:
        format_of(path).write(part, schema, batches)


def _one_line(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error)).strip()[:300]


def _known(columns: Sequence[str] | None, names: Sequence[str], path: Path) -> list[str]:
    for column in columns or []:
        if column not in names:
            raise DataError(f"{path}: no column {column!r}: {nearest(column, names)}")
    return list(names if columns is None else columns)


@formats.register("parquet")
class Parquet:
    """Apache Parquet, read one row group's slice at a time."""

    name = "parquet"
    suffixes: ClassVar[tuple[str, ...]] = (".parquet", ".pq")

    def schema(self, path: Path) -> tuple[Any, int | None]:
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as file:
            return file.schema_arrow, file.metadata.num_rows

    def read(self, path: Path, columns: Sequence[str] | None) -> Iterator[Any]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        # Reading ahead would keep the whole file in memory.
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 16) as file:
            names = _known(columns, file.schema_arrow.names, path)
            yield from file.iter_batches(CHUNK, columns=names, use_threads=pa.cpu_count() > 1)

    def write(self, path: Path, schema: Any, batches: Iterator[Any]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        # A field may say how its values are laid out best; what it says is no part of the table.
        said = {f.name: f.metadata[b"encoding"].decode() for f in schema if f.metadata and b"encoding" in f.metadata}
        plain = pa.schema([pa.field(f.name, f.type, f.nullable) for f in schema])
        options: dict[str, Any] = {}
        if said:
            options = {"use_dictionary": [n for n in schema.names if n not in said], "column_encoding": said}
        with pq.ParquetWriter(path, plain, compression="zstd", **options) as writer:
            for batch in batches:
                writer.write_batch(batch.cast(plain) if said else batch)


@formats.register("csv")
class Csv:
    """Comma-separated text with a header; empty cells and NaN are missing."""

    name = "csv"
    suffixes: ClassVar[tuple[str, ...]] = (".csv",)

    def _open(self, path: Path, columns: Sequence[str] | None, serial: bool = False) -> Any:
        import pyarrow as pa
        import pyarrow.csv as pc

        if path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty")
        read = pc.ReadOptions(block_size=1 << 22, use_threads=not serial)
        with pc.open_csv(path, read_options=read) as first:
            guessed = first.schema
        # The first block decides the types, and a later row may hold 1.5 where it held 1, or any number
        # where it held nothing.
        loose = {f.name: pa.float64() for f in guessed if pa.types.is_integer(f.type) or pa.types.is_null(f.type)}
        options = pc.ConvertOptions(include_columns=list(columns) if columns is not None else None, column_types=loose)
        return pc.open_csv(path, read_options=read, convert_options=options)

    @contextlib.contextmanager
    def _explained(self, path: Path, columns: Sequence[str] | None, names: Sequence[str] = ()) -> Iterator[None]:
        """Turn Arrow's complaint into one that names the row and the column as this package counts them."""
        import pyarrow as pa

        try:
            yield
        except pa.ArrowInvalid as error:
            text = _one_line(self._located(path, columns) or error)
            match = re.search(r"(?:In CSV column #(\d+)|CSV parse error): (?:Row #(\d+): )?(.*)", text)
            if match:
                column, row, text = match.groups()
                place = [f"row {int(row) - 2}"] if row else []  # Arrow's row 1 is the header
                if column:
                    place.append(f"column {(names[int(column)] if int(column) < len(names) else column)!r}")
                text = f"{', '.join(place)}: {text}" if place else text
            raise DataError(f"{path}: {text}") from None

    def _located(self, path: Path, columns: Sequence[str] | None) -> Exception | None:
        """The same complaint with the row, which Arrow knows only where it reads row after row."""
        import pyarrow as pa

        try:
            with self._open(path, columns, serial=True) as reader:
                for _ in reader:
                    pass
        except pa.ArrowInvalid as error:
            return error  # type: ignore[no-any-return]
        return None

    def schema(self, path: Path) -> tuple[Any, int | None]:
        with self._explained(path, None), self._open(path, None) as reader:
            return reader.schema, None

    def read(self, path: Path, columns: Sequence[str] | None) -> Iterator[Any]:
        there = self.schema(path)[0].names
        names = _known(columns, there, path)
        with self._explained(path, names, there), self._open(path, names) as reader:
            for batch in reader:
                for start in range(0, batch.num_rows, CHUNK):
                    yield batch.slice(start, CHUNK)

    def write(self, path: Path, schema: Any, batches: Iterator[Any]) -> None:
        import pyarrow.csv as pc

        with pc.CSVWriter(path, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)


@formats.register("numpy")
class NumPy:
    """.npy, a matrix with columns x0, x1, ...; .npz, matrices and vectors of one length by their keys."""

    name = "numpy"
    suffixes: ClassVar[tuple[str, ...]] = (".npy", ".npz")

    def _members(self, path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype[Any], bool]]:
        if path.suffix.lower() == ".npy":
            with open(path, "rb") as handle:
                return {"x": self._header(path, handle)}
        with zipfile.ZipFile(path) as archive:
            found = {}
            for name in archive.namelist():
                with archive.open(name) as handle:
                    found[name.removesuffix(".npy")] = self._header(path, handle)
            return found

    @staticmethod
    def _header(path: Path, handle: Any) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
        version = np.lib.format.read_magic(handle)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(handle)
        if dtype.hasobject:
            raise DataError(f"{path}: holds Python objects, which could run code when read; save numbers instead")
        if dtype.kind in "cV" or (dtype.kind == "f" and dtype.itemsize > 8):
            raise DataError(f"{path}: holds {dtype}; allowed are numbers of up to 64 bits and booleans: use astype")
        return shape, dtype, fortran

    def _layout(self, path: Path) -> tuple[int, dict[str, list[str]]]:
        """Number of rows, and for each member the columns it becomes."""
        members = self._members(path)
        tall = {k: m for k, m in members.items() if len(m[0]) in (1, 2)}
        if not tall or any(len(m[0]) > 2 for m in members.values()):
            shapes = ", ".join(f"{k} {list(m[0])}" for k, m in members.items()) or "nothing"
            raise DataError(
                f"{path}: holds {shapes}; allowed are matrices [rows, columns], vectors [rows]: reshape or leave out"
            )
        matrices = [k for k, m in tall.items() if len(m[0]) == 2]
        lengths = {m[0][0] for m in tall.values()}
        if len(lengths) > 1:
            raise DataError(f"{path}: its arrays have different lengths {sorted(lengths)}; save them with one length")
        columns = {}
        for key, (shape, _, _) in tall.items():
            if len(shape) == 1:
                columns[key] = [key]
            else:
                prefix = "x" if len(matrices) == 1 else f"{key}_"
                columns[key] = [f"{prefix}{i}" for i in range(shape[1])]
        return lengths.pop(), columns

    def schema(self, path: Path) -> tuple[Any, int | None]:
        import pyarrow as pa

        rows, columns = self._layout(path)
        members = self._members(path)
        kinds = {k: pa.from_numpy_dtype(m[1].newbyteorder("=")) for k, m in members.items() if k in columns}
        fields = [(n, kinds[k]) for k, names in columns.items() for n in names]
        return pa.schema(fields), rows

    def read(self, path: Path, columns: Sequence[str] | None) -> Iterator[Any]:
        import pyarrow as pa

        rows, layout = self._layout(path)
        wanted = _known(columns, [n for names in layout.values() for n in names], path)
        with contextlib.ExitStack() as stack:
            readers = {k: self._blocks(path, k, rows, stack) for k in layout}
            for _ in range(0, rows, CHUNK):
                cells = {}
                for key, names in layout.items():
                    block = next(readers[key])
                    block = block.astype(block.dtype.newbyteorder("="), copy=False)
                    for i, name in enumerate(names):
                        cells[name] = block if block.ndim == 1 else block[:, i]
                yield pa.record_batch({n: pa.array(np.ascontiguousarray(cells[n])) for n in wanted})

    def _blocks(self, path: Path, key: str, rows: int, stack: contextlib.ExitStack) -> Iterator[np.ndarray]:
        if path.suffix.lower() == ".npy":
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            yield from (np.array(array[i : i + CHUNK]) for i in range(0, rows, CHUNK))
            return
        archive = stack.enter_context(zipfile.ZipFile(path))
        handle = stack.enter_context(archive.open(f"{key}.npy"))
        shape, dtype, fortran = self._header(path, handle)
        if fortran and len(shape) == 2:
            handle.seek(0)
            array = np.load(path, allow_pickle=False)[key]  # column-major: rows cannot be streamed
            yield from (array[i : i + CHUNK] for i in range(0, rows, CHUNK))
            return
        width = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
        for start in range(0, rows, CHUNK):
            count = min(CHUNK, rows - start)
            data = handle.read(count * width)
            if len(data) < count * width:
                raise DataError(f"{path}: {key} ends after row {start + len(data) // max(width, 1)} of {rows}")
            yield np.frombuffer(data, dtype).reshape(count, *shape[1:])

    def write(self, path: Path, schema: Any, batches: Iterator[Any]) -> None:
        """A `.npz` of one vector per column; `.npy` and `.npz` alike gather the result in memory first."""
        columns: dict[str, list[np.ndarray]] = {n: [] for n in schema.names}
        for batch in batches:
            for name in schema.names:
                column = batch.column(name)
                if column.null_count and str(column.type) == "bool":
                    column = column.cast("uint8")  # then to floats, with NaN for null
                columns[name].append(column.to_numpy(zero_copy_only=False))
        arrays = {n: np.concatenate(c) if c else np.empty(0) for n, c in columns.items()}
        text = [n for n, a in arrays.items() if a.dtype.hasobject]
        if text:
            raise DataError(f"column {text[0]!r} is not of numbers, which a NumPy file needs; write .parquet or .csv")
        with open(path, "wb") as handle:
            if path.suffix == ".npy":
                np.save(handle, np.stack(list(arrays.values()), axis=1), allow_pickle=False)
            else:
                np.savez_compressed(handle, **arrays)  # type: ignore[arg-type]
