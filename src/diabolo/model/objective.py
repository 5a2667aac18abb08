"""The formula, written once.

    x ──corrupt──▶ x̃ ──encoder──▶ q(z|x̃) ──▶ z ──decoder──▶ p(x|z)
    loss(x) = −log p(x|z)  +  β Ω        nats per row; averaged over the batch at the very end

The distance compares with the clean x. Nothing else in the package adds these terms up. The importance-weighted
bounds put log (1/S) Σ_s of the same terms in the place of their mean over draws.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diabolo.data.encoding import Encoded
from diabolo.model.autoencoder import Model
from diabolo.model.corruption import with_gaps
from diabolo.model.latent import Posterior
from diabolo.model.masked_objective import masked_rows
from diabolo.model.regularizer import Context

__all__ = [
    "corrupted",
    "importance_weighted",
    "loss_terms",
    "masked_terms",
    "neg_elbo",
    "neg_importance_weighted",
    "objective",
    "row_losses",
]


def objective(
    model: Model,
    rows: Encoded,
    weights: Tensor | None,
    beta: float | Tensor,
    generator: torch.Generator,
    early: bool = False,
) -> tuple[Tensor, list[Tensor], Tensor | None]:
    """One training step's loss.

    Args:
        model: parts and parameters, lead axes [*lead].
        rows: B clean, clipped rows.
        weights: [B], with mean 1 over the table (not over the batch); None for equal.
        beta: weight of Ω in this step; a tensor is float64 without axes.
        generator: of observation, corruption and posterior draws.
        early: whether the ELBO with one draw still stands in for the config's bound (`bound_after`).

    Returns:
        loss [*lead], distance per head [*lead, columns], Ω [*lead]: nats per row, loss = Σ distance + β Ω.
    """
    rows = model.observe(rows, generator)
    hides = model.corruption.hide(rows, model.encoding, model.lead, generator)
    if hides is not None:
        return masked_terms(model, rows, hides, weights, beta, generator)
    x_tilde = corrupted(model, rows.x, generator)
    bound, draws = ("elbo", 1) if early else (model.config.bound, model.config.draws)
    return loss_terms(model, rows, x_tilde, weights, draws, beta, generator, bound, step=True)


def corrupted(model: Model, x: Tensor, generator: torch.Generator) -> Tensor:
    """x̃ of clean inputs x [B, D], [*lead, B, D]; a point latent gets more gaps where columns have some.

    Corruption "mask" hides cells itself, and a Gaussian latent fills in well without.
    """
    x = model.corruption(x, model.encoding, model.lead, generator)
    if model.latent.stochastic or model.corruption.name == "mask" or not model.encoding.nullable:
        return x
    return with_gaps(x, model.encoding, model.lead, generator)


def loss_terms(
    model: Model,
    rows: Encoded,
    x_in: Tensor,
    weights: Tensor | None,
    draws: int,
    beta: float | Tensor,
    generator: torch.Generator,
    bound: str | None = None,
    step: bool = False,
) -> tuple[Tensor, list[Tensor], Tensor | None]:
    """The loss of rows that enter as `x_in`, and its terms; see `objective`. A `bound` of None is the config's.

    A `step` of training decodes what the latent has training decode.
    """
    share = None if weights is None else weights / weights.shape[0]
    if (bound or model.config.bound) != "elbo":
        return _importance_weighted_loss(model, rows, x_in, share, draws, beta, generator)
    posterior = model.encode(x_in, rows.memory)
    if step:
        posterior = model.latent.in_training(posterior, generator)
    distance = model.mean_nll(model.decode(posterior.sample(draws, generator), rows.memory), rows, share)
    if draws > 1:
        distance = [d.mean(0) for d in distance]
    omega = model.regularizer(posterior, Context(model.prior, x_in, model.encode, generator, share, model.reach()))
    if omega is not None:
        omega = omega.mean(-1) if share is None else torch.matmul(omega, share)
    return _total(distance, omega, beta), distance, omega


def masked_terms(
    model: Model,
    rows: Encoded,
    hidden: Tensor,
    weights: Tensor | None,
    beta: float | Tensor,
    generator: torch.Generator,
    nested: float | None = None,
) -> tuple[Tensor, list[Tensor], Tensor | None]:
    """The loss of rows with hidden variables [*lead, B, V], and its terms; see `masked_objective`."""
    masked = masked_rows(model, rows, hidden, generator, nested)
    share = torch.full((len(rows),), 1 / len(rows), device=rows.x.device) if weights is None else weights / len(rows)
    distance = [torch.matmul(share, cells) for cells in masked.cells]
    omega, first = None, slice(0, masked.whole)
    if masked.whole or model.masking is None:
        # Ω is of whole rows alone: nobody asks for a code of hidden cells to be small.
        first = first if model.masking is not None else slice(0, len(rows))
        posterior = masked.posterior.leading(model.latent_dim, first)
        context = Context(model.prior, rows.x[first], model.encode, generator, share[first], model.reach())
        omega = model.regularizer(posterior, context)
    if omega is not None:
        omega = torch.matmul(omega, share[first])
    return _total(distance, omega, beta), distance, omega


def row_losses(model: Model, rows: Encoded) -> Tensor:
    """−log p(x|z) [*lead, B] of clipped rows at the mean of their code, standardised nats: without noise and Ω."""
    return _total(model.nll(model.decode(model.posterior(rows).mean), rows))


def _total(distance: list[Tensor], omega: Tensor | None = None, beta: float | Tensor = 0.0) -> Tensor:
    """Σ over columns of the distance + β Ω, without the axis of columns."""
    loss = distance[0].sum(-1)
    for more in distance[1:]:
        loss = loss + more.sum(-1)
    return loss if omega is None else loss + times(beta, omega)


def times(beta: float | Tensor, of: Tensor) -> Tensor:
    """β times a tensor, in the tensor's precision; a β in memory may change between steps that are recorded."""
    return of * beta if isinstance(beta, float | int) else of * beta.to(of.dtype)


def _importance_weighted_loss(
    model: Model,
    rows: Encoded,
    x_in: Tensor,
    share: Tensor | None,
    draws: int,
    beta: float | Tensor,
    generator: torch.Generator,
) -> tuple[Tensor, list[Tensor], Tensor]:
    """−log (1/S) Σ_s w_s per row, with w = p(x|z) (π(z)/q(z|x))^β; β = 1 makes it a bound of −log p(x).

    The distance is Σ_s w̃_s (−log p(x|z_s)) with the normalised weights w̃, without gradient, and Ω the rest of
    the loss. The bound "dreg" has the same value; its gradient towards the encoder leaves out the score ∂ log q/∂φ,
    whose expectation is (w̃ − w̃²) ∂ log w/∂z: less noise, the same mean (Tucker et al. 2019, arXiv:1810.04152, eq. 8).
    """
    posterior = model.encode(x_in, rows.memory)
    z = posterior.sample(draws, generator)
    if draws == 1:
        z = z.unsqueeze(0)
    doubly = model.config.bound == "dreg" and z.requires_grad
    log_q = (posterior.detach() if doubly else posterior).log_prob(z)
    cells = model.nll(model.decode(z, rows.memory), rows)
    log_w = times(beta, model.prior.log_prob(z).sum(-1) - log_q)
    for cell in cells:
        log_w = log_w - cell.sum(-1)
    with torch.no_grad():
        normalised = log_w.softmax(0)
        mean = normalised / log_w.shape[-1] if share is None else normalised * share
        distance = [torch.einsum("s...b,s...bc->...c", mean, cell) for cell in cells]
    if doubly:
        factor = plus(1 - beta, times(beta, normalised)).unsqueeze(-1)
        z.register_hook(lambda gradient: gradient * factor)  # type: ignore[no-untyped-call]
    per_row = math.log(draws) - log_w.logsumexp(0)
    loss = per_row.mean(-1) if share is None else torch.matmul(per_row, share)
    left = loss.detach() - _total(distance)
    return loss, distance, over(left, beta)


def over(left: Tensor, beta: float | Tensor) -> Tensor:
    """What is left of the loss in units of β; the very first step of a warm-up has β = 0."""
    if isinstance(beta, float | int):
        return left / (beta or 1.0)
    return left / torch.where(beta == 0, 1.0, beta).to(left.dtype)


def plus(number: float | Tensor, of: Tensor) -> Tensor:
    return of + (number if isinstance(number, float | int) else number.to(of.dtype))


def log_weights(model: Model, rows: Encoded, posterior: Posterior, z: Tensor) -> Tensor:
    """log p(x, z) − log q(z|x), [*, B], for z [*, B, K]; density in original units."""
    log_likelihood = -model.column_nll(model.decode(z, rows.memory), rows).sum(-1)
    return log_likelihood + model.prior.log_prob(z).sum(-1) - posterior.log_prob(z)


def neg_elbo(model: Model, rows: Encoded, noise: Tensor) -> Tensor:
    """E_q[−log p(x|z)] + KL(q ‖ π), [*lead, B], nats in original units.

    Args:
        rows: B unclipped rows.
        noise: [S, K] standard normal nodes, the same for each row, so that equal rows score equally.
    """
    posterior = model.posterior(rows)
    total = noise.new_zeros(())
    kl = posterior.kl(model.prior).sum(-1)
    for node in noise:
        theta = model.decode(posterior.at(node), rows.memory)
        total = total + model.row_nll(theta, rows)
    return total / len(noise) + kl


def neg_importance_weighted(model: Model, rows: Encoded, noise: Tensor) -> Tensor:
    """−log (1/S) Σ_s p(x, z_s)/q(z_s|x), [*lead, B], nats in original units; see `neg_elbo` for the arguments."""
    posterior = model.posterior(rows)
    mean = noise.new_full((), -math.inf)
    for node in noise:
        mean = torch.logaddexp(mean, log_weights(model, rows, posterior, posterior.at(node)))
    return math.log(len(noise)) - mean


def importance_weighted(model: Model, rows: Encoded, draws: int, generator: torch.Generator) -> Tensor:
    """log (1/S) Σ_s p(x, z_s)/q(z_s|x) ≤ log p(x) in expectation, and closer with each draw.

    Burda, Grosse, Salakhutdinov 2016, arXiv:1509.00519, eq. 8.

    Returns:
        [*lead, B], nats, a density in original units.
    """
    posterior = model.posterior(rows)
    z = posterior.sample(draws, generator)
    if draws == 1:
        z = z.unsqueeze(0)
    return log_weights(model, rows, posterior, z).logsumexp(0) - math.log(draws)
