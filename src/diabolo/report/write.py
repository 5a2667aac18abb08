"""`write_report`: a model and rows in, one page out."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from diabolo.data.dtypes import python_cells
from diabolo.data.formats import Data, Taken, atomic
from diabolo.data.hashing import fingerprint, hash_rows
from diabolo.data.matching import matched
from diabolo.data.reading import as_fitted
from diabolo.data.sample import sampled
from diabolo.data.table import TableLike, as_table
from diabolo.errors import ConfigError, DataError
from diabolo.estimators.autoencoder import Autoencoder
from diabolo.estimators.detector import AnomalyDetector
from diabolo.file.model_file import ModelFile
from diabolo.report.evidence import Evidence, Given, ReportRows, most_scored, spaced
from diabolo.report.page import page

__all__ = ["write_report"]

#: Bytes of rows held in memory, at most.
MOST_BYTES = 1 << 26


def write_report(
    model: str | Path | Autoencoder | AnomalyDetector,
    X: TableLike | Data,
    path: str | Path,
    *,
    label: str | ArrayLike | None = None,
    seed: int = 0,
    refits: bool | None = None,
    own_network: bool = False,
) -> None:
    """Write a page on a fitted model and its verdict on rows: one HTML file that opens offline.

    The same model and rows give the same bytes, but for the date, which SOURCE_DATE_EPOCH sets.

    Args:
        model: a model file, or a fitted autoencoder or detector.
        X: rows [n, C], or the path of a table; of more than 100,000 rows (40,000 for a costly score) an even
            sample is shown.
        path: file to write, by atomic rename.
        label: name of a column of the table with the truth on each row, or values [n]; it is shown, and never scored.
        seed: of samples, damaged rows and refits.
        refits: train the model anew for a moment at other sizes of its latent; None does where that takes seconds.
        own_network: as for `diabolo.load`.

    Raises:
        ModelFileError, DataError, ConfigError: the file, the rows or the label cannot be used.
        OutputError: the page cannot be written.

    >>> import tempfile
    >>> from diabolo import AnomalyDetector, Autoencoder
    >>> X = np.random.default_rng(0).normal(size=(400, 5)) @ np.ones((5, 5))
    >>> detector = AnomalyDetector(Autoencoder(latent_dim=1, epochs=2)).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_report(detector, X, f"{folder}/report.html")
    ...     Path(folder, "report.html").read_text()[:15]
    '<!doctype html>'
    """
    given = _given(model, own_network)
    rows = _rows(given, X, label)
    text = page(Evidence(given, rows, seed, refits), _today())
    with atomic(path) as part:
        Path(part).write_text(text, encoding="utf-8")


def _today() -> date:
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    return datetime.fromtimestamp(int(epoch), UTC).date() if epoch.isdecimal() else date.today()


def _given(model: str | Path | Autoencoder | AnomalyDetector, own_network: bool) -> Given:
    if isinstance(model, AnomalyDetector):
        check_is_fitted(model)
        ae = model.autoencoder_
        return Given(type(ae).__name__, type(ae).__name__, ae.fitted_, ae.sampler_, model.calibrated_)
    if isinstance(model, Autoencoder):
        check_is_fitted(model, "model_")
        return Given(type(model).__name__, type(model).__name__, model.fitted_, model.sampler_, None)
    if not isinstance(model, str | os.PathLike):
        raise ConfigError(f"model = {model!r}; allowed are a model file, and a fitted autoencoder or detector")
    file = ModelFile(Path(model), own_network)
    detector = file.detector if "detector" in file else None
    clusters = file.clusterer if "clusters" in file else None
    return Given(file.path.name, file.estimator.type, file.autoencoder, file.generator, detector, clusters, file)


def _rows(given: Given, X: TableLike | Data, label: str | ArrayLike | None) -> ReportRows:
    schema = given.fitted.model.encoding.schema
    if isinstance(X, str | os.PathLike | Taken):
        if not isinstance(label, str | None):
            raise ConfigError(f"label = {label!r:.60}: of a table in a file, allowed is the name of a column")
        return _read(given, X if isinstance(X, Taken) else str(X), label)
    table = matched(as_table(X), schema, "the model")
    at = spaced(len(table), most_scored(given))
    truth, name = None, None
    if label is not None:
        name, cells = (label, _cells(X, label)) if isinstance(label, str) else ("label", np.asarray(label))
        if len(cells) != len(table):
            raise DataError(f"label has {len(cells):,} values for {len(table):,} rows")
        truth = np.array([_word(c) for c in cells[at].tolist()])
    total = len(table)
    return ReportRows(f"{total:,} rows", table.values[at], at, total, fingerprint(hash_rows(table.values)), name, truth)


def _cells(X: Any, label: str) -> np.ndarray:
    try:
        column = X[label]
    except (KeyError, IndexError, TypeError, ValueError):
        raise DataError(f"label = {label!r}: the rows have no such column") from None
    cells = python_cells(column) if hasattr(column, "to_pylist") else list(column)
    found = np.empty(len(cells), object)
    found[:] = cells
    return found


def _word(cell: object) -> str:
    """A label's cell as text."""
    if cell is None or (isinstance(cell, float) and np.isnan(cell)):
        return "missing"
    return f"{cell:g}" if isinstance(cell, float) else str(cell)


def _read(given: Given, data: Data, label: str | None) -> ReportRows:
    schema = given.fitted.model.encoding.schema
    source = as_fitted(data, schema, [label] if label else [])
    found = sampled(
        source, schema, None, min(8 * len(schema.names) * most_scored(given), MOST_BYTES), more=[label] if label else []
    )
    truth = np.array([_word(c) for c in found.more[label].tolist()]) if label else None
    name = str(data).rstrip("/").rpartition("/")[2] or str(data)
    return ReportRows(name, found.values, found.positions, found.rows, found.fingerprint, label, truth, source)
