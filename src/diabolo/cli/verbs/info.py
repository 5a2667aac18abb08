"""`diabolo info` and `diabolo demo`: what a file is; the whole job on the sample that ships."""

from __future__ import annotations

from pathlib import Path

import typer

from diabolo.cli.console import OWN_NETWORK, TABLE, say
from diabolo.cli.kinds import MODEL, ONNX, kind_of
from diabolo.cli.verb import verb
from diabolo.errors import ConfigError


@verb(
    110,
    "diabolo info DATA.parquet",
    "diabolo info my.diabolo",
    "diabolo info my.diabolo --json",
)
def info(
    path: str = typer.Argument(..., help=f"Model file (*.diabolo), compressed file (*.dbl). {TABLE}"),
    take: list[str] = typer.Option([], help="Objects of jagged columns to take, like jets:10 of jets_pt; repeatable."),
    json_: bool = typer.Option(False, "--json", help="Of a model file: its model card in JSON."),
    own_network: bool = OWN_NETWORK,
) -> None:
    """Show what a model or a compressed file holds, or how a table's columns would be read."""
    kind = kind_of(str(path))  # with an option of reading more than a path
    if kind == ONNX:
        raise ConfigError(f"{path} is {ONNX}; diabolo info says what the model file holds that it was exported from")
    if json_ and kind != MODEL:
        raise ConfigError(f"{path}: --json gives the card of a model file (*.diabolo), which this is not")
    if json_:
        from diabolo.describe.card import card_text

        return say(card_text(Path(str(path)), own_network))
    if str(path).endswith(".dbl"):
        from diabolo.describe.compressed import describe_compressed

        return describe_compressed(Path(str(path)))
    if str(path).endswith(".diabolo"):
        from diabolo.describe.model import describe_model

        return describe_model(Path(str(path)), own_network)
    from diabolo.cli.console import parse_slots
    from diabolo.data.formats import taken
    from diabolo.describe.table import describe_data

    slots = parse_slots(take, "--take")
    describe_data(taken(path, slots), slots)


@verb(
    120,
    "diabolo demo",
    "diabolo demo -o out --epochs 3",
)
def demo(
    out: Path = typer.Option(Path("diabolo-demo"), "-o", "--out", help="Folder for what the demo writes."),
    epochs: int | None = typer.Option(None, min=1, help="Passes over the training rows.", show_default="25"),
) -> None:
    """Fit, calibrate and score the sample of simulated LHC events that ships with the package."""
    from diabolo.demo import run_demo

    run_demo(out, epochs)
