"""Scores of the distance between a row and its reconstruction, standardised units."""

from __future__ import annotations

import torch
from torch import Tensor

from diabolo.data.encoding import Encoded
from diabolo.detect.reference import Reference
from diabolo.detect.scores.base import ByColumn, mean_theta, scores
from diabolo.model.autoencoder import Model

__all__ = ["LEVELS", "denoised_error"]

#: Standard deviations of the noise, in standardised units.
LEVELS = (0.1, 0.2, 0.4, 0.8)


@scores.register("mse")
class MeanSquaredError(ByColumn):
    """Mean over columns of the squared distance to the reconstruction, standardised units."""

    def columns(self, reference: Reference, rows: Encoded) -> Tensor:
        return reference.model.column_squared_error(mean_theta(reference.model, rows), rows)

    def __call__(self, reference: Reference, rows: Encoded) -> Tensor:
        model = reference.model
        if model.whole is None or model.whole.decoder is None:
            return super().__call__(reference, rows)
        # Squares of whole numbers and their sum are exact in double precision.
        error = (mean_theta(model, rows) - rows.x).double().square().sum(-1) / rows.x.shape[-1]
        if rows.missing is None:
            return error
        return torch.where(rows.missing.any(dim=1), super().__call__(reference, rows).double(), error)


@scores.register("mae")
class MeanAbsoluteError(ByColumn):
    """Mean over columns of the distance to the reconstruction, the root of a term of `mse`, standardised units."""

    def columns(self, reference: Reference, rows: Encoded) -> Tensor:
        # An angle's 2 − 2 cos Δ may fall below 0 by rounding.
        return reference.model.column_squared_error(mean_theta(reference.model, rows), rows).clamp_min(0).sqrt()


def denoised_error(model: Model, rows: Encoded, levels: tuple[float, ...] = LEVELS) -> Tensor:
    """Mean over levels and nodes of the squared error of f(x + σ ε) per column, [*lead, B, C], standardised.

    Noise falls on numbers and angles, as in the corruption "gaussian", and the distance is to the clean x (Vincent et
    al. 2010). The nodes ε are a pair ±ε per level, the same for every row and every call. For a model that
    was not trained to undo noise it is, to second order, error and sensitivity: ‖x − f(x)‖² + σ² ‖∂f/∂x ε‖².

    Args:
        model: lead axes [*lead].
        rows: B unclipped rows.
        levels: σ of each level.
    """
    x = rows.clipped(model.encoding.clip).x
    noise = model.fixed(("noise", len(levels)), x.device, lambda: _noise(model, len(levels)))
    total = x.new_zeros(())
    for sigma, node in zip(levels, noise, strict=True):
        for sign in (sigma, -sigma):
            code = model.encode(x + sign * node, rows.memory).mean
            total = total + model.column_squared_error(model.decode(code, rows.memory), rows)
    return total / (2 * len(levels))


def _noise(model: Model, levels: int) -> Tensor:
    """ε [levels, D] for each level, on numbers and angles alone."""
    noise = torch.zeros(levels, model.encoding.width)
    noise[:, : model.encoding.continuous].normal_(generator=torch.Generator().manual_seed(0))
    return noise


@scores.register("denoise")
class Denoise(ByColumn):
    """Mean over columns of the squared distance to x of f(x + σ ε), over σ of 0.1, 0.2, 0.4 and 0.8 and nodes ±ε.

    Fixed nodes make it deterministic. It means most for a denoising autoencoder, whose f moves x towards the data; of
    another it is the error and the sensitivity of f (`denoised_error`).
    """

    costly = True

    def columns(self, reference: Reference, rows: Encoded) -> Tensor:
        return denoised_error(reference.model, rows)
