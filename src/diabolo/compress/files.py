"""Tables to `*.dbl` files and back, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from diabolo.compress.container import Reader
from diabolo.compress.plan import Plan
from diabolo.compress.report import Report
from diabolo.compress.rivals import Verdict, sample_of
from diabolo.compress.rivals import verdict as compared
from diabolo.compress.stream import CHUNK_ROWS, decompressed, rechunked, report_of, write_file
from diabolo.data.formats import atomic, format_of, write_batches
from diabolo.errors import CompressedFileError
from diabolo.files import open_regular

__all__ = ["compress_table", "decompress_file", "file_report"]


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
        for batch in rechunked(batches, plan.outer, CHUNK_ROWS):
            if verdict and not first:
                first.append(sample_of(batch))
            yield batch

    with atomic(out) as part, open(part, "wb") as target:
        report = write_file(target, seen(), plan, {"container": "arrow"}, external, progress=progress, **settings)
    if not first:
        return report, None
    fixed = report.bytes_out - report.bytes_chunks
    return report, compared(plan, first[0], fixed * first[0].num_rows / report.rows)


def decompress_file(
    file: Path, out: str, external: bytes | None, span: tuple[int, int] | None, salvage: bool, threads: int = 1
) -> tuple[int, list[str]]:
    """Write a file's rows as a table.

    Args:
        external: codec section of a file that was written without it.

    Returns:
        Number of rows written, and what is said of chunks that were lost.

    Raises:
        CompressedFileError: names the file and the chunk.
    """
    format_of(out)
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

            write_batches(out, reader.header.outer, counted())
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
