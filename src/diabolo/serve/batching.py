"""Requests that come together are scored together: a row's score does not depend on its company.

A request waits for no other one. Those that arrive while a batch is scored make the next batch.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any, TypeAlias

import pyarrow as pa

from diabolo.errors import DAMAGE, DiaboloError
from diabolo.serve.backends import Backend
from diabolo.serve.faults import Fault

__all__ = ["Batcher", "Lists"]

#: Cells of columns, or what is said of rows, as lists by name.
Lists: TypeAlias = Mapping[str, list[Any]]
#: Rows of a batch; a larger table goes in pieces of so many.
MOST = 4_096
#: Rows of a batch that is scored at once, without a thread, where one row takes less than `QUICK` seconds.
SMALL, QUICK = 256, 0.02


@dataclasses.dataclass(slots=True)
class Waiting:
    """A request's rows, which wait for their scores."""

    given: Lists | pa.Table
    rows: int
    watched: bool  #: whether they count for drift
    future: asyncio.Future[Any]

    def joins(self, other: Waiting) -> bool:
        """Whether both can be one table."""
        if self.watched != other.watched:
            return False
        if isinstance(self.given, pa.Table):
            return isinstance(other.given, pa.Table) and other.given.schema == self.given.schema
        return not isinstance(other.given, pa.Table)


class Batcher:
    """Scores tables of one backend in batches.

    Args:
        backend: scores.
        thread: of one worker, where long batches run.
        most_waiting: requests that may wait; more are refused.
        tell: is called with each table that was scored, its result, and whether it counts for drift.
    """

    def __init__(
        self,
        backend: Backend,
        thread: ThreadPoolExecutor,
        most_waiting: int,
        tell: Callable[[pa.Table, pa.Table, bool], None],
    ) -> None:
        self._backend, self._thread, self._most, self._tell = backend, thread, most_waiting, tell
        self._waiting: deque[Waiting] = deque()
        self._running = False
        self._task: asyncio.Task[None] | None = None
        self._seconds = _seconds_of_one(backend)

    async def lists(self, cells: Lists, rows: int, watched: bool = True) -> Lists:
        """What is said of rows whose cells come as lists by column.

        Args:
            cells: of each column of the model.
            rows: how many there are.
            watched: whether they count for drift.

        Raises:
            Fault: too many requests wait, or a cell cannot be read.
        """
        if not rows:
            return {name: [] for name in self._backend.score(self._backend.columns.arrow.empty_table()).column_names}
        if rows > MOST:
            told: Lists = (await self.table(self._backend.columns.table(cells), watched)).to_pydict()
            return told
        found: Lists = await self._wait(cells, rows, watched)
        return found

    async def table(self, table: pa.Table, watched: bool = True) -> pa.Table:
        """The scores of a table's rows.

        Raises:
            Fault: too many requests wait.
            DiaboloError: the rows cannot be scored.
        """
        if not table.num_rows:
            return self._backend.score(table)
        parts = [table.slice(at, MOST) for at in range(0, table.num_rows, MOST)]
        return pa.concat_tables([await self._wait(part, part.num_rows, watched) for part in parts])

    def _wait(self, given: Lists | pa.Table, rows: int, watched: bool) -> asyncio.Future[Any]:
        if len(self._waiting) >= self._most:
            raise Fault(f"{self._most:,} requests are waiting; try again in a second", 429, allowed=self._most)
        loop = asyncio.get_running_loop()
        waiting = Waiting(given, rows, watched, loop.create_future())
        self._waiting.append(waiting)
        if not self._running:
            self._running = True
            # After the other requests that are ready now.
            loop.call_soon(self._next)
        return waiting.future

    def _next(self) -> None:
        batch: list[Waiting] = []
        rows = 0
        while self._waiting:
            first = self._waiting[0]
            if batch and (rows + first.rows > MOST or not batch[0].joins(first)):
                break
            self._waiting.popleft()
            if not first.future.cancelled():
                batch.append(first)
                rows += first.rows
        if not batch:
            self._running = False
        elif rows <= SMALL and self._seconds < QUICK:
            self._answer(batch, _scored(self._backend, batch))
            self._again()
        else:
            self._task = asyncio.get_running_loop().create_task(self._in_thread(batch))

    async def _in_thread(self, batch: list[Waiting]) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._answer(batch, await loop.run_in_executor(self._thread, _scored, self._backend, batch))
        except BaseException:
            for waiting in batch:
                waiting.future.cancel()
            raise
        finally:
            self._again()

    def _again(self) -> None:
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._next)
        else:
            self._running = False

    def _answer(self, batch: list[Waiting], found: list[Scored]) -> None:
        for scored in found:
            if scored.table is not None:
                self._tell(scored.table, scored.result, batch[0].watched)
        for waiting, answer in zip(batch, chain.from_iterable(s.answers for s in found), strict=True):
            if waiting.future.cancelled():
                continue
            if isinstance(answer, BaseException):
                waiting.future.set_exception(answer)
            else:
                waiting.future.set_result(answer)


@dataclasses.dataclass(slots=True)
class Scored:
    """A table that was scored as one, and the answer to each request whose rows are in it."""

    answers: list[Any]
    table: pa.Table | None = None
    result: pa.Table | None = None


def _scored(backend: Backend, batch: list[Waiting]) -> list[Scored]:
    """Score a batch as one table; if that fails, each request by itself: the fault of one is none of the others."""
    try:
        table = _joined(backend, batch)
        result = backend.score(table)
    except (DiaboloError, *DAMAGE, pa.ArrowException) as error:
        if len(batch) == 1:
            return [Scored([error])]
        return [scored for waiting in batch for scored in _scored(backend, [waiting])]
    answers: list[Any] = []
    at = 0
    lists = None if isinstance(batch[0].given, pa.Table) else result.to_pydict()
    for waiting in batch:
        stop = at + waiting.rows
        answers.append(
            result.slice(at, waiting.rows) if lists is None else {name: c[at:stop] for name, c in lists.items()}
        )
        at = stop
    return [Scored(answers, table, result)]


def _joined(backend: Backend, batch: list[Waiting]) -> pa.Table:
    given = [waiting.given for waiting in batch]
    if isinstance(given[0], pa.Table):
        return given[0] if len(given) == 1 else pa.concat_tables(given)
    columns = backend.columns
    return columns.table({name: list(chain.from_iterable(g[name] for g in given)) for name in columns.names})


def _seconds_of_one(backend: Backend) -> float:
    """Seconds that one row takes, once what is derived at first use is there."""
    kinds = backend.columns.arrow
    row = pa.Table.from_arrays([pa.nulls(1, kind) for kind in kinds.types], schema=kinds)
    taken = []
    for _ in range(4):
        begun = time.perf_counter()
        backend.score(row)
        taken.append(time.perf_counter() - begun)
    return min(taken)
