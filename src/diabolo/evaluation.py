"""A model's scores against labels, with IsolationForest, PCA and KNN fitted beside them (L5)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from diabolo.data.dtypes import python_cells
from diabolo.data.formats import Data
from diabolo.data.hashing import hash_rows
from diabolo.data.reading import as_fitted, ordered_chunks
from diabolo.data.schema import Schema
from diabolo.detect.calibrated import Calibrated
from diabolo.detect.choice import automatic_score, routine
from diabolo.detect.reference import Reference
from diabolo.detect.scoring import score_table
from diabolo.errors import DataError, nearest
from diabolo.file.model_file import ModelFile
from diabolo.metrics import Ranking, lead, rank

__all__ = ["Comparison", "Judged", "Rivals", "check_label", "compare", "judged"]

#: Normal rows that the rivals are fitted on at most, so that memory stays bounded.
MOST_FIT = 50_000
#: Of them, those that KNN compares with, and its neighbors.
MOST_KNN, NEIGHBORS = 20_000, 5
#: AUROC below which a score ranks upside down, where its interval says so too.
INVERTED = 0.4
#: Fewest normal rows: half of them fit the rivals.
FEWEST = 4


@dataclasses.dataclass
class Comparison:
    """Rankings per class of anomaly, best AUROC first."""

    by_class: dict[str, list[Ranking]]
    counts: dict[str, int]
    normal: int
    notes: list[str]


class Rivals:
    """IsolationForest (scikit-learn's defaults), the PCA residual with 90 % of the variance, the mean distance to 5."""

    def __init__(self, values: np.ndarray, seed: int) -> None:
        from sklearn.decomposition import PCA
        from sklearn.ensemble import IsolationForest
        from sklearn.neighbors import NearestNeighbors
        from sklearn.preprocessing import StandardScaler

        there = np.isfinite(values)
        total = np.where(there, values, 0).sum(axis=0, dtype=np.float64)
        self.mean = total / np.maximum(there.sum(axis=0), 1)
        filled = self._fill(values)
        self.scaler = StandardScaler().fit(filled)
        self.forest = IsolationForest(random_state=seed).fit(filled)
        scaled = self.scaler.transform(filled)
        self.pca = PCA(0.9, svd_solver="full").fit(scaled)
        self.near = NearestNeighbors(n_neighbors=min(NEIGHBORS, len(scaled))).fit(scaled[:MOST_KNN])

    def _fill(self, values: np.ndarray) -> np.ndarray:
        values = np.where(np.isfinite(values), values, self.mean)
        return np.asarray(np.clip(values, -1e30, 1e30))

    def scores(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """[n] per rival, up = more anomalous; missing cells are filled with the mean."""
        filled = self._fill(values)
        z = self.scaler.transform(filled)
        residual = z - self.pca.inverse_transform(self.pca.transform(z))
        return {
            "IsolationForest": -self.forest.score_samples(filled),
            "PCA": np.square(residual).mean(axis=1),
            "KNN": self.near.kneighbors(z)[0].mean(axis=1),
        }


@dataclasses.dataclass
class Judged:
    """What a model says of labelled rows.

    Attributes:
        scores: [n] by name.
        truth: [n] class of anomaly, "" for a normal row.
        seen: [n] whether the autoencoder was trained on the row.
        values: of the label.
    """

    scores: dict[str, np.ndarray]
    truth: np.ndarray
    seen: np.ndarray
    values: set[str]


def judged(file: ModelFile, data: Data, label: str, normal: Sequence[str] | None) -> Judged:
    """Every score of a model on labelled rows; arguments as of `compare`."""
    ae = file.autoencoder
    schema, reference, score_names = _checked(file, label)
    data = as_fitted(data, schema, [label])
    found: dict[str, list[np.ndarray]] = {n: [] for n in score_names}
    classes, seen, values_seen = list[np.ndarray](), [], set[str]()
    known, where = ae.row_hashes, f"{data}: label {label!r}"
    for values, apart in ordered_chunks(data, schema, [label]):
        for name, s in score_table(reference, values, score_names).items():
            found[name].append(s)
        classes.append(_classes(apart[label], normal, where, sum(len(c) for c in classes), values_seen))
        seen.append(np.zeros(len(values), bool) if known is None else np.isin(hash_rows(values), known))
    if not sum(map(len, classes)):
        raise DataError(f"{data}: has no rows")
    scores = {n: np.concatenate(s) for n, s in found.items()}
    return Judged(scores, np.concatenate(classes), np.concatenate(seen), values_seen)


def check_label(schema: Schema, label: str) -> None:
    """Refuse a label that is a column of the model.

    Raises:
        DataError: it is one.
    """
    if label in schema.names:
        raise DataError(f"the model was fitted on the column {label!r}; a truth column must not be a feature")


def _checked(file: ModelFile, label: str) -> tuple[Schema, Reference, list[str]]:
    """Schema, what scores are computed with, and their names."""
    schema = file.autoencoder.model.encoding.schema
    check_label(schema, label)
    detector = file.detector if "detector" in file else None
    reference = Reference(file.autoencoder.model) if detector is None else detector.reference
    default = _default(file, reference)
    return schema, reference, routine(reference, default)


def _default(file: ModelFile, reference: Reference) -> str:
    return file.detector.score_name if "detector" in file else automatic_score(reference)


def compare(
    file: ModelFile, data: Data, label: str, normal: Sequence[str] | None, seed: int, known: Judged | None = None
) -> Comparison:
    """Judge every score of a model on labelled rows.

    Args:
        data: table with the model's columns and the label.
        label: truth column; 0 and False are normal, text needs `normal`.
        normal: values of the label that count as normal.
        seed: of the rivals' half, the rivals and the intervals.
        known: the model's scores of these rows in their order, if they are known.

    Raises:
        DataError: the label is missing, has one class only, or is text without `normal`.
    """
    schema, reference, _ = _checked(file, label)
    of = judged(file, data, label, normal) if known is None else known
    data = as_fitted(data, schema, [label])
    for value in normal or ():
        if value not in of.values:
            raise DataError(f"--normal {value}: not a value of {label!r}: {nearest(value, sorted(of.values)[:20])}")
    used, truth = of.seen, of.truth
    fitted, left = _split(truth == "", used, f"{data}:", label, seed)
    rivals = Rivals(_gather(data, schema, fitted), seed)
    table = {n: s[left] for n, s in of.scores.items()} | _beside(rivals, data, schema, left)
    truth = truth[left]
    kinds = sorted(set(truth) - {""})
    by_class, counts = {}, {}
    for kind in kinds if len(kinds) == 1 else [*kinds, "all"]:
        by_class[kind], counts[kind] = _rankings(table, truth, kind, seed)
    notes = [f"{int(fitted.sum()):,} normal rows fitted the rivals and are not judged"]
    if used.any():
        notes.append(f"{int(used.sum()):,} rows that the model was trained on are left out")
    elif file.autoencoder.row_hashes is None:
        notes.append("the model file keeps no row hashes (large fit): make sure that these rows are new to it")
    if "detector" in file:
        notes.append(_verdicts(file.detector, table, truth))
    notes += _remarks(table, truth, _default(file, reference), by_class, seed)
    return Comparison(by_class, counts, int((truth == "").sum()), notes)


def _split(is_normal: np.ndarray, used: np.ndarray, where: str, label: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The normal rows that the rivals are fitted on, and the rows that are judged, [n] bool each.

    Args:
        used: rows that the model was trained on.

    Raises:
        DataError: too few normal rows, or none of one kind.
    """
    if is_normal.all() or not is_normal.any():
        what = "normal" if is_normal.all() else "anomalous"
        raise DataError(f"{where} every row is {what} by {label!r}; both kinds are needed (--normal names the normal)")
    normal_at = np.flatnonzero(is_normal)
    if len(normal_at) < FEWEST:
        raise DataError(f"{where} {len(normal_at)} rows are normal by {label!r}; at least {FEWEST} are needed")
    fit_at = np.random.default_rng(seed).permutation(normal_at)[: min(len(normal_at) // 2, MOST_FIT)]
    fitted = np.zeros(len(used), bool)
    fitted[fit_at] = True
    judged = ~fitted & ~used
    for there, what in ((is_normal, "normal"), (~is_normal, "anomalous")):
        if not (there & judged).any():
            raise DataError(
                f"{where} no {what} row is left to judge, for the model was trained on {int((used & there).sum())} of "
                "them; give rows that it has not seen"
            )
    return fitted, judged


def _rankings(table: dict[str, np.ndarray], truth: np.ndarray, kind: str, seed: int) -> tuple[list[Ranking], int]:
    """Every score's figures for one class of anomaly, or all, best AUROC first; and the number of anomalies."""
    pick = (truth == "") | (truth == kind) | (kind == "all")
    y = (truth[pick] != "").astype(np.int8)
    rows = [rank(n, y, s[pick], seed) for n, s in table.items()]
    return sorted(rows, key=lambda r: -r.auroc), int(y.sum())


def _verdicts(detector: Calibrated, table: dict[str, np.ndarray], truth: np.ndarray) -> str:
    """The share of each class that the detector flags, beside the rate that it promises."""
    s = table[detector.score_name]
    flagged = (s > detector.threshold) | ~np.isfinite(s)
    rate, target = float(flagged[truth == ""].mean()), detector.rate
    shares = ", ".join(f"{100 * float(flagged[truth == k].mean()):.3g} % of {k}" for k in sorted(set(truth) - {""}))
    kept = f"{100 * rate:.3g} % of normal rows flagged, {100 * target:.3g} % promised"
    return f"detector ({detector.score_name}): {kept}; {shares}"


def _remarks(
    table: dict[str, np.ndarray], truth: np.ndarray, default: str, by_class: dict[str, list[Ranking]], seed: int
) -> list[str]:
    """Scores that rank upside down, and those that are ahead of the default by more than chance."""
    said = []
    for kind, rankings in by_class.items():
        for r in rankings:
            if r.auroc < INVERTED and r.auroc_high < 0.5:
                said.append(
                    f"{kind}: {r.name} is an inverted score, AUROC {r.auroc:.2f}: it puts normal rows above these; "
                    "look which rows the label calls normal (--normal), and at the training rows for such anomalies"
                )
        pick = (truth == "") | (truth == kind) | (kind == "all")
        y = (truth[pick] != "").astype(np.int8)
        least = next(r.auroc for r in rankings if r.name == default)
        ahead = []
        for name in (r.name for r in rankings if r.auroc > least):
            gap, low, high = lead(y, table[name][pick], table[default][pick], seed)
            if low > 0:
                ahead.append(f"{name} by {gap:.3f} [{low:.3f}, {high:.3f}]")
        if ahead:
            said.append(f"{kind}: ahead of the default score {default} by AUROC, 95 % intervals: {', '.join(ahead)}")
        elif rankings[0].name == default:
            said.append(f"{kind}: the default score {default} is the best by AUROC")
        else:
            said.append(f"{kind}: no score is ahead of the default {default} by more than chance")
    return said


def _beside(rivals: Rivals, data: Data, schema: Schema, judged: np.ndarray) -> dict[str, np.ndarray]:
    """The rivals' scores of the judged rows."""
    found: dict[str, list[np.ndarray]] = {}
    at = 0
    for values, _ in ordered_chunks(data, schema):
        mine = judged[at : at + len(values)]
        at += len(values)
        if mine.any():
            for name, s in rivals.scores(values[mine]).items():
                found.setdefault(name, []).append(s)
    return {n: np.concatenate(s) for n, s in found.items()}


def _gather(data: Data, schema: Schema, wanted: np.ndarray) -> np.ndarray:
    parts, at = [], 0
    for values, _ in ordered_chunks(data, schema):
        parts.append(values[wanted[at : at + len(values)]])
        at += len(values)
    return np.concatenate(parts)


def _classes(column: pa.ChunkedArray, normal: Sequence[str] | None, where: str, at: int, seen: set[str]) -> np.ndarray:
    """Name of each row's class of anomaly, "" for a normal row; rows count from `at`, `seen` gathers values."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if normal is None and (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        some = sorted(set(column.slice(0, 1000).drop_null().to_pylist()))[:8]
        raise DataError(
            f"{where} is text ({', '.join(map(str, some))}, ...); say which is normal: --normal VALUE,VALUE"
        )
    cells = python_cells(column)
    empty = next((i for i, c in enumerate(cells) if c is None or c != c), None)
    if empty is not None:
        raise DataError(f"{where} is empty in row {at + empty}; every row needs one")
    if normal is None:
        return np.array(["" if not c else "anomaly" for c in cells], object)
    texts = [str(int(c)) if isinstance(c, float) and c.is_integer() else str(c) for c in cells]
    seen.update(texts)
    return np.array(["" if t in normal else t for t in texts], object)
