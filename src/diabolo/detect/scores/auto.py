"""The score behind "auto" in a detector: the two views that find a row farthest out, in common units."""

from __future__ import annotations

import torch
from torch import Tensor

from diabolo.data.encoding import Encoded
from diabolo.detect.pictures import Pictures
from diabolo.detect.reference import Reference
from diabolo.detect.scores.base import Score, scores
from diabolo.detect.views import FEWEST_ROWS, Views

__all__ = ["views_of"]


def views_of(reference: Reference) -> Views | Pictures:
    """The views of a reference's stored rows, worked out once."""
    if "views" not in reference.derived:
        if reference.stored is None or len(reference.stored) < FEWEST_ROWS:
            raise ValueError(f"views need at least {FEWEST_ROWS} stored rows")
        encoding = reference.model.encoding
        # Images with missing pixels have inputs beside their pixels, and are compared as tables are.
        kind = Views if encoding.shape is None else Pictures
        reference.derived["views"] = kind(encoding, reference.stored.values)
    return reference.derived["views"]  # type: ignore[no-any-return]


@scores.register("auto")
class Combined(Score):
    r"""A detector's default: the mean of the two largest of several distances to stored rows, in common units.

    That is of (s_v(x) − m_v) / (q_v − m_v) over views v. m_v and q_v are the median and the 95th percentile of view v
    over stored rows, each without itself; these are training rows, so calibration stays as it is, and needs no label. A
    row at the median scores 0, one at the 95th percentile 1. An anomaly shows in few views, and a mean over all views
    would hide it: hence the largest. One view can be wrong by chance, two seldom for the same row: hence two. Images
    have one view, `diabolo.detect.pictures.Pictures`.
    """

    needs = frozenset({"stored", "tail"})
    judged_by = "the stored rows alone; the main autoencoder is not read"

    def __call__(self, reference: Reference, rows: Encoded) -> Tensor:
        views = views_of(reference)
        z = (views.measure(rows, rows.own) - views.location) / views.scale
        found = torch.topk(z, min(2, len(z)), dim=0).values.mean(0)
        return found.expand(*reference.model.lead, -1)
