"""A Gaussian per row."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from diabolo.model.drawn import for_rows
from diabolo.model.latent.base import Latent, Posterior, latents
from diabolo.model.prior import HALF_LOG_2PI, Prior

__all__ = ["GaussianPosterior"]

#: log σ² is kept within these, smoothly in the encoder's reach: e^±12 in variance is beyond any use.
LOG_VAR_LIMIT = 12.0


@dataclasses.dataclass
class GaussianPosterior:
    mean: Tensor
    log_var: Tensor

    @property
    def std(self) -> Tensor:
        return (0.5 * self.log_var).exp()

    def sample(self, draws: int, generator: torch.Generator) -> Tensor:
        shape = self.mean.shape if draws == 1 else (draws, *self.mean.shape)
        device = self.mean.device
        return self.at(for_rows(lambda s: torch.randn(s, generator=generator, device=device), shape, generator))

    def at(self, noise: Tensor) -> Tensor:
        return self.mean + self.std * noise

    def log_prob(self, z: Tensor) -> Tensor:
        scaled = (z - self.mean).square() * (-self.log_var).exp()
        return (-0.5 * (scaled + self.log_var) - HALF_LOG_2PI).sum(-1)

    def detach(self) -> Posterior:
        return GaussianPosterior(self.mean.detach(), self.log_var.detach())

    def leading(self, axes: int, rows: slice = slice(None)) -> Posterior:
        return GaussianPosterior(self.mean[..., rows, :axes], self.log_var[..., rows, :axes])

    def kl(self, prior: Prior) -> Tensor:
        return prior.kl(self.mean, self.log_var)


@latents.register("gaussian")
class Gaussian(Latent):
    """q(z|x) = N(μ(x), diag σ²(x)), drawn as μ + σ ε (Kingma, Welling 2013, arXiv:1312.6114, eq. 4)."""

    stochastic = True

    def width(self, latent_dim: int) -> int:
        return 2 * latent_dim

    def posterior(self, h: Tensor) -> Posterior:
        mean, raw = h.chunk(2, dim=-1)
        return GaussianPosterior(mean, raw.clamp(-LOG_VAR_LIMIT, LOG_VAR_LIMIT))
