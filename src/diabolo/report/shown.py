"""A page that shows itself in a notebook, and saves."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from diabolo.data.formats import atomic
from diabolo.markup import Html, tag

__all__ = ["Report"]

#: Pixels of the frame in a notebook.
HEIGHT = 640


@dataclasses.dataclass(frozen=True)
class Report:
    """One HTML page that opens offline.

    >>> Report("<p>rows</p>")
    Report of 11 characters: it shows itself in a notebook, .save(path) writes it
    """

    html: str = dataclasses.field(repr=False)

    def save(self, path: str | Path) -> Path:
        """Write the page, by atomic rename.

        Raises:
            OutputError: it cannot be written.
        """
        with atomic(path) as part:
            Path(part).write_text(self.html, encoding="utf-8")
        return Path(path)

    def __repr__(self) -> str:
        return f"Report of {len(self.html):,} characters: it shows itself in a notebook, .save(path) writes it"

    def _repr_html_(self) -> Html:
        # Without allow-same-origin the page's script can reach nothing of the notebook.
        return tag(
            "iframe",
            srcdoc=self.html,
            sandbox="allow-scripts",
            title="diabolo report",
            style=f"width:100%;height:{HEIGHT}px;border:1px solid rgba(128,128,128,.35)",
        )
