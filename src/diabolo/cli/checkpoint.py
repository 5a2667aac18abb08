"""The checkpoint OUT.ckpt of `diabolo fit`: what is said of it before, and when it goes."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from diabolo.errors import OutputError, TrainingError
from diabolo.world import ALONE, World

if TYPE_CHECKING:
    from diabolo.fitted.keep import Keep

__all__ = ["kept"]


@contextlib.contextmanager
def kept(out: Path, resume: bool, world: World = ALONE) -> Iterator[Keep]:
    """Give a fit that ends by saving `out` its checkpoint; once saved, the checkpoint is removed.

    Of processes that fit together rank 0 does it all.
    """
    from diabolo.fitted.keep import Keep

    path = out.with_name(f"{out.name}.ckpt")
    if not world.leads:
        yield Keep(path, resume)
        return
    with _alone(out):
        yield from _kept(out, path, resume)


def _kept(out: Path, path: Path, resume: bool) -> Iterator[Keep]:
    from diabolo.fitted.keep import Keep

    for target in (out, path):
        _sweep(target)
    if resume and not path.exists():
        _tell(f"{path}: no checkpoint to resume from; starting afresh")
    elif resume:
        _tell(f"{path}: resuming")
    elif path.exists():
        _tell(f"{path}: starting afresh replaces this checkpoint; --resume would go on from it")
    before = _inode(path)
    try:
        yield Keep(path, resume)
    except TrainingError:
        # It would only lead there again; but one that this fit has not written may be another's.
        if _inode(path) != before or resume:
            path.unlink(missing_ok=True)
        raise
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"; --resume goes on from {path}" if path.exists() else "") from None
    path.unlink(missing_ok=True)


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold the one fit to `out` by a lock that ends with the process, however that ends.

    Raises:
        OutputError: another fit holds it.
    """
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    path = out.with_name(f".{out.name}.lock")
    with contextlib.ExitStack() as held:
        while True:
            try:
                file = held.enter_context(path.open("a+"))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise OutputError(
                    f"{out}: another fit (process {file.read().strip() or 'unknown'}) writes it; wait for its end, or "
                    "choose another name with --out"
                ) from None
            except OSError:  # no files in this folder, which is said where the model is written, or no locks
                yield
                return
            if _inode(path) == os.fstat(file.fileno()).st_ino:  # else its holder has just removed it
                break
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _tell(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _inode(path: Path) -> int | None:
    return path.stat().st_ino if path.exists() else None


def _sweep(target: Path) -> None:
    """Remove the temporary files that a writer of `target` has left because it was killed."""
    if target.parent.is_dir():
        ours = re.compile(rf"\.{re.escape(target.name)}\.[a-z0-9_]{{8}}\.part{re.escape(target.suffix)}")
        for path in target.parent.glob(".*.part*"):
            if ours.fullmatch(path.name):
                with contextlib.suppress(OSError):
                    path.unlink()
