"""`diabolo export`: a model in a form that other programs run."""

from __future__ import annotations

from pathlib import Path

import typer

from diabolo.cli.console import OWN_NETWORK, share_option
from diabolo.cli.verb import verb


@verb(
    104,
    "diabolo export my.diabolo -o my.onnx",
    "diabolo export my.diabolo -o my.onnx --score nll --false-alarm-rate 5%",
    "diabolo export my.diabolo -o REPOSITORY --to triton",
)
def export(
    model: Path = typer.Argument(..., help="Model file."),
    out: str = typer.Option(
        ..., "-o", "--out", help="File to write, whose suffix tells the form (.onnx, .h), or folder."
    ),
    to: str | None = typer.Option(
        None,
        "--to",
        help="Form: onnx, triton, kserve, mlflow, hub, c, hls4ml or cmssw (diabolo docs export).",
        show_default="by the suffix",
    ),
    score: str | None = typer.Option(
        None, "--score", help="Score (diabolo info MODEL lists them).", show_default="the file's"
    ),
    rate: float | None = share_option(
        None, "--false-alarm-rate", help="False-alarm rate behind the verdict, like 1%.", show_default="the file's"
    ),
    accept_rate: str | None = typer.Option(None, help="The same as '30 kHz of 40 MHz', '1 of 1000' or '0.1%'."),
    outputs: str | None = typer.Option(
        None, "--outputs", help="More outputs, like z,reconstruction,column_p.", show_default="none"
    ),
    inputs: str | None = typer.Option(
        None, "--inputs", help="columns (an input each) or matrix (one for all).", show_default="by the columns"
    ),
    own_network: bool = OWN_NETWORK,
    quiet: bool = typer.Option(False, "-q", "--quiet", help="No summary."),
) -> None:
    """Write a model in a form that other programs run, checked against this one: an ONNX graph.

    Exit status 2, and no file, where a verdict differs.
    """
    from diabolo.cli.console import check_apart, say
    from diabolo.data.formats import check_writable
    from diabolo.export.folder import check_folder
    from diabolo.export.targets import target_of
    from diabolo.file.model_file import ModelFile

    rate = _rate(rate, accept_rate)
    target = target_of(out, to, {"score": score, "rate": rate, "outputs": outputs, "inputs": inputs})
    check_apart(out, model)
    (check_folder if target.folder else check_writable)(out)
    lines = target.write(ModelFile(model, own_network), out)
    if not quiet:
        for line in lines:
            say(line)


def _rate(rate: float | None, accepted: str | None) -> float | None:
    """The false-alarm rate of either option.

    Raises:
        ConfigError: both are given, or the accept rate is none.
    """
    from diabolo.detect.rates import accept_rate
    from diabolo.errors import ConfigError

    if accepted is None:
        return rate
    if rate is not None:
        raise ConfigError("--false-alarm-rate and --accept-rate both set the rate; drop one of the two")
    return accept_rate(accepted).rate
