"""Folders that are written whole or not at all."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from diabolo.data.formats.writing import held, sweep
from diabolo.errors import OutputError

__all__ = ["check_folder", "new_folder"]


def check_folder(out: str) -> None:
    """Fail before the work where a folder could not be written.

    Raises:
        OutputError: there is a file of that name, or a folder that is not empty; the folder around it is missing.
    """
    target = Path(out)
    if target.is_dir() and not target.is_symlink():
        if any(target.iterdir()):
            raise OutputError(f"cannot write {target}: it is there already and not empty; choose a new folder")
    elif target.exists() or target.is_symlink():
        raise OutputError(f"cannot write {target}: it is there already; choose the name of a new folder")
    if not target.absolute().parent.is_dir():
        raise OutputError(f"cannot write {target}: no such folder {target.parent}; choose a folder that exists")


@contextlib.contextmanager
def new_folder(out: str) -> Iterator[Path]:
    """Yield a folder beside `out` that takes its name on success and vanishes on failure.

    Of a process that is killed it stays, until the next one writes a folder of that name.

    Raises:
        OutputError: there is something of that name that is no empty folder, or no folder can be made there.
    """
    target = Path(out)
    check_folder(out)
    sweep(target.absolute().parent, target.name)
    try:
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.absolute().parent))
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}; choose a folder that exists") from None
    try:
        with held(part):
            yield part
            part.chmod(0o755)
            # A folder takes the place of an empty one in one step, and of no other.
            part.rename(target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}; nothing was left behind") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
