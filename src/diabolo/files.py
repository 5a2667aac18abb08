"""Files that somebody else wrote: opened without waiting, and only if they are files."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from diabolo.errors import DiaboloError

__all__ = ["check_regular", "open_regular"]


@contextlib.contextmanager
def open_regular(path: str | Path, error: type[DiaboloError]) -> Iterator[tuple[BinaryIO, int]]:
    """A file to read, and its size in bytes; a pipe, on which reading would wait for ever, is refused at once.

    Raises:
        DiaboloError: of the kind `error`: no such file, no file, or one that may not be read.
    """
    try:
        # Without the flag, opening a pipe waits for a writer.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise error(f"{path}: no such file") from None
    except OSError as problem:
        raise error(f"{path}: cannot be read: {problem.strerror or problem}") from None
    with os.fdopen(handle, "rb") if _regular(handle) else _closed(handle, path, error) as data:
        yield data, os.fstat(data.fileno()).st_size


def check_regular(path: str | Path, error: type[DiaboloError]) -> None:
    """Refuse a path that is there and is neither file nor folder.

    Raises:
        DiaboloError: of the kind `error`.
    """
    place = Path(path)
    if place.exists() and not place.is_file() and not place.is_dir():
        raise error(f"{path}: is a pipe or a device; write it into a file first")


def _regular(handle: int) -> bool:
    return stat.S_ISREG(os.fstat(handle).st_mode)


def _closed(handle: int, path: str | Path, error: type[DiaboloError]) -> BinaryIO:
    folder = stat.S_ISDIR(os.fstat(handle).st_mode)
    os.close(handle)
    raise error(f"{path}: is a {'folder' if folder else 'pipe or a device; write it into a file first'}")
