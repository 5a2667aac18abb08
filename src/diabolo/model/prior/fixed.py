"""Priors that learn nothing."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from annotated_types import Gt, Lt
from torch import Tensor

from diabolo.model.prior.base import HALF_LOG_2PI, Prior, priors


@priors.register("normal")
class Normal(Prior):
    """π(z) = Π N(z_i; 0, 1); KL = ½ Σ (μ² + σ² − log σ² − 1) (Kingma, Welling 2013, arXiv:1312.6114, app. B)."""

    @property
    def variance(self) -> float:
        return 1.0

    def log_prob(self, z: Tensor) -> Tensor:
        return -0.5 * z.square() - HALF_LOG_2PI

    def kl(self, mu: Tensor, log_var: Tensor) -> Tensor:
        return 0.5 * (mu.square() + log_var.exp() - log_var - 1)

    def prox(self, z: Tensor, step: Tensor) -> Tensor:
        """z / (1 + step)."""
        return z / (1 + step)

    def sample(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return torch.randn(shape, generator=generator, device=generator.device)


@priors.register("laplace")
class Laplace(Prior):
    """π(z) = Π (λ/2) e^(−λ|z_i|), the prior whose −log is the L1 penalty λ Σ|z_i| − K log(λ/2)."""

    #: λ, in units of 1/z.
    rate: Annotated[float, Gt(0), Lt(float("inf"))] = 1.0

    @property
    def variance(self) -> float:
        return 2 / self.rate**2

    def log_prob(self, z: Tensor) -> Tensor:
        return math.log(self.rate / 2) - self.rate * z.abs()

    def kl(self, mu: Tensor, log_var: Tensor) -> Tensor:
        """−H[N] − log(λ/2) + λ E|z|, with E|z| = σ √(2/π) e^(−μ²/2σ²) + μ erf(μ/σ√2), the folded normal's mean."""
        sigma = (0.5 * log_var).exp()
        ratio = mu / (sigma * math.sqrt(2))
        mean_abs = sigma * math.sqrt(2 / math.pi) * (-ratio.square()).exp() + mu * torch.erf(ratio)
        entropy = 0.5 * log_var + HALF_LOG_2PI + 0.5
        return self.rate * mean_abs - math.log(self.rate / 2) - entropy

    def prox(self, z: Tensor, step: Tensor) -> Tensor:
        """The soft threshold sign(z) max(|z| − λ step, 0)."""
        return z.sign() * (z.abs() - self.rate * step).clamp_min(0)

    def sample(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        u = torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64) - 0.5
        return (-u.sign() * torch.log1p(-2 * u.abs()) / self.rate).to(torch.float32)
