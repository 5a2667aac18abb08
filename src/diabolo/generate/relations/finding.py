"""All relations of training rows, kind by kind; those that follow from others are left out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diabolo.data.schema import Schema
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
    return [*rest, *(r for r in orders if not _follows(r, rest, source))]


def keys_of(found: Sequence[Relation]) -> list[Key]:
    """Those that say that a column only tells rows apart."""
    return [r for r in found if isinstance(r, Key)]


def _follows(order: Relation, rest: Sequence[Relation], source: Source) -> bool:
    """Whether an order is kept by a relation of its two columns, whatever the relation's other columns are."""
    rng = np.random.default_rng(0)
    some = source.rows[source.sample(TRIED)]
    some = some[~np.isnan(some[:, list(order.columns)]).any(axis=1)]
    for r in rest:
        if r.result is None or not set(order.columns) <= set(r.columns):
            continue
        mixed = some.copy()
        for c in r.columns:
            mixed[:, c] = rng.permutation(mixed[:, c])
        r.repair(mixed, {r.result}, source, rng)
        if not order.broken(mixed, source.schema).any():
            return True
    return False
