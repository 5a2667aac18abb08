"""The class of the page's sections: a title, a lead with the finding in one sentence, and a body."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar

from diabolo.registry import Entry, Registry
from diabolo.report.evidence import Evidence
from diabolo.report.html import Html, join, tag

__all__ = ["Missing", "PageSection", "Shown", "bar", "grid", "sections"]


@dataclasses.dataclass(frozen=True)
class Shown:
    """A section's content; `lead` is text or markup."""

    lead: str
    body: list[Html]
    #: Data for the page's script, by name.
    data: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Missing:
    """The reason why a section is empty, and the command that would fill it."""

    why: str
    command: str = ""


class PageSection(Entry, abc.ABC):
    """One heading of the page; `place` is its position, in tens that leave room between."""

    title: ClassVar[str]
    short: ClassVar[str]  #: for the bar of links

    @abc.abstractmethod
    def __call__(self, e: Evidence) -> Shown | Missing: ...


sections: Registry[PageSection] = Registry("section", __package__)


def grid(*cards: Html) -> Html:
    """Cards side by side where there is room."""
    return tag("div", join(cards), class_="grid")


def bar(width: float, style: str, said: str) -> Html:
    """A number with a bar of so many per cent of its length."""
    parts = [
        tag("rect", width=100, height=8, rx=2, class_="trough"),
        tag("rect", width=f"{width:.1f}", height=8, rx=2, class_=f"fill {style}"),
    ]
    svg = tag("svg", parts, viewBox="0 0 100 8", preserveAspectRatio="none", aria_hidden="true", class_="bar")
    return tag("span", svg, tag("span", said, class_="n"), class_="barred")
