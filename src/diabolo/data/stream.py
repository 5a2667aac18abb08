"""A dataset on disk that is read chunk by chunk, as often as asked, and never as a whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from diabolo.data.dtypes import arrow_dtype, float_type
from diabolo.data.formats import Data, local_files, pieces_of, schema_of
from diabolo.data.reading import chunks, dialect_of, row_shape, types_in
from diabolo.data.table import Table
from diabolo.errors import DataError
from diabolo.world import ALONE, World

__all__ = ["Chunk", "Stream", "open_stream", "size_in_memory", "weights_of"]

#: Bytes that a cell of text takes at least: a digit and a comma.
CELL_OF_TEXT = 2


@dataclasses.dataclass
class Chunk:
    """The rows of a chunk whose weight is not 0."""

    values: np.ndarray
    weights: np.ndarray | None
    numbers: np.ndarray  #: of the rows in the dataset
    read: int  #: rows that were read for it
    at: int  #: place of the first among the dataset's rows whose weight is not 0


@dataclasses.dataclass
class Stream:
    """Columns of a dataset; `read` yields its chunks, anew at every call, or those of one process's run of rows."""

    head: Table  #: no rows; names, types, and the words of text columns, which grow while `read` goes on
    rows: int
    used: int  #: rows whose weight is not 0: only these play a part
    weighted: bool
    read: Callable[[], Iterator[Chunk]]
    first: Callable[[], np.ndarray]  #: the dataset's first rows, [n, C]

    @property
    def size(self) -> int:
        """Bytes that its values take in memory."""
        return self.rows * len(self.head.names) * self.head.values.itemsize


def size_in_memory(path: Data, columns: Sequence[str]) -> int | None:
    """Bytes that a dataset's values take, or a bound of them, as far as that is known without reading it."""
    schema, rows = schema_of(path)
    cell = np.dtype(float_type([arrow_dtype(schema.field(n).type, n, str(path)) for n in columns])).itemsize
    if rows is not None:
        return rows * len(columns) * cell
    files = local_files(path)
    packed = not files or any(f.suffix == ".gz" for f in files)  # its size says little
    return None if packed else sum(f.stat().st_size for f in files) // CELL_OF_TEXT * cell


def open_stream(
    path: Data,
    columns: Sequence[str],
    weight: str | None = None,
    report: Callable[[int], None] | None = None,
    world: World = ALONE,
) -> Stream:
    """Look at a dataset; it is read once where its files do not say how many rows there are, or rows have weights.

    Args:
        path: the dataset.
        columns: names of the columns that a model is to see.
        weight: name of the column of weights.
        report: called with the number of rows that were just counted.
        world: processes that share the rows: each reads its run of them, in files that it opens itself.

    Raises:
        DataError: no rows, a column that cannot be used, a weight that is not finite or negative.
    """
    schema = schema_of(path)[0]
    dtypes = [arrow_dtype(schema.field(n).type, n, str(path)) for n in columns]
    empty = np.empty((0, len(columns)), float_type(dtypes))
    shape, dialect = row_shape(schema, columns), dialect_of(path)
    types = types_in(path, columns)
    head = Table(empty, list(columns), dtypes, "arrow", True, {}, shape, dialect=dialect, types=types)
    files = _counted(path, columns, weight, report, world)
    rows, used = sum(f.rows for f in files), sum(f.used for f in files)
    if not rows:
        raise DataError(f"{path}: has a header but no rows")
    if not used:
        raise DataError(f"{path}: every weight is zero; at least one row needs a positive weight")
    own = world.share(rows)

    def read() -> Iterator[Chunk]:
        row = at = 0
        for file in files:
            if row + file.rows > own.start and row < own.stop:
                yield from _chunks_within(file.data, head, weight, own, row, at)
            row, at = row + file.rows, at + file.used

    def first() -> np.ndarray:
        file = next(f for f in files if f.used)
        return next(_chunks_within(file.data, head, weight, slice(0, rows), 0, 0)).values

    return Stream(head, rows, used, weight is not None, read, first)


@dataclasses.dataclass
class _File:
    """A file, its rows, and those of them whose weight is not 0."""

    data: Data
    rows: int
    used: int


def _counted(
    path: Data, columns: Sequence[str], weight: str | None, report: Callable[[int], None] | None, world: World
) -> list[_File]:
    """The files of a dataset; alone, a process takes it for one."""
    if world.size == 1:
        found: list[tuple[Data, int | None]] = [(path, schema_of(path)[1])]
    else:
        found = [(piece.data, piece.rows) for piece in pieces_of(path)]
    known = [n for _, n in found if n is not None]
    if not weight and len(known) == len(found):
        return [_File(data, n, n) for (data, _), n in zip(found, known, strict=True)]
    counts = np.zeros((len(found), 2), np.int64)
    for number, (data, _) in enumerate(found):
        if number % world.size == world.rank:
            for table, cells in chunks(data, list(columns)[:1], [weight] if weight else [], {}):
                w = weights_of(cells, weight, table.start)
                counts[number] += len(table), len(table) if w is None else int(np.count_nonzero(w))
                if report:
                    report(len(table))
    counts = np.sum(world.arrays(counts), axis=0)
    return [_File(data, int(n), int(k)) for (data, _), (n, k) in zip(found, counts, strict=True)]


def _chunks_within(data: Data, head: Table, weight: str | None, own: slice, row: int, at: int) -> Iterator[Chunk]:
    """The rows of a file that are among `own`, where it begins at number `row`, and at place `at` of the used ones."""
    for table, cells in chunks(data, head.names, [weight] if weight else [], head.levels):
        first = row + table.start
        if first >= own.stop:
            return
        values, numbers = table.values.astype(head.values.dtype, copy=False), first + np.arange(len(table))
        w = weights_of(cells, weight, first)
        part = slice(max(0, own.start - first), own.stop - first)
        before = len(numbers[: part.start]) if w is None else int(np.count_nonzero(w[: part.start]))
        read = len(numbers[part])
        kept = part if w is None else np.arange(len(w))[part][w[part] > 0]
        if read:
            yield Chunk(values[kept], None if w is None else w[kept], numbers[kept], read, at + before)
        at += len(table) if w is None else int(np.count_nonzero(w))


def weights_of(cells: dict[str, Any], name: str | None, start: int) -> np.ndarray | None:
    """The weights among a chunk's cells; None if rows have none.

    Raises:
        DataError: names the first row whose weight is not finite or negative.
    """
    if name is None:
        return None
    w = np.asarray(cells[name].to_numpy(zero_copy_only=False), np.float64)
    wrong = np.flatnonzero(~(np.isfinite(w) & (w >= 0)))
    if len(wrong):
        raise DataError(
            f"the weight {name!r} of row {start + wrong[0]} is {w[wrong[0]]}; allowed are finite numbers from 0 up"
        )
    return w
