"""Training rows as a loop sees them, wherever they lie: pieces in a shuffled order, chunks in a fixed one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from diabolo.data.encoding import Encoded, Encoding
from diabolo.errors import DataError
from diabolo.memory import Memory

__all__ = ["CHUNK", "GATHER", "Piece", "Rows", "Share", "Source", "encoded_rows", "piece_rows", "slices"]

#: Rows gathered at once: shuffling stays out of the step, and what is gathered stays in the cache.
GATHER = 8_192
#: Rows per chunk where order does not matter.
CHUNK = 65_536

#: Clipped rows and their weights, of mean 1 over all rows.
Piece = tuple[Encoded, Tensor | None]


class Share(NamedTuple):
    """The rows at hand of a piece, and their positions [n] int64 among its `total` rows."""

    rows: Encoded
    weights: Tensor | None
    at: Tensor
    total: int
    #: One row, for batches of which none is at hand.
    spare: Encoded
    fill: int


class Source(Protocol):
    """n training rows. `Rows` keeps them in memory, `diabolo.data.cache.Cached` on disk; those of
    `diabolo.data.shared` lie in several processes, each of which sees its share.
    """

    @property
    def masked(self) -> bool:
        """Whether a cell of some row is missing or absent."""
        ...

    def __len__(self) -> int: ...

    def to(self, device: str) -> Source: ...

    def pieces(self, size: int, order: torch.Generator, memory: Memory, skip: int = 0) -> Iterator[Piece | Share]:
        """All rows once, shuffled, in pieces of `piece_rows(size)` rows; the last may be shorter.

        Whatever is drawn from `order` is drawn before the first piece comes, so that an epoch is known by the
        generator's state at its start, and a piece of it by its number: with `skip` = k the same pieces come but
        for the first k. A piece is good until the next one.
        """
        ...

    def chunks(self) -> Iterator[Piece]:
        """All rows once, in the same order at every call."""
        ...

    def total(self, sums: Sequence[Tensor]) -> list[Tensor]:
        """Sums over the rows of `chunks` as sums over all rows: these are fewer where processes share them."""
        ...

    def some(self) -> Rows:
        """Rows in memory that stand for all: all of them where they are in memory, else a uniform sample."""
        ...


def piece_rows(size: int) -> int:
    """Rows of a piece for steps of `size` rows: whole steps, some `GATHER` rows."""
    return max(1, GATHER // size) * size


def slices(n: int, size: int = CHUNK) -> Iterator[slice]:
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


@dataclasses.dataclass
class Rows:
    """Rows in memory."""

    rows: Encoded
    weights: Tensor | None

    @property
    def masked(self) -> bool:
        return self.rows.present is not None

    def __len__(self) -> int:
        return len(self.rows)

    def to(self, device: str) -> Rows:
        return Rows(self.rows.to(device), None if self.weights is None else self.weights.to(device))

    def pieces(self, size: int, order: torch.Generator, memory: Memory, skip: int = 0) -> Iterator[Piece]:
        permutation = torch.randperm(len(self), generator=order).to(self.rows.x.device)
        for number, part in enumerate(slices(len(self), piece_rows(size))):
            if number >= skip:
                index = permutation[part]
                yield self.rows.take(index, memory), None if self.weights is None else self.weights[index]

    def chunks(self) -> Iterator[Piece]:
        for part in slices(len(self)):
            yield self.rows.rows(part), None if self.weights is None else self.weights[part]

    def total(self, sums: Sequence[Tensor]) -> list[Tensor]:
        return list(sums)

    def some(self) -> Rows:
        return self


def encoded_rows(encoding: Encoding, values: np.ndarray, weights: np.ndarray | None, at: np.ndarray) -> Rows:
    """Encode rows [n, C] in chunks, and clip them.

    Args:
        weights: [n] or None; scaled to mean 1.
        at: [n], the rows' numbers in the table.

    Raises:
        DataError: names the first row that overflows.
    """
    parts = []
    for part in slices(max(len(values), 1)):
        rows = encoding.encode(torch.from_numpy(np.ascontiguousarray(values[part])))
        if rows.bad is not None:
            for i, reason in enumerate(encoding.flags(values[part])):
                if reason and "missing" not in reason:
                    number = at[part.start + i]
                    raise DataError(f"row {number} cannot be fitted: {reason}; mend it or leave the row out")
        parts.append(rows.clipped(encoding.clip))
    w = None
    if weights is not None:
        w = torch.from_numpy((weights / (weights.mean() if len(weights) else 1.0)).astype(np.float32))
    return Rows(dataclasses.replace(_joined(parts), missing=None, bad=None, changed=None), w)


def _joined(parts: list[Encoded]) -> Encoded:
    if len(parts) == 1:
        return parts[0]
    masks = [p.present for p in parts if p.present is not None]
    present = None
    if masks:
        present = torch.cat(
            [p.x.new_ones(len(p), masks[0].shape[1]).bool() if p.present is None else p.present for p in parts]
        )
    return Encoded(torch.cat([p.x for p in parts]), present, None, None, None)
