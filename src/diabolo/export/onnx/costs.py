"""Costs of cells and rows under the model: `Model.nll`, `row_nll`, `column_nll` and `column_squared_error`."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from diabolo.data.encoding import SCALED
from diabolo.export.onnx.encoding import Row
from diabolo.export.onnx.graph import FLOAT, Graph
from diabolo.export.onnx.likelihood import law_of
from diabolo.model.autoencoder import Model
from diabolo.model.heads import Head

__all__ = ["column_error", "column_nll", "row_nll"]


@dataclasses.dataclass
class _Cost:
    """Cells of a head [n, its columns]."""

    head: Head
    cells: str


def _cells(g: Graph, model: Model, row: Row, theta: str, squared: bool) -> list[_Cost]:
    out = []
    names = model.encoding.schema.output_names
    for head, own in zip(model.heads, model.own, strict=True):
        block = head.block
        if squared and block.kind == "missing":
            continue
        law = law_of(head, names)
        part = g.columns(theta, range(head.start, head.stop), model.heads[-1].stop)
        x = g.columns(row.x, range(block.start, block.stop), model.encoding.width)
        cell = (law.squared_error if squared else law.nll)(g, head, own, part, x)
        if not squared and head.likelihood.density and block.kind in SCALED:
            cell = g.op("Add", cell, head.units.scale.log().float().numpy()[None])
        if block.kind not in ("slots", "missing"):
            cells = range(block.cell, block.cell + len(block.columns))
            there = g.columns(row.present, cells, len(model.encoding.cells))
            cell = g.op("Where", there, cell, 0.0)
        out.append(_Cost(head, cell))
    return out


def _event_cost(model: Model) -> float:
    """Price of an event that no training row had, nats."""
    return math.log(model.encoding.n_train + 2)


def _gap_prices(model: Model, squared: bool) -> np.ndarray:
    """What a missing cell costs, [C]."""
    e = model.encoding
    typical = model.buffers["typical_squared_error" if squared else "typical_nll"].numpy()
    known = np.isin(np.arange(len(e.schema.columns)), [*e.nullable, *e.gappy])
    return np.asarray(typical[: len(known)] + np.where(known, 0.0, 0.0 if squared else _event_cost(model)), np.float32)


def row_nll(g: Graph, model: Model, row: Row, theta: str) -> str:
    """−log p(x|z), [n, 1]."""
    total = g.total(g.joined([c.cells for c in _cells(g, model, row, theta, squared=False)]))
    prices = _gap_prices(model, squared=False)
    total = g.op("Add", total, g.op("MatMul", g.cast(row.missing, FLOAT), prices[:, None]))
    if model.encoding.gappy:
        total = g.op("Add", total, g.total(_gappy(g, model, row)))
    if row.changed is not None:
        price = np.full((len(model.encoding.watched), 1), _event_cost(model), np.float32)
        total = g.op("Add", total, g.op("MatMul", g.cast(row.changed, FLOAT), price))
    return total


def _gappy(g: Graph, model: Model, row: Row) -> str:
    """Cost of constants that are there or missing, [n, gappy]."""
    columns, at = model.encoding.schema.columns, model.encoding.gappy
    share = np.array([columns[c].missing for c in at])
    there = np.where(share < 1, -np.log1p(-np.minimum(share, 1 - 1e-16)), 0.0)
    missing = g.columns(row.missing, at)
    return g.op("Where", missing, (-np.log(share)).astype(np.float32)[None], there.astype(np.float32)[None])


def _by_column(g: Graph, model: Model, row: Row, costs: list[_Cost], squared: bool) -> str:
    """Costs [n, columns and slot groups]; a column has its cell, its gap and its new value."""
    e, names = model.encoding, model.encoding.schema.output_names
    gaps = g.op("Mul", g.cast(row.missing, FLOAT), _gap_prices(model, squared)[None])
    parts = [(list(c.head.block.columns), c.cells) for c in costs]
    parts.append((list(range(len(e.schema.columns))), gaps))
    if not squared and e.gappy:
        parts.append((e.gappy, _gappy(g, model, row)))
    if row.changed is not None:
        price = 1.0 if squared else _event_cost(model)
        parts.append((e.watched, g.op("Mul", g.cast(row.changed, FLOAT), price)))
    none = g.op("Sub", g.columns(gaps, [0]), g.columns(gaps, [0]))
    total = ""
    # Each layer has a column's cost once, or the zero behind all costs.
    joined = g.joined([*(value for _, value in parts), none])
    starts = np.cumsum([0, *(len(at) for at, _ in parts)])
    places = [
        [int(s) + at.index(c) for (at, _), s in zip(parts, starts, strict=False) if c in at] for c in range(len(names))
    ]
    for layer in range(max(len(p) for p in places)):
        at = [p[layer] if layer < len(p) else int(starts[-1]) for p in places]
        chosen = g.op("Gather", joined, np.array(at), axis=1)
        total = g.op("Add", total, chosen) if total else chosen
    return total


def column_nll(g: Graph, model: Model, row: Row, theta: str) -> str:
    """−log p(x|z) by column, [n, columns and slot groups]."""
    return _by_column(g, model, row, _cells(g, model, row, theta, squared=False), squared=False)


def column_error(g: Graph, model: Model, row: Row, theta: str) -> str:
    """The squared distance to the reconstruction by column, [n, columns and slot groups]."""
    return _by_column(g, model, row, _cells(g, model, row, theta, squared=True), squared=True)
