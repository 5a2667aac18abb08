"""The exact linear part of a model: a factor analysis, which predicts any inputs given any others.

x = μ + W z + e, z ~ N(0, 1), e ~ N(0, Ψ) with Ψ diagonal (Lawley 1940; Bishop 2006, sec. 12.2.4). For a set S of inputs
that are seen, z | x_S is Gaussian, and so is every other input: a linear autoencoder that is exact for every S.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["LinearPart", "standardised"]

#: Least variance that a code leaves of an input: of one that it gives away the network decides how sharp it is.
LEAST = 0.01
#: Inputs enter within ± so many spreads.
FAR = 5.0
#: Columns of a product at least.
COLUMNS = 16
#: Axes of a smaller g say next to nothing of a row, and their gain would blow up whatever a network adds to them.
FAINT = 0.1


def standardised(x: Tensor, center: Tensor, scale: Tensor) -> Tensor:
    """Inputs in units of their mean and spread; a rare level is many spreads away, where nothing is linear."""
    return ((x - center) / scale).clamp(-FAR, FAR)


class LinearPart:
    """W [D, r], Ψ [D], in units in which inputs have mean 0 and variance 1: `center` and `scale` [D].

    Axes lie in the order of falling g_j = (Wᵀ Ψ⁻¹ W)_jj, and Wᵀ Ψ⁻¹ W is diagonal. Of rows that are seen as a whole,
    the code ẑ has the covariance g / (1 + g), so that E[x | ẑ_1..k] = W_k (1 + g)/g ẑ_k: with one ψ for all, the
    projection on k principal components.
    """

    def __init__(self, loadings: Tensor, noise: Tensor, center: Tensor, scale: Tensor) -> None:
        used = int((loadings != 0).any(0).sum())
        self.loadings, self.noise, self.center, self.scale = loadings[:, :used], noise, center, scale
        self.rank = used
        weighted = self.loadings / noise.unsqueeze(-1)
        self._weighted = weighted
        self._outer = (weighted.unsqueeze(-1) * self.loadings.unsqueeze(-2)).flatten(1)
        self._products = (self.loadings.unsqueeze(-1) * self.loadings.unsqueeze(-2)).flatten(1)
        g = (weighted * self.loadings).sum(0)
        #: (1 + g) / g [r], by which the codes of whole rows predict.
        self.gain = torch.where(g > FAINT, (1 + g) / g.clamp_min(FAINT), torch.zeros_like(g))
        total = self.loadings.square().sum(-1) + noise
        known = (self.loadings.square() * self.gain).cumsum(-1)
        #: Variance of each input that k leading axes of a whole row leave, [r + 1, D].
        self.left = torch.cat([total.unsqueeze(0), (total.unsqueeze(-1) - known).t()]).clamp_min(LEAST)

    def code(self, features: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """E[z | x_S] [*, r], and the variance of each input given them [*, D], for features [*, D] and seen [*, D]."""
        apart = torch.matmul(torch.where(seen > 0, features, 0.0), self._weighted)
        precision = torch.matmul(seen, self._outer).reshape(*seen.shape[:-1], self.rank, self.rank)
        precision = precision + torch.eye(self.rank, device=seen.device)
        inverse = inverse_of(precision)
        z = torch.matmul(inverse, apart.unsqueeze(-1)).squeeze(-1)
        variance = self.noise + _product(inverse.flatten(-2), self._products)
        return z, variance.clamp_min(1e-6)

    def mean(self, z: Tensor, inputs: Tensor | None = None) -> Tensor:
        """W z [*, D] in the units of x, or of some inputs alone."""
        loadings, center, scale = self.loadings, self.center, self.scale
        if inputs is not None:
            loadings, center, scale = loadings[inputs], center[inputs], scale[inputs]
        return _product(z, loadings) * scale + center

    def features(self, x: Tensor) -> Tensor:
        """Inputs [*, D] in units of their mean and spread, no farther out than `FAR`."""
        return standardised(x, self.center, self.scale)


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """x [*, k] times weight [D, k], [*, D], with 16 columns at least: a product of fewer rounds a row by its place."""
    columns = len(weight)
    if columns < COLUMNS:
        weight = functional.pad(weight, (0, 0, 0, COLUMNS - columns))
    return torch.matmul(x, weight.t())[..., :columns]


def inverse_of(matrix: Tensor) -> Tensor:
    """The inverse of symmetric positive definite matrices [*, r, r], by Gauss and Jordan without a choice of pivots.

    Plain products, the same for one row as for many; a symmetric positive definite matrix needs no pivoting.
    """
    size = matrix.shape[-1]
    out = matrix.clone()
    for k in range(size):
        pivot = out[..., k : k + 1, k : k + 1].reciprocal()
        row = out[..., k : k + 1, :] * pivot
        column = out[..., :, k : k + 1].clone()
        out = out - column * row
        # The k-th column takes the part of the unit matrix that elimination fills in.
        out[..., :, k] = (-column * pivot).squeeze(-1)
        out[..., k, :] = row.squeeze(-2)
        out[..., k, k] = pivot.squeeze(-1).squeeze(-1)
    return out
