"""The default score of images as operations: `diabolo.detect.pictures`."""

from __future__ import annotations

import numpy as np

from diabolo.detect.pictures import SMOOTH, Pictures
from diabolo.export.onnx.encoding import Row
from diabolo.export.onnx.graph import Graph, ints

__all__ = ["picture_score"]


def picture_score(g: Graph, pictures: Pictures, row: Row) -> str:
    """The score of `Pictures`, [n, 1] float."""
    x = _normalized(g, row.x, pictures.shape)
    stored = pictures.stored.numpy()
    product = g.op("MatMul", x, -2 * stored.T)
    squared = g.op("Add", product, np.square(stored).sum(-1)[None])
    squared = g.op("Add", squared, g.op("ReduceSumSquare", x, ints(1), keepdims=1))
    value, at = g.smallest(g.op("Max", squared, 0.0), pictures.local, ordered=True)
    near = g.op("ReduceMean", g.op("Sqrt", g.columns(value, range(pictures.near))), ints(1), keepdims=1)
    usual = g.op("ReduceMean", g.op("Gather", pictures.usual.numpy(), at), ints(1), keepdims=1)
    view = g.op("Div", near, g.op("Sqrt", usual))
    return g.op("Div", g.op("Sub", view, float(pictures.location)), float(pictures.scale))


def _normalized(g: Graph, x: str, shape: tuple[int, int, int]) -> str:
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
    return g.op("Where", g.op("Greater", length, float(1e-4 * pixels_left**0.5)), unit, 0.0)
