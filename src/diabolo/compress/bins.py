"""One distribution for each row: bins of a column's integers, with weights by a network.

Bin k of a row begins at M(k) + ⌊C(k) r⌋, where C are the running sums of weights (`Network.cumulative`), M those of the
integers' measure (their number, or how many points of a lattice they stand for), and r = (2²⁸ − ΣM) / ΣC in double
precision; the last bin ends at 2²⁸. Within a bin an integer's share is that of its measure.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from diabolo.compress.coder import TOTAL
from diabolo.compress.network import Network

__all__ = ["Bins", "RowTables"]

#: Rows whose weights are worked out together, so that they stay in the processor's cache.
ROWS = 1 << 12


@dataclasses.dataclass
class Bins:
    """Bins as places in a list of neighbouring integers.

    Args:
        lower: first place of each bin, and the end of the last; of an angle by direction, over two turns.
        measure: [R + 1] cumulative measure of places.
        count: K.
        width: bins are so many entries of `lower` apart.
    """

    lower: np.ndarray
    measure: np.ndarray
    count: int
    width: int = 1

    def __post_init__(self) -> None:
        self.mass = self.measure[self.lower]
        #: Measure of all bins, wherever they begin.
        self.whole = int(self.mass[self.count * self.width] - self.mass[0])
        self.plain = bool((np.diff(self.measure) == 1).all())

    @functools.cached_property
    def of(self) -> np.ndarray:
        """The bin of each place, where bins are next to each other."""
        return np.repeat(np.arange(self.count, dtype=np.uint8), np.diff(self.lower))


class RowTables:
    """The distributions of a column's rows.

    Args:
        x: inputs [D + 1, n] of the network.
        first: entry of `Bins.lower` at which each row's bins begin [n]; None where they all do at 0.
    """

    def __init__(self, bins: Bins, network: Network, x: np.ndarray, first: np.ndarray | None = None) -> None:
        self.bins, self.network, self.x, self.first = bins, network, x, first
        self.begin = self.end = 0
        levels = np.arange(1, bins.count)
        guess = bins.mass[levels] - bins.mass[0] if first is None else levels * (bins.whole / bins.count)
        self.guess = guess.astype(np.float32)[:, None]

    def intervals(self, place: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(starts, frequencies) of integers [n] at these places, which lie in bins k [n]."""
        start, width = np.empty((2, len(k)), np.int64)
        for begin in range(0, len(k), ROWS):
            part = slice(begin, min(begin + ROWS, len(k)))
            self._work(part)
            low, high = self._edge(k[part], part), self._edge(k[part] + 1, part)
            start[part], width[part] = self._within(place[part], k[part], low, high, part)
        return start, width

    def find(self, slots: np.ndarray, part: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(places, starts, frequencies) of the integers whose intervals hold the slots; `part` are their rows."""
        if part.stop > self.end:
            size = part.stop - part.start
            self._work(slice(part.start, min(part.start + max(1, ROWS // size) * size, self.x.shape[1])))
            near = self.sums[1:-1] * self.scale.astype(np.float32)
            near += self.guess
            self.near = near
        here = slice(part.start - self.begin, part.stop - self.begin)
        below = self.near[:, here] <= slots.astype(np.float32)
        k = below.view(np.uint8).sum(axis=0, dtype=np.uint8).astype(np.int64)
        while True:
            # Single precision may have been one bin off.
            low, high = self._edge(k, part), self._edge(k + 1, part)
            before, behind = slots < low, slots >= high
            if not (before | behind).any():
                break
            k += behind.astype(np.int64) - before
        bins = self.bins
        at = k * bins.width if self.first is None else self.first[part] + k * bins.width
        first, base = bins.lower[at], bins.mass[at]
        whole = bins.mass[at + bins.width] - base
        # Empty only in a damaged file.
        within = ((slots - low + 1) * whole - 1) // (high - low)
        place = first + within if bins.plain else np.searchsorted(bins.measure, base + within, "right") - 1
        place = np.clip(place, 0, len(bins.measure) - 2)
        return place, *self._within(place, k, low, high, part)

    def _work(self, part: slice) -> None:
        self.begin, self.end = part.start, part.stop
        self.sums = self.network.cumulative(self.x[:, part])
        self.scale = (TOTAL - self.bins.whole) / self.sums[-1].astype(np.float64)
        self.rows = np.arange(part.stop - part.start)

    def _edge(self, k: np.ndarray, part: slice) -> np.ndarray:
        """Where bin k [n] of these rows begins; of bin K, where the last one ends."""
        bins, n = self.bins, self.sums.shape[1]
        here = slice(part.start - self.begin, part.stop - self.begin)
        share = self.sums.take(k * n + self.rows[here]) * self.scale[here]
        if self.first is None:
            measure = bins.mass[k * bins.width] - bins.mass[0]
        else:
            first = self.first[part]
            measure = bins.mass[first + k * bins.width] - bins.mass[first]
        return np.asarray(np.where(k == bins.count, TOTAL, share.astype(np.int64) + measure))

    def _within(
        self, place: np.ndarray, k: np.ndarray, low: np.ndarray, high: np.ndarray, part: slice
    ) -> tuple[np.ndarray, np.ndarray]:
        bins = self.bins
        at = k * bins.width if self.first is None else self.first[part] + k * bins.width
        base = bins.mass[at]
        whole = np.maximum(bins.mass[at + bins.width] - base, 1)
        measure, wide = bins.measure[place], high - low
        start = low + wide * (measure - base) // whole
        return start, low + wide * (bins.measure[place + 1] - base) // whole - start
