"""Rows reconstructed from their codes, and missing cells filled in from those that are there."""

from __future__ import annotations

import numpy as np
import torch

from diabolo.data.encoding import LIMIT, Encoding
from diabolo.data.tiles import TILE, padded, tiles
from diabolo.errors import ConfigError
from diabolo.generate.decoding import with_noise, within
from diabolo.model.autoencoder import Model
from diabolo.model.codes import without_code
from diabolo.model.conditional import conditional, rows_at_once
from diabolo.model.sequential import fill_draw, fill_theta

__all__ = ["check_draws", "filled", "filled_in_words", "reconstructed"]


def reconstructed(model: Model, values: np.ndarray, draws: int | None, generator: torch.Generator) -> np.ndarray:
    """Rows [n, C] reconstructed, [draws or 1, n, C] float64; see `Autoencoder.reconstruct`.

    Args:
        values: rows in the schema's order.
        draws: outputs for each row; None for the mean alone.
        generator: of the draws; a tile takes as much of it however full it is.

    Raises:
        ConfigError: draws is not a whole number from 1 up.
    """
    check_draws(draws)
    out = np.empty((draws or 1, *values.shape))
    with torch.inference_mode():
        for part, tile in padded(values):
            rows, size = model.encoding.encode(tile), part.stop - part.start
            posterior = model.posterior(rows)
            if draws is None:
                out[0, part] = model.mean_values(model.decode(posterior.mean))[:size].numpy()
            for k in range(draws or 0):
                theta = model.decode(posterior.sample(1, generator))
                out[k, part] = model.sample_values(theta, generator)[:size].numpy()
            out[:, part][:, without_code(rows, posterior)[:size].numpy()] = np.nan
    return out


def check_draws(draws: int | None) -> None:
    """Refuse a number of draws that is none.

    Raises:
        ConfigError: it is not a whole number from 1 up.
    """
    if draws is not None and (not isinstance(draws, (int, np.integer)) or draws < 1):
        raise ConfigError(f"draws = {draws!r}; allowed are whole numbers from 1 up, or None for the mean")


def filled(model: Model, values: np.ndarray, draws: int | None, seed: int, first: int = 0) -> np.ndarray:
    """Rows [n, C] with their missing cells filled in, [draws or 1, n, C] float64; all other cells stay as they are.

    The mean is E[x|x_seen], of a category the most likely level; a draw is one of p(x|x_seen). Both lie within the
    range of training values. A constant becomes its constant; a column that no training row has stays missing.

    Args:
        model: of any latent.
        values: rows in the schema's order.
        draws: outputs for each row, multiple imputations; None for the mean alone.
        seed: of the draws. A row's draws depend on it, and on its tile: rows that begin at a multiple of 4,096.
        first: position of the first row in its table, a multiple of 4,096.

    Raises:
        ConfigError: draws is not a whole number from 1 up, or the latent is too wide.
    """
    check_draws(draws)
    out = np.repeat(values[None].astype(np.float64), draws or 1, axis=0)
    law = _Law(model)
    for part in tiles(len(values)):
        gone = np.isnan(values[part])
        at = np.flatnonzero(gone.any(axis=1))
        generator = torch.Generator().manual_seed(_tile_seed(seed, (first + part.start) // TILE))
        for start in range(0, len(at), law.piece):
            some = at[start : start + law.piece]
            cells = law.cells(values[part][some], draws, generator)
            for k, cell in enumerate(cells):
                out[k, part.start + some] = np.where(gone[some], cell, out[k, part.start + some])
    return out


def filled_in_words(draws: int | None) -> str:
    """How cells are filled in, for a person."""
    if draws is None:
        return "by the mean given the row's other cells, of categories by the most likely level"
    return f"by {draws} draw{'s' if draws > 1 else ''} from their law given the row's other cells"


class _Law:
    """p(x|x_seen) of a model, whatever it is; another kind of model is another way to `cells`."""

    def __init__(self, model: Model) -> None:
        self.masked = model.masking is not None and not model.lead
        self.model, self.piece = (model, TILE) if self.masked else (with_noise(model), rows_at_once(model))

    @torch.no_grad()
    def cells(self, values: np.ndarray, draws: int | None, generator: torch.Generator) -> list[np.ndarray]:
        """E[x|x_seen], or draws, for at most `piece` rows: [n, C] each, all cells of the columns."""
        model, n = self.model, len(values)
        # Products have one shape, so that a row's mean does not depend on how many others have gaps.
        padded_rows = values[np.minimum(np.arange(self.piece), n - 1)]
        rows = model.encoding.encode(torch.from_numpy(_readable(model.encoding, padded_rows)))
        if self.masked:
            if draws is None:
                found = [model.mean_values(fill_theta(model, rows), fill=True)]
            else:
                found = [fill_draw(model, rows, generator) for _ in range(draws)]
            return [within(model, cells[:n].numpy()) for cells in found]
        law = conditional(model, rows)
        if draws is None:
            found = [model.mean_values(law.mean(), fill=True)]
        else:
            found = [model.sample_values(law.draw(generator), generator, fill=True) for _ in range(draws)]
        return [within(model, cells[:n].numpy()) for cells in found]


def _readable(encoding: Encoding, values: np.ndarray) -> np.ndarray:
    """Cells that cannot be read, as missing ones: they say nothing of the others."""
    out = np.array(values)
    far = np.abs((out.astype(np.float64) - encoding.center) / encoding.scale) >= LIMIT
    far[:, encoding.constant] = False
    far[:, encoding.count] |= out[:, encoding.count] < 0
    far[:, encoding.boolean] |= (out[:, encoding.boolean] < 0) | (out[:, encoding.boolean] > 1)
    out[far] = np.nan
    return out


def _tile_seed(seed: int, tile: int) -> int:
    return int(np.random.default_rng([seed, tile]).integers(1 << 62))
