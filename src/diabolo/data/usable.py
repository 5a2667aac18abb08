"""Which columns of a table no model can be fitted on, each with why: one answer for `info` and `fit`, for all at once.

A fault is a sentence without its subject: {"City, State": "has 997 different values among 1,000 rows; ..."}. Faults of
type are known from the schema alone; faults of value need rows, of which the first `LOOK` are enough.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diabolo.data.dtypes import TEXT, arrow_dtype
from diabolo.data.formats import BESIDE, Data, collection_of, schema_of, text_of
from diabolo.data.matching import word_faults
from diabolo.data.reading import first_rows
from diabolo.data.schema import category_fault, spread_fault
from diabolo.data.table import Table
from diabolo.errors import ColumnsError, DataError

__all__ = [
    "LOOK",
    "collections",
    "faults_of",
    "first_usable",
    "flags",
    "leaving_out",
    "none_fits",
    "type_faults",
    "unusable",
    "value_faults",
]

#: Rows that are looked at.
LOOK = 100_000
#: Letters of an option that are printed at most: Linux takes 131,072 bytes in a word; and columns named with why.
MOST_LETTERS, MOST_NAMED = 20_000, 500


def type_faults(data: Data, names: Sequence[str], beside: bool = True) -> dict[str, str]:
    """Faults that a table's schema shows: lists, other nested cells, text with two readings, labels beside a matrix.

    Args:
        data: the table.
        names: of the columns that a model is to see.
        beside: whether a vector beside an array of more dimensions is one too.
    """
    schema, text = schema_of(data)[0], text_of(data)
    said = (schema.metadata or {}).get(BESIDE, b"").decode().split(",")
    out: dict[str, str] = {}
    lists = collection_of(schema)
    for name in names:
        if name in lists:
            group = lists[name]
            out[name] = f"holds lists; --take {group}:10 makes columns of the first 10 objects of {group}"
        elif text is not None and name in text.questions:
            out[name] = f"has two readings: {text.questions[name]}"
        elif beside and name and name in said:
            out[name] = (
                "beside an array of more dimensions may be a label, which no fit must see: --label "
                f"{shlex.quote(name)} says so, --exclude {shlex.quote(name)} leaves it out, --columns or "
                f"{data}::ARRAYS says that it is a feature"
            )
        else:
            try:
                arrow_dtype(schema.field(name).type, name)
            except DataError:
                out[name] = f"holds {schema.field(name).type}; allowed are numbers, truth values, text and dates"
    return out


def value_faults(table: Table, kinds: Mapping[str, str] | None = None) -> dict[str, str]:
    """Faults that rows show: text that names each row, numbers among which a few words stray, or without a scale."""
    out = {**_spread_faults(table, kinds or {}), **word_faults(table, kinds or {})}
    # The training rows are fewer than all, and have almost as many levels.
    some = table.values[np.arange(len(table)) * 7 % 10 < 6]
    for i, (name, dtype) in enumerate(zip(table.names, table.dtypes, strict=True)):
        if name not in out and (dtype in TEXT or (kinds or {}).get(name) == "categorical"):
            for cells in (table.values[:, i], some[:, i]):
                fault = category_fault(cells, "rows")
                if fault:
                    out[name] = fault
                    break
    return out


def first_usable(data: Data, names: Sequence[str]) -> tuple[Table | None, dict[str, str]]:
    """The first rows of some columns, without those whose cells are no numbers nor words, and the faults of these."""
    faults: dict[str, str] = {}
    while left := [n for n in names if n not in faults]:
        try:
            return first_rows(data, left, LOOK), faults
        except ColumnsError as error:
            faults |= error.faults
    return None, faults


def _spread_faults(table: Table, kinds: Mapping[str, str]) -> dict[str, str]:
    """Numbers whose squares double precision cannot hold."""
    out = {}
    for i, (name, dtype) in enumerate(zip(table.names, table.dtypes, strict=True)):
        cells = table.values[:, i]
        cells = cells[np.isfinite(cells)].astype(np.float64)
        if not len(cells) or dtype in TEXT or kinds.get(name) == "categorical":
            continue
        low, high = float(cells.min()), float(cells.max())
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            spread = float(cells.std())
        fault = spread_fault(low, high, spread)
        if fault is not None:
            out[name] = fault
    return out


def unusable(
    data: Data, names: Sequence[str], kinds: Mapping[str, str] | None = None, beside: bool = True
) -> dict[str, str]:
    """All faults of some columns, by the schema and the first rows; see `type_faults`."""
    out = type_faults(data, names, beside)
    table, more = first_usable(data, [n for n in names if n not in out])
    out |= more
    if table is not None:
        out |= value_faults(table, kinds)
    return {n: out[n] for n in names if n in out}


def flags(option: str, names: Sequence[str]) -> str:
    """An option with names of columns, as a shell takes it.

    >>> flags("--exclude", ["a", "b c"]), flags("--exclude", ["City, State", "b"])
    ("--exclude 'a,b c'", "--exclude 'City, State' --exclude b")
    """
    if any("," in n or n.startswith("-") for n in names):
        return " ".join(f"{option}={shlex.quote(n)}" if n[:1] == "-" else f"{option} {shlex.quote(n)}" for n in names)
    return f"{option} {shlex.quote(','.join(names))}"


def leaving_out(names: Sequence[str]) -> str:
    """The option that leaves out columns that cannot be fitted: by their names, where a shell takes so many letters."""
    said = flags("--exclude", names)
    return said if len(said) <= MOST_LETTERS else "--exclude unusable"


def _with_reasons(faults: Mapping[str, str]) -> str:
    some = [f"{name!r} {why}" for name, why in list(faults.items())[:MOST_NAMED]]
    rest = len(faults) - len(some)
    return "; ".join([*some, f"and {rest:,} more, which diabolo info lists"] if rest else some)


def collections(schema: Any) -> dict[str, list[str]]:
    """Lists of numbers by the collection that `--take` would name, in the table's order."""
    found: dict[str, list[str]] = {}
    for name, group in collection_of(schema).items():
        found.setdefault(group, []).append(name)
    return found


def _taking(faults: Mapping[str, str], schema: Any) -> str:
    """What makes columns of the lists among some faults, and leaves out the rest; "" if there is no such list."""
    groups = {group: lists for group, lists in collections(schema).items() if not faults.keys().isdisjoint(lists)}
    taken = {name for lists in groups.values() for name in lists}
    rest = [name for name in faults if name not in taken]
    words = [f"--take {shlex.quote(f'{group}:10')}" for group in groups]
    return " ".join([*words, leaving_out(rest)] if rest and words else words)


def none_fits(faults: Mapping[str, str], schema: Any, where: Any) -> DataError:
    """What to say where all columns have a fault: to leave them out would leave nothing, but lists have objects."""
    remedy = _taking(faults, schema)
    if remedy:
        return DataError(
            f"{where}: no column can be fitted as it stands: {remedy} makes columns of the first 10 objects of each"
        )
    return DataError(f"{where}: none of its columns can be fitted: {_with_reasons(faults)}")


def faults_of(error: ColumnsError, where: Any, schema: Any = None) -> DataError:
    """All faults in one line, with the remedy for all; the schema tells which lists may become columns."""
    faults = error.faults
    remedy = leaving_out(list(faults))
    if len(faults) == 1:
        name, why = next(iter(faults.items()))
        return DataError(f"{where}: column {name!r} {why}; {remedy} leaves it out")
    unusable = "--exclude unusable"
    too = "" if remedy == unusable else f", and so does {unusable}"
    taking = _taking(faults, schema) if schema is not None else ""
    # Where some lists may become columns and other faults may not, one line does both.
    taking = f", {taking} makes columns of the lists' first objects" if "--exclude" in taking else ""
    return DataError(
        f"{where}: {len(faults)} columns cannot be fitted: {remedy} leaves them out{too}"
        f"{taking}; {_with_reasons(faults)}"
    )
