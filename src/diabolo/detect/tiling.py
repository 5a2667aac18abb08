"""Rows of a table as padded tiles of one size, so that a row's score does not depend on its company."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from diabolo.data.encoding import Encoded
from diabolo.data.tiles import padded
from diabolo.detect.reference import Reference
from diabolo.memory import Memory

__all__ = ["tiled"]


def tiled(
    reference: Reference, values: np.ndarray, own: bool = False, multiple: int | None = None
) -> Iterator[tuple[slice, Encoded]]:
    """Yield (slice, its rows as a tile of fixed size, the last one padded), each good until the next.

    Args:
        reference: whose model encodes.
        values: [n, C] float32 or float64 in the schema's order.
        own: whether to set `own`, the position of a row among the stored ones.
        multiple: as of `padded`.
    """
    memory = Memory(frozen=True)
    for part, tile in padded(values, multiple):
        rows = reference.model.encoding.encode(tile, memory)
        rows.count = part.stop - part.start
        if own and reference.stored is not None:
            rows.own = torch.from_numpy(reference.stored.positions(tile.numpy()))
        yield part, rows
