"""Ω: what limits the code, in nats per row, [*lead, B]; weighted by β and added to the distance.

On a point latent a penalty on z is void if the encoder may shrink z while the decoder grows, so penalties
act on z̄ = z / rms(z), with each dimension's weighted root mean square over the batch: rescaling z leaves Ω unchanged.
A square of z̄ has mean 1 whatever the encoder does, so penalties that are squares are refused rather than silently
void. A penalty that holds the codes themselves against π has its scale from there (`matches_prior`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Annotated, ClassVar, Protocol

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor

from diabolo.model.latent import Posterior
from diabolo.model.prior import Prior
from diabolo.registry import Registry

__all__ = ["Context", "Regularizer", "mmd_squared", "normalised", "regularizers"]

#: Rows whose pairs are looked at together: 4 MiB for each table of distances.
PAIRED = 1_024
#: Kernel widths, in units of the squared distance of two prior draws (Tolstikhin et al. 2018, app. C).
SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


@dataclasses.dataclass(frozen=True)
class Context:
    """What a regularizer may need beside q(z|x) of the rows."""

    prior: Prior
    #: What entered the encoder, [B, D] or [*lead, B, D], and the encoder.
    x: Tensor
    encode: Callable[[Tensor], Posterior]
    generator: torch.Generator
    #: Weights of the rows, [B]; None for equal ones.
    share: Tensor | None = None
    #: The scale of z̄, [*lead, K]; None takes the batch's.
    rms: Tensor | None = None

    def mean(self, values: Tensor) -> Tensor:
        """Weighted mean over the rows of [*lead, B, K], with the axis kept."""
        if self.share is None:
            return values.mean(dim=-2, keepdim=True)
        return torch.matmul(self.share / self.share.sum(), values).unsqueeze(-2)


class Regularizer(Protocol):
    name: str
    #: Whether it needs q(z|x) to have a width.
    needs_stochastic: bool
    #: Whether it draws the codes themselves towards π, so that draws of π are decoded to samples.
    matches_prior: ClassVar[bool]

    def void(self, prior: Prior) -> str | None:
        """Why these settings could never change a gradient, or None."""
        ...

    def __call__(self, posterior: Posterior, context: Context) -> Tensor | None:
        """Ω [*lead, B], or None where it is zero."""
        ...


def normalised(z: Tensor, context: Context) -> Tensor:
    """z̄ = z / rms(z), with the gradient through the root mean square, so that shrinking z gains nothing."""
    if context.rms is None:
        return z / (context.mean(z.square()) + 1e-12).sqrt()
    return z / context.rms.unsqueeze(-2)


regularizers: Registry[Regularizer] = Registry("regularizer")


class OfCode:
    """What most entries have in common: they act on z̄, of any latent, under any prior."""

    needs_stochastic = False
    matches_prior: ClassVar[bool] = False

    def void(self, prior: Prior) -> str | None:
        return None


@regularizers.register("none")
class Nothing(OfCode):
    """Ω = 0."""

    name = "none"

    def __call__(self, posterior: Posterior, context: Context) -> Tensor | None:
        return None


@regularizers.register("lp")
class Lp(OfCode):
    """Ω = Σ_i |z̄_i|^p on the RMS-normalised code."""

    name = "lp"
    #: Exponent; 1 favours codes with few active dimensions.
    p: Annotated[float, Gt(0), Lt(100)] = 1.0

    def void(self, prior: Prior) -> str | None:
        return "Σ z̄² is K for every code; take another p, like 1" if self.p == 2 else None

    def __call__(self, posterior: Posterior, context: Context) -> Tensor | None:
        z = normalised(posterior.mean, context).abs()
        return z.sum(-1) if self.p == 1 else (z + 1e-12).pow(self.p).sum(-1)


@regularizers.register("prior")
class NegativeLogPrior(OfCode):
    """Ω = −log π(z̄): λ Σ|z̄_i| − K log(λ/2) for the Laplace prior, the sparse autoencoder's Bayesian reading."""

    name = "prior"

    def void(self, prior: Prior) -> str | None:
        return (
            "−log of a normal prior is ½ Σ z̄² = K/2 for every code; set prior='laplace'"
            if prior.name == "normal"
            else None
        )

    def __call__(self, posterior: Posterior, context: Context) -> Tensor | None:
        return -context.prior.log_prob(normalised(posterior.mean, context)).sum(-1)


@regularizers.register("kl")
class KullbackLeibler(OfCode):
    """Ω = KL(q(z|x) ‖ π), closed form; β = 1 makes the loss the negative ELBO (Higgins et al. 2017 for β)."""

    name = "kl"
    needs_stochastic = True
    matches_prior: ClassVar[bool] = True
    #: Nats per latent dimension, on the batch's mean, that cost nothing to use (Kingma et al. 2016,
    #: arXiv:1606.04934, app. C.8).
    free_bits: Annotated[float, Ge(0), Lt(float("inf"))] = 0.0

    def __call__(self, posterior: Posterior, context: Context) -> Tensor | None:
        kl = posterior.kl(context.prior)
        if self.free_bits > 0:
            kl = torch.where(context.mean(kl) > self.free_bits, kl, self.free_bits)
        return kl.sum(-1)


@regularizers.register("kl_sparsity")
class KLSparsity(OfCode):
    """Ω = Σ_j KL(ρ ‖ ρ̂_j), with ρ̂_j the batch's mean of tanh|z̄_j|: each dimension speaks in a share ρ of the rows.

    Lee, Ekanadham, Ng 2008; Ng 2011. The mean square of z̄_j is 1, so rescaling changes nothing, and ρ̂_j is small
    only where few rows carry all of it: a share ρ of them at |z̄| = ρ^(−½) and the rest at 0 gives about ρ. A code of
    constant size, which a shift of z comes close to, has the largest ρ̂ there is, tanh 1 = 0.76 (Jensen's inequality
    for tanh √u), so a shift is no way out. A batch of B rows reaches 1/B at least: take B well above 1/ρ.
    """

    name = "kl_sparsity"
    #: Share of rows in which a dimension is to speak.
    rho: Annotated[float, Gt(0), Lt(0.76)] = 0.05

    def __call__(self, posterior: Posterior, context: Context) -> Tensor | None:
        z = posterior.mean
        active = context.mean(normalised(z, context).abs().tanh()).clamp(1e-6, 1 - 1e-6)
        rho = self.rho
        kl = rho * (math.log(rho) - active.log()) + (1 - rho) * (math.log1p(-rho) - (-active).log1p())
        return kl.sum(-1).expand(z.shape[:-1])


@regularizers.register("contractive")
class Contractive(OfCode):
    """Ω = ‖∂z̄/∂x‖² in the Frobenius norm: the code moves little where x moves (Rifai et al. 2011).

    By one product Jᵀu per row, u ~ N(0, I): E|Jᵀu|² = ‖J‖² (Hutchinson 1989). Here z̄ is z over its standard deviation
    over the batch rather than its rms, which a constant added to z would make as large as it likes.
    """

    name = "contractive"

    def __call__(self, posterior: Posterior, context: Context) -> Tensor | None:
        z, training = posterior.mean, torch.is_grad_enabled()
        if context.rms is None:
            scale = (context.mean((z - context.mean(z)).square()) + 1e-12).sqrt()
        else:
            scale = context.rms.unsqueeze(-2)
        probe = torch.randn(z.shape[-2:], generator=context.generator, device=z.device) / scale
        # One copy of the inputs for each member, whose codes depend on no other's.
        x = context.x.expand(*z.shape[:-1], context.x.shape[-1]).detach().requires_grad_()
        with torch.enable_grad():
            code = context.encode(x).mean
            moved: Tensor = torch.autograd.grad(code, x, probe.expand_as(code), create_graph=training)[0]
        return moved.square().sum(-1)


@regularizers.register("mmd")
class MaximumMeanDiscrepancy(OfCode):
    """Ω = MMD²(codes, π) with the kernels Σ_s C_s / (C_s + |a − b|²): the Wasserstein autoencoder's penalty.

    Tolstikhin, Bousquet, Gelly, Schölkopf 2018, arXiv:1711.01558, algorithm 2; the unbiased U-statistic of Gretton et
    al. 2012, eq. 3, over at most 1,024 rows at a time. It has no unit and is at most 14: `beta` gives it its weight.
    """

    name = "mmd"
    matches_prior: ClassVar[bool] = True

    def __call__(self, posterior: Posterior, context: Context) -> Tensor | None:
        z = posterior.sample(1, context.generator)
        n, k = z.shape[-2:]
        drawn = context.prior.sample((n, k), context.generator)
        weight = torch.ones(n, device=z.device) if context.share is None else context.share
        width, parts = 2 * k * context.prior.variance, -(-n // PAIRED)
        omega = torch.zeros(z.shape[:-2], device=z.device)
        for rows in torch.arange(n, device=z.device).chunk(parts):
            w = weight[rows]
            part = mmd_squared(z[..., rows, :], drawn[rows], w, width)
            omega = omega + part * (w.sum() / weight.sum())
        return omega.unsqueeze(-1).expand(z.shape[:-1])


def mmd_squared(a: Tensor, b: Tensor, weight: Tensor, width: float) -> Tensor:
    """U-statistic of MMD² between rows a [*lead, n, K] of these weights and rows b [m, K]; [*lead]."""
    m = b.shape[-2]
    pairs = weight.sum().square() - weight.square().sum()
    among_a = (weight * torch.matmul(_kernel(a, a, width), weight)).sum(-1) - len(SCALES) * weight.square().sum()
    among_b = _kernel(b, b, width).sum((-1, -2)) - len(SCALES) * m
    between = torch.matmul(weight, _kernel(a, b, width)).sum(-1)
    tiny = torch.finfo(a.dtype).tiny
    return among_a / pairs.clamp_min(tiny) + among_b / max(1, m * (m - 1)) - 2 * between / (m * weight.sum())


def _kernel(a: Tensor, b: Tensor, width: float) -> Tensor:
    """Σ_s C_s / (C_s + |a_i − b_j|²), [*, n, m]; 7 where the rows are equal."""
    squared = a.square().sum(-1).unsqueeze(-1) + b.square().sum(-1).unsqueeze(-2)
    squared = (squared - 2 * torch.matmul(a, b.mT)).clamp_min(0)
    total = torch.zeros_like(squared)
    for scale in SCALES:
        total = total + (1 + squared / (scale * width)).reciprocal()
    return total
