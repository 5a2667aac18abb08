"""The options of every verb that reads a table: how its text is written, where a sample does not tell."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any

import typer

__all__ = ["reads_text"]

OPTIONS: dict[str, tuple[Any, Any]] = {
    "separator": (str | None, typer.Option(None, help="Of text: between cells, like ';', or tab, pipe, space.")),
    "decimal": (str | None, typer.Option(None, help="Of text: mark before decimals, '.' or ','; the other groups.")),
    "missing": (
        list[str],
        typer.Option([], help="Of text: word for a missing cell, also COLUMN=WORD for one column; repeatable."),
    ),
    "encoding": (str | None, typer.Option(None, help="Of text: like cp1252; by default what its bytes tell.")),
    "header": (str | None, typer.Option(None, help="Of text: first line holds names (first), or a row (none).")),
    "date": (
        list[str],
        typer.Option([], help="Of text: COLUMN=FORMAT, like day=%d/%m/%Y, t=epoch, id=none; repeatable."),
    ),
}


def reads_text(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the options of text tables; what is asked goes with its argument `data` or `path`, if it has one."""
    signature = inspect.signature(verb)
    table = next((name for name in ("data", "path") if name in signature.parameters), None)
    if table is None:
        return verb
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in OPTIONS.items()
    ]

    @functools.wraps(verb)
    def run(**given: Any) -> None:
        said = {name: given.pop(name) for name in OPTIONS}
        if any(said.values()):
            from diabolo.data.dialect.record import Asked, Reading
            from diabolo.data.formats import with_reading

            dates, missing = tuple(said.pop("date")), tuple(said.pop("missing"))
            given[table] = with_reading(given[table], Reading(Asked(**said, missing=missing, dates=dates)))
        verb(**given)

    own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in signature.parameters.values()]
    hints = typing.get_type_hints(verb)
    run.__signature__ = inspect.Signature([*own, *more])  # type: ignore[attr-defined]
    run.__annotations__ = {**hints, **{name: kind for name, (kind, _) in OPTIONS.items()}}
    del run.__wrapped__  # type: ignore[attr-defined]
    return run
