"""Processes of this machine: the standard library's pool, made anew when a worker is killed."""

from __future__ import annotations

import collections
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext
from typing import Any

from diabolo.distributed.engines.base import TRIES, Engine, engines, environment, given_up
from diabolo.distributed.parts import Job, Outcome

__all__ = ["Local"]

#: What the numerical libraries read once, when a worker imports them.
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ARROW_IO_THREADS")

#: Arrow's own allocator keeps what a piece has freed, several times the piece; the system's gives it back.
ALLOCATOR = "ARROW_DEFAULT_MEMORY_POOL"

#: What a piece loads beside diabolo's own modules: Arrow asks for pandas wherever it makes a column of numbers.
LIBRARIES = ("pyarrow.parquet", "pydantic", "pandas")

#: Seconds that a worker has to leave.
GRACE = 1.0


@engines.register("local")
class Local(Engine):
    """Processes of this machine, one per core."""

    def run(
        self, work: Callable[[Job], Outcome], jobs: Sequence[Job], workers: int, address: str | None
    ) -> Iterator[Outcome]:
        """Outcomes as they come. A worker that is killed costs the pieces under way, which are tried again.

        One piece is under way per worker, so that a killed one casts suspicion on few. A piece that was under way at
        two kills runs alone from then on, so that it can take no other with it.
        """
        tries: collections.Counter[str] = collections.Counter()
        waiting, suspects = collections.deque(jobs), collections.deque[Job]()
        while waiting or suspects:
            alone = not waiting
            queue, most = (suspects, 1) if alone else (waiting, workers)
            under_way: dict[Future[Outcome], Job] = {}
            with _pool(min(most, len(queue))) as pool:
                try:
                    while queue or under_way:
                        while queue and len(under_way) < most:
                            job = queue.popleft()
                            under_way[_sent(pool, work, job)] = job
                        for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                            job, error = under_way[future], future.exception()
                            if isinstance(error, BrokenProcessPool):
                                raise error
                            del under_way[future]
                            if error is None:
                                yield future.result()
                                continue
                            tries[job.name] += 1
                            if tries[job.name] < TRIES:
                                queue.append(job)
                            else:
                                yield given_up(job, error)
                except BrokenProcessPool:
                    for future, job in under_way.items():
                        if future.done() and future.exception() is None:
                            yield future.result()
                            continue
                        tries[job.name] += 1
                        if tries[job.name] >= TRIES:
                            yield given_up(job, "its process was killed, as the system does where memory ends")
                        else:
                            (suspects if tries[job.name] > 1 else waiting).append(job)


def _sent(pool: ProcessPoolExecutor, work: Callable[[Job], Outcome], job: Job) -> Future[Outcome]:
    """A piece that is under way; a pool that broke before it came is told as one that broke with it."""
    try:
        return pool.submit(work, job)
    except BrokenProcessPool as error:
        lost: Future[Outcome] = Future()
        lost.set_exception(error)
        return lost


@contextlib.contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of fresh processes, each on one thread; ended at once where the caller is interrupted."""
    others, context = set(multiprocessing.active_children()), _context()
    told = {**dict.fromkeys(ONE_THREAD, "1"), ALLOCATOR: os.environ.get(ALLOCATOR, "system")}
    with environment(**told):
        pool = ProcessPoolExecutor(workers, context, _begin)
        try:
            yield pool
        except BaseException:
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _context() -> BaseContext:
    """How workers are made: on Linux forked from one clean process that has imported what this one has of diabolo.

    So the seconds of imports are spent once, not once in each worker. The clean process runs nothing but imports. Its
    one other thread is that of Arrow's allocator, which makes itself anew after a fork; so a child waits for no lock
    of a thread that it has not. Elsewhere the system's own libraries do not bear a fork.
    """
    if not sys.platform.startswith("linux"):
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    ours = sorted(name for name in sys.modules if name.partition(".")[0] == "diabolo")
    context.set_forkserver_preload([*ours, *LIBRARIES])
    return context


def _begin() -> None:
    """A worker ends with the process that made it, and leaves Ctrl-C to that one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_outlive, daemon=True).start()


def _outlive() -> None:
    parent: Any = multiprocessing.parent_process()
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _stop(*_: Any) -> None:
    """Remove what is half-written on the way out; the pool takes this for the piece's failure, and waits for more."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end = threading.Timer(GRACE, os.kill, (os.getpid(), signal.SIGTERM))
    end.daemon = True
    end.start()
    raise SystemExit(1)
