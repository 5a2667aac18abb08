"""The class of all latents, and what each gives for the encoder's numbers."""

from __future__ import annotations

import abc
import math
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from diabolo.model.prior import Prior
from diabolo.registry import Entry, Registry

__all__ = ["Latent", "Posterior", "latents"]


class Posterior(Protocol):
    mean: Tensor  #: [*lead, B, K]

    @property
    def std(self) -> Tensor:
        """σ(x), [*lead, B, K]; a point has none."""
        ...

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

    def leading(self, axes: int, rows: slice = ...) -> Posterior:
        """The distribution of the first axes, of some of the rows."""
        ...

    def kl(self, prior: Prior) -> Tensor:
        """KL(q(z|x) ‖ π) per latent dimension, [*lead, B, K]."""
        ...


class Latent(Entry, abc.ABC):
    """The map from the encoder's numbers to a q(z|x)."""

    #: Whether it limits codes itself, so that all that it allows count alike where no Ω holds them.
    limits: ClassVar[bool] = False
    #: Whether q(z|x) has a width, which KL, ELBO and importance weights need.
    stochastic: ClassVar[bool] = False

    @abc.abstractmethod
    def width(self, latent_dim: int) -> int:
        """Numbers that the encoder gives for a code of that many dimensions."""

    @abc.abstractmethod
    def posterior(self, h: Tensor) -> Posterior: ...

    def in_training(self, posterior: Posterior, generator: torch.Generator) -> Posterior:
        """What a training step decodes instead of `posterior`; nothing else unless the latent says otherwise."""
        return posterior

    def default_dim(self, columns: int) -> int:
        """K for a table of so many columns: round(√C), at least 1 and below C."""
        return max(1, min(round(math.sqrt(columns)), columns - 1))

    def kept(self, z: Tensor) -> Tensor:
        """The nearest code [*, K] that a row may have; any may it have unless the latent says otherwise."""
        return z


latents: Registry[Latent] = Registry("latent", __package__)
