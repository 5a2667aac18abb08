"""The Parquet that embedding-atlas opens: places on the map, scores, clusters, neighbors and the table's columns."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from diabolo.data.formats import write_batches
from diabolo.errors import ConfigError
from diabolo.explore.measuring import NAMED, Measured
from diabolo.explore.nearest import nearest_rows

__all__ = ["NEAR", "atlas_schema", "command", "find_atlas", "start_atlas", "write_atlas"]

#: The outside program.
PROGRAM = "embedding-atlas"
#: Rows up to which each one's neighbors are looked for, and how many.
MOST_NEAR, NEAR = 20_000, 10
#: Rows of a batch.
BATCH = 65_536
OWN = "diabolo_"
NEIGHBORS = pa.struct([("ids", pa.list_(pa.int64())), ("distances", pa.list_(pa.float32()))])


def atlas_schema(m: Measured) -> tuple[pa.Schema, dict[str, str]]:
    """The columns of the file, ours first; and the name that each of ours has there, by its plain one."""
    ours: list[tuple[str, Any]] = [
        ("row", pa.int64()),
        ("projection_x", pa.float32()),
        ("projection_y", pa.float32()),
        ("score", pa.float64()),
        ("p_value", pa.float64()),
        ("is_anomaly", pa.bool_()),
        ("flag", pa.string()),
        *([] if m.cluster is None else [("cluster", pa.int32())]),
        *((f"top_{k}", pa.string()) for k in range(1, NAMED + 1)),
        *([("neighbors", NEIGHBORS)] if len(m) <= MOST_NEAR else []),
    ]
    taken, names = set(m.cells.column_names), dict[str, str]()
    for name, _ in ours:
        free = name
        while free in taken:
            free = OWN + free
        names[name] = free
        taken.add(free)
    return pa.schema([*(pa.field(names[n], t) for n, t in ours), *m.cells.schema]), names


def write_atlas(m: Measured, out: str) -> dict[str, str]:
    """Write the file, whole or not at all; gives the names of our columns in it."""
    schema, names = atlas_schema(m)
    m.name_columns()
    near = _neighbors(m) if "neighbors" in names else None
    write_batches(out, schema, _batches(m, schema, near))
    return names


def _batches(m: Measured, schema: pa.Schema, near: pa.Array | None) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(m), BATCH):
        at = slice(start, min(start + BATCH, len(m)))
        size = at.stop - at.start
        place = range(at.start, at.stop)
        named = [m.named.get(i, []) for i in place] if m.named else [[]] * size
        told = [
            pa.array(m.rows[at]),
            pa.array(m.x[at], from_pandas=True),
            pa.array(m.y[at], from_pandas=True),
            pa.array(m.score[at]),
            pa.array(m.p_value[at], from_pandas=True),
            pa.array(m.is_anomaly[at]),
            pa.array([m.flags.get(i) for i in place] if m.flags else [None] * size, pa.string()),
            *([] if m.cluster is None else [pa.array(m.cluster[at])]),
            *(pa.array([n[k] if k < len(n) else None for n in named], pa.string()) for k in range(NAMED)),
            *([] if near is None else [near.slice(start, size)]),
        ]
        cells = m.cells.slice(start, size).combine_chunks()
        columns = [c.chunk(0) if c.num_chunks else pa.array([], c.type) for c in cells.columns]
        yield pa.record_batch([*told, *columns], schema=schema)


def _neighbors(m: Measured) -> pa.Array:
    """The nearest other rows of each by Euclid's distance of whitened codes: positions in the file, distances."""
    at, distance = nearest_rows(np.asarray(m.codes), NEAR)
    kept = [(a[a >= 0], d[a >= 0]) for a, d in zip(at, distance, strict=True)]
    return pa.array([{"ids": a.tolist(), "distances": d.tolist()} for a, d in kept], NEIGHBORS)


def command(out: str, names: dict[str, str]) -> list[str]:
    """The words that open the file."""
    words = [PROGRAM, out, "--x", names["projection_x"], "--y", names["projection_y"]]
    return [*words, "--neighbors", names["neighbors"]] if "neighbors" in names else words


def find_atlas(out: str) -> str:
    """Where embedding-atlas is installed.

    Raises:
        ConfigError: it is not; says how it runs without.
    """
    found = shutil.which(PROGRAM)
    if found is None:
        raise ConfigError(
            f"--atlas: {PROGRAM} is not installed; uv tool install {PROGRAM} installs it apart from diabolo, and "
            f"without --atlas {shlex.quote(out)} is written with the command that opens it"
        )
    return found


def start_atlas(program: str, out: str, names: dict[str, str]) -> None:
    """Become embedding-atlas: it is a program of its own, in an environment of its own."""
    os.execv(program, command(out, names))
