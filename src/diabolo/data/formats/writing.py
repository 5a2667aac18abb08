"""Results appear by atomic rename, whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

from diabolo.data.formats.base import suffix_of
from diabolo.errors import OutputError

__all__ = ["SAFE", "atomic", "check_writable"]

#: Whether names and cells of text that a spreadsheet would run are made harmless in text tables.
SAFE: ContextVar[bool] = ContextVar("safe_csv", default=False)


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place on success and vanishes on failure.

    Raises:
        OutputError: the folder is missing, not writable or full, or `path` is a folder or a device.
    """
    target = Path(path)
    _check_place(target)
    # A link stays one, and what it leads to is replaced.
    target = target.resolve() if target.is_symlink() else target
    ending = (suffix_of(target.name) or ("", target.suffix))[1]
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=f".part{ending}", dir=target.parent)
        os.close(handle)
    except OSError as error:
        raise _cannot_write(target, error) from None
    part = Path(name)
    try:
        yield part
        with open(part, "rb+") as written:
            os.fsync(written.fileno())
        # mkstemp makes a private file; a result has the mode of the file it replaces, or that of any new one.
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o666 & ~umask)
        part.replace(target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}; nothing was left behind") from None
    finally:
        part.unlink(missing_ok=True)


def check_writable(path: str | Path) -> None:
    """Fail before hours of work, not after them, where a result could not be written.

    Raises:
        OutputError: the folder is missing or not writable.
    """
    target = Path(path)
    _check_place(target)
    try:
        with tempfile.NamedTemporaryFile(prefix=f".{target.name}.", dir=target.parent):
            pass
    except OSError as error:
        raise _cannot_write(target, error) from None


def _check_place(target: Path) -> None:
    """A rename would put a file in the place of a device or a pipe, and fail at the end on a folder."""
    if target.exists() and not target.is_file():
        raise OutputError(f"cannot write {target}: it is a folder or a device; choose the name of a file")


def _cannot_write(target: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot write {target}: {error.strerror or error}; choose a folder that exists and is writable")
