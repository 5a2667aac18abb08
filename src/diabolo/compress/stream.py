"""Tables of any length to `*.dbl` files and back, a chunk at a time."""

from __future__ import annotations

import collections
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO

import pyarrow as pa

from diabolo.compress.chunk import decode_chunk, encode_chunk
from diabolo.compress.container import Chunk, Header, Reader, Writer
from diabolo.compress.limits import CHUNK_BYTES, CHUNK_ROWS
from diabolo.compress.plan import Plan, Tally
from diabolo.compress.report import Report, summary, summary_read
from diabolo.compress.verify import verify
from diabolo.data.weight import halved, weight
from diabolo.errors import DAMAGE, CompressedFileError, DataError

__all__ = ["CHUNK_ROWS", "decompressed", "opened", "rechunked", "report_of", "write_file"]


def rechunked(batches: Iterable[Any], schema: Any, rows: int) -> Iterator[Any]:
    """Record batches of exactly `rows` rows, the last one shorter."""

    waiting, count = [], 0
    for batch in batches:
        if batch.schema.types != schema.types:
            batch = batch.cast(schema)
        waiting.append(batch)
        count += batch.num_rows
        while count >= rows:
            table = pa.Table.from_batches(waiting).unify_dictionaries()
            yield _one(table.slice(0, rows), schema)
            waiting = table.slice(rows).to_batches()
            count -= rows
    if count:
        yield _one(pa.Table.from_batches(waiting).unify_dictionaries(), schema)


def _one(table: Any, schema: Any) -> Any:

    columns = []
    for column in table.columns:
        whole = column.combine_chunks()
        if isinstance(whole, pa.ChunkedArray):
            if whole.num_chunks > 1:
                raise DataError("a column of one chunk of rows exceeds 2 GiB; write smaller chunks")
            whole = whole.chunk(0)
        columns.append(whole)
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _within(batches: Iterable[Any]) -> Iterator[Any]:
    """Batches in parts of which a reader can take each.

    Raises:
        DataError: a row alone is too much.
    """
    for batch in batches:
        for part in halved(batch, CHUNK_BYTES):
            size = sum(weight(c) for c in part.columns)
            if size > CHUNK_BYTES:
                raise DataError(f"a row of {size:,} bytes; a chunk of a *.dbl file holds at most {CHUNK_BYTES:,}")
            yield part


def write_file(
    out: BinaryIO,
    batches: Iterable[Any],
    plan: Plan,
    given: dict[str, Any],
    external: bool = False,
    rows: int = CHUNK_ROWS,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
    verified: bool = True,
) -> Report:
    """Write batches of the plan's schema; the same bytes for any number of threads.

    Args:
        given: how the rows came, for giving them back so.
        external: leave the codec section out of the file.
        rows: of a chunk.
        threads: chunks coded at the same time.
        verified: decode each chunk and compare it with its rows, which also tells the errors.
    """
    codec = plan.codec
    name = hashlib.sha256(codec).hexdigest() if codec else ""
    header = Header(plan.schema, plan.bounds, plan.grids, plan.slots, given, name, plan.nested)
    inside = b"" if external else codec
    writer, tally, came = Writer(out, header, inside), Tally.of(len(plan.schema)), 0
    tally.verified = verified
    # What a reader of the file will decode by.
    known = Header.from_bytes(header.to_bytes())
    read = known.plan(known.model(codec)) if verified else plan

    def encode(batch: Any) -> tuple[Any, bytes, Tally]:
        payload, part = encode_chunk(plan, batch)
        if verified:
            verify(read, batch, payload, part)
        return batch, payload, part

    flat = map(plan.nest.split, rechunked(batches, plan.outer, rows))
    for batch, payload, part in _mapped(encode, _within(flat), threads):
        writer.add(batch.num_rows, payload)
        tally.add(part)
        came += batch.nbytes
        if progress is not None:
            progress(batch.num_rows)
    size = writer.finish(summary(came, tally, plan))
    chunks = sum(c.size for c in writer.chunks)
    return Report(came, size, len(inside), chunks, writer.rows, len(writer.chunks), tally, plan)


def report_of(reader: Reader) -> Report:
    """What a file says that it came to.

    Raises:
        CompressedFileError: it has lost its index, or the report in it is damaged.
    """
    if reader.rows is None:
        raise CompressedFileError("has lost its index, and with it its report")
    plan = reader.header.plan(None)
    came, tally = summary_read(reader.summary, reader.rows, plan)
    chunks = sum(c.size for c in reader.chunks)
    return Report(came, reader.size, len(reader.codec), chunks, reader.rows, len(reader.chunks), tally, plan)


def _mapped(work: Callable[[Any], Any], items: Iterable[Any], threads: int) -> Iterator[Any]:
    """Results in order, at most two items per thread under way."""
    if threads < 2:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(threads) as pool:
        under_way: collections.deque[Future[Any]] = collections.deque()
        for item in items:
            under_way.append(pool.submit(work, item))
            if len(under_way) >= 2 * threads:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


def decompressed(
    reader: Reader,
    external: bytes | None = None,
    span: tuple[int, int] | None = None,
    lost: list[str] | None = None,
    threads: int = 1,
) -> Iterator[Any]:
    """Yield record batches of a file.

    Args:
        external: the codec section of a file that has none within.
        span: first row and the one after the last; other chunks are not read.
        lost: a list that takes what is said of damaged chunks, which are then left out; None refuses them.
        threads: chunks decoded at the same time.
    """
    plan = reader.header.plan(reader.model(external))
    wanted = [c for c in reader.chunks if span is None or (c.first < span[1] and c.first + c.rows > span[0])]

    def payloads() -> Iterator[tuple[Chunk, bytes | CompressedFileError]]:
        for chunk in wanted:
            try:
                yield chunk, reader.payload(chunk)
            except CompressedFileError as error:
                yield chunk, error

    def decode(work: tuple[Chunk, bytes | CompressedFileError]) -> Any:
        chunk, payload = work
        if isinstance(payload, CompressedFileError):
            return payload
        try:
            batch = plan.nest.join(decode_chunk(plan, payload, chunk.rows))
        except (*DAMAGE, CompressedFileError, pa.ArrowException) as error:
            return CompressedFileError(f"chunk {chunk.number} (rows {chunk.first:,} on) is damaged: {error}")
        if span is not None:
            low, high = max(span[0] - chunk.first, 0), min(span[1] - chunk.first, chunk.rows)
            batch = batch.slice(low, high - low)
        return batch

    for batch in _mapped(decode, payloads(), threads):
        if not isinstance(batch, CompressedFileError):
            yield batch
        elif lost is None:
            raise batch
        else:
            lost.append(str(batch))


def opened(data: bytes, salvage: bool = False) -> Reader:
    """A reader of bytes in memory."""
    return Reader(io.BytesIO(data), len(data), salvage)
