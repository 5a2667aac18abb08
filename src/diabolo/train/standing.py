"""Whether the epochs of a masked fit are clearly better than the linear solution that it began at."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from diabolo.data.sources import Rows, slices
from diabolo.device import generator
from diabolo.model.autoencoder import Model
from diabolo.model.masked_objective import masked_rows
from diabolo.train.robust import create_robust, reweighted
from diabolo.train.state import State
from diabolo.world import World

__all__ = ["MASKED_ROWS", "MASKS", "settle", "stands"]

#: Sets of hidden cells for each stop row at most, and rows with them in all.
MASKS, MASKED_ROWS = 4, 4_000
#: 1 % of a standard normal law lies above: so seldom epochs that gain nothing take the place of the linear solution, if
#: one of them were looked at. Few stop rows and many epochs find one that is lower by chance, and worse on new rows.
CLEAR = 2.326


def settle(model: Model, stop: Rows, state: State, began: Tensor, world: World) -> None:
    """Give members whose epochs are not clearly better than the weights `began` those back."""
    keep = stands(model, stop, began, state.best_parameters).double()
    world.first_(keep)
    state.best_parameters = torch.where(keep.bool().unsqueeze(-1), began, state.best_parameters)
    if bool(keep.all()):
        state.history = [dataclasses.replace(e, best=False) for e in state.history]


@torch.no_grad()
def stands(model: Model, stop: Rows, began: Tensor, found: Tensor) -> Tensor:
    """Whether the weights that a fit began at stand, [*lead] bool: by signed ranks of the stop rows' paired losses.

    z = Σ w_i sign(g_i) rank|g_i| / √(Σ (w_i rank|g_i|)²) of gains g_i is nearly standard normal where none is gained
    (Wilcoxon 1945, "Individual comparisons by ranking methods"). Ranks, since a density may put a row in a hundred 60
    nats off, which hides what all others gain from a test of means.

    Args:
        model: masked; has the weights `found` afterwards.
        stop: rows that decide, one or more.
        began: weights of the linear solution, as the model's store has them.
        found: those of the lowest epoch.
    """
    gain = _losses(model, stop, began) - _losses(model, stop, found)
    weights = reweighted(model, create_robust(model.config), stop.rows, stop.weights)
    signed = gain.sign() * (gain.abs().argsort(-1).argsort(-1) + 1)
    signed = signed if weights is None else signed * weights
    return ~(signed.sum(-1) > CLEAR * signed.square().sum(-1).sqrt())


def _losses(model: Model, stop: Rows, weights: Tensor) -> Tensor:
    """Loss of each stop row, [*lead, n] in double precision, with the cells hidden that `validate` hides."""
    model.store.flat.copy_(weights)
    n, noise = len(stop.rows), generator(model.device, model.config.random_state + 1)
    model.corruption.hide(stop.rows.rows(slice(0, 1)), model.encoding, model.lead, noise)
    repeats = max(1, min(MASKS, MASKED_ROWS // n))
    total = torch.zeros(*model.lead, n, dtype=torch.float64, device=model.device)
    for part in [*slices(n)] * repeats:
        rows = model.observe(stop.rows.rows(part), noise)
        hidden = model.corruption.hide(rows, model.encoding, model.lead, noise)
        if hidden is not None:
            for cells in masked_rows(model, rows, hidden, noise, 0.0).cells:
                total[..., part] += cells.sum(-1)
    return total / repeats
