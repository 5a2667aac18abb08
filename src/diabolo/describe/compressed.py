"""A compressed file in plain words."""

from __future__ import annotations

from pathlib import Path

from diabolo.compress.files import file_report
from diabolo.compress.plan import network_of
from diabolo.compress.report import report_lines
from diabolo.screen import console

__all__ = ["describe_compressed"]


def describe_compressed(path: Path) -> None:
    """Print bytes, chunks, and bits and errors by column of a `*.dbl` file."""
    report, reader = file_report(path)
    screen = console(soft_wrap=True)
    for line in report_lines(str(path), report):
        screen.print(line)
    sizes = [c.size for c in reader.chunks]
    if sizes:
        screen.print(
            f"  chunks        {max(c.rows for c in reader.chunks):,} rows, {min(sizes):,} to {max(sizes):,} bytes"
        )
    outside = reader.header.codec and not reader.codec
    where = "outside, " if outside else ""
    # One that is outside is known by its hash alone.
    said = f", {network_of(reader.codec)} in whole numbers" if reader.codec else ""
    section = f"{where}SHA-256 {reader.header.codec[:16]}...{said}" if reader.header.codec else network_of(b"")
    screen.print(f"  codec section {section}")
