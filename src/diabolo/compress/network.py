"""A small network in whole numbers: the same on every machine, whatever the order of its sums.

h = ⌊(W₁x + b₁) / 2⁵⌋ within 0 and 4095, c = ⌊(W₂h + b₂) / 2⁷⌋ within ±C, for integers x (2⁻⁸ each), weights and biases
(2⁻⁵ each), h (2⁻⁸), and coefficients c (2⁻⁶ nats). A bin's log-density is y = Σ c cos + b, with cosines of 2⁻⁹ over the
bins: it is smooth, so a dozen coefficients do, and cost a file less. Products and sums stay below 2²⁴, so single
precision holds them exactly. The weight of a bin is (1 + y/64)⁶⁴ ≈ exp y by six squarings, and running sums add one bin
after the other: IEEE 754 rounds each of these the same way everywhere.
"""

from __future__ import annotations

import dataclasses
import functools
from decimal import Decimal, localcontext

import numpy as np

__all__ = [
    "COSINE",
    "DEEPEST",
    "EXACT",
    "LARGEST",
    "LEAST",
    "MOST",
    "MOST_HIDDEN",
    "ONE",
    "SQUARINGS",
    "STEPS",
    "TURN",
    "Network",
    "basis",
    "cosines",
    "direction",
    "exponential",
]

#: One, as an input, which is no larger than LARGEST.
ONE, LARGEST = 1 << 8, 1 << 10
#: Weights and biases are multiples of 1/STEPS.
STEPS = 32
#: Directions in a full turn.
TURN = 1 << 12
#: Most of a hidden unit, in 2⁻⁸.
MOST_HIDDEN = (1 << 12) - 1
EXACT = 1 << 24
SQUARINGS = 6
#: Bounds of 1 + y/64.
LEAST, MOST = 0.75, 2.0
COSINE, COEFFICIENT = 1 << 9, 1 << 6
#: exp(−t / 64) below 2⁻²⁰ is nothing.
DEEPEST = 14 * 64


@functools.cache
def exponential() -> np.ndarray:
    """⌊2²⁰ exp(−t / 64)⌉ for t from 0, by decimal arithmetic of 50 digits."""
    with localcontext() as context:
        context.prec = 50
        return np.array([int(((Decimal(-t) / 64).exp() * 2**20).to_integral_value()) for t in range(DEEPEST)] + [0])


@functools.cache
def cosines() -> np.ndarray:
    """⌊2¹⁴ cos(2πd / 4096)⌉ for d from 0, by decimal arithmetic of 50 digits."""
    with localcontext() as context:
        context.prec = 50
        pi = Decimal("3.14159265358979323846264338327950288419716939937510")
        quarter = []
        for d in range(TURN // 4 + 1):
            square, term, total = (2 * pi * d / TURN) ** 2, Decimal(1), Decimal(1)
            for n in range(1, 24):
                term = -term * square / ((2 * n - 1) * (2 * n))
                total += term
            quarter.append(int((total * 2**14).to_integral_value()))
    first = np.array(quarter, np.int64)
    half = np.concatenate([first, -first[-2::-1]])
    return np.concatenate([half, half[-2:0:-1]])


def direction(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Direction of integer vectors in 1/4096 of a turn, rounded down; 0 for no vector.

    A guess in floating point, which machines may round differently, is set right by exact cross products.
    """
    cos = cosines()
    half = np.where((y < 0) | ((y == 0) & (x < 0)), TURN // 2, 0)
    guess = np.floor(np.arctan2(y.astype(np.float64), x.astype(np.float64)) * (TURN / (2 * np.pi)))
    d = np.clip(guess.astype(np.int64) % TURN, half, half + TURN // 2 - 1)
    # It is at or beyond d if the cross product with d is not negative.
    before = cos[d] * y < cos[(d - TURN // 4) % TURN] * x
    d = np.maximum(d - before, half)
    further = np.minimum(d + 1, half + TURN // 2 - 1)
    beyond = cos[further] * y >= cos[(further - TURN // 4) % TURN] * x
    return np.asarray(np.where((x != 0) | (y != 0), np.where(beyond, further, d), 0))


def basis(bins: int, size: int, periodic: bool) -> np.ndarray:
    """Cosines over the bins, [K, R] int64 of 2⁻⁹: cos πr(k + ½)/K, or cos and sin of 2πrk/K around a circle."""
    k, cos = np.arange(bins)[:, None], cosines() >> 5
    if not periodic:
        return np.asarray(cos[(np.arange(1, size + 1) * (2 * k + 1) * (TURN // 4) // bins) % TURN])
    at = np.arange(1, size // 2 + 1) * k * TURN // bins
    return np.concatenate([cos[at % TURN], cos[(at - TURN // 4) % TURN]], axis=1)


@dataclasses.dataclass
class Network:
    """Multiples of 1/32 as int64: w1 [H, D], b1 [H], w2 [R, H], b2 [R], `base` [K]; bins of a line or a circle."""

    w1: np.ndarray
    b1: np.ndarray
    w2: np.ndarray
    b2: np.ndarray
    base: np.ndarray
    periodic: bool = False

    @property
    def parts(self) -> tuple[np.ndarray, ...]:
        return self.w1, self.b1, self.w2, self.b2, self.base

    @property
    def exact(self) -> bool:
        """Whether every sum stays below 2²⁴ for inputs up to LARGEST."""
        first = np.abs(self.w1).sum(axis=1) * LARGEST + np.abs(self.b1) * ONE
        second = np.abs(self.w2).sum(axis=1) * MOST_HIDDEN + np.abs(self.b2) * ONE
        sums = max(int(first.max(initial=0)), int(second.max(initial=0)))
        return sums < EXACT and int(np.abs(self.base).max(initial=0)) < 1 << 11 and len(self.w2) <= 1 << 7

    @functools.cached_property
    def _matrices(self) -> tuple[np.ndarray, ...]:
        # Whole numbers times powers of two: as exact as the whole numbers.
        first = np.concatenate([self.w1, self.b1[:, None] * ONE], axis=1) / STEPS
        second = np.concatenate([self.w2, self.b2[:, None] * ONE], axis=1) / (STEPS * ONE // COEFFICIENT)
        turned = basis(len(self.base), len(self.w2), self.periodic)
        levels = self.base[:, None] * (COSINE * COEFFICIENT // STEPS)
        unit = COSINE * COEFFICIENT << SQUARINGS
        third = np.concatenate([turned, levels + unit], axis=1) / unit
        return tuple(np.asarray(m, np.float32) for m in (first, second, third))

    def cumulative(self, x: np.ndarray) -> np.ndarray:
        """Running sums of the bins' weights [K + 1, n] float32, from 0 on.

        Args:
            x: inputs [D + 1, n] float32, the last of which are ones.
        """
        first, second, third = self._matrices
        n = x.shape[1]
        h = np.empty((len(first) + 1, n), np.float32)
        np.matmul(first, x, out=h[:-1])
        np.floor(h[:-1], out=h[:-1])
        np.clip(h[:-1], 0, MOST_HIDDEN, out=h[:-1])
        h[-1] = 1
        c = np.empty((len(second) + 1, n), np.float32)
        np.matmul(second, h, out=c[:-1])
        np.floor(c[:-1], out=c[:-1])
        most = (EXACT // 4 * 3 // COSINE) // max(len(second), 1)
        np.clip(c[:-1], -most, most, out=c[:-1])
        c[-1] = 1
        sums = np.empty((len(third) + 1, n), np.float32)
        w = sums[1:]
        np.matmul(third, c, out=w)
        np.clip(w, LEAST, MOST, out=w)
        for _ in range(SQUARINGS):
            np.square(w, out=w)
        sums[0] = 0
        for k in range(2, len(sums)):
            np.add(sums[k], sums[k - 1], out=sums[k])
        return sums
