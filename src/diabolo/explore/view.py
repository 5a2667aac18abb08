"""What the page asks for: rows of a selection as a density, as points, as histograms and as a table."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import math
from typing import Any

import numpy as np

from diabolo.data.dtypes import python_cells
from diabolo.explore.bins import Field
from diabolo.explore.measuring import Measured

__all__ = ["MOST_POINTS", "Selection", "View"]

#: Rows of a view that are drawn one by one; of more the density is, with some anomalies and marked rows above it.
MOST_POINTS, MOST_ODD = 3_000, 400
#: Masks of rows that are kept: brushes change one at a time.
MASKS = 8
#: Rows in the order of their scores that are looked at together.
STEP = 1 << 16
#: The map first shows the rows between these quantiles, and as much again around them.
MIDDLE, MARGIN = (0.001, 0.999), 0.5


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which rows are meant.

    Attributes:
        filters: (field, first bar, last bar) each.
        box: (x from, x to, y from, y to) on the map; None for all of it.
        anomalies, marked: whether only such rows are.
    """

    filters: tuple[tuple[int, int, int], ...] = ()
    box: tuple[float, float, float, float] | None = None
    anomalies: bool = False
    marked: bool = False


class View:
    """Answers about measured rows; one thread at a time asks.

    Attributes:
        fields: columns with their bars.
        marked: [n] bool.
        whole: (x from, x to, y from, y to) of all rows on the map.
        first: of the view that the page begins with.
    """

    def __init__(self, m: Measured, fields: list[Field], codes: np.ndarray) -> None:
        self._m, self._codes, self.fields = m, codes, fields
        self.marked = np.zeros(len(m), bool)
        self._order = np.argsort(-m.score, kind="stable").astype(np.int32)
        self._odd = self._order[m.is_anomaly[self._order]]
        self._masks: collections.OrderedDict[tuple[int, int, int], np.ndarray] = collections.OrderedDict()
        spans = [_spans(axis) for axis in (m.x, m.y)]
        self.whole = (*spans[0][0], *spans[1][0])
        self.first = (*spans[0][1], *spans[1][1])

    # ── which rows ────────────────────────────────────────────────────────────────────────────────

    def mask(self, chosen: Selection, but: int | None = None) -> np.ndarray | None:
        """[n] bool, without the filter of the field `but`; None for all rows."""
        parts = [self._filtered(f) for f in chosen.filters if f[0] != but]
        parts += [self._inside(chosen.box)] if chosen.box is not None else []
        parts += [self._m.is_anomaly] if chosen.anomalies else []
        parts += [self.marked] if chosen.marked else []
        if not parts:
            return None
        found = parts[0]
        for part in parts[1:]:
            found = found & part
        return found

    def _filtered(self, one: tuple[int, int, int]) -> np.ndarray:
        if one not in self._masks:
            field, low, high = one
            code = self._codes[field]
            self._masks[one] = np.asarray((code >= low) & (code <= high))
        self._masks.move_to_end(one)
        if len(self._masks) > MASKS:
            self._masks.popitem(last=False)
        return self._masks[one]

    def _inside(self, box: tuple[float, float, float, float]) -> np.ndarray:
        x, y, (x0, x1, y0, y1) = self._m.x, self._m.y, np.asarray(box, np.float32)
        return np.asarray((x >= x0) & (x <= x1) & (y >= y0) & (y <= y1))

    def count(self, chosen: Selection) -> int:
        found = self.mask(chosen)
        return len(self._m) if found is None else int(np.count_nonzero(found))

    def mark(self, which: Selection | list[int], on: bool) -> None:
        """Mark rows, given as a selection or by position, or take their marks away."""
        if isinstance(which, Selection):
            found = self.mask(which)
            self.marked[slice(None) if found is None else found.copy()] = on
        else:
            self.marked[which] = on

    def position(self, row: int) -> int | None:
        """Where a row of the dataset is; None for one that is not among these."""
        at = int(np.searchsorted(self._m.rows, row))
        return at if at < len(self._m) and self._m.rows[at] == row else None

    # ── what of them ──────────────────────────────────────────────────────────────────────────────

    def map(self, chosen: Selection, view: tuple[float, float, float, float], size: tuple[int, int]) -> dict[str, Any]:
        """The rows of a selection within a view: points, or counts in size[0] × size[1] cells, the lowest y first.

        A cell's right and upper edge belong to the next one, but for the last, as in `numpy.histogram2d`.
        """
        m, inside = self._m, self._inside(view)
        found = self.mask(chosen)
        shown = inside if found is None else inside & found
        count = int(np.count_nonzero(shown))
        told: dict[str, Any] = {"rows": count, "of": len(m) if found is None else int(np.count_nonzero(found))}
        if count <= MOST_POINTS:
            at = np.flatnonzero(shown)
            return {**told, "density": None, "points": self._points(at)}
        at = np.flatnonzero(shown)
        counts = _histogram(m.x[at], m.y[at], view, size)
        odd = self._odd[shown[self._odd]][:MOST_ODD]
        marked = np.setdiff1d(np.flatnonzero(shown & self.marked)[:MOST_ODD], odd)
        return {**told, "odd": len(odd), "density": counts, "points": self._points(np.concatenate([marked, odd]))}

    def _points(self, at: np.ndarray) -> dict[str, Any]:
        m = self._m
        told = {"row": m.rows[at], "x": m.x[at], "y": m.y[at], "score": m.score[at]}
        return {**told, "is_anomaly": m.is_anomaly[at], "marked": self.marked[at]}

    def histograms(self, chosen: Selection, fields: list[int]) -> list[list[int]]:
        """Rows of a selection by bar, for each field; its own filter does not count for it."""
        filtered = {f[0] for f in chosen.filters}
        everywhere, out = self.mask(chosen), []
        for field in fields:
            found = self.mask(chosen, field) if field in filtered else everywhere
            code = self._codes[field]
            counts = self.fields[field].counts if found is None else np.bincount(code[found], minlength=256)
            out.append(counts[: self.fields[field].bars].tolist())
        return out

    def table(self, chosen: Selection, fields: list[int], start: int, most: int) -> list[dict[str, Any]]:
        """Rows of a selection, the most anomalous first, with their cells."""
        found, at = self.mask(chosen), list[int]()
        if found is None:
            at = self._order[start : start + most].tolist()
        else:
            skip = start
            for step in range(0, len(self._order), STEP):
                here = self._order[step : step + STEP]
                here = here[found[here]]
                at += here[skip : skip + most - len(at)].tolist()
                skip = max(0, skip - len(here))
                if len(at) == most:
                    break
        names = [self.fields[f].name for f in fields if not self.fields[f].own]
        return [self._row(i, names) for i in at]

    def _row(self, i: int, names: list[str]) -> dict[str, Any]:
        m = self._m
        told = {"row": int(m.rows[i]), "score": float(m.score[i]), "p_value": float(m.p_value[i])}
        cluster = {} if m.cluster is None else {"cluster": int(m.cluster[i])}
        facts = {"is_anomaly": bool(m.is_anomaly[i]), "marked": bool(self.marked[i]), "top": m.named.get(i, [])}
        return {**told, **cluster, **facts, "cells": [self.cell(i, n) for n in names]}

    def place(self, i: int) -> tuple[float, float]:
        return float(self._m.x[i]), float(self._m.y[i])

    def cell(self, i: int, name: str) -> Any:
        """A cell as JSON can hold it."""
        return plain(python_cells(self._m.cells.column(name).slice(i, 1))[0])


def plain(value: Any) -> Any:
    """A value as JSON can hold it: what it has no type for is text."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) < 1 << 53 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    if isinstance(value, datetime.datetime):
        return value.isoformat(" ")
    return str(value).replace("T", " ") if isinstance(value, np.datetime64) else str(value)


def _spans(axis: np.ndarray) -> tuple[tuple[float, float], tuple[float, float]]:
    """Of all finite places, with a little air; and of the middle ones with a margin, within the former."""
    good = axis[np.isfinite(axis)]
    if not len(good):
        return (0.0, 1.0), (0.0, 1.0)
    low, high = float(good.min()), float(good.max())
    air = 0.02 * (high - low) or 0.5
    a, b = np.quantile(good, MIDDLE)
    margin = MARGIN * float(b - a) or air
    whole = (low - air, high + air)
    return whole, (max(whole[0], float(a) - margin), min(whole[1], float(b) + margin))


def _histogram(
    x: np.ndarray, y: np.ndarray, view: tuple[float, float, float, float], size: tuple[int, int]
) -> np.ndarray:
    """`numpy.histogram2d` of places within the view, in a tenth of its time: [size[1], size[0]] int64."""
    x0, x1, y0, y1 = np.asarray(view, np.float32)
    w, h = size
    column = ((x - x0) * np.float32(w / (x1 - x0))).astype(np.int32).clip(0, w - 1)
    line = ((y - y0) * np.float32(h / (y1 - y0))).astype(np.int32).clip(0, h - 1)
    return np.bincount(line * w + column, minlength=w * h).reshape(h, w)
