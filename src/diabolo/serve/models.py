"""The models of an endpoint: files of a folder by name, each taken up anew once another file stands in its place.

A file is read whole before it answers. Requests that have begun end with the version that they began with.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa

from diabolo.artifact import stamp_of
from diabolo.errors import DAMAGE, ConfigError, DiaboloError
from diabolo.serve.backends import Backend, Diagnosing
from diabolo.serve.batching import Batcher
from diabolo.serve.drift import Drift
from diabolo.serve.faults import Fault
from diabolo.serve.metrics import Metrics
from diabolo.serve.opening import SUFFIXES, open_backend
from diabolo.serve.settings import Settings

__all__ = ["LOG", "Models", "Served"]

LOG = logging.getLogger("diabolo.serve")
NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")
Stamp = tuple[int, int, int]


@dataclasses.dataclass
class Served:
    """One version of one model."""

    name: str
    path: Path
    backend: Backend
    batcher: Batcher
    drift: Drift | None  #: None of a model that does not judge it
    typical: dict[str, Any] | None = None
    since: float = dataclasses.field(default_factory=time.time)

    @property
    def version(self) -> str:
        """The first digits of the file's SHA-256."""
        return self.backend.digest[:12]

    def diagnosing(self) -> Diagnosing:
        """The backend, which explains and judges drift.

        Raises:
            Fault: it scores alone.
        """
        if not isinstance(self.backend, Diagnosing):
            raise self._scores_alone()
        return self.backend

    def drifting(self) -> Drift:
        """The drift of its rows.

        Raises:
            Fault: it scores alone.
        """
        if self.drift is None:
            raise self._scores_alone()
        return self.drift

    def _scores_alone(self) -> Fault:
        return Fault(
            f"{self.path.name} is a graph, which scores alone; explanations, drift and reports need the model file "
            "(.diabolo) that it was exported from",
            404,
        )


class Models:
    """The models that are served, by name.

    Args:
        settings: of the endpoint.
        metrics: are told what is loaded.

    Raises:
        ConfigError: there is no model file.
        DiaboloError: a file cannot be served.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        #: Where long batches are scored, and where explanations, reports, verdicts and new versions are made.
        self.thread, self.slow = ThreadPoolExecutor(1, "score"), ThreadPoolExecutor(1, "slow")
        self._stamps: dict[str, Stamp] = {}
        self._served: dict[str, Served] = {}
        #: The file of each name, and files that are left out since another one has their name.
        self._places: dict[str, Path] = {}
        self._left_out: set[Path] = set()
        files = self._files()
        if not files:
            raise ConfigError(f"{settings.path}: no model file here; allowed are {', '.join(SUFFIXES)}, and a folder")
        for name, path in files.items():
            self._stamps[name] = stamp_of(path)
            self._take_up(self._opened(name, path))

    def __iter__(self) -> Iterator[Served]:
        return iter(list(self._served.values()))

    def get(self, name: str | None, version: str | None = None) -> Served:
        """A model by its name; None is the only one.

        Raises:
            Fault: there is none of that name or version, or no name where there are several.
        """
        names = sorted(self._served)
        if name is None:
            if len(names) > 1:
                raise Fault(f"which model? ?model=NAME with one of {', '.join(names)}", 400, allowed=names)
            return self._served[names[0]]
        found = self._served.get(name)
        if found is None:
            raise Fault(f"no such model; there are {', '.join(names)}", 404, allowed=names)
        if version is not None and version != found.version:
            raise Fault(f"no such version; {name} is at {found.version}", 404, allowed=[found.version])
        return found

    async def watch(self) -> None:
        """Look at the files again and again; never ends."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._settings.watch)
            for name, path in self._files().items():
                stamp = _stamp(path)
                if stamp is None or stamp == self._stamps.get(name):
                    continue
                self._stamps[name] = stamp
                try:
                    self._take_up(await loop.run_in_executor(self.slow, self._opened, name, path))
                except (DiaboloError, *DAMAGE) as error:
                    self._metrics.refused(name)
                    kept = "the version before it goes on" if name in self._served else "it is not served"
                    LOG.warning("%s cannot be taken up, and %s: %s", path, kept, error)

    def close(self) -> None:
        """Let running work end, and drop the rest."""
        for pool in (self.thread, self.slow):
            pool.shutdown(wait=True, cancel_futures=True)

    def _files(self) -> dict[str, Path]:
        """Model files by name; a name stays with the file that it was first given to."""
        path = self._settings.path
        if not path.is_dir():
            return {_name(path): path}
        with contextlib.suppress(OSError):
            for suffix in SUFFIXES:
                for file in sorted(path.glob(f"[!.]*{suffix}")):
                    first = self._places.setdefault(_name(file), file)
                    if first != file and file not in self._left_out:
                        self._left_out.add(file)
                        LOG.warning("%s is not served: %s has its name; rename one of the two", file, first)
        return self._places

    def _opened(self, name: str, path: Path) -> Served:
        s = self._settings
        backend = open_backend(path, s.choice)
        drift = Drift(s.window, s.level) if isinstance(backend, Diagnosing) else None

        def tell(table: pa.Table, result: pa.Table, watched: bool) -> None:
            self._metrics.scored(name, result)
            if drift is None or not watched:
                return
            with contextlib.suppress(pa.ArrowException):  # a type that no JSON has: scored, and not counted
                drift.window.add(backend.columns.uniform(table))

        return Served(name, path, backend, Batcher(backend, self.thread, s.queue, tell), drift)

    def _take_up(self, found: Served) -> None:
        before = self._served.get(found.name)
        if before is not None and before.version == found.version:
            return
        self._served[found.name] = found
        self._metrics.loaded(found.name, found.version, found.since)
        LOG.info("%s: version %s of model %s", found.path, found.version, found.name)


def _name(path: Path) -> str:
    """A file's name as a part of an address."""
    if not NAME.fullmatch(path.stem):
        raise ConfigError(f"{path}: a served model's name has letters, digits and . _ - alone: rename the file")
    return path.stem


def _stamp(path: Path) -> Stamp | None:
    try:
        return stamp_of(path)
    except OSError:
        return None
