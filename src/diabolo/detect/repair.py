"""Which columns of a row have to change for it to be normal: a search for the smallest repair.

    s*(S) = min over c of s(x with x_S ← c),      repair = the smallest S found with s*(S) ≤ level

A repaired row is barely normal, and further faults may hide in it. So the search goes on until the row is ordinary, and
contributions are judged there.

For one column, s(x) − s*({j}) is the reconstruction-based contribution (Alcala, Qin 2009, "Reconstruction-based
contribution for process monitoring", Automatica 45). If one column of a Gaussian with a known covariance was moved far
enough, it names that column. A residual per column does not: it spreads over correlated columns. For several columns
the repaired row is a counterfactual (Wachter, Mittelstadt, Russell 2017, arXiv:1711.00399) that changes as few columns
as it can.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Sequence

import numpy as np

from diabolo.data.encoding import Encoding
from diabolo.data.slots import filled
from diabolo.data.tiles import TILE
from diabolo.progress import tick

__all__ = ["Neighborhood", "Repair", "repairs"]

ScoreRows = Callable[[np.ndarray], np.ndarray]
#: Rows searched side by side at most, so that their candidates fill a tile (`diabolo.data.tiles.TILE`).
ABREAST = 16
#: Stored rows that give values, nearest in the columns that stay.
DONORS = 4
#: Quantiles of a column that are tried as values.
QUANTILES = np.array([0.01, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 0.99])
#: Columns searched at most: those whose value is farthest from the expected one.
MOST_COLUMNS = 64
#: Columns changed at most.
MOST_CHANGED = 6
#: Stored rows that are searched for donors.
MOST_SEARCHED = 4_000
#: A squared difference in one column counts up to this: eight standard deviations.
FAR = 64.0
#: Squared distance of two levels of a category, or of a cell that is there to one that is not (one-hot).
OTHER = 2.0


class Neighborhood:
    """Stored rows, how far a row is from each of them column by column, and the values that columns take."""

    def __init__(self, encoding: Encoding, values: np.ndarray) -> None:
        """Rows [R, C] in the schema's order."""
        self.encoding, self.values = encoding, np.asarray(values, np.float64)
        kinds = [c.kind for c in encoding.schema.columns]
        self._angle = np.array([k == "angle" for k in kinds])
        self._level = np.array([k in ("categorical", "boolean") for k in kinds])
        self._constant = np.array([k == "constant" for k in kinds])
        self._there = filled(self.values, encoding.schema.groups)
        seen = np.where(self._there, self.values, np.nan)
        seen[:, ~self._there.any(axis=0)] = 0.0
        self.quantiles = np.nanquantile(seen, QUANTILES, axis=0, method="nearest")

    def __len__(self) -> int:
        return len(self.values)

    def squared(self, row: np.ndarray, most: int | None = None) -> np.ndarray:
        """[R, C] squared standardised distances of a row to the stored rows, column by column."""
        values, there = self.values[:most], self._there[:most]
        here = filled(row[None], self.encoding.schema.groups)[0]
        with np.errstate(invalid="ignore", over="ignore"):
            gap = values - row
            gap[:, self._angle] = 2 * np.sin(gap[:, self._angle] / 2)
            out = np.minimum(np.square(gap / self.encoding.scale), FAR)
        out[:, self._level] = np.where(values[:, self._level] != row[self._level], OTHER, 0.0)
        out = np.where(there & here, out, np.where(there == here, 0.0, OTHER))
        out[:, self._constant] = 0.0
        return out


@dataclasses.dataclass
class Repair:
    """The result of a search.

    Attributes:
        seen: score of the row as it is.
        score: score of the repaired row.
        row: the repaired row, [C].
        changed: the columns changed, in the order of their contribution.
        contribution: [C], see `repairs`.
    """

    seen: float
    score: float
    row: np.ndarray
    changed: tuple[int, ...]
    contribution: np.ndarray


Search = Generator[np.ndarray, np.ndarray, Repair]
#: Score, row, and the columns in which it differs from the row searched for.
Attempt = tuple[float, np.ndarray, tuple[int, ...]]


def repairs(
    rows: np.ndarray,
    score: ScoreRows,
    near: Neighborhood,
    level: float,
    suspects: Sequence[np.ndarray],
    ordinary: float | None = None,
) -> list[Repair]:
    """Repair each row, and find the contribution of each column to its score.

    With x° the row repaired further, until it is ordinary, the contribution of a column is s(x° with the seen x_j) −
    min over c of s(x° with c): the cost of its seen value beside columns as expected. For a normal row, x° = x.

    Args:
        rows: [n, C].
        score: [m, C] → [m], up = more anomalous.
        near: stored rows.
        level: a row that scores at most this is normal.
        suspects: for each row the columns to look at.
        ordinary: score of an ordinary row; None to go no further than `level`.
    """
    out: list[Repair] = []
    each = (DONORS + len(QUANTILES)) * max((len(s) for s in suspects), default=1)
    step = max(1, min(ABREAST, TILE // max(1, each)))
    for start in range(0, len(rows), step):
        tick(start, len(rows), "rows")
        part = range(start, min(start + step, len(rows)))
        out += _abreast([_Searcher(rows[i], near, level, suspects[i], ordinary).search() for i in part], score)
    return out


def _abreast(searches: list[Search], score: ScoreRows) -> list[Repair]:
    """Run searches side by side: their candidates are scored in one call."""
    asked = {i: next(search) for i, search in enumerate(searches)}
    found: dict[int, Repair] = {}
    while asked:
        sizes = [len(rows) for rows in asked.values()]
        scores = np.split(score(np.concatenate(list(asked.values()))), np.cumsum(sizes)[:-1])
        for i, answer in zip(list(asked), scores, strict=True):
            try:
                asked[i] = searches[i].send(answer)
            except StopIteration as end:
                found[i] = end.value
                del asked[i]
    return [found[i] for i in sorted(found)]


@dataclasses.dataclass
class _Pool:
    """Candidate rows, and the columns in which each differs from the row searched for."""

    rows: list[np.ndarray]
    changed: list[tuple[int, ...]]

    def add(self, rows: np.ndarray, changed: tuple[int, ...]) -> None:
        self.rows.append(rows)
        self.changed += [changed] * len(rows)


class _Searcher:
    def __init__(
        self, row: np.ndarray, near: Neighborhood, level: float, suspects: np.ndarray, ordinary: float | None
    ) -> None:
        self.row, self.level = row.astype(np.float64), level
        self.ordinary = level if ordinary is None else min(ordinary, level)
        self.suspects = [int(c) for c in suspects]
        self.values, self.quantiles = near.values[:MOST_SEARCHED], near.quantiles
        self.squared = near.squared(self.row, MOST_SEARCHED)
        self.total = self.squared.sum(axis=1)

    def search(self) -> Search:
        seen = float((yield self.row[None])[0])
        first = yield from self._towards(self.level, (seen, self.row, ()))
        further = first
        if self.ordinary < first[0] <= self.level < seen:
            further = yield from self._towards(self.ordinary, first)
        contribution = yield from self._contributions(*further)
        score, row, changed = first
        ordered = tuple(sorted(changed, key=lambda c: -contribution[c]))
        return Repair(seen, score, row, ordered, contribution)

    def _towards(self, level: float, state: Attempt) -> Generator[np.ndarray, np.ndarray, Attempt]:
        """Change columns one by one until the score is at most `level`, or nothing helps."""
        best, found, changed = state
        while best > level and len(changed) < min(MOST_CHANGED, len(self.suspects)):
            pool = _Pool([], [])
            self._grow(pool, found, changed)
            self._trimmed(pool, len(changed) + 1)
            before = best
            best, found, changed = yield from self._choose(pool, best, found, changed)
            if len(changed) > 1:
                pool = _Pool([], [])
                for column in changed:
                    self._grow(pool, self._with(found, column), tuple(c for c in changed if c != column))
                best, found, changed = yield from self._choose(pool, best, found, changed)
            if not best < before:
                break
        return best, found, changed

    def _with(self, row: np.ndarray, column: int) -> np.ndarray:
        out = row.copy()
        out[column] = self.row[column]
        return out

    def _grow(self, pool: _Pool, found: np.ndarray, changed: tuple[int, ...]) -> None:
        """One column more: its quantiles, and values of the donors nearest in all columns but the changed ones."""
        left = [c for c in self.suspects if c not in changed]
        rest = self.total - self.squared[:, list(changed)].sum(axis=1)
        distance = rest[:, None] - self.squared[:, left]
        k = min(DONORS, len(distance))
        donors = np.argpartition(distance, k - 1, axis=0)[:k]
        for i, column in enumerate(left):
            given = self.values[donors[:, i]]
            tried = np.concatenate([given[:, column], self.quantiles[:, column]])
            rows = np.repeat(found[None], len(tried), axis=0)
            rows[:, column] = tried
            whole = tuple(sorted((*changed, column)))
            pool.add(rows, whole)
            if changed:
                rows = np.repeat(self.row[None], k, axis=0)
                rows[:, whole] = given[:, whole]
                pool.add(rows, whole)

    def _trimmed(self, pool: _Pool, size: int) -> None:
        """The stored rows that are nearest if the `size` columns that differ most are left out of account."""
        squared = self.squared[:, self.suspects]
        far = np.argpartition(squared, -size, axis=1)[:, -size:]
        distance = self.total - np.take_along_axis(squared, far, axis=1).sum(axis=1)
        k = min(2 * DONORS, len(distance))
        for donor in np.argpartition(distance, k - 1)[:k]:
            changed = tuple(sorted(self.suspects[i] for i in far[donor]))
            row = self.row.copy()
            row[list(changed)] = self.values[donor, list(changed)]
            pool.add(row[None], changed)

    def _choose(
        self, pool: _Pool, best: float, found: np.ndarray, changed: tuple[int, ...]
    ) -> Generator[np.ndarray, np.ndarray, Attempt]:
        rows = np.concatenate(pool.rows)
        scores = yield rows
        at = int(np.argmin(scores))
        if scores[at] < best:
            return float(scores[at]), rows[at], pool.changed[at]
        return best, found, changed

    def _contributions(
        self, best: float, found: np.ndarray, changed: tuple[int, ...]
    ) -> Generator[np.ndarray, np.ndarray, np.ndarray]:
        pool = _Pool([], [])
        self._grow(pool, found, changed)
        back = [self._with(found, column) for column in changed]
        scores = yield np.concatenate([*pool.rows, *(row[None] for row in back)])
        contribution = np.zeros(len(self.row))
        for columns, value in zip(pool.changed, scores, strict=False):
            column = next(c for c in columns if c not in changed)
            contribution[column] = max(contribution[column], best - value)
        for column, value in zip(changed, scores[len(pool.changed) :], strict=True):
            contribution[column] = value - best
        return contribution
