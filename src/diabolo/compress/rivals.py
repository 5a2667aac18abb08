"""General and scientific compressors on the same rows within the same bounds: the verdict of a compression.

A general one gets each column as integers of this package's own grid in the narrowest type, or as raw cells where the
column has no bound: the best that quantising first can do for it. ZFP (Lindstrom 2014, doi:10.1109/TVCG.2014.2346458)
and SZ3 (Liang et al. 2023, arXiv:2111.02925) get floats and an absolute bound; of a relative one that of the smallest.
"""

from __future__ import annotations

import bz2
import dataclasses
import importlib.util
import io
import lzma
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diabolo.compress.chunk import encode_chunk
from diabolo.compress.columns import ipc, is_coded_list, is_float, leaves
from diabolo.compress.grid import Grid
from diabolo.compress.pixels import pixel_columns, pixels_of
from diabolo.compress.plan import Plan

__all__ = ["RIVALS", "OfSource", "Verdict", "of_source", "sample_of", "verdict"]

#: Cells of the first rows that rivals are tried on: a second or two.
MOST_CELLS = 1 << 20
#: Bytes of a source that rivals are tried on: xz -9 takes a second for two or three million.
MOST_SOURCE = 1 << 24


@dataclasses.dataclass
class Verdict:
    """Bytes of the same rows by each compressor, and whether the codec's network coded any column of them.

    Attributes:
        ours: of the file, header and index and all, as many as fall to these rows.
    """

    rows: int
    ours: int
    rivals: dict[str, int]
    by_model: bool

    def lines(self) -> list[str]:
        """In words: every size, then who wins and by how much."""
        who = "the codec's network" if self.by_model else "diabolo"
        first = (
            f"verdict on {self.rows:,} rows within the same bounds, bytes: diabolo {self.ours:,}, {_said(self.rivals)}"
        )
        return [first, _judged(self.ours, self.rivals, who)]


@dataclasses.dataclass
class OfSource:
    """The file beside the files that its rows came from, and beside general compressors of these files as they are.

    Attributes:
        ours: bytes of the file.
        source: bytes of the files that were read.
        rivals: bytes of each compressor; empty for more than `MOST_SOURCE` bytes.
        lossless: whether nothing was rounded.
    """

    ours: int
    source: int
    rivals: dict[str, int]
    lossless: bool

    def lines(self) -> list[str]:
        """In words, every byte of both counted."""
        first = f"the whole file: {self.ours:,} bytes, for a source of {self.source:,}"
        if not self.rivals:
            return [f"{first} (no rivals on sources above {MOST_SOURCE:,} bytes)"]
        first += f"; of the source as it is, without loss: {_said(self.rivals)}"
        if self.lossless:
            return [first, _judged(self.ours, self.rivals, "diabolo")]
        # Another thing than a table within bounds: that is for the reader to weigh.
        best = min(self.rivals.values())
        return [first, f"  the file has {self.ours / best:.0%} of the least of these"]


def _said(sizes: dict[str, int]) -> str:
    return ", ".join(f"{name} {size:,}" for name, size in sizes.items())


def _judged(ours: int, rivals: dict[str, int], who: str) -> str:
    best = min(rivals, key=lambda n: rivals[n])
    size = rivals[best]
    if ours < size:
        return f"  {who} wins by {size / ours - 1:.0%} over {best}"
    if ours <= 1.01 * size:
        return f"  no gain: {best} comes to the same size"
    return f"  use {best}: it is {1 - size / ours:.0%} smaller"


def of_source(ours: int, paths: Sequence[Path], lossless: bool) -> OfSource | None:
    """The file of so many bytes beside its source; None where that is not on this machine."""
    sizes = [p.stat().st_size for p in paths]
    if not sizes:
        return None
    found = {}
    if sum(sizes) <= MOST_SOURCE:
        import pyarrow as pa

        data, codec = b"".join(p.read_bytes() for p in paths), pa.Codec("zstd", compression_level=19)
        found = {
            "xz -9": len(lzma.compress(data, preset=9)),
            "zstd -19": len(codec.compress(data, asbytes=True)),
            "bz2 -9": len(bz2.compress(data, 9)),
        }
    return OfSource(ours, sum(sizes), found, lossless)


def sample_of(batch: Any) -> Any:
    """The first rows of a batch, so many that rivals take a second or two."""
    rows = max(1, MOST_CELLS // max(batch.num_columns, 1))
    values = sum(len(leaves(c)) for c in batch.columns if is_coded_list(c.type))
    return batch.slice(0, max(1, min(rows, int(MOST_CELLS * batch.num_rows / max(values, 1)))))


def verdict(plan: Plan, batch: Any, fixed: float) -> Verdict:
    """Compare on a batch of the table.

    Args:
        fixed: bytes of the file that are no chunk's, as many as fall to these rows.
    """
    batch = plan.nest.split(batch)
    payload, tally = encode_chunk(plan, batch)
    columns = [_plain(plan, i, batch.column(i)) for i in range(batch.num_columns)]
    rows = _rows(plan, batch, columns)
    sizes = {}
    for name, rival in RIVALS.items():
        size = rival(plan, batch, columns)
        if rows is not None and name in GENERAL:
            size = min(size or len(rows[0]), rival(plan, batch, rows) or len(rows[0]))
        if size is not None:
            sizes[name] = size
    return Verdict(batch.num_rows, round(len(payload) + fixed), sizes, bool(tally.by_model.any()))


Column = np.ndarray | bytes


def _rows(plan: Plan, batch: Any, columns: list[Column]) -> list[Column] | None:
    """Images as rows, which general compressors fare better with, and the other columns; None without images."""
    there = pixel_columns(plan.schema)
    images = None if there is None else pixels_of(batch, there[1])
    if there is None or images is None:
        return None
    inside = set(there[1])
    return [images.tobytes(), *(c for i, c in enumerate(columns) if i not in inside)]


def _plain(plan: Plan, i: int, array: Any) -> Column:
    """A column for a general compressor: integers of its grid, its raw cells, or its Arrow stream."""
    kind, grid = array.type, plan.grids[i]
    if is_coded_list(kind) and grid is not None and not array.null_count:
        return ipc(_on_grid(array, grid))
    if not is_float(kind) or (array.null_count and grid is None):
        return _narrow(array)
    size = kind.bit_width // 8
    x = np.frombuffer(array.buffers()[1], f"<f{size}", len(array), array.offset * size)
    if grid is None or not len(x):
        return x
    k = grid.index(x)
    k = k - k.min()
    if array.null_count:
        k = np.where(array.is_null().to_numpy(zero_copy_only=False), 0, k + 1)
    return np.asarray(k.astype(np.min_scalar_type(int(k.max()))))


def _on_grid(array: Any, grid: Grid) -> Any:
    """Lists of floats as lists of their grid's integers, in the narrowest type."""
    import pyarrow as pa

    lengths = np.asarray(array.value_lengths()).astype(np.int64)
    values = array.flatten()
    if is_coded_list(values.type):
        inner = _on_grid(values, grid) if not values.null_count else values
    elif values.null_count or not len(values):
        inner = values
    else:
        size = values.type.bit_width // 8
        k = grid.index(np.frombuffer(values.buffers()[1], f"<f{size}", len(values), values.offset * size))
        k = k - k.min()
        inner = pa.array(k.astype(np.min_scalar_type(int(k.max()))))
    return pa.ListArray.from_arrays(pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)), inner)


def _narrow(array: Any) -> Column:
    import pyarrow as pa

    whole = pa.types.is_integer(array.type) and not array.null_count and len(array)
    if not whole:
        return ipc(array)
    x = array.to_numpy()
    low, high = int(x.min()), int(x.max())
    fits = next((np.dtype(t) for t in ("u1", "i1", "u2", "i2", "u4", "i4") if _inside(low, high, t)), x.dtype)
    return np.asarray(x.astype(fits))


def _inside(low: int, high: int, kind: str) -> bool:
    limits = np.iinfo(kind)
    return int(limits.min) <= low and high <= int(limits.max)


def _bytes(column: Column) -> bytes:
    return column if isinstance(column, bytes) else column.tobytes()


def _zstd(plan: Plan, batch: Any, columns: list[Column]) -> int:
    import pyarrow as pa

    codec = pa.Codec("zstd", compression_level=19)
    return sum(len(codec.compress(_bytes(c), asbytes=True)) for c in columns)


def _xz(plan: Plan, batch: Any, columns: list[Column]) -> int:
    return sum(len(lzma.compress(_bytes(c), preset=6)) for c in columns)


def _bz2(plan: Plan, batch: Any, columns: list[Column]) -> int:
    return sum(len(bz2.compress(_bytes(c), 9)) for c in columns)


def _parquet(plan: Plan, batch: Any, columns: list[Column]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = [
        _arrow(batch.column(i), plan.grids[i]) if isinstance(c, bytes) else pa.array(c) for i, c in enumerate(columns)
    ]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, names=[f"c{i}" for i in range(len(arrays))]), sink, compression="zstd")
    return len(sink.getvalue())


def _arrow(array: Any, grid: Grid | None) -> Any:
    listed = is_coded_list(array.type) and grid is not None and not array.null_count
    return _on_grid(array, grid) if listed and grid is not None else array


def _scientific(one: Callable[[np.ndarray, float], int], module: str) -> Callable[..., int | None]:
    """A compressor of floats, where it is installed and floats with bounds there are; other columns by xz."""

    def size(plan: Plan, batch: Any, columns: list[Column]) -> int | None:
        if importlib.util.find_spec(module) is None or not any(plan.bounds) or not batch.num_rows:
            return None
        total = 0
        for i, column in enumerate(columns):
            bound, array = plan.bounds[i], batch.column(i)
            if bound is None or array.null_count or is_coded_list(array.type) or array.type.bit_width < 32:
                total += len(lzma.compress(_bytes(column), preset=6))
                continue
            x = np.array(array.to_numpy())
            if not np.isfinite(x).all():
                total += len(lzma.compress(_bytes(column), preset=6))
                continue
            least = float(np.abs(x[x != 0]).min(initial=np.inf)) if bound.relative else 1.0
            total += one(x, bound.error * (least if np.isfinite(least) else 1.0))
        return total

    return size


def _zfp(x: np.ndarray, error: float) -> int:
    import zfpy

    return len(zfpy.compress_numpy(x, tolerance=error))


def _sz3(x: np.ndarray, error: float) -> int:
    import pysz

    config = pysz.szConfig((len(x),))
    config.errorBoundMode, config.absErrorBound = pysz.szErrorBoundMode.ABS, error
    return len(pysz.sz.compress(x, config)[0])


#: Those that take bytes in any order.
GENERAL = {"zstd -19", "xz", "bz2"}
#: Name to (plan, batch, columns as integers) → bytes; None where it does not apply.
RIVALS: dict[str, Callable[[Plan, Any, list[Column]], int | None]] = {
    "zstd -19": _zstd,
    "xz": _xz,
    "bz2": _bz2,
    "Parquet+zstd": _parquet,
    "SZ3": _scientific(_sz3, "pysz"),
    "ZFP": _scientific(_zfp, "zfpy"),
}
