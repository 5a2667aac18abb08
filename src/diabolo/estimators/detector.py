"""`AnomalyDetector`: an autoencoder's score with a false-alarm rate that holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.utils.validation import check_is_fitted

from diabolo.data.roles import calibration_rows, calibration_share
from diabolo.data.table import Table, as_table, matched
from diabolo.detect.calibrating import monitor_of, refuse_few, unseen_rows
from diabolo.detect.choice import automatic, check_score, routine
from diabolo.detect.columns import ColumnCalibration
from diabolo.detect.conformal import Calibration, default_rate
from diabolo.detect.fdr import Discoveries
from diabolo.detect.health import Health, calibration_marginals
from diabolo.detect.reference import Reference, stored_rows
from diabolo.detect.scoring import score_table
from diabolo.detect.split import Parts, kept_rows, parts_of_any_table, parts_of_fitted_table
from diabolo.errors import CalibrationError, ConfigError
from diabolo.estimators.autoencoder import Autoencoder
from diabolo.estimators.named import VariationalAutoencoder
from diabolo.fitted.table import Keep, check_weights, keep_of, seed_of
from diabolo.train.loop import Epoch

if TYPE_CHECKING:
    from diabolo.data.stream import Stream
    from diabolo.detect.explaining import Explanation
    from diabolo.train.robust import Suspects

__all__ = ["AnomalyDetector"]


class _ScoreParameter:
    """Keeps the parameter `score` apart from the method that scikit-learn calls by the same name."""

    def __set__(self, detector: AnomalyDetector, value: Any) -> None:
        detector.__dict__["score"] = value

    def __get__(self, detector: AnomalyDetector | None, owner: type) -> Any:
        return self if detector is None else detector._mean_score


class AnomalyDetector(OutlierMixin, BaseEstimator):
    """Flags rows at a guaranteed false-alarm rate, by split-conformal p-values.

    p(x) = (1 + #{calibration scores ≥ s(x)}) / (n + 1); a normal row has P(p ≤ α) ≤ α (see
    `diabolo.detect.conformal`).

    Args:
        autoencoder: an unfitted autoencoder, fitted on its share of X; a fitted one, used as it is (rows it
            was trained on are left out of the calibration, see `diabolo.detect.split.parts_of_any_table`); None for
            a `VariationalAutoencoder`.
        score: a score's name, or like "neighbours:20" with its k; "auto" combines distances to stored rows
            (docs/detection.md). With fewer than 20 of them, and for rows of objects (slots) if the latent is Gaussian,
            it takes neg_elbo for a Gaussian latent (neg_log_likelihood if it was trained on an importance-weighted
            bound), nll for a point. Acts at once.
        false_alarm_rate: α in (0, 1); None for max(0.01, 1/(n_calibration + 1)). Acts at once, no refit.
        random_state: seed of the split, and of the autoencoder if None was given.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(600, 4))
    >>> detector = AnomalyDetector(VariationalAutoencoder(epochs=5)).fit(X)
    >>> detector.predict([[0, 0, 0, 0], [9, -9, 9, -9]]).tolist()
    [1, -1]
    """

    score = _ScoreParameter()

    def __init__(
        self,
        autoencoder: Any = None,
        score: str = "auto",
        false_alarm_rate: float | None = None,
        random_state: Any = 0,
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
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        checkpoint: str | Path | None = None,
        resume: bool = False,
    ) -> Self:
        """Fit on rows X [n, C] without labels (y is ignored), and calibrate on rows kept apart.

        Args:
            checkpoint, resume: as in `Autoencoder.fit`; a fitted autoencoder has nothing to keep.

        Raises:
            CalibrationError: fewer than 99 rows are left to calibrate a fitted autoencoder on, or
                `false_alarm_rate` is below what the calibration rows can guarantee.
        """
        return self._fit_table(as_table(X), sample_weight, keep=keep_of(checkpoint, resume))

    def _fit_table(
        self,
        table: Table,
        sample_weight: Any = None,
        report: Callable[[Epoch], None] | None = None,
        keep: Keep | None = None,
    ) -> Self:
        weights = check_weights(sample_weight, len(table))
        given = self.autoencoder
        if given is not None and not isinstance(given, Autoencoder):
            raise ConfigError(f"autoencoder = {given!r}; allowed are None and diabolo's autoencoders")
        if given is not None and hasattr(given, "model_"):
            self.autoencoder_ = given
            table = matched(table, given.model_.encoding.schema, type(self).__name__)
            seed = seed_of(self.random_state)
            parts, self.n_excluded_ = parts_of_any_table(given.fitted_, table, weights, seed, stacklevel=5)
        else:
            usable = len(table) if weights is None else int((weights > 0).sum())
            fresh, seed, share = self._fresh(usable)
            self.autoencoder_ = fresh._fit_table(table, weights, share, report, seed, keep)
            table = matched(table, self.autoencoder_.model_.encoding.schema, type(self).__name__)
            parts, self.n_excluded_ = parts_of_fitted_table(fresh.fitted_, table, weights), 0
            if not len(parts.calibrate):
                raise CalibrationError(f"no calibration rows are left of n_samples={len(table)}; give more rows")
        return self._calibrate(table, parts)

    def _fit_stream(
        self,
        stream: Stream,
        folder: Path,
        report: Callable[[Epoch], None] | None = None,
        keep: Keep | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Self:
        """Fit a fresh autoencoder from a cache in `folder`, and calibrate on the rows kept apart."""
        fresh, seed, share = self._fresh(stream.used)
        head = stream.head
        kept = stored_rows(len(head.names), head.values.itemsize)
        parts = fresh._fit_stream(stream, folder, share, report, seed, keep, progress, stored=kept)
        self.autoencoder_, self.n_excluded_ = fresh, 0
        if not len(parts.calibrate):
            raise CalibrationError(f"no calibration rows are left of n_samples={stream.used}; give more rows")
        return self._calibrate(head, parts)

    def _fresh(self, usable: int) -> tuple[Autoencoder, int, float]:
        """An unfitted autoencoder for `usable` rows, the seed of their roles, and the share that calibrates."""
        given, seed = self.autoencoder, seed_of(self.random_state)
        share = calibration_share(usable)
        if self.false_alarm_rate is not None:
            # Refused before hours of training, not after.
            Calibration(np.zeros(calibration_rows(usable, share))).check_rate(self.false_alarm_rate)
        return VariationalAutoencoder(random_state=seed) if given is None else clone(given), seed, share

    def _calibrate(self, table: Table, parts: Parts) -> Self:
        """Keep the rows to store, and calibrate every score, a costly one only if it is the chosen one."""
        model = self.autoencoder_.model_
        self.reference_ = Reference(model, kept_rows(model.encoding, parts.stored))
        self._calibrate_on(parts.calibrate, parts.calibrate_weights)
        self.n_features_in_ = len(table.names)
        if table.named:
            self.feature_names_in_ = np.array(table.names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        return self

    def _calibrate_on(self, values: np.ndarray, weights: np.ndarray | None, *more: str) -> None:
        """Take the scores and the columns of rows [n, C] that have played no other part for those of normal rows."""
        scores = score_table(self.reference_, values, routine(self.reference_, self.score_, *more))
        # A row that cannot be scored is always flagged; among the calibration scores it would only hide others.
        readable = np.all([np.isfinite(s) for s in scores.values()], axis=0)
        if not readable.any():
            raise CalibrationError(
                "none of the calibration rows can be scored; look at their cells (diabolo info DATA)"
            )
        w = None if weights is None else weights[readable]
        taken = {name: Calibration(s[readable], w) for name, s in scores.items()}
        if self.false_alarm_rate is not None and self.score_ in taken:
            taken[self.score_].check_rate(self.false_alarm_rate)
        self.columns_: ColumnCalibration | None = ColumnCalibration.of(self.reference_.model, values[readable], w)
        self.marginals_ = calibration_marginals(self.reference_, values[readable], w)
        self.n_unscorable_ = int((~readable).sum())
        self._take(taken, int(readable.sum()))

    def calibrate(self, X: Any, sample_weight: Any = None) -> Self:
        """Renew the p-values on other rows X [n, C] of normal data; nothing that the fit has learnt changes.

        Rows that the autoencoder was trained on are left out; a detector that fails here stays as it was.

        Args:
            X: rows in the columns of the fit.
            sample_weight: [n] from 0 up; rows of weight 0 play no part.

        Raises:
            CalibrationError: fewer than 99 rows are left, or `false_alarm_rate` needs more than there are.
        """
        check_is_fitted(self, "calibrations_")
        table = matched(as_table(X), self.autoencoder_.model_.encoding.schema, type(self).__name__)
        weights = check_weights(sample_weight, len(table))
        used = np.arange(len(table)) if weights is None else np.flatnonzero(weights > 0)
        values, weights = table.values[used], None if weights is None else weights[used]
        return self._renew(values, weights, unseen_rows(self, values, stacklevel=3))

    def _renew(self, values: np.ndarray, weights: np.ndarray | None, free: np.ndarray) -> Self:
        excluded = int((~free).sum())
        refuse_few(len(free) - excluded, len(free), excluded)
        check_score(self.reference_, self.score_)
        self._calibrate_on(values[free], None if weights is None else weights[free], *self.calibrations_)
        self.n_excluded_ = excluded
        return self

    def _take(self, calibrations: dict[str, Calibration], rows: int) -> None:
        """Take over calibrations, which hold for the autoencoder as it is now."""
        self.calibrations_, self.n_calibration_ = calibrations, rows
        self._calibrated = (self.autoencoder_.fitted_, len(self.autoencoder_.history_))

    @property
    def suspects_(self) -> Suspects | None:
        """Rows of X that the autoencoder was fitted on and that look out of place; None of a stream or a file."""
        return self.autoencoder_.suspects_  # type: ignore[no-any-return]

    # ── decisions ─────────────────────────────────────────────────────────────────────────────────

    @property
    def score_(self) -> str:
        """The score in use: `score`, with "auto" resolved."""
        name: str = vars(self)["score"]
        return automatic(self.reference_) if name == "auto" else name

    @property
    def false_alarm_rate_(self) -> float:
        """The rate in use: `false_alarm_rate`, with None resolved."""
        chosen = self.false_alarm_rate
        return default_rate(self.n_calibration_) if chosen is None else self._calibration().check_rate(chosen)

    @property
    def threshold_(self) -> float:
        """A row is an anomaly if its score is above this."""
        return self._calibration().threshold(self.false_alarm_rate_)

    @property
    def offset_(self) -> float:
        """−threshold_: decision_function = score_samples − offset_."""
        return -self.threshold_

    def _calibration(self) -> Calibration:
        fitted, calls = self._calibrated
        if fitted is not self.autoencoder_.fitted_ or calls != len(self.autoencoder_.history_):
            raise CalibrationError(
                "the detector's autoencoder has been trained on since; fit the detector again, to calibrate it"
            )
        if self.score_ not in self.calibrations_:
            check_score(self.reference_, self.score_)
            raise ConfigError(
                f"score {self.score_!r} takes long, so it is calibrated only where it is asked for: fit the "
                f"detector with score={self.score_!r}; calibrated are {', '.join(self.calibrations_)}"
            )
        return self.calibrations_[self.score_]

    def anomaly_score(self, X: Any) -> np.ndarray:
        """The score, [n] float64, up = more anomalous; +inf for a row that cannot be scored."""
        check_is_fitted(self, "calibrations_")
        self._calibration()
        schema = self.autoencoder_.model_.encoding.schema
        table = matched(as_table(X), schema, type(self).__name__)
        return score_table(self.reference_, table.values, [self.score_])[self.score_]

    def p_values(self, X: Any) -> np.ndarray:
        """Conformal p-value per row, [n] float64, from 1/(n_calibration + 1) to 1; small = anomalous."""
        scores = self.anomaly_score(X)
        return self._calibration().p_values(scores)

    def explain(self, X: Any, neighbors: int = 3) -> list[Explanation]:
        """Why each of the rows X [n, C], or one row [C], has its score.

        The columns that have to change for the row to be normal come first, then the others by contribution; each with
        its seen and expected value and a conformal p-value; and the nearest normal training rows (see
        `diabolo.detect.repair`).

        Raises:
            CalibrationError: the detector was saved by a version that did not keep what is needed.
        """
        check_is_fitted(self, "calibrations_")
        if isinstance(X, np.ndarray | list | tuple) and np.ndim(X) == 1:
            X = np.asarray(X)[None]
        table = matched(as_table(X), self.autoencoder_.model_.encoding.schema, type(self).__name__)
        return self._explain_values(table.values, neighbors)

    def _explain_values(self, values: np.ndarray, neighbors: int, start: int = 0) -> list[Explanation]:
        from diabolo.detect.explaining import explain

        if not isinstance(neighbors, int | np.integer) or neighbors < 0:
            raise ConfigError(f"neighbors = {neighbors!r}; allowed are whole numbers from 0 up")
        self._calibration()
        return explain(self, values, int(neighbors), start)

    def predict(self, X: Any) -> np.ndarray:
        """−1 for an anomaly, +1 for a normal row."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def decision_function(self, X: Any) -> np.ndarray:
        """threshold_ − anomaly_score: negative for an anomaly; −inf for a row that cannot be scored."""
        scores = self.anomaly_score(X)
        readable = np.isfinite(scores)
        return np.where(readable, self.threshold_ - np.where(readable, scores, 0.0), -np.inf)

    def discoveries(self, X: Any, fdr: float = 0.1) -> np.ndarray:
        """Rows to report if, on average, at most a share `fdr` of those reported may be normal: [n] bool.

        Benjamini-Hochberg over the table's p-values (`diabolo.detect.fdr`). A row that cannot be scored is always
        reported, and is no test: the share is one of the others.

        Args:
            X: all rows that are looked at together.
            fdr: false discovery rate q in (0, 1), at least 1/(n_calibration + 1).

        Raises:
            CalibrationError: q outside (0, 1), or below what the calibration rows can show.
        """
        scores = self.anomaly_score(X)
        found = Discoveries(self._calibration(), fdr)
        found.add(scores)
        return np.asarray((scores > found.threshold) | ~np.isfinite(scores))

    def health(self, X: Any, level: float = 0.01) -> Health:
        """Whether new rows X still look like the calibration rows: their scores, the false-alarm rate, each column.

        Args:
            X: rows in the columns of the fit, which the autoencoder has not seen.
            level: probability of an alarm where nothing has changed, at most.

        Raises:
            ConfigError: level outside (0, 1).
        """
        check_is_fitted(self, "calibrations_")
        monitor = monitor_of(self, level)
        monitor.add(matched(as_table(X), self.autoencoder_.model_.encoding.schema, type(self).__name__).values)
        return monitor.report()

    def score_samples(self, X: Any) -> np.ndarray:
        """−anomaly_score, scikit-learn's sign: up = more normal."""
        return -self.anomaly_score(X)

    def _mean_score(self, X: Any, y: Any = None) -> float:
        """Mean of score_samples over rows, for model selection."""
        return float(np.mean(self.score_samples(X)))

    # ── the file ──────────────────────────────────────────────────────────────────────────────────

    def save(self, path: str | Path) -> None:
        """Write the autoencoder and this detector into one model file.

        Sections that other jobs have added to a file of this very autoencoder stay in it.
        """
        from diabolo.artifact import merge_sections
        from diabolo.file.detector import detector_section
        from diabolo.file.main import main_section
        from diabolo.generate.drawing import generator_section

        check_is_fitted(self, "calibrations_")
        self._calibration()
        ae = self.autoencoder_
        sections = {"main": main_section(ae), "detector": detector_section(self), **generator_section(ae)}
        merge_sections(path, sections)

    @classmethod
    def load(cls, path: str | Path, own_network: bool = False) -> AnomalyDetector:
        """Read the detector of a model file, with its autoencoder; `own_network` as for `diabolo.load`."""
        from diabolo.file.detector import load_detector

        return load_detector(path, own_network)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
