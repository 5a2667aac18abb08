"""The endpoint's addresses in OpenAPI 3.1, with the columns of each model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diabolo.serve.backends import RESULT
from diabolo.serve.columns import Columns
from diabolo.serve.models import Served
from diabolo.serve.settings import Settings
from diabolo.serve.tables import KINDS
from diabolo.version import __version__

__all__ = ["openapi"]

JSON = "application/json"
CELLS: dict[str, dict[str, Any]] = {
    "number": {"type": ["number", "null"]},
    "duration": {"type": ["number", "null"], "description": "seconds"},
    "truth": {"type": ["boolean", "number", "null"]},
    "text": {"type": ["string", "null"]},
    "date": {"type": ["string", "null"], "description": "ISO 8601, like 2024-05-01T12:00:00"},
    "time": {"type": ["string", "null"], "description": "time of day, like 12:30:00"},
}


def openapi(models: Sequence[Served], settings: Settings, explained: int) -> dict[str, Any]:
    """The document."""
    rows = {m.name: _row(m.backend.columns) for m in models}
    refs: list[dict[str, Any]] = [{"$ref": f"#/components/schemas/{name}"} for name in rows]
    row = refs[0] if len(refs) == 1 else {"oneOf": refs}
    which = [_query("model", f"One of {', '.join(rows)}.", required=len(rows) > 1)]
    table, few = _rows(row, settings.max_rows), _rows(row, explained)
    table |= {kind: {"schema": {"type": "string", "format": "binary"}} for kind in KINDS}
    neighbors = _query("neighbors", f"Normal training rows to show, up to {settings.neighbors}.", kind="integer")
    drift = _query("drift", "no: these rows do not count for drift.")
    binary = {JSON: {"schema": {"type": "object"}}, "application/octet-stream": {}}
    paths: dict[str, Any] = {
        "/score": {"post": _call("Score rows; the answer has the type of the request.", table, [*which, drift])},
        "/explain": {"post": _call("Which columns make each row what it is.", few, [*which, neighbors])},
        "/health/drift": {"get": _call("Whether the rows of late look like the calibration rows.", None, which)},
        "/models": {"get": _call("What each model is.")},
        "/metrics": {"get": _call("Metrics for Prometheus.")},
        "/v2": {"get": _call("Server metadata.")},
        "/v2/health/live": {"get": _call("Whether it lives.")},
        "/v2/health/ready": {"get": _call("Whether it answers.")},
    }
    for at in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        named = [_part(word) for word in ("name", "version") if f"{{{word}}}" in at]
        paths[at] = {"get": _call("Model metadata.", None, named)}
        paths[f"{at}/ready"] = {"get": _call("Whether the model answers.", None, named)}
        paths[f"{at}/infer"] = {"post": _call("Open Inference Protocol, version 2.", binary, named)}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "diabolo", "version": __version__},
        "paths": paths,
        "components": {"schemas": {**rows, "Result": _result()}},
    }
    if settings.token is not None:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def _row(columns: Columns) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for f in columns.fields:
        cells[f.name] = dict(CELLS[f.cells])
        if f.column.unit:
            cells[f.name]["description"] = f"in {f.column.unit}"
    return {"type": "object", "properties": cells, "required": columns.names}


def _rows(row: dict[str, Any], most: int) -> dict[str, Any]:
    """A row, or a list of them, as a body."""
    return {JSON: {"schema": {"oneOf": [row, {"type": "array", "items": row, "maxItems": most}]}}}


def _result() -> dict[str, Any]:
    kinds = {"double": "number", "bool": "boolean", "string": "string"}
    cells = {f.name: {"type": [kinds[str(f.type)], "null"]} for f in RESULT}
    return {"type": "object", "properties": cells}


def _query(name: str, about: str, required: bool = False, kind: str = "string") -> dict[str, Any]:
    return {"name": name, "in": "query", "required": required, "description": about, "schema": {"type": kind}}


def _part(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _call(about: str, body: Any = None, parameters: Any = ()) -> dict[str, Any]:
    answers = {"200": {"description": "The answer."}}
    if body is not None:
        said = {"400": "It cannot be read.", "413": "It is too long.", "422": "It is not of the model's columns."}
        answers |= {code: {"description": words} for code, words in {**said, "429": "Too many wait."}.items()}
    call: dict[str, Any] = {"summary": about, "parameters": list(parameters), "responses": answers}
    if body is not None:
        call["requestBody"] = {"required": True, "content": body}
    return call
