"""Text with a header."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from diabolo.data.formats.base import Format, Source, cannot_hold, formats, known, one_line
from diabolo.errors import DataError

NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


@formats.register("csv")
class Csv(Format):
    """Comma- or tab-separated text with a header, also gzipped; empty cells, NA and NaN are missing."""

    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
    complete = True

    def _open(self, source: Source, columns: Sequence[str] | None, serial: bool = False) -> Any:
        import pyarrow as pa
        import pyarrow.csv as pc

        read = pc.ReadOptions(block_size=1 << 22, use_threads=not serial)
        parse = pc.ParseOptions(delimiter=_delimiter(source.path))
        with pc.open_csv(source.path, read_options=read, parse_options=parse) as first:
            guessed = first.schema
        # The first block decides the types, and a later row may hold 1.5 where it held 1, or any number
        # where it held nothing.
        loose = {f.name: pa.float64() for f in guessed if pa.types.is_integer(f.type) or pa.types.is_null(f.type)}
        # In a table of one column an empty line is a missing cell.
        parse = pc.ParseOptions(delimiter=_delimiter(source.path), ignore_empty_lines=len(guessed) > 1)
        options = pc.ConvertOptions(
            include_columns=list(columns) if columns is not None else None, column_types=loose, strings_can_be_null=True
        )
        return pc.open_csv(source.path, read_options=read, parse_options=parse, convert_options=options)

    @contextlib.contextmanager
    def _explained(self, source: Source, columns: Sequence[str] | None, names: Sequence[str] = ()) -> Iterator[None]:
        """Turn Arrow's complaint into one that names the row and the column as this package counts them."""
        import pyarrow as pa

        try:
            yield
        except pa.ArrowInvalid as error:
            text = one_line(self._located(source, columns) or error)
            match = re.search(r"(?:In CSV column #(\d+)|CSV parse error): (?:Row #(\d+): )?(.*)", text)
            if match:
                column, row, text = match.groups()
                place = [f"row {int(row) - 2}"] if row else []  # Arrow's row 1 is the header
                if column:
                    place.append(f"column {(names[int(column)] if int(column) < len(names) else column)!r}")
                text = f"{', '.join(place)}: {text}" if place else text
            raise DataError(f"{source}: {text}") from None

    def _located(self, source: Source, columns: Sequence[str] | None) -> Exception | None:
        """The same complaint with the row, which Arrow knows only where it reads row after row."""
        import pyarrow as pa

        try:
            with self._open(source, columns, serial=True) as reader:
                for _ in reader:
                    pass
        except pa.ArrowInvalid as error:
            return error  # type: ignore[no-any-return]
        return None

    def schema(self, source: Source) -> tuple[Any, int | None]:
        import pyarrow as pa

        _check_start(source)
        with self._explained(source, None), self._open(source, None) as reader:
            schema = reader.schema
        for field in schema:
            if pa.types.is_binary(field.type):
                raise DataError(
                    f"{source}: column {field.name!r} holds bytes that are not UTF-8; save the file as UTF-8"
                )
        return schema, None

    def read(self, source: Source, columns: Sequence[str] | None, rows: int) -> Iterator[Any]:
        there = self.schema(source)[0].names
        names = known(columns, there, source)
        with self._explained(source, names, there), self._open(source, names) as reader:
            for batch in reader:
                for start in range(0, batch.num_rows, rows):
                    yield batch.slice(start, rows)

    def write(self, path: Path, schema: Any, batches: Iterator[Any]) -> None:
        import pyarrow as pa
        import pyarrow.csv as pc

        kept, missing = _written_types(schema), set(pc.ConvertOptions().null_values)
        options = pc.WriteOptions(delimiter=_delimiter(path))
        with contextlib.ExitStack() as stack:
            sink: Any = path
            if path.name.endswith(".gz"):
                sink = stack.enter_context(pa.CompressedOutputStream(str(path), "gzip"))
            writer = stack.enter_context(pc.CSVWriter(sink, kept, write_options=options))
            for batch in batches:
                batch = batch.cast(kept) if kept != batch.schema else batch
                _check_text(batch, missing)
                writer.write_batch(batch)


def _check_start(source: Source) -> None:
    """Refuse text that Arrow would read as something else: another encoding or separator, a table without header.

    Raises:
        DataError: says what the file seems to be.
    """
    zipped = source.path.name.endswith(".gz")
    with gzip.open(source.path) if zipped else source.path.open("rb") as handle:
        start = handle.read(1 << 16)
    if not start:
        raise DataError(f"{source}: the file is empty")
    if b"\0" in start:
        kind = "UTF-16 text" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "no text"
        raise DataError(f"{source}: is {kind}; allowed is text in UTF-8: save it as that")
    lines = [line.decode("utf-8", "replace") for line in start.removeprefix(b"\xef\xbb\xbf").splitlines()[:2]]
    header, row = [*lines, "", ""][:2]
    if "\ufffd" in header:
        raise DataError(f"{source}: its header is not UTF-8; save the file as UTF-8")
    separator = _delimiter(source.path)
    if separator not in header:
        other = next((s for s in ";|,\t" if s in header and s in row), None)
        if other is None and len(header.split()) == len(row.split()) > 1:
            other = " "
        if other is not None:
            said = f"its cells are separated by {other!r}; allowed are ',' in .csv and '\\t' in .tsv"
            remedy = "rename it" if other in ",\t" else "write it with one of these"
            raise DataError(f"{source}: {said}: {remedy}")
    cells = [cell.strip(' "') for cell in header.split(separator)]
    numbers = [float(c) for c in cells if NUMBER.fullmatch(c)]
    # Names can be numbers, such as 0, 1, 2 or the wavelengths of a spectrum; those rise.
    if len(numbers) == len(cells) and any(a >= b for a, b in itertools.pairwise(numbers)):
        said = f"its first line holds numbers ({', '.join(cells[:3])}); allowed is a header with a name per column"
        raise DataError(f"{source}: {said}: add one")


def _delimiter(path: Path) -> str:
    return "\t" if ".tsv" in path.suffixes[-2:] else ","


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
