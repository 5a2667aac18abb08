"""An exported ONNX graph in this process: scores alone, since a graph holds no rows to explain or compare with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from diabolo.errors import ConfigError
from diabolo.file.graph_file import graph_of
from diabolo.runtime import Scorer
from diabolo.serve.backends import RESULT, Choice, digest, ordered_values
from diabolo.serve.columns import Columns

__all__ = ["GraphBackend"]


class GraphBackend:
    """An exported file, run by onnxruntime.

    Raises:
        ConfigError: it has no detector, or the score or the rate is none that it can give.
        ModelFileError: diabolo has not exported it.
        MissingExtraError: onnxruntime is not installed.
    """

    def __init__(self, path: Path, choice: Choice) -> None:
        self.digest = digest(path)
        self._scorer, schema, self._errors = graph_of(path)
        self.columns = Columns(schema)
        _check(path, self._scorer, choice)
        self._rate = choice.false_alarm_rate
        # A rate that the calibration cannot promise is refused now, and not with the first request.
        self.score(pa.Table.from_arrays([pa.nulls(1, t) for t in self.columns.arrow.types], self.columns.names))
        self.card = _card(path, self._scorer, self._rate)

    def score(self, table: pa.Table) -> pa.Table:
        if not table.num_rows:
            return RESULT.empty_table()
        values = ordered_values(table, self.columns)
        with self._errors():
            found = self._scorer.score_positions(values, self._rate)
            return found if found.schema.equals(RESULT) else found.cast(RESULT)


def _check(path: Path, scorer: Scorer, choice: Choice) -> None:
    if not scorer.has_detector:
        raise ConfigError(f"{path} has no detector, so no verdict to serve; fit without --only main, and export again")
    if choice.score not in (None, scorer.score_name):
        raise ConfigError(
            f"{path} computes the score {scorer.score_name!r} alone; export the model file again with "
            f"--score {choice.score}"
        )


def _card(path: Path, scorer: Scorer, rate: float | None) -> dict[str, Any]:
    told = scorer.metadata
    calibration = told["calibration"]
    other = rate is not None and rate != calibration["rate"]
    return {
        "fitted_by": "an ONNX graph",
        "saved_by": f"diabolo {told['version']}",
        "score": scorer.score_name,
        # Another rate's threshold is in the table of p-values, and in no number of the file.
        "threshold": None if other else calibration["threshold"],
        "false_alarm_rate": rate if other else calibration["rate"],
        "calibration": calibration["said"],
        "smallest_p_value": 1 / (calibration["units"] + 1),
        "columns": len(scorer.schema),
        "bytes": path.stat().st_size,
        "rows_kept": told["stored"],
        "remarks": ["It has no explanations, no drift and no reports: those need the model file (.diabolo)."],
    }
