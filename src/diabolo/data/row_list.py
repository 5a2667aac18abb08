"""Files that list rows of a table by number, as `diabolo explore` saves them."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diabolo.data.dtypes import python_cells
from diabolo.data.formats import Data, RowList, Taken, read_batches, schema_of
from diabolo.errors import DataError, nearest

__all__ = ["COLUMN", "TABLE_ROWS", "left_out_of", "read_row_list", "renumbered", "rows_left_out"]

#: The column of row numbers, and that of the number of rows of their table, which may be left out.
COLUMN, TABLE_ROWS = "row", "table_rows"
#: Faults of a file that are named.
NAMED = 3
#: Row numbers are below this.
MOST = 1 << 53


def read_row_list(path: str | Path) -> RowList:
    """Read a table with a column `row`: numbers from 0, each once, in any order.

    Args:
        path: a table of any format; a column `table_rows` says how many rows the listed table has.

    Raises:
        DataError: no such column, cells that are no row numbers, rows that are listed twice, no row; all at once.
    """
    names = schema_of(path)[0].names
    if COLUMN not in names:
        raise DataError(f"{path}: has no column {COLUMN!r} of row numbers: {nearest(COLUMN, names, 'it has')}")
    more = [TABLE_ROWS] if TABLE_ROWS in names else []
    cells: dict[str, list[Any]] = {name: [] for name in (COLUMN, *more)}
    for batch in read_batches(path, [COLUMN, *more]):
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            cells[name] += python_cells(column)
    rows, faults = _numbers(cells[COLUMN], COLUMN)
    of, wrong = _numbers(cells.get(TABLE_ROWS, []), TABLE_ROWS)
    faults += wrong
    found, count = np.unique(np.array(rows, np.int64), return_counts=True)
    twice = found[count > 1]
    if len(twice):
        faults.append(f"{_some(twice.tolist())} {'is' if len(twice) == 1 else 'are'} listed twice")
    if len(set(of)) > 1:
        faults.append(f"{TABLE_ROWS} is {min(of):,} and {max(of):,}; a list is of one table")
    if not cells[COLUMN]:
        faults.append("lists no row")
    if faults:
        raise DataError(f"{path}: {'; '.join(faults)}")
    return RowList(str(path), found, of[0] if of else None)


def left_out_of(data: Data, path: str | Path | None) -> Data:
    """A table without the rows that a file lists; all of it where there is no file.

    Raises:
        DataError: as `read_row_list`; the table has another number of rows, or none of such a number.
    """
    if path is None:
        return data
    given = data if isinstance(data, Taken) else Taken(str(data))
    found = dataclasses.replace(given, without=read_row_list(path))
    schema_of(found)  # a file that knows its number of rows is checked before it is read
    return found


def rows_left_out(data: Data) -> RowList | None:
    """The rows that are left out of a table; None for none."""
    return data.without if isinstance(data, Taken) else None


@contextlib.contextmanager
def renumbered(data: Data) -> Iterator[None]:
    """Say in errors that name a row how rows are numbered where some are left out."""
    try:
        yield
    except DataError as error:
        without = rows_left_out(data)
        if without is not None and re.search(r"\brow \d", str(error)) and without.shown not in str(error):
            said = f"{error} (rows are numbered without the {len(without):,} of {without.shown})"
            error.args = (said, *error.args[1:])
        raise


def _numbers(cells: Sequence[Any], name: str) -> tuple[list[int], list[str]]:
    """Whole numbers among cells, and what is wrong with the others."""
    found, wrong = list[int](), list[str]()
    for cell in cells:
        if isinstance(cell, float) and cell.is_integer():
            cell = int(cell)
        if isinstance(cell, str) and cell.strip().isdecimal() and len(cell) < 20:
            cell = int(cell)
        if isinstance(cell, bool) or not isinstance(cell, int) or not 0 <= cell < MOST:
            wrong.append("empty" if cell is None else repr(cell)[:40])
        else:
            found.append(cell)
    said = f"{name} holds {_some(wrong)}; allowed are whole numbers from 0 up"
    return found, [said] if wrong else []


def _some(words: Sequence[Any]) -> str:
    more = f" and {len(words) - NAMED:,} more" if len(words) > NAMED else ""
    return ", ".join(map(str, words[:NAMED])) + more
