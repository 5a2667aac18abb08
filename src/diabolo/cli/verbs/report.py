"""`diabolo report`: one page on a model and the rows it is shown."""

from __future__ import annotations

from pathlib import Path

import typer

from diabolo.cli.console import DEVICE, OWN_NETWORK, TABLE
from diabolo.cli.verb import verb


@verb(
    100,
    "diabolo report my.diabolo NEW.parquet -o report.html",
    "diabolo report my.diabolo LABELLED.parquet -o report.html --label label",
)
def report(
    model: Path = typer.Argument(..., help="Model file."),
    data: str = typer.Argument(..., help=f"Columns in any order. {TABLE}"),
    out: Path = typer.Option(..., "-o", "--out", help="Page to write, like report.html."),
    label: str | None = typer.Option(None, help="Column that says what each row is: shown, never scored."),
    refits: bool | None = typer.Option(
        None, "--refits/--no-refits", help="Train for a moment at other latent sizes.", show_default="where it is quick"
    ),
    seed: int = typer.Option(0, min=0, max=1 << 62, help="Seed of samples and refits."),
    device: str | None = DEVICE,
    own_network: bool = OWN_NETWORK,
) -> None:
    """Write one page, which opens offline, on what the model says of a table and what may be wrong with either."""
    import time

    from diabolo.cli.console import check_apart, say
    from diabolo.report import write_report

    check_apart(out, model, data)
    begun = time.perf_counter()
    write_report(model, data, out, label=label, seed=seed, refits=refits, own_network=own_network, device=device)
    say(f"{out}: {out.stat().st_size:,} bytes in {time.perf_counter() - begun:.1f} s; open it in any browser")
