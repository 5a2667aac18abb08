"""What a table's columns are, learnt from training rows alone and kept in the file."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from diabolo.config import Config
from diabolo.errors import ConfigError, DataError, nearest

__all__ = ["Column", "Schema", "SlotGroup", "infer_schema"]

Kind = Literal["real", "angle", "boolean", "constant"]

ANGLE_NAME = re.compile(r"(^|[_\W])(phi|azimuth|angle)\d*$", re.IGNORECASE)
#: Rows looked at for resolution and quartiles: enough for both, and independent of the table's size.
SAMPLE = 20_000


@dataclasses.dataclass(frozen=True)
class Column:
    """One column: its kind, and what training rows say of its values."""

    name: str
    kind: Kind
    #: NumPy name of the type it came in, for writing it back.
    dtype: str
    #: Spacing of a rounded column in its own units; 0 for a continuous one.
    resolution: float
    #: Smallest and largest training value; the value itself for a constant.
    low: float
    high: float
    #: Share of training cells that are missing.
    missing: float
    unit: str = ""


@dataclasses.dataclass(frozen=True)
class SlotGroup:
    """Zero-padded objects: `slots[i]` are the columns of object i; all zero together means absent."""

    name: str
    slots: tuple[tuple[int, ...], ...]
    #: Share of training rows whose filled slots are not the first ones.
    gaps: float

    @property
    def multiplicity_name(self) -> str:
        return f"{self.name}.count"


@dataclasses.dataclass(frozen=True)
class Schema:
    """The columns in fit order and the slot groups over them."""

    columns: tuple[Column, ...]
    groups: tuple[SlotGroup, ...] = ()

    @property
    def names(self) -> list[str]:
        return [c.name for c in self.columns]

    @property
    def output_names(self) -> list[str]:
        """The C names under which nll and errors come out: columns, then one count per slot group."""
        return self.names + [g.multiplicity_name for g in self.groups]

    def positions(self, kind: Kind) -> list[int]:
        return [i for i, c in enumerate(self.columns) if c.kind == kind]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(state: dict[str, Any]) -> Schema:
        return Schema(
            tuple(Column(**c) for c in state["columns"]),
            tuple(SlotGroup(g["name"], tuple(tuple(s) for s in g["slots"]), g["gaps"]) for g in state["groups"]),
        )


def infer_schema(values: np.ndarray, names: Sequence[str], dtypes: Sequence[str], config: Config) -> Schema:
    """Describe the columns of training rows.

    Args:
        values: training rows, [n, C] float, NaN where missing.
        names: C column names.
        dtypes: C NumPy type names of the table the values came from.
        config: `angles`, `slots`, `likelihood` and `column_likelihood` are read.

    Raises:
        DataError: duplicate names, or no column that varies.
        ConfigError: a setting names a column that is not there.
    """
    twice = sorted({n for n in names if list(names).count(n) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise DataError(f"duplicate column names: {', '.join(twice)}; rename them")
    groups = tuple(_slot_groups(values, names, config))
    grouped = {column for g in groups for slot in g.slots for column in slot}
    own = config.column_likelihood or {}
    for name in own:
        if name not in names:
            raise ConfigError(f"column_likelihood names {name!r}: {nearest(name, names)}")
    if config.angles != "auto":
        for name in config.angles:
            if name not in names:
                raise ConfigError(f"angles names {name!r}: {nearest(name, names)}")
    seen = summarise(values, groups)
    columns = []
    for i, (name, dtype) in enumerate(zip(names, dtypes, strict=True)):
        columns.append(
            _column(name, dtype, values[:, i], seen, i, config, own.get(name, config.likelihood), i in grouped)
        )
    if all(c.kind == "constant" for c in columns):
        raise DataError(f"all {len(columns)} columns are constant on the training rows; nothing can be learnt")
    return Schema(tuple(columns), groups)


@dataclasses.dataclass
class Summary:
    """Per column, over the cells that are there."""

    missing: np.ndarray
    low: np.ndarray
    high: np.ndarray


def filled(values: np.ndarray, groups: Sequence[SlotGroup]) -> np.ndarray:
    """[n, C] bool: the cell is finite, and its slot, if it has one, is not all zero."""
    there = np.isfinite(values)
    for slot in (list(slot) for group in groups for slot in group.slots):
        there[:, slot] &= (values[:, slot] != 0).any(axis=1, keepdims=True)
    return np.asarray(there)


def summarise(values: np.ndarray, groups: Sequence[SlotGroup]) -> Summary:
    """Share of missing cells, smallest and largest value; in pieces that fit the cache."""
    c = values.shape[1]
    missing, low, high = np.zeros(c), np.full(c, np.inf), np.full(c, -np.inf)
    for start in range(0, len(values), 4096):
        piece = values[start : start + 4096]
        there = filled(piece, groups)
        missing += (~np.isfinite(piece)).sum(axis=0)
        low = np.minimum(low, np.where(there, piece, np.inf).min(axis=0))
        high = np.maximum(high, np.where(there, piece, -np.inf).max(axis=0))
    return Summary(missing / max(len(values), 1), low, high)


def _column(
    name: str, dtype: str, v: np.ndarray, seen: Summary, at: int, config: Config, likelihood: Any, grouped: bool
) -> Column:
    missing, low, high = float(seen.missing[at]), float(seen.low[at]), float(seen.high[at])
    if not np.isfinite(low):
        return Column(name, "constant" if not grouped else "real", dtype, 0.0, 0.0, 0.0, missing)
    kind: Kind = "real"
    likelihood_name = likelihood if isinstance(likelihood, str) else likelihood.get("name")
    turn = (-np.pi - 1e-3 <= low and high <= np.pi + 1e-3) or (low >= 0 and high <= 2 * np.pi + 1e-3)
    if config.angles == "auto" and ANGLE_NAME.search(name):
        kind = "angle" if turn else "real"
    elif config.angles != "auto" and name in config.angles:
        kind = "angle"
    elif dtype == "bool" or likelihood_name == "bernoulli":
        kind = "boolean"
        if low < 0 or high > 1:
            row = int(np.flatnonzero((v < 0) | (v > 1))[0])
            raise DataError(
                f"column {name!r} has {v[row]:g} (training row {row}): the Bernoulli likelihood takes "
                "values from 0 to 1; rescale the column or choose another likelihood"
            )
    if low == high and not grouped:
        kind = "constant"
    some = v[:: max(1, len(v) // SAMPLE)]
    some = some[np.isfinite(some) & ((some != 0) | (not grouped))]
    return Column(name, kind, dtype, _resolution(some, dtype), low, high, missing)


def _resolution(present: np.ndarray, dtype: str) -> float:
    """Spacing 10^-k of a column rounded to k decimals, 0 if it is continuous."""
    if np.issubdtype(np.dtype(dtype), np.integer) or dtype == "bool":
        return 1.0
    # Zeros lie on every grid, and repeated values say nothing new.
    other = present[present != 0]
    distinct = np.unique(other[:: max(1, len(other) // 4_000)])
    if len(distinct) < 2:
        return 0.0
    some = distinct[:: max(1, len(distinct) // 2_000)].astype(np.float64)
    # A single-precision number near v is only known to v·6e-8, so the test allows for that.
    slack = np.abs(some) * (2.0**-22 if dtype in ("float32", "float16") else 2.0**-48)
    # Sums of decimals miss zero by a little; a column of small numbers (charges in coulombs) is not all zeros.
    slack += 1e-12 * min(1.0, float(np.abs(some).max()))
    for k in range(0, 7):
        step = 10.0**-k
        if np.all(np.abs(some - np.round(some / step) * step) <= np.minimum(slack, step / 8)):
            return step
    return 0.0


def _slot_groups(values: np.ndarray, names: Sequence[str], config: Config) -> list[SlotGroup]:
    taken: dict[int, str] = {}
    found = []
    for group, given in (config.slots or {}).items():
        columns = _by_pattern(group, given, names) if isinstance(given, int) else _by_name(group, given, names)
        width = {len(slot) for slot in columns}
        if len(width) != 1:
            raise ConfigError(f"slots {group!r}: every slot needs the same number of columns, got {sorted(width)}")
        for c in (c for slot in columns for c in slot):
            if c in taken:
                raise ConfigError(f"column {names[c]!r} is in the slot groups {taken[c]!r} and {group!r}")
            taken[c] = group
        filled = np.stack([(values[:, list(slot)] != 0).any(axis=1) for slot in columns], axis=1)
        gaps = (filled[:, 1:] & ~filled[:, :-1]).any(axis=1)
        found.append(SlotGroup(group, tuple(columns), float(gaps.mean()) if len(gaps) else 0.0))
    return found


def _by_pattern(group: str, count: int, names: Sequence[str]) -> list[tuple[int, ...]]:
    """Columns `e1_pt`, `e1_eta`, ..., `e4_phi` (or from `e0_`) for the group e with four slots."""
    pattern = re.compile(rf"^{re.escape(group)}_?(\d+)[_.]?(\D.*)?$")
    by_slot: dict[int, list[int]] = {}
    for i, name in enumerate(names):
        match = pattern.match(name)
        if match:
            by_slot.setdefault(int(match.group(1)), []).append(i)
    first = min(by_slot, default=1)
    wanted = range(first, first + count)
    if first > 1 or any(k not in by_slot for k in wanted):
        raise ConfigError(
            f"slots {group}:{count} needs the columns {group}1_..., to {group}{count}_...; "
            f"found {sorted(by_slot)} of them among {', '.join(list(names)[:8])}, ..."
        )
    return [tuple(by_slot[k]) for k in wanted]


def _by_name(group: str, given: list[list[str]], names: Sequence[str]) -> list[tuple[int, ...]]:
    index = {n: i for i, n in enumerate(names)}
    for name in (n for slot in given for n in slot):
        if name not in index:
            raise ConfigError(f"slots {group!r} names {name!r}: {nearest(name, names)}")
    return [tuple(index[n] for n in slot) for slot in given]
