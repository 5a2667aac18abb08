"""Standard normal nodes that stand in for draws of q(z|x): the same for every row, always, in pairs ±ε."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["quadratic_nodes", "radial_nodes"]


def quadratic_nodes(count: int, latent_dim: int) -> Tensor:
    """Nodes [count, K] with mean 0 and covariance 1, so that a mean over them is exact for a quadratic in z.

    Half of them, E [count/2, K], is √(count/2) times orthonormal columns that are uniformly distributed (a QR
    decomposition of normal numbers with diag R > 0: Mezzadri 2007, arXiv:math-ph/0609050). That takes
    K ≤ count/2. Beyond it, columns come in blocks of count/2: second moments are 1 and those within a block are
    exact; between blocks they are 0 up to some (count/2)^−½, the least mean square that so few nodes allow
    where K is a multiple of count/2 (Welch 1974).

    >>> nodes = quadratic_nodes(16, 3)
    >>> bool(torch.allclose(nodes.T @ nodes / 16, torch.eye(3), atol=1e-6))
    True
    """
    half = count // 2
    generator = torch.Generator().manual_seed(0)
    blocks = [
        _orthonormal(half, min(half, latent_dim - start), generator) for start in range(0, latent_dim, max(half, 1))
    ]
    return _both_signs(half**0.5 * torch.cat(blocks, dim=1))


def radial_nodes(count: int, latent_dim: int) -> Tensor:
    """Nodes [count, K] for importance weights: orthogonal directions, radii at the quantiles of |ε| for ε ~ N(0, 1).

    Orthogonal Monte Carlo (Yu et al. 2016, arXiv:1610.09072) with stratified radii. Each node is like a draw of
    N(0, 1), with its tails, which nodes of covariance 1 lack: where K is near count/2, all of those lie at one radius.

    >>> radial_nodes(4, 1).flatten().abs().sort().values
    tensor([0.3186, 0.3186, 1.1503, 1.1503])
    """
    from scipy.special import gammaincinv

    half = count // 2
    generator = torch.Generator().manual_seed(0)
    blocks = [_orthonormal(latent_dim, latent_dim, generator)[: half - start] for start in range(0, half, latent_dim)]
    share = (torch.arange(half, dtype=torch.float64) + 0.5) / half
    radius = torch.from_numpy((2 * gammaincinv(latent_dim / 2, share.numpy())) ** 0.5)
    return _both_signs(torch.cat(blocks) * radius[torch.randperm(half, generator=generator)].unsqueeze(1))


def _orthonormal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    q, r = torch.linalg.qr(torch.randn(rows, columns, dtype=torch.float64, generator=generator))
    oriented: Tensor = q * r.diagonal().sign()
    return oriented


def _both_signs(half: Tensor) -> Tensor:
    return torch.cat([half, -half]).to(torch.float32)
