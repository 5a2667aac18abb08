"""`diabolo fill`: missing cells of a table filled in from the others, in chunks."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from diabolo.cli.console import OWN_NETWORK, TABLE
from diabolo.cli.pieces import ADDRESS, ENGINE, RESUME, Pieces, in_pieces
from diabolo.cli.verb import verb

if TYPE_CHECKING:
    from diabolo.generate.filled_table import Counts

#: Columns that are named at most.
NAMED = 8


@verb(
    95,
    "diabolo fill my.diabolo NEW.parquet -o filled.parquet",
    "diabolo fill my.diabolo NEW.parquet -o five.parquet --draws 5 --seed 1",
)
def fill(
    model: Path = typer.Argument(..., help="Model file."),
    data: str = typer.Argument(..., help=f"Columns in any order. {TABLE}"),
    out: str = typer.Option(
        ..., "-o", "--out", help="Table to write, in any format that is written; a URL; a folder of parts."
    ),
    draws: int | None = typer.Option(None, min=1, help="Rows for each row, drawn.", show_default="the mean"),
    seed: int = typer.Option(0, min=0, max=1 << 62, help="Seed of the draws."),
    engine: str | None = ENGINE,
    address: str | None = ADDRESS,
    resume: bool = RESUME,
    own_network: bool = OWN_NETWORK,
    quiet: bool = typer.Option(False, "-q", "--quiet", help="No progress and no summary."),
) -> None:
    """Fill in missing cells from the row's other cells; all other cells and columns stay as they are.

    With --draws K each row comes K times, one after the other, with the number of the draw in a first column `draw`.
    """
    from diabolo.cli.console import Progress, check_apart, say
    from diabolo.data.formats import check_table, schema_of, write_batches
    from diabolo.data.reading import as_fitted
    from diabolo.distributed.table import FillPieces
    from diabolo.file.model_file import ModelFile
    from diabolo.generate.filled_table import Counts, filled_table

    if in_pieces(out, engine, address, resume):
        pieces = Pieces(out, engine, address, resume)
        work = FillPieces(model, draws, seed, own_network)
        known = work.model_file.autoencoder.model.encoding.schema
        jobs = pieces.jobs(as_fitted(data, known))
        if draws is not None:
            jobs = [dataclasses.replace(job, piece=(job.piece, work.own_seed(job.name))) for job in jobs]
        done = pieces.run("filling in", work, jobs, quiet)
        for line in [] if quiet else [*_said(out, Counts.sum(o.counts for o in done), draws), *pieces.said(len(done))]:
            say(line)
        pieces.finish(len(done))
        return
    check_apart(out, model, data)
    check_table(out)
    net = ModelFile(model, own_network).autoencoder.model
    source = as_fitted(data, net.encoding.schema)
    progress, counts = Progress("filling in", schema_of(source)[1]), Counts()
    write_batches(out, *filled_table(net, data, draws, seed, counts, progress.add))
    progress.end()
    if not quiet:
        for line in _said(out, counts, draws):
            say(line)


def _said(out: str, counts: Counts, draws: int | None) -> list[str]:
    """The summary: how many cells were filled in, and how; which are missing still, and why."""
    from diabolo.generate.filling import filled_in_words

    cells, columns = sum(counts.filled.values()), len(counts.filled)
    lines = [f"{out}: {counts.rows:,} rows, no missing cell was filled in"]
    if cells:
        what = f"{cells:,} cell{'s' * (cells > 1)} of {columns:,} column{'s' * (columns > 1)} filled in"
        lines = [f"{out}: {counts.rows:,} rows, {what} {filled_in_words(draws)}"]
    if draws is not None:
        lines.append(f"  each row comes {draws} times, one after the other; the column draw says which it is")
    if counts.blank:
        lines.append(f"  {counts.blank:,} rows had no cell that the model reads: they follow the law of all rows")
    if counts.left:
        named = [f"{name} ({count:,})" for name, count in list(counts.left.items())[:NAMED]]
        more = f", and {len(counts.left) - NAMED} more" if len(counts.left) > NAMED else ""
        lines.append(
            f"  {sum(counts.left.values()):,} cells stay missing, of columns that the model does not fill in: "
            f"{', '.join(named)}{more}"
        )
    return lines
