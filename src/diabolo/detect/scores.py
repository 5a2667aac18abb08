"""Anomaly scores of the lecture, one small class each: deterministic, [*lead, B], up = more anomalous."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from diabolo.data.batches import TILE, tiles
from diabolo.data.encoding import Encoded
from diabolo.detect.profile import profile
from diabolo.errors import ConfigError, nearest
from diabolo.memory import Memory
from diabolo.model.autoencoder import Model
from diabolo.model.latent import antithetic
from diabolo.model.objective import neg_elbo, neg_importance_weighted
from diabolo.registry import Registry
from diabolo.threads import threads_for

__all__ = ["Score", "applicable", "automatic", "routine", "score_table", "scores"]

#: Draws behind an expectation over q(z|x): fixed nodes in antithetic pairs, the same for every row.
NODES = 16
#: Draws behind an importance-weighted mean.
WEIGHTED = 64


class Score(Protocol):
    name: str
    #: Whether q(z|x) needs a width.
    needs_stochastic: bool
    #: Whether a row takes tens of passes, so that it is computed only where it is asked for.
    costly: bool

    def __call__(self, model: Model, rows: Encoded) -> Tensor: ...


scores: Registry[Score] = Registry("score")


def _mean_theta(model: Model, rows: Encoded) -> Tensor:
    return model.decode(model.posterior(rows).mean, rows.memory)


@scores.register("nll")
class NegativeLogLikelihood:
    """−log p(x|z) at the posterior mean, nats, a density in original units."""

    name = "nll"
    needs_stochastic = False
    costly = False

    def __call__(self, model: Model, rows: Encoded) -> Tensor:
        return model.column_nll(_mean_theta(model, rows), rows).sum(-1)


@scores.register("profile")
class Profile:
    """min over z of −log p(x|z) − log π(z), nats: the likelihood reading of a sparse autoencoder.

    π is that of z̄ = z / rms(training codes) where the regularizer acts on z̄. The sum over z of p(x, z) is another
    thing: a VAE bounds that integral, and here the best z stands for it.
    """

    name = "profile"
    needs_stochastic = False
    costly = True

    def __call__(self, model: Model, rows: Encoded) -> Tensor:
        return profile(model, rows)


@scores.register("mse")
class MeanSquaredError:
    """Mean over columns of the squared distance to the reconstruction, standardised units."""

    name = "mse"
    needs_stochastic = False
    costly = False

    def __call__(self, model: Model, rows: Encoded) -> Tensor:
        error = model.column_squared_error(_mean_theta(model, rows), rows)
        return torch.matmul(error, error.new_full((error.shape[-1],), 1 / error.shape[-1]))


@scores.register("neg_elbo")
class NegativeElbo:
    """E_q[−log p(x|z)] + KL(q(z|x) ‖ π), nats: an upper bound of −log p(x), by fixed antithetic draws."""

    name = "neg_elbo"
    needs_stochastic = True
    costly = False

    def __call__(self, model: Model, rows: Encoded) -> Tensor:
        return neg_elbo(model, rows, antithetic(NODES, model.latent_dim))


@scores.register("neg_log_likelihood")
class NegativeLogEvidence:
    """−log of the mean of 64 importance weights p(x, z)/q(z|x), nats: closer to −log p(x) than `neg_elbo`."""

    name = "neg_log_likelihood"
    needs_stochastic = True
    costly = True

    def __call__(self, model: Model, rows: Encoded) -> Tensor:
        return neg_importance_weighted(model, rows, antithetic(WEIGHTED, model.latent_dim))


@scores.register("kl")
class KullbackLeibler:
    """KL(q(z|x) ‖ π), nats: how far the row pulls its posterior from the prior."""

    name = "kl"
    needs_stochastic = True
    costly = False

    def __call__(self, model: Model, rows: Encoded) -> Tensor:
        return model.posterior(rows).kl(model.prior).sum(-1)


@scores.register("mu_norm")
class MeanNorm:
    """|μ| = (Σ μ_i²)^½, the Euclidean norm of the posterior mean (of z for a point latent)."""

    name = "mu_norm"
    needs_stochastic = False
    costly = False

    def __call__(self, model: Model, rows: Encoded) -> Tensor:
        return model.posterior(rows).mean.square().sum(-1).sqrt()


def applicable(model: Model) -> list[str]:
    """Names of the scores that a model can give."""
    return [n for n in scores if model.latent.stochastic or not scores.get(n).needs_stochastic]


def routine(model: Model, *asked: str) -> list[str]:
    """The scores that cost a pass or a few, and those asked for."""
    return [n for n in applicable(model) if not scores.get(n).costly or n in asked]


def automatic(model: Model) -> str:
    """The score behind "auto": the bound of −log p(x) that was trained where there is one, else −log p(x|z)."""
    if not model.latent.stochastic:
        return "nll"
    return "neg_elbo" if model.config.bound == "elbo" else "neg_log_likelihood"


def score_table(model: Model, values: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Score rows of a table in fixed padded tiles.

    A row's score does not depend on its company: every tile has the same number of rows, the last one
    padded. A row that cannot be scored is +inf, never normal.

    Args:
        values: [n, C] float32 or float64 in the schema's order, NaN where missing.
        names: scores to compute.

    Returns:
        Each score [n] float64 (leading member axes are averaged).

    Raises:
        ConfigError: an unknown score, or one that the model's latent cannot give.
    """
    for name in names:
        if name not in scores.names():
            raise ConfigError(f"unknown score {name!r}: {nearest(name, scores)}")
        if name not in applicable(model):
            raise ConfigError(
                f"score {name!r} needs a VAE; this model has a {model.latent.name} latent and gives "
                f"{', '.join(applicable(model))}"
            )
    chosen = [scores.create(n) for n in names]
    out = {n: np.empty(len(values), np.float64) for n in names}
    table = torch.from_numpy(np.require(values, requirements=("C", "W")))
    memory = Memory()
    with torch.inference_mode(), threads_for(TILE * model.multiply_adds):
        for part in tiles(len(values)):
            tile, size = table[part], part.stop - part.start
            if size < TILE:
                tile = torch.cat([tile, tile[-1:].expand(TILE - size, -1)])
            rows = model.encoding.encode(tile, memory)
            for score in chosen:
                value = score(model, rows).double()
                if model.lead:
                    value = value.reshape(-1, TILE).mean(0)
                value = torch.where(torch.isfinite(value), value, torch.inf)
                if rows.bad is not None:
                    value = torch.where(rows.bad, torch.inf, value)
                out[score.name][part] = value[:size].numpy()
    return out
