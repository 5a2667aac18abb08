"""Where a row lies: its columns in plain units, in normal scores, and what the other columns leave of each.

    x    (cell − mean) / spread of the stored rows; beyond eight spreads by its logarithm
    n    Φ⁻¹(F(x)) with F from the ranks of the stored rows; linear beyond the lowest and the highest of them
    r    Φ⁻¹(F(e)) of the residual e of a column given the others by least squares, `LinearResiduals`

A normal score does not depend on a column's unit nor on its tails, and plain units keep what ranks lose. Truth values,
filled slots, gaps and levels have no order: a difference counts `DIFFER`, once per column, as much as two random values
of a normal column differ on average. So no rare level outweighs the numbers beside it.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from diabolo.data.encoding import SCALED, Encoded, Encoding
from diabolo.device import Movable, on_cpu

__all__ = ["DIFFER", "TILE", "LinearResiduals", "NormalScores", "Places", "soft_clip"]

#: Rows of a matrix product; callers pass multiples of it.
TILE = 16
#: Spreads beyond which an input enters by its logarithm, so that a wild cell stays far without drowning the others.
REACH = 8.0
#: E|a − b| of two independent standard normal numbers, 2/√π.
DIFFER = 2 / torch.pi**0.5
#: Added to the unit variances before residuals are taken, so that a column that others determine keeps a spread.
RIDGE = 0.05
#: Inputs beyond which no residuals are taken.
MOST_INPUTS = 1_024
#: Levels up to which each has a direction of its own, in shortlists and in residuals.
FEW_LEVELS = 16


def soft_clip(x: Tensor) -> Tensor:
    """x up to 8, then ±(8 + log(1 + |x| − 8)): rising, and harmless to sum; x itself where no cell is beyond."""
    if on_cpu(x) and x.numel():
        low, high = torch.aminmax(x)
        if float(low) >= -REACH and float(high) <= REACH:
            return x
    size = x.abs()
    far = (size - REACH).clamp_min_(0.0).log1p_().mul_(x.sign()).add_(x.clamp(-REACH, REACH))
    return torch.where(size <= REACH, x, far)  # as above, whatever lies beside it


class NormalScores(Movable):
    """Φ⁻¹ of the mid-ranks of columns among n values each; beyond them linear with slope 1.

    F(x) = (#{v < x} + #{v ≤ x} + 1) / (2 (n + 1)), in (0, 1). A missing value counts among none.

    >>> scores = NormalScores(torch.tensor([[1.0], [2.0], [3.0]]))
    >>> [round(v, 3) for v in scores(torch.tensor([[2.0], [3.0], [5.0]]))[:, 0].tolist()]
    [0.0, 0.674, 3.15]
    """

    def __init__(self, columns: Tensor, there: Tensor | None = None) -> None:
        """Values [n, d], and [n, d] bool which of them are there; None for all."""
        knots, scores, ends = [], [], []
        for c in range(columns.shape[1]):
            values = columns[:, c] if there is None else columns[there[:, c], c]
            values = values if len(values) else columns.new_zeros(1)
            unique, counts = torch.unique(values, return_counts=True)
            above = counts.cumsum(0).double()
            # Between two knots, below the first and above the last; and at the knots.
            gaps = torch.cat([above.new_zeros(1), above])
            table = torch.empty(2 * len(unique) + 1, dtype=torch.float64)
            table[0::2], table[1::2] = 2 * gaps + 1, gaps[:-1] + gaps[1:] + 1
            knots.append(unique)
            scores.append(torch.special.ndtri(table / (2 * (len(values) + 1))).float())
            ends.append((unique[0], unique[-1]))
        pad = torch.nn.utils.rnn.pad_sequence
        knots = [torch.nn.functional.pad(k, (0, 1), value=torch.inf) for k in knots]  # so that one follows the last
        self.knots = pad(knots, batch_first=True, padding_value=torch.inf) if knots else columns.new_empty(0, 1)
        self.scores = pad(scores, batch_first=True) if scores else columns.new_empty(0, 3)
        self.low, self.high = (torch.tensor([e[i] for e in ends], dtype=torch.float32) for i in (0, 1))

    def __call__(self, x: Tensor) -> Tensor:
        """Scores of values [B, d]."""
        cells = x.T.contiguous()
        at = torch.searchsorted(self.knots, cells)
        equal = self.knots.gather(1, at) == cells
        inside = self.scores.gather(1, at.mul_(2).add_(equal)).T
        return inside + (x - x.clamp(self.low, self.high))


class LinearResiduals(Movable):
    r"""What is left of columns once the others have been subtracted by least squares, in units of its spread.

    With the correlations R of the inputs z and W = (R + 0.05)⁻¹ it is (W z)_c / √W_cc: the residual of column c given
    all others under a normal law of precision W (Lauritzen 1996, "Graphical models", ch. 5), exactly and at once.
    """

    def __init__(self, z: Tensor, columns: int) -> None:
        """Inputs [n, D], of which residuals of the first `columns` are wanted."""
        inputs = z.double()
        self.mean = inputs.mean(0)
        spread = inputs.std(0, correction=0)
        self.unit = torch.where(spread > 1e-6, 1 / spread.clamp_min(1e-6), 0.0)
        inputs = (inputs - self.mean) * self.unit
        ridge = RIDGE * torch.eye(z.shape[1], dtype=torch.float64)
        precision = torch.linalg.inv(inputs.T @ inputs / max(1, len(z)) + ridge)[:, :columns]
        turn = (self.unit[:, None] * precision / precision.diagonal().sqrt()).float()
        # Of fewer than eight columns a product's last bits depend on where a row lies in it (MKL).
        self.turn, self.columns = torch.nn.functional.pad(turn, (0, -columns % TILE)), columns
        self.mean = self.mean.float()

    def __call__(self, z: Tensor) -> Tensor:
        """[B, columns] of inputs [B, D]; on the processor by products of `TILE` rows, the last one may be short.

        So a row has the same residuals whatever the rows beside it.
        """
        z = z - self.mean
        if len(z) <= TILE or not on_cpu(z):
            found: Tensor = z @ self.turn
        else:
            found = z.new_empty(len(z), self.turn.shape[1])
            for start in range(0, len(z), TILE):
                torch.mm(z[start : start + TILE], self.turn, out=found[start : start + TILE])
        return found[:, : self.columns]


class Places(Movable):
    """Coordinates of encoded rows, learnt from stored ones.

    Args:
        encoding: the main model's.
        stored: rows that it has encoded.

    Attributes:
        parts: coordinates of the view x alone, of x and n, of n alone, and of r.
        axes: coordinates that `shortlist` gives.
        measured, facts, words: inputs that are numbers and angles, those without order, and each category's span.
        few, signs: spans of categories of few levels, and directions of the levels of the others.
        scaled, cells: how many of `measured` are no angles, and their cells.
        center, unit: of `measured`.
        plain: whether `measured` are all inputs, in their order.
        normal, linear: the maps of the views n and r; normal scores of `scaled` columns, then of their residuals.
        thirds: whether the coordinates are x, n and r of as many columns each, and nothing else.
        stretch: factors of the leading coordinates in a shortlist.
    """

    def __init__(self, encoding: Encoding, stored: Encoded) -> None:
        blocks = [(b, range(b.start, b.stop)) for b in encoding.blocks]
        scaled = [i for b, at in blocks if b.kind in SCALED for i in at]
        angles = [i for b, at in blocks if b.kind == "angle" for i in at]
        self.measured = torch.tensor([*scaled, *angles], dtype=torch.long)
        self.facts = torch.tensor(
            [i for b, at in blocks if b.kind in ("boolean", "slots", "missing") for i in at], dtype=torch.long
        )
        self.words = [(b.start, b.stop) for b, _ in blocks if b.kind == "categorical"]
        self.few = [w for w in self.words if w[1] - w[0] <= FEW_LEVELS]
        self.scaled = len(scaled)
        self.cells = encoding.cell_of_input[self.measured] if len(self.measured) else self.measured
        self.plain = [*scaled, *angles] == list(range(encoding.width))
        self.signs = [_signs(stop - start) for start, stop in self.words if stop - start > FEW_LEVELS]
        self._learn(stored)

    def _learn(self, stored: Encoded) -> None:
        x, there = stored.x[:, self.measured].clamp(-20.0, 20.0).double(), self._there(stored)
        weight = torch.ones_like(x) if there is None else there.double()
        count = weight.sum(0).clamp_min(1.0)
        mean = (x * weight).sum(0) / count
        spread = ((x - mean).square() * weight).sum(0).div(count).sqrt()
        self.center, self.unit = mean.float(), torch.where(spread > 1e-6, 1 / spread.clamp_min(1e-6), 1.0).float()
        x = self._plain(stored, there)
        s = slice(0, self.scaled)
        known = None if there is None else there[:, s]
        inputs = self._inputs(stored, x)
        self.linear: LinearResiduals | None = None
        if self.scaled and 1 < inputs.shape[1] <= MOST_INPUTS:
            self.linear = LinearResiduals(inputs, self.scaled)
        left = x[:, :0] if self.linear is None else self.linear(inputs)
        # One table for both: a look into two costs a single row as much again.
        if known is not None:
            known = torch.cat([known, known.new_ones(left.shape)], dim=-1)
        self.normal = NormalScores(torch.cat([x[:, s], left], dim=-1), known)
        d, a, f = self.scaled, x.shape[1] - self.scaled, len(self.facts)
        r = left.shape[1]
        self.thirds = d == r and not a + f + len(self.words)
        ends = [0, d, d + a + f, 2 * d + a + f, 2 * d + a + f + r]
        self.parts = [slice(*pair) for pair in itertools.pairwise(ends)]
        twice = torch.full((a + f,), 2**0.5)  # they are the same in x and in n
        self.stretch = torch.cat([torch.ones(d), twice, torch.ones(d)])
        self.axes = len(self.stretch) + sum(min(stop - start, FEW_LEVELS) for start, stop in self.words)

    def __call__(self, rows: Encoded, count: int | None = None) -> tuple[Tensor, Tensor]:
        """Coordinates [B, width], and levels by position [B, categories], −1 where there is none, of the first rows.

        Of `count` rows, None for all; the others fill a tile, and products alone take them in.
        """
        there = self._there(rows)
        x = self._plain(rows, there)
        cells = x[:count, : self.scaled]
        if self.linear is not None:
            cells = torch.cat([cells, self.linear(self._inputs(rows, x))[:count]], dim=-1)
        scores = self.normal(cells)
        if there is not None:
            scores[:, : self.scaled].masked_fill_(~there[:count, : self.scaled], 0.0)
        facts = [rows.x[:count, self.facts] * DIFFER] if len(self.facts) else []
        return torch.cat([x[:count], *facts, scores], dim=-1), self._levels(rows.x[:count])

    @property
    def inputs(self) -> int:
        """Inputs of the least squares."""
        return 0 if self.linear is None else len(self.linear.turn)

    def residuals(self, rows: Encoded) -> Tensor | None:
        """What the other columns leave of each number, [m, columns], of rows that are `whole`; None of none."""
        if self.linear is None:
            return None
        left = self.linear(self._inputs(rows, self._plain(rows, self._there(rows))))
        whole = self.whole(rows, self._levels(rows.x))
        return left if whole is None else left[whole]

    def scores_of_residuals(self, left: Tensor) -> Tensor:
        """Normal scores of residuals [m, columns]."""
        none = left.new_zeros(len(left), self.scaled)
        return self.normal(torch.cat([none, left], dim=-1))[:, self.scaled :] if self.linear else left

    def whole(self, rows: Encoded, levels: Tensor) -> Tensor | None:
        """Which of the first rows, of levels [B, categories], have all their numbers and known levels; None for all."""
        there = self._there(rows)
        known = (levels >= 0).all(-1) if levels.shape[1] else None
        if there is None:
            return known
        numbers = there[: len(levels)].all(-1)
        return numbers if known is None else numbers & known

    def _levels(self, x: Tensor) -> Tensor:
        """The level of each category [B, categories], −1 for none or one never seen."""
        found = [x[:, start:stop].max(dim=-1) for start, stop in self.words]
        known = [torch.where(most.values > 0, most.indices, -1) for most in found]
        return torch.stack(known, dim=-1) if known else x.new_empty(len(x), 0, dtype=torch.long)

    def shortlist(self, places: Tensor, levels: Tensor) -> Tensor:
        """Coordinates [B, axes] whose Euclidean distance joins the views x and n."""
        leading = places[:, : len(self.stretch)]
        if self.thirds:
            return leading
        parts = [leading * self.stretch]
        signs = iter(self.signs)
        for at, (start, stop) in zip(levels.T, self.words, strict=True):
            code = torch.eye(stop - start, device=at.device) if stop - start <= FEW_LEVELS else next(signs)
            parts.append(torch.where((at >= 0)[:, None], code[at.clamp_min(0)], 0.0) * DIFFER)
        return torch.cat(parts, dim=-1)

    def _there(self, rows: Encoded) -> Tensor | None:
        """Which measured cells are there, [B, d]; None for all."""
        return None if rows.present is None else rows.present[:, self.cells]

    def _plain(self, rows: Encoded, there: Tensor | None) -> Tensor:
        x = rows.x if self.plain else rows.x[:, self.measured]
        x = soft_clip(torch.sub(x, self.center).mul_(self.unit))
        return x if there is None else torch.where(there, x, 0.0)

    def _inputs(self, rows: Encoded, x: Tensor) -> Tensor:
        """What residuals are taken from: measured cells, facts, and levels where they are few."""
        if not len(self.facts) and not self.few:
            return x
        return torch.cat([x, rows.x[:, self.facts], *(rows.x[:, a:b] for a, b in self.few)], dim=-1)


def _signs(levels: int) -> Tensor:
    """Directions of many levels, [levels, 16]: far from each other alike, but for chance."""
    generator = torch.Generator().manual_seed(levels)
    signs: Tensor = torch.randint(0, 2, (levels, FEW_LEVELS), generator=generator) * 2.0 - 1.0
    return signs / 4  # of length 1
