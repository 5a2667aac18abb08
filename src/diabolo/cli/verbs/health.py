"""`diabolo health`: whether new rows still fit a model's detector."""

from __future__ import annotations

from pathlib import Path

import typer

from diabolo.cli.console import OWN_NETWORK, TABLE, say, share_option
from diabolo.cli.pieces import ADDRESS, ENGINE, RESUME, Pieces, in_pieces
from diabolo.cli.verb import verb
from diabolo.errors import ConfigError, DataError


@verb(
    60,
    "diabolo health my.diabolo TODAY.parquet",
    "diabolo health my.diabolo TODAY.parquet --level 0.1% --json",
)
def health(
    model: Path = typer.Argument(..., help="Model file with a detector."),
    data: str = typer.Argument(..., help=f"New rows, in the columns of the fit. {TABLE}"),
    level: float = share_option(0.01, help="Probability of an alarm where nothing has changed, at most."),
    score_: str | None = typer.Option(
        None, "--score", help="Score (diabolo info MODEL lists them).", show_default="the file's"
    ),
    false_alarm_rate: float | None = share_option(
        None, help="Rate to look after, like 1%.", show_default="the detector's"
    ),
    json_: bool = typer.Option(False, "--json", help="One line of JSON instead of sentences."),
    out: str | None = typer.Option(
        None, "-o", "--out", help="Folder of what each file counts, for many files.", show_default="none"
    ),
    engine: str | None = ENGINE,
    address: str | None = ADDRESS,
    resume: bool = RESUME,
    own_network: bool = OWN_NETWORK,
) -> None:
    """Say whether new rows still look like the calibration rows: scores, false-alarm rate, every column.

    Exit status 0: nothing has changed that would show. 1: an alarm. 2: a failure. Memory does not grow with the table.
    """
    from diabolo.cli.console import Progress
    from diabolo.data.formats import schema_of
    from diabolo.data.reading import as_fitted, ordered_chunks
    from diabolo.distributed.table import HealthPieces
    from diabolo.file.model_file import ModelFile

    detector = ModelFile(model, own_network).detector.choosing(score_, false_alarm_rate)
    monitor, schema = detector.monitor(level), detector.reference.model.encoding.schema
    source = as_fitted(data, schema)
    if in_pieces(out, engine, address, resume):
        pieces = Pieces(str(out), engine, address, resume)
        work = HealthPieces(model, score_, false_alarm_rate, own_network)
        done = pieces.run("looking", work, pieces.jobs(source))
        pieces.finish(len(done))  # a verdict on some of the rows would be one on other rows
        for outcome in done:
            monitor.join(outcome.counts["state"])
    elif out is not None:
        raise ConfigError(f"-o {out}: must name a folder, which keeps what each file of DATA counts")
    else:
        progress = Progress("looking", schema_of(source)[1])
        for values, _ in ordered_chunks(source, schema):
            monitor.add(values)
            progress.add(len(values))
        progress.end()
    try:
        found = monitor.report()
    except DataError as error:
        raise DataError(f"{data}: {error}") from None
    say(found.to_json() if json_ else f"{data}: {found}")
    if not found.healthy:
        raise typer.Exit(1)
