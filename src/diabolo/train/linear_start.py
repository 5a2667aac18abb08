"""The exact linear part of a masked model: a factor analysis of the training rows, before the first step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from diabolo.data.sources import Source
from diabolo.model.autoencoder import Model
from diabolo.model.factors import standardised
from diabolo.model.likelihood.real import Gaussian
from diabolo.model.masking import variables_there
from diabolo.train.factors import fit_factors

__all__ = ["start_linear"]

#: Rows that the factors are fitted to at most, and those where cells are missing, which cost a system each.
MOST_ROWS, MOST_GAPPY = 100_000, 4_000
#: Smallest noise variance of an input in units of its own: a column that others determine keeps a density.
FLOOR, SHRINK = 1e-4, 1e-4
#: Passes of EM at most: the fit goes on from there.
PASSES = 40
#: A column of fewer rows for each factor has at least this noise.
ROWS_PER_FACTOR, LOUD = 10, 0.5


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

    def chunks() -> Iterator[tuple[Tensor, Tensor | None, Tensor | None]]:
        yield standard, weights, seen

    # Under the squared error alone one noise for all makes the axes those of principal components.
    noise: Literal["isotropic", "diagonal"] = "isotropic" if _squared(model) else "diagonal"
    rows_each = torch.full_like(center, float(len(standard))) if seen is None else seen.double().sum(0)
    # All the factors that the inputs determine: what fewer leave out, they could not predict.
    rank = model.config.factors
    found = fit_factors(chunks, standard.shape[1], rank, noise, FLOOR, SHRINK, PASSES)
    needed = found.loadings.shape[1] + 1
    few = rows_each < ROWS_PER_FACTOR * needed
    if bool(few.any()) and noise == "diagonal":
        # As many factors would explain a column that few rows have to the last digit.
        floor = torch.where(few, LOUD, FLOOR)
        found = fit_factors(chunks, standard.shape[1], rank, noise, floor, SHRINK, PASSES)
    # What a regression on so many factors leaves of new rows is more than of its own by about that.
    psi = found.noise * (1 + needed / rows_each.clamp_min(1)).clamp_max(2.0)
    model.set_linear(found.loadings, psi, center + found.mean * scale, scale)


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
