"""HDF5."""

from __future__ import annotations

import collections
import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from diabolo.data.formats.base import (
    Format,
    Source,
    block_batches,
    cannot_hold,
    fixed_columns,
    formats,
    image_of,
    known,
    longest,
    missing_package,
    plain_cells,
    rows_within,
)
from diabolo.data.formats.hdf5_frames import frame_parts, frame_rows, is_frame
from diabolo.data.formats.hdf5_heaps import check_heaps
from diabolo.data.formats.hdf5_lengths import check_lengths
from diabolo.data.formats.hdf5_parts import Part, Unfit, check_filters, check_sizes, fields_of, part_of, walk
from diabolo.data.formats.notes import noting
from diabolo.errors import DataError, nearest


@formats.register("hdf5")
class Hdf5(Format):
    """HDF5 datasets of one length (fields of compound ones too) as columns; FILE.h5::GROUP chooses among several."""

    suffixes: ClassVar[tuple[str, ...]] = (".h5", ".hdf5")
    named = suffixes

    def _open(self, source: Source) -> Any:
        try:
            import h5py
        except ImportError:
            raise missing_package("h5py", "hdf5", source) from None
        # What reads the other filters, where it is installed.
        with contextlib.suppress(ImportError):
            import hdf5plugin  # noqa: F401
        return h5py.File(source.path, "r")

    def _parts(self, source: Source, file: Any) -> tuple[int, dict[str, Part], dict[str, str]]:
        """Number of rows, what becomes columns, by name, and what does not, with its type."""
        chosen, left_out = self._chosen(source, file), dict[str, str]()
        frames = {path: item for path, item in chosen.items() if is_frame(item)}
        if frames:
            # What is said of a frame may be words too.
            check_heaps(file, source)
            path, group = self._one_frame(source, frames, len(chosen) - len(frames))
            parts = frame_parts(group, path, source, left_out)
            rows = frame_rows(group)
        else:
            rows = longest({path: d.shape[0] for path, d in chosen.items()}, source, "{source}::{names}")
            parts = dict(self._datasets(source, chosen, left_out))
        if not parts:
            held = ", ".join(f"{n} ({why})" for n, why in left_out.items())[:300]
            raise DataError(
                f"{source}: no dataset can be a column; allowed are numbers of up to 64 bits, text and lists of "
                f"numbers; it has {held}"
            )
        if any(part.dataset.dtype.hasobject for part in parts.values()):
            check_heaps(file, source)
        for part in parts.values():
            path = part.dataset.name.strip("/")
            check_filters(part.dataset, path, source)
            check_sizes(part.dataset, path, source)
            check_lengths(part.dataset, path, source)
        return rows, parts, left_out

    def _datasets(self, source: Source, chosen: dict[str, Any], left_out: dict[str, str]) -> Iterator[tuple[str, Part]]:
        for path, d in chosen.items():
            if d.external or d.is_virtual:
                raise DataError(f"{source}: the dataset {path!r} takes its cells from other files; copy them in")
            name = path.replace("/", ".")
            if d.dtype.names is not None:
                yield from fields_of(d, name if len(chosen) > 1 else "", source, left_out)
                continue
            try:
                yield name, part_of(d, (), d.dtype)
            except Unfit as why:
                left_out[name] = str(why)

    def _one_frame(self, source: Source, frames: dict[str, Any], others: int) -> tuple[str, Any]:
        if len(frames) == 1 and not others:
            return next(iter(frames.items()))
        said = ", ".join(f"{path} ({frame_rows(group):,} rows)" for path, group in frames.items())
        more = f" and {others} other datasets" if others else ""
        raise DataError(
            f"{source}: holds {len(frames)} frames of pandas{more}: {said}; name one, like "
            f"{source}::{next(iter(frames))}"
        )

    def _chosen(self, source: Source, file: Any) -> dict[str, Any]:
        """Datasets and frames by path, of the whole file or of what `source.inner` names; no links to other files."""
        import h5py

        found = dict(walk(file, "", {h5py.h5o.get_info(file.id).addr}))
        if not found:
            raise DataError(f"{source}: holds no dataset with rows")
        chosen: dict[str, Any] = {}
        for word in source.inner.split(",") if source.inner else []:
            path = word.strip("/")
            under = {p: d for p, d in found.items() if p == path or p.startswith(f"{path}/")}
            # A frame's own datasets are the frame.
            under = under or {p: d for p, d in found.items() if is_frame(d) and path.startswith(f"{p}/")}
            if not under:
                groups = sorted({p.rsplit("/", 1)[0] for p in found if "/" in p})
                raise DataError(f"{source}: no group or dataset {word!r}: {nearest(path, [*groups, *found], 'it has')}")
            skip = len(path) + 1
            chosen |= {p[skip:] if p.startswith(f"{path}/") else p.rsplit("/", 1)[-1]: d for p, d in under.items()}
        return chosen or found

    def schema(self, source: Source) -> tuple[Any, int | None]:
        with self._open(source) as file:
            rows, parts, left_out = self._parts(source, file)
            return noting(self._arrow(source, parts)[0], left_out), rows

    def _arrow(self, source: Source, parts: dict[str, Part]) -> tuple[Any, dict[str, list[str]]]:
        import pyarrow as pa

        shaped = {n: p.shape for n, p in parts.items() if p.columns is None}
        columns, metadata = fixed_columns(shaped, source) if shaped else ({}, None)
        columns |= {n: list(p.columns) for n, p in parts.items() if p.columns is not None}
        names = [c for n in parts for c in columns[n]]
        twice = [n for n, times in collections.Counter(names).items() if times > 1]
        if twice:
            raise DataError(f"{source}: two datasets would give the column {twice[0]!r}; choose one of them")
        fields = [(c, p.kind) for n, p in parts.items() for c in columns[n]]
        return pa.schema(fields, metadata), {n: columns[n] for n in parts}

    def read(self, source: Source, columns: Sequence[str] | None, rows: int) -> Iterator[Any]:
        import pyarrow as pa

        with self._open(source) as file:
            total, parts, _ = self._parts(source, file)
            there, layout = self._arrow(source, parts)
            wanted = known(columns, there.names, source)
            schema = pa.schema([there.field(n) for n in wanted], there.metadata)
            needed = {n: names for n, names in layout.items() if not set(names).isdisjoint(wanted)}
            datasets = {parts[n].dataset.name: parts[n].dataset for n in needed}
            width = sum(d.dtype.itemsize * int(np.prod(d.shape[1:])) for d in datasets.values())
            step = rows_within(rows, max(width, 8 * len(wanted)))
            for start in range(0, total, step):
                at = slice(start, min(start + step, total))
                # Fields of one table are read together.
                read = {path: dataset[at] for path, dataset in datasets.items()}
                blocks, ready = [], {}
                for name, names in needed.items():
                    part = parts[name]
                    block = part.of(read[part.dataset.name])
                    if part.made is not None:
                        ready[names[0]] = part.made(block)
                    elif block.dtype.hasobject:
                        ready[names[0]] = _objects(block, part.kind)
                    else:
                        blocks.append((names, block))
                yield block_batches(blocks, schema, ready)

    def write(self, path: Path, schema: Any, batches: Iterator[Any]) -> None:
        """One resizable dataset per column, or the array that the schema's metadata describes, batch after batch."""
        try:
            import h5py
        except ImportError:
            raise missing_package("h5py", "hdf5", path) from None
        image = image_of(schema)
        blocks = {"x": image} if image else {}
        blocks |= {n: ((), [n]) for n in schema.names if not image or n not in set(image[1])}
        with _Sink(path) as sink, h5py.File(sink, "w", track_order=True) as file:
            made = {n: _create(file, n, shape, schema.field(cols[0]).type) for n, (shape, cols) in blocks.items()}
            rows = 0
            for batch in batches:
                for name, (shape, columns) in blocks.items():
                    cells = [plain_cells(batch.column(c), c, "an HDF5 file", text=True) for c in columns]
                    made[name].resize(rows + batch.num_rows, axis=0)
                    block = np.stack(cells, axis=1).reshape(batch.num_rows, *shape)
                    made[name][rows:] = block.astype(object) if block.dtype.kind == "U" else block
                rows += batch.num_rows
                sink.check()


class _Sink(io.FileIO):
    """A file whose writes never fail before they are asked about: HDF5's library ends the process on one that does.

    Raises:
        OSError: on `check` and on leaving, the first one that a write met.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self.failed: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        try:
            at = 0
            while at < len(view) and self.failed is None:
                at += super().write(view[at:]) or 0
        except OSError as error:
            self.failed = error
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size) if self.failed is None else size or 0
        except OSError as error:
            self.failed = error
            return size or 0

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        got = super().readinto(view) or 0
        # What was never written reads as zeros.
        view[got:] = bytes(len(view) - got)
        return len(view)

    def check(self) -> None:
        if self.failed is not None:
            raise self.failed

    def __exit__(self, *problem: Any) -> None:
        super().__exit__(*problem)
        self.check()


def _create(file: Any, name: str, shape: tuple[int, ...], kind: Any) -> Any:
    """An empty dataset of an Arrow type that grows by its first axis."""
    import h5py
    import pyarrow as pa

    if "/" in name or name in ("", "."):
        raise cannot_hold(name, "a name with a slash", "an HDF5 file")
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        dtype = h5py.string_dtype()
    elif pa.types.is_null(kind):
        dtype = np.dtype(np.float64)
    elif pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        dtype = np.dtype(kind.to_pandas_dtype())
    else:
        raise cannot_hold(name, kind, "an HDF5 file")
    width = int(np.prod(shape)) * 8
    chunk = (max(1, min(4096, (1 << 20) // width)), *shape)
    return file.create_dataset(name, (0, *shape), dtype, maxshape=(None, *shape), chunks=chunk, compression="gzip")


def _objects(block: np.ndarray, kind: Any) -> Any:
    """Texts or lists of different lengths, which h5py gives as objects."""
    import pyarrow as pa

    if pa.types.is_string(kind):
        return pa.array([c.decode("utf-8") if isinstance(c, bytes) else str(c) for c in block], kind)
    offsets = np.concatenate([[0], np.cumsum([len(c) for c in block])]).astype(np.int32)
    values = np.concatenate([np.empty(0, kind.value_type.to_pandas_dtype()), *block])
    return pa.ListArray.from_arrays(offsets, pa.array(values, kind.value_type))
