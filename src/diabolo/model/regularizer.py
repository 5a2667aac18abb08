"""Ω: what limits the code, in nats per row, [*lead, B]; weighted by β and added to the distance.

On a point latent a penalty on z is void if the encoder may shrink z while the decoder grows, so penalties
act on z̄ = z / rms(z), with each dimension's root mean square over the batch: rescaling z leaves Ω unchanged. A square
of z̄ has mean 1 whatever the encoder does, so penalties that are squares are refused rather than silently void.
"""

from __future__ import annotations

from typing import Annotated, Protocol

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor

from diabolo.model.latent import Posterior
from diabolo.model.prior import Prior
from diabolo.registry import Registry

__all__ = ["Regularizer", "normalised", "regularizers"]


class Regularizer(Protocol):
    name: str
    #: Whether it needs q(z|x) to have a width.
    needs_stochastic: bool

    def void(self, prior: Prior) -> str | None:
        """Why these settings could never change a gradient, or None."""
        ...

    def __call__(self, posterior: Posterior, prior: Prior, rms: Tensor | None) -> Tensor | None:
        """Ω [*lead, B], or None where it is zero; `rms` [*lead, K] fixes z̄'s scale, None takes the batch's."""
        ...


def normalised(z: Tensor, rms: Tensor | None) -> Tensor:
    """z̄ = z / rms(z), with the gradient through the root mean square, so that shrinking z gains nothing."""
    if rms is None:
        return z / (z.square().mean(dim=-2, keepdim=True) + 1e-12).sqrt()
    return z / rms.unsqueeze(-2)


regularizers: Registry[Regularizer] = Registry("regularizer")


@regularizers.register("none")
class Nothing:
    """Ω = 0."""

    name = "none"
    needs_stochastic = False

    def void(self, prior: Prior) -> str | None:
        return None

    def __call__(self, posterior: Posterior, prior: Prior, rms: Tensor | None) -> Tensor | None:
        return None


@regularizers.register("lp")
class Lp:
    """Ω = Σ_i |z̄_i|^p on the RMS-normalised code."""

    name = "lp"
    needs_stochastic = False
    #: Exponent; 1 favours codes with few active dimensions.
    p: Annotated[float, Gt(0), Lt(100)] = 1.0

    def void(self, prior: Prior) -> str | None:
        return "Σ z̄² is K for every code; take another p, like 1" if self.p == 2 else None

    def __call__(self, posterior: Posterior, prior: Prior, rms: Tensor | None) -> Tensor | None:
        z = normalised(posterior.mean, rms).abs()
        return z.sum(-1) if self.p == 1 else (z + 1e-12).pow(self.p).sum(-1)


@regularizers.register("prior")
class NegativeLogPrior:
    """Ω = −log π(z̄): λ Σ|z̄_i| − K log(λ/2) for the Laplace prior, the sparse autoencoder's Bayesian reading."""

    name = "prior"
    needs_stochastic = False

    def void(self, prior: Prior) -> str | None:
        return (
            "−log of a normal prior is ½ Σ z̄² = K/2 for every code; set prior='laplace'"
            if prior.name == "normal"
            else None
        )

    def __call__(self, posterior: Posterior, prior: Prior, rms: Tensor | None) -> Tensor | None:
        return -prior.log_prob(normalised(posterior.mean, rms)).sum(-1)


@regularizers.register("kl")
class KullbackLeibler:
    """Ω = KL(q(z|x) ‖ π), closed form; β = 1 makes the loss the negative ELBO (Higgins et al. 2017 for β)."""

    name = "kl"
    needs_stochastic = True
    #: Nats per latent dimension, on the batch's mean, that cost nothing to use (Kingma et al. 2016,
    #: arXiv:1606.04934, app. C.8).
    free_bits: Annotated[float, Ge(0), Lt(float("inf"))] = 0.0

    def void(self, prior: Prior) -> str | None:
        return None

    def __call__(self, posterior: Posterior, prior: Prior, rms: Tensor | None) -> Tensor | None:
        kl = posterior.kl(prior)
        if self.free_bits > 0:
            used = kl.mean(dim=-2, keepdim=True) > self.free_bits
            kl = torch.where(used, kl, self.free_bits)
        return kl.sum(-1)
