"""`diabolo fit --engine torchrun:N`: whether this process is the driver, a rank, or alone."""

from __future__ import annotations

import os
from pathlib import Path

from diabolo.cli.command import WORDS
from diabolo.errors import ConfigError
from diabolo.world import ALONE, World, is_rank, join

__all__ = ["in_ranks"]


def in_ranks(engine: str | None, out: Path) -> World | None:
    """The processes that fit together; None in the driver, once the ranks that it has started are done.

    Args:
        engine: what --engine says.
        out: the model file.

    Raises:
        ConfigError: another engine, another number of processes than the launcher's, or ranks without an engine.
        WorkerError: a rank failed or was killed.
    """
    if engine is None:
        if is_rank() and os.environ["WORLD_SIZE"] != "1":
            raise ConfigError(
                f"torchrun has started {os.environ['WORLD_SIZE']} processes, which would fit the same model; add "
                "--engine torchrun"
            )
        return ALONE
    from diabolo.distributed.torchrun import run_ranks, workers_of

    count = workers_of(engine)
    if not is_rank():
        run_ranks(WORDS.get(), count, out)
        return None
    world = join()
    if count is not None and count != world.size:
        raise ConfigError(f"--engine {engine}: the launcher has started {world.size} processes; leave :{count} out")
    return world
