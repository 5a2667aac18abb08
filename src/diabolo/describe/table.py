"""A table in plain words: how its columns would be read."""

from __future__ import annotations

import re

import numpy as np
from rich.text import Text

from diabolo.config import Config
from diabolo.data.dtypes import TEXT, arrow_dtype
from diabolo.data.formats import Data, is_list, schema_of
from diabolo.data.reading import chunks, row_shape
from diabolo.data.schema import infer_schema
from diabolo.describe.columns import print_schema
from diabolo.errors import DataError
from diabolo.screen import console

__all__ = ["describe_data"]

#: Rows that a table's description looks at.
LOOK = 100_000


def describe_data(path: Data, slots: dict[str, int] | None = None) -> None:
    """Print how a table's columns would be read, and hints where a flag would help."""
    arrow, rows = schema_of(path)
    known, other = [], []
    for name, kind in zip(arrow.names, arrow.types, strict=True):
        try:
            known.append((name, arrow_dtype(kind, name)))
        except DataError:
            if not is_list(kind):
                other.append(f"{name} ({kind})")
    screen = console(soft_wrap=True)
    count = f"{rows:,} rows" if rows is not None else "rows are counted when read"
    screen.print(Text.assemble((str(path), "bold"), f": {count}, {len(arrow)} column{'s' * (len(arrow) != 1)}"))
    if known:
        parts: list[np.ndarray] = []
        levels: dict[str, list[str]] = {}
        names, seen = [n for n, _ in known], 0
        for table, _ in chunks(path, names, levels=levels):
            parts.append(table.values)
            seen += len(table)
            if seen >= LOOK:
                break
        if not seen:
            raise DataError(f"{path}: has a header but no rows")
        values = np.concatenate(parts)[:LOOK]
        values = np.where(np.isinf(values), np.nan, values)
        shape = row_shape(arrow, names)
        schema = infer_schema(
            values, names, [d for _, d in known], Config(slots=dict(slots) if slots else None), levels, shape
        )
        print_schema(screen, schema)
        zeros = [(n, float((values[:, i] == 0).mean())) for i, (n, d) in enumerate(known) if d not in TEXT]
        padded = [n for n, share in zeros if share > 0.2]
        if len(padded) >= 3 and schema.shape is None:
            screen.print(
                f"  {len(padded)} columns are often exactly 0 ({', '.join(padded[:4])}, ...): if they are zero-padded "
                "objects, name them with --slots, like --slots e:4,j:10",
            )
    lists = [f.name for f in arrow if is_list(f.type)]
    if lists:
        group = re.split(r"[_.]", lists[0])[0]
        screen.print(f"  lists, of which --take {group}:10 would make columns: {', '.join(lists)}")
    if other:
        screen.print(f"  not of one value each, so left out with --exclude or named with --label: {', '.join(other)}")
