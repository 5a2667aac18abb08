"""A false-alarm rate in a trigger's words: the part of the input that may be accepted."""

from __future__ import annotations

import dataclasses
import re

from diabolo.errors import ConfigError

__all__ = ["AcceptRate", "accept_rate"]

#: Events per second by unit; "" is a plain number of rows.
UNITS = {"": 1.0, "hz": 1.0, "khz": 1e3, "mhz": 1e6, "ghz": 1e9, "/s": 1.0}
SAID = {"hz": "Hz", "khz": "kHz", "mhz": "MHz", "ghz": "GHz", "/s": "/s", "": ""}
ALLOWED = 'allowed are "30 kHz of 40 MHz" (Hz, kHz, MHz, GHz, /s), "1 of 1000" and "0.1%"'


@dataclasses.dataclass(frozen=True)
class AcceptRate:
    """A rate as `accept_rate` has read it."""

    rate: float  #: share of normal rows that may be flagged, in (0, 1)
    whole: float  #: the input, in units of `unit`
    unit: str

    def said(self, rate: float) -> str:
        """A share of the input in the unit in which the accepted part was given.

        >>> accept_rate("30 kHz of 40 MHz").said(0.001)
        '40 kHz'
        """
        number = 100 * rate if self.unit == "%" else rate * self.whole
        return f"{number:.3g}{'' if self.unit in ('', '%') else ' '}{self.unit}"


def accept_rate(text: str) -> AcceptRate:
    """Read the part of the input that may be accepted, as a share of normal rows.

    Accepted anomalies come on top of it.

    Args:
        text: two rates ("30 kHz of 40 MHz"), two numbers ("1 of 1000") or a percentage ("0.1%").

    Raises:
        ConfigError: something else, two different kinds of unit, or a share that is not above 0 and below 1.

    >>> accept_rate("30 kHz of 40 MHz").rate
    0.00075
    """
    if not isinstance(text, str):
        raise ConfigError(f"accept rate {text!r}: {ALLOWED}")
    number = r"(\d+(?:\.\d*)?(?:e[+-]?\d+)?|\.\d+)"
    unit = r"\s*([kmg]?hz|/\s*s|)"
    percent = re.fullmatch(rf"{number}\s*%", text.strip(), re.IGNORECASE)
    if percent:
        return AcceptRate(_share(float(percent[1]) / 100, text), 1.0, "%")
    match = re.fullmatch(rf"{number}{unit}\s+of\s+{number}{unit}", text.strip(), re.IGNORECASE)
    if not match:
        raise ConfigError(f"accept rate {text!r}: {ALLOWED}")
    part, whole = float(match[1]), float(match[3])
    part_unit, whole_unit = (re.sub(r"\s", "", u).lower() for u in (match[2], match[4]))
    if (part_unit == "") != (whole_unit == ""):
        raise ConfigError(f"accept rate {text!r}: one of the two has no unit; {ALLOWED}")
    entire = whole * UNITS[whole_unit] / UNITS[part_unit]
    return AcceptRate(_share(part / entire if entire else 0.0, text), entire, SAID[part_unit])


def _share(share: float, text: str) -> float:
    if not 0 < share < 1:
        raise ConfigError(f"accept rate {text!r} is a share of {share:g}; allowed are shares above 0 and below 1")
    return share
