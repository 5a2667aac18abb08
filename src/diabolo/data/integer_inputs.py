"""The inputs of a network in whole numbers: cells as 16-bit integers, and those shifted to a few bits.

    x_int = ⌊value / unit + ½⌋ within 16 bits,    x = ⌊(x_int − offset) / 2^shift⌋ within `bits`,    x · 2^−fraction

The last is the standardised cell that a network sees, so that what a trigger's hardware makes of its own integers is
what the fit was trained on. Units, and the scale unit · 2^(shift + fraction), are powers of two.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from diabolo.config import Config
from diabolo.data.dtypes import TEXT, is_date, is_time
from diabolo.errors import ColumnsError, ConfigError

__all__ = ["MOST_INPUTS", "WORD", "IntegerInputs", "check_fixed_inputs", "input_fault", "integer_inputs"]

#: Largest integer that comes in, and inputs at most.
WORD, MOST_INPUTS = (1 << 15) - 1, 4096
#: Bits of a float's integer below those that the network sees, at most; and largest bound of a standardised cell.
GUARD, MOST_CLIP = 4, 1024.0
#: Integers in a column's spread, at least, as a power of two.
COARSEST = 2
#: Bits of a shift, at most.
SHIFT = 30
#: Exponents that are powers of two in double precision whatever is done with them.
EXPONENT = 200


@dataclasses.dataclass(frozen=True)
class IntegerInputs:
    """The map of C columns.

    Attributes:
        unit: of x_int, [C] float64, powers of two.
        offset: [C] int64.
        shift: [C] int64; below 0, a shift to the left.
        bits: of an input, its sign among them.
        fraction: bits of an input behind the point.
    """

    unit: np.ndarray
    offset: np.ndarray
    shift: np.ndarray
    bits: int
    fraction: int

    @staticmethod
    def of(center: np.ndarray, scale: np.ndarray, unit: np.ndarray, clip: float, bits: int) -> IntegerInputs:
        """From centers, scales and units [C], and the largest standardised cell.

        Raises:
            ConfigError: numbers that are no powers of two, or a center that is no multiple of its unit.
        """
        mantissas = [np.frexp(numbers)[0] for numbers in (scale, unit, [clip])]
        exponents = np.concatenate([np.frexp(numbers)[1] for numbers in (scale, unit)])
        if not all((m == 0.5).all() for m in mantissas) or not 1 <= clip <= MOST_CLIP:
            raise ConfigError("scales, units and clip of a network in whole numbers are powers of two")
        if np.abs(exponents).max(initial=0) > EXPONENT:
            raise ConfigError(f"a unit or a scale of an input is beyond 2^±{EXPONENT}")
        offset = center / unit
        if not (np.abs(offset) <= WORD + 1).all() or not (offset == np.round(offset)).all():
            raise ConfigError("a center is no multiple of its column's unit, or beyond 16 bits")
        fraction = bits - 1 - round(math.log2(clip))
        shift = np.round(np.log2(scale / unit)).astype(np.int64) - fraction
        if np.abs(shift).max(initial=0) > SHIFT:
            raise ConfigError(f"an input is shifted by more than {SHIFT} bits")
        return IntegerInputs(unit, offset.astype(np.int64), shift, bits, fraction)

    @property
    def low(self) -> int:
        """The least input."""
        return -(1 << (self.bits - 1))

    @property
    def high(self) -> int:
        """The largest input."""
        return (1 << (self.bits - 1)) - 1

    def words(self, values: np.ndarray) -> np.ndarray:
        """x_int of cells [n, C] without missing ones, int64 within 16 bits."""
        scaled = np.floor(np.asarray(values, np.float64) / self.unit + 0.5)
        return np.asarray(np.clip(scaled, -WORD - 1, WORD).astype(np.int64))

    def inputs(self, words: np.ndarray) -> np.ndarray:
        """The network's inputs of integers [n, C], int64."""
        apart = np.asarray(words, np.int64) - self.offset
        moved = np.where(self.shift >= 0, apart >> np.maximum(self.shift, 0), apart << np.maximum(-self.shift, 0))
        return np.asarray(np.clip(moved, self.low, self.high))


def check_fixed_inputs(config: Config, columns: int, shape: tuple[int, ...] | None) -> None:
    """Refuse settings that give a column another place than an input of its own.

    Raises:
        ConfigError: all of them.
    """
    if config.quantize is None:
        return
    other = sorted({kind for kind in (config.kinds or {}).values() if kind != "real"})
    said = [
        f"kinds has {', '.join(other)}: leave it out, every column is real" if other else "",
        "slots: leave it out, every column is an input" if config.slots and config.slots != "auto" else "",
        "angles: leave it out, an angle enters as a number" if config.angles not in ("auto", ()) else "",
        "scaling='none': leave it out, scales are powers of two" if config.scaling == "none" else "",
        f"clip = {config.clip:g}: allowed are 1 to {MOST_CLIP:g}" if config.clip > MOST_CLIP else "",
        f"{columns:,} columns: allowed are {MOST_INPUTS:,}" if columns > MOST_INPUTS else "",
        "images: allowed are tables of columns" if shape is not None else "",
    ]
    if any(said):
        raise ConfigError(f"quantize: {'; '.join(s for s in said if s)}")


def input_fault(dtype: str, missing: float) -> str:
    """Why a column cannot be an input of a network in whole numbers, as a sentence without its subject."""
    if dtype in TEXT or is_date(dtype) or is_time(dtype):
        return f"holds {'text' if dtype in TEXT else dtype}; a network in whole numbers takes numbers"
    if missing > 0:
        return f"has missing cells ({missing:.2%}); a network in whole numbers takes a number in every cell"
    return ""


def integer_inputs(
    ranges: Sequence[tuple[str, str, float, float]], center: np.ndarray, scale: np.ndarray, clip: float, bits: int
) -> tuple[IntegerInputs, np.ndarray, np.ndarray, float]:
    """The map of columns of some center and scale, and center, scale and clip as they become by it.

    A column of integers keeps them, so far as 16 bits hold them. One of floats has a unit below the step that the
    network sees, by up to `GUARD` bits.

    Args:
        ranges: name, type, least and largest cell of each column.

    Raises:
        ColumnsError: columns whose cells and spread do not fit 16 bits together.
    """
    bound = 2.0 ** math.ceil(math.log2(clip))
    fraction = bits - 1 - round(math.log2(bound))
    exponent = np.clip(np.round(np.log2(scale)), -EXPONENT // 2, EXPONENT // 2).astype(np.int64)
    unit, faults = np.ones(len(scale)), {}
    for i, (name, dtype, low, high) in enumerate(ranges):
        most = max(abs(low), abs(high), abs(float(center[i])), 1e-60)
        # Cells twice as large as any in training still fit.
        least = math.ceil(math.log2(2 * most / WORD))
        if np.dtype(dtype).kind in "iub" and most <= WORD:
            continue
        step = int(exponent[i]) - fraction
        unit[i] = 2.0 ** max(least, step - GUARD)
        if least > int(exponent[i]) - COARSEST and low == high:
            exponent[i] = least + COARSEST
        elif least > int(exponent[i]) - COARSEST:
            faults[name] = (
                f"has cells up to {most:g} beside a spread of {scale[i]:.3g}: the 16 bits of an input do not hold "
                "both; subtract a constant from it"
            )
    if faults:
        raise ColumnsError(faults)
    powers = 2.0**exponent
    offset = np.clip(np.round(center / unit), -WORD - 1, WORD)
    return IntegerInputs.of(offset * unit, powers, unit, bound, bits), offset * unit, powers, bound
