"""`diabolo compress` and `diabolo decompress`: tables as `*.dbl` files, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from diabolo.cli.console import TABLE, Progress, check_apart, say
from diabolo.cli.pieces import ADDRESS, ENGINE, RESUME, Pieces, in_pieces, joined
from diabolo.cli.verb import verb

if TYPE_CHECKING:
    from diabolo.compress.plan import Plan
    from diabolo.data.formats import Data

__all__ = ["add_codec", "compress", "compression_errors", "decompress"]


MAX_ERROR = typer.Option(None, help="Bound of all floats, like 1e-3, or 0.1% of each.", show_default="lossless")


@verb(
    70,
    "diabolo compress my.diabolo DATA.parquet -o DATA.dbl",
    "diabolo compress my.diabolo DATA.csv -o DATA.dbl --max-error 0.1% --exclude id",
)
def compress(
    model: Path = typer.Argument(..., help="Model file of such tables."),
    data: str = typer.Argument(..., help=TABLE),
    out: Path = typer.Option(..., "-o", "--out", help="File to write, *.dbl; or a folder of parts."),
    max_error: str | None = MAX_ERROR,
    column_error: list[str] = typer.Option([], help="Bound of one column, like pt=0.1%; over --max-error."),
    exclude: list[str] = typer.Option([], help="Columns to leave out of the file; repeatable."),
    external_model: bool = typer.Option(False, help="Leave the codec section in MODEL, where decompress will need it."),
    seed: int = typer.Option(0, help="Seed of the codec's fit."),
    threads: int = typer.Option(1, min=1, help="Chunks coded at the same time; the file is the same for any number."),
    verify: bool = typer.Option(True, help="Decode each chunk, compare every cell and tell the errors."),
    verdict: bool = typer.Option(True, help="Compare the size with other compressors', on the first rows."),
    engine: str | None = ENGINE,
    address: str | None = ADDRESS,
    resume: bool = RESUME,
) -> None:
    """Compress a table such that every cell is within its bound after decoding; other types are exact.

    The codec section of MODEL is used if it is of these columns and bounds. Else one is learnt from the table's first
    200,000 rows and put into MODEL. Its bytes are part of FILE.dbl unless --external-model.
    """
    from diabolo.compress.files import compress_table
    from diabolo.compress.report import report_lines
    from diabolo.compress.rivals import of_source
    from diabolo.data.choosing import without
    from diabolo.data.formats import check_writable, local_files, read_batches, schema_of
    from diabolo.data.reading import as_kept, notes_on
    from diabolo.errors import ConfigError
    from diabolo.file.compressing import codec_for
    from diabolo.file.model_file import ModelFile

    errors = dict(_pair(said) for said in column_error)
    if in_pieces(out, engine, address, resume):
        pieces = Pieces(out, engine, address, resume)
        _compress_pieces(pieces, model, data, max_error, errors, external_model, seed, verify)
        return
    check_apart(out, data, model)
    if out.suffix != ".dbl":
        raise ConfigError(f"{out}: a compressed file is called *.dbl")
    check_writable(out)
    file = ModelFile(model)
    source = as_kept(data, file.schema.dialect) if "main" in file else data
    schema, rows = schema_of(source, nested=True)
    schema = without(schema, exclude, source)
    plan, learnt, kept = codec_for(file, source, schema, max_error, errors, seed, external_model)
    progress = Progress("compressing", rows)
    report, beside = compress_table(
        read_batches(source, schema.names if exclude else None, nested=True),
        plan,
        out,
        external_model,
        progress.add,
        verdict,
        threads=threads,
        verified=verify,
    )
    progress.end()
    if learnt:
        say(_learnt(out if kept else model, plan, learnt))
    if kept and plan.codec:
        say(f"  it is in this file alone: {kept}")
    for line in [*notes_on(data), *report_lines(str(out), report)]:
        say(line)
    for line in [] if beside is None else beside.lines():
        say(line)
    # A source with more columns is no rival.
    compared = beside is not None and not exclude
    whole = of_source(report.bytes_out, local_files(data), not any(plan.bounds)) if compared else None
    for line in [] if whole is None else whole.lines():
        say(line)


def _compress_pieces(
    pieces: Pieces,
    model: Path,
    data: str,
    max_error: str | None,
    errors: dict[str, Any],
    external: bool,
    seed: int,
    verify: bool,
) -> None:
    """The codec is that of MODEL, or learnt from the first rows of all files and put there; workers read it there."""
    from diabolo.data.formats import schema_of
    from diabolo.data.reading import as_kept
    from diabolo.distributed import CompressPieces
    from diabolo.errors import ConfigError
    from diabolo.file.compressing import codec_for
    from diabolo.file.model_file import ModelFile

    file = ModelFile(model)
    source = as_kept(data, file.schema.dialect) if "main" in file else data
    jobs = pieces.jobs(source)
    schema = schema_of(source, nested=True)[0]
    plan, learnt, kept = codec_for(file, source, schema, max_error, errors, seed, external)
    if kept:
        raise ConfigError(f"workers read the codec in {model}, and it cannot be put there: {kept}; give a copy of it")
    if learnt:
        say(_learnt(model, plan, learnt))
    done = pieces.run("compressing", CompressPieces(model, external, verify), jobs)
    came, size = joined(done, "bytes_in"), joined(done, "bytes_out")
    ratio = f", {came / size:.2f} times smaller" if size else ""
    say(f"{pieces.out}: {joined(done, 'rows'):,} rows, {came:,} bytes of cells in {size:,} bytes{ratio}")
    for line in pieces.said(len(done)):
        say(line)
    pieces.finish(len(done))


def compression_errors(
    aim: str | None, max_error: str | None, column_error: list[str], rate: float | None, take: bool
) -> tuple[str | None, dict[str, Any]] | None:
    """The bounds of `fit --for compression`; None for a fit without that aim."""
    from diabolo.compress.grid import Bound
    from diabolo.errors import ConfigError

    if aim is None and max_error is None and not column_error:
        return None
    if aim != "compression":
        said = "--max-error and --column-error need --for compression" if aim is None else f"--for {aim}"
        raise ConfigError(f"{said}: allowed is --for compression")
    if rate is not None or take:
        flag = "--false-alarm-rate" if rate is not None else "--take"
        raise ConfigError(f"{flag} goes with no --for compression, which fits no detector and takes tables as they are")
    errors = dict(_pair(said) for said in column_error)
    for error in (max_error, *errors.values()):
        if error is not None:
            Bound.parse(error)
    return max_error, errors


def add_codec(model: Path, data: Data, max_error: str | None, errors: dict[str, Any], seed: int) -> None:
    """Learn the codec section of a model file: distributions for the least rate at these bounds."""
    from diabolo.data.formats import schema_of
    from diabolo.file.compressing import codec_for
    from diabolo.file.model_file import ModelFile

    plan, learnt, _ = codec_for(ModelFile(model), data, schema_of(data, nested=True)[0], max_error, errors, seed)
    say(_learnt(model, plan, learnt))


def _learnt(path: Path, plan: Plan, rows: int) -> str:
    if plan.codec:
        from diabolo.compress.plan import network_of

        return f"{path}: learnt a codec section from the first {rows:,} rows, {network_of(plan.codec)}"
    return f"{path}: no network earns its bytes on the first {rows:,} rows, so none is used"


def _pair(said: str) -> tuple[str, str | None]:
    from diabolo.errors import ConfigError

    name, equals, error = said.rpartition("=")
    if not equals or not name:
        raise ConfigError(f"--column-error {said}: expected COLUMN=E, like pt=0.1% (or pt=none for no loss)")
    return name, None if error == "none" else error


@verb(
    71,
    "diabolo decompress DATA.dbl -o BACK.parquet",
    "diabolo decompress DATA.dbl -o PART.csv --rows 100:200",
)
def decompress(
    file: Path = typer.Argument(..., help="File to read, *.dbl."),
    out: str = typer.Option(..., "-o", "--out", help="Table to write, *.parquet, *.npz, *.h5, ..."),
    model: Path | None = typer.Option(None, help="Model file with the codec section of a file written without it."),
    rows: str | None = typer.Option(
        None, help="Only rows A to B−1, like 1000:2000; other chunks are not read.", show_default="all"
    ),
    salvage: bool = typer.Option(False, "--salvage", help="Recover every intact chunk of a damaged file."),
    threads: int = typer.Option(1, min=1, help="Chunks decoded at the same time."),
) -> None:
    """Give a compressed table back: same columns, order and types."""
    from diabolo.compress.files import decompress_file
    from diabolo.data.formats import check_table
    from diabolo.file.model_file import ModelFile

    check_apart(out, file)
    check_table(out)
    external = None if model is None else ModelFile(model).codec.data
    count, lost = decompress_file(file, out, external, None if rows is None else _span(rows), salvage, threads)
    say(f"{out}: {count:,} rows")
    for line in lost:
        say(f"  lost: {line}")


def _span(said: str) -> tuple[int, int]:
    from diabolo.errors import ConfigError

    first, colon, last = said.partition(":")
    if not colon or not all(w.isdecimal() or not w for w in (first, last)):
        raise ConfigError(f"--rows {said}: expected A:B, like 1000:2000, rows counted from 0, B not among them")
    low, high = int(first or 0), int(last) if last else 1 << 62
    if low >= high:
        raise ConfigError(f"--rows {said}: A must be below B")
    return low, high
