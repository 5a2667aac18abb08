"""Blocks of columns for tests of likelihoods, by the kind of column that each describes."""

from __future__ import annotations

import dataclasses
import typing

import torch

from diabolo.model.likelihood import Units, likelihoods

#: Levels of a category, slots of a group.
LEVELS, SLOTS = 4, 3


def variants(name):
    """Specs of an entry: its default, and one for each named choice of its settings."""
    part = likelihoods.get(name)
    hints = typing.get_type_hints(part)
    specs = [{"name": name}]
    for field in dataclasses.fields(part):
        hint = hints[field.name]
        choices = [c for option in (hint, *typing.get_args(hint)) for c in typing.get_args(option)]
        specs += [{"name": name, field.name: c} for c in choices if isinstance(c, str) and c != field.default]
    return specs


@dataclasses.dataclass
class BlockOf:
    """A block that a likelihood can describe: its widths, units, and inputs for it."""

    likelihood: object
    columns: int = 2

    def __post_init__(self):
        self.kind = self.likelihood.kinds[0]
        if self.kind in ("slots", "categorical", "ordinal"):
            self.columns = 1
        if self.kind == "ordinal":
            self.likelihood = dataclasses.replace(self.likelihood, count=LEVELS)
        each = {"angle": 2, "slots": SLOTS, "categorical": LEVELS}.get(self.kind, 1)
        self.inputs = each * self.columns
        self.width = self.likelihood.width(self.columns, self.inputs)
        self.units = Units.plain(self.columns, 1e-3)
        if self.kind in ("integer", "count"):
            one = torch.ones(self.columns)
            self.units = Units(0.2 * one, 3.0 * one, 2.0 * one, 0.0 * one, 255.0 * one)
        if self.kind == "ordinal":
            one = torch.ones(1)
            self.units = Units(one, 1.5 * one, 2.0 * one, -torch.inf * one, torch.inf * one)
            self.units.levels = self.units.standardised(torch.arange(self.width)).float()

    def own(self, make):
        return {n: make(s) for n, s in self.likelihood.own(self.columns).items()}

    def rows(self, n, seed=0):
        """Inputs [n, inputs]."""
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(n, self.inputs, generator=generator)
        if self.kind == "angle":
            phi = 3 * x[:, : self.columns]
            return torch.cat([phi.cos(), phi.sin()], -1)
        if self.kind in ("integer", "count"):
            return self.units.standardised((4 * x).abs().round()).float()
        if self.kind == "ordinal":
            return self.units.levels[(4 * x).abs().long() % self.width]
        if self.kind == "categorical":
            return torch.nn.functional.one_hot(x.argmax(-1), LEVELS).float()
        return x if self.kind == "real" else (x > 0).float()

    def inputs_of(self, cells):
        """Inputs of standardised cells [n, 1] of one column."""
        if self.kind == "angle":
            return torch.cat([cells.cos(), cells.sin()], -1)
        return torch.nn.functional.one_hot(cells[:, 0].long(), LEVELS).float() if self.kind == "categorical" else cells

    @property
    def step(self):
        """Distance of neighbouring cells of a discrete column."""
        return float(self.units.step[0])


def quantile(likelihood, theta, own, units, p):
    """The x of one column with P(X ≤ x) = p, by bisection of the cdf."""

    def below(x):
        return float(likelihood.cdf(theta, own, torch.tensor([[x]], dtype=torch.float64), units)) < p

    low, high = -1.0, 1.0
    while not below(low):
        low *= 2
    while below(high):
        high *= 2
    for _ in range(100):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if below(middle) else (low, middle)
    return middle
