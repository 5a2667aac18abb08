"""Scores in nats: −log p(x|z) at the posterior mean, and bounds of −log p(x)."""

from __future__ import annotations

from torch import Tensor

from diabolo.data.encoding import Encoded
from diabolo.data.tiles import SMALL
from diabolo.detect.reference import Reference
from diabolo.detect.scores.base import ByColumn, Score, mean_theta, scores
from diabolo.model.chain import chain_nll, orders_of
from diabolo.model.nodes import quadratic_nodes, radial_nodes
from diabolo.model.objective import neg_elbo, neg_importance_weighted

__all__ = ["NODES", "WEIGHTED"]

#: Nodes behind an expectation over q(z|x), which is exact for a quadratic in z of up to half as many dimensions.
NODES = 16
#: Nodes behind an importance-weighted mean.
WEIGHTED = 64
#: Orders of the columns behind a masked autoencoder's density.
ORDERS = 2


@scores.register("nll")
class NegativeLogLikelihood(ByColumn):
    """−log p(x|z) at the posterior mean, nats, a density in original units; −log p(x) of a masked autoencoder.

    That knows every column given others, and its density is the chain rule's, by an order and its reverse.
    """

    def tile(self, reference: Reference) -> int | None:
        return SMALL if reference.model.masking is not None and not reference.model.lead else None

    def columns(self, reference: Reference, rows: Encoded) -> Tensor:
        if reference.model.masking is not None and not reference.model.lead:
            return chain_nll(reference.model, rows, orders_of(reference.model, ORDERS))
        return reference.model.column_nll(mean_theta(reference.model, rows), rows)

    def __call__(self, reference: Reference, rows: Encoded) -> Tensor:
        if reference.model.masking is not None:
            return self.columns(reference, rows).sum(-1)
        return reference.model.row_nll(mean_theta(reference.model, rows), rows)


@scores.register("neg_elbo")
class NegativeElbo(Score):
    """E_q[−log p(x|z)] + KL(q(z|x) ‖ π), nats: an upper bound of −log p(x), estimated by 16 fixed nodes."""

    needs = frozenset({"stochastic"})
    costly = True

    def __call__(self, reference: Reference, rows: Encoded) -> Tensor:
        model = reference.model
        nodes = model.fixed("quadratic", rows.x.device, lambda: quadratic_nodes(NODES, model.latent_dim))
        return neg_elbo(model, rows, nodes)


@scores.register("neg_log_likelihood")
class NegativeLogEvidence(Score):
    """−log of the mean of 64 importance weights p(x, z)/q(z|x), nats: closer to −log p(x) than `neg_elbo`."""

    needs = frozenset({"stochastic"})
    costly = True

    def __call__(self, reference: Reference, rows: Encoded) -> Tensor:
        model = reference.model
        nodes = model.fixed("radial", rows.x.device, lambda: radial_nodes(WEIGHTED, model.latent_dim))
        return neg_importance_weighted(model, rows, nodes)
