"""Columns of 0 and 1 of which every row has exactly one 1."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from diabolo.data.schema import Schema
from diabolo.generate.relations.base import FEWEST, Relation, Source, relations

__all__ = ["OneHot"]

#: Steps of the search for a group.
STEPS = 2_000


@relations.register("one_hot")
class OneHot(Relation):
    """Σ x_c = 1 of columns of 0 and 1."""

    members: tuple[int, ...] = ()
    place = 0

    @property
    def columns(self) -> tuple[int, ...]:
        return self.members

    @classmethod
    def find(cls, source: Source) -> list[Relation]:
        flags = [i for i in source.columns if source.flag(i) and not np.isnan(source.rows[:, i]).any()]
        if len(flags) < 2 or len(source.rows) < FEWEST:
            return []
        on = source.rows[:, flags] == 1
        apart = (on.T.astype(np.float32) @ on.astype(np.float32)) == 0
        counts, out, used = on.sum(axis=0), [], np.zeros(len(flags), bool)
        for first in range(len(flags)):
            if used[first]:
                continue
            open_ = [k for k in np.flatnonzero(apart[first] & ~used).tolist() if k > first]
            budget = iter(range(STEPS))
            group = next(_groups([first], open_, len(on) - int(counts[first]), counts, apart, budget), None)
            if group is not None:
                used[group] = True
                out.append(cls(tuple(flags[k] for k in group)))
        return list(out)

    def describe(self, names: Sequence[str]) -> str:
        return f"one of {', '.join(names[c] for c in self.members)} is 1, the others are 0"

    def broken(self, rows: np.ndarray, schema: Schema) -> np.ndarray:
        cells = rows[:, list(self.members)]
        off = (cells.sum(axis=1) != 1) | ((cells != 0) & (cells != 1)).any(axis=1)
        return np.asarray(off & ~np.isnan(cells).any(axis=1))

    def repair(self, rows: np.ndarray, free: Collection[int], source: Source, rng: np.random.Generator) -> None:
        wrong = np.flatnonzero(self.broken(rows, source.schema))
        members = list(self.members)
        share = source.rows[:, members].mean(axis=0) if len(source.rows) else np.ones(len(members))
        cells = rows[wrong][:, members]
        # Among those that are on, or among all if none is, as often as in training rows; given ones stay.
        weight = np.where(cells.any(axis=1, keepdims=True), cells, 1.0) * share
        fixed = np.array([c not in free for c in members])
        weight[:, fixed] = np.where(cells[:, fixed] == 1, 1e9, 0.0)
        # Where the only ones that are on were given as off, any free one may be.
        weight = np.where(weight.any(axis=1, keepdims=True), weight, np.where(fixed, 0.0, share))
        race = np.log(np.maximum(weight, 1e-300)) + rng.gumbel(size=weight.shape)
        chosen = np.eye(len(members))[race.argmax(axis=1)]
        rows[wrong[:, None], members] = np.where(fixed, cells, chosen)


def _groups(
    group: list[int], open_: list[int], left: int, counts: np.ndarray, apart: np.ndarray, budget: Iterator[int]
) -> Iterator[list[int]]:
    """Columns of which no two are 1 in a row, and whose ones add up to all rows."""
    if left == 0:
        yield group
        return
    if next(budget, None) is None or left > int(counts[open_].sum()):
        return
    for i, k in enumerate(open_):
        if counts[k] <= left:
            rest = [m for m in open_[i + 1 :] if apart[k, m]]
            yield from _groups([*group, k], rest, left - int(counts[k]), counts, apart, budget)
