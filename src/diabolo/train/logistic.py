"""Logistic regressions of many 0/1 columns on the same few features, by Newton's method over chunks of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn import functional

from diabolo.world import ALONE, Total

__all__ = ["Labeled", "logistic_regressions"]

#: Features [n, K], labels [n, J] and weights [n] or None.
Labeled = tuple[Tensor, Tensor, Tensor | None]
#: Passes at most, and the gain in nats per row that a next one must promise.
PASSES, GAIN = 25, 1e-9
#: Rows whose products are formed at once.
TILE = 8192


def logistic_regressions(
    chunks: Callable[[], Iterable[Labeled]],
    center: Tensor,
    scale: Tensor,
    labels: int,
    total: Total = ALONE.total,
) -> tuple[Tensor, Tensor]:
    """Slopes [J, K] and intercepts [J] of logit P(label = 1) on the features.

    Slopes on (feature − center)/scale have a standard normal prior, and each label is taken to have been 0 once and 1
    once at the center (Laplace's rule): a label that is rare, constant or a function of the features has finite slopes.

    Args:
        chunks: gives the rows anew at each call, once per pass.
        center: [K], of the features.
        scale: [K], their spread; above 0.
        labels: J.
        total: adds up the sums of processes that share the rows.

    >>> x = torch.linspace(-3, 3, 400)[:, None]
    >>> y = (torch.rand(400, 1, generator=torch.Generator().manual_seed(0)) < (2 * x - 1).sigmoid()).float()
    >>> slopes, intercepts = logistic_regressions(lambda: [(x, y, None)], torch.zeros(1), torch.ones(1), 1)
    >>> bool((slopes - 2).abs() < 0.5), bool((intercepts + 1).abs() < 0.5)
    (True, True)
    """
    center, scale = center.double(), scale.double()
    best = at = torch.zeros(labels, len(center) + 1, dtype=torch.float64)
    least = torch.full((labels,), torch.inf, dtype=torch.float64)
    step = torch.zeros_like(at)
    for _ in range(PASSES):
        loss, gradient, curvature, weight = _derivatives(chunks(), center, scale, at, total)
        better = loss <= least
        # Where a full step overshot, the next one from the same place is half as long.
        newton = torch.linalg.solve(curvature, gradient)
        promised = 0.5 * (newton * gradient).sum(1)
        best, least = torch.where(better[:, None], at, best), torch.where(better, loss, least)
        step = torch.where(better[:, None], newton, 0.5 * step)
        at = best - step
        if bool((better & (promised <= GAIN * weight)).all()):
            break
    slopes = best[:, 1:] / scale
    return slopes, best[:, 0] - slopes @ center


def _derivatives(
    rows: Iterable[Labeled], center: Tensor, scale: Tensor, at: Tensor, total: Total
) -> tuple[Tensor, Tensor, Tensor, float]:
    """Loss [J], gradient [J, 1+K], curvature [J, 1+K, 1+K] and the rows' weight; the intercept comes first."""
    width = at.shape[1]
    upper = torch.triu_indices(width, width)
    share = at[:, 0].sigmoid()
    prior = functional.softplus(at[:, 0]) + functional.softplus(-at[:, 0]) + 0.5 * at[:, 1:].square().sum(1)
    pull = torch.cat([(2 * share - 1)[:, None], at[:, 1:]], dim=1)
    loss, gradient = prior, pull
    packed, weight = torch.zeros(len(at), upper.shape[1], dtype=torch.float64), 0.0
    for features, labels, weights in rows:
        for part in range(0, len(features), TILE):
            tile = slice(part, part + TILE)
            y = labels[tile].double()
            w = torch.ones(len(y), dtype=torch.float64) if weights is None else weights[tile].double()
            u = functional.pad((features[tile].double() - center) / scale, (1, 0), value=1.0)
            logits = u @ at.T
            p = logits.sigmoid()
            loss = loss + w @ (functional.softplus(logits) - y * logits)
            gradient = gradient + ((p - y) * w[:, None]).T @ u
            packed += (p * (1 - p) * w[:, None]).T @ (u[:, upper[0]] * u[:, upper[1]])
            weight += float(w.sum())
    one = torch.tensor(1.0, dtype=torch.float64)
    loss, gradient, packed, whole, count = total([loss, gradient, packed, weight * one, one])
    # The prior counts once, however many processes have the rows.
    loss, gradient = loss - (count - 1) * prior, gradient - (count - 1) * pull
    curvature = packed.new_zeros(len(at), width, width)
    curvature[:, upper[0], upper[1]] = curvature[:, upper[1], upper[0]] = packed
    curvature += torch.eye(width, dtype=torch.float64)
    curvature[:, 0, 0] += 2 * share * (1 - share) - 1
    return loss, gradient, curvature, float(whole)
