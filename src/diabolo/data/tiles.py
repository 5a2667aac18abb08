"""Fixed tiles of rows for scoring: a row's result never depends on its company."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = [
    "TILE",
    "tiles",
]

#: Rows per scoring tile. Every call pads to it, so that a row's score never depends on its company.
TILE = 4096


def tiles(n: int) -> Iterator[slice]:
    """The slices 0:4096, 4096:8192, ...; the last one may be short and is padded by its reader."""
    for start in range(0, n, TILE):
        yield slice(start, min(start + TILE, n))
