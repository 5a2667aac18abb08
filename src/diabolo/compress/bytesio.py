"""Whole numbers and pieces of bytes in a row, and reading them back from bytes that may be damaged."""

from __future__ import annotations

import bz2
import lzma
import zlib

from diabolo.errors import CompressedFileError

__all__ = ["BytesReader", "BytesWriter", "pack", "unpack"]

LZMA = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 22}]


class BytesWriter:
    """Numbers as LEB128, signed ones in zigzag; pieces with their length."""

    def __init__(self) -> None:
        self.data = bytearray()

    def number(self, value: int) -> None:
        while value > 127:
            self.data.append(value & 127 | 128)
            value >>= 7
        self.data.append(value)

    def signed(self, value: int) -> None:
        self.number(value * 2 if value >= 0 else -value * 2 - 1)

    def piece(self, data: bytes) -> None:
        self.number(len(data))
        self.data += data


class BytesReader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def number(self) -> int:
        value = shift = 0
        while shift < 70:
            if self.at >= len(self.data):
                raise CompressedFileError("it ends too early")
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
        raise CompressedFileError("a number in it is too long")

    def signed(self) -> int:
        value = self.number()
        return -(value + 1) // 2 if value & 1 else value // 2

    def piece(self) -> bytes:
        size = self.number()
        if size > len(self.data) - self.at:
            raise CompressedFileError("a piece of it reaches past its end")
        self.at += size
        return self.data[self.at - size : self.at]

    def finish(self) -> None:
        if self.at != len(self.data):
            raise CompressedFileError(f"{len(self.data) - self.at:,} bytes too many")


def pack(data: bytes, thorough: bool = True) -> bytes:
    """The shortest of plain, zlib, bz2 and xz, after a byte that says which."""
    found = [b"\0" + data, b"\1" + zlib.compress(data, 9)]
    if thorough:
        found.append(b"\2" + bz2.compress(data, 9))
        # Its encoder sets up megabytes, and gains where there is much that repeats.
        if len(data) > 1 << 10 and len(found[1]) < 0.7 * len(data):
            found.append(b"\3" + lzma.compress(data, lzma.FORMAT_RAW, filters=LZMA))
    return min(found, key=len)


def unpack(data: bytes, most: int) -> bytes:
    """What `pack` packed, of at most so many bytes: a reader allocates no more, whatever a piece says of itself."""
    kind, body = data[:1], data[1:]
    try:
        if kind == b"\0":
            out = body
        elif kind == b"\1":
            out = zlib.decompressobj().decompress(body, most + 1)
        elif kind == b"\2":
            out = bz2.BZ2Decompressor().decompress(body, most + 1)
        elif kind == b"\3":
            out = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=LZMA).decompress(body, most + 1)
        else:
            raise CompressedFileError("a piece of it is packed in an unknown way")
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
        if isinstance(error, CompressedFileError):
            raise
        raise CompressedFileError(f"a piece of it cannot be unpacked ({error})") from None
    if len(out) > most:
        raise CompressedFileError("a piece of it is longer than it can be")
    return out
