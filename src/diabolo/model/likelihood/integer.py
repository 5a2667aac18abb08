"""Likelihoods of whole numbers, as masses: discretised logistic, Poisson, negative binomial."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Gt, Lt
from torch import Tensor
from torch.nn import functional

from diabolo.device import to_numpy
from diabolo.memory import Memory
from diabolo.model.likelihood.base import Likelihood, Own, Units, likelihoods
from diabolo.model.likelihood.scaled import Scaled, location_and_log_scale

#: log of a rate stays below this; no table has counts of e^40.
LOG_RATE = 40.0


@likelihoods.register("discretized_logistic")
class DiscretizedLogistic(Scaled):
    """The logistic's mass from k − ½ to k + ½, the tails at the smallest and largest number of the column's type.

    P(k) = S((k + ½ − x̂)/s) − S((k − ½ − x̂)/s), S the sigmoid (Salimans et al. 2017, arXiv:1701.05517, eq. 2).
    """

    kinds = ("integer",)
    scaled_by = "scale"
    #: s: "learned" per column, or "decoded" for each row.
    scale: Literal["learned", "decoded"] = "learned"

    def _shape(self, theta: Tensor, own: Own, units: Units) -> tuple[Tensor, Tensor]:
        """Location and scale s, standardised; s starts at a third of the column's spread."""
        if self.scale == "decoded":
            location, log_scale = location_and_log_scale(theta)
        else:
            location, log_scale = theta, own["log_scale"].clamp(-12, 12).unsqueeze(-2)
        # Far below a step all mass lies on one number; a smaller s only makes gradients wild.
        return location, 0.02 * units.step + (log_scale - 1).exp()

    def start(self, mean: Tensor, variance: Tensor, units: Units) -> Tensor:
        # The logistic's standard deviation is s π / √3.
        return torch.cat([mean, 0.5 * variance.log() + 0.405], dim=-1) if self.given == "decoded" else mean

    def nll(self, theta: Tensor, own: Own, x: Tensor, units: Units, memory: Memory | None = None) -> Tensor:
        location, s = self._shape(theta, own, units)
        half = 0.5 * units.step
        above, below = (x - location + half) / s, (x - location - half) / s
        # log(S(a) − S(b)) = −softplus(−a) − softplus(b) + log(1 − e^(b − a)), without cancellation in either tail.
        inside = (-torch.expm1(-(2 * half) / s)).log()
        upper, lower = functional.softplus(-above), functional.softplus(below)
        value = x / units.step + units.center.to(x.dtype)
        upper = torch.where(value > units.high - 0.5, 0.0, upper)
        lower = torch.where(value < units.low + 0.5, 0.0, lower)
        edge = (value > units.high - 0.5) | (value < units.low + 0.5)
        return upper + lower - torch.where(edge, 0.0, inside)

    def mean(self, theta: Tensor, units: Units) -> Tensor:
        location = super().mean(theta, units)
        low, high = (units.standardised(bound).to(location.dtype) for bound in (units.low, units.high))
        return torch.minimum(torch.maximum(location, low), high)

    def sample(self, theta: Tensor, own: Own, units: Units, generator: torch.Generator) -> Tensor:
        location, s = self._shape(theta, own, units)
        u = torch.rand(location.shape, generator=generator, dtype=torch.float64, device=location.device).clamp(
            1e-12, 1 - 1e-12
        )
        whole = units.values(location + s * torch.logit(u)).round()
        return units.standardised(torch.minimum(torch.maximum(whole, units.low.double()), units.high.double()))

    def cdf(self, theta: Tensor, own: Own, x: Tensor, units: Units) -> Tensor:
        location, s = self._shape(theta, own, units)
        value = torch.floor(units.values(x) + 1e-6)
        edge = units.standardised(value + 0.5)
        below = ((edge - location.double()) / s.double()).sigmoid()
        return torch.where(value >= units.high, 1.0, torch.where(value < units.low, 0.0, below))


def _log_rate(theta: Tensor, units: Units) -> Tensor:
    """log of the mean count, float64: theta is the log of its ratio to the column's mean in training."""
    base = torch.where(units.center > 0, units.center, torch.ones_like(units.center)).double().log()
    return (theta.double() + base).clamp(-LOG_RATE, LOG_RATE)


class _Rate(Likelihood):
    """Laws of counts with one number for each column, the log of its mean."""

    kinds = ("count",)

    def start(self, mean: Tensor, variance: Tensor, units: Units) -> Tensor:
        value = (units.values(mean)).clamp_min(0.05)
        return (value / torch.where(units.center > 0, units.center, 1.0)).log().to(mean.dtype)

    def pooled(self, theta: Tensor, log_share: Tensor, units: Units) -> Tensor:
        return (theta + log_share).logsumexp(0)

    def mean(self, theta: Tensor, units: Units) -> Tensor:
        return units.standardised(_log_rate(theta, units).exp()).to(theta.dtype)


@likelihoods.register("poisson")
class Poisson(_Rate):
    """e^(−λ) λ^k / k! with λ the training mean times e^theta (Poisson 1837)."""

    def nll(self, theta: Tensor, own: Own, x: Tensor, units: Units, memory: Memory | None = None) -> Tensor:
        log_rate, k = _log_rate(theta, units), units.values(x)
        # In double precision: for large counts the terms cancel to a few nats.
        return (log_rate.exp() - k * log_rate + torch.lgamma(k + 1)).to(theta.dtype)

    def sample(self, theta: Tensor, own: Own, units: Units, generator: torch.Generator) -> Tensor:
        return units.standardised(torch.poisson(_log_rate(theta, units).exp().clamp_max(1e9), generator=generator))

    def cdf(self, theta: Tensor, own: Own, x: Tensor, units: Units) -> Tensor:
        k = torch.floor(units.values(x) + 1e-6)
        inside: Tensor = torch.special.gammaincc(k.clamp_min(0) + 1, _log_rate(theta, units).exp())
        return torch.where(k < 0, 0.0, inside)


@likelihoods.register("negative_binomial")
class NegativeBinomial(_Rate):
    """Γ(k+r)/(k! Γ(r)) (r/(r+λ))^r (λ/(r+λ))^k: a Poisson whose rate varies, variance λ + λ²/r.

    Lopez et al. 2018, Nature Methods 15, 1053, eq. 4; r is learned per column.
    """

    #: r at the start of training; large is nearly Poisson.
    dispersion: Annotated[float, Gt(0), Lt(1e6)] = 5.0

    def own(self, columns: int) -> dict[str, tuple[int, ...]]:
        return {"log_dispersion": (columns,)}

    def _r(self, own: Own) -> Tensor:
        return self.dispersion * own["log_dispersion"].double().clamp(-15, 15).exp().unsqueeze(-2)

    def nll(self, theta: Tensor, own: Own, x: Tensor, units: Units, memory: Memory | None = None) -> Tensor:
        log_rate, k, r = _log_rate(theta, units), units.values(x), self._r(own)
        log_sum = torch.logaddexp(log_rate, r.log())
        nll = torch.lgamma(k + 1) + torch.lgamma(r) - torch.lgamma(k + r)
        return (nll + r * (log_sum - r.log()) + k * (log_sum - log_rate)).to(theta.dtype)

    def sample(self, theta: Tensor, own: Own, units: Units, generator: torch.Generator) -> Tensor:
        rate, r = _log_rate(theta, units).exp().clamp_max(1e9), self._r(own)
        seed = int(torch.randint(1 << 62, (), generator=generator, device=generator.device))
        shape, scale = np.broadcast_to(to_numpy(r), rate.shape), to_numpy(rate / r)
        gamma = torch.from_numpy(np.asarray(np.random.default_rng(seed).gamma(shape, scale))).to(rate.device)
        return units.standardised(torch.poisson(gamma, generator=generator))

    def cdf(self, theta: Tensor, own: Own, x: Tensor, units: Units) -> Tensor:
        from scipy.special import betainc

        rate, r = _log_rate(theta, units).exp(), self._r(own)
        k = torch.floor(units.values(x) + 1e-6)
        inside = betainc(to_numpy(r), to_numpy(k.clamp_min(0)) + 1, to_numpy(r / (r + rate)))
        return torch.where(k < 0, 0.0, torch.from_numpy(np.asarray(inside)).to(k.device))
