"""The class of all regularizers, and what they may look at."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from diabolo.errors import ConfigError
from diabolo.model.latent import Posterior, latents
from diabolo.model.own import OwnParts
from diabolo.model.prior import Prior, priors
from diabolo.registry import Entry, Registry

__all__ = ["Context", "Regularizer", "normalised", "regularizers"]


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
    #: z̄ = z times these [*lead, K], the size of the decoder's paths; None: z over its root mean square over the batch.
    reach: Tensor | None = None

    def mean(self, values: Tensor) -> Tensor:
        """Weighted mean over the rows of [*lead, B, K], with the axis kept."""
        if self.share is None:
            return values.mean(dim=-2, keepdim=True)
        return torch.matmul(self.share / self.share.sum(), values).unsqueeze(-2)


class Regularizer(Entry, abc.ABC):
    """Ω; most act on z̄, of any latent, under any prior."""

    #: Whether it needs q(z|x) to have a width.
    needs_stochastic: ClassVar[bool] = False
    #: Whether it draws the codes themselves towards π, so that draws of π are decoded to samples.
    matches_prior: ClassVar[bool] = False
    #: Whether it acts on z̄, whose scale `code_scale` says.
    scaled: ClassVar[bool] = False
    #: Whether it draws random numbers, so that two equal rows may have another Ω each.
    draws: ClassVar[bool] = False

    def void(self, prior: Prior, by_rms: bool) -> str | None:
        """Why these settings could never change a gradient, or None.

        Args:
            by_rms: whether codes are measured by their root mean square over the batch.
        """
        return None

    @abc.abstractmethod
    def __call__(self, posterior: Posterior, context: Context) -> Tensor | None:
        """Ω [*lead, B], or None where it is zero."""


#: Names that people have for these penalties.
PENALTIES = {
    "l1": "'lp'",
    "l2": "'lp' with p = 2",
    **dict.fromkeys(("kld", "kl_divergence", "vae"), "'kl'"),
    **dict.fromkeys(("wae", "mmd_loss"), "'mmd'"),
    "cae": "'contractive'",
}


def _try(part: Regularizer, where: str) -> None:
    """Refuse a user's own regularizer that would train wrongly in silence: on three rows of two codes."""
    generator = torch.Generator().manual_seed(0)
    latent = latents.create("gaussian" if part.needs_stochastic else "point")
    h = torch.randn(3, latent.width(2), generator=generator).requires_grad_()
    context = Context(priors.create("normal"), h, latent.posterior, generator, None, torch.ones(2))
    omega = part(latent.posterior(h), context)
    if omega is None:
        return
    if omega.shape != (3,):
        raise ConfigError(f"{where} gave {list(omega.shape)} for three rows; expected [3], one number for each row")
    if not omega.isfinite().all():
        raise ConfigError(f"{where} is not finite for standard normal codes")
    if not omega.requires_grad or not torch.autograd.grad(omega.sum(), h)[0].any():
        raise ConfigError(f"{where} has no gradient towards the codes")


regularizers: Registry[Regularizer] = OwnParts("regularizer", __package__, PENALTIES, Regularizer, _try)


def normalised(z: Tensor, context: Context) -> Tensor:
    """z̄, with the gradient through its scale, so that shrinking z gains nothing."""
    if context.reach is None:
        return z / (context.mean(z.square()) + 1e-12).sqrt()
    return z * context.reach.unsqueeze(-2)
