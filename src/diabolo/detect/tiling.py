"""Rows of a table as padded tiles of one size, so that a row's score does not depend on its company."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from diabolo.data.encoding import Encoded
from diabolo.data.tiles import padded
from diabolo.detect.reference import Reference
from diabolo.detect.views import WIDE_BLOCK
from diabolo.device import CPU
from diabolo.memory import Memory
from diabolo.model.autoencoder import Model
from diabolo.staging import Lane

__all__ = ["tiled", "wide_rows"]

#: Rows of a tile on a card at most, and cells of the widest tensor that it makes of them: half a gigabyte.
MOST_ROWS, MOST_CELLS = 1 << 18, 1 << 27


def tiled(
    reference: Reference, values: np.ndarray, own: bool = False, multiple: int | None = None
) -> Iterator[tuple[slice, Encoded]]:
    """Yield (slice, its rows as a tile of fixed size, the last one padded), each good until the next.

    Rows are encoded where the reference's model lies. On a card a tile is large, and still of one size.

    Args:
        reference: whose model encodes.
        values: [n, C] float32 or float64 in the schema's order.
        own: whether to set `own`, the position of a row among the stored ones.
        multiple: as of `padded`.
    """
    model, memory = reference.model, Memory(frozen=True)
    lane, size = Lane(model.device), None
    if model.device != CPU:
        multiple, size = None if multiple is None else WIDE_BLOCK, wide_rows(model)
    for part, tile in padded(values, multiple, size):
        cells = tile.numpy()
        rows = model.encoding.encode(lane.send("cells", cells), memory)
        rows.count = part.stop - part.start
        if own and reference.stored is not None:
            there = reference.stored.positions(cells)
            # Where no row is a stored one nothing has to be left out; a card's tiles are all alike.
            if model.device != CPU or bool((there >= 0).any()):
                rows.own = lane.send("own", there)
        yield part, rows


def wide_rows(model: Model) -> int:
    """Rows of a tile on a card: a power of two, the same for all tables of a model."""
    widths = (model.encoding.width, model.heads[-1].stop, *(model.config.hidden or ()), model.config.factors**2)
    deep = max(model.config.hidden or (1,)) if model.encoding.shape is not None else 1
    cells = max(widths) * deep * math.prod(model.lead)
    return max(WIDE_BLOCK, min(MOST_ROWS, 1 << int(math.log2(max(1, MOST_CELLS // cells)))))
