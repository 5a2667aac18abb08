"""From a fitted autoencoder and rows to a calibrated detector, the first time and again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from diabolo.config import Config
from diabolo.data.matching import like_schema, matched
from diabolo.data.sample import Sample
from diabolo.data.split import Split
from diabolo.data.stream import Stream
from diabolo.data.table import Table
from diabolo.detect.calibrated import Calibrated
from diabolo.detect.choice import automatic_score, check_score, routine
from diabolo.detect.columns import ColumnCalibration
from diabolo.detect.conformal import Calibration, by_group
from diabolo.detect.doubts import doubts_of
from diabolo.detect.monitored import calibration_marginals
from diabolo.detect.reference import Reference, Stored
from diabolo.detect.scoring import score_table
from diabolo.detect.split import (
    apart_of_any_table,
    apart_of_fitted_table,
    known_groups,
    refuse_few_to_calibrate,
    unseen_rows,
)
from diabolo.device import CPU, class_of, scoring_device
from diabolo.errors import CalibrationError
from diabolo.fitted.keep import Keep
from diabolo.fitted.record import Apart, Fitted, scorable
from diabolo.fitted.stream import fit_stream
from diabolo.fitted.table import fit_table
from diabolo.train.state import Epoch
from diabolo.world import ALONE, World

__all__ = [
    "Choice",
    "around",
    "calibrated",
    "fit_detector",
    "fit_detector_stream",
    "recalibrated",
    "renewed",
    "share_to_calibrate",
]


@dataclasses.dataclass(frozen=True)
class Choice:
    """The settings of a detector: score, false-alarm rate, seed of the split, the `random_state` that gave it, and the
    device that it is calibrated on and scores on; None for that of the fit, of the detector before, or the processor.
    """

    score: str = "auto"
    false_alarm_rate: float | None = None
    seed: int = 0
    random_state: int | None = 0
    device: str | None = None


def fit_detector(
    table: Table,
    weights: np.ndarray | None,
    config: Config,
    choice: Choice,
    report: Callable[[Epoch], None] | None = None,
    keep: Keep | None = None,
    split: Split | None = None,
    world: World = ALONE,
) -> Calibrated:
    """Fit an autoencoder to its share of a table, and calibrate on rows kept apart, as `split` says.

    Of processes that fit together one alone need calibrate: the others fit with `share_to_calibrate` of the rows.

    Raises:
        CalibrationError: the rate is below what the calibration rows can guarantee; said before the fit.
        DataError: as `fit_table`.
    """
    split, used = split or Split(), np.arange(len(table)) if weights is None else np.flatnonzero(weights > 0)
    share = share_to_calibrate(len(used), choice, split.among(used))
    fitted = fit_table(table, weights, config, share, report, choice.seed, keep, split, world)
    table = matched(table, fitted.model.encoding.schema, "the model")
    return _after_fit(fitted, apart_of_fitted_table(fitted, table, weights, split), choice, len(table))


def fit_detector_stream(
    stream: Stream,
    folder: Path,
    config: Config,
    choice: Choice,
    report: Callable[[Epoch], None] | None = None,
    keep: Keep | None = None,
    progress: Callable[[int], None] | None = None,
    world: World = ALONE,
) -> Calibrated:
    """`fit_detector` from a cache in `folder`, in bounded memory."""
    share = share_to_calibrate(stream.used, choice, Split())
    fitted, apart = fit_stream(stream, folder, config, share, report, choice.seed, keep, progress, world)
    return _after_fit(fitted, apart, choice, stream.used)


def around(
    fitted: Fitted,
    table: Table,
    weights: np.ndarray | None,
    choice: Choice,
    who: str,
    stacklevel: int,
    groups: np.ndarray | None = None,
) -> Calibrated:
    """A detector around an autoencoder that was fitted before; it stays as it is.

    Raises:
        CalibrationError: fewer than 99 rows are left to calibrate on.
    """
    table = matched(table, fitted.model.encoding.schema, who)
    apart, excluded = apart_of_any_table(fitted, table, weights, choice.seed, stacklevel + 1, groups)
    return calibrated(fitted, apart, choice, excluded)


def recalibrated(
    before: Calibrated,
    values: np.ndarray,
    weights: np.ndarray | None,
    free: np.ndarray,
    groups: np.ndarray | None = None,
    device: str | None = None,
) -> Calibrated:
    """The same detector with p-values of other rows [n, C]; nothing that the fit has learnt changes.

    Args:
        free: [n] bool, the rows that the autoencoder and the detector have not learnt from.
        device: that scores from now on; None for the same.
        groups: [n] of the rows; a group of which at least half the rows are not free is left out.

    Raises:
        CalibrationError: fewer than 99 of them, or the rate needs more.
    """
    if groups is not None:
        free = free & ~known_groups(groups, ~free)
    excluded = int((~free).sum())
    refuse_few_to_calibrate(len(free) - excluded, len(free), excluded)
    check_score(before.reference, before.score_name)
    weights, groups = (None if a is None else a[free] for a in (weights, groups))
    apart = Apart(values[:0], values[free], weights, groups, "position" if groups is None else "group")
    choice = Choice(before.score, before.false_alarm_rate, random_state=before.random_state)
    reference = before.reference if device is None else before.reference.on(device)
    return _measured_on(before.fitted, reference, apart, choice, excluded, *before.calibrations)


def renewed(
    fitted: Fitted, before: Calibrated | None, sample: Sample, choice: Choice, groups: np.ndarray | None = None
) -> Calibrated:
    """A detector calibrated on a sample of a dataset: the given one again, or a new one around the autoencoder.

    Args:
        fitted: the autoencoder.
        before: the detector around it, if there is one, with the score and the rate to use.
        sample: rows to calibrate on.
        choice: settings of a new detector.
        groups: [n] of the sample's rows, or None.

    Raises:
        CalibrationError: fewer than 99 rows are left, or the rate needs more.
    """
    if before is not None:
        stored = before.reference.stored
        free = unseen_rows(fitted, stored, sample.values, 3, sample.positions, sample.fingerprint)
        return recalibrated(before, sample.values, sample.weights, free, groups, choice.device)
    if groups is None and len(sample.values) < sample.rows and fitted.roles.tells(sample.fingerprint):
        # Taken for itself, a sample of the fit's table is another table, in which only hashes tell the trained rows.
        free = fitted.roles.calibrates(sample.positions)
        refuse_few_to_calibrate(int(free.sum()), len(free), int((~free).sum()))
        weights = None if sample.weights is None else sample.weights[free]
        sample = dataclasses.replace(sample, values=sample.values[free], weights=weights)
    table = like_schema(fitted.model.encoding.schema, sample.values)
    found = around(fitted, table, sample.weights, choice, "the model", 3, groups)
    _ = found.calibration  # refuses a score that is not calibrated
    return found


def share_to_calibrate(usable: int, choice: Choice, split: Split) -> float:
    """Share of the usable rows that no part of a detector's fit sees.

    Raises:
        CalibrationError: so many rows cannot guarantee the rate.
    """
    share, count = split.share(usable)
    if choice.false_alarm_rate is not None:
        # Refused before hours of training, not after.
        rows = np.ones(count)
        Calibration(rows, rows, None if split.groups is None else count).check_rate(choice.false_alarm_rate)
    return share


def _after_fit(fitted: Fitted, apart: Apart, choice: Choice, rows: int) -> Calibrated:
    if not len(apart.calibrate):
        raise CalibrationError(f"no calibration rows are left of n_samples={rows}; give more rows")
    device = choice.device or scoring_device(fitted.model.config.device)
    return calibrated(fitted, apart, dataclasses.replace(choice, device=device), 0)


def calibrated(fitted: Fitted, apart: Apart, choice: Choice, excluded: int) -> Calibrated:
    """Calibrate every score of few passes, and a costly one if it is the chosen one.

    Rows that a robust fit takes for foreign are neither compared with nor calibrated on.
    """
    good = scorable(fitted.model.encoding, apart.stored) & fitted.belongs(apart.stored)
    normal = fitted.belongs(apart.calibrate)
    if not normal.any():
        raise CalibrationError("no calibration row belongs, by the rule of `robust`; fit without it")
    weights, groups = (None if a is None else a[normal] for a in (apart.calibrate_weights, apart.calibrate_groups))
    calibrate = apart.calibrate[normal]
    apart = dataclasses.replace(apart, calibrate=calibrate, calibrate_weights=weights, calibrate_groups=groups)
    stored = Stored(np.require(apart.stored[good], requirements=("C", "W"))) if good.any() else None
    reference = Reference(fitted.model, stored, choice.device or CPU)
    return _measured_on(fitted, reference, apart, choice, excluded)


def _measured_on(
    fitted: Fitted, reference: Reference, apart: Apart, choice: Choice, excluded: int, *more: str
) -> Calibrated:
    """Calibrate on rows, taken for normal ones, that have played no other part."""
    values, weights, groups = apart.calibrate, apart.calibrate_weights, apart.calibrate_groups
    resolved = choice.score if choice.score != "auto" else automatic_score(reference)
    table = score_table(reference, values, routine(reference, resolved, *more))
    # A row that cannot be scored is always flagged; among the calibration scores it would only hide others.
    readable = np.all([np.isfinite(s) for s in table.values()], axis=0)
    if not readable.any():
        raise CalibrationError("none of the calibration rows can be scored; look at their cells (diabolo info DATA)")
    w, count = None if weights is None else weights[readable], None
    if groups is not None:
        w, count = by_group(groups[readable], w)
    taken = {name: Calibration(s[readable], w, count) for name, s in table.items()}
    if choice.false_alarm_rate is not None and resolved in taken:
        taken[resolved].check_rate(choice.false_alarm_rate)
    marginals = calibration_marginals(reference, values[readable], w)
    return Calibrated(
        fitted,
        reference,
        taken,
        ColumnCalibration.of(reference.model, values[readable], w, count),
        marginals if count is None else dataclasses.replace(marginals, size=next(iter(taken.values())).size),
        n_excluded=excluded,
        n_unscorable=int((~readable).sum()),
        epochs=len(fitted.history),
        score=choice.score,
        false_alarm_rate=choice.false_alarm_rate,
        random_state=choice.random_state,
        made_on=class_of(reference.device),
        doubts=doubts_of(values, reference.model.encoding.schema, fitted.row_hashes, apart.split, apart.stored),
    )
