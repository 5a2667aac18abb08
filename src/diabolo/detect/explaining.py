"""Why a detector flags a row: its columns in the order of their part in the score, and the nearest normal rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from diabolo.data.dtypes import mean_type, python_cells
from diabolo.data.encoding import Encoding
from diabolo.data.slots import filled
from diabolo.data.table import from_values
from diabolo.detect.calibrated import Calibrated
from diabolo.detect.columns import column_costs
from diabolo.detect.explanation import ColumnPart, Explanation, Explanations, Neighbor, show
from diabolo.detect.repair import MOST_COLUMNS, Neighborhood, Repair, repairs
from diabolo.errors import CalibrationError, ConfigError
from diabolo.model.autoencoder import Model
from diabolo.model.chain import judges_by_others, others_mean

__all__ = [
    "ColumnPart",
    "Explanation",
    "Explanations",
    "Neighbor",
    "explain",
    "leading",
    "plain_rows",
    "seen_rows",
    "show",
]

#: Stored rows looked at for each nearest normal one that is wanted.
SPARE = 4
#: An ordinary row has a score that this share of normal rows exceeds; contributions are judged there.
ORDINARY = 0.1
#: Shown for a word that no training row had.
UNSEEN = "(not seen in the fit)"


def explain(detector: Calibrated, values: np.ndarray, neighbors: int, start: int = 0) -> Explanations:
    """Explain rows [n, C] in the schema's order, numbered from `start`.

    Raises:
        ConfigError: the number of neighbors is no whole number from 0 up.
        CalibrationError: the detector was saved by a version that kept no costs or rows to explain by.
    """
    if not isinstance(neighbors, int | np.integer) or neighbors < 0:
        raise ConfigError(f"neighbors = {neighbors!r}; allowed are whole numbers from 0 up")
    model = detector.reference.model
    encoding = model.encoding
    names = encoding.schema.names
    scores = detector.scores(values)
    found = _repaired(detector, values, scores)
    p, p_columns = detector.p_values(scores), _column_p_values(detector, values, found)
    wholes = np.stack([f.row for f in found])
    expected = plain_rows(_expected(model, wholes), encoding, mean=True)
    seen = seen_rows(values, encoding)
    threshold, near = detector.threshold, _neighborhood(detector)
    out = []
    for i, repair in enumerate(found):
        parts = tuple(
            ColumnPart(
                names[c],
                seen[i][names[c]],
                expected[i][names[c]],
                float(repair.contribution[c]),
                float(p_columns[i, c]),
                c in repair.changed,
            )
            for c in order(repair, p_columns[i])
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


def _repaired(detector: Calibrated, values: np.ndarray, scores: np.ndarray) -> list[Repair]:
    """The repair of each row; a row that cannot be scored is explained by its infinite cells."""
    readable = np.isfinite(scores)
    infinite = np.where(np.isinf(values), np.inf, 0.0)
    at = np.flatnonzero(readable)
    like = values.dtype
    found = repairs(
        values[at],
        lambda rows: detector.scores(rows.astype(like)),
        _neighborhood(detector),
        detector.threshold,
        _suspects(detector, values[at]),
        detector.calibration.threshold(ORDINARY) if detector.calibration.units * ORDINARY >= 1 else None,
    )
    taken = dict(zip(at.tolist(), found, strict=True))
    blank = [Repair(math.inf, math.inf, v.astype(np.float64), (), c) for v, c in zip(values, infinite, strict=True)]
    return [taken.get(i, blank[i]) for i in range(len(values))]


def _suspects(detector: Calibrated, values: np.ndarray) -> list[np.ndarray]:
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
    cost = np.where(absent | fixed, -np.inf, np.nan_to_num(cost, nan=np.inf))
    first = np.argsort(-cost, axis=1, kind="stable")[:, :MOST_COLUMNS]
    return [np.sort(f[c[f] > -np.inf]) for f, c in zip(first, cost, strict=True)]


def _expected(model: Model, values: np.ndarray) -> np.ndarray:
    """The value of each cell that the model expects: given the others of a masked one, else the reconstruction."""
    if judges_by_others(model):
        return others_mean(model, values)
    with torch.inference_mode():
        rows = model.encoding.encode(torch.from_numpy(np.array(values)))
        mean = model.mean_values(model.decode(model.posterior(rows).mean))
        return np.asarray(mean.reshape(-1, *mean.shape[-2:]).mean(0).numpy())


def seen_rows(values: np.ndarray, encoding: Encoding) -> list[dict[str, Any]]:
    """Rows as dicts of plain values; `UNSEEN` stands for a word that no training row had."""
    rows, schema = plain_rows(values, encoding), encoding.schema
    for name, words in schema.levels.items():
        for i in np.flatnonzero(values[:, schema.names.index(name)] >= len(words)):
            rows[i][name] = UNSEEN
    return rows


def plain_rows(values: np.ndarray, encoding: Encoding, mean: bool = False) -> list[dict[str, Any]]:
    """Rows as dicts of plain values in the columns' own types."""
    schema = encoding.schema
    dtypes = [mean_type(c.dtype) if mean else c.dtype for c in schema.columns]
    table = from_values(np.asarray(values, np.float64), schema.names, dtypes, "arrow", schema.levels)
    cells = [python_cells(column) for column in table.columns]
    return [dict(zip(table.column_names, row, strict=True)) for row in zip(*cells, strict=True)]


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
