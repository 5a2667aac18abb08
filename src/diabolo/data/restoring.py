"""Cells in a schema's order as Arrow's rows: the columns, types, levels and images of the table of the fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from diabolo.data.dtypes import mean_type, restored
from diabolo.data.formats import shape_metadata
from diabolo.data.schema import Schema

__all__ = ["restorer"]


def restorer(known: Schema, mean: bool) -> tuple[Any, Callable[[np.ndarray], Any]]:
    """The Arrow schema of rows like those of the fit, and what makes a batch of cells [n, C]; NaN is a missing one.

    Args:
        mean: whether cells are means, of which none is an integer.
    """
    import pyarrow as pa

    dtypes = [mean_type(c.dtype) if mean else c.dtype for c in known.columns]
    levels = known.levels

    def columns(cells: np.ndarray) -> list[Any]:
        pairs = enumerate(zip(known.names, dtypes, strict=True))
        return [restored(cells[:, i], dtype, levels.get(name, ())) for i, (name, dtype) in pairs]

    kinds = [c.type for c in columns(np.empty((0, len(dtypes))))]
    schema = pa.schema(list(zip(known.names, kinds, strict=True)), shape_metadata(known.row_shape))
    return schema, lambda cells: pa.RecordBatch.from_arrays(columns(cells), schema=schema)
