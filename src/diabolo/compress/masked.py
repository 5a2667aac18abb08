"""The masked autoencoder: each column's distribution given the columns coded before it, in whole numbers.

A masked autoencoder (Germain et al. 2015, arXiv:1502.03509) puts out p(x_c | x_1..x_(c−1)) for every column c. Here the
mask is the list of inputs of each family of columns (the same field of all slots of a group, which share weights), and
outputs are weights of bins of the column's grid (`diabolo.compress.tables`). Angles are seen, and coded, from the
direction of the vector sum of the objects before them, where columns pair up as lengths and angles.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from typing import Any

import numpy as np

from diabolo.compress.bytesio import BytesReader, BytesWriter, pack, unpack
from diabolo.compress.coder import Decoder, encode, information, lanes_for
from diabolo.compress.grid import Cover, Grid
from diabolo.compress.integers import MODEL, Coded, coded, decoded
from diabolo.compress.network import ONE, TURN, Network, cosines, direction
from diabolo.compress.tables import MOST_MEASURE, Table, frequencies
from diabolo.errors import CompressedFileError

__all__ = ["Family", "Group", "Known", "Masked"]

#: What is known of a chunk's rows: column to (integers [n], which rows have one), and ("slot", first column) to rows.
Known = dict[Any, Any]
CLIP = 4 * ONE
MOST_CELLS = 1 << 18


@dataclasses.dataclass(frozen=True)
class Group:
    """Objects of one kind: their columns, object by object, field by field; a plain column is a group of one."""

    items: tuple[tuple[int, ...], ...]
    #: Which field is the angle, and which its length; −1 if none.
    angle: int = -1
    length: int = -1
    #: Whether an object can be absent.
    slots: bool = False


@dataclasses.dataclass
class Family:
    """One field of a group: how it is seen as an input, and its distribution."""

    center: int
    scale: int
    #: Bounds of the bins in integers of the grid; of an angle its first and last cell.
    edges: list[int]
    bins: int = 0
    #: Where an angle's numbers begin, in 1/4096 of a turn.
    origin: int = 0
    #: Inputs that its network uses, of those that `Masked.inputs` lists.
    uses: list[int] = dataclasses.field(default_factory=list)
    network: Network | None = None


class Masked:
    """Distributions of a file's columns; `order` is the order in which they are coded."""

    def __init__(self, groups: list[Group], families: list[list[Family]], grids: list[Grid | None]) -> None:
        self.groups, self.families, self.grids = groups, families, grids
        self.place = {
            c: (g, s, f)
            for g, group in enumerate(groups)
            for s, item in enumerate(group.items)
            for f, c in enumerate(item)
        }
        self.order = list(self.place)
        self.turns: dict[int, np.ndarray] = {}
        self.measures: dict[int, np.ndarray] = {}
        for g, group in enumerate(groups):
            if group.angle >= 0:
                self._turn(g, group.items[0][group.angle])

    def _turn(self, g: int, column: int) -> None:
        """Direction of each cell of an angle, from its origin: never falling."""
        family, grid = self.families[g][self.groups[g].angle], self.grids[column]
        low, high = family.edges
        if grid is None or not 0 < high - low <= MOST_CELLS:
            raise CompressedFileError("an angle without a grid")
        at = grid.value(np.arange(low, high)).astype(np.float64) * (TURN / (2 * np.pi))
        self.turns[g] = np.clip(np.floor(at).astype(np.int64) + family.origin, 0, TURN - 1)

    def see(self, known: Known, slots: list[list[int]], there: dict[int, np.ndarray]) -> None:
        """Take in which slots are filled."""
        known["there"] = there

    def learn(self, known: Known, column: int, rows: np.ndarray, index: np.ndarray, n: int) -> None:
        """Take in a column's integers, of the rows that have one."""
        full, present = np.zeros(n, np.int64), np.zeros(n, bool)
        full[rows], present[rows] = index, True
        known[column] = (full, present)
        g, s, f = self.place[column]
        group = self.groups[g]
        if group.angle >= 0 and f == max(group.angle, group.length):
            self._add(known, g, s, n)

    def _add(self, known: Known, g: int, s: int, n: int) -> None:
        """Add an object to the vector sum."""
        group = self.groups[g]
        item = group.items[s]
        x, y = known.get("sum", (np.zeros(n, np.int64), np.zeros(n, np.int64)))
        angle, present = known[item[group.angle]]
        length = np.ones(n, np.int64) << 6
        if group.length >= 0:
            cells, also = known[item[group.length]]
            grid, present = self.grids[item[group.length]], present & also
            if grid is None:
                raise CompressedFileError("a length without a grid")
            length = np.clip(np.rint(grid.value(cells).astype(np.float64) * 64), 0, 1 << 24).astype(np.int64)
        d = self._directions(g, angle)
        cos, here = cosines(), present.astype(np.int64)
        known["sum"] = (
            x + here * length * cos[d % TURN],
            y + here * length * cos[(d - TURN // 4) % TURN],
        )

    def _directions(self, g: int, index: np.ndarray) -> np.ndarray:
        """Direction of each cell [n] from zero, in 1/4096 of a turn."""
        family = self.families[g][self.groups[g].angle]
        low, high = family.edges
        return np.asarray((self.turns[g][np.clip(index, low, high - 1) - low] - family.origin) % TURN)

    def _reference(self, known: Known, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Direction of the vector sum [n], and its length on a scale of octaves."""
        if "sum" not in known:
            return np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
        x, y = known["sum"][0][rows], known["sum"][1][rows]
        a, b = (x >> 14).astype(np.float64), (y >> 14).astype(np.float64)
        # Squares and their sum are exact, and IEEE 754 rounds a root correctly.
        fraction, exponent = np.frexp(np.sqrt(a * a + b * b))
        octaves = np.floor((exponent + 2 * fraction - 11) * (ONE / 2)).astype(np.int64)
        return direction(x, y), np.clip(octaves, -CLIP, CLIP)

    def inputs(self, column: int, known: Known, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """([D, n] inputs of a column's network for some rows, [n] the direction that angles are seen from)."""
        g, s, f = self.place[column]
        reference, octaves = self._reference(known, rows)
        out = [octaves]
        for group in self.groups:
            if group.slots:
                count = sum(known["there"][item[0]][rows].astype(np.int64) for item in group.items)
                out.append(np.minimum(count, 16) * (ONE // 4))
        if self.groups[g].slots:
            out.append(np.full(len(rows), s * (ONE // 4), np.int64))
        seen = [(g, s, f)]
        if len(self.groups[g].items) > 1:
            seen.append((g, s - 1, len(self.groups[g].items[0])))
        for other in range(g + 1 if len(self.groups[g].items) > 1 else g):
            seen.append((other, 0 if other < g or s > 0 else -1, len(self.groups[other].items[0])))
        for other, item, fields in seen:
            out += self._fields(other, item, fields, known, rows, reference)
        return np.stack(out), reference

    def _fields(
        self, g: int, s: int, fields: int, known: Known, rows: np.ndarray, reference: np.ndarray
    ) -> list[np.ndarray]:
        """The first fields of an object as inputs; zeros where it is absent."""
        group, out = self.groups[g], []
        nothing = np.zeros(len(rows), np.int64)
        for f in range(fields):
            if s < 0:
                out += [nothing] * (3 if f == group.angle else 2)
                continue
            full, there = known[group.items[s][f]]
            index, present = full[rows], there[rows].astype(np.int64)
            if f == group.angle:
                d = self._directions(g, index) - reference
                cos = cosines()
                out += [present * (cos[d % TURN] >> 6), present * (cos[(d - TURN // 4) % TURN] >> 6)]
            else:
                family = self.families[g][f]
                out.append(present * np.clip((index - family.center) * ONE // family.scale, -CLIP, CLIP))
            out.append(present * ONE)
        return out

    def _measure(self, column: int, turned: bool) -> np.ndarray:
        """Cumulative number of points that each cell of a column stands for; of an angle, over two turns."""
        if column not in self.measures:
            g, _, f = self.place[column]
            low, high = self.families[g][f].edges[0], self.families[g][f].edges[-1]
            grid, cells = self.grids[column], np.abs(np.arange(low, high))
            points = np.ones(len(cells), np.int64)
            if isinstance(grid, Cover):
                points = np.maximum(grid.measure[np.minimum(cells, len(grid.measure) - 1)], 1)
                points[cells == 0] = max(1, 2 * int(grid.measure[0]) - 1)
            points = np.concatenate([points, points]) if turned else points
            if points.sum() > MOST_MEASURE:
                points = np.ones(len(points), np.int64)
            self.measures[column] = np.concatenate([[0], np.cumsum(points)])
        return self.measures[column]

    def angle_edges(self, g: int, reference: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
        """(first cell at or beyond each row's reference [n], edges [n, K + 1] of its bins from there on)."""
        family, turns = self.families[g][self.groups[g].angle], self.turns[g]
        start = np.searchsorted(turns, np.arange(TURN))
        twice = np.concatenate([start, start + len(turns), [2 * len(turns)]])
        a = (reference + family.origin) % TURN
        at = a[:, None] + np.arange(bins + 1) * (TURN // bins)
        return start[a], twice[at] - twice[a][:, None]

    def table(self, column: int, known: Known, rows: np.ndarray) -> tuple[Table, np.ndarray | None]:
        """(distribution of each row, first cell of an angle [n] or None); an angle goes on into a second turn."""
        g, _, f = self.place[column]
        family, group = self.families[g][f], self.groups[g]
        x, reference = self.inputs(column, known, rows)
        if family.network is None:
            raise CompressedFileError("a column without a network is said to be coded by one")
        weights = family.network.weights(x[family.uses].T)
        turned = f == group.angle
        measure, origin = self._measure(column, turned), 0 if turned else family.edges[0]
        if turned:
            first, edges = self.angle_edges(g, reference, family.bins)
            edges += first[:, None]
        else:
            first, edges = None, np.array(family.edges, np.int64)
        steps = np.diff(measure[edges - origin], axis=-1)
        return Table(edges, frequencies(weights, steps if turned else steps[None]), measure, origin), first

    def coded(self, column: int, known: Known, rows: np.ndarray, index: np.ndarray, n: int) -> Coded | None:
        """A column's integers under their distributions; None if it has none, or one of them is outside."""
        g, _, f = self.place[column]
        family = self.families[g][f]
        inside = len(index) and family.edges[0] <= index.min() and index.max() < family.edges[-1]
        if family.network is None or not inside:
            return None
        table, first = self.table(column, known, rows)
        values = index
        if first is not None:
            cells = len(self.turns[g])
            values = first + (index - family.edges[0] - first) % cells
        symbols = table.intervals(values)
        return Coded(bytes([MODEL]), [symbols], information([symbols]), MODEL)

    def decoding(self, column: int, known: Known, rows: np.ndarray, n: int) -> Any:
        """What reads the column that `coded` coded."""

        def read(decoder: Decoder, count: int) -> np.ndarray:
            g, _, f = self.place[column]
            table, first = self.table(column, known, rows)
            values = decoder.column(count, table.find)
            return values if first is None else values % len(self.turns[g]) + self.families[g][f].edges[0]

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
        parts = [p.reshape(-1) for f in nets if f.network for p in f.network.parts]
        coded_parts = [coded(p) for p in parts]
        symbols = [s for c in coded_parts for s in c.symbols]
        lanes = lanes_for(information(symbols))
        out = BytesWriter()
        out.piece(pack(json.dumps(card, sort_keys=True, separators=(",", ":")).encode()))
        out.number(lanes)
        out.piece(encode(symbols, lanes))
        return bytes(out.data) + b"".join(c.head for c in coded_parts)

    @staticmethod
    def from_bytes(data: bytes, schema: Any, grids: list[Grid | None]) -> Masked:
        """Read a codec section; what is wrong with it raises one of Python's errors or a CompressedFileError."""
        reader = BytesReader(data)
        card = json.loads(unpack(reader.piece(), 1 << 26))
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
        families = []
        for g, fs in zip(groups, card["families"], strict=True):
            row = []
            for f, said in enumerate(fs):
                hidden, waves = said.pop("hidden"), said.pop("waves")
                family = Family(**said)
                if hidden:
                    k = family.bins if f == g.angle else len(family.edges) - 1
                    family.network = _network(reader, decoder, (hidden, len(family.uses), waves, k), f == g.angle)
                _check(family)
                row.append(family)
            families.append(row)
        reader.finish()
        decoder.finish()
        return Masked(groups, families, grids)


def _network(reader: BytesReader, decoder: Decoder, sizes: tuple[int, int, int, int], periodic: bool) -> Network:
    hidden, inputs, waves, outputs = sizes
    if not (0 < hidden <= 1 << 12 and 0 <= inputs <= 1 << 16 and 0 < waves <= 1 << 8 and 0 < outputs <= 1 << 12):
        raise CompressedFileError("a network of an impossible size")
    shapes = ((hidden, inputs), (hidden,), (waves, hidden), (waves,), (outputs,))
    parts = [decoded(reader, decoder, int(np.prod(s))).reshape(s) for s in shapes]
    if any(p.size and np.abs(p).max() > 1 << 24 for p in parts) or (periodic and waves % 2):
        raise CompressedFileError("a network with impossible weights")
    w1, b1, w2, b2, base = parts
    return Network(w1, b1, w2, b2, base, periodic)


def _check(family: Family) -> None:
    edges = family.edges
    rising = all(isinstance(e, int) for e in edges) and all(a < b for a, b in itertools.pairwise(edges))
    if len(edges) < 2 or not rising or edges[-1] - edges[0] > MOST_CELLS or family.scale < 1:
        raise CompressedFileError("a distribution with impossible bins")
    if family.bins and (TURN % family.bins or not 0 <= family.origin < TURN):
        raise CompressedFileError("an angle with impossible bins")
