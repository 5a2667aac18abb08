"""Cells of a table to the inputs of a network: `Encoding.encode` as operations."""

from __future__ import annotations

import dataclasses

import numpy as np

from diabolo.data.dtypes import TEXT, float_type
from diabolo.data.encoding import LIMIT, Encoding
from diabolo.export.onnx.graph import DOUBLE, FLOAT, INT64, STRING, Graph, ints
from diabolo.runtime.flags import REASONS

__all__ = ["KINDS", "Cells", "Row", "cells", "encoded"]

#: Kinds of columns that have a form here: every one that a schema knows.
KINDS = ("real", "date", "integer", "count", "ordinal", "angle", "boolean", "categorical", "constant")
#: Words that stand for a missing cell of text, the first that is no level.
MISSING = ("", "\0", "\0\0")
#: Reasons why a row has no score, the one that is named last.
RANKED = ("", "overflow", "every cell is missing", "negative count", "outside 0..1", "infinite")
#: Names of outputs and inputs of the graph itself.
RESERVED = ("score", "p_value", "is_anomaly", "flag", "threshold", "z", "reconstruction", "column_p", "x")


@dataclasses.dataclass
class Cells:
    """The table's cells as numbers, and how they come in."""

    values: str  #: [n, C] in the precision of the fit
    kind: int  #: element type of `values`
    #: Names of inputs by column, or of one matrix; words that stand for a missing cell by column of text.
    names: list[str]
    missing: dict[str, str]

    @property
    def type(self) -> type[np.floating]:  # type: ignore[type-arg]
        return np.float64 if self.kind == DOUBLE else np.float32


@dataclasses.dataclass
class Row:
    """Encoded rows: `Encoded` with every mask made."""

    x: str  #: [n, D] float
    present: str  #: [n, cells] bool
    missing: str  #: [n, C] bool
    changed: str | None  #: [n, watched] bool
    good: str  #: [n] bool: it can be scored
    flag: str  #: [n] int64, the position of the reason in `diabolo.runtime.flags.REASONS`; 0 for none


def cells(g: Graph, encoding: Encoding, matrix: bool) -> Cells:
    """The graph's inputs: one [n, 1] for each column, or x [n, C]."""
    columns = encoding.schema.columns
    kind = FLOAT if float_type([c.dtype for c in columns]) is np.float32 else DOUBLE
    if matrix:
        return Cells(_positions(g, encoding, g.input("x", kind, len(columns)), kind), kind, ["x"], {})
    names, parts, missing = [], [], {}
    taken = {*RESERVED, *(c.name for c in columns)}
    for column in columns:
        name = column.name
        while name in RESERVED or name in names or not name:
            name += "_"
            if name in taken:
                continue
        names.append(name)
        if column.dtype not in TEXT:
            parts.append(g.input(name, kind, 1))
            continue
        word = next(w for w in MISSING if w not in column.levels)
        missing[column.name] = word
        place = [float("nan"), *map(float, range(len(column.levels)))]
        g.input(name, STRING, 1)
        at = g.op(
            "LabelEncoder",
            name,
            domain="ai.onnx.ml",
            keys_strings=[word, *column.levels],
            values_floats=place,
            default_float=float(len(column.levels)),
        )
        parts.append(at if kind == FLOAT else g.cast(at, kind))
    return Cells(_positions(g, encoding, g.joined(parts), kind), kind, names, missing)


def _positions(g: Graph, encoding: Encoding, v: str, kind: int) -> str:
    """The cells with numbers that are categories as positions among the levels, as text has them."""
    columns = encoding.schema.columns
    numbers = {i: c.levels for i, c in enumerate(columns) if c.levels and c.kind != "ordinal" and c.dtype not in TEXT}
    if not numbers:
        return v
    parts = []
    for i in range(len(columns)):
        cell = g.columns(v, [i])
        if i in numbers:
            wide = cell if kind == DOUBLE else g.cast(cell, DOUBLE)
            found = g.cast(g.op("Equal", wide, np.array([[float(w) for w in numbers[i]]])), DOUBLE)
            # Of no level the position after the last one.
            place = g.op("MatMul", found, np.arange(len(numbers[i]), dtype=np.float64)[:, None] - len(numbers[i]))
            place = g.op("Add", place, np.array([float(len(numbers[i]))]))
            place = g.op("Where", g.op("IsNaN", wide), wide, place)
            cell = place if kind == DOUBLE else g.cast(place, FLOAT)
        parts.append(cell)
    return g.joined(parts)


def encoded(g: Graph, encoding: Encoding, given: Cells) -> Row:
    """Inputs and masks of rows, as `Encoding.encode` gives them."""
    e, v, t = encoding, given.values, given.type
    width = len(e.schema.columns)
    missing = g.op("IsNaN", v)
    inverse = (1 / e.scale).astype(t)
    scaled = g.op("Mul", g.op("Sub", v, e.center.astype(t)[None]), inverse[None])
    scaled = g.cast(scaled, FLOAT) if given.kind == DOUBLE else scaled
    filled = _filled(g, e, v, t)
    there = g.op("Not", missing)
    keep = g.op("And", there, _of_slots(g, e, filled)) if filled else there
    # A cell that cannot be read leaves its row without a score: its number here has to be finite, and a limit says so.
    scaled = g.op("Clip", g.op("Where", keep, scaled, 0.0), -LIMIT, LIMIT)
    parts = [g.columns(scaled, e.scaled, width)] if e.scaled else []
    if e.angle:
        parts += _angles(g, e, v, keep, t)
    shares = g.columns(scaled, e.boolean, width) if e.boolean else ""
    if e.boolean:
        parts.append(g.op("Clip", shares, 0.0, 1.0))
    known, unknown = _levels(g, e, v, t)
    parts += [known[c] for c in e.categorical]
    parts += filled
    if e.nullable:
        parts.append(g.cast(g.columns(missing, e.nullable, width), FLOAT))
    changed = [_changed(g, e, v, missing)] if e.constant else []
    changed += [unknown[c] for c in (*e.ordinal, *e.categorical)]
    present = _there(g, e, keep, unknown)
    flag, good = _fault(g, e, v, t, missing, scaled, shares)
    return Row(g.joined(parts), present, missing, g.joined(changed) if changed else None, good, flag)


def _fault(g: Graph, e: Encoding, v: str, t: type, missing: str, scaled: str, shares: str) -> tuple[str, str]:
    """Why a row cannot be scored, and whether it can: [n] int64 and [n] bool.

    Each fault has a rank, and the largest one of a row is named.
    """
    width = len(e.schema.columns)
    # A constant never enters the network, so its size is no obstacle.
    modelled = [c for c in range(width) if c not in set(e.constant)]
    largest = g.op("ReduceMax", g.op("Abs", g.columns(scaled, modelled, width)), ints(1), keepdims=0)
    ranks = [g.cast(g.op("GreaterOrEqual", largest, LIMIT), FLOAT)]
    ranks.append(_ranked(g, g.columns(missing, modelled, width), 2.0, "ReduceMin"))
    if e.count:
        ranks.append(_ranked(g, g.op("Less", g.columns(v, e.count, width), np.zeros((1, 1), t)), 3.0))
    if e.boolean:
        ranks.append(_ranked(g, g.op("Greater", g.op("Abs", g.op("Sub", shares, 0.5)), 0.5), 4.0))
    ranks.append(_ranked(g, g.op("IsInf", v), 5.0))
    worst = g.op("Max", *ranks)
    reasons = np.array([REASONS.index(word) for word in RANKED])
    return g.op("Gather", reasons, g.cast(worst, INT64)), g.op("Less", worst, 0.5)


def _ranked(g: Graph, mask: str, rank: float, kind: str = "ReduceMax") -> str:
    """A fault's rank where any cell [n, ·] has it, by ReduceMin where all have, else 0."""
    return g.op("Mul", g.op(kind, g.cast(mask, FLOAT), ints(1), keepdims=0), rank)


def _filled(g: Graph, e: Encoding, v: str, t: type) -> list[str]:
    """Which slots of each group are filled, [n, slots] float each."""
    out = []
    for group in e.schema.groups:
        slots = []
        for slot in group.slots:
            # A missing cell is not 0, so its slot counts as filled.
            zero = g.op("Equal", g.columns(v, slot), np.zeros(1, t))
            slots.append(g.anywhere(g.op("Not", zero)))
        out.append(g.cast(g.joined(slots), FLOAT))
    return out


def _of_slots(g: Graph, e: Encoding, filled: list[str]) -> str:
    """Whether a column's slot is filled, [n, C] bool; columns of no slot are."""
    owner = np.zeros((sum(len(group.slots) for group in e.schema.groups), len(e.schema.columns)), np.float32)
    slots = [slot for group in e.schema.groups for slot in group.slots]
    for k, slot in enumerate(slots):
        owner[k, list(slot)] = 1
    free = (owner.sum(0) == 0).astype(np.float32)
    return g.op("Greater", g.op("Add", g.op("MatMul", g.joined(filled), owner), free), 0.5)


def _angles(g: Graph, e: Encoding, v: str, keep: str, t: type) -> list[str]:
    phi = g.columns(v, e.angle)
    # Of a missing or infinite cell no comparison is true.
    there = g.op("And", g.columns(keep, e.angle), g.op("Less", g.op("Abs", phi), np.array([np.inf], t)))
    phi = g.op("Where", there, phi, np.zeros(1, t))
    # In double precision where the cells are: of a large angle single precision loses the turn.
    parts = [g.op(kind, phi) for kind in ("Cos", "Sin")]
    if t is np.float64:
        parts = [g.cast(part, FLOAT) for part in parts]
    return [g.op("Where", there, part, 0.0) for part in parts]


def _levels(g: Graph, e: Encoding, v: str, t: type) -> tuple[dict[int, str], dict[int, str]]:
    """Levels [n, levels] float of each category, and whether a cell [n, 1] has none, by column."""
    known, unknown = {}, {}
    for c in e.ordinal:
        off = g.op("Abs", g.op("Sub", g.columns(v, [c]), e.level_values(c).numpy().astype(t)[None]))
        least = g.op("ReduceMin", off, np.array([1]), keepdims=1)
        unknown[c] = g.op("Greater", least, np.array([1e-6 * e.scale[c]], t))
    for c in e.categorical:
        cell, count = g.columns(v, [c]), len(e.schema.columns[c].levels)
        unknown[c] = g.op("GreaterOrEqual", cell, np.array([count], t))
        known[c] = g.cast(g.op("Equal", cell, np.arange(count, dtype=t)[None]), FLOAT)
    return known, unknown


def _there(g: Graph, e: Encoding, present: str, unknown: dict[int, str]) -> str:
    there = g.columns(present, e.cells, len(e.schema.columns))
    if not unknown:
        return there
    none = g.op("And", g.columns(present, [0]), np.zeros((1, 1), bool))
    return g.op("And", there, g.op("Not", g.joined([unknown.get(c, none) for c in e.cells])))


def _changed(g: Graph, e: Encoding, v: str, missing: str) -> str:
    """Whether constants have another value, [n, constants]."""
    cell, known = g.columns(v, e.constant), np.array([e.constant_values])
    same = g.op("Equal", g.cast(cell, DOUBLE), known)
    single = np.array([[e.schema.columns[i].dtype in ("float32", "float16") for i in e.constant]])
    if single.any():
        rounded = g.op("Equal", g.cast(cell, FLOAT), known.astype(np.float32))
        same = g.op("Or", same, g.op("And", rounded, single))
    return g.op("Not", g.op("Or", same, g.columns(missing, e.constant)))
