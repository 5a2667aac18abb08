"""What workers are sent: work that writes the part of a piece, and functions of Arrow tables."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from diabolo.data.matching import matched
from diabolo.data.table import as_table
from diabolo.distributed.ddl import ddl
from diabolo.distributed.model import OnModel
from diabolo.errors import DataError
from diabolo.threads import one_thread

__all__ = ["Batches", "Keeping", "Work", "nobody"]


class Work(OnModel, abc.ABC):
    """Writes the part of one piece; the part is what the program writes for this file alone."""

    #: End of the name of a part; empty where a piece gives counts alone.
    suffix: ClassVar[str] = ".parquet"

    @abc.abstractmethod
    def part(self, piece: Any, out: str) -> dict[str, Any]:
        """Write the part of a piece, by atomic rename; its counts, as plain JSON."""


class Batches(Work):
    """A function of Arrow tables, with the schema of what it gives."""

    @property
    @abc.abstractmethod
    def schema(self) -> pa.Schema:
        """Arrow schema of the output."""

    @abc.abstractmethod
    def columns_of(self, table: pa.Table) -> list[Any]:
        """The columns of the output."""

    def __call__(self, table: pa.Table) -> pa.Table:
        """The output for a table, which has the model's columns in any order, and others."""
        with one_thread():
            return pa.Table.from_arrays(self.columns_of(table), schema=self.schema)

    def iterate(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The output batch by batch, as Spark's `mapInArrow` wants it."""
        for batch in batches:
            if batch.num_rows:
                yield from self(pa.Table.from_batches([batch])).to_batches()

    @property
    def ddl(self) -> str:
        """The schema as Spark's DDL.

        Raises:
            ConfigError: a kept column of a type that Spark has not.
        """
        return ddl(self.schema)


class Keeping(Batches):
    """Carries columns beside what it tells of rows."""

    def __init__(
        self, model: str | Path, keep: Mapping[str, Any] | None = None, own_network: bool = False, **options: Any
    ) -> None:
        types = [(name, str(pa.field(name, kind).type)) for name, kind in (keep or {}).items()]
        super().__init__(model, own_network, keep=types, **options)
        self.kept = pa.schema(list((keep or {}).items()))

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "kept": self.kept}

    def values_of(self, table: pa.Table) -> np.ndarray:
        known = self.model_file.autoencoder.model.encoding.schema
        return matched(as_table(table), known, "the model").values

    def beside(self, table: pa.Table) -> list[Any]:
        missing = [n for n in self.kept.names if n not in table.column_names]
        if missing:
            raise DataError(f"the table has no column {missing[0]!r} to keep")
        return [table.column(f.name).cast(f.type) for f in self.kept]


def nobody(rows: int) -> None:
    """Progress of the rows of one piece is told to nobody."""
