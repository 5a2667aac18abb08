"""The words of a false-alarm rate: what is promised, for which rows, and what speaks against it."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from diabolo.cli.console import percent
from diabolo.errors import CalibrationError, ConfigError

if TYPE_CHECKING:
    from diabolo.detect.calibrated import Calibrated

__all__ = ["advising", "columns_of_split", "condition", "promised"]

#: Columns named at most whose new values are no alarm.
MOST_REMARKS = 3
#: The false-alarm rate where none is asked for.
DEFAULT = 0.01


def columns_of_split(group: str | None, time: str | None) -> list[str | None]:
    """The columns that --group and --time name, which are not fitted on.

    Raises:
        ConfigError: both are given.
    """
    if group is not None and time is not None:
        raise ConfigError("--group and --time are two splits; give one of them")
    return [None if group == "content" else group, time]


@contextlib.contextmanager
def advising(verb: str, model: str | Path) -> Iterator[None]:
    """Say behind a rate that needs more calibration rows how to get them, and of how large a table.

    Args:
        verb: that runs.
        model: the file that has the detector, or is to have it.

    Raises:
        CalibrationError: what came, with the advice.
    """
    from diabolo.detect.conformal import counted

    try:
        yield
    except CalibrationError as error:
        if error.needed is None:
            raise
        from diabolo.data.roles import rows_to_calibrate

        needed = f"{counted(error.needed)} or more normal {error.unit}"
        table = rows_to_calibrate(error.needed) if error.unit == "rows" else None
        unseen = f"{needed} that the fit has not seen"
        calibrate = f"diabolo calibrate {shlex.quote(str(model))} MORE, where MORE has {unseen}"
        fit = [] if table is None else [f"a fit to {table:,} rows or more, of which it keeps enough apart"]
        ways = [calibrate, *fit]
        if verb == "calibrate":
            ways = [f"a table of {unseen}", *fit]
        elif verb == "fit":
            ways = [*fit, f"a fit without --false-alarm-rate, and then {calibrate}"]
        raise CalibrationError(f"{error}; to get more: {', or '.join(ways)}") from None


def promised(detector: Calibrated) -> str:
    """The threshold, and the rate that is promised beyond it."""
    c, rate, default = detector.calibration, detector.rate, ""
    if detector.false_alarm_rate is None:
        default = " (the default)" if rate <= DEFAULT else " (the smallest that they promise; 1 % needs 99)"
    return (
        f"{c.counted} calibrated {detector.score_name}: above {detector.threshold:.4f} is an anomaly, at a false-alarm "
        f"rate of {percent(rate)}{default} for rows exchangeable with them"
    )


def condition(detector: Calibrated, split: str) -> list[str]:
    """What the rows of the rate are, by `Split.name`, signs against it, and what is no alarm."""
    kind, _, name = split.partition(" ")
    lines = []
    if kind == "time":
        lines.append(f"  the last rows by {name} calibrated: drift after them is not covered (diabolo health)")
    elif detector.n_groups is not None:
        whose = "rows that equal none of the table" if kind == "content" else f"rows of new groups by {name}"
        lines.append(f"  the rate is that of {whose}; each group has the same weight")
    lines += [f"  {doubt.on_command_line}" for doubt in detector.doubts]
    remarks = detector.remarks
    lines += [f"  {remark}" for remark in remarks[:MOST_REMARKS]]
    if len(remarks) > MOST_REMARKS:
        lines.append(f"  and {len(remarks) - MOST_REMARKS:,} more columns like these")
    return lines
