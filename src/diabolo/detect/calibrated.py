"""A detector's state: scores of calibration rows, from which p-values, thresholds and verdicts follow."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from diabolo.detect.choice import automatic_score, check_score
from diabolo.detect.columns import ColumnCalibration
from diabolo.detect.conformal import Calibration, default_rate
from diabolo.detect.doubts import Doubt
from diabolo.detect.health import Monitor
from diabolo.detect.marginals import Marginals
from diabolo.detect.reference import Reference
from diabolo.detect.scores.auto import views_of
from diabolo.detect.scoring import score_table
from diabolo.detect.views import Views
from diabolo.device import CPU, class_of
from diabolo.errors import CalibrationError, ConfigError
from diabolo.fitted.record import Fitted

__all__ = ["TRAINED_SINCE", "Calibrated"]

TRAINED_SINCE = "the detector's autoencoder has been trained on since; fit the detector again, to calibrate it"

OUTDATED = (
    "the default score of tables has another rule since this detector was calibrated: fit it again, calibrate it on "
    "new normal rows (diabolo calibrate), or take a score that it has: {}"
)


ELSEWHERE = (
    "the detector is calibrated on {made} and would score on {here}: a p-value holds for scores of one arithmetic; "
    "take --device {made}, or calibrate it there: diabolo calibrate MODEL NORMAL_ROWS --device {here}"
)


@dataclasses.dataclass(frozen=True)
class Calibrated:
    """A calibrated detector; `choosing` gives another score or rate of the same calibration.

    Attributes:
        fitted: the autoencoder.
        reference: the model, and the rows stored beside it.
        calibrations: of each score that was calibrated, by its name.
        columns: costs of calibration rows by column; None where a file kept none.
        marginals: of the columns of the calibration rows.
        n_excluded: rows left out because the autoencoder was trained on them.
        n_unscorable: rows left out because they could not be scored.
        epochs: epochs of the autoencoder when it was calibrated.
        score: name of the score to use, or "auto".
        false_alarm_rate: α in (0, 1); None for max(0.01, 1/(n + 1)) of n calibration rows or groups.
        random_state: seed of the split; None where none was chosen.
        outdated: whether it was calibrated by an earlier rule of the score "auto", which is refused then.
        made_on: class of the device whose scores it was calibrated on; `device` is where rows are scored.
        doubts: signs that calibration rows are not exchangeable with new ones; no file keeps them.
    """

    fitted: Fitted
    reference: Reference
    calibrations: Mapping[str, Calibration]
    columns: ColumnCalibration | None
    marginals: Marginals
    n_excluded: int
    n_unscorable: int
    epochs: int
    score: str = "auto"
    false_alarm_rate: float | None = None
    random_state: int | None = 0
    outdated: bool = False
    made_on: str = CPU
    doubts: tuple[Doubt, ...] = ()

    def choosing(self, score: str | None = None, false_alarm_rate: float | None = None) -> Calibrated:
        """The same calibration with another score or rate; None keeps the chosen one."""
        return dataclasses.replace(
            self,
            score=self.score if score is None else score,
            false_alarm_rate=self.false_alarm_rate if false_alarm_rate is None else false_alarm_rate,
        )

    def on(self, device: str) -> Calibrated:
        """The same that scores on a device; its p-values are refused unless it was calibrated on one like it."""
        return dataclasses.replace(self, reference=self.reference.on(device))

    @property
    def device(self) -> str:
        """Where rows are scored."""
        return self.reference.device

    @property
    def n_calibration(self) -> int:
        """Calibration rows."""
        return len(next(iter(self.calibrations.values())))

    @property
    def n_groups(self) -> int | None:
        """Groups that they come in; None where each stands alone."""
        return next(iter(self.calibrations.values())).groups

    @property
    def n_units(self) -> int:
        """What the rate is promised by: calibration groups, else rows."""
        return self.n_calibration if self.n_groups is None else self.n_groups

    @property
    def counted(self) -> str:
        """Calibration rows in words, with their groups."""
        return next(iter(self.calibrations.values())).said

    @property
    def score_name(self) -> str:
        """The score in use: `score`, with "auto" resolved."""
        return automatic_score(self.reference) if self.score == "auto" else self.score

    @property
    def calibration(self) -> Calibration:
        """Of the score in use.

        Raises:
            CalibrationError: the autoencoder has been trained on since, or scores are another device's.
            ConfigError: a score that is not calibrated.
        """
        if self.epochs != len(self.fitted.history):
            raise CalibrationError(TRAINED_SINCE)
        if class_of(self.device) != self.made_on:
            raise CalibrationError(ELSEWHERE.format(made=self.made_on, here=class_of(self.device)))
        name, known = self.score_name, self.calibrations
        if self.outdated and name == "auto":
            raise CalibrationError(OUTDATED.format(", ".join(n for n in known if n != name)))
        if name in known:
            return known[name]
        check_score(self.reference, name)
        raise ConfigError(
            f"score {name!r} takes long, so it is calibrated only where it is asked for: fit the "
            f"detector with score={name!r}; calibrated are {', '.join(known)}"
        )

    @property
    def rate(self) -> float:
        """The false-alarm rate in use: `false_alarm_rate`, with None resolved."""
        chosen = self.false_alarm_rate
        return default_rate(self.n_units) if chosen is None else self.calibration.check_rate(chosen)

    @property
    def threshold(self) -> float:
        """A row is an anomaly if its score is above this."""
        return self.calibration.threshold(self.rate)

    @property
    def remarks(self) -> list[str]:
        """What the score in use does not count as new, because normal rows show it too."""
        views = None if self.score_name != "auto" else views_of(self.reference)
        return [common.said for common in views.novelty.common] if isinstance(views, Views) else []

    def scores(self, values: np.ndarray) -> np.ndarray:
        """Score rows [n, C] in the schema's order, [n] float64, up = more anomalous; +inf where there is none."""
        name = self.score_name
        return score_table(self.reference, values, [name])[name]

    def judged(self, values: np.ndarray, *more: str) -> dict[str, np.ndarray]:
        """The score of rows [n, C] by its name, "p_value", and more scores, as `score_table`."""
        name = self.score_name
        return score_table(self.reference, values, list(dict.fromkeys((name, *more))), (name, self.calibration))

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """Conformal p-values of scores [m], NaN for a row that cannot be scored."""
        return np.where(np.isfinite(scores), self.calibration.p_values(scores), np.nan)

    def anomalies(self, scores: np.ndarray) -> np.ndarray:
        """Which rows are anomalies at the rate in use, [m] bool; one that cannot be scored is."""
        return np.asarray((scores > self.threshold) | ~np.isfinite(scores))

    def monitor(self, level: float) -> Monitor:
        """A monitor of rows that come to the detector.

        Args:
            level: probability of an alarm where nothing has changed.

        Raises:
            ConfigError: level outside (0, 1).
        """
        return Monitor(
            self.reference,
            self.score_name,
            self.calibration,
            self.marginals,
            self.n_unscorable,
            self.rate,
            self.fitted.row_hashes,
            level,
        )
