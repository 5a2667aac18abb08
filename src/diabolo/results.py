"""What a call found, for people: text by `print`, a card in a notebook, a data frame by `to_frame`."""

from __future__ import annotations

import abc
import datetime
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from diabolo.errors import MissingExtraError
from diabolo.markup import Html, columns_table, number, tag

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Lines", "Result", "card", "frame_of"]

#: Rows of a card's table, at most.
MOST_ROWS = 12
#: A sentence that begins with a name, set apart by blanks.
NAMED = re.compile(r" +(\S.{0,13}?) {2,}(.+)")
#: Colors are those of the notebook, light or dark.
STYLE = (
    ".diabolo{font-size:.92em;line-height:1.45;max-width:60em;margin:.4em 0}"
    ".diabolo .title{font-weight:600}.diabolo p{margin:.15em 0}"
    ".diabolo table{border-collapse:collapse;margin:.4em 0;font-variant-numeric:tabular-nums;background:none}"
    ".diabolo caption{text-align:left;opacity:.75}.diabolo .sr{display:none}.diabolo .scroll{overflow-x:auto}"
    ".diabolo th,.diabolo td{text-align:left;vertical-align:top;padding:.15em .8em .15em 0;"
    "border-bottom:1px solid rgba(128,128,128,.35);background:none;white-space:pre-wrap}"
    ".diabolo tbody th{font-weight:400}.diabolo th.n,.diabolo td.n{text-align:right;white-space:nowrap}"
)


class Lines(str):
    """Text of several lines that a notebook and an interpreter show as such.

    >>> Lines("rows  3\\ncolumns  2")
    rows  3
    columns  2
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def frame_of(records: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Records as a pandas frame, a column for each key.

    Args:
        columns: names where there may be no record.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError:
        raise MissingExtraError("pandas", "pandas", "a data frame") from None
    return pd.DataFrame(list(records), columns=None if columns is None else list(columns))


def card(
    title: str,
    lines: Sequence[str] = (),
    records: Sequence[Mapping[str, Any]] = (),
    caption: str = "",
    facts: Sequence[tuple[str, str]] = (),
) -> Html:
    """A title, facts by name, sentences and a table, as HTML for a notebook; every text is escaped.

    Args:
        records: rows of the table; the first ones are shown.
        facts: name and text.
    """
    parts: list[object] = [tag("style", Html(STYLE)), tag("p", title, class_="title")]
    if facts:
        parts.append(tag("table", tag("tbody", [tag("tr", tag("th", n, scope="row"), tag("td", t)) for n, t in facts])))
    parts.append([tag("p", line.strip()) for line in lines])
    if records:
        names = list(records[0])
        numeric = [i for i, n in enumerate(names) if all(_is_number(r[n]) for r in records)]
        shown = [[_cell(r[n]) for n in names] for r in records[:MOST_ROWS]]
        parts.append(columns_table(caption or title, names, shown, numeric=numeric, hidden_caption=not caption))
    if len(records) > MOST_ROWS:
        parts.append(tag("p", f"and {number(len(records) - MOST_ROWS)} more in .to_frame()"))
    return tag("div", parts, class_="diabolo")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or _is_number(value):
        return number(value)
    return value.isoformat(" ") if isinstance(value, datetime.datetime) else str(value)


class Result(abc.ABC):
    """A result in sentences and records."""

    @abc.abstractmethod
    def sentences(self) -> list[str]:
        """What was found; the first one is the verdict."""

    @abc.abstractmethod
    def records(self) -> list[dict[str, Any]]:
        """The result's table, a plain dict a row."""

    def to_frame(self) -> pd.DataFrame:
        """The records as a pandas frame.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return frame_of(self.records())

    def __str__(self) -> str:
        return "\n".join(self.sentences())

    def html(self) -> Html:
        """A card for a notebook."""
        first, *rest = self.sentences()
        named = [(line, NAMED.fullmatch(line)) for line in rest]
        facts = [(found[1], found[2]) for _, found in named if found]
        return card(first, [line for line, found in named if not found], self.records(), facts=facts)

    def _repr_html_(self) -> str:
        return self.html()
