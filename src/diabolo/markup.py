"""HTML from Python values: only markup that was built here is markup, any other text is escaped."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence

from diabolo.screen import visible

__all__ = ["Html", "Sorted", "columns_table", "join", "number", "percent", "tag", "words"]

#: Elements without content.
VOID = frozenset({"meta", "link", "input", "br", "img", "hr", "line", "rect", "circle", "path", "use", "polyline"})


class Html(str):
    """Markup; any other string is text."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """An element. A child that is no `Html` is text, and is escaped; so is every attribute.

    In an attribute's name a trailing underscore is dropped, and others become hyphens. None and False leave it out.

    >>> tag("p", "a < b", tag("b", "!"), class_="note", aria_label='"')
    '<p class="note" aria-label="&quot;">a &lt; b<b>!</b></p>'
    """
    parts = [f"<{name}"]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        parts.append(f" {key}" if value is True else f' {key}="{html.escape(str(value))}"')
    if name in VOID and not children:
        return Html("".join(parts) + ("/>" if name not in ("meta", "link", "input", "br", "img", "hr") else ">"))
    return Html("".join([*parts, ">", join(children), f"</{name}>"]))


def join(children: Iterable[object]) -> Html:
    """Children one after the other; lists are flattened, None is nothing."""
    parts: list[str] = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, Html):
            parts.append(child)
        elif isinstance(child, list | tuple):
            parts.append(join(child))
        else:
            parts.append(html.escape(visible(str(child)), quote=False))
    return Html("".join(parts))


def words(text: str, most: int = 40) -> str:
    """A name cut to a length that a figure has room for."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def number(value: object, digits: int = 4) -> str:
    """A number for a person: a true minus, thousands apart, exponents only where they help.

    >>> number(-1234567.0), number(0.00001234), number(3), number(float("nan"))
    ('−1,234,567', '1.234e−5', '3', 'missing')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "missing"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, float) and math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    if isinstance(value, int) or (size >= 10**digits and size < 1e12):
        text = f"{value:,.0f}"
    else:
        text = f"{value:.{digits}g}"
        if "e" in text:
            mantissa, _, power = text.partition("e")
            text = f"{mantissa}e{int(power)}"
    return text.replace("-", "−")


def percent(share: float, digits: int = 1) -> str:
    r"""A share in per cent, with the digits that small ones need.

    >>> [p.replace("\N{NO-BREAK SPACE}", " ") for p in (percent(0.1234), percent(0.00042), percent(0))]
    ['12.3 %', '0.042 %', '0 %']
    """
    if not math.isfinite(share):
        return "–"
    value = 100 * share
    if value and abs(value) < 10**-digits:
        return f"{number(float(f'{value:.2g}'))}\N{NO-BREAK SPACE}%"
    text = f"{value:.{digits}f}"
    return f"{(text.rstrip('0').rstrip('.') if '.' in text else text).replace('-', '−')}\N{NO-BREAK SPACE}%"


def columns_table(
    caption: str,
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    numeric: Sequence[int] = (),
    sortable: bool = False,
    hidden_caption: bool = False,
    id_: str | None = None,
) -> Html:
    """A table with a caption, column headings and row headings (the first cell of each row).

    Args:
        numeric: positions of columns that are set flush right.
        sortable: the page's script makes buttons of its headings, and sorts by the cells' `data-value`.
    """
    right = set(numeric)
    head = [tag("th", h, scope="col", class_="n" if i in right else None) for i, h in enumerate(headings)]
    body = []
    for row in rows:
        cells = []
        for i, cell in enumerate(row):
            name, extra = ("th", {"scope": "row"}) if i == 0 else ("td", {})
            value = None
            if isinstance(cell, Sorted):
                value, cell = cell.value, cell.shown
            cells.append(tag(name, cell, class_="n" if i in right else None, data_value=value, **extra))
        body.append(tag("tr", cells))
    table = tag(
        "table",
        tag("caption", caption, class_="sr" if hidden_caption else None),
        tag("thead", tag("tr", head)),
        tag("tbody", body),
        id=id_,
        class_="sortable" if sortable else None,
    )
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=caption)


class Sorted:
    """A cell that is sorted by another value than the one shown."""

    def __init__(self, shown: object, value: float | str) -> None:
        self.shown, self.value = shown, value
