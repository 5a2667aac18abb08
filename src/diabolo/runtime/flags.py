"""Why a row has no score, in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["REASONS", "said"]

#: Reasons by the number that a graph gives; 0 is none.
REASONS = (
    "",
    "infinite",
    "outside 0..1",
    "negative count",
    "every cell is missing",
    "overflow",
    "the score overflows",
)
#: Columns that are named at most.
NAMED = 3


def said(
    code: int,
    row: np.ndarray,
    names: Sequence[str],
    center: np.ndarray,
    scale: np.ndarray,
    boolean: Sequence[int],
    count: Sequence[int],
) -> str:
    """The reason of a number, with the columns that are its cause.

    Args:
        code: position in `REASONS`, from 1 up.
        row: [C] cells as numbers.
        names: of the columns.
        center, scale: [C] by which cells are standardized.
        boolean, count: columns that hold shares, and those that hold counts.
    """
    if code == 1:
        at = np.flatnonzero(np.isinf(row)).tolist()
    elif code == 2:
        at = [j for j in boolean if row[j] < 0 or row[j] > 1]
    elif code == 3:
        at = [j for j in count if row[j] < 0]
    elif code == 5:
        far = np.abs((row.astype(np.float64) - center) / scale)
        at = [int(np.nanargmax(far))]
    else:
        return REASONS[code]
    return f"{REASONS[code]}: {', '.join(names[j] for j in at[:NAMED])}"
