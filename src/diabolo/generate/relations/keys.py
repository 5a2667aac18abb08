"""Whole numbers that only tell rows apart: drawn rows get fresh ones."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import numpy as np

from diabolo.data.dtypes import meaning
from diabolo.data.schema import Column, Schema
from diabolo.errors import ConfigError
from diabolo.generate.relations.base import Relation, Source, relations

__all__ = ["Key"]

#: Rows without which nothing is said.
FEWEST = 200
#: −log P that numbers of chance in the same range are all different.
SURE = 20.0
#: Rank correlation with any other column from which on the number says something of a row.
TELLS = 0.3
#: Rows that it is taken from.
LOOKED = 2_000
#: Share of the numbers of its range that a count of rows has, at least, among rows that are kept.
DENSE = 0.3
NAMED = re.compile(r"(^|[_\W])(id|ids|key|uid|uuid|pk|index|idx|row|row_?number|row_?nr|serial|record)$|[a-z]Id$|ID$")
#: Whole numbers that a double tells apart.
LARGEST = 2.0**53


@relations.register("key")
class Key(Relation):
    """A whole number that is another one in every row, and says nothing of it."""

    column: int = 0
    low: float = 0.0
    high: float = 0.0
    place = 7
    fewest = 1

    @property
    def columns(self) -> tuple[int, ...]:
        return (self.column,)

    @classmethod
    def find(cls, source: Source) -> list[Relation]:
        return [cls(c, *_ends(source.rows[:, c])) for c in source.numeric if _names_rows(source, c)]

    def check(self, schema: Schema) -> None:
        super().check(schema)
        if not _is_whole(schema.columns[self.column].dtype):
            raise ConfigError(f"a relation 'key' of column {self.column}, which holds no whole numbers")

    def describe(self, names: Sequence[str]) -> str:
        return f"{names[self.column]} is another whole number in every row: drawn rows get new ones"

    def broken(self, rows: np.ndarray, schema: Schema) -> np.ndarray:
        return np.zeros(len(rows), bool)

    def repair(self, rows: np.ndarray, free: Collection[int], source: Source, rng: np.random.Generator) -> None:
        """Nothing: a row alone has no wrong key."""

    def fresh(self, cells: np.ndarray, column: Column, start: int) -> np.ndarray:
        """Keys that no training row has, in the order of the cells drawn; those of the rows before them come first.

        They begin at a round number above the largest key, or where the type has no room there, below the smallest.
        Other rows of the table may have keys a little beyond those of the training rows.

        Args:
            cells: drawn, [n].
            column: of the schema.
            start: rows drawn before.
        """
        info, n = np.iinfo(column.dtype), len(cells)
        low, high = min(self.low, column.low), max(self.high, column.high)
        order = np.argsort(np.argsort(cells, kind="stable"), kind="stable")
        step = 10.0 ** max(0, len(str(int(high - low + 1))) - 2)
        above, below = np.ceil((high + 1) / step) * step, np.floor(low / step) * step
        if above + start + n <= min(float(info.max), LARGEST):
            return np.asarray(above + start + order)
        if below - start - n >= max(float(info.min), -LARGEST):
            return np.asarray(below - start - n + order)
        return cells


def _is_whole(dtype: str) -> bool:
    return meaning(dtype) == "numbers" and np.dtype(dtype).kind in "iu"


def _ends(cells: np.ndarray) -> tuple[float, float]:
    return float(cells.min()), float(cells.max())


def _names_rows(source: Source, c: int) -> bool:
    """Whether a column's numbers are keys: all different, which is no chance or what its name says, and of no use."""
    column = source.schema.columns[c]
    cells = source.rows[:, c]
    if not _is_whole(column.dtype):
        return False
    if np.isnan(cells).any() or len(source.distinct[c][0]) < FEWEST:
        return False
    cells = cells[~source.repeated]
    n = len(cells)
    if n < FEWEST or len(source.distinct[c][0]) < n or np.abs(cells).max() >= LARGEST:
        return False
    width = float(cells.max() - cells.min() + 1)
    step = np.diff(cells)
    if ((step > 0).all() or (step < 0).all()) and _even(cells):
        return True
    # Measured numbers of chance repeat: of n in a range of w, P(all differ) ≤ exp(−n (n − 1) / 2w).
    sure = n * (n - 1) / (2 * width) > SURE
    return (sure or bool(NAMED.search(column.name))) and not _tells(source, c, ~source.repeated)


def _even(cells: np.ndarray) -> bool:
    """Whether numbers that rise with the rows do so evenly and without leaving out many: they count rows."""
    n, width = len(cells), float(np.abs(cells[-1] - cells[0]) + 1)
    line = np.linspace(cells[0], cells[-1], n)
    return n / width >= DENSE and float(np.abs(cells - line).max()) <= 0.1 * width


def _ranks(cells: np.ndarray) -> np.ndarray:
    """Ranks [n], equal cells at the middle of theirs."""
    _, at, counts = np.unique(cells, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[at.reshape(-1)])


def _tells(source: Source, c: int, rows: np.ndarray) -> bool:
    """Whether the number goes with another column."""
    at = np.flatnonzero(rows)
    at = at[np.unique(np.linspace(0, len(at) - 1, min(LOOKED, len(at))).astype(int))]
    own = _ranks(source.rows[at, c])
    own = (own - own.mean()) / own.std()
    for other in (b for b in source.columns if b != c):
        cells = source.rows[at, other]
        there = ~np.isnan(cells)
        if there.sum() < FEWEST // 2:
            continue
        r = _ranks(cells[there])
        spread = r.std()
        if spread and abs(float(((r - r.mean()) / spread * own[there]).mean())) > TELLS:
            return True
    return False
