"""What is known of a chunk's rows while its columns are coded one after the other, as inputs of the networks.

Inputs are whole numbers of 2⁻⁸ up to 2¹⁰: the length of the vector sum of the objects so far, numbers of objects, the
slot's number, the fields coded before of the same object, of the one before it, and of the first of each group. Angles
are seen, as cosine and sine, from the direction of that sum.
"""

from __future__ import annotations

import functools

import numpy as np

from diabolo.compress.network import LARGEST, ONE, TURN, cosines, direction
from diabolo.compress.objects import Objects
from diabolo.errors import CompressedFileError

__all__ = ["Context"]


class Context:
    """Knowledge of n rows.

    Args:
        there: which rows have the slot of each column.
    """

    def __init__(self, objects: Objects, n: int, there: dict[int, np.ndarray]) -> None:
        self.objects, self.n = objects, n
        self.count = [np.zeros(n, np.float32) for _ in objects.groups]
        for count, group in zip(self.count, objects.groups, strict=True):
            if group.slots:
                for item in group.items:
                    count += there[item[0]]
                count *= ONE // 4
                np.minimum(count, LARGEST, out=count)
        self.index: dict[int, np.ndarray] = {}
        self.present: dict[int, np.ndarray] = {}
        #: Of a column's integers: the number as an input, or an angle's direction.
        self.seen: dict[int, np.ndarray] = {}
        self.x, self.y = np.zeros((2, n), np.int64)
        self.reference = np.zeros(n, np.int64)
        self.octaves = np.full(n, -LARGEST, np.float32)

    def learn(self, column: int, rows: np.ndarray, index: np.ndarray) -> None:
        """Take in a column's integers, of the rows that have one."""
        g, s, f = self.objects.place[column]
        group, family = self.objects.groups[g], self.objects.families[g][f]
        present = np.zeros(self.n, np.float32)
        present[rows] = 1
        self.present[column] = present
        if f == group.angle:
            seen = np.zeros(self.n, np.int64)
            seen[rows] = self.objects.directions(g, index)
        else:
            seen = np.zeros(self.n, np.float32)
            most = 2 * LARGEST // ONE * family.scale
            apart = np.clip(index - family.center, -most, most) * ONE // family.scale
            seen[rows] = np.clip(apart, -LARGEST, LARGEST)
        self.seen[column] = seen
        if f == group.length:
            full = np.zeros(self.n, np.int64)
            full[rows] = index
            self.index[column] = full
        if group.angle >= 0 and f == max(group.angle, group.length):
            self._add(g, s)

    def _add(self, g: int, s: int) -> None:
        """Add an object to the vector sum."""
        group = self.objects.groups[g]
        item = group.items[s]
        present = self.present[item[group.angle]]
        if group.length >= 0:
            present = present * self.present[item[group.length]]
        rows = np.flatnonzero(present)
        length = np.full(len(rows), 1 << 6, np.int64)
        if group.length >= 0:
            grid = self.objects.grids[item[group.length]]
            if grid is None:
                raise CompressedFileError("a length without a grid")
            cells = grid.value(self.index[item[group.length]][rows]).astype(np.float64)
            length = np.clip(np.rint(cells * 64), 0, 1 << 24).astype(np.int64)
        d, cos = self.seen[item[group.angle]][rows], cosines()
        self.x[rows] += length * cos[d]
        self.y[rows] += length * cos[(d - TURN // 4) % TURN]
        x, y = self.x[rows], self.y[rows]
        self.reference[rows] = direction(x, y)
        a, b = (x >> 14).astype(np.float64), (y >> 14).astype(np.float64)
        # Squares and their sum are exact, and IEEE 754 rounds a root correctly.
        fraction, exponent = np.frexp(np.sqrt(a * a + b * b))
        octaves = np.floor((exponent + 2 * fraction - 11) * (ONE / 2))
        self.octaves[rows] = np.clip(octaves, -LARGEST, LARGEST)

    def inputs(self, column: int, rows: np.ndarray, uses: list[int] | None) -> np.ndarray:
        """Inputs [D + 1, n] float32 of a column's network for some rows, the last of which are ones.

        Args:
            uses: which of all; None for all.
        """
        every = self.objects.inputs_of(column)
        wanted = every if uses is None else [every[j] for j in uses]
        out = np.empty((len(wanted) + 1, len(rows)), np.float32)
        out[-1] = 1
        reference, turned = self.reference[rows], functools.cache(lambda c: (self.seen[c][rows] - reference) % TURN)
        all_rows = len(rows) == self.n

        def put(row: np.ndarray, values: np.ndarray) -> None:
            if all_rows:
                row[:] = values
            else:
                values.take(rows, out=row, mode="clip")

        cos, sin = _waves()
        for row, said in zip(out, wanted, strict=False):
            if said.what == "octaves":
                put(row, self.octaves)
            elif said.what == "count":
                put(row, self.count[said.of])
            elif said.what == "slot":
                row[:] = min(said.of * (ONE // 4), LARGEST)
            elif said.what == "value":
                put(row, self.seen[said.of])
            elif said.what == "present":
                put(row, self.present[said.of])
                row *= ONE
            elif said.what == "nothing":
                row[:] = 0
            else:
                put(row, self.present[said.of])
                row *= (cos if said.what == "cos" else sin)[turned(said.of)]
        return out


@functools.cache
def _waves() -> tuple[np.ndarray, np.ndarray]:
    cos = (cosines() >> 6).astype(np.float32)
    return cos, np.roll(cos, TURN // 4)
