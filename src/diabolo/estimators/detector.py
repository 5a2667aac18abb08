"""`AnomalyDetector`: an autoencoder's score with a false-alarm rate that holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.utils.validation import check_is_fitted

from diabolo.config import RandomState, seed_of
from diabolo.data.formats import atomic
from diabolo.data.keeping import table_of
from diabolo.data.matching import matched
from diabolo.data.split import split_of
from diabolo.data.table import TableLike, TableOut, as_table, check_weights
from diabolo.detect.calibrated import TRAINED_SINCE, Calibrated
from diabolo.detect.calibrating import Choice, around, fit_detector, recalibrated
from diabolo.detect.explaining import Explanation, explain
from diabolo.detect.fdr import Discoveries
from diabolo.detect.health import Health
from diabolo.detect.split import unseen_rows
from diabolo.errors import CalibrationError, ConfigError
from diabolo.estimators.autoencoder import Autoencoder
from diabolo.estimators.faces import AroundAutoencoder
from diabolo.estimators.named import VariationalAutoencoder
from diabolo.estimators.promise import groups_to_calibrate, warn_of_promise
from diabolo.estimators.score_parameter import ScoreParameter
from diabolo.export.onnx.document import Inputs, document
from diabolo.file.detector import detector_section
from diabolo.file.model_file import ModelFile, save_sections
from diabolo.fitted.keep import keep_of
from diabolo.train.progress import print_epoch
from diabolo.train.robust import Suspects

__all__ = ["AnomalyDetector"]


class AnomalyDetector(AroundAutoencoder, OutlierMixin, BaseEstimator):
    """Flags rows at a guaranteed false-alarm rate, by split-conformal p-values.

    p(x) = (1 + #{calibration scores ≥ s(x)}) / (n + 1); a row exchangeable with the calibration rows has P(p ≤ α) ≤ α,
    on average over calibrations (see `diabolo.detect.conformal`).

    Args:
        autoencoder: an unfitted autoencoder, fitted on its share of X; a fitted one, used as it is (the calibration
            leaves out its training rows: `diabolo.detect.split.apart_of_any_table`); None: a `VariationalAutoencoder`.
        score: a score's name, or like "neighbours:20" with its k; "auto" combines distances to stored rows
            (docs/detection.md). With fewer than 20 of them, and for rows of objects (slots) if the latent is Gaussian,
            it takes neg_elbo for a Gaussian latent (neg_log_likelihood if it was trained on an importance-weighted
            bound), nll for a point. Acts at once.
        false_alarm_rate: α in (0, 1); None for max(0.01, 1/(n + 1)), n calibration rows or groups. Acts at once.
        random_state: seed of the split, and of the autoencoder if None was given.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(600, 4))
    >>> detector = AnomalyDetector(VariationalAutoencoder(epochs=5)).fit(X)
    >>> detector.predict([[0, 0, 0, 0], [9, -9, 9, -9]]).tolist()
    [1, -1]
    """

    score = ScoreParameter()

    def __init__(
        self,
        autoencoder: Autoencoder | None = None,
        score: str = "auto",
        false_alarm_rate: float | None = None,
        random_state: RandomState = 0,
    ) -> None:
        self.autoencoder = autoencoder
        self.score = score
        self.false_alarm_rate = false_alarm_rate
        self.random_state = random_state

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name; `score` is the score's name here, and a method on the detector."""
        own = {name: vars(self)[name] for name in self._get_param_names()}
        if deep and isinstance(self.autoencoder, Autoencoder):
            own |= {f"autoencoder__{k}": v for k, v in self.autoencoder.get_params().items()}
        return own

    def fit(
        self,
        X: TableLike,
        y: object = None,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | str | None = None,
        time: ArrayLike | None = None,
        checkpoint: str | Path | None = None,
        resume: bool = False,
    ) -> Self:
        """Fit on rows X [n, C] without labels (y is ignored), and calibrate on rows kept apart.

        Args:
            groups: [n] numbers, text or dates, equal for rows that are not independent of each other; "content" for
                groups of equal rows. A group plays one part, and the rate is that of rows of new groups.
            time: [n] numbers or dates; the last rows calibrate. Later drift is not covered.
            checkpoint, resume: as in `Autoencoder.fit`; without effect for a fitted autoencoder.

        Warns:
            PromiseWarning: signs that the rows are not exchangeable (`diabolo.detect.doubts`); fewer than 19
                calibration rows or groups where no `false_alarm_rate` is given.

        Raises:
            ConfigError: `time` with a fitted autoencoder.
            CalibrationError: fewer than 99 rows are left to calibrate a fitted autoencoder on, or
                `false_alarm_rate` is below what the calibration rows can guarantee.
        """
        table = as_table(X)
        weights, keep = check_weights(sample_weight, len(table)), keep_of(checkpoint, resume)
        given, seed = self.autoencoder, seed_of(self.random_state)
        if given is not None and not isinstance(given, Autoencoder):
            raise ConfigError(f"autoencoder = {given!r}; allowed are None and diabolo's autoencoders")
        choice = Choice(self._score, self.false_alarm_rate, seed, None if self.random_state is None else seed)
        split = split_of(table.values, groups, time)
        if given is not None and hasattr(given, "model_"):
            if time is not None:
                raise ConfigError("time splits the rows of a fit, and this autoencoder is fitted: give the last rows")
            name = type(self).__name__
            return self._adopt(around(given.fitted_, table, weights, choice, name, 3, split.groups), given, 3)
        ae = VariationalAutoencoder(random_state=seed) if given is None else clone(given)
        found = fit_detector(table, weights, ae.settings(), choice, print_epoch if ae.verbose else None, keep, split)
        return self._adopt(found, ae.from_fitted(found.fitted, ae.get_params(deep=False)), 3)

    def _adopt(self, calibrated: Calibrated, ae: Autoencoder, stacklevel: int | None = None) -> Self:
        self._state, self.autoencoder_ = calibrated, ae
        self.n_calibration_, self.n_excluded_ = calibrated.n_calibration, calibrated.n_excluded
        self.n_calibration_groups_ = calibrated.n_groups
        self.remember_columns(ae.fitted_)
        if stacklevel is not None:
            warn_of_promise(calibrated, stacklevel + 1)
        return self

    def calibrate(
        self, X: TableLike, sample_weight: ArrayLike | None = None, groups: ArrayLike | str | None = None
    ) -> Self:
        """Renew the p-values on other rows X [n, C] of normal data; nothing that the fit has learnt changes.

        Rows that the autoencoder was trained on are left out. If the call fails, the detector stays as it was.

        Args:
            X: rows in the columns of the fit.
            sample_weight: [n] from 0 up; rows of weight 0 play no part.
            groups: as in `fit`; needed where the fit had groups other than "content".

        Warns:
            PromiseWarning: as in `fit`.

        Raises:
            CalibrationError: fewer than 99 rows are left, `false_alarm_rate` needs more than there are, or groups are
                missing.
        """
        before, values = self.calibrated_, self._values(X)
        weights, keys = check_weights(sample_weight, len(values)), groups_to_calibrate(before, values, groups)
        used = np.arange(len(values)) if weights is None else np.flatnonzero(weights > 0)
        values, weights = values[used], None if weights is None else weights[used]
        free = unseen_rows(before.fitted, before.reference.stored, values, stacklevel=3)
        renewed = recalibrated(before, values, weights, free, None if keys is None else keys[used])
        return self._adopt(renewed, self.autoencoder_, 3)

    @property
    def _score(self) -> str:
        name: str = vars(self)["score"]
        return name

    @property
    def calibrated_(self) -> Calibrated:
        """The calibrated state, with the score and the rate that are chosen now.

        Raises:
            CalibrationError: `autoencoder_` was fitted again.
        """
        check_is_fitted(self)
        state = self._state
        if self.autoencoder_.fitted_ is not state.fitted:
            raise CalibrationError(TRAINED_SINCE)
        return dataclasses.replace(state, score=self._score, false_alarm_rate=self.false_alarm_rate)

    def _values(self, X: TableLike) -> np.ndarray:
        """Rows X in the schema's order, [n, C]."""
        check_is_fitted(self)
        return matched(as_table(X), self._state.reference.model.encoding.schema, type(self).__name__).values

    @property
    def suspects_(self) -> Suspects | None:
        """Rows of X that the autoencoder was fitted on and that look out of place; None of a stream or a file."""
        return self.autoencoder_.suspects_

    # ── decisions ─────────────────────────────────────────────────────────────────────────────────

    @property
    def score_(self) -> str:
        """The score in use: `score`, with "auto" resolved."""
        return self.calibrated_.score_name

    @property
    def false_alarm_rate_(self) -> float:
        """The rate in use: `false_alarm_rate`, with None resolved."""
        return self.calibrated_.rate

    @property
    def threshold_(self) -> float:
        """A row is an anomaly if its score is above this."""
        return self.calibrated_.threshold

    @property
    def offset_(self) -> float:
        """−threshold_: decision_function = score_samples − offset_."""
        return -self.threshold_

    def anomaly_score(self, X: TableLike) -> np.ndarray:
        """The score, [n] float64, up = more anomalous; +inf for a row that cannot be scored."""
        detector = self.calibrated_
        _ = detector.calibration  # refuses a score that is not calibrated
        return detector.scores(self._values(X))

    def p_values(self, X: TableLike) -> np.ndarray:
        """Conformal p-value per row, [n] float64, from 1/(n + 1) to 1, n calibration rows or groups; small = anomalous.

        NaN for a row that cannot be scored.
        """
        return self.calibrated_.p_values(self.anomaly_score(X))

    def explain(self, X: TableLike, neighbors: int = 3) -> list[Explanation]:
        """Why each of the rows X [n, C], or one row [C], has its score.

        The columns that have to change for the row to be normal come first, then the others by contribution. Each has
        its seen value, its expected value and a conformal p-value. The nearest normal training rows come beside (see
        `diabolo.detect.repair`).

        Raises:
            CalibrationError: the detector was saved by a version that kept no costs or rows to explain by.
        """
        detector = self.calibrated_
        if isinstance(X, np.ndarray | list | tuple) and np.ndim(X) == 1:
            X = np.asarray(X)[None]
        return explain(detector, self._values(X), neighbors)

    def predict(self, X: TableLike) -> np.ndarray:
        """−1 for an anomaly, +1 for a normal row."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def decision_function(self, X: TableLike) -> np.ndarray:
        """threshold_ − anomaly_score: negative for an anomaly; −inf for a row that cannot be scored."""
        return self.threshold_ - self.anomaly_score(X)

    def score_table(self, X: TableLike, keep: str | Sequence[str] | None = None) -> TableOut:
        """score, p_value and is_anomaly of each row: a pandas frame with X's index where X is one, else an Arrow table.

        Args:
            X: rows in the columns of the fit, others beside them.
            keep: names of columns of X to carry into the result, like ids.

        Raises:
            DataError: X has no column of that name.
        """
        scores = self.anomaly_score(X)
        told = {
            "score": scores,
            "p_value": self.calibrated_.p_values(scores),
            "is_anomaly": ~np.isfinite(scores) | (scores > self.threshold_),
        }
        return table_of(X, told, keep)

    def discoveries(self, X: TableLike, fdr: float = 0.1) -> np.ndarray:
        """Rows to report if, on average, at most a share `fdr` of those reported may be normal: [n] bool.

        Benjamini-Hochberg over the table's p-values (`diabolo.detect.fdr`). A row that cannot be scored has none and
        is never reported; `predict` flags it.

        Args:
            X: all rows that are looked at together.
            fdr: false discovery rate q in (0, 1), at least 1/(n + 1) of n calibration rows or groups.

        Raises:
            CalibrationError: q outside (0, 1), or below what the calibration rows can show.
        """
        scores = self.anomaly_score(X)
        found = Discoveries(self.calibrated_.calibration, fdr)
        found.add(scores)
        return np.asarray((scores > found.threshold) & np.isfinite(scores))

    def health(self, X: TableLike, level: float = 0.01) -> Health:
        """Whether new rows X still look like the calibration rows: their scores, the false-alarm rate, each column.

        Args:
            X: rows in the columns of the fit, which the autoencoder has not seen.
            level: probability of an alarm where nothing has changed, at most.

        Raises:
            ConfigError: level outside (0, 1).
        """
        monitor = self.calibrated_.monitor(level)
        monitor.add(self._values(X))
        return monitor.report()

    def score_samples(self, X: TableLike) -> np.ndarray:
        """−anomaly_score, scikit-learn's sign: up = more normal."""
        return -self.anomaly_score(X)

    # ── the file ──────────────────────────────────────────────────────────────────────────────────

    def save(self, path: str | Path) -> None:
        """Write the autoencoder and this detector into one model file.

        Sections that other jobs have added to a file of this very autoencoder stay in it.
        """
        detector = self.calibrated_
        _ = detector.calibration  # refuses a score that is not calibrated
        sections = {**self.autoencoder_.sections(), "detector": detector_section(detector)}
        save_sections(path, type(self).__name__, sections)

    def to_onnx(self, path: str | Path | None = None, outputs: Sequence[str] = (), inputs: Inputs = "auto") -> bytes:
        """The detector as one ONNX graph (extra `onnx`): cells in, score, p-value, verdict and reason out.

        It has the score and the rate that are chosen now. The graph is run beside the detector on rows drawn from the
        model and spoiled; the largest differences stand in its metadata (docs/export.md).

        Args:
            path: file to write, by atomic rename; None for none.
            outputs: more of them: "z", "reconstruction", "column_p".
            inputs: "columns" for an input [n, 1] each, "matrix" for x [n, C]; "auto" takes a matrix but for text.

        Returns:
            The file's bytes.

        Raises:
            ConfigError: a part of the model without a form in ONNX; it is named.
            ExportError: the graph says something else than the detector; nothing is written.
        """
        detector = self.calibrated_
        found = document(detector.reference, detector.score_name, detector, tuple(outputs), inputs)
        if path is not None:
            with atomic(path) as part:
                part.write_bytes(found.data)
        return found.data

    @classmethod
    def from_calibrated(cls, calibrated: Calibrated, ae: Autoencoder) -> Self:
        """An estimator with a calibration that was made elsewhere, around its autoencoder."""
        settings = calibrated.score, calibrated.false_alarm_rate, calibrated.random_state
        return cls(ae, *settings)._adopt(calibrated, ae)

    @classmethod
    def from_file(cls, file: ModelFile) -> Self:
        """The estimator of this class that an open model file holds; see `load`."""
        return cls.from_calibrated(file.detector, Autoencoder.from_file(file))

    def __sklearn_is_fitted__(self) -> bool:
        return "_state" in vars(self)
