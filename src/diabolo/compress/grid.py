"""Floats as integers on a grid of their bound, and back; every rule is exact, so every machine gives the same.

A grid maps a cell to an integer and an integer to a float of the column's own type. `fits` tells for each cell whether
|x − x̂| ≤ ε (or ε|x|) holds in exact arithmetic; a cell that does not fit is carried bit by bit. Only +, −, ×, ÷ and
rounding of IEEE 754 and integers are used; no logarithm.
"""

from __future__ import annotations

import dataclasses
import functools
from fractions import Fraction
from typing import Any, ClassVar, Protocol

import numpy as np

from diabolo.errors import ConfigError

__all__ = ["Bound", "Cover", "Grid", "Lattice", "Relative", "Step", "bits_of", "choose_grid", "from_bits", "grid_of"]

#: Digits of a significand with its leading one, by bytes of the type.
DIGITS = {2: 11, 4: 24, 8: 53}
#: A relative grid's cells stay this far within the bound, so that it holds for one who checks in single precision too.
MARGIN = Fraction(1, 1 << 22)
#: Bounds that a user may ask for.
LEAST_SHARE, ABSOLUTE = 1e-18, (1e-290, 1e290)
MOST_SEGMENTS = 2048
MOST_CELLS = 1 << 16
#: A cell that holds more points of a lattice gains nothing from knowing them.
MOST_POINTS = 32


@dataclasses.dataclass(frozen=True)
class Bound:
    """|x − x̂| ≤ error, or ≤ error·|x| if relative.

    Raises:
        ConfigError: an error that is not a number above 0, or relative and not below 1.
    """

    error: float
    relative: bool = False

    def __post_init__(self) -> None:
        most = 1.0 if self.relative else np.finfo(np.float64).max
        if not isinstance(self.error, (int, float)) or not 0 < self.error < most:
            raise ConfigError(f"max_error = {self}; allowed are numbers above 0, like 1e-3, and below 100% like 0.1%")

    def __str__(self) -> str:
        return f"{float(self.error) * 100:g}%" if self.relative else f"{float(self.error):g}"

    @staticmethod
    def parse(said: Any) -> Bound:
        """A number, or text like "0.1%".

        >>> Bound.parse("0.1%")
        Bound(error=0.001, relative=True)
        """
        if isinstance(said, Bound):
            return said.checked()
        if isinstance(said, (int, float, np.number)) and not isinstance(said, bool):
            return Bound(float(said)).checked()
        text = str(said).strip()
        try:
            if text.endswith("%"):
                return Bound(float(Fraction(text[:-1]) / 100), True).checked()
            return Bound(float(text)).checked()
        except ConfigError:
            raise
        except (ValueError, ZeroDivisionError, OverflowError):
            raise ConfigError(f"max_error = {said!r}; allowed are a number like 1e-3, or a share like 0.1%") from None

    def checked(self) -> Bound:
        """Itself.

        Raises:
            ConfigError: so large or so small that no grid of it has numbers.
        """
        low, high, said = (LEAST_SHARE, 1.0, "shares from 1e-16%") if self.relative else (*ABSOLUTE, "from {} to {}")
        if not low <= self.error <= high:
            raise ConfigError(f"max_error = {self}; allowed are {said.format(*ABSOLUTE)}: give none for no loss")
        return self

    def holds(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Whether the bound holds for x̂ = y in exact arithmetic; in doubt (within 2⁻⁵⁰ of it) not."""
        a, b = x.astype(np.float64), y.astype(np.float64)
        with np.errstate(all="ignore"):
            d = a - b
            # The rounding error of the difference (Knuth 1969, TwoSum).
            back = a - d
            rest = (a - (d + back)) + (back - b)
            if self.relative:
                limit = self.error * np.abs(a) * (1 - 2.0**-50)
                inside = (np.abs(d) <= limit) & (np.abs(a) > 1e-280)
            else:
                rest = rest * np.sign(d)
                inside = (np.abs(d) < self.error) | ((np.abs(d) == self.error) & (rest <= 0))
        same = (a == b) & (np.signbit(a) == np.signbit(b))
        minus_zero = (a == 0) & np.signbit(a) & ~same
        return np.asarray(np.isfinite(a) & np.isfinite(b) & (inside | same) & ~minus_zero)


def bits_of(x: np.ndarray) -> np.ndarray:
    """Bit patterns as int64 in the order of the numbers; negative ones below zero."""
    size = x.dtype.itemsize
    b = np.ascontiguousarray(x).view(f"i{size}").astype(np.int64)
    return np.where(b < 0, np.int64(-(1 << (8 * size - 1))) - b - 1, b)


def from_bits(index: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    size = dtype.itemsize
    b = np.where(index < 0, np.int64(-(1 << (8 * size - 1))) - index - 1, index)
    return b.astype(f"i{size}").view(dtype)


class Grid(Protocol):
    kind: ClassVar[str]

    def index(self, x: np.ndarray) -> np.ndarray:
        """Integers of cells [n]; whatever a cell is that fits nowhere."""
        ...

    def value(self, index: np.ndarray) -> np.ndarray:
        """Cells [n] of any integers [n] at all."""
        ...

    def card(self) -> dict[str, Any]: ...


def _safe(x: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(x), x, 0).astype(np.float64)


@dataclasses.dataclass(frozen=True)
class Lattice:
    """Rounded numbers without loss: x = k / parts, rounded to the column's type."""

    kind: ClassVar[str] = "lattice"
    dtype: str
    parts: int

    def index(self, x: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return np.asarray(np.clip(np.rint(_safe(x) * self.parts), -(2.0**53), 2.0**53).astype(np.int64))

    def value(self, index: np.ndarray) -> np.ndarray:
        return np.asarray((index / self.parts).astype(self.dtype))

    def card(self) -> dict[str, Any]:
        return {"kind": self.kind, "dtype": self.dtype, "parts": self.parts}


@dataclasses.dataclass(frozen=True)
class Step:
    """Equal steps: k = x / step rounded, x̂ = k · step."""

    kind: ClassVar[str] = "step"
    dtype: str
    step: float

    def index(self, x: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return np.asarray(np.clip(np.rint(_safe(x) / self.step), -(2.0**53), 2.0**53).astype(np.int64))

    def value(self, index: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return np.asarray((index * self.step).astype(self.dtype))

    def card(self) -> dict[str, Any]:
        return {"kind": self.kind, "dtype": self.dtype, "step": self.step}


class Relative:
    """Cells of equal relative width within every octave, by exponent and significand as integers.

    The significands 2^(p−1) ≤ M < 2^p are cut into segments of equal cells: a cell from a to b stands for r with
    r − a ≤ εa and b − r ≤ εb. Zero is 0; the first normal octave's cells follow, and so on; negative numbers mirror.
    """

    kind: ClassVar[str] = "relative"

    def __init__(self, dtype: str, error: float) -> None:
        self.dtype, self.error = dtype, error
        self.size = np.dtype(dtype).itemsize
        p = DIGITS[self.size]
        eps = Fraction(error) * (1 - MARGIN)
        low, high = 1 << (p - 1), 1 << p
        cells = max(1, int(Fraction(7, 20) / eps) // MOST_SEGMENTS)
        starts, widths, reps, base = [], [], [], [0]
        a = low
        while a < high:
            r = min(int(a * (1 + eps)), high - 1)
            b = min(int(r / (1 - eps)), high - 1)
            starts.append(a)
            widths.append(b - a + 1)
            reps.append(r - a)
            count = min(cells, -(-(high - a) // widths[-1]))
            base.append(base[-1] + count)
            a += count * widths[-1]
        self.starts, self.widths, self.reps, self.base = (np.array(v, np.int64) for v in (starts, widths, reps, base))
        self.octave = base[-1]

    def index(self, x: np.ndarray) -> np.ndarray:
        p = DIGITS[self.size]
        b = np.ascontiguousarray(x.astype(self.dtype)).view(f"i{self.size}").astype(np.int64)
        magnitude = b & ((1 << (8 * self.size - 1)) - 1)
        exponent = magnitude >> (p - 1)
        significand = (magnitude & ((1 << (p - 1)) - 1)) | (1 << (p - 1))
        s = np.searchsorted(self.starts, significand, "right") - 1
        cell = self.base[s] + (significand - self.starts[s]) // self.widths[s]
        k = np.where(exponent > 0, 1 + (exponent - 1) * self.octave + cell, 0)
        return np.where(b < 0, -k, k)

    def value(self, index: np.ndarray) -> np.ndarray:
        p = DIGITS[self.size]
        most = (1 << (8 * self.size - p)) - 2
        k = np.minimum(np.where(index == np.iinfo(np.int64).min, 0, np.abs(index)), most * self.octave)
        exponent, cell = np.divmod(k - 1, self.octave)
        s = np.searchsorted(self.base, cell, "right") - 1
        significand = self.starts[s] + (cell - self.base[s]) * self.widths[s] + self.reps[s]
        significand = np.minimum(significand, (1 << p) - 1)
        b = ((exponent + 1) << (p - 1)) | (significand & ((1 << (p - 1)) - 1))
        out = np.where(k == 0, 0, b).astype(f"i{self.size}").view(self.dtype)
        return np.where(index < 0, -out, out)

    def card(self) -> dict[str, Any]:
        return {"kind": self.kind, "dtype": self.dtype, "error": self.error}


class Cover:
    """Rounded numbers in as few cells as the bound allows: each takes in as many points k / parts as it can.

    Cells are laid from zero outwards, greedily, which is the least number for intervals of given length; the point for
    which a cell stands lies halfway between its ends. Negative numbers mirror.
    """

    kind: ClassVar[str] = "cover"

    def __init__(self, dtype: str, parts: int, error: float, relative: bool, last: int) -> None:
        self.dtype, self.parts, self.bound, self.last = dtype, parts, Bound(error, relative), last
        kind = np.dtype(dtype)
        points = (np.arange(last + 2) / parts).astype(kind)
        at = points.astype(np.float64)
        # Just below 1 + 2ε or so, and then tried: rounding decides whether one point more has room.
        if relative:
            reach = np.searchsorted(at, at * ((1 + error) / (1 - error) * (1 + 1e-6)), "right") - 1
        else:
            reach = np.searchsorted(at, at + 2 * error * (1 + 1e-6), "right") - 1
        zero = 0 if relative else int(np.searchsorted(at, error, "right") - 1)
        firsts, values = [0], [kind.type(0)]
        halfway = self._halfway(points, reach)
        k = zero + 1
        while k <= last:
            end, value = halfway[0][k], halfway[1][k]
            firsts.append(k)
            values.append(value)
            k = int(end) + 1
        self.firsts, self.values = np.array([*firsts, k], np.int64), np.array(values, kind)

    def _halfway(self, points: np.ndarray, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each first point, the last that one cell can hold, and the value halfway."""
        k = np.arange(len(points))
        end = np.clip(reach, k, len(points) - 1)
        value = points.copy()
        found = np.zeros(len(points), bool)
        for back in range(4):
            last = np.maximum(end - back, k)
            low, high = points.astype(np.float64), points[last].astype(np.float64)
            # The mean of the bounds where both errors are equal: halfway, or harmonically for relative ones.
            middle = (
                2 * low * high / np.where(low + high > 0, low + high, 1) if self.bound.relative else (low + high) / 2
            )
            centre = middle.astype(points.dtype)
            for candidate in (centre, np.nextafter(centre, points.dtype.type(0)), np.nextafter(centre, points[-1])):
                good = ~found & self.bound.holds(points, candidate) & self.bound.holds(points[last], candidate)
                value[good], end[good] = candidate[good], last[good]
                found |= good
        end[~found] = k[~found]
        return end, value

    @property
    def measure(self) -> np.ndarray:
        """Number of points in each cell, from zero outwards; the cell of zero on one side."""
        return np.diff(self.firsts)

    def index(self, x: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            k = np.minimum(np.rint(np.abs(_safe(x)) * self.parts), self.last).astype(np.int64)
        c = self._cells[k].astype(np.int64)
        return np.asarray(np.where(_safe(x) < 0, -c, c))

    @functools.cached_property
    def _cells(self) -> np.ndarray:
        """The cell of each point up to `last`."""
        return np.repeat(np.arange(len(self.values), dtype=np.int32), self.measure)[: self.last + 1]

    def value(self, index: np.ndarray) -> np.ndarray:
        out = self.values[np.clip(np.abs(index), 0, len(self.values) - 1)]
        return np.asarray(np.where(index < 0, -out, out))

    def card(self) -> dict[str, Any]:
        error, relative = self.bound.error, self.bound.relative
        base = {"kind": self.kind, "dtype": self.dtype, "parts": self.parts}
        return {**base, "error": error, "relative": relative, "last": self.last}


GRIDS: dict[str, Any] = {g.kind: g for g in (Lattice, Step, Relative, Cover)}


def grid_of(card: dict[str, Any] | None) -> Grid | None:
    """The grid that `Grid.card` described."""
    return None if card is None else _made(**card)


@functools.lru_cache(maxsize=256)
def _made(kind: str, **settings: Any) -> Grid:
    made: Grid = GRIDS[kind](**settings)
    return made


def _parts(x: np.ndarray) -> int:
    """Reciprocal of the spacing if nearly all of x are decimal fractions, coarser than their type; else 0."""
    for parts in (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000):
        k = np.rint(x.astype(np.float64) * parts)
        fits = ((k / parts).astype(x.dtype) == x) & (np.abs(k) < 2.0 ** (DIGITS[x.dtype.itemsize] - 3))
        if fits.mean() > 0.999 and np.abs(k[fits]).max() > 0:
            return parts
    return 0


def choose_grid(x: np.ndarray, bound: Bound | None) -> Grid | None:
    """The grid for cells like x under a bound; None where bit patterns are best."""
    dtype = x.dtype.name
    with np.errstate(over="ignore", invalid="ignore"):
        x = x[np.isfinite(x) & (x != 0)]
        parts = _parts(x) if len(x) else 0
    if bound is None:
        return Lattice(dtype, parts) if parts else None
    if not len(x):
        return Relative(dtype, bound.error) if bound.relative else Step(dtype, 2 * bound.error)
    largest = float(np.abs(x).max())
    if parts:
        k = np.abs(x.astype(np.float64)) * parts
        room = 2 * bound.error * (float(np.median(k)) if bound.relative else parts)
        last = 1 << int(min(2 * k.max() + 8, 2.0**61)).bit_length()
        if room < 1 and not bound.relative:
            return Lattice(dtype, parts)
        cells = (np.log(max(last, 2)) + 10) / bound.error if bound.relative else last / room
        if room <= MOST_POINTS and last <= 1 << 21 and cells <= MOST_CELLS:
            return _made("cover", dtype=dtype, parts=parts, error=bound.error, relative=bound.relative, last=last)
        if room < 1:
            return Lattice(dtype, parts)
    if bound.relative:
        tiny = 2.0 ** -DIGITS[x.dtype.itemsize]
        return Relative(dtype, bound.error) if bound.error > tiny else None
    # x̂ itself is rounded to the type, by up to half of its last digit.
    half = float(np.spacing(x.dtype.type(min(largest, float(np.finfo(x.dtype).max) / 2)))) / 2
    if bound.error < 2 * half or largest / bound.error > 2.0**51:
        return None
    return Step(dtype, 2 * (bound.error - half))
