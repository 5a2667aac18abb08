"""Arrays, data frames and Arrow tables as Arrow's, and back as they came, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from diabolo.data.formats.base import shape_metadata
from diabolo.data.frames import arrow_table, is_pandas, pandas_table
from diabolo.data.table import as_numbers
from diabolo.errors import DataError, MissingExtraError

__all__ = ["as_arrow", "as_given"]


def as_arrow(X: Any) -> tuple[Any, dict[str, Any]]:
    """A table as Arrow's, and what is needed to give it back as it came."""
    if is_pandas(X):
        table = pandas_table(X)
        for i, field in enumerate(table.schema):
            # Arrow would take NaN for null, and forget its bits.
            if pa.types.is_floating(field.type) and field.name in X and X[field.name].dtype.kind == "f":
                cells = np.ascontiguousarray(X[field.name].to_numpy())
                table = table.set_column(
                    i, field, pa.Array.from_buffers(field.type, len(cells), [None, pa.py_buffer(cells)])
                )
        return table, {"container": "pandas"}
    frame = arrow_table(X, flat=False)
    if frame is not None:
        return frame, {"container": "arrow"}
    if np.ma.is_masked(X):
        raise DataError("X is a masked array, whose mask no file keeps; fill in its masked cells: X.filled(numpy.nan)")
    plain = isinstance(X, np.ndarray) and X.dtype.kind in "fiub" and X.ndim >= 2 and min(X.shape[1:]) > 0
    array = X if plain else as_numbers(X)
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise DataError(
            f"X has type {array.dtype} and shape {list(array.shape)}; allowed are arrays [n, columns] or images "
            "[n, h, w] of numbers or booleans, data frames and Arrow tables"
        )
    flat = array.reshape(len(array), int(np.prod(array.shape[1:])))
    columns = {}
    for i in range(flat.shape[1]):
        cells = np.ascontiguousarray(flat[:, i].astype(array.dtype.newbyteorder("="), copy=False))
        kind = pa.from_numpy_dtype(cells.dtype)
        columns[f"x{i}"] = (
            pa.array(cells)
            if kind == pa.bool_()
            else pa.Array.from_buffers(kind, len(cells), [None, pa.py_buffer(cells)])
        )
    given = {"container": "numpy", "dtype": array.dtype.newbyteorder("=").name, "shape": list(array.shape[1:])}
    image = shape_metadata(array.shape[1:]) if array.ndim > 2 else None
    return pa.table(columns, metadata=image), given


def as_given(table: Any, given: dict[str, Any]) -> Any:
    """An Arrow table as the rows came."""
    if given.get("container") == "pandas":
        try:
            return table.to_pandas()
        except ImportError:
            raise MissingExtraError("pandas", "pandas", "returning a data frame") from None
    if given.get("container") != "numpy":
        return table
    columns = [c.to_numpy() for c in table.columns]
    kind = np.dtype(given["dtype"])
    out = np.empty((table.num_rows, len(columns)), kind)
    for i, cells in enumerate(columns):
        out[:, i] = cells
    return out.reshape(table.num_rows, *given["shape"])
