"""From the first lines of a text table: encoding, separator, quotes, lines that are no rows, and the header."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections import Counter
from collections.abc import Sequence

from diabolo.data.dialect.header import MISSING, NUMBERISH, has_header, is_units, joined_names
from diabolo.data.dialect.record import Asked, Dialect
from diabolo.errors import DataError

__all__ = ["encoding_of", "layout_of"]

#: Separators that a sample may show.
CANDIDATES = (",", ";", "\t", "|", " ")
COMMENTS = ("#", "%", "//")
#: A first line in which Excel is told the separator.
TOLD = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
#: Lines of a sample that are looked at.
LINES = 400


def encoding_of(start: bytes, whole: bool, asked: str | None, kept: str | None, where: object) -> str:
    """The encoding of a text whose first bytes are given.

    Args:
        start: first bytes.
        whole: whether there are no more.
        asked: the person's word, which is taken.
        kept: that of the model's own files, taken if the text is not UTF-8.
        where: for messages.

    Raises:
        DataError: no text, or one in an encoding that its bytes do not tell.
    """
    if asked is not None:
        return asked
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if b"\0" in start:
        raise DataError(f"{where}: is no text; allowed is text, like a table with a separator between its cells")
    try:
        start.decode("utf-8")
        return "utf-8"
    except UnicodeDecodeError as error:
        if not whole and error.start > len(start) - 4:
            return "utf-8"  # a character that the sample cuts in two
    if kept not in (None, "utf-8"):
        return str(kept)
    # Signs like € and ° are the same in most encodings; letters are not.
    words = re.findall(rb"[A-Za-z\x81-\x9f\xc0-\xff]*[\x81-\x9f\xc0-\xff][A-Za-z\x81-\x9f\xc0-\xff]*", start)
    # é in UTF-8 are two bytes that nobody writes side by side in a western word.
    twice = len(re.findall(rb"[A-Za-z]\xc3[\x80-\xbf]|\xc3[\x80-\xbf][A-Za-z]", start))
    if 20 * twice > len(words):
        raise DataError(
            f"{where}: a part of its text is UTF-8 and a part is not: write it in one encoding, or --encoding cp1252 "
            "takes all of it for that one"
        )
    mixed = sum(2 * sum(b < 0x80 for b in word) >= len(word) for word in words)
    unknown = any(b in b"\x81\x8d\x8f\x90\x9d" for b in start)
    # Western words have an accented letter among plain ones; words of other scripts are high bytes throughout.
    if unknown or mixed < 0.8 * len(words):
        raise DataError(
            f"{where}: its text is not UTF-8, and its bytes do not tell which encoding it is in: --encoding says it, "
            "like --encoding cp1252, cp1251, shift_jis or gb18030"
        )
    return "cp1252"


@dataclasses.dataclass(frozen=True)
class Layout:
    """The lines of a sample under one separator."""

    separator: str
    quote: str
    rows: tuple[tuple[str, ...], ...]
    #: Number of the line behind each row, from 1.
    ends: tuple[int, ...]
    width: int
    #: Share of the rows that are so wide.
    share: float
    #: Share of cells, but in the first line, that are numbers or the like, or words without any separator.
    clean: float


def layout_of(
    lines: Sequence[str], asked: Asked, kept: Dialect | None, default: str, where: object
) -> tuple[Dialect, list[str]]:
    """The layout of a text table, and what is to be said of it.

    Args:
        lines: the first lines, without their ends.
        asked: the person's words.
        kept: the dialect of a model's own files.
        default: separator that the file's name tells.
        where: for messages.

    Raises:
        DataError: no line, or a first line that may be names or a row.
    """
    lines = list(lines[:LINES])
    told = TOLD.fullmatch(lines[0]) if lines else None
    if told is not None:
        asked = dataclasses.replace(asked, separator=asked.separator or told[1])
        lines[0] = ""  # left out as a comment is
    lead, heading = _leading(lines)
    found = _chosen(lines[lead:], asked, kept, default)
    rows, ends, width = list(found.rows), list(found.ends), found.width
    notes: list[str] = []
    if lead:
        notes.append(f"{lead} line{'s' * (lead > 1)} of comment before the table left out")
    # Lines of another width before the table: a title, a source.
    before = next((i for i, r in enumerate(rows) if len(r) >= width - 1), 0) if width > 2 else 0
    if before:
        notes.append(f"{before} line{'s' * (before > 1)} before the table left out: {found.rows[0][0][:40]!r}, ...")
        rows, ends = rows[before:], ends[before:]
    comment = _comment(rows, width) or (kept.comment if kept is not None else "")
    if comment:
        at = [i for i, r in enumerate(rows) if not (r and r[0].lstrip().startswith(comment))]
        rows, ends = [rows[i] for i in at], [ends[i] for i in at]
    if not rows:
        raise DataError(f"{where}: holds no table: only comments or empty lines")
    named = [w.strip() for w in _split(heading, found)] if heading else []
    if len(named) == len(rows[0]) > 1 and not any(NUMBERISH.fullmatch(w) for w in named) and asked.header is None:
        names, header, skip = named, True, lead
        notes = notes[1:] if lead == 1 else notes
        notes.append(f"names taken from the line of comment {heading[:40]!r}")
        rows, ends = [tuple(named), *rows], [0, *ends]
    else:
        header = has_header(rows, asked, kept, where)
        names = [w.strip() for w in rows[0]] if header else [""] * width
        skip = lead + ends[0] if header else lead + ends[0] - 1
    body = rows[1:] if header else rows
    if header and len(names) == width + 1 and not names[-1]:
        names.pop()  # a separator at the end of the header alone
    if header and len(names) == width - 1 and body and all(len(r) == width for r in body[:20]):
        trailing = all(not r[-1].strip() for r in body)
        names = [*names, ""] if trailing else ["", *names]
    if header and is_units(body, len(names)):
        names, taken = joined_names(names, body)
        skip = lead + ends[max(taken - 1, 1)]
        units = f"the second line, of units, left out: {', '.join(w for w in body[0] if w.strip())[:60]}"
        notes.append(f"names taken from its first {taken} lines" if taken > 1 else units)
    if not header:
        first = ", ".join(w.strip() for w in rows[0][:3])
        notes.append(
            f"no header: its first line ({first[:50]}{', ...' * (len(rows[0]) > 3)}) is a row, and its columns are "
            f"named column1, column2, ...; --header first takes it for names"
        )
    newlines = any("\n" in cell or "\r" in cell for r in rows for cell in r)
    blanks = found.separator == " " and not any('"' in line for line in lines) and _runs(lines[lead:])
    dialect = Dialect(found.separator, found.quote, "utf-8", header, skip, tuple(names), blanks, newlines, comment)
    return dialect, notes


def _leading(lines: Sequence[str]) -> tuple[int, str]:
    """How many empty lines and comments come first, and the last comment without its sign."""
    last, lead = "", 0
    for line in lines:
        sign = next((c for c in COMMENTS if line.lstrip().startswith(c)), None)
        if line.strip() and sign is None:
            break
        lead += 1
        last = line.lstrip().removeprefix(sign).strip() if sign else last
    else:
        return 0, ""
    return lead, last


def _comment(rows: Sequence[tuple[str, ...]], width: int) -> str:
    """How lines begin that are no rows: of another width, or with a sign where the first column is one of numbers."""
    first = [(r[0].strip(), len(r)) for r in rows[1:] if r]
    numbers = sum(bool(NUMBERISH.fullmatch(c)) for c, _ in first)
    strict = numbers < 0.8 * sum(not c.startswith(COMMENTS) for c, _ in first) or not numbers
    odd = [c for c, n in first if n != width or not strict]
    lone = [rows[0][0].lstrip()] if rows and rows[0] and len(rows[0]) != width else []
    return next((c for c in COMMENTS if any(word.startswith(c) for word in lone + odd)), "")


def _runs(lines: Sequence[str]) -> bool:
    return any("  " in line.strip() or line != line.strip() or "\t" in line for line in lines)


def _split(line: str, like: Layout) -> list[str]:
    return list(_parsed([line], like.separator, like.quote)[0][0]) if line else []


def _parsed(lines: Sequence[str], sep: str, quote: str) -> tuple[list[tuple[str, ...]], list[int]]:
    """Rows, and the number of the line behind each; empty lines are none."""
    if sep == " " and not any('"' in line for line in lines):
        pairs = [(tuple(line.split()), i + 1) for i, line in enumerate(lines) if line.strip()]
    else:
        reader = csv.reader(io.StringIO("\n".join(lines), newline=""), delimiter=sep, quotechar=quote)
        pairs = []
        try:
            for row in reader:
                if row:
                    pairs.append((tuple(row), reader.line_num))
        except csv.Error:
            pass  # a cell of more than 128 KiB
    return [p[0] for p in pairs], [p[1] for p in pairs]


def _chosen(lines: Sequence[str], asked: Asked, kept: Dialect | None, default: str) -> Layout:
    quote = '"'
    if not any('"' in line for line in lines) and _single_quotes(lines):
        quote = "'"
    if asked.separator is not None:
        return _under(lines, asked.separator, quote)
    found = [_under(lines, sep, quote) for sep in dict.fromkeys([default, *CANDIDATES])]
    able = [c for c in found if c.width > 1 and c.share >= 0.8 and _starts_alike(c)]
    able = [c for c in able if c.separator != " " or c.clean >= 0.5]
    if not able:
        return found[0]
    # The most cells that are something; where that ties, the model's separator, the name's, and the order of the list.
    best = [c for c in able if c.clean > max(other.clean for other in able) - 0.02]
    like = next((c for c in best if kept is not None and c.separator == kept.separator), None)
    return like or best[0]


def _starts_alike(layout: Layout) -> bool:
    """Whether the first line has as many cells as the others, or one less above names of rows, maybe below a title."""
    widths = [len(r) for r in layout.rows[:40]]
    if layout.separator == " ":
        return widths[0] > 1 and widths[0] in (layout.width, layout.width - 1)
    return widths[0] in (layout.width, layout.width - 1) or (layout.width > 2 and layout.width in widths)


def _single_quotes(lines: Sequence[str]) -> bool:
    some = [line for line in lines[1:50] if line.strip()]
    return bool(some) and sum(bool(re.search(r"(^|[,;\t|])'[^']*'(?=$|[,;\t|])", line)) for line in some) > 0.9 * len(
        some
    )


def _under(lines: Sequence[str], sep: str, quote: str) -> Layout:
    rows, ends = _parsed(lines, sep, quote)
    counts = Counter(len(r) for r in rows[1:] or rows)
    width, often = max(counts.items(), key=lambda pair: (pair[1], pair[0])) if counts else (1, 0)
    others = [c for c in CANDIDATES if c not in (sep, " ")]
    cells = [c.strip() for r in (rows[1:101] or rows) if len(r) == width for c in r]
    clean = [bool(NUMBERISH.fullmatch(c)) or (c in MISSING) or not any(o in c for o in others) for c in cells]
    numbers = [bool(NUMBERISH.fullmatch(c)) or c in MISSING for c in cells]
    # A blank between words is no separator: only between numbers, or where words are quoted.
    good = clean if sep != " " or any('"' in line for line in lines) else numbers
    share = often / max(1, len(rows[1:] or rows))
    return Layout(sep, quote, tuple(rows), tuple(ends), width, share, sum(good) / max(1, len(good)))
