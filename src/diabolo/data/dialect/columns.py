"""From the first block of a text table: the form of each column, marks for missing cells, an index, and questions."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diabolo.data.dialect.block import Block, holds, is_plain
from diabolo.data.dialect.dates import date_of
from diabolo.data.dialect.forms import shown, type_of
from diabolo.data.dialect.guess import country_codes, decimals_of, guess, is_grouped
from diabolo.data.dialect.record import Dialect, Form, Reading
from diabolo.data.dialect.saying import column_notes
from diabolo.errors import DataError

__all__ = ["FORM", "Findings", "look_at"]

#: Key of a field's metadata: the form of its text, as JSON, so that it can be written as it came.
FORM = b"diabolo.form"
#: Whole numbers from here on may have no double of their own.
EXACT = 2**53
#: Years that whole numbers like 20240131 are dates of.
FIRST, LAST = 18000101, 21991231


@dataclasses.dataclass
class Findings:
    """What the columns of a sample say."""

    dialect: Dialect
    schema: Any
    notes: list[str]
    questions: dict[str, str]


def look_at(path: Path, dialect: Dialect, heads: Sequence[str], reading: Reading, where: object) -> Findings:
    """Find the forms of all columns.

    Args:
        path: the file.
        dialect: its layout, with a name for each column.
        heads: the names as the file has them, empty where it has none.
        reading: what is asked, and what a model keeps.
        where: for messages.

    Raises:
        DataError: a column whose bytes are in another encoding.
    """
    look = _Look(path, dialect, reading)
    for name in look.names:
        if str(look.types[name]) == "binary":
            raise DataError(
                f"{where}: column {name!r} holds bytes that are not UTF-8: --encoding says what they are, like "
                "--encoding cp1252"
            )
    for i, name in enumerate(look.names):
        look.leave_out(name, i, heads[i] if i < len(heads) else "")
    look.find_marks()
    for name in look.names:
        if name not in look.left:
            look.find_form(name)
    look.settle()
    return look.findings()


class _Look:
    """The first block, as Arrow infers it and as text."""

    def __init__(self, path: Path, dialect: Dialect, reading: Reading) -> None:
        self.path, self.dialect, self.reading = path, dialect, reading
        self.names = list(dialect.names)
        self.block = Block(path, dialect)
        self.types = self.block.types
        self.asked = reading.asked.date_forms()
        self.kept = {} if reading.kept is None else reading.kept.forms
        self.forms: dict[str, Form] = {}
        self.marks: dict[str, list[str]] = {}
        self.open: dict[str, tuple[Form, ...]] = {}
        self.left: dict[str, str] = {}
        self.own = dict(dialect.own)
        self.questions: dict[str, str] = {}
        self.texts, self.whole = self.block.texts, self.block.whole

    def leave_out(self, name: str, place: int, head: str) -> None:
        """An unnamed column that counts the rows or is empty is no column."""
        import pyarrow as pa

        kind = self.types[name]
        nameless = self.dialect.header and (not head or re.fullmatch(r"Unnamed: \d+", head))
        if not nameless:
            return
        if self.reading.kept is not None and name in self.reading.kept.left:
            self.left[name] = self.reading.kept.left[name]
        elif pa.types.is_null(kind):
            self.left[name] = "has neither a name nor cells"
        elif place == 0 and pa.types.is_integer(kind) and len(self.names) > 1:
            cells = self.texts[name].cast(pa.int64()).to_numpy(zero_copy_only=False)
            if len(cells) and cells[0] in (0, 1) and np.array_equal(cells, np.arange(len(cells)) + cells[0]):
                self.left[name] = f"has {'no name' if not head else f'the name {head!r}'} and counts the rows"

    def find_marks(self) -> None:
        """Whether NA is a country where a column holds codes of two letters."""
        if "NA" in self.reading.asked.missing:
            return
        for name, text in self.texts.items():
            if name in self.own or name in self.left or str(self.types[name]) != "string":
                continue
            words = set(text.unique().to_pylist())
            if "NA" not in words:
                continue
            verdict = country_codes(w for w in words if w not in self.dialect.marks)
            if verdict == "missing":
                continue
            numbers = any(holds(t, "NA") for n, t in self.texts.items() if str(self.types[n]) != "string")
            if (verdict == "level" or "" in words) and not numbers and not self._other_na():
                self.own[name] = ()
            else:
                quoted = [shlex.quote(f"{name}={word}") for word in ("NA", "")]
                self.questions[name] = (
                    f"'NA' may be a label or a missing cell: --missing {quoted[0]} says it is missing, "
                    f"--missing {quoted[1]} a label"
                )

    def _other_na(self) -> bool:
        """Whether columns of numbers write a missing cell NA."""
        columns = [n for n in self.names if is_plain(self.types[n])]
        return any(holds(text, "NA") for text in self.block.text(columns)[0].values())

    def find_form(self, name: str) -> None:
        import pyarrow as pa

        kind = self.types[name]
        number = pa.types.is_integer(kind)
        if name in self.asked:
            form = self.asked[name]
            if form.kind != "text" or str(kind) == "string":
                self.forms[name] = form
        elif name in self.kept:
            self.forms[name] = self.kept[name]
        elif number and name in self.texts:
            self._whole_numbers(name)
        elif name in self.texts and (str(kind) == "string" or pa.types.is_time(kind)):
            found = guess(self.block.words(name))
            if found.marks:
                self.marks[name] = list(found.marks)
            if len(found.forms) == 1:
                self.forms[name] = found.forms[0]
            elif found.forms:
                self.open[name] = found.forms
            else:  # numbers with blanks around them or marks among them
                self.forms[name] = Form("number" if self.block.words(name) else "text")

    def _whole_numbers(self, name: str) -> None:
        """Labels of digits with zeros before them, and dates like 20240131, are no numbers."""
        import pyarrow as pa
        import pyarrow.compute as pc

        text = pc.utf8_trim_whitespace(self.texts[name])
        there = text.filter(pc.invert(pc.is_in(text, value_set=pa.array(list(self.dialect.marks_of(name))))))
        if pc.any(pc.match_substring_regex(there, r"^0\d+$")).as_py():
            if pc.all(pc.match_substring_regex(there, r"^\d+$")).as_py():
                self.forms[name] = Form("text")
            return
        low, high = (v.as_py() for v in pc.min_max(there.cast(pa.int64())).values()) if len(there) else (0, 0)
        if low is not None and low >= FIRST and high <= LAST:
            different = pc.unique(there)
            if len(different) >= 3 and date_of(different, "%Y%m%d")[1].all():
                self.forms[name] = Form("date", "%Y%m%d")

    def settle(self) -> None:
        """Choose among several readings by the file's other columns, or ask."""
        self._settle_doubles()
        decimal = self.reading.asked.decimal
        marks = {decimal} if decimal else self._decimals()
        orders = {order_of(f.pattern) for f in self.forms.values() if f.kind == "date"} - {""}
        for name, forms in self.open.items():
            if forms[0].kind == "number":
                able = [f for f in forms if {f.decimal} == marks]
                words = self.block.words(name)
                example = next((w for w in words if "," in w or "." in w), words[0])
                remedy = "--decimal . or --decimal , says which mark comes before the decimals"
                readings = " or ".join(dict.fromkeys(shown(example, f) for f in forms))
            else:
                able = [f for f in forms if {order_of(f.pattern)} == orders]
                example = self._telling(name, forms)
                given = [shlex.quote(f"{name}={f.pattern}") for f in forms]
                none = shlex.quote(f"{name}=none")
                remedy = f"--date {' or --date '.join(given)} says it, --date {none} that it is no date"
                readings = " or ".join(dict.fromkeys(shown(example, f) for f in forms))
            if len(able) == 1:
                self.forms[name] = able[0]
            else:
                self.questions[name] = f"{example!r} may be {readings}: {remedy}"

    def _telling(self, name: str, forms: Sequence[Form]) -> str:
        words = self.block.words(name)
        return next((w for w in words if len({shown(w, f) for f in forms}) == len(forms)), words[0])

    def _decimals(self) -> set[str]:
        """Decimal marks that the file's other columns leave no doubt of."""
        found = {f.decimal for n, f in self.forms.items() if f.kind == "number" and decimals_of(self.block.words(n))}
        if self.open:
            found |= self._marks_of_doubles()
        return found

    def _doubles(self) -> dict[str, Any]:
        import pyarrow as pa

        return self.block.text([n for n in self.names if pa.types.is_floating(self.types[n]) and n not in self.left])[0]

    def _marks_of_doubles(self) -> set[str]:
        return decimals_of(w for text in self._doubles().values() for w in text.slice(0, 2_000).to_pylist())

    def _settle_doubles(self) -> None:
        """Where a comma comes before decimals, 1.234 may be a thousand and more."""
        comma = any(f.decimal == "," for f in self.forms.values() if f.kind == "number")
        asked = self.reading.asked.decimal
        if asked == "." or not (comma or asked == "," or self.dialect.separator == ";"):
            return
        for name, text in self._doubles().items():
            if name in self.forms:
                continue
            words = [w for w in text.unique().to_pylist() if w not in self.dialect.marks_of(name)]
            if words and all(is_grouped(w, ".") for w in words):
                self.texts[name] = text
                self.open[name] = (Form("number", "", ".", ""), Form("number", "", ",", "."))

    def findings(self) -> Findings:
        """Dialect, schema, notes and questions."""
        import pyarrow as pa

        marks = self._common_marks()
        fields = []
        for name in self.names:
            if name in self.left:
                continue
            form = self.forms.get(name)
            kind, metadata = self._type(name), None
            if form is not None:
                kind = type_of(form)
                if form.kind in ("date", "time", "boolean"):
                    metadata = {FORM: json.dumps(dataclasses.asdict(form)).encode()}
            fields.append(pa.field(name, kind, metadata=metadata))
        dialect = dataclasses.replace(
            self.dialect, missing=marks, own=self.own, forms=dict(self.forms), left=dict(self.left)
        )
        return Findings(dialect, pa.schema(fields), column_notes(dialect, self.types, self.marks), dict(self.questions))

    def _type(self, name: str) -> Any:
        """Whole numbers keep their type where all are seen or none has a double; else a later one may be 1.5."""
        import pyarrow as pa

        kind = self.types[name]
        if name in self.questions or name in self.open:
            return self.types[name] if name not in self.open else pa.string()
        if pa.types.is_null(kind):
            return pa.float64()
        if pa.types.is_integer(kind) and not self.whole:
            cells = self.texts[name]
            numbers = cells.filter(_regular(cells)).cast(pa.int64())
            large = np.abs(numbers.to_numpy(zero_copy_only=False).astype(np.float64)).max(initial=0) >= EXACT
            return pa.int64() if large else pa.float64()
        return kind

    def _common_marks(self) -> tuple[str, ...]:
        """Marks among numbers are marks everywhere but in a column of signs."""
        found = dict.fromkeys([*self.dialect.missing, *(m for marks in self.marks.values() for m in marks)])
        for name, form in self.forms.items():
            if form.kind == "text" and name in self.texts and name not in self.own:
                words = self.block.words(name)
                if (
                    found
                    and words
                    and any(w in found for w in words)
                    and not any(c.isalnum() for w in words for c in w)
                ):
                    self.own[name] = ()
        return tuple(found)


def _regular(cells: Any) -> Any:
    import pyarrow.compute as pc

    return pc.match_substring_regex(cells, r"^\s*[-+]?\d+\s*$")


def order_of(pattern: str) -> str:
    """Order of day, month and year in a pattern.

    >>> order_of("%d/%m/%Y"), order_of("%b %d, %y")
    ('dmy', 'mdy')
    """
    return re.sub(r"[^dmy]", "", pattern.replace("%b", "m").replace("%B", "m").replace("%Y", "y"))
