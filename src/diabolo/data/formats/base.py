"""What a format is, where its bytes lie, and what the formats share."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from diabolo.data.dialect.record import Reading
from diabolo.errors import DataError, DiaboloError, MissingExtraError, nearest
from diabolo.registry import Entry, Registry

__all__ = [
    "MOST_COLUMNS",
    "BESIDE",
    "SHAPE",
    "Format",
    "Source",
    "block_batches",
    "cannot_hold",
    "explained",
    "fixed_columns",
    "formats",
    "image_of",
    "known",
    "longest",
    "missing_package",
    "numbered",
    "one_line",
    "plain_cells",
    "rows_within",
    "shape_metadata",
    "suffix_of",
]

#: Key of an Arrow schema's metadata: the shape of the array whose cells are the columns x0, x1, ..., like b"28,28".
SHAPE = b"diabolo.shape"
#: Metadata of a schema: names of vectors that lie in one file with arrays of more dimensions, and are often labels.
BESIDE = b"diabolo.beside"
#: A header that claims more is damaged or hostile: names alone would fill memory.
MOST_COLUMNS = 1 << 20
#: Bytes of one chunk, so that wide rows do not make large ones.
CHUNK_BYTES = 1 << 26


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a table lies on this machine, and how the person called it."""

    path: Path
    shown: str
    #: A group of an HDF5 file, a tree of a ROOT file, arrays of an .npz file.
    inner: str = ""
    #: The files of a folder of images, which is one table.
    files: tuple[Path, ...] = ()
    #: What is asked and known of a table written as text.
    reading: Reading | None = None

    def __str__(self) -> str:
        return self.shown


class Format(Entry, abc.ABC):
    """A registry entry. A chunk is a `pyarrow.RecordBatch`, whatever the file."""

    #: Ends of the file names, each with its dot.
    suffixes: ClassVar[tuple[str, ...]]
    #: Whether cells of every type can be written, missing ones too.
    complete: ClassVar[bool] = False
    #: Whether an array of fixed shape can be written as one column.
    arrays: ClassVar[bool] = False
    #: Ends of the names of files that hold named columns of numbers and text.
    named: ClassVar[tuple[str, ...]] = ()
    #: Why such files are read and not written, and what to write; empty where they are written.
    read_only: ClassVar[str] = ""

    @abc.abstractmethod
    def schema(self, source: Source) -> tuple[Any, int | None]:
        """Arrow schema and number of rows (None if only reading tells)."""

    @abc.abstractmethod
    def read(self, source: Source, columns: Sequence[str] | None, rows: int) -> Iterator[Any]:
        """Batches of at most `rows` rows."""

    @abc.abstractmethod
    def write(self, path: Path, schema: Any, batches: Iterator[Any]) -> None: ...


formats: Registry[Format] = Registry("format", __package__)


def suffix_of(name: str) -> tuple[str, str] | None:
    """(format, suffix) of the longest known suffix that a file's name ends with."""
    lower = name.lower()
    found = [(n, s) for n in formats for s in formats.get(n).suffixes if lower.endswith(s)]
    return max(found, key=lambda pair: len(pair[1]), default=None)


def one_line(error: object) -> str:
    return re.sub(r"\s+", " ", str(error)).strip()[:300]


@contextlib.contextmanager
def explained(source: Source) -> Iterator[None]:
    """Turn whatever a reader raises into one line that names the file.

    Readers of foreign formats meet damaged and hostile bytes with exceptions of many kinds.
    """
    try:
        yield
    except DiaboloError:
        raise
    except Exception as error:
        raise DataError(f"{source}: cannot be read: {one_line(error) or type(error).__name__}") from error


def missing_package(package: str, extra: str, what: object) -> MissingExtraError:
    return MissingExtraError(package, extra, f"{what}: this kind of file")


def known(columns: Sequence[str] | None, names: Sequence[str], source: Source) -> list[str]:
    """The chosen columns, all by default.

    Raises:
        DataError: a name that the file does not have, with the nearest.
    """
    there = set(names)
    for column in columns or []:
        if column not in there:
            raise DataError(f"{source}: no column {column!r}: {nearest(column, names, 'it has')}")
    return list(names if columns is None else columns)


def rows_within(rows: int, width: int) -> int:
    """Rows per chunk where each takes `width` bytes: at most `rows`, and fewer if they are wide."""
    return max(1, min(rows, CHUNK_BYTES // max(width, 1)))


def cannot_hold(name: str, what: object, kind: str) -> DataError:
    return DataError(f"column {name!r} holds {what}, which {kind} cannot hold; write .parquet or .arrow")


def numbered(prefix: str, shape: Sequence[int], source: Source) -> list[str]:
    """Names of the cells of one row of an array, in C order.

    Raises:
        DataError: no cell, or more than memory has room for.
    """
    count = int(np.prod([int(n) for n in shape], dtype=object))
    if not 0 < count <= MOST_COLUMNS:
        raise DataError(
            f"{source}: rows of shape {list(shape)} would be {count:,} columns; allowed are 1 to {MOST_COLUMNS:,}"
        )
    return [f"{prefix}{i}" for i in range(count)]


def fixed_columns(shapes: Mapping[str, tuple[int, ...]], source: Source) -> tuple[dict[str, list[str]], Any]:
    """Columns of arrays [rows, *shape], and the schema metadata: an image's shape, vectors that nobody asked for.

    A vector keeps its name; a single array of more dimensions becomes x0, x1, ...; of several, each becomes
    NAME_0, NAME_1, ...
    """
    wide = [k for k, shape in shapes.items() if shape]
    prefix = {k: "x" if len(wide) == 1 else f"{k}_" for k in wide}
    columns = {k: numbered(prefix[k], s, source) if s else [k] for k, s in shapes.items()}
    names = [n for group in columns.values() for n in group]
    twice = {n for n in names if names.count(n) > 1} if len(set(names)) < len(names) else set()
    if twice:
        raise DataError(f"{source}: two arrays would give the column {min(twice)!r}; rename one of them")
    image = shapes[wide[0]] if len(wide) == 1 and len(shapes[wide[0]]) > 1 else None
    metadata, vectors = shape_metadata(image) or {}, [k for k, shape in shapes.items() if not shape]
    if wide and vectors and not source.inner:
        metadata[BESIDE] = ",".join(vectors).encode()
    return columns, metadata or None


def shape_metadata(shape: Sequence[int] | None) -> dict[bytes, bytes] | None:
    return {SHAPE: ",".join(map(str, shape)).encode()} if shape else None


def image_of(schema: Any) -> tuple[tuple[int, ...], list[str]] | None:
    """Shape of a row and the names of its cells, if the schema says that x0, x1, ... are an array."""
    said = (schema.metadata or {}).get(SHAPE)
    if said is None:
        return None
    shape = tuple(int(n) for n in said.decode().split(","))
    names = [f"x{i}" for i in range(int(np.prod(shape)))]
    return (shape, names) if set(names) <= set(schema.names) else None


def longest(lengths: Mapping[str, int], source: Source, ask: str) -> int:
    """The one length of several arrays.

    Raises:
        DataError: several lengths; says which array has which, and how to choose.
    """
    by_length: dict[int, list[str]] = {}
    for name, length in lengths.items():
        by_length.setdefault(length, []).append(name)
    if len(by_length) == 1:
        return next(iter(by_length))
    said = "; ".join(f"{n} rows in {_few(names)}" for n, names in sorted(by_length.items()))
    first = max(by_length)
    example = ask.format(source=source, names=",".join(by_length[first][:3]))
    raise DataError(f"{source}: its arrays have different lengths: {said}; choose some, like {example}")


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")


def block_batches(
    blocks: Sequence[tuple[Sequence[str], np.ndarray]], schema: Any, ready: Mapping[str, Any] | None = None
) -> Any:
    """A record batch of the schema's columns from arrays [rows, ...] whose cells are the named columns.

    Cells of one array lie column after column in one copy, and the batch's columns are views of it.

    Args:
        blocks: names of an array's cells in C order, and the array.
        schema: Arrow schema of the batch.
        ready: columns that are Arrow arrays already.
    """
    import pyarrow as pa

    wanted = set(schema.names)
    columns: dict[str, Any] = dict(ready or {})
    for names, block in blocks:
        picked = [i for i, n in enumerate(names) if n in wanted]
        if not picked:
            continue
        flat = block.reshape(len(block), -1) if len(block) else np.empty((0, len(names)), block.dtype)
        flat = flat.astype(flat.dtype.newbyteorder("="), copy=False)
        if len(picked) < len(names):
            flat = flat[:, picked]
        turned = np.empty(flat.shape[::-1], flat.dtype)
        # In pieces that fit the cache: seven times as fast for 784 columns.
        for start in range(0, len(flat), 1024):
            turned[:, start : start + 1024] = flat[start : start + 1024].T
        for i, cells in zip(picked, turned, strict=True):
            columns[names[i]] = cells
    arrays = [c if isinstance(c := columns[f.name], pa.Array) else _arrow(c, f.type) for f in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _arrow(cells: np.ndarray, kind: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_boolean(kind):
        cells = cells.astype(bool)
    if cells.dtype.kind in "iuf":
        return pa.Array.from_buffers(kind, len(cells), [None, pa.py_buffer(cells)])
    if cells.dtype.kind == "S":
        cells = np.char.decode(cells, "utf-8")
    return pa.array(cells, type=kind)


def plain_cells(column: Any, name: str, kind: str, text: bool = False) -> np.ndarray:
    """An Arrow column as NumPy numbers, booleans or (if allowed) text, with NaN for a missing number.

    Raises:
        DataError: cells that such a file cannot hold.
    """
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    type_ = column.type
    if pa.types.is_null(type_):
        return np.full(len(column), np.nan)
    if pa.types.is_floating(type_):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    gone = f"missing cells of type {type_}"
    if pa.types.is_boolean(type_) or pa.types.is_integer(type_):
        if column.null_count:
            raise cannot_hold(name, gone, kind)
        return np.asarray(column.to_numpy(zero_copy_only=False))
    if text and (pa.types.is_string(type_) or pa.types.is_large_string(type_)):
        if column.null_count:
            raise cannot_hold(name, gone, kind)
        return np.array(column.to_pylist(), np.str_)
    raise cannot_hold(name, type_, kind)
