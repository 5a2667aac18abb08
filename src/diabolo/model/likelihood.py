"""−log p(x|z) per column: the distance of the objective, unreduced, for one block of like columns.

A likelihood reads the decoder's numbers `theta` [*, B, width] and, where it has them, its own trained
parameters. `floor` is each column's smallest σ in standardised units. Every entry also knows its mean, draws
from it, its cumulative distribution (for grid masses), and a squared distance that needs no density.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from annotated_types import Gt, Lt
from torch import Tensor
from torch.nn import functional

from diabolo.memory import Memory
from diabolo.model.prior import HALF_LOG_2PI
from diabolo.registry import Registry

__all__ = ["Likelihood", "likelihoods"]

Own = Mapping[str, Tensor]


class Likelihood(Protocol):
    name: str
    #: Kinds of block that it can describe.
    kinds: ClassVar[tuple[str, ...]]

    def width(self, columns: int, inputs: int) -> int:
        """Numbers that the decoder gives for a block of that many columns and inputs."""
        ...

    def own(self, columns: int) -> dict[str, tuple[int, ...]]:
        """Shapes of trained parameters that do not depend on z, all starting at 0."""
        ...

    def observe(self, x: Tensor, generator: torch.Generator) -> Tensor | None:
        """What a training step takes for x [B, inputs], before corruption; None for x itself."""
        ...

    def nll(self, theta: Tensor, own: Own, x: Tensor, floor: Tensor, memory: Memory | None = None) -> Tensor:
        """−log p(x|z), [*, B, columns], nats, in standardised units; with `memory`, theta may be overwritten."""
        ...

    def mean_nll(
        self,
        theta: Tensor,
        own: Own,
        x: Tensor,
        floor: Tensor,
        share: Tensor | None,
        present: Tensor | None,
        memory: Memory | None = None,
    ) -> Tensor:
        """Weighted mean over rows of the masked nll, [*, columns]: training's reduction, see `Reduced`."""
        ...

    def mean(self, theta: Tensor) -> Tensor: ...

    def squared_error(self, theta: Tensor, x: Tensor, memory: Memory | None = None) -> Tensor: ...

    def sample(self, theta: Tensor, own: Own, floor: Tensor, generator: torch.Generator) -> Tensor: ...

    def cdf(self, theta: Tensor, own: Own, x: Tensor, floor: Tensor) -> Tensor:
        """P(X ≤ x), [*, B, columns], float64, for values x of the columns (an angle in radians)."""
        ...


likelihoods: Registry[Likelihood] = Registry("likelihood")


class Reduced:
    """The mean over rows from the unreduced nll; an entry may know a shorter way to the same numbers."""

    def observe(self, x: Tensor, generator: torch.Generator) -> Tensor | None:
        return None

    def mean_nll(
        self,
        theta: Tensor,
        own: Own,
        x: Tensor,
        floor: Tensor,
        share: Tensor | None,
        present: Tensor | None,
        memory: Memory | None = None,
    ) -> Tensor:
        nll: Tensor = self.nll(theta, own, x, floor)  # type: ignore[attr-defined]
        if present is not None:
            nll = torch.where(present, nll, 0.0)
        return nll.mean(-2) if share is None else torch.matmul(share, nll)


class _MeanSquare(torch.autograd.Function):
    """Σ_b share_b m_bc (θ_bc − x_bc)² for [B, C], in kept memory where there is some."""

    @staticmethod
    def forward(
        ctx: Any, theta: Tensor, x: Tensor, share: Tensor | None, present: Tensor | None, memory: Memory | None
    ) -> Tensor:
        rows, columns = theta.shape
        # Heads are told apart by where their slice of theta begins.
        name = f".{theta.storage_offset()}"
        out = None if memory is None else memory.get("residual" + name, rows, columns, theta)
        residual = torch.sub(theta, x, out=out)
        if present is not None:
            residual.mul_(present)
        ctx.residual, ctx.share = residual, share
        out = None if memory is None else memory.get("squares" + name, rows, columns, theta)
        squares = torch.mul(residual, residual, out=out)
        if share is None:
            return squares.sum(0).div_(rows) if memory is None else torch.mv(squares.t(), memory.ones(x)).div_(rows)
        return torch.mv(squares.t(), share)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> Any:
        residual, share = ctx.residual, ctx.share
        if share is None:
            gradient = residual.mul_(outputs[0] * (2 / residual.shape[0]))
        else:
            gradient = residual.mul_(outputs[0]).mul_(2 * share[:, None])
        return gradient, None, None, None, None


@likelihoods.register("gaussian")
class Gaussian(Reduced):
    """N(x; x̂, σ²): a fixed σ gives half the squared error, "learned" one σ per column.

    Rybkin, Daniilidis, Levine 2021, arXiv:2006.13202.
    """

    name = "gaussian"
    kinds: ClassVar[tuple[str, ...]] = ("real",)
    #: Standard deviation in standardised units, or "learned".
    sigma: Literal["learned"] | Annotated[float, Gt(0), Lt(1e15)] = 1.0

    def width(self, columns: int, inputs: int) -> int:
        return columns

    def own(self, columns: int) -> dict[str, tuple[int, ...]]:
        return {"log_sigma": (columns,)} if self.sigma == "learned" else {}

    def variance(self, own: Own, floor: Tensor) -> Tensor:
        """σ² per column; a learned one is floor² + e^(2s), which no training can push below the floor."""
        if self.sigma == "learned":
            return (floor.square() + (2 * own["log_sigma"]).exp()).unsqueeze(-2)
        return floor.clamp_min(float(self.sigma)).square()

    def nll(self, theta: Tensor, own: Own, x: Tensor, floor: Tensor, memory: Memory | None = None) -> Tensor:
        squared = self.squared_error(theta, x, memory)
        variance = self.variance(own, floor)
        if memory is not None and not torch.is_grad_enabled():
            return squared.mul_(0.5 / variance).add_(0.5 * variance.log() + HALF_LOG_2PI)
        return squared * (0.5 / variance) + (0.5 * variance.log() + HALF_LOG_2PI)

    def mean_nll(
        self,
        theta: Tensor,
        own: Own,
        x: Tensor,
        floor: Tensor,
        share: Tensor | None,
        present: Tensor | None,
        memory: Memory | None = None,
    ) -> Tensor:
        if theta.dim() != 2:
            return super().mean_nll(theta, own, x, floor, share, present, memory)
        squared: Tensor = _MeanSquare.apply(theta, x, share, present, memory)  # type: ignore[no-untyped-call]
        variance = self.variance(own, floor).reshape(-1)
        constant = 0.5 * variance.log() + HALF_LOG_2PI
        if present is not None:
            there = present.to(x.dtype)
            constant = constant * (there.mean(0) if share is None else torch.mv(there.t(), share))
        elif share is not None:
            constant = constant * share.sum()
        return squared * (0.5 / variance) + constant

    def mean(self, theta: Tensor) -> Tensor:
        return theta

    def squared_error(self, theta: Tensor, x: Tensor, memory: Memory | None = None) -> Tensor:
        if memory is not None and not torch.is_grad_enabled():
            return theta.sub_(x).square_()
        return functional.mse_loss(theta, x.expand_as(theta), reduction="none")

    def sample(self, theta: Tensor, own: Own, floor: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.randn(theta.shape, generator=generator)
        return theta + self.variance(own, floor).sqrt() * noise

    def cdf(self, theta: Tensor, own: Own, x: Tensor, floor: Tensor) -> Tensor:
        z = (x.double() - theta.double()) / self.variance(own, floor).double().sqrt()
        normal: Tensor = torch.special.ndtr(z)
        return normal


@likelihoods.register("bernoulli")
class Bernoulli(Reduced):
    """p^x (1−p)^(1−x) with p = sigmoid(theta): exact for x in {0, 1}, the cross-entropy for x between."""

    name = "bernoulli"
    kinds: ClassVar[tuple[str, ...]] = ("boolean", "missing")
    #: Whether a cell between 0 and 1 is a probability, from which each training step draws a fresh 0 or 1 (stop rows
    #: keep one draw), as for gray images (Salakhutdinov, Murray 2008).
    binarize: bool = False

    def observe(self, x: Tensor, generator: torch.Generator) -> Tensor | None:
        return torch.bernoulli(x, generator=generator) if self.binarize else None

    def width(self, columns: int, inputs: int) -> int:
        return columns

    def own(self, columns: int) -> dict[str, tuple[int, ...]]:
        return {}

    def nll(self, theta: Tensor, own: Own, x: Tensor, floor: Tensor, memory: Memory | None = None) -> Tensor:
        return functional.binary_cross_entropy_with_logits(theta, x.expand_as(theta), reduction="none")

    def mean(self, theta: Tensor) -> Tensor:
        return theta.sigmoid()

    def squared_error(self, theta: Tensor, x: Tensor, memory: Memory | None = None) -> Tensor:
        return (theta.sigmoid() - x).square()

    def sample(self, theta: Tensor, own: Own, floor: Tensor, generator: torch.Generator) -> Tensor:
        return (torch.rand(theta.shape, generator=generator) < theta.sigmoid()).to(theta.dtype)

    def cdf(self, theta: Tensor, own: Own, x: Tensor, floor: Tensor) -> Tensor:
        p = theta.double().sigmoid()
        return torch.where(x >= 1, 1.0, torch.where(x >= 0, 1 - p, 0.0))


@likelihoods.register("von_mises")
class VonMises(Reduced):
    """e^(κ cos(φ − φ̂)) / 2π I₀(κ) for angles; the decoder gives κ (cos φ̂, sin φ̂) (Mardia, Jupp 2000, eq. 3.5.17)."""

    name = "von_mises"
    kinds: ClassVar[tuple[str, ...]] = ("angle",)

    def width(self, columns: int, inputs: int) -> int:
        return 2 * columns

    def own(self, columns: int) -> dict[str, tuple[int, ...]]:
        return {}

    @staticmethod
    def _kappa(theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        c, s = theta.chunk(2, dim=-1)
        return c, s, (c.square() + s.square() + 1e-12).sqrt()

    def nll(self, theta: Tensor, own: Own, x: Tensor, floor: Tensor, memory: Memory | None = None) -> Tensor:
        c, s, length = self._kappa(theta)
        cos, sin = x.chunk(2, dim=-1)
        # 1 − cos(φ − φ̂) = ½ |u − û|², without the cancellation.
        half_square = 0.5 * ((cos - c / length).square() + (sin - s / length).square())
        # κ is about 1/σ²; the floor of σ bounds it, and the density stays one.
        kappa = torch.minimum(length, floor.square().reciprocal())
        log_i0e: Tensor = torch.special.i0e(kappa).log()
        return 2 * HALF_LOG_2PI + log_i0e + kappa * half_square

    def mean(self, theta: Tensor) -> Tensor:
        c, s = theta.chunk(2, dim=-1)
        return torch.atan2(s, c)

    def squared_error(self, theta: Tensor, x: Tensor, memory: Memory | None = None) -> Tensor:
        """|e^{iφ} − e^{iφ̂}|² = 2 − 2 cos(φ − φ̂), from 0 to 4."""
        c, s, kappa = self._kappa(theta)
        cos, sin = x.chunk(2, dim=-1)
        return 2 - 2 * (c * cos + s * sin) / kappa

    def _angle_and_kappa(self, theta: Tensor, floor: Tensor) -> tuple[np.ndarray, np.ndarray]:
        kappa = torch.minimum(self._kappa(theta)[2], floor.square().reciprocal())
        return self.mean(theta).double().numpy(), kappa.double().numpy()

    def sample(self, theta: Tensor, own: Own, floor: Tensor, generator: torch.Generator) -> Tensor:
        angle, kappa = self._angle_and_kappa(theta, floor)
        seed = int(torch.randint(1 << 62, (), generator=generator))
        return torch.from_numpy(np.random.default_rng(seed).vonmises(angle, kappa))

    def cdf(self, theta: Tensor, own: Own, x: Tensor, floor: Tensor) -> Tensor:
        """P(X ≤ x) on the turn that starts half a turn before φ̂."""
        from scipy.stats import vonmises

        angle, kappa = self._angle_and_kappa(theta, floor)
        offset = np.remainder(x.double().numpy() - angle + np.pi, 2 * np.pi) - np.pi
        return torch.from_numpy(np.asarray(vonmises.cdf(offset, kappa)))


@likelihoods.register("multiplicity")
class Multiplicity(Reduced):
    """The count N of filled slots as a categorical, and, given N, which slots they are.

    The first N, or with probability `gaps` any other choice, all equally likely.
    """

    name = "multiplicity"
    kinds: ClassVar[tuple[str, ...]] = ("slots",)
    #: Share of rows whose filled slots are not the first ones.
    gaps: Annotated[float, Gt(0), Lt(1)] = 0.5

    def width(self, columns: int, inputs: int) -> int:
        return inputs + 1

    def own(self, columns: int) -> dict[str, tuple[int, ...]]:
        return {}

    def nll(self, theta: Tensor, own: Own, x: Tensor, floor: Tensor, memory: Memory | None = None) -> Tensor:
        slots = x.shape[-1]
        filled = x.sum(-1, keepdim=True)
        log_p = theta.log_softmax(-1)
        count = -log_p.gather(-1, filled.long().expand(*log_p.shape[:-1], 1))
        first = (torch.arange(slots, device=x.device) < filled) == (x > 0.5)
        # Ways to fill n slots other than the first n; none if n is 0 or all of them.
        other = [math.comb(slots, n) - 1 for n in range(slots + 1)]
        costs = [
            [-math.log(self.gaps) + math.log(ways) if ways else math.inf for ways in other],
            [-math.log1p(-self.gaps) if ways else 0.0 for ways in other],
        ]
        table = torch.tensor(costs, dtype=theta.dtype, device=theta.device)
        return count + table[first.all(-1, keepdim=True).long(), filled.long()]

    def mean(self, theta: Tensor) -> Tensor:
        counts = torch.arange(theta.shape[-1], dtype=theta.dtype, device=theta.device)
        return (theta.softmax(-1) * counts).sum(-1, keepdim=True)

    def squared_error(self, theta: Tensor, x: Tensor, memory: Memory | None = None) -> Tensor:
        """Squared difference of count and expected count, in units of the slots' number."""
        return ((self.mean(theta) - x.sum(-1, keepdim=True)) / x.shape[-1]).square()

    def sample(self, theta: Tensor, own: Own, floor: Tensor, generator: torch.Generator) -> Tensor:
        flat = theta.softmax(-1).reshape(-1, theta.shape[-1])
        drawn = torch.multinomial(flat, 1, generator=generator)
        return drawn.reshape(*theta.shape[:-1], 1).to(theta.dtype)

    def cdf(self, theta: Tensor, own: Own, x: Tensor, floor: Tensor) -> Tensor:
        cumulative = theta.double().softmax(-1).cumsum(-1).clamp_max(1.0)
        inside = cumulative.gather(-1, x.long().clamp(0, theta.shape[-1] - 1))
        return torch.where(x < 0, 0.0, inside)
