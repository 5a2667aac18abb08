"""The page as a process: on this machine's own address, until it is interrupted."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from diabolo.errors import ConfigError
from diabolo.explore.application import Explorer
from diabolo.explore.bins import binned
from diabolo.explore.measuring import Measured

__all__ = ["HOSTS", "bound", "show"]

#: Names of this machine for itself.
HOSTS = ("127.0.0.1", "localhost")
#: Seconds that requests have to finish.
DRAIN = 5


def bound(port: int) -> socket.socket:
    """A socket of this machine's own address, which no other machine reaches; taken before the work begins.

    Raises:
        ConfigError: no such port, or another program has it.
    """
    if not 0 <= port <= 65_535:
        raise ConfigError(f"--port {port}: allowed are numbers from 0 to 65535")
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((HOSTS[0], port))
    except OSError as error:
        found.close()
        raise ConfigError(f"--port {port}: {error.strerror}; --port 0 takes a free one") from None
    return found


def show(
    measured: Measured, folder: Path, model: Path, data: str, where: socket.socket, ready: Callable[[str], None]
) -> None:
    """Serve the page until SIGINT or SIGTERM.

    Args:
        measured: the rows.
        folder: where bars go, a byte for each cell.
        model, data: how the person named them.
        where: of `bound`.
        ready: is told the page's address.
    """
    fields, codes = binned(measured, folder)
    explorer = Explorer(measured, fields, codes, model, data, HOSTS)
    config = uvicorn.Config(
        explorer.asgi,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        lifespan="off",
        timeout_graceful_shutdown=DRAIN,
    )
    ready(f"http://{HOSTS[0]}:{where.getsockname()[1]}")
    uvicorn.Server(config).run(sockets=[where])
