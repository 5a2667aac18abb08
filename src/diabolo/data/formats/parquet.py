"""Apache Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from diabolo.data.formats.base import CHUNK_BYTES, Format, Source, formats, known, rows_within
from diabolo.data.formats.index import index_notes, without_index
from diabolo.data.weight import halved, is_varied
from diabolo.errors import DataError

#: Bytes that the pages of a column may unpack to whatever their size, and how many times their own size beyond that.
MOST_PAGES, MOST_RATIO = 1 << 28, 1032


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

        there = self.schema(source)[0]
        # Reading ahead would keep the whole file in memory, and a word that stands in every row would fill it.
        text = [f.name for f in there if is_varied(f.type)]
        options = {"pre_buffer": False, "buffer_size": 1 << 16, "page_checksum_verification": True}
        with pq.ParquetFile(source.path, read_dictionary=text, **options) as file:
            names = known(columns, there.names, source)
            _check_sizes(file.metadata, names, source)
            kept = pa.schema([there.field(n) for n in names], there.metadata)
            step = rows_within(rows, 8 * len(names))
            for batch in file.iter_batches(step, columns=names, use_threads=pa.cpu_count() > 1):
                parts = halved(batch, CHUNK_BYTES) if text else [batch]
                yield from (part.cast(kept) if part.schema.types != kept.types else part for part in parts)

    def write(self, path: Path, schema: Any, batches: Iterator[Any]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        # A field may say how its values are laid out best; what it says is no part of the table.
        said = {f.name: f.metadata[b"encoding"].decode() for f in schema if f.metadata and b"encoding" in f.metadata}
        plain = pa.schema([f.with_metadata(_notes(f)) for f in schema], schema.metadata)
        options: dict[str, Any] = {"write_page_checksum": True}
        if said:
            options |= {"use_dictionary": [n for n in schema.names if n not in said], "column_encoding": said}
        with pq.ParquetWriter(path, plain, compression="zstd", **options) as writer:
            for batch in batches:
                writer.write_batch(batch.cast(plain) if said else batch)


def _notes(field: Any) -> dict[bytes, bytes] | None:
    """What a field says but for its layout: units, and whatever else its owner noted."""
    return {k: v for k, v in (field.metadata or {}).items() if k != b"encoding"} or None


def _check_sizes(metadata: Any, names: Sequence[str], source: Source) -> None:
    """Refuse columns that take a multiple of their bytes in memory that no table reaches.

    Raises:
        DataError: names the column.
    """
    wanted = set(names)
    for group in (metadata.row_group(i) for i in range(metadata.num_row_groups)):
        for column in (group.column(i) for i in range(group.num_columns)):
            packed, plain = column.total_compressed_size, column.total_uncompressed_size
            if column.path_in_schema.split(".")[0] in wanted and plain > max(MOST_PAGES, MOST_RATIO * packed):
                raise DataError(
                    f"{source}: column {column.path_in_schema!r} has {packed:,} bytes that would unpack to {plain:,}"
                )
