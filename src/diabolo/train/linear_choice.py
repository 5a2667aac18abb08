"""How the linear part of a table of few rows is fitted: chosen by cells of rows that were held back.

A fit of few rows errs where factors explain its own rows too well. Rows of columns that have nothing to do with each
other, counted beside the table's, draw covariances towards 0 (an inverse Wishart prior). How many of them, and how many
factors, is what this module chooses: each of five folds of the rows is judged by the log density of each of its cells
given all others of the row, under factors of the other folds.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from diabolo.model.masking import most_factors
from diabolo.train.covariance import fit_covariance
from diabolo.train.factor_sums import Factors, Rows, patterns_of
from diabolo.train.factors import drawn_apart, factors_of_covariance
from diabolo.train.pairs import Pairs

__all__ = ["FLOOR", "ROWS_PER_INPUT", "SHRINK", "Rule", "choose_rule", "related", "seen_rows"]

#: Smallest noise variance of an input in units of its own: a column that others determine keeps a density.
FLOOR, SHRINK = 1e-4, 1e-4
#: A column of fewer rows for each factor has at least this noise.
ROWS_PER_FACTOR, LOUD = 10, 0.5
#: Rows of unrelated columns that are tried.
UNRELATED = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
FOLDS = 5
#: A table of more rows for each input is fitted as it is; so is one of more work, rows times inputs³.
ROWS_PER_INPUT, MOST_WORK = 50, 1e8
#: Passes of EM for the moments of a fold, and for factors of these.
PASSES, STEPS = 10, 20
#: Chance that of a table whose gaps have nothing to do with anything any of them seems to have.
LEVEL = 0.01


class Rule(NamedTuple):
    """How factors are fitted to a table: their number, and rows of unrelated columns beside the table's own."""

    rank: int
    unrelated: float = 0.0

    def floor(self, rows: Tensor) -> Tensor:
        """Smallest noise [D] of columns of so many rows [D]."""
        # As many factors would explain a column that few rows have to the last digit; unrelated rows prevent it too.
        few = rows < (0 if self.unrelated else ROWS_PER_FACTOR * (self.rank + 1))
        return torch.where(few, LOUD, FLOOR).double()

    def widened(self, factors: Factors, rows: Tensor) -> Factors:
        """The noise of new rows: a regression on so many factors leaves more of them than of its own, by about that."""
        more = 1 + (self.rank + 1) / (rows + self.unrelated).clamp_min(1)
        return Factors(factors.mean, factors.loadings, factors.noise * more.clamp_max(2.0))


def related(x: Tensor, weights: Tensor | None, seen: Tensor | None, asked: Tensor) -> Tensor:
    """Which inputs [D] correlate with any other one beyond chance; all but the `asked` ones count as related.

    Fisher's z of each pair, two-sided, at 1 % over all pairs that are asked about (Fisher 1921).
    """
    if not bool(asked.any()):
        return ~asked
    pairs = Pairs(x.shape[1])
    pairs.add(x, weights, seen)
    _, covariance = pairs.mean_and_covariance()
    scale = covariance.diagonal().clamp_min(1e-30).rsqrt()
    correlation = (covariance * scale * scale[:, None]).clamp(-0.999999, 0.999999)
    z = correlation.atanh() * (pairs.count - 3).clamp_min(0.0).sqrt()
    z = torch.where(torch.eye(len(z), dtype=torch.bool), 0.0, z.abs())
    share = torch.tensor(LEVEL / 2 / (int(asked.sum()) * len(z)), dtype=torch.float64)
    least = float(torch.special.ndtri(share).neg())
    return ~asked | (z > least).any(1)


def seen_rows(x: Tensor, seen: Tensor | None) -> Tensor:
    """Rows that show each input, [D] float64."""
    return x.new_full((x.shape[1],), len(x)) if seen is None else seen.double().sum(0)


def choose_rule(rows: Rows, variable: Tensor, factors: int) -> Rule:
    """The rule of the largest log density of held-back cells, or the usual one: of too few rows or too much work.

    Args:
        rows: as for `fit_factors`, in units of their spread.
        variable: which column of the table each input is part of, [D].
        factors: at most.
    """
    n, width = rows[0].shape
    usual = Rule(most_factors(width, factors))
    if n < 2 * FOLDS or width < 2 or n * width**3 > MOST_WORK:
        return usual
    ranks = dict.fromkeys((usual.rank, min(width, factors)))
    rules = [usual, *(Rule(rank, k) for rank in ranks for k in UNRELATED)]
    fold = torch.randperm(n, generator=torch.Generator().manual_seed(0)) % FOLDS
    value = torch.zeros(len(rules), dtype=torch.float64)
    for k in range(FOLDS):
        rest, held = _part(rows, fold != k), _part(rows, fold == k)
        mean, covariance = fit_covariance(functools.partial(_alone, rest), width, UNRELATED[0] / n, PASSES)
        weight = float(len(rest[0]) if rest[1] is None else rest[1].sum())
        each = seen_rows(rest[0], rest[2])
        for i, rule in enumerate(rules):
            apart = drawn_apart(covariance, weight, rule.unrelated)
            found = factors_of_covariance(mean, apart, rule.rank, rule.floor(each), SHRINK, STEPS)
            value[i] += _density(rule.widened(found, each), held, variable)
    return rules[int(value.argmax())]


def _part(rows: Rows, which: Tensor) -> Rows:
    x, weights, seen = rows
    return x[which], None if weights is None else weights[which], None if seen is None else seen[which]


def _alone(rows: Rows) -> list[Rows]:
    return [rows]


def _density(factors: Factors, rows: Rows, variable: Tensor) -> float:
    """Σ over rows of the log densities of each column given all others that a row has, in nats.

    A column of several inputs counts with all but its last: the levels of a word add up to 1.
    """
    x, weights, seen = rows
    covariance = factors.loadings @ factors.loadings.T + factors.noise.diag()
    there = torch.ones_like(x, dtype=torch.bool) if seen is None else seen
    patterns, pattern = patterns_of(there)
    away = torch.where(there, x - factors.mean, 0.0)
    # Cells that are not there get a variance of 1 and no covariance.
    both = patterns[:, :, None] * patterns[:, None, :]
    precision = torch.linalg.inv(both * covariance + torch.diag_embed(1 - patterns))
    pull = (precision[pattern] @ away[:, :, None])[:, :, 0]
    own = precision.diagonal(dim1=1, dim2=2)[pattern]
    cells = 0.5 * (own.log() - pull.square() / own - math.log(2 * math.pi)) * there
    _, which, inputs = torch.unique(variable, return_inverse=True, return_counts=True)
    alone = inputs[which] == 1
    total = cells[:, alone].sum(1)
    for v in torch.nonzero(inputs > 1)[:, 0]:
        at = torch.nonzero(which == v)[:, 0]
        some = torch.linalg.inv(precision[:, at][:, :, at])
        rest = (some[pattern] @ pull[:, at, None])[:, :-1, 0]
        lower = torch.linalg.cholesky(some[:, :-1, :-1])[pattern]
        z = torch.linalg.solve_triangular(lower, rest[:, :, None], upper=False)[:, :, 0]
        size = lower.diagonal(dim1=1, dim2=2).log().sum(1)
        total += there[:, at[0]] * (-0.5 * (z.square().sum(1) + z.shape[1] * math.log(2 * math.pi)) - size)
    return float(total.sum() if weights is None else (total * weights).sum())
