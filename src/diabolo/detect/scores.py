"""Anomaly scores of the lecture, one small class each: deterministic, [*lead, B], up = more anomalous."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from annotated_types import Ge, Le
from torch import Tensor

from diabolo.data.encoding import Encoded
from diabolo.data.tiles import TILE, tiles
from diabolo.detect.auto import combine
from diabolo.detect.denoising import denoised_error
from diabolo.detect.mahalanobis import mahalanobis
from diabolo.detect.neighbours import nearest
from diabolo.detect.profile import profile
from diabolo.detect.reference import Reference
from diabolo.errors import ConfigError
from diabolo.errors import nearest as nearest_name
from diabolo.memory import Memory
from diabolo.model.autoencoder import Model
from diabolo.model.nodes import quadratic_nodes, radial_nodes
from diabolo.model.objective import neg_elbo, neg_importance_weighted
from diabolo.registry import Registry
from diabolo.threads import threads_for

__all__ = [
    "ByColumn",
    "Score",
    "applicable",
    "automatic",
    "check_score",
    "density",
    "routine",
    "score_of",
    "score_table",
    "scores",
    "tiled",
]

#: Nodes behind an expectation over q(z|x), which is exact for a quadratic in z of up to half as many dimensions.
NODES = 16
#: Nodes behind an importance-weighted mean.
WEIGHTED = 64


class Score(Protocol):
    name: str
    #: What it needs of `Reference.offers`: a q(z|x) with a width ("stochastic"), "stored" rows, 20 of them ("tail").
    needs: frozenset[str]
    #: Whether a row takes tens of passes, so that it is computed only where it is asked for.
    costly: bool

    def __call__(self, reference: Reference, rows: Encoded) -> Tensor:
        """[*lead, B], up = more anomalous; the same for a row whatever its company."""
        ...


@runtime_checkable
class ByColumn(Protocol):
    """A score that is the sum or the mean of its columns, whose shares are not reduced yet."""

    def columns(self, reference: Reference, rows: Encoded) -> Tensor:
        """[*lead, B, C] in the order of the schema's `output_names`."""
        ...


NOTHING: frozenset[str] = frozenset()
STOCHASTIC = frozenset({"stochastic"})
STORED = frozenset({"stored"})
COMBINED = frozenset({"stored", "tail"})


scores: Registry[Score] = Registry("score")


def _mean_theta(model: Model, rows: Encoded) -> Tensor:
    return model.decode(model.posterior(rows).mean, rows.memory)


@scores.register("nll")
class NegativeLogLikelihood:
    """−log p(x|z) at the posterior mean, nats, a density in original units."""

    name = "nll"
    needs = NOTHING
    costly = False

    def columns(self, reference: Reference, rows: Encoded) -> Tensor:
        return reference.model.column_nll(_mean_theta(reference.model, rows), rows)

    def __call__(self, reference: Reference, rows: Encoded) -> Tensor:
        return reference.model.row_nll(_mean_theta(reference.model, rows), rows)


@scores.register("profile")
class Profile:
    """min over z of −log p(x|z) − log π(z), nats: the likelihood reading of a sparse autoencoder.

    π is that of z̄ = z / rms(training codes) where the regularizer acts on z̄. The sum over z of p(x, z) is another
    thing: a VAE bounds that integral, and here the best z stands for it.
    """

    name = "profile"
    needs = NOTHING
    costly = True

    def __call__(self, reference: Reference, rows: Encoded) -> Tensor:
        return profile(reference.model, rows)


def _mean(columns: Tensor) -> Tensor:
    return torch.matmul(columns, columns.new_full((columns.shape[-1],), 1 / columns.shape[-1]))


@scores.register("mse")
class MeanSquaredError:
    """Mean over columns of the squared distance to the reconstruction, standardised units."""

    name = "mse"
    needs = NOTHING
    costly = False

    def columns(self, reference: Reference, rows: Encoded) -> Tensor:
        return reference.model.column_squared_error(_mean_theta(reference.model, rows), rows)

    def __call__(self, reference: Reference, rows: Encoded) -> Tensor:
        return _mean(self.columns(reference, rows))


@scores.register("mae")
class MeanAbsoluteError:
    """Mean over columns of the distance to the reconstruction, the root of what `mse` averages, standardised units."""

    name = "mae"
    needs = NOTHING
    costly = False

    def columns(self, reference: Reference, rows: Encoded) -> Tensor:
        # An angle's 2 − 2 cos Δ may fall below 0 by rounding.
        error = reference.model.column_squared_error(_mean_theta(reference.model, rows), rows)
        return error.clamp_min(0).sqrt()

    def __call__(self, reference: Reference, rows: Encoded) -> Tensor:
        return _mean(self.columns(reference, rows))


@scores.register("denoise")
class Denoise:
    """Mean over columns of the squared distance to x of f(x + σ ε), over σ of 0.1, 0.2, 0.4 and 0.8 and nodes ±ε.

    Fixed nodes make it deterministic. It means most for a denoising autoencoder, whose f moves x towards the data; of
    another it is the error and the sensitivity of f (`diabolo.detect.denoising`).
    """

    name = "denoise"
    needs = NOTHING
    costly = True

    def columns(self, reference: Reference, rows: Encoded) -> Tensor:
        return denoised_error(reference.model, rows)

    def __call__(self, reference: Reference, rows: Encoded) -> Tensor:
        return _mean(self.columns(reference, rows))


@scores.register("mahalanobis")
class Mahalanobis:
    """((z − m)ᵀ (Σ + λ I)⁻¹ (z − m))^½ of the code, with mean and covariance of the training codes (Mahalanobis 1936).

    λ = 10⁻³ tr Σ / K keeps dimensions that hardly vary, as those that a VAE has shut down, from outweighing others.
    """

    name = "mahalanobis"
    needs = NOTHING
    costly = False

    def __call__(self, reference: Reference, rows: Encoded) -> Tensor:
        return mahalanobis(reference.model, rows)


@scores.register("neg_elbo")
class NegativeElbo:
    """E_q[−log p(x|z)] + KL(q(z|x) ‖ π), nats: an upper bound of −log p(x), by 16 fixed nodes of covariance 1."""

    name = "neg_elbo"
    needs = STOCHASTIC
    costly = False

    def __call__(self, reference: Reference, rows: Encoded) -> Tensor:
        return neg_elbo(reference.model, rows, quadratic_nodes(NODES, reference.model.latent_dim))


@scores.register("neg_log_likelihood")
class NegativeLogEvidence:
    """−log of the mean of 64 importance weights p(x, z)/q(z|x), nats: closer to −log p(x) than `neg_elbo`."""

    name = "neg_log_likelihood"
    needs = STOCHASTIC
    costly = True

    def __call__(self, reference: Reference, rows: Encoded) -> Tensor:
        return neg_importance_weighted(reference.model, rows, radial_nodes(WEIGHTED, reference.model.latent_dim))


@scores.register("kl")
class KullbackLeibler:
    """KL(q(z|x) ‖ π), nats: how far the row pulls its posterior from the prior."""

    name = "kl"
    needs = STOCHASTIC
    costly = False

    def __call__(self, reference: Reference, rows: Encoded) -> Tensor:
        return reference.model.posterior(rows).kl(reference.model.prior).sum(-1)


@scores.register("mu_norm")
class MeanNorm:
    """|μ| = (Σ μ_i²)^½, the Euclidean norm of the posterior mean (of z for a point latent)."""

    name = "mu_norm"
    needs = NOTHING
    costly = False

    def __call__(self, reference: Reference, rows: Encoded) -> Tensor:
        return reference.model.posterior(rows).mean.square().sum(-1).sqrt()


@dataclasses.dataclass(frozen=True)
class _Nearest:
    needs, costly = STORED, True
    space: ClassVar[str]
    #: Which nearest neighbour's distance counts (Ramaswamy, Rastogi, Shim 2000).
    k: Annotated[int, Ge(1), Le(1000)] = 5

    def __call__(self, reference: Reference, rows: Encoded) -> Tensor:
        return nearest(reference, rows, self.space, self.k)[0][..., -1].expand(*reference.model.lead, -1)


@scores.register("neighbours")
class Neighbours(_Nearest):
    """Distance to the k-th nearest stored training row in input space, standardised units; k is 5 unless said.

    d² is a sum over columns, each on a comparable scale: squared differences of standardised numbers, 2 − 2 cos Δ of
    angles, 2 for a boolean, a category, a filled slot or a missing cell that differs (`diabolo.detect.neighbours`).
    """

    name, space = "neighbours", "input"


@scores.register("neighbours_latent")
class LatentNeighbours(_Nearest):
    """Distance of the code to the k-th nearest code of a stored training row, in units of √(tr Σ / K) of the codes."""

    name, space = "neighbours_latent", "latent"


@scores.register("neighbours_residual")
class ResidualNeighbours(_Nearest):
    """Distance of the residual to the k-th nearest residual of a stored training row, typical residuals as units."""

    name, space = "neighbours_residual", "residual"


@scores.register("auto")
class Combined:
    """A detector's default: the mean of the two largest of several distances to stored rows, in common units.

    See `diabolo.detect.auto`.
    """

    name = "auto"
    needs = COMBINED
    costly = False

    def __call__(self, reference: Reference, rows: Encoded) -> Tensor:
        return combine(reference, rows).expand(*reference.model.lead, -1)


def score_of(name: str) -> Score:
    """The score of a name, or of a name and its k, like "neighbours:20".

    Raises:
        ConfigError: an unknown name, a k out of range, or of a score that takes none.
    """
    plain, colon, number = str(name).partition(":")
    return scores.create({"name": plain, "k": number} if colon else plain)


def applicable(reference: Reference) -> list[str]:
    """Names of the scores that there is all for that they need."""
    return [n for n in scores if scores.get(n).needs <= reference.offers]


def routine(reference: Reference, *asked: str) -> list[str]:
    """The scores that cost a pass or a few, and those asked for."""
    plain = [n for n in applicable(reference) if not scores.get(n).costly or n in asked]
    return [*plain, *(n for n in asked if ":" in n)]


def density(model: Model) -> str:
    """The score that is −log p(x) or nearest to it: the bound that was trained where there is one, else −log p(x|z)."""
    if not model.latent.stochastic:
        return "nll"
    return "neg_elbo" if model.config.bound == "elbo" else "neg_log_likelihood"


def automatic(reference: Reference) -> str:
    """The score behind "auto": the combined one where rows are stored, else that of the model alone.

    Rows of objects keep the bound of a Gaussian latent: the model has a law of how many objects of what kind there are,
    which distances between rows padded with zeros lack.
    """
    objects = bool(reference.model.encoding.schema.groups) and reference.model.latent.stochastic
    return "auto" if reference.offers >= COMBINED and not objects else density(reference.model)


#: What a score lacks, in words.
LACKING = {
    "stochastic": "needs a VAE; this model has a {latent} latent and",
    "stored": "needs training rows, which a detector keeps: fit an AnomalyDetector (no --only main); this model",
    "tail": "needs 20 rows that a detector keeps; this one has fewer, and",
}


def check_score(reference: Reference, name: str) -> None:
    """Refuse a score that does not exist, or that needs what is not there.

    Raises:
        ConfigError: with what is missing, and which scores there are.
    """
    if str(name).partition(":")[0] not in scores.names():
        raise ConfigError(f"unknown score {name!r}: {nearest_name(name, scores)}")
    lacking = sorted(score_of(name).needs - reference.offers)
    if lacking:
        words = LACKING[lacking[0]].format(latent=reference.model.latent.name)
        raise ConfigError(f"score {name!r} {words} gives {', '.join(applicable(reference))}")


def score_table(reference: Reference, values: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Score rows of a table in fixed padded tiles.

    A row's score does not depend on its company: every tile has the same number of rows, the last one
    padded. A row that cannot be scored is +inf, never normal.

    Args:
        reference: the model, and what a detector keeps beside it.
        values: [n, C] float32 or float64 in the schema's order, NaN where missing.
        names: scores to compute.

    Returns:
        Each score [n] float64 (leading member axes are averaged).

    Raises:
        ConfigError: an unknown score, or one that needs what the reference has not.
    """
    for name in names:
        check_score(reference, name)
    chosen = {n: score_of(n) for n in names}
    out = {n: np.empty(len(values), np.float64) for n in names}
    near = any("stored" in score.needs for score in chosen.values())
    with torch.inference_mode(), threads_for(TILE * reference.model.multiply_adds):
        for part, rows in tiled(reference, values, near):
            for name, score in chosen.items():
                value = score(reference, rows)
                if value.dim() > 1:
                    value = value.double().reshape(-1, TILE).mean(0)
                if rows.bad is not None:
                    value = torch.where(rows.bad, torch.inf, value)
                out[name][part] = value[: part.stop - part.start].numpy()
    for found in out.values():
        found[~np.isfinite(found)] = np.inf
    return out


def tiled(reference: Reference, values: np.ndarray, own: bool = False) -> Iterator[tuple[slice, Encoded]]:
    """Yield (slice, its rows as a tile of fixed size, the last one padded), each good until the next.

    Args:
        reference: whose model encodes.
        values: [n, C] float32 or float64 in the schema's order.
        own: whether rows are to know which of the stored rows they are.
    """
    table = torch.from_numpy(np.require(values, requirements=("C", "W")))
    memory = Memory(frozen=True)
    for part in tiles(len(values)):
        tile, size = table[part], part.stop - part.start
        if size < TILE:
            tile = torch.cat([tile, tile[-1:].expand(TILE - size, -1)])
        rows = reference.model.encoding.encode(tile, memory)
        if own and reference.stored is not None:
            rows.own = torch.from_numpy(reference.stored.positions(tile.numpy()))
        yield part, rows
