"""Columns of a file as fields of objects: which is which field of which object, and the directions of angles.

Each family of columns (the same field of all objects of a group) shares how it is seen and one network.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from diabolo.compress.grid import Grid
from diabolo.compress.network import TURN, Network
from diabolo.errors import CompressedFileError

__all__ = ["MOST_CELLS", "Family", "Group", "Input", "Objects"]

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
    #: Inputs that its network uses, of those that `Objects.inputs_of` lists.
    uses: list[int] = dataclasses.field(default_factory=list)
    network: Network | None = None


@dataclasses.dataclass(frozen=True)
class Input:
    """One input: what of (a column, or a group's number, or a slot's number)."""

    what: str
    of: int = 0


class Objects:
    """The columns of a file by group, object and field; `order` is the order in which they are coded."""

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
        #: First cell at or beyond each direction.
        self.starts: dict[int, np.ndarray] = {}
        self._inputs: dict[int, list[Input]] = {}
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
        self.starts[g] = np.searchsorted(self.turns[g], np.arange(TURN))

    def directions(self, g: int, index: np.ndarray) -> np.ndarray:
        """Direction of each cell [n] from zero, in 1/4096 of a turn."""
        family = self.families[g][self.groups[g].angle]
        low, high = family.edges
        return np.asarray((self.turns[g][np.clip(index, low, high - 1) - low] - family.origin) % TURN)

    def inputs_of(self, column: int) -> list[Input]:
        """All inputs that a column's network may have, in their order."""
        if column not in self._inputs:
            self._inputs[column] = self._listed(column)
        return self._inputs[column]

    def _listed(self, column: int) -> list[Input]:
        g, s, f = self.place[column]
        out = [Input("octaves")]
        out += [Input("count", i) for i, group in enumerate(self.groups) if group.slots]
        if self.groups[g].slots:
            out.append(Input("slot", s))
        seen = [(g, s, f)]
        several = len(self.groups[g].items) > 1
        if several:
            seen.append((g, s - 1, len(self.groups[g].items[0])))
        for other in range(g + 1 if several else g):
            seen.append((other, 0 if other < g or s > 0 else -1, len(self.groups[other].items[0])))
        for other, item, fields in seen:
            group = self.groups[other]
            for field in range(fields):
                angle = field == group.angle
                if item < 0:
                    out += [Input("nothing")] * (3 if angle else 2)
                    continue
                c = group.items[item][field]
                out += [Input("cos", c), Input("sin", c)] if angle else [Input("value", c)]
                out.append(Input("present", c))
        return out
