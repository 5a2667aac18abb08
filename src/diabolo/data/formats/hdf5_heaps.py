"""Heaps of an HDF5 file, in which lists and words lie, before HDF5's library walks through them.

A heap is its head of 16 bytes and objects, each a head of 16 and its bytes, filled up to eights; object 0 is what is
free, head included (HDF5 File Format Specification 3.0, III.E, "Global Heap"). The library steps from object to object
by what their heads say: one of no bytes holds it for ever.
"""

from __future__ import annotations

import functools
import mmap
import struct
from typing import Any

from diabolo.data.formats.base import Source
from diabolo.errors import DataError
from diabolo.files import open_regular

__all__ = ["check_heaps"]

MARK, HEAD = b"GCOL\1\0\0\0", 16
#: Heaps begin where an eighth byte does, as everything in these files.
NUMBER = {2: "<H", 4: "<I", 8: "<Q"}


def check_heaps(file: Any, source: Source) -> None:
    """Refuse a file with a heap whose objects do not follow each other to its end.

    Raises:
        DataError: says where the heap begins.
    """
    state = source.path.stat()
    broken = _broken(source.path, (state.st_mtime_ns, state.st_size), file.id.get_create_plist().get_sizes()[1])
    if broken is not None:
        raise DataError(
            f"{source}: is damaged: the heap of lists and words at byte {broken:,} does not add up; copy it again"
        )


@functools.lru_cache(maxsize=16)
def _broken(path: Any, stamp: tuple[int, int], width: int) -> int | None:
    """Where the first broken heap of a file begins; told once of each state of a file."""
    number = struct.Struct(NUMBER.get(width, "<Q"))
    with open_regular(path, DataError) as (file, _), mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.find(MARK)
        while at >= 0:
            if not _sound(data, at, number):
                return at
            at = data.find(MARK, at + 8)
    return None


def _sound(data: mmap.mmap, start: int, number: struct.Struct) -> bool:
    """Whether objects lead from a heap's head to its end; a mark without a heap's head is some cell's bytes."""
    if start + HEAD > len(data):
        return True
    end = start + number.unpack_from(data, start + 8)[0]
    if not HEAD < end - start <= len(data) - start:
        # Too small or too large: the library refuses it when it reads its head.
        return True
    at, unpack, index = start + HEAD, number.unpack_from, struct.Struct("<H").unpack_from
    while at + HEAD <= end:
        size = unpack(data, at + 8)[0]
        step = HEAD + (size + 7) // 8 * 8 if index(data, at)[0] else size
        if not 0 < step <= end - at:
            return False
        at += step
    return True
