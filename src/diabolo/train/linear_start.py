"""The exact linear part of a masked model: a factor analysis of the training rows, before the first step."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diabolo.data.sources import Source
from diabolo.model.autoencoder import Model
from diabolo.model.factors import standardised
from diabolo.model.likelihood.real import Gaussian
from diabolo.model.masking import most_factors, variables_there
from diabolo.train.factors import Noise, fit_factors
from diabolo.train.linear_choice import FLOOR, ROWS_PER_INPUT, SHRINK, Rule, choose_rule, related, seen_rows

__all__ = ["start_linear"]

#: Rows that the factors are fitted to at most, and those where cells are missing, which cost a system each.
MOST_ROWS, MOST_GAPPY = 100_000, 4_000
#: Passes of EM at most: the fit goes on from there.
PASSES = 40


def start_linear(model: Model, train: Source) -> None:
    """Fit the factors of a model that has a linear part and no factors yet."""
    masking = model.masking
    if masking is None or not model.config.factors or masking.linear is not None:
        return
    some = train.some()
    most = MOST_GAPPY if some.masked else MOST_ROWS
    step = max(1, math.ceil(len(some) / most))
    rows = some.rows.rows(slice(None, None, step))
    weights = None if some.weights is None else some.weights[::step].double()
    with torch.no_grad():
        features = masking.features(rows.x).double()
        seen = None
        if rows.present is not None:
            seen = variables_there(rows, masking.variables)[:, model.encoding.variable_of_input]
    center, scale = _moments(features, weights, seen)
    standard = standardised(features, center, scale)
    # Under the squared error alone one noise for all makes the axes those of principal components.
    noise: Noise = "isotropic" if _squared(model) else "diagonal"
    # A large table is fitted as it is: it shows what its columns have to do with each other.
    small = noise == "diagonal" and len(standard) <= ROWS_PER_INPUT * len(center)
    inputs = related(standard, weights, seen, _flags(model)) if small else torch.ones_like(center, dtype=torch.bool)
    x, there = standard[:, inputs], None if seen is None else seen[:, inputs]
    # All the factors that the inputs determine: what fewer leave out, they could not predict.
    rule = Rule(most_factors(x.shape[1], model.config.factors))
    if small:
        rule = choose_rule((x, weights, there), model.encoding.variable_of_input[inputs], model.config.factors)
    each = seen_rows(x, there)
    floor = rule.floor(each) if noise == "diagonal" else FLOOR
    found = fit_factors(
        lambda: [(x, weights, there)], x.shape[1], rule.rank, noise, floor, SHRINK, PASSES, unrelated=rule.unrelated
    )
    found = rule.widened(found, each)
    loadings, mean, psi = standard.new_zeros(len(center), rule.rank), torch.zeros_like(center), torch.ones_like(center)
    loadings[inputs], mean[inputs], psi[inputs] = found.loadings, found.mean, found.noise
    model.set_linear(loadings, psi, center + mean * scale, scale)


def _flags(model: Model) -> Tensor:
    """Which inputs [D] say whether a cell is missing."""
    flags = torch.zeros(model.encoding.width, dtype=torch.bool)
    for block in model.encoding.blocks:
        if block.kind == "missing":
            flags[block.start : block.stop] = True
    return flags


def _squared(model: Model) -> bool:
    return all(isinstance(h.likelihood, Gaussian) and isinstance(h.likelihood.sigma, float) for h in model.heads)


def _moments(x: Tensor, weights: Tensor | None, seen: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and spread [D] of the inputs that are seen; an input that does not vary has the spread 1."""
    w = torch.ones_like(x) if weights is None else weights.unsqueeze(-1).expand(x.shape)
    w = w if seen is None else w * seen
    total = w.sum(0).clamp_min(1e-12)
    mean = (w * x).sum(0) / total
    spread = ((w * (x - mean).square()).sum(0) / total).sqrt()
    return mean, torch.where(spread > 1e-6, spread, 1.0)
