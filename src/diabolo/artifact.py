"""The model file: named sections of a JSON card and tensors, each hashed; specified in docs/format.md."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diabolo.data.formats import atomic
from diabolo.errors import DiaboloError, ModelFileError
from diabolo.files import open_regular

__all__ = [
    "MODEL",
    "SECTIONS",
    "Content",
    "FileKind",
    "Section",
    "read_content",
    "read_sections",
    "sealed",
    "stamp_of",
    "write_sections",
]

#: Every section that some writer may add.
SECTIONS = ("main", "detector", "codec", "clusters", "generator", "rows")
HEADER_LIMIT = 8 << 20
DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
}
CODES = {dtype: code for code, dtype in DTYPES.items()}


@dataclasses.dataclass(frozen=True)
class FileKind:
    """A family of files of this layout: its name, its format versions, and the sections that its files may have."""

    format: str
    version: str
    sections: tuple[str, ...]
    noun: str
    error: type[DiaboloError]
    #: Older versions that are read, in which the first section is in every file and no class is named.
    older: tuple[str, ...] = ()


MODEL = FileKind("diabolo", "2", SECTIONS, "model file", ModelFileError, older=("1",))


@dataclasses.dataclass
class Section:
    """One part of a file: plain JSON, and arrays by name."""

    card: dict[str, Any]
    tensors: dict[str, np.ndarray]

    @property
    def size(self) -> int:
        """Bytes of its tensors and of its card."""
        return len(_canonical(self.card)) + sum(array.nbytes for array in self.tensors.values())

    def equals(self, other: Section | None) -> bool:
        """Whether both have the same card and the same tensors, bit for bit."""
        if (
            other is None
            or _canonical(self.card) != _canonical(other.card)
            or self.tensors.keys() != other.tensors.keys()
        ):
            return False
        pairs = [(np.asarray(a, order="C"), np.asarray(other.tensors[k], order="C")) for k, a in self.tensors.items()]
        # Bits, not values: a missing cell is no number, and equals none.
        return all(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs)

    def sha256(self, name: str) -> str:
        digest = hashlib.sha256()
        digest.update(name.encode() + b"\0" + _canonical(self.card) + b"\0")
        for key in sorted(self.tensors):
            array = self.tensors[key]
            shape = ",".join(str(s) for s in array.shape)
            digest.update(f"{key}\0{CODES[array.dtype.newbyteorder('<')]}\0{shape}\0".encode())
            digest.update(np.asarray(array, order="C").data)
        return digest.hexdigest()


@dataclasses.dataclass
class Content:
    """A file as it was read and verified."""

    sections: dict[str, Section]
    #: SHA-256 of each section, verified.
    hashes: dict[str, str]
    #: Name of the class that was saved; None of a file that names none.
    saved: str | None
    version: str
    #: Which file it was: inode, time of change and size.
    stamp: tuple[int, int, int]


def stamp_of(path: str | Path | int) -> tuple[int, int, int]:
    """Tells one state of a file from another: inode, nanoseconds of its last change, bytes."""
    state = os.stat(path)
    return state.st_ino, state.st_mtime_ns, state.st_size


def sealed(manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest with the SHA-256 of its contents."""
    return {**manifest, "sha256": hashlib.sha256(_canonical(manifest)).hexdigest()}


def _canonical(card: Any) -> bytes:
    return json.dumps(card, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def write_sections(
    path: str | Path, sections: Mapping[str, Section], kind: FileKind = MODEL, saved: str | None = None
) -> None:
    """Write a model file, or another kind of this layout, by atomic rename.

    Args:
        saved: name of the class that is saved, of a kind whose files name one.

    Raises:
        OutputError: the folder cannot be written to.
        ModelFileError: the header would exceed its limit (a table of very many columns).
    """
    from safetensors.numpy import save

    entries = {n: {"sha256": sections[n].sha256(n), "card": sections[n].card} for n in kind.sections if n in sections}
    manifest: dict[str, Any] = {"sections": entries}
    if kind.older:
        manifest = sealed({"saved": saved, **manifest})
    metadata = {"format": kind.format, "version": kind.version, "manifest": _canonical(manifest).decode()}
    tensors = {f"{n}/{k}": np.asarray(a, order="C") for n, s in sections.items() for k, a in s.tensors.items()}
    data = save(tensors, metadata)
    if int.from_bytes(data[:8], "little") > HEADER_LIMIT:
        raise kind.error(f"the manifest exceeds {HEADER_LIMIT:,} bytes; fit fewer columns at once")
    with atomic(path) as part:
        part.write_bytes(data)


def read_sections(path: str | Path, kind: FileKind = MODEL) -> dict[str, Section]:
    """The sections of a file; see `read_content`."""
    return read_content(path, kind).sections


def read_content(path: str | Path, kind: FileKind = MODEL) -> Content:
    """Read and verify a model file, or another kind; the checks' order is that of docs/format.md.

    Raises:
        ModelFileError: the first fault found, in one line; of another kind, that kind's error.
    """
    path = Path(path)
    try:
        with open_regular(path, kind.error) as (handle, _):
            stamp = stamp_of(handle.fileno())
            size, start = stamp[-1], handle.read(8)
            length = int.from_bytes(start, "little")
            if len(start) < 8 or length > HEADER_LIMIT or 8 + length > size:
                raise kind.error(
                    f"{path}: not a {kind.noun}, or cut off: its header says {length:,} bytes, the file has {size:,}"
                )
            header = _Header(path, kind, handle.read(length), size - 8 - length)
            for tensor, (begin, end, dtype, shape) in header.offsets.items():
                handle.seek(8 + length + begin)
                array = np.frombuffer(handle.read(end - begin), dtype).reshape(shape)
                owner, _, key = tensor.partition("/")
                header.sections[owner].tensors[key] = array
    except DiaboloError:
        raise
    except OSError as error:
        raise kind.error(f"{path}: cannot be read: {error.strerror or error}") from None
    for name, section in header.sections.items():
        if section.sha256(name) != header.hashes[name]:
            raise kind.error(f"{path}: section {name!r} is damaged: its SHA-256 differs; copy the file again")
    return Content(header.sections, header.hashes, header.saved, header.version, stamp)


class _Header:
    """A file's header, checked; the contents of cards are checked by the modules that own them."""

    def __init__(self, path: Path, kind: FileKind, text: bytes, size: int) -> None:
        self.path, self.kind = path, kind
        header = _parse(path, text, kind)
        self.sections: dict[str, Section] = {}
        self.hashes: dict[str, str] = {}
        self.offsets: dict[str, tuple[int, int, np.dtype[Any], tuple[int, ...]]] = {}
        self.saved: str | None = None
        self.version = self._check_metadata(header)
        for name, entry in self._entries(header["__metadata__"]["manifest"]).items():
            self._add_section(name, entry)
        for key, entry in header.items():
            if key != "__metadata__":
                self._add_tensor(key, entry)
        self._check_offsets(size)

    def _refuse(self, problem: str) -> DiaboloError:
        return self.kind.error(f"{self.path}: {problem}")

    def _check_metadata(self, header: Any) -> str:
        kind, metadata = self.kind, header.get("__metadata__") if isinstance(header, dict) else None
        if not isinstance(metadata, dict) or metadata.get("format") != kind.format:
            raise self._refuse(f"a safetensors file, but not a diabolo {kind.noun}")
        came = metadata.get("version")
        if came != kind.version and came not in kind.older:
            read = " and ".join(repr(v) for v in (*kind.older, kind.version))
            raise self._refuse(f"has format version {came!r}; this diabolo reads {read}: upgrade diabolo")
        if set(metadata) != {"format", "version", "manifest"} or not isinstance(metadata["manifest"], str):
            raise self._refuse("its metadata is damaged: expected format, version and manifest")
        return str(came)

    def _entries(self, text: str) -> dict[str, Any]:
        kind, manifest = self.kind, _parse(self.path, text, self.kind)
        if not _is_canonical(text, manifest):
            raise self._refuse("its manifest is damaged: it is not written as docs/format.md says")
        old = self.version in kind.older or not kind.older
        keys = {"sections"} if old else {"saved", "sections", "sha256"}
        entries = manifest.get("sections") if isinstance(manifest, dict) and set(manifest) == keys else None
        if not isinstance(entries, dict) or not entries or (old and kind.sections[0] not in entries):
            raise self._refuse(f"its manifest has no section {kind.sections[0]!r}")
        if not old:
            self.saved = manifest["saved"]
            if sealed({"saved": self.saved, "sections": entries}) != manifest or not isinstance(self.saved, str):
                raise self._refuse("its manifest is damaged: its SHA-256 differs; copy the file again")
        return entries

    def _add_section(self, name: str, entry: Any) -> None:
        if name not in self.kind.sections:
            raise self._refuse(f"unknown section {name!r}; allowed: {', '.join(self.kind.sections)}")
        if not isinstance(entry, dict) or set(entry) != {"sha256", "card"} or not isinstance(entry["card"], dict):
            raise self._refuse(f"section {name!r} needs a sha256 and a card")
        self.sections[name], self.hashes[name] = Section(entry["card"], {}), entry["sha256"]

    def _add_tensor(self, key: str, entry: Any) -> None:
        if key.partition("/")[0] not in self.sections:
            raise self._refuse(f"tensor {key!r} belongs to no section")
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise self._refuse(f"tensor {key!r} needs dtype, shape and data_offsets")
        dtype, shape, span = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise self._refuse(f"tensor {key!r} has dtype {dtype!r}; allowed: {', '.join(DTYPES)}")
        fits = _naturals(shape) and len(shape) <= 8 and math.prod(max(s, 1) for s in shape) < 1 << 60
        if not fits or not _naturals(span) or len(span) != 2:
            raise self._refuse(f"tensor {key!r} has a wrong shape or offsets")
        if span[1] - span[0] != math.prod(shape) * DTYPES[dtype].itemsize:
            raise self._refuse(f"tensor {key!r} has {span[1] - span[0]} bytes for the shape {shape} of {dtype}")
        self.offsets[key] = (span[0], span[1], DTYPES[dtype], tuple(shape))

    def _check_offsets(self, size: int) -> None:
        at = 0
        for begin, end, *_ in sorted(self.offsets.values(), key=lambda o: o[:2]):
            if begin != at:
                raise self._refuse("its tensors overlap or leave gaps")
            at = end
        if at != size:
            raise self._refuse(f"cut off or damaged: its tensors need {at:,} bytes, {size:,} are there")


def _parse(path: Path, text: bytes | str, kind: FileKind) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a key stands twice")
        return found

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not a number of JSON")

    try:
        text = text if isinstance(text, str) else text.decode("utf-8")
        return json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise kind.error(f"{path}: not a {kind.noun}, or damaged: its header is not valid JSON ({error})") from None


def _is_canonical(text: str, value: Any) -> bool:
    """Whether JSON is written in the one way that is hashed, so that no changed bit can mean the same."""
    try:
        return _canonical(value).decode() == text
    except (ValueError, RecursionError):
        return False


def _naturals(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 1 << 62 for v in values
    )
