"""`diabolo sample`: rows drawn from a model, in chunks, and how far they are from real ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from diabolo.cli.console import OWN_NETWORK, TABLE
from diabolo.cli.pieces import ADDRESS, ENGINE, RESUME, Pieces, in_pieces, joined
from diabolo.cli.verb import verb
from diabolo.errors import ConfigError

if TYPE_CHECKING:
    from diabolo.file.model_file import ModelFile
    from diabolo.generate.fidelity import Fidelity


@verb(
    90,
    "diabolo sample my.diabolo -n 1000 -o drawn.parquet",
    "diabolo sample my.diabolo -n 1000 -o red.csv --given colour=red --seed 1",
)
def sample(
    model: Path = typer.Argument(..., help="Model file."),
    out: str = typer.Option(
        ..., "-o", "--out", help="Table to write, in any format that is written; a URL; a folder of parts."
    ),
    n: int = typer.Option(..., "-n", help="Rows to draw."),
    given: list[str] = typer.Option(
        [], "--given", metavar="COL=VALUE", help="Value of a column, COL= for a missing cell; repeat for more."
    ),
    against: str | None = typer.Option(None, help=f"Real rows to compare the drawn ones with. {TABLE}"),
    method: str = typer.Option(
        "auto", help="What draws: auto, masked, trees, mixture, resampled or prior (diabolo docs generate)."
    ),
    mean: bool = typer.Option(False, "--mean", help="Means instead of draws from p(x|z)."),
    seed: int = typer.Option(0, min=0, max=1 << 62, help="Seed of the draws."),
    engine: str | None = ENGINE,
    address: str | None = ADDRESS,
    resume: bool = RESUME,
    own_network: bool = OWN_NETWORK,
) -> None:
    """Draw new rows from the model, in the columns and units of its training table."""
    import pyarrow as pa

    from diabolo.cli.console import Progress, check_apart
    from diabolo.data.formats import check_table, write_batches
    from diabolo.distributed import Sample
    from diabolo.distributed.parts import Job
    from diabolo.file.model_file import ModelFile
    from diabolo.generate.drawing import PIECE, draw_piece

    if n < 1:
        raise ConfigError(f"-n {n}: allowed are whole numbers from 1 up")
    conditions = _conditions(given)
    if against is not None and (conditions or mean):
        raise ConfigError("--against compares draws of all rows with real ones: leave out --given and --mean")
    file = ModelFile(model, own_network)
    doubts: dict[str, None] = {}
    if in_pieces(out, engine, address, resume):
        work = Sample(model, n, seed, method, mean, conditions, own_network)
        jobs = [Job(f"part-{k:06d}", k) for k in range(work.parts)]
        pieces = Pieces(out, engine, address, resume)
        done = pieces.run("sampling", work, jobs)
        doubts = {doubt: None for outcome in done for doubt in outcome.counts["doubts"]}
        _tell(file, out, joined(done, "rows"), doubts, pieces.said(len(done)))
        pieces.finish(len(done))
        _compare(file, against, n, seed, method)
        return
    check_apart(out, model, *([] if against is None else [against]))
    check_table(out)
    sampler = file.generator
    schema, columns_of = file.autoencoder.arrow_like_fit(mean)
    progress = Progress("sampling", n)

    def batches() -> Any:
        for number in range(-(-n // PIECE)):
            cells = draw_piece(sampler, number, n, seed, mean, method, conditions, doubts.setdefault)
            progress.add(len(cells))
            yield pa.record_batch(columns_of(cells), schema=schema)

    write_batches(out, schema, batches())
    progress.end()
    _tell(file, out, n, doubts, [])
    _compare(file, against, n, seed, method)


def _tell(file: ModelFile, out: str, n: int, doubts: dict[str, None], more: list[str]) -> None:
    from diabolo.cli.console import say

    for line in [f"{out}: {n:,} rows drawn from {file.path}", *more, *(f"  {doubt}" for doubt in doubts)]:
        say(line)


def _compare(file: ModelFile, against: str | None, n: int, seed: int, method: str) -> None:
    from diabolo.cli.console import say

    if against is not None:
        say(f"{against}: {_compared(file, against, n, seed, method)}")


def _conditions(given: list[str]) -> dict[str, str]:
    out: dict[str, str] = {}
    for said in given:
        name, equals, value = said.partition("=")
        if not name or not equals or name in out:
            raise ConfigError(f"--given {said}: expected COL=VALUE, each column once, like --given colour=red")
        out[name] = value
    return out


def _compared(file: ModelFile, against: str, n: int, seed: int, method: str) -> Fidelity:
    from diabolo.data.reading import as_fitted
    from diabolo.data.sample import sampled
    from diabolo.errors import DataError
    from diabolo.generate.drawing import judge

    schema = file.autoencoder.model.encoding.schema
    rows = sampled(as_fitted(against, schema), schema, None, 1 << 28)
    try:
        return judge(file.generator, file.autoencoder.row_hashes, rows.values, n, seed, method)
    except DataError as error:
        raise DataError(f"{against}: {error}") from None
