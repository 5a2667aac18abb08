"""Pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from diabolo.data.formats.base import (
    Format,
    Source,
    block_batches,
    fixed_columns,
    formats,
    known,
    missing_package,
    one_line,
    rows_within,
)
from diabolo.errors import DataError

#: Pillow's modes as they are read: grey, color, color with transparency, 16-bit grey.
MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGBA", "I;16": "I;16"}


@formats.register("images")
class Images(Format):
    """A folder of pictures of one size, one row each; the names of subfolders are the text column `label`."""

    suffixes: ClassVar[tuple[str, ...]] = (".png", ".jpg", ".jpeg")
    read_only = "pictures are read, not written; write .npz or .npy, which hold arrays of them"

    def _layout(self, source: Source) -> tuple[list[Path], list[str] | None, list[str], Any]:
        """Files, their labels, the columns of a picture, and the schema."""
        import pyarrow as pa

        files = list(source.files or [source.path])
        first = _pixels(files[0])
        columns, metadata = fixed_columns({"x": first.shape}, source)
        names = columns["x"]
        root = source.path if source.path.is_dir() else Path(os.path.commonpath([f.parent for f in files]))
        labels = [f.parent.relative_to(root).as_posix() for f in files]
        fields = [(n, pa.from_numpy_dtype(first.dtype)) for n in names]
        if set(labels) == {"."}:
            return files, None, names, pa.schema(fields, metadata)
        return files, labels, names, pa.schema([*fields, ("label", pa.string())], metadata)

    def schema(self, source: Source) -> tuple[Any, int | None]:
        files, _, _, schema = self._layout(source)
        return schema, len(files)

    def read(self, source: Source, columns: Sequence[str] | None, rows: int) -> Iterator[Any]:
        import pyarrow as pa

        files, labels, names, there = self._layout(source)
        schema = pa.schema([there.field(n) for n in known(columns, there.names, source)], there.metadata)
        first = _pixels(files[0])
        step = rows_within(rows, first.nbytes)
        for start in range(0, len(files), step):
            some = files[start : start + step]
            block = np.empty((len(some), *first.shape), first.dtype)
            for row, path in zip(block, some, strict=True):
                pixels = _pixels(path)
                if pixels.shape != first.shape or pixels.dtype != first.dtype:
                    raise DataError(
                        f"{path}: is {_said(pixels)}, and {files[0].name} is {_said(first)}; all pictures must be alike"
                    )
                row[...] = pixels
            ready = {"label": pa.array(labels[start : start + step], pa.string())} if labels else {}
            yield block_batches([(names, block)], schema, ready)

    def write(self, path: Path, schema: Any, batches: Iterator[Any]) -> None:
        raise DataError(f"{path}: {self.read_only}")


def _pixels(path: Path) -> np.ndarray:
    """One picture, [h, w] or [h, w, channels].

    Raises:
        DataError: no picture, a damaged one, or one of a kind that is not read.
    """
    try:
        from PIL import Image
    except ImportError:
        raise missing_package("pillow", "images", path) from None
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as picture:
            mode = MODES.get(picture.mode)
            if mode is None:
                raise DataError(f"{path}: is of the mode {picture.mode}; allowed are {', '.join(MODES)}: convert it")
            fixed_columns({"x": (picture.height, picture.width)}, Source(path, str(path)))  # before it fills memory
            return np.asarray(picture if picture.mode == mode else picture.convert(mode))
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path}: cannot be read: {one_line(error)}") from error


def _said(pixels: np.ndarray) -> str:
    return f"{pixels.shape[0]}×{pixels.shape[1]}×{pixels.shape[2] if pixels.ndim > 2 else 1} {pixels.dtype}"
