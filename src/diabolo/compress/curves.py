"""Distributions of ordered values from the curves F of the logistic and the normal distribution, in whole numbers.

The interval of a value v of V begins at 16v + ⌊F (2²⁸ − 16V) / 2²⁴⌋, F at the value's lower edge: by a table of F
that decimal arithmetic made, with straight lines between its points, so that it never falls. docs/dbl.md has the rule.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from decimal import Decimal, localcontext

import numpy as np

from diabolo.compress.coder import TOTAL
from diabolo.compress.network import DEEPEST, exponential

__all__ = ["CELLS", "LATENTS", "PRIOR", "Curve", "logistic", "middle", "normal"]

#: F is told in 2⁻²⁴ at multiples of 1/32 up to 16; between them there are 2⁸ steps.
DIGITS, POINTS, STEPS = 24, 512, 1 << 8
#: What every value has at least, of 2²⁸.
LEAST = 16
#: Latents: cells of 4 in 2⁻⁸, from −8 to 8; ⌊2²⁰ e^(−t/64)⌉ of the standard normal distribution.
CELLS, CELL, PRIOR = 1_024, 4, 1 << 15
#: Symbols at a time for which searching takes longer than a table of all values, made of some at once.
FEW, SOME = 16, 8
FEW_TO_SEARCH = 64
#: An edge beyond all others.
BEYOND = 1 << 40
LATENTS = (np.arange(CELLS + 1, dtype=np.int64) - CELLS // 2) * CELL


@functools.cache
def logistic() -> np.ndarray:
    """⌊2²⁴ / (1 + e^(−i/32))⌉ for i from −512 to 512, 0 and 2²⁴ at the ends, and the last one again."""
    with localcontext() as context:
        context.prec = 50
        upper = [_whole(1 / (1 + (Decimal(-i) / 32).exp())) for i in range(POINTS + 1)]
    return _both(upper)


@functools.cache
def normal() -> np.ndarray:
    """⌊2²⁴ Φ(i/32)⌉ for i from −512 to 512, and the last one again; Φ = ½ + φ(x) Σ xⁿ / 1·3·5···n over odd n."""
    upper = []
    with localcontext() as context:
        context.prec = 50
        root = (2 * Decimal("3.14159265358979323846264338327950288419716939937510")).sqrt()
        for i in range(POINTS + 1):
            x = Decimal(i) / 32
            term = total = x
            n = 1
            while i < 6 * 32 and term > Decimal(10) ** -20:
                n += 2
                term = term * x * x / n
                total += term
            # Beyond six standard deviations less than 2⁻²⁵ is left.
            upper.append(_whole(Decimal(1) / 2 + (-x * x / 2).exp() / root * total) if i < 6 * 32 else 1 << DIGITS)
    return _both(upper)


def _whole(share: Decimal) -> int:
    return int((share * (1 << DIGITS)).to_integral_value())


def _both(upper: list[int]) -> np.ndarray:
    right = np.array([*upper[:-1], 1 << DIGITS], np.int64)
    return np.concatenate([(1 << DIGITS) - right[:0:-1], right, right[-1:]])


def middle(cell: np.ndarray) -> np.ndarray:
    """The latents [...] int64 in 2⁻⁸ of cells."""
    return np.asarray(LATENTS[cell] + CELL // 2)


@dataclasses.dataclass
class Curve:
    """One distribution for each of n symbols: a mixture of M scaled and shifted curves.

    Args:
        table: of F.
        edges: [V + 1] lower edges of values, and the upper one of the last.
        center: [M, n] int64.
        steep: [M, n] int64, ⌊2²⁰ e^(−t/64)⌉.
        shift: q.
        weight: [M, n] int64 from 0 to 2²⁰, one of them 2²⁰; None for M = 1.
    """

    table: np.ndarray
    edges: np.ndarray
    center: np.ndarray
    steep: np.ndarray
    shift: int
    weight: np.ndarray | None = None
    second: np.ndarray | None = None
    every: np.ndarray | None = None

    def __post_init__(self) -> None:
        count = len(self.edges) - 1
        # Beyond the outermost edges lies nothing.
        self._edges = np.concatenate([[-BEYOND], self.edges[1:-1], [BEYOND]])
        self._free = TOTAL - LEAST * count
        self._least = LEAST * np.arange(count + 1)
        self.total = (
            np.ones(self.center.shape[1]) if self.weight is None else self.weight.sum(axis=0).astype(np.float64)
        )

    def _starts(self, edges: np.ndarray, least: np.ndarray, of: Curve) -> np.ndarray:
        """Where intervals begin, [n] or [n, V], by their lower edges and what values below have at least.

        Args:
            of: parameters of the n symbols, with a last axis of length one for [n, V].
        """
        a = edges - of.center
        a *= of.steep
        a >>= self.shift
        np.minimum(a, POINTS * STEPS, out=a)
        np.maximum(a, -POINTS * STEPS, out=a)
        a += POINTS * STEPS
        i = a >> 8
        low = self.table[i]
        i += 1
        rise = self.table[i]
        rise -= low
        a &= STEPS - 1
        rise *= a
        rise >>= 8
        low += rise
        if of.weight is None:
            share = low[0]
        else:
            low *= of.weight
            # Below 2⁵³, and never so close to the next integer that a division in double precision would reach it.
            share = np.floor(low.sum(axis=0) / of.total).astype(np.int64)
        share *= self._free
        share >>= DIGITS
        share += least
        return np.asarray(share)

    def _at(self, values: np.ndarray, of: Curve) -> np.ndarray:
        return self._starts(self._edges[values], self._least[values], of)

    def _of(self, which: slice | np.ndarray) -> Curve:
        """The parameters of some symbols."""
        part = copy.copy(self)
        part.center, part.steep = self.center[:, which], self.steep[:, which]
        part.weight = None if self.weight is None else self.weight[:, which]
        part.total = self.total[which]
        return part

    def intervals(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(starts, frequencies) of values [n] from 0 to V − 1."""
        start = self._at(values, self)
        return start, self._at(values + 1, self) - start

    def ready(self, lanes: int) -> None:
        """Work out for all symbols at once what `find` then looks up for so many of them at a time.

        For few at a time all values' intervals; for many only where the second value begins: most are the first one.
        """
        n, count = self.center.shape[1], len(self.edges) - 1
        if lanes >= FEW:
            self.second = self._at(np.ones(n, np.int64), self)
            return
        self.every = np.full((n, count + 1), TOTAL)
        for begin in range(0, n, SOME):
            of = self._of(np.arange(begin, min(begin + SOME, n))[:, None])
            self.every[begin : begin + SOME, :-1] = self._starts(self._edges[:-1], self._least[:-1], of)

    def find(self, slots: np.ndarray, part: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(values, starts, frequencies) whose intervals hold the slots; `part` are their symbols."""
        if self.every is not None:
            starts = self.every[part]
            found = (starts[:, 1:-1] <= slots[:, None]).sum(axis=1)
            i = np.arange(len(slots))
            start = starts[i, found]
            return found, start, starts[i, found + 1] - start
        if self.second is None:
            return self._search(slots, part)
        second = self.second[part]
        values, start, width = np.zeros(len(slots), np.int64), np.zeros(len(slots), np.int64), second.copy()
        others = np.flatnonzero(slots >= second)
        if len(others):
            values[others], start[others], width[others] = self._search(slots[others], others + part.start)
        return values, start, width

    def _search(self, slots: np.ndarray, which: slice | np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """By fourths of what is left, or sixteenths for so few symbols that calls cost more than what they do."""
        if isinstance(which, slice):
            which = np.arange(which.start, which.stop)
        of, n, i = self._of(which[:, None]), len(slots), np.arange(len(slots))
        values, ends = np.zeros(n, np.int64), np.zeros((n, 2), np.int64)
        ends[:, 1] = TOTAL
        left = len(self.edges) - 1
        while left > 1:
            ways = min(16 if n < FEW_TO_SEARCH else 4, left)
            left //= ways
            probes = values[:, None] + left * np.arange(1, ways)
            starts = np.empty((n, ways + 1), np.int64)
            starts[:, 0], starts[:, -1] = ends[:, 0], ends[:, 1]
            starts[:, 1:-1] = self._at(probes, of)
            k = (starts[:, 1:-1] <= slots[:, None]).sum(axis=1)
            values += left * k
            ends[:, 0], ends[:, 1] = starts[i, k], starts[i, k + 1]
        return values, ends[:, 0], ends[:, 1] - ends[:, 0]


def steepness(t: np.ndarray, most: int) -> np.ndarray:
    """⌊2²⁰ e^(−t/64)⌉ of t [...] cut to 0..most."""
    return np.asarray(exponential()[np.clip(t, 0, min(most, DEEPEST - 1))])


def mixing(logits: np.ndarray) -> np.ndarray:
    """Weights [M, n] of logits [M, n] (2⁻⁶ each), the largest 2²⁰."""
    return np.asarray(exponential()[np.minimum(logits.max(axis=0) - logits, DEEPEST)])
