"""A uniform sample of a dataset that may be larger than memory, in one pass that needs no count of its rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from diabolo.data.dtypes import python_cells
from diabolo.data.formats import Data
from diabolo.data.hashing import Fingerprint, hash_rows
from diabolo.data.reading import ordered_chunks
from diabolo.data.roles import bucket_of
from diabolo.data.schema import Schema
from diabolo.data.stream import weights_of
from diabolo.errors import DataError

__all__ = ["Sample", "sampled"]

#: A row is kept while the hash of its place lies below a limit, which is halved whenever too many are kept.
HASHES = 1 << 30
SEED = 0x5A3D


@dataclasses.dataclass
class Sample:
    """Rows of a dataset whose weight is not 0."""

    values: np.ndarray  #: [n, C] in the schema's order
    weights: np.ndarray | None
    positions: np.ndarray  #: [n], of the rows among those of the dataset whose weight is not 0
    rows: int  #: that were read, and have a weight
    fingerprint: str  #: of all of them
    more: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)  #: cells of further columns, [n] objects


def sampled(
    data: Data,
    schema: Schema,
    weight: str | None,
    most_bytes: int,
    report: Callable[[int], None] | None = None,
    more: Sequence[str] = (),
) -> Sample:
    """Read a dataset, all of it or a uniform sample that takes at most so many bytes.

    Args:
        data: the dataset.
        schema: whose columns are read.
        weight: name of the column of weights.
        most_bytes: for the values, at least a thousand rows.
        report: called with the number of rows that were just read.
        more: names of further columns, whose cells are wanted as they are.

    Raises:
        DataError: no rows, a column that is missing, a weight that is not finite or negative.
    """
    most = max(1000, most_bytes // (8 * max(1, len(schema.names))))
    limit, at, read, kept = HASHES, 0, 0, 0
    parts: list[tuple[np.ndarray, ...]] = []
    chain = Fingerprint()
    for values, cells in ordered_chunks(data, schema, [*([weight] if weight else []), *more]):
        n = len(values)
        w = weights_of(cells, weight, read)
        read += n
        beside = [np.array([*python_cells(cells[name]), None], dtype=object)[:-1] for name in more]
        if w is not None:
            beside = [b[w > 0] for b in beside]
            values, w = values[w > 0], w[w > 0]
        chain.add(hash_rows(values))
        place = np.arange(at, at + len(values))
        hashed = bucket_of(at, at + len(values), SEED, HASHES)
        at += len(values)
        part = (values, place, hashed, np.ones(len(values)) if w is None else w, *beside)
        parts.append(tuple(a[hashed < limit] for a in part))
        kept += len(parts[-1][0])
        while kept > most:
            limit //= 2
            parts = [tuple(a[p[2] < limit] for a in p) for p in parts]
            kept = sum(len(p[0]) for p in parts)
        if report:
            report(n)
    if not read:
        raise DataError(f"{data}: has a header but no rows")
    if not at:
        raise DataError(f"{data}: every weight is zero; at least one row needs a positive weight")
    rows, places, _, weights, *others = (np.concatenate(list(a)) for a in zip(*parts, strict=True))
    beside_all = dict(zip(more, others, strict=True))
    return Sample(rows, weights if weight else None, places, at, str(chain), beside_all)
