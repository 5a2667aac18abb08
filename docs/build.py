"""Write docs/settings.md from the code: every setting of `Config`, every entry of every registry.

Run `make docs`; with --check it only says whether the page is in step.
"""

from __future__ import annotations

import ast
import dataclasses
import sys
from pathlib import Path

from diabolo import config
from diabolo.data.formats import formats
from diabolo.detect.scores import scores
from diabolo.model.corruption import corruptions
from diabolo.model.latent import latents
from diabolo.model.likelihood import likelihoods
from diabolo.model.networks import networks
from diabolo.model.prior import priors
from diabolo.model.regularizer import regularizers
from diabolo.train.robust import robusts

PAGE = Path(__file__).parent / "settings.md"
REGISTRIES = (networks, latents, priors, likelihoods, corruptions, regularizers, robusts, scores, formats)


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


def main() -> None:
    if "--check" in sys.argv:
        if not PAGE.exists() or PAGE.read_text() != page():
            sys.exit("docs/settings.md is out of step with the code: run `make docs`")
    else:
        PAGE.write_text(page())


if __name__ == "__main__":
    main()
