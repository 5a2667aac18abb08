"""The autoregressive network: each column's distribution given the columns coded before it, in whole numbers.

It puts out p(x_c | x_1..x_(c−1)) for every column c (Germain et al. 2015, arXiv:1502.03509, do so by weights held at
zero). Here each family of columns (the same field of all slots of a group) has a network and a list of its inputs, all
of columns coded before. Outputs are weights of bins of the column's grid (`diabolo.compress.bins`). Angles are seen,
and coded, from the direction of the vector sum of the objects before them, where columns pair up as lengths and angles.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from typing import Any

import numpy as np

from diabolo.compress.bins import Bins, RowTables
from diabolo.compress.bytesio import BytesReader, BytesWriter, pack, unpack
from diabolo.compress.coder import Decoder, encode, information
from diabolo.compress.context import Context
from diabolo.compress.grid import Cover, Grid
from diabolo.compress.integers import MODEL, Coded, coded, decoded
from diabolo.compress.limits import most_text, most_weights
from diabolo.compress.network import EXACT, TURN, Network
from diabolo.compress.objects import MOST_CELLS, Family, Group, Objects
from diabolo.compress.tables import MOST_MEASURE
from diabolo.errors import CompressedFileError

__all__ = ["Autoregressive"]

#: Places of bins that are kept for the next chunk.
MOST_KEPT = 1 << 23
#: States that the networks' weights are coded by.
LANES = 16


class Autoregressive(Objects):
    """Distributions of a file's columns, each given those coded before it."""

    def __init__(self, groups: list[Group], families: list[list[Family]], grids: list[Grid | None]) -> None:
        super().__init__(groups, families, grids)
        self._bins: dict[int, Bins] = {}

    def bins(self, column: int) -> Bins:
        """The bins of a column's integers, with the number of points that each cell stands for."""
        if column not in self._bins:
            g, _, f = self.place[column]
            family, turned = self.families[g][f], f == self.groups[g].angle
            low, high = family.edges[0], family.edges[-1]
            grid, cells = self.grids[column], np.abs(np.arange(low, high))
            points = np.ones(len(cells), np.int64)
            if isinstance(grid, Cover):
                points = np.maximum(grid.measure[np.minimum(cells, len(grid.measure) - 1)], 1)
                points[cells == 0] = max(1, 2 * int(grid.measure[0]) - 1)
            if points.sum() > MOST_MEASURE:
                points[:] = 1
            lower, count, width = np.array(family.edges, np.int64) - low, len(family.edges) - 1, 1
            if turned:
                start, n = self.starts[g], len(points)
                lower = np.concatenate([start, start + n, [2 * n]])
                points, count, width = np.concatenate([points, points]), family.bins, TURN // family.bins
            if sum(len(b.measure) for b in self._bins.values()) > MOST_KEPT:
                self._bins.clear()
            self._bins[column] = Bins(lower, np.concatenate([[0], np.cumsum(points)]), count, width)
        return self._bins[column]

    def placed(
        self, column: int, index: np.ndarray, reference: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """(place [n] of integers among the bins, bin [n], where each row's bins begin or None).

        Args:
            reference: direction [n] from which an angle's bins count.
        """
        g, _, f = self.place[column]
        family = self.families[g][f]
        place = index - family.edges[0]
        if f != self.groups[g].angle:
            return place, self.bins(column).of[place].astype(np.int64), None
        first = (reference + family.origin) % TURN
        start = self.starts[g][first]
        k = (self.turns[g][place] - first) % TURN // (TURN // family.bins)
        return start + (place - start) % len(self.turns[g]), k, first

    def table(self, column: int, context: Context, rows: np.ndarray) -> RowTables:
        """The distribution of each row."""
        g, _, f = self.place[column]
        family = self.families[g][f]
        if family.network is None:
            raise CompressedFileError("a column without a network is said to be coded by one")
        first = (context.reference[rows] + family.origin) % TURN if f == self.groups[g].angle else None
        return RowTables(self.bins(column), family.network, context.inputs(column, rows, family.uses), first)

    def coded(self, column: int, context: Context, rows: np.ndarray, index: np.ndarray) -> Coded | None:
        """A column's integers under their distributions; None if it has none, or one of them is outside."""
        g, _, f = self.place[column]
        family = self.families[g][f]
        inside = len(index) and family.edges[0] <= index.min() and index.max() < family.edges[-1]
        if family.network is None or not inside:
            return None
        place, k, _ = self.placed(column, index, context.reference[rows])
        symbols = self.table(column, context, rows).intervals(place, k)
        return Coded(bytes([MODEL]), [symbols], information([symbols]), MODEL)

    def decoding(self, column: int, context: Context, rows: np.ndarray) -> Any:
        """What reads the column that `coded` coded."""

        def read(decoder: Decoder, count: int) -> np.ndarray:
            g, _, f = self.place[column]
            places = decoder.column(count, self.table(column, context, rows).find)
            if f == self.groups[g].angle:
                places %= len(self.turns[g])
            return places + self.families[g][f].edges[0]

        return read

    # ── the codec section ─────────────────────────────────────────────────────────────────────────

    def to_bytes(self) -> bytes:
        """The codec section: a card, and the weights entropy-coded."""
        nets = [family for fs in self.families for family in fs]
        card = {
            "groups": [dataclasses.asdict(g) for g in self.groups],
            "families": [
                [
                    {k: v for k, v in dataclasses.asdict(f).items() if k != "network"}
                    | {"hidden": 0 if f.network is None else len(f.network.b1)}
                    | {"waves": 0 if f.network is None else len(f.network.b2)}
                    for f in fs
                ]
                for fs in self.families
            ],
        }
        # Weights of one kind together: first layers, their biases, and so on.
        kinds = zip(*(f.network.parts for f in nets if f.network), strict=True)
        coded_parts = [coded(np.concatenate([p.reshape(-1) for p in kind])) for kind in kinds]
        symbols = [s for c in coded_parts for s in c.symbols]
        out = BytesWriter()
        out.piece(pack(json.dumps(card, sort_keys=True, separators=(",", ":")).encode()))
        out.number(LANES)
        out.piece(encode(symbols, LANES))
        return bytes(out.data) + b"".join(c.head for c in coded_parts)

    @staticmethod
    def from_bytes(data: bytes, schema: Any, grids: list[Grid | None]) -> Autoregressive:
        """Read a codec section; what is wrong with it raises one of Python's errors or a CompressedFileError."""
        reader = BytesReader(data)
        said = reader.piece()
        card = json.loads(unpack(said, most_text(len(said))))
        groups = [
            Group(tuple(tuple(i) for i in g["items"]), g["angle"], g["length"], g["slots"]) for g in card["groups"]
        ]
        columns = [c for g in groups for item in g.items for c in item]
        if len(set(columns)) != len(columns) or not all(0 <= c < len(schema) and grids[c] for c in columns):
            raise CompressedFileError("its codec section speaks of other columns")
        lanes = reader.number()
        if not 1 <= lanes <= 1 << 12:
            raise CompressedFileError("its codec section is damaged")
        decoder = Decoder(reader.piece(), lanes)
        families, shapes = [], []
        for g, fs in zip(groups, card["families"], strict=True):
            row = []
            for f, said in enumerate(fs):
                sizes = said.pop("hidden"), said.pop("waves")
                family = Family(**said)
                _check(family)
                if sizes[0]:
                    k = family.bins if f == g.angle else len(family.edges) - 1
                    shapes.append((family, _shapes(*sizes, len(family.uses), k), f == g.angle))
                row.append(family)
            families.append(row)
        kinds = []
        for kind in range(5):
            counts = [int(np.prod(s[kind])) for _, s, _ in shapes]
            if sum(counts) > most_weights(len(data)):
                raise CompressedFileError("networks of an impossible size")
            kinds.append(np.split(decoded(reader, decoder, sum(counts)), np.cumsum(counts)[:-1]) if counts else [])
        reader.finish()
        decoder.finish()
        for (family, sizes_of, periodic), *flat in zip(shapes, *kinds, strict=True):
            w1, b1, w2, b2, base = (p.reshape(s) for p, s in zip(flat, sizes_of, strict=True))
            family.network = network = Network(w1, b1, w2, b2, base, periodic)
            large = any(((p < -EXACT) | (p > EXACT)).any() for p in network.parts)
            if large or not network.exact or (periodic and len(b2) % 2):
                raise CompressedFileError("a network with impossible weights")
        return Autoregressive(groups, families, grids)


def _shapes(hidden: int, waves: int, inputs: int, bins: int) -> tuple[tuple[int, ...], ...]:
    if not (0 < hidden <= 1 << 12 and 0 <= inputs <= 1 << 16 and 0 < waves <= 1 << 7 and 0 < bins < 1 << 8):
        raise CompressedFileError("a network of an impossible size")
    return (hidden, inputs), (hidden,), (waves, hidden), (waves,), (bins,)


def _check(family: Family) -> None:
    edges = family.edges
    rising = all(isinstance(e, int) for e in edges) and all(a < b for a, b in itertools.pairwise(edges))
    sane = isinstance(family.scale, int) and 0 < family.scale < 1 << 40 and abs(family.center) < 1 << 62
    if len(edges) < 2 or not rising or edges[-1] - edges[0] > MOST_CELLS or not sane:
        raise CompressedFileError("a distribution with impossible bins")
    if family.bins and (TURN % family.bins or not 0 <= family.origin < TURN):
        raise CompressedFileError("an angle with impossible bins")
