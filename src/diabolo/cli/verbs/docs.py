"""`diabolo docs`: the pages of the documentation, which come with the program."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import typer

from diabolo.cli.verb import verb
from diabolo.errors import ConfigError, nearest

#: Folders of pages below docs/.
FOLDERS = ("", "gallery", "benchmarks", "decisions")


@verb(130, "diabolo docs", "diabolo docs detect", "diabolo docs benchmarks/detect")
def docs(
    page: str | None = typer.Argument(None, help="Page to show, like detect.", show_default="the list of pages"),
) -> None:
    """Show a page of the documentation, or list the pages."""
    from diabolo.cli.console import say

    pages = pages_of(folder())
    if page is None:
        for name, path in pages.items():
            say(f"{name:<32} {title(path)}")
        say("\ndiabolo docs PAGE shows one; `diabolo docs PAGE | less` page by page")
        return
    asked = page.lower().removeprefix("docs/").removesuffix(".md")
    found = {name.lower(): path for name, path in pages.items()}
    if asked not in found:
        raise ConfigError(f"no page {page!r}: {nearest(asked, pages, 'there are')}")
    say(found[asked].read_text("utf-8").rstrip("\n"))


def folder() -> Traversable:
    """Where the pages lie: within an installed package, or beside the source.

    Raises:
        ConfigError: neither.
    """
    installed = files("diabolo") / "docs"
    if installed.is_dir():
        return installed
    beside = Path(__file__).parents[4] / "docs"
    if (beside / "detect.md").is_file():
        return beside
    raise ConfigError("the pages did not come with this installation; install diabolo from a wheel or a clone")


def pages_of(root: Traversable) -> dict[str, Traversable]:
    """Pages by name, those of the root first."""
    found = {}
    for inner in FOLDERS:
        place = root / inner if inner else root
        for path in sorted(place.iterdir(), key=lambda p: p.name):
            if path.name.endswith(".md"):
                found["/".join(filter(None, (inner, path.name.removesuffix(".md"))))] = path
    return found


def title(page: Traversable) -> str:
    """The heading of a page."""
    with page.open(encoding="utf-8") as file:
        return file.readline().lstrip("# ").strip()
