"""How far drawn rows are from real ones: column by column, pair by pair, as a whole, and whether they are copies.

Real rows are rows that the model was not fitted on: beside its training rows, a model that copies them would look best.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diabolo.data.schema import Schema
from diabolo.errors import DataError
from diabolo.generate.likeness import Broken, ColumnDistance, Copying, Fidelity
from diabolo.metrics import auroc

__all__ = [
    "Broken",
    "ColumnDistance",
    "Copying",
    "Fidelity",
    "column_distances",
    "fidelity_of",
    "copying",
    "two_sample_auroc",
]

#: Rows of each side that a comparison takes, and training rows that copies are looked for among.
MOST_ROWS, MOST_TRAIN = 10_000, 20_000
FOLDS = 5
#: Distances are computed for so many rows at once.
TILE = 512
#: An alarm needs this excess share of drawn over held-out rows near training rows, and this p-value of it.
EXCESS, LEVEL = 0.1, 1e-3


def fidelity_of(
    real: np.ndarray, drawn: np.ndarray, schema: Schema, train: np.ndarray | None = None, seed: int = 0
) -> Fidelity:
    """Compare drawn with real rows; at most 10,000 of each, chosen by seed.

    Args:
        real: rows that the model was not fitted on, [n, C] in the schema's order and levels, NaN where missing.
        drawn: rows of a model, [m, C] likewise.
        schema: of the columns.
        train: rows that the model was fitted on, [t, C]; None leaves copies aside.
        seed: of the rows taken, of folds and classifier.

    Raises:
        DataError: fewer than ten rows on a side.
    """
    rng = np.random.default_rng(seed)
    real, drawn = (_some(v, MOST_ROWS, rng) for v in (real, drawn))
    for name, values in (("real", real), ("drawn", drawn)):
        if len(values) < 2 * FOLDS:
            raise DataError(f"{len(values)} {name} rows came to compare; allowed are {2 * FOLDS} or more")
    error, pair = _correlations(real, drawn, schema)
    areas = two_sample_auroc(real, drawn, seed)
    near = None
    if train is not None and len(train):
        near = copying(real, drawn, _some(train, MOST_TRAIN, rng), schema)
    return Fidelity(
        n_real=len(real),
        n_drawn=len(drawn),
        columns=tuple(sorted(column_distances(real, drawn, schema), key=lambda c: -c.distance)),
        # E sup |Brownian bridge| = √(π/2) log 2.
        expected_distance=float(np.sqrt(np.pi / 2) * np.log(2) * np.sqrt(1 / len(real) + 1 / len(drawn))),
        correlation_error=error,
        worst_pair=pair,
        auroc=float(np.mean(areas)),
        auroc_spread=float(np.std(areas)),
        copying=near,
    )


def _some(values: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    if len(values) <= most:
        return values.astype(np.float64)
    return values[np.sort(rng.choice(len(values), most, replace=False))].astype(np.float64)


# ── column by column, pair by pair ────────────────────────────────────────────────────────────────


def column_distances(real: np.ndarray, drawn: np.ndarray, schema: Schema) -> list[ColumnDistance]:
    """The distance of each column, in the schema's order."""
    out = []
    for i, column in enumerate(schema.columns):
        a, b = real[:, i], drawn[:, i]
        gone = float(np.isnan(a).mean()), float(np.isnan(b).mean())
        a, b = np.sort(a[~np.isnan(a)]), np.sort(b[~np.isnan(b)])
        at = np.union1d(a, b)
        shares = [np.searchsorted(v, at, "right") / max(len(v), 1) for v in (a, b)]
        if column.kind == "categorical":
            p, q = (np.diff(s, prepend=0.0) for s in shares)
            measure, distance = "total variation", 0.5 * float(np.abs(p - q).sum())
        else:
            measure = "Kolmogorov-Smirnov"
            distance = float(np.abs(shares[0] - shares[1]).max(initial=0.0))
        out.append(ColumnDistance(column.name, measure, distance, *gone))
    return out


def _correlations(
    real: np.ndarray, drawn: np.ndarray, schema: Schema
) -> tuple[float, tuple[str, str, float, float] | None]:
    """Mean difference of rank correlations over pairs of features of two columns, and the worst pair."""
    names, owner, features = [], [], []
    for i, column in enumerate(schema.columns):
        for name, part in _features(column.name, column.kind, column.levels, (real[:, i], drawn[:, i])):
            names.append(name)
            owner.append(i)
            features.append(part)
    pairs = np.array(owner)[:, None] < np.array(owner)
    if not pairs.any():
        return 0.0, None
    rho = [_pearson(np.stack([f[side] for f in features], axis=1)) for side in (0, 1)]
    difference = np.where(pairs, np.abs(rho[0] - rho[1]), -1.0)
    a, b = (int(k) for k in np.unravel_index(int(difference.argmax()), difference.shape))
    worst = (names[a], names[b], float(rho[0][a, b]), float(rho[1][a, b]))
    return float(difference[pairs].mean()), worst


def _features(
    name: str, kind: str, levels: Sequence[str], sides: tuple[np.ndarray, np.ndarray]
) -> list[tuple[str, list[np.ndarray]]]:
    """Ranks of a column of numbers, an indicator for each level of a category, and one for missing cells."""
    from scipy.stats import rankdata

    out: list[tuple[str, list[np.ndarray]]] = []
    if kind == "categorical":
        out += [(f"{name}={word}", [(v == k).astype(np.float64) for v in sides]) for k, word in enumerate(levels)]
    else:
        ranks = []
        for v in sides:
            there = ~np.isnan(v)
            r = np.full(len(v), (there.sum() + 1) / 2)
            r[there] = rankdata(v[there])
            ranks.append(r)
        out.append((name, ranks))
    if any(np.isnan(v).any() for v in sides):
        out.append((f"{name} missing", [np.isnan(v).astype(np.float64) for v in sides]))
    return out


def _pearson(x: np.ndarray) -> np.ndarray:
    """Correlation matrix; 0 for a column that does not vary."""
    x = x - x.mean(axis=0)
    spread = np.sqrt((x**2).sum(axis=0))
    x /= np.where(spread > 0, spread, 1.0)
    return np.asarray(x.T @ x)


# ── as a whole ────────────────────────────────────────────────────────────────────────────────────


def two_sample_auroc(real: np.ndarray, drawn: np.ndarray, seed: int = 0) -> list[float]:
    """AUROC of telling drawn rows from real ones, of each fold: a classifier two-sample test.

    Scikit-learn's HistGradientBoostingClassifier with its defaults, judged on rows that it was not fitted on
    (Lopez-Paz, Oquab 2017, arXiv:1610.06545); 0.5 where both come from one law.

    Args:
        real, drawn: [n, C] and [m, C], NaN where missing; a category as the position of its level.
        seed: of folds and classifier.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold

    x, y = np.concatenate([real, drawn]), np.repeat([0, 1], [len(real), len(drawn)])
    areas = []
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(x, y):
        judge = HistGradientBoostingClassifier(random_state=seed).fit(x[train], y[train])
        areas.append(auroc(y[test], judge.decision_function(x[test])))
    return areas


# ── copies ────────────────────────────────────────────────────────────────────────────────────────


def copying(real: np.ndarray, drawn: np.ndarray, train: np.ndarray, schema: Schema) -> Copying:
    """Compare the distances of drawn and of held-out rows to their nearest training rows."""
    at = _Space(train, schema)
    near = at(train)
    mine, theirs = _nearest(at(drawn), near), _nearest(at(real), near)
    ends = np.union1d(mine, theirs)
    below = [np.searchsorted(np.sort(d), ends, "right") / len(d) for d in (mine, theirs)]
    excess = float((below[0] - below[1]).max(initial=0.0))
    size = len(mine) * len(theirs) / (len(mine) + len(theirs))
    p = float(np.exp(-2 * size * excess**2))
    order = np.searchsorted(np.sort(theirs), mine, "left") + np.searchsorted(np.sort(theirs), mine, "right")
    known = {row.tobytes() for row in np.nan_to_num(train + 0.0, nan=np.inf)}
    same = [float(np.mean([r.tobytes() in known for r in np.nan_to_num(v + 0.0, nan=np.inf)])) for v in (drawn, real)]
    return Copying(
        drawn=float(np.median(mine)),
        held_out=float(np.median(theirs)),
        closer=1 - float(order.mean()) / (2 * len(theirs)),
        identical_drawn=same[0],
        identical_held_out=same[1],
        excess=excess,
        p_value=p,
        alarm=excess > EXCESS and p < LEVEL,
    )


class _Space:
    """Rows as points: numbers standardised, levels and missing cells as indicators."""

    def __init__(self, train: np.ndarray, schema: Schema) -> None:
        self.schema = schema
        with np.errstate(invalid="ignore"):
            there = ~np.isnan(train)
            count = np.maximum(there.sum(axis=0), 1)
            self.mean = np.where(there, train, 0.0).sum(axis=0) / count
            spread = np.sqrt((np.where(there, train - self.mean, 0.0) ** 2).sum(axis=0) / count)
        self.spread = np.where(spread > 0, spread, 1.0)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        parts = []
        for i, column in enumerate(self.schema.columns):
            v = values[:, i]
            if column.kind == "categorical":
                parts += [(v == k) / np.sqrt(2) for k in range(len(column.levels))]
            elif column.kind != "constant":
                parts.append(np.nan_to_num((v - self.mean[i]) / self.spread[i]))
            if column.missing > 0:
                parts.append(np.isnan(v).astype(np.float64))
        return np.stack(parts, axis=1).astype(np.float32)


def _nearest(points: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Euclidean distance of each point to the nearest of others, [n]."""
    out = np.empty(len(points), np.float32)
    squares = (among**2).sum(axis=1)
    for start in range(0, len(points), TILE):
        some = points[start : start + TILE]
        best = (squares - 2 * some @ among.T).argmin(axis=1)
        # Differences, not the expanded square: a copy must come out at distance 0.
        out[start : start + TILE] = np.sqrt(((some - among[best]) ** 2).sum(axis=1))
    return out
