"""Cells of dates and of times of day in words: seconds since 1970, and angles of which a turn is a day."""

from __future__ import annotations

import numpy as np

__all__ = ["DAY", "TURN", "clock", "moment", "radians"]

#: Seconds of a day, and radians of one of them.
DAY = 86_400
TURN = 2 * np.pi / DAY


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
