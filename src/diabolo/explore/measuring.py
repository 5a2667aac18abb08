"""One pass over a dataset: its cells as memory-mapped Arrow, and what the model says of each row."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from diabolo.cluster.stability import most_likely
from diabolo.data.formats import Data, read_batches, schema_of
from diabolo.data.matching import matched
from diabolo.data.reading import ordered_chunks
from diabolo.data.roles import bucket_of
from diabolo.data.table import as_table
from diabolo.detect.calibrated import Calibrated
from diabolo.detect.dataset import Counts
from diabolo.detect.explaining import leading
from diabolo.errors import DataError
from diabolo.explore.projection import projected
from diabolo.file.model_file import ModelFile
from diabolo.model.codes import encoded

__all__ = ["MOST_NAMED", "MOST_ROWS", "NAMED", "Measured", "measure"]

#: Rows of a map; of more, a uniform sample.
MOST_ROWS = 5_000_000
#: Anomalies whose first columns are named, and columns of each. One takes up to a fifth of a second.
MOST_NAMED, NAMED = 200, 3
#: A row is in the sample while the hash of its place lies below a limit.
HASHES, SEED = 1 << 30, 0x5A3D


@dataclasses.dataclass
class Measured:
    """Rows with what a model says of them, in the order of the dataset.

    Attributes:
        cells: all columns of the dataset, memory-mapped.
        rows: [n] int64, numbers of the rows in the dataset.
        total: rows of the dataset; more than n if these are a sample.
        x, y: [n] float32, places on the map, NaN where a row has none.
        axes: what the two are.
        score, p_value: [n] float64; a row that cannot be scored has +inf and NaN.
        is_anomaly: [n] bool.
        flags: why rows cannot be scored, by position.
        cluster: [n] int32, −1 for none; None where the model has no clusters.
        named: columns that make anomalies what they are, by position, where `name_columns` has looked for them.
        codes: [n, K] float32, memory-mapped.
        detector: that says it.
    """

    cells: pa.Table
    rows: np.ndarray
    total: int
    x: np.ndarray
    y: np.ndarray
    axes: tuple[str, str]
    score: np.ndarray
    p_value: np.ndarray
    is_anomaly: np.ndarray
    flags: dict[int, str]
    cluster: np.ndarray | None
    named: dict[int, list[str]]
    codes: np.ndarray
    detector: Calibrated

    def __len__(self) -> int:
        return len(self.rows)

    def values(self, position: int) -> np.ndarray:
        """The cells of one row in the schema's order, [1, C]."""
        schema = self.detector.reference.model.encoding.schema
        row = self.cells.slice(position, 1).select(schema.names)
        return matched(as_table(row), schema, "the model").values

    def name_columns(self) -> None:
        """Look for the first columns of the anomalies, of many those of the highest scores."""
        found = np.flatnonzero(self.is_anomaly & np.isfinite(self.score))
        found = found[np.argsort(-self.score[found], kind="stable")[:MOST_NAMED]]
        if len(found):
            first = leading(self.detector, np.concatenate([self.values(int(i)) for i in found]), NAMED)
            self.named |= {int(i): [name for name, _ in one] for i, one in zip(found, first, strict=True)}


def measure(
    file: ModelFile,
    detector: Calibrated,
    data: Data,
    folder: Path,
    report: Callable[[int], None],
    most: int = MOST_ROWS,
) -> Measured:
    """Score, encode and keep the rows of a dataset, in memory that does not grow with the width of its rows.

    Args:
        file: the model.
        detector: its detector, with score and rate chosen.
        data: as the model can read it.
        folder: where cells and codes go, as large as the dataset.
        report: is told how many rows were read.
        most: rows; of more, a uniform sample is taken.

    Raises:
        DataError: no row.
    """
    told = _Pass(file, detector)
    total, limit = _count(data), HASHES
    if total > most:
        limit = HASHES * most // total
    schema = pa.schema([pa.field(f.name, _plain(f.type)) for f in schema_of(data)[0]])
    at, parts = 0, list[_Part]()
    with (
        pa.OSFile(str(folder / "cells.arrow"), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
        open(folder / "codes.f32", "wb") as codes,
    ):
        for values, cells in ordered_chunks(data, detector.reference.model.encoding.schema, schema.names):
            read, rows = len(values), np.arange(at, at + len(values))
            keep = slice(None) if limit == HASHES else bucket_of(at, at + read, SEED, HASHES) < limit
            at += read
            values, rows = values[keep], rows[keep]
            part, code = told(values, rows)
            parts.append(part)
            codes.write(np.ascontiguousarray(code, np.float32).tobytes())
            writer.write_batch(pa.record_batch(list(_kept(cells, schema, keep)), schema=schema))
            report(read)
    if not parts or not sum(len(p.rows) for p in parts):
        raise DataError(f"{data}: has a header but no rows")
    return _joined(parts, folder, at, detector)


@dataclasses.dataclass
class _Part:
    """What is said of the rows of a chunk."""

    rows: np.ndarray
    score: np.ndarray
    p_value: np.ndarray
    is_anomaly: np.ndarray
    flags: list[str | None]
    cluster: np.ndarray | None


class _Pass:
    """The model over chunks of rows."""

    def __init__(self, file: ModelFile, detector: Calibrated) -> None:
        self._model, self._detector = file.autoencoder.model, detector
        self._told = file.row_scores(detector.score_name, detector.false_alarm_rate)
        self._clusters = file.clusterer if "clusters" in file else None
        self._counts = Counts()

    def __call__(self, values: np.ndarray, rows: np.ndarray) -> tuple[_Part, np.ndarray]:
        score, p, anomaly, flags = self._told.columns(values, self._counts)
        cluster = None if self._clusters is None else most_likely(self._clusters.proba(self._model, values))[0]
        part = _Part(
            rows,
            score.to_numpy(),
            p.to_numpy(zero_copy_only=False),
            anomaly.to_numpy(zero_copy_only=False),
            flags.to_pylist() if flags.null_count < len(flags) else [],
            cluster,
        )
        return part, encoded(self._model, values).mean


def _count(data: Data) -> int:
    schema, rows = schema_of(data)
    return rows if rows is not None else sum(b.num_rows for b in read_batches(data, schema.names[:1]))


def _plain(kind: Any) -> Any:
    """A type whose cells stand for themselves: each batch of a dictionary may have words of its own."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _kept(cells: dict[str, Any], schema: Any, keep: Any) -> Iterator[Any]:
    for field in schema:
        column = cells[field.name]
        if pa.types.is_dictionary(column.type):
            column = column.cast(field.type)
        yield column if isinstance(keep, slice) else column.filter(pa.array(keep))


def _joined(parts: list[_Part], folder: Path, total: int, detector: Calibrated) -> Measured:
    def whole(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])

    rows, score = whole("rows"), whole("score")
    latent = detector.reference.model.latent_dim
    codes = np.memmap(folder / "codes.f32", np.float32, "r", shape=(len(rows), latent))
    flags, at = dict[int, str](), 0
    for part in parts:
        flags |= {at + i: why for i, why in enumerate(part.flags) if why is not None}
        at += len(part.rows)
    x, y, axes = projected(codes, score)
    y = np.where(np.isfinite(y), y, np.nan).astype(np.float32)
    cells = pa.ipc.open_file(pa.memory_map(str(folder / "cells.arrow"))).read_all()
    return Measured(
        cells,
        rows,
        total,
        x,
        y,
        axes,
        score,
        whole("p_value"),
        whole("is_anomaly"),
        flags,
        None if parts[0].cluster is None else whole("cluster"),
        {},
        codes,
        detector,
    )
