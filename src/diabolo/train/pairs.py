"""Mean and covariance of rows with gaps: each pair of columns over the rows where both are seen."""

from __future__ import annotations

import torch
from torch import Tensor

from diabolo.world import Total

__all__ = ["Pairs"]

#: Rows in double precision at once.
TILE = 8192


class Pairs:
    """Sums over pairs of columns, of rows [*, D] that arrive in chunks; without gaps they are the usual moments."""

    def __init__(self, width: int) -> None:
        self.weight = 0.0
        #: Whether any row of weight has had a gap.
        self.gaps = False
        self.origin: Tensor | None = None
        shape = (width, width)
        #: Σ w, Σ w x_d and Σ w x_d x_e over the rows where both d and e are seen.
        self.count, self.first, self.second = (torch.zeros(shape, dtype=torch.float64) for _ in range(3))

    def add(self, x: Tensor, weights: Tensor | None = None, seen: Tensor | None = None) -> None:
        """Count rows x [n, D] with weights [n]; `seen` [n, D] is None where every cell is there."""
        for part in range(0, len(x), TILE):
            tile = slice(part, part + TILE)
            masks = (None if t is None else t[tile].cpu() for t in (weights, seen))
            self._add(x[tile].cpu().double(), *masks)

    def _add(self, x: Tensor, weights: Tensor | None, seen: Tensor | None) -> None:
        w = torch.ones(len(x), dtype=torch.float64) if weights is None else weights.double()
        there = None if seen is None or bool((seen > 0).all()) else seen > 0
        if self.origin is None:
            # Sums of squares lose digits where the mean is large beside the spread.
            safe = x if there is None else torch.where(there, x, 0.0)
            self.origin = safe.sum(0) / (len(x) if there is None else there.sum(0).clamp_min(1))
        x = x - self.origin
        self.weight += float(w.sum())
        if there is None:
            self.count += w.sum()
            self.first += (w @ x)[:, None]
            self.second += (w[:, None] * x).T @ x
            return
        self.gaps = self.gaps or not bool((there | (w == 0)[:, None]).all())
        x, mask = torch.where(there, x, 0.0), there.double()
        weighted = w[:, None] * x
        self.count += (w[:, None] * mask).T @ mask
        self.first += weighted.T @ mask
        self.second += weighted.T @ x

    def merge(self, total: Total) -> None:
        """Add the sums of other processes' rows, counted from the mean of all origins."""
        none = self.origin is None
        origin = torch.zeros(len(self.count), dtype=torch.float64) if self.origin is None else self.origin
        flags = torch.tensor([float(not none), float(self.gaps)], dtype=torch.float64)
        origins, (there, gaps) = total([origin, flags])
        if not there:
            return
        self.origin = origins / there
        shift = origin - self.origin
        first = self.first + shift[:, None] * self.count
        crossed = shift[None] * self.first + shift[:, None] * self.first.T
        second = self.second + crossed + torch.outer(shift, shift) * self.count
        weight = torch.tensor(self.weight, dtype=torch.float64)
        self.count, self.first, self.second, weight = total([self.count, first, second, weight])
        self.weight, self.gaps = float(weight), bool(gaps > 0)

    @property
    def there(self) -> Tensor:
        """Columns that some row shows, [D] bool."""
        return self.count.diagonal() > 0

    def mean_and_covariance(self) -> tuple[Tensor, Tensor]:
        """Means of the seen cells, and covariances of the pairs; 0 for what was never seen.

        A covariance of few pairs is shortened, by n/(n + 1); with gaps the matrix may have eigenvalues below 0.
        """
        if self.origin is None:
            raise ValueError("no rows")
        count = self.count.clamp_min(1e-300)
        mean = self.first.diagonal() / count.diagonal()
        products = self.second / count - mean * (self.first / count) - mean[:, None] * (self.first.T / count)
        covariance = (products + torch.outer(mean, mean)) * (self.count > 0)
        if self.gaps:
            pairs = self.count / (self.count + 1)
            covariance = covariance * torch.where(torch.eye(len(mean), dtype=torch.bool), 1.0, pairs)
        # A constant's variance is what rounding leaves, and its correlations are noise.
        varies = covariance.diagonal() > 1e-24 * self.origin.square()
        covariance = covariance * varies * varies[:, None]
        return mean + self.origin, 0.5 * (covariance + covariance.T)
