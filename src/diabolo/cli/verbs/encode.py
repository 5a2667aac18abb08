"""`diabolo encode`, `decode` and `reconstruct`: rows to codes, codes to rows, and both, in chunks."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from diabolo.cli.console import OWN_NETWORK, TABLE
from diabolo.cli.verb import verb

if TYPE_CHECKING:
    from diabolo.data.formats import Data
    from diabolo.generate.dataset import Passed

__all__ = ["decode", "encode", "reconstruct"]

KEEP = typer.Option([], help="Columns to carry beside them, like run,event; repeat for more.")
OUT = typer.Option(..., "-o", "--out", help="Table to write, in any format that is written, or to a URL.")
QUIET = typer.Option(False, "-q", "--quiet", help="No progress and no summary.")
#: Columns that are named at most.
NAMED = 5


@verb(
    82,
    "diabolo encode my.diabolo NEW.parquet -o codes.parquet",
    "diabolo encode my.diabolo NEW.parquet -o codes.csv --sigma --keep id",
)
def encode(
    model: Path = typer.Argument(..., help="Model file."),
    data: str = typer.Argument(..., help=f"Columns in any order. {TABLE}"),
    out: str = typer.Option(
        ..., "-o", "--out", help="Codes to write: .parquet, .csv, .arrow, .root, .h5, .npz; a URL too."
    ),
    sigma: bool = typer.Option(False, "--sigma", help="Also σ(x) of q(z|x), as sigma_0, sigma_1, ..."),
    keep: list[str] = KEEP,
    own_network: bool = OWN_NETWORK,
    quiet: bool = QUIET,
) -> None:
    """Encode every row: row, and its code z_0, z_1, ..., which is μ(x) of q(z|x)."""
    from diabolo.cli.console import check_named
    from diabolo.data.keeping import as_held, kept_names
    from diabolo.data.reading import as_fitted
    from diabolo.file.model_file import ModelFile
    from diabolo.generate.dataset import code_schema, encoded_rows_of
    from diabolo.model.codes import check_width

    check_named(out, "codes have names")
    _check(out, model, data)
    net = ModelFile(model, own_network).autoencoder.model
    if sigma:
        check_width(net)
    source = as_fitted(data, net.encoding.schema)
    kept = kept_names(source, keep, code_schema(net, sigma).names)
    passed = _written(out, "encoding", source, lambda p: as_held(out, *encoded_rows_of(net, source, sigma, p, kept)))
    if not quiet:
        what = f"codes of {net.latent_dim} numbers" + (" and their σ" if sigma else "")
        _say(passed, f"{out}: {passed.rows:,} rows as {what}", "rows could not be encoded and have no code")


@verb(
    84,
    "diabolo decode my.diabolo codes.parquet -o back.parquet",
)
def decode(
    model: Path = typer.Argument(..., help="Model file."),
    data: str = typer.Argument(..., help="Codes: the columns z_0, z_1, ... of a table, as encode writes them."),
    out: str = OUT,
    keep: list[str] = KEEP,
    own_network: bool = OWN_NETWORK,
    quiet: bool = QUIET,
) -> None:
    """Decode every code: its mean row E[x|z], in the columns of the training table."""
    from diabolo.cli.console import say
    from diabolo.data.keeping import kept_names
    from diabolo.file.model_file import ModelFile
    from diabolo.generate.dataset import codes_in, decoded_rows_of

    _check(out, model, data)
    fitted = ModelFile(model, own_network).autoencoder
    names, others = codes_in(fitted.model, data)
    kept = kept_names(data, keep, fitted.model.encoding.schema.names)
    passed = _written(out, "decoding", data, lambda p: decoded_rows_of(fitted, data, names, p, kept))
    if quiet:
        return
    _say(passed, f"{out}: {passed.rows:,} rows decoded", "codes are none and have no row")
    ignored = [n for n in others if n not in kept]
    if ignored:
        say(f"  ignored, as no code: {', '.join(ignored[:NAMED])}{', ...' if len(ignored) > NAMED else ''}")


@verb(
    86,
    "diabolo reconstruct my.diabolo NEW.parquet -o rows.parquet",
    "diabolo reconstruct my.diabolo NEW.parquet -o rows.parquet --draws 10",
)
def reconstruct(
    model: Path = typer.Argument(..., help="Model file."),
    data: str = typer.Argument(..., help=f"Columns in any order. {TABLE}"),
    out: str = OUT,
    draws: int | None = typer.Option(
        None, min=1, help="Draws x ~ p(x|z), z ~ q(z|x), for each row.", show_default="the mean"
    ),
    seed: int = typer.Option(0, min=0, max=1 << 62, help="Seed of the draws."),
    keep: list[str] = KEEP,
    own_network: bool = OWN_NETWORK,
    quiet: bool = QUIET,
) -> None:
    """Encode and decode every row: E[x|z] at z = μ(x), in the columns of the training table."""
    from diabolo.cli.console import check_named
    from diabolo.data.keeping import kept_names
    from diabolo.data.reading import as_fitted
    from diabolo.file.model_file import ModelFile
    from diabolo.generate.dataset import reconstructed_rows_of

    if draws is not None:
        check_named(out, "draws have the columns row and draw")
    _check(out, model, data)
    fitted = ModelFile(model, own_network).autoencoder
    known = fitted.model.encoding.schema
    source = as_fitted(data, known)
    own = [*known.names, *([] if draws is None else ["row", "draw"])]
    kept = kept_names(source, keep, own)
    made = functools.partial(reconstructed_rows_of, fitted, source, draws, seed, kept=kept)
    passed = _written(out, "reconstructing", source, made)
    if not quiet:
        done = "reconstructed" if draws is None else f"reconstructed {draws:,} times"
        _say(passed, f"{out}: {passed.rows:,} rows {done}", "rows could not be encoded and are empty")


def _check(out: str, model: Path, data: str) -> None:
    from diabolo.cli.console import check_apart
    from diabolo.data.formats import check_table

    check_apart(out, model, data)
    check_table(out)


def _written(out: str, what: str, data: Data, made: Callable[[Passed], tuple[Any, Any]]) -> Passed:
    """Write the batches that are made of a table's rows; returns what there is to say of these."""
    from diabolo.cli.console import Progress
    from diabolo.data.formats import schema_of, write_batches
    from diabolo.generate.dataset import Passed

    progress = Progress(what, schema_of(data)[1])
    passed = Passed(progress.add)
    write_batches(out, *made(passed))
    progress.end()
    return passed


def _say(passed: Passed, done: str, without: str) -> None:
    from diabolo.cli.console import say

    say(done)
    if passed.empty:
        say(f"  {passed.empty:,} {without}; the first is {passed.first}")
