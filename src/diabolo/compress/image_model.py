"""The autoencoder of images in whole numbers: latents with bits back, each pixel given them and its neighbours before.

p(x, z) = p(z) Π p(x_i | z, pixels before i within reach), a variational autoencoder (Kingma, Welling 2013,
arXiv:1312.6114) whose decoder sees local pixels as well (Gulrajani et al. 2016, arXiv:1611.05013); pixels are mixtures
of logistic distributions (Salimans et al. 2017, arXiv:1701.05517). With reach 0 it is the plain one, without latents an
autoregressive one. `diabolo.compress.bitsback` codes its latents; docs/dbl.md has all rules.
"""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np

from diabolo.compress.bytesio import BytesReader, BytesWriter, pack, unpack
from diabolo.compress.coder import Decoder, encode, information, lanes_for
from diabolo.compress.curves import LATENTS, PRIOR, Curve, logistic, middle, mixing, normal, steepness
from diabolo.compress.integers import coded, decoded
from diabolo.compress.layers import MOST, Layer, through
from diabolo.compress.limits import most_weights
from diabolo.errors import CompressedFileError

__all__ = ["HEAD_WEIGHT", "LEVELS", "ImageModel", "Sizes"]

#: Grey levels.
LEVELS = 256
FARTHEST = 1 << 17
#: Weights and biases are in 2⁻⁶, those of the head in 2⁻¹⁰.
HEAD_WEIGHT = 1 << 10
#: What brings the head's sums to logits, centers and t.
HEAD_SHIFTS = (10, 5, 10)
MOST_SIZE = 1 << 12
PIXEL_Q, LATENT_Q = 9, 10
DEEPEST_PIXEL, DEEPEST_LATENT = 640, 310


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What a card says of a model: rows, columns (width times channels), reach up and to the sides, and widths."""

    rows: int
    columns: int
    up: int
    aside: int
    latents: int
    cell: int
    features: int
    inward: int
    outward: int
    hidden: int
    second: int
    mixture: int

    @property
    def pixels(self) -> int:
        return self.rows * self.columns

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of cells that share features."""
        return -(-self.rows // self.cell), -(-self.columns // self.cell)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of all weights, in the order of the file."""
        near, cells = len(self.offsets), self.grid[0] * self.grid[1]
        layers = {"p1": (self.hidden, near + (self.features if self.latents else 0)), "p2": (self.second, self.hidden)}
        layers["head"] = (3 * self.mixture, self.second + near)
        if self.latents:
            layers |= {"e1": (self.inward, self.pooled), "e2": (2 * self.latents, self.inward)}
            layers |= {"d1": (self.outward, self.latents), "d2": (cells * self.features, self.outward)}
        out: dict[str, tuple[int, ...]] = {"levels": (LEVELS,)}
        for name, shape in layers.items():
            out |= {name: shape, f"{name}_b": shape[:1]}
        return out | {"row": (self.rows, self.hidden), "column": (self.columns, self.hidden)}

    @property
    def bytes_each(self) -> int:
        """Bytes that one image takes while it is decoded."""
        seen = (self.rows + self.up) * (self.columns + 2 * self.aside)
        features = self.grid[0] * self.grid[1] * self.features if self.latents else 0
        widths = self.inward + self.outward + self.hidden + self.second + 6 * self.mixture + 2 * len(self.offsets)
        return 4 * (seen + features + widths) + 32 * self.latents + self.pixels

    @property
    def pooled(self) -> int:
        return -(-self.rows // 2) * -(-self.columns // 2)

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """(rows down, columns to the right) of the pixels that a pixel sees."""
        aside = range(-self.aside, self.aside + 1)
        return [(dy, dx) for dy in range(-self.up, 1) for dx in aside if dy < 0 or dx < 0]


@dataclasses.dataclass
class ImageModel:
    """The networks of an image codec from their weights.

    Args:
        sizes: of all.
        weights: by name, int64: `e1`, `e2` of the encoder, `d1`, `d2` of the decoder (both empty without latents),
            `p1`, `p2` of the pixels' network and `head`, [out, in] each; `_b` after a name is a bias [out]; `row`
            [rows, H] and `column` [columns, H] are biases too; `levels` [256] are the widths of grey levels.

    Raises:
        CompressedFileError: shapes that do not fit, or sums that would not be exact.
    """

    sizes: Sizes
    weights: dict[str, np.ndarray]

    def __post_init__(self) -> None:
        s, w = self.sizes, self.weights
        for name, shape in s.shapes.items():
            if w[name].shape != shape:
                raise CompressedFileError(f"weights {name} of a shape that does not fit")
            if name == "levels" and (w[name].min() < 1 or w[name].max() > FARTHEST):
                raise CompressedFileError("grey levels of an impossible width")
        near = np.full(len(s.offsets), LEVELS - 1.0)

        def layer(name: str, shift: int, reach: np.ndarray, bias: int, last: bool = False, widest: Any = None) -> Layer:
            return Layer(w[name], w[f"{name}_b"] << bias, shift, reach, last, widest)

        def active(size: int) -> np.ndarray:
            return np.full(size, float(MOST))

        self.encoder, self.decoder = list[Layer](), list[Layer]()
        if s.latents:
            pooled, z = np.full(s.pooled, 4.0 * (LEVELS - 1)), np.full(s.latents, float(LATENTS[-1]))
            self.encoder = [layer("e1", 8, pooled, 8), layer("e2", 4, active(s.inward), 6, last=True)]
            self.decoder = [layer("d1", 8, z, 8), layer("d2", 6, active(s.outward), 6)]
        seen = np.concatenate([near, active(s.features if s.latents else 0)])
        self.biases = (w["row"] << 6, w["column"] << 6)
        widest = sum(np.abs(b).max(axis=0) for b in self.biases) + np.abs(w["p1_b"] << 6)
        self.first = layer("p1", 6, seen, 6, widest=widest)
        self.second = layer("p2", 6, active(s.hidden), 6)
        self.head = layer("head", 0, np.concatenate([active(s.second), near]), 6, last=True)
        self.edges = np.concatenate([[0], np.cumsum(w["levels"])])
        width = s.columns + 2 * s.aside
        self.offsets = np.array([dy * width + dx for dy, dx in s.offsets], np.int64)

    # ── distributions ─────────────────────────────────────────────────────────────────────────────

    def posterior(self, x: np.ndarray) -> Curve:
        """q(z|x) of images [pixels, n], for symbols latent by latent."""
        s, n = self.sizes, x.shape[1]
        full = np.zeros((-(-s.rows // 2) * 2, -(-s.columns // 2) * 2, n), np.float32)
        full[: s.rows, : s.columns] = x.reshape(s.rows, s.columns, n)
        pooled = full[::2, ::2] + full[1::2, ::2] + full[::2, 1::2] + full[1::2, 1::2]
        out = through(self.encoder, pooled.reshape(s.pooled, n)).astype(np.int64)
        mu = np.clip(out[: s.latents], LATENTS[0], LATENTS[-1] - 1)
        return Curve(
            normal,
            LATENTS,
            mu.reshape(1, -1),
            steepness(out[s.latents :] >> 2, DEEPEST_LATENT).reshape(1, -1),
            LATENT_Q,
        )

    def prior(self, n: int) -> Curve:
        """p(z) of n symbols."""
        shape = (1, n)
        return Curve(normal, LATENTS, np.zeros(shape, np.int64), np.full(shape, PRIOR), LATENT_Q)

    def features(self, cells: np.ndarray, n: int) -> np.ndarray:
        """Of latents' cells [latents · n], [cells of the grid, features, n]."""
        s = self.sizes
        if not s.latents:
            return np.zeros((s.grid[0] * s.grid[1], 0, n), np.float32)
        z = middle(cells).reshape(s.latents, n).astype(np.float64)
        return through(self.decoder, z).reshape(s.grid[0] * s.grid[1], s.features, n)

    def given(self, i: int, seen: np.ndarray, features: np.ndarray) -> Curve:
        """p(x_i | z, pixels before) of images whose pixels so far are in `seen` [padded pixels, n]."""
        s = self.sizes
        y, x = divmod(i, s.columns)
        near = seen[self.place(i) + self.offsets]
        cell = (y // s.cell) * s.grid[1] + x // s.cell
        bias = self.first.b + self.biases[0][y] + self.biases[1][x]
        out = self.head(self.second(self.first(near, features[cell], bias=bias)), near)
        parts = out.reshape(3, s.mixture, -1)
        logits, centers, t = (
            np.floor(p * p.dtype.type(2.0**-shift)).astype(np.int64)
            for p, shift in zip(parts, HEAD_SHIFTS, strict=True)
        )
        centers = np.clip(centers, -FARTHEST, FARTHEST)
        return Curve(logistic, self.edges, centers, steepness(t, DEEPEST_PIXEL), PIXEL_Q, mixing(logits))

    def seen(self, n: int) -> np.ndarray:
        s = self.sizes
        return np.zeros(((s.rows + s.up) * (s.columns + 2 * s.aside), n), np.float32)

    def place(self, i: int) -> int:
        s = self.sizes
        y, x = divmod(i, s.columns)
        return (y + s.up) * (s.columns + 2 * s.aside) + x + s.aside

    # ── the codec section ─────────────────────────────────────────────────────────────────────────

    def to_bytes(self) -> bytes:
        """The codec section: a card, and the weights entropy-coded."""
        parts = [coded(self.weights[name].reshape(-1)) for name in self.sizes.shapes]
        symbols = [s for c in parts for s in c.symbols]
        lanes = lanes_for(information(symbols))
        out = BytesWriter()
        out.number(0)
        out.piece(pack(json.dumps(dataclasses.asdict(self.sizes), sort_keys=True, separators=(",", ":")).encode()))
        out.number(lanes)
        out.piece(encode(symbols, lanes))
        return bytes(out.data) + b"".join(c.head for c in parts)

    @staticmethod
    def from_bytes(data: bytes) -> ImageModel:
        """Read a codec section; what is wrong with it raises one of Python's errors or a CompressedFileError."""
        reader = BytesReader(data)
        if reader.number():
            raise CompressedFileError("its codec section is not one of images")
        sizes = Sizes(**json.loads(unpack(reader.piece(), 1 << 16)))
        _check(sizes, len(data))
        lanes = reader.number()
        if not 1 <= lanes <= MOST_SIZE:
            raise CompressedFileError("its codec section is damaged")
        decoder = Decoder(reader.piece(), lanes)
        weights = {k: decoded(reader, decoder, int(np.prod(s))).reshape(s) for k, s in sizes.shapes.items()}
        reader.finish()
        decoder.finish()
        if any(np.abs(w).max(initial=0) > 1 << 30 for w in weights.values()):
            raise CompressedFileError("a network with impossible weights")
        return ImageModel(sizes, weights)


def _check(s: Sizes, size: int) -> None:
    values = dataclasses.asdict(s)
    whole = all(isinstance(v, int) and 0 <= v <= MOST_SIZE for v in values.values())
    if not whole or not all(values[k] for k in ("rows", "columns", "cell", "hidden", "second", "mixture")):
        raise CompressedFileError("a network of an impossible size")
    if s.latents and not (s.features and s.inward and s.outward):
        raise CompressedFileError("a network of an impossible size")
    if s.up >= max(s.rows, 2) or s.aside >= max(s.columns, 2) or (s.up + 1) * (2 * s.aside + 1) > MOST_SIZE:
        raise CompressedFileError("a network of an impossible reach")
    if sum(math.prod(v) for v in s.shapes.values()) > most_weights(size):
        raise CompressedFileError("a network of an impossible size")
