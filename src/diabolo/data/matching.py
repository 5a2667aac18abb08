"""A table brought into the columns, the order and the levels of a schema."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence

import numpy as np

from diabolo.data.dialect.record import Dialect
from diabolo.data.dtypes import TEXT, meaning
from diabolo.data.schema import Column, Schema
from diabolo.data.table import Table
from diabolo.errors import DataError, nearest

__all__ = ["infinite_cell", "infinite_cells", "like_schema", "matched", "word_faults"]


def like_schema(schema: Schema, values: np.ndarray) -> Table:
    """Rows [n, C] in a schema's order and levels as a table of its columns."""
    levels = {name: list(words) for name, words in schema.levels.items()}
    return Table(values, schema.names, [c.dtype for c in schema.columns], "arrow", True, levels)


def matched(table: Table, schema: Schema, who: str) -> Table:
    """Bring a table into a schema's order (by name where it has names, else by position) and its levels.

    A category that the schema does not know gets the position after its last level.

    Raises:
        DataError: a column is missing, the number of columns or the size of images differs, text for numbers.
    """
    ordered = _ordered(table, schema, who)
    # Numbers without names have neither words nor kinds to compare.
    return ordered if not (table.named or table.levels or schema.words) else _recoded(ordered, schema)


def _ordered(table: Table, schema: Schema, who: str) -> Table:
    if schema.shape is not None and table.shape is not None and (*table.shape, 1)[:3] != schema.shape:
        raise DataError(
            f"X has images of shape {list(table.shape)}; {who} was fitted on {list(schema.shape)} (h, w, channels)"
        )
    if not table.named:
        if len(table.names) != len(schema.columns):
            raise DataError(
                f"X has {len(table.names)} features, but {who} is expecting {len(schema.columns)} features as input."
            )
        return table
    names = schema.names
    if table.names == names:
        return table
    index = {n: i for i, n in enumerate(table.names)}
    absent = [n for n in names if n not in index]
    if absent:
        if len(table.names) == len(names) and all(n == f"x{i}" for i, n in enumerate(names)):
            return dataclasses.replace(table, levels={})  # the fit had no names to compare with
        raise DataError(
            f"column {absent[0]!r} is missing ({len(absent)} of the model's {len(names)} are): "
            f"{nearest(absent[0], table.names, 'X has')}"
        )
    order = [index[n] for n in names]
    return dataclasses.replace(
        table, values=table.values[:, order], names=list(names), dtypes=[table.dtypes[i] for i in order]
    )


def _recoded(table: Table, schema: Schema) -> Table:
    """Positions among a table's own levels → positions among the schema's; numbers that are categories likewise."""
    values, levels = table.values, dict(table.levels)
    for i, column in enumerate(schema.columns):
        own = levels.get(table.names[i])
        if not column.levels:
            if column.dtype not in TEXT and table.named:
                _check_kind(table, i, column, own)
            if own is None or column.dtype not in TEXT:
                continue
        if column.kind == "ordinal":
            if own is not None:
                raise _no_number(table, i, own)
            continue
        if column.dtype in TEXT and own is None and table.dtypes[i] not in TEXT:
            if not np.isnan(values[:, i]).all():
                raise DataError(
                    f"column {column.name!r} holds {table.dtypes[i]}; the model was fitted on text there "
                    f"({', '.join(column.levels[:3])})"
                )
            continue
        if own == list(column.levels):
            continue
        if values is table.values:
            values = values.copy()
        values[:, i] = _positions(values[:, i], own, column.levels)
        levels[table.names[i]] = list(column.levels)
    return dataclasses.replace(table, values=values, levels=levels)


def _check_kind(table: Table, i: int, column: Column, own: Sequence[str] | None) -> None:
    """Refuse dates or text where the model was fitted on numbers, and so on; missing cells have no kind.

    Columns without names have none of these.

    Raises:
        DataError: names the column, and the first word where a number should be.
    """
    known, came = meaning(column.dtype), meaning(table.dtypes[i])
    if (own is None and known == came) or np.isnan(table.values[:, i]).all():
        return
    if own is not None and known == "numbers":
        raise _no_number(table, i, own)
    what = "text" if own is not None else table.dtypes[i]
    raise DataError(f"column {column.name!r} holds {what}; the model was fitted on {known} there")


def word_faults(table: Table, kinds: Mapping[str, str]) -> dict[str, str]:
    """Text columns that are numbers but for a few stray words, each with the first, as sentences without a subject.

    Fitted as they are, each of their numbers would be a level.
    """
    out = {}
    for i, name in enumerate(table.names):
        words = table.levels.get(name)
        numbers = sum(_is_number(w) for w in words or ())
        if words and kinds.get(name) != "categorical" and len(words) > numbers >= max(3, len(words) / 2):
            odd = [w for w in words if not _is_number(w)]
            way = f"--set {shlex.quote(f'kinds.{name}=categorical')} makes it a category"
            if table.dialect is not None and len(odd) <= 5:
                marks = " ".join(f"--missing {shlex.quote(f'{name}={w}' if '=' in w else w)}" for w in odd)
                way = f"{marks} says that it stands for a missing cell, {way}"
            where, said = _first_word(table, i, words)
            out[name] = f"has {said}, which is not a number, {where}and its other cells are: mend it; {way}"
    return out


def infinite_cell(row: int, name: str, cell: float, dialect: Dialect | None, column: np.ndarray) -> DataError:
    """An error that names an infinite cell, and the options that take it for a missing one where the table is text.

    Args:
        column: cells of the column as far as they are read: both infinities may stand in it.
    """
    marks = [mark for mark, there in (("inf", np.inf), ("-inf", -np.inf)) if (column == there).any() or cell == there]
    said = " ".join(f"--missing {mark}" for mark in marks)
    way = "replace it by NaN" if dialect is None else f"{said} takes it"
    return DataError(
        f"row {row}, column {name!r}: {cell} (infinity) cannot be fitted; {way} for a missing cell, "
        "or leave the row out"
    )


def infinite_cells(table: Table) -> list[str]:
    """A line for each column of the first rows that has infinite cells."""
    out = []
    for name, (below, above) in table.infinite.items():
        marks = ["--missing inf"] * (above > 0) + ["--missing -inf"] * (below > 0)
        way = "replace them by NaN" if table.dialect is None else f"{' '.join(marks)} takes them"
        out.append(
            f"{name!r} has infinite cells, {below + above:,} in the first {len(table):,} rows, that cannot be fitted; "
            f"{way} for missing ones, or leave these rows out"
        )
    return out


def _first_word(table: Table, i: int, words: Sequence[str]) -> tuple[str, str]:
    """Where the first cell of a column stands that is no number, and its text."""
    odd = [k for k, word in enumerate(words) if not _is_number(word)] or [0]
    rows = np.flatnonzero(np.isin(table.values[:, i], odd))
    row = f"in row {table.start + int(rows[0])}, " if len(rows) else ""
    word = words[int(table.values[rows[0], i])] if len(rows) else words[odd[0]]
    return row, repr(word[:40])


def _no_number(table: Table, i: int, words: Sequence[str]) -> DataError:
    row, word = _first_word(table, i, words)
    where = row.removeprefix("in ")
    return DataError(f"{where}column {table.names[i]!r}: {word} is not a number; the model was fitted on numbers there")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _positions(cells: np.ndarray, own: Sequence[str] | None, levels: Sequence[str]) -> np.ndarray:
    there = ~np.isnan(cells)
    if own is not None:
        place = {word: k for k, word in enumerate(levels)}
        to = np.array([*(place.get(w, len(levels)) for w in own), len(levels)], cells.dtype)
        code = np.where(there, cells, 0).astype(np.int64)
        return np.where(there, to[np.minimum(code, len(own))], np.nan)
    numbers = np.array([float(w) for w in levels])
    order = np.argsort(numbers)
    at = np.clip(np.searchsorted(numbers, cells, sorter=order), 0, len(numbers) - 1)
    found = numbers[order[at]] == cells
    return np.where(there, np.where(found, order[at], len(levels)), np.nan)
