"""A fit by several processes of this machine, started and watched by PyTorch's own launcher, that of `torchrun`.

    driver ──torch.distributed.run──▶ rank 0, rank 1, ...      each: `diabolo fit` with the driver's own words

- **Rows and roles.** Every rank knows all rows by their places in the dataset, so roles, schema, scaling and
  calibration rows are those of one process, bit for bit. A table that fits into --memory lies in every rank. Of a
  larger one each rank reads and caches its own run of rows, and the sums of the pass are put together.
- **Steps.** A batch has the same rows as in one process. Each rank takes the gradient of its share, the gradients are
  gathered and added up by rank, and every rank takes the same step. Random numbers are drawn for the whole batch.
- **Files.** Rank 0 writes checkpoint and model. Where a rank is killed all end, and the same words with --resume go on
  from the checkpoint, with the bits of a fit that was not killed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from diabolo.distributed.engines.base import cores, environment
from diabolo.errors import ConfigError, WorkerError
from diabolo.world import ENDED

__all__ = ["fit_by_torchrun", "run_ranks", "workers_of"]

#: What a rank runs.
RANK = "diabolo.cli.rank"
#: Signals by which the launcher ends ranks once one has failed.
ENDING = (signal.SIGTERM, signal.SIGINT)


def workers_of(said: str) -> int | None:
    """The number of ranks that `torchrun:N` names; None for `torchrun` alone.

    Raises:
        ConfigError: another engine, or no number.

    >>> workers_of("torchrun:3"), workers_of("torchrun")
    (3, None)
    """
    name, colon, count = said.partition(":")
    if name != "torchrun":
        raise ConfigError(f"--engine {said}: a fit is run by torchrun; allowed are torchrun and torchrun:N")
    if colon and (not count.isdecimal() or not int(count)):
        raise ConfigError(f"--engine {said}: allowed behind the colon are whole numbers from 1 up")
    return int(count) if colon else None


def fit_by_torchrun(data: str | Path, out: str | Path, workers: int, *options: str, resume: bool = False) -> None:
    """Fit a model file to a dataset by several processes of this machine.

    Args:
        data: the dataset.
        out: model file to write.
        workers: number of processes.
        options: further words of `diabolo fit`, like "--epochs", "20".
        resume: go on from the checkpoint beside `out`, which a fit that was ended left.

    Raises:
        WorkerError: a process failed, with its reason, or was killed, with the line that goes on.
    """
    words = ["fit", str(data), "-o", str(out), *options, "--engine", f"torchrun:{workers}"]
    run_ranks([*words, *(["--resume"] if resume else [])], workers, Path(out))


def run_ranks(words: Sequence[str], workers: int | None, out: Path) -> None:
    """Run `diabolo` with these words in several processes of this machine, as ranks of one fit.

    Args:
        words: from the verb on.
        workers: number of processes; None for one on each core.
        out: the model file; its checkpoint is named where the fit can go on.

    Raises:
        WorkerError: a process failed or was killed.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    count = workers or cores()
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, cores() // count)))
    with tempfile.TemporaryDirectory(prefix="diabolo-") as logs, _quiet(), environment(OMP_NUM_THREADS=threads):
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id=Path(logs).name,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=logs),
        )
        try:
            elastic_launch(config, sys.executable)("-m", RANK, *words)
        except ChildFailedError as error:
            raise WorkerError(_said(error.failures, words)) from None
        except SignalException:
            kept = out.with_name(f"{out.name}.ckpt")
            raise KeyboardInterrupt(f"; --resume goes on from {kept}" if kept.exists() else "") from None


def _said(failures: dict[int, Any], words: Sequence[str]) -> str:
    """What became of a rank that failed, and the line that goes on where it was killed."""
    again = shlex.join(["diabolo", *words, *([] if "--resume" in words else ["--resume"])])
    killed = {r: f for r, f in sorted(failures.items()) if f.exitcode < 0 and -f.exitcode not in ENDING}
    if killed:
        # The launcher kills those that do not end by themselves, and does not say who was first.
        who = " and ".join(f"rank {rank} (process {f.pid})" for rank, f in killed.items())
        name = signal.Signals(-next(iter(killed.values())).exitcode).name
        return (
            f"{who} {'was' if len(killed) == 1 else 'were'} killed by {name}, as the system does where memory ends; "
            f"this goes on from the checkpoint: {again}"
        )
    told = {rank: _line(failure.message) for rank, failure in sorted(failures.items())}
    causes = {rank: line for rank, line in told.items() if line and not line.startswith(ENDED)}
    if causes:
        return next(iter(causes.values()))
    rank, failure = min(failures.items())
    return (
        f"rank {rank} (process {failure.pid}) ended with exit status {failure.exitcode}; this goes on from the "
        f"checkpoint: {again}"
    )


def _line(message: Any) -> str:
    """What a rank has told of its failure; nothing where it only was ended."""
    return str(message["message"]) if isinstance(message, dict) else ""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Leave the telling to this module, and put back what the launcher does to signals."""
    log = logging.getLogger("torch.distributed")
    level = log.level
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(level)
        for number, handler in before.items():
            signal.signal(number, handler)
