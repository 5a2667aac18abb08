"""Apache Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from diabolo.data.formats.base import Format, Source, formats, known, rows_within
from diabolo.data.formats.index import index_notes, without_index


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

        # Reading ahead would keep the whole file in memory.
        options = {"pre_buffer": False, "buffer_size": 1 << 16, "page_checksum_verification": True}
        with pq.ParquetFile(source.path, **options) as file:
            names = known(columns, without_index(file.schema_arrow).names, source)
            step = rows_within(rows, 8 * len(names))
            yield from file.iter_batches(step, columns=names, use_threads=pa.cpu_count() > 1)

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
