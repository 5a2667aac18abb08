"""What a chunk of a `*.dbl` file may ask of a reader's memory: writers keep to it, readers refuse the rest."""

from __future__ import annotations

import struct

from diabolo.errors import CompressedFileError

__all__ = ["CHUNK_BYTES", "CHUNK_ROWS", "MOST_ROWS", "Budget", "check_plain", "most_text", "most_weights"]

#: Rows of a chunk: enough that its tables and states cost a fraction of a per cent.
CHUNK_ROWS = 131_072
#: Rows of a chunk at most.
MOST_ROWS = CHUNK_ROWS
#: Bytes of a chunk's cells, written out plain, that a writer puts into one chunk.
CHUNK_BYTES = 1 << 27
#: Bytes that any chunk may take while it is decoded, and how many more each byte of it in the file pays for: the
#: largest ratio that zlib reaches.
FREE, RATIO = 3 << 27, 1032


class Budget:
    """Bytes that decoding so many bytes of a file may take.

    >>> Budget(10).spend(1 << 30)
    Traceback (most recent call last):
    diabolo.errors.CompressedFileError: 10 bytes of it would take 1,073,741,824 bytes of memory or more
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.left = max(FREE, RATIO * size)
        self.spent = 0

    def spend(self, count: int) -> None:
        """Take so many bytes.

        Raises:
            CompressedFileError: more than are left.
        """
        self.spent += count
        if count > self.left:
            raise CompressedFileError(f"{self.size:,} bytes of it would take {self.spent:,} bytes of memory or more")
        self.left -= count


def most_weights(size: int) -> int:
    """Weights of networks that a codec section of so many bytes may have: each learnt one takes bits of it."""
    return max(1 << 21, 64 * size)


def most_text(size: int) -> int:
    """Bytes of a card that so many packed bytes may hold."""
    return min(1 << 26, max(1 << 20, RATIO * size))


# ── Arrow streams ─────────────────────────────────────────────────────────────────────────────────

DICTIONARY_BATCH, RECORD_BATCH = 2, 3


def check_plain(data: bytes) -> None:
    """Refuse an Arrow stream with compressed buffers, whose sizes only reading would tell.

    Raises:
        CompressedFileError: one of its messages says that its body is compressed, or makes no sense.
    """
    at = 0
    try:
        while at + 8 <= len(data):
            mark, size = struct.unpack_from("<Ii", data, at)
            if mark != 0xFFFFFFFF:
                raise CompressedFileError("an Arrow stream of an old kind in it")
            if size == 0:
                return
            message = _Table.root(data, at + 8)
            kind, header, body = message.number(1, "B"), message.table(2), message.number(3, "q")
            if header is not None and kind == DICTIONARY_BATCH:
                header = header.table(1)
            if header is not None and kind in (DICTIONARY_BATCH, RECORD_BATCH) and header.has(3):
                raise CompressedFileError("an Arrow stream with compressed buffers in it")
            if size < 0 or body < 0:
                raise CompressedFileError("an Arrow stream of impossible lengths in it")
            at += 8 + size + body
    except struct.error:
        raise CompressedFileError("an Arrow stream in it is damaged") from None


class _Table:
    """A table of a flatbuffer: just enough of the layout to find fields."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at
        self.fields = at - struct.unpack_from("<i", data, at)[0]
        if self.fields < 0:
            raise CompressedFileError("an Arrow stream in it is damaged")

    @staticmethod
    def root(data: bytes, at: int) -> _Table:
        return _Table(data, at + struct.unpack_from("<I", data, at)[0])

    def _offset(self, field: int) -> int:
        size = struct.unpack_from("<H", self.data, self.fields)[0]
        place = 4 + 2 * field
        return struct.unpack_from("<H", self.data, self.fields + place)[0] if place < size else 0

    def has(self, field: int) -> bool:
        return self._offset(field) > 0

    def number(self, field: int, kind: str) -> int:
        offset = self._offset(field)
        return int(struct.unpack_from(f"<{kind}", self.data, self.at + offset)[0]) if offset else 0

    def table(self, field: int) -> _Table | None:
        offset = self._offset(field)
        return _Table.root(self.data, self.at + offset) if offset else None
