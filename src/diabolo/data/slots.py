"""Zero-padded objects in a table: which columns make up which object, and which cells are there."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence

import numpy as np

from diabolo.config import Config
from diabolo.data.dtypes import TEXT, is_date, is_time
from diabolo.errors import ConfigError, nearest

__all__ = ["SlotGroup", "filled", "found_slots", "slot_groups", "with_found_slots"]


#: Columns of numbered objects, the share of rows that may say otherwise, and the fewest rows that show an empty slot.
NUMBERED, RARE, FEWEST = re.compile(r"^(.*[^\d_])_?(\d+)[_.](\D.*)$"), 0.01, 10


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
    for group, given in (config.slots if isinstance(config.slots, dict) else {}).items():
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


def with_found_slots(
    config: Config, names: Sequence[str], dtypes: Sequence[str], rows: Callable[[], np.ndarray]
) -> Config:
    """The settings with the groups that slots = "auto" finds in some rows [n, C]; any other settings as they are.

    Columns that hold no plain numbers are no cells of objects, nor are those with a kind or a likelihood of their own.
    Rows are read only where names say that there may be objects. A network in whole numbers takes none.
    """
    if config.slots != "auto":
        return config
    own = {**(config.kinds or {}), **(config.column_likelihood or {})}
    other = {n for n, d in zip(names, dtypes, strict=True) if d in TEXT or is_date(d) or is_time(d) or n in own}
    groups = {} if config.quantize is not None else _numbered(names, other)
    values = rows() if groups else None
    at = {n: i for i, n in enumerate(names)}
    found: dict[str, int | list[list[str]]] = {
        group: slots
        for group, slots in groups.items()
        if values is not None and _zero_together(values, [[at[n] for n in slot] for slot in slots])
    }
    return dataclasses.replace(config, slots=found or None)


def found_slots(values: np.ndarray, names: Sequence[str]) -> dict[str, list[list[str]]]:
    """Groups of columns that are zero-padded objects, by their names and their zeros; {} if none are.

    Names are a prefix, a running number from 0 or 1 and the same endings for each number, two at least (j1_pt, j1_eta,
    j2_pt, ...). In rows [n, C] the cells of a slot are zero together; filled slots are the first ones; and the last
    slot is empty in 1 % of rows and in 10 rows or more, the first one in fewer. At most one row in a hundred says
    otherwise.

    >>> rows = np.repeat([[5.0, 0.1, 0, 0], [4, 0.2, 2, 0.3]], 10, axis=0)
    >>> found_slots(rows, ["j1_pt", "j1_eta", "j2_pt", "j2_eta"])
    {'j': [['j1_pt', 'j1_eta'], ['j2_pt', 'j2_eta']]}
    """
    at = {n: i for i, n in enumerate(names)}
    groups = _numbered(names, set())
    return {g: slots for g, slots in groups.items() if _zero_together(values, [[at[n] for n in s] for s in slots])}


def _numbered(names: Sequence[str], other: set[str]) -> dict[str, list[list[str]]]:
    """Groups of columns that are named like numbered objects, without those that have one of the others among them."""
    by_prefix: dict[str, dict[int, dict[str, str]]] = {}
    for name in names:
        match = NUMBERED.match(name)
        if match:
            by_prefix.setdefault(match[1], {}).setdefault(int(match[2]), {})[match[3]] = name
    out = {}
    for prefix, slots in by_prefix.items():
        numbers, endings = sorted(slots), list(slots[min(slots)])
        runs = numbers[0] in (0, 1) and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        alike = len(endings) >= 2 and all(set(slots[k]) == set(endings) for k in numbers)
        columns = [[slots[k][e] for e in endings] for k in numbers] if runs and alike and len(numbers) >= 2 else []
        if columns and other.isdisjoint(n for slot in columns for n in slot):
            out[prefix] = columns
    return out


def _zero_together(values: np.ndarray, slots: list[list[int]]) -> bool:
    cells = np.stack([values[:, slot] for slot in slots], axis=1)
    if not len(cells) or np.isnan(cells).any():
        return False
    filled = (cells != 0).any(axis=2)
    # An object's first cell is its size, which is never zero; all the others are zero together only where it is absent.
    size, others = cells[:, :, 0] != 0, (cells[:, :, 1:] != 0).any(axis=2)
    torn = size != others
    gaps = filled[:, 1:] & ~filled[:, :-1]
    first, last = 1 - filled[:, 0].mean(), 1 - filled[:, -1].mean()
    shown = (~filled[:, -1]).sum() >= FEWEST and RARE <= last > first
    return bool(shown and torn.any(axis=1).mean() <= RARE and gaps.any(axis=1).mean() <= RARE)


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
