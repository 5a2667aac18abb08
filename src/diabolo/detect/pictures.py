"""The view of a row that is an image: how far its nearest stored images are once contrast is divided out.

Simple images lie close to all others: two images of thin strokes have few bright pixels, so they are near each other
whatever they show, and a network reconstructs them well even if it has seen none. Pixel distances depend more on the
amount of ink than on its shape. Hence each image is smoothed a little (strokes that are a pixel apart overlap), its
mean is taken out and its length made 1 (global contrast normalization; Goodfellow et al. 2013, arXiv:1302.4389, and for
anomalies Ruff et al. 2018). The neighborhood then divides out half of the remaining effect.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diabolo.data.encoding import Encoded, Encoding
from diabolo.detect.least import without
from diabolo.device import Movable

__all__ = ["LISTED", "SMOOTH", "Pictures", "normalized"]

#: Neighbors of a row, and the neighbors whose own distances are the usual ones there.
NEAR, LOCAL = 5, 20
#: Nearest rows of which a distance is the length of a difference: that of a product has few digits where it is short.
LISTED = 10
#: Side of the square over which pixels are averaged.
SMOOTH = 3
#: Rows whose distances are held at once.
HELD = 1_024


def normalized(x: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Images [B, ≥ h·w·c] in C order, smoothed, with mean 0 and length 1, [B, h·w·c]; a uniform one is all zeros.

    Blind to brightness and contrast: normalized(a·x + b) = normalized(x) for a > 0.
    """
    h, w, c = shape
    pixels = x[:, : h * w * c].reshape(-1, h, w, c).permute(0, 3, 1, 2)
    side = min(SMOOTH, h, w)
    # Beyond the border nothing was seen, which is not the same as dark.
    smooth = torch.nn.functional.avg_pool2d(pixels, side, 1, side // 2, count_include_pad=False)
    flat = smooth.flatten(1)
    flat = flat - flat.mean(-1, keepdim=True)
    length = flat.norm(dim=-1, keepdim=True)
    # Rounding of a uniform image must not become a picture of its own.
    return torch.where(length > 1e-4 * flat.shape[-1] ** 0.5, flat / length.clamp_min(1e-30), 0.0)


class Pictures(Movable):
    r"""One view of images, d(x) / √d̄(x), with the interface of `Views`.

    d is the mean distance of the normalized image to the nearest 5 stored ones, d̄ the mean of the same number over
    its nearest 20 stored ones, each without itself. It is the geometric mean of the distance and of its ratio to the
    usual one in the neighborhood (Breunig et al. 2000): the distance alone favors complex images, the ratio alone
    ignores the distance of the neighborhood itself.

    Args:
        encoding: the main model's, of images.
        values: [n, C] stored rows in the schema's order.

    Attributes:
        shape: (h, w, channels).
        stored: [n, h·w·c] normalized stored images.
        near, local: neighbors of a row, and those whose own distances are the usual ones there.
        usual: [n] each stored row's own distance.
        location, scale: [1, 1] of the view.
    """

    def __init__(self, encoding: Encoding, values: np.ndarray) -> None:
        if encoding.shape is None:
            raise ValueError("the rows are no images")
        self.shape = encoding.shape
        rows = encoding.encode(torch.from_numpy(np.array(values)))
        self.stored = normalized(rows.x, self.shape)
        n = len(self.stored)
        self.near, self.local = min(NEAR, n - 1), min(LOCAL, n - 1)
        at = torch.arange(n)
        pairs = [self._nearest(self.stored[s : s + HELD], at[s : s + HELD]) for s in range(0, n, HELD)]
        distance = torch.cat([d for d, _ in pairs])
        # Copies divide nothing by zero.
        self.usual = distance + 1e-3 * distance.median() + 1e-6
        own = torch.cat([self._beside(d, i) for d, i in pairs]).double()
        middle, high = own.quantile(0.5), own.quantile(0.95)
        self.location = middle.float().reshape(1, 1)
        self.scale = (high - middle).clamp_min(1e-3).float().reshape(1, 1)

    def __call__(self, rows: Encoded, own: Tensor | None = None) -> Tensor:
        """The score of rows, [B]: the view above its median over stored rows, in units up to their 95th percentile.

        Args:
            rows: encoded by the encoding of the stored ones.
            own: [B] which stored row a row is, −1 for none; None for none at all.
        """
        return ((self.measure(rows, own) - self.location) / self.scale)[0]

    def measure(self, rows: Encoded, own: Tensor | None = None) -> Tensor:
        """The view of rows [B], [1, B], up = farther."""
        mine = torch.full((len(rows),), -1, device=rows.x.device) if own is None else own
        x, out = normalized(rows.x, self.shape), rows.x.new_empty(1, len(rows))
        for start in range(0, len(rows), HELD):
            part = slice(start, start + HELD)
            out[0, part] = self._beside(*self._nearest(x[part], mine[part]))
        return out

    def _beside(self, distance: Tensor, nearest: Tensor) -> Tensor:
        return distance / self.usual[nearest].mean(-1).sqrt()

    def _nearest(self, x: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """Mean distance to the nearest stored rows [B], and positions of 20 [B, 20]; a row's `own` is left out."""
        squared = torch.addmm(self.stored.square().sum(-1), x, self.stored.T, alpha=-2.0)
        squared += x.square().sum(-1, keepdim=True)
        without(squared, own)
        at = squared.topk(self.local, largest=False).indices
        apart = (self.stored[at[:, :LISTED]] - x[:, None]).square_().sum(-1)
        return apart.topk(self.near, largest=False).values.sqrt().mean(-1), at
