"""The scorer: an ONNX file that diabolo has exported, run by onnxruntime."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from .columns import ScorerError, columns_of, row_cells, table_cells
from .flags import said

__all__ = ["Scorer", "ScorerError", "at_once"]

#: Cells by column, or of numbers alone as one array [columns, n].
Cells: TypeAlias = Sequence[np.ndarray] | np.ndarray
#: Layout of the metadata that is read.
FORMAT = "1"
#: Rows that run at once: their distances to stored rows stay near the core; of a score without such, and the like.
ROWS, ROWS_OF_NETWORKS = 256, 2_048
#: Scores that decode a row tens of times, all of them at once, and rows of those: of images the copies fill memory.
SEVERAL, ROWS_OF_SEVERAL = ("neg_elbo", "neg_log_likelihood", "denoise"), 32


class Scorer:
    """Scores rows by an exported file; needs neither PyTorch nor diabolo.

    Args:
        path: file of `diabolo export`.
        threads: of onnxruntime.

    Attributes:
        metadata: what the file says of itself: score, calibration, parity, sections and so on.
        schema: the columns, in order.

    Raises:
        ScorerError: no file, or none that diabolo has exported.
    """

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        import onnxruntime

        if not Path(path).is_file():
            raise ScorerError(f"{path}: no such file")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            if Path(path).suffix.lower() == ".diabolo":
                raise ScorerError(
                    f"{path}: a model file, and no graph: `diabolo export {path} -o {Path(path).stem}.onnx` writes one"
                ) from None
            raise ScorerError(f"{path}: no ONNX file, or a damaged one ({str(error)[:120]})") from None
        found = self._session.get_modelmeta().custom_metadata_map
        if found.get("diabolo.format") != FORMAT:
            raise ScorerError(
                f"{path}: an ONNX file that diabolo has not exported, or a newer one; diabolo export writes one"
            )
        self.metadata = {k.removeprefix("diabolo."): _read(v) for k, v in found.items() if k.startswith("diabolo.")}
        self.schema = columns_of(self.metadata["schema"], self.metadata["inputs"])
        self.path = str(path)
        self._matrix = self.metadata["inputs"]["names"] == ["x"]
        self._type = np.dtype(self.metadata["inputs"]["type"])
        self._outputs = [o.name for o in self._session.get_outputs()]
        encoding = self.metadata["encoding"]
        self._center, self._scale = np.array(encoding["center"]), np.array(encoding["scale"])
        known = [n for n in ("score", "p_value", "is_anomaly", "flag") if n in self._outputs]
        self._judged = known
        self._at_once = at_once(self.score_name)
        #: Of a table of numbers a row takes no look at each column.
        self._plain = self._matrix and all(c.meaning == "numbers" for c in self.schema)
        self._names = [c.name for c in self.schema]

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return [c.name for c in self.schema]

    @property
    def score_name(self) -> str:
        """The score that the graph computes."""
        return str(self.metadata["score"])

    @property
    def has_detector(self) -> bool:
        """Whether it gives p-values and verdicts."""
        return "p_value" in self._outputs

    def score(self, data: Any, rate: float | None = None) -> Any:
        """score, p_value, is_anomaly and flag of rows.

        Args:
            data: an Arrow table, a data frame of pandas, polars or whatever else gives an Arrow stream, an array
                [n, columns] of numbers; or one row as a dictionary.
            rate: false-alarm rate behind the verdict; the exported one if None.

        Returns:
            An Arrow table with a row for each, or a dictionary for a dictionary. A row without a score has infinity,
            no p-value, a verdict of true, and a flag that says why. A file without a detector gives no p-values and no
            verdicts.

        Raises:
            ScorerError: columns that are missing or hold something else; a rate that the calibration cannot promise.
        """
        if isinstance(data, Mapping):
            return self._one(data, rate)
        cells = self._cells(data)
        return self._table(cells, self._run(cells, self._judged), rate)

    def score_positions(self, values: np.ndarray, rate: float | None = None) -> pa.Table:
        """The same of numbers [n, columns] in the schema's order, categories as positions among their levels."""
        if self._plain:
            return self._table(values.T, self._run(values.T, self._judged), rate)
        cells: list[np.ndarray] = []
        for i, column in enumerate(self.schema):
            cell = values[:, i]
            if column.meaning == "text":
                cell = column.by_position(cell)
            elif column.is_category_of_numbers:
                known = column.values
                at = np.where(np.isnan(cell), 0, np.minimum(cell, len(known) - 1)).astype(np.int64)
                cell = np.where(np.isnan(cell), np.nan, known[at])
            cells.append(cell)
        return self._table(cells, self._run(cells, self._judged), rate)

    def outputs(self, data: Any, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Outputs of the graph by name, of rows as `score` takes them.

        Raises:
            ScorerError: the file has no such output; says how one comes into it.
        """
        lacking = [n for n in names if n not in self._outputs]
        if lacking:
            raise ScorerError(
                f"{self.path} has no output {lacking[0]!r}; it has {', '.join(self._outputs)}: diabolo export --outputs"
            )
        cells = self._cells(data)
        return dict(zip(names, self._run(cells, names), strict=True))

    # ── in ────────────────────────────────────────────────────────────────────────────────────────

    def _cells(self, data: Any) -> Cells:
        if isinstance(data, np.ndarray):
            if data.ndim != 2 or data.shape[1] != len(self.schema) or data.dtype.kind not in "fiub":
                allowed = f"allowed are numbers [n, {len(self.schema)}]"
                raise ScorerError(f"the array has shape {list(data.shape)} of {data.dtype}; {allowed}")
            words = [c.name for c in self.schema if c.meaning == "text"]
            if words:
                raise ScorerError(f"column {words[0]!r} holds text; give a table of columns by name")
            return data.T
        return table_cells(self.schema, _table(data))

    def _feed(self, cells: Cells, part: slice) -> dict[str, np.ndarray]:
        if self._matrix:
            rows = cells.T[part] if isinstance(cells, np.ndarray) else np.stack([c[part] for c in cells], axis=1)
            return {"x": np.ascontiguousarray(rows, self._type)}
        return {
            c.input: cell[part, None] if c.missing is not None else cell[part, None].astype(self._type)
            for c, cell in zip(self.schema, cells, strict=True)
        }

    def _run(self, cells: Cells, names: Sequence[str]) -> list[np.ndarray]:
        n, most = len(cells[0]), self._at_once
        parts = [
            self._session.run(names, self._feed(cells, slice(at, min(at + most, n))))
            for at in range(0, max(n, 1), most)
        ]
        return [np.concatenate(p) for p in zip(*parts, strict=True)] if len(parts) > 1 else parts[0]

    # ── out ───────────────────────────────────────────────────────────────────────────────────────

    def _table(self, cells: Cells, found: Sequence[np.ndarray], rate: float | None) -> pa.Table:
        told = dict(zip(self._judged, found, strict=True))
        n = len(told["score"])
        p: Any = pa.nulls(n, pa.float64())
        anomaly: Any = pa.nulls(n, pa.bool_())
        if self.has_detector:
            p = pa.array(told["p_value"], from_pandas=True)
            anomaly = pa.array(self._verdicts(told["p_value"], told["is_anomaly"], rate))
        flags: list[str | None] = [None] * n
        for i in np.flatnonzero(told["flag"]).tolist():
            flags[i] = self._said(int(told["flag"][i]), [c[i] for c in cells])
        columns = [pa.array(told["score"]), p, anomaly, pa.array(flags, pa.string())]
        return pa.Table.from_arrays(columns, ["score", "p_value", "is_anomaly", "flag"])

    def _one(self, row: Mapping[str, Any], rate: float | None) -> dict[str, Any]:
        found = [row.get(name) for name in self._names] if self._plain else []
        # Anything else than floats is looked at, column by column.
        plain = bool(found) and all(type(cell) is float for cell in found)
        cells: Sequence[Any] = found if plain else row_cells(self.schema, row)
        if self._matrix:
            given = {"x": np.array([cells], self._type)}
        else:
            given = {
                c.input: np.array([[cell]], object if c.missing is not None else self._type)
                for c, cell in zip(self.schema, cells, strict=True)
            }
        told = dict(zip(self._judged, self._session.run(self._judged, given), strict=True))
        score, flag = float(told["score"][0]), int(told["flag"][0])
        out: dict[str, Any] = {"score": score, "p_value": None, "is_anomaly": None, "flag": None}
        if self.has_detector:
            p = float(told["p_value"][0])
            out["p_value"] = None if math.isnan(p) else p
            out["is_anomaly"] = bool(self._verdicts(told["p_value"], told["is_anomaly"], rate)[0])
        if flag:
            out["flag"] = self._said(flag, cells)
        return out

    def _verdicts(self, p: np.ndarray, anomaly: np.ndarray, rate: float | None) -> np.ndarray:
        if rate is None:
            return anomaly
        units = self.metadata["calibration"]["units"]
        if not 0 < rate < 1 or rate < (1 - 1e-12) / (units + 1):
            raise ScorerError(
                f"false-alarm rate = {rate!r}; {self.metadata['calibration']['said']} promise {1 / (units + 1):.3g} or "
                "more, below 1"
            )
        # The rule of diabolo: p ≤ rate, and rows without a score.
        return np.asarray(np.isnan(p) | (p <= rate * (1 + 1e-12)))

    def _said(self, code: int, row: Sequence[Any]) -> str:
        encoding = self.metadata["encoding"]
        # Words are no numbers, and no reason names them.
        plain = np.array([np.nan if isinstance(v, str) else float(v) for v in row])
        return said(code, plain, self.columns, self._center, self._scale, encoding["boolean"], encoding["count"])


def at_once(score: str) -> int:
    """Rows that a graph of a score is given at once."""
    name = score.partition(":")[0]
    if name in SEVERAL:
        return ROWS_OF_SEVERAL
    return ROWS if name == "auto" else ROWS_OF_NETWORKS


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _table(data: Any) -> pa.Table:
    """Arrow's table of a frame, no name twice."""
    try:
        table = _converted(data)
    except ScorerError:
        raise
    except (ValueError, TypeError, pa.ArrowException) as error:
        raise ScorerError(f"the data frame is no Arrow table: {error}") from error
    twice = sorted({n for n in table.column_names if table.column_names.count(n) > 1})
    if twice:
        raise ScorerError(f"duplicate column names: {', '.join(twice)}; rename them")
    return table


def _converted(data: Any) -> pa.Table:
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if hasattr(data, "__arrow_c_stream__"):
        return pa.table(data)
    if type(data).__module__.startswith("pandas."):
        return pa.Table.from_pandas(data, preserve_index=False)
    raise ScorerError(
        f"rows of type {type(data).__name__}; allowed are an Arrow table, a data frame, an array of numbers, and a "
        "dictionary for one row"
    )
