"""Distributions of integers as integer frequencies, by a rule that needs no floating point.

A table has K bins of neighbouring integers. Bin k has the weight w_k (an integer from the file, or of the masked
autoencoder); its frequency is f_k = m_k + ⌊w_k (2²⁸ − Σm) / Σw⌋, where m_k is the measure of its integers (their
number, or how many points of a lattice they stand for); what is left over goes to the first largest. Within a bin an
integer's share is that of its measure: its interval ends at ⌊f_k · (measure up to it) / m_k⌋.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from diabolo.compress.coder import TOTAL

__all__ = ["MOST_MEASURE", "Table", "frequencies"]

#: A table's integers count at most so much, so that none is too rare to code.
MOST_MEASURE = 1 << 19


def frequencies(weights: np.ndarray, measure: np.ndarray) -> np.ndarray:
    """Cumulative frequencies [..., K + 1] int64 of weights [..., K] from 0 up, and measures [..., K].

    Weights are below 2³⁴ / K or so: the products stay below 2⁶³.
    """
    free = TOTAL - measure.sum(axis=-1, keepdims=True)
    total = np.maximum(weights.sum(axis=-1, keepdims=True), 1)
    f = measure + weights * free // total
    largest = f.argmax(axis=-1)[..., None]
    np.put_along_axis(f, largest, np.take_along_axis(f, largest, -1) + TOTAL - f.sum(axis=-1, keepdims=True), -1)
    out = np.zeros((*f.shape[:-1], f.shape[-1] + 1), np.int64)
    np.cumsum(f, axis=-1, out=out[..., 1:])
    return out


@dataclasses.dataclass
class Table:
    """One distribution for a column, or one for each of its rows.

    Args:
        edges: [K + 1] bounds of the bins, upwards: bin k is [edges[k], edges[k + 1]); [n, K + 1] for one per row.
        cumulative: [K + 1], or [n, K + 1] for one per row.
        measure: [R + 1] cumulative measure of the integers from `origin` on; None where each counts 1.
        origin: first integer that `measure` tells of.
    """

    edges: np.ndarray
    cumulative: np.ndarray
    measure: np.ndarray | None = None
    origin: int = 0

    def intervals(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(starts, frequencies) of values [n] within the edges."""
        part = slice(0, len(values))
        if self.edges.ndim == 1:
            k = np.searchsorted(self.edges, values, "right") - 1
        else:
            k = (self.edges[:, 1:-1] <= values[:, None]).sum(axis=1)
        low, high = self._bounds(k, part)
        below, here, whole = self._within(values, k, part)
        start = low + (high - low) * below // whole
        return start, low + (high - low) * (below + here) // whole - start

    def find(self, slots: np.ndarray, part: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(values, starts, frequencies) whose intervals hold the slots; `part` are their rows."""
        if self.cumulative.ndim == 1:
            k = np.searchsorted(self.cumulative, slots, "right") - 1
        else:
            k = (self.cumulative[part, 1:-1] <= slots[:, None]).sum(axis=1)
        low, high = self._bounds(k, part)
        first, last = self._ends(k, part)
        if self.measure is None:
            whole = last - first
            values = first + ((slots - low + 1) * whole - 1) // (high - low)
        else:
            base = first - self.origin
            whole = self.measure[last - self.origin] - self.measure[base]
            at = self.measure[base] + ((slots - low + 1) * whole - 1) // (high - low)
            values = self.origin + np.searchsorted(self.measure, at, "right") - 1
        below, here, whole = self._within(values, k, part)
        start = low + (high - low) * below // whole
        return values, start, low + (high - low) * (below + here) // whole - start

    def _bounds(self, k: np.ndarray, part: slice) -> tuple[np.ndarray, np.ndarray]:
        if self.cumulative.ndim == 1:
            return self.cumulative[k], self.cumulative[k + 1]
        rows = np.arange(part.start, part.stop)
        return self.cumulative[rows, k], self.cumulative[rows, k + 1]

    def _ends(self, k: np.ndarray, part: slice) -> tuple[np.ndarray, np.ndarray]:
        if self.edges.ndim == 1:
            return self.edges[k], self.edges[k + 1]
        rows = np.arange(part.start, part.stop)
        return self.edges[rows, k], self.edges[rows, k + 1]

    def _within(self, values: np.ndarray, k: np.ndarray, part: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        first, last = self._ends(k, part)
        if self.measure is None:
            return values - first, np.ones_like(values), np.maximum(last - first, 1)  # empty only in a damaged file
        m, zero = self.measure, self.origin
        at, whole = m[values - zero], np.maximum(m[last - zero] - m[first - zero], 1)
        return at - m[first - zero], m[values - zero + 1] - at, whole
