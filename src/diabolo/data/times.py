"""Cells of dates and of times of day: seconds since 1970 and angles, in words, by the clock of a zone, in steps."""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import numpy as np

__all__ = ["DAY", "STEPS", "TURN", "absolute", "clock", "local", "moment", "on_steps", "radians", "step_of", "zone_of"]

#: Seconds of a day, and radians of one of them.
DAY = 86_400
TURN = 2 * np.pi / DAY
#: Steps that dates come in, in seconds, by their names.
STEPS = {DAY: "day", 3600: "hour", 60: "minute", 1: "second", 1e-3: "ms", 1e-6: "us"}
#: Offsets from UTC change at quarters of an hour at most.
QUARTER = 900
#: Years that Python's calendar has offsets for.
FIRST, LAST = -62_000_000_000, 253_000_000_000


def moment(seconds: float) -> str:
    """A date's number of seconds in words, in any year that 64 bits hold.

    >>> moment(0.0), moment(253433923200.5), moment(-1e11)
    ('1970-01-01', '10001-01-01 00:00:00', '-1199-02-15 14:13:20')
    """
    limit = float(1 << 62)
    seconds = float(np.clip(seconds, -limit, limit))
    text = str(np.datetime64(int(np.floor(seconds)), "s")).replace("T", " ")
    return text.removesuffix(" 00:00:00") if seconds == int(seconds) else text


def clock(angle: float) -> str:
    """An angle's time of day.

    >>> clock(np.pi), clock(2 * np.pi)
    ('12:00:00', '24:00:00')
    """
    seconds = round(angle / TURN)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def radians(text: str) -> float | None:
    """The angle of a time of day like 13:08 or 13:08:30; None for another text.

    >>> radians("12:00") == np.pi, radians("noon")
    (True, None)
    """
    try:
        parts = [float(w) for w in text.split(":")]
    except ValueError:
        return None
    if not 2 <= len(parts) <= 3 or not (0 <= parts[0] < 24 and all(0 <= p < 60 for p in parts[1:])):
        return None
    return TURN * sum(p * s for p, s in zip(parts, (3600, 60, 1), strict=False))


def zone_of(dtype: str) -> str:
    """The zone of a type of dates; empty for one without.

    >>> zone_of("datetime64[us] Europe/Berlin"), zone_of("datetime64[us]")
    ('Europe/Berlin', '')
    """
    return dtype.partition(" ")[2]


def local(seconds: np.ndarray, zone: str) -> np.ndarray:
    """What the clock of a zone shows, as seconds of a clock in UTC, [n]; NaN stays."""
    return np.asarray(seconds + _offsets(seconds, zone, shown=False))


def absolute(shown: np.ndarray, zone: str) -> np.ndarray:
    """Seconds since 1970 of what the clock of a zone shows, [n]; of an hour that comes twice, the first one."""
    return np.asarray(shown - _offsets(shown, zone, shown=True))


def _offsets(seconds: np.ndarray, zone: str, shown: bool) -> np.ndarray:
    known = _zone(zone)
    if known is UTC:
        return np.zeros(len(seconds))
    quarter = np.floor(np.clip(np.nan_to_num(seconds), FIRST, LAST) / QUARTER).astype(np.int64)
    different, at = np.unique(quarter, return_inverse=True)
    start = datetime(1970, 1, 1, tzinfo=None if shown else UTC)
    out = np.empty(len(different))
    for i, q in enumerate(different.tolist()):
        moment = start + timedelta(seconds=q * QUARTER)
        offset = (moment.replace(tzinfo=known) if shown else moment.astimezone(known)).utcoffset()
        out[i] = 0.0 if offset is None else offset.total_seconds()
    return np.asarray(out[at])


@functools.cache
def _zone(name: str) -> tzinfo:
    """A zone by its name or its offset, like +02:00; UTC for one that this machine does not know."""
    if name in ("", "UTC"):
        return UTC
    if name[0] in "+-":
        hours, _, minutes = name[1:].partition(":")
        try:
            return timezone((-1 if name[0] == "-" else 1) * timedelta(hours=int(hours), minutes=int(minutes or 0)))
        except ValueError:
            return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return UTC


def step_of(seconds: np.ndarray, zone: str) -> float:
    """The largest step that all dates lie on by the clock of their zone, in seconds; 0 for finer ones than 1 µs.

    >>> step_of(np.array([0.0, 86400.0, 3 * 86400.0]), ""), step_of(np.array([0.5, 60.0]), "")
    (86400, 0.001)
    """
    different = np.unique(seconds)
    shown = local(different[:: max(1, len(different) // 2_000)], zone)
    if len(shown) < 2:
        return 0.0
    # A double near 2e9 is known to 2.4e-7 only.
    slack = np.spacing(np.abs(shown))
    for step in STEPS:
        if np.all(np.abs(shown - np.round(shown / step) * step) <= np.minimum(slack, step / 3)):
            return step
    return 0.0


def on_steps(seconds: np.ndarray, step: float, zone: str) -> np.ndarray:
    """The nearest dates on a step, [n].

    >>> on_steps(np.array([86400.4, 12.6]), 1.0, "").tolist()
    [86400.0, 13.0]
    """
    if step < 1:
        whole = np.floor(seconds)
        return np.asarray(whole + np.round((seconds - whole) * np.round(1 / step)) / np.round(1 / step))
    return absolute(np.round(local(seconds, zone) / step) * step, zone)
