"""Parquet bodies are read in a process of their own: PyArrow ends a process on some damaged ones."""

from __future__ import annotations

import contextlib
import multiprocessing
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import pyarrow as pa

from diabolo.serve.columns import Columns
from diabolo.serve.faults import Fault
from diabolo.serve.tables import table_of

__all__ = ["Reader"]

#: The media type that is read apart.
APART = "application/vnd.apache.parquet"


class Reader:
    """Reads bodies; a body that ends the process that reads it is a fault of the body. For one thread.

    A pipe leads there, and not a pool: semaphores of a pool would outlive this process where it is killed.
    """

    def __init__(self) -> None:
        self._process: BaseProcess | None = None
        self._pipe: Any = None

    def table(self, body: bytes, kind: str, columns: Columns, most: int) -> pa.Table:
        """As `diabolo.serve.tables.table_of`."""
        if kind != APART:
            return table_of(body, kind, columns, most)
        if self._process is None or not self._process.is_alive():
            self._begin()
        try:
            self._pipe.send((table_of, body, kind, columns, most))
            found = self._pipe.recv()
        except (EOFError, OSError):
            self.close()
            raise Fault(f"the body is no {kind} that can be read", 400) from None
        if isinstance(found, BaseException):
            raise found
        return found

    def _begin(self) -> None:
        self.close()
        # A fork would take the locks of this process' threads along.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            self._pipe.close()
            process.terminate()
            process.join()


def _work(pipe: Connection) -> None:
    """Read bodies until the pipe is closed, as it is with the end of the process that made it."""
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            work, *given = pipe.recv()
            try:
                found = work(*given)
            except Exception as error:
                found = error
            pipe.send(found)
