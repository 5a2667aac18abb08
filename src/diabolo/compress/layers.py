"""Layers in whole numbers whose sums are exact in floating point, in whatever order a machine takes them."""

from __future__ import annotations

import dataclasses

import numpy as np

from diabolo.errors import CompressedFileError

__all__ = ["MOST", "Layer", "through"]

#: The largest activation.
MOST = 511
#: Whole numbers up to these are exact in single and in double precision.
SINGLE, DOUBLE = 1 << 24, 1 << 53


@dataclasses.dataclass
class Layer:
    """y = ⌊(Wx + b) / 2^s⌋, cut to 0..511 unless it is the last, with W [out, in] and b [out] int64.

    Args:
        reach: [in] largest |x|.

    Raises:
        CompressedFileError: a sum could leave what double precision holds exactly.
    """

    w: np.ndarray
    b: np.ndarray
    shift: int
    reach: np.ndarray
    last: bool = False
    #: [out] largest |bias| where others take the place of b.
    widest: np.ndarray | None = None

    def __post_init__(self) -> None:
        if max(np.abs(self.w).max(initial=0), np.abs(self.b).max(initial=0)) > 1 << 40 or not 0 <= self.shift <= 40:
            raise CompressedFileError("a layer with impossible weights")
        bias = np.abs(self.b if self.widest is None else self.widest)
        most = float((np.abs(self.w).astype(np.float64) @ self.reach + bias).max(initial=0))
        if most >= DOUBLE / 2:
            raise CompressedFileError("a layer whose sums are too large to be exact")
        self.dtype = np.dtype(np.float32 if most < SINGLE else np.float64)
        self._w = np.ascontiguousarray(self.w.astype(self.dtype))
        self._b = self.b.astype(self.dtype)[:, None]

    def __call__(self, x: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
        """x [in, n] of whole numbers to [out, n]; `bias` [out] takes the place of b and stays within its size."""
        y = self._w @ x.astype(self.dtype, copy=False)
        y += self._b if bias is None else bias.astype(self.dtype)[:, None]
        y *= self.dtype.type(2.0**-self.shift)
        np.floor(y, out=y)
        if not self.last:
            np.clip(y, 0, MOST, out=y)
        return y


def through(layers: list[Layer], x: np.ndarray) -> np.ndarray:
    """x [in, n] through layers in turn."""
    for layer in layers:
        x = layer(x)
    return x
