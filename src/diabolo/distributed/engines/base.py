"""The class of all engines, and what they share."""

from __future__ import annotations

import abc
import os
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

from diabolo.distributed.parts import Job, Outcome
from diabolo.registry import Entry, Registry

__all__ = ["TRIES", "Engine", "cores", "engines", "given_up"]

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


def given_up(job: Job, why: object) -> Outcome:
    """The outcome of a piece whose last attempt failed."""
    return Outcome(job.name, failed=f"failed {TRIES} times: {why}")
