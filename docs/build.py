"""Write docs/settings.md, docs/api.md and the modules of docs/architecture.md from the code; run docs/lecture.md.

    docs/build.py          everything; `make docs` (a minute or two)
    docs/build.py --pages  what is written from the code alone (a second)
    docs/build.py --check  exit status 1, with a line, where a page is out of step with the code; runs no lecture

The outputs in docs/lecture.md are renewed once one of them differs by more than `snippets` allows. So another machine
leaves the page as it is.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import re
import sys
import textwrap
import tomllib
from pathlib import Path
from typing import Any

from diabolo import config
from diabolo.cluster.embedding import embeddings
from diabolo.cluster.partition import partitions
from diabolo.data.formats import formats
from diabolo.detect.scores import scores
from diabolo.generate.methods import methods
from diabolo.model.corruption import corruptions
from diabolo.model.latent import latents
from diabolo.model.likelihood import likelihoods
from diabolo.model.networks import networks
from diabolo.model.prior import priors
from diabolo.model.regularizer import regularizers
from diabolo.train.robust import robusts

sys.path.insert(0, str(Path(__file__).parent))
import api
import figures
import snippets

DOCS = Path(__file__).parent
SOURCE = DOCS.parent / "src" / "diabolo"
SETTINGS = DOCS / "settings.md"
ARCHITECTURE = DOCS / "architecture.md"
API = DOCS / "api.md"
LECTURE = DOCS / "lecture.md"
#: Pages whose printed numbers come from a run, and are compared within the tolerance of `snippets`.
MEASURED = (LECTURE, DOCS.parent / "README.md")
#: Characters of a line: of text, and of a row of a table.
WIDTH, WIDEST = 120, 160
#: The list of modules goes from this heading to the page's end.
MODULES = "## Modules"
REGISTRIES = (
    networks,
    latents,
    priors,
    likelihoods,
    corruptions,
    regularizers,
    robusts,
    scores,
    embeddings,
    partitions,
    methods,
    formats,
)


def dotted(values: dict[str, Any]) -> dict[str, Any]:
    """Settings as `--set` takes them: a part by its name, its own settings after a dot."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            out[key] = value["name"]
            out |= {f"{key}.{k}": v for k, v in value.items() if k != "name"}
        else:
            out[key] = value
    return out


def comments() -> dict[str, str]:
    """The `#:` lines above each field of `Config`."""
    source = Path(config.__file__).read_text()
    lines = source.splitlines()
    body = next(n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == "Config").body
    found = {}
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            at, text = node.lineno - 2, []
            while lines[at].strip().startswith("#:"):
                text.insert(0, lines[at].strip()[2:].strip())
                at -= 1
            found[node.target.id] = " ".join(text)
    return found


def row(*cells: str) -> str:
    """A row of a table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def wrapped(text: str, mark: str = "- ") -> list[str]:
    """Lines of a paragraph, or of a list entry."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=mark,
        subsequent_indent=" " * len(mark),
        break_long_words=False,
        break_on_hyphens=False,
    )


def parted(text: str) -> tuple[str, str]:
    """The first sentence, and the rest: no sentence begins with a number or a bracket."""
    text = " ".join(text.split())
    first, *rest = re.split(r"(?<=\.)(?<!app\.)(?<!eq\.) (?=[^\d(])", text, maxsplit=1)
    return first, "".join(rest)


def settings() -> str:
    """The text of docs/settings.md: tables of first sentences, and the rest of each below its table."""
    said = comments()
    out = [
        "# Settings",
        "",
        "`make docs` writes this page from the code. A setting is a constructor parameter of every autoencoder class,",
        "a line of a TOML file (`--config`), or `--set key=value`. A part is its name, or a mapping with its settings:",
        '`corruption = {name = "gaussian", std = 0.2}`, on the command line `--set corruption.std=0.2`.',
        "",
        "| setting | default | meaning |",
        "|---|---|---|",
    ]
    more: list[str] = []
    for field in dataclasses.fields(config.Config):
        first, rest = parted(said[field.name])
        out.append(row(f"`{field.name}`", f"`{field.default}`", first))
        if rest:
            more += wrapped(f"`{field.name}`. {rest}")
    out += ["", *more, "", "## Methods", "", "| method | sets |", "|---|---|"]
    for name, values in config.METHODS.items():
        sets = ", ".join(f"{k} = {v}" for k, v in dotted(values).items())
        out.append(row(f"`{name}`", f"`{sets}`" if sets else "nothing"))
    for registry in REGISTRIES:
        out += ["", f"## {registry.concept.capitalize()}", "", row(registry.concept, "meaning"), "|---|---|"]
        more = []
        for name in registry:
            entry = registry.get(name)
            values = ", ".join(f"`{f.name} = {f.default}`" for f in dataclasses.fields(entry))  # type: ignore[arg-type]
            first, rest = parted(entry.__doc__ or "")
            out.append(row(f"`{name}`", first))
            if values or rest:
                more += wrapped(f"`{name}`. {' '.join(filter(None, [values and values + '.', rest]))}")
        out += ["", *more] if more else []
    return "\n".join(out) + "\n"


def first_line(path: Path) -> str:
    """The first line of a module's docstring, without the layer that some name."""
    text = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]
    text = re.sub(r"^L\d: | \(L\d\)", "", text)
    return text[:1].upper() + text[1:]


def modules() -> str:
    """The list of modules, by level and folder."""
    out, level = [MODULES, ""], ""
    out += ["`make docs` writes this list from the code, and from docs/layers.toml.", ""]
    for layer in tomllib.loads((DOCS / "layers.toml").read_text())["layer"]:
        if layer["level"] != level:
            level = layer["level"]
            out += [f"### {level}", ""]
        out += ["", f"**{layer['about']}.**", ""]
        for name in layer["holds"]:
            top = SOURCE / name
            folder = [top, *sorted(p for p in top.rglob("*") if (p / "__init__.py").exists())] if top.is_dir() else []
            if not folder:
                out += wrapped(f"`{name}`: {first_line(top.with_suffix('.py'))}")
            for package in folder:
                title = package.relative_to(SOURCE).as_posix()
                out += ["", *wrapped(f"`{title}/`: {first_line(package / '__init__.py')}", ""), ""]
                for path in sorted(package.glob("*.py")):
                    if path.stem != "__init__":
                        out += wrapped(f"`{path.stem}`: {first_line(path)}")
                out += [""]
        out += [""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(out)).rstrip() + "\n"


def written() -> dict[Path, str]:
    """The pages that are written from the code alone."""
    before = ARCHITECTURE.read_text().split(f"\n{MODULES}\n")[0] + "\n"
    return {SETTINGS: settings(), ARCHITECTURE: before + modules(), API: api.page()}


def lecture() -> None:
    """Run the lecture's blocks in order, draw each one's figure, and renew the outputs if one of them changed."""
    namespace: dict[str, Any] = {}
    outputs = []
    for block in snippets.blocks(LECTURE):
        print(block.title or "what the blocks share", flush=True)
        outputs.append(snippets.run(block, namespace, str(LECTURE)))
        if block.image:
            figures.draw(LECTURE.parent / block.image, namespace)
    LECTURE.write_text(snippets.with_outputs(LECTURE.read_text(), outputs))


def too_wide(page: Path) -> list[int]:
    """Lines of a page that are longer than a line of text or a row of a table may be."""
    inside, found = False, []
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        inside ^= line.startswith("```")
        most = WIDEST if inside or line.startswith(("|", "!")) else WIDTH
        if len(line) > most:
            found.append(number)
    return found


def faults() -> list[str]:
    """What is out of step, without running anything."""
    found = [
        f"docs/{page.name} is out of step with the code" for page, text in written().items() if page.read_text() != text
    ]
    for block in snippets.blocks(LECTURE):
        if block.image and not (LECTURE.parent / block.image).exists():
            found.append(f"docs/{block.image} is missing")
    found += [
        f"{page.name} lacks a line like '{snippets.made()}', or: {snippets.NOTE}"
        for page in MEASURED
        if not snippets.noted(page)
    ]
    for page in [*sorted(DOCS.rglob("*.md")), *sorted(DOCS.parent.glob("*.md"))]:
        if lines := too_wide(page):
            name = page.relative_to(DOCS.parent)
            found.append(f"{name} has lines longer than {WIDTH} ({WIDEST} in tables and code): {lines}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", action="store_true", help="write what comes from the code alone")
    parser.add_argument("--check", action="store_true", help="write nothing; say what is out of step")
    asked = parser.parse_args()
    if asked.check:
        found = faults()
        if found:
            sys.exit("\n".join(found) + "\nrun `make docs`, and mend what it does not write")
        return
    for page, text in written().items():
        page.write_text(text)
    if not asked.pages:
        lecture()


if __name__ == "__main__":
    main()
