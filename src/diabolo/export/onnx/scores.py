"""Scores as operations: one emitter for each, and a refusal with its reason for those that have none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from diabolo.detect.pictures import Pictures
from diabolo.detect.reference import Reference
from diabolo.detect.scores.auto import views_of
from diabolo.detect.scores.error import LEVELS
from diabolo.detect.scores.latent import RIDGE
from diabolo.detect.scores.likelihood import NODES, WEIGHTED
from diabolo.errors import ConfigError
from diabolo.export.onnx.costs import column_error, row_nll
from diabolo.export.onnx.distances import distance_score
from diabolo.export.onnx.encoding import Row
from diabolo.export.onnx.graph import DOUBLE, Graph, ints
from diabolo.export.onnx.network import code, decoded, posterior
from diabolo.export.onnx.pictures import picture_score
from diabolo.export.onnx.priors import divergence, log_density
from diabolo.model.autoencoder import Model
from diabolo.model.nodes import quadratic_nodes, radial_nodes
from diabolo.model.prior import HALF_LOG_2PI

__all__ = ["REFUSED", "SCORES", "score_value"]

#: Scores without a form in ONNX, and why.
REFUSED = {
    "profile": "searches the best code of each row by gradients",
    "neighbours": "compares a row with every stored one, and no shortlist is exact",
    "neighbours_latent": "compares a row with every stored one, and no shortlist is exact",
    "neighbours_residual": "compares a row with every stored one, and no shortlist is exact",
}


def score_value(g: Graph, reference: Reference, name: str, row: Row) -> str:
    """A score [n] or [n, 1], by its name.

    Raises:
        ConfigError: a score or a part of the model without a form in ONNX; names it.
    """
    plain = name.partition(":")[0]
    if plain not in SCORES:
        why = REFUSED.get(plain, "is registered outside diabolo, which knows no operations for it")
        raise ConfigError(f"score {name!r} {why}, and has no form in ONNX; those that have one: {', '.join(SCORES)}")
    return SCORES[plain](g, reference, row)


def _auto(g: Graph, reference: Reference, row: Row) -> str:
    views = views_of(reference)
    if reference.stored is None:
        raise ConfigError("the score auto needs stored rows, and this file has none")
    if isinstance(views, Pictures):
        return picture_score(g, views, reference.stored, row)
    return distance_score(g, reference.model.encoding, views, reference.stored, row)


def _reconstructed(g: Graph, reference: Reference, row: Row) -> str:
    return decoded(g, reference.model, code(g, reference.model, row.x))


def _nll(g: Graph, reference: Reference, row: Row) -> str:
    return row_nll(g, reference.model, row, _reconstructed(g, reference, row))


def _mean(g: Graph, columns: str) -> str:
    return g.op("ReduceMean", columns, ints(1), keepdims=1)


def _mse(g: Graph, reference: Reference, row: Row) -> str:
    return _mean(g, column_error(g, reference.model, row, _reconstructed(g, reference, row)))


def _mae(g: Graph, reference: Reference, row: Row) -> str:
    error = column_error(g, reference.model, row, _reconstructed(g, reference, row))
    return _mean(g, g.op("Sqrt", g.op("Max", error, 0.0)))


def _mu_norm(g: Graph, reference: Reference, row: Row) -> str:
    return g.op("ReduceL2", code(g, reference.model, row.x), ints(1), keepdims=1)


def _mahalanobis(g: Graph, reference: Reference, row: Row) -> str:
    buffers = reference.model.buffers
    covariance = buffers["latent_cov"].double()
    ridge = RIDGE * covariance.diagonal().mean().clamp_min(1e-12)
    root = torch.linalg.cholesky(covariance + ridge * torch.eye(covariance.shape[-1], dtype=torch.float64))
    inverse = torch.linalg.inv(root).T.contiguous().numpy()
    z = g.cast(code(g, reference.model, row.x), DOUBLE)
    white = g.op("MatMul", g.op("Sub", z, buffers["latent_mean"].double().numpy()[None]), inverse)
    return g.op("Sqrt", g.total(g.op("Mul", white, white)))


def _kl(g: Graph, reference: Reference, row: Row) -> str:
    mean, log_var = posterior(g, reference.model, row.x)
    return g.total(divergence(g, reference.model, mean, str(log_var)))


# ── several decodings of a row ────────────────────────────────────────────────────────────────────


def _spread(g: Graph, value: str, count: int) -> str:
    """Rows [n, ·] so many times one after the other, [count n, ·]."""
    return value if count == 1 else g.op("Concat", *[value] * count, axis=0)


def _times(g: Graph, row: Row, count: int) -> Row:
    changed = None if row.changed is None else _spread(g, row.changed, count)
    x, present, missing = (_spread(g, value, count) for value in (row.x, row.present, row.missing))
    return Row(x, present, missing, changed, row.good, row.flag)


def _at_nodes(g: Graph, mean: str, log_var: str, nodes: np.ndarray) -> str:
    """Codes [count n, K] at mean + σ ε for each node ε."""
    std = g.op("Unsqueeze", g.op("Exp", g.op("Mul", log_var, 0.5)), ints(0))
    z = g.op("Add", g.op("Unsqueeze", mean, ints(0)), g.op("Mul", std, nodes[:, None]))
    return g.op("Reshape", z, ints(-1, nodes.shape[1]))


def _neg_elbo(g: Graph, reference: Reference, row: Row) -> str:
    model = reference.model
    nodes = quadratic_nodes(NODES, model.latent_dim).numpy()
    mean, log_var = posterior(g, model, row.x)
    theta = decoded(g, model, _at_nodes(g, mean, str(log_var), nodes))
    cost = row_nll(g, model, _times(g, row, NODES), theta)
    each = g.op("ReduceMean", g.op("Reshape", cost, ints(NODES, -1, 1)), ints(0), keepdims=0)
    return g.op("Add", each, g.total(divergence(g, model, mean, str(log_var))))


def _neg_log_likelihood(g: Graph, reference: Reference, row: Row) -> str:
    model = reference.model
    nodes = radial_nodes(WEIGHTED, model.latent_dim).numpy()
    mean, log_var = posterior(g, model, row.x)
    z = _at_nodes(g, mean, str(log_var), nodes)
    cost = row_nll(g, model, _times(g, row, WEIGHTED), decoded(g, model, z))
    wide = _spread(g, str(log_var), WEIGHTED)
    gap = g.op("Sub", z, _spread(g, mean, WEIGHTED))
    scaled = g.op("Mul", g.op("Mul", gap, gap), g.op("Exp", g.op("Neg", wide)))
    log_q = g.op("Sub", g.op("Mul", g.op("Add", scaled, wide), -0.5), float(HALF_LOG_2PI))
    log_w = g.op("Sub", g.op("Sub", g.total(log_density(g, model, z)), g.total(log_q)), cost)
    apart = g.op("Reshape", log_w, ints(WEIGHTED, -1, 1))
    return g.op("Sub", float(np.log(WEIGHTED)), g.op("ReduceLogSumExp", apart, ints(0), keepdims=0))


def _denoise(g: Graph, reference: Reference, row: Row) -> str:
    model: Model = reference.model
    e = model.encoding
    noise = torch.zeros(len(LEVELS), e.width)
    noise[:, : e.continuous].normal_(generator=torch.Generator().manual_seed(0))
    steps = np.concatenate(
        [sign * sigma * node[None].numpy() for sigma, node in zip(LEVELS, noise, strict=True) for sign in (1, -1)]
    )
    clip = float(e.clip)
    clean = g.op("Unsqueeze", g.op("Clip", row.x, -clip, clip), ints(0))
    noisy = g.op("Reshape", g.op("Add", clean, steps[:, None].astype(np.float32)), ints(-1, e.width))
    theta = decoded(g, model, code(g, model, noisy, clipped=True))
    error = _mean(g, column_error(g, model, _times(g, row, len(steps)), theta))
    return g.op("ReduceMean", g.op("Reshape", error, ints(len(steps), -1, 1)), ints(0), keepdims=0)


#: One emitter for each score that has a form.
SCORES: dict[str, Callable[[Graph, Reference, Row], str]] = {
    "auto": _auto,
    "nll": _nll,
    "mse": _mse,
    "mae": _mae,
    "mu_norm": _mu_norm,
    "kl": _kl,
    "mahalanobis": _mahalanobis,
    "neg_elbo": _neg_elbo,
    "neg_log_likelihood": _neg_log_likelihood,
    "denoise": _denoise,
}
