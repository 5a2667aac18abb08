"""The unit of an amount of information: the base of the logarithm."""

from __future__ import annotations

import math

from diabolo.errors import DataError

__all__ = ["in_base"]


def in_base(nats: float, base: float | None) -> float:
    """An amount in nats, in the unit of `base`: None for nats, 2 for bits, 10 for hartleys.

    Raises:
        DataError: base is not above 1.

    >>> in_base(math.log(8), 2)
    3.0
    """
    if base is None:
        return float(nats)
    if not (math.isfinite(base) and base > 1):
        raise DataError(f"base {base}: allowed are None (nats) and numbers above 1, such as 2 (bits)")
    return float(nats) / math.log(base)
