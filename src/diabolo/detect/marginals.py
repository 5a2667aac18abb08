"""One-dimensional distributions of the calibration rows, and exact-in-rank tests of new rows against them.

For each feature at most `EDGES` of the calibration values are kept, with the share of rows at or below each. New rows
are counted between these edges, in memory that does not grow with them. Both tests compare two samples, so that they
hold for any distribution as long as new and calibration rows are exchangeable, however many new rows share the one
calibration set:

- the largest difference of the two shares over the edges never exceeds Kolmogorov's and Smirnov's D, so that its
  p-value is conservative (Hodges 1958), exactly so for few rows;
- of m new rows, X ~ BetaBinomial(m, c + 1, n − c) lie beyond the calibration row before an edge that c of n of them lie
  beyond, and fewer lie beyond the edge; P(X ≥ k) is the one-sided p-value of Fisher's test of k / m against c / n.

A feature of few values is tested value by value instead: given the pooled number of rows that have it, the number of
them among new rows is hypergeometric (Fisher 1934).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["Counts", "Difference", "Marginals", "fisher", "kolmogorov"]

#: Values kept of a feature.
EDGES = 131
#: A feature of at most so many values is tested value by value.
FEW = 24
#: Calibration rows per value, on average, of such a feature.
OFTEN = 4
#: Relative difference of numbers that may be one and the same.
ROUNDING = 2.0**-22
#: Steps times rows up to which the law of the largest difference is computed exactly: a millisecond or two.
EXACT = 10_000
#: Share of calibration rows beyond the edges that the tests of the tails look at.
TAIL = 0.01


@dataclasses.dataclass
class Marginals:
    """Shares of F features of calibration rows."""

    edges: np.ndarray  #: [F, EDGES] float64, rising; unused ones are +inf
    share: np.ndarray  #: [F, EDGES] share of the cells that are there at or below each edge; 1 at unused ones
    missing: np.ndarray  #: [F] share of cells that are missing
    size: float  #: number of rows; of weighted ones, (Σw)² / Σw²

    @staticmethod
    def of(values: np.ndarray, weights: np.ndarray | None = None) -> Marginals:
        """Look at calibration rows.

        Args:
            values: [n, F], NaN where missing.
            weights: [n] or None.
        """
        n, features = values.shape
        w = np.ones(n) if weights is None else np.asarray(weights, np.float64)
        out = Marginals(
            np.full((features, EDGES), np.inf),
            np.ones((features, EDGES)),
            np.zeros(features),
            float(w.sum() ** 2 / np.square(w).sum()),
        )
        for f in range(features):
            cell = values[:, f].astype(np.float64)
            there = ~np.isnan(cell)
            out.missing[f] = 1 - w[there].sum() / w.sum()
            if there.any():
                edges, share = _edges(cell[there], w[there])
                out.edges[f, : len(edges)], out.share[f, : len(edges)] = edges, share
        return out

    def __len__(self) -> int:
        return len(self.edges)

    def few(self, f: int) -> bool:
        """Whether every value of the feature is among its edges."""
        # Each must be frequent: among few calibration rows, every feature has few values.
        return bool(self.used[f] <= FEW and OFTEN * self.used[f] <= self.size)

    @property
    def used(self) -> np.ndarray:
        """Number of edges of each feature, [F] int64."""
        return np.asarray(np.isfinite(self.edges).sum(axis=1))


def _edges(cell: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(cell, kind="stable")
    cell, cumulative = cell[order], np.cumsum(w[order])
    last = np.append(np.flatnonzero(np.diff(cell)), len(cell) - 1)  # of each distinct value
    share, value = cumulative[last] / cumulative[-1], cell[last]
    # An edge lies a little above its value: a number differs a little between single and double precision.
    edges = value + np.minimum(ROUNDING * np.abs(value), np.append(np.diff(value) / 2, np.inf))
    # Between two doubles without another in between, half the way is one of the two.
    edges[:-1] = np.where(edges[:-1] < value[1:], edges[:-1], value[:-1])
    if len(edges) > FEW:
        # Even steps of the share, the lowest and highest value, and the ends that the tests of the tails need.
        wanted = np.unique(np.concatenate([[0.0, TAIL, 1 - TAIL, 1.0], np.linspace(0, 1, EDGES - 4)]))
        keep = np.unique(np.clip(np.searchsorted(share, wanted * (1 - 1e-12)), 0, len(edges) - 1))[:EDGES]
        if len(keep) <= FEW:  # nearly all rows have one value; more edges show that there are others
            keep = np.unique(np.append(keep, np.linspace(0, len(edges) - 1, FEW + 1).astype(int)))
        edges, share = edges[keep], share[keep]
    return edges, share


class Counts:
    """New rows, counted between the edges of their features."""

    def __init__(self, marginals: Marginals, values: int | None = None, unit: float = 1.0) -> None:
        """Features from the number `values` on, which are computed, are never tested value by value.

        A row counts as so much of a `unit`: less than 1 where rows come in groups.
        """
        self.marginals, self._used, self._unit = marginals, marginals.used, unit
        most = len(marginals) if values is None else values
        self._few = [f < most and marginals.few(f) for f in range(len(marginals))]
        shape = (len(marginals), EDGES + 1)
        #: Cells above the edge before and up to this one; beyond the last edge.
        self.within = np.zeros(shape, np.int64)
        #: Cells that are exactly this edge, of features of few values.
        self.exact = np.zeros(shape, np.int64)
        self.missing = np.zeros(len(marginals), np.int64)
        self.rows = 0

    def add(self, values: np.ndarray) -> None:
        """Count [b, F] rows, NaN where missing."""
        self.rows += len(values)
        for f, cell in enumerate(np.ascontiguousarray(values.T)):
            there = ~np.isnan(cell)
            if not there.all():
                self.missing[f] += len(cell) - int(there.sum())
                cell = cell[there]
            edges = self.marginals.edges[f, : self._used[f]]
            at = np.searchsorted(edges, cell.astype(np.float64, copy=False), side="left")
            self.within[f] += np.bincount(at, minlength=EDGES + 1)
            if len(edges) and self._few[f]:
                nearest = edges[np.minimum(at, len(edges) - 1)]
                same = (at < len(edges)) & (cell >= nearest - 3 * ROUNDING * np.abs(nearest))
                self.exact[f] += np.bincount(at[same], minlength=EDGES + 1)

    def state(self) -> dict[str, Any]:
        """All that was counted, as plain JSON: counts of each feature that are not 0, by place."""
        sparse = {name: [_places(row) for row in getattr(self, name)] for name in ("within", "exact")}
        return {"rows": self.rows, "missing": self.missing.tolist(), **sparse}

    def join(self, state: Mapping[str, Any]) -> None:
        """Add what was counted of other rows beside the same marginals."""
        self.rows += state["rows"]
        self.missing += np.asarray(state["missing"], np.int64)
        for name in ("within", "exact"):
            for f, (places, counts) in enumerate(state[name]):
                getattr(self, name)[f, places] += np.asarray(counts, np.int64)

    def differ(self, f: int) -> Difference:
        """How the feature's cells that are there differ from the calibration rows'."""
        known, used = self.marginals, int(self._used[f])
        within, exact = (np.rint(a[f] * self._unit).astype(np.int64) for a in (self.within, self.exact))
        there = int(within.sum())
        size = known.size * (1 - float(known.missing[f]))
        if not there or not used or size < 1:
            return Difference(1.0, 0.0, float("nan"), float("nan"), float("nan"), "at or below")
        edges, share = known.edges[f, :used], known.share[f, :used]
        if self._few[f]:
            return _by_value(edges, share, size, exact[:used], there)
        return _by_shares(edges, share, size, np.cumsum(within[:used]), there)

    def lacks(self, f: int) -> Difference:
        """How the feature's share of missing cells differs."""
        before, now = float(self.marginals.missing[f]), int(self.missing[f])
        counts = round(now * self._unit), round(self.rows * self._unit)
        p = fisher(before * self.marginals.size, self.marginals.size, *counts)
        share = now / max(self.rows, 1)
        return Difference(p, abs(share - before), float("nan"), before, share, "missing")


def _places(row: np.ndarray) -> list[list[int]]:
    at = np.flatnonzero(row)
    return [at.tolist(), row[at].tolist()]


@dataclasses.dataclass(frozen=True)
class Difference:
    """The largest difference between two samples of one feature: a share that was `before` and is `now`."""

    p_value: float
    distance: float  #: largest difference of shares
    at: float  #: the value that the shares are of
    before: float
    now: float
    of: str  #: "at or below", "above" or "equal to" the value, "new" (no calibration row has it), or "missing"


def _by_shares(edges: np.ndarray, share: np.ndarray, size: float, below: np.ndarray, m: int) -> Difference:
    gap = np.abs(below / m - share)
    most = int(gap.argmax())
    bulk = kolmogorov(float(gap[most]), size, m)
    low = int(np.searchsorted(share, TAIL * (1 - 1e-9)))
    high = int(np.searchsorted(share, (1 - TAIL) * (1 - 1e-9)))
    p_low = fisher(float(share[low]) * size, size, int(below[low]), m, risen=True)
    p_high = fisher(float(1 - share[high]) * size, size, int(m - below[high]), m, risen=True)
    # Half of the level to the bulk, a quarter to each end.
    p = min(2 * bulk, 4 * p_low, 4 * p_high, 1.0)
    if p == 4 * p_high < 2 * bulk:
        return Difference(p, float(gap[most]), float(edges[high]), 1 - float(share[high]), 1 - below[high] / m, "above")
    if p == 4 * p_low < 2 * bulk:
        return Difference(p, float(gap[most]), float(edges[low]), float(share[low]), below[low] / m, "at or below")
    return Difference(p, float(gap[most]), float(edges[most]), float(share[most]), below[most] / m, "at or below")


def _by_value(edges: np.ndarray, share: np.ndarray, size: float, exact: np.ndarray, m: int) -> Difference:
    """Each value, and all others together, at its part of the level."""
    before = np.append(np.diff(share, prepend=0.0), 0.0)
    now = np.append(exact, m - exact.sum())
    known = before * size
    # Values that no calibration row has: as many new rows have them as calibration rows have a value of their own
    # (Good 1953), so the single values stand for them. Rows may have weights, so up to two rows count as one.
    single = int((np.round(known[:-1]) <= 2).sum())
    known[-1] = single + 1 if single else 0
    p = np.array([fisher(float(k), size, int(c), m) for k, c in zip(known, now, strict=True)])
    p[-1] = fisher(float(known[-1]), size, int(now[-1]), m, risen=True)
    gap = np.abs(now / m - before)
    # Of values that are equally sure, the one that moved most.
    least = int(np.lexsort((-gap, p))[0])
    of, at = ("new", float("nan")) if least == len(edges) else ("equal to", float(edges[least]))
    return Difference(
        min(1.0, len(p) * float(p[least])), float(gap[least]), at, float(before[least]), float(now[least] / m), of
    )


def kolmogorov(distance: float, n: float, m: float) -> float:
    """P(D ≥ distance) of two samples of n and m rows without ties, which make it smaller.

    Exact for few rows. Beyond, by the law of one sample of n m / (n + m) rows, half a step of D before the distance: D
    takes multiples of 1 / lcm(n, m), and a continuous law does not see that it may be the distance itself.
    """
    from scipy.stats import kstwo

    if not distance > 0:
        return 1.0
    few, many = sorted(max(1, round(rows)) for rows in (n, m))
    if (few + many) * few <= EXACT:
        return _paths(distance, few, many)
    step = math.gcd(few, many) / (few * many)
    return float(kstwo.sf(distance - step / 2, max(1, round(few * many / (few + many)))))


def _paths(distance: float, n: int, m: int) -> float:
    """The share of paths from (0, 0) to (n, m) that come as far as |i / n − j / m| ≥ distance (Hodges 1958)."""
    i = np.arange(n + 1)
    inside = np.ones(1)  # of the paths to (i, s − i), the share that has stayed inside
    first = 0  # smallest i of them
    for s in range(1, n + m + 1):
        at = i[max(0, s - m) : min(n, s) + 1]
        # A path to (i, j) came from (i − 1, j) or (i, j − 1), in proportion to i and j.
        before = np.zeros(n + 3)
        before[first + 1 : first + 1 + len(inside)] = inside
        inside = (before[at] * at + before[at + 1] * (s - at)) / s
        inside[np.abs(at * m - (s - at) * n) >= distance * n * m - 1e-6] = 0.0
        first = int(at[0])
    return float(np.clip(1 - inside[0], 0.0, 1.0))


def fisher(known: float, n: float, count: int, m: int, risen: bool = False) -> float:
    """Two-sided p-value of a share that was known / n and is count / m: twice the smaller tail.

    Args:
        known, n: rows that had the property, of all calibration rows.
        count, m: of the new ones.
        risen: one-sided instead, against a share that has risen.
    """
    from scipy.special import gammaln

    # Weights give fractions: to the nearest whole numbers of rows.
    a, first, total = round(known), max(1, round(n)), round(known) + count
    a = min(a, first)
    # a ~ Hypergeometric(first + m rows, total of them with the property, first drawn), by its shorter support.
    low, high = max(0, total - m), min(total, first)
    k = np.arange(low, high + 1, dtype=np.float64)

    def choose(top: float, bottom: np.ndarray) -> np.ndarray:
        return np.asarray(gammaln(top + 1) - gammaln(bottom + 1) - gammaln(top - bottom + 1))

    log = choose(first, k) + choose(m, total - k)
    mass = np.exp(log - log.max())
    mass /= mass.sum()
    fewer = float(mass[: a - low + 1].sum())
    return min(1.0, fewer if risen else 2 * min(fewer, float(mass[a - low :].sum())))
