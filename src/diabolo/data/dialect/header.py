"""Whether the first line of a text table holds names, by the types of the cells below; and a second line of units."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from diabolo.data.dialect.record import MARKS, Asked, Dialect
from diabolo.errors import DataError

__all__ = ["MISSING", "NUMBERISH", "has_header", "is_units", "joined_names"]

#: A number in any form, a date, or a time.
NUMBERISH = re.compile(
    r"[-+(]?\s?[$€£¥]?\s?[-+]?(\d[\d ',.\u00a0\u202f]*|[.,]\d+)([eE][-+]?\d+)?\s?[%$€£¥]?\)?|"
    r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([T ,]+[\d:. ]+\s?([AaPp][Mm]|Z|[+-]\d\d:?\d\d)?)?|\d{1,2}:\d\d(:\d\d(\.\d+)?)?"
)
MISSING = {"", *MARKS, "?", "-", "."}
#: Lines of names that a header has at most, but for that of the index.
MOST_LINES = 4


def _column_types(body: Sequence[tuple[str, ...]], width: int) -> list[str]:
    """Of each column: number (dates among them), text, or empty."""
    out = []
    for i in range(width):
        cells = [r[i].strip() for r in body if len(r) > i]
        cells = [c for c in cells if c not in MISSING]
        numbers = sum(bool(NUMBERISH.fullmatch(c)) for c in cells)
        out.append("empty" if not cells else "number" if numbers >= 0.8 * len(cells) else "text")
    return out


def is_units(body: Sequence[tuple[str, ...]], width: int) -> bool:
    """Whether the first row holds units: words above numbers, and no number."""
    if len(body) < 3:
        return False
    types = _column_types(body[1:200], width)
    first = [c.strip() for c in body[0]]
    over = [c for c, t in zip(first, types, strict=False) if t == "number"]
    words = [c for c in over if c and c not in MISSING]
    return (
        bool(words)
        and not any(NUMBERISH.fullmatch(c) for c in over)
        and len(over) > 1
        and (2 * len(words) >= len(over) or len(words) > 1)
    )


def joined_names(names: Sequence[str], body: Sequence[tuple[str, ...]]) -> tuple[list[str], int]:
    """Names that go over several lines, as of pandas' columns of several levels; and the number of lines.

    The first line names groups of columns, and the next tell the columns of a group apart; a last may hold the name
    of the index alone. Other second lines are no names, and the number is 1.

    Args:
        names: the first line.
        body: the lines below it, the first of them without a number.

    >>> joined_names(["", "x", "x"], [("", "mean", "std"), ("day", "", ""), ("1", "2.5", "0.5")])
    (['day', 'x mean', 'x std'], 3)
    """
    both, lines = list(names), 1
    for row in body[: MOST_LINES - 1]:
        if lines > 1 and (not _repeats(both) or any(NUMBERISH.fullmatch(cell.strip()) for cell in row)):
            break
        both = [" ".join(filter(None, (name, cell.strip()))) for name, cell in zip(both, row, strict=False)]
        lines += 1
    if len(both) < len(names) or not _repeats(names) or _repeats(both):
        return list(names), 1
    below = body[lines - 1] if len(body) >= lines else ("",)
    if below[0].strip() and not any(cell.strip() for cell in below[1:]):
        return [below[0].strip(), *both[1:]], lines + 1
    return both, lines


def _repeats(names: Sequence[str]) -> bool:
    given = [n for n in names if n]
    return len(set(given)) < len(given)


def has_header(rows: Sequence[tuple[str, ...]], asked: Asked, kept: Dialect | None, where: object) -> bool:
    """Whether the first line holds names.

    Raises:
        DataError: it may be either.
    """
    first = [c.strip() for c in rows[0]]
    if asked.header is not None:
        return asked.header == "first"
    if kept is not None:
        known = {n for n in kept.names if n}
        if not kept.header or (known and known <= set(first)):
            return kept.header
    body = rows[1:200]
    if not body:
        return not all(NUMBERISH.fullmatch(c) for c in first if c)
    types = _column_types(body, len(first))
    over = [(c, i) for i, (c, t) in enumerate(zip(first, types, strict=True)) if t == "number" and c not in MISSING]
    numbers = [(c, i) for c, i in over if NUMBERISH.fullmatch(c)]
    texts = [i for i, (c, t) in enumerate(zip(first, types, strict=True)) if t == "text" and c not in MISSING]
    again = [i for i in texts if first[i] in {r[i].strip() for r in body if len(r) > i}]
    if not over and not texts:
        return any(first)  # a column without cells has names alone to show
    if not numbers:
        if again and (len(again) == len(texts) > 1 or (not over and len(again) > len(texts) / 2)):
            if over:
                _ask(first, where)
            return False
        return True
    alike = _numbers_as_names([c for c, _ in numbers], [i for _, i in numbers], body)
    named = len(over) > len(numbers) or (len(texts) > len(again) and not again)
    if len(over) == len(numbers) and alike == "row" and (again or not texts):
        return False
    if alike == "names" and not again:
        return True
    if (
        alike == "row"
        and (again or (4 * len(numbers) >= 3 * len(over) and len(numbers) > 2))
        and len(over) == len(numbers)
    ):
        return False
    if alike == "row" and not named:
        return False
    return _ask(first, where)


def _ask(first: Sequence[str], where: object) -> bool:
    said = ", ".join(first[:3]) + (", ..." if len(first) > 3 else "")
    raise DataError(
        f"{where}: its first line ({said[:60]}) may be names or a row: --header first or --header none says it"
    )


def _numbers_as_names(words: Sequence[str], at: Sequence[int], body: Sequence[tuple[str, ...]]) -> str:
    """Whether numbers in the first line are "names" (0, 1, 2, ... or a grid), a "row", or "either"."""
    try:
        numbers = [float(w) for w in words]
    except ValueError:
        return "row"  # 1,5 or 12:30 names no column
    steps = [b - a for a, b in itertools.pairwise(numbers)]
    cells = [[_float(r[i]) for r in body if len(r) > i] for i in at]
    whole = all(c is None or c == round(c) for column in cells for c in column)
    counted = numbers[0] in (0.0, 1.0) and all(s == 1 for s in steps)
    if counted:
        return "names" if len(numbers) > 2 or not whole else "either"
    if not steps:
        return "row" if "." in words[0] or "e" in words[0].lower() else "either"
    even = len(steps) > 1 and steps[0] > 0 and all(abs(s - steps[0]) <= 1e-6 * abs(steps[0]) for s in steps)
    beyond = all(_outside(n, [c for c in column if c is not None]) for n, column in zip(numbers, cells, strict=True))
    if even:
        return "names" if beyond else "either"
    rising = len(steps) > 3 and all(s > 0 for s in steps)
    return "either" if rising and beyond else "row"


def _outside(number: float, cells: Sequence[float]) -> bool:
    return not cells or not min(cells) <= number <= max(cells)


def _float(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None
