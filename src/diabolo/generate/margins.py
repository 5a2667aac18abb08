"""Cells of drawn rows put where training cells of the same rank lie: each column's own law becomes the training rows'.

x ↦ F⁻¹(G(x)), G the law of drawn and F that of training cells, is monotone: the relation between columns, their copula,
stays as drawn. Repeated values, gaps and ends come back (Nelsen 2006, An Introduction to Copulas).
"""

from __future__ import annotations

import numpy as np

from diabolo.data.schema import Schema
from diabolo.data.slots import filled

__all__ = ["Margins"]


class Margins:
    """The maps of all columns of numbers.

    Args:
        schema: of the columns.
        rows: training rows, [n, C], NaN where missing.
        drawn: rows of the law to be mapped, [m, C].
    """

    def __init__(self, schema: Schema, rows: np.ndarray, drawn: np.ndarray) -> None:
        self._schema = schema
        there, known = self._there(rows), self._there(drawn)
        #: By column: cells drawn and training cells, both sorted.
        self._maps: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for c, column in enumerate(schema.columns):
            pair = np.sort(drawn[known[:, c], c]), np.sort(rows[there[:, c], c].astype(np.float64))
            if column.kind not in ("categorical", "constant") and all(map(len, pair)):
                self._maps[c] = pair

    def _there(self, rows: np.ndarray) -> np.ndarray:
        """Cells that are neither missing nor of an empty slot, [n, C] bool."""
        gone = np.isnan(rows)
        return np.asarray(~gone & filled(np.where(gone, 1.0, rows), self._schema.groups))

    def __call__(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Mapped rows [n, C]; among equal cells drawn, chance decides the rank."""
        out, there = rows.copy(), self._there(rows)
        for c, (drawn, known) in self._maps.items():
            on = there[:, c]
            low, high = (np.searchsorted(drawn, rows[on, c], side) for side in ("left", "right"))
            u = (low + rng.random(len(low)) * np.maximum(high - low, 1)) / len(drawn)
            out[on, c] = known[np.minimum((u * len(known)).astype(np.int64), len(known) - 1)]
        return out
