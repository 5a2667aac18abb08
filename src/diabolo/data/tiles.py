"""Fixed tiles of rows for scoring: the result of a row never depends on the rows beside it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

__all__ = ["SMALL", "TILE", "padded", "tiles"]

#: Rows per scoring tile. Every call pads to it, so that a matrix product has one shape and a row one result.
TILE = 4096
#: Rows per tile where only elementwise work sees the whole tile: vector lengths divide it, and no thread shares it.
SMALL = 256


def tiles(n: int, size: int = TILE) -> Iterator[slice]:
    """The slices 0:4096, 4096:8192, ...; the last one may be short and is padded by its reader."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def padded(values: np.ndarray, multiple: int | None = None, size: int | None = None) -> Iterator[tuple[slice, Tensor]]:
    """Yield (slice, its rows as [TILE, C]); the last row of a short tile is repeated.

    With `multiple`, tiles have `SMALL` rows, and a short one is filled to a multiple of so many. With `size`, tiles
    have so many rows instead of either.
    """
    table = torch.from_numpy(np.require(values, requirements=("C", "W")))
    most = size or (TILE if multiple is None else SMALL)
    for part in tiles(len(values), most):
        tile, rows = table[part], part.stop - part.start
        full = most if multiple is None else -(-rows // multiple) * multiple
        yield part, tile if rows == full else torch.cat([tile, tile[-1:].expand(full - rows, -1)])
