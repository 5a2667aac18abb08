"""Columns whose value another column's value determines: the country of a city, the price of an article."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from diabolo.data.schema import Schema
from diabolo.errors import ConfigError
from diabolo.generate.relations.base import FEWEST, MOST_VALUES, SURE, Relation, Source, arrangements, relations

__all__ = ["Function"]

#: Rows of the first look.
LOOKED = 1_000


@relations.register("function")
class Function(Relation):
    """y = f(x), f a list of the values that training rows have."""

    determining: int = 0
    determined: int = 0
    keys: tuple[float, ...] = ()  #: rising
    values: tuple[float, ...] = ()
    place = 4

    @property
    def columns(self) -> tuple[int, ...]:
        return self.determining, self.determined

    @property
    def result(self) -> int:
        return self.determined

    @classmethod
    def find(cls, source: Source) -> list[Relation]:
        # Of a sum or a copy the rule is shorter; in a group of flags each one determines nothing but itself.
        pairs = [r.columns for r in source.known if r.result is not None and len(r.columns) == 2]
        known = {(a, b) for a, b in pairs} | {(b, a) for a, b in pairs}
        known |= {(a, b) for r in source.known if r.name == "one_hot" for a in r.columns for b in r.columns}
        determined = _determined(source, known)
        keep = []
        for a, b in determined:
            twin = (b, a) in determined
            # x → y → z tells x → z; of columns that determine each other the first one stands for all.
            through = [
                m
                for m in source.columns
                if (a, m) in determined and (m, b) in determined and (m, a) not in determined
                if (b, m) not in determined
            ]
            first = min([b, *(m for m in source.columns if (b, m) in determined and (m, b) in determined)])
            mine = min([a, *(m for m in source.columns if (a, m) in determined and (m, a) in determined)])
            if through or a != mine or (not twin and b != first):
                continue
            keep.append(cls._of(source, a, b))
        return list(keep)

    @classmethod
    def _of(cls, source: Source, a: int, b: int) -> Function:
        rows = source.rows[~np.isnan(source.rows[:, [a, b]]).any(axis=1)]
        x, first = np.unique(rows[:, a], return_index=True)
        return cls(a, b, tuple(x.tolist()), tuple(rows[first, b].tolist()))

    def check(self, schema: Schema) -> None:
        super().check(schema)
        if len(self.keys) != len(self.values) or len(self.keys) < 2 or list(self.keys) != sorted(self.keys):
            raise ConfigError("a relation 'function' needs a value for each of its keys, which rise")

    def describe(self, names: Sequence[str]) -> str:
        return f"{names[self.determining]} determines {names[self.determined]}"

    def broken(self, rows: np.ndarray, schema: Schema) -> np.ndarray:
        wanted = self._at(rows[:, self.determining])
        y = rows[:, self.determined]
        return np.asarray(~np.isnan(wanted) & ~np.isnan(y) & (y != wanted))

    def repair(self, rows: np.ndarray, free: Collection[int], source: Source, rng: np.random.Generator) -> None:
        x, y = rows[:, self.determining], rows[:, self.determined]
        if self.determined in free:
            if self.determining in free:
                known = np.array(self.keys)
                after = np.clip(np.searchsorted(known, x), 1, len(known) - 1)
                nearest = np.where(x - known[after - 1] < known[after] - x, known[after - 1], known[after])
                rows[:, self.determining] = x = np.where(np.isnan(x), np.nan, nearest)
            wanted = self._at(x)
            rows[:, self.determined] = np.where(np.isnan(wanted) | np.isnan(y), y, wanted)
        elif self.determining in free:
            wrong = np.flatnonzero(self.broken(rows, source.schema))
            from_ = source.donors(self.determined, y[wrong], rng)
            wrong, from_ = wrong[from_ >= 0], from_[from_ >= 0]
            there = ~np.isnan(source.rows[from_, self.determining])
            rows[wrong[there], self.determining] = source.rows[from_[there], self.determining]

    def _at(self, x: np.ndarray) -> np.ndarray:
        """f(x); NaN where training rows have no such x."""
        known, values = np.array(self.keys), np.array(self.values)
        at = np.clip(np.searchsorted(known, x), 0, len(known) - 1)
        return np.where(known[at] == x, values[at], np.nan)


def _determined(source: Source, known: set[tuple[int, int]]) -> set[tuple[int, int]]:
    """Pairs (x, y) of columns of which each value of x has one value of y, and not by chance."""
    out, some = set(), source.sample(LOOKED)
    least = SURE + 2 * np.log(max(len(source.columns), 1))
    # What a copy determines, or is determined by, its original does too.
    copies = {r.result for r in source.known if r.name == "sum" and len(r.columns) == 2}
    columns = [c for c in source.columns if c not in copies]
    able = [c for c in columns if 2 <= len(source.distinct[c][0]) <= min(MOST_VALUES, len(source.rows) // 2)]
    surprise = {c: arrangements(source.distinct[c][1][source.distinct[c][1] >= 0]) for c in able}
    for a in able:
        x, size = source.distinct[a][1], len(source.distinct[a][0])
        for b in able:
            y, width = source.distinct[b][1], len(source.distinct[b][0])
            # Values of y that come by chance: each of x's has a free choice.
            if a == b or width > size or (a, b) in known or surprise[b] - size * np.log(width) <= least:
                continue
            if _single(x[some], y[some], size, width) and _single(x, y, size, width):
                there = (x >= 0) & (y >= 0)
                evidence = arrangements(y[there]) - len(np.unique(x[there])) * np.log(width)
                if there.sum() >= FEWEST and evidence > least and len(np.unique(y[there])) > 1:
                    out.add((a, b))
    return out


def _single(x: np.ndarray, y: np.ndarray, size: int, width: int) -> bool:
    """Whether each x has one y, of codes from 0 up; −1 is missing."""
    there = (x >= 0) & (y >= 0)
    x, y = x[there], y[there]
    value = np.full(size, -1)
    value[x] = y
    return bool((value[x] == y).all())
