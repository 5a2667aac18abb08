"""How the text of a table is read: what a person asked for, and what was found and is kept with a model."""

from __future__ import annotations

import dataclasses
from typing import Literal

from diabolo.data.dialect.dates import check_pattern, is_clock
from diabolo.errors import ConfigError

__all__ = ["MARKS", "Asked", "Dialect", "Form", "FormKind", "Reading"]

FormKind = Literal["text", "number", "boolean", "date", "time", "duration", "epoch"]

#: Words that stand for a missing cell in every column, beside the empty one.
MARKS = ("NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "NaN", "nan", "-NaN", "-nan", "NULL", "null")
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "pipe": "|", "space": " ", "blank": " "}
EPOCHS = {"epoch": "s", "epoch_s": "s", "epoch_ms": "ms", "epoch_us": "us", "epoch_ns": "ns"}


@dataclasses.dataclass(frozen=True)
class Form:
    """How the cells of one column are written.

    Attributes:
        kind: number, boolean, date, time of day, duration, seconds since 1970, or text as it stands.
        pattern: of a date or time, as of strptime; of a boolean, its two words as "yes/no"; of a number, the sign that
            stands before or behind it; of an epoch, its unit.
        decimal: mark before the decimals of a number.
        thousands: mark between its groups of three digits.
    """

    kind: FormKind
    pattern: str = ""
    decimal: str = "."
    thousands: str = ""

    def check(self, name: str) -> None:
        """Refuse a form that no text could have.

        Raises:
            ConfigError: names the column.
        """
        sound = len(self.decimal) == 1 and len(self.thousands) <= 1 and self.decimal != self.thousands
        if self.kind in ("date", "time"):
            check_pattern(self.pattern)
            sound &= is_clock(self.pattern) == (self.kind == "time")
        elif self.kind == "boolean":
            sound &= self.pattern.count("/") == 1
        elif self.kind == "epoch":
            sound &= self.pattern in EPOCHS.values()
        elif self.kind == "duration":
            sound &= self.pattern in ("0", "1", "2")
        if not sound:
            raise ConfigError(f"the dialect of column {name!r} is none: {self}")


@dataclasses.dataclass(frozen=True)
class Dialect:
    """How a table is written as text: found in a sample of a file, or kept with a model.

    Attributes:
        separator: between cells; a blank stands for a run of them where `blanks`.
        quote: around a cell that holds a separator.
        encoding: of its characters.
        header: whether a line holds the names.
        skip: lines before the first row, the header among them.
        names: of all columns in the file's order.
        comment: beginning of a line that is no row.
        missing: further words for a missing cell.
        own: words for a missing cell in one column, instead of all others but the empty one.
        forms: of columns whose cells are no plain numbers.
        left: columns that are left out, with why.
    """

    separator: str = ","
    quote: str = '"'
    encoding: str = "utf-8"
    header: bool = True
    skip: int = 1
    names: tuple[str, ...] = ()
    blanks: bool = False
    newlines: bool = False
    comment: str = ""
    missing: tuple[str, ...] = ()
    own: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    forms: dict[str, Form] = dataclasses.field(default_factory=dict)
    left: dict[str, str] = dataclasses.field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.separator, self.encoding, self.skip, self.names))

    @property
    def marks(self) -> tuple[str, ...]:
        """All words for a missing cell."""
        return ("", *MARKS, *self.missing)

    def marks_of(self, column: str) -> tuple[str, ...]:
        return ("", *self.own[column]) if column in self.own else self.marks

    def check(self) -> None:
        """Refuse what no sample gives: a model file is not to be trusted.

        Raises:
            ConfigError: names the entry.
        """
        Asked(separator=self.separator, encoding=self.encoding)
        if len(self.quote) != 1 or self.quote == self.separator or self.skip < 0:
            raise ConfigError(f"the dialect has the quote {self.quote!r} and skips {self.skip} lines")
        for name, form in self.forms.items():
            form.check(name)


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a person says of a text table; None or empty leaves it to the sample.

    Attributes:
        separator: one character, or a word like "tab".
        decimal: "." or ",".
        encoding: a name that Python knows.
        header: "none" or "first".
        missing: words for a missing cell, as MARK for all columns or COLUMN=MARK for one.
        dates: COLUMN=FORMAT, where a format is of strptime, or epoch, epoch_ms, or none for no date.
    """

    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    header: str | None = None
    missing: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.separator is not None:
            object.__setattr__(self, "separator", SEPARATORS.get(self.separator, self.separator))
            if len(str(self.separator)) != 1 or self.separator in '"\n\r':
                raise ConfigError(
                    f"--separator {self.separator!r}: allowed is one character, or {', '.join(list(SEPARATORS)[:3])}, "
                    "tab, pipe or space"
                )
        if self.decimal not in (None, ".", ","):
            raise ConfigError(f"--decimal {self.decimal}: allowed are '.' and ','")
        if self.header not in (None, "none", "first"):
            raise ConfigError(f"--header {self.header}: allowed are none (every line is a row) and first (names)")
        if self.encoding is not None:
            try:
                "a".encode(self.encoding)
            except (LookupError, UnicodeError):
                raise ConfigError(
                    f"--encoding {self.encoding}: unknown; allowed are names like utf-8, latin-1, cp1252, utf-16"
                ) from None
        for said in self.dates:
            name, equals, pattern = said.partition("=") if "=%" not in said else _split(said)
            if not (name and equals and pattern):
                raise ConfigError(f"--date {said}: expected COLUMN=FORMAT, like day=%d/%m/%Y, or COLUMN=none")
            if pattern not in (*EPOCHS, "none"):
                check_pattern(pattern)

    @property
    def given(self) -> bool:
        return self != Asked()

    def date_forms(self) -> dict[str, Form]:
        """What is said of columns of dates."""
        forms = {}
        for said in self.dates:
            name, _, pattern = said.partition("=") if "=%" not in said else _split(said)
            if pattern == "none":
                forms[name] = Form("text")
            elif pattern in EPOCHS:
                forms[name] = Form("epoch", EPOCHS[pattern])
            else:
                forms[name] = Form("time" if is_clock(pattern) else "date", pattern)
        return forms

    def missing_marks(self, names: tuple[str, ...]) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
        """Words for all columns, and those for one column each."""
        everywhere: list[str] = []
        own: dict[str, tuple[str, ...]] = {}
        for said in self.missing:
            name, equals, mark = said.rpartition("=")
            if equals and name in names:
                own[name] = (*own.get(name, ()), *(_spelled(mark) if mark else []))
            else:
                everywhere += _spelled(said)
        return tuple(everywhere), own


def _spelled(mark: str) -> list[str]:
    """Every way in which infinity is written, where one is a mark; any other mark as it is."""
    sign = mark[0] if mark[:1] in ("+", "-") else ""
    word = mark.removeprefix(sign).lower()
    if word not in ("inf", "infinity"):
        return [mark]
    signs = ["-"] if sign == "-" else ["", "+"]
    return [f"{s}{w}" for s in signs for w in ("inf", "Inf", "INF", "infinity", "Infinity", "INFINITY")]


def _split(said: str) -> tuple[str, str, str]:
    name, _, rest = said.partition("=%")
    return name, "=", f"%{rest}"


@dataclasses.dataclass(frozen=True)
class Reading:
    """What is known of a table's text before it is looked at."""

    asked: Asked = Asked()
    kept: Dialect | None = None
