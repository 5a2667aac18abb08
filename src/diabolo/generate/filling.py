"""Rows reconstructed from their codes, all cells or the missing ones alone."""

from __future__ import annotations

import numpy as np
import torch

from diabolo.data.encoding import Encoded
from diabolo.data.tiles import padded
from diabolo.errors import ConfigError
from diabolo.model.autoencoder import Model
from diabolo.model.codes import without_code
from diabolo.model.objective import imputed

__all__ = ["reconstructed"]

#: Rows filled in at once: each of them is computed at many nodes.
PIECE = 256


def reconstructed(
    model: Model, values: np.ndarray, draws: int | None, generator: torch.Generator, only_missing: bool = False
) -> np.ndarray:
    """Rows [n, C] reconstructed, [draws or 1, n, C] float64; see `Autoencoder.reconstruct`.

    Args:
        values: rows in the schema's order.
        draws: outputs for each row; None for the mean alone.
        generator: of the draws; a tile takes as much of it however full it is.
        only_missing: leave the cells that are there as they are.

    Raises:
        ConfigError: draws is not a whole number from 1 up.
    """
    if draws is not None and (not isinstance(draws, (int, np.integer)) or draws < 1):
        raise ConfigError(f"draws = {draws!r}; allowed are whole numbers from 1 up, or None for the mean")
    out = np.empty((draws or 1, *values.shape))
    with torch.inference_mode():
        for part, tile in padded(values):
            rows, size = model.encoding.encode(tile), part.stop - part.start
            posterior = model.posterior(rows)
            if draws is None:
                theta = _imputed(model, rows) if only_missing else model.decode(posterior.mean)
                out[0, part] = model.mean_values(theta)[:size].numpy()
            for k in range(draws or 0):
                theta = model.decode(posterior.sample(1, generator))
                out[k, part] = model.sample_values(theta, generator, fill=only_missing)[:size].numpy()
            if not only_missing:
                out[:, part][:, without_code(rows, posterior)[:size].numpy()] = np.nan
    return np.where(np.isnan(values), out, values) if only_missing else out


def _imputed(model: Model, rows: Encoded) -> torch.Tensor:
    parts = [imputed(model, rows.rows(slice(i, i + PIECE))) for i in range(0, len(rows), PIECE)]
    return torch.cat(parts, dim=-2)
