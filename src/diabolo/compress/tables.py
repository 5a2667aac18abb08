"""Distributions of integers as integer frequencies, by a rule that needs no floating point.

A table has K bins of neighbouring integers. Bin k has the weight w_k from the file; its frequency is f_k =
m_k + ⌊w_k (2²⁸ − Σm) / Σw⌋, where m_k is the number of its integers; what is left over goes to the first largest.
Within a bin all integers have the same share: the j-th one's interval ends at ⌊f_k j / m_k⌋.
"""

from __future__ import annotations

import dataclasses
import functools

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
    """One distribution for all cells of a column.

    Args:
        edges: [K + 1] bounds of the bins, upwards: bin k is [edges[k], edges[k + 1]).
        cumulative: [K + 1].
    """

    edges: np.ndarray
    cumulative: np.ndarray

    @functools.cached_property
    def single(self) -> bool:
        """Whether each bin is one integer."""
        return bool((np.diff(self.edges) == 1).all())

    def intervals(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(starts, frequencies) of values [n] within the edges."""
        if self.single:
            k = values - self.edges[0]
            start = self.cumulative[k]
            return start, self.cumulative[k + 1] - start
        k = np.searchsorted(self.edges, values, "right") - 1
        return self._within(values, k)

    def find(self, slots: np.ndarray, part: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(values, starts, frequencies) whose intervals hold the slots."""
        k = np.searchsorted(self.cumulative, slots, "right") - 1
        if self.single:
            start = self.cumulative[k]
            return self.edges[k], start, self.cumulative[k + 1] - start
        low, first = self.cumulative[k], self.edges[k]
        values = first + ((slots - low + 1) * (self.edges[k + 1] - first) - 1) // (self.cumulative[k + 1] - low)
        return values, *self._within(values, k)

    def _within(self, values: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        low, first = self.cumulative[k], self.edges[k]
        # Empty only in a damaged file.
        wide, whole = self.cumulative[k + 1] - low, np.maximum(self.edges[k + 1] - first, 1)
        start = low + wide * (values - first) // whole
        return start, low + wide * (values - first + 1) // whole - start
