"""Which part each row plays in a fit, from a seeded hash of its position."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from diabolo.data.hashing import mix

__all__ = [
    "ROLES",
    "GivenRoles",
    "RoleRule",
    "assign_roles",
    "bucket_of",
    "calibration_rows",
    "calibration_share",
    "is_seen",
    "ranked",
    "rows_to_calibrate",
]

#: Parts that a row can play; a row plays exactly one.
ROLES = ("train", "stop", "combine", "calibrate")
#: Those of rows that a model has learnt from, in the order in which they are stored.
SEEN = ("stop", "train")
#: Stop, combine and calibration rows beyond these make nothing better.
MOST_STOP, MOST_COMBINE, MOST_CALIBRATE = 10_000, 2_000, 20_000
#: Places hashed at once.
PLACES = 1 << 20


class RoleRule:
    """Tells the role of each of n rows from a hash of seed and position, a slice of rows at a time.

    The rows of the smallest hashes calibrate, the next ones stop, the next ones combine; the rest are trained
    on. The hash is a bijection, so no two rows tie, and a role is a matter of one comparison with the largest
    hash of its kind: no list of n hashes is held.

    Positions, not contents, are hashed: with contents, calibration rows would come from other values
    than new rows do wherever values repeat, and the guarantee would be lost.

    Args:
        n: number of rows.
        seed: 0 to 2^63 − 1.
        stop, combine, calibrate: shares of rows, capped at 10,000, 2,000 and 20,000 rows.

    >>> rule = RoleRule(1000, seed=0, stop=0.1, calibrate=0.2)
    >>> rule.counts
    {'train': 700, 'stop': 100, 'combine': 0, 'calibrate': 200}
    """

    def __init__(self, n: int, seed: int, stop: float = 0.1, combine: float = 0.0, calibrate: float = 0.0) -> None:
        self.n, self.seed = n, seed
        n_calibrate, n_stop = calibration_rows(n, calibrate), min(MOST_STOP, int(n * stop))
        n_combine = min(MOST_COMBINE, int(n * combine))
        self._ranks = np.cumsum([n_calibrate, n_stop, n_combine]).clip(max=n)
        kept = np.diff(self._ranks, prepend=0)
        counts = {"calibrate": int(kept[0]), "stop": int(kept[1]), "combine": int(kept[2])}
        counts["train"] = n - sum(counts.values())
        self.counts = {name: counts[name] for name in ROLES}
        self._limits = _smallest(n, seed, self._ranks)

    def of(self, start: int, stop: int) -> np.ndarray:
        """Roles of the rows from start up to stop, [stop − start] int8, positions in `ROLES`."""
        h = _place_hashes(start, stop, self.seed)
        roles = np.zeros(len(h), np.int8)
        # From the largest limit down, so that each role writes over what the next one took with it.
        for role, limit in reversed(list(zip((3, 1, 2), self._limits, strict=True))):
            if limit is not None:
                roles[h <= limit] = role
        return roles

    def sample(self, most: int) -> Callable[[int, int], np.ndarray]:
        """A uniform sample of `most` training rows: tells, for rows from start up to stop, which belong to it."""
        (limit,) = _smallest(self.n, self.seed, [min(int(self._ranks[-1]) + most, self.n)])

        def belongs(start: int, stop: int) -> np.ndarray:
            chosen = self.of(start, stop) == 0
            if limit is not None:
                chosen &= _place_hashes(start, stop, self.seed) <= limit
            return np.asarray(chosen)

        return belongs

    def stored(self, most: int) -> Callable[[int, int], np.ndarray]:
        """A uniform sample of `most` rows that are trained or stopped on, those of the smallest hashes; as `sample`."""
        stops, trains = self.counts["stop"], self.counts["train"]
        kept = min(most, stops), min(max(most - stops, 0), trains)
        limits = _smallest(self.n, self.seed, [int(self._ranks[0]) + kept[0], int(self._ranks[-1]) + kept[1]])

        def belongs(start: int, stop: int) -> np.ndarray:
            roles, h = self.of(start, stop), _place_hashes(start, stop, self.seed)
            chosen = np.zeros(len(h), bool)
            for role, limit, count in zip((1, 0), limits, kept, strict=True):
                if count and limit is not None:
                    chosen |= (roles == role) & (h <= limit)
            return chosen

        return belongs


class GivenRoles:
    """Roles [n] that something else than positions has decided; otherwise as a `RoleRule`."""

    def __init__(self, roles: np.ndarray, seed: int) -> None:
        self.roles, self.seed = roles, seed
        self.counts = {name: int((roles == k).sum()) for k, name in enumerate(ROLES)}

    def of(self, start: int, stop: int) -> np.ndarray:
        """Roles of the rows from start up to stop."""
        return self.roles[start:stop]

    def stored(self, most: int) -> Callable[[int, int], np.ndarray]:
        """As `RoleRule.stored`."""
        chosen = np.zeros(len(self.roles), bool)
        order = np.concatenate([ranked(np.flatnonzero(self.roles == ROLES.index(k)), self.seed) for k in SEEN])
        chosen[order[:most]] = True
        return lambda start, stop: chosen[start:stop]


def is_seen(roles: np.ndarray) -> np.ndarray:
    """Whether an autoencoder was trained or stopped on rows of these roles."""
    return np.asarray(roles <= ROLES.index("stop"))


def ranked(places: np.ndarray, seed: int) -> np.ndarray:
    """Positions in a table in a random order that a seed decides; without some of them, the others keep theirs."""
    if not len(places):
        return places
    h = _place_hashes(0, int(places.max()) + 1, seed)[places]
    return np.asarray(places[np.argsort(h)])


def assign_roles(n: int, seed: int, stop: float = 0.1, combine: float = 0.0, calibrate: float = 0.0) -> np.ndarray:
    """The roles of n rows by a `RoleRule`, [n] int8, positions in `ROLES`.

    >>> roles = assign_roles(1000, seed=0, stop=0.1, calibrate=0.2)
    >>> [int((roles == k).sum()) for k in range(4)]
    [700, 100, 0, 200]
    """
    return RoleRule(n, seed, stop, combine, calibrate).of(0, n)


def _place_hashes(start: int, stop: int, seed: int) -> np.ndarray:
    golden = np.uint64(0x9E3779B97F4A7C15)
    places = np.arange(start, stop, dtype=np.uint64) * golden + golden
    return mix(mix(places) ^ np.uint64(seed))


def bucket_of(start: int, stop: int, seed: int, buckets: int) -> np.ndarray:
    """A uniform bucket for each row from start up to stop, independent of its role, [stop − start] int64."""
    h = mix(_place_hashes(start, stop, seed) + np.uint64(0x9E3779B97F4A7C15))
    return ((h >> np.uint64(32)) * np.uint64(buckets) >> np.uint64(32)).astype(np.int64)


def _smallest(n: int, seed: int, ranks: Sequence[int] | np.ndarray) -> list[np.uint64 | None]:
    """The k-th smallest of n place hashes for each rank k; None for k = 0. In memory that does not grow with n."""
    top = np.uint64(48)
    count = np.zeros(1 << 16, np.int64)
    for start in range(0, n, PLACES):
        heads = (_place_hashes(start, min(start + PLACES, n), seed) >> top).astype(np.int64)
        count += np.bincount(heads, minlength=len(count))
    below = np.concatenate([[0], np.cumsum(count)])
    bins = {int(k): int(np.searchsorted(below, k, side="left")) - 1 for k in ranks if k}
    inside: dict[int, list[np.ndarray]] = {b: [] for b in bins.values()}
    for start in range(0, n if bins else 0, PLACES):
        h = _place_hashes(start, min(start + PLACES, n), seed)
        heads = (h >> top).astype(np.int64)
        for b, found in inside.items():
            found.append(h[heads == b])
    ordered = {b: np.sort(np.concatenate(found)) for b, found in inside.items()}
    return [ordered[bins[int(k)]][int(k) - below[bins[int(k)]] - 1] if k else None for k in ranks]


def calibration_share(n: int) -> float:
    """A fifth of the rows; more of a small table, up to 40 %, for the 99 rows that a 1 % rate needs."""
    return max(0.2, min(99 / n, 0.4)) if n else 0.0


def rows_to_calibrate(needed: int) -> int | None:
    """The fewest rows of a table of which a fit keeps so many for the calibration; None if it never keeps as many.

    >>> rows_to_calibrate(99), rows_to_calibrate(999), rows_to_calibrate(30_000)
    (248, 4995, None)
    """
    if needed > MOST_CALIBRATE:
        return None
    rows = math.ceil(needed / 0.4)
    while calibration_rows(rows, calibration_share(rows)) < needed:
        rows = max(rows + 1, math.ceil(needed / calibration_share(rows)))
    return rows


def calibration_rows(n: int, share: float) -> int:
    """Number of calibration rows among n."""
    return min(MOST_CALIBRATE, int(n * share + 1e-9))
