"""A small network in whole numbers: the same on every machine, whatever the order of its sums.

h = max(0, ⌊(W₁x + b₁) / 2⁶⌋), c = ⌊(W₂h + b₂) / 2⁸⌋, l = ⌊Cc / 2¹⁴⌋ + b for integers x (2⁻⁸ each), weights (2⁻⁶
each), coefficients c and logits l (2⁻⁶ nats each) and cosines C over the bins (2⁻¹⁴ each): log-densities are smooth, so
a dozen coefficients do, and cost a file less. Products and sums stay below 2⁵³, so double precision holds them exactly.
"""

from __future__ import annotations

import dataclasses
import functools
from decimal import Decimal, localcontext

import numpy as np

__all__ = ["ONE", "TURN", "Network", "basis", "cosines", "direction", "exponential"]

#: One, as an input.
ONE = 1 << 8
WEIGHT = 1 << 6
#: Directions in a full turn.
TURN = 1 << 12
ROWS = 1 << 13
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
    """Direction of integer vectors in 1/4096 of a turn, rounded down; 0 for no vector."""
    cos = cosines()
    d = np.where((y < 0) | ((y == 0) & (x < 0)), TURN // 2, 0)
    step = TURN // 4
    while step:
        further = d + step
        # The direction is at or beyond `further` if the cross product with it is not negative.
        beyond = cos[further % TURN] * y - cos[(further - TURN // 4) % TURN] * x >= 0
        d = np.where(beyond & ((x != 0) | (y != 0)), further, d)
        step //= 2
    return d % TURN


def basis(bins: int, size: int, periodic: bool) -> np.ndarray:
    """Cosines over the bins, [K, R] int64 of 2⁻¹⁴: cos πr(k + ½)/K, or cos and sin of 2πrk/K around a circle."""
    k, cos = np.arange(bins)[:, None], cosines()
    if not periodic:
        return np.asarray(cos[(np.arange(1, size + 1) * (2 * k + 1) * (TURN // 4) // bins) % TURN])
    at = np.arange(1, size // 2 + 1) * k * TURN // bins
    return np.concatenate([cos[at % TURN], cos[(at - TURN // 4) % TURN]], axis=1)


@dataclasses.dataclass
class Network:
    """Weights as int64: w1 [H, D], b1 [H], w2 [R, H], b2 [R], and `base` [K], for bins on a line or around a circle."""

    w1: np.ndarray
    b1: np.ndarray
    w2: np.ndarray
    b2: np.ndarray
    base: np.ndarray
    periodic: bool = False

    @property
    def parts(self) -> tuple[np.ndarray, ...]:
        return self.w1, self.b1, self.w2, self.b2, self.base

    def weights(self, x: np.ndarray) -> np.ndarray:
        """Unnormalised probabilities [n, K] int64, the largest 2²⁰, of inputs [n, D] int64."""
        table = exponential()
        out = np.empty((len(x), len(self.base)), np.int64)
        w1, w2 = self.w1.T.astype(np.float64), self.w2.T.astype(np.float64)
        turned = basis(len(self.base), len(self.w2), self.periodic).T.astype(np.float64)
        for start in range(0, len(x), ROWS):
            h = np.maximum(np.floor((x[start : start + ROWS].astype(np.float64) @ w1 + self.b1) / WEIGHT), 0)
            c = np.floor((h @ w2 + self.b2) / (4 * WEIGHT))
            logits = np.floor(c @ turned / 2**14).astype(np.int64) + self.base
            t = np.minimum(logits.max(axis=1, keepdims=True) - logits, DEEPEST)
            out[start : start + ROWS] = table[t]
        return out
