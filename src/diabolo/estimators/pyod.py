"""A detector under the names that PyOD's detectors have."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
from scipy.special import erf
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from diabolo.data.table import TableLike
from diabolo.errors import ConfigError
from diabolo.estimators.naming import named_here
from diabolo.screen import share_of

__all__ = ["PyODDetector"]

FIT_FIRST = "it is of the rows given to fit: .fit(X) first"


class PyODDetector(BaseEstimator):
    """An `AnomalyDetector` that code for PyOD's detectors can use (Zhao, Nasrullah, Li 2019, JMLR 20).

    Args:
        detector: an `AnomalyDetector`; `fit` fits a clone of it, and a fitted one predicts at once.
        contamination: None for the detector's own threshold, which promises a false-alarm rate; a share in (0, 0.5] of
            the fitted rows that is called outliers, as PyOD's (whose default is 0.1), or "5%". That promises nothing of
            new rows.

    Attributes:
        decision_scores_: [n] anomaly scores of the fitted rows, up = more anomalous. The autoencoder was trained on
            most of these rows, so that they score lower than new ones.
        threshold_: an outlier scores above it.
        labels_: [n] 0 of an inlier, 1 of an outlier among the fitted rows.

    >>> from diabolo import AnomalyDetector, LinearAutoencoder
    >>> X = np.random.default_rng(0).normal(size=(600, 4))
    >>> clf = AnomalyDetector(LinearAutoencoder(latent_dim=2)).as_pyod(contamination=0.1).fit(X)
    >>> int(clf.labels_.sum()), clf.predict([[0, 0, 0, 0], [9, -9, 9, -9]]).tolist()
    (60, [0, 1])
    """

    def __init__(self, detector: Any, contamination: float | str | None = None) -> None:
        self.detector = detector
        self.contamination = contamination

    def fit(self, X: TableLike, y: object = None) -> Self:
        """Fit a clone of the detector on rows X [n, C]; y is ignored.

        Raises:
            ConfigError: contamination outside (0, 0.5].
        """
        share = _share(self.contamination)
        self.detector_ = clone(self.detector).fit(X)
        self.decision_scores_ = -self.detector_.score_samples(X)
        finite = self.decision_scores_[np.isfinite(self.decision_scores_)]
        self.threshold_ = self.detector_.threshold_ if share is None else float(np.quantile(finite, 1 - share))
        self.labels_ = (self.decision_scores_ > self.threshold_).astype(int)
        return self

    @classmethod
    def of(cls, detector: Any, contamination: float | str | None) -> Self:
        """Around a detector; a fitted one predicts at its own threshold before `fit`."""
        made = cls(detector, contamination)
        _share(contamination)
        if detector.__sklearn_is_fitted__() and contamination is None:
            made.detector_, made.threshold_ = detector, detector.threshold_
        return made

    def decision_function(self, X: TableLike) -> np.ndarray:
        """Anomaly scores of rows X [n, C], [n] float64, up = more anomalous, which is the opposite of scikit-learn's.

        +inf for a row that cannot be scored.
        """
        check_is_fitted(self, "detector_")
        return np.asarray(-self.detector_.score_samples(X))

    def predict(self, X: TableLike) -> np.ndarray:
        """0 of an inlier, 1 of an outlier, [n]; scikit-learn's are 1 and −1."""
        return (self.decision_function(X) > self.threshold_).astype(int)

    def fit_predict(self, X: TableLike, y: object = None) -> np.ndarray:
        """`labels_` of the rows that it is fitted on, [n]."""
        return np.asarray(self.fit(X).labels_)

    def predict_proba(self, X: TableLike, method: Literal["linear", "unify"] = "linear") -> np.ndarray:
        """Scores mapped to [0, 1], [n, 2] for inlier and outlier; no probabilities, as in PyOD.

        Args:
            method: "linear" scales by the lowest and highest fitted score, "unify" takes the Gaussian of the fitted
                scores (Kriegel, Kröger, Schubert, Zimek 2011).

        Raises:
            ConfigError: another method.
        """
        found, known = self.decision_function(X), self.decision_scores_
        known = known[np.isfinite(known)]
        if method == "linear":
            share = (found - known.min()) / max(float(np.ptp(known)), np.finfo(float).tiny)
        elif method == "unify":
            share = erf((found - known.mean()) / max(float(known.std()), np.finfo(float).tiny) / np.sqrt(2))
        else:
            raise ConfigError(f"method = {method!r}; allowed are 'linear' and 'unify'")
        outlier = np.clip(share, 0, 1)
        return np.stack([1 - outlier, outlier], axis=1)

    def __getattr__(self, name: str) -> Any:
        raise named_here(self, name, dict.fromkeys(("decision_scores_", "labels_", "threshold_"), FIT_FIRST))


def _share(contamination: float | str | None) -> float | None:
    """The share that a contamination names.

    Raises:
        ConfigError: outside (0, 0.5].
    """
    if contamination is None:
        return None
    share = share_of(contamination) if isinstance(contamination, str) else contamination
    if not (isinstance(share, int | float | np.number) and not isinstance(share, bool) and 0 < share <= 0.5):
        allowed = 'allowed are None and numbers above 0 up to 0.5, like 0.05 or "5%"'
        raise ConfigError(f"contamination = {contamination!r}; {allowed}")
    return float(share)
