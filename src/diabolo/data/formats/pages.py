"""Pages of Parquet columns: what their headers say that they unpack to, which a footer may leave out.

A header is a struct of Thrift's compact protocol: 2 is the page's plain size, 3 its size in the file
(github.com/apache/parquet-format, src/main/thrift/parquet.thrift).
"""

from __future__ import annotations

from typing import Any

from diabolo.data.formats.base import Source
from diabolo.data.formats.claims import check_claim
from diabolo.errors import DataError

__all__ = ["check_pages"]

#: Codecs that reach no ratio above `claims.RATIO`, whatever a header says.
BOUNDED = ("UNCOMPRESSED", "SNAPPY", "LZ4", "GZIP")
#: Fields of a page's header, and Thrift's types.
PLAIN, PACKED = 2, 3
TRUTHS, BYTE, INTEGERS, DOUBLE, BINARY, STRUCT = (1, 2), 3, (4, 5, 6), 7, 8, 12
#: Structs within structs of a header at most; the format has three.
MOST_DEPTH = 8


def check_pages(data: memoryview, column: Any, source: Source) -> None:
    """Refuse a column whose pages would take a multiple of their bytes that no table reaches.

    Args:
        data: the whole file.
        column: its `pyarrow.parquet.ColumnChunkMetaData`.

    Raises:
        DataError: names the column; a header that makes no sense.
    """
    part = f"column {column.path_in_schema!r}"
    if column.compression in BOUNDED:
        return
    first = column.dictionary_page_offset if column.has_dictionary_page else None
    at = min(column.data_page_offset, first or column.data_page_offset)
    end = at + column.total_compressed_size
    while at < end:
        try:
            header = _Struct(data, at)
            plain, packed = header.numbers[PLAIN], header.numbers[PACKED]
        except (IndexError, KeyError, ValueError):
            raise DataError(f"{source}: {part}: its pages are damaged") from None
        check_claim(source, f"a page of {part}", packed, plain)
        at = header.end + max(packed, 0)


class _Struct:
    """Integers of a struct by the number of their field; all else is passed over."""

    def __init__(self, data: memoryview, at: int) -> None:
        self.data, self.end = data, at
        self.numbers: dict[int, int] = {}
        self._struct(self.numbers, 0)

    def _byte(self) -> int:
        self.end += 1
        return self.data[self.end - 1]

    def _varint(self) -> int:
        number = shift = 0
        while True:
            byte = self._byte()
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number
            if shift > 63:
                raise ValueError

    def _zigzag(self) -> int:
        number = self._varint()
        return (number >> 1) ^ -(number & 1)

    def _struct(self, numbers: dict[int, int], depth: int) -> None:
        if depth > MOST_DEPTH:
            raise ValueError
        field = 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else self._zigzag()
            kind = head & 15
            if kind in INTEGERS:
                numbers[field] = self._zigzag()
            else:
                self._pass(kind, depth)

    def _pass(self, kind: int, depth: int) -> None:
        if kind in TRUTHS:
            return
        if kind == BYTE:
            self.end += 1
        elif kind == DOUBLE:
            self.end += 8
        elif kind == BINARY:
            length = self._varint()
            self.end += length
        elif kind == STRUCT:
            self._struct({}, depth + 1)
        else:
            raise ValueError
