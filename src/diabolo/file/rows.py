"""The section `rows`: one store of the table's rows that sections keep, each row once.

In memory a section holds its rows as a tensor; in the file it holds their positions in the store.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from diabolo.artifact import Section
from diabolo.cards import Count, card_of
from diabolo.errors import ModelFileError

__all__ = ["HOLDERS", "packed", "unpacked"]

#: The tensor of rows of each section that may hold some.
HOLDERS = {"detector": "stored", "generator": "rows"}
TYPES = {"F32": np.float32, "F64": np.float64}


@dataclasses.dataclass
class RowsCard:
    #: Different rows in the store.
    rows: Count
    #: The type of the cells in each section that holds rows.
    types: dict[str, Literal["F32", "F64"]]


def packed(sections: Mapping[str, Section]) -> dict[str, Section]:
    """Sections as a file has them: rows in one store, sorted by their bits, and positions in place of the rows."""
    held = {n: sections[n].tensors[t] for n, t in HOLDERS.items() if n in sections and t in sections[n].tensors}
    out = {name: section for name, section in sections.items() if name != "rows"}
    if not held:
        return out
    whole = np.concatenate(list(held.values()), dtype=np.result_type(*held.values()))
    bits = np.dtype((np.void, whole.shape[1] * whole.itemsize))
    _, first, at = np.unique(np.ascontiguousarray(whole).view(bits).ravel(), return_index=True, return_inverse=True)
    types = {name: "F32" if rows.dtype == np.float32 else "F64" for name, rows in held.items()}
    out["rows"] = Section({"rows": len(first), "types": types}, {"values": whole[first]})
    ends = np.cumsum([len(rows) for rows in held.values()])
    for name, places in zip(held, np.split(at.ravel().astype(np.int64), ends[:-1]), strict=True):
        tensors = {k: v for k, v in sections[name].tensors.items() if k != HOLDERS[name]}
        out[name] = Section(sections[name].card, {**tensors, f"{HOLDERS[name]}_at": places})
    return out


def unpacked(path: str | Path, sections: Mapping[str, Section]) -> dict[str, Section]:
    """The inverse of `packed`, with its checks; a file without a store stays as it is.

    Raises:
        ModelFileError: positions that are not in the store, rows that no section holds.
    """
    if "rows" not in sections:
        return dict(sections)
    store = sections["rows"]
    card = card_of(path, RowsCard, store.card)
    values = store.tensors.get("values")
    if set(store.tensors) != {"values"} or values is None or values.ndim != 2 or len(values) != card.rows:
        raise ModelFileError(f"{path}: tensor 'rows/values' must be {card.rows} rows, and the section's only one")
    if values.dtype not in TYPES.values() or not card.types or not set(card.types) <= set(HOLDERS) & set(sections):
        raise ModelFileError(f"{path}: section 'rows' does not fit the sections that hold rows")
    out = {name: section for name, section in sections.items() if name != "rows"}
    for name, kind in card.types.items():
        tensor = HOLDERS[name]
        tensors = dict(sections[name].tensors)
        at = tensors.pop(f"{tensor}_at", None)
        if at is None or at.dtype != np.int64 or at.ndim != 1 or tensor in tensors:
            raise ModelFileError(f"{path}: tensor '{name}/{tensor}_at' must be [n] I64")
        if len(at) and not (at.min() >= 0 and at.max() < len(values)):
            raise ModelFileError(f"{path}: tensor '{name}/{tensor}_at' names rows that section 'rows' does not have")
        out[name] = Section(sections[name].card, {**tensors, tensor: values[at].astype(TYPES[kind])})
    return out
