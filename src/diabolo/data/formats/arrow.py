"""Arrow's own files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from diabolo.data.formats.base import Format, Source, formats, known
from diabolo.data.formats.claims import check_claim
from diabolo.data.formats.index import index_notes, without_index
from diabolo.data.layouts import in_plain_layouts, plain_layout
from diabolo.data.messages import of_file, of_stream
from diabolo.errors import DataError


@formats.register("arrow")
class Arrow(Format):
    """Arrow IPC files and streams, also Feather version 2; mapped into memory, not loaded."""

    suffixes: ClassVar[tuple[str, ...]] = (".arrow", ".feather", ".ipc", ".arrows")
    named = suffixes
    complete = True
    arrays = True

    @contextlib.contextmanager
    def _open(self, source: Source) -> Iterator[tuple[Any, bool, int]]:
        """The reader, whether it reads a file (which knows its batches) or a stream, and the number of rows."""
        import pyarrow as pa

        if source.path.stat().st_size == 0:
            raise DataError(f"{source}: the file is empty")
        with pa.memory_map(str(source.path)) as mapped:
            head = mapped.read(6)
            mapped.seek(0)
            if head.startswith(b"FEA1"):
                raise DataError(f"{source}: is Feather version 1; write it anew with a version of Arrow after 2020")
            seekable = head == b"ARROW1"
            bodies = (of_file if seekable else of_stream)(memoryview(mapped.read_buffer()).cast("B"))
            rows = 0
            for number, body in enumerate(bodies):
                check_claim(source, f"part {number}", body.packed, body.plain)
                rows += body.rows
            mapped.seek(0)
            yield (pa.ipc.open_file(mapped) if seekable else pa.ipc.open_stream(mapped)), seekable, rows

    def schema(self, source: Source) -> tuple[Any, int | None]:
        # Counted from the messages: a dataset's count waits for threads, which a forked worker does not have.
        with self._open(source) as (reader, _, rows):
            return plain_layout(without_index(reader.schema)), rows

    def notes(self, source: Source) -> list[str]:
        """What a person is to know of how it is read."""
        with self._open(source) as (reader, _, _):
            return index_notes(reader.schema)

    def read(self, source: Source, columns: Sequence[str] | None, rows: int) -> Iterator[Any]:
        with self._open(source) as (reader, seekable, _):
            names = known(columns, without_index(reader.schema).names, source)
            batches = (reader.get_batch(i) for i in range(reader.num_record_batches)) if seekable else reader
            for batch in batches:
                batch = batch.select(names)
                # Offsets of a damaged file may point anywhere.
                batch.validate(full=True)
                plain = plain_layout(batch.schema)
                # Runs are made single values a part at a time: one may stand for any number of rows.
                for start in range(0, batch.num_rows, rows):
                    yield in_plain_layouts(batch.slice(start, rows), plain)

    def write(self, path: Path, schema: Any, batches: Iterator[Any]) -> None:
        import pyarrow as pa

        options = pa.ipc.IpcWriteOptions(compression="lz4", emit_dictionary_deltas=True)
        words: dict[str, Any] = {}
        with pa.ipc.new_file(path, schema, options=options) as writer:
            for batch in batches:
                columns = [_grown(c, f, words) for c, f in zip(batch.columns, schema, strict=True)]
                writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))


def _grown(column: Any, field: Any, words: dict[str, Any]) -> Any:
    """A column whose dictionary begins with that of the batches before it: a file's may grow, but not change.

    Raises:
        DataError: more words than positions of the column's type can tell apart.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(field.type):
        return column
    before = words.setdefault(field.name, column.dictionary)
    if column.dictionary.equals(before):
        return column
    new = column.dictionary.filter(pc.invert(pc.is_in(column.dictionary, before)))
    words[field.name] = grown = pa.concat_arrays([before, new])
    index = pc.index_in(column.dictionary, grown).take(column.indices.cast("int64"))
    try:
        positions = index.cast(field.type.index_type)
    except pa.ArrowInvalid:
        raise DataError(
            f"column {field.name!r} has {len(grown):,} categories, more than positions of type "
            f"{field.type.index_type} tell apart; write .parquet"
        ) from None
    return pa.DictionaryArray.from_arrays(positions, grown, ordered=field.type.ordered)
