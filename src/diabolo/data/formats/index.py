"""The nameless index of a data frame, which pandas writes as a column and which is none."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["index_notes", "without_index"]

#: What pandas calls an index without a name among the columns of a file.
INDEX = re.compile(r"__index_level_\d+__")


def without_index(schema: Any) -> Any:
    """An Arrow schema without the nameless index of a data frame, which numbers or names its rows."""
    import pyarrow as pa

    kept = [f for f in schema if not INDEX.fullmatch(f.name)]
    return schema if len(kept) in (0, len(schema)) else pa.schema(kept, schema.metadata)


def index_notes(schema: Any) -> list[str]:
    """What a person is to know of columns that are none."""
    return [f"column {n!r} is pandas' index: left out" for n in schema.names if INDEX.fullmatch(n)]
