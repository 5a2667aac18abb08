"""What a section of the page is: a title, one sentence that says what was found, and its body."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar

from diabolo.registry import Entry, Registry
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


class Section(Entry, abc.ABC):
    """One heading of the page; `place` is its position, in tens that leave room between."""

    title: ClassVar[str]
    short: ClassVar[str]  #: for the bar of links

    @abc.abstractmethod
    def __call__(self, e: Evidence) -> Part | Missing: ...


sections: Registry[Section] = Registry("section", __package__)


def grid(*cards: Any) -> Html:
    """Cards side by side where there is room."""
    return tag("div", join(cards), class_="grid")
