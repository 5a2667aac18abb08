"""`diabolo health`: whether new rows still fit a model's detector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from diabolo.cli.console import OWN_NETWORK, TABLE, percent, say
from diabolo.cli.pieces import ADDRESS, ENGINE, RESUME, Pieces, in_pieces
from diabolo.cli.verb import verb
from diabolo.errors import ConfigError, DataError

#: Columns that are named at most.
NAMED = 10


@verb(60)
def health(
    model: Path = typer.Argument(..., help="Model file with a detector."),
    data: str = typer.Argument(..., help=f"New rows, in the columns of the fit. {TABLE}"),
    level: float = typer.Option(0.01, help="Probability of an alarm where nothing has changed, at most."),
    score_: str | None = typer.Option(None, "--score", help="Score (diabolo info MODEL lists them)."),
    false_alarm_rate: float | None = typer.Option(None, help="Rate to look after; the detector's by default."),
    json_: bool = typer.Option(False, "--json", help="One line of JSON instead of sentences."),
    out: str | None = typer.Option(None, "-o", "--out", help="Folder of what each file counts, for many files."),
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
    say(found.to_json() if json_ else _said(data, found))
    if not found.healthy:
        raise typer.Exit(1)


def _said(data: str, h: Any) -> str:
    r = h.rate
    verdict = "still fits" if h.healthy else "has changed"
    beside = f"{h.n_calibration:,} calibration rows" + (f" in {h.n_groups:,} groups" if h.n_groups else "")
    lines = [
        f"{data}: {verdict} ({h.n_rows:,} rows beside {beside}; false-alarm level {h.level:g})",
        f"  rate     your {percent(r.promised)} is now {percent(r.now)} [{percent(r.low)} to {percent(r.high)}]; "
        f"unchanged rows give {percent(r.usual_low)} to {percent(r.usual_high)} (p = {r.p_value:.2g})"
        f"{_mark(r.p_value, h)}",
        f"  scores   {h.score}: distance {h.distance:.3f} from the calibration rows' (p = {h.p_value:.2g})"
        f"{_mark(h.p_value, h)}",
    ]
    if h.n_unscorable:
        lines.append(
            f"  unscored {h.n_unscorable:,} rows could not be scored (p = {h.unscorable_p_value:.2g})"
            f"{_mark(h.unscorable_p_value, h)}"
        )
    drifted = [c for c in h.columns if c.drifted]
    lines.append(f"  columns  {len(h.drifted)} have drifted" if drifted else "  columns  none has drifted")
    lines += [f"    {c}" for c in drifted[:NAMED]]
    if len(drifted) > NAMED:
        lines.append(f"    ... and {len(drifted) - NAMED} more findings (--json lists all)")
    if h.n_seen:
        lines.append(
            f"  {h.n_seen:,} rows are ones that the autoencoder was trained on: it knows those better than new ones"
        )
    return "\n".join(lines)


def _mark(p: float, h: Any) -> str:
    return "  ALARM" if p <= h.level else ""
