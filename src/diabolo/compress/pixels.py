"""Columns that are the pixels of images, as one piece: in the cheapest of three ways.

| way | |
|---|---|
| 0 | column by column, elsewhere |
| 1 | rows as bytes, packed |
| 2 | by the autoencoder of images |
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from diabolo.compress.bytesio import BytesReader, BytesWriter, pack, unpack
from diabolo.compress.image_model import ImageModel
from diabolo.compress.images import decode_images, encode_images
from diabolo.data.formats.base import MOST_COLUMNS, image_of, shape_metadata
from diabolo.errors import CompressedFileError

__all__ = [
    "BY_COLUMN",
    "BY_MODEL",
    "by_column",
    "coded_pixels",
    "decoded_pixels",
    "image_schema",
    "pixel_columns",
    "pixels_of",
]

BY_COLUMN, PACKED, BY_MODEL = range(3)
#: Rows from which it is told what packing comes to; a way that is worse by so much is not tried.
SAMPLE, CLEARLY = 512, 0.9


def pixel_columns(schema: Any) -> tuple[tuple[int, ...], list[int]] | None:
    """Shape of the images that a schema's columns of bytes are, and the positions of these columns."""
    import pyarrow as pa

    image = image_of(schema)
    if image is None:
        return None
    shape, names = image
    columns = [schema.get_field_index(n) for n in names]
    if len(shape) not in (2, 3) or not columns or any(i < 0 or schema.field(i).type != pa.uint8() for i in columns):
        return None
    return shape, columns


def image_schema(shape: Sequence[int]) -> Any:
    """The schema of nothing but images [h, w] or [h, w, c] of bytes.

    Raises:
        ValueError: an impossible shape.
    """
    import pyarrow as pa

    sizes = [int(n) for n in shape]
    if len(sizes) not in (2, 3) or min(sizes) < 1 or math.prod(sizes) > MOST_COLUMNS:
        raise ValueError("images of an impossible shape")
    return pa.schema([(f"x{i}", pa.uint8()) for i in range(math.prod(sizes))], shape_metadata(sizes))


def pixels_of(batch: Any, columns: list[int]) -> np.ndarray | None:
    """Images [n, pixels] uint8 of a record batch; None where a cell is missing."""
    out = np.empty((batch.num_rows, len(columns)), np.uint8)
    for k, i in enumerate(columns):
        array = batch.column(i)
        if array.null_count:
            return None
        out[:, k] = np.frombuffer(array.buffers()[1], np.uint8, len(array), array.offset)
    return out


def coded_pixels(model: ImageModel | None, images: np.ndarray | None) -> tuple[bytes, int, float]:
    """(piece, way, bits that column by column must beat) of images [n, pixels].

    Order-0 entropies of the columns are less than tables of them take: unless these are near, columns need no try.
    """
    out = BytesWriter()
    if images is None or not len(images):
        out.number(BY_COLUMN)
        return bytes(out.data), BY_COLUMN, 0.0
    way, data = PACKED, b""
    if model is not None:
        way, data = BY_MODEL, encode_images(model, images)[0]
    sample = np.ascontiguousarray(images[:: -(-len(images) // SAMPLE)])
    packed = len(pack(sample.tobytes())) * len(images) / len(sample)
    if way == PACKED or CLEARLY * packed < len(data):
        plain = pack(images.tobytes())
        if way == PACKED or len(plain) < len(data):
            way, data = PACKED, plain
    out.number(way)
    out.piece(data)
    return bytes(out.data), way, 8.0 * len(out.data)


def by_column(images: np.ndarray) -> float:
    """Order-0 entropies of all columns together, in bits."""
    total = 0.0
    for cells in images.T:
        counts = np.bincount(cells)
        counts = counts[counts > 0]
        total += float((counts * np.log2(len(cells) / counts)).sum())
    return total


def decoded_pixels(model: ImageModel | None, reader: BytesReader, rows: int, count: int) -> np.ndarray | None:
    """Images [rows, count] uint8 that `coded_pixels` coded; None where they are coded column by column.

    Raises:
        CompressedFileError: the piece is damaged.
    """
    way = reader.number()
    if way == BY_COLUMN:
        return None
    data = reader.piece()
    if way == PACKED:
        cells = unpack(data, rows * count)
        if len(cells) != rows * count:
            raise CompressedFileError("its packed images have a wrong length")
        return np.frombuffer(cells, np.uint8).reshape(rows, count)
    if way != BY_MODEL or model is None or model.sizes.pixels != count:
        raise CompressedFileError(f"images are coded in the unknown way {way}")
    return decode_images(model, data, rows)
