"""`diabolo explore`: all rows of a table on a map, in a page of ours or in a file for embedding-atlas."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from diabolo.cli.console import OWN_NETWORK, TABLE, say, share_option
from diabolo.cli.verb import verb
from diabolo.errors import ConfigError

if TYPE_CHECKING:
    from diabolo.explore.measuring import Measured

__all__ = ["explore"]

#: The port of the page.
PORT = 8010


@verb(102, "diabolo explore my.diabolo NEW.parquet -o atlas.parquet")
def explore(
    model: Path = typer.Argument(..., help="Model file with a detector."),
    data: str = typer.Argument(..., help=f"Columns in any order. {TABLE}"),
    out: str | None = typer.Option(
        None, "-o", "--out", help="Parquet to write, which embedding-atlas opens.", show_default="a page"
    ),
    port: int | None = typer.Option(
        None, help="Port of the page, 0 for a free one; with -o, the page too.", show_default=str(PORT)
    ),
    atlas: bool = typer.Option(False, "--atlas", help="With -o: open it with embedding-atlas, if that is installed."),
    score_: str | None = typer.Option(
        None, "--score", help="Score (diabolo info MODEL lists them).", show_default="the file's"
    ),
    false_alarm_rate: float | None = share_option(
        None, help="Share of normal rows that may be flagged, like 1%.", show_default="the file's"
    ),
    own_network: bool = OWN_NETWORK,
) -> None:
    """Show all rows of a table on a page: a map, histograms and the rows; or write a file for embedding-atlas.

    Rows that are marked on the page are saved as rows.csv, which explain --rows, fit --exclude-rows and
    calibrate --exclude-rows read.
    """
    from diabolo.cli.console import Progress
    from diabolo.data.formats import schema_of
    from diabolo.data.reading import as_fitted
    from diabolo.explore.atlas import find_atlas, start_atlas
    from diabolo.explore.measuring import measure
    from diabolo.file.model_file import ModelFile

    _check(out, port, atlas, model, data)
    page = out is None or port is not None
    if page:
        import diabolo.serve  # noqa: F401  (says which extra is missing)
        from diabolo.explore.run import bound, show

        where = bound(PORT if port is None else port)
    program = find_atlas(str(out)) if atlas else None
    file = ModelFile(model, own_network)
    detector = file.detector.choosing(score_, false_alarm_rate)
    _ = detector.threshold  # refuses a score that is not calibrated, and a rate
    source = as_fitted(data, detector.reference.model.encoding.schema)
    with tempfile.TemporaryDirectory(prefix="diabolo-explore-") as name:
        progress = Progress("scoring", schema_of(source)[1])
        measured = measure(file, detector, source, Path(name), progress.add)
        progress.end()
        for line in _said(measured, data):
            say(line)
        names = {} if out is None else _written(measured, out)
        if page:
            show(measured, Path(name), model, data, where, lambda at: say(f"{at} has the page; Ctrl-C ends it"))
    if program is not None:
        start_atlas(program, str(out), names)


def _check(out: str | None, port: int | None, atlas: bool, model: Path, data: str) -> None:
    from diabolo.cli.console import check_apart
    from diabolo.data.formats import check_table

    if atlas and out is None:
        raise ConfigError("--atlas opens the file of -o: give it a name, like -o atlas.parquet")
    if atlas and port is not None:
        raise ConfigError("--atlas and --port are two pages; give one of them")
    if out is not None:
        if not out.lower().endswith((".parquet", ".pq")):
            raise ConfigError(f"{out}: embedding-atlas opens Parquet, and this holds lists; allowed is *.parquet")
        check_apart(out, model, data)
        check_table(out)


def _said(m: Measured, data: str) -> list[str]:
    sample = f", a uniform sample of {m.total:,}" if m.total > len(m) else ""
    lines = [f"{data}: {len(m):,} rows{sample}, {int(m.is_anomaly.sum()):,} anomalies by {m.detector.score_name}"]
    if m.flags:
        lines.append(f"  {len(m.flags):,} of them could not be scored")
    return lines


def _written(m: Measured, out: str) -> dict[str, str]:
    import shlex

    from diabolo.explore.atlas import command, write_atlas

    names = write_atlas(m, out)
    renamed = [f"{name} is {there}" for name, there in names.items() if name != there]
    say(f"{out}: {len(m):,} rows, {len(names) + m.cells.num_columns} columns; open it with")
    say(f"  uvx {shlex.join(command(out, names))}")
    if renamed:
        say(f"  the table has columns of these names: here {', '.join(renamed)}")
    return names
