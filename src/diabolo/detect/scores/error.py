"""Scores of the distance between a row and its reconstruction, standardised units."""

from __future__ import annotations

from torch import Tensor

from diabolo.data.encoding import Encoded
from diabolo.detect.reference import Reference
from diabolo.detect.scores.base import ByColumn, mean_theta, scores


@scores.register("mse")
class MeanSquaredError(ByColumn):
    """Mean over columns of the squared distance to the reconstruction, standardised units."""

    def columns(self, reference: Reference, rows: Encoded) -> Tensor:
        return reference.model.column_squared_error(mean_theta(reference.model, rows), rows)


@scores.register("mae")
class MeanAbsoluteError(MeanSquaredError):
    """Mean over columns of the distance to the reconstruction, the root of what `mse` averages, standardised units."""

    def columns(self, reference: Reference, rows: Encoded) -> Tensor:
        # An angle's 2 − 2 cos Δ may fall below 0 by rounding.
        return super().columns(reference, rows).clamp_min(0).sqrt()
