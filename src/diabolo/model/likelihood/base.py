"""The class of all likelihoods, and the units that a block's columns are in."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from diabolo.device import Movable
from diabolo.errors import ConfigError
from diabolo.memory import Memory
from diabolo.model.knots import Knots
from diabolo.model.own import OwnParts
from diabolo.registry import Entry, Registry

__all__ = ["Likelihood", "Own", "Units", "default_likelihood", "likelihoods"]

Own = Mapping[str, Tensor]


@dataclasses.dataclass
class Units(Movable):
    """The units of standardised numbers in a block's columns, each [columns] or 0 to 1 where a column has no units.

    value = center + scale · x. Whole numbers lie `step` = 1 / scale apart in x, from `low` to `high`.
    """

    floor: Tensor  #: smallest σ, in x
    center: Tensor
    scale: Tensor
    low: Tensor  #: least value of the column's type, in its own units; −inf for reals
    high: Tensor  #: largest value of the type; inf for reals
    levels: Tensor | None = None  #: [levels] of one ordinal column, in x
    knots: Knots | None = None  #: the columns' own laws, where a likelihood or a linear part takes them

    @staticmethod
    def plain(columns: int, floor: float = 1.0) -> Units:
        """Columns whose x is their value."""
        one = torch.ones(columns)
        return Units(floor * one, 0 * one, one, -torch.inf * one, torch.inf * one)

    def one(self, column: int, columns: int) -> Units:
        """The units of one column of several."""
        if columns == 1:
            return self
        part = slice(column, column + 1)
        plain = {n: getattr(self, n)[part] for n in ("floor", "center", "scale", "low", "high")}
        return Units(**plain, levels=self.levels, knots=None if self.knots is None else self.knots.one(column))

    @property
    def step(self) -> Tensor:
        return self.scale.reciprocal().float()

    def values(self, x: Tensor) -> Tensor:
        """Cells in their own units, float64: a whole number must come out whole."""
        return x.double() * self.scale.double() + self.center.double()

    def standardised(self, values: Tensor) -> Tensor:
        return (values - self.center.double()) / self.scale.double()


class Likelihood(Entry, abc.ABC):
    """A density or mass of a cell; an entry may have a shorter way to the sum over columns or the mean over rows."""

    #: Kinds of block that it can describe.
    kinds: ClassVar[tuple[str, ...]]
    #: Whether its nll is a density in x, which the scale turns into one in original units; else it is a mass.
    density: ClassVar[bool] = False
    #: Whether it takes numbers by their normal scores, `Units.knots`.
    in_scores: ClassVar[bool] = False

    def width(self, columns: int, inputs: int) -> int:
        """Numbers that the decoder gives for a block of that many columns and inputs."""
        return columns

    def positions(self, column: int, columns: int, inputs: int) -> list[int]:
        """Which of a block's numbers are those of one column: the same place in each run of `columns` numbers."""
        width = self.width(columns, inputs)
        return list(range(width)) if columns == 1 else list(range(column, width, columns))

    def start(self, mean: Tensor, variance: Tensor, units: Units) -> Tensor:
        """Numbers [*, width] whose law is about that of inputs of this mean and variance [*, inputs], in x, or in
        normal scores with `in_scores`: the law that a fit begins at.
        """
        return mean

    def own(self, columns: int) -> dict[str, tuple[int, ...]]:
        """Shapes of trained parameters that do not depend on z, all starting at 0."""
        return {}

    def observe(self, x: Tensor, generator: torch.Generator) -> Tensor | None:
        """The cells that a training step takes in place of x [B, inputs], before corruption; None for x itself."""
        return None

    @abc.abstractmethod
    def nll(self, theta: Tensor, own: Own, x: Tensor, units: Units, memory: Memory | None = None) -> Tensor:
        """−log p(x|z), [*, B, columns], nats, of a density in standardised units or of a mass.

        With `memory`, theta may be overwritten.
        """

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
        """The sum over columns of the masked nll + offset [columns], [*, B]."""
        nll = self.nll(theta, own, x, units, memory) + offset
        return (nll if present is None else torch.where(present, nll, 0.0)).sum(-1)

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
        """Weighted mean over rows of the masked nll, [*, columns]: training's reduction."""
        nll = self.nll(theta, own, x, units)
        if present is not None:
            nll = torch.where(present, nll, 0.0)
        return nll.mean(-2) if share is None else torch.matmul(share, nll)

    @abc.abstractmethod
    def mean(self, theta: Tensor, units: Units) -> Tensor:
        """E[x|z], [*, B, columns], standardised; the most probable level of a category."""

    def pooled(self, theta: Tensor, log_share: Tensor, units: Units) -> Tensor:
        """Numbers [*, B, width] whose mean is that of a mixture over the leading axis of theta.

        Its shares e^log_share [S, *, B, 1] add up to 1.
        """
        return (theta * log_share.exp()).sum(0)

    def squared_error(self, theta: Tensor, x: Tensor, units: Units, memory: Memory | None = None) -> Tensor:
        """A distance of x [B, inputs] to the mean that needs no density, [*, B, columns]."""
        return (x - self.mean(theta, units)).square()

    @abc.abstractmethod
    def sample(self, theta: Tensor, own: Own, units: Units, generator: torch.Generator) -> Tensor: ...

    @abc.abstractmethod
    def cdf(self, theta: Tensor, own: Own, x: Tensor, units: Units) -> Tensor:
        """P(X ≤ x), [*, B, columns], float64, for values x of the columns (an angle in radians)."""

    def quantile(self, theta: Tensor, own: Own, u: Tensor, units: Units) -> Tensor:
        """The smallest x with P(X ≤ x) ≥ u, [*, B, columns] float64, for shares u that broadcast: the inverse of `cdf`.

        By bisection, to 1e-10 of the span of ± 1e4 standardised units.
        """
        shape = (self.mean(theta, units) + u).shape
        low, high = (theta.new_full(shape, end, dtype=torch.float64) for end in (-1e4, 1e4))
        for _ in range(48):
            middle = 0.5 * (low + high)
            below = self.cdf(theta, own, middle, units) < u
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return high

    def interval(self, theta: Tensor, own: Own, x: Tensor, units: Units) -> tuple[Tensor, Tensor]:
        """P(X < x) and P(X ≤ x), [*, B, columns] float64; equal where x has a density."""
        upto = self.cdf(theta, own, x, units)
        return upto, upto


#: Losses by which people know these distributions: −log p is the loss up to its scale and a constant.
LOSSES = {
    **dict.fromkeys(("mse", "l2", "squared_error", "normal"), "'gaussian'"),
    **dict.fromkeys(("mae", "l1", "absolute_error"), "'laplace'"),
    **dict.fromkeys(("bce", "binary_crossentropy", "binary_cross_entropy"), "'bernoulli'"),
    **dict.fromkeys(("ce", "cross_entropy", "crossentropy", "softmax"), "'categorical'"),
}


def _try(part: Likelihood, where: str) -> None:
    """Refuse a user's own likelihood that would train or score wrongly in silence: on three rows of two columns."""
    if "real" not in part.kinds:
        return
    generator = torch.Generator().manual_seed(0)
    units, x = Units.plain(2), torch.randn(3, 2, generator=generator)
    own = {name: torch.zeros(shape) for name, shape in part.own(2).items()}
    theta = torch.randn(3, part.width(2, 2), generator=generator).requires_grad_()
    nll = part.nll(theta, own, x, units)
    given = {"nll": nll, "mean": part.mean(theta, units), "sample": part.sample(theta, own, units, generator)}
    wrong = [f"{n} gave {list(t.shape)}" for n, t in given.items() if t.shape != (3, 2)]
    if wrong:
        raise ConfigError(f"{where}: {', '.join(wrong)}; expected [3, 2] of three rows and two columns")
    if not nll.isfinite().all():
        raise ConfigError(f"{where}: nll is not finite for standard normal numbers")
    if not nll.requires_grad or not torch.autograd.grad(nll.sum(), theta)[0].any():
        raise ConfigError(f"{where}: nll has no gradient towards the decoder's numbers")
    fewer = part.nll(theta[:-1], own, x[:-1], units)
    several = part.nll(torch.stack([theta, theta]), own, x, units)
    if not torch.allclose(fewer, nll[:-1], rtol=1e-4, atol=1e-5):
        raise ConfigError(f"{where}: nll makes a row depend on the other rows of its batch")
    if several.shape != (2, 3, 2):
        raise ConfigError(f"{where}: nll gave {list(several.shape)} for two draws; keep leading axes, [2, 3, 2]")


likelihoods: Registry[Likelihood] = OwnParts("likelihood", __package__, LOSSES, Likelihood, _try)


def default_likelihood(kind: str, stochastic: bool) -> str | dict[str, Any]:
    """The spec of a kind of block that the settings do not describe.

    A point latent has the squared error; a Gaussian one learns a scale, and gives integers a mass.
    """
    if kind == "integer" and stochastic:
        return "discretized_logistic"
    if kind in ("real", "integer"):
        return {"name": "gaussian", "sigma": "learned" if stochastic else 1.0}
    return {
        "count": "negative_binomial",
        "angle": "von_mises",
        "boolean": "bernoulli",
        "categorical": "categorical",
        "missing": "bernoulli",
    }[kind]
