"""Charts as SVG: small, drawn here, legible without a script; colors come from the page's style.

A chart is 400 units wide, so that its text is as large as the page's on a phone and a little larger elsewhere.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from diabolo.report.html import Html, number, tag

__all__ = ["Axis", "Chart", "figure", "ticks"]

WIDTH, HEIGHT = 400.0, 230.0
#: Room for labels around the plot.
RIGHT, TOP, BOTTOM = 12.0, 12.0, 40.0


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from low to high.

    >>> ticks(0, 1), ticks(-3.2, 9.9)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 5.0])
    """
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low]
    raw = (high - low) / max(1, most - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) + 0.0 for i in range(first, math.floor(high / step + 1e-9) + 1)]


@dataclasses.dataclass
class Axis:
    """One axis: its ends, its label, and whether it is logarithmic."""

    low: float
    high: float
    label: str = ""
    log: bool = False
    #: Places and words; None for round numbers.
    marks: Sequence[tuple[float, str]] | None = None

    def __post_init__(self) -> None:
        if not self.high > self.low:
            pad = abs(self.low) * 0.05 or 0.5
            self.low, self.high = (self.low / 2, self.high * 2) if self.log else (self.low - pad, self.high + pad)

    def at(self, value: ArrayLike) -> np.ndarray:
        """Place between 0 and 1."""
        if self.log:
            with np.errstate(divide="ignore"):
                v = np.log10(np.maximum(np.asarray(value, float), 1e-300))
            return np.asarray((v - math.log10(self.low)) / (math.log10(self.high) - math.log10(self.low)))
        return np.asarray((np.asarray(value, float) - self.low) / (self.high - self.low))

    def labelled(self, most: int) -> list[tuple[float, str]]:
        if self.marks is not None:
            return list(self.marks)
        if not self.log:
            return [(t, number(t)) for t in ticks(self.low, self.high, most)]
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        step = max(1, math.ceil((last - first + 1) / most))
        if last - first >= 1:
            return [(10.0**p, _power(p)) for p in range(first, last + 1, step)]
        return [(t, number(t)) for t in ticks(self.low, self.high, most) if t > 0]


def _power(p: int) -> str:
    if -3 <= p <= 4:
        return number(10**p if p >= 0 else 10.0**p)
    return "10" + str(p).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


class Chart:
    """Axes, and the marks between them."""

    def __init__(self, x: Axis, y: Axis, height: float = HEIGHT) -> None:
        self.x, self.y, self.height = x, y, height
        longest = max((len(word) for _, word in y.labelled(5)), default=1)
        self.left = 12.0 + 6.8 * longest + (18.0 if y.label else 0.0)
        self.items: list[Html] = []
        self.over: list[Html] = []
        self.legend: list[tuple[str, str]] = []

    def _x(self, value: ArrayLike) -> np.ndarray:
        return np.asarray(self.left + np.clip(self.x.at(value), -0.02, 1.02) * (WIDTH - self.left - RIGHT))

    def _y(self, value: ArrayLike) -> np.ndarray:
        inside = np.clip(self.y.at(value), -0.02, 1.02)
        return np.asarray(self.height - BOTTOM - inside * (self.height - BOTTOM - TOP))

    def _path(self, xs: ArrayLike, ys: ArrayLike) -> str:
        px, py = self._x(xs), self._y(ys)
        good = np.isfinite(px) & np.isfinite(py)
        parts, pen = [], "M"
        for a, b, ok in zip(np.atleast_1d(px), np.atleast_1d(py), np.atleast_1d(good), strict=True):
            if not ok:
                pen = "M"
                continue
            parts.append(f"{pen}{a:.1f} {b:.1f}")
            pen = "L"
        return "".join(parts)

    def line(self, xs: ArrayLike, ys: ArrayLike, style: str, name: str | None = None, dots: bool = False) -> Chart:
        self.items.append(tag("path", d=self._path(xs, ys), class_=f"line {style}"))
        if dots:
            self.items.append(tag("path", d=self._dots(xs, ys), class_=f"dots {style}"))
        return self._named(name, style)

    def points(self, xs: ArrayLike, ys: ArrayLike, style: str, name: str | None = None) -> Chart:
        """Many points as one path."""
        self.items.append(tag("path", d=self._dots(xs, ys), class_=f"points {style}"))
        return self._named(name, style)

    def _dots(self, xs: ArrayLike, ys: ArrayLike) -> str:
        """Points as strokes without length."""
        points = zip(np.atleast_1d(self._x(xs)), np.atleast_1d(self._y(ys)), strict=True)
        return "".join(f"M{a:.1f} {b:.1f}h0" for a, b in points if np.isfinite(a) and np.isfinite(b))

    def area(self, xs: ArrayLike, low: ArrayLike, high: ArrayLike, style: str, name: str | None = None) -> Chart:
        there, back = self._path(xs, high), self._path(np.asarray(xs)[::-1], np.asarray(low)[::-1])
        self.items.append(tag("path", d=f"{there}L{back[1:]}Z", class_=f"area {style}"))
        return self._named(name, style)

    def bars(self, edges: ArrayLike, heights: ArrayLike, style: str, name: str | None = None) -> Chart:
        """A histogram's bars, filled from the bottom, as one path."""
        edges, heights = np.asarray(edges, float), np.asarray(heights, float)
        base = float(self._y(self.y.low))
        left, right = self._x(edges[:-1]), self._x(edges[1:])
        tops = self._y(np.where(heights > 0, heights, self.y.low))
        d = "".join(
            f"M{a:.1f} {base:.1f}V{t:.1f}H{max(b - 0.4, a + 0.3):.1f}V{base:.1f}Z"
            for a, b, t, h in zip(left, right, tops, heights, strict=True)
            if h > 0
        )
        self.items.append(tag("path", d=d, class_=f"bars {style}"))
        return self._named(name, style)

    def steps(self, edges: ArrayLike, heights: ArrayLike, style: str, name: str | None = None) -> Chart:
        """A histogram's outline."""
        edges, heights = np.asarray(edges, float), np.asarray(heights, float)
        xs = np.repeat(edges, 2)
        ys = np.concatenate([[self.y.low], np.repeat(np.maximum(heights, self.y.low), 2), [self.y.low]])
        self.items.append(tag("path", d=self._path(xs, ys), class_=f"line {style}"))
        return self._named(name, style)

    def vertical(self, value: float, style: str, text: str = "", before: bool = False) -> Chart:
        at = float(self._x(value))
        self.over.append(tag("line", x1=f"{at:.1f}", x2=f"{at:.1f}", y1=TOP, y2=self.height - BOTTOM, class_=style))
        if text:
            place = {"text_anchor": "end", "x": f"{at - 4:.1f}"} if before else {"x": f"{at + 4:.1f}"}
            self.over.append(tag("text", text, y=TOP + 11, class_="note", **place))
        return self

    def _named(self, name: str | None, style: str) -> Chart:
        if name:
            self.legend.append((name, style))
        return self

    def svg(self, title: str, said: str) -> Html:
        """The chart, with a title and a description for those who cannot see it."""
        key = "c" + hashlib.sha256("".join([title, said, *self.items]).encode()).hexdigest()[:10]
        grid, bottom = [], self.height - BOTTOM
        for value, word in self.y.labelled(5):
            y = float(self._y(value))
            grid.append(tag("line", x1=self.left, x2=WIDTH - RIGHT, y1=f"{y:.1f}", y2=f"{y:.1f}", class_="grid"))
            grid.append(tag("text", word, x=self.left - 6, y=f"{y + 4:.1f}", text_anchor="end"))
        for value, word in self.x.labelled(6):
            x = float(self._x(value))
            grid.append(tag("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=bottom, y2=bottom + 4, class_="tick"))
            grid.append(tag("text", word, x=f"{x:.1f}", y=bottom + 17, text_anchor="middle"))
        middle = (self.left + WIDTH - RIGHT) / 2
        labels = [tag("text", self.x.label, x=middle, y=self.height - 4, text_anchor="middle", class_="label")]
        if self.y.label:
            turn = f"rotate(-90 11 {(TOP + bottom) / 2:.0f})"
            place = {"x": 11, "y": f"{(TOP + bottom) / 2:.0f}", "text_anchor": "middle", "transform": turn}
            labels.append(tag("text", self.y.label, class_="label", **place))
        axis = tag("line", x1=self.left, x2=WIDTH - RIGHT, y1=bottom, y2=bottom, class_="axis")
        return tag(
            "svg",
            tag("title", title, id=f"{key}t"),
            tag("desc", said, id=f"{key}d"),
            [grid, self.items, axis, self.over, labels],
            viewBox=f"0 0 {WIDTH:g} {self.height:g}",
            role="img",
            aria_labelledby=f"{key}t {key}d",
            class_="chart",
        )


def figure(chart: Chart, title: str, said: str, table: Html | None = None, more: Html | None = None) -> Html:
    """A chart with its title, legend, caption, and numbers as a table."""
    legend = None
    if len(chart.legend) > 1:
        keys = [
            tag(
                "li",
                tag("svg", tag("path", d="M1 6H19", class_=f"key {style}"), viewBox="0 0 20 12", aria_hidden="true"),
                name,
            )
            for name, style in chart.legend
        ]
        legend = tag("ul", keys, class_="legend", aria_label="Legend")
    numbers = None
    if table is not None:
        numbers = tag("details", tag("summary", "Numbers as a table"), table)
    return tag(
        "figure",
        tag("h3", title),
        legend,
        chart.svg(title, said),
        tag("figcaption", said),
        more,
        numbers,
        class_="card",
    )
