"""`diabolo score`: rows in, scores out, in chunks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from diabolo.cli.console import DEVICE, OWN_NETWORK, TABLE, share_option
from diabolo.cli.graph import check_graph, score_by_graph
from diabolo.cli.pieces import ADDRESS, ENGINE, RESUME, Pieces, in_pieces, joined
from diabolo.cli.verb import verb
from diabolo.errors import ConfigError

if TYPE_CHECKING:
    from diabolo.cli.rules import Rule
    from diabolo.detect.dataset import Counts
    from diabolo.detect.rates import AcceptRate


@verb(
    20,
    "diabolo score my.diabolo NEW.parquet -o scores.parquet",
    "diabolo score my.diabolo NEW.csv -o scores.csv --false-alarm-rate 5% --keep id",
    "diabolo score my.diabolo NEW.parquet -o scores.parquet --fdr 10%",
)
def score(
    model: Path = typer.Argument(..., help="Model file, or one of diabolo export: .onnx."),
    data: str = typer.Argument(..., help=f"Columns in any order. {TABLE}"),
    out: str = typer.Option(
        ..., "-o", "--out", help="Scores to write: .parquet, .csv, .arrow, .root, .h5, .npz; a URL; a folder of parts."
    ),
    keep: list[str] = typer.Option([], help="Columns to carry beside them, like run,event; repeat for more."),
    score_: str | None = typer.Option(
        None, "--score", help="Score (diabolo info MODEL lists them), or all.", show_default="the file's"
    ),
    false_alarm_rate: float | None = share_option(
        None, help="Share of normal rows that may be flagged, like 1%.", show_default="the file's"
    ),
    fdr: float | None = share_option(None, help="Share of flagged rows that may be normal, on average, instead."),
    accept_rate: str | None = typer.Option(None, help="The same as '30 kHz of 40 MHz', '1 of 1000' or '0.1%'."),
    explain: bool = typer.Option(False, "--explain", help="Name the first columns of every anomaly."),
    strict: bool = typer.Option(False, help="Fail at the first row that cannot be scored."),
    device: str | None = DEVICE,
    engine: str | None = ENGINE,
    address: str | None = ADDRESS,
    resume: bool = RESUME,
    own_network: bool = OWN_NETWORK,
    quiet: bool = typer.Option(False, "-q", "--quiet", help="No progress and no summary."),
) -> None:
    """Score every row: score, p-value, whether it is an anomaly, and why a row could not be scored."""
    from diabolo.cli.rules import check_one, rule_of

    pieces = Pieces(out, engine, address, resume) if in_pieces(out, engine, address, resume) else None
    if pieces is None:
        _check_out(out, model, data)
    accept = check_one(false_alarm_rate, fdr, accept_rate, explain)
    rate = false_alarm_rate if accept is None else accept.rate
    if model.suffix.lower() == ".onnx":
        wants = {"--fdr": fdr is not None, "--explain": explain, "--score": score_ is not None}
        wants["--device"] = device is not None
        check_graph(model, {**wants, "parts of a folder": pieces is not None})
        score_by_graph(model, data, out, keep, rate, strict, quiet)
        return
    from diabolo.cli.console import Progress, say
    from diabolo.data.formats import schema_of, write_batches
    from diabolo.data.keeping import as_held, kept_names
    from diabolo.data.reading import as_fitted
    from diabolo.detect.dataset import Counts, scored
    from diabolo.file.model_file import ModelFile

    if pieces is not None:
        if fdr is not None or strict:
            raise ConfigError(f"{'--strict' if strict else '--fdr'} looks at all rows in turn: give -o FILE")
        if device is not None:
            raise ConfigError("--device is of one process; parts are scored where the file says: give -o FILE")
        _score_pieces(pieces, model, data, keep, score_, rate, accept, explain, own_network, quiet)
        return
    file = ModelFile(model, own_network, device)
    rows = file.row_scores(score_, rate, explain)
    if fdr is not None and rows.detector is None:
        raise ConfigError(f"{model} has no detector, so no false discovery rate; fit without --only main")
    rule = None if rows.detector is None else rule_of(rows.detector, fdr, accept, out)
    source = as_fitted(data, rows.reference.model.encoding.schema)
    progress, counts = Progress("scoring", schema_of(source)[1]), Counts()
    kept = kept_names(source, keep, ["row", *rows.schema.names])
    schema, batches = scored(rows, source, counts, progress.add, kept, None if rule is None else rule.decide, strict)
    found, unknown = (batches, ["p_value", "is_anomaly"]) if rule is None else (rule.settled(batches), [])
    write_batches(out, *as_held(out, schema, found, unknown))
    progress.end()
    if not quiet:
        say(_summary(out, rows.name, counts, rule))


def _score_pieces(
    pieces: Pieces,
    model: Path,
    data: str,
    keep: list[str],
    score_: str | None,
    rate: float | None,
    accept: AcceptRate | None,
    explain: bool,
    own_network: bool,
    quiet: bool,
) -> None:
    import pyarrow as pa

    from diabolo.cli.console import say
    from diabolo.cli.rules import AtRate
    from diabolo.data.keeping import kept_names, with_kept
    from diabolo.data.reading import as_fitted
    from diabolo.detect.dataset import Counts
    from diabolo.distributed import ScoreBatches

    work = ScoreBatches(model, None, score_, rate, explain, own_network)
    rows = work.model_file.row_scores(score_, rate, explain)
    source = as_fitted(data, rows.reference.model.encoding.schema)
    kept = kept_names(source, keep, ["row", *rows.schema.names])
    types = {field.name: field.type for field in with_kept(pa.schema([]), source, kept, 0)}
    work = ScoreBatches(model, types, score_, rate, explain, own_network)
    done = pieces.run("scoring", work, pieces.jobs(source), quiet)
    counts = Counts(**{name: joined(done, name) for name in ("rows", "anomalies", "flagged")})
    rule = None if rows.detector is None else AtRate(rows.detector, accept, counts.anomalies, counts.flagged)
    if not quiet:
        say("\n".join([_summary(pieces.out, rows.name, counts, rule), *pieces.said(len(done))]))
    pieces.finish(len(done))


def _check_out(out: str, model: Path, data: str) -> None:
    from diabolo.cli.console import check_apart, check_named
    from diabolo.data.formats import check_table

    check_named(out, "scores have names and a column of text")
    check_apart(out, model, data)
    check_table(out)


def _summary(out: str, name: str, counts: Counts, rule: Rule | None) -> str:
    lines = [f"{out}: {counts.rows:,} rows scored by {name}"]
    if rule is not None:
        lines += rule.said(counts.rows)
    if counts.flagged:
        lines.append(f"  {counts.flagged:,} rows could not be scored: the column flag says why")
    return "\n".join(lines)
