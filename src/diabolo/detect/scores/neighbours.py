"""Scores of the distance to stored training rows, one per space."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

from annotated_types import Ge, Le
from torch import Tensor

from diabolo.data.encoding import Encoded
from diabolo.detect.neighbours import nearest_rows
from diabolo.detect.reference import Reference
from diabolo.detect.scores.base import Score, scores

__all__ = ["Neighbours"]


@dataclasses.dataclass(frozen=True)
class _Nearest(Score):
    needs = frozenset({"stored"})
    costly = True
    judged_by = "the stored rows, as the main autoencoder sees them"
    space: ClassVar[str]
    #: Which nearest neighbour's distance counts (Ramaswamy, Rastogi, Shim 2000).
    k: Annotated[int, Ge(1), Le(1000)] = 5

    def __call__(self, reference: Reference, rows: Encoded) -> Tensor:
        return nearest_rows(reference, rows, self.space, self.k)[0][..., -1].expand(*reference.model.lead, -1)


@scores.register("neighbours")
class Neighbours(_Nearest):
    """Distance to the k-th nearest stored training row in input space, standardised units; k is 5 unless said.

    d² is a sum over columns, each on a comparable scale: squared differences of standardised numbers, 2 − 2 cos Δ of
    angles, 2 for a boolean, a category, a filled slot or a missing cell that differs (`diabolo.detect.neighbours`).
    """

    space = "input"
    judged_by = "the stored rows alone; the main autoencoder is not read"


@scores.register("neighbours_latent")
class LatentNeighbours(_Nearest):
    """Distance of the code to the k-th nearest code of a stored training row, in units of √(tr Σ / K) of the codes."""

    space = "latent"


@scores.register("neighbours_residual")
class ResidualNeighbours(_Nearest):
    """Distance of the residual to the k-th nearest residual of a stored training row, typical residuals as units."""

    space = "residual"
