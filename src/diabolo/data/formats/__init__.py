"""Tables on disk: read in chunks of bounded size, written by atomic rename; one class in one file per format.

DATA is a file, a part of one (FILE.root:TREE, FILE.h5::GROUP), a folder, a pattern like "runs/*.parquet" or a URL.
A file of this folder that registers a format is all that a new format needs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from diabolo.data.dialect.finding import Found
from diabolo.data.dialect.record import Reading
from diabolo.data.formats import writing
from diabolo.data.formats.base import BESIDE, SHAPE, Format, Source, formats, shape_metadata
from diabolo.data.formats.dataset import format_of, locate
from diabolo.data.formats.listed import RowList
from diabolo.data.formats.notes import left_out
from diabolo.data.formats.pieces import Piece, pieces_of
from diabolo.data.formats.ragged import LIST, Data, Taken, collection_of, counters, flattened, is_list, jagged
from diabolo.data.formats.remote import as_local, check_url, is_url, upload
from diabolo.data.formats.writing import atomic, sweep
from diabolo.errors import DataError, DiaboloError

__all__ = [
    "CHUNK",
    "BESIDE",
    "LIST",
    "SHAPE",
    "Data",
    "Format",
    "Piece",
    "RowList",
    "Taken",
    "atomic",
    "check_table",
    "check_writable",
    "collection_of",
    "counters",
    "format_of",
    "formats",
    "is_list",
    "jagged",
    "left_out",
    "local_files",
    "notes_of",
    "pieces_of",
    "read_batches",
    "schema_of",
    "taken",
    "text_of",
    "with_reading",
    "shape_metadata",
    "sweep",
    "write_batches",
]

#: Rows per chunk: some 15 MB of 57 single-precision columns.
CHUNK = 65_536


def read_batches(
    data: Data,
    columns: Sequence[str] | None = None,
    take: Mapping[str, int] | None = None,
    nested: bool = False,
    rows: int | None = None,
) -> Iterator[Any]:
    """Yield record batches of at most `rows` rows, by default `CHUNK`.

    Args:
        data: a file, folder, pattern or URL.
        columns: names, in the order in which they are wanted; all by default.
        take: how many objects of each jagged collection become columns: {"jets": 10} makes jets1_pt, ..., jets10_pt of
            the lists `jets_pt`, with 0 where a row has fewer.
        nested: columns as the file has them: structs and arrays of fixed shape stay one column each.

    Raises:
        DataError: no such file, an unreadable one, an unknown column, files that do not agree.
    """
    found = locate(data).read(columns, _take(data, take), rows or CHUNK, nested)
    without = data.without if isinstance(data, Taken) else None
    yield from found if without is None else without.without(found, str(data))


def schema_of(data: Data, take: Mapping[str, int] | None = None, nested: bool = False) -> tuple[Any, int | None]:
    """Arrow schema and row count of a table, without reading its rows.

    The metadata `SHAPE` of the schema is the shape of an image, like b"28,28", whose cells are the columns x0, x1, ...;
    the metadata `LIST` of a field is the jagged column that it was taken from.
    """
    schema, rows = locate(data).schema(_take(data, take), nested)
    without = data.without if isinstance(data, Taken) else None
    if without is not None and rows is not None:
        rows = without.left(rows, str(data))
    return schema, rows


def text_of(data: Data) -> Found | None:
    """How a table written as text is read: dialect, notes for a person, questions; None for other formats."""
    return locate(data).text()


def notes_of(data: Data) -> list[str]:
    """What a person is to know of how a table is read: how its text is written, which columns are none."""
    return locate(data).notes()


def taken(data: Data, take: Mapping[str, int]) -> Data:
    """A table of whose jagged collections the first objects are columns."""
    if not take:
        return data
    return dataclasses.replace(data, take=take) if isinstance(data, Taken) else Taken(str(data), take)


def with_reading(data: Data, reading: Reading) -> Taken:
    """A table with what is asked and known of how its text is read."""
    given = data if isinstance(data, Taken) else Taken(str(data))
    return dataclasses.replace(given, reading=reading)


def _take(data: Data, take: Mapping[str, int] | None) -> Mapping[str, int] | None:
    return {**data.take, **(take or {})} if isinstance(data, Taken) else take


def write_batches(path: str | Path, schema: Any, batches: Iterator[Any]) -> None:
    """Write batches to a file that appears only once it is whole; one at a URL is sent when it is whole."""
    text = as_local(str(path))
    kind = _written_as(text)
    if not kind.complete:
        schema, batches = flattened(schema, batches, Source(Path(text), text), arrays=not kind.arrays)
    if not is_url(text):
        with atomic(text) as part, _called(text, part):
            kind.write(part, schema, batches)
        return
    with tempfile.TemporaryDirectory(prefix="diabolo-") as folder:
        local = Path(folder) / text.rpartition("/")[2]
        with _called(text, local):
            kind.write(local, schema, batches)
        upload(local, text)


def _written_as(path: str) -> Format:
    """The format of a table to write.

    Raises:
        DataError: an unknown suffix, or one of files that are only read.
    """
    kind = format_of(path, written=True)
    if kind.read_only:
        raise DataError(f"{path}: {kind.read_only}")
    return kind


@contextlib.contextmanager
def _called(path: str, part: Path) -> Iterator[None]:
    """In messages a file has the name that the person gave it, not that of its temporary part."""
    try:
        yield
    except DiaboloError as error:
        if str(part) in str(error):
            error.args = (str(error).replace(str(part), path), *error.args[1:])
        raise


def check_table(path: str | Path) -> None:
    """Fail before hours of work, not after them, where a table of this name could not be written.

    Raises:
        DataError: no such files are written.
        OutputError: as `check_writable`.
    """
    _written_as(as_local(str(path)))
    check_writable(path)


def check_writable(path: str | Path) -> None:
    """Fail before hours of work, not after them, where a result could not be written.

    Raises:
        OutputError: the folder is missing or not writable, or a package for the URL is missing.
    """
    text = as_local(str(path))
    if is_url(text):
        check_url(text)
    else:
        writing.check_writable(text)


def local_files(data: Data) -> list[Path]:
    """The files on this machine that a word of the command line names; none for a URL."""
    if is_url(as_local(str(data))):
        return []
    try:
        return [p for source in locate(data).sources for p in (source.files or (source.path,))]
    except DataError:
        return []
