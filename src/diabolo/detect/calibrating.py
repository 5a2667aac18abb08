"""From a fitted autoencoder and rows to a calibrated detector, the first time and again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from diabolo.config import Config
from diabolo.data.roles import calibration_rows, calibration_share
from diabolo.data.sample import Sample
from diabolo.data.stream import Stream
from diabolo.data.table import Table, like_schema, matched
from diabolo.detect.calibrated import Calibrated
from diabolo.detect.choice import automatic, check_score, routine
from diabolo.detect.columns import ColumnCalibration
from diabolo.detect.conformal import Calibration
from diabolo.detect.health import calibration_marginals
from diabolo.detect.reference import Reference, Stored
from diabolo.detect.scoring import score_table
from diabolo.detect.split import apart_of_any_table, apart_of_fitted_table, refuse_few, unseen_rows
from diabolo.errors import CalibrationError
from diabolo.fitted.keep import Keep
from diabolo.fitted.record import Apart, Fitted, scorable
from diabolo.fitted.stream import fit_stream
from diabolo.fitted.table import fit_table
from diabolo.train.state import Epoch

__all__ = ["Choice", "around", "fit_detector", "fit_detector_stream", "recalibrated", "renewed"]


@dataclasses.dataclass(frozen=True)
class Choice:
    """The settings of a detector: its score, its false-alarm rate, the seed of the split and how it was given."""

    score: str = "auto"
    false_alarm_rate: float | None = None
    seed: int = 0
    random_state: int | None = 0


def fit_detector(
    table: Table,
    weights: np.ndarray | None,
    config: Config,
    choice: Choice,
    report: Callable[[Epoch], None] | None = None,
    keep: Keep | None = None,
) -> Calibrated:
    """Fit an autoencoder to its share of a table, and calibrate on rows kept apart.

    Raises:
        CalibrationError: the rate is below what the calibration rows can guarantee; said before the fit.
        DataError: as `fit_table`.
    """
    share = _share(len(table) if weights is None else int((weights > 0).sum()), choice)
    fitted = fit_table(table, weights, config, share, report, choice.seed, keep)
    table = matched(table, fitted.model.encoding.schema, "the model")
    return _after_fit(fitted, apart_of_fitted_table(fitted, table, weights), choice, len(table))


def fit_detector_stream(
    stream: Stream,
    folder: Path,
    config: Config,
    choice: Choice,
    report: Callable[[Epoch], None] | None = None,
    keep: Keep | None = None,
    progress: Callable[[int], None] | None = None,
) -> Calibrated:
    """`fit_detector` from a cache in `folder`, in bounded memory."""
    share = _share(stream.used, choice)
    fitted, apart = fit_stream(stream, folder, config, share, report, choice.seed, keep, progress)
    return _after_fit(fitted, apart, choice, stream.used)


def around(
    fitted: Fitted, table: Table, weights: np.ndarray | None, choice: Choice, who: str, stacklevel: int
) -> Calibrated:
    """A detector around an autoencoder that was fitted before; it stays as it is.

    Raises:
        CalibrationError: fewer than 99 rows are left to calibrate on.
    """
    table = matched(table, fitted.model.encoding.schema, who)
    apart, excluded = apart_of_any_table(fitted, table, weights, choice.seed, stacklevel + 1)
    return _calibrated(fitted, apart, choice, excluded)


def recalibrated(before: Calibrated, values: np.ndarray, weights: np.ndarray | None, free: np.ndarray) -> Calibrated:
    """The same detector with p-values of other rows [n, C]; nothing that the fit has learnt changes.

    Args:
        free: [n] bool, the rows that the autoencoder and the detector have not learnt from.

    Raises:
        CalibrationError: fewer than 99 of them, or the rate needs more.
    """
    excluded = int((~free).sum())
    refuse_few(len(free) - excluded, len(free), excluded)
    check_score(before.reference, before.score_name)
    weights = None if weights is None else weights[free]
    choice = Choice(before.score, before.false_alarm_rate, random_state=before.random_state)
    return _on(before.fitted, before.reference, values[free], weights, choice, excluded, *before.calibrations)


def renewed(fitted: Fitted, before: Calibrated | None, sample: Sample, choice: Choice) -> Calibrated:
    """A detector calibrated on a sample of a dataset: the given one again, or a new one around the autoencoder.

    Args:
        fitted: the autoencoder.
        before: the detector around it, if there is one, with the score and the rate to use.
        sample: rows to calibrate on.
        choice: settings of a new detector.

    Raises:
        CalibrationError: fewer than 99 rows are left, or the rate needs more.
    """
    if before is not None:
        stored = before.reference.stored
        free = unseen_rows(fitted, stored, sample.values, 3, sample.positions, sample.fingerprint)
        return recalibrated(before, sample.values, sample.weights, free)
    if len(sample.values) < sample.rows and fitted.roles.fingerprint == sample.fingerprint:
        # A sample of the table of the fit is by itself another one, of which only hashes tell what was trained on.
        free = fitted.roles.calibrates(sample.positions)
        refuse_few(int(free.sum()), len(free), int((~free).sum()))
        weights = None if sample.weights is None else sample.weights[free]
        sample = dataclasses.replace(sample, values=sample.values[free], weights=weights)
    table = like_schema(fitted.model.encoding.schema, sample.values)
    found = around(fitted, table, sample.weights, choice, "the model", 3)
    _ = found.calibration  # refuses a score that there is not
    return found


def _share(usable: int, choice: Choice) -> float:
    share = calibration_share(usable)
    if choice.false_alarm_rate is not None:
        # Refused before hours of training, not after.
        Calibration(np.zeros(calibration_rows(usable, share))).check_rate(choice.false_alarm_rate)
    return share


def _after_fit(fitted: Fitted, apart: Apart, choice: Choice, rows: int) -> Calibrated:
    if not len(apart.calibrate):
        raise CalibrationError(f"no calibration rows are left of n_samples={rows}; give more rows")
    return _calibrated(fitted, apart, choice, 0)


def _calibrated(fitted: Fitted, apart: Apart, choice: Choice, excluded: int) -> Calibrated:
    """Calibrate every score of few passes, and a costly one if it is the chosen one."""
    good = scorable(fitted.model.encoding, apart.stored)
    stored = Stored(np.require(apart.stored[good], requirements=("C", "W"))) if good.any() else None
    reference = Reference(fitted.model, stored)
    return _on(fitted, reference, apart.calibrate, apart.calibrate_weights, choice, excluded)


def _on(
    fitted: Fitted,
    reference: Reference,
    values: np.ndarray,
    weights: np.ndarray | None,
    choice: Choice,
    excluded: int,
    *more: str,
) -> Calibrated:
    """Take the scores and the columns of rows [n, C] that have played no other part for those of normal rows."""
    resolved = choice.score if choice.score != "auto" else automatic(reference)
    table = score_table(reference, values, routine(reference, resolved, *more))
    # A row that cannot be scored is always flagged; among the calibration scores it would only hide others.
    readable = np.all([np.isfinite(s) for s in table.values()], axis=0)
    if not readable.any():
        raise CalibrationError("none of the calibration rows can be scored; look at their cells (diabolo info DATA)")
    w = None if weights is None else weights[readable]
    taken = {name: Calibration(s[readable], w) for name, s in table.items()}
    if choice.false_alarm_rate is not None and resolved in taken:
        taken[resolved].check_rate(choice.false_alarm_rate)
    return Calibrated(
        fitted,
        reference,
        taken,
        ColumnCalibration.of(reference.model, values[readable], w),
        calibration_marginals(reference, values[readable], w),
        n_excluded=excluded,
        n_unscorable=int((~readable).sum()),
        epochs=len(fitted.history),
        score=choice.score,
        false_alarm_rate=choice.false_alarm_rate,
        random_state=choice.random_state,
    )
