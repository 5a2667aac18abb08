"""Tables written as text, in whatever way: `diabolo.data.dialect` finds it out, PyArrow reads."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from diabolo.data.dialect.columns import FORM
from diabolo.data.dialect.finding import Found, find
from diabolo.data.dialect.forms import BadCell, check_cell, read_form, write_form
from diabolo.data.dialect.reader import explained_text, open_text
from diabolo.data.dialect.record import Asked, Form, Reading
from diabolo.data.formats.base import Format, Source, cannot_hold, formats, known
from diabolo.data.formats.writing import SAFE
from diabolo.errors import DataError

__all__ = ["Csv", "Text"]

#: First characters of a cell that a spreadsheet runs as a formula.
RUN = ("=", "+", "-", "@", "\t", "\r")


@formats.register("csv")
class Csv(Format):
    """Text with a separator between cells, also gzipped; empty cells, NA and NaN are missing."""

    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
    named = suffixes
    complete = True

    def found(self, source: Source) -> Found:
        """The dialect of a file."""
        return find(source.path, source.reading or Reading(), _delimiter(source.path), source)

    def together(self, sources: Sequence[Source]) -> tuple[Source, ...]:
        """Files of one table, each read as the first one is."""
        first = sources[0]
        if len(sources) == 1 or (first.reading is not None and first.reading.kept is not None):
            return tuple(sources)
        asked = first.reading.asked if first.reading is not None else Asked()
        alike = Reading(asked, self.found(first).dialect)
        return (first, *(dataclasses.replace(s, reading=alike) for s in sources[1:]))

    def schema(self, source: Source) -> tuple[Any, int | None]:
        return self.found(source).schema, None

    def read(self, source: Source, columns: Sequence[str] | None, rows: int) -> Iterator[Any]:
        found = self.found(source)
        dialect, schema = found.dialect, found.schema
        names = known(columns, schema.names, source)
        asked = [f"column {n!r}: {found.questions[n]}" for n in names if n in found.questions]
        if asked:
            raise DataError(f"{source}: {'; '.join(asked)}")
        types = {n: _raw_type(dialect.forms.get(n), schema.field(n).type) for n in names}
        # Marks of one column's own are no business of Arrow's, which has one list for all.
        null_text = not dialect.own
        formed = [n for n in names if n in dialect.forms and (dialect.forms[n].kind != "text" or not null_text)]
        at = 0
        with (
            explained_text(source.path, dialect, source, names, types),
            open_text(source.path, dialect, dialect.names, names, types, null_text) as reader,
        ):
            for batch in reader:
                for name in formed:
                    batch = _formed(batch, name, dialect.forms[name], dialect.marks_of(name), at, source)
                at += batch.num_rows
                for start in range(0, batch.num_rows, rows):
                    yield batch.slice(start, rows)

    def write(self, path: Path, schema: Any, batches: Iterator[Any]) -> None:
        import pyarrow as pa
        import pyarrow.csv as pc

        kept, missing = _written_types(schema), set(pc.ConvertOptions().null_values)
        safe = SAFE.get()
        forms = {f.name: Form(**json.loads(f.metadata[FORM])) for f in schema if f.metadata and FORM in f.metadata}
        options = pc.WriteOptions(delimiter=_delimiter(path))
        with contextlib.ExitStack() as stack:
            sink: Any = path
            if path.name.endswith(".gz"):
                sink = stack.enter_context(pa.CompressedOutputStream(str(path), "gzip"))
            writer = None
            for batch in _and_one(batches, kept):
                batch = batch.cast(kept) if kept != batch.schema else batch
                columns = [
                    write_form(c, forms[n]) if n in forms else c
                    for n, c in zip(batch.schema.names, batch.columns, strict=True)
                ]
                batch = pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
                _check_text(batch, missing)
                batch = _harmless(batch) if safe else batch
                writer = writer or stack.enter_context(pc.CSVWriter(sink, batch.schema, write_options=options))
                writer.write_batch(batch)


@formats.register("text")
class Text(Csv):
    """The same text under names that say nothing of its separator; read only, and alone."""

    suffixes: ClassVar[tuple[str, ...]] = (".txt", ".dat", ".data", ".tab", ".txt.gz", ".dat.gz", ".data.gz")
    complete = False
    named = ()
    read_only = "text under this name is read only; write .csv or .tsv"

    def write(self, path: Path, schema: Any, batches: Iterator[Any]) -> None:
        raise DataError(f"{path}: {self.read_only}")


def _and_one(batches: Iterator[Any], schema: Any) -> Iterator[Any]:
    """The batches, and an empty one where there is none, so that the header is written."""
    import pyarrow as pa

    empty = True
    for batch in batches:
        empty = False
        yield batch
    if empty:
        yield pa.RecordBatch.from_pylist([], schema=schema)


def _delimiter(path: Path) -> str:
    return "\t" if ".tsv" in path.suffixes[-2:] or ".tab" in path.suffixes[-2:] else ","


def _raw_type(form: Form | None, kind: Any) -> Any:
    """What Arrow is to read: text where a form is read from it."""
    import pyarrow as pa

    return kind if form is None else pa.string()


def _formed(batch: Any, name: str, form: Form, marks: Sequence[str], row: int, source: Source) -> Any:
    import pyarrow as pa

    at = batch.schema.get_field_index(name)
    try:
        values = read_form(batch.column(at), form, marks)
    except BadCell as bad:
        raise DataError(f"{source}: {check_cell(bad, form, name, row + bad.place)}") from None
    return batch.set_column(at, pa.field(name, values.type), values)


def _written_types(schema: Any) -> Any:
    """Dictionaries as the text they stand for; other nested types have no place in a cell."""
    import pyarrow as pa

    fields = []
    for field in schema:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            raise cannot_hold(field.name, kind, "a text file")
        fields.append(pa.field(field.name, kind, field.nullable))
    return pa.schema(fields)


def _check_text(batch: Any, missing: set[str]) -> None:
    """Text that a reader would take for a missing cell cannot be told from one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            taken = pc.is_in(column, value_set=pa.array(sorted(missing), column.type))
            if pc.any(taken).as_py():
                word = column.filter(taken)[0].as_py()
                raise cannot_hold(name, f"the text {word!r}, which is read as a missing cell and", "a text file")


def _harmless(batch: Any) -> Any:
    """Names and cells of text that a spreadsheet would run as a formula get an apostrophe before them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = []
    names = [f"'{n}" if n.startswith(RUN) else n for n in batch.schema.names]
    for column in batch.columns:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            runs = pc.starts_with(column, RUN[0])
            for mark in RUN[1:]:
                runs = pc.or_(runs, pc.starts_with(column, mark))
            column = pc.if_else(runs, pc.binary_join_element_wise("'", column, ""), column)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, names=names)
