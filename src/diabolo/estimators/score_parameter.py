"""`score` of a detector: a parameter, and the method of scikit-learn by the same name."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Protocol, Self, overload

import numpy as np

from diabolo.data.table import TableLike

__all__ = ["ScoreParameter"]


class Scoring(Protocol):
    """A detector, as far as it matters here."""

    def score_samples(self, X: TableLike) -> np.ndarray: ...


class ScoreParameter:
    """Keeps the parameter `score` apart from the method that scikit-learn calls by the same name."""

    def __set__(self, detector: Scoring, value: str) -> None:
        detector.__dict__["score"] = value

    @overload
    def __get__(self, detector: None, owner: type) -> Self: ...
    @overload
    def __get__(self, detector: Scoring, owner: type) -> Callable[..., float]: ...
    def __get__(self, detector: Scoring | None, owner: type) -> Self | Callable[..., float]:
        return self if detector is None else functools.partial(mean_score, detector)


def mean_score(detector: Scoring, X: TableLike, y: object = None) -> float:
    """Mean of score_samples over rows X, for model selection."""
    return float(np.mean(detector.score_samples(X)))
