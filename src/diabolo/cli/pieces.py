"""Verbs over many files: one part for each in a folder, by processes of this machine or a cluster."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from diabolo.errors import ConfigError, OutputError, PieceError
from diabolo.screen import console, visible

if TYPE_CHECKING:
    from diabolo.data.formats import Data
    from diabolo.distributed.parts import Job, Outcome
    from diabolo.distributed.work import Work

__all__ = ["ADDRESS", "ENGINE", "RESUME", "Pieces", "in_pieces", "joined"]

ENGINE = typer.Option(
    None,
    metavar="NAME[:N]",
    help="What runs pieces where -o is a folder: local (all cores), local:4, dask.",
    show_default="local",
)
ADDRESS = typer.Option(
    None,
    help="Of a Dask cluster, like tcp://host:8786, or the path of its scheduler file.",
    show_default="a cluster on this machine",
)
RESUME = typer.Option(False, "--resume", help="Where -o is a folder: leave parts that are done as they are.")
#: Pieces that failed are named up to this number.
NAMED = 20


def in_pieces(out: str | Path | None, engine: str | None, address: str | None, resume: bool) -> bool:
    """Whether the output is a folder of parts: a name without an ending, or with a slash at its end.

    Raises:
        ConfigError: an option of pieces beside the name of a file, or the folder one stands in, which has other files.
    """
    name = str(out or "")
    plain = name.endswith("/") or not Path(name).suffix
    folder = out is not None and plain
    if folder and Path(name).resolve() == Path.cwd():
        raise ConfigError(f"-o {name}: is the folder you are in; name a file, or another folder for the parts")
    given = {"--engine": engine is not None, "--address": address is not None, "--resume": resume}
    used = [flag for flag, said in given.items() if said]
    if used and not folder:
        need = "needs" if len(used) == 1 else "need"
        said = "-o" if out is None else f"-o {out}"
        raise ConfigError(f"{' and '.join(used)} {need} a folder of parts, one for each file: {said} must name one")
    return folder


class Pieces:
    """Pieces, their folder, and what runs them.

    Raises:
        ConfigError: an unknown engine, or an address for one that has none.
    """

    def __init__(self, out: str | Path, engine: str | None, address: str | None, resume: bool) -> None:
        from diabolo.distributed.running import engine_of

        self.out, self.address, self.resume = str(out), address, resume
        self.engine, self.workers = engine_of(engine or ("local" if address is None else "dask"), address)

    def jobs(self, data: Data) -> list[Job]:
        """The pieces of a dataset.

        Raises:
            DataError: files that do not agree, with file and column.
            OutputError: the folder is within the data.
        """
        from diabolo.data.formats import pieces_of
        from diabolo.distributed.parts import Job

        source = Path(str(data))
        if source.is_dir() and Path(self.out).resolve().is_relative_to(source.resolve()):
            raise OutputError(f"{self.out}: is within {source}, so parts would be read as data; choose another folder")
        return [Job.of(piece) for piece in pieces_of(data)]

    def run(self, what: str, work: Work, jobs: list[Job], quiet: bool = False) -> list[Outcome]:
        """Do all pieces and show how far it is; outcomes of those that are done.

        Args:
            what: for the line of progress.
        """
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        from diabolo.distributed.running import run

        screen = console(stderr=True)
        columns = (
            TextColumn(what),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("pieces, {task.fields[rows]:,} rows on {task.fields[workers]} workers,"),
            TimeRemainingColumn(),
            TextColumn("left"),
        )
        live = screen.is_terminal and not quiet
        with Progress(*columns, console=screen, transient=True, disable=not live) as bar:
            task = bar.add_task(what, total=len(jobs), rows=0, workers=min(self.workers, len(jobs)))
            rows = 0

            def report(outcome: Outcome) -> None:
                nonlocal rows
                rows += int(outcome.counts.get("rows", 0))
                bar.update(task, advance=1, rows=rows)

            found = run(work, jobs, self.out, self.engine, self.workers, self.address, self.resume, report)
        self.failed = [o for o in found if o.failed]
        self.kept = sum(o.kept for o in found)
        return [o for o in found if not o.failed]

    def said(self, done: int) -> list[str]:
        """Lines of what became of the pieces."""
        kept = f", {self.kept:,} of them before" if self.kept else ""
        return [f"  {done:,} parts, one for each file{kept}"]

    def finish(self, done: int) -> None:
        """Name the pieces that failed.

        Raises:
            PieceError: there are any.
        """
        if not self.failed:
            return
        for outcome in self.failed[:NAMED]:
            sys.stderr.write(visible(f"{outcome.name}: {' '.join(outcome.failed.split())}") + "\n")
        more = f" (the first {NAMED} are named)" if len(self.failed) > NAMED else ""
        raise PieceError(
            f"{len(self.failed):,} of {done + len(self.failed):,} pieces failed{more}; the parts of the others are in "
            f"{self.out}, and the same command with --resume tries the failed ones again"
        )


def joined(outcomes: list[Outcome], name: str) -> int:
    """The sum of a count over pieces."""
    return sum(int(o.counts[name]) for o in outcomes)
