"""Whether the libraries of the endpoint are installed: they are an extra."""

from __future__ import annotations

import importlib.util

from diabolo.errors import MissingExtraError

__all__ = ["LIBRARIES"]

#: Packages that serving needs.
LIBRARIES = ("starlette", "uvicorn", "orjson", "prometheus_client")

for _name in LIBRARIES:
    if importlib.util.find_spec(_name) is None:
        raise MissingExtraError(_name, "serve", "an endpoint")
