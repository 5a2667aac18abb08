"""How well a score ranks: AUROC and average precision, with bootstrap intervals."""

from __future__ import annotations

import dataclasses

import numpy as np

__all__ = ["Ranking", "auroc", "average_precision", "lead", "rank"]


@dataclasses.dataclass(frozen=True)
class Ranking:
    """One score's figures with 95 % intervals."""

    name: str
    auroc: float
    auroc_low: float
    auroc_high: float
    precision: float
    precision_low: float
    precision_high: float


def _sweep(y: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Order by falling score, and the last position of each run of ties."""
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    last = np.append(np.flatnonzero(falling[1:] != falling[:-1]), len(scores) - 1)
    return order, y[order].astype(np.float64), last


def _figures(positive: np.ndarray, weight: np.ndarray, last: np.ndarray) -> tuple[float, float]:
    true = np.cumsum(positive * weight)[last]
    false = np.cumsum((1 - positive) * weight)[last]
    step_true, step_false = np.diff(true, prepend=0.0), np.diff(false, prepend=0.0)
    # Ties count half: the trapezium under the ROC curve.
    area = float(((true - step_true / 2) * step_false).sum() / (true[-1] * false[-1]))
    precision = float((step_true / true[-1] * true / np.maximum(true + false, 1e-300)).sum())
    return area, precision


def auroc(y: np.ndarray, scores: np.ndarray) -> float:
    """P(score of an anomaly > score of a normal row) + ½ P(equal).

    >>> auroc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]))
    0.75
    """
    _, positive, last = _sweep(y, scores)
    return _figures(positive, np.ones(len(y)), last)[0]


def average_precision(y: np.ndarray, scores: np.ndarray) -> float:
    """Σ (R_n − R_{n−1}) P_n over falling thresholds.

    >>> round(average_precision(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])), 4)
    0.8333
    """
    _, positive, last = _sweep(y, scores)
    return _figures(positive, np.ones(len(y)), last)[1]


def rank(name: str, y: np.ndarray, scores: np.ndarray, seed: int = 0, draws: int = 200) -> Ranking:
    """Both figures with percentile intervals of a bootstrap within each class.

    Args:
        y: [n], 1 for an anomaly; both classes present.
        scores: [n], up = more anomalous; +inf allowed.
        seed: of the bootstrap.
        draws: bootstrap draws.
    """
    _, positive, last = _sweep(y, scores)
    exact = _figures(positive, np.ones(len(y)), last)
    rng = np.random.default_rng(seed)
    # Poisson weights are the bootstrap of a large sample, without drawing indices.
    weights = (rng.poisson(1.0, len(y)) for _ in range(draws))
    drawn = np.array([_figures(positive, w, last) for w in weights if _both(positive, w)])
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0) if len(drawn) else (exact, exact)
    return Ranking(name, exact[0], float(low[0]), float(high[0]), exact[1], float(low[1]), float(high[1]))


def lead(y: np.ndarray, one: np.ndarray, other: np.ndarray, seed: int = 0, draws: int = 200) -> tuple[float, ...]:
    """How far one score's AUROC lies above another's on the same rows, with a 95 % interval.

    Both scores are judged on the same bootstrap draws, so what they share cancels.

    Args:
        y, seed, draws: as of `rank`.
        one, other: scores [n], up = more anomalous.

    Returns:
        (difference, low, high).
    """
    sides = [_sweep(y, scores) for scores in (one, other)]
    exact = [_figures(positive, np.ones(len(y)), last)[0] for _, positive, last in sides]
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(draws):
        weight = rng.poisson(1.0, len(y))
        if _both(y, weight):
            areas = [_figures(positive, weight[order], last)[0] for order, positive, last in sides]
            drawn.append(areas[0] - areas[1])
    gap = exact[0] - exact[1]
    low, high = np.quantile(drawn, [0.025, 0.975]) if drawn else (gap, gap)
    return gap, float(low), float(high)


def _both(positive: np.ndarray, weight: np.ndarray) -> bool:
    return bool((positive * weight).any() and ((1 - positive) * weight).any())
