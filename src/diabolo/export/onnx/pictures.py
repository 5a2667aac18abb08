"""The default score of images as operations: `diabolo.detect.pictures`."""

from __future__ import annotations

import numpy as np

from diabolo.detect.pictures import LISTED, SMOOTH, Pictures
from diabolo.detect.reference import Stored
from diabolo.export.onnx.encoding import Row
from diabolo.export.onnx.graph import FLOAT, Graph, ints

__all__ = ["picture_score"]

#: Squared distance below which two images are the same: a share of an image's, and that of a pixel in its spreads.
SAME, ROUNDED = 1e-10, 1e-12
#: What puts a row beyond all others.
FARTHEST = 1e30


def picture_score(g: Graph, pictures: Pictures, kept: Stored, row: Row) -> str:
    """The score of `Pictures`, [n, 1] float; a row is not its own neighbor."""
    x, contrast = _normalized(g, row.x, pictures.shape)
    stored = pictures.stored.numpy()
    # One constant for products and differences: the file holds the stored images once.
    length = np.square(stored).sum(-1)[None]
    squared = g.op("Gemm", x, stored, length, alpha=-2.0, transB=1)
    at = g.smallest(squared, pictures.local + 1, ordered=True)[1]
    few = min(LISTED, pictures.local) + 1
    listed = g.columns(at, range(few), pictures.local + 1)
    apart = g.op("Sub", g.op("Gather", stored, listed, axis=0), g.op("Unsqueeze", x, ints(1)))
    apart = g.op("ReduceSumSquare", apart, ints(2), keepdims=0)
    below = g.op("Add", g.op("Mul", contrast, SAME), ROUNDED)
    own = g.cast(g.op("Less", g.op("Mul", apart, contrast), below), FLOAT)
    # A row of other cells that are no inputs is a new one, and of equal rows the first is meant.
    own = g.op("Mul", own, g.op("Gather", kept.firsts().astype(np.float32), listed))
    if row.changed is not None:
        own = g.op("Mul", own, g.cast(g.op("Not", g.anywhere(row.changed)), FLOAT))
    out = _left_out(g, own, pictures.local + 1)
    far = g.op("Add", apart, g.op("Mul", g.columns(out, range(few), pictures.local + 1), FARTHEST))
    near = g.op("ReduceMean", g.op("Sqrt", g.smallest(far, pictures.near)[0]), ints(1), keepdims=1)
    usual = g.op("Mul", g.op("Gather", pictures.usual.numpy(), at), g.op("Sub", 1.0, out))
    view = g.op("Div", near, g.op("Sqrt", g.op("Div", g.total(usual), float(pictures.local))))
    return g.op("Div", g.op("Sub", view, float(pictures.location)), float(pictures.scale))


def _left_out(g: Graph, own: str, count: int) -> str:
    """Which of the nearest rows counts for nothing, [n, count] of 0 and 1: the row itself, else the last one.

    Args:
        g: the graph.
        own: [n, few] whether one of the first ones is the row itself.
        count: nearest rows.
    """
    found = g.op("ReduceMax", own, ints(1), keepdims=1)
    at = g.op("ArgMax", own, axis=1, keepdims=1)
    at = g.op("Where", g.op("Greater", found, 0.5), at, ints(count - 1)[None])
    return g.cast(g.op("Equal", at, np.arange(count)[None]), FLOAT)


def _normalized(g: Graph, x: str, shape: tuple[int, int, int]) -> tuple[str, str]:
    """Images as `diabolo.detect.pictures.normalized` makes them, and the squared contrast of a pixel [n, 1]."""
    h, w, c = shape
    pixels = g.op("Transpose", g.op("Reshape", x, ints(-1, h, w, c)), perm=[0, 3, 1, 2])
    side = min(SMOOTH, h, w)
    pads = [side // 2] * 4
    smooth = g.op("AveragePool", pixels, kernel_shape=[side, side], strides=[1, 1], pads=pads, count_include_pad=0)
    flat = g.op("Flatten", smooth)
    flat = g.op("Sub", flat, g.op("ReduceMean", flat, ints(1), keepdims=1))
    length = g.op("ReduceL2", flat, ints(1), keepdims=1)
    # An even side has a border more, and so other pixels.
    pixels_left = (h + 2 * (side // 2) - side + 1) * (w + 2 * (side // 2) - side + 1) * c
    unit = g.op("Div", flat, g.op("Max", length, 1e-30))
    seen = g.op("Greater", length, float(1e-4 * pixels_left**0.5))
    contrast = g.op("Div", g.op("Mul", length, length), float(pixels_left))
    return g.op("Where", seen, unit, 0.0), contrast
