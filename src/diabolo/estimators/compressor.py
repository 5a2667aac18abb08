"""`Compressor`: tables as small files, with an error bound that holds for every cell."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import pyarrow as pa
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from diabolo.cards import jsonable
from diabolo.compress.columns import is_float, leaf
from diabolo.compress.fitting import bounds_of, learned_plan
from diabolo.compress.frames import as_arrow, as_given
from diabolo.compress.plan import Plan
from diabolo.compress.report import Report
from diabolo.compress.stream import decompressed, opened, write_file
from diabolo.config import RandomState, seed_of
from diabolo.data.table import TableLike, TableOut
from diabolo.errors import CompressedFileError, ConfigError, DataError, ModelFileError, nearest
from diabolo.estimators.autoencoder import Autoencoder
from diabolo.estimators.displayed import Displayed
from diabolo.estimators.faces import AroundAutoencoder
from diabolo.estimators.naming import checked
from diabolo.file.codec import Codec, asked_bounds, codec_section
from diabolo.file.model_file import ModelFile, save_sections
from diabolo.progress import progress, tick

__all__ = ["Compressor", "decompress"]

#: A bound: ε > 0, or a share like "0.1%".
Error = float | str | None


class Compressor(AroundAutoencoder, Displayed, BaseEstimator):
    """Compresses tables such that |x − x̂| ≤ ε for every float cell, in original units, after decoding anywhere.

    Floats become integers on a grid of the bound; these are entropy-coded under the distributions of an
    autoregressive network, p(x_c | columns coded before) (Germain et al. 2015, arXiv:1502.03509), in whole-number
    arithmetic, or in a simpler way where that is smaller. The network is the compressor's own, fitted for this and kept
    in the file; images have an autoencoder of their own. Other types are exact, as are NaN, ±inf and −0.0. docs/dbl.md
    specifies it.

    Args:
        autoencoder: None, or a fitted autoencoder, whose columns a table must then have. It codes nothing; `save`
            puts both into one file.
        max_error: ε > 0 for every column of floats, a share like "0.1%" for ε|x|, or None for no loss.
        column_error: bounds of single columns by name, over `max_error`; None for no loss.
        random_state: seed of the fit.
        epochs: passes over training images, from 1; None: 40, and at most 2,400 steps of 128 images.
        verbose: as in `AnomalyDetector`.

    Raises:
        ConfigError: a wrong bound, or a bound of a column that is not there.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(500, 3))
    >>> data = Compressor(max_error=0.01).fit(X).compress(X)
    >>> bool(np.abs(decompress(data) - X).max() <= 0.01), len(data) < X.nbytes / 4
    (True, True)
    """

    @checked
    def __init__(
        self,
        autoencoder: Autoencoder | None = None,
        max_error: Error = 1e-3,
        column_error: Mapping[str, Error] | None = None,
        random_state: RandomState = 0,
        epochs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.autoencoder = autoencoder
        self.max_error = max_error
        self.column_error = column_error
        self.random_state = random_state
        self.epochs = epochs
        self.verbose = verbose

    def fit(self, X: TableLike, y: object = None) -> Self:
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
        with progress("fit", self.verbose):
            plan = learned_plan(table, bounds, seed_of(self.random_state), self.epochs)
        return self._adopt(Codec(plan, asked_bounds(bounds, plan.outer)), given)

    def _adopt(self, codec: Codec, ae: Autoencoder | None) -> Self:
        self.codec_, self.autoencoder_ = codec, ae
        self.plan_: Plan = codec.plan
        self.n_features_in_ = len(codec.plan.outer)
        return self

    def compress(self, X: TableLike, verify: bool = True) -> bytes:
        """The table X [n, C] as the bytes of a `*.dbl` file; `report_` then holds their sizes and errors.

        Args:
            verify: decode the bytes and compare every cell, which also gives the errors.

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
        with progress("compress", self.verbose) as bar:

            def coded(rows: int) -> None:
                tick(bar.done + rows, table.num_rows, "rows")

            batches = table.to_batches()
            self.report_: Report = write_file(out, batches, self.plan_, given, progress=coded, verified=verify)
        return out.getvalue()

    # ── the file ──────────────────────────────────────────────────────────────────────────────────

    def save(self, path: str | Path) -> None:
        """Write the section `codec`, and the autoencoder if there is one, whose file keeps its other sections.

        `decompress` needs no such file: the bytes of `compress` hold the codec.

        Raises:
            OutputError: the file cannot be written.

        >>> import tempfile, numpy as np
        >>> X = np.random.default_rng(0).normal(size=(500, 3))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Compressor(max_error=0.01).fit(X).save(f"{folder}/my.diabolo")
        ...     Compressor.load(f"{folder}/my.diabolo").max_error
        0.01
        """
        check_is_fitted(self, "plan_")
        own = {k: jsonable(v) for k, v in self.get_params(deep=False).items() if k not in ("autoencoder", "verbose")}
        codec = dataclasses.replace(self.codec_, parameters=own)
        ae = self.autoencoder_
        sections = {} if ae is None else ae.sections()
        save_sections(path, type(self).__name__, {**sections, "codec": codec_section(codec)})

    @classmethod
    def from_file(cls, file: ModelFile) -> Self:
        """The estimator of this class that an open model file holds; see `load`."""
        codec, ae = file.codec, Autoencoder.from_file(file) if "main" in file else None
        own = codec.parameters
        if own is None:  # a command has put it there
            floats = [f.name for f in codec.plan.schema if is_float(leaf(f.type))]
            errors = [None if b is None else f"{100 * b[0]!r}%" if b[1] else b[0] for b in codec.asked]
            own = {"max_error": None, "column_error": dict(zip(floats, errors, strict=True))}
        try:
            return cls(ae, **own)._adopt(codec, ae)
        except TypeError as error:
            raise ModelFileError(f"{file.path}: section 'codec' does not fit together: {error}") from None


def decompress(data: bytes, model: bytes | None = None) -> TableOut:
    """The table that `Compressor.compress` took, in the container it came in.

    Args:
        data: bytes of a `*.dbl` file.
        model: the codec section of a file that was written without it.

    Raises:
        CompressedFileError: the bytes are damaged, cut off, or another's; names the chunk.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(500, 3))
    >>> back = decompress(Compressor(max_error=0.01).fit(X).compress(X))
    >>> back.shape, bool(np.abs(back - X).max() <= 0.01)
    ((500, 3), True)
    """
    reader = opened(data)
    batches = list(decompressed(reader, model))
    table = pa.Table.from_batches(batches, reader.header.outer)
    try:
        return as_given(table, reader.header.input)
    except (ValueError, LookupError, TypeError, pa.ArrowException) as error:
        raise CompressedFileError(f"its rows are not what its header says ({str(error)[:100]})") from None
