"""A schema as a table: each column with its kind, type and range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from diabolo.data.dtypes import is_date, is_time
from diabolo.data.schema import Column, Schema
from diabolo.data.times import clock, moment

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
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("  column", "kind", "type", "lowest", "highest", "resolution", "missing"):
        grid.add_column(heading, justify="left" if heading in ("  column", "kind", "type") else "right")
    known = {} if schema is None else {c.name: c for c in schema.columns}
    for name in order or known:
        if name not in known:
            grid.add_row(f"  {name}", "cannot be fitted", (unfit or {}).get(name, ""), "", "", "", "")
            continue
        c = known[name]
        missing = f"{c.missing:.1%}" if c.missing else ""
        resolution = f"{c.resolution:g}" if c.resolution else ""
        grid.add_row(f"  {name}", c.kind, c.dtype, *_range(c), resolution, missing)
    # Numbers are never cut off; a wide table runs over the edge instead.
    console.width = max(console.width, console.measure(grid, options=console.options.update(max_width=1 << 16)).maximum)
    console.print(grid)
    if schema is None:
        return
    for column in (c for c in schema.columns if c.levels):
        more = f", ... ({len(column.levels)} levels)" if len(column.levels) > 8 else ""
        console.print(f"  {column.name}: {', '.join(column.levels[:8])}{more}")
    for group in schema.groups:
        console.print(f"  slots {group.name}: {len(group.slots)} objects of {len(group.slots[0])} columns")


def _range(column: Column) -> tuple[str, str]:
    """Lowest and highest value as text; empty for a column without values."""
    if column.missing == 1:
        return "", ""
    if column.levels:
        return column.levels[0][:20], column.levels[-1][:20]
    if is_date(column.dtype):
        return moment(column.low), moment(column.high)
    if is_time(column.dtype):
        return clock(column.low), clock(column.high)
    return f"{column.low:.6g}", f"{column.high:.6g}"
