"""What a person is to know of how a text table is read, in lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diabolo.data.dialect.forms import said
from diabolo.data.dialect.record import Dialect

__all__ = ["column_notes", "layout_notes"]


def layout_notes(dialect: Dialect, default: str) -> list[str]:
    """Lines on separator, encoding and quotes, where they are not those that the file's name tells."""
    words = {"\t": "tabs", " ": "blanks", ",": "commas", ";": "semicolons", "|": "bars"}
    lines = []
    if dialect.separator != default and len(dialect.names) > 1:
        lines.append(f"cells separated by {words.get(dialect.separator, repr(dialect.separator))}")
    if dialect.encoding not in ("utf-8",):
        lines.append(f"encoding {dialect.encoding}")
    if dialect.quote != '"':
        lines.append(f"cells quoted by {dialect.quote}")
    if dialect.comment:
        lines.append(f"lines that begin with {dialect.comment} left out")
    return lines


def column_notes(dialect: Dialect, types: Mapping[str, Any], marks: Mapping[str, Sequence[str]]) -> list[str]:
    """Lines on columns that are left out, forms, and words for missing cells.

    Args:
        dialect: how the table is read.
        types: as Arrow infers them.
        marks: words that were found among numbers, by column.
    """
    notes = [f"column {name!r} {why}: left out" for name, why in dialect.left.items()]
    groups: dict[str, list[str]] = {}
    for name, form in dialect.forms.items():
        words = said(form)
        zeros = form.kind == "text" and str(types[name]) != "string"
        if form.kind != "text" or zeros:
            groups.setdefault("labels of digits" if zeros else words, []).append(name)
    for words, names in groups.items():
        if words != "numbers":
            notes.append(f"{_few(names)}: {words}")
    by_place: dict[str, list[str]] = {}
    for mark in dialect.missing:
        where = [n for n, found in marks.items() if mark in found]
        by_place.setdefault(f" in {_few(where)}" if where else "", []).append(mark)
    notes += [f"missing cells are written {_few(words)}{where}" for where, words in by_place.items()]
    labels = [name for name, own in dialect.own.items() if not own]
    notes += [f"{_few(labels)}: NA and other marks are labels there, and no missing cells"] if labels else []
    return notes


def _few(names: Sequence[str]) -> str:
    """Some names, and how many more there are."""
    return ", ".join(repr(n) for n in names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
