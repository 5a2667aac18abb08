"""Files to `*.dbl` files and back, and the codec section of a model file."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from diabolo.artifact import Section, read_sections, write_sections
from diabolo.cards import Count, card_of
from diabolo.compress.chunk import Plan
from diabolo.compress.container import Header, Reader
from diabolo.compress.report import Report
from diabolo.compress.rivals import Verdict, sample_of
from diabolo.compress.rivals import verdict as compared
from diabolo.compress.stream import CHUNK_ROWS, decompressed, rechunked, report_of, write_file
from diabolo.data.formats import SHAPE, atomic, check_writable, format_of, read_batches, write_batches
from diabolo.data.reading import as_fitted
from diabolo.errors import DAMAGE, CompressedFileError, ConfigError, DataError, ModelFileError, OutputError
from diabolo.estimators.compressor import bounds_of, learned_plan
from diabolo.file.main import main_card
from diabolo.files import open_regular

__all__ = ["codec_for", "codec_section", "compress_table", "decompress_file", "file_report"]


@dataclasses.dataclass
class CodecCard:
    """What a model file says of its codec section: header as in a `*.dbl` file, bytes, and bounds of its floats."""

    header: str
    bytes: Count
    bounds: list[list[float | bool] | None]
    #: Whether files were written without the section, which then must stay.
    outside: bool = False


#: Rows that a codec section is learnt from at most.
LEARN_ROWS = 200_000


def codec_for(
    model: Path,
    data: str,
    schema: Any,
    max_error: Any,
    column_error: dict[str, Any],
    seed: int,
    external: bool = False,
) -> tuple[Plan, int, str]:
    """The plan for a table under bounds: of the model file, or learnt from the table's first rows and put there.

    A section that files were written without is never replaced: they could not be read any more.

    Args:
        external: whether the file will be written without the section.

    Returns:
        The plan, how many rows it was learnt from (0 if the model file had it), and why it was not put there, if so.

    Raises:
        DataError: the table lacks a column of the model.
        ConfigError: `external`, and the model file has a section of other columns or bounds that files need.
        OutputError: `external`, and the model file cannot be written to.
    """
    import pyarrow as pa

    sections = read_sections(model)
    # Lists are compressed as they are, and columns that the model took of them count as theirs.
    as_fitted(data, main_card(model, sections["main"]).encoding.schema)
    bounds = bounds_of(schema, max_error, column_error)
    kept = ""
    if "codec" in sections:
        old = sections["codec"]
        plan, said = plan_of(model, old), codec_card(model, old)
        if _alike(plan.schema, schema) and said.bounds == _asked(bounds, schema):
            if external and plan.codec and not said.outside:
                old.card["outside"] = True
                # One that cannot be written to will not be replaced either.
                with contextlib.suppress(OutputError):
                    write_sections(model, sections)
            return dataclasses.replace(plan, schema=schema), 0, ""
        if said.outside:
            kept = (
                f"the section of {model} is of other columns or bounds, and files written with --external-model need it"
            )
            if external:
                raise ConfigError(f"{kept}: give a copy of the model file, or leave --external-model out")
    if not kept:
        try:
            check_writable(model)
        except OutputError as error:
            if external:
                raise
            kept = str(error).partition(";")[0]
    batches, count = [], 0
    for batch in read_batches(data):
        batches.append(batch)
        count += batch.num_rows
        if count >= LEARN_ROWS:
            break
    if not count:
        raise DataError(f"{data}: has a header but no rows")
    plan = learned_plan(pa.Table.from_batches(batches, schema).slice(0, LEARN_ROWS), bounds, seed)
    if not kept:
        sections["codec"] = codec_section(plan, bounds)
        sections["codec"].card["outside"] = external and bool(plan.codec)
        write_sections(model, sections)
    return plan, min(count, LEARN_ROWS), kept


def _alike(one: Any, other: Any) -> bool:
    """Whether two schemas are of the same columns and images; what else pandas and others note there aside."""
    shapes = [(s.metadata or {}).get(SHAPE) for s in (one, other)]
    return bool(one.equals(other)) and shapes[0] == shapes[1]


def _asked(bounds: list[Any], schema: Any) -> list[list[Any] | None]:
    """The bounds of columns of floats, as a card has them."""
    import pyarrow as pa

    floats = [b for b, f in zip(bounds, schema, strict=True) if pa.types.is_floating(f.type)]
    return [None if b is None else [float(b.error), b.relative] for b in floats]


def codec_section(plan: Plan, bounds: list[Any]) -> Section:
    """A plan as a section of a model file: header and codec section as in a `*.dbl` file."""
    header = Header(plan.schema, plan.bounds, plan.grids, plan.slots, {}).to_bytes()
    codec = plan.codec
    card = {
        "header": header.decode(),
        "bytes": len(codec),
        "bounds": _asked(bounds, plan.schema),
    }
    return Section(card, {"data": np.frombuffer(codec + bytes(-len(codec) % 8), "<u8").copy()})


def plan_of(model: Path, section: Section) -> Plan:
    """The plan of a model file's codec section.

    Raises:
        ModelFileError: it is damaged.
    """
    card, data = codec_card(model, section), _codec_bytes(model, section)
    try:
        header = Header.from_bytes(card.header.encode())
        return header.plan(header.model(data))
    except DAMAGE as error:
        raise ModelFileError(f"{model}: section 'codec' is damaged ({str(error)[:100]})") from None


def codec_card(model: Path, section: Section) -> CodecCard:
    """The card of the section `codec`, checked.

    Raises:
        ModelFileError: an entry that is unknown, missing or wrong; names it.
    """
    card: CodecCard = card_of(model, CodecCard, section.card)
    return card


def _codec_bytes(model: Path, section: Section) -> bytes:
    card, data = codec_card(model, section), section.tensors.get("data")
    if data is None or data.dtype != np.uint64 or data.ndim != 1 or not 0 <= data.nbytes - card.bytes < 8:
        raise ModelFileError(f"{model}: tensor 'codec/data' must be [n] U64, and hold {card.bytes:,} bytes")
    return bytes(data.tobytes()[: card.bytes])


def compress_table(
    batches: Iterable[Any],
    plan: Plan,
    out: Path,
    external: bool = False,
    progress: Callable[[int], None] | None = None,
    verdict: bool = False,
    **settings: Any,
) -> tuple[Report, Verdict | None]:
    """Write a `*.dbl` file, which appears only once it is whole.

    Args:
        verdict: compare with other compressors on the first rows.
        settings: of `diabolo.compress.stream.write_file`.
    """
    first: list[Any] = []

    def seen() -> Iterator[Any]:
        for batch in rechunked(batches, plan.schema, CHUNK_ROWS):
            if verdict and not first:
                first.append(sample_of(batch))
            yield batch

    with atomic(out) as part, open(part, "wb") as target:
        report = write_file(target, seen(), plan, {"container": "arrow"}, external, progress=progress, **settings)
    if not first:
        return report, None
    return report, compared(plan, first[0], report.bytes_model * first[0].num_rows / report.rows)


def decompress_file(
    file: Path, out: str, model: Path | None, span: tuple[int, int] | None, salvage: bool, threads: int = 1
) -> tuple[int, list[str]]:
    """Write a file's rows as a table.

    Returns:
        Number of rows written, and what is said of chunks that were lost.

    Raises:
        CompressedFileError: names the file and the chunk.
    """
    format_of(out)
    external = None
    if model is not None:
        sections = read_sections(model)
        if "codec" not in sections:
            raise ModelFileError(f"{model}: has no codec section; compress with --external-model puts one there")
        external = _codec_bytes(model, sections["codec"])
    lost: list[str] = []
    count = 0
    try:
        with open_regular(file, CompressedFileError) as (data, size):
            reader = Reader(data, size, salvage)
            if span is not None and reader.rows is not None and span[0] >= reader.rows:
                raise CompressedFileError(f"has {reader.rows:,} rows; --rows begins at {span[0]:,}")

            def counted() -> Iterator[Any]:
                nonlocal count
                for batch in decompressed(reader, external, span, lost if salvage else None, threads):
                    count += batch.num_rows
                    yield batch

            write_batches(out, reader.header.schema, counted())
            return count, [*reader.lost, *lost]
    except CompressedFileError as error:
        raise _named(file, error) from None


def _named(file: Path, error: CompressedFileError) -> CompressedFileError:
    """The error with the file's name before it, once."""
    said = str(error)
    return error if said.startswith(f"{file}: ") else CompressedFileError(f"{file}: {said}")


def file_report(file: Path) -> tuple[Report, Reader]:
    """What a `*.dbl` file came to, as it says, and its reader, whose file is closed.

    Raises:
        CompressedFileError: names the file.
    """
    try:
        with open_regular(file, CompressedFileError) as (data, size):
            reader = Reader(data, size)
            return report_of(reader), reader
    except CompressedFileError as error:
        raise _named(file, error) from None
