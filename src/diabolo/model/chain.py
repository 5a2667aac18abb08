"""Conditionals of a masked model: each variable given the others, and densities by the chain rule.

    p(x) = Π_k p(x_k | x_before)    for any order of the variables; the model gives every factor

Passes are over tiles of rows, all rows of a tile in the same order of variables.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from diabolo.data.encoding import Encoded
from diabolo.data.tiles import SMALL, padded
from diabolo.model.autoencoder import Model
from diabolo.model.laws import Law
from diabolo.model.masking import variables_there
from diabolo.model.variables import Variable, masking_of, variables

__all__ = [
    "by_head",
    "chain_nll",
    "judges_by_others",
    "laws",
    "leave_one_out",
    "orders_of",
    "others_nll",
    "parents_first",
]

#: Variables that are priced one by one; more come in blocks, each given the blocks before it.
MOST_STEPS = 64


def orders_of(model: Model, count: int, seed: int = 0) -> list[list[int]]:
    """Orders of the variables: theirs, its reverse, then ones drawn by a seed; what others need comes first."""
    masking = masking_of(model)
    n = masking.variables
    generator = torch.Generator().manual_seed(seed)
    plain = list(range(n))
    found = [plain, plain[::-1]][:count]
    found += [torch.randperm(n, generator=generator).tolist() for _ in range(count - len(found))]
    return [parents_first(model, order) for order in found]


def parents_first(model: Model, order: Sequence[int]) -> list[int]:
    """An order in which a slot group comes before its cells, and whether a cell is missing before the cell."""
    slots, gaps = (p.tolist() for p in model.encoding.parents)
    out: list[int] = []
    for v in order:
        for w in (slots[v], gaps[v], v):
            if w not in out:
                out.append(w)
    return out


def chain_nll(model: Model, rows: Encoded, orders: Sequence[Sequence[int]], given: Iterable[int] = ()) -> Tensor:
    """−log of the mean over orders of p(x), by output column [B, C], nats, in original units.

    The sum over columns is −log p(x) of a mixture of the orders: its mean over rows is at least the entropy. By column
    it is that of each order, weighed by the order's share of p(x).

    Args:
        rows: B rows.
        orders: of the variables.
        given: variables that are known from the start and cost nothing.
    """
    # Pieces of one size, whatever the tile: a row's products have the same shape each time.
    pieces = [rows.rows(slice(i, i + SMALL)) for i in range(0, len(rows), SMALL)]
    found, known = variables(model), set(given)
    return torch.cat([_chain_nll(model, found, piece, orders, known) for piece in pieces])


def _chain_nll(
    model: Model, found: list[Variable], rows: Encoded, orders: Sequence[Sequence[int]], known: set[int]
) -> Tensor:
    clipped = rows.clipped(model.encoding.clip)
    there = variables_there(rows, len(found))
    costs = []
    for order in orders:
        seen, first = torch.zeros_like(there), model.encoding.at(sorted(known), there.device)
        seen[:, first] = there[:, first]
        cost = clipped.x.new_zeros(len(rows), len(found))
        steps = [v for v in order if v not in known]
        size = math.ceil(len(steps) / MOST_STEPS)
        for i in range(0, len(steps), size):
            block = steps[i : i + size]
            posterior, start = model.encode_seen(clipped.x, seen)
            for v in block:
                cost[:, v] = found[v].nll(found[v].theta(posterior.mean, start), rows)
            at = model.encoding.at(block, there.device)
            seen[:, at] = there[:, at]
        costs.append(model.priced(by_head(found, torch.where(there, cost, 0.0)), rows))
    each = torch.stack(costs)
    total = each.sum(-1)
    # −log mean e^(−total), shared among columns as the orders are.
    share = (-total).softmax(0).unsqueeze(-1)
    mixed = -((-total).logsumexp(0) - math.log(len(costs)))
    column = (share * each).sum(0)
    return column + ((mixed - column.sum(-1)) / column.shape[-1]).unsqueeze(-1)


def by_head(found: list[Variable], cost: Tensor) -> list[Tensor]:
    """Costs of variables [B, V] as those of heads."""
    out = [cost.new_zeros(len(cost), len(h.block.columns)) for h in found[0].model.heads]
    for v in found:
        out[v.head][:, v.at] = cost[:, v.number]
    return out


def leave_one_out(
    model: Model, found: list[Variable], rows: Encoded, columns: Iterable[int] | None = None
) -> Iterator[tuple[Variable, Tensor]]:
    """Each variable with its theta [B, w] given all others of the row; a pass for each.

    Args:
        found: all variables of the model.
        columns: output columns to look at; None for all.
    """
    wanted = None if columns is None else set(columns)
    clipped = rows.clipped(model.encoding.clip)
    there = variables_there(rows, len(found))
    slots, gaps = model.encoding.parents
    for v in found:
        if v.single.block.kind == "missing" or (wanted is not None and v.column not in wanted):
            continue
        # What depends on the variable would give it away.
        seen, x = there.clone(), clipped.x
        seen[:, (slots == v.number) | (gaps == v.number)] = False
        seen[:, v.number] = False
        gap = int(gaps[v.number])
        if gap != v.number:
            # Asked for is the law of a value that is there.
            seen[:, gap] = True
            x = x.clone()
            x[:, found[gap].inputs] = 0.0
        yield v, v.law(Encoded(x, clipped.present), seen)


def judges_by_others(model: Model) -> bool:
    """Whether each column of rows is judged given the others: by a masked model of few enough, for it costs a pass
    each.
    """
    return model.masking is not None and not model.lead and model.masking.variables <= MOST_STEPS


def others_nll(model: Model, rows: Encoded) -> Tensor:
    """−log p(x_c | the other cells) by output column [B, C], nats, in original units; as `Model.column_nll`."""
    found = variables(model)
    cost = rows.x.new_zeros(len(rows), len(found))
    for v, theta in leave_one_out(model, found, rows):
        cost[:, v.number] = v.nll(theta, rows)
    return model.priced(by_head(found, torch.where(variables_there(rows, len(found)), cost, 0.0)), rows)


def laws(model: Model, values: np.ndarray, columns: Iterable[int] | None = None) -> dict[int, Law]:
    """The law of each column given the other cells of its row, by output column.

    One pass over the rows for each column.

    Args:
        values: rows [n, C] in the schema's order and levels.
        columns: output columns; None for all that vary.
    """
    masking_of(model)
    found = variables(model)
    parts: dict[int, list[tuple[Variable, Tensor, Tensor, Tensor]]] = {}
    with torch.inference_mode():
        for part, tile in padded(values, SMALL):
            rows, n = model.encoding.encode(tile), part.stop - part.start
            there = variables_there(rows, len(found))
            for v, theta in leave_one_out(model, found, rows, columns):
                parts.setdefault(v.column, []).append((v, theta[:n], rows.x[:n, v.inputs], there[:n, v.number]))
    out = {}
    for column in sorted(parts):
        pieces = parts[column]
        own = [torch.cat(list(tensors)) for tensors in zip(*(p[1:] for p in pieces), strict=True)]
        out[column] = Law(pieces[0][0], *own)
    return out
