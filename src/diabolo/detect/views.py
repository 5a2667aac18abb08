"""The distances behind the default score of tables: near ones in three views, and a wide one.

    near in x, in n, in r    mean L1 distance to the nearest 3 stored rows by the coordinates of `diabolo.detect.places`
    wide                     mean Euclidean distance in x and n together to the nearest tenth of 640 stored rows

Near distances show rare rows. A group of anomalies among the stored rows has its own kin near; the wide distance shows
it. Sums of differences, not of squares: one odd column in many keeps its weight, and no column drowns the others.

**Search.** Euclidean distances in x and n together are one matrix product. The nearest 32 rows by it are the shortlist;
among these the near distances are taken, by differences. Every product has the shape of `TILE` rows, so that a row's
score is the same bit for bit alone and in a table. Up to `FEW` rows are a smaller product, on machines where it has
been seen to have the same bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from diabolo.data.encoding import Encoded, Encoding
from diabolo.detect.least import MEMBERS, PARTS, grouped, mean_of_least, partitioned, without
from diabolo.detect.novelty import Contradictions, Novelty
from diabolo.detect.places import DIFFER, TILE, Places
from diabolo.device import Movable, on_cpu
from diabolo.memory import Memory
from diabolo.threads import threads_for

__all__ = ["FEWEST_ROWS", "WIDE_BLOCK", "Views"]

#: Fewer stored rows than these have no tail to measure.
FEWEST_ROWS = 20
#: Stored rows that are searched at most, and coordinates of them: 2 million floating-point operations a row.
MOST_ROWS, MOST_CELLS, LEAST_ROWS = 10_000, 1 << 20, 1_000
#: Rows whose distances to the shortlist are worked out at once: their differences stay near the core.
BLOCK = 256
#: Rows that a card compares with all stored ones at once: every product has this shape there.
WIDE_BLOCK = 8_192
#: A smaller tile, which takes less than half the time, and rows whose products must agree before it is taken.
FEW, CHECKED = 4, 64
#: Rows of the shortlist, and those of them that are near.
SHORTLIST, NEAR = 32, 3
#: Stored rows of the wide view, and the share of them that is near enough.
WIDE_ROWS, WIDE_SHARE = 640, 0.1
#: Times that each view counts: near in x, n and r, and wide, which has as much weight as these together.
WEIGHTS = (1.0, 1.0, 1.0, 3.0)
#: Times the largest score of a stored row that a new fact adds.
NEW = 10.0
#: Stored rows whose own distances give the unit of each view.
MEASURED = 1_024


class Views(Movable):
    """Distances of a row to a detector's stored rows, in units of those among these; the same rows give the same.

    Args:
        encoding: the main model's.
        values: [n, C] stored rows in the schema's order, at least `FEWEST_ROWS`. Of more than 10,000, or than a million
            coordinates allow, evenly spaced ones are searched.

    Attributes:
        unit: [4] the median of each view over stored rows, each without itself.
        novelty, contradictions: facts that no stored row shows.
        places: the coordinates of rows.
        stored, levels: coordinates [rows, ·] and levels [rows, categories] of the stored rows that are searched.
        table: [axes + 2, rows padded to groups], whose product with (x, |x|², 1) is d².
        wide, wide_count: the first so many stored rows are those of the wide view, and so many of them are near.
        shortlist, near: rows of the shortlist, and those of them that are near.
        few: whether products of `FEW` rows have the bits of those of `TILE` rows on this machine.
        groups: groups of stored rows; the shortlist is looked for in those of the least minima.
        weight, top: weights of the views, and what a new fact adds.
    """

    def __init__(self, encoding: Encoding, values: np.ndarray) -> None:
        rows = encoding.encode(torch.from_numpy(np.ascontiguousarray(values)))
        self.places = Places(encoding, rows)
        n = len(values)
        most = max(LEAST_ROWS, min(MOST_ROWS, MOST_CELLS // max(1, self.places.axes)))
        searched = _evenly(n, most)
        wide = _evenly(len(searched), WIDE_ROWS)
        rest = np.setdiff1d(np.arange(len(searched)), wide)
        taken = torch.from_numpy(searched[np.concatenate([wide, rest])])
        #: Position among the taken rows by position among all stored ones; −1 for the others, and at the end for none.
        self.taken = torch.full((n + 1,), -1)
        self.taken[taken] = torch.arange(len(taken))
        self.rows, self.wide = len(taken), len(wide)
        blocks = [_filled(at, min(at + BLOCK, n), n) for at in range(0, n, BLOCK)]
        parts = [self.places(rows.rows(block)) for block in blocks]
        places, levels = (torch.cat(p)[:n][taken] for p in zip(*parts, strict=True))
        self.stored, self.levels = places.contiguous(), levels.contiguous()
        axes = self.places.shortlist(places, levels)
        self.groups = -(-self.rows // (PARTS * MEMBERS))
        # (−2 s, 1, |s|²) of a stored row s with (x, |x|², 1) of another gives d²; padding is infinitely far.
        square = axes.square().sum(-1, keepdim=True)
        wide_rows = torch.cat([-2 * axes, torch.ones_like(square), square], dim=-1)
        table = torch.nn.functional.pad(wide_rows, (0, 0, 0, -self.rows % (PARTS * MEMBERS)))
        table[self.rows :, -1] = torch.inf
        self.table = table.T.contiguous()
        self.few = self._alike(self._asked(self.stored[:CHECKED], self.levels[:CHECKED], 0))
        self.shortlist = min(SHORTLIST, self.rows - 1)
        self.near = min(NEAR, self.shortlist)
        self.wide_count = min(max(self.near, int(WIDE_SHARE * self.wide)), self.wide - 1)
        self.unit, self.weight = torch.ones(4), torch.tensor(WEIGHTS) / sum(WEIGHTS)
        some = torch.from_numpy(_evenly(n, MEASURED))
        self.novelty = Novelty(encoding, rows)
        self.contradictions = Contradictions(self.places, rows, self.novelty.share)
        own = self.measure(rows.rows(some), some)
        middle, mean = own.median(1).values, own.mean(1)
        # Copies may put most rows at no distance, or all; then a distance of one spread is far.
        self.unit = torch.where(middle > 1e-6, middle, torch.where(mean > 1e-6, mean, 1.0))
        #: Above the score of any row without novelty: of few stored rows the largest is far below what comes.
        self.top = NEW * float((self.weight @ (own / self.unit[:, None])).max().clamp_min(1.0))

    def __call__(self, rows: Encoded, own: Tensor | None = None) -> Tensor:
        """The score of rows: the weighted mean of the views in their units, and what is new in the row.

        Args:
            rows: [B], encoded by the encoding of the stored ones; scores are of the first `count`, where it is set.
            own: [B] which stored row a row is, −1 for none; None for none at all.
        """
        found = self.measured(rows, own)
        # Of few rows every operation of PyTorch's takes longer than NumPy's, for the same bits.
        near = on_cpu(found)
        far, unit, weights = (t.numpy() if near else t for t in (found, self.unit, self.weight))
        # Added one after the other: a product's order may depend on the number of rows.
        score = far[0] / unit[0] * weights[0]
        for i in range(1, len(unit)):
            score = score + far[i] / unit[i] * weights[i]
        score = torch.from_numpy(score) if near else score
        return score + self.top * (self.novelty(rows)[: len(score)] + found[-1])

    def measure(self, rows: Encoded, own: Tensor | None = None) -> Tensor:
        """Each view of rows [B] or of the first `count`, [4, B], up = farther.

        On a card B is a multiple of `WIDE_BLOCK`.
        """
        return self.measured(rows, own)[:-1]

    def measured(self, rows: Encoded, own: Tensor | None) -> Tensor:
        """The views, and the number of contradictions, [5, B]."""
        count = len(rows) if rows.count is None else rows.count
        mine = None if own is None else self.taken[own]
        if not on_cpu(rows.x):
            blocks = [slice(at, at + WIDE_BLOCK) for at in range(0, len(rows), WIDE_BLOCK)]
            parts = [self._wide_block(rows.rows(b), None if mine is None else mine[b]) for b in blocks]
            return torch.cat(parts, dim=-1)[:, :count]
        memory = rows.memory or Memory()
        if count <= BLOCK and len(rows) == count - count % -TILE:
            return self._block(rows, count, None if mine is None else mine.numpy(), memory)
        parts = []
        for start in range(0, count, BLOCK):
            stop = min(start + BLOCK, count)
            kin = None if mine is None else mine[start:stop].numpy()
            parts.append(self._block(rows.rows(_filled(start, stop, len(rows))), stop - start, kin, memory))
        return torch.cat(parts, dim=-1)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """What another machine's products have shown does not hold for those of this one."""
        vars(self).update(state)
        self.few = on_cpu(self.table) and self._alike(self._asked(self.stored[:CHECKED], self.levels[:CHECKED], 0))

    def _alike(self, asked: Tensor) -> bool:
        """Whether the products of rows by `FEW` have the bits of those by `TILE`; a library's kernels may part there.

        Looked at on all columns of the table. An order of its own shows in the last bits of most of them.
        """
        whole = len(asked) // TILE * TILE
        with threads_for(0):
            for start in range(0, whole, TILE):
                rows = asked[start : start + TILE]
                parts = torch.cat([rows[i : i + FEW].clone() @ self.table for i in range(0, TILE, FEW)])
                if not torch.equal(parts.view(torch.int32), (rows @ self.table).view(torch.int32)):
                    return False
        return whole > 0

    def _asked(self, places: Tensor, levels: Tensor, rows: int) -> Tensor:
        """(x, |x|², 1) of rows, whose product with the table is d²; the last one fills up so many."""
        axes = self.places.shortlist(places, levels)
        if len(axes) < rows:
            axes = torch.cat([axes, axes[-1:].expand(rows - len(axes), -1)])
        return torch.cat([axes, axes.square().sum(-1, keepdim=True), axes.new_ones(len(axes), 1)], dim=-1)

    def _wide_block(self, rows: Encoded, kin: Tensor | None) -> Tensor:
        """As `measured`, of `WIDE_BLOCK` rows on a card: nothing that it would have to wait for."""
        places, levels = self.places(rows)
        squared = self._asked(places, levels, len(places)) @ self.table
        if kin is not None:
            without(squared, kin)
        wide = squared[:, : self.wide].clamp_min(0).sqrt()
        near = self._near_ones(places, levels, grouped(squared, self.groups, self.shortlist))
        return torch.cat([near, mean_of_least(wide, self.wide_count)[None], self._new(rows, places, levels)])

    def _block(self, rows: Encoded, count: int, kin: np.ndarray | None, memory: Memory) -> Tensor:
        """As `measured`, of the first rows of a multiple of `TILE`."""
        places, levels = self.places(rows, count)
        size = FEW if self.few and count <= FEW else TILE
        asked = self._asked(places, levels, -(-count // size) * size)
        at, wide = np.empty((count, self.shortlist), np.int64), np.empty((count, self.wide), np.float32)
        product = memory.get("squared", (size, self.table.shape[1]), asked)
        for start in range(0, count, size):
            torch.mm(asked[start : start + size], self.table, out=product)
            # Of the rows that fill a tile nothing more is asked: what follows is the same for any number of rows.
            squared = product.numpy()[: count - start]
            part = slice(start, start + len(squared))
            if kin is not None:
                there = np.flatnonzero(kin[part] >= 0)
                squared[there, kin[part][there]] = np.inf
            wide[part] = squared[:, : self.wide]
            at[part] = partitioned(squared, self.groups, self.shortlist)
        near = self._near_ones(places, levels, torch.from_numpy(at))
        return torch.cat([near, self._far(wide)[None], self._new(rows, places[:count], levels)])

    def _new(self, rows: Encoded, places: Tensor, levels: Tensor) -> Tensor:
        """Number of contradictions of the first rows, [1, B]."""
        return self.contradictions(places[:, self.places.parts[-1]], self.places.whole(rows, levels))[None]

    def _far(self, squared: np.ndarray) -> Tensor:
        """Mean distance [B] to the nearest of the rows of the wide view, by squared distances [B, rows]."""
        np.maximum(squared, 0.0, out=squared)
        # Of numbers that are not negative the bits are in their order, and whole numbers are parted faster.
        squared.view(np.int32).partition(self.wide_count - 1, axis=1)
        return torch.from_numpy(squared[:, : self.wide_count]).sqrt().mean(-1)

    def _near_ones(self, places: Tensor, levels: Tensor, at: Tensor) -> Tensor:
        """Mean L1 distances [3, B] to the nearest of stored rows at positions [B, shortlist], in x, n and r."""
        apart = self.stored.index_select(0, at.flatten()).view(*at.shape, -1).sub_(places[:, None]).abs_()
        if self.places.thirds:
            thirds = apart.view(*at.shape, 3, -1).sum(-1)
            return mean_of_least(thirds.movedim(-1, 0).contiguous(), self.near)
        x, both, n, r = (apart[..., part].sum(-1) for part in self.places.parts)  # of no column it is 0
        if levels.shape[1]:
            other = self.levels.index_select(0, at.flatten()).view(*at.shape, -1) != levels[:, None]
            both = both + DIFFER * other.sum(-1)
        return mean_of_least(torch.stack([x + both, both + n, r]), self.near)


def _evenly(n: int, most: int) -> np.ndarray:
    """Positions of at most so many rows of n, evenly spaced."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))


def _filled(start: int, stop: int, rows: int) -> slice | Tensor:
    """Positions of a block of rows; the last one fills the last tile, unless rows that follow do."""
    full = stop + (start - stop) % TILE
    return slice(start, full) if full <= rows else torch.arange(start, full).clamp_max(rows - 1)
