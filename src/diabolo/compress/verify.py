"""Whether a chunk decodes to the rows that it was made of, and how far its floats are from theirs."""

from __future__ import annotations

from typing import Any

import numpy as np

from diabolo.compress.chunk import decode_chunk
from diabolo.compress.columns import ipc, is_coded_list, is_float, leaf, leaves
from diabolo.compress.grid import bits_of
from diabolo.compress.plan import Plan, Tally
from diabolo.errors import CompressedFileError

__all__ = ["verify"]


def verify(plan: Plan, batch: Any, payload: bytes, tally: Tally) -> None:
    """Decode a chunk, compare every cell with the rows it was made of, and add the errors to the tally.

    Raises:
        CompressedFileError: a cell is beyond its bound, or not exact where it has none.
    """
    back = decode_chunk(plan, payload)
    for i, field in enumerate(plan.schema):
        a, b = batch.column(i), back.column(i)
        if is_float(leaf(field.type)) and _shape(a) == _shape(b):
            good = _errors(plan, i, _floats(leaves(a)), _floats(leaves(b)), tally)
        else:
            # NaN in lists is no equal of itself, but of the same bits.
            good = a.equals(b) or ipc(a) == ipc(b) or repr(a.to_pylist()) == repr(b.to_pylist())
        if not good:
            raise CompressedFileError(
                f"column {field.name!r} does not decode to what it was, so nothing was written; this is a mistake in "
                "diabolo: please report it with these rows"
            )


def _shape(array: Any) -> list[Any]:
    """Which cells are missing, and how long lists are."""
    said = [array.is_null().to_pylist()]
    while is_coded_list(array.type):
        said.append(array.value_lengths().to_pylist())
        array = array.flatten()
        said.append(array.is_null().to_pylist())
    return said


def _floats(array: Any) -> np.ndarray:
    array = array.drop_null() if array.null_count else array
    size = array.type.bit_width // 8
    return np.frombuffer(array.buffers()[1], f"<f{size}", len(array), array.offset * size)


def _errors(plan: Plan, i: int, x: np.ndarray, y: np.ndarray, tally: Tally) -> bool:
    bound = plan.bounds[i]
    other = bits_of(x) != bits_of(y)
    if bound is None or not other.any():
        return not other.any()
    x, y = x[other], y[other]
    with np.errstate(over="ignore"):
        d = np.abs(x.astype(np.float64) - y.astype(np.float64))
        if bound.relative:
            d = d / np.where(x == 0, 1, np.abs(x.astype(np.float64)))
        tally.worst[i] = max(tally.worst[i], float(d.max()))
        tally.squares[i] += float((d**2).sum())
    return bool(bound.holds(x, y).all())
