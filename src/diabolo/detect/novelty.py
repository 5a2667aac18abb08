"""Facts of a row that no stored row shows: a level, a changed constant, a gap, a cell far off, a contradiction.

Distances grow with the number of columns, and one such fact drowns in them. So facts are counted apart, and each one
lifts a row above all stored ones (`diabolo.detect.views`).

- A **level** of a category or of an ordinal column that training rows lack.
- A **constant** with another value.
- A **gap** in a column that never had one.
- A number far **beyond**: more than twice as far from the median as the farthest stored one on that side.
- A **contradiction**: the same of what the other columns leave of a number, `diabolo.detect.places.LinearResiduals`.

**Normal rows show new facts too.** How often is told by Good and Turing's rule (Good 1953): a new fact of a kind comes
with the probability of those rows that would show one if they were left out, as the rows of levels seen once do. Kinds
of facts count from the rarest up, contradictions last, as long as their probabilities add up to at most half of the
default rate; what comes more often is left to the distances, and is no novelty.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from diabolo.data.encoding import SCALED, Block, Encoded, Encoding
from diabolo.detect.places import Places
from diabolo.device import Movable

__all__ = ["Common", "Contradictions", "Novelty"]

#: Probability of a new fact in a normal row, over all kinds that count, at most: half of the default rate of 1 %.
MOST = 0.005
#: Times the distance of the farthest stored cell from the median that a cell beyond it has to have.
BEYOND = 2.0
#: Farthest cells that tell how a tail falls.
TOP = 11
#: Stored rows for each input of the least squares: of fewer, what they leave of these very rows is too small.
ROWS_PER_INPUT = 20


@dataclasses.dataclass(frozen=True)
class Common:
    """A kind of new fact that normal rows show too often to count."""

    column: str
    fact: str
    share: float

    @property
    def said(self) -> str:
        return f"{self.fact} in {self.column!r} comes with {100 * self.share:.2g} % of rows: alone it is no alarm"


class Novelty(Movable):
    """Counts the facts of rows that stored rows lack.

    Attributes:
        common: kinds of facts that do not count, most frequent first.
        share: probability of those that count, added up.
        counts: [watched columns, columns without gaps, scaled inputs] whether a fact counts.
        full: columns without gaps.
        inputs, cells, low, high: scaled inputs, their cells, and the limits beyond which they are far.
    """

    def __init__(self, encoding: Encoding, stored: Encoded) -> None:
        self._encoding, n = encoding, len(stored)
        columns = encoding.schema.columns
        scaled = [(c, i) for b in encoding.blocks if b.kind in SCALED for c, i in _inputs(b)]
        self.inputs = torch.tensor([i for _, i in scaled], dtype=torch.long)
        self.cells = encoding.cell_of_input[self.inputs] if scaled else self.inputs
        #: Whether these are all inputs, in their order.
        self.whole = self.inputs.tolist() == list(range(encoding.width))
        gone = {*encoding.nullable, *encoding.gappy}
        self.full = [c for c in range(len(columns)) if c not in gone]
        low, high, lone = self._ranges(stored)
        kinds = [
            *((c, "another value" if c in encoding.constant else "a level never seen") for c in encoding.watched),
            *((c, "a gap") for c in self.full),
            *((c, "a value far beyond all others") for c, _ in scaled),
        ]
        events = torch.cat([self._unknown(stored), self._first_gaps(stored), lone]).double()
        share = (events / n).tolist()
        self.counts, self.share = _rarest(share, MOST)
        common = [at for at in sorted(range(len(kinds)), key=share.__getitem__) if not self.counts[at]]
        self.common = [Common(columns[kinds[at][0]].name, kinds[at][1], share[at]) for at in common[::-1]]
        watched, full = len(encoding.watched), len(self.full)
        self._novel, self._gap, beyond = torch.split(self.counts, [watched, full, len(scaled)])
        self.low, self.high = torch.where(beyond, low, -torch.inf), torch.where(beyond, high, torch.inf)

    def __call__(self, rows: Encoded) -> Tensor:
        """Number of new facts [B]."""
        found = rows.x.new_zeros(len(rows))
        if rows.changed is not None:
            found = found + (rows.changed & self._novel).sum(-1)
        if rows.missing is not None:
            found = found + (rows.missing[:, self._encoding.at(self.full, found.device)] & self._gap).sum(-1)
        if len(self.inputs):
            x = rows.x if self.whole else rows.x[:, self.inputs]
            beyond = (x < self.low) | (x > self.high)
            if rows.present is not None:
                beyond &= rows.present[:, self.cells]
            found = found + beyond.sum(-1)
        return found

    def _ranges(self, stored: Encoded) -> tuple[Tensor, Tensor, Tensor]:
        """Limits of each scaled input [d], and the stored cells expected beyond those of the others [d]."""
        found = []
        for i, cell in zip(self.inputs.tolist(), self.cells.tolist(), strict=True):
            x = stored.x[:, i] if stored.present is None else stored.x[stored.present[:, cell], i]
            found.append(_limits(x))
        limits = torch.tensor(found).reshape(-1, 3)
        return limits[:, 0], limits[:, 1], limits[:, 2]

    def _first_gaps(self, stored: Encoded) -> Tensor:
        """First gaps expected in each column without one: as many as columns have a single gap, in equal shares."""
        once = 0 if stored.missing is None else int((stored.missing.sum(0) == 1).sum())
        return torch.full((len(self.full),), once / max(1, len(self.full)))

    def _unknown(self, stored: Encoded) -> Tensor:
        """By watched column, rows of a value that training rows lack, and values of a single row [watched]."""
        encoding = self._encoding
        found = torch.zeros(len(encoding.watched))
        if stored.changed is not None:
            found = found + stored.changed.sum(0)
        constant = len(encoding.constant)
        x = stored.x[:, self.inputs]
        # Columns of one value but for a single row would be constants without it.
        alone = int(((x != x.median(0).values).sum(0) == 1).sum()) if constant and len(self.inputs) else 0
        found[:constant] += alone / max(1, constant)
        place = {c: at for at, c in enumerate(encoding.watched)}
        for block in encoding.blocks:
            x = stored.x[:, block.start : block.stop]
            if block.kind == "categorical":
                found[place[block.columns[0]]] += int((x.sum(0) == 1).sum())
            elif block.kind == "ordinal":
                found[place[block.columns[0]]] += int((torch.unique(x[:, 0], return_counts=True)[1] == 1).sum())
        return found


class Contradictions(Movable):
    """Counts the numbers of a row that its other columns contradict.

    Each is told from its normal score r, which beyond the stored rows rises as what the others leave of it does. A row
    with a missing number, or with a level that is missing or never seen, has none and tells of none: least squares
    would fill in the mean.

    Attributes:
        low, high: [columns] of r, beyond which a number counts; infinite where it does not.
    """

    def __init__(self, places: Places, stored: Encoded, share: float) -> None:
        """What the stored rows leave open of `MOST`; `share` is taken."""
        left = places.residuals(stored)
        if left is None or len(left) < ROWS_PER_INPUT * places.inputs:
            left = stored.x.new_empty(0, 0 if left is None else left.shape[1])
        limits = torch.tensor([_limits(column) for column in left.T]).reshape(-1, 3)
        counts, _ = _rarest((limits[:, 2].double() / max(1, len(left))).tolist(), MOST - share)
        counts &= limits[:, :2].isfinite().all(-1)
        low, high = places.scores_of_residuals(torch.where(counts[:, None], limits[:, :2], 0.0).T)
        self.low, self.high = torch.where(counts, low, -torch.inf), torch.where(counts, high, torch.inf)

    def __call__(self, r: Tensor, whole: Tensor | None) -> Tensor:
        """Number of contradictions [B].

        Args:
            r: [B, columns] normal scores of residuals.
            whole: [B] rows with all their numbers and known levels; None for all.
        """
        found = ((r < self.low) | (r > self.high)).sum(-1)
        return found if whole is None else found * whole


def _rarest(share: list[float], most: float) -> tuple[Tensor, float]:
    """Which kinds count: the rarest, as long as their probabilities add up to at most so much; and their sum."""
    total, counts = 0.0, torch.zeros(len(share), dtype=torch.bool)
    for at in sorted(range(len(share)), key=share.__getitem__):
        if total + share[at] > most:
            break
        total += share[at]
        counts[at] = True
    return counts, total


def _limits(x: Tensor) -> tuple[float, float, float]:
    """Limits of values [n] beyond which others are far, and how many of n are expected beyond those of the others."""
    if len(x) < 2:
        return -torch.inf, torch.inf, 0.0
    middle = x.median()
    above, below = ((side * (x - middle)).topk(min(TOP, len(x))).values.double() for side in (1, -1))
    low, high = float(middle - BEYOND * below[0]), float(middle + BEYOND * above[0])
    return low, high, _expected(above) + _expected(below)


def _expected(top: Tensor) -> float:
    """Of n values, how many are expected beyond `BEYOND` times the largest of the others.

    Seldom one is, so the tail is asked too: if it falls as v^(−a), n values have 2^(−a) of them, with a from the
    largest distances, falling (Hill 1975, "A simple general approach to inference about the tail of a distribution").
    """
    if top[0] <= 0:
        return 0.0
    if top[1] * BEYOND < top[0] or top[-1] <= 0:
        return 1.0
    steps = float((top[:-1] / top[-1]).log().mean())
    return BEYOND ** (-1 / steps) if steps > 0 else 0.0


def _inputs(block: Block) -> list[tuple[int, int]]:
    """The columns of a block of one input each, and those inputs."""
    return [(c, block.start + i) for i, c in enumerate(block.columns)]
