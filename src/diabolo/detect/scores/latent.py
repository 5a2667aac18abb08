"""Scores of a row's code."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diabolo.data.encoding import Encoded
from diabolo.detect.reference import Reference
from diabolo.detect.scores.base import Score, scores
from diabolo.device import on_cpu, to_numpy

__all__ = ["RIDGE"]

#: Share of the codes' mean variance that is added to that of each direction.
RIDGE = 1e-3


@scores.register("mahalanobis")
class Mahalanobis(Score):
    """((z − m)ᵀ (Σ + λ I)⁻¹ (z − m))^½ of the code, with mean and covariance of the training codes (Mahalanobis 1936).

    λ = 10⁻³ tr Σ / K keeps dimensions that hardly vary, as those that a VAE has shut down, from outweighing others.
    """

    def __call__(self, reference: Reference, rows: Encoded) -> Tensor:
        model = reference.model
        covariance = model.buffers["latent_cov"].double()
        ridge = RIDGE * covariance.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(1e-12)
        one = torch.eye(covariance.shape[-1], device=covariance.device)
        # Whether it worked a card would have to say.
        root = torch.linalg.cholesky_ex(covariance + ridge[..., None, None] * one, check_errors=on_cpu(covariance)).L
        gap = model.posterior(rows).mean.double() - model.buffers["latent_mean"].double().unsqueeze(-2)
        whitened: Tensor = torch.linalg.solve_triangular(root, gap.mT, upper=False)
        return whitened.square().sum(-2).sqrt()


@scores.register("kl")
class KullbackLeiblerScore(Score):
    """KL(q(z|x) ‖ π), nats: how far the row pulls its posterior from the prior."""

    needs = frozenset({"stochastic"})

    def __call__(self, reference: Reference, rows: Encoded) -> Tensor:
        return reference.model.posterior(rows).kl(reference.model.prior).sum(-1)


@scores.register("mu_norm")
class MeanNorm(Score):
    """|μ| = (Σ μ_i²)^½, the Euclidean norm of the posterior mean (of z for a point latent)."""

    def __call__(self, reference: Reference, rows: Encoded) -> Tensor:
        mean = reference.model.posterior(rows).mean
        if reference.model.whole is None:
            return mean.square().sum(-1).sqrt()
        # Squares of whole numbers and their sum are exact in double precision, and NumPy rounds their root correctly,
        # which the vector library behind PyTorch does not: a trigger's integers have to give the same threshold.
        return torch.from_numpy(np.sqrt(to_numpy(mean.double().square().sum(-1))))
