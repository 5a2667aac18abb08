"""Labelled tables, and three ways to train and test a detector on one.

`one-class`: a shuffled half of the normal rows trains; the other half and all anomalies test.
`file-order`: the first half of the normal rows, as they stand in the file, trains (Livernoche et al., 2024,
arXiv:2305.18593, "On diffusion modeling for anomaly detection"); tables under 1,000 rows are left out, as that paper
draws them with replacement before it splits them, so that test rows are training rows.
`unsupervised`: all rows train, all rows test.

Tables of more than 50,000 rows are first reduced to 50,000 drawn by the seed, in the drawn order, as that paper does.
The scaler is fitted on training rows alone. Labels decide who trains and how a score is judged, nothing else.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

PROTOCOLS = ("one-class", "file-order", "unsupervised")
MOST_ROWS = 50_000
FEWEST_IN_FILE_ORDER = 1000


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Rows [n, d] in their own units; `anomalous` [n] is True for anomalies."""

    name: str
    x: np.ndarray
    anomalous: np.ndarray
    digest: str

    def __len__(self) -> int:
        return len(self.x)


def read(path: Path) -> Labelled:
    with np.load(path, allow_pickle=False) as data:
        x, y = data["X"], data["y"]
    digest = hashlib.sha256(np.ascontiguousarray(x).tobytes() + np.ascontiguousarray(y).tobytes())
    return Labelled(path.stem, x, y.ravel() != 0, digest.hexdigest()[:12])


@dataclasses.dataclass(frozen=True)
class Split:
    train: np.ndarray  # [n, d], standardised
    test: np.ndarray
    anomalous: np.ndarray  # of the test rows
    raw_train: np.ndarray  # in the table's own units
    raw_test: np.ndarray


def judged(table: Labelled, protocol: str) -> bool:
    """Whether the protocol takes this table."""
    return protocol != "file-order" or len(table) >= FEWEST_IN_FILE_ORDER


def split(table: Labelled, protocol: str, seed: int) -> Split:
    # RandomState, as the paper's and the earlier measurements' draws come from it.
    x, y = table.x, table.anomalous
    if len(x) > MOST_ROWS:
        kept = np.random.RandomState(seed).choice(len(x), MOST_ROWS, replace=False)
        x, y = x[kept], y[kept]
    if protocol == "unsupervised":
        train = test = np.arange(len(x))
    else:
        normal = np.flatnonzero(~y)
        if protocol == "one-class":
            normal = np.random.RandomState(seed).permutation(normal)
        half = round(len(normal) / 2)
        train, test = normal[:half], np.concatenate([normal[half:], np.flatnonzero(y)])
    raw_train, raw_test = x[train], x[test]
    scaler = StandardScaler().fit(raw_train)
    # A missing cell is the training mean, for every detector alike.
    scaled = [np.nan_to_num(scaler.transform(part), nan=0.0) for part in (raw_train, raw_test)]
    return Split(scaled[0], scaled[1], y[test], raw_train, raw_test)


def judge(anomalous: np.ndarray, scores: np.ndarray) -> tuple[float, float, int]:
    """AUROC, average precision, number of scores not finite: infinity counts as most anomalous, NaN as least."""
    scores = np.asarray(scores, np.float64)
    lost = int((~np.isfinite(scores)).sum())
    least, most = np.finfo(np.float64).min, np.finfo(np.float64).max
    scores = np.nan_to_num(scores, nan=least, posinf=most, neginf=least)
    return float(roc_auc_score(anomalous, scores)), float(average_precision_score(anomalous, scores)), lost
