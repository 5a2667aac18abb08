"""Settings before a model is built: widths that were left open, parts and tensors that do not fit together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from diabolo.capacity import memory_limit
from diabolo.config import Config
from diabolo.errors import ConfigError
from diabolo.model.corruption import corruptions
from diabolo.model.latent import Latent, latents
from diabolo.model.masking import most_factors
from diabolo.model.networks import Shape, networks
from diabolo.model.prior import Prior
from diabolo.model.regularizer import Regularizer, regularizers
from diabolo.registry import spec_of

__all__ = ["check_parts", "check_room", "check_state", "resolve"]


def resolve(config: Config, columns: int, inputs: int, shape: Shape | None = None) -> Config:
    """Fill in settings that were left open: K as the latent has it, and widths."""
    latent_dim = config.latent_dim or latents.create(config.latent).default_dim(columns)
    hidden = config.hidden
    if hidden is None:
        hidden = networks.create(config.network).default_hidden(inputs, shape)
    settled = dataclasses.replace(config, latent_dim=latent_dim, hidden=tuple(hidden))
    if not corruptions.create(config.corruption).marks:
        return settled
    factors = most_factors(inputs, config.factors) if config.factors else 0
    code_dim = config.code_dim or max(latent_dim, min(160, max(64, columns + factors)))
    if code_dim < max(latent_dim, factors):
        raise ConfigError(
            f"code_dim = {code_dim}; it holds the latent's {latent_dim} axes and {factors} factors of the linear part: "
            f"allowed are numbers from {max(latent_dim, factors)} up"
        )
    return dataclasses.replace(settled, factors=factors, code_dim=code_dim)


def check_parts(config: Config, latent: Latent, prior: Prior, regularizer: Regularizer) -> None:
    """Refuse parts that do not fit together, or would have no effect.

    Raises:
        ConfigError: names the part and the setting that would fit.
    """
    if regularizer.needs_stochastic and not latent.stochastic:
        raise ConfigError(
            f"regularizer {regularizer.name!r} needs a latent with a width: set latent='gaussian', "
            "or take regularizer 'prior' or 'lp' for a point latent"
        )
    void = regularizer.void(prior, config.code_scale == "rms")
    if void:
        raise ConfigError(f"regularizer {regularizer.name!r} would have no effect: {void}")
    if regularizer.name == "none" and config.beta not in (0.0, 1.0):
        raise ConfigError(
            f"beta = {config.beta:g} weighs a regularizer, and there is none: for few active dimensions set "
            "regularizer='prior' and prior='laplace' (L1), or leave beta out"
        )
    if config.draws > 1 and not latent.stochastic:
        raise ConfigError(f"draws = {config.draws} needs latent='gaussian'; a point latent has one value")
    _check_masking(config, latent, regularizer)
    if config.bound == "elbo":
        if config.bound_after:
            raise ConfigError(
                f"bound_after = {config.bound_after} waits for a bound beyond the ELBO: set bound='iwae' or 'dreg'"
            )
        return
    if config.epochs is not None and config.bound_after >= config.epochs:
        raise ConfigError(f"bound_after = {config.bound_after} leaves {config.bound!r} none of {config.epochs} epochs")
    if not latent.stochastic or regularizer != regularizers.create("kl") or config.beta == 0:
        raise ConfigError(
            f"bound {config.bound!r} weighs draws by p(x|z) (π(z)/q(z|x))^beta: it needs latent='gaussian', "
            f"regularizer='kl' without free_bits and beta > 0 (method vae); got latent={latent.name!r}, "
            f"regularizer={spec_of(regularizer)!r}, beta={config.beta:g}"
        )


def _check_masking(config: Config, latent: Latent, regularizer: Regularizer) -> None:
    """Refuse settings of hidden cells without them, and parts that hidden cells do not go with."""
    if not corruptions.create(config.corruption).marks:
        for name, value in (("nested", config.nested), ("code_dim", config.code_dim), ("factors", config.factors)):
            if value:
                raise ConfigError(
                    f"{name} = {value} is of a masked autoencoder: take method masked, or corruption "
                    "{'name': 'mask', 'rate': 'any'}; or leave it out"
                )
        return
    if latent.limits:
        raise ConfigError(
            f"latent {latent.name!r} does not go with corruption 'mask' of rate 'any': a code of few cells has no axes "
            "to spare; take latent 'point' or 'gaussian'"
        )
    if regularizer.scaled:
        raise ConfigError(
            f"regularizer {regularizer.name!r} measures codes by the decoder's weights, and beside them a masked "
            "autoencoder has its linear part: take latent='gaussian' with regularizer='kl', or none"
        )
    if config.bound != "elbo" or config.draws > 1:
        raise ConfigError(
            f"bound = {config.bound!r}, draws = {config.draws}: a masked autoencoder takes one draw of its code; "
            "leave both out"
        )


def check_state(state: Mapping[str, np.ndarray], shapes: dict[str, tuple[int, ...]]) -> None:
    """Compare a file's tensors with those that the config implies, before any is allocated."""
    if set(state) != set(shapes):
        odd = sorted(set(state) ^ set(shapes))[0]
        raise ConfigError(f"tensor {odd!r} is {'left over' if odd in state else 'missing'}")
    for name, shape in shapes.items():
        array = state[name]
        if array.shape != shape or array.dtype != np.float32:
            raise ConfigError(f"tensor {name!r} has shape {list(array.shape)}; the config implies {list(shape)} F32")
        if not np.isfinite(array).all():
            raise ConfigError(f"tensor {name!r} has a number that is not finite")


def check_room(config: Config, parameters: int, members: int) -> None:
    """Refuse a model whose training this machine has no memory for: values, gradients, two moments, the best so far."""
    k, limit = config.latent_dim or 0, memory_limit()
    needed = 4 * members * (5 * parameters + 4 * k * k)
    if limit is not None and needed > limit:
        raise ConfigError(
            f"latent_dim = {k:,} and hidden = {list(config.hidden or ())} make {parameters:,} parameters and codes' "
            f"covariances of {k:,} × {k:,}, some {needed / 1e9:,.0f} GB while it is fitted; there are "
            f"{limit / 1e9:,.0f} GB: choose a smaller latent_dim or hidden"
        )
