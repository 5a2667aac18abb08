"""HDF5."""

from __future__ import annotations

import io
import math
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
from diabolo.errors import DataError, nearest

#: Bytes of a chunk, which HDF5's library unpacks as a whole.
MOST_CHUNK = 1 << 29


class Part:
    """A dataset, or one field of a compound dataset: a block of columns."""

    def __init__(self, dataset: Any, field: str | None, dtype: np.dtype[Any]) -> None:
        self.dataset, self.field = dataset, field
        self.dtype, inner = dtype.subdtype or (dtype, ())
        self.shape = (*dataset.shape[1:], *inner)

    def rows(self, at: slice) -> np.ndarray:
        found = self.dataset[at]
        return np.asarray(found if self.field is None else found[self.field])


@formats.register("hdf5")
class Hdf5(Format):
    """HDF5 datasets of one length (fields of compound ones too) as columns; FILE.h5::GROUP chooses among several."""

    suffixes: ClassVar[tuple[str, ...]] = (".h5", ".hdf5")

    def _open(self, source: Source) -> Any:
        try:
            import h5py
        except ImportError:
            raise missing_package("h5py", "hdf5", source) from None
        return h5py.File(source.path, "r")

    def _parts(self, source: Source, file: Any) -> tuple[int, dict[str, Part]]:
        """Number of rows, and what becomes columns, by name."""
        datasets = self._chosen(source, file)
        for path, d in datasets.items():
            if d.ndim > 4:
                raise DataError(f"{source}: {path!r} has the shape {list(d.shape)}; allowed are up to 4 dimensions")
            if d.chunks and math.prod(d.chunks) * d.dtype.itemsize > MOST_CHUNK:
                raise DataError(
                    f"{source}: the dataset {path!r} has chunks of {list(d.chunks)}, which are unpacked as a whole; "
                    f"allowed are {MOST_CHUNK:,} bytes: write it with smaller ones"
                )
            if d.external or d.is_virtual:
                raise DataError(f"{source}: the dataset {path!r} takes its cells from other files; copy them in")
        rows = longest({path: d.shape[0] for path, d in datasets.items()}, source, "{source}::{names}")
        parts = {}
        for path, d in datasets.items():
            name = path.replace("/", ".")
            if d.dtype.names is None:
                parts[name] = Part(d, None, d.dtype)
                continue
            for field in d.dtype.names:
                own = field if len(datasets) == 1 else f"{name}.{field}"
                parts[own] = Part(d, field, d.dtype[field])
        for name, part in parts.items():
            _kind(part, name, source)
        return rows, parts

    def _chosen(self, source: Source, file: Any) -> dict[str, Any]:
        """Datasets by path, of the whole file or of what `source.inner` names; links to other files are left alone."""
        import h5py

        found = dict(_walk(file, "", {h5py.h5o.get_info(file.id).addr}))
        if not found:
            raise DataError(f"{source}: holds no dataset with rows")
        chosen: dict[str, Any] = {}
        for word in source.inner.split(",") if source.inner else []:
            path = word.strip("/")
            under = {p: d for p, d in found.items() if p == path or p.startswith(f"{path}/")}
            if not under:
                groups = sorted({p.rsplit("/", 1)[0] for p in found if "/" in p})
                raise DataError(f"{source}: no group or dataset {word!r}: {nearest(path, [*groups, *found], 'it has')}")
            skip = len(path) + 1
            chosen |= {p[skip:] if p != path else p.rsplit("/", 1)[-1]: d for p, d in under.items()}
        return chosen or found

    def schema(self, source: Source) -> tuple[Any, int | None]:
        with self._open(source) as file:
            rows, parts = self._parts(source, file)
            return self._arrow(source, parts)[0], rows

    def _arrow(self, source: Source, parts: dict[str, Part]) -> tuple[Any, dict[str, list[str]]]:
        import pyarrow as pa

        columns, metadata = fixed_columns({n: p.shape for n, p in parts.items()}, source)
        kinds = {n: _kind(p, n, source) for n, p in parts.items()}
        return pa.schema([(c, kinds[n]) for n, names in columns.items() for c in names], metadata), columns

    def read(self, source: Source, columns: Sequence[str] | None, rows: int) -> Iterator[Any]:
        import pyarrow as pa

        with self._open(source) as file:
            total, parts = self._parts(source, file)
            there, layout = self._arrow(source, parts)
            wanted = known(columns, there.names, source)
            schema = pa.schema([there.field(n) for n in wanted], there.metadata)
            needed = {n: names for n, names in layout.items() if not set(names).isdisjoint(wanted)}
            width = sum(max(parts[n].dtype.itemsize, 8) * len(names) for n, names in needed.items())
            step = rows_within(rows, width)
            for start in range(0, total, step):
                at = slice(start, min(start + step, total))
                blocks, lists = [], {}
                for name, names in needed.items():
                    block = parts[name].rows(at)
                    if block.dtype.hasobject:
                        lists[name] = _objects(block, there.field(name).type)
                    else:
                        blocks.append((names, block))
                yield block_batches(blocks, schema, lists)

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


def _walk(group: Any, under: str, seen: set[Any]) -> Iterator[tuple[str, Any]]:
    """Datasets with rows, by path, in the order of the file; by hard links alone, and each group once."""
    import h5py

    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            continue
        item = group[name]
        address = h5py.h5o.get_info(item.id).addr
        if isinstance(item, h5py.Dataset):
            if item.shape:
                yield f"{under}{name}", item
        elif isinstance(item, h5py.Group) and address not in seen:
            seen.add(address)
            yield from _walk(item, f"{under}{name}/", seen)


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


def _kind(part: Part, name: str, source: Source) -> Any:
    """The Arrow type of a part's cells."""
    import h5py
    import pyarrow as pa

    dtype = part.dtype
    plain = not part.shape
    if h5py.check_string_dtype(dtype) is not None and (plain or dtype.kind == "S"):
        return pa.string()
    inner = h5py.check_vlen_dtype(dtype)
    if inner is not None and plain and np.dtype(inner).kind in "biuf" and np.dtype(inner).itemsize <= 8:
        return pa.list_(pa.from_numpy_dtype(np.dtype(inner).newbyteorder("=")))
    if dtype.kind in "biuf" and dtype.itemsize <= 8:
        return pa.from_numpy_dtype(dtype.newbyteorder("="))
    raise DataError(
        f"{source}: {name!r} holds {dtype}{list(part.shape) or ''}; allowed are numbers of up to 64 bits, text and "
        f"lists of numbers: choose others, like {source}::NAME,NAME"
    )


def _objects(block: np.ndarray, kind: Any) -> Any:
    """Texts or lists of different lengths, which h5py gives as objects."""
    import pyarrow as pa

    if pa.types.is_string(kind):
        return pa.array([c.decode("utf-8") if isinstance(c, bytes) else str(c) for c in block], kind)
    offsets = np.concatenate([[0], np.cumsum([len(c) for c in block])]).astype(np.int32)
    values = np.concatenate([np.empty(0, kind.value_type.to_pandas_dtype()), *block])
    return pa.ListArray.from_arrays(offsets, pa.array(values, kind.value_type))
