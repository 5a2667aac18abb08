"""A model file as workers know it: a path with its SHA-256, loaded once in each process."""

from __future__ import annotations

import functools
import hashlib
import json
import socket
from pathlib import Path
from typing import Any

from diabolo.artifact import stamp_of
from diabolo.errors import ModelFileError
from diabolo.file.model_file import ModelFile
from diabolo.files import open_regular
from diabolo.version import __version__

__all__ = ["OnModel", "sha256_of"]


def sha256_of(*paths: str | Path) -> str:
    """SHA-256 of a file, or of several one after the other.

    Raises:
        ModelFileError: one cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        with open_regular(path, ModelFileError) as (handle, _):
            while block := handle.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


@functools.lru_cache(maxsize=2)
def _loaded(path: str, sha256: str, own_network: bool) -> ModelFile:
    host = socket.gethostname()
    try:
        before = stamp_of(path)
        came = sha256_of(path)
        file = ModelFile(path, own_network)
        after = stamp_of(path)
    except OSError as error:
        raise ModelFileError(_unread(path, host, error.strerror or str(error))) from None
    except ModelFileError as error:
        raise ModelFileError(_unread(path, host, str(error).removeprefix(f"{path}: "))) from None
    if came != sha256 or before != after:
        raise ModelFileError(
            f"{path} on the host {host} is another file than at the start (SHA-256 {came[:12]}, was {sha256[:12]}); "
            "put the same file there, or start again with this one"
        )
    return file


def _unread(path: str, host: str, why: str) -> str:
    return f"{path}: cannot be read on the host {host}: {why}; put it where every worker can read it"


class OnModel:
    """Work with a model file that is sent to workers as path and SHA-256.

    Args:
        model: the file; every worker reads it at this path.
        own_network: import your own network, which the file names.
        options: of the work, as plain JSON.

    Attributes:
        path: absolute path of the file.
        sha256: of its bytes.
        version: of diabolo, which has to be the same everywhere.

    Raises:
        ModelFileError: it cannot be read.
    """

    def __init__(self, model: str | Path, own_network: bool = False, **options: Any) -> None:
        self.path, self.own_network, self.options = str(Path(model).resolve()), own_network, options
        self.sha256, self.version = sha256_of(self.path), __version__

    def __getstate__(self) -> dict[str, Any]:
        """What is sent: no part of the model."""
        return {name: getattr(self, name) for name in ("path", "own_network", "options", "sha256", "version")}

    @property
    def model_file(self) -> ModelFile:
        """The file, loaded once in this process.

        Raises:
            ModelFileError: it cannot be read here, or is another one; another version of diabolo; names the host.
        """
        if self.version != __version__:
            raise ModelFileError(
                f"the host {socket.gethostname()} has diabolo {__version__}, the work comes from {self.version}; "
                "install one version everywhere"
            )
        return _loaded(self.path, self.sha256, self.own_network)

    @property
    def identity(self) -> str:
        """SHA-256 of all that decides what comes out for given rows."""
        said = [type(self).__name__, self.version, self.sha256, self.own_network, self.options]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
