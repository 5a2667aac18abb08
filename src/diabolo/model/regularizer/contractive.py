"""A penalty of the encoder's slope."""

from __future__ import annotations

import torch
from torch import Tensor

from diabolo.model.drawn import for_rows
from diabolo.model.latent import Posterior
from diabolo.model.regularizer.base import Context, Regularizer, regularizers


@regularizers.register("contractive")
class Contractive(Regularizer):
    """Ω = ‖∂z̄/∂x‖² in the Frobenius norm: the code moves little where x moves (Rifai et al. 2011).

    By one product Jᵀu per row, u ~ N(0, I): E|Jᵀu|² = ‖J‖² (Hutchinson 1989). Here z̄ is z over its standard deviation
    over the batch rather than its rms, which a constant added to z would make as large as it likes.
    """

    draws = True

    def __call__(self, posterior: Posterior, context: Context) -> Tensor | None:
        z, training = posterior.mean, torch.is_grad_enabled()
        scale = (context.mean((z - context.mean(z)).square()) + 1e-12).sqrt()
        own = context.generator
        probe = for_rows(lambda s: torch.randn(s, generator=own, device=z.device), tuple(z.shape[-2:]), own) / scale
        # One copy of the inputs for each member, whose codes depend on no other's.
        x = context.x.expand(*z.shape[:-1], context.x.shape[-1]).detach().requires_grad_()
        with torch.enable_grad():
            code = context.encode(x).mean
            moved: Tensor = torch.autograd.grad(code, x, probe.expand_as(code), create_graph=training)[0]
        return moved.square().sum(-1)
