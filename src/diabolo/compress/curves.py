"""Distributions of ordered values from the curves F of the logistic and the normal distribution, in whole numbers.

The interval of a value v of V begins at 16v + ⌊F (2²⁸ − 16V) / 2²⁴⌋, F at the value's lower edge: by a table of F
that decimal arithmetic made, with straight lines between its points, so that it never falls. docs/dbl.md has the rule.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import NamedTuple

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
#: Symbols at a time for which calls cost more than what they do, so that a search takes sixteenths instead of fourths.
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


@functools.cache
def _at_steps(kind: Callable[[], np.ndarray]) -> np.ndarray:
    """F at every step, along the lines between the points, float64 whole numbers."""
    points = kind()
    lines = points[:-1, None] + (np.diff(points)[:, None] * np.arange(STEPS) >> 8)
    return np.asarray(lines.reshape(-1)[: 2 * POINTS * STEPS + 1], np.float64)


def _both(upper: list[int]) -> np.ndarray:
    right = np.array([*upper[:-1], 1 << DIGITS], np.int64)
    return np.concatenate([(1 << DIGITS) - right[:0:-1], right, right[-1:]])


def middle(cell: np.ndarray) -> np.ndarray:
    """The latents [...] int64 in 2⁻⁸ of cells."""
    return np.asarray(LATENTS[cell] + CELL // 2)


class _Parts(NamedTuple):
    """What a curve says of n symbols: [M, n] each and [n], or with a last axis of length one."""

    center: np.ndarray
    steep: np.ndarray
    weight: np.ndarray | None
    total: np.ndarray


@dataclasses.dataclass
class Curve:
    """One distribution for each of n symbols: a mixture of M scaled and shifted curves.

    Args:
        kind: gives F at its points, `logistic` or `normal`.
        edges: [V + 1] lower edges of values, and the upper one of the last.
        center: [M, n] int64.
        steep: [M, n] int64, ⌊2²⁰ e^(−t/64)⌉.
        shift: q.
        weight: [M, n] int64 from 0 to 2²⁰, one of them 2²⁰; None for M = 1.
    """

    kind: Callable[[], np.ndarray]
    edges: np.ndarray
    center: np.ndarray
    steep: np.ndarray
    shift: int
    weight: np.ndarray | None = None

    def __post_init__(self) -> None:
        self._table, count = _at_steps(self.kind), len(self.edges) - 1
        # Beyond the outermost edges lies nothing.
        self._edges = np.concatenate([[-BEYOND], self.edges[1:-1], [BEYOND]])
        self._free = TOTAL - LEAST * count
        self._least = LEAST * np.arange(count + 1)
        # Whole numbers below 2⁵³, which double precision holds.
        weight = None if self.weight is None else self.weight.astype(np.float64)
        total = np.ones(self.center.shape[1]) if weight is None else weight.sum(axis=0)
        self._parts = _Parts(self.center, self.steep, weight, total)
        self._second: np.ndarray | None = None
        self._first: np.ndarray | None = None

    def _starts(self, edges: np.ndarray, least: np.ndarray, of: _Parts) -> np.ndarray:
        """Where intervals begin, [n] or [n, V], by their lower edges and what values below have at least.

        Args:
            of: parameters of the n symbols, with a last axis of length one for [n, V].
        """
        a = edges - of.center
        a *= of.steep
        a >>= self.shift
        a += POINTS * STEPS
        share = self._table.take(a, mode="clip")
        if of.weight is None:
            share = share[0]
        else:
            share *= of.weight
            # Below 2⁵³, and never so close to the next integer that a division in double precision would reach it.
            share = np.add.reduce(share, axis=0)
            share /= of.total
        out: np.ndarray = share.astype(np.int64)
        out *= self._free
        out >>= DIGITS
        out += least
        return out

    def _at(self, values: np.ndarray, of: _Parts) -> np.ndarray:
        return self._starts(self._edges[values], self._least[values], of)

    def _of(self, which: np.ndarray) -> _Parts:
        """The parameters of some symbols, with a last axis of length one."""
        center, steep, weight, total = self._parts
        chosen = None if weight is None else weight.take(which, axis=1)[..., None]
        return _Parts(
            center.take(which, axis=1)[..., None], steep.take(which, axis=1)[..., None], chosen, total[which, None]
        )

    def intervals(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(starts, frequencies) of values [n] from 0 to V − 1."""
        start = self._at(values, self._parts)
        return start, self._at(values + 1, self._parts) - start

    def ready(self, lanes: int) -> None:
        """Work out for all symbols at once what `find` then looks up for so many of them at a time.

        Where the second value begins, for most values are the first one; for few at a time also the sixteenths that a
        search begins with.
        """
        n, count = self.center.shape[1], len(self.edges) - 1
        self._second = self._at(np.ones(n, np.int64), self._parts)
        if lanes < FEW_TO_SEARCH and count > 16:
            self._first = self._at(count // 16 * np.arange(1, 16), self._of(np.arange(n)))

    def find(self, slots: np.ndarray, part: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(values, starts, frequencies) whose intervals hold the slots; `part` are their symbols."""
        if self._second is None:
            return self._search(slots, np.arange(part.start, part.stop))
        second = self._second[part]
        values, start, width = np.zeros(len(slots), np.int64), np.zeros(len(slots), np.int64), second.copy()
        others = (slots >= second).nonzero()[0]
        if len(others):
            values[others], start[others], width[others] = self._search(slots[others], others + part.start)
        return values, start, width

    def _search(self, slots: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """By fourths of what is left, or by sixteenths."""
        of, n = self._of(which), len(slots)
        i = np.arange(n)
        values, low, high = np.zeros(n, np.int64), np.zeros(n, np.int64), np.full(n, TOTAL)
        left, first = len(self.edges) - 1, self._first
        while left > 1:
            ways = min(16 if first is not None or n < FEW_TO_SEARCH else 4, left)
            left //= ways
            starts = np.empty((n, ways + 1), np.int64)
            starts[:, 0], starts[:, -1] = low, high
            if first is not None and left * ways == len(self.edges) - 1:
                starts[:, 1:-1] = first[which]
            else:
                starts[:, 1:-1] = self._at(values[:, None] + left * np.arange(1, ways), of)
            k = _among(starts, slots)
            values += left * k
            low, high = starts[i, k], starts[i, k + 1]
        return values, low, high - low


def _among(starts: np.ndarray, slots: np.ndarray) -> np.ndarray:
    """Which of the intervals that begin at starts [n, V] and end at the next or the last one hold the slots, [n]."""
    return np.asarray(np.add.reduce(starts[:, 1:-1] <= slots[:, None], axis=1, dtype=np.int64))


def steepness(t: np.ndarray, most: int) -> np.ndarray:
    """⌊2²⁰ e^(−t/64)⌉ of t [...] cut to 0..most."""
    return np.asarray(exponential()[np.clip(t, 0, min(most, DEEPEST - 1))])


def mixing(logits: np.ndarray) -> np.ndarray:
    """Weights [M, n] of logits [M, n] (2⁻⁶ each), the largest 2²⁰."""
    return np.asarray(exponential()[np.minimum(logits.max(axis=0) - logits, DEEPEST)])
