"""Views of a row: how far its nearest stored rows are, near and wide, in three metrics, and beside their own distances.

A detector's stored rows show what is normal without a model of it. A distance depends on the metric and on the number
of neighbors. No choice is best for every table, so several are taken, each one small:

    standardized   inputs in units of their spread
    robust         inputs in units of their interquartile range
    whitened       standardized inputs times (Σ + 0.1)^(−½), Σ their covariance: small deviations across a direction in
                   which the inputs hardly vary count as much as large ones along it

In each metric, stored rows are dealt out to 128 groups, and the nearest row of each group counts. A view is the mean
distance to the nearest 5 groups, which shows rare rows, or to the nearest 70, which shows clusters of anomalies among
the training rows too. With 2,048 stored rows these are, but for chance, the mean distances to the nearest 5 and some
100 rows. Most of the selection is minima, which cost next to nothing. The whitened metric has one more view, of
distances divided by the stored row's own usual one: it shows rows that are far for their neighborhood (after Breunig et
al. 2000).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from diabolo.data.encoding import Encoded, Encoding
from diabolo.memory import Memory

__all__ = ["FEWEST_ROWS", "MOST_ROWS", "VIEWS", "Views"]

#: Stored rows among which neighbors are sought. Cost is in proportion. In a table with anomalies, more rows also bring
#: each anomaly nearer to others of its kind.
MOST_ROWS = 2_048
#: Fewer stored rows than these have no tail to measure.
FEWEST_ROWS = 20
#: Spreads beyond which an input enters by its logarithm, so that a wild cell stays far without drowning the others.
REACH = 8.0
#: Added to the variances before whitening.
RIDGE = 0.1
#: Inputs at most for which the covariance is taken; beyond, each input is whitened alone.
MOST_INPUTS = 1_024
#: Groups of stored rows, of which the nearest row counts.
GROUPS = 128
#: Groups that are averaged over: few, many, and of distances in the stored rows' own units.
NEAR, WIDE, RELATIVE = 5, 70, 20
#: Nearest other stored rows; their mean distance is the usual one of a stored row.
LOCAL = 20
#: Rows whose distances to a round of stored ones are held at once.
HELD = 1_024

#: The views, in the order in which `Views.measure` gives them.
VIEWS = (
    *tuple(f"{metric} {size}" for metric in ("standardized", "robust", "whitened") for size in (NEAR, WIDE)),
    "density ratio",
)


def soft_clip(x: Tensor) -> Tensor:
    """x up to 8, then ±(8 + log(1 + |x| − 8)): rising, and harmless to square."""
    least, most = torch.aminmax(x)
    if bool(least >= -REACH) and bool(most <= REACH):
        return x
    beyond = (x.abs() - REACH).clamp_min_(0.0).log1p_()
    return beyond.mul_(x.sign()).add_(x.clamp(-REACH, REACH))


@dataclasses.dataclass
class _Metric:
    """Stored rows at their places in one metric, in which distances are Euclidean.

    They lie in rounds; each round deals one row to every group. A minimum within groups is then one of whole tables,
    and the table of one round stays in a core's cache. With (−2 s, |s|², 1) of a stored row s and (x, 1, |x|²) of
    another, d² is one product.
    """

    rounds: list[Tensor]  # each [D + 2, G]; padding of the last one is infinitely far

    @staticmethod
    def of(places: Tensor, groups: int) -> _Metric:
        square = places.square().sum(-1, keepdim=True)
        wide = torch.cat([-2 * places, square, torch.ones_like(square)], dim=-1)
        wide = torch.nn.functional.pad(wide, (0, 0, 0, -len(places) % groups))
        wide[len(places) :, -2] = torch.inf
        return _Metric([part.T.contiguous() for part in torch.split(wide, groups)])

    def squared(self, places: Tensor, own: Tensor | None, memory: Memory) -> Iterator[Tensor]:
        """d² to the stored rows of each round, [B, G], good until the next one.

        Args:
            places: [B, D + 2].
            own: [B] which stored row a row is, infinitely far from itself; −1 for none.
        """
        groups = self.rounds[0].shape[-1]
        table = memory.get("squared", (len(places), groups), places)
        for i, stored in enumerate(self.rounds):
            torch.mm(places, stored, out=table)
            if own is not None:
                kin = (own.div(groups, rounding_mode="floor") == i).nonzero()[:, 0]
                table[kin, own[kin] % groups] = torch.inf
            yield table


class Views:
    """Distances of a row to a detector's stored rows; the same stored rows give the same views.

    Args:
        encoding: the main model's.
        values: [n, C] stored rows in the schema's order, at least `FEWEST_ROWS`; of more than `MOST_ROWS` evenly spaced
            ones are taken.

    Attributes:
        location, scale: [V, 1] median of each view over those rows, each without itself, and how far its 95th
            percentile lies above.
    """

    def __init__(self, encoding: Encoding, values: np.ndarray) -> None:
        taken = np.linspace(0, len(values) - 1, min(len(values), MOST_ROWS)).round().astype(np.int64)
        #: Position among the taken rows by position among all stored ones; −1 for the others, and at the end for none.
        self._taken = torch.full((len(values) + 1,), -1)
        self._taken[torch.from_numpy(taken)] = torch.arange(len(taken))
        self._encoding = encoding
        rows = encoding.encode(torch.from_numpy(np.ascontiguousarray(values[taken])))
        bounded = rows.x.clamp(-20.0, 20.0).double()
        mean, spread = bounded.mean(0), bounded.std(0, correction=0)
        if encoding.shape is not None:
            # Pixels share one scale, as they do in the model.
            spread = (spread.square() + (mean - mean.mean()).square()).mean().sqrt().expand_as(spread)
        spread = torch.where(spread > 1e-6, spread, 1.0)
        self._center = mean.float()
        x = rows.x - self._center
        self._unit = (1 / spread).float()
        self._robust = self._unit if encoding.shape is not None else self._unit / _quartile_spread(x * self._unit)
        self._turn = _whitening(soft_clip(x * self._unit))
        n = len(taken)
        self._groups = min(GROUPS, n)
        #: A group of one row may be that row itself, which does not count.
        self._counts = [min(count, self._groups - 1) for count in (NEAR, WIDE, RELATIVE)]
        self._metrics = [_Metric.of(places, self._groups) for places in self._places(x)]
        self._price = 2 * math.log(encoding.n_train + 2)
        self._usual = self._local(x)
        own = self._measure(rows, torch.arange(n))
        middle, high = (own.double().quantile(q, dim=-1, keepdim=True).float() for q in (0.5, 0.95))
        #: A view that hardly varies must not blow its rounding up: a thousandth of the length of a typical row.
        length = math.sqrt(rows.x.shape[-1])
        floor = 1e-3 * torch.tensor([length] * (len(VIEWS) - 1) + [1.0]).unsqueeze(-1)
        self.location, self.scale = middle, torch.maximum(high - middle, floor)

    def measure(self, rows: Encoded, own: Tensor | None = None) -> Tensor:
        """Each view of rows [B], [V, B], up = farther.

        Args:
            rows: encoded by the encoding of the stored ones.
            own: [B] which stored row a row is, −1 for none; None for none at all.
        """
        return self._measure(rows, None if own is None else self._taken[own])

    def _places(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where centered inputs [B, D] lie in each metric."""
        standardized = soft_clip(x * self._unit)
        return standardized, soft_clip(x * self._robust), standardized @ self._turn

    def _measure(self, rows: Encoded, own: Tensor | None) -> Tensor:
        memory, added = rows.memory or Memory(), self._surcharge(rows).unsqueeze(-1)
        near, wide, relative = self._counts
        out = rows.x.new_empty(len(VIEWS), len(rows))
        for start in range(0, len(rows), HELD):
            part = slice(start, start + HELD)
            mine = None if own is None or not bool((own[part] >= 0).any()) else own[part]
            places = [_wide(p, added[part]) for p in self._places(rows.x[part] - self._center)]
            least = self._nearest(places, mine, memory)
            for m in range(len(self._metrics)):
                torch.mean(least[m, :, :near], -1, out=out[2 * m, part])
                torch.mean(least[m, :, :wide], -1, out=out[2 * m + 1, part])
            torch.mean(least[-1, :, :relative], -1, out=out[-1, part])
        return out

    def _nearest(self, places: list[Tensor], own: Tensor | None, memory: Memory) -> Tensor:
        """Rising distances to the nearest groups by metric, the last ones in the stored rows' own units, [4, B, ·]."""
        shape = (len(self._metrics) + 1, len(places[0]), self._groups)
        least = memory.get("least", shape, places[0]).fill_(torch.inf)
        *absolute, relative = least
        for m, (metric, nearest) in enumerate(zip(self._metrics, absolute, strict=True)):
            for squared, usual in zip(metric.squared(places[m], own, memory), self._usual, strict=True):
                torch.minimum(nearest, squared, out=nearest)
                if m == len(absolute) - 1:
                    torch.minimum(relative, squared.mul_(usual), out=relative)
        # NumPy's sort of short rows takes a twentieth of the time of PyTorch's.
        least.numpy().sort(axis=-1)
        return least[..., : max(self._counts)].clamp_min(0.0).sqrt_()

    def _local(self, x: Tensor) -> list[Tensor]:
        """1 / ρ² by round, ρ the mean distance of a taken row to its nearest; with a floor, for copies are at none."""
        metric, parts, at, memory = self._metrics[-1], [], torch.arange(len(x)), Memory()
        for start in range(0, len(x), HELD):
            places = _wide(self._places(x[start : start + HELD])[-1])
            table = torch.cat([t.clone() for t in metric.squared(places, at[start : start + HELD], memory)], dim=-1)
            near = table.topk(min(LOCAL, len(x) - 1), largest=False).values
            parts.append(near.clamp_min(0.0).sqrt().mean(-1))
        mean = torch.cat(parts)
        usual = mean + 1e-3 * mean.median() + 1e-3
        # Padding of the last round stays infinitely far.
        padded = torch.nn.functional.pad(usual.square().reciprocal(), (0, -len(x) % self._groups), value=1.0)
        return list(torch.split(padded, self._groups))

    def _surcharge(self, rows: Encoded) -> Tensor:
        """[B] added to squared distances: 2 log(n + 2), by Laplace's rule, for each fact that no input shows."""
        count = torch.zeros(len(rows))
        if rows.changed is not None:
            count = count + rows.changed.sum(-1)
        if rows.missing is not None:
            never = torch.ones(rows.missing.shape[-1], dtype=torch.bool)
            never[[*self._encoding.nullable, *self._encoding.gappy]] = False
            count = count + (rows.missing & never).sum(-1)
        return count * self._price


def _wide(places: Tensor, added: Tensor | float = 0.0) -> Tensor:
    """(x, 1, |x|² + added), [B, D + 2]."""
    square = places.square().sum(-1, keepdim=True)
    return torch.cat([places, torch.ones_like(square), square + added], dim=-1)


def _quartile_spread(x: Tensor) -> Tensor:
    """Interquartile range of each input over that of a standard normal; 1 where half of the rows share one value."""
    low, high = x.double().quantile(torch.tensor([0.25, 0.75], dtype=torch.float64), dim=0)
    spread = (high - low) / 1.349
    return torch.where(spread > 1e-6, spread.clamp_min(0.05), 1.0).float()


def _whitening(x: Tensor) -> Tensor:
    """(Σ + ridge)^(−½), [D, D]: symmetric, so that it does not depend on the choice of axes of equal variance."""
    if x.shape[-1] > MOST_INPUTS:
        return torch.diag((x.var(0, correction=0) + RIDGE).rsqrt())
    centered = (x - x.mean(0)).double()
    variances, axes = torch.linalg.eigh(centered.T @ centered / len(x))
    turn: Tensor = (axes * (variances.clamp_min(0.0) + RIDGE).rsqrt()) @ axes.T
    return turn.float()
