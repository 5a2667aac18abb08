"""Views of a row: how far its nearest stored rows are, near and wide, in three metrics, and beside their own distances.

A detector's stored rows say what is normal without a model of it. What is far depends on the metric and on how many
neighbours count, and no choice is best for every table, so several are taken, each one small:

    standardized   inputs in units of their spread
    robust         inputs in units of their interquartile range
    whitened       standardized inputs times (Σ + 0.1)^(−½), Σ their covariance: small deviations across a direction in
                   which the inputs hardly vary count as much as large ones along it

In each, the mean distance to the nearest 5 rows (what is rare) and to the nearest 100 (clusters of anomalies among the
training rows are far from those too); in the whitened one, the mean distance to the nearest 20 over theirs to their own
nearest 20 (what is far for its neighbourhood; Breunig et al. 2000).
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from torch import Tensor

from diabolo.data.encoding import Encoded, Encoding

__all__ = ["FEWEST_ROWS", "MOST_ROWS", "VIEWS", "Views"]

#: Stored rows that neighbours are sought among. More of them cost time in proportion; in a table that anomalies are
#: part of, more of them also bring an anomaly's own kin nearer.
MOST_ROWS = 2_048
#: Fewer stored rows than these have no tail to measure.
FEWEST_ROWS = 20
#: Spreads beyond which an input enters by its logarithm, so that a wild cell stays far without drowning the others.
REACH = 8.0
#: What is added to the variances before whitening.
RIDGE = 0.1
#: Inputs at most for which the covariance is taken; beyond, each input is whitened alone.
MOST_INPUTS = 1_024
#: Numbers of neighbours.
NEAR, WIDE, LOCAL = 5, 100, 20
#: Rows whose distances are held at once.
HELD = 1_024

#: The views, in the order in which `Views.measure` gives them.
VIEWS = (*tuple(f"{m} {k}" for m in ("standardized", "robust", "whitened") for k in (NEAR, WIDE)), "density ratio")


def soft_clip(x: Tensor) -> Tensor:
    """x up to 8, then ±(8 + log(1 + |x| − 8)): rising, and harmless to square."""
    beyond = (x.abs() - REACH).clamp_min(0.0)
    return x.clamp(-REACH, REACH) + x.sign() * beyond.log1p()


@dataclasses.dataclass
class _Metric:
    """Where rows lie: soft(x · scale) · turn, distances Euclidean; and where the stored ones do."""

    scale: Tensor  # [D]
    turn: Tensor | None  # [D, D]
    stored: Tensor  # [R, D]
    squares: Tensor  # [R]

    @staticmethod
    def of(x: Tensor, scale: Tensor, turn: Tensor | None = None) -> _Metric:
        out = _Metric(scale, turn, x, x)
        out.stored = out.places(x)
        out.squares = out.stored.square().sum(-1)
        return out

    def places(self, x: Tensor) -> Tensor:
        at = soft_clip(x * self.scale)
        return at if self.turn is None else at @ self.turn

    def squared(self, x: Tensor, own: Tensor) -> Tensor:
        """Squared distances to the stored rows, [B, R]; a row's `own` (−1: none) is infinitely far."""
        at = self.places(x)
        squared = torch.addmm(self.squares, at, self.stored.T, alpha=-2.0)
        squared += at.square().sum(-1, keepdim=True)
        kin = own >= 0
        squared[kin.nonzero()[:, 0], own[kin]] = torch.inf
        return squared.clamp_min_(0.0)


def _smallest(table: Tensor, k: int) -> Tensor:
    """The k smallest of each row, rising; NumPy's selection takes a third of the time of torch.topk's."""
    numbers = table.numpy()
    if k < numbers.shape[1]:
        numbers = np.partition(numbers, k - 1, axis=1)[:, :k]
    return torch.from_numpy(np.sort(numbers, axis=1))


class Views:
    """What a detector's stored rows say of a row; the same rows give the same views.

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
        unit = (1 / spread).float()
        self._metrics = [
            _Metric.of(x, unit),
            _Metric.of(x, unit if encoding.shape is not None else unit / _quartile_spread(x * unit)),
            _Metric.of(x, unit, _whitening(soft_clip(x * unit))),
        ]
        n = len(taken)
        self._k = [min(k, n - 1) for k in (NEAR, WIDE, LOCAL)]
        self._price = 2 * math.log(encoding.n_train + 2)
        self._local = self._whole(rows, torch.arange(n))
        own = self._measure(rows, torch.arange(n))
        middle, high = (own.double().quantile(q, dim=-1, keepdim=True).float() for q in (0.5, 0.95))
        #: A view that hardly varies must not blow its rounding up: a thousandth of the length of a typical row.
        length = math.sqrt(x.shape[-1])
        floor = 1e-3 * torch.tensor([length] * (len(VIEWS) - 1) + [1.0]).unsqueeze(-1)
        self.location, self.scale = middle, torch.maximum(high - middle, floor)

    def measure(self, rows: Encoded, own: Tensor | None = None) -> Tensor:
        """Each view of rows [B], [V, B], up = farther.

        Args:
            rows: encoded by the encoding of the stored ones.
            own: [B] which stored row a row is, −1 for none; None for none at all.
        """
        mine = torch.full((len(rows),), -1) if own is None else self._taken[own]
        return self._measure(rows, mine)

    def _measure(self, rows: Encoded, own: Tensor) -> Tensor:
        near, wide, local = self._k
        extra, out = self._surcharge(rows), torch.empty(len(VIEWS), len(rows))
        for start in range(0, len(rows), HELD):
            part = slice(start, start + HELD)
            x, added = rows.x[part] - self._center, extra[part].unsqueeze(-1)
            for m, metric in enumerate(self._metrics):
                table = metric.squared(x, own[part])
                nearest = _smallest(table, max(wide, local))
                distance = (nearest + added).sqrt()
                out[2 * m, part] = distance[:, :near].mean(-1)
                out[2 * m + 1, part] = distance[:, :wide].mean(-1)
            # The last metric's table is still there: the stored rows no farther than the 20th, all of several.
            around = (table <= nearest[:, local - 1 : local]).float()
            out[-1, part] = distance[:, :local].mean(-1) / ((around @ self._local) / around.sum(-1))
        return out

    def _whole(self, rows: Encoded, own: Tensor) -> Tensor:
        """Mean distance of each taken row to its own nearest, [R], with a floor: copies must not divide by zero."""
        local, parts = self._k[2], []
        for start in range(0, len(rows), HELD):
            part = slice(start, start + HELD)
            table = self._metrics[-1].squared(rows.x[part] - self._center, own[part])
            parts.append(_smallest(table, local).sqrt().mean(-1))
        mean = torch.cat(parts)
        return mean + 1e-3 * mean.median() + 1e-3

    def _surcharge(self, rows: Encoded) -> Tensor:
        """[B] added to squared distances for what no input shows: 2 log(n + 2), as Laplace's rule has it, each time."""
        count = torch.zeros(len(rows))
        if rows.changed is not None:
            count = count + rows.changed.sum(-1)
        if rows.missing is not None:
            never = torch.ones(rows.missing.shape[-1], dtype=torch.bool)
            never[self._encoding.nullable] = False
            count = count + (rows.missing & never).sum(-1)
        return count * self._price


def _quartile_spread(x: Tensor) -> Tensor:
    """Interquartile range of each input over that of a standard normal; 1 where half of the rows share one value."""
    low, high = x.double().quantile(torch.tensor([0.25, 0.75], dtype=torch.float64), dim=0)
    spread = (high - low) / 1.349
    return torch.where(spread > 1e-6, spread.clamp_min(0.05), 1.0).float()


def _whitening(x: Tensor) -> Tensor:
    """(Σ + ridge)^(−½), [D, D]: symmetric, so that it does not hang on how equal variances are turned."""
    if x.shape[-1] > MOST_INPUTS:
        return torch.diag((x.var(0, correction=0) + RIDGE).rsqrt())
    centered = (x - x.mean(0)).double()
    variances, axes = torch.linalg.eigh(centered.T @ centered / len(x))
    turn: Tensor = (axes * (variances.clamp_min(0.0) + RIDGE).rsqrt()) @ axes.T
    return turn.float()
