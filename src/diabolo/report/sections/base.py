"""What a section of the page is: a title, one sentence that says what was found, and its body."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

from diabolo.registry import Registry
from diabolo.report.evidence import Evidence
from diabolo.report.html import Html, join, tag

__all__ = ["Missing", "Part", "Section", "grid", "sections"]


@dataclasses.dataclass(frozen=True)
class Part:
    """A section's content; `lead` is text or markup."""

    lead: Any
    body: list[Any]
    #: Data for the page's script, by name.
    data: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Missing:
    """What a model or table lacks for a section, and how to get it; `command` is what to type."""

    why: str
    command: str = ""


class Section(Protocol):
    name: str
    title: str
    short: str  #: for the bar of links

    def __call__(self, e: Evidence) -> Part | Missing: ...


#: In the order of the page.
sections: Registry[Section] = Registry("section")


def grid(*cards: Any) -> Html:
    """Cards side by side where there is room."""
    return tag("div", join(cards), class_="grid")
