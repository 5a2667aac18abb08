"""The cost of each column of a row under the autoencoder, and a conformal p-value per column."""

from __future__ import annotations

import numpy as np
import torch

from diabolo.data.tiles import SMALL, TILE, padded
from diabolo.detect.conformal import Calibration
from diabolo.model.autoencoder import Model
from diabolo.model.chain import judges_by_others, others_nll
from diabolo.threads import threads_for

__all__ = ["MOST_CELLS", "MOST_ROWS", "ColumnCalibration", "column_costs"]

#: Calibration rows whose costs are kept, and cells of them, at most: p-values down to 1/2001 in some MB.
MOST_ROWS, MOST_CELLS = 2_000, 1 << 20


def column_costs(model: Model, values: np.ndarray) -> np.ndarray:
    """−log p(x_j | z) at the posterior mean, nats, in original units: [n, C] float32 for the table's C columns.

    Of a masked autoencoder of at most 64 columns it is −log p(x_j | the other cells), of a code that has not seen x_j.

    An absent cell costs 0, a missing one as in `Model.column_nll`; a cost that is not finite is +inf.

    Args:
        values: [n, C] float32 or float64 in the schema's order.
    """
    out = np.empty(values.shape, np.float32)
    with torch.inference_mode(), threads_for(TILE * model.multiply_adds):
        for part, tile in padded(values, SMALL if judges_by_others(model) else None):
            rows = model.encoding.encode(tile)
            if judges_by_others(model):
                cost = others_nll(model, rows)
            else:
                cost = model.column_nll(model.decode(model.posterior(rows).mean), rows)
            if model.lead:
                cost = cost.reshape(-1, *cost.shape[-2:]).mean(0)
            cost = cost[: part.stop - part.start, : values.shape[1]]
            out[part] = torch.where(torch.isfinite(cost), cost, torch.inf).numpy()
    return out


class ColumnCalibration:
    """Costs of calibration rows, which turn a cost into a p-value.

    p_j(x) = (1 + #{i : t_j(x_i) ≥ t_j(x)}) / (n + 1) with the cost t_j of column j; for a normal row and each single
    column P(p_j ≤ α) ≤ α, as for whole rows (`diabolo.detect.conformal`). Of C columns, some C α fall below α.

    >>> calibration = ColumnCalibration(np.array([[0.0, 5.0], [1.0, 6.0], [2.0, 7.0]]))
    >>> calibration.p_values(np.array([[3.0, 5.5]])).tolist()
    [[0.25, 0.75]]
    """

    def __init__(self, costs: np.ndarray, weights: np.ndarray | None = None, groups: int | None = None) -> None:
        """Costs [n, C] of calibration rows, and their weights [n]; `groups` as of `Calibration`."""
        self.costs, self.weights = np.asarray(costs, np.float32), weights
        groups = None if groups is None else min(groups, len(costs))
        self.columns = [Calibration(column, weights, groups) for column in self.costs.T]

    def __len__(self) -> int:
        return len(self.costs)

    def p_values(self, costs: np.ndarray) -> np.ndarray:
        """p per cell, [m, C] float64, from 1/(n+1) to 1."""
        found = [c.p_values(column) for c, column in zip(self.columns, np.asarray(costs, np.float32).T, strict=True)]
        return np.stack(found, axis=1)

    @staticmethod
    def of(
        model: Model, values: np.ndarray, weights: np.ndarray | None = None, groups: int | None = None
    ) -> ColumnCalibration:
        """From calibration rows [n, C]; of very many, evenly spaced ones are kept."""
        most = max(100, min(MOST_ROWS, MOST_CELLS // max(1, values.shape[1])))
        rows = np.unique(np.linspace(0, len(values) - 1, min(most, len(values))).astype(np.int64))
        return ColumnCalibration(column_costs(model, values[rows]), None if weights is None else weights[rows], groups)
