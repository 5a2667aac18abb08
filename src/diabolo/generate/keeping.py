"""Relations of training rows, kept by drawn ones: the columns that others determine are computed again.

Relations are taken one after another, those first whose result others use. What a relation has settled, the next ones
leave alone: each moves a column that is still free. Given cells are never free.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from diabolo.data.schema import Schema
from diabolo.generate.relations.base import Relation, Source

__all__ = ["breaks", "in_turn", "repaired"]


def breaks(found: Sequence[Relation], rows: np.ndarray, schema: Schema) -> np.ndarray:
    """Which rows [n, C] break a relation, [n] bool."""
    out = np.zeros(len(rows), bool)
    for r in found:
        out |= r.broken(rows, schema)
    return out


def repaired(
    found: Sequence[Relation], rows: np.ndarray, given: Collection[int], source: Source, rng: np.random.Generator
) -> np.ndarray:
    """Make rows [n, C] keep the relations, in place; [n] bool, those that still break one.

    Args:
        found: the relations.
        rows: drawn, on the grids of their columns.
        given: columns whose cells stay as they are.
        source: training rows.
        rng: of columns that a relation leaves open.
    """
    everything, settled = set(range(rows.shape[1])), set(given)
    results = {r.result for r in found if r.result is not None}
    loose = [r for r in found if r.result is None and r.name != "order"]
    for r in loose:
        r.repair(rows, everything - settled, source, rng)
    orders = _upward([r for r in found if r.name == "order"])
    for several in (orders, orders[::-1]):  # up from the lowest, then down from what could not be moved up
        for r in several:
            r.repair(rows, everything - settled - results, source, rng)
    upward = in_turn([r for r in found if r.result is not None])
    # Where a result is given, its relation has to move what others begin with.
    bound = [r for r in upward if r.result in given]
    for r in [*bound[::-1], *(r for r in upward if r not in bound)]:
        r.repair(rows, everything - settled, source, rng)
        settled |= set(r.columns)
    return breaks(found, rows, source.schema)


def _upward(orders: list[Relation]) -> list[Relation]:
    """Orders of which each comes after those that end where it begins."""
    return _arranged(orders, [{r.columns[0]} for r in orders], [r.columns[1] for r in orders])


def in_turn(found: list[Relation]) -> list[Relation]:
    """Relations of which each comes after those whose result it uses."""
    return _arranged(found, [set(r.columns) - {r.result} for r in found], [r.result for r in found])


def _arranged(items: list[Relation], needs: list[set[int]], gives: Sequence[int | None]) -> list[Relation]:
    left, out = list(range(len(items))), []
    while left:
        ready = [i for i in left if not any(gives[j] in needs[i] for j in left if j != i)]
        # In a circle each depends on another: the first one begins.
        for i in ready or left[:1]:
            out.append(items[i])
            left.remove(i)
    return out
