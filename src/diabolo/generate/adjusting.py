"""Local linear adjustment of drawn cells to small differences in the columns before.

A leaf's training cell x_i belongs to a row whose earlier cells v_i are not quite those drawn, v; the cell drawn is
x_i + β·(v − v_i), β a ridge regression in a node around the leaf (Beaumont, Zhang, Balding 2002, Genetics 162, 2025).
Nearly exact relations between columns survive so; a leaf of few rows alone would break them.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

__all__ = ["Adjustment", "fit_adjustment", "runs"]

#: Training rows of a regression, at least, and for each column that it uses; rows that one uses at most, of these.
ROWS, ROWS_EACH, MOST = 40, 3, 5
#: Penalties that are tried, per row, of standardized columns; share of the error that a regression must remove.
PENALTIES, WIN = np.array([1e-3, 1e-2, 1e-1, 1.0, 10.0]), 0.02
#: Share of a column's cells that may take other values than their own, for a regression to be worth it.
LOOSE = 0.05


@dataclasses.dataclass
class Adjustment:
    """Regressions of a column's cells on numeric columns before it, one for each node of enough rows."""

    columns: list[int]
    middle: np.ndarray  #: [p] in place of a missing cell
    cells: np.ndarray  #: [n, p] of training rows, in the order of the law's ranks
    loose: np.ndarray  #: [n] bool, cells that may take another value
    host: np.ndarray  #: by node of the tree, the regression that it uses
    slopes: np.ndarray  #: [H, p]
    lows: np.ndarray  #: [H] the smallest cell that the regression has seen
    highs: np.ndarray

    def __call__(self, cells: np.ndarray, rows: np.ndarray, leaf: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Adjusted cells [m].

        Args:
            cells: of training rows, [m].
            rows: drawn so far, [m, C].
            leaf: of each row drawn, [m].
            at: position of the training row that each cell comes from, [m].
        """
        h = self.host[leaf]
        now = rows[:, self.columns]
        now = np.where(np.isnan(now), self.middle, now)
        moved = cells + ((now - self.cells[at]) * self.slopes[h]).sum(axis=1)
        # Where no slope acts, cells keep their value to the last bit.
        free = self.loose[at] & self.slopes[h].any(axis=1)
        return np.where(free, np.clip(moved, self.lows[h], self.highs[h]), cells)


def runs(
    tree: DecisionTreeClassifier | DecisionTreeRegressor, starts: np.ndarray, stops: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(start, stop, parent) of every node; its rows are one run, for leaves are numbered depth first."""
    t = tree.tree_
    start, stop, parent = starts.copy(), stops.copy(), np.full(t.node_count, -1)
    for side in (t.children_left, t.children_right):
        inner = np.flatnonzero(side >= 0)
        parent[side[inner]] = inner
    for i in range(t.node_count - 1, 0, -1):  # children come after their parent
        p = parent[i]
        if t.children_left[p] == i:
            start[p] = start[i]
        else:
            stop[p] = stop[i]
    return start, stop, parent


def fit_adjustment(
    nodes: tuple[np.ndarray, np.ndarray, np.ndarray],
    target: np.ndarray,
    loose: np.ndarray,
    rows: np.ndarray,
    columns: list[int],
) -> Adjustment | None:
    """Fit the regressions; None where none of them lowers the error.

    Args:
        nodes: of the tree: where the runs of their rows start and stop, and their parents.
        target: cells of the column, [n] in that order.
        loose: those that may take another value, [n] bool.
        rows: training rows [n, C] in that order.
        columns: numeric ones that come before.
    """
    start, stop, parent = nodes
    if not columns or loose.mean() < LOOSE:
        return None
    cells = rows[:, columns]
    there = ~np.isnan(cells)
    middle = np.where(there, cells, 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    cells = np.where(there, cells, middle)
    need = max(ROWS, ROWS_EACH * len(columns))
    before = np.concatenate([[0], np.cumsum(loose)])
    count = before[stop] - before[start]
    own = np.arange(len(start))
    for i in own[1:]:
        if count[i] < need:
            own[i] = own[parent[i]]
    hosts, host = np.unique(own, return_inverse=True)
    slopes, ends = np.zeros((len(hosts), len(columns))), np.zeros((2, len(hosts)))
    for h, node in enumerate(hosts):
        some = start[node] + np.flatnonzero(loose[start[node] : stop[node]])
        some = some[:: max(1, len(some) // (MOST * need))]
        if len(some) >= ROWS // 2:
            slopes[h] = _ridge(cells[some], target[some])
            ends[:, h] = target[some].min(), target[some].max()
    return Adjustment(columns, middle, cells, loose, host, slopes, *ends) if slopes.any() else None


def _ridge(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Slopes [p], the penalty chosen by generalized cross-validation (Golub, Heath, Wahba 1979); 0 where none helps."""
    n, spread = len(x), x.std(axis=0)
    out, varies = np.zeros(x.shape[1]), spread > 1e-9 * (1 + np.abs(x.mean(axis=0)))
    if not varies.any():
        return out
    unit = (x[:, varies] - x[:, varies].mean(axis=0)) / spread[varies]
    centered = y - y.mean()
    values, vectors = np.linalg.eigh(unit.T @ unit / n)
    values = values.clip(0.0)
    along = vectors.T @ (unit.T @ centered) / n
    keep = values / (values + PENALTIES[:, None])
    won = np.divide(along**2, values, out=np.zeros_like(along), where=values > 1e-12)
    total = (centered**2).mean()
    error = total - ((2 * keep - keep**2) * won).sum(axis=1)
    free = 1 - (1 + keep.sum(axis=1)) / n
    score = np.where(free > 0, error / np.maximum(free, 1e-9) ** 2, np.inf)
    best = int(score.argmin())
    if score[best] < (1 - WIN) * total / (1 - 1 / n) ** 2:
        out[varies] = vectors @ (along / (values + PENALTIES[best])) / spread[varies]
    return out
