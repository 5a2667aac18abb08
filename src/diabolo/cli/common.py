"""What several verbs share: saying things to a person."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import typer

from diabolo.errors import OutputError

__all__ = ["OWN_NETWORK", "Progress", "check_apart", "say"]

#: The flag of every verb that reads a model file.
OWN_NETWORK = typer.Option(False, "--own-network", help="Import your own network, which the model file names.")


def say(text: str = "") -> None:
    """A line for the person on stdout."""
    sys.stdout.write(text + "\n")


def check_apart(out: Path, *inputs: Path) -> None:
    """Refuse to write over what is read.

    Raises:
        OutputError: names the file.
    """
    for given in inputs:
        if out.exists() and given.exists() and out.samefile(given):
            raise OutputError(f"{out}: is also the input; choose another name with --out")


class Progress:
    """A line on stderr that is renewed twice a second, on a terminal only."""

    def __init__(self, what: str, total: int | None) -> None:
        self.what, self.total, self.done = what, total, 0
        self.begun = self.last = time.perf_counter()
        self.live = sys.stderr.isatty()

    def add(self, rows: int) -> None:
        self.done += rows
        now = time.perf_counter()
        if self.live and now - self.last > 0.5:
            rate = self.done / (now - self.begun)
            left = f", {(self.total - self.done) / rate:.0f} s left" if self.total else ""
            sys.stderr.write(f"\r{self.what}: {self.done:,} rows, {rate:,.0f} rows/s{left}   ")
            sys.stderr.flush()
            self.last = now

    def end(self) -> None:
        if self.live:
            sys.stderr.write("\r\033[K")
