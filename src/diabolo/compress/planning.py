"""A file's plan from its first rows: grids within the bounds, and objects that may be absent."""

from __future__ import annotations

from typing import Any

import numpy as np

from diabolo.compress.columns import is_float, leaf, leaves
from diabolo.compress.grid import Bound, choose_grid
from diabolo.compress.nested import Nest
from diabolo.compress.plan import Plan

__all__ = ["cells_of_plan", "make_plan"]

#: A slot's fields may be zero by themselves this often; a column is a slot if so many rows lack it.
BY_ITSELF, ABSENT = 0.02, 0.01
SAMPLE = 1 << 17


def make_plan(batch: Any, bounds: list[Bound | None]) -> Plan:
    """Grids and slots for a table like this batch, whose bounds are those of its flat columns."""
    nest = Nest(batch.schema)
    flat = nest.split(batch)
    grids = [
        choose_grid(_floats(leaves(flat.column(i))), bounds[i]) if is_float(leaf(field.type)) else None
        for i, field in enumerate(nest.flat)
    ]
    bounds = [b if g is not None else None for b, g in zip(bounds, grids, strict=True)]
    return Plan(nest.flat, bounds, grids, find_slots(flat), nested=None if nest.plain else batch.schema)


def _floats(array: Any) -> np.ndarray:
    array = array.drop_null()
    size = array.type.bit_width // 8
    return np.frombuffer(array.buffers()[1], f"<f{size}", len(array), array.offset * size)[:SAMPLE]


def find_slots(batch: Any) -> list[list[int]]:
    """Neighbouring columns of floats that are zero in the same rows: an object that may be absent.

    A column belongs to the one before it if it is zero wherever that one is, and hardly ever elsewhere.
    """
    slots: list[list[int]] = []
    leader: np.ndarray | None = None
    for i, field in enumerate(batch.schema):
        if not is_float(field.type):
            leader = None
            continue
        size = field.type.bit_width // 8
        array = batch.column(i)
        zero = np.frombuffer(array.buffers()[1], f"<i{size}", len(array), array.offset * size) == 0
        if array.null_count:
            leader = None
            continue
        present = 0 if leader is None else int((~leader).sum())
        if (
            leader is not None
            and present
            and not (leader & ~zero).any()
            and (zero & ~leader).sum() <= BY_ITSELF * present
        ):
            slots[-1].append(i)
            continue
        leader = None
        if len(zero) and zero.mean() > ABSENT:
            leader = zero
            slots.append([i])
    return [slot for slot in slots if len(slot) > 1]


def cells_of_plan(plan: Plan, batch: Any) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Integers and which rows have one, of every column that has a grid and is no list."""
    batch = plan.nest.split(batch)
    there: dict[int, np.ndarray] = {}
    for slot in plan.slots:
        present = np.array([_floats_all(batch.column(i))[0] != 0 for i in slot]).any(axis=0)
        there |= dict.fromkeys(slot, np.asarray(present))
    out = {}
    for i, grid in enumerate(plan.grids):
        if grid is None or not is_float(plan.schema.field(i).type):
            continue
        x, valid = _floats_all(batch.column(i))
        index = grid.index(x)
        y, bound = grid.value(index), plan.bounds[i]
        fits = bound.holds(x, y) if bound is not None else x == y
        rows = valid & fits & there.get(i, np.ones(len(x), bool))
        out[i] = (np.where(rows, index, 0), rows)
    return out


def _floats_all(array: Any) -> tuple[np.ndarray, np.ndarray]:
    valid = ~array.is_null().to_numpy(zero_copy_only=False)
    size = array.type.bit_width // 8
    cells = np.frombuffer(array.buffers()[1], f"<f{size}", len(array), array.offset * size)
    return np.where(valid, cells, 0), valid
