"""Roles by more than positions: whole groups of rows, or time, decide which rows train and which calibrate.

Equal rows, repeated measurements and time series are not exchangeable row by row. Kept together, groups may be: the
calibration then speaks of new groups. Groups are taken by number, not until their rows reach a share: the last group
that fills a share is larger than others, and no longer like a new one.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np

from diabolo.data.dtypes import cells_of
from diabolo.data.hashing import hash_rows, mix
from diabolo.data.roles import (
    MOST_CALIBRATE,
    MOST_STOP,
    ROLES,
    GivenRoles,
    RoleRule,
    calibration_rows,
    calibration_share,
)
from diabolo.errors import DataError

__all__ = ["CONTENT", "Split", "split_by", "split_of", "unit_keys"]

#: Word for groups of equal rows.
CONTENT = "content"


@dataclasses.dataclass(frozen=True)
class Split:
    """What decides the roles of rows.

    Attributes:
        name: "position", "content", "group COL" or "time COL".
        groups: [n] uint64, equal for rows of one group; None where rows stand alone.
        time: [n] float64; None without.
    """

    name: str = "position"
    groups: np.ndarray | None = None
    time: np.ndarray | None = None

    def among(self, rows: np.ndarray) -> Split:
        """The split of some of the rows."""
        groups, time = (None if a is None else a[rows] for a in (self.groups, self.time))
        return dataclasses.replace(self, groups=groups, time=time)

    def share(self, rows: int) -> tuple[float, int]:
        """Share to calibrate on, and how many rows or groups it is."""
        n = rows if self.groups is None else len(np.unique(self.groups))
        share = calibration_share(n)
        if self.groups is None:
            return share, calibration_rows(n, share)
        counts = np.unique(self.groups[_by_group(self.groups, 0, 0.1, share) == ROLES.index("calibrate")])
        return share, len(counts)

    def roles(self, rows: int, seed: int, stop: float, calibrate: float) -> RoleRule | GivenRoles:
        """The role of each row.

        Raises:
            DataError: fewer than three groups.
        """
        if self.groups is not None:
            return GivenRoles(_by_group(self.groups, seed, stop, calibrate), seed)
        if self.time is not None:
            return GivenRoles(_by_time(self.time, seed, stop, calibrate), seed)
        return RoleRule(rows, seed, stop, calibrate=calibrate)


def split_of(values: np.ndarray, groups: Any, time: Any, names: tuple[str, str] = ("", "")) -> Split:
    """The split by groups or time of the rows `values` [n, C].

    Args:
        values: the table's cells.
        groups: [n] numbers, text or dates; "content" for groups of equal rows; None.
        time: [n] numbers or dates; None.
        names: of the columns of groups and time, if they are columns.

    Raises:
        DataError: both, a wrong number of cells, a cell that is missing, time as text.
    """
    if groups is not None and time is not None:
        raise DataError("groups and time are two splits; give one of them")
    if isinstance(groups, str):
        if groups != CONTENT:
            raise DataError(f'groups = {groups!r}; allowed are "{CONTENT}" and one cell per row')
        return Split(CONTENT, hash_rows(values))
    given, word = (groups, "groups") if time is None else (time, "time")
    if given is None:
        return Split()
    column = _column(given, word)
    if len(column) != len(values):
        raise DataError(f"{word} has {len(column):,} cells; expected {len(values):,}, one per row")
    name = names[time is not None]
    if time is None:
        return Split(f"group {name}".strip(), unit_keys(column, name or word))
    return Split(f"time {name}".strip(), time=_times(column, name or word))


def split_by(name: str, values: np.ndarray, column: Any) -> Split:
    """The split that `Split.name` names, of other rows: `column` is the cells of its column."""
    if name == CONTENT:
        return split_of(values, CONTENT, None)
    return split_of(values, column, None, (name.partition(" ")[2], "")) if name.startswith("group") else Split()


def unit_keys(column: Any, name: str) -> np.ndarray:
    """A 64-bit key per cell of an Arrow column, [n] uint64, equal for equal cells.

    Raises:
        DataError: names the first row whose cell is missing.
    """
    levels: dict[str, list[str]] = {}
    cells = cells_of(name, column, levels)
    _refuse_missing(column, cells, name)
    if name in levels:
        words = [hashlib.blake2b(w.encode("utf-8", "surrogatepass"), digest_size=8).digest() for w in levels[name]]
        return np.array([int.from_bytes(w, "little") for w in words], np.uint64)[cells.astype(np.int64)]
    if cells.dtype.kind in "iub":
        return mix(cells.astype(np.int64 if cells.dtype.kind == "i" else np.uint64).view(np.uint64))
    return mix((cells.astype(np.float64) + 0.0).view(np.uint64))


def _times(column: Any, name: str) -> np.ndarray:
    levels: dict[str, list[str]] = {}
    cells = cells_of(name, column, levels)
    if name in levels:
        raise DataError(f"the time {name!r} holds text; allowed are numbers and dates")
    _refuse_missing(column, cells, name)
    return cells.astype(np.float64)


def _refuse_missing(column: Any, cells: np.ndarray, name: str) -> None:
    gone = np.isnan(cells) if cells.dtype.kind == "f" else np.zeros(len(cells), bool)
    if gone.any():
        raise DataError(f"row {int(np.argmax(gone))} has no {name!r}; a split by it needs a value in every row")


def _column(cells: Any, word: str) -> Any:
    import pyarrow as pa

    if isinstance(cells, pa.Array | pa.ChunkedArray):
        return cells
    try:
        return pa.array(np.asarray(cells) if not hasattr(cells, "__array__") else cells, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(f"{word}: {error}; expected one number, text or date per row") from None


def _by_group(groups: np.ndarray, seed: int, stop: float, calibrate: float) -> np.ndarray:
    keys, of = np.unique(groups, return_inverse=True)
    n, at_least = len(keys), 1 + (stop > 0) + (calibrate > 0)
    if n < at_least:
        raise DataError(f"the rows are of {n} groups; at least {at_least} are needed, one for each role")
    # Caps of rows as caps of groups, by their mean size: one that looks at their own sizes would choose among them.
    n_calibrate = min(calibration_rows(n, calibrate), MOST_CALIBRATE * n // len(of))
    n_calibrate = min(max(1, n_calibrate), n - at_least + 1) if calibrate else 0
    n_stop = min(max(1, min(int(n * stop), MOST_STOP * n // len(of))), n - n_calibrate - 1) if stop else 0
    order = np.argsort(mix(mix(keys) ^ np.uint64(seed)), kind="stable")
    roles = np.zeros(n, np.int8)
    roles[order[:n_calibrate]] = ROLES.index("calibrate")
    roles[order[n_calibrate : n_calibrate + n_stop]] = ROLES.index("stop")
    return np.asarray(roles[of])


def _by_time(time: np.ndarray, seed: int, stop: float, calibrate: float) -> np.ndarray:
    n, last = len(time), calibration_rows(len(time), calibrate)
    order = np.argsort(time, kind="stable")
    before, roles = np.sort(order[: n - last]), np.full(n, ROLES.index("calibrate"), np.int8)
    roles[before] = RoleRule(len(before), seed, min(MOST_STOP, int(n * stop)) / max(len(before), 1) + 1e-12).of(
        0, len(before)
    )
    return roles
