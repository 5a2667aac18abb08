"""A file's columns as one matrix, or chunk by chunk; errors name file, column and row."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from diabolo.data.dialect.record import Asked, Dialect, Form, Reading
from diabolo.data.dtypes import TEXT, arrow_dtype, batch_values, float_type, is_date
from diabolo.data.formats import (
    SHAPE,
    Data,
    Taken,
    counters,
    jagged,
    left_out,
    read_batches,
    schema_of,
    taken,
    text_of,
    with_reading,
)
from diabolo.data.matching import matched
from diabolo.data.schema import Schema
from diabolo.data.table import Table
from diabolo.data.types import Types, types_of_arrow
from diabolo.errors import DataError, nearest

__all__ = [
    "as_fitted",
    "as_kept",
    "check_columns",
    "chunks",
    "dialect_of",
    "first_rows",
    "notes_on",
    "ordered_chunks",
    "read_column",
    "read_table",
    "regrouped",
    "row_shape",
    "types_in",
]


def notes_on(data: Data, most: int | None = 8) -> list[str]:
    """What a file holds that is no column of its table, and which columns a fit leaves out by itself; a line each.

    Args:
        most: names in a line; None for all.
    """
    schema = schema_of(data)[0]
    said = {
        "left out, as no column can hold them": [f"{name} ({why})" for name, why in left_out(schema).items()],
        "left out, as the slots tell how many there are": [f"{n} (of {of})" for n, of in counters(schema).items()],
    }
    lines = []
    for heading, words in said.items():
        more = f", and {len(words) - most} more" if most and len(words) > most else ""
        if words:
            lines.append(f"  {len(words)} {heading}: {', '.join(words[:most])}{more}")
    return lines


def as_fitted(data: Data, schema: Schema, more: Sequence[str] = ()) -> Data:
    """A table as a model can read it: text by the dialect that it was fitted on, lists for the slots of its columns.

    Raises:
        DataError: a column of the model, or of `more`, is missing.
    """
    data = as_kept(data, schema.dialect)
    arrow = schema_of(data)[0]
    if not set(schema.names) <= set(arrow.names):
        take = {g.name: len(g.slots) for g in schema.groups if jagged(arrow, g.name)}
        data = taken(data, take)
    check_columns(data, schema.names, more)
    return data


def as_kept(data: Data, dialect: Dialect | None) -> Data:
    """A table whose text is read by the dialect that a model keeps, and by what is asked."""
    if dialect is None:
        return data
    given = data.reading if isinstance(data, Taken) else None
    return with_reading(data, Reading(given.asked if given else Asked(), dialect))


def dialect_of(data: Data) -> Dialect | None:
    """How the text of a table is read; None where it is no text.

    A column with two readings, which no fit takes, is text as it stands, so that other verbs need not ask.
    """
    found = text_of(data)
    if found is None:
        return None
    dialect, unread = found.dialect, found.questions
    forms = {**{n: Form("text") for n in unread}, **dialect.forms}
    return dataclasses.replace(dialect, own={**dict.fromkeys(unread, ()), **dialect.own}, forms=forms)


def chunks(
    path: Data,
    columns: Sequence[str],
    apart: Sequence[str] = (),
    levels: dict[str, list[str]] | None = None,
    rows: int | None = None,
) -> Iterator[tuple[Table, dict[str, Any]]]:
    """Yield (table, {name: cells of the columns set apart}) with bounded memory.

    Args:
        path: the file.
        columns: names, in the order wanted.
        apart: names of further columns, given as they are.
        levels: words of text columns by column; grows, so that positions mean the same in every chunk.
        rows: of a chunk at most.

    Raises:
        DataError: names the file and the column of a cell that is no number, truth value, text or date.
    """
    levels = {} if levels is None else levels
    schema = schema_of(path)[0]
    dtypes = [arrow_dtype(schema.field(n).type, n, str(path)) for n in columns]
    at = 0
    for batch in read_batches(path, list(dict.fromkeys([*columns, *apart])), rows=rows):
        values = batch_values(batch, columns, levels)
        table = Table(values, list(columns), dtypes, "arrow", True, levels, start=at)
        yield table, {name: batch.column(name) for name in apart}
        at += batch.num_rows


def ordered_chunks(
    path: Data, schema: Schema, apart: Sequence[str] = (), rows: int | None = None
) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """Yield (values [n, C] as a model's schema wants them, cells of the columns set apart), `rows` of them at most."""
    for table, cells in chunks(path, schema.names, apart, rows=rows):
        try:
            yield matched(table, schema, "the model").values, cells
        except DataError as error:
            raise DataError(f"{path}: {error}") from None


def regrouped(
    pieces: Iterator[tuple[np.ndarray, dict[str, Any]]], rows: int
) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """The same rows in pieces of so many each, the last one of those that are left, however they were cut before."""
    import pyarrow as pa

    held: list[tuple[np.ndarray, dict[str, Any]]] = []
    count = 0

    def joined() -> tuple[np.ndarray, dict[str, Any]]:
        cells = {n: pa.chunked_array([c[n] for _, c in held]) for n in held[0][1]}
        whole = {n: c.unify_dictionaries().combine_chunks() for n, c in cells.items()}
        return np.concatenate([values for values, _ in held]), whole

    for values, cells in pieces:
        at = 0
        while at < len(values):
            take = min(rows - count, len(values) - at)
            held.append((values[at : at + take], {n: c.slice(at, take) for n, c in cells.items()}))
            at, count = at + take, count + take
            if count == rows:
                yield joined()
                held, count = [], 0
    if held:
        yield joined()


def first_rows(path: Data, columns: Sequence[str], most: int) -> Table:
    """The first rows of a table, at most so many; infinite cells count as missing.

    Raises:
        DataError: it has none.
    """
    levels: dict[str, list[str]] = {}
    parts, seen, schema = [], 0, schema_of(path)[0]
    for table, _ in chunks(path, columns, levels=levels):
        parts.append(table.values)
        seen += len(table)
        if seen >= most:
            break
    if not seen:
        raise DataError(f"{path}: has a header but no rows")
    values = np.concatenate(parts)[:most]
    beyond = np.isinf(values)
    signs = zip(columns, (values == -np.inf).sum(axis=0).tolist(), (values == np.inf).sum(axis=0).tolist(), strict=True)
    infinite = {n: (below, above) for n, below, above in signs if below + above}
    values = np.where(beyond, np.nan, values)
    dtypes = [arrow_dtype(schema.field(n).type, n, str(path)) for n in columns]
    shape, dialect = row_shape(schema, columns), dialect_of(path)
    return Table(values, list(columns), dtypes, "arrow", True, levels, shape, dialect=dialect, infinite=infinite)


def first_cells(path: Data, schema: Any, most: int) -> Any:
    """The first rows of a table as they are, nested columns too, at most so many; an Arrow table of `schema`.

    Raises:
        DataError: it has none.
    """
    import pyarrow as pa

    batches, seen = [], 0
    for batch in read_batches(path, schema.names, nested=True):
        batches.append(batch)
        seen += batch.num_rows
        if seen >= most:
            break
    if not seen:
        raise DataError(f"{path}: has a header but no rows")
    return pa.Table.from_batches(batches, schema).slice(0, most)


def read_table(path: Data, columns: Sequence[str], weight: str | None = None) -> tuple[Table, np.ndarray | None]:
    """Read chosen columns as one matrix, and the weights."""
    schema, rows = schema_of(path)
    dtypes = [arrow_dtype(schema.field(n).type, n, str(path)) for n in columns]
    if weight:
        _check_weight(path, arrow_dtype(schema.field(weight).type, weight, str(path)), weight)
    kind = float_type(dtypes)
    values = np.empty((rows, len(columns)), kind) if rows is not None else None
    levels: dict[str, list[str]] = {}
    parts, weights, at = [], [], 0
    for chunk, apart in chunks(path, columns, [weight] if weight else [], levels):
        if values is None:
            parts.append(chunk.values.astype(kind, copy=False))
        else:
            values[at : at + len(chunk)] = chunk.values
        at += len(chunk)
        if weight:
            weights.append(np.asarray(apart[weight].to_numpy(zero_copy_only=False), np.float64))
    if values is None:
        values = np.concatenate(parts) if parts else np.empty((0, len(columns)), kind)
    if not at:
        raise DataError(f"{path}: has a header but no rows")
    shape, dialect = row_shape(schema, columns), dialect_of(path)
    types = types_in(path, columns)
    table = Table(values, list(columns), dtypes, "arrow", True, levels, shape, dialect=dialect, types=types)
    return table, np.concatenate(weights) if weight else None


def types_in(path: Data, columns: Sequence[str]) -> Types:
    """Types of a table's columns that type names do not tell: pandas' own ones, categories in their order."""
    import pyarrow as pa

    schema = schema_of(path)[0]
    names = [n for n in columns if pa.types.is_dictionary(schema.field(n).type)]
    batch = next(iter(read_batches(path, names)), None) if names else None
    return types_of_arrow(schema, {} if batch is None else {n: batch.column(n) for n in names}).of(columns)


def read_column(path: Data, name: str) -> Any:
    """One column's cells as they are, an Arrow array in chunks."""
    import pyarrow as pa

    kind = schema_of(path)[0].field(name).type
    return pa.chunked_array([batch.column(name) for batch in read_batches(path, [name])], kind)


def row_shape(schema: Any, columns: Sequence[str]) -> tuple[int, ...] | None:
    """The shape of a row that a file of images says, where all its pixels are read and in order."""
    said = (schema.metadata or {}).get(SHAPE)
    if said is None:
        return None
    shape = tuple(int(word) for word in said.decode().split(","))
    pixels = [f"x{i}" for i in range(math.prod(shape))]
    return shape if list(columns) == pixels else None


def _check_weight(path: Data, dtype: str, name: str) -> None:
    if dtype in TEXT or is_date(dtype):
        raise DataError(f"{path}: the weight column {name!r} holds {dtype}; allowed are numbers from 0 up")


def check_columns(path: Data, names: Sequence[str], more: Sequence[str] = ()) -> None:
    """Refuse a file that lacks one of a model's columns or of `more`; other columns and another order are fine.

    Raises:
        DataError: names the first missing column and the nearest there is.
    """
    there, text = list(schema_of(path)[0].names), text_of(path)
    twice = [n for n in (*names, *more) if there.count(n) > 1 or (text is not None and n in text.twice)]
    if twice:
        raise DataError(f"{path}: duplicate column names: {', '.join(twice)}; rename them")
    absent = [n for n in names if n not in there]
    if absent:
        bare = text is not None and not text.dialect.header
        hint = "; its first line is taken for a row: --header first takes it for names" if bare else ""
        raise DataError(
            f"{path}: column {absent[0]!r} is missing ({len(absent)} of the model's {len(names)} are): "
            f"{nearest(absent[0], there, 'it has')}{hint}"
        )
    for name in more:
        if name not in there:
            raise DataError(f"{path}: no column {name!r}: {nearest(name, there, 'it has')}")
