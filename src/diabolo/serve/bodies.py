"""JSON of a body, in which no name stands twice: of two cells nobody knows which one was meant."""

from __future__ import annotations

import json
from typing import Any

import orjson

from diabolo.serve.faults import Fault

__all__ = ["json_of"]

#: Objects within objects that are counted; of deeper ones each name is looked at.
MOST_DEPTH = 4


def json_of(body: bytes | memoryview, what: str) -> Any:
    """What a body of JSON says.

    Args:
        body: its bytes.
        what: it is called in messages: "the body".

    Raises:
        Fault: it is no JSON, or one of its objects has a name twice.

    >>> json_of(b'{"pt": 1.5}', "the body")
    {'pt': 1.5}
    """
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Fault(f"{what} is no JSON: {error.msg} at byte {error.pos:,}", 400) from None
    # Each name has a colon behind it: with no more colons than names that were kept, none was lost.
    if bytes(body).count(b":") > _names(told, MOST_DEPTH):
        try:
            json.loads(bytes(body), object_pairs_hook=lambda pairs: _once(pairs, what))
        except RecursionError:
            raise Fault(f"{what} has objects within objects without end", 400) from None
    return told


def _names(told: Any, depth: int) -> int:
    """Names of all objects, at least of those that lie `depth` deep."""
    if depth == 0:
        return 0
    if isinstance(told, dict):
        return len(told) + sum(_names(v, depth - 1) for v in told.values() if isinstance(v, dict | list))
    if isinstance(told, list) and told and isinstance(told[0], dict):
        return sum(_names(v, depth - 1) for v in told)
    return 0


def _once(pairs: list[tuple[str, Any]], what: str) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise Fault(f"{what} has the name {name!r} twice in one object; give each cell once", 400, column=name)
        seen.add(name)
