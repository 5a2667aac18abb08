"""Rows drawn from a model piece by piece, the same by any number of workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from diabolo.data.formats import write_batches
from diabolo.distributed.work import Batches
from diabolo.errors import ConfigError
from diabolo.generate.drawing import PIECE, draw_piece
from diabolo.threads import one_thread

__all__ = ["Sample"]


class Sample(Batches):
    """Rows drawn from a model, piece by piece: piece k holds rows k · 65,536 on, by a seed of its own.

    A piece's rows depend on seed and number alone, so that any number of workers draws the same rows, those of
    `diabolo sample`. Called with a number, or with an Arrow table whose first column holds numbers.

    Args:
        model: model file, which every worker reads at this path.
        n: rows in all.
        seed: of the draws.
        method, mean, given: as for `Autoencoder.sample`.
        own_network: import your own network, which the file names.

    Attributes:
        pieces: numbers from 0 up to this one are those of a piece.
    """

    #: Pieces in a part.
    together: ClassVar[int] = 4

    def __init__(
        self,
        model: str | Path,
        n: int,
        seed: int = 0,
        method: str = "auto",
        mean: bool = False,
        given: Mapping[str, Any] | None = None,
        own_network: bool = False,
    ) -> None:
        if n < 1:
            raise ConfigError(f"n = {n}; allowed are whole numbers from 1 up")
        super().__init__(
            model, own_network, n=n, seed=seed, method=method, mean=mean, given=sorted((given or {}).items())
        )

    @property
    def pieces(self) -> int:
        """Number of pieces."""
        return -(-int(self.options["n"]) // PIECE)

    @property
    def parts(self) -> int:
        """Number of parts, of `together` pieces each."""
        return -(-self.pieces // self.together)

    @property
    def schema(self) -> pa.Schema:
        """The columns of the table that the model was fitted on."""
        return self.model_file.autoencoder.arrow_like_fit(self.options["mean"])[0]

    def _drawn(self, number: int, doubts: dict[str, None]) -> list[Any]:
        o, file = self.options, self.model_file
        if not 0 <= number < self.pieces:
            raise ConfigError(f"piece {number}; allowed are 0 to {self.pieces - 1} of {o['n']:,} rows")
        cells = draw_piece(
            file.generator, number, o["n"], o["seed"], o["mean"], o["method"], dict(o["given"]), doubts.setdefault
        )
        return file.autoencoder.arrow_like_fit(o["mean"])[1](cells)

    def __call__(self, table: pa.Table | int) -> pa.Table:
        """The rows of a piece, or of those whose numbers the table's first column holds."""
        with one_thread():
            return pa.Table.from_batches(list(self._batches(_numbers(table), {})), self.schema)

    def columns_of(self, table: pa.Table) -> list[Any]:
        return list(self(table).columns)

    def _batches(self, numbers: list[int], doubts: dict[str, None]) -> Iterator[pa.RecordBatch]:
        schema = self.schema
        for number in numbers:
            yield pa.record_batch(self._drawn(number, doubts), schema=schema)

    def part(self, piece: int, out: str) -> dict[str, Any]:
        """Write part number `piece`: `together` pieces one after the other."""
        doubts: dict[str, None] = {}
        first = piece * self.together
        numbers = range(first, min(first + self.together, self.pieces))
        write_batches(out, self.schema, self._batches(list(numbers), doubts))
        rows = min(numbers.stop * PIECE, int(self.options["n"])) - first * PIECE
        return {"rows": rows, "doubts": list(doubts)}


def _numbers(table: pa.Table | int) -> list[int]:
    return [table] if isinstance(table, int) else [int(k) for k in table.column(0).to_pylist()]
