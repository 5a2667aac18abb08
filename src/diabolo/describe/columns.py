"""A schema as a table: each column with its kind, type and range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from rich.cells import cell_len
from rich.console import Console

from diabolo.data.dtypes import is_date, is_time
from diabolo.data.schema import Column, Schema
from diabolo.data.times import STEPS, clock, local, moment, zone_of
from diabolo.screen import blocks, visible

__all__ = ["print_schema"]


def print_schema(
    console: Console, schema: Schema | None, unfit: Mapping[str, str] | None = None, order: Sequence[str] = ()
) -> None:
    """Print the columns, the levels of categories and the slots of a schema.

    Args:
        console: where to.
        schema: of the columns that a model can be fitted on; None if there are none.
        unfit: contents of the other columns, by name.
        order: names of all columns, where there are others.
    """
    if schema is not None and schema.shape is not None:
        h, w, channels = schema.shape
        c = schema.columns[0]
        console.print(
            f"  images        {h} × {w} × {channels}, {c.kind} pixels of {c.dtype} from {c.low:g} to {c.high:g}"
        )
        return
    rows = [("column", "kind", "type", "lowest", "highest", "resolution", "missing")]
    known = {} if schema is None else {c.name: c for c in schema.columns}
    for name in order or known:
        if name not in known:
            rows.append((name, "cannot be fitted", (unfit or {}).get(name, ""), "", "", "", ""))
            continue
        c = known[name]
        missing = f"{c.missing:.1%}" if c.missing else ""
        resolution = f"{c.resolution:g}" if c.resolution else ""
        if is_date(c.dtype) and c.resolution:
            resolution = STEPS.get(c.resolution, f"{resolution} s")
        rows.append((name, c.kind, c.dtype, *_range(c), resolution, missing))
    lines = _aligned(rows, left=3)
    # Elsewhere than on a terminal a line may be as long as it needs.
    if console.is_terminal and max(map(cell_len, lines)) + 2 > console.width:
        lines = blocks(rows[0], rows[1:])
    for line in lines:
        console.print(f"  {line}")
    if schema is None:
        return
    for c in (c for c in schema.columns if c.levels):
        more = f", ... ({len(c.levels)} levels)" if len(c.levels) > 8 else ""
        console.print(f"  {_one_line(c.name)}: {', '.join(_short(w) for w in c.levels[:8])}{more}")
    for group in schema.groups:
        console.print(f"  slots {group.name}: {len(group.slots)} objects of {len(group.slots[0])} columns")


def _aligned(rows: Sequence[tuple[str, ...]], left: int) -> list[str]:
    """Rows of cells as lines, columns under one another, the first so many to the left.

    A number that is cut off is another one, so that no cell is.
    """
    shown = [[_one_line(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*shown, strict=True)]
    lines = []
    for row in shown:
        cells = []
        for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
            blanks = " " * (width - cell_len(cell))
            cells.append(cell + blanks if i < left else blanks + cell)
        lines.append("  ".join(cells).rstrip())
    return lines


def _one_line(word: str) -> str:
    r"""A word in one line, which would else look like a row of the table: ends of lines and tabs as code has them.

    >>> _one_line("a\nb\x1b[2J")
    'a\\nb�[2J'
    """
    return visible(word.replace("\r", "\\r").replace("\n", "\\n").replace("\t", "\\t"))


def _short(word: str, most: int = 60) -> str:
    return _one_line(word if len(word) <= most else f"{word[: most - 1]}…")


def _range(column: Column) -> tuple[str, str]:
    """Lowest and highest value as text; empty for a column without values."""
    if column.missing == 1:
        return "", ""
    if column.levels:
        return _short(column.levels[0], 20), _short(column.levels[-1], 20)
    if is_date(column.dtype):
        low, high = local(np.array([column.low, column.high]), zone_of(column.dtype))
        return moment(low), moment(high)
    if is_time(column.dtype):
        return clock(column.low), clock(column.high)
    return _apart(column.low, column.high)


def _apart(low: float, high: float) -> tuple[str, str]:
    """Two numbers in six digits, whole ones in all theirs, and in as many as it takes where they are not the same.

    >>> _apart(30000001.0, 30000007.0), _apart(0.1 + 0.2, 1e9), _apart(1.00000001, 1.00000002)
    (('30000001', '30000007'), ('0.3', '1000000000'), ('1.00000001', '1.00000002'))
    """

    def told(value: float, digits: int) -> str:
        return f"{value:.0f}" if value == round(value) and abs(value) < 2**53 else f"{value:.{digits}g}"

    for digits in range(6, 18):
        shown = told(low, digits), told(high, digits)
        if low == high or shown[0] != shown[1]:
            break
    return shown
