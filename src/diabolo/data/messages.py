"""Messages of Arrow's files and streams: what their bodies would take in memory, told before they are unpacked."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator

import numpy as np

__all__ = ["Body", "DamagedError", "of_file", "of_stream"]

#: A file begins and ends with it; a stream does not.
MAGIC = b"ARROW1"
#: Kinds of messages that have rows.
DICTIONARY_BATCH, RECORD_BATCH = 2, 3
#: How the first versions said that a body is compressed.
FIRST_COMPRESSION = b"ARROW:experimental_compression"
#: Bytes that a row takes at least once it is read: a batch of nulls alone has none in the file.
ROW_BYTES = 8


class DamagedError(ValueError):
    """Offsets or lengths that no writer makes."""


@dataclasses.dataclass(frozen=True)
class Body:
    """What a message holds beside its description.

    Args:
        packed: its bytes in the file.
        plain: bytes that it would take in memory.
        compressed: whether its buffers are compressed.
        rows: of the table; a dictionary has none.
    """

    packed: int
    plain: int
    compressed: bool
    rows: int = 0


def of_stream(data: bytes | memoryview) -> Iterator[Body]:
    """Bodies of a stream's messages, in order.

    Raises:
        DamagedError: lengths beyond its end.
    """
    at = 0
    try:
        while at + 8 <= len(data):
            skip, size = _prefix(data, at)
            if size == 0:
                return
            body = _body(data, at + skip, at + skip + size)
            yield body
            at += skip + size + body.packed
    except (struct.error, ValueError) as error:
        raise DamagedError(str(error)) from None


def of_file(data: bytes | memoryview) -> Iterator[Body]:
    """Bodies of the dictionaries and batches that a file's footer lists.

    Raises:
        DamagedError: no footer, or one that points beyond the file.
    """
    try:
        end = len(data) - len(MAGIC) - 4
        footer = _Table.root(data, end - _positive(struct.unpack_from("<i", data, end)[0]))
        for field in (2, 3):
            # A block is an offset (8 bytes), a description's length (4, and 4 of padding), a body's length (8).
            for at in footer.vector(field, 24)[:, 0].tolist():
                skip, size = _prefix(data, _positive(at))
                yield _body(data, at + skip, at + skip + size)
    except (struct.error, ValueError) as error:
        raise DamagedError(str(error)) from None


def _prefix(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """Bytes before a message's description, and its length; the first versions had no mark before the length."""
    mark, size = struct.unpack_from("<Ii", data, at)
    return (8, _positive(size)) if mark == 0xFFFFFFFF else (4, mark)


def _positive(number: int) -> int:
    if number < 0:
        raise DamagedError(f"a length of {number}")
    return number


def _body(data: bytes | memoryview, at: int, start: int) -> Body:
    """The body that begins at `start`, of the message described at `at`."""
    message = _Table.root(data, at)
    kind, header, size = message.number(1, "B"), message.table(2), _positive(message.number(3, "q"))
    if header is not None and kind == DICTIONARY_BATCH:
        header = header.table(1)
    if header is None or kind not in (DICTIONARY_BATCH, RECORD_BATCH):
        return Body(size, 0, False)
    compressed = header.has(3) or FIRST_COMPRESSION in bytes(data[at:start])
    plain = _unpacked(data, start, header.vector(2, 16)) if compressed else size
    rows = _positive(header.number(0, "q"))
    return Body(size, max(plain, ROW_BYTES * rows), compressed, rows if kind == RECORD_BATCH else 0)


def _unpacked(data: bytes | memoryview, start: int, buffers: np.ndarray) -> int:
    """Bytes that buffers [n, (offset, length)] say they unpack to: each begins with its plain length, or −1."""
    there = buffers[buffers[:, 1] >= 8]
    if not len(there):
        return 0
    places = start + there[:, 0]
    if int(places.min()) < 0 or int(places.max()) > len(data) - 8:
        raise DamagedError("a buffer beyond the file")
    cells = np.frombuffer(data, np.uint8)[places[:, None] + np.arange(8)]
    said = np.ascontiguousarray(cells).view("<i8")[:, 0]
    return sum(n if n >= 0 else packed - 8 for n, packed in zip(said.tolist(), there[:, 1].tolist(), strict=True))


class _Table:
    """A table of a flatbuffer: just enough of the layout to find fields."""

    def __init__(self, data: bytes | memoryview, at: int) -> None:
        self.data, self.at = data, at
        self.fields = _positive(at - struct.unpack_from("<i", data, _positive(at))[0])

    @staticmethod
    def root(data: bytes | memoryview, at: int) -> _Table:
        return _Table(data, at + struct.unpack_from("<I", data, _positive(at))[0])

    def _offset(self, field: int) -> int:
        size = struct.unpack_from("<H", self.data, self.fields)[0]
        place = 4 + 2 * field
        return int(struct.unpack_from("<H", self.data, self.fields + place)[0]) if place < size else 0

    def has(self, field: int) -> bool:
        return self._offset(field) > 0

    def number(self, field: int, kind: str) -> int:
        offset = self._offset(field)
        return int(struct.unpack_from(f"<{kind}", self.data, self.at + offset)[0]) if offset else 0

    def table(self, field: int) -> _Table | None:
        offset = self._offset(field)
        return _Table.root(self.data, self.at + offset) if offset else None

    def vector(self, field: int, width: int) -> np.ndarray:
        """Structs of `width` bytes, as integers [n, width / 8]."""
        offset = self._offset(field)
        if not offset:
            return np.empty((0, width // 8), np.int64)
        at = self.at + offset
        at += struct.unpack_from("<I", self.data, at)[0]
        count = struct.unpack_from("<I", self.data, at)[0]
        if at + 4 + count * width > len(self.data):
            raise DamagedError(f"a list of {count}")
        return np.frombuffer(self.data, "<i8", count * width // 8, at + 4).reshape(count, width // 8)
