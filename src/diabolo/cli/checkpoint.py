"""The checkpoint OUT.ckpt of `diabolo fit`: what is said of it before, and when it goes."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from diabolo.errors import TrainingError

if TYPE_CHECKING:
    from diabolo.fitted.keep import Keep

__all__ = ["kept"]


@contextlib.contextmanager
def kept(out: Path, resume: bool) -> Iterator[Keep]:
    """Give a fit that ends by saving `out` its checkpoint; once saved, the checkpoint is removed."""
    from diabolo.fitted.keep import Keep

    path = out.with_name(f"{out.name}.ckpt")
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
