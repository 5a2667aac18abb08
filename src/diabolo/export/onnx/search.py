"""Places of numbers in sorted tables: a tree of blocks, in all columns at once and without branches."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from diabolo.export.onnx.graph import FLOAT, INT64, Graph, ints

__all__ = ["Found", "places_in"]

#: Numbers of a block, which are compared at once. Few levels are few operations, and small blocks few comparisons.
BLOCK = 32


@dataclasses.dataclass
class Found:
    """Where numbers x [n, d] lie among their columns' tables."""

    count: str  #: [n, d] int64: how many numbers of the table are smaller
    block: str  #: [n or 1, d, BLOCK]: the numbers among which x lies
    wide: str  #: x [n, d, 1]

    def known(self, g: Graph) -> str:
        """Whether x is a number of the table, [n, d] int64: one that is lies in its block."""
        equal = g.cast(g.op("Equal", self.block, self.wide), INT64)
        return g.op("ReduceMax", equal, ints(2), keepdims=0)


def places_in(g: Graph, tables: Sequence[np.ndarray], x: str) -> Found:
    """How many numbers of each sorted table, of one at least, are smaller than a column of x [n, d].

    A level holds the largest number of each block of the level below, but of the last one, so that a count of smaller
    ones is a block's number (Bayer, McCreight 1972). Tables are filled with ∞.
    """
    levels = [list(tables)]
    while max(len(t) for t in levels[-1]) > BLOCK:
        levels.append([t[BLOCK - 1 :: BLOCK][: -(-len(t) // BLOCK) - 1] for t in levels[-1]])
    wide = g.op("Unsqueeze", x, ints(2))
    count = block = ""
    for level in levels[::-1]:
        blocks = [_blocks(t) for t in level]
        flat = np.concatenate(blocks)
        if not count:
            block = g.constant(flat[None])
            count = _smaller(g, block, wide)
            continue
        starts = np.cumsum([0, *(len(b) for b in blocks[:-1])])
        block = g.op("Gather", flat, g.op("Add", count, starts[None]) if starts.any() else count, axis=0)
        count = g.op("Add", g.op("Mul", count, ints(BLOCK)[None]), _smaller(g, block, wide))
    return Found(count, block, wide)


def _blocks(table: np.ndarray) -> np.ndarray:
    filled = max(1, -(-len(table) // BLOCK)) * BLOCK
    return np.pad(table, (0, filled - len(table)), constant_values=np.inf).reshape(-1, BLOCK)


def _smaller(g: Graph, block: str, wide: str) -> str:
    # A sum of floats, which engines vectorise; one of whole numbers takes them three times as long.
    return g.cast(g.total(g.cast(g.op("Less", block, wide), FLOAT), keep=False, axis=2), INT64)
