"""Penalties that each row's code, or each dimension's mean over the batch, has in closed form."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor

from diabolo.model.latent import Posterior
from diabolo.model.prior import Prior
from diabolo.model.regularizer.base import Context, Regularizer, normalised, regularizers


@regularizers.register("none")
class Nothing(Regularizer):
    """Ω = 0."""

    def __call__(self, posterior: Posterior, context: Context) -> Tensor | None:
        return None


@regularizers.register("lp")
class Lp(Regularizer):
    """Ω = Σ_i |z̄_i|^p."""

    scaled = True
    #: Exponent; 1 favours codes with few active dimensions.
    p: Annotated[float, Gt(0), Lt(100)] = 1.0

    def void(self, prior: Prior, by_rms: bool) -> str | None:
        return "Σ z̄² is K for every code; take another p, like 1" if self.p == 2 and by_rms else None

    def __call__(self, posterior: Posterior, context: Context) -> Tensor | None:
        z = normalised(posterior.mean, context).abs()
        return z.sum(-1) if self.p == 1 else (z + 1e-12).pow(self.p).sum(-1)


@regularizers.register("prior")
class NegativeLogPrior(Regularizer):
    """Ω = −log π(z̄): λ Σ|z̄_i| − K log(λ/2) for the Laplace prior, the sparse autoencoder's Bayesian reading."""

    scaled = True

    def void(self, prior: Prior, by_rms: bool) -> str | None:
        return (
            "−log of a normal prior is ½ Σ z̄² = K/2 for every code; set prior='laplace'"
            if prior.name == "normal" and by_rms
            else None
        )

    def __call__(self, posterior: Posterior, context: Context) -> Tensor | None:
        return -context.prior.log_prob(normalised(posterior.mean, context)).sum(-1)


@regularizers.register("kl")
class KullbackLeibler(Regularizer):
    """Ω = KL(q(z|x) ‖ π), closed form; β = 1 makes the loss the negative ELBO (Higgins et al. 2017 for β)."""

    needs_stochastic = True
    matches_prior = True
    #: Nats per latent dimension, on the batch's mean, that cost nothing to use (Kingma et al. 2016,
    #: arXiv:1606.04934, app. C.8).
    free_bits: Annotated[float, Ge(0), Lt(float("inf"))] = 0.0

    def __call__(self, posterior: Posterior, context: Context) -> Tensor | None:
        kl = posterior.kl(context.prior)
        if self.free_bits > 0:
            kl = torch.where(context.mean(kl) > self.free_bits, kl, self.free_bits)
        return kl.sum(-1)


@regularizers.register("kl_sparsity")
class KLSparsity(Regularizer):
    """Ω = Σ_j KL(ρ ‖ ρ̂_j), with ρ̂_j the batch's mean of tanh|z̄_j|: each dimension speaks in a share ρ of the rows.

    Lee, Ekanadham, Ng 2008; Ng 2011. The mean square of z̄_j is 1, so rescaling changes nothing, and ρ̂_j is small
    only where few rows carry all of it: a share ρ of them at |z̄| = ρ^(−½) and the rest at 0 gives about ρ. A code of
    constant size, which a shift of z comes close to, has the largest ρ̂ there is, tanh 1 = 0.76 (Jensen's inequality
    for tanh √u), so a shift is no way out. A batch of B rows reaches 1/B at least: take B well above 1/ρ.
    """

    #: Share of rows in which a dimension is to speak.
    rho: Annotated[float, Gt(0), Lt(0.76)] = 0.05

    def __call__(self, posterior: Posterior, context: Context) -> Tensor | None:
        z = posterior.mean
        active = context.mean(normalised(z, context).abs().tanh()).clamp(1e-6, 1 - 1e-6)
        rho = self.rho
        kl = rho * (math.log(rho) - active.log()) + (1 - rho) * (math.log1p(-rho) - (-active).log1p())
        return kl.sum(-1).expand(z.shape[:-1])
