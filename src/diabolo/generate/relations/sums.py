"""Columns that are a sum of others, with factors: a total, a balance, a copy in another unit."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from fractions import Fraction

import numpy as np

from diabolo.data.schema import Schema
from diabolo.errors import ConfigError
from diabolo.generate.relations.base import FEWEST, SURE, Relation, Source, arrangements, relations, told

__all__ = ["Sum"]

#: Addends at most; rows of the first look, at least, and for each column.
MOST, LOOKED, LOOKED_EACH = 4, 1_000, 4
#: Training rows to each side whose addends may come with a given total.
NEAR = 10
#: Spread that the other columns leave of a sum, in units of its own: that of doubles, and of single precision.
LEFT = {"float32": 1e-5, "float16": 3e-2}
#: Denominator of a factor at most, so that it is written as a fraction.
DENOMINATOR = 100


@relations.register("sum")
class Sum(Relation):
    """t = Σ f_i x_i + s, rounded as t is."""

    total: int = 0
    addends: tuple[int, ...] = ()
    factors: tuple[float, ...] = ()
    shift: float = 0.0
    place = 3

    @property
    def columns(self) -> tuple[int, ...]:
        return *self.addends, self.total

    @property
    def result(self) -> int:
        return self.total

    @classmethod
    def find(cls, source: Source) -> list[Relation]:
        if len(source.rows) < FEWEST:
            return []
        spread = {c: float(np.nanstd(source.rows[:, c])) for c in source.numeric}
        # A whole varies more than its parts.
        columns = sorted((c for c in source.numeric if spread[c] > 0), key=lambda c: spread[c])
        full, rows = _complete(source, columns)
        out: list[Sum] = []
        basis = _Basis(rows)
        for c in full:
            found = cls._of(source, c, basis, out) if basis.within(c, source.schema) else None
            if found is None:
                basis.add(c)
            else:
                out.append(found)
        out += cls._shares(source, basis)
        for c in (c for c in columns if c not in full):
            there = np.flatnonzero(~np.isnan(source.rows[:, [*basis.columns, c]]).any(axis=1))
            if len(there) < max(FEWEST, LOOKED_EACH * len(basis.columns)):
                continue
            own = _Basis(source.rows[there[np.linspace(0, len(there) - 1, min(LOOKED, len(there))).astype(int)]])
            for b in basis.columns:
                own.add(b)
            found = cls._of(source, c, own, out) if own.within(c, source.schema) else None
            if found is not None:
                out.append(found)
        return [r for r in out if not all(source.flag(c) for c in r.columns) or len(r.addends) == 1]

    @classmethod
    def _of(cls, source: Source, total: int, basis: _Basis, known: Sequence[Sum]) -> Sum | None:
        """The sum that a column is of those of a basis, and of sums of them.

        One that holds without the column's rounding comes before one that needs it: a total of a net price and a tax
        rounded to cents is their sum, and 1.19 times the price only nearly.
        """
        rounded: Sum | None = None
        for addends in _supports(basis, total, known):
            for factors, shift in _roundings(basis.rows, total, addends, source.schema.columns[total].resolution):
                order = np.argsort(addends)
                found = cls(
                    total, tuple(addends[i] for i in order), tuple(float(factors[i]) for i in order), float(shift)
                )
                if not found.broken(basis.rows, source.schema).any() and found.holds(source):
                    if found.exact(basis.rows, source.schema):
                        return found
                    rounded = rounded or found
                    break
        return rounded

    @classmethod
    def _shares(cls, source: Source, basis: _Basis) -> list[Sum]:
        """Columns of the basis that are a larger one of it times a factor, rounded, as a tax is of a price."""
        out: list[Sum] = []
        for at, c in enumerate(basis.columns):
            resolution = source.schema.columns[c].resolution
            for d in basis.columns[at + 1 :] if resolution else ():
                pair = _Basis(basis.rows)
                pair.add(d)
                found = cls._of(source, c, pair, ()) if pair.within(c, source.schema) else None
                if found is not None:
                    out.append(found)
                    break
        return out

    def exact(self, rows: np.ndarray, schema: Schema) -> bool:
        """Whether rows keep it without the rounding of the total."""
        wanted, slack = self._wanted(rows, schema)
        least = 1e-6 * schema.columns[self.total].resolution
        return bool((np.abs(rows[:, self.total] - wanted) <= slack + least).all())

    def holds(self, source: Source) -> bool:
        """Whether all training rows keep it, and not by chance."""
        rows = source.rows[~np.isnan(source.rows[:, list(self.columns)]).any(axis=1)]
        if len(rows) < FEWEST or self.broken(rows, source.schema).any():
            return False
        cells = rows[:, self.total]
        wanted, slack = self._wanted(rows, source.schema)
        if not told(cells, wanted, source.schema.columns[self.total].resolution, slack):
            return False
        least = SURE + 2 * float(np.log(len(source.numeric))) * (1 + len(self.addends))
        return arrangements(cells) > least

    def check(self, schema: Schema) -> None:
        super().check(schema)
        if len(self.addends) != len(self.factors) or not self.addends or not all(self.factors):
            raise ConfigError("a relation 'sum' needs a factor for each addend")

    def describe(self, names: Sequence[str]) -> str:
        parts: list[str] = []
        for c, f in sorted(zip(self.addends, self.factors, strict=True), key=lambda part: part[1] < 0):
            sign = "-" if f < 0 else "+" if parts else ""
            size = "" if abs(f) == 1 else f"{_written(abs(f))} · "
            parts.append(f"{sign}{' ' if parts else ''}{size}{names[c]}")
        if self.shift:
            parts.append(f"{'-' if self.shift < 0 else '+'} {abs(self.shift):.10g}")
        return f"{names[self.total]} = {' '.join(parts)}"

    def broken(self, rows: np.ndarray, schema: Schema) -> np.ndarray:
        wanted, slack = self._wanted(rows, schema)
        half = 0.5 * schema.columns[self.total].resolution * (1 + 1e-9)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.abs(rows[:, self.total] - wanted) > half + slack)

    def _wanted(self, rows: np.ndarray, schema: Schema) -> tuple[np.ndarray, np.ndarray]:
        """The sums, unrounded, and how far the rounding of numbers moves them."""
        terms = rows[:, list(self.addends)] * np.array(self.factors)
        size = np.abs(terms).sum(axis=1) + np.abs(rows[:, self.total]) + abs(self.shift)
        single = any(schema.columns[c].dtype in LEFT for c in self.columns)
        return terms.sum(axis=1) + self.shift, (1e-6 if single else 1e-12) * size

    def repair(self, rows: np.ndarray, free: Collection[int], source: Source, rng: np.random.Generator) -> None:
        terms = rows[:, list(self.addends)] * np.array(self.factors)
        rest = terms.sum(axis=1) + self.shift
        if self.total in free:
            on = ~np.isnan(rest) & ~np.isnan(rows[:, self.total])
            rows[on, self.total] = source.grid(self.total, rest[on])
            return
        able = [i for i, c in enumerate(self.addends) if c in free]
        # The addend that varies most takes the difference with the least harm.
        able.sort(key=lambda i: -abs(self.factors[i]) * _spread(source, self.addends[i]))
        at = self._moved(rows, np.flatnonzero(self.broken(rows, source.schema)), able, source)
        some = source.rows[~np.isnan(source.rows[:, list(self.columns)]).any(axis=1)]
        if len(at) and able and len(some):
            # Addends together are those of a training row whose total is near.
            order = np.argsort(some[:, self.total], kind="stable")
            near = np.searchsorted(some[order, self.total], rows[at, self.total]) + rng.integers(-NEAR, NEAR, len(at))
            columns = [self.addends[i] for i in able]
            rows[at[:, None], columns] = some[order[np.clip(near, 0, len(order) - 1)]][:, columns]
            self._moved(rows, at, able, source)

    def _moved(self, rows: np.ndarray, at: np.ndarray, able: list[int], source: Source) -> np.ndarray:
        """Let one addend of some rows take the difference, where it stays in its range; the rows that are left."""
        at = at[self.broken(rows[at], source.schema)]
        for i in able:
            c, column = self.addends[i], source.schema.columns[self.addends[i]]
            rest = rows[at][:, list(self.addends)] @ np.array(self.factors) + self.shift
            cells = source.grid(c, rows[at, c] + (rows[at, self.total] - rest) / self.factors[i])
            on = (cells >= column.low) & (cells <= column.high)
            rows[at[on], c] = cells[on]
            at = at[self.broken(rows[at], source.schema)]
        return at


class _Basis:
    """Columns of some rows, made orthogonal one after another (Gram-Schmidt)."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows, self.columns = rows, []  # type: np.ndarray, list[int]
        self._q = np.empty((len(rows), 0))

    def _unit(self, c: int) -> np.ndarray:
        cells = self.rows[:, c] - self.rows[:, c].mean()
        return np.asarray(cells / (np.sqrt((cells**2).mean()) or 1.0))

    def _left(self, c: int) -> np.ndarray:
        x = self._unit(c)
        for _ in range(2):  # once more for what rounding has left
            x = x - self._q @ (self._q.T @ x) / len(x)
        return np.asarray(x)

    def within(self, c: int, schema: Schema) -> bool:
        """Whether the columns of the basis leave no more of a column than its rounding."""
        if not self.columns:
            return False
        column, spread = schema.columns[c], self.rows[:, c].std()
        rounding = max(0.6 * column.resolution / spread if spread else np.inf, LEFT.get(column.dtype, 1e-9))
        return float(np.sqrt((self._left(c) ** 2).mean())) <= rounding

    def add(self, c: int) -> None:
        x = self._left(c)
        size = np.sqrt((x**2).mean())
        if size > 1e-8 and 3 * len(self.columns) < len(self.rows):
            self.columns.append(c)
            self._q = np.concatenate([self._q, (x / size)[:, None]], axis=1)

    def factors(self, c: int) -> np.ndarray:
        """Of the columns of the basis, in units of spread; the sum of squares decides."""
        units = np.stack([self._unit(b) for b in self.columns], axis=1)
        return np.asarray(np.linalg.lstsq(units, self._unit(c), rcond=None)[0])


def _complete(source: Source, columns: list[int]) -> tuple[list[int], np.ndarray]:
    """Columns with enough rows that have all of them, and those rows, at most so many."""
    gone = {c: int(np.isnan(source.rows[:, c]).sum()) for c in columns}
    kept = list(columns)
    while kept:
        there = np.flatnonzero(~np.isnan(source.rows[:, kept]).any(axis=1))
        most = max(gone[c] for c in kept)
        if len(there) >= max(FEWEST, LOOKED_EACH * len(kept)) or not most:
            break
        kept = [c for c in kept if gone[c] < most]
    if not kept:
        return [], source.rows[:0]
    most = max(LOOKED, LOOKED_EACH * len(kept))
    at = there[np.unique(np.linspace(0, len(there) - 1, min(most, len(there))).astype(int))] if len(there) else there
    return kept, source.rows[at]


def _supports(basis: _Basis, total: int, known: Sequence[Sum]) -> Iterator[list[int]]:
    """Columns that a sum may be of: those that tell most of it, first few, then more."""
    spread = {c: float(basis.rows[:, c].std()) for c in [*basis.columns, *(r.total for r in known)]}
    share = dict(zip(basis.columns, basis.factors(total), strict=True))
    factor = {c: f / spread[c] for c, f in share.items() if spread[c]}
    for k in range(1, MOST + 1):
        largest = sorted(factor, key=lambda c: -abs(factor[c] * spread[c]))[:k]
        if len(largest) == k:
            yield largest
    # Where all parts of a known sum come with their own factors, the sum stands for them.
    for r in sorted(known, key=lambda r: -len(r.addends)):
        if len(r.addends) > 1 and all(abs(factor.get(c, 0.0)) * spread[c] > 1e-3 for c in r.addends):
            size = factor[r.addends[0]] / r.factors[0]
            if all(np.isclose(factor[c], size * f, rtol=1e-3) for c, f in zip(r.addends, r.factors, strict=True)):
                factor = {**{c: f for c, f in factor.items() if c not in r.addends}, r.total: size}
                for k in range(1, MOST + 1):
                    yield sorted(factor, key=lambda c: -abs(factor[c] * spread[c]))[:k]


def _roundings(
    rows: np.ndarray, total: int, addends: list[int], resolution: float
) -> Iterator[tuple[tuple[float, ...], float]]:
    """Factors and shift by least squares: as whole numbers, as fractions, as they are."""
    x, t = rows[:, addends], rows[:, total]
    middle, spread = x.mean(axis=0), x.std(axis=0)
    spread[spread == 0] = 1.0
    raw = np.linalg.lstsq((x - middle) / spread, t - t.mean(), rcond=None)[0] / spread
    plain = np.array([_plain(f) for f in raw])
    for factors in dict.fromkeys([tuple(plain.tolist()), tuple(raw.tolist())]):
        if not all(factors):
            continue
        shift = float((t - x @ np.array(factors)).mean())
        size = max(float(np.abs(t).max()), float(np.abs(x * np.array(factors)).max()))
        if abs(shift) <= 1e-9 * size + 0.5 * resolution:
            yield factors, 0.0
        if resolution:
            yield factors, float(f"{round(shift / resolution) * resolution:.12g}")
        yield factors, float(f"{shift:.6g}")
        yield factors, shift


def _plain(factor: float) -> float:
    """A factor as a whole number, the inverse of one, or a fraction of small numbers, if it is nearly one."""
    near = [float(round(factor))]
    if factor:
        near += [1 / round(1 / factor)] if round(1 / factor) else []
        near.append(float(Fraction(factor).limit_denominator(DENOMINATOR)))
    return min(near, key=lambda v: (abs(v - factor) > 0.02 * abs(factor), near.index(v)))


def _written(factor: float) -> str:
    return f"{factor:.10g}"


def _spread(source: Source, c: int) -> float:
    column = source.schema.columns[c]
    return float(np.nanstd(source.rows[:, c])) if len(source.rows) else column.high - column.low
