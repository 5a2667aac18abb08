"""From a score to its p-value, verdict and reason: `diabolo.detect.conformal` as operations."""

from __future__ import annotations

import numpy as np

from diabolo.detect.columns import ColumnCalibration
from diabolo.detect.conformal import Calibration
from diabolo.export.onnx.encoding import Row
from diabolo.export.onnx.graph import DOUBLE, INT8, Graph, ints
from diabolo.export.onnx.search import places_in
from diabolo.runtime.flags import REASONS

__all__ = ["column_p_values", "final_score", "p_value", "reason"]


def final_score(g: Graph, value: str, row: Row) -> str:
    """The score [n] double, +inf for a row without one."""
    s = g.cast(g.op("Reshape", value, ints(-1)), DOUBLE)
    # Of what is no number no comparison is true.
    kept = g.op("And", g.op("Less", g.op("Abs", s), np.array([np.inf])), row.good)
    return g.op("Where", kept, s, np.array([np.inf]))


def reason(g: Graph, score: str, row: Row) -> str:
    """Why a row has no score, [n] int8: a position in `diabolo.runtime.flags.REASONS`."""
    lost = g.op("And", g.op("IsInf", score), row.good)
    return g.cast(g.op("Where", lost, ints(REASONS.index("the score overflows")), row.flag), INT8)


def p_value(g: Graph, calibration: Calibration, score: str) -> str:
    """p [n] double, NaN for a row without a score."""
    found = places_in(g, [calibration.scores], g.op("Unsqueeze", score, ints(1)))
    p = g.op("Gather", calibration.p_of_places(), g.op("Reshape", found.count, ints(-1)))
    return g.op("Where", g.op("IsInf", score), np.array([np.nan]), p)


def column_p_values(g: Graph, calibration: ColumnCalibration, costs: str) -> str:
    """p of each column's cost [n, C], double."""
    finite = g.op("Equal", g.op("Sub", costs, costs), 0.0)
    costs = g.op("Where", finite, costs, np.array([np.inf], np.float32))
    found = places_in(g, [c.scores.astype(np.float32) for c in calibration.columns], costs)
    # A table of n costs has n + 1 places.
    sizes = [len(c) + 1 for c in calibration.columns]
    offset = np.cumsum([0, *sizes[:-1]])
    p = np.concatenate([c.p_of_places() for c in calibration.columns])
    return g.op("Gather", p, g.op("Add", found.count, offset[None]))
