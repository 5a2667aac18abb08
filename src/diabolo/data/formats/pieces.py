"""The files of a dataset one by one, each read as it is read among the others."""

from __future__ import annotations

import dataclasses
import glob
from pathlib import Path

from diabolo.data.formats.dataset import locate, part_of
from diabolo.data.formats.ragged import Data, Taken
from diabolo.data.formats.remote import as_local, is_url
from diabolo.errors import DataError

__all__ = ["Piece", "pieces_of"]


@dataclasses.dataclass(frozen=True)
class Piece:
    """One file of a dataset.

    Attributes:
        name: its path below the folder or the pattern's folder, with "/" between.
        data: the file with what is known of how to read it; its path is absolute.
        files: whose bytes it is.
        rows: their number, where the file says it.
    """

    name: str
    data: Taken
    files: tuple[Path, ...]
    rows: int | None


def pieces_of(data: Data) -> list[Piece]:
    """The files of a dataset in their order.

    Raises:
        DataError: a URL; files that do not agree, with file and column.
    """
    if is_url(as_local(str(data))):
        raise DataError(f"{data}: pieces are files that every worker opens itself; copy them to a folder first")
    place, inner = part_of(as_local(str(data)))
    below = _below(place)
    given = data if isinstance(data, Taken) else Taken(str(data))
    out = []
    for source, agreed, rows in locate(data).apart():
        path = source.path.resolve()
        # A folder of pictures is one table.
        name = below.resolve().name if source.files else source.path.relative_to(below).as_posix()
        one = dataclasses.replace(
            given, data=f"{path}::{inner}" if inner else str(path), reading=source.reading, agreed=agreed
        )
        out.append(Piece(name, one, source.files or (path,), rows))
    return out


def _below(place: str) -> Path:
    """The folder that names of pieces begin at: it does not change when files come."""
    root = Path(place)
    if root.is_dir():
        return root
    parts = root.parts
    magic = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
    return Path(*parts[: min(magic, len(parts) - 1)])
