"""What an endpoint asks of a model: a table in, its scores out. Here the detector in this process answers."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from diabolo.artifact import stamp_of
from diabolo.data.dtypes import arrow_dtype, batch_values
from diabolo.data.matching import matched
from diabolo.data.schema import Schema
from diabolo.data.table import Table, as_table
from diabolo.detect.calibrated import Calibrated
from diabolo.detect.cells import plain_rows
from diabolo.detect.explaining import Explanation, explain
from diabolo.detect.health import Health
from diabolo.errors import DiaboloError
from diabolo.file.model_file import ModelFile
from diabolo.generate.drawing import draw
from diabolo.serve.columns import Columns

__all__ = ["RESULT", "SUFFIXES", "Backend", "Choice", "open_backend"]

#: Files that can be served.
SUFFIXES = (".diabolo",)
#: What a backend says of each row; a row that cannot be scored has no p-value, and a flag that says why.
RESULT = pa.schema(
    [("score", pa.float64()), ("p_value", pa.float64()), ("is_anomaly", pa.bool_()), ("flag", pa.string())]
)
#: Rows drawn for a typical one.
DRAWN = 64


@dataclasses.dataclass(frozen=True)
class Choice:
    """The score and the rate that a model is served with; None for its own."""

    score: str | None = None
    false_alarm_rate: float | None = None
    own_network: bool = False


class Backend(Protocol):
    """A model that scores tables; several threads may call it at once.

    Attributes:
        columns: that it wants.
        card: what it is, in words and numbers for a page and a caller.
        digest: SHA-256 of the file, hexadecimal.
    """

    columns: Columns
    card: dict[str, Any]
    digest: str

    def score(self, table: pa.Table) -> pa.Table:
        """Rows in the model's columns, in any order and beside others, as a table of `RESULT`."""
        ...

    def explain(self, table: pa.Table, neighbors: int) -> list[Explanation]:
        """Why each row has its score."""
        ...

    def health(self, table: pa.Table, level: float) -> Health:
        """Whether rows still look like the calibration rows."""
        ...

    def typical(self) -> dict[str, Any]:
        """A normal row that the model has drawn, by column; no row of the training table."""
        ...


def open_backend(path: Path, choice: Choice) -> Backend:
    """The backend of a model file.

    Raises:
        DiaboloError: the file cannot be served.
    """
    return DetectorBackend(path, choice)


class DetectorBackend:
    """A model file's detector, in this process."""

    def __init__(self, path: Path, choice: Choice) -> None:
        self.digest = _digest(path)
        file = ModelFile(path, choice.own_network)
        self._detector = file.detector.choosing(choice.score, choice.false_alarm_rate)
        self._sampler = file.generator
        self._threshold = self._detector.threshold  # refuses a score that is not calibrated, and a rate
        self._schema = file.schema
        self.columns = Columns(self._schema)
        self.card = _card(file, self._detector)

    def score(self, table: pa.Table) -> pa.Table:
        if not table.num_rows:
            return RESULT.empty_table()
        values = _values(table, self._schema)
        scores = self._detector.scores(values)
        return pa.Table.from_arrays(self._judged(values, scores), schema=RESULT)

    def _judged(self, values: np.ndarray, scores: np.ndarray) -> list[Any]:
        p = self._detector.p_values(scores)
        flags: list[str | None] = [None] * len(scores)
        bad = np.flatnonzero(~np.isfinite(scores))
        if len(bad):
            reasons = self._detector.reference.model.encoding.flags(values[bad])
            said = {int(i): reason or "the score overflows" for i, reason in zip(bad, reasons, strict=True)}
            flags = [said.get(i) for i in range(len(scores))]
        anomaly = (scores > self._threshold) | ~np.isfinite(scores)
        return [pa.array(scores), pa.array(p, from_pandas=True), pa.array(anomaly), pa.array(flags, pa.string())]

    def explain(self, table: pa.Table, neighbors: int) -> list[Explanation]:
        return explain(self._detector, _values(table, self._schema), neighbors)

    def health(self, table: pa.Table, level: float) -> Health:
        monitor = self._detector.monitor(level)
        monitor.add(_values(table, self._schema))
        return monitor.report()

    def typical(self) -> dict[str, Any]:
        method = "prior" if self._sampler.model.masking is None else "masked"
        values = draw(self._sampler, DRAWN, seed=0, method=method)
        scores = self._detector.scores(values)
        best = int(np.argmin(np.where(np.isfinite(scores), scores, np.inf)))
        return plain_rows(values[best : best + 1], self._detector.reference.model.encoding)[0]


def _values(table: pa.Table, schema: Schema) -> np.ndarray:
    """Rows in the schema's order, as `diabolo score` reads them."""
    names = schema.names
    if table.column_names != names:
        there = set(table.column_names)
        table = table.select([n for n in names if n in there])
    if table.column_names != names:
        return matched(as_table(table), schema, "the model").values
    batch = table.combine_chunks().to_batches()[0]
    dtypes, levels = [arrow_dtype(f.type, f.name) for f in table.schema], dict[str, list[str]]()
    values = batch_values(batch, names, levels)
    return matched(Table(values, names, dtypes, "arrow", True, levels), schema, "the model").values


def _digest(path: Path) -> str:
    before = stamp_of(path)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if stamp_of(path) != before:
        raise DiaboloError(f"{path} changed while it was read")
    return found


def _card(file: ModelFile, d: Calibrated) -> dict[str, Any]:
    fitted = file.autoencoder
    return {
        "fitted_by": file.estimator.type,
        "saved_by": file.saved,
        "score": d.score_name,
        "threshold": d.threshold,
        "false_alarm_rate": d.rate,
        "calibration": d.calibration.said,
        "smallest_p_value": 1 / (d.calibration.units + 1),
        "rows": {role: n for role, n in fitted.roles.counts.items() if n},
        "columns": len(file.schema.names),
        "latent": fitted.model.latent_dim,
        "parameters": int(fitted.model.store.flat.shape[-1]),
        "bytes": file.size,
        "rows_kept": file.rows,
        "remarks": d.remarks,
    }
