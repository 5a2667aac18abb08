"""Whether given values go together: training rows that have them, and relations that they break."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from diabolo.data.schema import Column, Schema
from diabolo.errors import DataError
from diabolo.generate.given import words_of
from diabolo.generate.relations.base import Relation

__all__ = ["check_together"]

#: Rows with two values together that chance would give, from which on none says that they exclude each other; and from
#: which on it is worth a word.
EXPECTED, SAID = 10.0, 3.0
#: Share of rows that have a number or one near it.
NEAR = 0.04


def check_together(
    schema: Schema, rows: np.ndarray | None, given: Mapping[int, float], found: Sequence[Relation]
) -> str | None:
    """Refuse values that exclude each other; say so of values that no training row has together.

    Args:
        schema: of the columns.
        rows: training rows, [n, C]; None where none were kept.
        given: cells by position.
        found: relations of training rows.

    Raises:
        DataError: the values break a relation, or two of them never occur together where chance would often join them.
    """
    if len(given) < 2 or rows is None:
        return None
    row = np.full((1, len(schema.columns)), np.nan)
    row[0, list(given)] = list(given.values())
    for r in found:
        if set(r.columns) <= set(given) and r.broken(row, schema)[0]:
            said = words_of(schema, {c: given[c] for c in r.columns})
            raise DataError(f"given {said}: in all training rows {r.describe(schema.names)}; give values that fit")
    have = {c: _having(schema.columns[c], rows[:, c], value) for c, value in given.items()}
    for some in (*combinations(given, 2), tuple(given)):
        chance = len(rows) * float(np.prod([have[c].mean() for c in some]))
        plain = all(_few(schema.columns[c]) for c in some)
        if np.logical_and.reduce([have[c] for c in some]).any() or (chance < SAID and not plain):
            continue
        said = (
            f"given {words_of(schema, {c: given[c] for c in some})}: never together in the {len(rows):,} training rows"
        )
        if chance >= EXPECTED and len(some) == 2:
            raise DataError(f"{said} kept, where chance would give {chance:,.0f}; give values that occur together")
        return f"{said} kept, so that the rows drawn are a guess"
    return None


def _few(column: Column) -> bool:
    """Whether a value is the same as another or not, and never near it."""
    return column.kind in ("categorical", "ordinal", "boolean", "constant")


def _having(column: Column, cells: np.ndarray, value: float) -> np.ndarray:
    """The rows that have a value; of a number that few have, those whose cells are nearest."""
    if np.isnan(value):
        return np.asarray(np.isnan(cells))
    same, there = np.asarray(cells == cells.dtype.type(value)), ~np.isnan(cells)
    if _few(column) or same.mean() >= NEAR or not there.any():
        return same
    distance = np.where(there, np.abs(cells - value), np.inf)
    return np.asarray(distance <= np.sort(distance)[max(1, int(NEAR * there.sum())) - 1])
