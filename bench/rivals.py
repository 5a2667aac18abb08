"""Detectors on one footing: made from a seed, fitted on a table, giving scores that rise with strangeness.

PyOD's detectors run as PyOD ships them but for the seed; diabolo's is `AnomalyDetector()` through its public API.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch


class Fitted(Protocol):
    """A detector that `make` gave and `fit` was called on."""

    def fit(self, x: np.ndarray) -> object: ...

    def scores(self, x: np.ndarray) -> np.ndarray:
        """[n], higher = stranger."""
        ...

    def training_scores(self) -> np.ndarray | None:
        """The detector's own scores of the rows it was fitted on, if it keeps any."""
        ...


@dataclasses.dataclass(frozen=True)
class Method:
    name: str
    make: Callable[[int], Fitted]
    version: Callable[[], str]  # what, if it changes, makes earlier results worthless
    original: bool = False  # takes the table in its own units instead of standardised


# ── diabolo ───────────────────────────────────────────────────────────────────────────────────────


class Diabolo:
    def __init__(self, seed: int) -> None:
        from diabolo import AnomalyDetector

        self.detector = AnomalyDetector(random_state=seed)

    def fit(self, x: np.ndarray) -> None:
        self.detector.fit(x)

    def scores(self, x: np.ndarray) -> np.ndarray:
        return self.detector.anomaly_score(x)

    def training_scores(self) -> None:
        return None


@functools.cache
def source_version() -> str:
    """A hash of what the package does: its parsed source without comments, docstrings and command line."""
    import diabolo

    root = Path(diabolo.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if name.split("/")[0] in {"cli", "__main__.py", "demo.py", "describe.py", "evaluation.py"}:
            continue
        digest.update(name.encode() + ast.dump(_without_docstrings(ast.parse(path.read_text()))).encode())
    return f"diabolo-{digest.hexdigest()[:12]}"


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            node.body = node.body[1:]
    return tree


# ── PyOD ──────────────────────────────────────────────────────────────────────────────────────────


class PyOD:
    def __init__(self, detector: Any) -> None:
        self.detector = detector

    def fit(self, x: np.ndarray) -> None:
        self.detector.fit(x)

    def scores(self, x: np.ndarray) -> np.ndarray:
        return self.detector.decision_function(x)

    def training_scores(self) -> np.ndarray:
        return self.detector.decision_scores_


def _pyod(name: str, module: str, cls: str, seeded: bool, **settings: object) -> Method:
    def make(seed: int) -> PyOD:
        found = getattr(importlib.import_module(f"pyod.models.{module}"), cls)
        return PyOD(found(**settings, **({"random_state": seed} if seeded else {})))

    said = ",".join(f"{k}={v}" for k, v in settings.items() if k != "verbose")
    return Method(name, make, lambda: f"pyod-{importlib.metadata.version('pyod')}({said})")


#: By the name that the tables print. KNN is PyOD's own: the distance to the fifth neighbour.
METHODS: dict[str, Method] = {
    m.name: m
    for m in (
        Method("diabolo", Diabolo, source_version),
        Method("diabolo, own units", Diabolo, source_version, original=True),
        _pyod("KNN", "knn", "KNN", False, n_neighbors=5, method="largest"),
        _pyod("KNN mean", "knn", "KNN", False, n_neighbors=5, method="mean"),
        _pyod("LOF", "lof", "LOF", False),
        _pyod("IForest", "iforest", "IForest", True),
        _pyod("PCA", "pca", "PCA", True),
        _pyod("ECOD", "ecod", "ECOD", False),
        _pyod("AutoEncoder", "auto_encoder", "AutoEncoder", True, verbose=0),
        _pyod("VAE", "vae", "VAE", True, verbose=0),
    )
}


def run(
    method: Method, seed: int, train: np.ndarray, test: np.ndarray, clock: Callable[[], Any]
) -> tuple[np.ndarray, np.ndarray | None, dict[str, float]]:
    """Scores of `test`, the detector's own scores of `train`, and seconds (wall and processor) of fit and scoring."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _warm_up(method)
        detector = _made(method, seed)
        with clock() as fit:
            detector.fit(train)
        with clock() as score:
            scores = detector.scores(test)
    seconds = {"fit_s": fit.wall, "fit_cpu_s": fit.cpu, "score_s": score.wall, "score_cpu_s": score.cpu}
    return scores, detector.training_scores(), seconds


def _made(method: Method, seed: int) -> Fitted:
    # PyOD's detectors read and reset the global generators; a cell must not depend on the one before it.
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)
    return method.make(seed)


@functools.cache
def _warm_up(method: Method) -> None:
    """Imports and compilation belong to nobody's fit."""
    x = np.random.default_rng(0).normal(size=(256, 4))
    with contextlib.suppress(Exception):  # it will fail, and be written down, where it counts
        detector = _made(method, 0)
        detector.fit(x)
        detector.scores(x)
