"""Likelihoods of truth values, categories and numbers of objects."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor
from torch.nn import functional

from diabolo.device import Constants
from diabolo.memory import Memory
from diabolo.model.drawn import for_rows, placed
from diabolo.model.likelihood.base import Likelihood, Own, Units, likelihoods

#: Least probability that a linear prediction starts an event at: what it lacks, the networks learn.
LEAST = 0.01
#: Prices of which slots are filled, by their number.
WAYS = Constants()


@likelihoods.register("bernoulli")
class Bernoulli(Likelihood):
    """p^x (1−p)^(1−x) with p = sigmoid(theta): exact for x in {0, 1}, the cross-entropy for x between."""

    kinds = ("boolean", "missing")
    #: Whether a cell between 0 and 1 is a probability, from which each training step draws a fresh 0 or 1 (stop rows
    #: keep one draw), as for gray images (Salakhutdinov, Murray 2008).
    binarize: bool = False

    def start(self, mean: Tensor, variance: Tensor, units: Units) -> Tensor:
        return torch.logit(mean, eps=LEAST)

    def observe(self, x: Tensor, generator: torch.Generator) -> Tensor | None:
        if not self.binarize:
            return None
        shape = tuple(x.shape)
        return for_rows(lambda s: torch.bernoulli(placed(x, s, generator), generator=generator), shape, generator)

    def pooled(self, theta: Tensor, log_share: Tensor, units: Units) -> Tensor:
        return torch.logit((theta.sigmoid() * log_share.exp()).sum(0), eps=1e-7)

    def nll(self, theta: Tensor, own: Own, x: Tensor, units: Units, memory: Memory | None = None) -> Tensor:
        return functional.binary_cross_entropy_with_logits(theta, x.expand_as(theta), reduction="none")

    def mean(self, theta: Tensor, units: Units) -> Tensor:
        return theta.sigmoid()

    def squared_error(self, theta: Tensor, x: Tensor, units: Units, memory: Memory | None = None) -> Tensor:
        return (theta.sigmoid() - x).square()

    def sample(self, theta: Tensor, own: Own, units: Units, generator: torch.Generator) -> Tensor:
        return (torch.rand(theta.shape, generator=generator, device=theta.device) < theta.sigmoid()).to(theta.dtype)

    def quantile(self, theta: Tensor, own: Own, u: Tensor, units: Units) -> Tensor:
        return (u > 1 - theta.double().sigmoid()).double()

    def interval(self, theta: Tensor, own: Own, x: Tensor, units: Units) -> tuple[Tensor, Tensor]:
        return self.cdf(theta, own, x - 1, units), self.cdf(theta, own, x, units)

    def cdf(self, theta: Tensor, own: Own, x: Tensor, units: Units) -> Tensor:
        p = theta.double().sigmoid()
        return torch.where(x >= 1, 1.0, torch.where(x >= 0, 1 - p, 0.0))


@likelihoods.register("categorical")
class Categorical(Likelihood):
    """p_l = softmax(theta)_l over the levels of a column; a level never seen in training is priced by the model."""

    kinds = ("categorical",)

    def width(self, columns: int, inputs: int) -> int:
        return inputs

    def start(self, mean: Tensor, variance: Tensor, units: Units) -> Tensor:
        return mean.clamp(LEAST / mean.shape[-1], 1.0).log()

    def pooled(self, theta: Tensor, log_share: Tensor, units: Units) -> Tensor:
        return (theta.log_softmax(-1) + log_share).logsumexp(0)

    def nll(self, theta: Tensor, own: Own, x: Tensor, units: Units, memory: Memory | None = None) -> Tensor:
        return -(theta.log_softmax(-1) * x).sum(-1, keepdim=True)

    def mean(self, theta: Tensor, units: Units) -> Tensor:
        return theta.argmax(-1, keepdim=True).to(theta.dtype)

    def squared_error(self, theta: Tensor, x: Tensor, units: Units, memory: Memory | None = None) -> Tensor:
        """Half of Brier's score ½ Σ (p_l − x_l)², from 0 to 1."""
        return 0.5 * (theta.softmax(-1) - x).square().sum(-1, keepdim=True)

    def sample(self, theta: Tensor, own: Own, units: Units, generator: torch.Generator) -> Tensor:
        return _draw(theta, generator)

    def quantile(self, theta: Tensor, own: Own, u: Tensor, units: Units) -> Tensor:
        return _position(theta, u).double()

    def interval(self, theta: Tensor, own: Own, x: Tensor, units: Units) -> tuple[Tensor, Tensor]:
        return _cumulative(theta, x - 1), _cumulative(theta, x)

    def cdf(self, theta: Tensor, own: Own, x: Tensor, units: Units) -> Tensor:
        return _cumulative(theta, x)


@likelihoods.register("levels")
class Levels(Likelihood):
    """p_l = softmax(theta)_l over the few numbers that an ordinal column takes."""

    kinds = ("ordinal",)
    #: How many numbers.
    count: Annotated[int, Ge(2)] = 2

    def width(self, columns: int, inputs: int) -> int:
        return self.count

    def start(self, mean: Tensor, variance: Tensor, units: Units) -> Tensor:
        return -0.5 * (self._values(units).to(mean.dtype) - mean).square() / variance.clamp_min(0.01)

    @staticmethod
    def _values(units: Units) -> Tensor:
        return torch.arange(2.0) if units.levels is None else units.levels

    def _nearest(self, x: Tensor, units: Units) -> Tensor:
        return (x.unsqueeze(-1) - self._values(units).to(x.dtype)).abs().argmin(-1)

    def pooled(self, theta: Tensor, log_share: Tensor, units: Units) -> Tensor:
        return (theta.log_softmax(-1) + log_share).logsumexp(0)

    def nll(self, theta: Tensor, own: Own, x: Tensor, units: Units, memory: Memory | None = None) -> Tensor:
        log_p = theta.log_softmax(-1)
        return -log_p.gather(-1, self._nearest(x, units).expand(*log_p.shape[:-1], 1))

    def mean(self, theta: Tensor, units: Units) -> Tensor:
        return (theta.softmax(-1) * self._values(units).to(theta.dtype)).sum(-1, keepdim=True)

    def sample(self, theta: Tensor, own: Own, units: Units, generator: torch.Generator) -> Tensor:
        return self._values(units)[_draw(theta, generator).long()]

    def quantile(self, theta: Tensor, own: Own, u: Tensor, units: Units) -> Tensor:
        return self._values(units)[_position(theta, u)].double()

    def interval(self, theta: Tensor, own: Own, x: Tensor, units: Units) -> tuple[Tensor, Tensor]:
        at = self._nearest(x.squeeze(-1), units).unsqueeze(-1)
        return _cumulative(theta, at - 1), _cumulative(theta, at)

    def cdf(self, theta: Tensor, own: Own, x: Tensor, units: Units) -> Tensor:
        below = (self._values(units).to(x.dtype) <= x.unsqueeze(-1) + 1e-6).sum(-1) - 1
        return _cumulative(theta, below)


def _draw(theta: Tensor, generator: torch.Generator) -> Tensor:
    """Positions drawn with probabilities softmax(theta), [*, 1]."""
    flat = theta.softmax(-1).reshape(-1, theta.shape[-1])
    drawn = torch.multinomial(flat, 1, generator=generator)
    return drawn.reshape(*theta.shape[:-1], 1).to(theta.dtype)


def _position(theta: Tensor, u: Tensor) -> Tensor:
    """The first position whose cumulative share reaches u, [*, 1] int64."""
    until = theta.double().softmax(-1).cumsum(-1)
    return (until < u - 1e-12).sum(-1, keepdim=True).clamp_max(theta.shape[-1] - 1)


def _cumulative(theta: Tensor, x: Tensor) -> Tensor:
    """P(position ≤ x), [*, 1]."""
    cumulative = theta.double().softmax(-1).cumsum(-1).clamp_max(1.0)
    inside = cumulative.gather(-1, x.long().clamp(0, theta.shape[-1] - 1))
    return torch.where(x < 0, 0.0, inside)


@likelihoods.register("multiplicity")
class Multiplicity(Likelihood):
    """The count N of filled slots as a categorical, and, given N, which slots they are.

    The first N, or with probability `gaps` any other choice, all equally likely.
    """

    kinds = ("slots",)
    #: Share of rows whose filled slots are not the first ones.
    gaps: Annotated[float, Gt(0), Lt(1)] = 0.5

    def width(self, columns: int, inputs: int) -> int:
        return inputs + 1

    def start(self, mean: Tensor, variance: Tensor, units: Units) -> Tensor:
        # The mean of slot j is about P(N > j) where filled slots are the first ones.
        more = functional.pad(functional.pad(mean, (1, 0), value=1.0), (0, 1))
        return (more[..., :-1] - more[..., 1:]).clamp(LEAST, 1.0).log()

    def pooled(self, theta: Tensor, log_share: Tensor, units: Units) -> Tensor:
        return (theta.log_softmax(-1) + log_share).logsumexp(0)

    def nll(self, theta: Tensor, own: Own, x: Tensor, units: Units, memory: Memory | None = None) -> Tensor:
        slots = x.shape[-1]
        filled = x.sum(-1, keepdim=True)
        log_p = theta.log_softmax(-1)
        count = -log_p.gather(-1, filled.long().expand(*log_p.shape[:-1], 1))
        first = (torch.arange(slots, device=x.device) < filled) == (x > 0.5)
        table = WAYS((slots, self.gaps, theta.dtype), theta.device, lambda: self._ways(slots).to(theta.dtype))
        return count + table[first.all(-1, keepdim=True).long(), filled.long()]

    def _ways(self, slots: int) -> Tensor:
        """−log p of which n of the slots are filled, [2, slots + 1] float64: other ones than the first n, and these."""
        # Ways to fill n slots other than the first n; none if n is 0 or all of them.
        other = [math.comb(slots, n) - 1 for n in range(slots + 1)]
        costs = [
            [-math.log(self.gaps) + math.log(ways) if ways else math.inf for ways in other],
            [-math.log1p(-self.gaps) if ways else 0.0 for ways in other],
        ]
        return torch.tensor(costs, dtype=torch.float64)

    def mean(self, theta: Tensor, units: Units) -> Tensor:
        counts = torch.arange(theta.shape[-1], dtype=theta.dtype, device=theta.device)
        return (theta.softmax(-1) * counts).sum(-1, keepdim=True)

    def squared_error(self, theta: Tensor, x: Tensor, units: Units, memory: Memory | None = None) -> Tensor:
        """Squared difference of count and expected count, in units of the slots' number."""
        return ((self.mean(theta, units) - x.sum(-1, keepdim=True)) / x.shape[-1]).square()

    def sample(self, theta: Tensor, own: Own, units: Units, generator: torch.Generator) -> Tensor:
        return _draw(theta, generator)

    def quantile(self, theta: Tensor, own: Own, u: Tensor, units: Units) -> Tensor:
        return _position(theta, u).double()

    def interval(self, theta: Tensor, own: Own, x: Tensor, units: Units) -> tuple[Tensor, Tensor]:
        return _cumulative(theta, x - 1), _cumulative(theta, x)

    def cdf(self, theta: Tensor, own: Own, x: Tensor, units: Units) -> Tensor:
        return _cumulative(theta, x)
