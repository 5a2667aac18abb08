"""`diabolo score`: rows in, scores out, in chunks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from diabolo.cli.console import OWN_NETWORK, TABLE
from diabolo.cli.verb import verb
from diabolo.errors import ConfigError, DataError

if TYPE_CHECKING:
    from diabolo.cli.rules import Rule

#: The score's name that stands for every one.
ALL = "all"


@verb(20)
def score(
    model: Path = typer.Argument(..., help="Model file."),
    data: str = typer.Argument(..., help=f"Columns in any order. {TABLE}"),
    out: str = typer.Option(..., "-o", "--out", help="Scores to write: .parquet, .csv or .arrow, also to a URL."),
    score_: str | None = typer.Option(None, "--score", help="Score (diabolo info MODEL lists them), or all."),
    false_alarm_rate: float | None = typer.Option(None, help="Share of normal rows that may be flagged."),
    fdr: float | None = typer.Option(None, help="Share of flagged rows that may be normal, on average, instead."),
    accept_rate: str | None = typer.Option(None, help="The same as '30 kHz of 40 MHz', '1 of 1000' or '0.1%'."),
    explain: bool = typer.Option(False, "--explain", help="Name the first columns of every anomaly."),
    strict: bool = typer.Option(False, help="Fail at the first row that cannot be scored."),
    own_network: bool = OWN_NETWORK,
    quiet: bool = typer.Option(False, "-q", "--quiet", help="No progress and no summary."),
) -> None:
    """Score every row: score, p-value, whether it is an anomaly, and why a row could not be scored."""
    import numpy as np
    import pyarrow as pa

    from diabolo.cli.console import Progress, say
    from diabolo.cli.rules import check_one, rule_of
    from diabolo.cli.verbs.explain import top_columns
    from diabolo.data.formats import schema_of, write_batches
    from diabolo.data.reading import as_fitted, ordered_chunks
    from diabolo.detect.choice import applicable, automatic
    from diabolo.detect.reference import Reference
    from diabolo.detect.scoring import score_table
    from diabolo.file.model_file import ModelFile

    _check_out(out, model, data)
    accept = check_one(false_alarm_rate, fdr, accept_rate, explain)
    rate = false_alarm_rate if accept is None else accept.rate
    file = ModelFile(model, own_network)
    if "detector" not in file and (explain or rate is not None or fdr is not None):
        raise ConfigError(f"{model} has no detector, so no false-alarm rate and no anomaly; fit without --only main")
    reference, rule, one = Reference(file.autoencoder.model), None, None if score_ == ALL else score_
    name = automatic(reference) if one in (None, "auto") else str(one)
    detector = None
    if "detector" in file:
        detector = file.detector.choosing(one, rate)
        reference, name, rule = detector.reference, detector.score_name, rule_of(detector, fdr, accept, out)
    more = applicable(reference) if score_ == ALL else []
    encoding = reference.model.encoding
    known = encoding.schema
    source = as_fitted(data, known)
    progress = Progress("scoring", schema_of(source)[1])
    counts = {"rows": 0, "flagged": 0}
    schema = _score_schema(explain, more)

    def batches() -> Any:
        for values, _ in ordered_chunks(source, known):
            table = score_table(reference, values, more or [name])
            s, n, at = table[name], len(values), counts["rows"]
            flags = _flags(encoding, values, s)
            if strict and flags:
                raise DataError(f"{data}: row {at + min(flags)} cannot be scored: {flags[min(flags)]}")
            p, anomaly = pa.nulls(n, pa.float64()), pa.nulls(n, pa.bool_())
            if rule is not None:
                p, anomaly = pa.array(rule.calibration.p_values(s)), pa.array(rule.decide(s))
            counts["rows"] += n
            counts["flagged"] += len(flags)
            progress.add(n)
            why = pa.array([flags.get(i) for i in range(n)], pa.string()) if flags else pa.nulls(n, pa.string())
            first = [pa.array(np.arange(at, at + n)), pa.array(s), p, anomaly, why]
            beside = top_columns(detector, values, np.flatnonzero(anomaly)) if explain and detector else []
            yield pa.record_batch([*first, *(pa.array(table[other]) for other in more), *beside], schema=schema)

    write_batches(out, schema, batches() if rule is None else rule.settled(batches()))
    progress.end()
    if not quiet:
        say(_summary(out, name, counts, rule))


def _check_out(out: str, model: Path, data: str) -> None:
    from diabolo.cli.console import check_apart
    from diabolo.data.formats import check_writable, format_of, formats

    if not format_of(out).complete:
        allowed = ", ".join(formats.get(n).suffixes[0] for n in formats if formats.get(n).complete)
        raise ConfigError(f"{out}: scores have a column of text; allowed: {allowed}")
    check_apart(out, model, data)
    check_writable(out)


def _flags(encoding: Any, values: Any, scores: Any) -> dict[int, str]:
    """Why rows could not be scored, by position."""
    import numpy as np

    bad = np.flatnonzero(~np.isfinite(scores))
    reasons = encoding.flags(values[bad]) if len(bad) else []
    return {int(i): reason or "the score overflows" for i, reason in zip(bad, reasons, strict=True)}


def _summary(out: str, name: str, counts: dict[str, int], rule: Rule | None) -> str:
    lines = [f"{out}: {counts['rows']:,} rows scored by {name}"]
    if rule is not None:
        lines += rule.said(counts["rows"])
    if counts["flagged"]:
        lines.append(
            f"  {counts['flagged']:,} rows could not be scored: the column flag says why; none counts as normal"
        )
    return "\n".join(lines)


def _score_schema(explain: bool, more: list[str]) -> Any:
    import pyarrow as pa

    from diabolo.cli.verbs.explain import with_top_columns

    # Row numbers and scores are all different: a dictionary of them costs time and gains nothing.
    schema = pa.schema(
        [
            pa.field("row", pa.int64(), metadata={"encoding": "DELTA_BINARY_PACKED"}),
            pa.field("score", pa.float64(), metadata={"encoding": "BYTE_STREAM_SPLIT"}),
            pa.field("p_value", pa.float64()),
            pa.field("is_anomaly", pa.bool_()),
            pa.field("flag", pa.string()),
            *(pa.field(f"score_{n}", pa.float64(), metadata={"encoding": "BYTE_STREAM_SPLIT"}) for n in more),
        ]
    )
    return with_top_columns(schema) if explain else schema
