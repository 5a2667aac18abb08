"""A model file's detector in this process: scores, explanations, drift, a typical row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from diabolo.detect.calibrated import Calibrated
from diabolo.detect.cells import plain_rows
from diabolo.detect.explaining import Explanation, explain
from diabolo.detect.health import Health
from diabolo.file.model_file import ModelFile
from diabolo.generate.drawing import draw
from diabolo.serve.backends import RESULT, Choice, digest, ordered_values
from diabolo.serve.columns import Columns

__all__ = ["DetectorBackend"]

#: Rows drawn for a typical one.
DRAWN = 64


class DetectorBackend:
    """A model file's detector, in this process."""

    def __init__(self, path: Path, choice: Choice) -> None:
        self.digest = digest(path)
        file = ModelFile(path, choice.own_network, choice.device)
        self._detector = file.detector.choosing(choice.score, choice.false_alarm_rate)
        self._sampler = file.generator
        self._threshold = self._detector.threshold  # refuses a score that is not calibrated, and a rate
        self._schema = file.schema
        self.columns = Columns(self._schema)
        self.card = _card(file, self._detector)

    def score(self, table: pa.Table) -> pa.Table:
        if not table.num_rows:
            return RESULT.empty_table()
        values = ordered_values(table, self.columns)
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
        return explain(self._detector, ordered_values(table, self.columns), neighbors)

    def health(self, table: pa.Table, level: float) -> Health:
        monitor = self._detector.monitor(level)
        monitor.add(ordered_values(table, self.columns))
        return monitor.report()

    def typical(self) -> dict[str, Any]:
        method = "prior" if self._sampler.model.masking is None else "masked"
        values = draw(self._sampler, DRAWN, seed=0, method=method)
        scores = self._detector.scores(values)
        best = int(np.argmin(np.where(np.isfinite(scores), scores, np.inf)))
        return plain_rows(values[best : best + 1], self._detector.reference.model.encoding)[0]


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
