"""Laws of single columns in a masked autoencoder: lists of values, and a share of each column's own law."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diabolo import MaskedAutoencoder
from diabolo.config import METHODS
from diabolo.data.marginals import fit_marginals
from diabolo.model.knots import standard_normal
from diabolo.model.likelihood import Units
from diabolo.model.likelihood.flexible import Flexible

SMALL = {"epochs": 2, "hidden": (16, 16), "code_dim": 24}


def atoms_of(cells, resolution):
    law = fit_marginals(cells[:, None], [0], np.array([resolution]), None)
    return law.atoms[0][3].numpy() if law.atoms else np.empty(0)


# ── lists of values ───────────────────────────────────────────────────────────────────────────────


def test_values_of_a_list_are_atoms_and_those_that_fill_a_grid_are_not():
    rng = np.random.default_rng(0)
    # Degrees Fahrenheit of whole degrees Celsius, in tenths: every row has one of a few values of their grid.
    listed = np.round(1.8 * rng.integers(-20, 60, 3000) + 32, 1)
    assert set(atoms_of(listed, 0.1)) == set(np.unique(listed))
    assert set(atoms_of(10.0 * rng.integers(0, 60, 3000), 1.0)) == set(10.0 * np.arange(60))
    assert not len(atoms_of(rng.integers(0, 80, 3000).astype(float), 1.0))
    assert not len(atoms_of(rng.normal(size=3000), 0.0))


def test_a_value_of_two_rows_is_an_atom_only_where_new_values_are_rare():
    rng = np.random.default_rng(0)
    values = rng.normal(size=200)
    listed = np.concatenate([np.repeat(values, 2), np.repeat(values[:20], 40)])
    assert set(atoms_of(listed, 0.0)) == set(values)
    # As many pairs among rows of which half have a value of their own.
    assert set(atoms_of(np.concatenate([listed, rng.normal(size=1500)]), 0.0)) == set(values[:20])


def test_values_that_rounding_makes_one_are_one_atom():
    values = np.repeat(np.concatenate([np.arange(40) / 3, np.arange(40) / 3 + 1e-9]), 10)
    law = fit_marginals(values[:, None], [0], np.array([0.0]), None)
    bounds = law.bounds[0][np.isfinite(law.bounds[0])]
    assert (np.diff(bounds) >= 0).all()
    assert len(law.atoms[0][3]) == 40


def test_draws_of_a_list_are_values_of_it():
    rng = np.random.default_rng(1)
    celsius = rng.integers(-20, 60, 1200)
    X = np.stack([np.round(1.8 * celsius + 32, 1), celsius + 5 * rng.normal(size=1200)], 1)
    drawn = MaskedAutoencoder(**SMALL).fit(X).sample(500)
    assert np.isin(drawn[:, 0], X[:, 0]).mean() > 0.99


# ── a share of the column's own law ───────────────────────────────────────────────────────────────


def law_of(share, seed=0):
    part = Flexible(groups=6, share=share)
    units = Units.plain(2)
    units.knots = standard_normal(2, 6)
    theta = 0.5 * torch.randn(5, part.width(2, 2), generator=torch.Generator().manual_seed(seed))
    return part, units, theta


def test_the_mixed_law_sums_to_one_and_its_quantiles_invert_its_cdf():
    part, units, theta = law_of(0.2)
    grid = torch.linspace(-9, 9, 20_001)[:, None, None].expand(-1, 5, 2)
    density = torch.stack([(-part.nll(theta, {}, x, units)).exp() for x in grid])
    torch.testing.assert_close(torch.trapezoid(density, dx=18 / 20_000, dim=0), torch.ones(5, 2), atol=2e-3, rtol=0)
    mean = torch.trapezoid(density * grid, dx=18 / 20_000, dim=0)
    torch.testing.assert_close(part.mean(theta, units), mean, atol=5e-3, rtol=0)
    for u in (0.01, 0.3, 0.5, 0.99):
        x = part.quantile(theta, {}, torch.full((5, 2), u), units)
        torch.testing.assert_close(
            part.cdf(theta, {}, x, units), torch.full((5, 2), u).double(), atol=1e-5, rtol=0, check_dtype=False
        )


def test_draws_have_the_mixed_law():
    part, units, theta = law_of(0.3)
    drawn = part.sample(theta[:1].expand(20_000, -1), {}, units, torch.Generator().manual_seed(1))
    u = part.cdf(theta[:1].expand(20_000, -1), {}, drawn, units).sort(0).values
    assert (u - torch.linspace(0, 1, 20_000)[:, None]).abs().max() < 1.63 / np.sqrt(20_000)


def test_no_value_costs_much_more_than_by_the_columns_own_law():
    part, units, theta = law_of(0.001)
    narrow = theta.clone()
    narrow[:, 2:4] = -5.0
    x = torch.full((5, 2), 4.0)
    plain = Flexible(groups=6).nll(narrow, {}, x, units)
    cost = part.nll(narrow, {}, x, units)
    own = 0.5 * x.square() + 0.5 * np.log(2 * np.pi)
    assert (plain > 100).all()
    assert (cost <= own - np.log(0.001) + 1e-4).all()


def test_a_law_without_a_share_is_what_it_was():
    part, units, theta = law_of(0.0)
    assert Flexible(groups=6) == part
    x = part.quantile(theta, {}, torch.full((5, 2), 0.37), units)
    torch.testing.assert_close(part.cdf(theta, {}, x, units), torch.full((5, 2), 0.37).double(), atol=1e-5, rtol=0)


def test_the_share_of_a_fit_is_in_its_file(tmp_path):
    from diabolo import load

    X = np.random.default_rng(0).normal(size=(200, 3))
    for spec, share in ((None, METHODS["masked"]["likelihood"]["share"]), ("flexible", 0.0)):
        ae = MaskedAutoencoder(**SMALL, **({} if spec is None else {"likelihood": spec})).fit(X)
        ae.save(tmp_path / "m.diabolo")
        again = load(tmp_path / "m.diabolo")
        assert again.model_.heads[0].likelihood.share == pytest.approx(share)
        np.testing.assert_array_equal(again.nll(X), ae.nll(X))


# ── how long a fit goes on ────────────────────────────────────────────────────────────────────────


def test_patience_counts_from_the_middle_where_stop_rows_are_many():
    X = np.random.default_rng(0).normal(size=(1200, 3))
    settings = {**SMALL, "epochs": 12, "patience": 1}
    assert len(MaskedAutoencoder(**settings).fit(X).history_) >= 7
    assert len(MaskedAutoencoder(**settings).fit(X[:300]).history_) < 7
