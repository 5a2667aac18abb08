"""Progress of a fit on standard error, one line that is renewed."""

from __future__ import annotations

import sys

from diabolo.train.state import Epoch

__all__ = ["line", "print_epoch"]


def line(e: Epoch) -> str:
    """One epoch in words: loss terms, loss of the stop rows, time left."""
    skipped = f"  skipped {e.skipped} steps" if e.skipped else ""
    return (
        f"epoch {e.epoch:>3}  distance {e.distance:9.4f}  regularizer {e.regularizer:8.4f}  "
        f"validation {e.validation:9.4f}{'*' if e.best else ' '}  {e.rows / max(e.seconds, 1e-9):>9,.0f} rows/s  "
        f"{e.left:4.0f} s left{skipped}"
    )


def print_epoch(e: Epoch) -> None:
    live = sys.stderr.isatty()
    end = "\r" if live and e.left > 0 else "\n"
    sys.stderr.write(line(e) + end)
    sys.stderr.flush()
