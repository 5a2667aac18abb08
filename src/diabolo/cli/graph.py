"""`diabolo score` of an exported graph: the same table by onnxruntime. PyTorch is not imported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from diabolo.errors import ConfigError, DataError

if TYPE_CHECKING:
    from diabolo.runtime import Scorer

__all__ = ["check_graph", "score_by_graph"]


def check_graph(model: Path, wants: dict[str, bool]) -> None:
    """Refuse options that need more than a graph has."""
    unknown = [flag for flag, wanted in wants.items() if wanted]
    if unknown:
        raise ConfigError(
            f"{model}: a graph has one score and no rows to compare with, so it takes no {' and no '.join(unknown)}; "
            "give the model file that it was exported from"
        )


def score_by_graph(
    model: Path, data: str, out: str, keep: list[str], rate: float | None, strict: bool, quiet: bool
) -> None:
    """Write the scores of a table, chunk by chunk."""
    import numpy as np
    import pyarrow as pa

    from diabolo.cli.console import Progress, say
    from diabolo.data.formats import schema_of, write_batches
    from diabolo.data.keeping import as_held, kept_names, with_kept
    from diabolo.data.reading import as_fitted, ordered_chunks
    from diabolo.data.score_columns import ROW, TOLD
    from diabolo.file.graph_file import graph_of

    scorer, known, errors = graph_of(model)
    if rate is not None and not scorer.has_detector:
        raise ConfigError(f"{model} has no detector, so no false-alarm rate; fit without --only main, and export again")
    source = as_fitted(data, known)
    progress = Progress("scoring", schema_of(source)[1])
    counts = {"rows": 0, "flagged": 0, "anomalies": 0}
    kept = kept_names(source, keep, [ROW.name, *(field.name for field in TOLD)])
    schema = with_kept(pa.schema([ROW, *TOLD]), source, kept)

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
            found = [told[field.name].combine_chunks() for field in TOLD]
            yield pa.record_batch([pa.array(np.arange(at, at + n)), *(cells[k] for k in kept), *found], schema=schema)

    unknown = [] if scorer.has_detector else ["p_value", "is_anomaly"]
    write_batches(out, *as_held(out, schema, batches(), unknown))
    progress.end()
    if not quiet:
        say(_said(out, scorer, counts, rate))


def _said(out: str, scorer: Scorer, counts: dict[str, int], rate: float | None) -> str:
    from diabolo.screen import percent

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
    return "\n".join(lines)
