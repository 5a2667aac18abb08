"""Zero-padded objects in a table: which columns make up which object, and which cells are there."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from diabolo.config import Config
from diabolo.errors import ConfigError, nearest

__all__ = ["SlotGroup", "filled", "slot_groups"]


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


def filled(values: np.ndarray, groups: Sequence[SlotGroup]) -> np.ndarray:
    """[n, C] bool: the cell is finite, and its slot, if it has one, is not all zero."""
    there = np.isfinite(values)
    for slot in (list(slot) for group in groups for slot in group.slots):
        there[:, slot] &= (values[:, slot] != 0).any(axis=1, keepdims=True)
    return np.asarray(there)


def slot_groups(values: np.ndarray, names: Sequence[str], config: Config) -> list[SlotGroup]:
    """The groups that the settings name, with the share of rows whose filled slots are not the first ones."""
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
