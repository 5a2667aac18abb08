"""The class of all priors."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from typing import ClassVar, Self

import torch
from torch import Tensor

from diabolo.registry import Entry, Registry

__all__ = ["HALF_LOG_2PI", "Prior", "priors"]

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class Prior(Entry, abc.ABC):
    """A distribution of codes; this class is of one that learns nothing."""

    #: Whether `kl` is the divergence itself, or a bound from above.
    exact: ClassVar[bool] = True

    def own(self, latent_dim: int) -> dict[str, Tensor]:
        """Names and first values of what is learned with the model."""
        return {}

    def bound(self, parameters: Mapping[str, Tensor]) -> Self:
        """The prior at these values of its own parameters, [*lead, ·]."""
        return self

    @property
    @abc.abstractmethod
    def variance(self) -> float:
        """Of one latent dimension."""

    @property
    def variances(self) -> float | Tensor:
        """The same, of each member's prior where members have their own: a number, or [*lead, 1, 1]."""
        return self.variance

    @abc.abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """log π(z_i | z_1, ..., z_{i−1}) per latent dimension, [*, B, K], nats; their sum is log π(z)."""

    @abc.abstractmethod
    def kl(self, mu: Tensor, log_var: Tensor) -> Tensor:
        """KL(N(mu, e^log_var) ‖ π) per latent dimension, [*, B, K], nats."""

    @abc.abstractmethod
    def prox(self, z: Tensor, step: Tensor) -> Tensor:
        """argmin over v of |v − z|²/(2 step) − log π(v), [*, K]: a proximal gradient's step towards π."""

    @abc.abstractmethod
    def sample(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor: ...


priors: Registry[Prior] = Registry("prior", __package__)
