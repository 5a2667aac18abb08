"""Pieces of a table with their missing cells filled in, and what a monitor counts in them."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

from diabolo.data.formats import Data, write_batches
from diabolo.data.reading import as_fitted, ordered_chunks
from diabolo.distributed.work import Work, nobody
from diabolo.generate.filled_table import Counts, filled_table

__all__ = ["FillPieces", "HealthPieces"]


class FillPieces(Work):
    """Missing cells filled in, as by `diabolo fill`.

    Args:
        model: model file, which every worker reads at this path.
        draws: rows for each row, drawn; None for the mean.
        seed: of the draws.
        own_network: import your own network, which the file names.
    """

    def __init__(self, model: str | Path, draws: int | None = None, seed: int = 0, own_network: bool = False) -> None:
        super().__init__(model, own_network, draws=draws, seed=seed)

    def part(self, piece: Data | tuple[Data, int], out: str) -> dict[str, Any]:
        """Write a file with its missing cells filled in; a number beside it is a seed of its own (`own_seed`)."""
        data, seed = piece if isinstance(piece, tuple) else (piece, self.options["seed"])
        counts, model = Counts(), self.model_file.autoencoder.model
        write_batches(out, *filled_table(model, data, self.options["draws"], seed, counts, nobody))
        return dataclasses.asdict(counts)

    def own_seed(self, name: str) -> int:
        """The seed of a piece's draws by its name, so that no two pieces have the same draws."""
        digest = hashlib.sha256(f"{self.options['seed']} {name}".encode()).digest()
        return int.from_bytes(digest[:7], "little")


class HealthPieces(Work):
    """Counts of the rows of a piece, which a monitor of all pieces adds up.

    Args:
        model: model file with a detector, which every worker reads at this path.
        score, false_alarm_rate: None for the detector's.
        own_network: import your own network, which the file names.
    """

    suffix = ""

    def __init__(
        self,
        model: str | Path,
        score: str | None = None,
        false_alarm_rate: float | None = None,
        own_network: bool = False,
    ) -> None:
        super().__init__(model, own_network, score=score, false_alarm_rate=false_alarm_rate)

    def part(self, piece: Data, out: str) -> dict[str, Any]:
        """Count a file's rows; its note holds the counts, and there is no other file."""
        detector = self.model_file.detector.choosing(self.options["score"], self.options["false_alarm_rate"])
        schema = detector.reference.model.encoding.schema
        monitor = detector.monitor(level=0.01)  # which plays no part in counting
        for values, _ in ordered_chunks(as_fitted(piece, schema), schema):
            monitor.add(values)
        state = monitor.state()
        return {"rows": state["rows"], "state": state}
