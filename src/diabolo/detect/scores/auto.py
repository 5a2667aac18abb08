"""The score behind "auto" in a detector: distances to stored rows in few views, added, and what is new in a row."""

from __future__ import annotations

from torch import Tensor

from diabolo.data.encoding import Encoded
from diabolo.detect.pictures import Pictures
from diabolo.detect.places import TILE
from diabolo.detect.reference import Reference
from diabolo.detect.scores.base import Score, scores
from diabolo.detect.views import FEWEST_ROWS, Views
from diabolo.threads import threads_for

__all__ = ["views_of"]


def views_of(reference: Reference) -> Views | Pictures:
    """The views of a reference's stored rows, worked out once, by the processor."""
    if "views" not in reference.derived and reference.home is not reference:
        reference.derived["views"] = views_of(reference.home).to(reference.model.device)
    if "views" not in reference.derived:
        if reference.stored is None or len(reference.stored) < FEWEST_ROWS:
            raise ValueError(f"views need at least {FEWEST_ROWS} stored rows")
        encoding, values = reference.model.encoding, reference.stored.values
        # Images with missing pixels have inputs beside their pixels, and are compared as tables are.
        if encoding.shape is not None:
            reference.derived["views"] = Pictures(encoding, values)
        else:
            reference.derived["views"] = Views(encoding, values)
    return reference.derived["views"]  # type: ignore[no-any-return]


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

    def tile(self, reference: Reference) -> int | None:
        return TILE if reference.model.encoding.shape is None else None

    def __call__(self, reference: Reference, rows: Encoded) -> Tensor:
        # On one thread: where threads part the work depends on their number, and last bits may depend on that.
        with threads_for(0):
            found = views_of(reference)(rows, rows.own)
        return found.expand(*reference.model.lead, -1)
