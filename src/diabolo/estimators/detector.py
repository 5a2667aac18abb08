"""`AnomalyDetector`: an autoencoder's score with a false-alarm rate that holds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import check_is_fitted

from diabolo.config import RandomState, seed_of
from diabolo.data.matching import matched
from diabolo.data.split import split_of
from diabolo.data.table import TableLike, as_table, check_weights
from diabolo.detect.calibrated import TRAINED_SINCE, Calibrated
from diabolo.detect.calibrating import Choice, around, fit_detector, recalibrated
from diabolo.detect.split import unseen_rows
from diabolo.device import choose_device
from diabolo.errors import CalibrationError, ConfigError
from diabolo.estimators.autoencoder import Autoencoder
from diabolo.estimators.displayed import Reported
from diabolo.estimators.exported import Exported
from diabolo.estimators.faces import AroundAutoencoder
from diabolo.estimators.following import following
from diabolo.estimators.named import given_autoencoder, unfitted
from diabolo.estimators.naming import checked
from diabolo.estimators.plotted import PlottedScores
from diabolo.estimators.promise import groups_to_calibrate, warn_of_promise
from diabolo.estimators.pyod import PyODDetector
from diabolo.estimators.score_parameter import ScoreParameter
from diabolo.estimators.streaming import Streaming
from diabolo.estimators.verdicts import Verdicts
from diabolo.file.detector import detector_section
from diabolo.file.model_file import ModelFile, save_sections
from diabolo.fitted.keep import keep_of
from diabolo.progress import progress
from diabolo.train.robust import Suspects

__all__ = ["AnomalyDetector"]

#: PyOD's names, and where a detector has what they stand for.
PYOD = {
    "decision_scores_": "anomaly_score(X) scores rows, and as_pyod().fit(X) has it",
    "labels_": "predict(X) gives -1 and 1, and as_pyod().fit(X) has it",
    "predict_proba": "p_values(X) gives calibrated p-values, and as_pyod().fit(X) has it",
    "predict_confidence": "p_values(X) tell how sure a decision is",
    "contamination": "false_alarm_rate is the share of normal rows that may be flagged, and as_pyod has it",
    "plot": "plot_scores, plot_latent, plot_history, plot_columns, plot_reconstruction and plot_roc are figures",
}


class AnomalyDetector(
    AroundAutoencoder, Streaming, Verdicts, Reported, Exported, PlottedScores, OutlierMixin, BaseEstimator
):
    """Flags rows at a guaranteed false-alarm rate, by split-conformal p-values.

    p(x) = (1 + #{calibration scores ≥ s(x)}) / (n + 1); a row exchangeable with the calibration rows has P(p ≤ α) ≤ α,
    on average over calibrations (see `diabolo.detect.conformal`).
    Methods on rows raise DataError for other columns than those of the fit, and NotFittedError before it.

    Args:
        autoencoder: an unfitted autoencoder, fitted on its share of X; a fitted one, used as it is (the calibration
            leaves out its training rows: `diabolo.detect.split.apart_of_any_table`); None: a `VariationalAutoencoder`.
        score: a score's name, or like "neighbours:20" with its k; "auto" combines distances to stored rows
            (docs/detection.md). With fewer than 20 of them, and for rows of objects (slots) if the latent is Gaussian,
            it takes neg_elbo for a Gaussian latent (neg_log_likelihood if it was trained on an importance-weighted
            bound), nll for a point. Acts at once.
        false_alarm_rate: α in (0, 1); None for max(0.01, 1/(n + 1)), n calibration rows or groups. Acts at once.
        random_state: seed of the split, and of the autoencoder if None was given.
        verbose: 0 for a bar of calls over a second, on a terminal or in a notebook; 1 up a log too; below 0 nothing.

    >>> import numpy as np
    >>> from diabolo import VariationalAutoencoder
    >>> X = np.random.default_rng(0).normal(size=(600, 4))
    >>> detector = AnomalyDetector(VariationalAutoencoder(epochs=5)).fit(X)
    >>> detector.predict([[0, 0, 0, 0], [9, -9, 9, -9]]).tolist()
    [1, -1]
    >>> detector.false_alarm_rate_, detector.score_, detector.suspects_ is None
    (0.01, 'auto', False)
    """

    score = ScoreParameter()

    @checked
    def __init__(
        self,
        autoencoder: Autoencoder | None = None,
        score: str = "auto",
        false_alarm_rate: float | None = None,
        random_state: RandomState = 0,
        verbose: int = 0,
    ) -> None:
        self.autoencoder = autoencoder
        self.score = score
        self.false_alarm_rate = false_alarm_rate
        self.random_state = random_state
        self.verbose = verbose

    def found_elsewhere(self, name: str) -> dict[str, str]:
        return {**super().found_elsewhere(name), **PYOD}

    def as_pyod(self, contamination: float | str | None = None) -> PyODDetector:
        """This detector under PyOD's names: `decision_scores_`, `labels_`, `threshold_`, predict as 0 and 1.

        Args:
            contamination: None for the threshold of the false-alarm rate; a share in (0, 0.5] of the fitted rows that
                is called outliers, as PyOD's, or "5%".

        Raises:
            ConfigError: contamination outside (0, 0.5].

        >>> X = np.random.default_rng(0).normal(size=(600, 4))
        >>> AnomalyDetector(Autoencoder(epochs=2)).as_pyod().fit(X).predict(X[:3]).tolist()
        [0, 0, 0]
        """
        return PyODDetector.of(self, contamination)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name; `score` is the score's name here, and a method on the detector.

        >>> AnomalyDetector(false_alarm_rate=0.05).get_params()["false_alarm_rate"]
        0.05
        """
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
        given, seed = given_autoencoder(self.autoencoder), seed_of(self.random_state)
        choice = Choice(self._score, self.false_alarm_rate, seed, None if self.random_state is None else seed)
        split = split_of(table.values, groups, time)
        if given is not None and hasattr(given, "model_"):
            if time is not None:
                raise ConfigError("time splits the rows of a fit, and this autoencoder is fitted: give the last rows")
            name = type(self).__name__
            with progress("fit", self.verbose):
                found = around(given.fitted_, table, weights, choice, name, 3, split.groups)
            return self._adopt(found, given, 3)
        ae = unfitted(given, seed)
        with following(self.verbose or ae.verbose) as report:
            found = fit_detector(table, weights, ae.settings(), choice, report, keep, split)
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

        >>> X = np.random.default_rng(0).normal(size=(900, 3))
        >>> detector = AnomalyDetector(Autoencoder(latent_dim=1, epochs=1)).fit(X[:600])
        >>> detector.n_calibration_, detector.calibrate(X[600:]).n_calibration_, detector.calibrated_.n_calibration
        (120, 300, 300)
        """
        before, values = self.calibrated_, self._values(X)
        weights, keys = check_weights(sample_weight, len(values)), groups_to_calibrate(before, values, groups)
        used = np.arange(len(values)) if weights is None else np.flatnonzero(weights > 0)
        values, weights = values[used], None if weights is None else weights[used]
        free = unseen_rows(before.fitted, before.reference.stored, values, stacklevel=3)
        with progress("calibrate", self.verbose):
            renewed = recalibrated(before, values, weights, free, None if keys is None else keys[used])
        return self._adopt(renewed, self.autoencoder_, 3)

    def to(self, device: str) -> Self:
        """Score on a device from now on: "cpu", "cuda", or "auto". Explanations stay with the processor.

        p-values hold for scores of one kind of device: after a change call `calibrate` with normal rows; until then
        rows are refused.

        Raises:
            ConfigError: there is no such device.

        >>> X = np.random.default_rng(0).normal(size=(600, 3))
        >>> detector = AnomalyDetector(Autoencoder(latent_dim=1, epochs=1)).fit(X).to("cpu")
        >>> detector.calibrated_.device
        'cpu'
        """
        check_is_fitted(self)
        self._state = self._state.on(choose_device(device))
        return self

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

    # ── the file ──────────────────────────────────────────────────────────────────────────────────

    def save(self, path: str | Path) -> None:
        """Write the autoencoder and this detector into one model file.

        Sections that other jobs have added to a file of this very autoencoder stay in it.

        Raises:
            CalibrationError: `false_alarm_rate` was set below what the calibration rows can guarantee.
            ConfigError: `score` was set to one that is not calibrated.
            OutputError: the file cannot be written.

        >>> import tempfile
        >>> X = np.random.default_rng(0).normal(size=(600, 3))
        >>> detector = AnomalyDetector(Autoencoder(latent_dim=1, epochs=1)).fit(X)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     detector.save(f"{folder}/my.diabolo")
        ...     AnomalyDetector.load(f"{folder}/my.diabolo").threshold_ == detector.threshold_
        True
        """
        sections = {**self.autoencoder_.sections(), "detector": detector_section(self.calibrated_)}
        save_sections(path, type(self).__name__, sections)

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
