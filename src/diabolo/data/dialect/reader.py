"""A text table through PyArrow's reader, by its dialect."""

from __future__ import annotations

import contextlib
import gzip
import io
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from diabolo.data.dialect.record import Dialect
from diabolo.errors import DataError

__all__ = ["BLOCK", "explained_text", "open_text"]

#: Bytes that Arrow reads at once; the first block decides the types.
BLOCK = 1 << 22


def open_text(
    path: Path,
    dialect: Dialect,
    names: Sequence[str],
    columns: Sequence[str] | None = None,
    types: Mapping[str, Any] | None = None,
    null_text: bool = True,
    serial: bool = False,
) -> Any:
    """Arrow's streaming reader of a text table.

    Args:
        path: the file.
        dialect: how it is written.
        names: of all its columns.
        columns: those to read.
        types: of columns whose type is not to be inferred.
        null_text: whether a mark for a missing cell is one in a column of text too.
        serial: read row after row, so that errors know their row.
    """
    import pyarrow.csv as pc

    read = pc.ReadOptions(
        block_size=BLOCK,
        use_threads=not serial,
        skip_rows=dialect.skip,
        column_names=list(names),
        encoding=dialect.encoding,
    )
    parse = pc.ParseOptions(
        delimiter=dialect.separator,
        quote_char=dialect.quote,
        newlines_in_values=dialect.newlines,
        # In a table of one column an empty line is a missing cell.
        ignore_empty_lines=len(names) > 1,
        invalid_row_handler=_skipper(dialect.comment) if dialect.comment else None,
    )
    options = pc.ConvertOptions(
        include_columns=list(columns) if columns is not None else None,
        column_types=dict(types or {}),
        null_values=list(pc.ConvertOptions().null_values) + list(dialect.missing),
        strings_can_be_null=null_text,
    )
    source: Any = path
    comment = dialect.comment if not dialect.newlines and not dialect.encoding.startswith(("utf-16", "utf-32")) else ""
    if dialect.blanks or comment:
        import pyarrow as pa

        source = pa.PythonFile(_Edited(path, dialect.blanks, comment.encode(), dialect.skip), mode="r")
    return pc.open_csv(source, read_options=read, parse_options=parse, convert_options=options)


@contextlib.contextmanager
def explained_text(
    path: Path,
    dialect: Dialect,
    where: object,
    columns: Sequence[str] | None = None,
    types: Mapping[str, Any] | None = None,
) -> Iterator[None]:
    """Turn Arrow's complaint into one that names the row and the column as this package counts them.

    Args:
        path: the file.
        dialect: how it is read.
        where: its name for the person.
        columns: as they are read.
        types: of them.
    """
    import pyarrow as pa

    try:
        yield
    except pa.ArrowInvalid as error:
        names = list(dialect.names)
        text = " ".join(str(_located(path, dialect, names, columns, types) or error).split())[:300]
        match = re.search(r"(?:In CSV column #(\d+)|CSV parse error): (?:Row #(\d+): )?(.*)", text)
        if match:
            column, row, text = match.groups()
            place = [f"row {int(row) - 1 - dialect.skip}"] if row else []  # Arrow counts lines from 1
            if column:
                name = names[int(column)] if int(column) < len(names) else column
                place.append(f"column {name!r}")
                bad = re.search(r"invalid value '(.*)'", text)
                if bad:
                    mark = shlex.quote(f"{name}={bad[1]}" if "=" in bad[1] else bad[1])
                    text = f"{text}; if it stands for a missing cell, --missing {mark} says so"
            text = f"{', '.join(place)}: {text}" if place else text
        if "invalid UTF8" in text or "codec can't decode" in text:
            text = f"{text}: --encoding says what the text is in, like --encoding cp1252"
        raise DataError(f"{where}: {text}") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}: is not in the encoding {dialect.encoding} ({error.reason}): --encoding says what it is in"
        ) from None


def _located(
    path: Path,
    dialect: Dialect,
    names: Sequence[str],
    columns: Sequence[str] | None,
    types: Mapping[str, Any] | None,
) -> Exception | None:
    """The same complaint with the row, which Arrow knows only where it reads row after row."""
    import pyarrow as pa

    try:
        with open_text(path, dialect, names, columns, types, serial=True) as reader:
            for _ in reader:
                pass
    except pa.ArrowInvalid as error:
        return error  # type: ignore[no-any-return]
    return None


def _skipper(comment: str) -> Any:
    def handle(row: Any) -> str:
        return "skip" if row.text.lstrip().startswith(comment) else "error"

    return handle


class _Edited(io.RawIOBase):
    """A file as Arrow can read it.

    Args:
        path: the file.
        blanks: make runs of blanks one blank each, as a separator, and let none stand at an end of a line.
        comment: drop lines that begin with it, after the first ones.
        skip: how many these are.
    """

    def __init__(self, path: Path, blanks: bool, comment: bytes, skip: int) -> None:
        self._file = gzip.open(path) if path.name.endswith(".gz") else path.open("rb")  # noqa: SIM115  # see close
        self._name, self._left, self._ready = path, b"", b""
        self._blanks, self._skip = blanks, skip
        self._dropped = re.compile(rb"(?m)^[ \t]*" + re.escape(comment) + rb".*(?:\n|\Z)") if comment else None

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while size < 0 or not self._ready:
            chunk = self._file.read(1 << 20)
            lines = self._left + chunk
            at = lines.rfind(b"\n") + 1 if chunk else len(lines)
            self._left, lines = lines[at:], lines[:at]
            self._ready += self._edited(lines)
            if not chunk:
                break
        size = len(self._ready) if size < 0 else size
        out, self._ready = self._ready[:size], self._ready[size:]
        return out

    def _edited(self, lines: bytes) -> bytes:
        if self._dropped is not None:
            *first, rest = lines.split(b"\n", self._skip) if self._skip else [lines]
            self._skip -= len(first)
            lines = b"".join(line + b"\n" for line in first) + self._dropped.sub(b"", rest)
        if not self._blanks:
            return lines
        if b'"' in lines:
            raise DataError(
                f"{self._name}: has runs of blanks between cells, and quotes; write it with tabs between cells"
            )
        return re.sub(rb"(?m)^ | (?=\r?$)", b"", re.sub(rb"[ \t]+", b" ", lines))

    def close(self) -> None:
        self._file.close()
        super().close()
