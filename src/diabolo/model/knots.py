"""The cells of columns of numbers in standardised units, and the normal scores of values: `diabolo.data.marginals`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from diabolo.data.marginals import Marginals
from diabolo.device import Movable

__all__ = ["FAR", "Knots", "Place", "standard_normal"]

#: A normal score that stands for infinity, so that products with it have a gradient.
FAR = 30.0


@dataclasses.dataclass(frozen=True)
class Place:
    """The places of values x [B, M] among the cells of their columns."""

    group: Tensor  #: [B, M] int64
    score: Tensor  #: [B, M] v of the value; of an atom the score of its middle
    log_slope: Tensor  #: [B, M] log dv/dx, which a density needs
    low: Tensor  #: [B, M] normal scores between which a value has a mass: an atom, or one of a rounded column
    high: Tensor
    point: Tensor  #: [B, M] bool: the value has a density instead
    atom: Tensor  #: [B, M] bool


@dataclasses.dataclass(frozen=True)
class Knots(Movable):
    """Cells of M columns in x; see `Marginals`."""

    edges: Tensor  #: [M, L + 1]
    group: Tensor  #: [M, L] int64
    ends: Tensor  #: [M, G + 1] scores between groups
    bounds: Tensor  #: [M, L − 1]
    anchor: Tensor  #: [M, L]
    anchor_score: Tensor  #: [M, L]
    slope: Tensor  #: [M, L] dv/dx
    half: Tensor  #: [M] half a step of a rounded column, 0 for a continuous one

    @staticmethod
    def of(
        marginals: Marginals, columns: Sequence[int], center: np.ndarray, scale: np.ndarray, resolution: np.ndarray
    ) -> Knots:
        """Those of some of the columns.

        Args:
            marginals: of the table.
            columns: positions among the schema's columns.
            center, scale, resolution: [C] of all columns.
        """
        at = [marginals.columns.index(c) for c in columns]
        c, s = center[list(columns)][:, None], scale[list(columns)][:, None]
        parts = (
            edges := marginals.edges[at].clip(-FAR, FAR),
            marginals.group[at],
            _ends(edges, marginals.group[at], marginals.groups),
            (marginals.bounds[at] - c) / s,
            (marginals.anchor[at] - c) / s,
            marginals.anchor_score[at],
            marginals.slope[at] * s,
            resolution[list(columns)] / 2 / s[:, 0],
        )
        return Knots(*(torch.tensor(p, dtype=torch.int64 if p.dtype == np.int64 else torch.float32) for p in parts))

    def one(self, column: int) -> Knots:
        """The cells of one column."""
        return Knots(*(getattr(self, f.name)[column : column + 1] for f in dataclasses.fields(self)))

    def cell(self, x: Tensor) -> Tensor:
        """Positions of the cells of x [*, M], int64."""
        flat = x.reshape(-1, x.shape[-1]).t().contiguous()
        return torch.searchsorted(self.bounds, flat).t().reshape(x.shape)

    def _at(self, table: Tensor, cell: Tensor) -> Tensor:
        """Entries [*, M] of a table [M, ·] by cells [*, M]."""
        flat = cell.reshape(-1, cell.shape[-1])
        return table.t().gather(0, flat).reshape(cell.shape)

    def scores(self, x: Tensor, cell: Tensor | None = None) -> Tensor:
        """v of x [*, M]."""
        cell = self.cell(x) if cell is None else cell
        return self._at(self.anchor_score, cell) + self._at(self.slope, cell) * (x - self._at(self.anchor, cell))

    def groups(self, cell: Tensor) -> Tensor:
        """Groups of cells [*, M], int64."""
        return self._at(self.group, cell)

    def place(self, x: Tensor) -> Place:
        """Where values x [*, M] lie."""
        cell = self.cell(x)
        slope = self._at(self.slope, cell)
        score = self._at(self.anchor_score, cell) + slope * (x - self._at(self.anchor, cell))
        left, right = self._at(self.edges, cell), self._at(self.edges[:, 1:], cell)
        atom = slope == 0
        reach = slope * self.half
        low = torch.where(atom, left, torch.maximum(score - reach, left))
        high = torch.where(atom, right, torch.minimum(score + reach, right))
        point = ~atom & (self.half == 0)
        return Place(
            self._at(self.group, cell),
            score,
            torch.where(atom, 0.0, slope.clamp_min(1e-30).log()),
            low,
            high,
            point,
            atom,
        )

    def values(self, score: Tensor) -> Tensor:
        """x of normal scores [*, M]: the inverse of `scores`."""
        flat = score.reshape(-1, score.shape[-1]).t().contiguous()
        cell = torch.searchsorted(self.edges[:, 1:-1].contiguous(), flat).t().reshape(score.shape)
        slope = self._at(self.slope, cell)
        inside = (score - self._at(self.anchor_score, cell)) / torch.where(slope == 0, 1.0, slope)
        return self._at(self.anchor, cell) + torch.where(slope == 0, 0.0, inside)


def _ends(edges: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """Scores between the groups of each column, [M, groups + 1], padded with the last one."""
    out = np.full((len(edges), groups + 1), FAR)
    for i, (row, of) in enumerate(zip(edges, group, strict=True)):
        starts = np.flatnonzero(np.diff(of)) + 1
        out[i, 0] = -FAR
        out[i, 1 : len(starts) + 1] = row[starts]
    return out


def standard_normal(columns: int, groups: int) -> Knots:
    """The knots of columns that follow the standard normal law, cut into groups of equal share: v = x."""
    from scipy.special import ndtri

    edges = np.tile(np.concatenate([[-FAR], ndtri(np.arange(1, groups) / groups), [FAR]]), (columns, 1))
    one = np.ones((columns, groups))
    group = np.tile(np.arange(groups), (columns, 1))
    parts = (edges, group, edges, edges[:, 1:-1], 0 * one, 0 * one, one, np.zeros(columns))
    return Knots(*(torch.tensor(p, dtype=torch.int64 if p.dtype == np.int64 else torch.float32) for p in parts))
