"""Which columns of a table a model is to see."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from typing import Any

from diabolo.data.formats import LIST, Data, counters, schema_of
from diabolo.data.usable import faults_of, none_fits, type_faults, unusable
from diabolo.errors import ColumnsError, DataError, nearest

__all__ = ["UNUSABLE", "choose_columns", "without"]

#: The word that stands for all columns that no model can be fitted on.
UNUSABLE = "unusable"


def choose_columns(
    path: Data,
    columns: Sequence[str] = (),
    exclude: Sequence[str] = (),
    apart: Sequence[str | None] = (),
    kinds: Mapping[str, str] | None = None,
) -> tuple[list[str], dict[str, str]]:
    """Names of the columns that a model is to see, and those that cannot be fitted and are left out, with why.

    Args:
        path: the table.
        columns: names, or several with commas between; all columns by default.
        exclude: names to leave out, in the same form; `unusable` stands for all that cannot be fitted.
        apart: label and weight.
        kinds: what the settings say of columns.

    Raises:
        DataError: a name that the file does not have, columns that cannot be fitted, or none left.
    """
    schema = schema_of(path)[0]
    names = list(schema.names)
    there = collections.Counter(names)
    twice = sorted(n for n, count in there.items() if count > 1)
    if twice:
        raise DataError(f"{path}: duplicate column names: {', '.join(twice)}; rename them")
    wanted = _spread(split_names(columns, names), schema) if columns else names
    words = split_names(exclude, names)
    leave = UNUSABLE in words and UNUSABLE not in names
    left_out = set(_spread([w for w in words if not (leave and w == UNUSABLE)], schema))
    asked = collections.Counter(wanted)
    for name in [*wanted, *left_out, *(a for a in apart if a)]:
        if name not in there:
            raise DataError(f"{path}: no column {name!r}: {nearest(name, names, 'it has')}")
        if asked[name] > 1:
            raise DataError(f"--columns names {name!r} twice; name each column once")
    counting = {} if columns else counters(schema)
    chosen = [n for n in wanted if n not in left_out and n not in apart and n not in counting]
    faults = type_faults(path, chosen, beside=not columns)
    if faults or leave:
        faults = unusable(path, chosen, kinds, beside=not columns)
    if faults and not leave:
        none_left = faults.keys() >= set(chosen)
        raise none_fits(faults, schema, path) if none_left else faults_of(ColumnsError(faults), path, schema)
    chosen = [n for n in chosen if n not in faults]
    if not chosen:
        raise DataError(f"{path}: no column is left to fit; it has {', '.join(names[:10])}")
    return chosen, faults


def without(schema: Any, exclude: Sequence[str], path: Data) -> Any:
    """An Arrow schema without the columns that are named, and with its notes.

    Raises:
        DataError: a name that it does not have, or no column is left.
    """
    import pyarrow as pa

    left_out = split_names(exclude, schema.names)
    for name in left_out:
        if name not in schema.names:
            raise DataError(f"{path}: no column {name!r}: {nearest(name, schema.names, 'it has')}")
    fields = [field for field in schema if field.name not in left_out]
    if not fields:
        raise DataError(f"{path}: no column is left; it has {', '.join(schema.names[:10])}")
    return pa.schema(fields, schema.metadata) if left_out else schema


def split_names(said: Sequence[str], known: Sequence[str]) -> list[str]:
    """Names that were given once or several times, each a name or several with commas between.

    >>> split_names(["a,b", "City, State"], ["a", "b", "City, State"])
    ['a', 'b', 'City, State']
    """
    names: list[str] = []
    there = set(known)
    most = 1 + max((name.count(",") for name in there), default=0)
    for text in said:
        names += [text] if text in there else _longest(text.split(","), there, most)
    return names


def _longest(words: Sequence[str], known: set[str], most: int) -> list[str]:
    """Words between commas, or up to `most` of them where they make a name of the table."""
    out: list[str] = []
    at = 0
    while at < len(words):
        there = (k for k in range(min(at + most, len(words)), at, -1) if ",".join(words[at:k]) in known)
        end = next(there, at + 1)
        word = ",".join(words[at:end])
        out.append(word if word in known else word.strip())
        at = end
    return out


def _spread(words: Sequence[str], schema: Any) -> list[str]:
    """The name of a list that is taken stands for the columns of its objects."""
    of: dict[str, list[str]] = {}
    for field in schema:
        if field.metadata and LIST in field.metadata:
            of.setdefault(field.metadata[LIST].decode(), []).append(field.name)
    return [name for word in words for name in of.get(word, [word])]
