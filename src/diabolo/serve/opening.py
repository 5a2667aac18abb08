"""Files that can be served, and the backend of each kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from diabolo.serve.backends import Backend, Choice
from diabolo.serve.detector_backend import DetectorBackend
from diabolo.serve.graph_backend import GraphBackend

__all__ = ["SUFFIXES", "open_backend"]

BACKENDS: dict[str, Callable[[Path, Choice], Backend]] = {".diabolo": DetectorBackend, ".onnx": GraphBackend}
#: Of files in a folder; of two with one name the first in this order is served.
SUFFIXES = tuple(BACKENDS)


def open_backend(path: Path, choice: Choice) -> Backend:
    """The backend of a file, by its suffix; another one is a model file.

    Raises:
        DiaboloError: the file cannot be served.
    """
    return BACKENDS.get(path.suffix.lower(), DetectorBackend)(path, choice)
