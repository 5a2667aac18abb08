"""What a request of the page asks for, read from its JSON; anything else is refused in one line."""

from __future__ import annotations

import math
from typing import Any

from diabolo.explore.bins import Field
from diabolo.explore.view import Selection
from diabolo.serve.faults import Fault

__all__ = ["box_of", "fields_of", "selection_of", "size_of"]

#: Filters, fields and cells of a density that one request may name.
MOST_FILTERS, MOST_SHOWN, MOST_CELLS = 16, 24, 512


def selection_of(said: dict[str, Any], fields: list[Field]) -> Selection:
    """The selection of a request: `filters`, `box`, `anomalies`, `marked`, each of which may be left out.

    Raises:
        Fault: says which is wrong, and what is allowed.
    """
    filters = said.get("filters", [])
    if not isinstance(filters, list) or len(filters) > MOST_FILTERS:
        raise Fault(f"filters: allowed is a list of at most {MOST_FILTERS}", 400)
    for one in filters:
        whole = isinstance(one, list) and len(one) == 3 and all(type(n) is int for n in one)
        if not whole or not 0 <= one[0] < len(fields) or not 0 <= one[1] <= one[2] < fields[one[0]].bars:
            raise Fault("filters: allowed are [field, first bar, last bar] of fields and bars that there are", 400)
    flags = {name: said.get(name, False) for name in ("anomalies", "marked")}
    wrong = [name for name, flag in flags.items() if type(flag) is not bool]
    if wrong:
        raise Fault(f"{wrong[0]}: allowed are true and false", 400)
    box = said.get("box")
    chosen = tuple((one[0], one[1], one[2]) for one in filters)
    return Selection(chosen, None if box is None else box_of(box, "box"), flags["anomalies"], flags["marked"])


def box_of(said: Any, name: str) -> tuple[float, float, float, float]:
    """Four numbers: x from, x to, y from, y to.

    Raises:
        Fault: they are none.
    """
    numbers = isinstance(said, list) and len(said) == 4 and all(type(n) in (int, float) for n in said)
    if not numbers or not all(math.isfinite(n) and abs(n) < 1e30 for n in said):
        raise Fault(f"{name}: allowed are four numbers, x from, x to, y from, y to", 400)
    if not (said[0] < said[1] and said[2] < said[3]):
        raise Fault(f"{name}: each first number has to be below the second", 400)
    return float(said[0]), float(said[1]), float(said[2]), float(said[3])


def size_of(said: dict[str, Any]) -> tuple[int, int]:
    """Cells of the density across and up.

    Raises:
        Fault: they are none.
    """
    size = said.get("size")
    if not isinstance(size, list) or len(size) != 2 or not all(type(n) is int and 1 <= n <= MOST_CELLS for n in size):
        raise Fault(f"size: allowed are two whole numbers from 1 to {MOST_CELLS}", 400, allowed=MOST_CELLS)
    return size[0], size[1]


def fields_of(said: dict[str, Any], fields: list[Field]) -> list[int]:
    """The fields that a request is about.

    Raises:
        Fault: there are no such fields, or they are too many.
    """
    shown = said.get("fields", [])
    good = isinstance(shown, list) and len(shown) <= MOST_SHOWN
    if not good or not all(type(n) is int and 0 <= n < len(fields) for n in shown):
        raise Fault(f"fields: allowed are at most {MOST_SHOWN} numbers from 0 to {len(fields) - 1}", 400)
    return list(shown)
