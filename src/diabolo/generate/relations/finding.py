"""All relations of training rows, kind by kind; those that follow from others are left out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diabolo.data.schema import Schema
from diabolo.generate.keeping import in_turn
from diabolo.generate.relations.base import Relation, Source, relations
from diabolo.generate.relations.keys import Key

__all__ = ["find_relations", "keys_of"]

#: Rows on which it is tried whether an order follows from another relation.
TRIED = 2_000


def find_relations(schema: Schema, rows: np.ndarray) -> list[Relation]:
    """The exact relations between columns that training rows show, not by chance.

    Args:
        schema: of the columns.
        rows: training rows, [n, C] in the schema's order and levels, NaN where missing.
    """
    source = Source(schema, rows)
    if len(source.columns) < 1:
        return []
    for name in relations.names():
        source.known += relations.get(name).find(source)
    keys = {k.column for k in keys_of(source.known)}
    plain = [r for r in source.known if r.name != "order" or not keys & set(r.columns)]
    orders = [r for r in plain if r.name == "order"]
    rest = [r for r in plain if r.name != "order"]
    return [*rest, *_needed(orders, rest, source)]


def keys_of(found: Sequence[Relation]) -> list[Key]:
    """Those that say that a column only tells rows apart."""
    return [r for r in found if isinstance(r, Key)]


def _needed(orders: Sequence[Relation], rest: Sequence[Relation], source: Source) -> list[Relation]:
    """Orders that do not follow from the other relations, whatever the columns are that these begin with."""
    rng = np.random.default_rng(0)
    mixed = source.rows[source.sample(TRIED)]
    for c in range(mixed.shape[1]):
        there = ~np.isnan(mixed[:, c])
        mixed[there, c] = rng.permutation(mixed[there, c])
    for r in in_turn([r for r in rest if r.result is not None]):
        r.repair(mixed, {c for c in (r.result,) if c is not None}, source, rng)
    return [r for r in orders if r.broken(mixed, source.schema).any()]
