"""Why a detector flags a row: its columns in the order of their part in the score, and the nearest normal rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from diabolo.data.slots import filled
from diabolo.detect.calibrated import Calibrated
from diabolo.detect.cells import expected_cells, plain_rows, seen_rows
from diabolo.detect.columns import column_costs
from diabolo.detect.explanation import ColumnPart, Explanation, Explanations, Neighbor, show
from diabolo.detect.repair import MOST_COLUMNS, Neighborhood, Repair, repairs
from diabolo.errors import CalibrationError, ColumnsError, ConfigError, nearest

__all__ = [
    "ColumnPart",
    "Explanation",
    "Explanations",
    "Neighbor",
    "explain",
    "leading",
    "show",
]

#: Stored rows looked at for each nearest normal one that is wanted.
SPARE = 4
#: An ordinary row has a score that this share of normal rows exceeds; contributions are judged there.
ORDINARY = 0.1


def explain(
    detector: Calibrated, values: np.ndarray, neighbors: int, start: int = 0, context: Sequence[str] = ()
) -> Explanations:
    """Explain rows [n, C] in the schema's order, numbered from `start`.

    Args:
        context: columns that are given: none of them changes, and none is judged.

    Raises:
        ConfigError: the number of neighbors is no whole number from 0 up; a context of columns that there are not, or
            of all that there are.
        CalibrationError: the detector was saved by a version that kept no costs or rows to explain by.
    """
    if not isinstance(neighbors, int | np.integer) or neighbors < 0:
        raise ConfigError(f"neighbors = {neighbors!r}; allowed are whole numbers from 0 up")
    model = detector.reference.model
    encoding = model.encoding
    names = encoding.schema.names
    given = _given(names, context)
    scores = detector.scores(values)
    found = _repaired(detector, values, scores, given)
    p, p_columns = detector.p_values(scores), _column_p_values(detector, values, found)
    expected = expected_cells(model, np.stack([f.row for f in found]))
    seen = seen_rows(values, encoding)
    threshold, near = detector.threshold, _neighborhood(detector)
    out = []
    for i, repair in enumerate(found):
        parts = tuple(
            ColumnPart.of(
                names[c],
                seen[i][names[c]],
                expected[i][names[c]],
                float(repair.contribution[c]),
                float(p_columns[i, c]),
                c in repair.changed,
            )
            for c in order(repair, p_columns[i])
            if c not in given
        )
        readable = bool(np.isfinite(scores[i]))
        flag = None if readable else encoding.flags(values[i : i + 1])[0] or "the score overflows"
        nearest = _nearest(detector, near, values[i], neighbors, threshold)
        verdict = not readable or bool(scores[i] > threshold)
        out.append(
            Explanation(
                start + i, float(scores[i]), float(p[i]), threshold, verdict, repair.score, parts, nearest, flag
            )
        )
    return Explanations(out)


def _given(names: Sequence[str], context: Sequence[str]) -> frozenset[int]:
    """Positions of the columns of a context."""
    if isinstance(context, str):
        raise ConfigError(f"context = {context!r}; allowed are lists of columns, like [{context!r}]")
    unknown = {c: f"is not in the table: {nearest(c, names)}" for c in context if c not in names}
    if unknown:
        raise ColumnsError(unknown)
    if set(context) == set(names):
        raise ConfigError(f"the context names all {len(names)} columns; leave out what is to be judged")
    return frozenset(names.index(c) for c in context)


def leading(detector: Calibrated, values: np.ndarray, count: int) -> list[list[tuple[str, float]]]:
    """For each row the `count` columns that explain it first, with their p-values."""
    if not len(values):
        return []
    names = detector.reference.model.encoding.schema.names
    scores = detector.scores(values)
    found = _repaired(detector, values, scores)
    p = _column_p_values(detector, values, found)
    return [[(names[c], float(p[i, c])) for c in order(r, p[i])[:count]] for i, r in enumerate(found)]


def order(repair: Repair, p_values: np.ndarray) -> list[int]:
    """Columns that have to change first, then by contribution, then by p-value."""
    first = {c: k for k, c in enumerate(repair.changed)}
    size = range(len(p_values))
    return sorted(size, key=lambda c: (first.get(c, len(first)), -repair.contribution[c], p_values[c], c))


def _column_p_values(detector: Calibrated, values: np.ndarray, found: list[Repair]) -> np.ndarray:
    """[n, C]: the larger of a column's p-value in the row as it is, and in the row with the other columns repaired.

    The first one alone is valid, and so is any larger number. Faults of other columns do not affect the second one.
    """
    columns, model = detector.columns, detector.reference.model
    if columns is None:
        raise CalibrationError("the detector was saved by a version that kept no costs by column; fit it again")
    seen = columns.p_values(column_costs(model, values))
    back, at = [], []
    for i, repair in enumerate(found):
        for c in repair.changed:
            row = repair.row.copy()
            row[c] = values[i, c]
            back.append(row)
            at.append((i, c))
    given = columns.p_values(column_costs(model, np.stack([*(r.row for r in found), *back]).astype(values.dtype)))
    alone = given[: len(found)]
    for k, (i, c) in enumerate(at, len(found)):
        alone[i, c] = given[k, c]
    return np.asarray(np.maximum(seen, alone))


def _neighborhood(detector: Calibrated) -> Neighborhood:
    reference = detector.reference
    if reference.stored is None or not len(reference.stored):
        raise CalibrationError("the detector keeps no training rows to compare with; fit it again")
    if "neighborhood" not in reference.derived:
        reference.derived["neighborhood"] = Neighborhood(reference.model.encoding, reference.stored.values)
    found: Neighborhood = reference.derived["neighborhood"]
    return found


def _repaired(
    detector: Calibrated, values: np.ndarray, scores: np.ndarray, given: frozenset[int] = frozenset()
) -> list[Repair]:
    """The repair of each row in columns that are not given; one that cannot be scored is explained by its infinite
    cells.
    """
    readable = np.isfinite(scores)
    infinite = np.where(np.isinf(values), np.inf, 0.0)
    at = np.flatnonzero(readable)
    like = values.dtype
    found = repairs(
        values[at],
        lambda rows: detector.scores(rows.astype(like)),
        _neighborhood(detector),
        detector.threshold,
        _suspects(detector, values[at], given),
        detector.calibration.threshold(ORDINARY) if detector.calibration.units * ORDINARY >= 1 else None,
    )
    taken = dict(zip(at.tolist(), found, strict=True))
    blank = [Repair(math.inf, math.inf, v.astype(np.float64), (), c) for v, c in zip(values, infinite, strict=True)]
    return [taken.get(i, blank[i]) for i in range(len(values))]


def _suspects(detector: Calibrated, values: np.ndarray, given: frozenset[int]) -> list[np.ndarray]:
    """The columns to search: those whose cell may change; of many, the ones reconstructed worst."""
    model = detector.reference.model
    schema = model.encoding.schema
    # A constant is searched where it has another value.
    low = np.array([c.low for c in schema.columns])
    constant = np.array([c.kind == "constant" for c in schema.columns])
    fixed = constant & ((values == low) | np.isnan(values))
    absent = ~filled(np.where(np.isfinite(values), values, 1.0), schema.groups)
    cost = np.zeros(values.shape)
    if len(low) > MOST_COLUMNS and len(values):
        with torch.inference_mode():
            rows = model.encoding.encode(torch.from_numpy(np.array(values)))
            error = model.column_squared_error(model.decode(model.posterior(rows).mean), rows)
        cost = error.reshape(-1, *error.shape[-2:]).mean(0)[:, : values.shape[1]].double().numpy()
    kept = np.isin(np.arange(len(low)), list(given))
    cost = np.where(absent | fixed | kept, -np.inf, np.nan_to_num(cost, nan=np.inf))
    first = np.argsort(-cost, axis=1, kind="stable")[:, :MOST_COLUMNS]
    return [np.sort(f[c[f] > -np.inf]) for f, c in zip(first, cost, strict=True)]


def _nearest(
    detector: Calibrated, near: Neighborhood, row: np.ndarray, count: int, threshold: float
) -> tuple[Neighbor, ...]:
    if count < 1:
        return ()
    distance = np.sqrt(near.squared(row.astype(np.float64)).sum(axis=1))
    stored = detector.reference.stored
    if stored is not None:
        own = int(stored.positions(row[None])[0])
        if own >= 0:
            distance[own] = np.inf  # a stored row is not its own neighbor
    closest = np.argsort(distance, kind="stable")[: SPARE * count]
    values = near.values[closest].astype(row.dtype)
    normal = detector.scores(values) <= threshold
    normal &= np.isfinite(distance[closest])
    closest = closest[normal][:count]
    rows = plain_rows(near.values[closest], near.encoding)
    return tuple(Neighbor(float(distance[r]), cells) for r, cells in zip(closest, rows, strict=True))
