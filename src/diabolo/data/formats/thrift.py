"""Structs of Thrift's compact protocol, in which Parquet writes its footer and the headers of its pages.

Source: github.com/apache/thrift, doc/specs/thrift-compact-protocol.md.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Damaged", "Struct", "struct_at"]

#: Fields of a struct by their numbers: integers, bytes, lists and structs; all else is None.
Struct = dict[int, Any]

#: Types of values.
TRUTHS, BYTE, INTEGERS, DOUBLE, BINARY, LIST, SET, STRUCT = (1, 2), 3, (4, 5, 6), 7, 8, 9, 10, 12
#: Structs and lists within each other at most; Parquet has six.
MOST_DEPTH = 16
#: Bits of the widest integer.
MOST_BITS = 64


class Damaged(ValueError):
    """Bytes that no writer makes."""


def struct_at(data: bytes | memoryview, at: int) -> tuple[Struct, int]:
    """The struct that begins at a byte, and the byte after its end.

    Raises:
        Damaged: it does not end within the data, or makes no sense.

    Example:
        >>> struct_at(bytes([0x15, 6, 0x18, 2, 97, 98, 0]), 0)
        ({1: 3, 2: b'ab'}, 7)
    """
    if at < 0:
        raise Damaged(f"a struct at {at}")
    reader = _Reader(data, at)
    try:
        return reader.struct(0), reader.at
    except IndexError:
        raise Damaged("a struct that does not end") from None


class _Reader:
    def __init__(self, data: bytes | memoryview, at: int) -> None:
        self.data, self.at = data, at

    def struct(self, depth: int) -> Struct:
        if depth > MOST_DEPTH:
            raise Damaged("structs within structs")
        fields: Struct = {}
        field = 0
        while True:
            head = self.data[self.at]
            self.at += 1
            if not head:
                return fields
            field = field + (head >> 4) if head >> 4 else self.integer()
            fields[field] = self.value(head & 15, depth)

    def value(self, kind: int, depth: int) -> Any:
        if kind in INTEGERS:
            return self.integer()
        if kind == BINARY:
            return self.binary()
        if kind == STRUCT:
            return self.struct(depth + 1)
        if kind in (LIST, SET):
            return self.list(depth + 1)
        if kind == BYTE:
            self.at += 1
        elif kind == DOUBLE:
            self.at += 8
        elif kind not in TRUTHS:
            raise Damaged(f"a value of type {kind}")
        return None

    def list(self, depth: int) -> list[Any]:
        if depth > MOST_DEPTH:
            raise Damaged("lists within lists")
        head = self.data[self.at]
        self.at += 1
        count, kind = head >> 4, head & 15
        count = self.varint() if count == 15 else count
        # Every value has a byte.
        if count > len(self.data) - self.at:
            raise Damaged(f"a list of {count}")
        if kind in TRUTHS:
            self.at += count
            return [None] * count
        return [self.value(kind, depth) for _ in range(count)]

    def binary(self) -> bytes:
        length = self.varint()
        start, self.at = self.at, self.at + length
        if self.at > len(self.data):
            raise Damaged(f"a text of {length} bytes")
        return bytes(self.data[start : self.at])

    def integer(self) -> int:
        number = self.varint()
        return (number >> 1) ^ -(number & 1)

    def varint(self) -> int:
        number = shift = 0
        while shift < MOST_BITS + 6:
            byte = self.data[self.at]
            self.at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7
        raise Damaged("a number of more than 64 bits")
