"""A table in plain words: how its columns would be read, and which of them no model can be fitted on."""

from __future__ import annotations

import re
import shlex

from rich.console import Console
from rich.text import Text

from diabolo.config import DEFAULT_METHOD, build_config
from diabolo.data.dtypes import TEXT
from diabolo.data.formats import Data, notes_of, schema_of
from diabolo.data.matching import infinite_cells
from diabolo.data.reading import notes_on
from diabolo.data.remarks import remarks
from diabolo.data.schema import infer_schema
from diabolo.data.slots import with_found_slots
from diabolo.data.table import Table
from diabolo.data.usable import LOOK, collections, first_usable, leaving_out, type_faults, value_faults
from diabolo.describe.columns import print_schema
from diabolo.screen import console

__all__ = ["describe_data"]


def describe_data(path: Data, slots: dict[str, int] | None = None) -> None:
    """Print how a table's columns would be read, and hints where a flag would help."""
    arrow, rows = schema_of(path)
    names = list(arrow.names)
    lists = {name for members in collections(arrow).values() for name in members}
    faults = type_faults(path, names, beside=False)
    table, more = first_usable(path, [n for n in names if n not in faults])
    faults |= more
    if table is not None:
        faults |= value_faults(table)
    screen = console(soft_wrap=True)
    count = f"{rows:,} rows" if rows is not None else _counted(table)
    screen.print(Text.assemble((str(path), "bold"), f": {count}, {len(arrow)} column{'s' * (len(arrow) != 1)}"))
    for note in notes_of(path):
        screen.print(f"  {note}")
    if table is not None:
        _print_columns(screen, table, faults, {f.name: str(f.type) for f in arrow}, slots)
    for group, members in collections(arrow).items():
        taking = shlex.quote(f"{group}:10")
        screen.print(f"  lists, of which --take {taking} would make columns: {', '.join(members)}")
    for line in notes_on(path, None):
        screen.print(line)
    unfit = {n: why for n, why in faults.items() if n not in lists}
    for name in names:
        if name in unfit:
            screen.print(f"  {name!r} {unfit[name]}")
    if unfit:
        screen.print(f"  leave out what cannot be fitted: {leaving_out([n for n in names if n in unfit])}")


def _counted(table: Table | None) -> str:
    if table is None:
        return "rows are counted when read"
    return f"{len(table):,} rows" if len(table) < LOOK else "rows are counted when read"


def _print_columns(
    screen: Console, table: Table, faults: dict[str, str], types: dict[str, str], slots: dict[str, int] | None
) -> None:
    """The table of columns, those that cannot be fitted among them, and remarks on the others."""
    at = [i for i, n in enumerate(table.names) if n not in faults]
    names, dtypes = [table.names[i] for i in at], [table.dtypes[i] for i in at]
    values = table.values[:, at] if len(at) < len(table.names) else table.values
    marked = {n: _marked(table, n, types[n]) for n in types if n in faults}
    if not names:
        print_schema(screen, None, marked, list(types))
        return
    config = build_config({"slots": dict(slots)} if slots else {}, DEFAULT_METHOD)
    config = with_found_slots(config, names, dtypes, lambda: values)
    schema = infer_schema(values, names, dtypes, config, table.levels, table.shape, constant=True)
    print_schema(screen, schema, marked, list(types))
    if schema.shape is not None:
        return
    zeros = [
        (n, float((values[:, i] == 0).mean()))
        for i, (n, d) in enumerate(zip(names, dtypes, strict=True))
        if d not in TEXT
    ]
    padded = [n for n, share in zeros if share > 0.2]
    alike = {re.sub(r"\d+", "", n) for n in padded if re.search(r"\d", n)}
    # Objects have a number in their names, and several have the same name but for it.
    if len(padded) >= 3 and len(alike) < len(padded) and not schema.groups:
        screen.print(
            f"  {len(padded)} columns are often exactly 0 ({', '.join(padded[:4])}, ...): if they are zero-padded "
            "objects, name them with --slots, like --slots e:4,j:10",
        )
    for line in [*infinite_cells(table), *(remark.line for remark in remarks(values, names, dtypes))]:
        screen.print(f"  {line}")


def _marked(table: Table, name: str, kind: str) -> str:
    """The contents of a column that cannot be fitted."""
    words = table.levels.get(name)
    if words is None:
        return kind
    return f"text, {len(words):,} values"
