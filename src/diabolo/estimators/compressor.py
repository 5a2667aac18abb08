"""`Compressor`: tables as small files, with an error bound that holds for every cell."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from diabolo.compress.columns import is_float, leaf
from diabolo.compress.grid import Bound
from diabolo.compress.nested import Nest
from diabolo.compress.stream import decompressed, opened, write_file
from diabolo.data.formats.base import shape_metadata
from diabolo.data.frames import arrow_table, is_pandas, pandas_table
from diabolo.data.table import as_numbers
from diabolo.errors import CompressedFileError, ConfigError, DataError, nearest
from diabolo.estimators.autoencoder import Autoencoder
from diabolo.fitted.table import seed_of

if TYPE_CHECKING:
    from diabolo.compress.plan import Plan
    from diabolo.compress.report import Report

__all__ = ["Compressor", "as_arrow", "bounds_of", "decompress", "learned_plan"]


class Compressor(BaseEstimator):
    """Compresses tables such that |x − x̂| ≤ ε for every float cell, in original units, after decoding anywhere.

    Floats become integers on a grid of the bound; these are entropy-coded under the distributions of a masked
    autoencoder, p(x_c | columns coded before) (Germain et al. 2015, arXiv:1502.03509), in whole-number arithmetic, or
    in a simpler way where that is smaller. Other types are exact, as are NaN, ±inf and −0.0. docs/dbl.md specifies it.

    Args:
        autoencoder: None, or a fitted autoencoder, whose columns a table must then have.
        max_error: ε > 0 for every column of floats, a share like "0.1%" for ε|x|, or None for no loss.
        column_error: bounds of single columns by name, over `max_error`; None for no loss.
        random_state: seed of the fit.
        epochs: passes over training images, from 1; None: 40, and at most 2,400 steps of 128 images.

    Raises:
        ConfigError: a bound that is none, or of a column that is not there.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(500, 3))
    >>> data = Compressor(max_error=0.01).fit(X).compress(X)
    >>> bool(np.abs(decompress(data) - X).max() <= 0.01), len(data) < X.nbytes / 4
    (True, True)
    """

    def __init__(
        self,
        autoencoder: Any = None,
        max_error: Any = 1e-3,
        column_error: Any = None,
        random_state: Any = 0,
        epochs: int | None = None,
    ) -> None:
        self.autoencoder = autoencoder
        self.max_error = max_error
        self.column_error = column_error
        self.random_state = random_state
        self.epochs = epochs

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn grids and distributions from rows X [n, C]; y is ignored.

        Raises:
            DataError: no rows, or no such table.
        """
        given = self.autoencoder
        if given is not None and not (isinstance(given, Autoencoder) and hasattr(given, "model_")):
            raise ConfigError(f"autoencoder = {given!r}; allowed are None and a fitted autoencoder of diabolo's")
        if self.epochs is not None and not (isinstance(self.epochs, int) and self.epochs >= 1):
            raise ConfigError(f"epochs = {self.epochs!r}; allowed are None and whole numbers from 1")
        table, _ = as_arrow(X)
        if not table.num_rows:
            raise DataError("found 0 rows to learn from while a minimum of 1 is required")
        if given is not None:
            for name in given.model_.encoding.schema.names:
                if name not in table.column_names:
                    raise DataError(f"no column {name!r} of the autoencoder: {nearest(name, table.column_names)}")
        bounds = bounds_of(table.schema, self.max_error, self.column_error)
        self.plan_: Plan = learned_plan(table, bounds, seed_of(self.random_state), self.epochs)
        self.n_features_in_ = table.num_columns
        return self

    def compress(self, X: Any, verify: bool = True) -> bytes:
        """The table X [n, C] as the bytes of a `*.dbl` file; `report_` then tells what it came to.

        Args:
            verify: decode what was written and compare every cell, which also tells the errors.

        Raises:
            DataError: other columns or types than those of the fit.
        """
        check_is_fitted(self, "plan_")
        table, given = as_arrow(X)
        said, came = self.plan_.outer, table.schema
        if said.names != came.names or said.types != came.types:
            other = next((f"{a.name} ({a.type})" for a, b in zip(came, said, strict=False) if a != b), "their number")
            raise DataError(f"the table's columns are not those of the fit: {other}; fit a compressor on its like")
        out = io.BytesIO()
        self.report_: Report = write_file(out, table.to_batches(), self.plan_, given, verified=verify)
        return out.getvalue()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def learned_plan(table: Any, bounds: list[Bound | None], seed: int, epochs: int | None = None) -> Plan:
    """Grids, slots and the autoencoder, of images or a masked one, for tables like this one."""
    from diabolo.compress.learning import fit_masked
    from diabolo.compress.learning_images import fit_images
    from diabolo.compress.pixels import pixel_columns, pixels_of
    from diabolo.compress.planning import cells_of_plan, make_plan
    from diabolo.compress.stream import rechunked

    batch = next(rechunked(table.to_batches(), table.schema, max(1, table.num_rows)))
    plan = make_plan(batch, bounds)
    there = pixel_columns(plan.schema)
    images = None if there is None else pixels_of(plan.nest.split(batch), there[1])
    if there is not None and images is not None:
        plan.images = fit_images(images, there[0], seed, epochs)
    if plan.images is None:
        plan.masked = fit_masked(plan, cells_of_plan(plan, batch), batch.num_rows, seed)
    return plan


def bounds_of(schema: Any, max_error: Any, column_error: Mapping[str, Any] | None) -> list[Bound | None]:
    """The bound of each flat column of a schema; None where it has none or holds no floats, in lists or not."""
    flat = Nest(schema).flat
    default = None if max_error is None else Bound.parse(max_error)
    said = {n: None if e is None else Bound.parse(e) for n, e in (column_error or {}).items()}
    for name in said:
        if name not in flat.names:
            raise ConfigError(f"column error of {name!r}: {nearest(name, flat.names)}")
        if not is_float(leaf(flat.field(name).type)):
            raise ConfigError(f"column error of {name!r}, which holds {flat.field(name).type}: allowed are floats")
    return [said.get(f.name, default) if is_float(leaf(f.type)) else None for f in flat]


def as_arrow(X: Any) -> tuple[Any, dict[str, Any]]:
    """A table as Arrow's, and what is needed to give it back as it came."""
    import pyarrow as pa

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
            from diabolo.errors import MissingExtraError

            raise MissingExtraError("pandas", "pandas", "returning a data frame") from None
    if given.get("container") != "numpy":
        return table
    columns = [c.to_numpy() for c in table.columns]
    kind = np.dtype(given["dtype"])
    out = np.empty((table.num_rows, len(columns)), kind)
    for i, cells in enumerate(columns):
        out[:, i] = cells
    return out.reshape(table.num_rows, *given["shape"])


def decompress(data: bytes, model: bytes | None = None) -> Any:
    """The table that `Compressor.compress` took, in the container it came in.

    Args:
        data: bytes of a `*.dbl` file.
        model: the codec section of a file that was written without it.

    Raises:
        CompressedFileError: the bytes are damaged, cut off, or another's; names the chunk.
    """
    import pyarrow as pa

    reader = opened(data)
    batches = list(decompressed(reader, model))
    table = pa.Table.from_batches(batches, reader.header.outer)
    try:
        return as_given(table, reader.header.input)
    except (ValueError, LookupError, TypeError, pa.ArrowException) as error:
        raise CompressedFileError(f"its rows are not what its header says ({str(error)[:100]})") from None
