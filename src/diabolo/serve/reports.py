"""Reports of files that were dropped on the page: kept for a while under names that nobody guesses."""

from __future__ import annotations

import contextlib
import re
import secrets
import tempfile
from pathlib import Path

import pyarrow as pa

from diabolo.errors import DAMAGE, DataError, DiaboloError
from diabolo.report.write import write_report
from diabolo.serve.faults import Fault
from diabolo.serve.messages import Answer
from diabolo.serve.tables import saved

__all__ = ["Reports"]

#: A report runs its own script alone, in an origin of its own.
POLICY = "sandbox allow-scripts allow-popups; frame-ancestors 'self'"
FILE_NAME = re.compile(r"[\w .+-]{1,80}")
#: Reports that are kept; the oldest goes.
KEPT = 16


class Reports:
    """Pages in a folder.

    Args:
        folder: that several workers share; None for one that ends with this process.
    """

    def __init__(self, folder: Path | None) -> None:
        self._own = tempfile.TemporaryDirectory(prefix="diabolo-reports-") if folder is None else None
        self._folder = Path(self._own.name) if self._own is not None else folder or Path()

    def _new(self) -> tuple[str, Path]:
        """A new report's name, and the file to write it to."""
        there = sorted(self._folder.glob("*.html"), key=_written)
        for old in there[: max(0, len(there) - KEPT + 1)]:
            with contextlib.suppress(OSError):
                old.unlink()
        name = secrets.token_urlsafe(24)
        return name, self._folder / f"{name}.html"

    def write(self, model: Path, body: bytes, suffix: str, name: str) -> str:
        """Write the report of a model and a file's bytes; returns the report's name.

        Args:
            name: of the file, which the report shows.

        Raises:
            Fault: the file cannot be read.
        """
        stem = Path(name).stem
        key, path = self._new()
        with saved(body, suffix, stem if FILE_NAME.fullmatch(stem) else "rows") as file:
            try:
                write_report(model, str(file), path, refits=False)
            except DataError as error:
                raise Fault(str(error).replace(str(file), "the file")) from None
            except DiaboloError:
                raise
            except (*DAMAGE, pa.ArrowException) as error:
                raise Fault(f"the file cannot be read as {suffix} ({type(error).__name__})", 400) from None
        return key

    def read(self, name: str) -> Answer:
        """A report.

        Raises:
            Fault: there is none of that name any more.
        """
        try:
            # Of the names that are there, so that no name leads elsewhere.
            path = next(p for p in self._folder.glob("*.html") if p.stem == name)
            body = path.read_bytes()
        except (StopIteration, OSError):
            raise Fault(f"no such report: the last {KEPT} are kept", 404) from None
        headers = {"content-type": "text/html; charset=utf-8", "content-security-policy": POLICY}
        return Answer(body, 200, headers)

    def close(self) -> None:
        """Remove the folder, if it is this process' own."""
        if self._own is not None:
            self._own.cleanup()


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
