"""Rows drawn from a sampler, and how far they are from real ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from diabolo.data.encoding import Encoding
from diabolo.data.hashing import hash_rows
from diabolo.errors import ConfigError, DataError
from diabolo.fitted.record import scorable
from diabolo.generate.fidelity import Fidelity, fidelity_of
from diabolo.generate.given import given_cells
from diabolo.generate.methods import Sampler, automatic_method, methods
from diabolo.registry import Spec

__all__ = ["draw", "judge"]

#: Rows drawn at once.
PIECE = 65_536


def draw(
    sampler: Sampler,
    n: int,
    seed: int,
    mean: bool = False,
    method: Spec = "auto",
    given: Mapping[str, Any] | None = None,
) -> np.ndarray:
    """The cells of n rows, [n, C] float64 in the schema's order and levels; see `Autoencoder.sample`."""
    if not isinstance(n, (int, np.integer)) or n < 1:
        raise ConfigError(f"n = {n!r}; allowed are whole numbers from 1 up")
    generator = torch.Generator().manual_seed(seed)
    encoding = sampler.model.encoding
    part = methods.create(automatic_method(sampler, mean) if method == "auto" else method)
    conditions = given_cells(encoding.schema, given)
    out = np.empty((n, len(encoding.schema.columns)))
    for start in range(0, n, PIECE):
        piece = slice(start, min(start + PIECE, n))
        out[piece] = part.draw(sampler, piece.stop - start, conditions, generator, mean)
    if not mean:
        _leave_out(encoding, out, conditions, generator)
    return _rounded(encoding, out)


def _leave_out(encoding: Encoding, values: np.ndarray, given: Mapping[int, float], generator: torch.Generator) -> None:
    """Leave out cells of constants as often as in training rows; no method draws them."""
    for i in encoding.gappy:
        if i not in given:
            drawn = torch.rand(len(values), generator=generator, dtype=torch.float64).numpy()
            values[drawn < encoding.schema.columns[i].missing, i] = np.nan


def _rounded(encoding: Encoding, values: np.ndarray) -> np.ndarray:
    """Put draws of rounded columns back on their grid, ordinals on their values."""
    for i, column in enumerate(encoding.schema.columns):
        if column.kind == "ordinal":
            levels = encoding.level_values(i).numpy()
            at = np.abs(values[:, i, None] - levels).argmin(axis=1)
            values[:, i] = np.where(np.isnan(values[:, i]), np.nan, levels[at])
        if column.resolution > 0 and column.kind in ("real", "integer", "count", "angle"):
            # By division: 3 · 0.1 is not the number that is written 0.3.
            steps = np.round(1 / column.resolution)
            values[:, i] = np.round(values[:, i] * steps) / steps
    return values


def judge(
    sampler: Sampler, known: np.ndarray | None, values: np.ndarray, n: int, seed: int, method: Spec = "auto"
) -> Fidelity:
    """Draw rows, and compare them with those of the rows [m, C] that the autoencoder was not fitted on.

    Args:
        known: hashes of the rows that it was fitted on; None where they are not known.
        values: real rows in the schema's order and levels.
        n: rows to draw, at most as many as there are real ones.
        seed: of draws, folds and classifier.
        method: as for `Autoencoder.sample`.

    Raises:
        DataError: fewer than ten rows are new to the autoencoder.
    """
    real = values if known is None else values[~np.isin(hash_rows(values), known)]
    # A row that cannot be scored, as one with an infinite cell, is like no draw and has no distance.
    real = real[scorable(sampler.model.encoding, real)]
    if len(real) < 10:
        raise DataError(
            f"{len(real)} of {len(values):,} rows are new to the model; at least 10 are needed to judge drawn rows: "
            "give rows that it was not fitted on"
        )
    drawn = draw(sampler, min(n, len(real)), seed, method=method)
    return fidelity_of(real, drawn, sampler.model.encoding.schema, sampler.rows, seed)
