"""What several verbs share: saying things to a person."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from diabolo.errors import ConfigError, OutputError
from diabolo.screen import columns_of, percent, share_of, visible

if TYPE_CHECKING:
    from diabolo.data.formats import Data

__all__ = [
    "DEVICE",
    "OWN_NETWORK",
    "TABLE",
    "Progress",
    "check_apart",
    "check_named",
    "parse_slots",
    "percent",
    "say",
    "share",
    "share_option",
]

#: The flag of every verb that reads a model file.
OWN_NETWORK = typer.Option(False, "--own-network", help="Import your own parts, like a network, which MODEL names.")
#: The flag of verbs that score.
DEVICE = typer.Option(
    None,
    help="cpu, cuda or auto. Not run on a card so far (diabolo docs gpu).",
    show_default="where its detector is calibrated",
)
#: What may name a table.
TABLE = "Table: a file, folder, 'pattern*' or URL (diabolo docs data)."


def share(text: str) -> float:
    """Read a share: 0.01, 1% and "1 %" are the same. Which shares are allowed is for who uses it to say.

    >>> share("0.01"), share("1%"), share("0.5 %")
    (0.01, 0.01, 0.005)
    """
    found = share_of(text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is no share; allowed are numbers and percentages, like 0.01 or 1%")
    return found


def share_option(default: float | None, *names: str, help: str, show_default: bool | str = True) -> Any:
    """An option whose value is a share."""
    return typer.Option(default, *names, help=help, show_default=show_default, parser=share, metavar="SHARE")


def say(text: str = "") -> None:
    """A line for the person on stdout."""
    sys.stdout.write(visible(text) + "\n")


def check_apart(out: str | Path, *inputs: Data) -> None:
    """Refuse to write over what is read.

    Raises:
        OutputError: names the file.
    """
    from diabolo.data.formats import local_files

    target = Path(out)
    for given in inputs:
        read = [given] if isinstance(given, Path) else [Path(str(given)), *local_files(given)]
        same = target.exists() and any(target.samefile(p) for p in read if p.exists())
        if same or str(out) == str(given):
            raise OutputError(f"{out}: is also the input; choose another name with --out")


def check_named(out: str, what: str) -> None:
    """Refuse a file that cannot hold named columns.

    Args:
        what: is to be written, with why it needs names.

    Raises:
        ConfigError: says which files can.
    """
    from diabolo.data.formats import format_of, formats

    if not out.lower().endswith(format_of(out, written=True).named):
        allowed = ", ".join(formats.get(n).named[0] for n in formats if formats.get(n).named)
        raise ConfigError(f"{out}: {what}; allowed: {allowed}")


def parse_slots(said: str | Sequence[str], flag: str = "--slots") -> dict[str, int]:
    """Read `e:4,mu:4,j:10`, given once or several times.

    >>> parse_slots("e:4,mu:4"), parse_slots(["e:4", "mu:4"])
    ({'e': 4, 'mu': 4}, {'e': 4, 'mu': 4})
    """
    groups: dict[str, int] = {}
    text = said if isinstance(said, str) else ",".join(said)
    for word in text.split(",") if said else ():
        name, _, count = (w.strip() for w in word.partition(":"))
        if not name or name in groups or not count.isdecimal() or int(count) < 1:
            raise ConfigError(f"{flag} {text}: expected name:number, each name once, like e:4,mu:4,j:10")
        groups[name] = int(count)
    return groups


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
            said = f"{self.what}: {self.done:,} rows, {rate:,.0f} rows/s{left}"
            sys.stderr.write(f"\r{said[: columns_of(sys.stderr) - 1]}\033[K")
            sys.stderr.flush()
            self.last = now

    def end(self) -> None:
        if self.live:
            sys.stderr.write("\r\033[K")
