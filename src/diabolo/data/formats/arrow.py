"""Arrow's own files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from diabolo.data.formats.base import Format, Source, formats, known
from diabolo.errors import DataError


@formats.register("arrow")
class Arrow(Format):
    """Arrow IPC files and streams, also Feather version 2; mapped into memory, not loaded."""

    suffixes: ClassVar[tuple[str, ...]] = (".arrow", ".feather", ".ipc", ".arrows")
    complete = True

    @contextlib.contextmanager
    def _open(self, source: Source) -> Iterator[tuple[Any, bool]]:
        """The reader, and whether it reads a file (which knows its batches) or a stream."""
        import pyarrow as pa

        if source.path.stat().st_size == 0:
            raise DataError(f"{source}: the file is empty")
        with pa.memory_map(str(source.path)) as mapped:
            head = mapped.read(6)
            mapped.seek(0)
            if head.startswith(b"FEA1"):
                raise DataError(f"{source}: is Feather version 1; write it anew with a version of Arrow after 2020")
            seekable = head == b"ARROW1"
            yield (pa.ipc.open_file(mapped) if seekable else pa.ipc.open_stream(mapped)), seekable

    def schema(self, source: Source) -> tuple[Any, int | None]:
        with self._open(source) as (reader, seekable):
            if not seekable:
                return reader.schema, None
            import pyarrow.dataset as ds

            return reader.schema, ds.dataset(source.path, format="ipc").count_rows()

    def read(self, source: Source, columns: Sequence[str] | None, rows: int) -> Iterator[Any]:
        with self._open(source) as (reader, seekable):
            names = known(columns, reader.schema.names, source)
            batches = (reader.get_batch(i) for i in range(reader.num_record_batches)) if seekable else reader
            for batch in batches:
                batch = batch.select(names)
                # Offsets of a damaged file may point anywhere.
                batch.validate(full=True)
                for start in range(0, batch.num_rows, rows):
                    yield batch.slice(start, rows)

    def write(self, path: Path, schema: Any, batches: Iterator[Any]) -> None:
        import pyarrow as pa

        # A file has one dictionary per column, and each batch comes with its own: text is written as text.
        fields = [
            pa.field(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type, f.nullable)
            for f in schema
        ]
        kept = pa.schema(fields, schema.metadata)
        with pa.ipc.new_file(path, kept, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
            for batch in batches:
                writer.write_batch(batch.cast(kept))
