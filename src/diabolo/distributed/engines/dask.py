"""A Dask cluster, or processes of this machine under Dask: `client.map` over pieces, and nothing else of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from diabolo.distributed.engines.base import TRIES, Engine, engines, given_up
from diabolo.distributed.parts import Job, Outcome
from diabolo.errors import ConfigError, MissingExtraError

__all__ = ["Dask"]

#: Seconds to wait for the scheduler.
PATIENCE = 30


@engines.register("dask")
class Dask(Engine):
    """Dask's workers, of the cluster at an address or of this machine."""

    remote: ClassVar[bool] = True

    def run(
        self, work: Callable[[Job], Outcome], jobs: Sequence[Job], workers: int, address: str | None
    ) -> Iterator[Outcome]:
        """Outcomes as they come. Dask tries a piece again that failed, or whose worker was killed."""
        try:
            from distributed import Client, LocalCluster, as_completed
        except ImportError:
            raise MissingExtraError("distributed", "dask", "--engine dask") from None
        cluster = None
        if address is None:
            # Pieces tell Dask nothing of their memory, so its limits would only stop workers midway.
            cluster = LocalCluster(  # type: ignore[no-untyped-call]
                n_workers=workers,
                threads_per_worker=1,
                dashboard_address=None,
                memory_limit=0,
                silence_logs=logging.ERROR,
            )
        try:
            with _client(Client, cluster, address) as client:
                futures = client.map(work, jobs, retries=TRIES - 1, pure=False, key=[f"diabolo-{j.name}" for j in jobs])
                names = {future.key: job for future, job in zip(futures, jobs, strict=True)}
                for future in as_completed(futures):  # type: ignore[no-untyped-call]
                    error = future.exception()
                    yield future.result() if error is None else given_up(names[future.key], error)
                    future.release()
        finally:
            if cluster is not None:
                cluster.close()


def _client(client: Any, cluster: Any, address: str | None) -> Any:
    if cluster is not None:
        return client(cluster)
    try:
        if Path(str(address)).is_file():
            return client(scheduler_file=str(address), timeout=PATIENCE)
        return client(address, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"--address {address}: no scheduler answers there in {PATIENCE} s ({error}); allowed are an address like "
            "tcp://host:8786, and the file that `dask scheduler --scheduler-file FILE` writes"
        ) from None
