"""What a monitor looks at in each row: its cells, and what each column costs given the others."""

from __future__ import annotations

import numpy as np
import torch

from diabolo.data.tiles import TILE
from diabolo.detect.marginals import Marginals
from diabolo.detect.reference import Reference
from diabolo.detect.tiling import tiled
from diabolo.threads import threads_for

__all__ = ["calibration_marginals", "monitored"]


def calibration_marginals(reference: Reference, values: np.ndarray, weights: np.ndarray | None) -> Marginals:
    """Marginals of calibration rows [n, C] that can be scored, for a monitor."""
    return Marginals.of(monitored(reference, values), weights)


def monitored(reference: Reference, values: np.ndarray) -> np.ndarray:
    """Cells, and their costs: [n, C + output columns] float64."""
    return np.concatenate([values.astype(np.float64), _costs(reference, values)], axis=1)


def _costs(reference: Reference, values: np.ndarray) -> np.ndarray:
    """−log p(x_c|z) per column at the posterior mean, [n, output columns] nats; NaN where it overflows.

    Rounded to a thousandth, so that equal costs stay equal on a machine that rounds differently.
    """
    model = reference.model
    out = np.empty((len(values), len(model.encoding.schema.output_names)), np.float64)
    with torch.inference_mode(), threads_for(TILE * model.multiply_adds):
        for part, rows in tiled(reference, values):
            cost = model.column_nll(model.decode(model.posterior(rows).mean, rows.memory), rows).double()
            cost = cost[..., : part.stop - part.start, :]
            out[part] = cost.reshape(-1, *cost.shape[-2:]).mean(0).numpy()
    out[~np.isfinite(out)] = np.nan
    return np.round(out, 3)
