"""Apache Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from diabolo.data.formats.base import CHUNK_BYTES, Format, Source, formats, known, rows_within
from diabolo.data.formats.claims import check_claim
from diabolo.data.formats.footer import DELTA_BYTE_ARRAY, DELTA_LENGTH_BYTE_ARRAY, Chunk, chunks_of
from diabolo.data.formats.index import index_notes, without_index
from diabolo.data.formats.pages import check_pages
from diabolo.data.weight import halved, is_varied
from diabolo.errors import DataError

#: Encodings of text that Arrow reads no dictionary from; in the first, each word may repeat all of the one before.
SHARING, OTHERS = DELTA_BYTE_ARRAY, (DELTA_LENGTH_BYTE_ARRAY,)
#: Bytes that a value of a list takes in memory, at most where it is a number.
CELL_BYTES = 8


@formats.register("parquet")
class Parquet(Format):
    """Apache Parquet, read one row group's slice at a time."""

    suffixes: ClassVar[tuple[str, ...]] = (".parquet", ".pq")
    named = suffixes
    complete = True
    arrays = True

    def schema(self, source: Source) -> tuple[Any, int | None]:
        import pyarrow.parquet as pq

        with pq.ParquetFile(source.path) as file:
            return without_index(file.schema_arrow), file.metadata.num_rows

    def notes(self, source: Source) -> list[str]:
        """What a person is to know of how it is read."""
        import pyarrow.parquet as pq

        with pq.ParquetFile(source.path) as file:
            return index_notes(file.schema_arrow)

    def read(self, source: Source, columns: Sequence[str] | None, rows: int) -> Iterator[Any]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        options = {"pre_buffer": False, "buffer_size": 1 << 16, "page_checksum_verification": True}
        with pq.ParquetFile(source.path, **options) as file:
            there, metadata = without_index(file.schema_arrow), file.metadata
        names = known(columns, there.names, source)
        wanted = set(names)
        with pa.memory_map(str(source.path)) as mapped:
            data = memoryview(mapped.read_buffer()).cast("B")
            chunks = [c for c in chunks_of(data, source) if c.path.split(".")[0] in wanted]
            _check_sizes(data, chunks, source)
        text = {f.name for f in there if is_varied(f.type)}
        varied = [c for c in (chunks if text else []) if c.path in text]
        # Reading ahead would keep the whole file in memory, and a word that stands in every row would fill it.
        words = text - {c.path for c in varied if c.encodings & {SHARING, *OTHERS}}
        longest = max((c.plain for c in varied if SHARING in c.encodings), default=0)
        with pq.ParquetFile(source.path, metadata=metadata, read_dictionary=sorted(words), **options) as file:
            kept = pa.schema([there.field(n) for n in names], there.metadata)
            step = rows_within(rows, 8 * len(names) + longest)
            for batch in file.iter_batches(step, columns=names, use_threads=pa.cpu_count() > 1):
                # Words of a damaged file may be no text, and decimals have more digits than their type.
                batch.validate(full=True)
                parts = halved(batch, CHUNK_BYTES) if text else [batch]
                yield from (_cast(part, kept) if part.schema.types != kept.types else part for part in parts)

    def write(self, path: Path, schema: Any, batches: Iterator[Any]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        # A field may say how its values are laid out best; what it says is no part of the table.
        said = {f.name: f.metadata[b"encoding"].decode() for f in schema if f.metadata and b"encoding" in f.metadata}
        plain = pa.schema([f.with_metadata(_notes(f)) for f in schema], schema.metadata)
        options: dict[str, Any] = {"write_page_checksum": True}
        if said:
            options |= {"use_dictionary": [n for n in schema.names if n not in said], "column_encoding": said}
        try:
            opened = pq.ParquetWriter(path, plain, compression="zstd", **options)
        except pa.ArrowNotImplementedError as error:
            raise _unheld(plain) or error from None
        with opened as writer:
            for batch in batches:
                writer.write_batch(batch.cast(plain) if said else batch)


def _unheld(schema: Any) -> DataError | None:
    """What to say of the first column whose type Parquet does not have; None if it has all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for field in schema:
        try:
            pq.ParquetWriter(pa.BufferOutputStream(), pa.schema([field])).close()
        except pa.ArrowNotImplementedError:
            what = f"column {field.name!r} holds {field.type}"
            return DataError(f"{what}, which a Parquet file cannot hold; write .arrow")
    return None


def _cast(part: Any, kept: Any) -> Any:
    """A batch in the types of the file; Arrow makes no views of words straight from a dictionary."""
    import pyarrow as pa

    views = {i for i, kind in enumerate(kept.types) if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind)}
    if views:
        columns = [
            c.dictionary_decode() if i in views and pa.types.is_dictionary(c.type) else c
            for i, c in enumerate(part.columns)
        ]
        part = pa.RecordBatch.from_arrays(columns, names=part.schema.names)
    return part.cast(kept)


def _notes(field: Any) -> dict[bytes, bytes] | None:
    """What a field says but for its layout: units, and whatever else its owner noted."""
    return {k: v for k, v in (field.metadata or {}).items() if k != b"encoding"} or None


def _check_sizes(data: memoryview, chunks: Sequence[Chunk], source: Source) -> None:
    """Refuse columns that take a multiple of their bytes in memory that no table reaches.

    Raises:
        DataError: names the column.
    """
    for column in chunks:
        check_claim(source, f"column {column.path!r}", column.packed, column.plain)
        check_pages(data, column, source)
        # A row of a list is read whole, and repeated values take no bytes in a page.
        if "." in column.path:
            check_claim(source, f"column {column.path!r}", column.packed, CELL_BYTES * column.values)
