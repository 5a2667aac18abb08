"""Rows of a masked model drawn one variable after the other, each given those before, and missing cells filled in.

Passes are over tiles of rows, all rows of a tile in the same order of variables.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from diabolo.data.encoding import Encoded
from diabolo.errors import ConfigError
from diabolo.model.autoencoder import Model
from diabolo.model.chain import parents_first
from diabolo.model.masking import variables_there
from diabolo.model.variables import Variable, masking_of, variables

__all__ = ["drawn_rows", "fill_draw", "fill_theta"]


def fill_theta(model: Model, rows: Encoded) -> Tensor:
    """theta [B, width] of all columns given the cells that rows have, as if the missing ones were there."""
    return model.predict(_as_if_there(model, rows), variables_there(rows, masking_of(model).variables))


def fill_draw(model: Model, rows: Encoded, generator: torch.Generator) -> Tensor:
    """Rows [B, C] in original units whose missing cells are drawn one after the other, in a random order."""
    there = variables_there(rows, masking_of(model).variables)
    order = parents_first(model, torch.randperm(there.shape[1], generator=generator).tolist())
    skip = ~there
    if rows.missing is not None:
        cells = model.encoding.cells
        skip[:, : len(cells)] &= ~rows.missing[:, cells]
    return model.encoding.values_of(drawn(model, _as_if_there(model, rows), there, order, generator, skip)[0])


def _as_if_there(model: Model, rows: Encoded) -> Encoded:
    """Rows that say of every cell that it is there."""
    x = rows.x.clone()
    for block in model.encoding.blocks:
        if block.kind == "missing":
            x[:, block.start : block.stop] = 0.0
    return Encoded(x, rows.present)


def drawn_rows(model: Model, n: int, given: Mapping[int, float], generator: torch.Generator) -> Tensor:
    """n rows [n, C] in original units, all drawn in one random order of the variables.

    Args:
        given: cells by column of the table, which every row has and whose values the others are drawn given; NaN for a
            missing one.
    """
    encoding = model.encoding
    order = parents_first(model, torch.randperm(masking_of(model).variables, generator=generator).tolist())
    columns = len(encoding.schema.columns)
    cells = torch.full((1, columns), torch.nan, dtype=torch.float64)
    for c, value in given.items():
        cells[0, c] = value
    first = encoding.encode(cells).rows(torch.zeros(n, dtype=torch.int64))
    seen = torch.zeros(n, len(order), dtype=torch.bool)
    gaps = encoding.parents[1]
    for c in given:
        if c in encoding.cells:
            v = encoding.cells.index(c)
            seen[:, v] = not math.isnan(given[c])
            if gaps[v] != v:
                seen[:, gaps[v]] = True
    x = torch.where(seen[:, encoding.variable_of_input], first.x, 0.0)
    skip = seen.new_zeros(seen.shape)
    for c in (c for c in given if math.isnan(given[c]) and c in encoding.cells):
        skip[:, encoding.cells.index(c)] = True
    counts = _counts(model, given)
    values = encoding.values_of(drawn(model, Encoded(x), seen, order, generator, skip, counts)[0])
    for c, value in given.items():
        values[:, c] = value
    return values


def _counts(model: Model, given: Mapping[int, float]) -> dict[int, tuple[int, int]]:
    """Fewest and most filled slots of each group's variable, by the given cells: one that is 0 is of an empty slot."""
    out = {}
    for g, group in enumerate(model.encoding.schema.groups):
        least, most = 0, len(group.slots)
        for i, slot in enumerate(group.slots):
            said = [given[c] for c in slot if c in given and not math.isnan(given[c])]
            if any(said):
                least = max(least, i + 1)
            elif said:
                most = min(most, i)
        if least > most:
            raise ConfigError(
                f"given: slot {least} of {group.name!r} is filled and slot {most + 1} empty; give none or all"
            )
        out[len(model.encoding.cells) + g] = (least, most)
    return out


def drawn(
    model: Model,
    rows: Encoded,
    seen: Tensor,
    order: Sequence[int],
    generator: torch.Generator,
    skip: Tensor | None = None,
    counts: Mapping[int, tuple[int, int]] | None = None,
) -> tuple[Tensor, Tensor]:
    """Inputs [B, D] with every variable that is not `seen` [B, V] drawn in this order, each given those before it.

    Args:
        rows: their seen variables are kept.
        order: parents first.
        skip: [B, V] variables that stay unknown, as cells of empty slots.
        counts: fewest and most filled slots, by the variable of a group.

    Returns:
        Inputs, and which variables are known now.
    """
    found = variables(model)
    x, seen = rows.clipped(model.encoding.clip).x.clone(), seen.clone()
    raw = rows.x.clone()
    slots, gaps = model.encoding.parents
    skip = torch.zeros_like(seen) if skip is None else skip.clone()
    for v in order:
        todo = torch.nonzero(~seen[:, v] & ~skip[:, v]).squeeze(-1)
        variable = found[v]
        if len(todo):
            some = Encoded(x[todo])
            theta = variable.law(some, seen[todo])
            if counts and v in counts:
                least, most = counts[v]
                theta[:, :least] = theta[:, most + 1 :] = -torch.inf
            picked = variable.sample(theta, generator)
            part, true = x[todo], raw[todo]
            variable.write(true, picked)
            variable.write(
                part, picked.clamp(-model.encoding.clip, model.encoding.clip) if _is_number(variable) else picked
            )
            x[todo], raw[todo] = part, true
            seen[todo, v] = True
        if variable.single.block.kind == "slots":
            # Cells of slots that are empty are no cells.
            filled = raw[:, variable.inputs] > 0.5
            for cell in torch.nonzero(slots == v).flatten().tolist():
                if cell != v:
                    skip[:, cell] |= ~filled[:, _slot_of(model, variable, found[cell])]
        elif variable.single.block.kind == "missing":
            for cell in torch.nonzero(gaps == v).flatten().tolist():
                if cell != v:
                    skip[:, cell] |= raw[:, variable.inputs[0]] > 0.5
    return raw, seen


def _is_number(variable: Variable) -> bool:
    return variable.single.block.kind in ("real", "integer", "count", "ordinal", "boolean")


def _slot_of(model: Model, group: Variable, cell: Variable) -> int:
    schema = model.encoding.schema
    slots = schema.groups[group.column - len(schema.columns)].slots
    return next(i for i, slot in enumerate(slots) if cell.column in slot)
