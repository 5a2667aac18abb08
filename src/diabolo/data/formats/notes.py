"""What a file holds beside its columns, noted in the metadata of its Arrow schema."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from diabolo.data.formats.base import BESIDE

__all__ = ["counted_by", "left_out", "noting", "noting_counts", "without_notes"]

#: Metadata of a schema: JSON of what a file holds beside its columns, {name: type and why it is no column}.
LEFT_OUT = b"diabolo.left_out"
#: Metadata of a field: JSON of the names of the lists whose objects it counts.
COUNTS = b"diabolo.counts"


def noting(schema: Any, beside: Mapping[str, str]) -> Any:
    """A schema that says what its file holds beside the columns."""
    if not beside:
        return schema
    return schema.with_metadata({**(schema.metadata or {}), LEFT_OUT: json.dumps(dict(beside))})


def left_out(schema: Any) -> dict[str, str]:
    """What a file holds beside its columns, and of which type it is or why it cannot be one."""
    said = (schema.metadata or {}).get(LEFT_OUT)
    return dict(json.loads(said)) if said else {}


def without_notes(schema: Any) -> Any:
    """A schema that says nothing of what a file holds beside it."""
    notes = {k: v for k, v in (schema.metadata or {}).items() if k not in (LEFT_OUT, BESIDE)}
    return schema.with_metadata(notes or None)


def noting_counts(counted: Sequence[str] | None) -> dict[bytes, bytes] | None:
    """Metadata of a field that counts the objects of some lists."""
    return {COUNTS: json.dumps(list(counted)).encode()} if counted else None


def counted_by(field: Any) -> list[str]:
    """Names of the lists whose objects a field counts."""
    return list(json.loads((field.metadata or {}).get(COUNTS, b"[]")))
