"""π(z): what the latent is held against, drawn from, and what importance weights need."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Protocol, Self

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor

from diabolo.registry import Registry

__all__ = ["Prior", "priors"]

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class Prior(Protocol):
    name: str
    #: Whether `kl` is the divergence itself, or a bound from above.
    exact: ClassVar[bool]

    def own(self, latent_dim: int) -> dict[str, Tensor]:
        """Names and first values of what is learned with the model."""
        ...

    def bound(self, parameters: Mapping[str, Tensor]) -> Self:
        """The prior at these values of its own parameters, [*lead, ·]."""
        ...

    @property
    def variance(self) -> float:
        """Of one latent dimension."""
        ...

    def log_prob(self, z: Tensor) -> Tensor:
        """log π(z_i | z_1, ..., z_{i−1}) per latent dimension, [*, B, K], nats; their sum is log π(z)."""
        ...

    def kl(self, mu: Tensor, log_var: Tensor) -> Tensor:
        """KL(N(mu, e^log_var) ‖ π) per latent dimension, [*, B, K], nats."""
        ...

    def prox(self, z: Tensor, step: Tensor) -> Tensor:
        """argmin over v of |v − z|²/(2 step) − log π(v), [*, K]: a proximal gradient's step towards π."""
        ...

    def sample(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor: ...


priors: Registry[Prior] = Registry("prior")


class Fixed:
    """What priors have in common that learn nothing."""

    exact: ClassVar[bool] = True

    def own(self, latent_dim: int) -> dict[str, Tensor]:
        return {}

    def bound(self, parameters: Mapping[str, Tensor]) -> Self:
        return self


@priors.register("normal")
class Normal(Fixed):
    """π(z) = Π N(z_i; 0, 1); KL = ½ Σ (μ² + σ² − log σ² − 1) (Kingma, Welling 2013, arXiv:1312.6114, app. B)."""

    name = "normal"

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
class Laplace(Fixed):
    """π(z) = Π (λ/2) e^(−λ|z_i|), the prior whose −log is the L1 penalty λ Σ|z_i| − K log(λ/2)."""

    name = "laplace"
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


#: Steps towards the nearest point of a mixture.
STEPS = 60


@priors.register("mixture")
class Mixture:
    """π(z) = Σ_c w_c N(z; m_c, s_c²), weights, means and widths learned with the network: clusters while it trains.

    Ω is VaDE's (Jiang, Zheng, Tan, Tang, Zhou 2017, arXiv:1611.05148, eq. 8), the divergence of q(z|x) γ(c|x) from
    w_c N(z; m_c, s_c²), with the best γ_c ∝ w_c e^(−KL_c), KL_c = KL(q ‖ N(m_c, s_c²)): Ω = −log Σ_c w_c e^(−KL_c) is
    at least KL(q ‖ π), so that the loss bounds −log p(x) still. Of the sum over dimensions, each has Σ_c γ_c KL_ci and
    its share KL(γ ‖ w)/K.
    """

    name = "mixture"
    exact: ClassVar[bool] = False
    #: Number of Gaussians.
    components: Annotated[int, Ge(2), Le(1 << 12)] = 10
    #: Standard deviation of their first means in each dimension; their widths begin at 1.
    spread: Annotated[float, Gt(0), Lt(1e3)] = 2.0

    @property
    def variance(self) -> float:
        if not hasattr(self, "_learned"):
            return 1 + self.spread**2
        logits, means, log_vars = (p.detach() for p in self._learned)
        w = logits.softmax(-1).unsqueeze(-1)
        mean = (w * means).sum(-2, keepdim=True)
        return float((w * (log_vars.exp() + (means - mean).square())).sum(-2).mean())

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
        place = torch.rand(shape[:-1], generator=generator, device=generator.device).unsqueeze(-1)
        chosen = (place > log_w.exp().cumsum(-1)).sum(-1).clamp_max(log_w.shape[-1] - 1)
        at = chosen[..., None, None].expand(*shape[:-1], 1, shape[-1])
        wide = (*shape[:-1], *means.shape[-2:])
        mean, log_var = (p.expand(wide).gather(-2, at).squeeze(-2) for p in (means, log_vars))
        noise = torch.randn(shape, generator=generator, device=generator.device)
        return mean + (0.5 * log_var).exp() * noise
