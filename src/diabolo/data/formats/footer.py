"""What the footer of a Parquet file says of its columns' bytes, read here: PyArrow ends the process on a damaged one.

A footer is a struct of Thrift's compact protocol (github.com/apache/parquet-format, src/main/thrift/parquet.thrift).
"""

from __future__ import annotations

import dataclasses
import struct
from typing import Any

from diabolo.data.formats.base import Source
from diabolo.data.formats.thrift import Damaged, Struct, struct_at
from diabolo.errors import DataError

__all__ = ["Chunk", "chunks_of"]

#: What a file begins and ends with; one whose footer is encrypted ends with other letters.
MAGIC = b"PAR1"
#: Codecs by their number.
CODECS = ("UNCOMPRESSED", "SNAPPY", "GZIP", "LZO", "BROTLI", "LZ4", "ZSTD", "LZ4_RAW")
#: Encodings by their number that matter here, in both of which words have no dictionary.
DELTA_LENGTH_BYTE_ARRAY, DELTA_BYTE_ARRAY = 6, 7
#: Fields of the structs on the way, by the names of parquet.thrift.
ROW_GROUPS, COLUMNS, FILE_PATH, META_DATA, CRYPTO_METADATA = 4, 1, 1, 3, 8
ENCODINGS, PATH, CODEC, NUM_VALUES, PLAIN, PACKED, DATA_PAGE, DICTIONARY_PAGE = 2, 3, 4, 5, 6, 7, 9, 11


@dataclasses.dataclass(frozen=True)
class Chunk:
    """One column of one row group.

    Attributes:
        path: of the column, with "." between its parts.
        codec: that packs its pages.
        encodings: numbers of those that it has.
        values: how many it says to have, nulls among them.
        packed: bytes in the file.
        plain: bytes without the codec.
        start: first byte of its pages.
    """

    path: str
    codec: str
    encodings: frozenset[int]
    values: int
    packed: int
    plain: int
    start: int


def chunks_of(data: memoryview, source: Source) -> list[Chunk]:
    """Columns of each row group, in their order.

    Args:
        data: the whole file.
        source: for messages.

    Raises:
        DataError: not the end of a Parquet file, an encrypted one, or one that claims what the file cannot have.
    """
    try:
        if bytes(data[-4:]) != MAGIC:
            raise Damaged("it does not end as a Parquet file ends")
        (length,) = struct.unpack("<I", data[-8:-4])
        end = len(data) - 8
        footer, after = struct_at(data[:end], end - length)
        if after > end or end - length < len(MAGIC):
            raise Damaged(f"a footer of {length:,} bytes")
        return [_chunk(column, end - length, source) for group in footer[ROW_GROUPS] for column in group[COLUMNS]]
    except (Damaged, KeyError, TypeError, AttributeError, struct.error, UnicodeDecodeError) as error:
        what = str(error) if isinstance(error, Damaged) else "something is missing"
        raise DataError(f"{source}: its footer is damaged: {what}") from None


def _chunk(column: Struct, end: int, source: Source) -> Chunk:
    """Raises Damaged, KeyError, TypeError."""
    if column.get(FILE_PATH):
        raise DataError(f"{source}: its columns lie in other files; write it anew as one file")
    if CRYPTO_METADATA in column:
        raise DataError(f"{source}: its columns are encrypted; write it anew without encryption")
    said: dict[int, Any] = column[META_DATA]
    path = ".".join(part.decode() for part in said[PATH])
    numbers = [said[n] for n in (CODEC, NUM_VALUES, PLAIN, PACKED, DATA_PAGE)]
    codec, values, plain, packed, start = numbers
    if min(numbers) < 0:
        raise Damaged(f"column {path!r} has a negative number")
    if codec >= len(CODECS):
        raise Damaged(f"column {path!r} has the codec {codec}; there are 0 to {len(CODECS) - 1}")
    first = said.get(DICTIONARY_PAGE)
    # Some writers say 0 where there is none.
    start = min(start, first) if first else start
    # Of no values some writers say bytes without a place.
    if packed and (values or start) and not len(MAGIC) <= start <= start + packed <= end:
        raise Damaged(f"column {path!r} has bytes {start:,} to {start + packed:,}, of {end:,}")
    packed = packed if values or start else 0
    return Chunk(path, CODECS[codec], frozenset(said[ENCODINGS]), values, packed, plain, start)
