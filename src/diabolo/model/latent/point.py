"""One point per row."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from diabolo.errors import ConfigError
from diabolo.model.latent.base import Latent, Posterior, latents
from diabolo.model.prior import Prior

__all__ = ["PointPosterior"]


@dataclasses.dataclass
class PointPosterior:
    mean: Tensor

    @property
    def std(self) -> Tensor:
        raise ConfigError("a point latent has no width σ(x); choose latent='gaussian' (method vae)")

    def sample(self, draws: int, generator: torch.Generator) -> Tensor:
        return self.mean if draws == 1 else self.mean.expand(draws, *self.mean.shape)

    def at(self, noise: Tensor) -> Tensor:
        return self.mean

    def log_prob(self, z: Tensor) -> Tensor:
        raise ConfigError("a point latent has no density q(z|x); choose latent='gaussian' (method vae)")

    def detach(self) -> Posterior:
        return PointPosterior(self.mean.detach())

    def leading(self, axes: int, rows: slice = slice(None)) -> Posterior:
        return PointPosterior(self.mean[..., rows, :axes])

    def kl(self, prior: Prior) -> Tensor:
        raise ConfigError("a point latent has no KL to the prior; choose latent='gaussian' or regularizer='prior'")


@latents.register("point")
class Point(Latent):
    """z = q(x), one point per row."""

    def width(self, latent_dim: int) -> int:
        return latent_dim

    def posterior(self, h: Tensor) -> Posterior:
        return PointPosterior(h)
