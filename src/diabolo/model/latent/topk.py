"""A point of which few dimensions speak."""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor

from diabolo.model.drawn import for_rows
from diabolo.model.latent.base import Latent, Posterior, latents
from diabolo.model.latent.point import PointPosterior

__all__ = ["TopK"]

#: While it trains, of this share of rows each dimension is silent with this probability. Else the dimensions that are
#: loud at first are the only ones that learn, and what is left over speaks in a few odd rows alone.
SHARE, SILENT = 0.25, 0.2


@dataclasses.dataclass
class KeptPosterior(PointPosterior):
    """A point that was chosen among the numbers `whole` [*, B, K]."""

    whole: Tensor


@latents.register("topk")
class TopK(Latent):
    """z = q(x) with all but its k largest |z_j| set to 0: a row speaks in k dimensions, whatever their scale.

    The k-sparse autoencoder (Makhzani, Frey 2013, arXiv:1312.5663). The gradient passes through what is kept. In a
    quarter of the rows of each training step, a fifth of the dimensions at random is silent and others speak instead.
    """

    limits = True
    #: Dimensions that a row may use, any k of the K. None: ⌈K/4⌉.
    k: Annotated[int, Ge(1), Le(65536)] | None = None

    def width(self, latent_dim: int) -> int:
        return latent_dim

    def default_dim(self, columns: int) -> int:
        """8 round(√C), at most 2 C: more dimensions than a row uses."""
        return max(1, min(8 * round(math.sqrt(columns)), 2 * columns))

    def posterior(self, h: Tensor) -> Posterior:
        return KeptPosterior(self.kept(h), h)

    def in_training(self, posterior: Posterior, generator: torch.Generator) -> Posterior:
        if not isinstance(posterior, KeptPosterior) or self._speaking(posterior.whole) >= posterior.whole.shape[-1]:
            return posterior
        h = posterior.whole

        def draw(shape: tuple[int, ...]) -> Tensor:
            return torch.rand(shape, generator=generator, device=h.device)

        some = for_rows(draw, (*h.shape[:-1], 1), generator) < SHARE
        silent = some & (for_rows(draw, tuple(h.shape), generator) < SILENT)
        return KeptPosterior(self.kept(torch.where(silent, 0.0, h)), h)

    def _speaking(self, z: Tensor) -> int:
        """k of codes z [*, K]."""
        return -(-z.shape[-1] // 4) if self.k is None else self.k

    def kept(self, z: Tensor) -> Tensor:
        """z [*, K] with all but the k largest set to 0; of equal ones all stay."""
        k = self._speaking(z)
        if k >= z.shape[-1]:
            return z
        size = z.abs()
        least = size.detach().topk(k, dim=-1).values[..., -1:]
        return torch.where(size >= least, z, 0.0)
