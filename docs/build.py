"""Write docs/settings.md from the code, run docs/lecture.md, and draw its figures.

    docs/build.py             everything; `make docs` (a minute or two)
    docs/build.py --settings  docs/settings.md alone
    docs/build.py --check     says whether the pages are in step, without running the lecture

An output in docs/lecture.md is renewed only where it differs by more than the test allows, so that another machine
leaves the page as it is.
"""

from __future__ import annotations

import ast
import dataclasses
import sys
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
import figures
import snippets

PAGE = Path(__file__).parent / "settings.md"
LECTURE = Path(__file__).parent / "lecture.md"
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


def page() -> str:
    """The page's text."""
    said = comments()
    out = [
        "# Settings",
        "",
        "Written by `make docs`. A setting is a constructor parameter of every autoencoder class, a line of a TOML",
        "file (`--config`), or `--set key=value`. A part is its name, or a mapping with its settings:",
        '`corruption = {name = "gaussian", std = 0.2}`, on the command line `--set corruption.std=0.2`.',
        "",
        "| setting | default | meaning |",
        "|---|---|---|",
    ]
    for field in dataclasses.fields(config.Config):
        meaning = said[field.name].replace("|", "\\|")
        out.append(f"| `{field.name}` | `{field.default}` | {meaning} |")
    out += ["", "## Methods", "", "| method | sets |", "|---|---|"]
    for name, settings in config.METHODS.items():
        out.append(f"| `{name}` | {', '.join(f'`{k} = {v}`' for k, v in settings.items()) or 'nothing'} |")
    for registry in REGISTRIES:
        title = registry.concept.capitalize()
        out += ["", f"## {title}", "", f"| {registry.concept} | settings | what it is |", "|---|---|---|"]
        for name in registry:
            entry = registry.get(name)
            settings = ", ".join(
                f"`{f.name} = {f.default}`"
                for f in dataclasses.fields(entry)  # type: ignore[arg-type]
            )
            text = " ".join((entry.__doc__ or "").split()).replace("|", "\\|")
            out.append(f"| `{name}` | {settings} | {text} |")
    return "\n".join(out) + "\n"


def lecture() -> None:
    """Run the lecture's blocks in order, draw each one's figure, and renew outputs that changed."""
    namespace: dict[str, Any] = {}
    outputs = []
    for block in snippets.blocks(LECTURE):
        print(block.title or "what the blocks share", flush=True)
        outputs.append(snippets.run(block, namespace, str(LECTURE)))
        if block.image:
            figures.draw(LECTURE.parent / block.image, namespace)
    LECTURE.write_text(snippets.with_outputs(LECTURE.read_text(), outputs))


def faults() -> list[str]:
    """What is out of step, without running anything."""
    found = []
    if not PAGE.exists() or PAGE.read_text() != page():
        found.append("docs/settings.md is out of step with the code")
    for block in snippets.blocks(LECTURE):
        if block.image and not (LECTURE.parent / block.image).exists():
            found.append(f"docs/{block.image} is missing")
    return found


def main() -> None:
    if "--check" in sys.argv:
        found = faults()
        if found:
            sys.exit("; ".join(found) + ": run `make docs`")
        return
    PAGE.write_text(page())
    if "--settings" not in sys.argv:
        lecture()


if __name__ == "__main__":
    main()
