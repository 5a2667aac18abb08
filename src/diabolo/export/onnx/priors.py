"""Priors as operations: KL(q(z|x) ‖ π) and log π(z), one pair for each."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from diabolo.errors import ConfigError
from diabolo.export.onnx.graph import Graph, ints
from diabolo.model.autoencoder import Model
from diabolo.model.prior import HALF_LOG_2PI

__all__ = ["PRIORS", "divergence", "log_density"]


def divergence(g: Graph, model: Model, mean: str, log_var: str) -> str:
    """KL(q ‖ π), [n, K] or its sum [n, 1]."""
    return _of(model)[0](g, model, mean, log_var)


def log_density(g: Graph, model: Model, z: str) -> str:
    """log π(z), [n, K] or its sum [n, 1]."""
    return _of(model)[1](g, model, z)


def _of(model: Model) -> tuple[Callable[..., str], Callable[..., str]]:
    if model.prior.name not in PRIORS:
        raise ConfigError(
            f"the prior {model.prior.name!r} has no form in ONNX; those that have one: {', '.join(PRIORS)}"
        )
    return PRIORS[model.prior.name]


def _normal_kl(g: Graph, model: Model, mean: str, log_var: str) -> str:
    square = g.op("Add", g.op("Mul", mean, mean), g.op("Exp", log_var))
    return g.op("Mul", g.op("Sub", g.op("Sub", square, log_var), 1.0), 0.5)


def _normal(g: Graph, model: Model, z: str) -> str:
    return g.op("Sub", g.op("Mul", g.op("Mul", z, z), -0.5), float(HALF_LOG_2PI))


def _laplace_kl(g: Graph, model: Model, mean: str, log_var: str) -> str:
    rate = float(getattr(model.prior, "rate", 1.0))
    sigma = g.op("Exp", g.op("Mul", log_var, 0.5))
    ratio = g.op("Div", mean, g.op("Mul", sigma, math.sqrt(2)))
    tail = g.op("Exp", g.op("Neg", g.op("Mul", ratio, ratio)))
    size = g.op("Mul", g.op("Mul", sigma, math.sqrt(2 / math.pi)), tail)
    size = g.op("Add", size, g.op("Mul", mean, g.op("Erf", ratio)))
    entropy = g.op("Add", g.op("Mul", log_var, 0.5), float(HALF_LOG_2PI + 0.5))
    return g.op("Sub", g.op("Sub", g.op("Mul", size, rate), math.log(rate / 2)), entropy)


def _laplace(g: Graph, model: Model, z: str) -> str:
    rate = float(getattr(model.prior, "rate", 1.0))
    return g.op("Sub", math.log(rate / 2), g.op("Mul", g.op("Abs", z), rate))


def _components(model: Model) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log w [1, C], means and log variances [1, C, K]."""
    prior: Any = model.prior
    log_w, means, log_vars = prior.parameters(model.latent_dim)
    return log_w.detach().numpy(), means.detach().numpy(), log_vars.detach().numpy()


def _mixture_kl(g: Graph, model: Model, mean: str, log_var: str) -> str:
    """Σ_c γ_c KL_c + KL(γ ‖ w) with γ_c ∝ w_c e^(−KL_c) is −log Σ_c w_c e^(−KL_c)."""
    log_w, means, log_vars = _components(model)
    gap = g.op("Sub", g.op("Unsqueeze", mean, ints(1)), means)
    wide = g.op("Unsqueeze", log_var, ints(1))
    spread = g.op("Mul", g.op("Add", g.op("Mul", gap, gap), g.op("Exp", wide)), np.exp(-log_vars))
    each = g.op("Mul", g.op("Sub", g.op("Add", spread, log_vars - 1), wide), 0.5)
    kl = g.total(each, keep=False, axis=2)
    return g.op("Neg", g.op("ReduceLogSumExp", g.op("Sub", log_w, kl), ints(1), keepdims=1))


def _mixture(g: Graph, model: Model, z: str) -> str:
    log_w, means, log_vars = _components(model)
    gap = g.op("Sub", g.op("Unsqueeze", z, ints(1)), means)
    square = g.op("Add", g.op("Mul", g.op("Mul", gap, gap), np.exp(-log_vars)), log_vars)
    each = g.op("Sub", g.op("Mul", square, -0.5), float(HALF_LOG_2PI))
    joint = g.op("Add", g.total(each, keep=False, axis=2), log_w)
    return g.op("ReduceLogSumExp", joint, ints(1), keepdims=1)


#: KL and log density of each prior.
PRIORS: dict[str, tuple[Callable[..., str], Callable[..., str]]] = {
    "normal": (_normal_kl, _normal),
    "laplace": (_laplace_kl, _laplace),
    "mixture": (_mixture_kl, _mixture),
}
