"""The law of each column of numbers by itself: values that repeat, and a monotone map of the rest to normal scores.

A column is cut into cells in rising order. A cell is an atom, one value that several rows have, or an interval. v =
Φ⁻¹(F) of the column's own law is its normal score: edges of cells are normal scores of shares of training rows, and
inside an interval v is linear in the value. The two outer intervals go on without end, so every number has a finite
score. A group is a run of cells of about equal share, or one atom of a large share: what a network may give more or
less of.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["Marginals", "fit_marginals"]

#: Groups, intervals and atoms of a column, at most. Of n rows there are 2 ∛n of the first two: the error of a density
#: that is flat within n^⅓ cells is least (Scott 1979), as its bias and its noise are then alike.
MOST_GROUPS, MOST_INTERVALS, MOST_ATOMS = 32, 64, 400
#: A column of at most so many values has atoms alone; else an atom is a value of so many rows.
FEW, OFTEN = 32, 4
#: A column is a list of values where at most this share of new rows has another one, by Good and Turing's estimate: the
#: share of rows whose value no other row has (Good 1953). An atom of a list is a value of so many rows: another number
#: between two of them would be told from real ones at once.
UNSEEN, LISTED = 0.1, 2
#: Rows beyond the outermost edge, at least: the tails are cut at halves of their share down to here.
TAIL_ROWS = 8
#: Rows that the law is taken from at most.
SAMPLE = 100_000
#: Share of rows that a gap between two atoms, and a tail beyond one, stands for; single precision tells it apart.
LEAST = 4e-6


@dataclasses.dataclass(frozen=True)
class Marginals:
    """Cells of M columns, padded to L cells with empty ones beyond infinity; all float64.

    In cell j of a column, v = anchor_score + slope · (value − anchor); the slope of an atom is 0. `edges` are the
    normal scores between cells, −∞ first and ∞ last; `bounds` are the values between them.
    """

    columns: tuple[int, ...]  #: positions among the schema's columns
    edges: np.ndarray  #: [M, L + 1]
    group: np.ndarray  #: [M, L] int64, rising from 0
    bounds: np.ndarray  #: [M, L − 1]
    anchor: np.ndarray  #: [M, L]
    anchor_score: np.ndarray  #: [M, L]
    slope: np.ndarray  #: [M, L]

    @functools.cached_property
    def atoms(self) -> list[tuple[int, Tensor, Tensor, Tensor]]:
        """Of each column with atoms its position, and [atoms] the bounds below and above each atom, and its value."""
        out = []
        for i, column in enumerate(self.columns):
            bounds = np.concatenate([[-np.inf], self.bounds[i], [np.inf]])
            at = np.flatnonzero(
                (self.slope[i] == 0) & np.isfinite(self.edges[i, :-1] + (self.edges[i, :-1] == -np.inf))
            )
            at = at[np.isfinite(bounds[at]) | np.isfinite(bounds[at + 1])]
            if len(at):
                parts = (bounds[at], bounds[at + 1], self.anchor[i, at])
                low, high, atom = (torch.from_numpy(np.ascontiguousarray(p)) for p in parts)
                out.append((column, low, high, atom))
        return out

    @property
    def groups(self) -> int:
        """Groups of the column that has most, 2 at least."""
        return max(2, int(self.group.max(initial=0)) + 1)


def fit_marginals(
    values: np.ndarray, columns: Sequence[int], resolution: np.ndarray, weights: np.ndarray | None
) -> Marginals:
    """The cells of some columns.

    Args:
        values: training rows [n, C]; NaN where a cell is missing or of an empty slot.
        columns: positions of the columns.
        resolution: [C] spacing of rounded columns, 0 for continuous ones.
        weights: [n] or None.
    """
    step = max(1, len(values) // SAMPLE)
    some, share = values[::step], None if weights is None else weights[::step]
    laws = [_cells(some[:, c].astype(np.float64), float(resolution[c]), share) for c in columns]
    most = max((len(law.anchor) for law in laws), default=1)
    return Marginals(
        tuple(columns),
        np.stack([_padded(law.edges, most + 1, np.inf) for law in laws]),
        np.stack([_padded(law.group, most, law.group[-1]) for law in laws]),
        np.stack([_padded(law.bounds, most - 1, np.inf) for law in laws]),
        np.stack([_padded(law.anchor, most, 0.0) for law in laws]),
        np.stack([_padded(law.anchor_score, most, 0.0) for law in laws]),
        np.stack([_padded(law.slope, most, 0.0) for law in laws]),
    )


def _parts(n: float, most: int) -> int:
    return int(min(most, max(2, 2 * n ** (1 / 3))))


def _padded(row: np.ndarray, length: int, fill: float) -> np.ndarray:
    return np.concatenate([row, np.full(length - len(row), fill)])


@dataclasses.dataclass
class _Law:
    edges: np.ndarray
    group: np.ndarray
    bounds: np.ndarray
    anchor: np.ndarray
    anchor_score: np.ndarray
    slope: np.ndarray


def _cells(cell: np.ndarray, step: float, weights: np.ndarray | None) -> _Law:
    """The law of one column's cells [n], NaN where there is none."""
    there = np.isfinite(cell)
    if weights is not None:
        there &= weights > 0
    w = np.ones(int(there.sum())) if weights is None else weights[there] * (there.sum() / weights[there].sum())
    value, inverse = np.unique(cell[there], return_inverse=True)
    mass = np.bincount(inverse.reshape(-1), w, len(value)).astype(np.float64)
    if not len(value):
        value, mass = np.zeros(1), np.ones(1)
    n = float(mass.sum())
    half = step / 2 if step else 0.0
    mean = float(np.average(value, weights=mass)) if n else 0.0
    # A value comes back from its standardised form in single precision.
    near = 2e-6 * (np.abs(value) + np.abs(value - mean) + np.sqrt(np.average((value - mean) ** 2)))
    rows = np.bincount(inverse.reshape(-1), minlength=len(value))
    atom = _atoms(value, mass, rows, step, near)
    cells = _layout(value, mass, atom, _parts(n, MOST_INTERVALS), half)
    tolerance = dict(
        zip(value[atom].tolist(), (np.full(int(atom.sum()), half) if half else near[atom]).tolist(), strict=True)
    )
    return _scored(cells, n, float(value[0]), float(value[-1]), tolerance)


def _atoms(value: np.ndarray, mass: np.ndarray, rows: np.ndarray, step: float, near: np.ndarray) -> np.ndarray:
    """Which of a column's rising values are atoms, by weights and numbers of rows; values so `near` are one."""
    n = float(mass.sum())
    if len(value) <= FEW and n >= OFTEN * len(value):
        return np.ones(len(value), bool)
    least = np.sort(mass)[-MOST_ATOMS] if len(mass) > MOST_ATOMS else 0.0
    atom = mass >= max(OFTEN, least, 1e-4 * n)
    if (rows == 1).sum() <= UNSEEN * rows.sum():
        atom |= (rows >= LISTED) & (mass >= least)
    # Values that fill a grid, and are as good as all of about one count, are those of a rounded column and no spikes.
    filled = step > 0 and len(value) > 1 and float(np.median(np.diff(value))) < 1.5 * step
    if filled and atom.any() and mass[atom].max() < 3 * np.median(mass):
        atom[:] = False
    if not step:
        atom[1:] &= ~(atom[:-1] & (np.diff(value) < 4 * near[1:]))
    return atom


@dataclasses.dataclass
class _Cell:
    """An atom at `low` = `high`, or an interval, which may go on without end."""

    low: float
    high: float
    mass: float
    atom: bool


def _layout(value: np.ndarray, mass: np.ndarray, atom: np.ndarray, many: int, half: float) -> list[_Cell]:
    """Cells in rising order: atoms, what lies between them cut at quantiles, and gaps without rows."""
    total = float(mass.sum())
    out: list[_Cell] = []
    at = np.flatnonzero(atom)
    ends = [-1, *at.tolist(), len(value)]
    # Ranks of edges among all rows: equal shares, and halves of the last one towards both ends.
    ranks = np.linspace(0, total, many + 1)[1:-1].tolist()
    tail = total / many
    while tail / 2 >= TAIL_ROWS:
        tail /= 2
        ranks += [tail, total - tail]
    cumulative = np.cumsum(mass)
    cut = np.unique(np.searchsorted(cumulative, sorted(ranks)))
    for a, b in itertools.pairwise(ends):
        low = value[a] if a >= 0 else -np.inf
        high = value[b] if b < len(value) else np.inf
        inner = [k for k in cut if a < k < b - 1]
        starts = [a + 1, *(k + 1 for k in inner)]
        stops = [*(k + 1 for k in inner), b]
        if b > a + 1:
            marks = [(value[k] + half if half else 0.5 * (value[k] + value[k + 1])) for k in inner]
            lows = [low + half if np.isfinite(low) else low, *marks]
            highs = [*marks, high - half if np.isfinite(high) else high]
            for lo, hi, i, j in zip(lows, highs, starts, stops, strict=True):
                out.append(_Cell(lo, hi, float(mass[i:j].sum()), False))
        elif not (half and np.isfinite(low) and np.isfinite(high) and high - low < 3 * half):
            out.append(
                _Cell(low + half if np.isfinite(low) else low, high - half if np.isfinite(high) else high, 0.0, False)
            )
        if b < len(value):
            out.append(_Cell(value[b], value[b], float(mass[b]), True))
    return out


def _scored(cells: list[_Cell], n: float, least: float, most: float, tolerance: dict[float, float]) -> _Law:
    from scipy.special import ndtri

    mass = np.array([c.mass for c in cells])
    mass = np.maximum(mass, LEAST * max(n, 1.0))
    share = mass / mass.sum()
    below = np.concatenate([[0.0], np.cumsum(share)])
    below[-1] = 1.0
    # From the nearer end, so that both tails keep their digits.
    above = np.concatenate([np.cumsum(share[::-1])[::-1], [0.0]])
    edges = np.where(below < 0.5, ndtri(np.minimum(below, 0.5)), -ndtri(np.minimum(above, 0.5)))
    edges[0], edges[-1] = -np.inf, np.inf
    anchor, score, slope = (np.zeros(len(cells)) for _ in range(3))
    # The normal score of the largest of n rows; a tail without rows takes the slope of the whole column.
    reach = -ndtri(0.5 / max(n, 1.0))
    whole = 2 * reach / ((most - least) or 1.0)
    for j, c in enumerate(cells):
        low_v, high_v = edges[j], edges[j + 1]
        if c.atom:
            middle = (below[j] + below[j + 1]) / 2
            anchor[j], score[j] = c.low, ndtri(middle) if middle < 0.5 else -ndtri((above[j] + above[j + 1]) / 2)
        elif np.isfinite(c.low) and np.isfinite(c.high):
            anchor[j], score[j] = c.low, low_v
            slope[j] = (high_v - low_v) / max(c.high - c.low, 1e-300)
        elif np.isfinite(c.low):
            anchor[j], score[j] = c.low, low_v
            slope[j] = max(reach - low_v, 0.1) / (most - c.low) if most > c.low else whole
        elif np.isfinite(c.high):
            anchor[j], score[j] = c.high, high_v
            slope[j] = max(reach + high_v, 0.1) / (c.high - least) if least < c.high else whole
        else:
            anchor[j], score[j], slope[j] = 0.5 * (least + most), 0.0, whole
    return _Law(edges, _groups(mass / mass.sum(), cells, n), _bounds(cells, tolerance), anchor, score, slope)


def _groups(share: np.ndarray, cells: list[_Cell], n: float) -> np.ndarray:
    """The group of each cell: large atoms by themselves, the others in runs of about equal share."""
    many = _parts(n, MOST_GROUPS)
    group, filled, single = 0, 0.0, False
    out = np.zeros(len(cells), np.int64)
    for j, c in enumerate(cells):
        large = c.atom and share[j] >= 0.5 / many
        empty = c.mass == 0
        if j and not empty and filled > 0 and (large or single or filled + 0.5 * share[j] > 1 / many):
            group, filled = group + 1, 0.0
        single = (single and empty) or large
        filled += 0.0 if empty else share[j]
        out[j] = group
    return out


def _bounds(cells: list[_Cell], tolerance: dict[float, float]) -> np.ndarray:
    """Values between neighboring cells; an atom reaches half a step to both sides, or a rounding error."""
    out = []
    for left, right in itertools.pairwise(cells):
        if left.atom and right.atom:
            out.append(0.5 * (left.low + right.low))
        elif left.atom:
            out.append(left.low + tolerance[left.low])
        elif right.atom:
            out.append(right.low - tolerance[right.low])
        else:
            out.append(left.high)
    return np.array(out)
