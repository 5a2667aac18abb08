"""A table of any size with its missing cells filled in: read piece by piece, every other cell as it came."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from diabolo.data.dtypes import arrow_dtype, restored
from diabolo.data.formats import Data, read_batches, schema_of
from diabolo.data.reading import as_fitted, as_kept, ordered_chunks
from diabolo.data.schema import Schema
from diabolo.data.tiles import TILE
from diabolo.errors import ConfigError, DataError
from diabolo.generate.filling import filled
from diabolo.model.autoencoder import Model

__all__ = ["DRAW", "Counts", "filled_table"]

#: Name of the column that numbers the draws of a row.
DRAW = "draw"
#: Rows that are written at once, draws among them.
PIECE = 16 * TILE


@dataclasses.dataclass
class Counts:
    """What was filled in and what was not; grows while a table is read."""

    rows: int = 0
    #: Rows without any cell that the model reads.
    blank: int = 0
    #: Cells by column.
    filled: dict[str, int] = dataclasses.field(default_factory=dict)
    left: dict[str, int] = dataclasses.field(default_factory=dict)

    def add(self, name: str, gone: np.ndarray, left: np.ndarray) -> None:
        """Count a column's missing cells, and those of them that are missing still."""
        for counts, cells in ((self.filled, int(gone.sum() - left.sum())), (self.left, int(left.sum()))):
            if cells:
                counts[name] = counts.get(name, 0) + cells

    @staticmethod
    def sum(parts: Iterable[Mapping[str, Any]]) -> Counts:
        """Counts of several tables, each as the fields of one."""
        out = Counts()
        for part in parts:
            out.rows, out.blank = out.rows + part["rows"], out.blank + part["blank"]
            for own, more in ((out.filled, part["filled"]), (out.left, part["left"])):
                for name, cells in more.items():
                    own[name] = own.get(name, 0) + cells
        return out


def filled_table(
    model: Model, data: Data, draws: int | None, seed: int, counts: Counts, report: Callable[[int], None]
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The Arrow schema of a table, and its batches with missing cells filled in.

    Columns keep their order and types, those that the model does not know too. One in which every cell is missing gets
    the type that it had in the fit. Cells inside lists, structs and arrays stay missing.

    Args:
        draws: rows for each row, one after the other, numbered from 0 in a first column `draw`; None for the mean.
        seed: of the draws.
        counts: of rows and cells, added to while batches are taken.
        report: is told how many rows were read.

    Raises:
        DataError: a column of the model is missing.
        ConfigError: the table has a column `draw` of its own, and draws are asked for.
    """
    known = model.encoding.schema
    source, own = as_fitted(data, known), as_kept(data, known.dialect)
    given = schema_of(own, nested=True)[0]
    if draws is not None and DRAW in given.names:
        raise ConfigError(f"{data}: has a column {DRAW!r}, in which draws are numbered; rename it")
    typed = pa.schema([_typed(field, known) for field in given], given.metadata)
    schema = typed if draws is None else typed.insert(0, pa.field(DRAW, pa.int32()))
    rows = TILE * max(1, PIECE // TILE // (draws or 1))

    def batches() -> Iterator[pa.RecordBatch]:
        cells = _arrays((values for values, _ in ordered_chunks(source, known)), rows)
        tables = _tables(read_batches(own, nested=True), given, rows)
        for values, table in zip(cells, tables, strict=True):
            found = filled(model, values, draws, seed, counts.rows)
            columns = _columns(table, values, found, typed, known, counts)
            modelled = [i for i, c in enumerate(known.columns) if c.kind != "constant"]
            counts.blank += int(np.isnan(values[:, modelled]).all(axis=1).sum())
            counts.rows += len(values)
            report(len(values))
            if draws is not None:
                columns = [pa.array(np.tile(np.arange(draws, dtype=np.int32), len(values))), *columns]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    return schema, batches()


def _typed(field: pa.Field, known: Schema) -> pa.Field:
    """A field with a type that can hold what is filled in."""
    if not pa.types.is_null(field.type) or field.name not in known.names:
        return field
    at = known.names.index(field.name)
    return field.with_type(restored(np.zeros(1), known.columns[at].dtype, known.levels.get(field.name, ())).type)


def _columns(
    table: pa.RecordBatch, values: np.ndarray, found: np.ndarray, typed: pa.Schema, known: Schema, counts: Counts
) -> list[pa.Array]:
    """The columns of a piece, each cell as often as there are draws."""
    each = np.repeat(np.arange(len(values)), len(found)) if len(found) > 1 else None
    place = {name: i for i, name in enumerate(known.names)}
    out = []
    for field, column in zip(typed, table.columns, strict=True):
        column = column if each is None else column.take(pa.array(each))
        at = place.pop(field.name, None)
        if at is None:
            gone = _missing(table.column(field.name))
            counts.add(field.name, gone, gone)
        else:
            gone = np.isnan(values[:, at])
            counts.add(field.name, gone, gone & np.isnan(found[0, :, at]))
        if at is not None and gone.any():
            cells = found[:, :, at].T.reshape(-1)
            mask = np.repeat(gone, len(found)) & ~np.isnan(cells)
            column = _put(column, mask, cells, field, known.levels.get(field.name, ()))
        out.append(column if column.type == field.type else column.cast(field.type))
    for name, at in place.items():  # inside lists, structs and arrays
        gone = np.isnan(values[:, at])
        counts.add(name, gone, gone)
    return out


def _missing(column: pa.Array) -> np.ndarray:
    floats = pa.types.is_floating(column.type)
    return np.asarray(column.is_null(nan_is_null=floats).to_numpy(zero_copy_only=False), bool)


def _put(column: pa.Array, mask: np.ndarray, cells: np.ndarray, field: pa.Field, levels: tuple[str, ...]) -> pa.Array:
    """A column with other cells where the mask says so, in its own type."""
    kind = field.type
    new = restored(np.where(mask, cells, np.nan), arrow_dtype(kind, field.name), levels)
    if pa.types.is_dictionary(kind):
        return _put_words(column, mask, new, field)
    if pa.types.is_null(column.type):
        return new.cast(kind)
    if pa.types.is_decimal(kind):
        new = pc.round(new, kind.scale).cast(kind, safe=False)
    return pc.if_else(pa.array(mask), new.cast(kind), column)


def _put_words(column: pa.Array, mask: np.ndarray, new: pa.Array, field: pa.Field) -> pa.Array:
    """The same for categories: words that the column does not have come behind those that it has."""
    kind = field.type
    words = new.cast(kind.value_type)
    known = column.dictionary
    used = words.filter(pa.array(mask)).unique()
    grown = pa.concat_arrays([known, used.filter(pc.invert(pc.is_in(used, known)))])
    index = pc.if_else(pa.array(mask), pc.index_in(words, grown).cast("int64"), column.indices.cast("int64"))
    try:
        positions = index.cast(kind.index_type)
    except pa.ArrowInvalid:
        raise DataError(
            f"column {field.name!r} has {len(grown):,} categories, more than positions of type {kind.index_type} tell "
            "apart; write it as text"
        ) from None
    return pa.DictionaryArray.from_arrays(positions, grown, ordered=kind.ordered)


def _arrays(parts: Iterable[np.ndarray], rows: int) -> Iterator[np.ndarray]:
    """Arrays of so many rows each, but for the last one."""
    held: list[np.ndarray] = []
    count = 0
    for part in parts:
        held.append(part)
        count += len(part)
        if count >= rows:
            whole = np.concatenate(held)
            stop = count - count % rows
            yield from (whole[start : start + rows] for start in range(0, stop, rows))
            held, count = [whole[stop:]], count - stop
    if count:
        yield np.concatenate(held)


def _tables(batches: Iterable[pa.RecordBatch], schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
    """Record batches of so many rows each, but for the last one."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        held.append(batch)
        count += batch.num_rows
        if count >= rows:
            whole = pa.Table.from_batches(held, schema)
            stop = count - count % rows
            yield from (_one(whole.slice(start, rows)) for start in range(0, stop, rows))
            held, count = whole.slice(stop).to_batches(), count - stop
    if count:
        yield _one(pa.Table.from_batches(held, schema))


def _one(table: pa.Table) -> pa.RecordBatch:
    """A table as one batch; dictionaries of its chunks become one."""
    return table.unify_dictionaries().combine_chunks().to_batches()[0]
