"""A file's dialect: found in its first lines and its first block, and known while the file stays the same."""

from __future__ import annotations

import dataclasses
import gzip
import json
import re
from pathlib import Path
from typing import Any

from diabolo.data.dialect.columns import Findings, look_at
from diabolo.data.dialect.layout import encoding_of, layout_of
from diabolo.data.dialect.reader import explained_text
from diabolo.data.dialect.record import Asked, Dialect, Reading
from diabolo.data.dialect.saying import layout_notes
from diabolo.errors import DataError, nearest

__all__ = ["Found", "find"]

#: Bytes of the lines that show the layout.
START = 1 << 18
#: Dialects that are remembered.
MOST = 64


@dataclasses.dataclass(frozen=True)
class Found:
    """What a sample of a file says."""

    dialect: Dialect
    #: Arrow schema of the columns that are read, in the file's order.
    schema: Any
    #: What a person is to know.
    notes: tuple[str, ...]
    #: Columns whose cells have two readings → the question.
    questions: dict[str, str]
    #: Names that several columns have.
    twice: tuple[str, ...] = ()


_known: dict[Any, Found] = {}


def find(path: Path, reading: Reading, default: str, where: object) -> Found:
    """The dialect of a text table, by what is asked, kept and seen.

    Raises:
        DataError: an empty file, no text, or a layout with two readings.
    """
    stat = path.stat()
    kept = None if reading.kept is None else json.dumps(dataclasses.asdict(reading.kept))
    key = (str(path.resolve()), stat.st_mtime_ns, stat.st_size, reading.asked, kept, default)
    if key not in _known:
        found = _find(path, reading, default, where)
        while len(_known) >= MOST:
            _known.pop(next(iter(_known)))
        _known[key] = found
    return _known[key]


def _find(path: Path, reading: Reading, default: str, where: object) -> Found:
    asked, kept = reading.asked, reading.kept
    with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as handle:
        start = handle.read(START)
        whole = not handle.read(1)
    if not start:
        raise DataError(f"{where}: the file is empty")
    encoding = encoding_of(start, whole, asked.encoding, kept.encoding if kept else None, where)
    text = start.decode(encoding, "replace").removeprefix("\ufeff")
    lines = re.split(r"\r\n|\n|\r", text)
    lines = lines if whole or len(lines) == 1 else lines[:-1]
    if not any(line.strip() for line in lines):
        raise DataError(f"{where}: the file is empty")
    layout, notes = layout_of(lines, asked, kept, default, where)
    layout = dataclasses.replace(layout, encoding=encoding)
    _check_decimals(layout, asked, kept, where)
    dialect, renamed = _named(layout)
    everywhere, own = asked.missing_marks(dialect.names)
    if kept is not None:
        everywhere = (*everywhere, *(m for m in kept.missing if m not in everywhere))
        own = {**{n: m for n, m in kept.own.items() if n in dialect.names}, **own}
    dialect = dataclasses.replace(dialect, missing=everywhere, own=own)
    unknown = [n for n in asked.date_forms() if n not in dialect.names]
    if unknown:
        raise DataError(f"{where}: --date: no column {unknown[0]!r}: {nearest(unknown[0], dialect.names, 'it has')}")
    with explained_text(path, dialect, where):
        seen: Findings = look_at(path, dialect, layout.names, reading, where)
    bare = [
        f"column {i + 1} has no name, and is named {name!r}"
        for i, (head, name) in enumerate(zip(layout.names, dialect.names, strict=True))
        if not head and layout.header and name not in seen.dialect.left
    ]
    said = [*layout_notes(dialect, default), *notes, *renamed, *bare, *seen.notes]
    return Found(seen.dialect, seen.schema, tuple(said), seen.questions, _twice(layout.names, dialect.names, kept))


def _twice(heads: tuple[str, ...], names: tuple[str, ...], kept: Dialect | None) -> tuple[str, ...]:
    """Names that several columns share, but for those that a model's own files shared too."""
    known = set(kept.names) if kept is not None else set()
    shared = {n for n in heads if n and heads.count(n) > 1}
    return tuple(sorted({n for n, own in zip(heads, names, strict=True) if n in shared and own not in known}))


def _check_decimals(layout: Dialect, asked: Asked, kept: Dialect | None, where: object) -> None:
    """Refuse to read a file of another layout by the decimal marks of a model's own files."""
    if kept is None or asked.decimal is not None or kept.separator == layout.separator:
        return
    marks = {f.decimal for f in kept.forms.values() if f.kind == "number"}
    if "," in marks:
        raise DataError(
            f"{where}: its cells are separated by {layout.separator!r}, and where the model was fitted by "
            f"{kept.separator!r} with a decimal comma: --decimal . or --decimal , says which mark this one has"
        )


def _named(layout: Dialect) -> tuple[Dialect, list[str]]:
    """Names for columns that have none, and one for each of several that share theirs."""
    names: list[str] = []
    notes: list[str] = []
    for i, name in enumerate(layout.names):
        unique = name or f"column{i + 1}"
        k = 2
        while unique in names or (unique != name and unique in layout.names):
            unique, k = f"{name or f'column{i + 1}'}_{k}", k + 1
        if name and unique != name:
            notes.append(f"column {i + 1} is a second {name!r}, and is named {unique!r}")
        names.append(unique)
    return dataclasses.replace(layout, names=tuple(names)), notes
