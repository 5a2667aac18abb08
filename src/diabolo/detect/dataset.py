"""Scores of a dataset of any size, chunk by chunk, as Arrow batches: score, p-value, verdict, and why there is none."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from diabolo.data.formats import Data
from diabolo.data.keeping import with_kept
from diabolo.data.reading import ordered_chunks, regrouped
from diabolo.data.score_columns import NUMBER, ROW, TOLD
from diabolo.data.tiles import TILE
from diabolo.detect.calibrated import Calibrated
from diabolo.detect.choice import applicable, automatic_score
from diabolo.detect.explaining import leading
from diabolo.detect.reference import Reference
from diabolo.detect.scoring import score_table
from diabolo.detect.tiling import wide_rows
from diabolo.device import CPU
from diabolo.errors import DataError
from diabolo.model.autoencoder import Model
from diabolo.staging import read_ahead

__all__ = ["ALL", "Counts", "RowScores", "scored"]

#: The score's name that stands for every one.
ALL = "all"
#: Columns of an anomaly that are named.
TOP = 3
#: Rows that a processor reads at a time: whole tiles, and few of them, as each row read takes memory several times.
READ = 4 * TILE


@dataclasses.dataclass
class Counts:
    """What there is to say of scored rows; grows while batches are taken."""

    rows: int = 0
    anomalies: int = 0
    #: Rows that could not be scored.
    flagged: int = 0


class RowScores:
    """What a model says of each row of a table.

    Args:
        model: the autoencoder.
        detector: calibrated, with score and rate chosen; None for scores alone.
        score: name of the score, None for the detector's, or `ALL`.
        explain: name the first columns of every anomaly.
        device: where rows are scored, without a detector; with one it is the detector's.
    """

    def __init__(
        self, model: Model, detector: Calibrated | None, score: str | None, explain: bool = False, device: str = CPU
    ) -> None:
        self.detector, self.explain = detector, explain and detector is not None
        self.reference = Reference(model, None, device) if detector is None else detector.reference
        asked = automatic_score(self.reference) if score in (None, ALL, "auto") else str(score)
        self.name = asked if detector is None else detector.score_name
        self.more = applicable(self.reference) if score == ALL else []
        more = [pa.field(f"score_{n}", pa.float64(), metadata=NUMBER) for n in self.more]
        top = [(f"top_{k}{p}", t) for k in range(1, TOP + 1) for p, t in (("", pa.string()), ("_p", pa.float64()))]
        self.schema = pa.schema([*TOLD, *more, *(top if explain else [])])

    def columns(
        self,
        values: np.ndarray,
        counts: Counts,
        decide: Callable[[np.ndarray], np.ndarray] | None = None,
        strict: str = "",
    ) -> list[pa.Array]:
        """The columns of `schema` for rows [n, C] in the order of the model.

        Args:
            counts: of the rows before; these are added.
            decide: which scores are anomalies; at the detector's rate by default.
            strict: beginning of the message that refuses a row that cannot be scored; none is refused by default.

        Raises:
            DataError: names the first row that cannot be scored, if that is asked for.
        """
        if self.detector is None:
            table = score_table(self.reference, values, self.more or [self.name])
        else:
            table = self.detector.judged(values, *self.more)
        s, n = table[self.name], len(values)
        flags = self._flags(values, s)
        if strict and flags:
            raise DataError(f"{strict}{counts.rows + min(flags)} cannot be scored: {flags[min(flags)]}")
        p, verdict, anomaly = pa.nulls(n, pa.float64()), pa.nulls(n, pa.bool_()), np.zeros(n, bool)
        if self.detector is not None:
            anomaly = (decide or self.detector.anomalies)(s)
            # A row without a score has no p-value.
            p, verdict = pa.array(table["p_value"], from_pandas=True), pa.array(anomaly)
        counts.rows += n
        counts.anomalies += int(anomaly.sum())
        counts.flagged += len(flags)
        why = pa.array([flags.get(i) for i in range(n)] if flags else [None] * n, pa.string())
        beside = self._top(values, np.flatnonzero(anomaly)) if self.explain else []
        return [pa.array(s), p, verdict, why, *(pa.array(table[other]) for other in self.more), *beside]

    def _flags(self, values: np.ndarray, scores: np.ndarray) -> dict[int, str]:
        """Why rows could not be scored, by position."""
        bad = np.flatnonzero(~np.isfinite(scores))
        reasons = self.reference.model.encoding.flags(values[bad]) if len(bad) else []
        return {int(i): reason or "the score overflows" for i, reason in zip(bad, reasons, strict=True)}

    def _top(self, values: np.ndarray, anomalies: np.ndarray) -> list[pa.Array]:
        """top_1, top_1_p, ... of rows [n, C]: null but for the anomalies, which are given by position."""
        if self.detector is None:
            return []
        found = dict(zip(anomalies.tolist(), leading(self.detector, values[anomalies], TOP), strict=True))
        out: list[pa.Array] = []
        for k in range(TOP):
            parts = [found[i][k] if i in found and k < len(found[i]) else (None, None) for i in range(len(values))]
            out += [pa.array([name for name, _ in parts], pa.string()), pa.array([p for _, p in parts], pa.float64())]
        return out


def scored(
    rows: RowScores,
    data: Data,
    counts: Counts,
    report: Callable[[int], None],
    kept: Sequence[str] = (),
    decide: Callable[[np.ndarray], np.ndarray] | None = None,
    strict: bool = False,
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The Arrow schema of a dataset's scores, and batches of them.

    Args:
        data: as a model can read it.
        counts: added to while batches are taken.
        report: is told how many rows were scored.
        kept: columns of the data that are carried behind the row's number.
        decide: as for `RowScores.columns`.
        strict: refuse the first row that cannot be scored.
    """
    schema = with_kept(pa.schema([ROW, *rows.schema]), data, kept)

    def batches() -> Iterator[pa.RecordBatch]:
        device, model = rows.reference.device, rows.reference.model
        chunks = ordered_chunks(data, model.encoding.schema, kept, READ if device == CPU else None)
        if device != CPU:  # a shorter piece would be padded to a whole tile of a card
            chunks = regrouped(chunks, wide_rows(model))
        for values, cells in read_ahead(chunks, device):
            at = counts.rows
            told = rows.columns(values, counts, decide, f"{data}: row " if strict else "")
            report(len(values))
            place = pa.array(np.arange(at, counts.rows))
            yield pa.record_batch([place, *(cells[k] for k in kept), *told], schema=schema)

    return schema, batches()
