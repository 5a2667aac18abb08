"""The linear autoencoder under a Gaussian likelihood, solved instead of trained: principal components.

Baldi, Hornik 1989: the squared error of a linear autoencoder has one minimum, the span of the K leading
eigenvectors of the covariance. Moments are added up chunk by chunk in double precision. Where cells are missing, the
covariance is the likeliest one given the cells that are there (`train/covariance.py`). A wide table, or one of few
rows, has too many covariances for that: it takes those of K factors and isotropic noise (`train/factors.py`), which
err where the spectrum has no gap after K. A missing cell enters the encoder as its column's mean.

Whether a cell is missing has a likelihood of its own, which no closed form covers together with the squared error. The
code is that of the values alone. Given the code, each indicator's best logit is one logistic regression, a convex
problem; it keeps what the gaps have to do with the values.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from diabolo.data.sources import Source
from diabolo.model.autoencoder import Model
from diabolo.model.heads import Head
from diabolo.model.likelihood.discrete import Bernoulli
from diabolo.model.likelihood.real import Gaussian
from diabolo.model.networks import Affine
from diabolo.train.covariance import fit_covariance
from diabolo.train.factor_sums import Rows
from diabolo.train.factors import fit_factors
from diabolo.train.logistic import Labeled, logistic_regressions

__all__ = ["Moments", "has_closed_form", "solve"]

#: Columns at most, and rows per column at least, for covariances without a model.
WIDE, ROWS_PER_COLUMN = 32, 5
#: Smallest noise of the components, as a share of the mean variance: rows of an exact plane have none.
NOISE = 1e-6
#: Passes of EM at most, each over all rows.
PASSES = 200


def has_closed_form(model: Model) -> bool:
    """Whether the optimum is the principal subspace: linear, point, clean, and one fixed σ for all values."""
    config = model.config
    if config.robust != "none" or config.contamination is not None:
        return False  # which rows count depends on the fit
    if config.solver != "auto" or model.lead or model.latent.stochastic:
        return False
    values, gaps = _heads(model)
    if not values or not all(isinstance(h.likelihood, Bernoulli) for h in gaps):
        return False
    variances = []
    for head in values:
        if not isinstance(head.likelihood, Gaussian) or isinstance(head.likelihood.sigma, str):
            return False
        variances.append(head.likelihood.variance(torch.empty(0), {}, head.units))
    variance = torch.cat(variances)
    plain = model.corruption.name == "none" and model.regularizer.name == "none" and _is_affine(model)
    return plain and bool((variance == variance[0]).all())


def _heads(model: Model) -> tuple[list[Head], list[Head]]:
    """Heads of values, and those of whether cells are missing: at most one, the last."""
    values = [h for h in model.heads if h.block.kind != "missing"]
    return values, [h for h in model.heads if h.block.kind == "missing"]


def _is_affine(model: Model) -> bool:
    return all(len(side) == 1 and isinstance(side[0], Affine) for side in (model.encoder, model.decoder))


class Moments:
    """Weighted mean and covariance of rows [*, D] that arrive in chunks."""

    def __init__(self, width: int) -> None:
        self.weight = 0.0
        self.first = torch.zeros(width, dtype=torch.float64)
        self.second = torch.zeros(width, width, dtype=torch.float64)

    def add(self, x: Tensor, weights: Tensor | None = None) -> None:
        x = x.double()
        weighted = x if weights is None else x * weights.double()[:, None]
        self.weight += float(len(x) if weights is None else weights.double().sum())
        self.first += weighted.sum(0)
        self.second += weighted.T @ x

    def merge(self, train: Source) -> None:
        """Add the sums of the processes that share the rows."""
        weight, self.first, self.second = train.total(
            [torch.tensor(self.weight, dtype=torch.float64), self.first, self.second]
        )
        self.weight = float(weight)

    def mean_and_covariance(self) -> tuple[Tensor, Tensor]:
        mean = self.first / self.weight
        covariance = self.second / self.weight - torch.outer(mean, mean)
        return mean, 0.5 * (covariance + covariance.T)


@torch.no_grad()
def solve(model: Model, train: Source) -> None:
    """Set encoder V_Kᵀ (x − m) and decoder V_K z + m; each component's largest entry is positive."""
    values, gaps = _heads(model)
    width = values[-1].block.stop
    k = min(model.latent_dim, width)
    mean, covariance = _moments(train, width, k)
    _, vectors = torch.linalg.eigh(covariance)
    basis = vectors.flip(-1)[:, :k]
    largest = basis.gather(0, basis.abs().argmax(0, keepdim=True))
    basis = basis * largest.sign()
    views = model.store.views
    for view in views.values():
        view.zero_()
    views["encoder.0.weight"][:k, :width] = basis.T.float()
    views["encoder.0.bias"][:k] = -(basis.T @ mean).float()
    views["decoder.0.weight"][:width, :k] = basis.float()
    views["decoder.0.bias"][:width] = mean.float()
    if gaps:
        input_of = {c: h.block.start + i for h in values for i, c in enumerate(h.block.columns)}
        at = torch.tensor([input_of[c] for c in gaps[0].block.columns])
        views["encoder.0.weight"][:k, width:] = (basis[at] * mean[at, None]).T.float()
        slopes, intercepts = _missingness(model, train, gaps[0], k)
        views["decoder.0.weight"][width:, :k] = slopes.float()
        views["decoder.0.bias"][width:] = intercepts.float()


def _moments(train: Source, width: int, k: int) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the values, [D] and [D, D]; with gaps, those that EM finds."""
    if not train.masked:
        moments = Moments(width)
        for rows, weights in train.chunks():
            moments.add(rows.x[:, :width], weights)
        moments.merge(train)
        return moments.mean_and_covariance()

    def chunks() -> Iterator[Rows]:
        return ((rows.x[:, :width], weights, rows.present) for rows, weights in train.chunks())

    if width <= WIDE and len(train) >= ROWS_PER_COLUMN * width:
        return fit_covariance(chunks, width, NOISE, PASSES, train.total)
    # Noise of its own needs a dimension that no factor has; where K is D, the last one stands orthogonal to the others.
    rank = min(k, width - 1)
    fitted = fit_factors(chunks, width, rank, "isotropic", 1e-30, NOISE, PASSES, train.total)
    return fitted.mean, fitted.loadings @ fitted.loadings.T


def _missingness(model: Model, train: Source, head: Head, k: int) -> tuple[Tensor, Tensor]:
    """Slopes [J, K] and intercepts [J] of the logits that a column's cell is missing, given the code."""

    def chunks() -> Iterator[Labeled]:
        for rows, weights in train.chunks():
            yield model.encode(rows.x).mean[:, :k], head.inputs(rows.x), weights

    moments = Moments(k)
    for code, _, weights in chunks():
        moments.add(code, weights)
    moments.merge(train)
    center, covariance = moments.mean_and_covariance()
    spread = covariance.diagonal().clamp_min(0.0).sqrt()
    scale = torch.where(spread > 0, spread, 1.0)
    return logistic_regressions(chunks, center, scale, len(head.block.columns), train.total)
