"""What a relation between columns is, and the training rows that relations are found in."""

from __future__ import annotations

import abc
import dataclasses
import functools
from typing import TYPE_CHECKING, ClassVar, dataclass_transform

import numpy as np

from diabolo.data.dtypes import is_time, meaning
from diabolo.data.schema import Schema
from diabolo.errors import ConfigError
from diabolo.generate.grid import on_grid
from diabolo.registry import Entry, Registry

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

__all__ = ["FEWEST", "Relation", "Source", "arrangements", "relations", "told"]

#: Training rows that show a relation, at least.
FEWEST = 50
#: Evidence in nats beyond that of the number of candidates: a table of no relations shows one with P < e^-20.
SURE = 20.0
#: Different values of a rounded result, and its spread in steps, at least.
FEW, SPREAD = 20, 3.0
#: Columns among which relations are looked for; the time grows with their square.
MOST_COLUMNS = 256
#: Different values of a column whose values are listed, at most.
MOST_VALUES = 1_000


class Source:
    """Training rows as relations see them.

    Args:
        schema: of the columns.
        rows: [n, C] in the schema's order and levels.
        known: relations of kinds that were looked for before.
    """

    def __init__(self, schema: Schema, rows: np.ndarray, known: Sequence[Relation] = ()) -> None:
        self.schema, self.known = schema, list(known)
        self.rows = np.asfortranarray(rows, np.float64)  # searches go column by column
        if rows.dtype == np.float32:  # its 0.1 is not that of drawn rows
            for i, column in enumerate(schema.columns):
                self.rows[:, i] = on_grid(column, self.rows[:, i])
        grouped = {c for group in schema.groups for slot in group.slots for c in slot}
        varying = [i for i, c in enumerate(schema.columns) if c.kind != "constant" and i not in grouped]
        #: Columns that can be in a relation: not constant, in no slot, no pixels.
        self.columns = varying[:MOST_COLUMNS] if schema.shape is None else []
        #: Those of them whose cells are numbers or dates.
        self.numeric = [
            i
            for i in self.columns
            if schema.columns[i].kind not in ("categorical", "angle") and not is_time(schema.columns[i].dtype)
        ]

    @functools.cached_property
    def distinct(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """By column, its values and the position of each row's value among them; -1 where it is missing."""
        out = {}
        for i in self.columns:
            there = ~np.isnan(self.rows[:, i])
            values, at = np.unique(self.rows[there, i], return_inverse=True)
            code = np.full(len(self.rows), -1, np.int64)
            code[there] = at.reshape(-1)
            out[i] = values, code
        return out

    @functools.cached_property
    def repeated(self) -> np.ndarray:
        """Rows that lie beside their copy, [n] bool: one of some weight may have been taken twice."""
        same = (self.rows[1:] == self.rows[:-1]) | (np.isnan(self.rows[1:]) & np.isnan(self.rows[:-1]))
        return np.concatenate([np.zeros(min(1, len(self.rows)), bool), same.all(axis=1)])

    def flag(self, i: int) -> bool:
        """Whether a column is 0 or 1."""
        values = self.distinct[i][0]
        return len(values) == 2 and self.schema.columns[i].kind != "categorical" and values.tolist() == [0.0, 1.0]

    def meaning(self, i: int) -> str:
        return meaning(self.schema.columns[i].dtype)

    def grid(self, i: int, cells: np.ndarray) -> np.ndarray:
        """The nearest cells that a column can have."""
        return on_grid(self.schema.columns[i], cells)

    def sample(self, most: int) -> np.ndarray:
        """Positions of at most so many rows, evenly spaced."""
        return np.unique(np.linspace(0, len(self.rows) - 1, min(most, len(self.rows))).astype(np.int64))

    def donors(self, column: int, cells: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Training rows, by chance, that have given cells in a column, [n]; -1 where none has."""
        values, code = self.distinct[column]
        if not len(values):
            return np.full(len(cells), -1)
        order = np.argsort(code, kind="stable")
        ends = np.searchsorted(code[order], np.arange(len(values) + 1))
        at = np.clip(np.searchsorted(values, cells), 0, len(values) - 1)
        start, stop = ends[at], ends[at + 1]
        found = order[start + (rng.random(len(cells)) * (stop - start)).astype(np.int64)]
        return np.where(values[at] == cells, found, -1)


@dataclass_transform(frozen_default=True)
class Relation(Entry, abc.ABC):
    """Something that columns of all training rows fulfill, where all of its cells are there."""

    #: Different columns of it, at least.
    fewest: ClassVar[int] = 2

    @classmethod
    @abc.abstractmethod
    def find(cls, source: Source) -> list[Relation]:
        """The relations of this kind among training rows that are no chance."""

    @property
    @abc.abstractmethod
    def columns(self) -> tuple[int, ...]:
        """Positions of its columns."""

    def check(self, schema: Schema) -> None:
        """Refuse a relation that a file has and that does not fit the schema.

        Raises:
            ConfigError: a column that is not there or is a category, numbers that are none, lists of unequal lengths.
        """
        columns = self.columns
        if len(set(columns)) < self.fewest or columns.count(self.result) > 1:
            raise ConfigError(f"a relation {self.name!r} needs {self.fewest} columns or more, its result apart")
        for c in columns:
            if not 0 <= c < len(schema.columns) or schema.columns[c].kind == "constant":
                raise ConfigError(f"a relation {self.name!r} of column {c}, which is not there or is constant")
        for value in dataclasses.astuple(self):
            if isinstance(value, tuple | float) and not np.isfinite(value).all():
                raise ConfigError(f"a relation {self.name!r} has a number that is none")

    @property
    def result(self) -> int | None:
        """The column that the others determine, if there is one."""
        return None

    @abc.abstractmethod
    def describe(self, names: Sequence[str]) -> str:
        """It in words, by the names of all columns."""

    @abc.abstractmethod
    def broken(self, rows: np.ndarray, schema: Schema) -> np.ndarray:
        """Which rows [n, C] break it, [n] bool; none where a cell of it is missing."""

    @abc.abstractmethod
    def repair(self, rows: np.ndarray, free: Collection[int], source: Source, rng: np.random.Generator) -> None:
        """Change free columns of the rows, in place, so that the relation holds; as far as they can make it hold."""


relations: Registry[Relation] = Registry("relation", __package__)


def told(t: np.ndarray, wanted: np.ndarray, resolution: float, slack: np.ndarray) -> bool:
    """Whether results are told by more than their rounding: to the last digit, or they have many values.

    Half a step is all that a coarse column varies by; nearly any rule gives it within that.

    Args:
        t: results, [n].
        wanted: what a rule gives for them, unrounded.
        resolution: step that results are rounded to.
        slack: rounding of doubles, [n].
    """
    if not (np.abs(t - wanted) > slack).any():
        return True
    return len(np.unique(t)) >= FEW and float(t.std()) > SPREAD * resolution


def arrangements(cells: np.ndarray) -> float:
    """log of the number of different orders of the cells: evidence in nats that a rule which tells each is no chance.

    >>> round(float(np.exp(arrangements(np.array([0, 0, 1, 1])))))
    6
    """
    from scipy.special import gammaln

    counts = np.unique(cells, return_counts=True)[1]
    return float(gammaln(len(cells) + 1) - gammaln(counts + 1).sum())
