"""Results appear by atomic rename, whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

from diabolo.data.formats.base import suffix_of
from diabolo.errors import OutputError

__all__ = ["SAFE", "atomic", "check_writable", "held", "sweep"]

#: Whether names and cells of text that a spreadsheet would run are made harmless in text tables.
SAFE: ContextVar[bool] = ContextVar("safe_csv", default=False)

#: Seconds in which a file that was just made is locked, whatever the machine is busy with.
YOUNG = 60.0


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
    sweep(target.parent, target.name)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=f".part{ending}", dir=target.parent)
    except OSError as error:
        raise _cannot_write(target, error) from None
    part = Path(name)
    try:
        _lock(handle)
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
        os.close(handle)
        part.unlink(missing_ok=True)


def _lock(handle: int) -> bool:
    """Lock an open file for as long as this process has it open; false where another has, or there are no locks."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep a folder that is being written from whoever sweeps."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # where a system opens no folders
        yield
        return
    try:
        _lock(handle)
        yield
    finally:
        os.close(handle)


def sweep(folder: Path, name: str | None = None) -> None:
    """Remove what writers left behind that were killed: parts, files or folders, that nobody has locked any more.

    Args:
        name: of the file or folder that they wrote; None for all of the folder.
    """
    left = re.compile(rf"\.{'.+' if name is None else re.escape(name)}\.[a-z0-9_]{{8}}\.part[^/]*")
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            whole = entry.is_dir(follow_symlinks=False)
            if not left.fullmatch(entry.name) or not (whole or entry.is_file(follow_symlinks=False)):
                continue
            with contextlib.suppress(OSError):
                handle = os.open(entry.path, (os.O_RDONLY if whole else os.O_RDWR) | getattr(os, "O_NOFOLLOW", 0))
                try:
                    # One that has just been made may not be locked yet.
                    made = entry.stat(follow_symlinks=False)
                    empty = not os.listdir(entry.path) if whole else made.st_size == 0
                    if not (empty and time.time() - made.st_mtime < YOUNG) and _lock(handle):
                        shutil.rmtree(entry.path) if whole else os.unlink(entry.path)
                finally:
                    os.close(handle)


def check_writable(path: str | Path) -> None:
    """Fail before hours of work, not after them, where a result could not be written.

    Raises:
        OutputError: the folder is missing or not writable.
    """
    target = Path(path)
    _check_place(target)
    sweep(target.parent, target.name)
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
