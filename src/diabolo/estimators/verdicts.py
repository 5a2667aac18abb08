"""What a calibrated detector says of rows: scores, p-values, decisions, explanations, health."""

from __future__ import annotations

import abc
from collections.abc import Sequence

import numpy as np

from diabolo.data.keeping import like_rows, table_of
from diabolo.data.table import RowsOut, TableLike, TableOut
from diabolo.detect.calibrated import Calibrated
from diabolo.detect.explaining import Explanations, explain
from diabolo.detect.fdr import Discoveries
from diabolo.detect.health import Health
from diabolo.detect.scoring import reasons
from diabolo.progress import progress

__all__ = ["Verdicts"]


class Verdicts(abc.ABC):
    """The methods of a detector that judge rows.

    Methods that scikit-learn names return arrays; others a Series with the index of a pandas frame that came in
    (`diabolo.data.keeping.like_rows`).
    """

    verbose: int

    @property
    @abc.abstractmethod
    def calibrated_(self) -> Calibrated:
        """The calibrated state."""

    @abc.abstractmethod
    def _values(self, X: TableLike) -> np.ndarray:
        """Rows X in the schema's order, [n, C]."""

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

    def explain(self, X: TableLike, neighbors: int = 3, context: Sequence[str] = ()) -> Explanations:
        """Why each of the rows X [n, C], or one row [C], has its score.

        The columns that have to change for the row to be normal come first, then the others by contribution. Each has
        its seen value, its expected value and a conformal p-value. A masked autoencoder's have the values too that 5 %
        and 95 % of p(x_j | the other cells) lie below, or the most probable levels. The nearest normal training rows
        come beside (see `diabolo.detect.repair`).

        Args:
            X: rows in the columns of the fit.
            neighbors: normal training rows beside each row.
            context: columns that are given: they stay as they are, and have no part in an explanation.

        Raises:
            ConfigError: `context` names a column that there is not, or all of them.
            CalibrationError: the detector was saved by a version that kept no costs or rows to explain by.

        >>> from diabolo import AnomalyDetector, LinearAutoencoder
        >>> X = np.random.default_rng(0).normal(size=(600, 3))
        >>> found = AnomalyDetector(LinearAutoencoder(latent_dim=1)).fit(X).explain([0.0, 30.0, 0.0])[0]
        >>> found.columns[0].column, found.columns[0].seen
        ('x1', 30.0)
        """
        detector = self.calibrated_
        if isinstance(X, np.ndarray | list | tuple) and np.ndim(X) == 1:
            X = np.asarray(X)[None]
        values = self._values(X)
        with progress("explain", self.verbose):
            return explain(detector, values, neighbors, context=context)

    def health(self, X: TableLike, level: float = 0.01) -> Health:
        """Whether new rows X still look like the calibration rows: their scores, the false-alarm rate, each column.

        Args:
            X: rows in the columns of the fit, which the autoencoder has not seen.
            level: probability of an alarm where nothing has changed, at most.

        Raises:
            ConfigError: level outside (0, 1).

        >>> from diabolo import AnomalyDetector, LinearAutoencoder
        >>> X = np.random.default_rng(0).normal(size=(900, 3))
        >>> detector = AnomalyDetector(LinearAutoencoder(latent_dim=1)).fit(X[:600])
        >>> detector.health(X[600:]).healthy, "x1" in detector.health(X[600:] + [0, 2, 0]).drifted
        (True, True)
        """
        monitor = self.calibrated_.monitor(level)
        values = self._values(X)
        with progress("health", self.verbose):
            monitor.add(values)
            return monitor.report()

    def _scores(self, values: np.ndarray) -> np.ndarray:
        detector = self.calibrated_
        _ = detector.calibration  # refuses a score that is not calibrated
        with progress("score", self.verbose):
            return detector.scores(values)

    # ── of each row ───────────────────────────────────────────────────────────────────────────────

    def anomaly_score(self, X: TableLike) -> RowsOut:
        """The score of rows X [n, C], [n] float64, up = more anomalous; +inf for a row that cannot be scored.

        >>> from diabolo import AnomalyDetector, LinearAutoencoder
        >>> X = np.random.default_rng(0).normal(size=(700, 3))
        >>> detector = AnomalyDetector(LinearAutoencoder(latent_dim=1)).fit(X[:600])
        >>> score = detector.anomaly_score(X[600:])
        >>> bool(((score > detector.threshold_) == (detector.decision_function(X[600:]) < 0)).all())
        True
        >>> bool((detector.score_samples(X[600:]) == -score).all()), detector.offset_ == -detector.threshold_
        (True, True)
        """
        return like_rows(X, self._scores(self._values(X)), "score")

    def p_values(self, X: TableLike) -> RowsOut:
        """Conformal p-value per row, [n] float64, from 1/(n + 1) to 1, n calibration rows or groups; small = anomalous.

        NaN for a row that cannot be scored.

        >>> from diabolo import AnomalyDetector, LinearAutoencoder
        >>> X = np.random.default_rng(0).normal(size=(600, 3))
        >>> detector = AnomalyDetector(LinearAutoencoder(latent_dim=1)).fit(X)
        >>> p = detector.p_values([[0, 0, 0], [0, 30, 0], [0, np.inf, 0]])
        >>> bool(p[0] > 0.05), bool(p[1] < 0.01), bool(np.isnan(p[2]))
        (True, True, True)
        """
        return like_rows(X, self.calibrated_.p_values(self._scores(self._values(X))), "p_value")

    def score_samples(self, X: TableLike) -> np.ndarray:
        """−anomaly_score of rows X [n, C], [n] float64, scikit-learn's sign: up = more normal."""
        return -self._scores(self._values(X))

    def decision_function(self, X: TableLike) -> np.ndarray:
        """threshold_ − anomaly_score, [n] float64: below 0 for an anomaly; −inf for a row that cannot be scored."""
        return self.threshold_ + self.score_samples(X)

    def predict(self, X: TableLike) -> np.ndarray:
        """−1 for an anomaly, +1 for a normal row, [n] int64."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def score_table(self, X: TableLike, keep: str | Sequence[str] | None = None) -> TableOut:
        """score, p_value, is_anomaly and flag of each row: a pandas frame with X's index where X is one, else Arrow's.

        The flag says why a row cannot be scored, and is missing in all others.

        Args:
            X: rows in the columns of the fit, others beside them.
            keep: names of columns of X to carry into the result, like ids.

        Raises:
            DataError: X has no column of that name.

        >>> import pandas as pd
        >>> from diabolo import AnomalyDetector, LinearAutoencoder
        >>> X = pd.DataFrame(np.random.default_rng(0).normal(size=(600, 3)), columns=list("abc"))
        >>> X.loc[7, "b"] = np.inf
        >>> table = AnomalyDetector(LinearAutoencoder(latent_dim=1)).fit(X.drop(7)).score_table(X[5:8], keep="a")
        >>> list(table.columns), list(table.index), table["flag"].fillna("").tolist()
        (['a', 'score', 'p_value', 'is_anomaly', 'flag'], [5, 6, 7], ['', '', 'infinite: b'])
        """
        values = self._values(X)
        detector, scores = self.calibrated_, self._scores(values)
        why = reasons(detector.reference.model.encoding, values, scores)
        told = {
            "score": scores,
            "p_value": detector.p_values(scores),
            "is_anomaly": ~np.isfinite(scores) | (scores > self.threshold_),
            "flag": np.array([why.get(i) for i in range(len(scores))], object),
        }
        return table_of(X, told, keep)

    def discoveries(self, X: TableLike, fdr: float = 0.1) -> RowsOut:
        """Rows to report if, on average, at most a share `fdr` of those reported may be normal: [n] bool.

        Benjamini-Hochberg over the table's p-values (`diabolo.detect.fdr`). A row that cannot be scored has none and
        is never reported; `predict` flags it.

        Args:
            X: all rows that are looked at together.
            fdr: false discovery rate q in (0, 1), at least 1/(n + 1) of n calibration rows or groups.

        Raises:
            CalibrationError: q outside (0, 1), or below what the calibration rows can show.

        >>> from diabolo import AnomalyDetector, LinearAutoencoder
        >>> X = np.random.default_rng(0).normal(size=(700, 3))
        >>> detector = AnomalyDetector(LinearAutoencoder(latent_dim=1)).fit(X[:600])
        >>> detector.discoveries(np.r_[X[600:690], X[690:] + 30], fdr=0.2)[90:].tolist() == [True] * 10
        True
        """
        scores = self._scores(self._values(X))
        found = Discoveries(self.calibrated_.calibration, fdr)
        found.add(scores)
        return like_rows(X, np.asarray((scores > found.threshold) & np.isfinite(scores)), "discovery")
