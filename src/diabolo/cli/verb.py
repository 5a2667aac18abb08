"""What a verb is: a function whose parameters are Typer's, its place in the order of the work, and its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from diabolo.registry import Entry, Registry

__all__ = ["Verb", "verb", "verbs"]


class Verb(Entry):
    """A command of the program."""

    run: ClassVar[Callable[..., Any]]
    examples: ClassVar[tuple[str, ...]]  #: lines that a person may type, for its --help


verbs: Registry[Verb] = Registry("verb", "diabolo.cli.verbs")


def verb(place: int, *examples: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function the verb of its name.

    Args:
        place: position in `diabolo --help`, rising in the order of the work; tens leave room between verbs.
        examples: command lines for its --help, the simplest one first; a test runs them.
    """

    def add(function: Callable[..., None]) -> Callable[..., None]:
        name = function.__name__
        own = {"place": place, "run": staticmethod(function), "examples": examples}
        said = {"__module__": function.__module__, "__doc__": function.__doc__}
        verbs.register(name)(type(name.capitalize(), (Verb,), {**said, **own}))
        return function

    return add
