"""Text for a terminal or a page: names and cells of files are shown, never obeyed."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console", "percent", "visible"]

#: Characters without a picture that lay text out, and do nothing else.
LAYOUT = "\n\t\N{NO-BREAK SPACE}"


def visible(text: str) -> str:
    r"""Text without characters that a terminal obeys, that HTML does not allow, or that turn the direction of others.

    >>> visible("pt\x1b[31m \u202eeta")
    'pt�[31m �eta'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in LAYOUT else "\N{REPLACEMENT CHARACTER}" for c in text)


def percent(share: float) -> str:
    """A share as a person reads it.

    >>> percent(0.01), percent(0.034), percent(0.000075)
    ('1 %', '3.4 %', '0.0075 %')
    """
    return f"{100 * share:.3g} %"


@dataclasses.dataclass(frozen=True)
class _Shown:
    """Whatever rich can render, with every piece of its text made visible; rich's own codes are no text."""

    inner: Any

    def __rich_console__(self, console: Any, options: Any) -> Any:
        from rich.segment import Segment

        for text, style, control in console.render(self.inner, options):
            yield Segment(text if control else visible(text), style, control)

    def __rich_measure__(self, console: Any, options: Any) -> Any:
        from rich.measure import Measurement

        return Measurement.get(console, options, self.inner)


class _Hook:
    def process_renderables(self, renderables: list[Any]) -> list[Any]:
        return [_Shown(r) for r in renderables]


def console(**settings: Any) -> Console:
    """A rich console on which names and cells of files can do nothing; 110 characters wide where it is no terminal."""
    from rich.console import Console

    made = Console(markup=False, highlight=False, **settings)
    if not made.is_terminal:
        made = Console(markup=False, highlight=False, **{"width": 110, **settings})
    made.push_render_hook(_Hook())  # type: ignore[arg-type]
    return made
