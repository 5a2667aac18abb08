"""A column of integers in the cheapest of some simple ways; what the coder needs, and back.

| code | way |
|---|---|
| 0 | all the same |
| 1 | a table of bins of equal width 2^s, lower digits beyond the table's reach as raw bits |
| 2 | the same of differences from one value to the next, in zigzag |
| 3 | bytes of the least width, packed by zlib, bz2 or xz |
| 4 | differences as bytes, packed |
| 5 | few distinct values: those, and a table of positions among them |
| 6 | by the autoregressive network |
"""

from __future__ import annotations

import bz2
import dataclasses
from typing import Any

import numpy as np

from diabolo.compress.bytesio import BytesReader, BytesWriter, pack, unpack
from diabolo.compress.coder import Decoder, Interval, information
from diabolo.compress.tables import Table, frequencies
from diabolo.errors import CompressedFileError

__all__ = ["MODEL", "Coded", "coded", "decoded"]

CONSTANT, TABLE, DIFFERENCES, PACKED, PACKED_DIFFERENCES, LEVELS, MODEL = range(7)
#: Leading digits that a table knows of.
REACH = 16
MOST_BINS = 1 << 13
MOST_LEVELS = 1 << 12
#: Values within so wide a range are counted; bytes or values that decide whether a slow way is tried.
COUNTED, LOOK = 1 << 20, 1 << 13


@dataclasses.dataclass
class Coded:
    """What is written of a column: a head, and symbols for the coder."""

    head: bytes
    symbols: list[Interval]
    bits: float
    code: int

    @property
    def cost(self) -> float:
        """Bits in all."""
        return 8 * len(self.head) + self.bits


def _made(writer: BytesWriter, symbols: list[Interval], code: int) -> Coded:
    return Coded(bytes(writer.data), symbols, information(symbols), code)


def coded(values: np.ndarray, rival: Coded | None = None) -> Coded:
    """The cheapest way for values [n] int64, `rival` (of the autoregressive network) among them."""
    found = [] if rival is None else [rival]
    if not len(values) or (values == values[0]).all():
        writer = BytesWriter()
        writer.number(CONSTANT)
        writer.signed(int(values[0]) if len(values) else 0)
        return _made(writer, [], CONSTANT)
    span = int(values.max()) - int(values.min())
    counts = np.bincount(values - values.min()) if span < COUNTED else None
    lost = rival is None or counts is None or rival.cost > _entropy(counts)
    if lost:
        found.append(_table(values, TABLE))
        distinct = _distinct(values, counts)
        if distinct is not None:
            found.append(_levels(values, distinct))
    step = _differences(values)
    smooth = _smooth(values, step)
    if smooth:
        found.append(_table(step, DIFFERENCES))
    best = min((c.cost for c in found), default=np.inf)
    for code, numbers in ((PACKED, values), (PACKED_DIFFERENCES, step)):
        least = int(numbers.min())
        raw = _uint(numbers - np.int64(least))
        width = max(1, (int(raw.max()).bit_length() + 7) // 8)
        width = next(w for w in (1, 2, 4, 8) if w >= width)
        data = raw.astype(f"<u{width}").tobytes()
        if (code == PACKED_DIFFERENCES and not smooth) or not _packs(data, best / 8, lost):
            continue
        writer = BytesWriter()
        writer.number(code)
        writer.signed(least)
        writer.number(width)
        writer.piece(pack(data, best / len(values) < 12))
        found.append(_made(writer, [], code))
    return min(found, key=lambda c: c.cost)


def _entropy(counts: np.ndarray) -> float:
    """Bits that no table goes below."""
    used = counts[counts > 0].astype(np.float64)
    return float((used * np.log2(used.sum() / used)).sum())


def _distinct(values: np.ndarray, counts: np.ndarray | None) -> np.ndarray | None:
    """The distinct values, where they are few and far between."""
    if counts is not None:
        found = np.flatnonzero(counts) + values.min()
        sparse = 4 * len(found) < len(counts)
    else:
        # A look at some may show that there are many.
        many = len(values) > MOST_LEVELS and len(np.unique(values[:MOST_LEVELS])) > MOST_LEVELS // 2
        found, sparse = np.unique(values[:0] if many else values), not many
    return found if sparse and len(found) <= min(MOST_LEVELS, len(values) // 2 + 1) else None


def _smooth(values: np.ndarray, step: np.ndarray) -> bool:
    """Whether differences may be worth a try: whether the first ones have fewer digits."""
    if len(values) < LOOK:
        return True
    v = values[:LOOK].astype(np.float64)
    apart = np.log2(2 * np.abs(v - np.median(v)) + 1).mean()
    return bool(np.log2(_uint(step[:LOOK]).astype(np.float64) + 1).mean() < apart)


def _packs(data: bytes, best: float, patterns: bool) -> bool:
    """Whether slow packing may beat so many bytes: a fast one of all, or the first kilobytes, come near.

    Args:
        patterns: whether there may be some without repeats; not where a distribution of each cell beats every table.
    """
    import pyarrow as pa

    if len(data) <= 64 or len(pa.Codec("zstd", compression_level=3).compress(data, asbytes=True)) < 1.2 * best:
        return True
    first = data[:LOOK]
    return patterns and len(bz2.compress(first, 9)) < 1.1 * best * len(first) / len(data)


def _uint(values: np.ndarray) -> np.ndarray:
    """int64 modulo 2⁶⁴."""
    return values.astype(np.int64).view(np.uint64)


def _differences(values: np.ndarray) -> np.ndarray:
    """Zigzag of v_i − v_(i−1) modulo 2⁶⁴, from zero on."""
    d = np.diff(_uint(values), prepend=np.uint64(0)).view(np.int64)
    return (d << 1) ^ (d >> 63)


def _summed(zigzag: np.ndarray) -> np.ndarray:
    u = _uint(zigzag)
    d = (u >> np.uint64(1)) ^ (np.uint64(0) - (u & np.uint64(1)))
    return np.cumsum(d, dtype=np.uint64).view(np.int64)


def _table(values: np.ndarray, code: int) -> Coded:
    writer = BytesWriter()
    writer.number(code)
    low = int(values.min()) if code == TABLE else 0
    u = _uint(values - np.int64(low)) if low else _uint(values)
    raw = max(0, int(u.max()).bit_length() - REACH)
    writer.signed(low)
    writer.number(raw)
    if raw:
        writer.piece(_bits(u, raw))
    return _binned(writer, (u >> np.uint64(raw)).astype(np.int64), code)


def _binned(writer: BytesWriter, top: np.ndarray, code: int) -> Coded:
    """A table of bins of the width that costs least, data and table together."""
    counts = np.bincount(top)
    best: tuple[float, int, np.ndarray] | None = None
    finest = max(0, (len(counts) - 1).bit_length() - (MOST_BINS.bit_length() - 1))
    for s in range(finest, max(finest + 1, len(counts).bit_length())):
        binned = np.add.reduceat(counts, np.arange(0, len(counts), 1 << s))
        weights = np.rint(2 * np.sqrt(binned)).astype(np.int64)
        share = np.maximum(weights.astype(float) ** 2, 1e-9)
        used = binned > 0
        bits = -(binned[used] * np.log2(share[used] / share.sum() / (1 << s))).sum()
        # A byte or so for each bin in use.
        guess = bits + 6.5 * used.sum() + 0.5 * len(binned)
        if best is None or guess < best[0]:
            best = (guess, s, weights)
    _, s, weights = best or (0.0, 0, np.zeros(0, np.int64))
    writer.number(s)
    writer.number(len(counts))
    writer.piece(_weights(weights))
    return _made(writer, [_wide(weights, s, len(counts)).intervals(top)], code)


def _weights(weights: np.ndarray) -> bytes:
    inner = BytesWriter()
    for w in weights.tolist():
        inner.number(w)
    return pack(bytes(inner.data), thorough=False)


def _wide(weights: np.ndarray, s: int, length: int) -> Table:
    edges = np.minimum(np.arange(len(weights) + 1, dtype=np.int64) << s, length)
    return Table(edges, frequencies(weights * weights, np.diff(edges)))


def _levels(values: np.ndarray, distinct: np.ndarray) -> Coded:
    writer = BytesWriter()
    writer.number(LEVELS)
    inner = BytesWriter()
    inner.signed(int(distinct[0]))
    for gap in np.diff(_uint(distinct)).tolist():
        inner.number(gap)
    writer.number(len(distinct))
    writer.piece(pack(bytes(inner.data)))
    return _binned(writer, np.searchsorted(distinct, values).astype(np.int64), LEVELS)


def _bits(u: np.ndarray, digits: int) -> bytes:
    """The lowest digits of each, first value first, lowest digit first."""
    rows = np.empty((len(u), digits), np.uint8)
    for i in range(digits):
        rows[:, i] = (u >> np.uint64(i)) & np.uint64(1)
    return np.packbits(rows, bitorder="little").tobytes()


def _from_bits(data: bytes, n: int, digits: int) -> np.ndarray:
    if len(data) != (n * digits + 7) // 8:
        raise CompressedFileError("its raw digits have a wrong length")
    flat = np.unpackbits(np.frombuffer(data, np.uint8), count=n * digits, bitorder="little").reshape(n, digits)
    u = np.zeros(n, np.uint64)
    for i in range(digits):
        u |= flat[:, i].astype(np.uint64) << np.uint64(i)
    return u


def decoded(reader: BytesReader, decoder: Decoder, n: int, model: Any = None) -> np.ndarray:
    """The column of n values that `coded` coded.

    Args:
        model: gives the table of the autoregressive network for this column, where the column has one.
    """
    code = reader.number()
    if code == CONSTANT:
        return np.full(n, np.uint64(reader.signed() & (2**64 - 1)), np.uint64).view(np.int64)
    if code == MODEL and model is not None:
        return np.asarray(model(decoder, n))
    if code == LEVELS:
        return _from_levels(reader, decoder, n)
    if code not in (TABLE, DIFFERENCES, PACKED, PACKED_DIFFERENCES):
        raise CompressedFileError(f"a column is coded in the unknown way {code}")
    low = np.uint64(reader.signed() & (2**64 - 1))
    if code in (PACKED, PACKED_DIFFERENCES):
        width = reader.number()
        if width not in (1, 2, 4, 8):
            raise CompressedFileError(f"numbers of {width} bytes")
        data = unpack(reader.piece(), n * width)
        if len(data) != n * width:
            raise CompressedFileError("packed numbers of a wrong length")
        values = (np.frombuffer(data, f"<u{width}").astype(np.uint64) + low).view(np.int64)
        return values if code == PACKED else _summed(values)
    raw = reader.number()
    if raw > 64 - REACH:
        raise CompressedFileError(f"{raw} raw digits")
    digits = _from_bits(reader.piece(), n, raw) if raw else np.zeros(n, np.uint64)
    top = _from_table(reader, decoder, n)
    values = (((top.astype(np.uint64) << np.uint64(raw)) | digits) + low).view(np.int64)
    return values if code == TABLE else _summed(values)


def _from_table(reader: BytesReader, decoder: Decoder, n: int) -> np.ndarray:
    s, length = reader.number(), reader.number()
    if s > REACH or not 0 < length <= 1 << REACH:
        raise CompressedFileError("a table of an impossible size")
    bins = -(-length // (1 << s))
    inner = BytesReader(unpack(reader.piece(), 10 * bins))
    weights = np.array([inner.number() for _ in range(bins)], np.float64)
    inner.finish()
    if (weights > 1 << 24).any() or (weights**2).sum() > 1 << 34:
        raise CompressedFileError("a table with impossible weights")
    return decoder.column(n, _wide(weights.astype(np.int64), s, length).find)


def _from_levels(reader: BytesReader, decoder: Decoder, n: int) -> np.ndarray:
    count = reader.number()
    if not 0 < count <= MOST_LEVELS:
        raise CompressedFileError(f"{count} levels")
    inner = BytesReader(unpack(reader.piece(), 11 * count))
    at = [inner.signed() & (2**64 - 1)]
    for _ in range(count - 1):
        at.append((at[-1] + inner.number()) & (2**64 - 1))
    inner.finish()
    levels = np.array(at, np.uint64).view(np.int64)
    return np.asarray(levels[np.minimum(_from_table(reader, decoder, n), count - 1)])
