"""Columns of which one is never above another: a start and an end, a part and a whole."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from diabolo.data.schema import Schema
from diabolo.generate.relations.base import FEWEST, SURE, Relation, Source, relations

__all__ = ["Order"]

#: Training rows near a cell from which its distance to the other is taken.
NEAR = 20
#: Rows of the first look.
LOOKED = 400
#: Rows that the evidence is taken from; more only add to it.
ENOUGH = 2_000


@relations.register("order")
class Order(Relation):
    """a < b, or a ≤ b."""

    lower: int = 0
    upper: int = 0
    strict: bool = False
    place = 1

    @property
    def columns(self) -> tuple[int, ...]:
        return self.lower, self.upper

    @classmethod
    def find(cls, source: Source) -> list[Relation]:
        some = source.rows[source.sample(LOOKED)]
        found: dict[tuple[int, int], Order] = {}
        least = SURE + 2 * np.log(max(len(source.numeric), 1))
        kinds: dict[str, list[int]] = {}
        for c in source.numeric:
            kinds.setdefault(source.meaning(c), []).append(c)
        for columns in kinds.values():
            for a in columns:
                with np.errstate(invalid="ignore"):
                    maybe = ~(some[:, [a]] > some[:, columns]).any(axis=0)
                top = source.distinct[a][0][-1]
                for b in (c for c, m in zip(columns, maybe, strict=True) if m and c != a):
                    if top < source.distinct[b][0][0]:  # whatever the rows are
                        continue
                    low, high = source.rows[:, a], source.rows[:, b]
                    with np.errstate(invalid="ignore"):
                        if (low > high).any():
                            continue
                    there = ~np.isnan(low) & ~np.isnan(high)
                    low, high = low[there], high[there]
                    if len(low) < FEWEST or (low == high).all():
                        continue
                    strict = not (low == high).any()
                    step = max(1, len(low) // ENOUGH)
                    if _evidence(low[::step], high[::step], strict) > least:
                        found[a, b] = cls(a, b, strict)
        return [
            r for (a, b), r in found.items() if not any((a, m) in found and (m, b) in found for m in source.numeric)
        ]

    def describe(self, names: Sequence[str]) -> str:
        return f"{names[self.lower]} {'<' if self.strict else '≤'} {names[self.upper]}"

    def broken(self, rows: np.ndarray, schema: Schema) -> np.ndarray:
        low, high = rows[:, self.lower], rows[:, self.upper]
        with np.errstate(invalid="ignore"):
            return np.asarray(low >= high if self.strict else low > high)

    def repair(self, rows: np.ndarray, free: Collection[int], source: Source, rng: np.random.Generator) -> None:
        wrong = np.flatnonzero(self.broken(rows, source.schema))
        if not len(wrong):
            return
        low, high = source.rows[:, self.lower], source.rows[:, self.upper]
        there = ~np.isnan(low) & ~np.isnan(high)
        low, high = low[there], high[there]
        moved, other, sign = (self.upper, self.lower, 1) if self.upper in free else (self.lower, self.upper, -1)
        if moved not in free or not len(low):
            # Without training rows there is no law of distances: such rows are drawn anew.
            return
        # The distance is that of a training row whose other cell is near: the law of distances stays.
        beside = low if sign > 0 else high
        order = np.argsort(beside, kind="stable")
        at = np.searchsorted(beside[order], rows[wrong, other]) + rng.integers(-NEAR, NEAR, len(wrong))
        gap = (high - low)[order[np.clip(at, 0, len(order) - 1)]]
        column = source.schema.columns[moved]
        cells = rows[wrong, other] + sign * gap
        rows[wrong, moved] = source.grid(moved, np.clip(cells, column.low, column.high))


def _evidence(low: np.ndarray, high: np.ndarray, strict: bool) -> float:
    """−log P that no row has low above high, if the cells of one column are put in a random order.

    From the largest low cell down, each has as many partners as high cells lie above it and are not taken yet.
    """
    low = np.sort(low)[::-1]
    above = len(high) - np.searchsorted(np.sort(high), low, "right" if strict else "left")
    taken = np.arange(len(low))
    if (above <= taken).any():
        return np.inf
    return float(-np.log((above - taken) / (len(low) - taken)).sum())
