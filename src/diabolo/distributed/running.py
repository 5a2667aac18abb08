"""A dataset piece by piece by an engine: parts in a folder, and what is told of them together."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from diabolo.data.formats import sweep
from diabolo.distributed.engines import Engine, engines
from diabolo.distributed.engines.base import cores
from diabolo.distributed.parts import NOTES, Job, Outcome, attempted, part_name
from diabolo.distributed.work import Work
from diabolo.errors import ConfigError, ModelFileError, OutputError, nearest
from diabolo.threads import one_thread

__all__ = ["check_folder", "engine_of", "run"]

#: Engines that call diabolo, and are not called by it.
CALLERS = {"ray": "map_batches", "spark": "mapInArrow"}


def engine_of(said: str, address: str | None = None) -> tuple[Engine, int]:
    """The engine that a word names, and its number of workers: local, local:4, dask.

    Raises:
        ConfigError: an unknown engine; an address for one that has none.

    >>> engine_of("local:3")[1]
    3
    """
    name, colon, count = said.partition(":")
    if name in CALLERS:
        raise ConfigError(
            f"--engine {name}: {name.capitalize()} calls diabolo by its {CALLERS[name]}, ten lines that "
            "docs/distributed.md has; allowed are " + ", ".join(engines)
        )
    if name not in engines.names():
        raise ConfigError(f"--engine {said}: {nearest(name, engines.names())}, each like local:4 for 4 workers")
    if colon and (not count.isdecimal() or not int(count)):
        raise ConfigError(f"--engine {said}: allowed behind the colon are whole numbers from 1 up")
    engine = engines.create(name)
    if address is not None and not engine.remote:
        raise ConfigError(
            f"--address {address}: the engine {name} runs on this machine; leave it out, or --engine dask"
        )
    if address is not None and colon:
        raise ConfigError(
            f"--engine {said}: the cluster at {address} has its own number of workers; leave :{count} out"
        )
    return engine, int(count) if colon else cores()


def check_folder(out: str, work: Work, jobs: Sequence[Job]) -> None:
    """Refuse a folder that cannot take the parts of these pieces.

    Raises:
        OutputError: a file is there, parts would replace or join the input, or it holds other files.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{out}: is a file; parts of several pieces need a folder")
    parts = {folder / part_name(work, job) for job in jobs}
    inputs = {Path(file) for job in jobs for file in job.files}
    here = folder.resolve()
    if any((here / part_name(work, job)) in inputs for job in jobs) or any(here in file.parents for file in inputs):
        raise OutputError(f"{out}: holds the input; choose another folder with --out")
    found = folder.rglob("*") if folder.exists() else iter(())
    other = next((p for p in found if p.is_file() and not _ours(p.relative_to(folder)) and p not in parts), None)
    if other is not None:
        raise OutputError(f"{other}: is no part of these pieces; choose an empty folder, or remove it")


def _ours(path: Path) -> bool:
    """Notes, and what a writer that was killed has left, which the next one removes."""
    return path.parts[0] == NOTES or path.name.startswith(".")


def run(
    work: Work,
    jobs: Sequence[Job],
    out: str,
    engine: Engine,
    workers: int,
    address: str | None = None,
    resume: bool = False,
    report: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Do all pieces; outcomes in the order of the pieces, also of those that failed.

    Args:
        work: what to do with a piece.
        jobs: the pieces.
        out: folder of parts and notes; it is made.
        engine, workers, address: as of `engine_of`.
        resume: leave parts that are done as they are.
        report: is told each outcome as it comes.

    Raises:
        ModelFileError: a worker cannot use the model file; parts that are done stay.
        OutputError: the folder cannot take the parts.
    """
    check_folder(out, work, jobs)
    folder = Path(out).resolve()
    try:
        (folder / NOTES).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot write into {out}: {error.strerror or error}; choose a folder for the parts"
        ) from None
    for place, _, _ in os.walk(folder):
        sweep(Path(place))
    found: dict[str, Outcome] = {}
    do = functools.partial(_one, work, str(folder), resume)
    coming: Iterator[Outcome] = engine.run(do, jobs, min(workers, len(jobs)), address)
    for outcome in coming:
        if outcome.fatal:
            close = getattr(coming, "close", None)
            if close is not None:
                close()
            raise ModelFileError(outcome.failed)
        found[outcome.name] = outcome
        report(outcome)
    return [found[job.name] for job in jobs]


def _one(work: Work, out: str, resume: bool, job: Job) -> Outcome:
    with one_thread():
        return attempted(work, job, out, resume)
