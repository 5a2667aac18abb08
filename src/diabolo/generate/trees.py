"""Rows column after column: p(x) = Σ_k p(k) Π_c p(x_c | k, x_1..x_(c−1)), k the component of the row's code.

Each factor is a classification or regression tree (Breiman et al. 1984) whose leaves hold training cells. Statistical
offices publish rows drawn so in place of records (Reiter 2005, Journal of Official Statistics 21, 441). Columns whose
values are given come first in the order, so the other columns are drawn from their law given these values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from diabolo.data.schema import Schema
from diabolo.data.slots import filled
from diabolo.generate.adjusting import Adjustment, fit_adjustment, runs
from diabolo.generate.alphabet import ABSENT, MISSING, Alphabet
from diabolo.generate.fidelity import copying
from diabolo.progress import tick

if TYPE_CHECKING:
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

__all__ = ["Trees", "smallest_leaf"]

#: Ranks that a value drawn for a continuous column may lie away from the training cell it comes from.
BLUR = 0.01
#: A split of a continuous column must lower the sum of squared scores by this much. Else trees grow until leaves single
#: out training rows, and rows drawn are near copies.
GAIN = 6.0
#: Share of a column's own law in each leaf's law when values are given: a value of no leaf is rare, not impossible.
REST = 1e-6
#: Training rows in a leaf that are tried; rows held back to try them on, in all, at least, of so many folds at most.
LEAVES, HELD, FOLDS = (5, 10, 20, 40), 2_000, 5
#: P(a drawn row is nearer to a training row than one held back) up to which rows drawn are no copies; ½ without any.
NEARER = 0.52


@dataclasses.dataclass
class _Law:
    """p(x_c | the columns before): leaves of a tree, each a run of training ranks, sorted."""

    alphabet: Alphabet
    tree: DecisionTreeClassifier | DecisionTreeRegressor | None  #: None for one leaf
    ranks: np.ndarray
    starts: np.ndarray
    stops: np.ndarray
    order: np.ndarray  #: which training row each rank is of
    adjustment: Adjustment | None = None

    def leaves(self, before: np.ndarray) -> np.ndarray:
        if self.tree is None:
            return np.zeros(len(before), np.int64)
        found: np.ndarray = self.tree.apply(before)
        return found

    def piece(self, at: np.ndarray, start: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The interval that the cell at a position of a leaf is blurred to: halfway to its neighbours, at most."""
        ranks, rank = self.ranks, self.ranks[at]
        below, above = ranks[np.maximum(at - 1, 0)], ranks[np.minimum(at + 1, len(ranks) - 1)]
        low = np.maximum(rank - BLUR, np.where((at > start) & (below >= 0), (below + rank) / 2, 0.0))
        high = np.minimum(rank + BLUR, np.where(at < stop - 1, (above + rank) / 2, 1.0))
        exact = rank < 0
        exact[~exact] = self.alphabet.exact[self.alphabet.nearest(rank[~exact])]
        return np.where(exact, rank, low), np.where(exact, rank, high)

    def draw(self, before: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Ranks or states, and cells, given the ranks before [n, ·] and the rows drawn so far [n, C]."""
        leaf = self.leaves(before)
        start, stop = self.starts[leaf], self.stops[leaf]
        at = start + (rng.random(len(leaf)) * (stop - start)).astype(np.int64)
        # A repeated value is kept as it is: its neighbors were never seen with the rest of the row.
        rank = self.ranks[at]
        if self.alphabet.continuous:
            low, high = self.piece(at, start, stop)
            rank = low + rng.random(len(leaf)) * (high - low)
        cells = self.alphabet.cells(rank)
        if self.adjustment is not None:
            moved = self.adjustment(cells, rows, leaf, at)
            on = (rank >= 0) & (moved != cells)
            cells[on], rank[on] = self.alphabet.snapped(moved[on])
        return rank, cells

    def mass(self, before: np.ndarray, rank: float, low: float, high: float) -> np.ndarray:
        """Probability of the interval of ranks, or of a state, given the ranks before [n, ·]."""
        out = np.empty(len(before))
        for i, leaf in enumerate(self.leaves(before)):
            start, stop = self.starts[leaf], self.stops[leaf]
            at = np.arange(start, stop)
            a, b = self.piece(at, np.full(len(at), start), np.full(len(at), stop))
            inside = (a == rank) if rank < 0 else (a <= high) & (b >= low) & (a >= 0)
            wide = b > a
            share = np.where(wide, (np.minimum(b, high) - np.maximum(a, low)) / np.where(wide, b - a, 1), 1.0)
            out[i] = np.where(inside, share.clip(0), 0.0).mean()
        own = float((self.ranks == rank).mean()) if rank < 0 else float((self.ranks >= 0).mean()) * (high - low)
        return np.asarray((1 - REST) * out + REST * own)


class Trees:
    """The law of rows, fitted to training rows.

    Args:
        schema: of the columns.
        rows: training rows, [n, C], NaN where missing.
        component: of each row's code, [n] int64; the variable that comes before all columns.
        first: columns that come first in the order, those whose values will be given.
        leaf: training rows in a leaf, at least.
        seed: of ties between splits.
    """

    def __init__(
        self, schema: Schema, rows: np.ndarray, component: np.ndarray, first: Sequence[int], leaf: int, seed: int
    ) -> None:
        self.schema, self.first = schema, list(first)
        rows = rows.astype(np.float64)
        self.shares = np.bincount(component) / len(component)
        varying = [i for i, c in enumerate(schema.columns) if c.kind != "constant"]
        self.order = [*self.first, *(i for i in varying if i not in self.first)]
        self.slots = [list(slot) for group in schema.groups for slot in group.slots]
        self.slot_of = {c: s for s, slot in enumerate(self.slots) for c in slot}
        #: Whether a slot is filled only if the one before it is.
        self.follows = [i > 0 and group.gaps == 0 for group in schema.groups for i in range(len(group.slots))]
        empty = ~filled(np.nan_to_num(rows, nan=1.0), schema.groups)
        before = np.empty((len(rows), 1 + len(self.order)), np.float32)
        before[:, 0] = component
        self.laws: list[_Law] = []
        for place, c in enumerate(self.order):
            tick(place, len(self.order), "columns")
            alphabet = Alphabet(schema.columns[c], rows[:, c], empty[:, c])
            ranks = alphabet.ranks(rows[:, c], empty[:, c])
            # The first column of a slot decides whether it is filled.
            used = np.flatnonzero(~empty[:, c]) if self._decided(place) else np.arange(len(rows))
            law = _fit(alphabet, before[used, : 1 + place], ranks[used], leaf, seed)
            if place >= len(self.first) and law.tree is not None and not alphabet.few:
                law.adjustment = self._adjustment(law, rows[used], place)
            self.laws.append(law)
            before[:, 1 + place] = ranks

    def _adjustment(self, law: _Law, rows: np.ndarray, place: int) -> Adjustment | None:
        numeric = [c for c in self.order[:place] if self.schema.columns[c].kind != "categorical"]
        loose = law.ranks >= 0
        loose[loose] = ~law.alphabet.exact[law.alphabet.nearest(law.ranks[loose])]
        rows = rows[law.order]
        return fit_adjustment(runs(law.tree, law.starts, law.stops), rows[:, self.order[place]], loose, rows, numeric)

    def _decided(self, place: int) -> bool:
        slot = self.slot_of.get(self.order[place])
        return slot is not None and any(self.slot_of.get(c) == slot for c in self.order[:place])

    def draw(self, n: int, given: Mapping[int, float], rng: np.random.Generator) -> np.ndarray:
        """Rows [n, C] float64, of which the columns `first` have the values given."""
        shares, ranks = self._given(given)
        out = np.empty((n, len(self.schema.columns)))
        for i, column in enumerate(self.schema.columns):
            out[:, i] = given.get(i, column.low)
        before = np.empty((n, 1 + len(self.order)), np.float32)
        before[:, 0] = rng.choice(len(shares), n, p=shares)
        vacant = np.zeros((n, len(self.slots)), bool)
        for place, (c, law) in enumerate(zip(self.order, self.laws, strict=True)):
            slot = self.slot_of.get(c)
            if place < len(ranks):
                rank = np.full(n, ranks[place])
            else:
                rank = np.full(n, ABSENT)
                if slot is not None and self.follows[slot]:
                    vacant[:, slot] |= vacant[:, slot - 1]
                some = np.flatnonzero(~vacant[:, slot]) if slot is not None else np.arange(n)
                out[:, c] = 0.0
                if len(some) and len(law.ranks):
                    rank[some], out[some, c] = law.draw(before[some, : 1 + place], out[some], rng)
            if slot is not None:
                vacant[:, slot] |= rank == ABSENT
            before[:, 1 + place] = rank
        return out

    def _given(self, given: Mapping[int, float]) -> tuple[np.ndarray, list[float]]:
        """p(k | given) [M], and the ranks of the given values."""
        ranks: list[float] = []
        before = np.empty((len(self.shares), 1 + len(self.order)), np.float32)
        before[:, 0] = np.arange(len(self.shares))
        with np.errstate(divide="ignore"):
            log_share = np.log(self.shares)
        for place, (c, law) in enumerate(zip(self.first if given else (), self.laws, strict=False)):
            value = given[c]
            if np.isnan(value):
                state = (MISSING,) * 3
            else:
                state = (ABSENT,) * 3 if c in self.slot_of and value == 0 else law.alphabet.interval(value)
            log_share += np.log(np.maximum(law.mass(before[:, : 1 + place], *state), 1e-300))
            before[:, 1 + place] = state[0]
            ranks.append(state[0])
        share = np.exp(log_share - log_share.max())
        return share / share.sum(), ranks


def _fit(alphabet: Alphabet, before: np.ndarray, ranks: np.ndarray, leaf: int, seed: int) -> _Law:
    from scipy.special import ndtri
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    values, which = np.unique(ranks, return_inverse=True)
    if len(values) < 2:
        order = np.argsort(ranks, kind="stable")
        return _Law(alphabet, None, ranks[order], np.zeros(1, np.int64), np.array([len(ranks)]), order)
    grown: dict[str, Any] = {"min_samples_leaf": leaf, "random_state": seed % 2**32}
    if alphabet.continuous:
        grown["min_impurity_decrease"] = GAIN / len(before)
    # A class that hardly any other row shares has no probability to learn: such values are ranks.
    if alphabet.few and 2 * len(values) <= len(ranks):
        tree: Any = DecisionTreeClassifier(criterion="entropy", **grown).fit(before, which)
    else:
        # States lie far below every value, so that splits tell them apart first.
        score = np.where(ranks < 0, 6 * ranks - 3, ndtri(ranks.clip(1e-6, 1 - 1e-6)))
        tree = DecisionTreeRegressor(**grown).fit(before, score)
    leaves = tree.apply(before)
    order = np.lexsort((ranks, leaves))
    nodes = np.arange(tree.tree_.node_count)
    found = leaves[order]
    starts, stops = (np.searchsorted(found, nodes, side) for side in ("left", "right"))
    return _Law(alphabet, tree, ranks[order], starts, stops, order)


def smallest_leaf(schema: Schema, rows: np.ndarray, component: np.ndarray, seed: int) -> int:
    """The fewest training rows in a leaf with which rows drawn are no nearer to training rows than rows held back.

    Args:
        schema: of the columns.
        rows: training rows, [n, C].
        component: of each row's code, [n] int64.
        seed: of the rows held back, trees and draws.
    """
    rng = np.random.default_rng(seed)
    rows = rows.astype(np.float64)
    folds = np.array_split(rng.permutation(len(rows)), FOLDS)
    folds = folds[: int(np.ceil(HELD * FOLDS / max(len(rows), 1)))]
    for leaf in LEAVES[:-1] if len(rows) >= FOLDS * LEAVES[0] else ():
        nearer = []
        for fold in folds:
            held, used = rows[fold[:HELD]], np.delete(np.arange(len(rows)), fold)
            trees = Trees(schema, rows[used], component[used], (), leaf, seed)
            nearer.append(copying(held, trees.draw(len(held), {}, rng), rows[used], schema).closer)
        if np.mean(nearer) <= NEARER:
            return leaf
    return LEAVES[-1]
