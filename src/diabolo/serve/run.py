"""The endpoint as a process: a socket, worker processes, and an end that lets requests finish."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import uvicorn

from diabolo.errors import ConfigError
from diabolo.serve.application import Endpoint
from diabolo.serve.backends import Choice
from diabolo.serve.metrics import MULTIPROCESS
from diabolo.serve.settings import Settings, is_loopback, token_of

__all__ = ["Process", "run"]

#: Tells worker processes how they run: JSON of `Process`.
ENVIRONMENT = "DIABOLO_SERVE"
#: Seconds that requests have to finish after SIGTERM.
DRAIN = 30
#: Seconds after which Python lets another thread run: answers must not wait for an explanation.
SWITCH = 0.001


@dataclasses.dataclass(frozen=True)
class Process:
    """How the process runs; workers get it as JSON, and read the token from its file.

    Attributes:
        settings: of the endpoint, but for its token and hosts.
        token_file: file with the token; None for anybody.
        host, port, workers: the address, and processes that answer there.
        open: whether a public address may be without a token.
        reports: folder of reports; set by `run`.
    """

    settings: Settings
    token_file: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    open: bool = False
    reports: str | None = None

    def checked(self) -> Settings:
        """The endpoint's settings, with token and hosts.

        Raises:
            ConfigError: a setting is out of range; a public address has no token.
        """
        if not 0 <= self.port <= 65_535:
            raise ConfigError(f"--port {self.port}: allowed are numbers from 0 to 65535")
        if not 1 <= self.workers <= 256:
            raise ConfigError(f"--workers {self.workers}: allowed are numbers from 1 to 256")
        token = None if self.token_file is None else token_of(Path(self.token_file))
        loopback = is_loopback(self.host)
        if not loopback and token is None and not self.open:
            raise ConfigError(
                f"--host {self.host} lets other machines ask, without a token: give one with --token-file FILE, or say "
                "--open"
            )
        hosts = ("127.0.0.1", "localhost", "[::1]", self.host.lower()) if loopback else ()
        return dataclasses.replace(self.settings, token=token, hosts=hosts)

    def to_json(self) -> str:
        settings = {**dataclasses.asdict(self.settings), "path": str(self.settings.path)}
        return json.dumps({**dataclasses.asdict(self), "settings": settings})

    @staticmethod
    def from_json(text: str) -> Process:
        state = json.loads(text)
        given = state["settings"]
        made = {"path": Path(given["path"]), "choice": Choice(**given["choice"]), "hosts": tuple(given["hosts"])}
        return Process(**{**state, "settings": Settings(**{**given, **made})})


def run(process: Process) -> None:
    """Serve until SIGINT or SIGTERM; requests that have begun are answered first.

    Raises:
        ConfigError: as of `Process.checked`.
        DiaboloError: a file cannot be served.
    """
    settings = process.checked()
    _log()
    options: dict[str, Any] = {
        "host": process.host,
        "port": process.port,
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "date_header": False,
        # Nothing here asks for a caller's address.
        "proxy_headers": False,
        "lifespan": "on",
        "timeout_graceful_shutdown": DRAIN,
    }
    if process.workers == 1:
        _quick()
        uvicorn.run(Endpoint(settings).asgi, **options)
        return
    with _shared() as folder:
        told = dataclasses.replace(process, reports=folder)
        os.environ[ENVIRONMENT] = told.to_json()
        uvicorn.run("diabolo.serve.run:worker", factory=True, workers=process.workers, **options)


def worker() -> Any:
    """The application of a worker process, by the environment."""
    process = Process.from_json(os.environ[ENVIRONMENT])
    _log()
    _quick()
    return Endpoint(process.checked(), None if process.reports is None else Path(process.reports)).asgi


def _quick() -> None:
    torch.set_num_threads(1)
    sys.setswitchinterval(SWITCH)
    # What is imported lives as long as the process: no search for garbage among it.
    gc.freeze()


def _log() -> None:
    """One line for each event on stderr: none of a request, and none with a cell."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    # Its lines of a request that is no HTTP quote nothing, but those of debugging do.
    logging.getLogger("uvicorn").setLevel(logging.INFO)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


@contextlib.contextmanager
def _shared() -> Iterator[str]:
    """A folder for reports and for metrics of all workers."""
    with tempfile.TemporaryDirectory(prefix="diabolo-serve-") as folder:
        reports, metrics = Path(folder) / "reports", Path(folder) / "metrics"
        reports.mkdir()
        metrics.mkdir()
        os.environ[MULTIPROCESS] = str(metrics)
        yield str(reports)
