"""Rows from codes by the decoder: x ~ p(x|z), and codes given the values of some columns."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from diabolo.data.encoding import SCALED
from diabolo.errors import DataError
from diabolo.generate.given import words_of
from diabolo.model.autoencoder import Model
from diabolo.model.likelihood import likelihoods

__all__ = ["decoded_rows", "given_codes", "with_noise", "within"]

#: Codes decoded at once; candidates for each row, in all at least and at most; fewest left in effect.
PIECE, EACH, FEWEST, MOST, LEFT = 16_384, 50, 20_000, 1_000_000, 20.0


def with_noise(model: Model) -> Model:
    """The model with its squared error read as a Gaussian of the σ that stop rows show.

    A fixed σ of a point latent is only a unit of the loss: its maximum-likelihood value is the root mean square error.
    """
    if model.latent.stochastic:
        return model
    out, heads, own = copy.copy(model), [], []
    for head, parameters in zip(model.heads, model.own, strict=True):
        if head.likelihood.name == "gaussian" and isinstance(getattr(head.likelihood, "sigma", None), float):
            error = model.buffers["typical_squared_error"][..., list(head.block.columns)]
            head = dataclasses.replace(head, likelihood=likelihoods.create({"name": "gaussian", "sigma": "learned"}))
            parameters = {"log_sigma": 0.5 * error.clamp_min(1e-12).log()}
        heads.append(head)
        own.append(parameters)
    out.heads, out.own = heads, own
    return out


def decoded_rows(model: Model, codes: np.ndarray, generator: torch.Generator, mean: bool) -> np.ndarray:
    """x ~ p(x|z), or E[x|z] with `mean`, for codes [n, K]: [n, C] float64, within the range of training values."""
    out = np.empty((len(codes), len(model.encoding.schema.columns)))
    with torch.inference_mode():
        for part, theta in _decoded(model, codes):
            drawn = model.mean_values(theta) if mean else model.sample_values(theta, generator)
            out[part] = drawn.numpy()
    return out if mean else within(model, out)


def _decoded(model: Model, codes: np.ndarray) -> list[tuple[slice, Tensor]]:
    parts = (slice(i, min(i + PIECE, len(codes))) for i in range(0, len(codes), PIECE))
    return [(p, model.decode(torch.from_numpy(codes[p].astype(np.float32)))) for p in parts]


def within(model: Model, rows: np.ndarray) -> np.ndarray:
    """Numbers outside the range of training values, moved to its end; empty slots stay empty."""
    schema = model.encoding.schema
    grouped = {c for group in schema.groups for slot in group.slots for c in slot}
    for i, column in enumerate(schema.columns):
        if column.kind in SCALED or column.kind == "date":
            cell = rows[:, i].clip(column.low, column.high)
            rows[:, i] = np.where(rows[:, i] == 0, 0.0, cell) if i in grouped else cell
    return rows


def given_codes(
    model: Model,
    draw: Callable[[int], np.ndarray],
    n: int,
    given: Mapping[int, float],
    rng: np.random.Generator,
) -> np.ndarray:
    """Codes [n, K] from p(z | given) ∝ p(z) Π_c p(x_c|z), by importance resampling (Rubin 1988).

    Args:
        model: of the columns.
        draw: gives codes [m, K] from p(z).
        n: codes wanted.
        given: values by column.
        rng: of the resampling.

    Raises:
        DataError: fewer than twenty of the candidates are left in effect.
    """
    m = min(max(EACH * n, FEWEST), MOST)
    codes = draw(m)
    log_weight = np.empty(m)
    row = model.encoding.encode(_row(model, given))
    with torch.inference_mode():
        for part, theta in _decoded(model, codes):
            some = row.rows(torch.zeros(len(theta), dtype=torch.int64))
            log_weight[part] = -model.column_nll(theta, some)[:, list(given)].double().sum(-1).numpy()
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    left = 1 / float((weight**2).sum())
    if not left >= LEFT:
        names = words_of(model.encoding.schema, given)
        raise DataError(
            f"given {names}: of {m:,} codes that were tried, {left:.1f} are left in effect; such rows are too rare for "
            "this method, which needs 20: give less, or take method 'trees'"
        )
    return np.asarray(codes[rng.choice(m, n, p=weight)])


def _row(model: Model, given: Mapping[int, float]) -> Tensor:
    """One row with the cells given; its other cells do not matter."""
    columns = model.encoding.schema.columns
    cells = [given.get(i, c.low) for i, c in enumerate(columns)]
    return torch.tensor([cells], dtype=torch.float64)
