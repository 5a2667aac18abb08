"""A point of which few dimensions speak."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor

from diabolo.model.latent.base import Latent, Posterior, latents
from diabolo.model.latent.point import PointPosterior

__all__ = ["TopK"]


@latents.register("topk")
class TopK(Latent):
    """z = q(x) with all but its k largest |z_j| set to 0: a row speaks in k dimensions, whatever their scale.

    The k-sparse autoencoder (Makhzani, Frey 2013, arXiv:1312.5663). The gradient passes through what is kept.
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
        return PointPosterior(self.kept(h))

    def kept(self, z: Tensor) -> Tensor:
        """z [*, K] with all but the k largest set to 0; of equal ones all stay."""
        count = z.shape[-1]
        k = -(-count // 4) if self.k is None else self.k
        if k >= count:
            return z
        size = z.abs()
        least = size.detach().topk(k, dim=-1).values[..., -1:]
        return torch.where(size >= least, z, 0.0)
