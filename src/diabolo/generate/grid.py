"""Cells of drawn rows on the grid of their column: decimals, whole numbers, levels, steps of dates."""

from __future__ import annotations

import numpy as np

from diabolo.data.schema import Column
from diabolo.data.times import on_steps, zone_of

__all__ = ["on_grid"]


def on_grid(column: Column, cells: np.ndarray) -> np.ndarray:
    """The nearest cells that the column can have, [n]; missing ones stay missing."""
    if column.kind == "ordinal":
        levels = np.array([float(word) for word in column.levels])
        at = np.abs(cells[:, None] - levels).argmin(axis=1)
        return np.where(np.isnan(cells), np.nan, levels[at])
    if column.resolution > 0 and column.kind == "date":
        return on_steps(cells, column.resolution, zone_of(column.dtype))
    if column.resolution > 0 and column.kind in ("real", "integer", "count", "angle"):
        # By division: 3 · 0.1 is not the number that is written 0.3.
        steps = np.round(1 / column.resolution)
        return np.asarray(np.round(cells * steps) / steps)
    return cells
