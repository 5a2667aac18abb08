"""Rows of a table by number: those that are left out where it is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from diabolo.errors import DataError

__all__ = ["RowList"]


@dataclasses.dataclass(frozen=True, eq=False)
class RowList:
    """Numbers of rows of a table.

    Attributes:
        shown: where they were listed.
        rows: rising, each once.
        of: number of rows of the table that they were listed for; None where the list does not say.

    >>> listed = RowList("rows.csv", np.array([1, 4]))
    >>> [listed.number(i) for i in range(4)]
    [0, 2, 3, 5]
    """

    shown: str
    rows: np.ndarray
    of: int | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def check(self, count: int, table: str) -> None:
        """Refuse a list of another table.

        Args:
            count: rows of the table.
            table: its name.

        Raises:
            DataError: it has another number of rows, or none of such a number.
        """
        if self.of is not None and self.of != count:
            raise DataError(
                f"{self.shown}: lists rows of a table of {self.of:,} rows, and {table} has {count:,}; list them anew"
            )
        beyond = self.rows[self.rows >= count]
        if len(beyond):
            more = f" and {len(beyond) - 1:,} more" if len(beyond) > 1 else ""
            raise DataError(f"{self.shown}: row {beyond[0]:,}{more}: {table} has rows from 0 to {count - 1:,}")

    def left(self, count: int, table: str) -> int:
        """Rows of a table of `count` rows that are left.

        Raises:
            DataError: as `check`; none is left.
        """
        self.check(count, table)
        if count and len(self) == count:
            raise DataError(f"{self.shown}: lists all {count:,} rows of {table}; none is left")
        return count - len(self)

    def without(self, batches: Iterator[Any], table: str) -> Iterator[Any]:
        """A table's batches without these rows; the list is checked once the last one has come.

        Raises:
            DataError: as `left`.
        """
        import pyarrow as pa

        at = 0
        for batch in batches:
            low, high = np.searchsorted(self.rows, [at, at + batch.num_rows])
            here = self.rows[low:high] - at
            at += batch.num_rows
            if len(here):
                keep = np.ones(batch.num_rows, bool)
                keep[here] = False
                batch = batch.filter(pa.array(keep))
            yield batch
        self.left(at, table)

    def number(self, place: int) -> int:
        """The number in the table of the row at a place among those that are left."""
        before = self.rows - np.arange(len(self.rows))
        return place + int(np.searchsorted(before, place, side="right"))
