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
    from diabolo.detect.calibrated import Calibrated

#: The score's name that stands for every one.
ALL = "all"


@verb(20)
def score(
    model: Path = typer.Argument(..., help="Model file, or one of diabolo export: .onnx."),
    data: str = typer.Argument(..., help=f"Columns in any order. {TABLE}"),
    out: str = typer.Option(
        ..., "-o", "--out", help="Scores to write: .parquet, .csv, .arrow, .root, .h5, .npz; a URL too."
    ),
    keep: list[str] = typer.Option([], help="Columns to carry beside them, like run,event; repeat for more."),
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
    from diabolo.cli.rules import check_one, rule_of

    _check_out(out, model, data)
    rate = accept.rate if (accept := check_one(false_alarm_rate, fdr, accept_rate, explain)) else false_alarm_rate
    if model.suffix == ".onnx":
        _check_graph(model, {"--fdr": fdr is not None, "--explain": explain, "--score": score_ is not None})
        return _by_graph(model, data, out, keep, rate, strict, quiet)
    import numpy as np
    import pyarrow as pa

    from diabolo.cli.console import Progress, say
    from diabolo.cli.verbs.explain import top_columns
    from diabolo.data.formats import schema_of, write_batches
    from diabolo.data.keeping import as_held
    from diabolo.data.reading import as_fitted, ordered_chunks
    from diabolo.detect.choice import applicable, automatic_score
    from diabolo.detect.reference import Reference
    from diabolo.detect.scoring import score_table
    from diabolo.file.model_file import ModelFile

    file = ModelFile(model, own_network)
    if "detector" not in file and (explain or rate is not None or fdr is not None):
        raise ConfigError(f"{model} has no detector, so no false-alarm rate and no anomaly; fit without --only main")
    reference, rule, one = Reference(file.autoencoder.model), None, None if score_ == ALL else score_
    name, detector = automatic_score(reference) if one in (None, "auto") else str(one), None
    if "detector" in file:
        detector = file.detector.choosing(one, rate)
        reference, name, rule = detector.reference, detector.score_name, rule_of(detector, fdr, accept, out)
    more = applicable(reference) if score_ == ALL else []
    encoding, known = reference.model.encoding, reference.model.encoding.schema
    source = as_fitted(data, known)
    progress, counts = Progress("scoring", schema_of(source)[1]), {"rows": 0, "flagged": 0}
    schema, kept = _with_kept(_score_schema(explain, more), source, keep)

    def batches() -> Any:
        for values, cells in ordered_chunks(source, known, kept):
            table = score_table(reference, values, more or [name])
            s, n, at = table[name], len(values), counts["rows"]
            flags = _flags(encoding, values, s, f"{data}: row " if strict else "", at)
            p, anomaly = _judged(rule, detector, s)
            counts["rows"] += n
            counts["flagged"] += len(flags)
            progress.add(n)
            why = pa.array([flags.get(i) for i in range(n)] if flags else [None] * n, pa.string())
            first = [pa.array(np.arange(at, at + n)), *(cells[k] for k in kept), pa.array(s), p, anomaly, why]
            beside = top_columns(detector, values, np.flatnonzero(anomaly)) if explain and detector else []
            yield pa.record_batch([*first, *(pa.array(table[other]) for other in more), *beside], schema=schema)

    found, unknown = (batches(), ["p_value", "is_anomaly"]) if rule is None else (rule.settled(batches()), [])
    write_batches(out, *as_held(out, schema, found, unknown))
    progress.end()
    if not quiet:
        say(_summary(out, name, counts, rule))


def _check_graph(model: Path, wants: dict[str, bool]) -> None:
    unknown = [flag for flag, wanted in wants.items() if wanted]
    if unknown:
        raise ConfigError(
            f"{model}: a graph has one score and no rows to compare with, so it takes no {' and no '.join(unknown)}; "
            "give the model file that it was exported from"
        )


def _by_graph(model: Path, data: str, out: str, keep: list[str], rate: float | None, strict: bool, quiet: bool) -> None:
    """The same table by onnxruntime; PyTorch is not imported."""
    import numpy as np
    import pyarrow as pa

    from diabolo.cli.console import Progress, percent, say
    from diabolo.data.formats import schema_of, write_batches
    from diabolo.data.keeping import as_held
    from diabolo.data.reading import as_fitted, ordered_chunks
    from diabolo.file.graph_file import graph_of

    scorer, known, errors = graph_of(model)
    if rate is not None and not scorer.has_detector:
        raise ConfigError(f"{model} has no detector, so no false-alarm rate; fit without --only main, and export again")
    source = as_fitted(data, known)
    progress = Progress("scoring", schema_of(source)[1])
    counts = {"rows": 0, "flagged": 0, "anomalies": 0}
    schema, kept = _with_kept(_score_schema(False, []), source, keep)

    def batches() -> Any:
        for values, cells in ordered_chunks(source, known, kept):
            with errors():
                told = scorer.score_positions(values, rate)
            n, at = len(values), counts["rows"]
            flagged = np.flatnonzero(told["flag"].is_valid().to_numpy())
            if strict and len(flagged):
                first = int(flagged[0])
                raise DataError(f"{data}: row {at + first} cannot be scored: {told['flag'][first]}")
            counts["rows"] += n
            counts["flagged"] += len(flagged)
            counts["anomalies"] += sum(filter(None, told["is_anomaly"].to_pylist()))
            progress.add(n)
            found = [told[name].combine_chunks() for name in ("score", "p_value", "is_anomaly", "flag")]
            yield pa.record_batch([pa.array(np.arange(at, at + n)), *(cells[k] for k in kept), *found], schema=schema)

    unknown = [] if scorer.has_detector else ["p_value", "is_anomaly"]
    write_batches(out, *as_held(out, schema, batches(), unknown))
    progress.end()
    lines = [f"{out}: {counts['rows']:,} rows scored by {scorer.score_name}"]
    if scorer.has_detector:
        said = scorer.metadata["calibration"]
        share = f", {percent(counts['anomalies'] / counts['rows'])} of the rows" if counts["rows"] else ""
        share += f" ({counts['flagged']:,} of them could not be scored)" if counts["flagged"] else ""
        lines.append(
            f"  {counts['anomalies']:,} anomalies{share}; of rows exchangeable with the {said['said']} at most "
            f"{percent(rate or said['rate'])} are flagged, on average over calibrations"
        )
    if counts["flagged"]:
        lines.append(f"  {counts['flagged']:,} rows could not be scored: the column flag says why")
    if not quiet:
        say("\n".join(lines))


def _check_out(out: str, model: Path, data: str) -> None:
    from diabolo.cli.console import check_apart, check_named
    from diabolo.data.formats import check_writable

    check_named(out, "scores have names and a column of text")
    check_apart(out, model, data)
    check_writable(out)


def _with_kept(schema: Any, source: Any, keep: list[str]) -> tuple[Any, list[str]]:
    """The schema with the columns that are carried, and their names."""
    from diabolo.data.keeping import kept_names, with_kept

    kept = kept_names(source, keep, schema.names)
    return with_kept(schema, source, kept), kept


def _judged(rule: Rule | None, detector: Calibrated | None, scores: Any) -> tuple[Any, Any]:
    """p-values and whether rows are anomalies; nothing without a detector."""
    import pyarrow as pa

    if rule is None or detector is None:
        return pa.nulls(len(scores), pa.float64()), pa.nulls(len(scores), pa.bool_())
    # A row without a score has no p-value.
    return pa.array(detector.p_values(scores), from_pandas=True), pa.array(rule.decide(scores))


def _flags(encoding: Any, values: Any, scores: Any, where: str, at: int) -> dict[int, str]:
    """Why rows could not be scored, by position.

    Raises:
        DataError: there is such a row, and `where` says that it must not be.
    """
    import numpy as np

    bad = np.flatnonzero(~np.isfinite(scores))
    reasons = encoding.flags(values[bad]) if len(bad) else []
    found = {int(i): reason or "the score overflows" for i, reason in zip(bad, reasons, strict=True)}
    if where and found:
        raise DataError(f"{where}{at + min(found)} cannot be scored: {found[min(found)]}")
    return found


def _summary(out: str, name: str, counts: dict[str, int], rule: Rule | None) -> str:
    lines = [f"{out}: {counts['rows']:,} rows scored by {name}"]
    if rule is not None:
        lines += rule.said(counts["rows"])
    if counts["flagged"]:
        lines.append(f"  {counts['flagged']:,} rows could not be scored: the column flag says why")
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
