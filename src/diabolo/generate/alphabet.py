"""A column's values by rank, and states that are no values: absent with its slot, or missing."""

from __future__ import annotations

import numpy as np

from diabolo.data.schema import Column

__all__ = ["ABSENT", "MISSING", "Alphabet"]

#: States among ranks, which lie from 0 to 1.
ABSENT, MISSING = -1.0, -0.5
#: A column of at most so many values has a probability for each; a value of this share is never blurred.
FEW, ATOM = 10, 0.01
#: From this share of different values on, a column is continuous: values between those seen may be drawn.
DISTINCT = 0.9


class Alphabet:
    """Ranks of a column's training cells, in steps: a value that m of n cells have takes an interval of length m/n.

    Args:
        column: of the schema.
        cells: training cells, [n] float64; NaN is missing.
        absent: [n] bool, cells of empty slots.
    """

    def __init__(self, column: Column, cells: np.ndarray, absent: np.ndarray) -> None:
        there = cells[~np.isnan(cells) & ~absent]
        self.values, count = np.unique(there, return_counts=True)
        share = count / max(len(there), 1)
        self.ends = np.concatenate([[0.0], np.cumsum(share)])
        self.middle = (self.ends[1:] + self.ends[:-1]) / 2
        self.few = column.kind in ("categorical", "ordinal", "boolean") or len(self.values) <= FEW
        self.exact = np.full(len(share), True) if self.few else share > ATOM
        self.continuous = not self.few and len(self.values) >= DISTINCT * len(there)
        self.step = 1 / max(len(there), 1)

    def ranks(self, cells: np.ndarray, absent: np.ndarray) -> np.ndarray:
        """Rank or state of cells that training rows had, [n] float64."""
        out = np.full(len(cells), MISSING)
        there = ~np.isnan(cells) & ~absent
        out[there] = self.middle[np.searchsorted(self.values, cells[there])]
        out[absent] = ABSENT
        return out

    def nearest(self, ranks: np.ndarray) -> np.ndarray:
        """Position of the value whose interval a rank lies in, [n] int64."""
        return np.clip(np.searchsorted(self.ends, ranks, "right") - 1, 0, len(self.values) - 1)

    def cells(self, ranks: np.ndarray) -> np.ndarray:
        """Cells of ranks and states, [n] float64."""
        out = np.where(ranks == MISSING, np.nan, 0.0)
        there = ranks >= 0
        if there.any():
            at = self.nearest(ranks[there])
            out[there] = np.interp(ranks[there], self.middle, self.values) if self.continuous else self.values[at]
        return out

    def snapped(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The nearest cells that the column can have, and their ranks; unless it is continuous, no exact ones."""
        if self.continuous:
            return cells, np.interp(cells, self.values, self.middle)
        free = np.flatnonzero(~self.exact)
        values = self.values[free]
        after = np.searchsorted(values, cells).clip(0, len(values) - 1)
        before = np.maximum(after - 1, 0)
        at = free[np.where(cells - values[before] < values[after] - cells, before, after)]
        return self.values[at], self.middle[at]

    def interval(self, value: float) -> tuple[float, float, float]:
        """(rank, and the ends of the interval of ranks) of a value between the smallest and the largest."""
        at = int(np.searchsorted(self.values, value))
        if at < len(self.values) and self.values[at] == value:
            return float(self.middle[at]), float(self.ends[at]), float(self.ends[at + 1])
        rank = float(np.interp(value, self.values, self.middle))
        return rank, rank - self.step / 2, rank + self.step / 2
