"""What engines call: scores, clusters and compressed files of an Arrow table, or of one file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from diabolo.cluster.dataset import LABELS, labelled
from diabolo.cluster.stability import most_likely
from diabolo.compress.files import compress_table
from diabolo.compress.plan import Plan
from diabolo.compress.stream import write_file
from diabolo.data.formats import Data, read_batches, schema_of, write_batches
from diabolo.data.keeping import kept_names
from diabolo.data.reading import as_fitted, as_kept
from diabolo.detect.dataset import Counts, scored
from diabolo.distributed.work import Batches, Keeping, nobody
from diabolo.errors import DataError

__all__ = ["ClusterBatches", "CompressPieces", "ScoreBatches"]


class ScoreBatches(Keeping):
    """Scores of rows: an Arrow table in, score, p_value, is_anomaly and flag of each row out.

    p = (1 + #{calibration scores ≥ s}) / (n + 1), and a row is an anomaly at p ≤ α (docs/detection.md). It is sent to
    workers as path and SHA-256, and the file is loaded once in each process. Work runs on one thread, so that a row has
    the same bits in every process.

    Args:
        model: model file, which every worker reads at this path.
        keep: columns to carry, by name with their Arrow type, like {"event": "int64"}.
        score: name of the score; None for the detector's, "all" for every one.
        false_alarm_rate: α in (0, 1); None for the detector's.
        explain: name the first columns of every anomaly.
        own_network: import your own network, which the file names.

    Raises:
        ModelFileError: the file cannot be read, or is another one than at the start; names the host.
        ConfigError: a rate, and the file has no detector.

    >>> import tempfile, pyarrow as pa, numpy as np
    >>> from diabolo import AnomalyDetector, LinearAutoencoder
    >>> from diabolo.distributed import ScoreBatches
    >>> rows = pa.table({"x": np.arange(300.0) % 7, "y": np.arange(300.0) % 5, "id": range(300)})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = f"{folder}/m.diabolo"
    ...     AnomalyDetector(LinearAutoencoder(latent_dim=1)).fit(rows.drop(["id"])).save(path)
    ...     score = ScoreBatches(path, keep={"id": "int64"})
    ...     score.ddl, score(rows).num_rows
    ('`id` bigint, `score` double, `p_value` double, `is_anomaly` boolean, `flag` string', 300)
    """

    def __init__(
        self,
        model: str | Path,
        keep: Mapping[str, Any] | None = None,
        score: str | None = None,
        false_alarm_rate: float | None = None,
        explain: bool = False,
        own_network: bool = False,
    ) -> None:
        told = {"score": score, "false_alarm_rate": false_alarm_rate, "explain": explain}
        super().__init__(model, keep, own_network, **told)

    @property
    def schema(self) -> pa.Schema:
        """Kept columns, then score, p_value, is_anomaly, flag, and what was asked for beside them."""
        return pa.schema([*self.kept, *self._rows().schema])

    def _rows(self) -> Any:
        return self.model_file.row_scores(*(self.options[n] for n in ("score", "false_alarm_rate", "explain")))

    def columns_of(self, table: pa.Table) -> list[Any]:
        return [*self.beside(table), *self._rows().columns(self.values_of(table), Counts())]

    def part(self, piece: Data, out: str) -> dict[str, Any]:
        """Write the scores of a file, with the row's number in it first."""
        rows, counts = self._rows(), Counts()
        data = as_fitted(piece, rows.reference.model.encoding.schema)
        kept = kept_names(data, self.kept.names, ["row", *rows.schema.names])
        write_batches(out, *scored(rows, data, counts, nobody, kept))
        return vars(counts)


class ClusterBatches(Keeping):
    """Clusters of rows by the clusters that a model file has: cluster (−1: none) and confidence of each row.

    Args:
        model: model file with clusters (diabolo cluster), which every worker reads at this path.
        keep: columns to carry, by name with their Arrow type.
        own_network: import your own network, which the file names.

    Raises:
        ModelFileError: the file has no clusters, cannot be read, or is another one than at the start.
    """

    @property
    def schema(self) -> pa.Schema:
        """Kept columns, then cluster and confidence."""
        return pa.schema([*self.kept, *list(LABELS)[1:]])

    def columns_of(self, table: pa.Table) -> list[Any]:
        file = self.model_file
        labels, confidence = most_likely(file.clusterer.proba(file.autoencoder.model, self.values_of(table)))
        return [*self.beside(table), pa.array(labels, pa.int32()), pa.array(confidence, pa.float32())]

    def part(self, piece: Data, out: str) -> dict[str, Any]:
        """Write the labels of a file, with the row's number in it first."""
        file = self.model_file
        found, net = file.clusterer, file.autoencoder.model
        data, sizes = as_fitted(piece, net.encoding.schema), [0] * (found.n_clusters + 1)
        kept = kept_names(data, self.kept.names, LABELS.names)
        write_batches(out, *labelled(found, net, data, sizes, nobody, kept))
        return {"rows": sum(sizes), "sizes": sizes}


class CompressPieces(Batches):
    """Tables as `*.dbl` files by the codec that a model file has: one row out for a table in, rows and bytes of it.

    Args:
        model: model file with a codec section (diabolo compress), which every worker reads at this path.
        external: leave the codec section out of the files; `decompress` then needs the model file.
        verified: decode each chunk and compare every cell.

    Raises:
        ModelFileError: the file has no codec section, cannot be read, or is another one than at the start.
        DataError: columns of other names or types than the codec's.
    """

    suffix = ".dbl"

    def __init__(self, model: str | Path, external: bool = False, verified: bool = True) -> None:
        super().__init__(model, external=external, verified=verified)

    @property
    def schema(self) -> pa.Schema:
        """rows, and dbl, the bytes of the file."""
        return pa.schema([("rows", pa.int64()), ("dbl", pa.binary())])

    def _plan(self, schema: pa.Schema) -> Plan:
        plan: Plan = self.model_file.codec.plan
        if plan.outer.names != schema.names or plan.outer.types != schema.types:
            there = dict(zip(schema.names, schema.types, strict=True))
            other = [f.name for f in plan.outer if there.get(f.name) != f.type] or [
                n for n in schema.names if n not in plan.outer.names
            ]
            raise DataError(
                f"column {(other or schema.names)[0]!r} is not as the codec of {self.path} has it; its columns are "
                f"{', '.join(f'{f.name} ({f.type})' for f in plan.outer)}, in this order"
            )
        return plan.with_outer(schema)

    def columns_of(self, table: pa.Table) -> list[Any]:
        out, o = io.BytesIO(), self.options
        plan, given = self._plan(table.schema), {"container": "arrow"}
        report = write_file(out, table.to_batches(), plan, given, o["external"], verified=o["verified"])
        return [pa.array([report.rows]), pa.array([out.getvalue()])]

    def part(self, piece: Data, out: str) -> dict[str, Any]:
        """Write a file's `*.dbl` file."""
        file, o = self.model_file, self.options
        data = as_kept(piece, file.schema.dialect) if "main" in file else piece
        plan, batches = self._plan(schema_of(data, nested=True)[0]), read_batches(data, nested=True)
        report, _ = compress_table(batches, plan, Path(out), o["external"], verified=o["verified"])
        return {"rows": report.rows, "bytes_in": report.bytes_in, "bytes_out": report.bytes_out}
