"""A file's columns as one matrix, or chunk by chunk; errors name file, column and row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diabolo.data.formats import read_batches, schema_of
from diabolo.data.table import Table, arrow_dtype, batch_values, float_type
from diabolo.errors import DataError, nearest

__all__ = ["check_columns", "choose_columns", "chunks", "read_table"]


def choose_columns(path: Path, columns: str | None, exclude: str | None, apart: Sequence[str | None]) -> list[str]:
    """Names of the columns that a model is to see: `--columns`, or all but `--exclude`, label and weight.

    Raises:
        DataError: a name that the file does not have, or none left.
    """
    names = list(schema_of(path)[0].names)
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise DataError(f"{path}: duplicate column names: {', '.join(twice)}; rename them")
    wanted = names if columns is None else columns.split(",")
    left_out = set() if exclude is None else set(exclude.split(","))
    for name in [*wanted, *left_out, *(a for a in apart if a)]:
        if name not in names:
            raise DataError(f"{path}: no column {name!r}: {nearest(name, names)}")
        if wanted.count(name) > 1:
            raise DataError(f"--columns names {name!r} twice; name each column once")
    chosen = [n for n in wanted if n not in left_out and n not in apart]
    if not chosen:
        raise DataError(f"{path}: no column is left to fit; it has {', '.join(names[:10])}")
    return chosen


def chunks(
    path: Path, columns: Sequence[str], apart: Sequence[str] = ()
) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """Yield (values [n, C], {name: cells of the columns set apart}) with bounded memory.

    Raises:
        DataError: names the file, the column and the row of a cell that is not a number.
    """
    for batch in read_batches(path, list(dict.fromkeys([*columns, *apart]))):
        try:
            values = batch_values(batch, columns)
        except DataError as error:
            for name in columns:
                _dtype(path, batch.schema, name)
            raise DataError(f"{path}: {error}") from None
        yield values, {name: batch.column(name) for name in apart}


def read_table(path: Path, columns: Sequence[str], weight: str | None = None) -> tuple[Table, np.ndarray | None]:
    """Read chosen columns as one matrix, and the weights."""
    schema, rows = schema_of(path)
    dtypes = [_dtype(path, schema, n) for n in columns]
    if weight:
        _dtype(path, schema, weight)
    kind = float_type(dtypes)
    values = np.empty((rows, len(columns)), kind) if rows is not None else None
    parts, weights, at = [], [], 0
    for chunk, apart in chunks(path, columns, [weight] if weight else []):
        if values is None:
            parts.append(chunk.astype(kind, copy=False))
        else:
            values[at : at + len(chunk)] = chunk
        at += len(chunk)
        if weight:
            weights.append(np.asarray(apart[weight].to_numpy(zero_copy_only=False), np.float64))
    if values is None:
        values = np.concatenate(parts) if parts else np.empty((0, len(columns)), kind)
    if not at:
        raise DataError(f"{path}: has a header but no rows")
    return Table(values, list(columns), dtypes, "arrow", True), np.concatenate(weights) if weight else None


def _dtype(path: Path, schema: Any, name: str) -> str:
    """A column's NumPy type; text is refused with the first cell that is not a number."""
    try:
        return arrow_dtype(schema.field(name).type, name, str(path))
    except DataError as error:
        import pyarrow.csv as pc

        missing, at = set(pc.ConvertOptions().null_values), 0
        for batch in read_batches(path, [name]):
            for i, cell in enumerate(batch.column(0).to_pylist()):
                if isinstance(cell, str) and cell not in missing and not _is_number(cell):
                    raise DataError(
                        f"{path}: row {at + i}, column {name!r}: {cell[:40]!r} is not a number; mend it, or leave the "
                        f"column out of the fit (--exclude {name}, or --label {name} if it is the truth)"
                    ) from None
            at += batch.num_rows
        raise error from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def check_columns(path: Path, names: Sequence[str]) -> None:
    """Refuse a file that lacks one of a model's columns; more columns and another order are fine.

    Raises:
        DataError: names the first missing column and the nearest there is.
    """
    there = list(schema_of(path)[0].names)
    twice = [n for n in names if there.count(n) > 1]
    if twice:
        raise DataError(f"{path}: duplicate column names: {', '.join(twice)}; rename them")
    absent = [n for n in names if n not in there]
    if absent:
        raise DataError(
            f"{path}: column {absent[0]!r} is missing ({len(absent)} of the model's {len(names)} are): "
            f"{nearest(absent[0], there)}"
        )
