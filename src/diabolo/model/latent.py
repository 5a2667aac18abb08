"""What the encoder's numbers mean: a point z, or a Gaussian q(z|x)."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import torch
from torch import Tensor

from diabolo.errors import ConfigError
from diabolo.model.prior import HALF_LOG_2PI, Prior
from diabolo.registry import Registry

__all__ = ["GaussianPosterior", "Latent", "PointPosterior", "Posterior", "latents"]

#: log σ² is kept within these, smoothly in the encoder's reach: e^±12 in variance is beyond any use.
LOG_VAR_LIMIT = 12.0


class Posterior(Protocol):
    mean: Tensor  #: [*lead, B, K]

    def sample(self, draws: int, generator: torch.Generator) -> Tensor:
        """[draws, *lead, B, K]; [*lead, B, K] for one draw."""
        ...

    def at(self, noise: Tensor) -> Tensor:
        """z for standard normal noise that broadcasts to [S, *lead, B, K]."""
        ...

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z|x), [*, B]."""
        ...

    def detach(self) -> Posterior:
        """The same distribution, without gradient towards the encoder."""
        ...

    def kl(self, prior: Prior) -> Tensor:
        """KL(q(z|x) ‖ π) per latent dimension, [*lead, B, K]."""
        ...


@dataclasses.dataclass
class PointPosterior:
    mean: Tensor

    def sample(self, draws: int, generator: torch.Generator) -> Tensor:
        return self.mean if draws == 1 else self.mean.expand(draws, *self.mean.shape)

    def at(self, noise: Tensor) -> Tensor:
        return self.mean

    def log_prob(self, z: Tensor) -> Tensor:
        raise ConfigError("a point latent has no density q(z|x); choose latent='gaussian' (method vae)")

    def detach(self) -> Posterior:
        return PointPosterior(self.mean.detach())

    def kl(self, prior: Prior) -> Tensor:
        raise ConfigError("a point latent has no KL to the prior; choose latent='gaussian' or regularizer='prior'")


@dataclasses.dataclass
class GaussianPosterior:
    mean: Tensor
    log_var: Tensor

    def sample(self, draws: int, generator: torch.Generator) -> Tensor:
        shape = self.mean.shape if draws == 1 else (draws, *self.mean.shape)
        return self.at(torch.randn(shape, generator=generator, device=self.mean.device))

    def at(self, noise: Tensor) -> Tensor:
        return self.mean + (0.5 * self.log_var).exp() * noise

    def log_prob(self, z: Tensor) -> Tensor:
        scaled = (z - self.mean).square() * (-self.log_var).exp()
        return (-0.5 * (scaled + self.log_var) - HALF_LOG_2PI).sum(-1)

    def detach(self) -> Posterior:
        return GaussianPosterior(self.mean.detach(), self.log_var.detach())

    def kl(self, prior: Prior) -> Tensor:
        return prior.kl(self.mean, self.log_var)


class Latent(Protocol):
    name: str
    #: Whether q(z|x) has a width, which KL, ELBO and importance weights need.
    stochastic: bool

    def width(self, latent_dim: int) -> int: ...

    def posterior(self, h: Tensor) -> Posterior: ...


latents: Registry[Latent] = Registry("latent")


@latents.register("point")
class Point:
    """z = q(x), one point per row."""

    name = "point"
    stochastic = False

    def width(self, latent_dim: int) -> int:
        return latent_dim

    def posterior(self, h: Tensor) -> Posterior:
        return PointPosterior(h)


@latents.register("gaussian")
class Gaussian:
    """q(z|x) = N(μ(x), diag σ²(x)), drawn as μ + σ ε (Kingma, Welling 2013, arXiv:1312.6114, eq. 4)."""

    name = "gaussian"
    stochastic = True

    def width(self, latent_dim: int) -> int:
        return 2 * latent_dim

    def posterior(self, h: Tensor) -> Posterior:
        mean, raw = h.chunk(2, dim=-1)
        return GaussianPosterior(mean, raw.clamp(-LOG_VAR_LIMIT, LOG_VAR_LIMIT))
