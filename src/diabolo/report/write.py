"""`report` and `write_report`: a model and rows in, one page out."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from diabolo.data.dtypes import python_cells
from diabolo.data.formats import Data, Taken
from diabolo.data.hashing import fingerprint, hash_rows
from diabolo.data.matching import matched
from diabolo.data.reading import as_fitted
from diabolo.data.sample import sampled
from diabolo.data.table import TableLike, as_table
from diabolo.errors import ConfigError, DataError
from diabolo.file.model_file import ModelFile
from diabolo.progress import progress
from diabolo.report.evidence import Evidence, Given, ReportRows, most_scored, spaced
from diabolo.report.page import page
from diabolo.report.shown import Report

__all__ = ["report", "write_report"]

#: Bytes of rows held in memory, at most.
MOST_BYTES = 1 << 26


class Reportable(Protocol):
    """A fitted autoencoder, detector or clusterer."""

    def report(self, X: TableLike | Data) -> Report: ...


def report(
    model: str | Path | Reportable,
    X: TableLike | Data,
    path: str | Path | None = None,
    *,
    label: str | ArrayLike | None = None,
    seed: int = 0,
    refits: bool | None = None,
    own_network: bool = False,
    device: str | None = None,
) -> Report:
    """A page on a fitted model and its verdict on rows, which shows itself in a notebook and saves as one HTML file.

    The same model and rows give the same bytes, but for the date, which SOURCE_DATE_EPOCH sets.

    Args:
        model: a model file, or a fitted autoencoder, detector or clusterer.
        X: rows [n, C], or the path of a table; of more than 100,000 rows (40,000 for a costly score) an even
            sample is shown.
        path: file to write too, by atomic rename.
        label: name of a column of the table with the truth on each row, or values [n]; it is shown, and never scored.
        seed: of samples, damaged rows and refits.
        refits: train the model anew for a moment at other sizes of its latent; None does where that takes seconds.
        own_network: as for `diabolo.load`.
        device: where a file's rows are scored, "cpu", "cuda" or "auto"; None where its detector is calibrated.

    Raises:
        ModelFileError, DataError, ConfigError: the file, the rows or the label cannot be used.
        OutputError: the page cannot be written.

    >>> import diabolo, tempfile
    >>> X = np.random.default_rng(0).normal(size=(400, 5)) @ np.ones((5, 5))
    >>> detector = diabolo.AnomalyDetector(diabolo.Autoencoder(latent_dim=1, epochs=2)).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = diabolo.report(detector, X, f"{folder}/report.html")
    ...     Path(folder, "report.html").read_text() == found.html, found.html[:15]
    (True, '<!doctype html>')
    """
    with progress("report"):
        given = _given(model, own_network, device)
        rows = _rows(given, X, label)
        made = Report(page(Evidence(given, rows, seed, refits), _today()))
    if path is not None:
        made.save(path)
    return made


def write_report(
    model: str | Path | Reportable,
    X: TableLike | Data,
    path: str | Path,
    *,
    label: str | ArrayLike | None = None,
    seed: int = 0,
    refits: bool | None = None,
    own_network: bool = False,
    device: str | None = None,
) -> None:
    """Write the page of `report` to a file."""
    report(model, X, path, label=label, seed=seed, refits=refits, own_network=own_network, device=device)


def _today() -> date:
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    return datetime.fromtimestamp(int(epoch), UTC).date() if epoch.isdecimal() else date.today()


def _given(model: object, own_network: bool, device: str | None) -> Given:
    if isinstance(model, BaseEstimator):
        ae = getattr(model, "autoencoder_", model)
        check_is_fitted(model)
        if not hasattr(ae, "fitted_"):
            raise ConfigError(f"model = {type(model).__name__} without an autoencoder, which a report is about")
        name = type(ae).__name__
        detector, clusters = getattr(model, "calibrated_", None), getattr(model, "clusters_", None)
        return Given(name, name, ae.fitted_, ae.sampler_, detector, clusters)
    if not isinstance(model, str | os.PathLike):
        raise ConfigError(
            f"model = {model!r}; allowed are a model file, and a fitted autoencoder, detector or clusterer"
        )
    file = ModelFile(Path(model), own_network, device)
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
