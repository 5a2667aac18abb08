"""Data frames that pandas wrote by `to_hdf`, in both of its layouts; nothing that is pickled is ever run."""

from __future__ import annotations

import dataclasses
import pickletools
from collections.abc import Iterator
from typing import Any

import numpy as np

from diabolo.data.formats.base import Source
from diabolo.data.formats.hdf5_parts import Part, Unfit, part_of
from diabolo.errors import DataError

__all__ = ["frame_parts", "frame_rows", "is_frame"]

#: How pandas writes a missing word of the table layout.
GONE = "nan"
#: Opcodes of a pickled list of words and numbers.
WORDS = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "INT", "BININT", "BININT1", "BININT2", "LONG1"}
LISTS = {"PROTO", "FRAME", "MARK", "LIST", "EMPTY_LIST", "PUT", "BINPUT", "MEMOIZE", "APPEND", "APPENDS", "STOP"}


def is_frame(item: Any) -> bool:
    """Whether a group is a frame or series of pandas."""
    return "pandas_type" in getattr(item, "attrs", {})


def frame_rows(group: Any) -> int:
    """Number of rows, as the frame says."""
    found = group.get("table", group.get("axis1", group.get("index")))
    return int(found.shape[0]) if getattr(found, "shape", None) else 0


def frame_parts(group: Any, path: str, source: Source, left_out: dict[str, str]) -> dict[str, Part]:
    """Columns of a frame by name.

    Raises:
        DataError: a layout that is none of a frame's.
    """
    kind = _text(group.attrs["pandas_type"])
    if kind in ("frame_table", "series_table", "appendable_frame", "appendable_series"):
        found = _of_table(group, path, left_out)
    elif kind == "frame":
        found = _of_blocks(group, left_out)
    elif kind == "series":
        found = _series(group, left_out)
    else:
        raise DataError(f"{source}: {path!r} is a {kind} of pandas; allowed are frames and series: write Parquet")
    parts: dict[str, Part] = {}
    for name, part in found:
        if name in parts:
            raise DataError(f"{source}: duplicate column names: {name}; rename them")
        parts[name] = dataclasses.replace(part, columns=(name,) if len(part.columns or ()) < 2 else part.columns)
    return parts


def _of_blocks(group: Any, left_out: dict[str, str]) -> Iterator[tuple[str, Part]]:
    """The fixed layout: blocks [rows, columns] of one type each, and the names of their columns."""
    order = _words(group["axis0"][:])
    parts = {}
    for i in range(int(group.attrs["nblocks"])):
        names, values = _words(group[f"block{i}_items"][:]), group[f"block{i}_values"]
        said = _text(values.attrs.get("value_type", ""))
        if values.dtype.hasobject or values.ndim != 2 or values.shape[1] != len(names):
            left_out |= dict.fromkeys(names, f"{said or values.dtype}, which pandas has pickled: write Parquet")
            continue
        part = _typed(part_of(values, (), values.dtype), said)
        for j, name in enumerate(names):
            parts[name] = dataclasses.replace(part, way=(j,), shape=(), columns=(name,))
    yield from ((name, parts[name]) for name in order if name in parts)


def _series(group: Any, left_out: dict[str, str]) -> Iterator[tuple[str, Part]]:
    name, values = _text(group.attrs.get("name", "")), group["values"]
    name = "values" if name in ("", "N.") else name
    said = _text(values.attrs.get("value_type", ""))
    if values.dtype.hasobject or values.ndim != 1:
        left_out[name] = f"{said or values.dtype}, which pandas has pickled: write Parquet"
        return
    yield name, dataclasses.replace(_typed(part_of(values, (), values.dtype), said), columns=(name,))


def _of_table(group: Any, path: str, left_out: dict[str, str]) -> Iterator[tuple[str, Part]]:
    """The table layout: a compound dataset, with the names of the columns of each block beside it."""
    table = group["table"]
    for field in table.dtype.names:
        if field == "index":
            left_out[f"{path}.index"] = "the index of pandas"
            continue
        said, meta = (_text(table.attrs.get(f"{field}_{what}", "")) for what in ("dtype", "meta"))
        inner = table.dtype[field].subdtype or (table.dtype[field], ())
        names = _list(table.attrs.get(f"{field}_kind")) if inner[1] else [field]
        if names is None or len(names) != int(np.prod(inner[1])):
            names = [field] if int(np.prod(inner[1])) == 1 else [f"{field}_{j}" for j in range(int(np.prod(inner[1])))]
        try:
            part = _typed(part_of(table, (field,), inner[0]), said)
        except Unfit as why:
            left_out |= dict.fromkeys(names, str(why))
            continue
        if meta == "category":
            part = _category(part, _words(group[f"meta/{field}/meta/table"]["values"]))
        for j, name in enumerate(names):
            way: tuple[Any, ...] = (field, j) if inner[1] else (field,)
            yield name, dataclasses.replace(part, way=way, columns=(name,))


def _typed(part: Part, said: str) -> Part:
    """A part under the type that its frame gives it: truth values, moments and words lie as something else."""
    import pyarrow as pa

    if said.startswith("datetime64") and part.dtype.kind == "i":
        zone = None if "," not in said else said.partition(",")[2].strip(" ]")
        unit = next((u for u in ("us", "ms", "s") if f"[{u}" in said), "ns")
        kind = pa.timestamp(unit, zone)
        least = np.iinfo(np.int64).min
        return dataclasses.replace(
            part, kind=kind, made=lambda cells: pa.array(cells.astype("<i8"), mask=cells == least).cast(kind)
        )
    if said == "bool":
        return dataclasses.replace(part, kind=pa.bool_(), made=lambda cells: pa.array(cells.astype(bool)))
    if part.dtype.kind == "S":
        return dataclasses.replace(part, made=_words_or_gone)
    return part


def _category(part: Part, words: list[str]) -> Part:
    import pyarrow as pa

    kind = pa.dictionary(pa.int32(), pa.string())
    levels = pa.array(words, pa.string())
    return dataclasses.replace(
        part,
        kind=kind,
        made=lambda cells: pa.DictionaryArray.from_arrays(pa.array(cells.astype(np.int32), mask=cells < 0), levels),
    )


def _words_or_gone(cells: np.ndarray) -> Any:
    import pyarrow as pa

    words = _words(cells)
    return pa.array([None if word == GONE else word for word in words], pa.string())


def _words(cells: np.ndarray) -> list[str]:
    return [_text(cell) for cell in cells.reshape(-1).tolist()]


def _text(cell: Any) -> str:
    return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell)


def _list(said: Any) -> list[str] | None:
    """The words of a pickled list, read off its opcodes; None for anything else than a list of words and numbers."""
    if said is None:
        return None
    words: list[str] = []
    try:
        for code, value, _ in pickletools.genops(bytes(said)):
            if code.name in WORDS:
                words.append(str(value))
            elif code.name not in LISTS:
                return None
    except (ValueError, TypeError):
        return None
    return words
