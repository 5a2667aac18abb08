"""The score behind "auto" in a detector: distances to stored rows in few views, added, and what is new in a row."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from diabolo.data.encoding import Encoded
from diabolo.detect.pictures import Pictures
from diabolo.detect.places import TILE
from diabolo.detect.reference import Reference, residuals_of
from diabolo.detect.scores.base import Score, scores
from diabolo.detect.views import FEWEST_ROWS, Views
from diabolo.threads import threads_for

__all__ = ["views_of"]


def views_of(reference: Reference, network: bool = True) -> Views | Pictures:
    """The views of a reference's stored rows, worked out once; on request without the network's residuals."""
    residuals = residuals_of(reference.model)
    key = "views" if network or residuals is None else "views without the network"
    if key not in reference.derived:
        if reference.stored is None or len(reference.stored) < FEWEST_ROWS:
            raise ValueError(f"views need at least {FEWEST_ROWS} stored rows")
        encoding, values = reference.model.encoding, reference.stored.values
        # Images with missing pixels have inputs beside their pixels, and are compared as tables are.
        if encoding.shape is not None:
            reference.derived[key] = Pictures(encoding, values)
        else:
            reference.derived[key] = Views(encoding, values, residuals if network else None)
    return reference.derived[key]  # type: ignore[no-any-return]


@scores.register("auto")
class Combined(Score):
    r"""A detector's default: the weighted mean of four distances to stored rows, each in units of a stored row's own.

    It is (Σ_v w_v d_v(x) / m_v) / Σ_v w_v with m_v the median of view v over stored rows, each without itself, so that
    a typical row scores 1. These are training rows, so calibration stays as it is, and needs no label. A fact that no
    stored row shows lifts a row above all of them (`diabolo.detect.novelty`). Images have one view
    (`diabolo.detect.pictures`).
    """

    needs = frozenset({"stored", "tail"})
    judged_by = "the stored rows alone; the main autoencoder is not read"
    #: Whether the model's own residuals take part.
    network: ClassVar[bool] = True

    def tile(self, reference: Reference) -> int | None:
        return TILE if reference.model.encoding.shape is None else None

    def __call__(self, reference: Reference, rows: Encoded) -> Tensor:
        # On one thread: where threads part the work depends on their number, and last bits may depend on that.
        with threads_for(0):
            found = views_of(reference, self.network)(rows, rows.own)
        return found.expand(*reference.model.lead, -1)


@scores.register("auto_plain")
class Plain(Combined):
    """`auto` without the network, by linear residuals: the control that shows what a model's own residuals add.

    Of a model that gives none it is `auto` itself.
    """

    costly = True
    network = False
