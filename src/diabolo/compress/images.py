"""Images as pieces of a stack of symbols, and back: blocks of them whose latents give their bits back.

The latents of the first block, where the stack is empty yet, are the cells of the posterior's means; from then on they
are popped under the posterior, and the writer pays −ELBO and no initial bits.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from diabolo.compress.bitsback import Empty, Stack
from diabolo.compress.bytesio import BytesReader, BytesWriter
from diabolo.compress.coder import PRECISION
from diabolo.compress.curves import CELL, LATENTS, Curve
from diabolo.compress.image_model import ImageModel
from diabolo.errors import CompressedFileError

__all__ = ["Account", "decode_images", "encode_images"]

#: Images of the first block at most; pixels of any.
FIRST, MOST_PIXELS = 32, 1 << 23
MOST_BLOCKS = 1 << 16
#: Memory that a block of images may take.
MOST_BYTES = 1 << 29
#: Images that go through a network at once, such that they stay in the cache.
TOGETHER = 1 << 11
BYTES_PER_LANE, MOST_LANES = 2_500, 1 << 9


@dataclasses.dataclass
class Account:
    """Bits of a piece: pixels under p(x|z), latents under p(z), and what popping them under q(z|x) gave back."""

    pixels: float = 0.0
    prior: float = 0.0
    back: float = 0.0

    @property
    def total(self) -> float:
        return self.pixels + self.prior - self.back


def _bits(frequencies: np.ndarray) -> float:
    return float((PRECISION - np.log2(frequencies.astype(np.float64))).sum())


def encode_images(model: ImageModel, images: np.ndarray) -> tuple[bytes, Account]:
    """Images [n, pixels] uint8 as a piece."""
    n, blocks, account = len(images), list[int](), Account()
    lanes = _lanes(n * model.sizes.pixels)
    stack, most, at = Stack(lanes), max(1, MOST_PIXELS // model.sizes.pixels), 0
    while at < n:
        size, drawn = min(n - at, most), False
        if model.sizes.latents:
            # A latent takes some seven bits; where there are too few, latents are the means.
            enough = (stack.bits - 32 * lanes) // (10 * model.sizes.latents)
            drawn = enough >= 1
            size = min(size, enough if drawn else FIRST)
        try:
            tried, sums = stack.copy(), Account()
            _push(model, tried, images[at : at + size], drawn, sums)
        except Empty:
            tried, sums, drawn, size = stack.copy(), Account(), False, min(size, FIRST)
            _push(model, tried, images[at : at + size], drawn, sums)
        stack, at = tried, at + size
        blocks.append(2 * size + drawn)
        account.pixels, account.prior = account.pixels + sums.pixels, account.prior + sums.prior
        account.back += sums.back
    out = BytesWriter()
    out.number(lanes)
    out.number(len(blocks))
    for size in blocks:
        out.number(size)
    return bytes(out.data) + stack.to_bytes(), account


def _push(model: ImageModel, stack: Stack, images: np.ndarray, drawn: bool, account: Account) -> None:
    s, n = model.sizes, len(images)
    x = np.ascontiguousarray(images.T)
    cells = np.empty(0, np.int64)
    if s.latents:
        q = model.posterior(x)
        if drawn:
            cells, _, frequencies = stack.pop(s.latents * n, q.find)
            account.back += _bits(frequencies)
        else:
            cells = _cells(q)
    features, seen = model.features(cells, n), model.seen(n)
    for i in range(s.pixels):
        seen[model.place(i)] = x[i]
    start, width = np.empty(n, np.int64), np.empty(n, np.int64)
    for i in reversed(range(s.pixels)):
        for part in _parts(n):
            curve = model.given(i, seen[:, part], features[:, :, part])
            start[part], width[part] = curve.intervals(x[i, part].astype(np.int64))
        stack.push(start, width)
        account.pixels += _bits(width)
    if s.latents:
        begin, width = model.prior(len(cells)).intervals(cells)
        stack.push(begin, width)
        account.prior += _bits(width)


def decode_images(model: ImageModel, data: bytes, n: int) -> np.ndarray:
    """The n images [n, pixels] uint8 of a piece.

    Raises:
        CompressedFileError: it is damaged.
    """
    reader = BytesReader(data)
    lanes, count = reader.number(), reader.number()
    if not (1 <= lanes <= MOST_LANES and count <= min(n, MOST_BLOCKS)):
        raise CompressedFileError(f"{lanes:,} states or {count:,} blocks of images are impossible")
    blocks = [reader.number() for _ in range(count)]
    if max(blocks, default=0) >> 1 > max(1, MOST_BYTES // model.sizes.bytes_each):
        raise CompressedFileError("a block of images that is too large")
    if sum(b >> 1 for b in blocks) != n or max(blocks, default=2) >> 1 > max(1, MOST_PIXELS // model.sizes.pixels):
        raise CompressedFileError("its blocks of images do not add up to its rows")
    stack, out, end = Stack.from_bytes(data[reader.at :], lanes), np.empty((n, model.sizes.pixels), np.uint8), n
    for block in reversed(blocks):
        size = block >> 1
        out[end - size : end] = _pop(model, stack, size, bool(block & 1))
        end -= size
    stack.finish()
    return out


def _pop(model: ImageModel, stack: Stack, n: int, drawn: bool) -> np.ndarray:
    s, cells = model.sizes, np.empty(0, np.int64)
    if s.latents:
        cells, _, _ = stack.pop(s.latents * n, model.prior(s.latents * n).find)
    features, seen, x = model.features(cells, n), model.seen(n), np.empty((s.pixels, n), np.uint8)
    for i in range(s.pixels):
        curves = [model.given(i, seen[:, part], features[:, :, part]) for part in _parts(n)]
        curve = _joined(curves)
        curve.ready(min(n, stack.lanes))
        x[i], _, _ = stack.pop(n, curve.find)
        seen[model.place(i)] = x[i]
    if s.latents:
        q = model.posterior(x)
        if drawn:
            stack.push(*q.intervals(cells))
        elif (cells != _cells(q)).any():
            raise CompressedFileError("its images have other latents than they should")
    return np.ascontiguousarray(x.T)


def _cells(q: Curve) -> np.ndarray:
    """Cells of the means."""
    return np.asarray((q.center[0] - LATENTS[0]) // CELL)


def _parts(n: int) -> list[slice]:
    return [slice(begin, min(begin + TOGETHER, n)) for begin in range(0, n, TOGETHER)]


def _joined(curves: list[Curve]) -> Curve:
    if len(curves) == 1:
        return curves[0]
    center, steep = (np.concatenate([getattr(c, k) for c in curves], axis=1) for k in ("center", "steep"))
    weight = np.concatenate([c.weight for c in curves if c.weight is not None], axis=1)
    return dataclasses.replace(curves[0], center=center, steep=steep, weight=weight)


def _lanes(pixels: int) -> int:
    """Number of states for a guess of two bits a pixel."""
    most = max(pixels // (4 * BYTES_PER_LANE), 1)
    return max(1, min(MOST_LANES, 1 << most.bit_length() - 1))
