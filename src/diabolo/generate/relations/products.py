"""Columns that are the product or the ratio of two others."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from diabolo.data.schema import Schema
from diabolo.generate.relations.base import FEWEST, SURE, Relation, Source, arrangements, relations, told

__all__ = ["Product"]

#: Columns that are searched at most; every three of them are tried.
MOST_COLUMNS = 128
#: Rows of the first look, those of them that must have all three cells, and rows of the second look.
LOOKED, TOLD, AGAIN = 24, 8, 500
#: Values of a factor that are tried where the result is given.
TRIES = 20


@relations.register("product")
class Product(Relation):
    """t = a · b, or t = a / b, rounded as t is."""

    total: int = 0
    first: int = 0
    second: int = 0
    ratio: bool = False
    place = 6

    @property
    def columns(self) -> tuple[int, ...]:
        return self.first, self.second, self.total

    @property
    def result(self) -> int:
        return self.total

    @classmethod
    def find(cls, source: Source) -> list[Relation]:
        taken = {r.result for r in source.known if r.result is not None}
        columns = [
            c
            for c in source.numeric
            if not source.flag(c) and source.meaning(c) == "numbers" and len(source.distinct[c][0]) > 2
        ][:MOST_COLUMNS]
        if len(columns) < 3 or len(source.rows) < FEWEST:
            return []
        least = SURE + np.log(2 * len(columns) ** 3)
        some, more = source.rows[source.sample(LOOKED)][:, columns], source.rows[source.sample(AGAIN)]
        out: list[Relation] = []
        for place, t in enumerate(columns):
            if t in taken:
                continue
            for a, b, ratio in _candidates(some, place, source.schema.columns[t].resolution):
                found = cls(t, columns[a], columns[b], ratio)
                if not found.broken(more, source.schema).any() and found.holds(source, least):
                    out.append(found)
                    break
        return _once(out)

    def holds(self, source: Source, least: float) -> bool:
        """Whether all training rows keep it, with more evidence than the least, in nats."""
        rows = source.rows[~np.isnan(source.rows[:, list(self.columns)]).any(axis=1)]
        if len(rows) < FEWEST or self.broken(rows, source.schema).any():
            return False
        t, a, b = (rows[:, c] for c in (self.total, self.first, self.second))
        wanted = a / b if self.ratio else a * b
        resolution = source.schema.columns[self.total].resolution
        if not told(t, wanted, resolution, _slack(t, wanted, 0.0)):
            return False
        # A product with a factor that is nearly always 1 or 0 tells little more than a copy or a zero.
        return arrangements(rows[:, self.total]) > least and arrangements(rows[:, self.second]) > least

    def describe(self, names: Sequence[str]) -> str:
        return f"{names[self.total]} = {names[self.first]} {'/' if self.ratio else '·'} {names[self.second]}"

    def broken(self, rows: np.ndarray, schema: Schema) -> np.ndarray:
        a, b, t = rows[:, self.first], rows[:, self.second], rows[:, self.total]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            wanted = a / b if self.ratio else a * b
            off = np.abs(t - wanted) > _slack(t, wanted, schema.columns[self.total].resolution)
        return np.asarray((off | ~np.isfinite(wanted)) & ~np.isnan(a) & ~np.isnan(b) & ~np.isnan(t))

    def repair(self, rows: np.ndarray, free: Collection[int], source: Source, rng: np.random.Generator) -> None:
        if self.total in free:
            cells = self._solved(rows, self.total)
            on = np.isfinite(cells) & ~np.isnan(rows[:, self.total])
            rows[on, self.total] = source.grid(self.total, cells[on])
            return
        able = [c for c in dict.fromkeys((self.first, self.second)) if c in free]
        if not able or self.first == self.second:
            return
        able.sort(key=lambda c: source.schema.columns[c].resolution)
        for _ in range(TRIES):
            at = np.flatnonzero(self.broken(rows, source.schema))
            for moved in able:
                self._move(rows, at, moved, source)
                at = at[self.broken(rows[at], source.schema)]
            if not len(at) or len(able) < 2:
                return
            # The finer one fits another value of the coarser one, if not this one.
            known = source.rows[:, able[-1]]
            known = known[~np.isnan(known)]
            if not len(known):
                return
            rows[at, able[-1]] = rng.choice(known, len(at))
            self._move(rows, at, able[0], source)

    def _move(self, rows: np.ndarray, at: np.ndarray, moved: int, source: Source) -> None:
        """Solve some rows for a factor, where it lies in the range of training rows."""
        column, cells = source.schema.columns[moved], self._solved(rows[at], moved)
        with np.errstate(invalid="ignore"):
            on = (cells >= column.low) & (cells <= column.high)
        rows[at[on], moved] = source.grid(moved, cells[on])

    def _solved(self, rows: np.ndarray, moved: int) -> np.ndarray:
        a, b, t = rows[:, self.first], rows[:, self.second], rows[:, self.total]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            if moved == self.total:
                return np.asarray(a / b if self.ratio else a * b)
            if moved == self.first:
                return np.asarray(t * b if self.ratio else t / b)
            return np.asarray(a / t if self.ratio else t / a)


def _slack(t: np.ndarray, wanted: np.ndarray, resolution: float) -> np.ndarray:
    """How far a result may lie from what its factors give: half a step of its rounding, and the rounding of doubles."""
    return np.asarray(0.5 * resolution * (1 + 1e-9) + 1e-12 * (np.abs(t) + np.abs(wanted)))


def _candidates(some: np.ndarray, place: int, resolution: float) -> list[tuple[int, int, bool]]:
    """(first, second, ratio) of columns that give column `place` in all rows of the first look."""
    m = some.shape[1]
    product, ratio = np.triu(np.ones((m, m), bool)), ~np.eye(m, dtype=bool)
    for maybe in (product, ratio):
        maybe[place] = maybe[:, place] = False
    told = np.zeros((m, m), np.int64)
    for row in some:
        if np.isnan(row[place]):
            continue
        there = ~np.isnan(row)
        known = there[:, None] & there
        told += known
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            for maybe, cells in ((product, row[:, None] * row), (ratio, row[:, None] / row)):
                maybe &= (np.abs(cells - row[place]) <= _slack(row[place], cells, resolution)) | ~known
    enough = told >= TOLD
    return [
        (int(a), int(b), kind)
        for kind, maybe in ((False, product), (True, ratio))
        for a, b in np.argwhere(maybe & enough)
    ]


def _once(found: list[Relation]) -> list[Relation]:
    """Of relations of the same three columns the product alone: a = t / b says the same."""
    seen: dict[frozenset[int], Relation] = {}
    for r in sorted(found, key=lambda r: r.ratio):  # type: ignore[attr-defined]
        seen.setdefault(frozenset(r.columns), r)
    return list(seen.values())
