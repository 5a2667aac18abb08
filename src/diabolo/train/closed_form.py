"""The linear autoencoder under a Gaussian likelihood, solved instead of trained: principal components.

Baldi, Hornik 1989: the squared error of a linear autoencoder has one minimum, the span of the K leading
eigenvectors of the covariance. Moments are added up chunk by chunk in double precision.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diabolo.model.autoencoder import Model
from diabolo.model.likelihood.real import Gaussian
from diabolo.model.networks import Affine

__all__ = ["Moments", "has_closed_form", "solve"]


def has_closed_form(model: Model, masked: bool) -> bool:
    """Whether the optimum is the principal subspace: linear, point, clean, and one fixed σ for all."""
    config, heads = model.config, model.heads
    if config.robust != "none" or config.contamination is not None:
        return False  # which rows count depends on the fit
    if config.solver != "auto" or masked or model.lead or len(heads) != 1 or model.latent.stochastic:
        return False
    gaussian = heads[0].likelihood
    if not isinstance(gaussian, Gaussian) or gaussian.sigma == "learned":
        return False
    variance = gaussian.variance(torch.empty(0), {}, heads[0].units)
    plain = model.corruption.name == "none" and model.regularizer.name == "none" and _is_affine(model)
    return plain and bool((variance == variance[0]).all())


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

    def mean_and_covariance(self) -> tuple[Tensor, Tensor]:
        mean = self.first / self.weight
        covariance = self.second / self.weight - torch.outer(mean, mean)
        return mean, 0.5 * (covariance + covariance.T)


def solve(model: Model, moments: Moments) -> None:
    """Set encoder V_Kᵀ (x − m) and decoder V_K z + m; each component's largest entry is positive."""
    mean, covariance = moments.mean_and_covariance()
    _, vectors = torch.linalg.eigh(covariance)
    k = min(model.latent_dim, len(mean))
    basis = vectors.flip(-1)[:, :k]
    largest = basis.gather(0, basis.abs().argmax(0, keepdim=True))
    basis = basis * largest.sign()
    views = model.store.views
    for view in views.values():
        view.zero_()
    views["encoder.0.weight"][:k] = basis.T.float()
    views["encoder.0.bias"][:k] = -(basis.T @ mean).float()
    views["decoder.0.weight"][:, :k] = basis.float()
    views["decoder.0.bias"][:] = mean.float()
