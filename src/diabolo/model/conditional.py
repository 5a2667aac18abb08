"""p(x | x_seen): the law of a row's missing cells given those that are there.

    p(x | x_seen) = ∫ p(x|z) p(z|x_seen) dz        p(z|x_seen) ∝ p(x_seen|z) π(z)

The encoder plays no part in it but as a place to start from: it never learned what a code of half a row should be.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from diabolo.data.encoding import Encoded
from diabolo.errors import ConfigError
from diabolo.model.autoencoder import Model
from diabolo.model.nodes import quadratic_nodes
from diabolo.model.prior import HALF_LOG_2PI, Prior, priors
from diabolo.model.profile import descend

__all__ = ["Conditional", "conditional", "rows_at_once"]

#: Codes by which the law of a row's codes is weighed.
NODES = 64
#: Gradients on the way to the best code; rounds of curvature, each but the last with a step of Newton's.
ITERATIONS, ROUNDS = 100, 3
#: Half the distance of the gradients whose difference is the curvature, in the codes' own spread.
REACH = 0.02
#: Least curvature of −log p(z|x_seen): a normal law far wider than the codes' is none to weigh by.
LEAST = 0.5
#: Codes decoded at once with a gradient; numbers in the curvatures of rows that are filled in at once.
DECODED, CURVATURES = 16_384, 1 << 22
#: Dimensions whose curvature is still taken.
MOST = 1_024


@dataclasses.dataclass
class Codes:
    """π(z) as a law of u, z = mean + root u: what the codes were held against, else a Gaussian of the training codes.

    Under that Gaussian u is standard normal, so codes of any scale are searched alike.
    """

    prior: Prior
    mean: Tensor  #: [K]
    root: Tensor  #: [K, K]
    inverse: Tensor  #: [K, K], 0 in directions in which no training code varies

    @staticmethod
    def of(model: Model) -> Codes:
        k = model.latent_dim
        if model.held:
            return Codes(model.prior, torch.zeros(k), torch.eye(k), torch.eye(k))
        values, vectors = torch.linalg.eigh(model.buffers["latent_cov"].double())
        used = values > 1e-8 * values.max().clamp_min(1e-30)
        size = torch.where(used, values.clamp_min(0).sqrt(), 0.0)
        inverse = torch.where(used, size.clamp_min(1e-30).reciprocal(), 0.0).unsqueeze(-1) * vectors.mT
        mean = model.buffers["latent_mean"].clone()
        return Codes(priors.create("normal"), mean, (vectors * size).float(), inverse.float())

    def z(self, u: Tensor) -> Tensor:
        return self.mean + u @ self.root.mT

    def u(self, z: Tensor) -> Tensor:
        return (z - self.mean) @ self.inverse.mT

    def cost(self, u: Tensor) -> Tensor:
        """−log π(u), [*, B]."""
        return -self.prior.log_prob(u).sum(-1)


@dataclasses.dataclass
class Conditional:
    """p(z|x_seen) of B rows by codes u = best + spread ε with importance weights (Mattei, Frellsen 2019).

    arXiv:1812.02633, eq. 8. The normal that they are drawn from is Laplace's approximation of p(u|x_seen), which is
    p(u|x_seen) itself where the decoder is linear and the noise Gaussian: all weights are equal then.
    """

    model: Model
    rows: Encoded
    codes: Codes
    best: Tensor  #: [B, K]
    spread: Tensor  #: [B, K, K], spread spreadᵀ is the inverse curvature
    log_size: Tensor  #: [B], log |det spread|

    def _weighed(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """theta [S, B, width], and log weights [S, B] up to a constant of each row, for noise [S, 1 or B, K]."""
        u = self.best + torch.einsum("bkj,sbj->sbk", self.spread, noise.expand(len(noise), *self.best.shape))
        theta = self.model.decode(self.codes.z(u))
        log_q = (-0.5 * noise.square() - HALF_LOG_2PI).sum(-1) - self.log_size
        log_w = -_seen_nll(self.model, theta, self.rows) - self.codes.cost(u) - log_q
        # A code so far out that its price overflows is none; where all are, they count alike.
        return theta, log_w.nan_to_num(nan=-1e30, neginf=-1e30)

    def mean(self) -> Tensor:
        """theta [B, width] whose `mean_values` are E[x|x_seen], by fixed nodes: nothing is drawn."""
        return self.model.pooled(*self._weighed(quadratic_nodes(NODES, self.model.latent_dim).unsqueeze(1)))

    def draw(self, generator: torch.Generator) -> Tensor:
        """theta [B, width] at a code of p(z|x_seen): of fresh candidates of each row one by its weight (Rubin 1988)."""
        theta, log_w = self._weighed(torch.randn(NODES, *self.best.shape, generator=generator))
        # The largest of log w plus Gumbel noise is drawn with probability ∝ w.
        gumbel = -torch.rand(log_w.shape, generator=generator).clamp_min(1e-30).log().neg().log()
        chosen = (log_w + gumbel).argmax(0)
        return theta[chosen, torch.arange(theta.shape[1])]


def rows_at_once(model: Model) -> int:
    """How many rows `conditional` is to be given at once, so that their curvatures fit into memory.

    Raises:
        ConfigError: the latent is too wide for any.
    """
    k = model.latent_dim
    if k > MOST:
        raise ConfigError(
            f"the model has {k:,} latent dimensions; cells are filled in by up to {MOST:,}: fit with a smaller "
            "latent_dim"
        )
    return max(1, min(256, CURVATURES // k**2))


def conditional(model: Model, rows: Encoded) -> Conditional:
    """The law of codes given the cells that rows [B] have; a row without any has the codes' own law.

    The best code minimizes −log p(x_seen|z) − log π(z). Without π it would not be unique where fewer cells are seen
    than the code has dimensions. A missing cell has no price, nor has that it is missing: cells are taken to be missing
    at random. A `topk` latent is searched without its limit of k dimensions.

    Args:
        model: without leading axes, its noise as large as that of rows (`diabolo.generate.decoding.with_noise`).
        rows: unclipped; a cell that cannot be read must be missing.
    """
    codes = Codes.of(model)
    begun = codes.u(model.posterior(rows).mean)
    rows = Encoded(rows.x, rows.present)

    def smooth(u: Tensor) -> Tensor:
        return _seen_nll(model, model.decode(codes.z(u)), rows)

    def slope(u: Tensor) -> Tensor:
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            return torch.autograd.grad((smooth(u) + codes.cost(u)).sum(), u)[0]

    # The encoder may know nothing of gaps: where the middle of all codes is better, the search begins there.
    middle = torch.zeros_like(begun)
    u = _lower(lambda at: smooth(at) + codes.cost(at), begun, middle)
    with torch.enable_grad():
        u = descend(smooth, codes.cost, codes.prior.prox, u, ITERATIONS)
    values, vectors = _curvature(slope, u)
    for _ in range(ROUNDS - 1):
        step = (vectors @ ((vectors.mT @ slope(u).double().unsqueeze(-1)) / values.unsqueeze(-1))).squeeze(-1).float()
        u = _lower(lambda at: smooth(at) + codes.cost(at), u, *(u - share * step for share in (1.0, 0.3, 0.1)))
        values, vectors = _curvature(slope, u)
    spread = (vectors / values.sqrt().unsqueeze(-2)).float()
    return Conditional(model, rows, codes, u, spread, -0.5 * values.log().sum(-1).float())


def _seen_nll(model: Model, theta: Tensor, rows: Encoded) -> Tensor:
    """−log p(x_seen|z), [*, B]."""
    pairs = zip(model.heads, model.nll(theta, rows), strict=True)
    return torch.stack([cells.sum(-1) for head, cells in pairs if head.block.kind != "missing"]).sum(0)


def _lower(value: Callable[[Tensor], Tensor], first: Tensor, *others: Tensor) -> Tensor:
    """Of several codes of each row the one of the least value, the first one of equal ones."""
    best, least = first, value(first)
    for other in others:
        tried = value(other)
        best = torch.where((tried < least).unsqueeze(-1), other, best)
        least = torch.minimum(tried, least)
    return best


def _curvature(slope: Callable[[Tensor], Tensor], u: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues [B, K] and eigenvectors [B, K, K] of the second derivatives, by differences of gradients.

    Over a distance, and not at a point: the slope of a network of rectifiers is a step function.
    """
    n, k = u.shape
    parts = []
    for directions in torch.split(REACH * torch.eye(k).unsqueeze(1), max(1, DECODED // n)):
        parts.append((slope(u + directions) - slope(u - directions)) / (2 * REACH))
    found = torch.cat(parts).permute(1, 0, 2).double()
    found = torch.nan_to_num(0.5 * (found + found.mT), posinf=0.0, neginf=0.0)
    values, vectors = torch.linalg.eigh(found)
    return values.clamp_min(LEAST), vectors
