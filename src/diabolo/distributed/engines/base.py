"""The class of all engines, and what they share."""

from __future__ import annotations

import abc
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

from diabolo.distributed.parts import Job, Outcome
from diabolo.registry import Entry, Registry

__all__ = ["TRIES", "Engine", "cores", "engines", "environment", "given_up"]

#: Attempts at a piece.
TRIES = 4


class Engine(Entry, abc.ABC):
    """Runs a function over pieces."""

    #: Whether it takes the address of a cluster.
    remote: ClassVar[bool] = False

    @abc.abstractmethod
    def run(
        self, work: Callable[[Job], Outcome], jobs: Sequence[Job], workers: int, address: str | None
    ) -> Iterator[Outcome]:
        """Outcomes as they come, one for each job; nothing of the engine is left when the iterator is closed."""


engines: Registry[Engine] = Registry("engine", "diabolo.distributed.engines")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def environment(**more: str) -> Iterator[None]:
    """Variables for processes that are started meanwhile.

    They find modules where this process does, and the folder in which it runs is no such place by itself: a file
    `code.py` beside the data must not be taken for Python's own.
    """
    places = os.pathsep.join(place or os.getcwd() for place in sys.path)
    # Where this process is killed, another one of Python clears away what it had: that is nothing to warn of.
    quiet = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), "ignore:resource_tracker:UserWarning"]))
    told = {**more, "PYTHONPATH": places, "PYTHONSAFEPATH": "1", "PYTHONWARNINGS": quiet}
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def given_up(job: Job, why: object) -> Outcome:
    """The outcome of a piece whose last attempt failed."""
    return Outcome(job.name, failed=f"failed {TRIES} times: {why}")
