"""The likelihood of angles, periodic."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diabolo.device import to_numpy
from diabolo.memory import Memory
from diabolo.model.likelihood.base import Likelihood, Own, Units, likelihoods
from diabolo.model.prior import HALF_LOG_2PI

#: Mean resultant length of a linear prediction at most.
LONGEST = 0.9


@likelihoods.register("von_mises")
class VonMises(Likelihood):
    """e^(κ cos(φ − φ̂)) / 2π I₀(κ) for angles; the decoder gives κ (cos φ̂, sin φ̂) (Mardia, Jupp 2000, eq. 3.5.17)."""

    kinds = ("angle",)
    density = True

    def width(self, columns: int, inputs: int) -> int:
        return 2 * columns

    def start(self, mean: Tensor, variance: Tensor, units: Units) -> Tensor:
        c, s = mean.chunk(2, dim=-1)
        length = (c.square() + s.square() + 1e-12).sqrt().clamp_min(1e-3)
        # Of a von Mises law of mean resultant length R, κ ≈ R (2 − R²) / (1 − R²) (Banerjee et al. 2005, eq. 4.4). A
        # linear prediction can be longer than a resultant ever is, and a large κ in a wrong direction costs 2 κ.
        r = length.clamp_max(LONGEST)
        kappa = r * (2 - r.square()) / (1 - r.square())
        return torch.cat([c / length * kappa, s / length * kappa], dim=-1)

    @staticmethod
    def _kappa(theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        c, s = theta.chunk(2, dim=-1)
        return c, s, (c.square() + s.square() + 1e-12).sqrt()

    def nll(self, theta: Tensor, own: Own, x: Tensor, units: Units, memory: Memory | None = None) -> Tensor:
        c, s, length = self._kappa(theta)
        cos, sin = x.chunk(2, dim=-1)
        # 1 − cos(φ − φ̂) = ½ |u − û|², without the cancellation.
        half_square = 0.5 * ((cos - c / length).square() + (sin - s / length).square())
        # κ is about 1/σ²; the floor of σ bounds it, and the density stays one.
        kappa = torch.minimum(length, units.floor.square().reciprocal())
        log_i0e: Tensor = torch.special.i0e(kappa).log()
        return 2 * HALF_LOG_2PI + log_i0e + kappa * half_square

    def mean(self, theta: Tensor, units: Units) -> Tensor:
        c, s = theta.chunk(2, dim=-1)
        return torch.atan2(s, c)

    def squared_error(self, theta: Tensor, x: Tensor, units: Units, memory: Memory | None = None) -> Tensor:
        """|e^{iφ} − e^{iφ̂}|² = 2 − 2 cos(φ − φ̂), from 0 to 4."""
        c, s, kappa = self._kappa(theta)
        cos, sin = x.chunk(2, dim=-1)
        return 2 - 2 * (c * cos + s * sin) / kappa

    def _angle_and_kappa(self, theta: Tensor, units: Units) -> tuple[np.ndarray, np.ndarray]:
        kappa = torch.minimum(self._kappa(theta)[2], units.floor.square().reciprocal())
        return to_numpy(self.mean(theta, units).double()), to_numpy(kappa.double())

    def sample(self, theta: Tensor, own: Own, units: Units, generator: torch.Generator) -> Tensor:
        angle, kappa = self._angle_and_kappa(theta, units)
        seed = int(torch.randint(1 << 62, (), generator=generator, device=generator.device))
        return torch.from_numpy(np.random.default_rng(seed).vonmises(angle, kappa)).to(theta.device)

    def quantile(self, theta: Tensor, own: Own, u: Tensor, units: Units) -> Tensor:
        from scipy.stats import vonmises

        angle, kappa = self._angle_and_kappa(theta, units)
        found = angle + vonmises.ppf(to_numpy(u.double()), kappa)
        return torch.from_numpy(np.remainder(found + np.pi, 2 * np.pi) - np.pi).to(theta.device)

    def cdf(self, theta: Tensor, own: Own, x: Tensor, units: Units) -> Tensor:
        """P(X ≤ x) on the turn that starts half a turn before φ̂."""
        from scipy.stats import vonmises

        angle, kappa = self._angle_and_kappa(theta, units)
        offset = np.remainder(to_numpy(x.double()) - angle + np.pi, 2 * np.pi) - np.pi
        return torch.from_numpy(np.asarray(vonmises.cdf(offset, kappa))).to(theta.device)
