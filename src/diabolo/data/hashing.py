"""How a row is recognized again by its contents, and a table by its rows in order."""

from __future__ import annotations

import numpy as np

__all__ = [
    "MOST_HASHES",
    "Fingerprint",
    "fingerprint",
    "hash_rows",
    "mix",
]

#: Up to this many rows a file keeps their hashes (8 bytes each); beyond, only the seeded split.
MOST_HASHES = 200_000


def mix(h: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014), element by element."""
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(h ^ (h >> np.uint64(31)))


def hash_rows(values: np.ndarray) -> np.ndarray:
    """64-bit hash of each row's contents, the same for float32 and float64 copies and for −0.

    Returns:
        [n] uint64.
    """
    out = np.empty(len(values), np.uint64)
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(values), 4096):
            # Column by column, but of a piece that fits the cache.
            # In single precision, so that a table and its copy in another format hash alike.
            cells = np.ascontiguousarray(values[start : start + 4096].T, np.float32).astype(np.float64) + 0.0
            cells[np.isnan(cells)] = np.nan
            h = np.full(cells.shape[1], 0x243F6A8885A308D3, np.uint64)
            for cell in cells:
                h = mix(h ^ cell.view(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
            out[start : start + 4096] = h
    return out


class Fingerprint:
    """A name for a table whose rows come piece by piece: sixteen hexadecimal digits of rows in order."""

    def __init__(self, rows: int = 0, text: str = "0") -> None:
        """Go on from the fingerprint `text` of so many rows."""
        self._seen, self._value = rows, np.uint64(int(text, 16))

    def add(self, hashes: np.ndarray, at: int | None = None) -> None:
        """The next rows, by their hashes; or rows from place `at` on, where others come elsewhere."""
        self._seen = self._seen if at is None else at
        with np.errstate(over="ignore"):
            place = mix(np.arange(self._seen + 1, self._seen + len(hashes) + 1, dtype=np.uint64))
            self._value ^= np.bitwise_xor.reduce(mix(hashes + place), initial=np.uint64(0))
        self._seen += len(hashes)

    def join(self, *texts: str) -> None:
        """Become the fingerprint of all rows, given those of their parts."""
        self._value = np.bitwise_xor.reduce(np.array([int(text, 16) for text in texts], np.uint64))

    def __str__(self) -> str:
        return f"{int(self._value):016x}"


def fingerprint(hashes: np.ndarray) -> str:
    """Sixteen hexadecimal digits that name a table: rows in order, by their hashes."""
    out = Fingerprint()
    out.add(hashes)
    return str(out)
