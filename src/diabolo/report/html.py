"""The HTML of a page: that of `diabolo.markup`, and sentences with commands in them."""

from __future__ import annotations

import re

from diabolo.markup import Html, Sorted, columns_table, join, number, percent, tag, words

__all__ = ["Html", "Sorted", "columns_table", "join", "number", "percent", "prose", "tag", "words"]

#: Flags with their value, and commands with their arguments in capitals.
COMMAND = re.compile(r"(--[a-z][a-z-]*(?: \d+| [A-Z]+\b)?|diabolo [a-z]+(?: [A-Z]{4,})+(?: --row N)?)")


def prose(text: object) -> Html:
    """A sentence in which flags and commands are set as code.

    >>> prose("Take --epochs 20 < 30.")
    'Take <code class="flag">--epochs 20</code> &lt; 30.'
    """
    if isinstance(text, Html):
        return text
    parts = COMMAND.split(str(text))
    return join(
        tag("code", part, class_="flag" if part.startswith("--") else None) if i % 2 else part
        for i, part in enumerate(parts)
    )
