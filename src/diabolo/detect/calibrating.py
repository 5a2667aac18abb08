"""A detector's calibration renewed on other rows, and the monitor of new ones."""

from __future__ import annotations

import dataclasses
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from diabolo.data.hashing import fingerprint as fingerprint_of
from diabolo.data.hashing import hash_rows
from diabolo.data.roles import ROLES, RoleRule
from diabolo.detect.conformal import FEWEST
from diabolo.detect.health import Monitor
from diabolo.errors import CalibrationError

if TYPE_CHECKING:
    from diabolo.data.sample import Sample
    from diabolo.estimators.autoencoder import Autoencoder
    from diabolo.estimators.detector import AnomalyDetector

__all__ = ["monitor_of", "refuse_few", "renewed", "unseen_rows"]


def unseen_rows(
    detector: AnomalyDetector,
    values: np.ndarray,
    stacklevel: int,
    positions: np.ndarray | None = None,
    fingerprint: str | None = None,
) -> np.ndarray:
    """Whether each of the rows [n, C] was kept away from an autoencoder and all that a detector has learnt, [n] bool.

    Known are the hashes of the rows that it was trained on, or, beyond 200,000 of them, the split of its table.

    Args:
        detector: around the autoencoder, perhaps with rows that it stored of another table.
        values: rows in the schema's order.
        stacklevel: of the warning where neither is known.
        positions: of the rows in the table that they are a sample of; None for all of it.
        fingerprint: of that table.
    """
    fitted, stored = detector.autoencoder_.fitted_, detector.reference_.stored
    roles, hashes = fitted.roles, hash_rows(values)
    if roles["fingerprint"] == (fingerprint or fingerprint_of(hashes)):
        return _kept_apart(roles, positions)
    free = np.ones(len(values), bool) if stored is None else stored.positions(values) < 0
    if fitted.row_hashes is not None:
        return free & ~np.isin(hashes, fitted.row_hashes)
    warnings.warn(
        f"the autoencoder was fitted on {roles['rows']:,} rows, too many for its file to keep their hashes, and "
        "this is another table: make sure that it holds none of them",
        UserWarning,
        stacklevel=stacklevel,
    )
    return free


def _kept_apart(roles: dict[str, Any], positions: np.ndarray | None) -> np.ndarray:
    """Which rows of the table of a fit were to calibrate, [n] bool, all or those at some positions."""
    rule = RoleRule(roles["rows"], roles["seed"], roles["stop"], roles["combine"], roles["calibrate"])
    part = rule.of(0, roles["rows"])
    return np.asarray((part if positions is None else part[positions]) == ROLES.index("calibrate"))


def refuse_few(left: int, rows: int, excluded: int) -> None:
    """Refuse to calibrate a fitted autoencoder on fewer rows than 1 % needs.

    Raises:
        CalibrationError: fewer than 99 are left.
    """
    if left < FEWEST:
        raise CalibrationError(
            f"{left} of {rows} rows are left to calibrate on ({excluded} were trained on); "
            f"at least {FEWEST} are needed: give rows that the autoencoder has not seen"
        )


def monitor_of(detector: AnomalyDetector, level: float) -> Monitor:
    """A monitor of rows that come to a detector.

    Raises:
        ConfigError: level outside (0, 1).
    """
    return Monitor(
        detector.reference_,
        detector.score_,
        detector._calibration(),
        detector.marginals_,
        detector.n_unscorable_,
        detector.false_alarm_rate_,
        detector.autoencoder_.fitted_.row_hashes,
        level,
    )


def renewed(
    ae: Autoencoder, detector: AnomalyDetector | None, sample: Sample, parameters: dict[str, Any]
) -> AnomalyDetector:
    """A detector calibrated on a sample of a dataset: the given one, or a new one around the autoencoder.

    Args:
        ae: fitted autoencoder.
        detector: around it, if there is one.
        sample: rows to calibrate on.
        parameters: of the detector, to change.

    Raises:
        CalibrationError: fewer than 99 rows are left, or the rate needs more.
    """
    from diabolo.data.table import Table
    from diabolo.estimators.detector import AnomalyDetector

    if detector is not None:
        detector.set_params(**parameters)
        free = unseen_rows(detector, sample.values, 3, sample.positions, sample.fingerprint)
        return detector._renew(sample.values, sample.weights, free)
    if len(sample.values) < sample.rows and ae.fitted_.roles["fingerprint"] == sample.fingerprint:
        # A sample of the table of the fit is by itself another one, of which only hashes tell what was trained on.
        free = _kept_apart(ae.fitted_.roles, sample.positions)
        refuse_few(int(free.sum()), len(free), int((~free).sum()))
        weights = None if sample.weights is None else sample.weights[free]
        sample = dataclasses.replace(sample, values=sample.values[free], weights=weights)
    schema = ae.model_.encoding.schema
    dtypes = [c.dtype for c in schema.columns]
    levels = {name: list(words) for name, words in schema.levels.items()}
    table = Table(sample.values, schema.names, dtypes, "arrow", True, levels)
    detector = AnomalyDetector(ae, **parameters)._fit_table(table, sample.weights)
    detector._calibration()  # refuses a score that there is not
    return detector
