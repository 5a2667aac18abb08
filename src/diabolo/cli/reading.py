"""The options of every verb that reads or writes a table: how its text is written."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any

import typer

__all__ = ["text_options"]

OPTIONS: dict[str, tuple[Any, Any]] = {
    "separator": (
        str | None,
        typer.Option(None, metavar="MARK", help="Of text: between cells, like ';', or tab, pipe, space."),
    ),
    "decimal": (
        str | None,
        typer.Option(None, metavar="MARK", help="Of text: mark before decimals, '.' or ','; the other groups."),
    ),
    "missing": (
        list[str],
        typer.Option([], metavar="WORD", help="Of text: word for a missing cell, or COL=WORD of one; repeatable."),
    ),
    "encoding": (
        str | None,
        typer.Option(None, metavar="NAME", help="Of text: like cp1252.", show_default="what its bytes tell"),
    ),
    "header": (
        str | None,
        typer.Option(None, metavar="first|none", help="Of text: first line holds names (first), or a row (none)."),
    ),
    "date": (
        list[str],
        typer.Option([], metavar="COL=FORMAT", help="Of text: like day=%d/%m/%Y, t=epoch, id=none; repeatable."),
    ),
}
#: Of verbs whose `out` may be a text table.
SAFE_CSV: tuple[Any, Any] = (
    bool,
    typer.Option(False, "--safe-csv", help="Of text: an apostrophe before what a spreadsheet would run."),
)


def text_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the options of text tables: what is asked of one goes with its argument `data` or `path`."""
    signature = inspect.signature(verb)
    table = next((name for name in ("data", "path") if name in signature.parameters), None)
    writes = signature.parameters.get("out")
    options = dict(OPTIONS) if table is not None else {}
    if writes is not None and "str" in str(writes.annotation):
        options["safe_csv"] = SAFE_CSV
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in options.items()
    ]

    @functools.wraps(verb)
    def run(**given: Any) -> None:
        safe = given.pop("safe_csv", False)
        said = {name: given.pop(name) for name in OPTIONS if table is not None}
        if any(said.values()):
            from diabolo.data.dialect.record import Asked, Reading
            from diabolo.data.formats import with_reading

            dates, missing = tuple(said.pop("date")), tuple(said.pop("missing"))
            given[str(table)] = with_reading(given[str(table)], Reading(Asked(**said, missing=missing, dates=dates)))
        if not safe:
            return verb(**given)
        from diabolo.data.formats.writing import SAFE

        token = SAFE.set(True)
        try:
            verb(**given)
        finally:
            SAFE.reset(token)

    own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in signature.parameters.values()]
    hints = typing.get_type_hints(verb)
    run.__signature__ = inspect.Signature([*own, *more])  # type: ignore[attr-defined]
    run.__annotations__ = {**hints, **{name: kind for name, (kind, _) in options.items()}}
    del run.__wrapped__  # type: ignore[attr-defined]
    return run
