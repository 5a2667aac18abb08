"""The file `*.dbl`: header, codec section, independent chunks with checksums, index; specified in docs/dbl.md."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from diabolo.compress.autoregressive import Autoregressive
from diabolo.compress.columns import is_coded_list, leaf
from diabolo.compress.grid import Bound, Cover, Grid, Relative, grid_of
from diabolo.compress.image_model import ImageModel
from diabolo.compress.nested import Nest
from diabolo.compress.pixels import image_schema, pixel_columns
from diabolo.compress.plan import Plan
from diabolo.errors import DAMAGE, CompressedFileError

__all__ = ["VERSION", "Chunk", "Header", "Reader", "Writer"]

MAGIC, CHUNK, INDEX, END = b"\x89DBL\r\n\x1a\n", b"\x89chunk\r\n", b"\x89index\r\n", b"\x89end\r\n\x1a\n"
#: Files whose columns are nested, or lists that are coded value by value, need the newer version; others do without.
VERSION, NEWEST = 2, 3
MOST_HEADER = 1 << 26
#: Mark, number, first row, rows, bytes; then CRC-32 of these and of the payload.
FRAME = struct.Struct("<8sIQIQ")
#: Offset and bytes of the index, rows, CRC-32 of them; then the mark.
FOOTER = struct.Struct("<QQQ")


@dataclasses.dataclass
class Header:
    """What the file says of itself before its chunks."""

    schema: Any
    bounds: list[Bound | None]
    grids: list[Grid | None]
    slots: list[list[int]]
    #: How the rows came: {"container": "numpy", ...}; tables of Arrow say nothing.
    input: dict[str, Any]
    #: SHA-256 of the codec section, empty where the file has none.
    codec: str = ""
    #: Schema of the table where `schema` has its structs and arrays by field and cell.
    nested: Any = None
    version: int = 0

    def __post_init__(self) -> None:
        new = self.nested is not None or any(is_coded_list(f.type) for f in self.schema)
        self.version = self.version or (NEWEST if new else VERSION)

    @property
    def outer(self) -> Any:
        """Schema of the table."""
        return self.schema if self.nested is None else self.nested

    def to_bytes(self) -> bytes:
        there = pixel_columns(self.schema)
        images = there is not None and self.schema.equals(image_schema(there[0]), check_metadata=True)
        card = {
            "version": self.version,
            "schema": list(there[0]) if there and images else base64.b64encode(self.outer.serialize()).decode(),
            "bounds": [None if b is None else [float(b.error), b.relative] for b in self.bounds if not images],
            "grids": [None if g is None else g.card() for g in self.grids if not images],
            "slots": self.slots,
            "input": self.input,
            "codec": self.codec,
        }
        return json.dumps(card, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    @staticmethod
    def from_bytes(data: bytes) -> Header:
        """Check and read a header.

        Raises:
            CompressedFileError: it is not one.
        """
        import pyarrow as pa

        try:
            card = json.loads(data)
            if card["version"] not in (VERSION, NEWEST):
                raise CompressedFileError(f"has version {card['version']!r}; this diabolo reads {VERSION} and {NEWEST}")
            schema, nothing, nested = card["schema"], list[None](), None
            if isinstance(schema, list):
                schema = image_schema(schema)
                nothing = [None] * len(schema)
            else:
                schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(schema, validate=True)))
                nest = Nest(schema) if card["version"] == NEWEST else None
                if nest is not None and not nest.plain:
                    schema, nested = nest.flat, schema
            if not len(schema):
                raise ValueError("no columns")
            bounds = [None if b is None else Bound(float(b[0]), bool(b[1])) for b in card["bounds"] or nothing]
            grids = [_grid(c, field.type) for c, field in zip(card["grids"] or nothing, schema, strict=True)]
            if len(bounds) != len(schema) or any(b and not g for b, g in zip(bounds, grids, strict=True)):
                bounds = [b if g else None for b, g in zip(bounds, grids, strict=True)]
            slots = [[int(i) for i in slot] for slot in card["slots"]]
            inside = [i for slot in slots for i in slot]
            if len(set(inside)) != len(inside) or not all(
                0 <= i < len(schema) and pa.types.is_floating(schema.field(i).type) for i in inside
            ):
                raise ValueError("slots that are no columns of floats")
            if not isinstance(card["input"], dict) or not isinstance(card["codec"], str):
                raise ValueError("damaged entries")
            return Header(schema, bounds, grids, slots, card["input"], card["codec"], nested, card["version"])
        except (*DAMAGE, pa.ArrowException) as error:
            if isinstance(error, CompressedFileError):
                raise
            raise CompressedFileError(f"its header is damaged ({str(error)[:100]})") from None

    def plan(self, codec: Autoregressive | ImageModel | None) -> Plan:
        autoregressive, images = (None, codec) if isinstance(codec, ImageModel) else (codec, None)
        lists = self.version == NEWEST
        return Plan(self.schema, self.bounds, self.grids, self.slots, autoregressive, images, self.nested, lists)

    def model(self, codec: bytes) -> Autoregressive | ImageModel | None:
        """The model that a codec section holds; what is wrong with it raises one of Python's errors."""
        if not codec:
            return None
        return (
            ImageModel.from_bytes(codec) if codec[0] == 0 else Autoregressive.from_bytes(codec, self.schema, self.grids)
        )


def _grid(card: Any, kind: Any) -> Grid | None:
    """A grid whose size is sane, of the column's own type."""
    import numpy as np
    import pyarrow as pa

    if card is None:
        return None
    kind = leaf(kind)
    if not pa.types.is_floating(kind) or np.dtype(card["dtype"]) != np.dtype(kind.to_pandas_dtype()):
        raise ValueError("a grid of another type than its column's")
    number = {k: float(card[k]) for k in ("parts", "step", "error", "last") if k in card}
    if not all(1e-300 < v < 1e300 for v in number.values()):
        raise ValueError("a grid with impossible numbers")
    if card["kind"] == Relative.kind and not 2.0**-60 < number["error"] < 1:
        raise ValueError("a relative grid with an impossible error")
    if card["kind"] == Cover.kind and not (number["last"] <= 1 << 21 and number["parts"] <= 1 << 40):
        raise ValueError("a grid that is too large")
    return grid_of(card)


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Where a chunk lies: number, offset of its frame, first row, rows, bytes of its payload."""

    number: int
    offset: int
    first: int
    rows: int
    size: int


class Writer:
    """Writes a file front to back."""

    def __init__(self, out: BinaryIO, header: Header, codec: bytes) -> None:
        self.out, self.rows, self.at = out, 0, 0
        self.chunks: list[Chunk] = []
        packed = zlib.compress(header.to_bytes(), 9)
        self._write(MAGIC + struct.pack("<III", header.version, len(packed), len(codec)))
        self._write(packed + codec)
        self._write(struct.pack("<I", zlib.crc32(packed + codec)))

    def _write(self, data: bytes) -> None:
        self.out.write(data)
        self.at += len(data)

    def add(self, rows: int, payload: bytes) -> None:
        frame = FRAME.pack(CHUNK, len(self.chunks), self.rows, rows, len(payload))
        self.chunks.append(Chunk(len(self.chunks), self.at, self.rows, rows, len(payload)))
        self._write(frame + struct.pack("<I", zlib.crc32(payload, zlib.crc32(frame))) + payload)
        self.rows += rows

    def finish(self, summary: bytes) -> int:
        """Write index, with a summary of the file, and footer; the number of bytes in all."""
        at, index = self.at, b"".join(struct.pack("<QIQ", c.offset, c.rows, c.size) for c in self.chunks)
        index = INDEX + struct.pack("<I", len(self.chunks)) + index + summary
        self._write(index + struct.pack("<I", zlib.crc32(index)))
        footer = FOOTER.pack(at, len(index) + 4, self.rows)
        self._write(footer + struct.pack("<I", zlib.crc32(footer)) + END)
        return self.at


class Reader:
    """Opens a file and finds its chunks.

    Raises:
        CompressedFileError: it is no such file, damaged before its chunks, or (unless salvaging) cut off.
    """

    def __init__(self, data: BinaryIO, size: int, salvage: bool = False) -> None:
        self.data, self.size = data, size
        start = self._read(0, 20)
        if start[:8] != MAGIC:
            raise CompressedFileError("is not a *.dbl file: its first bytes are others")
        version, length, codec = struct.unpack("<III", start[8:])
        if version not in (VERSION, NEWEST):
            advice = "upgrade diabolo" if version > NEWEST else "decompress it with the diabolo that wrote it"
            raise CompressedFileError(f"has version {version}; this diabolo reads {VERSION} and {NEWEST}: {advice}")
        if 24 + length + codec > size:
            raise CompressedFileError(f"is cut off: its header needs {24 + length + codec:,} bytes, {size:,} are there")
        body = self._read(20, length + codec)
        if struct.pack("<I", zlib.crc32(body)) != self._read(20 + length + codec, 4):
            raise CompressedFileError("its header or codec section is damaged: the checksum differs; copy it again")
        try:
            text = zlib.decompressobj().decompress(body[:length], MOST_HEADER)
        except zlib.error as error:
            raise CompressedFileError(f"its header is damaged ({error})") from None
        self.header, self.codec, self.start = Header.from_bytes(text), body[length:], 24 + length + codec
        self.lost: list[str] = []
        self.summary = b""
        self.rows: int | None = None
        try:
            self.chunks = self._index()
        except CompressedFileError as error:
            if not salvage:
                raise
            self.lost.append(str(error))
            self.chunks = list(self._scan())

    def _read(self, at: int, count: int) -> bytes:
        if at < 0 or at + count > self.size:
            raise CompressedFileError(f"is cut off: {at + count:,} bytes are needed, {self.size:,} are there")
        self.data.seek(at)
        found = self.data.read(count)
        if len(found) != count:
            raise CompressedFileError("is cut off")
        return found

    def _index(self) -> list[Chunk]:
        tail = FOOTER.size + 4 + len(END)
        footer = self._read(self.size - tail, tail)
        check = struct.pack("<I", zlib.crc32(footer[: FOOTER.size]))
        if footer[-len(END) :] != END or footer[FOOTER.size : FOOTER.size + 4] != check:
            raise CompressedFileError("is cut off or its end is damaged; --salvage recovers every intact chunk")
        at, length, self.rows = FOOTER.unpack(footer[: FOOTER.size])
        if at < self.start or at + length + tail != self.size or length < 16:
            raise CompressedFileError("its index is not where it should be; --salvage recovers every intact chunk")
        index = self._read(at, length)
        count = struct.unpack("<I", index[8:12])[0]
        entries, self.summary = index[12 : 12 + 20 * count], index[12 + 20 * count : -4]
        checked = struct.pack("<I", zlib.crc32(index[:-4])) == index[-4:]
        if index[:8] != INDEX or not checked or len(entries) != 20 * count:
            raise CompressedFileError("its index is damaged; --salvage recovers every intact chunk")
        chunks, first, expected = [], 0, self.start
        for number, (offset, rows, size) in enumerate(struct.iter_unpack("<QIQ", entries)):
            if offset != expected:
                raise CompressedFileError(f"its index is damaged at chunk {number}")
            chunks.append(Chunk(number, offset, first, rows, size))
            first, expected = first + rows, offset + FRAME.size + 4 + size
        if expected != at or first != self.rows:
            raise CompressedFileError("its index does not agree with its chunks")
        return chunks

    def _scan(self) -> Iterator[Chunk]:
        """Chunks by their marks, where the index is lost."""
        at = self.start
        while at + FRAME.size + 4 <= self.size:
            mark, number, first, rows, size = FRAME.unpack(self._read(at, FRAME.size))
            if mark == CHUNK and at + FRAME.size + 4 + size <= self.size:
                found = Chunk(number, at, first, rows, size)
                try:
                    self.payload(found)
                except CompressedFileError:
                    pass
                else:
                    yield found
                    at += FRAME.size + 4 + size
                    continue
            at = self._next_mark(at + 1)

    def _next_mark(self, at: int) -> int:
        while at < self.size:
            block = self._read(at, min(1 << 20, self.size - at))
            found = block.find(CHUNK)
            if found >= 0:
                return at + found
            at += max(1, len(block) - len(CHUNK) + 1)
        return self.size

    def payload(self, chunk: Chunk) -> bytes:
        """The bytes of a chunk, checked.

        Raises:
            CompressedFileError: names the chunk that is damaged.
        """
        frame = self._read(chunk.offset, FRAME.size + 4)
        said = FRAME.unpack(frame[: FRAME.size])
        named = f"chunk {chunk.number} (rows {chunk.first:,} to {chunk.first + chunk.rows:,})"
        if said != (CHUNK, chunk.number, chunk.first, chunk.rows, chunk.size):
            raise CompressedFileError(f"{named} is damaged: its frame differs from the index")
        payload = self._read(chunk.offset + FRAME.size + 4, chunk.size)
        if struct.pack("<I", zlib.crc32(payload, zlib.crc32(frame[: FRAME.size]))) != frame[FRAME.size :]:
            raise CompressedFileError(f"{named} is damaged: its checksum differs")
        return payload

    def model(self, external: bytes | None = None) -> Autoregressive | ImageModel | None:
        """The model that the file's chunks need.

        Raises:
            CompressedFileError: it is not in the file, and what came instead has another hash.
        """
        if not self.header.codec:
            return None
        section = self.codec or external
        if not section:
            raise CompressedFileError(
                f"needs its codec section {self.header.codec[:16]}..., which is outside: name it with --model"
            )
        came = hashlib.sha256(section).hexdigest()
        if came != self.header.codec:
            raise CompressedFileError(f"needs the codec section {self.header.codec[:16]}..., not {came[:16]}...")
        try:
            return self.header.model(section)
        except DAMAGE as error:
            if isinstance(error, CompressedFileError):
                raise
            raise CompressedFileError(f"its codec section is damaged ({str(error)[:100]})") from None
