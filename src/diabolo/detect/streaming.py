"""A detector of a stream: of five rows four are stepped on and stored, one calibrates; the last ones of each stay.

A seeded hash of a row's place in the stream decides. So the rows that calibrate are, as those of a fit, unseen by all
that is learnt, and the promise is that of `diabolo.detect.conformal` for rows exchangeable with them.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from diabolo.config import Config
from diabolo.data.matching import matched
from diabolo.data.roles import bucket_of
from diabolo.data.table import Table
from diabolo.detect.calibrated import Calibrated
from diabolo.detect.calibrating import Choice, calibrated
from diabolo.detect.conformal import Calibration
from diabolo.detect.reference import Stored
from diabolo.device import scoring_device
from diabolo.errors import CalibrationError
from diabolo.fitted.online import begin, learn
from diabolo.fitted.prepare import refuse_infinite
from diabolo.fitted.record import Apart, Fitted, most_kept

__all__ = ["Recent", "stepped"]

#: One row of so many calibrates.
ONE_IN = 5
#: Rows that calibrate: the last ones, so that the rate follows rows that change slowly.
MOST_CALIBRATE = 5_000


@dataclasses.dataclass(frozen=True)
class Recent:
    """The last rows of a stream.

    Attributes:
        fitted: the autoencoder that has stepped on them.
        rows: how many of positive weight have come.
        apart: the last rows stepped on, and the last ones that calibrate.
    """

    fitted: Fitted
    rows: int
    apart: Apart


def stepped(
    fitted: Fitted | None,
    stored: Stored | None,
    recent: Recent | None,
    table: Table,
    weights: np.ndarray | None,
    config: Config,
    choice: Choice,
    who: str,
) -> tuple[Calibrated, Recent]:
    """Step on four fifths of a table's rows, and calibrate on the last rows of the other fifth.

    Args:
        fitted: the autoencoder, of which a copy is stepped on; None at the beginning.
        stored: rows that the detector so far keeps.
        recent: what the last call returned; None at the beginning, after a fit and after a load. The calibration then
            begins anew: scores of rows that came before are those of another model.
        table: rows in any order of the columns.
        weights: [n] from 0 up, or None.
        config: the autoencoder's settings, for the beginning.
        choice: of the detector.
        who: for messages.

    Raises:
        CalibrationError: no row has come to calibrate on, or too few for the rate.
        DataError: as `diabolo.fitted.online`.
    """
    used = np.arange(len(table)) if weights is None else np.flatnonzero(weights > 0)
    table, weights = table.rows(used), None if weights is None else weights[used]
    refuse_infinite(table, np.arange(len(table)))
    rows = 0 if recent is None else recent.rows
    kept_apart = bucket_of(rows, rows + len(table), choice.seed, ONE_IN) == 0
    known = 0 if recent is None else len(recent.apart.calibrate)
    _refuse_few(min(known + int(kept_apart.sum()), MOST_CALIBRATE), len(table), choice.false_alarm_rate)
    train, steps = np.flatnonzero(~kept_apart), None if weights is None else weights[~kept_apart]
    # Calibration may fail after the steps, as where rows cannot be scored: what was handed in stays as it is.
    fitted = begin(table.rows(train), steps, config) if fitted is None else fitted.copied()
    table = matched(table, fitted.model.encoding.schema, who)
    if len(train):
        learn(fitted, table.rows(train), steps, who)
    values = table.values
    old = recent.apart if recent else Apart(stored.values if stored else values[:0], values[:0])
    apart = _window(old, values, weights, kept_apart)
    device = choice.device or scoring_device(fitted.model.config.device)
    found = calibrated(fitted, apart, dataclasses.replace(choice, device=device), 0)
    return found, Recent(fitted, rows + len(table), apart)


def _refuse_few(count: int, rows: int, rate: float | None) -> None:
    """Refuse so few calibration rows before anything is learnt."""
    if not count:
        raise CalibrationError(
            f"none of {rows} rows calibrates, since one in {ONE_IN} does; give more at once, better some thousands"
        )
    if rate is not None:
        Calibration(np.ones(count), np.ones(count)).check_rate(rate)


def _window(apart: Apart, values: np.ndarray, weights: np.ndarray | None, kept_apart: np.ndarray) -> Apart:
    """The last rows of each part, new ones [n, C] among them."""
    most = most_kept(values.shape[1], values.itemsize)
    stored = np.concatenate([apart.stored, values[~kept_apart]])[-most:]
    calibrate = np.concatenate([apart.calibrate, values[kept_apart]])[-MOST_CALIBRATE:]
    old, new = apart.calibrate_weights, None if weights is None else weights[kept_apart]
    if old is None and new is None:
        return Apart(stored, calibrate)
    old = np.ones(len(apart.calibrate)) if old is None else old
    new = np.ones(int(kept_apart.sum())) if new is None else new
    return Apart(stored, calibrate, np.concatenate([old, new])[-MOST_CALIBRATE:])
