"""Parquet bodies are read in a process of their own: PyArrow ends a process on some damaged ones."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pyarrow as pa

from diabolo.serve.columns import Columns
from diabolo.serve.faults import Fault
from diabolo.serve.tables import table_of

__all__ = ["Reader"]

#: The media type that is read apart.
APART = "application/vnd.apache.parquet"


class Reader:
    """Reads bodies; a body that ends the process that reads it is a fault of the body. For one thread."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def table(self, body: bytes, kind: str, columns: Columns, most: int) -> pa.Table:
        """As `diabolo.serve.tables.table_of`."""
        if kind != APART:
            return table_of(body, kind, columns, most)
        if self._pool is None:
            # A fork would take the locks of this process' threads along.
            self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        try:
            return self._pool.submit(table_of, body, kind, columns, most).result()
        except BrokenProcessPool:
            self.close()
            raise Fault(f"the body is no {kind} that can be read", 400) from None

    def close(self) -> None:
        """End the process."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)
