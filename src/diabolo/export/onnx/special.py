"""Functions that ONNX has no operation for: log Γ, and the logarithm of the scaled Bessel function I₀."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from diabolo.export.onnx.graph import Graph, Operand

__all__ = ["log_gamma", "log_i0e"]

#: x is moved up by so much, where Stirling's series has twelve digits.
SHIFT = 8
#: Stirling's series in 1/x, 1/x³, ... (Abramowitz, Stegun 1964, 6.1.41).
STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188)
#: I₀(x) in (x/3.75)² up to x = 3.75, and √x e^(−x) I₀(x) in 3.75/x above, to 2e-7 (Abramowitz, Stegun 9.8.1, 9.8.2).
NEAR = (1.0, 3.5156229, 3.0899424, 1.2067492, 0.2659732, 0.0360768, 0.0045813)
FAR = (0.39894228, 0.01328592, 0.00225319, -0.00157565, 0.00916281, -0.02057706, 0.02635537, -0.01647633, 0.00392377)
CUT = 3.75


def _polynomial(g: Graph, x: str, coefficients: Sequence[float], kind: type) -> str:
    """c₀ + c₁ x + c₂ x² + ..., by Horner's rule."""
    terms: list[Operand] = [np.array(c, kind) for c in coefficients]
    out = g.op("Mul", x, terms[-1])
    for term in terms[-2:0:-1]:
        out = g.op("Mul", g.op("Add", out, term), x)
    return g.op("Add", out, terms[0])


def log_gamma(g: Graph, x: str) -> str:
    """log Γ(x) of doubles x > 0: Stirling's series at x + 8, less log x (x + 1) ... (x + 7)."""
    product, moved = x, x
    for _ in range(SHIFT - 1):
        moved = g.op("Add", moved, np.array(1.0))
        product = g.op("Mul", product, moved)
    moved = g.op("Add", moved, np.array(1.0))
    inverse = g.op("Div", np.array(1.0), moved)
    series = g.op("Mul", inverse, _polynomial(g, g.op("Mul", inverse, inverse), STIRLING, np.float64))
    main = g.op("Mul", g.op("Sub", moved, np.array(0.5)), g.op("Log", moved))
    main = g.op("Add", g.op("Sub", main, moved), np.array(0.5 * math.log(2 * math.pi)))
    return g.op("Sub", g.op("Add", main, series), g.op("Log", product))


def log_i0e(g: Graph, x: str) -> str:
    """log (e^(−x) I₀(x)) of single precision x ≥ 0."""
    low = g.op("Div", g.op("Min", x, CUT), CUT)
    near = g.op("Sub", g.op("Log", _polynomial(g, g.op("Mul", low, low), NEAR, np.float32)), x)
    high = g.op("Max", x, CUT)
    far = g.op("Log", _polynomial(g, g.op("Div", CUT, high), FAR, np.float32))
    far = g.op("Sub", far, g.op("Mul", g.op("Log", high), 0.5))
    return g.op("Where", g.op("Less", x, CUT), near, far)
