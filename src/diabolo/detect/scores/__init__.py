"""Anomaly scores: deterministic, [*lead, B], up = more anomalous. A file of this folder that registers one is all."""

from diabolo.detect.scores.base import ByColumn, Score, scores

__all__ = ["ByColumn", "Score", "scores"]
