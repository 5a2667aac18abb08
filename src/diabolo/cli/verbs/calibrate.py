"""`diabolo calibrate`: a detector's p-values renewed on other rows, without training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from diabolo.cli.console import DEVICE, OWN_NETWORK, TABLE, check_apart, percent, say, share_option
from diabolo.cli.promise import condition, promised
from diabolo.cli.verb import verb
from diabolo.errors import ConfigError

if TYPE_CHECKING:
    from diabolo.data.sample import Sample
    from diabolo.detect.calibrated import Calibrated
    from diabolo.fitted.record import Fitted

__all__ = ["calibrate"]


@verb(
    50,
    "diabolo calibrate my.diabolo NEWER.parquet",
    "diabolo calibrate my.diabolo NEWER.csv -o new.diabolo --false-alarm-rate 1%",
)
def calibrate(
    model: Path = typer.Argument(..., help="Model file."),
    data: str = typer.Argument(..., help=f"Normal rows that the model has not seen, at least 99. {TABLE}"),
    out: Path | None = typer.Option(None, "-o", "--out", help="Model file to write.", show_default="MODEL itself"),
    exclude_rows: Path | None = typer.Option(
        None, metavar="FILE", help="List of rows to leave out, as explore saves it.", show_default="no row"
    ),
    weight: str | None = typer.Option(None, help="Column of row weights.", show_default="1 each"),
    group: str | None = typer.Option(
        None, help="Column of groups, or 'content': equal rows.", show_default="the fit's"
    ),
    score_: str | None = typer.Option(None, "--score", help="Score to use from now on.", show_default="the file's"),
    false_alarm_rate: float | None = share_option(
        None, help="Default rate from now on, like 1%.", show_default="the file's"
    ),
    memory: str = typer.Option(
        "1GiB", help="Of a larger table, a uniform sample calibrates: cells of at most this size, or 1,000 rows."
    ),
    device: str | None = DEVICE,
    own_network: bool = OWN_NETWORK,
) -> None:
    """Renew the calibration of a model's detector, or give a model its detector; nothing is trained.

    Rows that the autoencoder was trained on are left out. The file's other sections stay as they are.
    """
    from diabolo.cli.console import Progress
    from diabolo.cli.training import byte_count
    from diabolo.data.formats import check_writable
    from diabolo.data.reading import as_fitted
    from diabolo.data.row_list import left_out_of, renumbered, rows_left_out
    from diabolo.data.sample import sampled
    from diabolo.data.split import split_by
    from diabolo.detect.calibrating import Choice, renewed
    from diabolo.device import choose_device
    from diabolo.file.detector import detector_section
    from diabolo.file.model_file import ModelFile

    target = model if out is None else out
    most = byte_count(memory, "--memory")
    check_apart(target, data)
    check_writable(target)
    file = ModelFile(model, own_network)
    fitted, before = file.autoencoder, file.detector.choosing(score_, false_alarm_rate) if "detector" in file else None
    known = fitted.model.encoding.schema
    if weight is not None and weight in known.names:
        raise ConfigError(f"--weight {weight}: is a column that the model was fitted on; weights are no such column")
    split = _split(group, fitted, before)
    beside = [split.partition(" ")[2]] if split.startswith("group ") else []
    source = as_fitted(left_out_of(data, exclude_rows), known, [*([weight] if weight else []), *beside])
    progress = Progress("reading", None)
    with renumbered(source):
        sample = sampled(source, known, weight, most, progress.add, beside)
    progress.end()
    groups = split_by(split, sample.values, sample.more[beside[0]] if beside else None).groups
    chosen = Choice(score_ or "auto", false_alarm_rate, device=None if device is None else choose_device(device))
    detector = renewed(fitted, before, sample, chosen, groups)
    file.update({"detector": detector_section(detector)}, target)
    without = rows_left_out(source)
    listed = [] if without is None else [f"  {len(without):,} rows were left out: {without.shown} lists them"]
    say("\n".join([_summary(target, detector, sample, split), *listed]))


def _split(group: str | None, fitted: Fitted, before: Calibrated | None) -> str:
    """The split of the rows: as asked for, else as that of the detector.

    Raises:
        ConfigError: the detector is calibrated by groups, and nothing says which column they are.
    """
    if group is not None:
        return group if group == "content" else f"group {group}"
    if before is None or before.n_groups is None:
        return "position"
    split = fitted.roles.split
    if split == "content" or split.startswith("group "):
        return split
    raise ConfigError(
        "the detector's rate is one of new groups: name their column with --group COL, or --group content"
    )


def _summary(target: Path, detector: Calibrated, sample: Sample, split: str) -> str:
    lines = [
        f"{target}: {promised(detector)}; smallest possible {percent(1 / (detector.calibration.units + 1))}",
        *condition(detector, split),
    ]
    if len(sample.values) < sample.rows:
        lines.append(f"  a uniform sample of {len(sample.values):,} of {sample.rows:,} rows; --memory sets its size")
    if detector.n_excluded:
        lines.append(f"  {detector.n_excluded:,} rows were left out: the autoencoder was trained on them")
    if detector.n_unscorable:
        lines.append(f"  {detector.n_unscorable:,} rows could not be scored, and calibrate nothing")
    return "\n".join(lines)
