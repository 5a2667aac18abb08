"""Scores of a table's rows, whole or by column, in fixed padded tiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from diabolo.data.tiles import TILE
from diabolo.detect.choice import check_score, score_of, scores_by_column
from diabolo.detect.reference import Reference
from diabolo.detect.scores import ByColumn
from diabolo.detect.tiling import tiled
from diabolo.errors import ConfigError
from diabolo.threads import threads_for

__all__ = ["column_table", "score_table"]


def score_table(reference: Reference, values: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Score rows of a table in fixed padded tiles.

    A row's score does not depend on its company: every tile has the same number of rows, the last one
    padded. A row that cannot be scored is +inf, never normal.

    Args:
        reference: the model, and the rows that a detector keeps.
        values: [n, C] float32 or float64 in the schema's order, NaN where missing.
        names: scores to compute.

    Returns:
        Each score [n] float64 (leading member axes are averaged).

    Raises:
        ConfigError: an unknown score, or one whose needs the reference does not meet.
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


def column_table(reference: Reference, values: np.ndarray, name: str) -> np.ndarray:
    """A score's columns for the rows of a table, as `score_table`.

    Returns:
        [n, C] float64 in the order of the schema's `output_names`; +inf throughout a row that cannot be scored.

    Raises:
        ConfigError: as `score_table`, or the score is no sum or mean over columns.
    """
    check_score(reference, name)
    score = score_of(name)
    if not isinstance(score, ByColumn):
        raise ConfigError(f"score {name!r} has no columns; those that have: {', '.join(scores_by_column(reference))}")
    out = np.empty((len(values), len(reference.model.encoding.schema.output_names)))
    with torch.inference_mode(), threads_for(TILE * reference.model.multiply_adds):
        for part, rows in tiled(reference, values):
            share = score.columns(reference, rows).double()
            share = share.reshape(-1, *share.shape[-2:]).mean(0)
            if rows.bad is not None:
                share = torch.where(rows.bad.unsqueeze(-1), torch.inf, share)
            out[part] = share[: part.stop - part.start].numpy()
    return out
