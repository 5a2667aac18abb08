"""Training rows whose steps several processes share: every batch is that of one process, and each has some of its rows.

A table in memory lies in every process, and a batch is cut into as many runs of rows as there are processes. A cache
on disk holds a process's own rows alone, and a row of a batch is worked on where it lies. Rows keep their order within
a batch in both, so that the rows at hand are told by their positions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from diabolo.data.cache import Cached
from diabolo.data.encoding import Encoded
from diabolo.data.sources import Piece, Rows, Share, Source, piece_rows, slices
from diabolo.memory import Memory
from diabolo.world import World

__all__ = ["Batch", "SharedCached", "SharedRows", "batches", "share_of", "shared_cache"]

#: Rows by which a share of a batch grows, so that kept memory has few sizes; the rows that fill it weigh nothing.
FILL = 32


@dataclasses.dataclass(frozen=True)
class Batch:
    """Rows of one step; `count` says how many it has in all processes, and `at` which of them these are."""

    rows: Encoded
    weights: Tensor | None
    count: int
    at: Tensor | None = None


def batches(piece: Piece | Share, weights: Tensor | None, size: int, memory: Memory) -> Iterator[Batch]:
    """The steps of a piece, of `size` rows each.

    Args:
        weights: of the rows at hand, with mean 1 over the table; None for equal ones.
    """
    if not isinstance(piece, Share):
        rows = piece[0]
        for part in slices(len(rows), size):
            yield Batch(rows.batch(part, memory), None if weights is None else weights[part], part.stop - part.start)
        return
    ends = torch.tensor([0, *(p.stop for p in slices(piece.total, size))])
    cuts = torch.searchsorted(piece.at, ends).tolist()
    for part, low, high in zip(slices(piece.total, size), cuts[:-1], cuts[1:], strict=True):
        count = part.stop - part.start
        if low == high:
            at = torch.tensor([count - 1])
            none = piece.spare.x.new_zeros(1)
            yield Batch(dataclasses.replace(piece.spare, memory=memory), none, count, at)
            continue
        n = high - low
        # The last row again, for nothing.
        more = -n % piece.fill
        index = torch.arange(low, high + more).clamp_max(high - 1)
        w = torch.ones(n) if weights is None else weights[low:high].cpu()
        # An objective divides by the rows at hand, and the batch's mean is wanted.
        w = torch.cat([w * ((n + more) / count), torch.zeros(more)])
        device = piece.rows.x.device
        rows = piece.rows.take(index.to(device), memory) if more else piece.rows.batch(slice(low, high), memory)
        yield Batch(dataclasses.replace(rows, memory=memory), w.to(device), count, piece.at[index] - part.start)


def share_of(source: Source, world: World) -> Source:
    """The source of rows in memory as one that processes share; itself where this process is alone."""
    return SharedRows(source, world) if isinstance(source, Rows) and world.size > 1 else source


@dataclasses.dataclass
class SharedRows:
    """Rows that lie in the memory of every process."""

    held: Rows
    world: World

    @property
    def masked(self) -> bool:
        return self.held.masked

    def __len__(self) -> int:
        return len(self.held)

    def to(self, device: str) -> SharedRows:
        return SharedRows(self.held.to(device), self.world)

    def pieces(self, size: int, order: torch.Generator, memory: Memory, skip: int = 0) -> Iterator[Share]:
        permutation = torch.randperm(len(self), generator=order)
        held, weights = self.held.rows, self.held.weights
        for number, part in enumerate(slices(len(self), piece_rows(size))):
            if number < skip:
                continue
            index = permutation[part]
            runs = [(p.start, self.world.share(p.stop - p.start)) for p in slices(len(index), size)]
            at = torch.cat([torch.arange(start + own.start, start + own.stop) for start, own in runs])
            own = index[at].to(held.x.device)
            w = None if weights is None else weights[own]
            yield Share(held.take(own, memory), w, at, len(index), held.rows(slice(0, 1)), 1)

    def chunks(self) -> Iterator[Piece]:
        own = self.world.share(len(self))
        for part in slices(own.stop - own.start):
            rows = slice(own.start + part.start, own.start + part.stop)
            yield self.held.rows.rows(rows), None if self.held.weights is None else self.held.weights[rows]

    def total(self, sums: Sequence[Tensor]) -> list[Tensor]:
        return self.world.total(sums)

    def some(self) -> Rows:
        return self.held


def shared_cache(own: Cached, world: World) -> Cached:
    """The cache of a process's own rows as one of all rows; itself where this process is alone."""
    if world.size == 1:
        return own
    fields = {f.name: getattr(own, f.name) for f in dataclasses.fields(own)}
    return SharedCached(**fields, world=world, counts=np.stack(world.arrays(own.buckets.counts)))


@dataclasses.dataclass
class SharedCached(Cached):
    """Rows that lie in the processes' caches, each process's consecutive ones of the dataset in its own.

    Attributes:
        counts: rows of each bucket in each process, [processes, buckets].
    """

    world: World = dataclasses.field(default_factory=World)
    counts: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((1, 1), np.int64))

    def __len__(self) -> int:
        return int(self.counts.sum())

    def total(self, sums: Sequence[Tensor]) -> list[Tensor]:
        return self.world.total(sums)

    def pieces(self, size: int, order: torch.Generator, memory: Memory, skip: int = 0) -> Iterator[Share]:
        wanted, before = piece_rows(size), self.counts[: self.world.rank].sum(axis=0)
        waiting: list[np.ndarray] = []
        places: list[np.ndarray] = []
        filled = 0
        for bucket, index in self.visits(self.counts.sum(axis=0), order, skip * wanted):
            rows, first = self.buckets.read(bucket), int(before[bucket])
            while len(index):
                some = index[: wanted - filled]
                here = np.flatnonzero((some >= first) & (some < first + len(rows)))
                waiting.append(np.take(rows, some[here] - first, axis=0))
                places.append(here + filled)
                index, filled = index[len(some) :], filled + len(some)
                if filled == wanted:
                    yield self._share(waiting, places, filled, size)
                    waiting, places, filled = [], [], 0
            del rows
        if filled:
            yield self._share(waiting, places, filled, size)

    def _share(self, parts: list[np.ndarray], places: list[np.ndarray], total: int, size: int) -> Share:
        # Its number of rows is another one in every piece, so memory cannot be kept.
        rows, weights = self._encoded(parts, None)
        at = torch.from_numpy(np.concatenate(places))
        spare = self.sample.rows.rows(slice(0, 1)).clipped(self.encoding.clip)
        return Share(rows, weights, at, total, spare, max(1, min(FILL, size // (4 * self.world.size))))
