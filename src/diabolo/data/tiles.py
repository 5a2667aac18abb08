"""Fixed tiles of rows for scoring: the result of a row never depends on the rows beside it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

__all__ = ["TILE", "padded", "tiles"]

#: Rows per scoring tile. Every call pads to it, so that a matrix product has one shape and a row one result.
TILE = 4096


def tiles(n: int) -> Iterator[slice]:
    """The slices 0:4096, 4096:8192, ...; the last one may be short and is padded by its reader."""
    for start in range(0, n, TILE):
        yield slice(start, min(start + TILE, n))


def padded(values: np.ndarray) -> Iterator[tuple[slice, Tensor]]:
    """Yield (slice, its rows as [TILE, C]); the last row of a short tile is repeated."""
    table = torch.from_numpy(np.require(values, requirements=("C", "W")))
    for part in tiles(len(values)):
        tile, size = table[part], part.stop - part.start
        yield part, tile if size == TILE else torch.cat([tile, tile[-1:].expand(TILE - size, -1)])
