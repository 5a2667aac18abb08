"""Likelihoods of real columns: Gaussian and Laplace, with a fixed scale, a learned one or the decoder's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from diabolo.memory import Memory
from diabolo.model.likelihood.base import Own, Units, likelihoods
from diabolo.model.likelihood.scaled import Scale, Scaled, location_and_log_scale
from diabolo.model.prior import HALF_LOG_2PI

__all__ = ["Gaussian"]


class _MeanSquare(torch.autograd.Function):
    """Σ_b share_b m_bc (θ_bc − x_bc)² for [*, B, C], in kept memory where there is some."""

    @staticmethod
    def forward(
        ctx: Any, theta: Tensor, x: Tensor, share: Tensor | None, present: Tensor | None, memory: Memory | None
    ) -> Tensor:
        # Heads are told apart by where their slice of theta begins.
        shape, name = tuple(theta.shape), f".{theta.storage_offset()}"
        out = None if memory is None else memory.get("residual" + name, shape, theta)
        residual = torch.sub(theta, x, out=out)
        if present is not None:
            residual.mul_(present)
        ctx.residual, ctx.share = residual, share
        out = None if memory is None else memory.get("squares" + name, shape, theta)
        squares = torch.mul(residual, residual, out=out)
        if share is None:
            if memory is None or squares.dim() > 2:
                return squares.sum(-2).div_(shape[-2])
            return torch.mv(squares.t(), memory.ones(x)).div_(shape[-2])
        return torch.mv(squares.t(), share) if squares.dim() == 2 else torch.matmul(share, squares)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> Any:
        residual, share, gradient = ctx.residual, ctx.share, outputs[0].unsqueeze(-2)
        if share is None:
            gradient = residual.mul_(gradient * (2 / residual.shape[-2]))
        else:
            gradient = residual.mul_(gradient).mul_(2 * share[:, None])
        return gradient, None, None, None, None


def _one(weight: Tensor) -> Tensor:
    """[columns] for [1, columns] of one model, for a quicker product; a weight of members stays as it is."""
    return weight.squeeze(0) if weight.dim() == 2 else weight


def _weighted(cells: Tensor, weight: Tensor) -> Tensor:
    """Σ over columns of cells [*, B, columns] times weight [columns], or [*lead, 1, columns] of members: [*, B]."""
    return torch.matmul(cells, weight) if weight.dim() == 1 else torch.matmul(cells, weight.mT).squeeze(-1)


@likelihoods.register("gaussian")
class Gaussian(Scaled):
    """N(x; x̂, σ²): a fixed σ gives half the squared error, "learned" one σ per column.

    Rybkin, Daniilidis, Levine 2021, arXiv:2006.13202.
    """

    kinds = ("real", "integer")
    density = True
    scaled_by = "sigma"
    #: Standard deviation in standardised units, "learned" per column, or "decoded" for each row.
    sigma: Scale = 1.0

    def variance(self, theta: Tensor, own: Own, units: Units) -> Tensor:
        """σ², [*, 1 or B, columns]; a trained one is floor² + e^(2s), which no training can push below the floor."""
        if self.sigma == "learned":
            return (units.floor.square() + (2 * own["log_sigma"]).exp()).unsqueeze(-2)
        if self.sigma == "decoded":
            return units.floor.square() + (2 * location_and_log_scale(theta)[1]).exp()
        return units.floor.clamp_min(float(self.sigma)).square()

    def law(self, theta: Tensor, own: Own, units: Units) -> tuple[Tensor, Tensor]:
        """1/2σ², the weight of a squared error, and ½ log 2πσ², the constant of a cell, in the shape of `variance`."""
        variance = self.variance(theta, own, units)
        return 0.5 / variance, 0.5 * variance.log() + HALF_LOG_2PI

    def nll(self, theta: Tensor, own: Own, x: Tensor, units: Units, memory: Memory | None = None) -> Tensor:
        weight, constant = self.law(theta, own, units)
        squared = self.squared_error(theta, x, units, memory)
        free = memory is not None and not torch.is_grad_enabled()
        return torch.mul(squared, weight, out=squared if free else None).add_(constant)

    def row_nll(
        self,
        theta: Tensor,
        own: Own,
        x: Tensor,
        units: Units,
        offset: Tensor,
        present: Tensor | None,
        memory: Memory | None = None,
    ) -> Tensor:
        if self.sigma == "decoded":
            return super().row_nll(theta, own, x, units, offset, present, memory)

        def parts() -> tuple[Tensor, Tensor, Tensor]:
            weight, constant = self.law(theta, own, units)
            constant = constant + offset
            return _one(weight), _one(constant), constant.sum(-1)

        kept = Memory() if memory is None else memory
        weight, constant, total = kept.once(f"nll.{theta.storage_offset()}", parts)
        squared = self.squared_error(theta, x, units, memory)
        if present is None:
            return _weighted(squared, weight).add_(total)
        # Constants of absent cells are subtracted, so that a row's sum does not depend on other rows.
        total = total - _weighted(torch.where(present, 0.0, 1.0), constant)
        return _weighted(torch.where(present, squared, 0.0), weight) + total

    def mean_nll(
        self,
        theta: Tensor,
        own: Own,
        x: Tensor,
        units: Units,
        share: Tensor | None,
        present: Tensor | None,
        memory: Memory | None = None,
    ) -> Tensor:
        if self.sigma == "decoded":
            return super().mean_nll(theta, own, x, units, share, present, memory)
        squared: Tensor = _MeanSquare.apply(theta, x, share, present, memory)  # type: ignore[no-untyped-call]
        weight, constant = self.law(theta, own, units)
        if self.sigma == "learned":
            weight, constant = weight.squeeze(-2), constant.squeeze(-2)
        if present is not None:
            there = present.to(x.dtype)
            constant = constant * (there.mean(0) if share is None else torch.mv(there.t(), share))
        elif share is not None:
            constant = constant * share.sum()
        return squared * weight + constant

    def squared_error(self, theta: Tensor, x: Tensor, units: Units, memory: Memory | None = None) -> Tensor:
        location = self.mean(theta, units)
        if memory is not None and not torch.is_grad_enabled():
            return location.sub_(x).square_()
        return functional.mse_loss(location, x.expand_as(location), reduction="none")

    def sample(self, theta: Tensor, own: Own, units: Units, generator: torch.Generator) -> Tensor:
        location = self.mean(theta, units)
        return location + self.variance(theta, own, units).sqrt() * torch.randn(
            location.shape, generator=generator, device=location.device
        )

    def cdf(self, theta: Tensor, own: Own, x: Tensor, units: Units) -> Tensor:
        sigma = self.variance(theta, own, units).double().sqrt()
        normal: Tensor = torch.special.ndtr((x.double() - self.mean(theta, units).double()) / sigma)
        return normal


@likelihoods.register("laplace")
class Laplace(Scaled):
    """e^(−|x − x̂|/b) / 2b: the absolute error, which far cells pull less (Laplace 1774)."""

    kinds = ("real", "integer")
    density = True
    scaled_by = "b"
    #: b in standardised units, "learned" per column, or "decoded" for each row.
    b: Scale = "learned"

    def nll(self, theta: Tensor, own: Own, x: Tensor, units: Units, memory: Memory | None = None) -> Tensor:
        b = self.spread(theta, own, units)
        return (x - self.mean(theta, units)).abs() / b + (2 * b).log()

    def sample(self, theta: Tensor, own: Own, units: Units, generator: torch.Generator) -> Tensor:
        location = self.mean(theta, units)
        u = torch.rand(location.shape, generator=generator, dtype=torch.float64, device=location.device) - 0.5
        return location + self.spread(theta, own, units) * (-u.sign() * torch.log1p(-2 * u.abs())).float()

    def cdf(self, theta: Tensor, own: Own, x: Tensor, units: Units) -> Tensor:
        scaled = (x.double() - self.mean(theta, units).double()) / self.spread(theta, own, units).double()
        tail = 0.5 * (-scaled.abs()).exp()
        return torch.where(scaled < 0, tail, 1 - tail)
