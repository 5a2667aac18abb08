"""A dataset on disk that is read chunk by chunk, as often as asked, and never as a whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from diabolo.data.dtypes import arrow_dtype, float_type
from diabolo.data.formats import Data, local_files, schema_of
from diabolo.data.reading import chunks, dialect_of, row_shape, types_in
from diabolo.data.table import Table
from diabolo.errors import DataError

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


@dataclasses.dataclass
class Stream:
    """Columns of a dataset; `read` yields its chunks, anew at every call."""

    head: Table  #: no rows; names, types, and the words of text columns, which grow while `read` goes on
    rows: int
    used: int  #: rows whose weight is not 0: only these play a part
    weighted: bool
    read: Callable[[], Iterator[Chunk]]

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
    path: Data, columns: Sequence[str], weight: str | None = None, report: Callable[[int], None] | None = None
) -> Stream:
    """Look at a dataset; it is read once where its files do not say how many rows there are, or rows have weights.

    Args:
        path: the dataset.
        columns: names of the columns that a model is to see.
        weight: name of the column of weights.
        report: called with the number of rows that were just counted.

    Raises:
        DataError: no rows, a column that cannot be used, a weight that is not finite or negative.
    """
    schema, rows = schema_of(path)
    dtypes = [arrow_dtype(schema.field(n).type, n, str(path)) for n in columns]
    empty = np.empty((0, len(columns)), float_type(dtypes))
    shape, dialect = row_shape(schema, columns), dialect_of(path)
    types = types_in(path, columns)
    head = Table(empty, list(columns), dtypes, "arrow", True, {}, shape, dialect=dialect, types=types)
    apart = [weight] if weight else []

    def read() -> Iterator[Chunk]:
        for table, cells in chunks(path, columns, apart, head.levels):
            values, numbers = table.values.astype(empty.dtype, copy=False), table.start + np.arange(len(table))
            w = weights_of(cells, weight, table.start)
            if w is not None:
                values, numbers, w = values[w > 0], numbers[w > 0], w[w > 0]
            yield Chunk(values, w, numbers, len(table))

    used = rows
    if weight or rows is None:
        rows = used = 0
        for table, cells in chunks(path, list(columns)[:1], apart, {}):
            w = weights_of(cells, weight, table.start)
            rows += len(table)
            used += len(table) if w is None else int(np.count_nonzero(w))
            if report:
                report(len(table))
    if not rows:
        raise DataError(f"{path}: has a header but no rows")
    if not used:
        raise DataError(f"{path}: every weight is zero; at least one row needs a positive weight")
    return Stream(head, rows, used, weight is not None, read)


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
