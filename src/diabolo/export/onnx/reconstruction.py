"""What the model expects in each column: `Model.mean_values` as operations."""

from __future__ import annotations

import numpy as np

from diabolo.data.encoding import SCALED
from diabolo.errors import ConfigError
from diabolo.export.onnx.graph import DOUBLE, Graph
from diabolo.export.onnx.likelihood import law_of
from diabolo.model.autoencoder import Model

__all__ = ["reconstruction"]


def reconstruction(g: Graph, model: Model, theta: str) -> str:
    """E[x|z] in original units, [n, C] double: a category's position among its levels, 0 in an empty slot."""
    e, names = model.encoding, model.encoding.schema.output_names
    if e.marginals is not None:
        raise ConfigError(
            "the output reconstruction has no form in ONNX where columns keep their own laws (likelihood flexible)"
        )
    parts: list[str] = []
    place: dict[int, int] = {}
    filled: dict[int, str] = {}
    for head in model.heads:
        block = head.block
        if block.kind == "missing":
            continue
        value = g.cast(law_of(head, names).mean(g, head, g.columns(theta, range(head.start, head.stop))), DOUBLE)
        if block.kind == "slots":
            filled[block.columns[0] - len(e.schema.columns)] = value
            continue
        if block.kind in SCALED:
            at = list(block.columns)
            value = g.op("Add", g.op("Mul", value, e.scale[at][None]), e.center[at][None])
        elif block.kind == "angle":
            turn = np.array([[2 * np.pi if e.schema.columns[c].low >= 0 else 0.0 for c in block.columns]])
            below = g.op("Less", value, np.array([[0.0]]))
            value = g.op("Where", below, g.op("Add", value, turn), value)
        place |= {c: len(place) + i for i, c in enumerate(block.columns)}
        parts.append(value)
    first = g.columns(parts[0], [0])
    none = g.op("Sub", first, first)
    if e.constant:
        place |= {c: len(place) + i for i, c in enumerate(e.constant)}
        parts.append(g.op("Add", none, np.array([e.constant_values])))
    order = np.array([place[c] for c in range(len(e.schema.columns))])
    values = g.op("Gather", g.joined(parts), order, axis=1)
    return _emptied(g, model, values, filled) if filled else values


def _emptied(g: Graph, model: Model, values: str, filled: dict[int, str]) -> str:
    """The cells with 0 in the slots beyond the expected number of filled ones."""
    e = model.encoding
    rank, group_of = np.full((1, len(e.schema.columns)), -1.0), np.zeros(len(e.schema.columns), np.int64)
    for number, group in enumerate(e.schema.groups):
        for k, slot in enumerate(group.slots):
            rank[0, list(slot)], group_of[list(slot)] = k, number
    counts = g.op("Round", g.joined([filled[i] for i in sorted(filled)]))
    there = g.op("Greater", g.op("Gather", counts, group_of, axis=1), rank)
    kept = g.op("Or", there, rank < 0)
    return g.op("Where", kept, values, np.array([[0.0]]))
