"""`diabolo serve`: an endpoint for a model file, or for a folder of them."""

from __future__ import annotations

from pathlib import Path

import typer

from diabolo.cli.console import DEVICE, OWN_NETWORK, say, share_option
from diabolo.cli.verb import verb


@verb(
    105,
    "diabolo serve my.diabolo",
    "diabolo serve MODELS/ --port 9000 --host 0.0.0.0 --token-file token.txt",
)
def serve(
    model: Path = typer.Argument(..., help="Model file with a detector, exported graph (.onnx), or a folder of them."),
    port: int = typer.Option(8000, help="Port; 0 for a free one."),
    host: str = typer.Option("127.0.0.1", help="Address; 0.0.0.0 lets other machines ask."),
    workers: int = typer.Option(1, help="Processes that answer."),
    token_file: Path | None = typer.Option(
        None, help="File with the token that callers send as a bearer.", show_default="none"
    ),
    open_: bool = typer.Option(False, "--open", help="Let other machines ask without a token."),
    score_: str | None = typer.Option(
        None, "--score", help="Score (diabolo info MODEL lists them).", show_default="the file's"
    ),
    false_alarm_rate: float | None = share_option(
        None, help="Share of normal rows that may be flagged, like 1%.", show_default="the file's"
    ),
    window: int = typer.Option(10_000, help="Rows whose drift is judged, the latest."),
    level: float = share_option(
        0.01, help="Probability that one verdict on drift is an alarm where nothing has changed, at most."
    ),
    max_rows: int = typer.Option(65_536, help="Rows of a request, at most."),
    max_body: int = typer.Option(64 << 20, help="Bytes of a request, at most."),
    queue: int = typer.Option(1_024, help="Requests that may wait."),
    neighbors: int = typer.Option(0, help="Normal training rows that an explanation may show."),
    device: str | None = DEVICE,
    own_network: bool = OWN_NETWORK,
) -> None:
    """Answer over HTTP: the Open Inference Protocol, tables of rows, explanations, drift, metrics, and a page."""
    import diabolo.serve  # noqa: F401  (says which extra is missing)
    from diabolo.serve.backends import Choice
    from diabolo.serve.run import Process, run
    from diabolo.serve.settings import Settings

    choice = Choice(score_, false_alarm_rate, own_network, device)
    settings = Settings(
        model,
        choice,
        window=window,
        level=level,
        max_rows=max_rows,
        max_body=max_body,
        queue=queue,
        neighbors=neighbors,
    )
    token = None if token_file is None else str(token_file)
    run(Process(settings, token, host, port, workers, open_))
    say("stopped; requests that had begun were answered")
