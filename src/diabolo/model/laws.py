"""The law of a column's cells, one for each row, in original units."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from diabolo.data.encoding import SCALED
from diabolo.errors import ConfigError
from diabolo.model.variables import Variable

__all__ = ["Law"]


@dataclasses.dataclass(frozen=True)
class Law:
    """p(x_c | others) of one column for n rows, and the cells that the rows have.

    A number or an angle is in its own units, a category the position of its level, a slot group its count.
    """

    variable: Variable
    theta: Tensor  #: [n, w]
    x: Tensor  #: [n, inputs] of the rows' own cells
    there: Tensor  #: [n] bool: the row has such a cell

    @property
    def name(self) -> str:
        return self.variable.model.encoding.schema.output_names[self.variable.column]

    @property
    def levels(self) -> tuple[str, ...]:
        """The words of a category, "false" and "true" of a truth value; empty for numbers."""
        if self.variable.single.block.kind == "boolean":
            return ("false", "true")
        schema = self.variable.model.encoding.schema
        c = self.variable.column
        return schema.levels.get(schema.columns[c].name, ()) if c < len(schema.columns) else ()

    def mean(self) -> np.ndarray:
        """E[x_c | others] [n]; the most probable level of a category."""
        v = self.variable
        return self._original(v.single.likelihood.mean(self.theta, v.single.units))

    def quantile(self, shares: Sequence[float]) -> np.ndarray:
        """The values below which these shares of the law lie, [n, shares].

        Args:
            shares: each between 0 and 1.
        """
        v = self.variable
        out = []
        for share in shares:
            u = torch.full((len(self.theta), 1), float(share), dtype=torch.float64)
            out.append(self._stepped(v.single.likelihood.quantile(self.theta, v.own, u, v.single.units)))
        return np.stack(out, axis=1)

    def log_prob(self) -> np.ndarray:
        """log p of the rows' own cells [n], nats: a density in original units, a mass of levels and whole numbers.

        NaN where the row has no such cell.
        """
        v = self.variable
        nll = v.single.likelihood.nll(self.theta, v.own, self.x, v.single.units).squeeze(-1).double()
        if v.single.likelihood.density and v.single.block.kind in SCALED:
            nll = nll + v.single.units.scale.double().log()
        return torch.where(self.there, -nll, torch.nan).numpy()

    def cdf(self) -> tuple[np.ndarray, np.ndarray]:
        """P(x_c < cell) and P(x_c ≤ cell) of the rows' own cells, [n] each; NaN where the row has no such cell."""
        v = self.variable
        ends = v.single.likelihood.interval(self.theta, v.own, self._plain(), v.single.units)
        low, high = (torch.where(self.there, e.squeeze(-1), torch.nan).numpy() for e in ends)
        return low, high

    def probabilities(self) -> np.ndarray:
        """P of each of the `levels`, [n, levels].

        Raises:
            ConfigError: numbers have no levels.
        """
        if not self.levels:
            raise ConfigError(f"{self.name} is a column of numbers and has no levels; cdf and quantile give its law")
        if self.variable.single.block.kind == "boolean":
            true = self.theta.double().sigmoid()
            return torch.cat([1 - true, true], dim=-1).numpy()
        return self.theta.double().softmax(-1).numpy()

    def draw(self, generator: torch.Generator) -> np.ndarray:
        """A draw for each row, [n]."""
        return self._stepped(self.variable.sample(self.theta, generator))

    def _plain(self) -> Tensor:
        """The rows' own cells as one number each."""
        kind = self.variable.single.block.kind
        if kind == "angle":
            c, s = self.x.chunk(2, dim=-1)
            return torch.atan2(s, c)
        if kind == "categorical":
            return self.x.argmax(-1, keepdim=True)
        return self.x.sum(-1, keepdim=True) if kind == "slots" else self.x

    def _stepped(self, x: Tensor) -> np.ndarray:
        """Values in original units, of a rounded column the very numbers of its steps."""
        values, columns = self._original(x), self.variable.model.encoding.schema.columns
        c = self.variable.column
        if c >= len(columns) or not columns[c].resolution or self.variable.single.block.kind not in SCALED:
            return values
        steps = 1 / columns[c].resolution
        return np.round(values * steps) / steps + 0.0  # no negative zero

    def _original(self, x: Tensor) -> np.ndarray:
        v = self.variable
        values = x.double().squeeze(-1)
        if v.single.block.kind in SCALED:
            values = v.single.units.values(x).squeeze(-1)
        elif v.single.block.kind == "angle":
            turn = v.model.encoding.schema.columns[v.column].low >= 0
            values = torch.where((values < 0) & turn, values + 2 * torch.pi, values)
        return values.numpy()
