"""Pieces of a labelled table: every score, class and memory of each row, which are put together again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from diabolo.data.formats import Data, write_batches
from diabolo.distributed.work import Work
from diabolo.evaluation import Judged, judged

__all__ = ["EvaluatePieces", "joined_parts"]


class EvaluatePieces(Work):
    """Every score of labelled rows, with their class and whether the model was trained on them.

    Args:
        model: model file, which every worker reads at this path.
        label: truth column.
        normal: values of the label that are normal; None for 0 and false.
        own_network: import your own network, which the file names.
    """

    def __init__(
        self, model: str | Path, label: str, normal: Sequence[str] | None = None, own_network: bool = False
    ) -> None:
        super().__init__(model, own_network, label=label, normal=None if normal is None else list(normal))

    def part(self, piece: Data, out: str) -> dict[str, Any]:
        """Write class, seen and the scores of a file."""
        found = judged(self.model_file, piece, self.options["label"], self.options["normal"])
        scores = {f"score_{name}": pa.array(s) for name, s in found.scores.items()}
        table = pa.table({"class": pa.array(found.truth, pa.string()), "seen": pa.array(found.seen), **scores})
        write_batches(out, table.schema, iter(table.to_batches()))
        return {"rows": table.num_rows, "values": sorted(found.values)}


def joined_parts(parts: Iterable[Path], values: Iterable[str]) -> Judged:
    """The rows of parts, in their order."""
    table = pa.concat_tables([pq.read_table(path) for path in parts])
    names = [n for n in table.column_names if n.startswith("score_")]
    scores = {n.removeprefix("score_"): np.asarray(table[n].to_numpy(), np.float64) for n in names}
    truth = np.array(table["class"].to_pylist(), object)
    return Judged(scores, truth, np.asarray(table["seen"].to_numpy(), bool), set(values))
