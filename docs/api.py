"""The public names: docs/api.md lists them with their first sentences, and the site has a page for each with all of it.

A name is public if it is in the `__all__` of the package, of `diabolo.information` or of `diabolo.plots`; of a class,
what its methods and attributes are without an underscore.
"""

from __future__ import annotations

import inspect
import re
import types
from pathlib import Path
from typing import Any

import diabolo

#: Methods that other modules of the package call; a reader of the API needs none of them.
INNER = {"found_elsewhere", "from_calibrated", "from_file", "from_fitted", "remember_columns", "sections", "settings"}
#: Their pages show what they add, and lead to this one for the rest.
BASE = "Autoencoder"
HEAD = """# API reference

`make docs` writes this page from the docstrings: each public name with its first sentence. The rest (shapes, units,
errors, examples) is what `help(diabolo.AnomalyDetector.fit)` shows, and the site (`make site`), on a page for each.
"""
#: Modules whose public names stand on one page.
MODULES = ("information", "plots")


def classes() -> list[str]:
    """Public classes, the base of autoencoders before those that derive from it."""
    named = [n for n in diabolo.__all__ if inspect.isclass(getattr(diabolo, n))]
    derived = [n for n in named if issubclass(getattr(diabolo, n), diabolo.Autoencoder) and n != BASE]
    return [BASE, *derived, *(n for n in named if n not in (BASE, *derived))]


def functions() -> list[str]:
    """Public functions of the package; `report` is a module that can be called."""
    return [n for n in diabolo.__all__ if n not in (*classes(), *MODULES) and not n.startswith("_")]


def pages() -> list[str]:
    """Pages of the site, one for each class and module, and one for all functions."""
    return [*classes(), "functions", *MODULES]


def called(name: str) -> Any:
    """A public function: of a module that can be called, what its call runs."""
    found = getattr(diabolo, name)
    return found.report if isinstance(found, types.ModuleType) else found


def members(name: str) -> dict[str, Any]:
    """Methods and properties of a public class that the package wrote, by name."""
    found = {}
    for each in dir(getattr(diabolo, name)):
        home = next(c for c in getattr(diabolo, name).__mro__ if each in vars(c))
        value = vars(home)[each]
        if each.startswith("_") or each in INNER or not home.__module__.startswith("diabolo"):
            continue
        if isinstance(value, property | classmethod | types.FunctionType) and not each.startswith("set_"):
            found[each] = value
    return found


def sentence(found: Any) -> str:
    """The first sentence of a docstring, in one line of a table."""
    text = (inspect.getdoc(found) or "").partition("\n\n")[0]
    return " ".join(text.split()).replace("|", "\\|")


def row(name: str, found: Any, most: int = 160) -> str:
    """A row of a table: a name and its sentence, cut where it does not fit."""
    start, text = f"| `{name}` | ", sentence(found)
    room = most - len(start) - 2
    return start + (text if len(text) <= room else text[: room - 2].rsplit(" ", 1)[0].rstrip(",;:") + " …") + " |"


def page() -> str:
    """The text of docs/api.md."""
    out = [*HEAD.splitlines(), "", "## Classes", "", "| class | what it is |", "|---|---|"]
    out += [row(n, getattr(diabolo, n)) for n in classes()]
    out += ["", "## Functions", "", "| function | what it does |", "|---|---|"]
    out += [row(n, called(n)) for n in functions()]
    for name in MODULES:
        module = getattr(diabolo, name)
        out += ["", f"## `diabolo.{name}`", "", "| name | what it is |", "|---|---|"]
        out += [row(n, getattr(module, n)) for n in module.__all__]
    shared = members(BASE)
    for name in classes():
        own = {n: f for n, f in members(name).items() if name == BASE or shared.get(n) is not f}
        if own:
            out += ["", f"## Methods of `{name}`", "", "| method | what it does |", "|---|---|"]
            out += [row(n, f.__func__ if isinstance(f, classmethod) else f) for n, f in own.items()]
    return "\n".join(out) + "\n"


def told(name: str) -> str:
    """A page of the site: what mkdocstrings is asked for."""
    if name == "functions":
        asked = [f"::: {called(n).__module__}.{n}" for n in functions()]
        return "\n\n".join(["# Functions", *asked]) + "\n"
    if name in MODULES:
        module = getattr(diabolo, name)
        asked = [f"::: {getattr(module, n).__module__}.{n}" for n in module.__all__]
        return "\n\n".join([f"# diabolo.{name}", *asked]) + "\n"
    found = getattr(diabolo, name)
    own = [n for n, f in members(name).items() if name == BASE or members(BASE).get(n) is not f]
    chosen = ", ".join(own)
    shown = f"members: [{chosen}]" if chosen else "members: false\n      inherited_members: false"
    options = f"    options:\n      heading_level: 1\n      {shown}\n"
    more = f"\nAll other methods are those of [{BASE}]({BASE}.md).\n" if issubclass(found, diabolo.Autoencoder) else ""
    return f"::: {found.__module__}.{name}\n{options}" + (more if name != BASE else "")


def write(docs: Path) -> None:
    """The pages of the site in docs/api/, with links to them in docs/api.md."""
    (docs / "api").mkdir()
    for name in pages():
        (docs / "api" / f"{name}.md").write_text(told(name))
    text = (docs / "api.md").read_text()
    for name in classes():
        text = text.replace(f"| `{name}` |", f"| [`{name}`](api/{name}.md) |")
    text = text.replace("## Functions\n", "## Functions\n\n[All of them](api/functions.md).\n")
    for name in MODULES:
        text = re.sub(rf"(## `diabolo\.{name}`\n)", rf"\1\n[All of them](api/{name}.md).\n", text)
    (docs / "api.md").write_text(text)
