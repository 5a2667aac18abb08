"""Which rows play which part, how a row is recognised again, and fixed tiles for scoring."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

__all__ = [
    "ROLES",
    "TILE",
    "assign_roles",
    "calibration_rows",
    "calibration_share",
    "fingerprint",
    "hash_rows",
    "tiles",
]

#: Parts that a row can play; a row plays exactly one.
ROLES = ("train", "stop", "combine", "calibrate")
#: Rows per scoring tile. Every call pads to it, so that a row's score never depends on its company.
TILE = 4096
#: Stop and calibration rows beyond these make nothing better.
MOST_STOP, MOST_CALIBRATE = 10_000, 20_000


def _mix(h: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014), element by element."""
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(h ^ (h >> np.uint64(31)))


def assign_roles(n: int, seed: int, stop: float = 0.1, combine: float = 0.0, calibrate: float = 0.0) -> np.ndarray:
    """Give each of n rows a role by a hash of seed and position.

    Positions, not contents, are hashed: with contents, calibration rows would come from other values
    than new rows do wherever values repeat, and the guarantee would be lost.

    Args:
        n: number of rows.
        seed: 0 to 2^63 − 1.
        stop, combine, calibrate: shares of rows; stop and calibrate are capped at 10,000 and 20,000 rows.

    Returns:
        [n] int8, positions in `ROLES`.

    >>> roles = assign_roles(1000, seed=0, stop=0.1, calibrate=0.2)
    >>> [int((roles == k).sum()) for k in range(4)]
    [700, 100, 0, 200]
    """
    golden = np.uint64(0x9E3779B97F4A7C15)
    order = np.argsort(_mix(_mix(np.arange(n, dtype=np.uint64) * golden + golden) ^ np.uint64(seed)), kind="stable")
    n_stop = min(MOST_STOP, int(n * stop))
    n_combine = int(n * combine)
    n_calibrate = calibration_rows(n, calibrate)
    roles = np.zeros(n, np.int8)
    start = 0
    for role, count in ((3, n_calibrate), (1, n_stop), (2, n_combine)):
        roles[order[start : start + count]] = role
        start += count
    return roles


def calibration_share(n: int) -> float:
    """A fifth of the rows; more of a small table, up to 40 %, for the 99 rows that a 1 % rate needs."""
    return max(0.2, min(99 / n, 0.4)) if n else 0.0


def calibration_rows(n: int, share: float) -> int:
    """Number of calibration rows among n."""
    return min(MOST_CALIBRATE, int(n * share + 1e-9))


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
                h = _mix(h ^ cell.view(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
            out[start : start + 4096] = h
    return out


def fingerprint(hashes: np.ndarray) -> str:
    """Sixteen hexadecimal digits that name a table: rows in order, by their hashes."""
    with np.errstate(over="ignore"):
        place = _mix(np.arange(1, len(hashes) + 1, dtype=np.uint64))
        return f"{int(np.bitwise_xor.reduce(_mix(hashes + place), initial=np.uint64(0))):016x}"


def tiles(n: int) -> Iterator[slice]:
    """The slices 0:1024, 1024:2048, ...; the last one may be short and is padded by its reader."""
    for start in range(0, n, TILE):
        yield slice(start, min(start + TILE, n))
