"""`diabolo info` and `diabolo demo`: what a file is; the whole job on the sample that ships."""

from __future__ import annotations

from pathlib import Path

import typer

from diabolo.cli.common import OWN_NETWORK

__all__ = ["demo", "info"]


def info(
    path: Path = typer.Argument(..., help="Model file (*.diabolo), or a table."), own_network: bool = OWN_NETWORK
) -> None:
    """Show what a model file holds, or how a table's columns would be read."""
    from diabolo.describe import describe_data, describe_model

    if path.suffix == ".diabolo":
        describe_model(path, own_network)
    else:
        describe_data(path)


def demo(
    out: Path = typer.Option(Path("diabolo-demo"), "-o", "--out", help="Folder for what the demo writes."),
    epochs: int | None = typer.Option(None, min=1, help="Passes over the training rows."),
) -> None:
    """Fit, calibrate and score the sample of simulated LHC events that ships with the package."""
    from diabolo.demo import run

    run(out, epochs)
