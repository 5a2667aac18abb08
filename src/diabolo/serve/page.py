"""The page at `/`: its files, and what it is told of a model."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from diabolo.serve.columns import Field
from diabolo.serve.messages import Answer
from diabolo.serve.models import Served

__all__ = ["FILES", "about", "page_file", "static"]

#: The page's files, by address.
FILES = {"/": "page.html", "/page.js": "page.js", "/page.css": "page.css"}
TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css"}
#: The page loads what this endpoint serves, and nothing else; its script stands in a file of its own.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def page_file(address: str) -> Answer:
    """A file of the page at `/`."""
    return static("diabolo.serve", FILES[address])


def static(package: str, name: str) -> Answer:
    """A file of a page that lies in a package; its style continues the report's, and that of the page at `/`."""
    body = (files(package) / name).read_bytes()
    if name == "page.css":
        packages = dict.fromkeys(("diabolo.report", "diabolo.serve", package))
        body = b"".join((files(p) / name).read_bytes() for p in packages)
    kind = TYPES[name.rpartition(".")[2]]
    return Answer(body, 200, {"content-type": f"{kind}; charset=utf-8", "content-security-policy": POLICY})


def about(served: Served, typical: dict[str, Any]) -> dict[str, Any]:
    """What a model is: its card, its columns, and a typical row."""
    return {
        "name": served.name,
        "version": served.version,
        "since": served.since,
        "card": served.backend.card,
        "columns": [_column(f) for f in served.backend.columns.fields],
        "typical": typical,
    }


def _column(field: Field) -> dict[str, Any]:
    c = field.column
    levels = list(c.levels) if c.kind != "ordinal" else []
    told = {"name": c.name, "cells": field.cells, "kind": c.kind, "type": c.dtype, "unit": c.unit, "levels": levels}
    return {**told, "low": c.low, "high": c.high, "resolution": c.resolution, "missing": c.missing}
