"""From rows to a model that is scaled on them and not trained yet: the one way, for tables, caches and streams.

rows ──infer_schema──▶ schema ──fit_encoding──▶ encoding ──resolve──▶ widths ──▶ model
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from diabolo.config import Config
from diabolo.data.encoding import LIMIT
from diabolo.data.matching import infinite_cell, matched, word_faults
from diabolo.data.scaling import fit_encoding
from diabolo.data.schema import Schema, Summary, infer_schema
from diabolo.data.slots import with_found_slots
from diabolo.data.table import Table
from diabolo.errors import ColumnsError, DataError
from diabolo.model.autoencoder import Model
from diabolo.model.checks import resolve

__all__ = ["Prepared", "Totals", "prepare", "refuse_few", "refuse_infinite"]

#: Rows that are checked at once.
CHUNK = 65_536


@dataclasses.dataclass(frozen=True)
class Totals:
    """Facts of all training rows, where the rows at hand are a sample of them."""

    rows: int
    seen: Summary
    #: Of each slot group, the share of rows that have a gap between their objects.
    gaps: Sequence[float]


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A fresh model, and the head of the table that it was prepared for."""

    model: Model
    head: Table

    @property
    def schema(self) -> Schema:
        return self.model.encoding.schema

    @property
    def has_gaps(self) -> bool:
        """Whether a cell of some row may be missing or absent."""
        return bool(self.schema.groups) or any(c.missing > 0 for c in self.schema.columns)

    def recoded(self, values: np.ndarray) -> np.ndarray:
        """Rows [n, C] as they were read, in the schema's order and levels."""
        return matched(dataclasses.replace(self.head, values=values), self.schema, "the model").values


def prepare(
    table: Table,
    config: Config,
    weights: np.ndarray | None = None,
    rows: np.ndarray | None = None,
    scaled_on: np.ndarray | None = None,
    totals: Totals | None = None,
) -> Prepared:
    """Describe columns, scale them, choose widths, and build a model of fresh weights.

    Args:
        table: the table, or a sample of a stream's training rows with its rows of rare levels.
        config: settings, widths possibly left open.
        weights: [n] of the rows that the scaling is taken from, or None.
        rows: positions of the training rows [n]; None for all.
        scaled_on: rows [n, C] that the scaling is taken from; None for the training rows.
        totals: facts of all training rows, where the table has only some of them.

    Raises:
        DataError: columns that cannot be used, or values that single precision cannot hold once scaled.
        ConfigError: settings that do not fit the columns.
    """
    head = table.rows(slice(0, 0))
    # Row numbers of a sample are not those of the dataset, so no row is named there.
    faults = word_faults(table if totals is None else head, config.kinds or {})
    table = table if rows is None else table.rows(rows)
    config = with_found_slots(config, table.names, table.dtypes, lambda: table.values)
    seen = None if totals is None else totals.seen
    try:
        schema = infer_schema(table.values, table.names, table.dtypes, config, table.levels, table.shape, seen)
    except ColumnsError as error:
        raise ColumnsError({**error.faults, **faults}) from None
    if faults:
        raise ColumnsError(faults)
    schema = dataclasses.replace(schema, dialect=table.dialect)
    if totals is not None:
        groups = [dataclasses.replace(g, gaps=float(s)) for g, s in zip(schema.groups, totals.gaps, strict=True)]
        schema = dataclasses.replace(schema, groups=tuple(groups))
    values = table.values if scaled_on is None else scaled_on
    values = matched(dataclasses.replace(head, values=values), schema, "the model").values
    encoding = fit_encoding(values, schema, weights, config)
    if totals is not None:
        encoding.n_train = totals.rows
        _refuse_overflow(table.names, totals.seen, encoding.center, encoding.scale)
    varying = sum(c.kind != "constant" for c in schema.columns)
    model = Model(resolve(config, varying, encoding.width, encoding.shape), encoding)
    return Prepared(model, head)


def refuse_few(rows: int) -> None:
    """Refuse fewer than two rows to fit.

    Raises:
        DataError: names how many there are.
    """
    if rows < 2:
        raise DataError(f"Found {rows} sample(s) to fit (n_samples={rows}); at least 2 rows are needed")


def refuse_infinite(table: Table, used: np.ndarray) -> None:
    """Refuse an infinite cell among the rows at the positions `used`.

    Raises:
        DataError: names row and column of the first one.
    """
    for start in range(0, len(used), CHUNK):
        rows = used[start : start + CHUNK]
        infinite = np.isinf(table.values[rows])
        if infinite.any():
            at, column = np.argwhere(infinite)[0]
            cell = float(table.values[rows[at], column])
            raise infinite_cell(int(rows[at]), table.names[column], cell, table.dialect, table.values[:, column])


def _refuse_overflow(names: Sequence[str], seen: Summary, center: np.ndarray, scale: np.ndarray) -> None:
    far = np.maximum(np.abs(seen.low - center), np.abs(seen.high - center)) / scale
    for i in np.flatnonzero(np.isfinite(seen.low) & (far >= LIMIT)).tolist():
        raise DataError(
            f"column {names[i]!r} cannot be fitted: overflow (values from {seen.low[i]:g} to "
            f"{seen.high[i]:g}); mend it or leave the column out"
        )
