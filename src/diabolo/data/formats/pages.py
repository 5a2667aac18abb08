"""Pages of Parquet columns: what their headers say that they unpack to, which a footer may leave out.

A header is a struct of Thrift's compact protocol: 2 is the page's plain size, 3 its size in the file
(github.com/apache/parquet-format, src/main/thrift/parquet.thrift).
"""

from __future__ import annotations

from diabolo.data.formats.base import Source
from diabolo.data.formats.claims import check_claim
from diabolo.data.formats.footer import Chunk
from diabolo.data.formats.thrift import Damaged, struct_at
from diabolo.errors import DataError

__all__ = ["check_pages"]

#: Codecs that reach no ratio above `claims.RATIO`, whatever a header says.
BOUNDED = ("UNCOMPRESSED", "SNAPPY", "LZ4", "LZ4_RAW", "GZIP")
#: Fields of a page's header.
PLAIN, PACKED = 2, 3


def check_pages(data: memoryview, column: Chunk, source: Source) -> None:
    """Refuse a column whose pages would take a multiple of their bytes that no table reaches.

    Args:
        data: the whole file.
        column: what its footer says of one.

    Raises:
        DataError: names the column; a header that makes no sense.
    """
    part = f"column {column.path!r}"
    if column.codec in BOUNDED:
        return
    at, end = column.start, column.start + column.packed
    while at < end:
        try:
            header, at = struct_at(data, at)
            plain, packed = int(header[PLAIN]), int(header[PACKED])
        except (Damaged, KeyError, TypeError):
            raise DataError(f"{source}: {part}: its pages are damaged") from None
        check_claim(source, f"a page of {part}", packed, plain)
        at += max(packed, 0)
