"""What DATA names: a file, a part of one, a folder, a pattern or a URL; its files as one table."""

from __future__ import annotations

import dataclasses
import functools
import glob
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from diabolo.data.dialect.finding import Found
from diabolo.data.formats.base import SHAPE, Format, Source, explained, formats, suffix_of
from diabolo.data.formats.notes import without_notes
from diabolo.data.formats.ragged import Data, Flat, Taken
from diabolo.data.formats.remote import as_local, fetch, is_url
from diabolo.errors import DataError, nearest
from diabolo.files import check_regular

__all__ = ["Dataset", "format_of", "locate", "part_of"]


def format_of(path: str | Path, written: bool = False) -> Format:
    """The format that a file's suffix names.

    Args:
        path: of the file.
        written: whether it is to be written, for which a message names the suffixes that can be.

    Raises:
        DataError: an unknown suffix.
    """
    name = str(path).rstrip("/").rpartition("/")[2].split("?")[0] if is_url(str(path)) else Path(path).name
    found = suffix_of(name)
    if found:
        return formats.create(found[0])
    known = [s for n in formats for s in formats.get(n).suffixes if not (written and formats.get(n).read_only)]
    raise DataError(f"{path}: unknown file type {Path(name).suffix or '(no suffix)'!r}; allowed: {', '.join(known)}")


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Files of one format that are read as one table."""

    shown: str
    format: Format
    sources: tuple[Source, ...]
    #: Schema of the files that its one file is read like.
    agreed: Any = None

    def schema(self, take: Mapping[str, int] | None, nested: bool = False) -> tuple[Any, int | None]:
        """Arrow schema of all files and number of rows.

        Args:
            take: objects of each jagged collection that become columns.
            nested: columns as the files have them, structs and arrays of fixed shape among them.

        Raises:
            DataError: two files that do not agree; names file and column.
        """
        sources = self._alike()
        found = [self._described(source) for source in sources]
        if self.agreed is not None:
            found = [(self.agreed, rows) for _, rows in found]
        flat = [_flat(schema, take, source) for (schema, _), source in zip(found, sources, strict=True)]
        schemas = [without_notes(schema) for schema, _ in found] if nested else [f.schema for f in flat]
        rows = [n for _, n in found]
        total = None if any(n is None for n in rows) else sum(n for n in rows if n is not None)
        return _agreed(schemas, sources), total

    def apart(self) -> list[tuple[Source, Any, int | None]]:
        """Each file: where it is, the schema to be read like if its own differs from it, its rows if known.

        Raises:
            DataError: two files that do not agree; names file and column.
        """
        sources = self._alike()
        found = [self._described(source) for source in sources]
        schemas = [schema for schema, _ in found]
        agreed = _agreed(schemas, sources)
        alike = [None if s.types == agreed.types and s.names == agreed.names else agreed for s in schemas]
        return [
            (source, None if a is None else a.with_metadata(schema.metadata), rows)
            for source, a, (schema, rows) in zip(sources, alike, found, strict=True)
        ]

    def text(self) -> Found | None:
        """How a table written as text is read: as its first file is; None for other formats."""
        found = getattr(self.format, "found", None)
        if found is None:
            return None
        with explained(self.sources[0]):
            return found(self.sources[0])  # type: ignore[no-any-return]

    def notes(self) -> list[str]:
        """What a person is to know of how it is read."""
        text = self.text()
        if text is not None:
            return list(text.notes)
        notes = getattr(self.format, "notes", None)
        if notes is None:
            return []
        with explained(self.sources[0]):
            return list(notes(self.sources[0]))

    def _alike(self) -> tuple[Source, ...]:
        together = getattr(self.format, "together", None)
        if together is None:
            return self.sources
        with explained(self.sources[0]):
            return together(self.sources)  # type: ignore[no-any-return]

    def read(
        self, columns: Sequence[str] | None, take: Mapping[str, int] | None, rows: int, nested: bool = False
    ) -> Iterator[Any]:
        """Batches of all files, one after another."""
        several = len(self.sources) > 1 or self.agreed is not None
        agreed = self.schema(take, nested)[0] if several else None
        if agreed is not None and columns is None:
            columns = agreed.names
        at = 0
        for source in self._alike():
            for batch in self._read_one(source, columns, take, rows, at, nested):
                at += batch.num_rows
                yield _cast(batch, agreed, source) if agreed is not None else batch

    def _described(self, source: Source) -> tuple[Any, int | None]:
        with explained(source):
            return _described(self.format.name, source, _state(source))

    def _read_one(
        self,
        source: Source,
        columns: Sequence[str] | None,
        take: Mapping[str, int] | None,
        rows: int,
        at: int,
        nested: bool,
    ) -> Iterator[Any]:
        flat = None if nested else _flat(self._described(source)[0], take, source)
        if flat is None or flat.plain:
            with explained(source):
                yield from self.format.read(source, columns, rows)
            return
        names = flat.schema.names
        for name in columns or []:
            if name not in flat.leaves:
                raise DataError(f"{source}: no column {name!r}: {nearest(name, names, 'it has')}")
        wanted = list(names if columns is None else columns)
        with explained(source):
            for batch in self.format.read(source, flat.sources(wanted), rows):
                yield flat.batch(batch, wanted, at)
                at += batch.num_rows


def _flat(schema: Any, take: Mapping[str, int] | None, source: Source) -> Flat:
    with explained(source):
        return Flat(schema, take, source)


def _state(source: Source) -> tuple[int, ...]:
    """What changes when a file does."""
    return tuple(n for p in (source.files or (source.path,)) for n in (p.stat().st_mtime_ns, p.stat().st_size))


@functools.lru_cache(maxsize=64)
def _described(name: str, source: Source, state: tuple[int, ...]) -> tuple[Any, int | None]:
    """The schema of a file, which a verb asks for several times, and which takes seconds for hundreds of branches."""
    return formats.create(name).schema(source)


def locate(data: Data) -> Dataset:
    """Find the files that a word of the command line names.

    Raises:
        DataError: nothing there, an unknown file type, files of several types.
    """
    reading = data.reading if isinstance(data, Taken) else None
    text = as_local(str(data))
    place, inner = part_of(text)
    if is_url(place):
        root, copies = fetch(place)
        files = [(p, shown) for p, shown in copies if _visible(p.relative_to(root.parent))]
    else:
        root = Path(place)
        files = [(p, str(p)) for p in _files(root, place, str(data))]
    if not (len(files) == 1 and files[0][0] == root):
        # A text of another name beside tables is a note on them.
        kinds_of = {p: suffix_of(p.name) for p, _ in files}
        if root.is_dir():
            kinds_of = {p: found for p, found in kinds_of.items() if found and found[0] != "text"}
        files = [(p, shown) for p, shown in files if kinds_of.get(p)]
        if not files:
            known = ", ".join(s for n in formats for s in formats.get(n).suffixes)
            raise DataError(f"{data}: holds no table; allowed are files that end in {known}")
    kinds: dict[str, str] = {}
    for path, shown in files:
        kinds.setdefault(format_of(path).name, shown)
    if len(kinds) > 1:
        said = ", ".join(f"{Path(s).name} ({n})" for n, s in kinds.items())
        raise DataError(
            f"{data}: has files of several types: {said}; choose those of one, like {place.rstrip('/')}/*.csv"
        )
    name = next(iter(kinds))
    if name == "images":
        one = Source(root, str(data), inner, tuple(p for p, _ in files))
        return Dataset(str(data), formats.create(name), (one,))
    sources = tuple(Source(path, shown, inner, reading=reading) for path, shown in files)
    return Dataset(str(data), formats.create(name), sources, data.agreed if isinstance(data, Taken) else None)


def part_of(text: str) -> tuple[str, str]:
    """A word of the command line as what names files, and the part of each that is meant."""
    plain = Path(text).is_file() or (not is_url(text) and Path(text).is_dir())
    return (text, "") if plain else _split(text)


def _split(text: str) -> tuple[str, str]:
    """FILE.h5::GROUP and FILE.root:TREE into the file and its part."""
    head, sep, inner = text.rpartition("::")
    if sep and not is_url(inner):
        return head, inner
    at = text.lower().rfind(".root:")
    return (text[: at + 5], text[at + 6 :]) if at >= 0 else (text, "")


def _files(root: Path, place: str, shown: str) -> list[Path]:
    if root.is_dir():
        found = [p for p in sorted(root.rglob("*")) if p.is_file() and _visible(p.relative_to(root))]
        if not found:
            raise DataError(f"{shown}: the folder holds no files")
        return found
    check_regular(root, DataError)
    if root.exists():
        return [root]
    if not glob.has_magic(place):
        raise DataError(f"{shown}: no such file")
    found = [p for p in map(Path, sorted(glob.glob(place, recursive=True))) if p.is_file()]
    if not found:
        raise DataError(f"{shown}: no file matches this pattern")
    return found


def _visible(path: Path) -> bool:
    """Hidden files, and those that writers of many files leave beside them (_SUCCESS), are no part of a table."""
    return not any(part.startswith((".", "_")) for part in path.parts)


def _agreed(schemas: Sequence[Any], sources: Sequence[Source]) -> Any:
    """One schema for all files: columns of the first, each of a type that holds every file's."""
    import pyarrow as pa

    if len(schemas) == 1:
        return schemas[0]
    first, agreed = schemas[0], {f.name: f for f in schemas[0]}
    for schema, source in zip(schemas[1:], sources[1:], strict=True):
        absent = [n for n in first.names if n not in schema.names]
        more = [n for n in schema.names if n not in agreed]
        if absent or more:
            said = f"has no column {absent[0]!r}, which" if absent else f"has a column {more[0]!r}, which"
            raise DataError(
                f"{source}: {said} {sources[0]} has{'' if absent else ' not'}; files of a table need the same columns"
            )
        if (schema.metadata or {}).get(SHAPE) != (first.metadata or {}).get(SHAPE):
            raise DataError(f"{source}: its rows have another shape than those of {sources[0]}")
        for field in schema:
            agreed[field.name] = _common(agreed[field.name], field, source, sources[0])
    return pa.schema([agreed[n] for n in first.names], first.metadata)


def _common(one: Any, other: Any, source: Source, first: Source) -> Any:
    import pyarrow as pa

    if one.type == other.type:
        return one
    kinds = [f.type.value_type if pa.types.is_dictionary(f.type) else f.type for f in (one, other)]
    try:
        both = [pa.schema([pa.field(one.name, kind)]) for kind in kinds]
        return pa.unify_schemas(both, promote_options="permissive").field(0).with_metadata(one.metadata)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        raise DataError(
            f"{source}: column {one.name!r} holds {other.type}, and in {first} {one.type}; write them with one type"
        ) from None


def _cast(batch: Any, agreed: Any, source: Source) -> Any:
    import pyarrow as pa

    columns = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            columns.append(column.cast(agreed.field(name).type))
        except pa.ArrowInvalid as error:
            raise DataError(f"{source}: column {name!r}: {error}") from None
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema([agreed.field(n) for n in batch.schema.names]))
