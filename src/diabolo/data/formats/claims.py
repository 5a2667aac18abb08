"""What parts of a file would unpack to, held against the bytes that they have: a few must not fill memory."""

from __future__ import annotations

from diabolo.data.formats.base import Source
from diabolo.errors import DataError

__all__ = ["check_claim"]

#: Bytes that a part may unpack to whatever its size, and how many times its own size beyond that: zlib's largest ratio.
FREE, RATIO = 1 << 28, 1032


def check_claim(source: Source, part: str, packed: int, plain: int) -> None:
    """Refuse a part that would take a multiple of its bytes in memory that no table reaches.

    Raises:
        DataError: names the part.
    """
    if plain > max(FREE, RATIO * packed):
        raise DataError(f"{source}: {part} has {packed:,} bytes that would unpack to {plain:,}")
