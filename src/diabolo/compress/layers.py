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
        self._b = self.b.astype(self.dtype)[:, None]
        self._w: dict[tuple[int, ...], list[np.ndarray]] = {}

    def __call__(self, *parts: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
        """x [in, n] of whole numbers, in parts [·, n], to [out, n].

        Args:
            bias: [out] in the place of b, within `widest`.
        """
        sizes = tuple(len(x) for x in parts)
        if sizes not in self._w:
            columns = np.split(self.w, np.cumsum(sizes)[:-1], axis=1)
            self._w[sizes] = [np.ascontiguousarray(w.astype(self.dtype)) for w in columns]
        y = None
        for w, x in zip(self._w[sizes], parts, strict=True):
            if len(x) or y is None:
                product = w @ x.astype(self.dtype, copy=False)
                y = product if y is None else np.add(y, product, out=y)
        y = np.asarray(y)
        y += self._b if bias is None else bias.astype(self.dtype)[:, None]
        if self.shift:
            y *= self.dtype.type(2.0**-self.shift)
            np.floor(y, out=y)
        if not self.last:
            np.maximum(y, 0, out=y)
            np.minimum(y, MOST, out=y)
        return y


def through(layers: list[Layer], x: np.ndarray) -> np.ndarray:
    """x [in, n] through layers in turn."""
    for layer in layers:
        x = layer(x)
    return x
