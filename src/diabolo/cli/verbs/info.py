"""`diabolo info` and `diabolo demo`: what a file is; the whole job on the sample that ships."""

from __future__ import annotations

from pathlib import Path

import typer

from diabolo.cli.console import OWN_NETWORK, TABLE
from diabolo.cli.verb import verb


@verb(110)
def info(
    path: str = typer.Argument(..., help=f"Model file (*.diabolo), compressed file (*.dbl). {TABLE}"),
    take: str | None = typer.Option(None, help="Objects of jagged columns to take, like jets:10 of jets_pt."),
    own_network: bool = OWN_NETWORK,
) -> None:
    """Show what a model or a compressed file holds, or how a table's columns would be read."""
    from diabolo.describe import describe_compressed, describe_data, describe_model

    if path.endswith(".dbl"):
        describe_compressed(Path(path))
        return

    if path.endswith(".diabolo"):
        describe_model(Path(path), own_network)
        return
    from diabolo.cli.console import parse_slots
    from diabolo.data.formats import Taken

    slots = parse_slots(take, "--take") if take is not None else {}
    describe_data(Taken(path, slots) if slots else path, slots)


@verb(120)
def demo(
    out: Path = typer.Option(Path("diabolo-demo"), "-o", "--out", help="Folder for what the demo writes."),
    epochs: int | None = typer.Option(None, min=1, help="Passes over the training rows."),
) -> None:
    """Fit, calibrate and score the sample of simulated LHC events that ships with the package."""
    from diabolo.demo import run

    run(out, epochs)
