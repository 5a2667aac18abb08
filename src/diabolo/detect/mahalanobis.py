"""How far a code lies from the training codes, in units of their spread in its direction."""

from __future__ import annotations

import torch
from torch import Tensor

from diabolo.data.encoding import Encoded
from diabolo.model.autoencoder import Model

__all__ = ["RIDGE", "mahalanobis"]

#: Share of the codes' mean variance that is added to that of each direction.
RIDGE = 1e-3


def mahalanobis(model: Model, rows: Encoded) -> Tensor:
    """((z − m)ᵀ (Σ + λ I)⁻¹ (z − m))^½ with λ = `RIDGE` tr Σ / K, [*lead, B] float64 (Mahalanobis 1936).

    m and Σ are mean and covariance of the training codes, z is the posterior mean.
    """
    covariance = model.buffers["latent_cov"].double()
    ridge = RIDGE * covariance.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(1e-12)
    root = torch.linalg.cholesky(covariance + ridge[..., None, None] * torch.eye(covariance.shape[-1]))
    gap = model.posterior(rows).mean.double() - model.buffers["latent_mean"].double().unsqueeze(-2)
    whitened: Tensor = torch.linalg.solve_triangular(root, gap.mT, upper=False)
    return whitened.square().sum(-2).sqrt()
