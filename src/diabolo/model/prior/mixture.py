"""A prior of several Gaussians, learned with the network."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Annotated, Self

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor

from diabolo.model.prior.base import HALF_LOG_2PI, Prior, priors

__all__ = ["Mixture"]

#: Steps towards the nearest point of a mixture.
STEPS = 60


@priors.register("mixture")
class Mixture(Prior):
    """π(z) = Σ_c w_c N(z; m_c, s_c²), weights, means and widths learned with the network: clusters while it trains.

    Ω is VaDE's (Jiang, Zheng, Tan, Tang, Zhou 2017, arXiv:1611.05148, eq. 8), the divergence of q(z|x) γ(c|x) from
    w_c N(z; m_c, s_c²), with the best γ_c ∝ w_c e^(−KL_c), KL_c = KL(q ‖ N(m_c, s_c²)): Ω = −log Σ_c w_c e^(−KL_c) is
    at least KL(q ‖ π), so that the loss bounds −log p(x) still. Of the sum over dimensions, each has Σ_c γ_c KL_ci and
    its share KL(γ ‖ w)/K.
    """

    exact = False
    #: Number of Gaussians.
    components: Annotated[int, Ge(2), Le(1 << 12)] = 10
    #: Standard deviation of their first means in each dimension; their widths begin at 1.
    spread: Annotated[float, Gt(0), Lt(1e3)] = 2.0

    @property
    def variance(self) -> float:
        return float(torch.as_tensor(self.variances).mean())

    @property
    def variances(self) -> float | Tensor:
        if not hasattr(self, "_learned"):
            return 1 + self.spread**2
        logits, means, log_vars = (p.detach() for p in self._learned)
        w = logits.softmax(-1).unsqueeze(-1)
        mean = (w * means).sum(-2, keepdim=True)
        each = (w * (log_vars.exp() + (means - mean).square())).sum(-2).mean(-1)
        return each[..., None, None] if each.dim() else float(each)

    def own(self, latent_dim: int) -> dict[str, Tensor]:
        """Logits of the weights [C], means [C, K] and log variances [C, K]."""
        drawn = torch.randn(self.components, latent_dim, generator=torch.Generator().manual_seed(0))
        return {
            "logits": torch.zeros(self.components),
            "means": self.spread * drawn,
            "log_vars": torch.zeros(self.components, latent_dim),
        }

    def bound(self, parameters: Mapping[str, Tensor]) -> Self:
        out = copy.copy(self)
        # No setting of the user's, so no field.
        object.__setattr__(out, "_learned", tuple(parameters[n] for n in ("logits", "means", "log_vars")))
        return out

    def parameters(self, latent_dim: int) -> tuple[Tensor, Tensor, Tensor]:
        """log w [*lead, 1, C], means and log variances [*lead, 1, C, K]: broadcast over rows."""
        logits, means, log_vars = getattr(self, "_learned", None) or tuple(self.own(latent_dim).values())
        return logits.log_softmax(-1).unsqueeze(-2), means.unsqueeze(-3), log_vars.unsqueeze(-3)

    def log_prob(self, z: Tensor) -> Tensor:
        log_w, means, log_vars = self.parameters(z.shape[-1])
        each = -0.5 * ((z.unsqueeze(-2) - means).square() * (-log_vars).exp() + log_vars) - HALF_LOG_2PI
        so_far = (log_w.unsqueeze(-1) + each.cumsum(-1)).logsumexp(-2)
        return so_far.diff(dim=-1, prepend=torch.zeros_like(so_far[..., :1]))

    def kl(self, mu: Tensor, log_var: Tensor) -> Tensor:
        log_w, means, log_vars = self.parameters(mu.shape[-1])
        mu, log_var = mu.unsqueeze(-2), log_var.unsqueeze(-2)
        spread = ((mu - means).square() + log_var.exp()) * (-log_vars).exp()
        each = 0.5 * (spread - 1 + log_vars - log_var)
        log_gamma = (log_w - each.sum(-1)).log_softmax(-1)
        gamma = log_gamma.exp()
        choice = (gamma * (log_gamma - log_w)).sum(-1, keepdim=True) / mu.shape[-1]
        return (gamma.unsqueeze(-1) * each).sum(-2) + choice

    def prox(self, z: Tensor, step: Tensor) -> Tensor:
        """From each component, EM's steps uphill, each in closed form; the best of their ends."""
        log_w, means, log_vars = self.parameters(z.shape[-1])
        pull = (-log_vars).exp()
        tries = []
        for c in range(means.shape[-2]):
            v = (z / step + pull[..., c, :] * means[..., c, :]) / (1 / step + pull[..., c, :])
            for _ in range(STEPS):
                each = -0.5 * ((v.unsqueeze(-2) - means).square() * pull + log_vars).sum(-1)
                share = (log_w + each).softmax(-1).unsqueeze(-1)
                v = (z / step + (share * pull * means).sum(-2)) / (1 / step + (share * pull).sum(-2))
            tries.append(v)
        found = torch.stack(tries)
        costs = ((found - z).square() / (2 * step) - self.log_prob(found)).sum(-1)
        best = costs.argmin(0)[None, ..., None].expand(1, *z.shape)
        return found.gather(0, best)[0]

    def sample(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        log_w, means, log_vars = (p.to(generator.device) for p in self.parameters(shape[-1]))
        # Members that are asked for one set of rows have them from the same numbers, each by its own mixture.
        rows = torch.broadcast_shapes(shape[:-1], log_w.shape[:-1])  # type: ignore[no-untyped-call]
        place = torch.rand(shape[:-1], generator=generator, device=generator.device).unsqueeze(-1)
        chosen = (place > log_w.exp().cumsum(-1)).sum(-1).clamp_max(log_w.shape[-1] - 1)
        at = chosen[..., None, None].expand(*rows, 1, shape[-1])
        wide = (*rows, *means.shape[-2:])
        mean, log_var = (p.expand(wide).gather(-2, at).squeeze(-2) for p in (means, log_vars))
        noise = torch.randn(shape, generator=generator, device=generator.device)
        return mean + (0.5 * log_var).exp() * noise
