"""What each column adds to a score that is a sum or a mean over columns."""

from __future__ import annotations

import numpy as np
import torch

from diabolo.data.tiles import TILE
from diabolo.detect.reference import Reference
from diabolo.detect.scores import ByColumn, applicable, check_score, score_of, scores, tiled
from diabolo.errors import ConfigError
from diabolo.threads import threads_for

__all__ = ["by_column", "column_table"]


def by_column(reference: Reference) -> list[str]:
    """Names of the applicable scores that are a sum or a mean over columns."""
    return [n for n in applicable(reference) if isinstance(scores.create(n), ByColumn)]


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
        raise ConfigError(f"score {name!r} has no columns; those that have: {', '.join(by_column(reference))}")
    out = np.empty((len(values), len(reference.model.encoding.schema.output_names)))
    with torch.inference_mode(), threads_for(TILE * reference.model.multiply_adds):
        for part, rows in tiled(reference, values):
            share = score.columns(reference, rows).double()
            share = share.reshape(-1, *share.shape[-2:]).mean(0)
            if rows.bad is not None:
                share = torch.where(rows.bad.unsqueeze(-1), torch.inf, share)
            out[part] = share[: part.stop - part.start].numpy()
    return out
