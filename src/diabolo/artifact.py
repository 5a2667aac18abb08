"""The model file: named sections of a JSON card and tensors, each hashed; specified in docs/format.md."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diabolo.data.formats import atomic
from diabolo.errors import DiaboloError, ModelFileError
from diabolo.files import open_regular

__all__ = ["MODEL", "SECTIONS", "Kind", "Section", "VERSION", "merge_sections", "read_sections", "write_sections"]

VERSION = "1"
#: Every section that some version-1 writer may add.
SECTIONS = ("main", "detector", "codec", "clusters", "generator")
HEADER_LIMIT = 8 << 20
DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
}
CODES = {dtype: code for code, dtype in DTYPES.items()}


@dataclasses.dataclass(frozen=True)
class Kind:
    """A family of files of this layout: what it is called, and which sections its files may have."""

    format: str
    version: str
    #: The first one is in every file.
    sections: tuple[str, ...]
    noun: str
    error: type[DiaboloError]


MODEL = Kind("diabolo", VERSION, SECTIONS, "model file", ModelFileError)


@dataclasses.dataclass
class Section:
    """One part of a file: plain JSON, and arrays by name."""

    card: dict[str, Any]
    tensors: dict[str, np.ndarray]

    def sha256(self, name: str) -> str:
        digest = hashlib.sha256()
        digest.update(name.encode() + b"\0" + _canonical(self.card) + b"\0")
        for key in sorted(self.tensors):
            array = self.tensors[key]
            shape = ",".join(str(s) for s in array.shape)
            digest.update(f"{key}\0{CODES[array.dtype.newbyteorder('<')]}\0{shape}\0".encode())
            digest.update(np.asarray(array, order="C").data)
        return digest.hexdigest()


def _canonical(card: Any) -> bytes:
    return json.dumps(card, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def write_sections(path: str | Path, sections: Mapping[str, Section], kind: Kind = MODEL) -> None:
    """Write a model file, or another kind of this layout, by atomic rename.

    Raises:
        OutputError: the folder cannot be written to.
        ModelFileError: the header would exceed its limit (a table of very many columns).
    """
    from safetensors.numpy import save

    manifest = {"sections": {n: {"sha256": s.sha256(n), "card": s.card} for n, s in sections.items()}}
    metadata = {"format": kind.format, "version": kind.version, "manifest": _canonical(manifest).decode()}
    tensors = {f"{n}/{k}": np.asarray(a, order="C") for n, s in sections.items() for k, a in s.tensors.items()}
    data = save(tensors, metadata)
    if int.from_bytes(data[:8], "little") > HEADER_LIMIT:
        raise kind.error(f"the manifest exceeds {HEADER_LIMIT:,} bytes; fit fewer columns at once")
    with atomic(path) as part:
        part.write_bytes(data)


def merge_sections(
    path: str | Path, sections: Mapping[str, Section], base: str | Path | None = None, kind: Kind = MODEL
) -> None:
    """Write sections, and beside them those of a file that was there before: they stay as they are, hash for hash.

    They stay only where the file's first section is the same: of another model they would tell nothing.

    Args:
        path: file to write, by atomic rename.
        sections: new sections, the first one of the kind among them.
        base: file whose other sections stay; None for `path`, if it is there and whole.
        kind: of the file.

    Raises:
        ModelFileError: `base` is given and cannot be read, or is another model's.
        OutputError: as `write_sections`.
    """
    first = kind.sections[0]
    try:
        old = read_sections(path if base is None else base, kind)
    except DiaboloError:
        if base is not None:
            raise
        old = {}
    if old and old[first].sha256(first) != sections[first].sha256(first):
        if base is not None:
            raise kind.error(f"{base}: holds another section {first!r} now; begin again from it")
        old = {}
    merged = {**old, **sections}
    write_sections(path, {name: merged[name] for name in kind.sections if name in merged}, kind)


def read_sections(path: str | Path, kind: Kind = MODEL) -> dict[str, Section]:
    """Read and verify a model file, or another kind; the checks' order is that of docs/format.md.

    Raises:
        ModelFileError: whatever is wrong with it, in one line; of another kind, that kind's error.
    """
    path = Path(path)
    try:
        with open_regular(path, kind.error) as (handle, size):
            start = handle.read(8)
            length = int.from_bytes(start, "little")
            if len(start) < 8 or length > HEADER_LIMIT or 8 + length > size:
                raise kind.error(
                    f"{path}: not a {kind.noun}, or cut off: its header says {length:,} bytes, the file has {size:,}"
                )
            header = _parse(path, handle.read(length), kind)
            sections, offsets = _check_header(path, kind, header, size - 8 - length)
            for tensor, (begin, end, dtype, shape) in offsets.items():
                handle.seek(8 + length + begin)
                array = np.frombuffer(handle.read(end - begin), dtype).reshape(shape)
                owner, _, key = tensor.partition("/")
                sections[owner].tensors[key] = array
    except DiaboloError:
        raise
    except OSError as error:
        raise kind.error(f"{path}: cannot be read: {error.strerror or error}") from None
    for name, section in sections.items():
        if section.sha256(name) != header["__metadata__"]["hashes"][name]:
            raise kind.error(f"{path}: section {name!r} is damaged: its SHA-256 differs; copy the file again")
    return sections


def _parse(path: Path, text: bytes | str, kind: Kind) -> Any:
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


def _check_header(
    path: Path, kind: Kind, header: Any, size: int
) -> tuple[dict[str, Section], dict[str, tuple[int, int, np.dtype[Any], tuple[int, ...]]]]:
    """Check everything that the header alone can tell; the cards' contents are their owners' to check."""

    def refuse(problem: str) -> DiaboloError:
        return kind.error(f"{path}: {problem}")

    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or metadata.get("format") != kind.format:
        raise refuse(f"a safetensors file, but not a diabolo {kind.noun}")
    if metadata.get("version") != kind.version:
        came = metadata.get("version")
        raise refuse(f"has format version {came!r}; this diabolo reads {kind.version!r}: upgrade diabolo")
    if set(metadata) != {"format", "version", "manifest"} or not isinstance(metadata["manifest"], str):
        raise refuse("its metadata is damaged: expected format, version and manifest")
    manifest = _parse(path, metadata["manifest"], kind)
    if not _is_canonical(metadata["manifest"], manifest):
        raise refuse("its manifest is damaged: it is not written as docs/format.md says")
    entries = manifest.get("sections") if isinstance(manifest, dict) and set(manifest) == {"sections"} else None
    if not isinstance(entries, dict) or kind.sections[0] not in entries:
        raise refuse(f"its manifest has no section {kind.sections[0]!r}")
    sections: dict[str, Section] = {}
    metadata["hashes"] = {}
    for name, entry in entries.items():
        if name not in kind.sections:
            raise refuse(f"unknown section {name!r}; allowed: {', '.join(kind.sections)}")
        if not isinstance(entry, dict) or set(entry) != {"sha256", "card"} or not isinstance(entry["card"], dict):
            raise refuse(f"section {name!r} needs a sha256 and a card")
        sections[name] = Section(entry["card"], {})
        metadata["hashes"][name] = entry["sha256"]
    offsets: dict[str, tuple[int, int, np.dtype[Any], tuple[int, ...]]] = {}
    for key, entry in header.items():
        if key == "__metadata__":
            continue
        if key.partition("/")[0] not in sections:
            raise refuse(f"tensor {key!r} belongs to no section")
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise refuse(f"tensor {key!r} needs dtype, shape and data_offsets")
        dtype, shape, span = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise refuse(f"tensor {key!r} has dtype {dtype!r}; allowed: {', '.join(DTYPES)}")
        fits = _naturals(shape) and len(shape) <= 8 and math.prod(max(s, 1) for s in shape) < 1 << 60
        if not fits or not _naturals(span) or len(span) != 2:
            raise refuse(f"tensor {key!r} has a wrong shape or offsets")
        if span[1] - span[0] != math.prod(shape) * DTYPES[dtype].itemsize:
            raise refuse(f"tensor {key!r} has {span[1] - span[0]} bytes for the shape {shape} of {dtype}")
        offsets[key] = (span[0], span[1], DTYPES[dtype], tuple(shape))
    at = 0
    for begin, end, *_ in sorted(offsets.values(), key=lambda o: o[:2]):
        if begin != at:
            raise refuse("its tensors overlap or leave gaps")
        at = end
    if at != size:
        raise refuse(f"cut off or damaged: its tensors need {at:,} bytes, {size:,} are there")
    return sections, offsets


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
