"""Dates and times of day written in the forms that people use, from text to Arrow and back.

A pattern is one of `strptime` with a few more fields: %q is a quarter. Each field has a fixed place in a regular
expression, so that a day that does not exist (31 February) is refused, where C's `strptime` would give 2 March.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from diabolo.errors import ConfigError

__all__ = ["DATES", "TIMES", "check_pattern", "date_of", "is_clock", "readings", "time_of", "written"]

MONTHS = ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october"]
MONTHS += ["november", "december"]
#: A field of a pattern → regular expression of its text.
FIELDS = {
    "Y": r"(?P<Y>\d{4,6})",
    "y": r"(?P<y>\d{2})",
    "m": r"(?P<m>\d{1,2})",
    "d": r"(?P<d>\d{1,2})",
    "b": r"(?P<b>[A-Za-z]{3})\.?",
    "B": r"(?P<B>[A-Za-z]{3,9})",
    "q": r"(?P<q>[1-4])",
    "H": r"(?P<H>\d{1,2})",
    "I": r"(?P<I>\d{1,2})",
    "M": r"(?P<M>\d{2})",
    "S": r"(?P<S>\d{2})",
    "f": r"(?P<f>\d{1,9})",
    "p": r"(?P<p>[AaPp][.]?[Mm][.]?)",
    "z": r"(?P<z>Z|[+-]\d{2}:?\d{2})",
}
#: Patterns of a time of day, as a cell of their own or behind a date.
TIMES = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p", "%I:%M%p")
TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
DAY = 86_400


def _days() -> Iterator[str]:
    for sep in "/-. ":
        for fields in ("dmY", "mdY", "Ymd", "dmy", "mdy", "ymd", "dbY", "bdY", "Ybd", "dby"):
            yield sep.join(f"%{f}" for f in fields)
    yield from ("%b %d, %Y", "%B %d, %Y", "%B %d %Y", "%d %B %Y", "%d. %B %Y", "%d-%B-%Y", "%d%b%Y", "%Y%m%d")


#: Patterns of a month or a quarter, which have no day.
PERIODS = (
    "%Y-%m",
    "%Y/%m",
    "%m/%Y",
    "%m-%Y",
    "%b-%Y",
    "%b %Y",
    "%B %Y",
    "%B-%Y",
    "%Y-%b",
    "%YQ%q",
    "%Y-Q%q",
    "%Y Q%q",
    "Q%q %Y",
)
DATES = tuple(_days()) + PERIODS


@functools.lru_cache(maxsize=1024)
def _expression(pattern: str) -> str:
    out, at = [], 0
    for match in re.finditer(r"%(.)", pattern):
        out += [re.escape(pattern[at : match.start()]), FIELDS[match[1]]]
        at = match.end()
    # A blank may be any run of blanks; fixed widths tell the fields of a pattern without separators apart.
    text = "".join([*out, re.escape(pattern[at:])]).replace("\\ ", r"\s+")
    if "%Y%m%d" in pattern:
        text = text.replace(r"\d{4,6}", r"\d{4}").replace(r"\d{1,2}", r"\d{2}")
    return f"^{text}$"


def check_pattern(pattern: str) -> None:
    """Refuse what is no pattern of a date.

    Raises:
        ConfigError: an unknown field, or none that says a year.
    """
    fields = re.findall(r"%(.)", pattern)
    unknown = [f for f in fields if f not in FIELDS]
    if unknown or len(set(fields)) < len(fields) or not ({"Y", "y", "H", "I"} & set(fields)):
        said = f"%{unknown[0]} is unknown" if unknown else "it has no year or hour, or a field twice"
        raise ConfigError(f"--date: {pattern!r}: {said}; allowed are the fields %{', %'.join(FIELDS)}, like %d/%m/%Y")


def is_clock(pattern: str) -> bool:
    """Whether a pattern is of a time of day alone."""
    return not ({"Y", "y"} & set(re.findall(r"%(.)", pattern)))


def _fields(cells: Any, pattern: str) -> tuple[dict[str, Any], np.ndarray]:
    """Text of each field, and which cells have the pattern at all."""
    import pyarrow.compute as pc

    found = pc.extract_regex(cells, _expression(pattern))
    good = ~found.is_null().to_numpy(zero_copy_only=False)
    names = re.findall(r"\?P<(\w)>", _expression(pattern))
    return {n: found.field(n) for n in names}, good


def _whole(texts: Any, good: np.ndarray) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    known = pc.if_else(pa.array(good), texts, "0").cast(pa.int64())
    return np.asarray(known.to_numpy(zero_copy_only=False))


def _seconds_of_day(of: dict[str, Any], good: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Seconds since midnight, nanoseconds beyond, and which cells are such a time."""
    import pyarrow.compute as pc

    zero = np.zeros(len(good), np.int64)
    hour = _whole(of["H"], good) if "H" in of else zero
    if "I" in of:
        hour = _whole(of["I"], good)
        good = good & (hour >= 1) & (hour <= 12)
        late = pc.starts_with(pc.utf8_lower(of["p"]), "p").fill_null(False).to_numpy(zero_copy_only=False)
        hour = hour % 12 + 12 * late
    minute = _whole(of["M"], good) if "M" in of else zero
    second = _whole(of["S"], good) if "S" in of else zero
    nanos = _whole(pc.utf8_rpad(of["f"], 9, "0"), good) if "f" in of else zero
    good = good & (hour < 24) & (minute < 60) & (second < 60)
    return 3600 * hour + 60 * minute + second, nanos, good


def _unit(pattern: str) -> str:
    return "us" if "%f" in pattern else "s"


def time_of(cells: Any, pattern: str) -> tuple[Any, np.ndarray]:
    """Text as times of day: Arrow's time32 or time64, and which cells have the pattern (the others are null)."""
    import pyarrow as pa

    of, good = _fields(cells, pattern)
    seconds, nanos, good = _seconds_of_day(of, good)
    if _unit(pattern) == "s":
        return pa.array(seconds.astype(np.int32), mask=~good).cast(pa.time32("s")), good
    return pa.array(seconds * 10**6 + nanos // 1000, mask=~good).cast(pa.time64("us")), good


def date_of(cells: Any, pattern: str) -> tuple[Any, np.ndarray]:
    """Text as dates (date32) or times (timestamp; UTC where the text has a zone), and which cells have the pattern."""
    import pyarrow as pa
    import pyarrow.compute as pc

    of, good = _fields(cells, pattern)
    year = _whole(of["Y"], good) if "Y" in of else _whole(of["y"], good)
    if "Y" not in of:
        year = year + np.where(year < 69, 2000, 1900)  # as POSIX has it
    month = np.ones(len(good), np.int64)
    if "m" in of:
        month = _whole(of["m"], good)
    elif "q" in of:
        month = 3 * _whole(of["q"], good) - 2
    elif "b" in of or "B" in of:
        text = pc.utf8_lower(of.get("b", of.get("B")))
        whole = pa.array(MONTHS)
        place = pc.index_in(text, value_set=whole)
        place = pc.coalesce(place, pc.index_in(text, value_set=pa.array([m[:3] for m in MONTHS])))
        month = place.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64) + 1
    day = _whole(of["d"], good) if "d" in of else np.ones(len(good), np.int64)
    good = good & (month >= 1) & (month <= 12) & (day >= 1) & (year < 200_000)
    months = np.where(good, (year - 1970) * 12 + month - 1, 0)
    first = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    after = (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    good = good & (day <= after - first)
    days = first + np.where(good, day, 1) - 1
    if not ({"H", "I"} & set(of)):
        return pa.array(days.astype(np.int32), mask=~good).cast(pa.date32()), good
    seconds, nanos, good = _seconds_of_day(of, good)
    total = days * DAY + seconds
    zone = None
    if "z" in of:
        zone, plain = "UTC", pc.replace_substring(of["z"], ":", "")
        plain = pc.if_else(pc.equal(plain, "Z"), "+0000", plain).fill_null("+0000")
        sign = np.where(pc.starts_with(plain, "-").to_numpy(zero_copy_only=False), -1, 1)
        hours = pc.utf8_slice_codeunits(plain, 1, 3).cast(pa.int64()).to_numpy(zero_copy_only=False)
        minutes = pc.utf8_slice_codeunits(plain, 3, 5).cast(pa.int64()).to_numpy(zero_copy_only=False)
        total = total - sign * (3600 * hours + 60 * minutes)
    unit = _unit(pattern)
    ticks = total * TICKS[unit] + nanos * TICKS[unit] // TICKS["ns"]
    return pa.array(ticks, mask=~good).cast(pa.timestamp(unit, tz=zone)), good


def readings(words: Sequence[str]) -> list[str]:
    """All patterns of dates that fit every one of some different words."""
    import pyarrow as pa

    if not words or not all(len(w) <= 40 and any(c.isdigit() for c in w) for w in words):
        return []
    return [p for p in _able(words) if date_of(pa.array(list(words)), p)[1].all()]


def _able(words: Sequence[str]) -> list[str]:
    """Patterns that fit the first few words: the cheap test before the exact one."""
    some, found = words[:: max(1, len(words) // 20)], []
    clock = any(":" in w for w in some)
    for day, time in itertools.product(DATES, _clocks() if clock else ("",)):
        pattern = day + time
        expression = re.compile(_expression(pattern))
        if all(expression.match(w) for w in some):
            found.append(pattern)
    return found


def _clocks() -> Iterator[str]:
    for lead, time in itertools.product((" ", "T", ", "), TIMES):
        yield lead + time
    for lead, time, zone in itertools.product((" ", "T"), ("%H:%M:%S", "%H:%M:%S.%f", "%H:%M"), ("%z", " %z")):
        yield lead + time + zone


def written(cells: Any, pattern: str) -> list[str | None]:
    """Dates or times of day as the text that `pattern` reads back, in any year that 64 bits hold."""
    import pyarrow as pa

    if pa.types.is_time(cells.type):
        cells = cells.cast(pa.time64("ns")).cast(pa.int64()).cast(pa.timestamp("ns"))
    elif pa.types.is_timestamp(cells.type):
        cells = cells.cast(pa.timestamp(cells.type.unit))
    stamps = cells.to_numpy(zero_copy_only=False)
    days, months, years = (stamps.astype(f"datetime64[{unit}]") for unit in "DMY")
    rest = (stamps - days).astype("timedelta64[ns]").astype(np.int64)
    seconds, nanos = rest // 10**9, rest % 10**9
    month = (months - years).astype(np.int64) + 1
    hour = seconds // 3600
    of = {
        "Y": years.astype(np.int64) + 1970,
        "m": month,
        "q": (month + 2) // 3,
        "d": (days - months).astype(np.int64) + 1,
        "H": hour,
        "I": (hour + 11) % 12 + 1,
        "M": seconds // 60 % 60,
        "S": seconds % 60,
        "f": nanos // 1000,
        "p": hour,
    }
    of["b"] = of["B"] = month
    of["y"] = of["Y"] % 100
    fields = re.findall(r"%(.)", pattern)
    template = re.sub(r"%(.)", "{}", pattern.replace("{", "{{").replace("}", "}}"))
    gone = np.isnat(stamps)
    return [
        None if gone[i] else template.format(*(_field(f, 0 if f == "z" else int(of[f][i])) for f in fields))
        for i in range(len(stamps))
    ]


def _field(field: str, value: int) -> str:
    if field in "bB":
        name = MONTHS[value - 1].capitalize()
        return name if field == "B" else name[:3]
    if field == "p":
        return "AM" if value < 12 else "PM"
    if field == "z":
        return "+00:00"
    return f"{value:0{ {'Y': 4, 'f': 6, 'q': 1}.get(field, 2) }d}"
