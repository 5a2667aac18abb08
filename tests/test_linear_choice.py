"""The linear part of small tables: what held-back cells choose, and that large tables are fitted as they are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from diabolo import MaskedAutoencoder
from diabolo.model.masking import most_factors
from diabolo.train import linear_start
from diabolo.train.factor_sums import log_likelihood
from diabolo.train.factors import drawn_apart, factors_of_covariance, fit_factors
from diabolo.train.linear_choice import FOLDS, MOST_WORK, UNRELATED, Rule, choose_rule, related
from diabolo.train.pairs import Pairs

#: No step: the linear part alone.
STILL = {"epochs": 1, "learning_rate": 1e-12, "hidden": (16, 16), "code_dim": 64}


def rows_of(n, width, rank, seed=0, noise=0.5):
    g = torch.Generator().manual_seed(seed)
    loadings = torch.randn(width, rank, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    x = torch.randn(n, rank, generator=g, dtype=torch.float64) @ loadings.T
    x = x + noise * torch.randn(n, width, generator=g, dtype=torch.float64)
    return (x - x.mean(0)) / x.std(0, correction=0)


def holes(x, share=0.15, seed=3):
    return torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) >= share


# ── unrelated rows ────────────────────────────────────────────────────────────────────────────────


def test_unrelated_rows_are_rows():
    """Of rows without gaps they shrink the covariance, as rows of unit covariance that are really there would."""
    x = rows_of(40, 6, 2)
    beside = torch.cat([x, *(20**0.5 * row for row in (torch.eye(6).double(), -torch.eye(6).double()))])
    # 2 · 20 rows² / 40 of each column: 40 rows' worth of the unit covariance, as 12 rows.
    pairs = Pairs(6)
    pairs.add(x)
    mean, covariance = pairs.mean_and_covariance()
    joined = beside.T @ beside / 80
    assert torch.allclose(drawn_apart(covariance, 40.0, 40.0), joined, atol=1e-9)
    floor = torch.full((6,), 1e-4).double()
    by_moments = factors_of_covariance(mean, joined, 2, floor, 1e-4, 200)
    fitted = fit_factors(lambda: [(x, None, None)], 6, 2, floor=1e-4, shrink=1e-4, passes=200, unrelated=40.0)
    assert torch.allclose(by_moments.loadings, fitted.loadings, atol=1e-4)
    assert torch.allclose(by_moments.noise, fitted.noise, atol=1e-4)


def test_many_unrelated_rows_leave_nothing_related():
    x = rows_of(60, 5, 1)
    fitted = fit_factors(lambda: [(x, None, holes(x))], 5, 2, unrelated=1e7)
    joint = fitted.loadings @ fitted.loadings.T + fitted.noise.diag()
    assert (joint - joint.diagonal().diag()).abs().max() < 1e-3


def test_gaps_and_unrelated_rows_climb_the_penalised_likelihood():
    x = rows_of(80, 6, 2)
    seen = holes(x)
    pairs = Pairs(6)
    pairs.add(x, None, seen)
    variance = pairs.mean_and_covariance()[1].diagonal()

    def value(f):
        joint = f.loadings @ f.loadings.T + f.noise.diag()
        penalty = torch.logdet(joint) + torch.linalg.solve(joint, variance.diag()).trace()
        return float(log_likelihood(f, x, seen).sum() - 0.5 * 10 * penalty)

    at = [value(fit_factors(lambda: [(x, None, seen)], 6, 2, passes=p, unrelated=10.0)) for p in (1, 4, 16, 64, 256)]
    assert at == sorted(at)
    plain = value(fit_factors(lambda: [(x, None, seen)], 6, 2))
    assert at[-1] > plain


# ── which gaps say something ──────────────────────────────────────────────────────────────────────


def test_gaps_at_random_are_left_out_and_gaps_that_say_something_are_not():
    g = np.random.default_rng(0)
    left_out = 0
    for seed in range(20):
        x = torch.from_numpy(np.random.default_rng(seed).normal(size=(150, 5)))
        flags = torch.from_numpy(g.random((150, 4)) < 0.15).double()
        all_of_them = torch.cat([x, flags], 1)
        asked = torch.arange(9) >= 5
        found = related(all_of_them, None, None, asked)
        assert found[:5].all()
        left_out += int((~found[5:]).sum())
        all_of_them[:, 6] = (x[:, 0] > 1).double()
        assert related(all_of_them, None, None, asked)[6]
    assert left_out >= 76


# ── the choice ────────────────────────────────────────────────────────────────────────────────────


def held_out(rule, x, new):
    floor = rule.floor(torch.full((x.shape[1],), float(len(x))))
    found = fit_factors(lambda: [(x, None, None)], x.shape[1], rule.rank, floor=floor, unrelated=rule.unrelated)
    return float(log_likelihood(rule.widened(found, torch.full((x.shape[1],), float(len(x)))), new).mean())


@pytest.mark.parametrize("share", [0.0, 0.15])
def test_few_rows_of_unrelated_columns_are_drawn_apart(share):
    x = torch.randn(40, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rule = choose_rule((x, None, holes(x, share)), torch.arange(12), 32)
    assert rule.unrelated == UNRELATED[-1]


def test_a_choice_is_better_on_new_rows_than_one_rule_for_all():
    better = 0
    for seed in range(5):
        both = rows_of(2060, 15, 3, seed)
        x, new = both[:60], both[60:]
        rule = choose_rule((x, None, None), torch.arange(15), 32)
        better += held_out(rule, x, new) > held_out(Rule(most_factors(15, 32)), x, new)
    assert better >= 4


def test_strong_factors_of_many_rows_are_hardly_drawn_apart():
    rule = choose_rule((rows_of(900, 10, 2, noise=0.1), None, None), torch.arange(10), 32)
    assert rule.unrelated <= 3


def test_levels_of_a_word_count_as_one_column():
    g = np.random.default_rng(0)
    level = np.eye(3)[g.integers(3, size=100)]
    x = torch.from_numpy(np.column_stack([g.normal(size=100) + 2 * level[:, 0], g.normal(size=100), level]))
    x = (x - x.mean(0)) / x.std(0)
    rule = choose_rule((x, None, None), torch.tensor([0, 1, 2, 2, 2]), 32)
    assert rule.rank >= 1
    # The last level of each word says nothing more: the choice is the same however it is written.
    assert choose_rule((x, torch.ones(100).double(), None), torch.tensor([0, 1, 2, 2, 2]), 32) == rule


@pytest.mark.parametrize(("n", "width"), [(2 * FOLDS - 1, 4), (int(MOST_WORK / 60**3) + 1, 60), (50, 1)])
def test_too_little_and_too_much_is_not_chosen_from(n, width):
    x = torch.randn(n, width, dtype=torch.float64)
    assert choose_rule((x, None, None), torch.arange(width), 32) == Rule(most_factors(width, 32))


def test_a_large_table_is_fitted_as_it_is(monkeypatch):
    x = pd.DataFrame(rows_of(1500, 5, 1).numpy()).mask(np.random.default_rng(0).random((1500, 5)) < 0.1)
    linear = MaskedAutoencoder(**STILL).fit(x).model_.masking.linear
    monkeypatch.setattr(linear_start, "related", lambda *a: pytest.fail("asked of a large table"))
    monkeypatch.setattr(linear_start, "choose_rule", lambda *a: pytest.fail("asked of a large table"))
    again = MaskedAutoencoder(**STILL).fit(x).model_.masking.linear
    assert torch.equal(linear.loadings, again.loadings)
    # Whether cells are missing is among its inputs, and counts in the number of its factors.
    assert linear.rank == most_factors(10, 32)
    assert (linear.loadings[5:] != 0).any()


def test_gaps_at_random_leave_no_trace_in_a_small_table():
    x = pd.DataFrame(rows_of(120, 5, 1).numpy()).mask(np.random.default_rng(0).random((120, 5)) < 0.15)
    model = MaskedAutoencoder(**STILL).fit(x).model_
    assert (model.masking.linear.loadings[5:] == 0).all()
    assert (model.masking.linear.loadings[:5] != 0).any()
    assert np.isfinite(MaskedAutoencoder(**STILL).fit(x).reconstruct(x, only_missing=True).to_numpy()).all()
