"""Training rows on disk: one pass puts them into random buckets, and an epoch loads bucket after bucket.

Rows go to buckets by a seeded hash of their position. An epoch takes the buckets in a random order and the rows of each
in a random order: a shuffle of all rows, up to which rows share a bucket. Resident memory holds one bucket, whatever
the number of rows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diabolo.data.encoding import Encoded, Encoding
from diabolo.data.sources import Piece, Rows, Share, piece_rows, slices
from diabolo.errors import OutputError
from diabolo.memory import Memory

__all__ = ["Buckets", "Cached", "cache_folder"]

#: Bytes of a bucket, and of the rows that wait to be written.
BUCKET = WAITING = 64 * 2**20
#: Buckets at most; for more rows they grow, so that what waits for each is still worth a write.
MOST_BUCKETS = 4096


@contextlib.contextmanager
def cache_folder(place: Path, out: Path, need: int) -> Iterator[Path]:
    """An empty folder for the cache of the fit that writes `out`, which goes at the end whatever happens.

    The name follows from `out`, so that what a killed fit left behind is found and removed by the next.

    Args:
        place: where the folder is to be.
        out: the model file.
        need: bytes that the cache takes.

    Raises:
        OutputError: no such place, or too little room.
    """
    mark = hashlib.sha256(str(out.absolute()).encode()).hexdigest()[:8]
    folder = place / f".{out.name}.{mark}.cache"
    advice = "give a folder with room by --cache"
    try:
        shutil.rmtree(folder, ignore_errors=True)
        free = shutil.disk_usage(place).free
        if free < need:
            raise OutputError(
                f"the cache needs {need / 2**30:.2f} GiB in {place}, which has {free / 2**30:.2f} GiB left; {advice}"
            )
        folder.mkdir()
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"cannot keep a cache in {place}: {error.strerror or error}; {advice}") from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Buckets:
    """Rows of numbers in files of about `BUCKET` bytes; what waits to be written is bounded too.

    Args:
        folder: where the files go.
        rows: number of rows to come, which decides how many buckets there are.
        columns: cells of a row.
        kind: their float type.
        weighted: whether each row has a weight.
    """

    def __init__(self, folder: Path, rows: int, columns: int, kind: np.dtype, weighted: bool) -> None:  # type: ignore[type-arg]
        self.folder, self.columns, self.kind, self.weighted = folder, columns, np.dtype(kind), weighted
        self._cells = columns * self.kind.itemsize
        self._width = self._cells + 8 * weighted
        self.counts = np.zeros(min(MOST_BUCKETS, max(1, math.ceil(rows * self._width / BUCKET))), np.int64)
        self._waiting = np.empty((max(1, WAITING // self._width), self._width), np.uint8)
        self._where = np.empty(len(self._waiting), np.int64)
        self._filled = 0

    def __len__(self) -> int:
        return len(self.counts)

    @staticmethod
    def size(rows: int, columns: int, kind: np.dtype, weighted: bool) -> int:  # type: ignore[type-arg]
        """Bytes that rows take on disk."""
        return rows * (columns * np.dtype(kind).itemsize + 8 * weighted)

    def add(self, values: np.ndarray, weights: np.ndarray | None, bucket: np.ndarray) -> None:
        """Put rows [n, C] with their weights [n] into the buckets [n]."""
        cells = np.ascontiguousarray(values, self.kind).view(np.uint8)
        done = 0
        while done < len(cells):
            room = min(len(self._waiting) - self._filled, len(cells) - done)
            to, of = slice(self._filled, self._filled + room), slice(done, done + room)
            self._waiting[to, : self._cells] = cells[of]
            if weights is not None:
                self._waiting[to, self._cells :] = weights[of].astype(np.float64).reshape(-1, 1).view(np.uint8)
            self._where[to] = bucket[of]
            self._filled, done = self._filled + room, done + room
            if self._filled == len(self._waiting):
                self._flush()

    def close(self) -> None:
        """Write what still waits, and let its memory go."""
        self._flush()
        self._waiting, self._where = self._waiting[:0], self._where[:0]

    def _flush(self) -> None:
        where = self._where[: self._filled]
        order = np.argsort(where, kind="stable")
        rows = np.take(self._waiting[: self._filled], order, axis=0)
        ends = np.cumsum(np.bincount(where, minlength=len(self)))
        try:
            for bucket, stop in enumerate(ends):
                start = ends[bucket - 1] if bucket else 0
                if stop > start:
                    with open(self._path(bucket), "ab", buffering=0) as file:
                        left = rows[start:stop].data.cast("B")
                        while left:  # a full disk may take a part before it refuses the rest
                            left = left[file.write(left) :]
                    self.counts[bucket] += stop - start
        except OSError as error:
            raise OutputError(
                f"cannot write the cache in {self.folder.parent}: {error.strerror or error}; give a folder with "
                "room by --cache"
            ) from None
        self._filled = 0

    def _path(self, bucket: int) -> Path:
        return self.folder / f"{bucket:04d}"

    def read(self, bucket: int) -> np.ndarray:
        """A bucket's rows as bytes, in the order of their positions; `split` tells what they hold."""
        if not self.counts[bucket]:
            return np.empty((0, self._width), np.uint8)
        return np.fromfile(self._path(bucket), np.uint8).reshape(-1, self._width)

    def split(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Values [n, C] and weights [n] of rows as bytes."""
        values = np.ascontiguousarray(rows[:, : self._cells]).view(self.kind)
        if not self.weighted:
            return values, None
        return values, np.ascontiguousarray(rows[:, self._cells :]).view(np.float64)[:, 0]


@dataclasses.dataclass
class Cached:
    """The `diabolo.data.sources.Source` over buckets; rows are encoded as they are read.

    Attributes:
        recode: values as they were read → as the encoding's schema wants them.
        mean_weight: of all rows.
        sample: encoded rows in memory that stand for all.
    """

    buckets: Buckets
    encoding: Encoding
    recode: Callable[[np.ndarray], np.ndarray]
    mean_weight: float
    masked: bool
    sample: Rows
    device: str = "cpu"

    def __len__(self) -> int:
        return int(self.buckets.counts.sum())

    def to(self, device: str) -> Cached:
        return dataclasses.replace(self, device=device, sample=self.sample.to(device))

    def pieces(self, size: int, order: torch.Generator, memory: Memory, skip: int = 0) -> Iterator[Piece | Share]:
        wanted, own = piece_rows(size), Memory()
        waiting: list[np.ndarray] = []
        missing = wanted
        for bucket, index in self.visits(self.buckets.counts, order, skip * wanted):
            rows = self.buckets.read(bucket)
            while len(index):
                waiting.append(np.take(rows, index[:missing], axis=0))
                index = index[missing:]
                missing -= len(waiting[-1])
                if not missing:
                    yield self._encoded(waiting, own)
                    waiting, missing = [], wanted
            del rows
        if waiting:
            yield self._encoded(waiting, own)

    def visits(self, counts: np.ndarray, order: torch.Generator, skip: int) -> Iterator[tuple[int, np.ndarray]]:
        """Buckets in a shuffled order, each with the shuffled positions of its rows, but for the first `skip` rows.

        Args:
            counts: rows of each bucket, [buckets].
        """
        buckets = torch.randperm(len(counts), generator=order).tolist()
        seeds = torch.randint(1 << 62, (len(buckets),), generator=order).tolist()
        for bucket, seed in zip(buckets, seeds, strict=True):
            count = int(counts[bucket])
            if skip < count:
                yield bucket, torch.randperm(count, generator=torch.Generator().manual_seed(seed)).numpy()[skip:]
            skip = max(0, skip - count)

    def chunks(self) -> Iterator[Piece]:
        for bucket in range(len(self.buckets)):
            rows = self.buckets.read(bucket)
            for part in slices(len(rows)):
                yield self._encoded([rows[part]], None)

    def total(self, sums: Sequence[Tensor]) -> list[Tensor]:
        return list(sums)

    def some(self) -> Rows:
        return self.sample

    def _encoded(self, parts: list[np.ndarray], memory: Memory | None) -> Piece:
        values, weights = self.buckets.split(parts[0] if len(parts) == 1 else np.concatenate(parts))
        encoded = self.encoding.encode(torch.from_numpy(self.recode(values)), memory).clipped(self.encoding.clip)
        rows = Encoded(encoded.x, encoded.present, largest=encoded.largest).to(self.device)
        share: Tensor | None = None
        if weights is not None:
            share = torch.from_numpy((weights / self.mean_weight).astype(np.float32)).to(self.device)
        return rows, share
