"""Codes of rows, and rows of codes, in fixed tiles: a row's numbers never depend on the rows beside it."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from diabolo.data.encoding import Encoded
from diabolo.data.tiles import padded
from diabolo.errors import ConfigError, DataError
from diabolo.model.autoencoder import Model
from diabolo.model.latent import Posterior, latents

__all__ = ["Codes", "check_width", "decoded", "encoded", "unreadable", "without_code"]


@dataclasses.dataclass
class Codes:
    """q(z|x) of n rows; NaN for a row that cannot be encoded."""

    mean: np.ndarray  #: [n, K] μ(x)
    std: np.ndarray | None  #: [n, K] σ(x), where it was asked for


def check_width(model: Model) -> None:
    """Refuse to look for σ(x) where q(z|x) is a point.

    Raises:
        ConfigError: names the latents that have a width.
    """
    if not model.latent.stochastic:
        wide = " or ".join(f"latent={name!r}" for name in latents if latents.get(name).stochastic)
        raise ConfigError(
            f"latent {model.latent.name!r} gives each row a point z, so q(z|x) has no σ(x); "
            f"{wide} has one (method vae, VariationalAutoencoder)"
        )


def encoded(model: Model, values: np.ndarray, std: bool = False) -> Codes:
    """q(z|x) of rows [n, C] in the schema's order, in their float type.

    A row with an infinite cell, one that overflows, or no cell at all has no code: the encoder would see the average
    row in its place.

    Args:
        std: σ(x) too.

    Raises:
        ConfigError: σ(x) of a point latent.
    """
    if std:
        check_width(model)
    shape = (len(values), model.latent_dim)
    out = Codes(np.empty(shape, values.dtype), np.empty(shape, values.dtype) if std else None)
    with torch.inference_mode():
        for part, tile in padded(values):
            rows, size = model.encoding.encode(tile), part.stop - part.start
            posterior = model.posterior(rows)
            out.mean[part] = posterior.mean[:size].numpy()
            if out.std is not None:
                out.std[part] = posterior.std[:size].numpy()
            none = without_code(rows, posterior)[:size].numpy()
            out.mean[part][none] = np.nan
            if out.std is not None:
                out.std[part][none] = np.nan
    return out


def decoded(model: Model, codes: np.ndarray) -> np.ndarray:
    """E[x|z] of codes [n, K], [n, C] float64 in the schema's order; NaN for a code that is not finite.

    A model that nests its axes decodes the k leading ones alone too, [n, k].

    Raises:
        DataError: codes of another width.
    """
    fewer = model.config.nested > 0 and 1 <= codes.shape[1] < model.latent_dim
    if codes.shape[1] != model.latent_dim and not fewer:
        raise DataError(f"codes have {codes.shape[1]} columns; this model's latent has {model.latent_dim}")
    z = _single(codes)
    out = np.empty((len(z), len(model.encoding.schema.columns)))
    with torch.inference_mode():
        for part, tile in padded(z):
            out[part] = model.mean_values(model.decode(tile))[: part.stop - part.start].numpy()
    # A category is the largest of its numbers, and would come out of NaN too.
    out[unreadable(codes)] = np.nan
    return out


def unreadable(codes: np.ndarray) -> np.ndarray:
    """Which codes [n, K] are none, [n] bool: a number of theirs is missing, or infinite in single precision."""
    return np.asarray(~np.isfinite(_single(codes)).all(axis=1))


def without_code(rows: Encoded, posterior: Posterior) -> torch.Tensor:
    """Which rows cannot be encoded, [n] bool."""
    none = ~posterior.mean.isfinite().all(dim=-1)
    return none if rows.bad is None else none | rows.bad


def _single(codes: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.asarray(codes, np.float32)
