"""What estimators warn of: a false-alarm rate that may not hold, drawn rows that may not; groups of a calibration."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from diabolo.data.split import CONTENT, split_of
from diabolo.detect.calibrated import Calibrated
from diabolo.errors import CalibrationError, PromiseWarning

__all__ = ["groups_to_calibrate", "warn_of_draws", "warn_of_promise"]

#: A rate above this, where none was asked for, is warned of.
LARGE = 0.05


def warn_of_promise(detector: Calibrated, stacklevel: int) -> None:
    """Warn of signs that the rate may not hold, and of a rate far above the default.

    Warns:
        PromiseWarning: one for each sign.
    """
    said = [doubt.in_python for doubt in detector.doubts]
    if detector.false_alarm_rate is None and 1 / (detector.n_units + 1) > LARGE:
        said.append(
            f"{detector.counted} can promise a false-alarm rate of {100 / (detector.n_units + 1):.3g} % at best, not "
            "the default of 1 %; give more rows, or false_alarm_rate"
        )
    for text in said:
        warnings.warn(text, PromiseWarning, stacklevel=stacklevel + 1)


def warn_of_draws(said: str) -> None:
    """Warn of what may be wrong with drawn rows; for `Autoencoder.sample`, whose caller is shown.

    Warns:
        PromiseWarning: always.
    """
    warnings.warn(said, PromiseWarning, stacklevel=3)


def groups_to_calibrate(before: Calibrated, values: np.ndarray, groups: Any) -> np.ndarray | None:
    """Keys of the groups that rows [n, C] come in; None where the detector knows no groups and none are given.

    Raises:
        CalibrationError: the detector was calibrated by groups, and none are given.
    """
    if groups is None and before.n_groups is not None:
        if before.fitted.roles.split != CONTENT:
            raise CalibrationError(
                "the rate is that of new groups: give the groups of these rows (np.arange(len(X)) if each is its own)"
            )
        groups = CONTENT
    return split_of(values, groups, None).groups
