"""Progress of a fit on standard error, one line that is renewed."""

from __future__ import annotations

import sys

from diabolo.screen import columns_of
from diabolo.train.state import Epoch

__all__ = ["line", "print_epoch"]


def line(e: Epoch, width: int | None = None) -> str:
    """One epoch in words: loss terms, loss of the stop rows, time left.

    Args:
        e: the epoch.
        width: characters that there is room for; what matters least is left out. None: all of it.
    """
    # The last number of each is its turn to go, from the highest.
    parts = [
        (f"epoch {e.epoch:>3}", 0),
        (f"distance {e.distance:9.4f}", 4),
        (f"regularizer {e.regularizer:8.4f}", 5),
        (f"validation {e.validation:9.4f}{'*' if e.best else ' '}", 1),
        (f"{e.rows / max(e.seconds, 1e-9):>9,.0f} rows/s", 6),
        (f"{e.left:4.0f} s left", 2),
        *([(f"skipped {e.skipped} steps", 3)] if e.skipped else []),
    ]
    while width is not None and len(parts) > 1 and sum(len(text) + 2 for text, _ in parts) - 2 > width:
        parts.remove(max(parts, key=lambda part: part[1]))
    return "  ".join(text for text, _ in parts)[:width]


def print_epoch(e: Epoch) -> None:
    """The epoch on standard error; on a terminal in the place of the last one."""
    if not sys.stderr.isatty():
        sys.stderr.write(line(e) + "\n")
    else:
        # A line as long as the terminal is wide would begin a new one.
        said = line(e, columns_of(sys.stderr) - 1)
        sys.stderr.write(f"\r{said}\033[K" + ("" if e.left > 0 else "\n"))
    sys.stderr.flush()
