"""One column's text as numbers, truth values, dates, times and durations, and back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from diabolo.data.dialect.dates import date_of, time_of, written
from diabolo.data.dialect.record import Form
from diabolo.errors import DataError

__all__ = [
    "DURATIONS",
    "BadCell",
    "check_cell",
    "number_expression",
    "read_form",
    "said",
    "shown",
    "type_of",
    "write_form",
]

#: Regular expressions of durations, each with the seconds that a unit of its groups stands for.
DURATIONS = (
    r"^(?P<minus>-)?(?:(?P<d>\d+) days?,?\s*)?(?P<h>\d+):(?P<m>[0-5]\d)(?::(?P<s>[0-5]\d(?:\.\d+)?))?$",
    r"^(?P<minus>-)?(?P<d>\d+) days?(?P<h>)(?P<m>)(?P<s>)$",
    r"^(?P<minus>-)?P(?:(?P<d>\d+)D)?(?:T(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?$",
)
SECONDS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
#: Whole numbers from here on may have no double of their own.
EXACT = 2.0**53


class BadCell(Exception):
    """A cell that has not its column's form: its place in the batch and its text."""

    def __init__(self, place: int, text: str) -> None:
        super().__init__(text)
        self.place, self.text = place, text


def number_expression(decimal: str, thousands: str, sign: str = "") -> str:
    """Regular expression of a number in such a form; brackets around it mean that it is negative."""
    d, t = re.escape(decimal), re.escape(thousands)
    whole = rf"(?:[1-9]\d{{0,2}}(?:{_blanks(t)}\d{{3}})+|\d+)" if thousands else r"\d+"
    digits = rf"(?:{whole}(?:{d}\d*)?|{d}\d+)(?:[eE][-+]?\d+)?"
    if not sign:
        return rf"^(?:[-+]?{digits}|\({digits}\))$"
    mark = re.escape(sign)
    return rf"^(?:[-+]?{mark}?\s?[-+]?{digits}\s?{mark}?|\({mark}?\s?{digits}\s?{mark}?\))$"


def _blanks(mark: str) -> str:
    return "[ \u00a0\u202f\u2009]" if mark in (r"\ ", " ") else mark


def type_of(form: Form) -> Any:
    """The Arrow type that a form is read as."""
    import pyarrow as pa

    if form.kind == "text":
        return pa.string()
    if form.kind == "boolean":
        return pa.bool_()
    if form.kind == "epoch":
        return pa.timestamp(form.pattern)
    if form.kind in ("date", "time"):
        read = date_of if form.kind == "date" else time_of
        return read(pa.array([], pa.string()), form.pattern)[0].type
    return pa.float64()


def read_form(cells: Any, form: Form, marks: Sequence[str]) -> Any:
    """Text as what its form says; marks for missing cells, with blanks around them, are null.

    Raises:
        BadCell: the first cell that has another form.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if form.kind == "text":
        return _without(cells, marks)
    cells = _without(pc.utf8_trim_whitespace(cells), marks)
    there = cells.is_valid().to_numpy(zero_copy_only=False)
    if form.kind == "number":
        return _numbers(cells, form, there)
    if form.kind == "boolean":
        lower, (yes, no) = pc.utf8_lower(cells), form.pattern.lower().split("/")
        true, false = pc.equal(lower, yes), pc.equal(lower, no)
        _check(cells, there, pc.or_(true, false).fill_null(False).to_numpy(zero_copy_only=False))
        return true
    if form.kind == "epoch":
        return _epoch(cells, form.pattern, there)
    if form.kind == "duration":
        return _durations(cells, int(form.pattern), there)
    read = date_of if form.kind == "date" else time_of
    values, good = read(cells, form.pattern)
    _check(cells, there, good)
    return values if isinstance(values, pa.Array) else values.combine_chunks()


def _check(cells: Any, there: np.ndarray, good: np.ndarray) -> None:
    wrong = np.flatnonzero(there & ~good)
    if len(wrong):
        raise BadCell(int(wrong[0]), str(cells[int(wrong[0])]))


def _without(cells: Any, marks: Sequence[str]) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    gone = pc.is_in(cells, value_set=pa.array(list(marks), pa.string()))
    return pc.if_else(gone, pa.scalar(None, pa.string()), cells)


def _numbers(cells: Any, form: Form, there: np.ndarray) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    fits = pc.match_substring_regex(cells, number_expression(form.decimal, form.thousands, form.pattern))
    _check(cells, there, fits.fill_null(False).to_numpy(zero_copy_only=False))
    if form.pattern:
        cells = pc.replace_substring_regex(cells, rf"\s?{re.escape(form.pattern)}\s?", "")
    cells = pc.replace_substring_regex(cells, r"^\((.*)\)$", r"-\1")
    if form.thousands:
        cells = pc.replace_substring_regex(cells, _blanks(re.escape(form.thousands)), "")
    if form.decimal != ".":
        cells = pc.replace_substring(cells, form.decimal, ".")
    cells = pc.replace_substring_regex(cells, r"^\+", "")
    values = cells.cast(pa.float64())
    large = np.abs(values.fill_null(0).to_numpy(zero_copy_only=False)) >= EXACT
    if large.any():
        whole = pc.match_substring_regex(cells, r"^-?\d+$").fill_null(False).to_numpy(zero_copy_only=False)
        _check(cells, there, ~(large & whole))
    return values


def _epoch(cells: Any, unit: str, there: np.ndarray) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    fits = pc.match_substring_regex(cells, r"^-?\d{1,18}(\.0*)?$").fill_null(False).to_numpy(zero_copy_only=False)
    _check(cells, there, fits)
    return pc.replace_substring_regex(cells, r"\.0*$", "").cast(pa.int64()).cast(pa.timestamp(unit))


def _durations(cells: Any, which: int, there: np.ndarray) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.extract_regex(cells, DURATIONS[which])
    _check(cells, there, found.is_valid().to_numpy(zero_copy_only=False))
    total = np.zeros(len(cells))
    for name, seconds in SECONDS.items():
        part = found.field(name).fill_null("")
        number = pc.if_else(pc.equal(part, ""), "0", part).cast(pa.float64())
        total += seconds * number.to_numpy(zero_copy_only=False)
    minus = pc.equal(found.field("minus"), "-").fill_null(False).to_numpy(zero_copy_only=False)
    return pa.array(np.where(minus, -total, total), mask=~there)


def write_form(cells: Any, form: Form) -> Any:
    """Dates, times of day and truth values as text in the form that they had; other cells as they are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if form.kind == "boolean" and pa.types.is_boolean(cells.type):
        yes, no = form.pattern.split("/")
        return pc.if_else(cells, yes, no)
    dated = pa.types.is_date(cells.type) or pa.types.is_timestamp(cells.type)
    if (form.kind == "date" and dated) or (form.kind == "time" and pa.types.is_time(cells.type)):
        return pa.array(written(cells, form.pattern), pa.string())
    return cells


def said(form: Form) -> str:
    """A form in words."""
    if form.kind == "number":
        parts = [f"decimal {form.decimal!r}"] if form.decimal != "." else []
        parts += [f"thousands {form.thousands!r}"] if form.thousands else []
        parts += [f"{form.pattern!r} left off"] if form.pattern else []
        return f"numbers with {', '.join(parts)}" if parts else "numbers"
    words = {
        "text": "labels, as they stand",
        "boolean": f"truth values {form.pattern}",
        "date": f"dates {form.pattern}",
        "time": f"times of day {form.pattern}",
        "duration": "durations, in seconds",
        "epoch": f"times since 1970 in {form.pattern}",
    }
    return words[form.kind]


def check_cell(error: BadCell, form: Form, name: str, row: int) -> DataError:
    """The one line for a cell that has not the form that its column had until there."""
    if form.kind == "number" and re.fullmatch(r"-?\d{16,4000}", error.text) and abs(int(error.text)) >= EXACT:
        what = "is not below 2⁵³: doubles hold every whole number exactly only up to there"
    else:
        what = f"is not one of {said(form)}, as those before are"
    return DataError(f"row {row}, column {name!r}: {error.text[:40]!r} {what}")


def shown(word: str, form: Form) -> str:
    """A word as a form reads it.

    >>> shown("1,234", Form("number", "", ",")), shown("1/5/2019", Form("date", "%d/%m/%Y"))
    ('1.234', '1 May 2019')
    """
    import pyarrow as pa

    value = read_form(pa.array([word]), form, ())[0].as_py()
    return f"{value:.6g}" if isinstance(value, float) else f"{value:%-d %B %Y}" if value is not None else word
