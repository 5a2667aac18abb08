"""Words of text columns that several processes have met, each in its own rows, put into one order."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import numpy as np

from diabolo.data.table import Table
from diabolo.world import World

__all__ = ["with_all_words"]


def with_all_words(head: Table, world: World) -> tuple[Table, Callable[[np.ndarray], np.ndarray]]:
    """A table's head with the words of all processes, in the order in which one process would have met them.

    Args:
        head: no rows; its words are those of this process's run of rows.
        world: the processes; runs follow one another by rank.

    Returns:
        The head, and what turns rows [n, C] of this process, whose words are positions among its own, into rows whose
        words are positions among all.
    """
    found = [json.loads(text) for text in world.texts(json.dumps(head.levels))]
    levels: dict[str, list[str]] = {}
    for each in found:
        for name, words in each.items():
            known = set(levels.setdefault(name, []))
            levels[name] += [w for w in words if w not in known]
    places = {}
    for name, words in head.levels.items():
        position = {w: i for i, w in enumerate(levels[name])}
        places[head.names.index(name)] = np.array([position[w] for w in words], np.float64)

    def codes(values: np.ndarray) -> np.ndarray:
        out = values.copy()
        for column, place in places.items():
            cells = out[:, column]
            there = np.isfinite(cells)
            cells[there] = place[cells[there].astype(np.int64)]
        return out

    return dataclasses.replace(head, levels=levels), codes
