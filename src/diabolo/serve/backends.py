"""What an endpoint asks of a model: a table in, its scores out."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from diabolo.artifact import stamp_of
from diabolo.data.dtypes import arrow_dtype, batch_values
from diabolo.data.matching import matched
from diabolo.data.table import Table, as_table
from diabolo.detect.explaining import Explanation
from diabolo.detect.health import Health
from diabolo.errors import DiaboloError
from diabolo.serve.columns import Columns

__all__ = ["RESULT", "Backend", "Choice", "Diagnosing", "digest", "ordered_values"]

#: What a backend says of each row; a row that cannot be scored has no p-value, and a flag that says why.
RESULT = pa.schema(
    [("score", pa.float64()), ("p_value", pa.float64()), ("is_anomaly", pa.bool_()), ("flag", pa.string())]
)


@dataclasses.dataclass(frozen=True)
class Choice:
    """The score, the rate and the device that a model is served with; None for its own."""

    score: str | None = None
    false_alarm_rate: float | None = None
    own_network: bool = False
    device: str | None = None


class Backend(Protocol):
    """A model that scores tables; several threads may call it at once.

    Attributes:
        columns: that it wants.
        card: what it is, in words and numbers for a page and a caller.
        digest: SHA-256 of the file, hexadecimal.
    """

    columns: Columns
    card: dict[str, Any]
    digest: str

    def score(self, table: pa.Table) -> pa.Table:
        """Rows in the model's columns, in any order and beside others, as a table of `RESULT`."""
        ...


@runtime_checkable
class Diagnosing(Backend, Protocol):
    """A model that also says why, and whether rows have changed."""

    def explain(self, table: pa.Table, neighbors: int) -> list[Explanation]:
        """Why each row has its score."""
        ...

    def health(self, table: pa.Table, level: float) -> Health:
        """Whether rows still look like the calibration rows."""
        ...

    def typical(self) -> dict[str, Any]:
        """A normal row that the model has drawn, by column; no row of the training table."""
        ...


def ordered_values(table: pa.Table, columns: Columns) -> np.ndarray:
    """Rows in the schema's order, as `diabolo score` reads them."""
    names, schema = columns.names, columns.schema
    if table.column_names != names:
        there = set(table.column_names)
        table = table.select([n for n in names if n in there])
    if table.column_names != names:
        return matched(as_table(table), schema, "the model").values
    batch = table.combine_chunks().to_batches()[0]
    levels: dict[str, list[str]] = {}
    values = batch_values(batch, names, levels)
    if columns.plain and table.schema.equals(columns.arrow):
        return values
    dtypes = [arrow_dtype(f.type, f.name) for f in table.schema]
    return matched(Table(values, names, dtypes, "arrow", True, levels), schema, "the model").values


def digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal.

    Raises:
        DiaboloError: it changed meanwhile.
    """
    before = stamp_of(path)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if stamp_of(path) != before:
        raise DiaboloError(f"{path} changed while it was read")
    return found
