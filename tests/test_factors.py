"""Factor analysis against closed forms: principal components, Gaussian conditionals, and models that are known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA, FactorAnalysis

from diabolo.errors import ConfigError, DataError
from diabolo.model.factors import LinearPart
from diabolo.train.factors import Factors, choose_rank, fit_factors, log_likelihood
from diabolo.train.pairs import Pairs

NAN = float("nan")


def known(width, rank, seed=0, low=0.2):
    """A model with loadings of size 1 and noise variances from `low` to 1."""
    g = torch.Generator().manual_seed(seed)
    loadings = torch.randn(width, rank, generator=g, dtype=torch.float64)
    psi = low + (1 - low) * torch.rand(width, generator=g, dtype=torch.float64)
    return Factors(torch.randn(width, generator=g, dtype=torch.float64), loadings, psi)


def draw(model, n, seed=1):
    g = torch.Generator().manual_seed(seed)
    width, rank = model.loadings.shape
    z = torch.randn(n, rank, generator=g, dtype=torch.float64)
    return (
        model.mean + z @ model.loadings.T + torch.randn(n, width, generator=g, dtype=torch.float64) * model.noise**0.5
    )


def holes(x, share, seed=2):
    return torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) >= share


def joint(model):
    return model.loadings @ model.loadings.T + model.noise.diag()


def fit(x, rank, seen=None, weights=None, **settings):
    hidden = x if seen is None else torch.where(seen, x, NAN)
    return fit_factors(lambda: [(hidden, weights, seen)], x.shape[1], rank, **settings)


def test_isotropic_noise_without_gaps_is_principal_components():
    x = draw(known(6, 2), 400) * torch.tensor([1, 3, 0.5, 1, 2, 1.0]) + 50
    model, pca = fit(x, 3, noise="isotropic", shrink=0.0), PCA(3).fit(x.numpy())
    values = pca.explained_variance_ * 399 / 400
    rest = (float(x.var(0, correction=0).sum()) - values.sum()) / 3
    axes = model.loadings / model.loadings.norm(dim=0)
    assert torch.allclose((axes * torch.from_numpy(pca.components_.T)).sum(0).abs(), torch.ones(3).double(), atol=1e-8)
    assert np.allclose(model.loadings.norm(dim=0).numpy() ** 2, values - rest, atol=1e-8)
    assert torch.allclose(model.noise, torch.full((6,), rest).double(), atol=1e-8)
    assert bool((model.loadings.gather(0, model.loadings.abs().argmax(0, keepdim=True)) > 0).all())


@pytest.mark.parametrize(("width", "rank"), [(8, 2), (12, 4)])
def test_diagonal_noise_is_at_least_as_likely_as_scikit_learns(width, rank):
    x = draw(known(width, rank), 1500)
    model = fit(x, rank)
    rival = FactorAnalysis(rank, tol=1e-6, max_iter=5000, svd_method="lapack").fit(x.numpy())
    assert float(log_likelihood(model, x).mean()) >= rival.score(x.numpy()) - 1e-5
    metric = model.loadings.T @ (model.loadings / model.noise[:, None])
    assert torch.allclose(metric, metric.diagonal().diag(), atol=1e-8 * float(metric.max()))
    assert bool((metric.diagonal().diff() <= 0).all())


@pytest.mark.parametrize("noise", ["diagonal", "isotropic"])
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_no_pass_falls(noise, share):
    x = draw(known(7, 2), 300)
    seen = holes(x, share)
    passes = [
        float(log_likelihood(fit(x, 2, seen, noise=noise, passes=p), x, seen).mean()) for p in (1, 3, 5, 7, 9, 40)
    ]
    assert all(later >= before - 1e-12 for before, later in itertools.pairwise(passes))
    if share or noise == "diagonal":  # a closed form takes no pass
        assert passes[-1] > passes[0]


def posterior(model, x, seen):
    """E[z | x_S] by the part of a model that such factors become."""
    given = [t.to(x) for t in (model.loadings, model.noise, model.mean, torch.ones_like(model.mean))]
    return LinearPart(*given).code(x - given[2], seen.to(x))[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_posterior_is_the_gaussian_conditional(dtype):
    model = known(7, 3)
    x = draw(model, 40).to(dtype)
    seen = holes(x, 0.4)
    seen[0], seen[1] = False, True
    found = posterior(model, torch.where(seen, x, NAN), seen)
    assert found.dtype == dtype
    assert torch.equal(found, posterior(model, x, seen.to(dtype)))
    assert bool((found[0] == 0).all())
    for row, there, z in zip(x.double(), seen, found.double(), strict=True):
        part = model.loadings[there]
        wanted = part.T @ torch.linalg.solve(joint(model)[there][:, there], (row - model.mean)[there])
        assert torch.allclose(z, wanted, atol=1e-10 if dtype == torch.float64 else 2e-5)


def test_the_log_likelihood_is_the_gaussians():
    model = known(5, 2)
    x = draw(model, 20)
    seen = holes(x, 0.5)
    seen[0] = False
    found = log_likelihood(model, torch.where(seen, x, NAN), seen)
    assert float(found[0]) == 0
    for row, there, value in zip(x[1:], seen[1:], found[1:], strict=True):
        if bool(there.any()):
            law = torch.distributions.MultivariateNormal(model.mean[there], joint(model)[there][:, there])
            assert float(value) == pytest.approx(float(law.log_prob(row[there])), abs=1e-10)


def test_gaps_cost_little_and_zero_filling_much():
    model = known(10, 2)
    x = draw(model, 6000)
    seen = holes(x, 0.3)
    fitted = fit(x, 2, seen)
    assert float(log_likelihood(fitted, x, seen).sum()) > float(log_likelihood(model, x, seen).sum())
    fresh, there = draw(model, 500, seed=5), holes(x[:500], 0.3, seed=6)

    def filled(m):
        return m.mean + posterior(m, fresh, there) @ m.loadings.T

    signal = filled(model).var()
    assert float((filled(fitted) - filled(model)).square().mean() / signal) < 0.002
    naive = fit(torch.where(seen, x, x.mean(0)), 2)  # the control: gaps filled by the mean
    assert float((filled(naive) - filled(model)).square().mean() / signal) > 0.02


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_a_weight_is_repeated_rows(share):
    x = draw(known(6, 1), 300)
    seen, weights = holes(x, share), torch.arange(300) % 3
    once = fit(x, 1, seen, weights)
    again = fit(x.repeat_interleave(weights, 0), 1, seen.repeat_interleave(weights, 0))
    for a, b in ((once.mean, again.mean), (joint(once), joint(again))):
        assert torch.allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_chunks_and_their_order_change_nothing(share):
    x = draw(known(6, 1), 300) + 1e4
    seen = holes(x, share)
    parts = [(x[i : i + 47], None, seen[i : i + 47]) for i in range(0, 300, 47)]
    chunked = fit_factors(lambda: parts[::-1], 6, 1)
    assert torch.allclose(joint(chunked), joint(fit(x, 1, seen)), atol=1e-4)


def test_few_patterns_and_all_rows_for_themselves_agree(monkeypatch):
    from diabolo.train import factor_sums

    x = draw(known(6, 2), 200)
    seen = torch.ones_like(x, dtype=torch.bool)
    seen[:80, 1:3] = False
    grouped = fit(x, 2, seen)
    monkeypatch.setattr(factor_sums, "patterns_of", lambda seen: (seen.double(), torch.arange(len(seen))))
    assert torch.allclose(joint(grouped), joint(fit(x, 2, seen)), atol=1e-10)


@pytest.mark.parametrize("noise", ["diagonal", "isotropic"])
@pytest.mark.parametrize("share", [0.0, 0.2])
def test_narrow_constant_and_empty_tables(noise, share):
    x = draw(known(4, 1), 200)
    x[:, 2] = 0.1
    seen = holes(x, share)
    if share:
        seen[:, 3] = False  # a column that no row shows
        seen[5] = False
    model = fit(x, 1, seen, noise=noise)
    assert float(model.mean[2]) == pytest.approx(0.1)
    assert float(model.loadings[2].abs().max()) < 1e-3
    assert all(bool(torch.isfinite(t).all()) for t in (model.mean, model.loadings, model.noise))
    if share:
        assert not bool(model.loadings[3].any())
    one = fit(x[:, :1], None, seen[:, :1], noise=noise)
    assert one.loadings.shape == (1, 0)
    assert float(one.noise) == pytest.approx(float(x[seen[:, 0], 0].var(correction=0)))
    assert posterior(one, x[:, :1], seen[:, :1]).shape == (200, 0)
    assert log_likelihood(one, x[:, :1], seen[:, :1]).shape == (200,)
    full = fit(x[:, :2], 2, seen[:, :2], noise=noise)
    assert torch.allclose(joint(full), x[:, :2].T.cov(), rtol=0.1, atol=0.1)


def test_no_column_loses_all_of_its_noise():
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(300, 1, generator=g), torch.randn(300, 4, generator=g)
    x = torch.cat([a, a, b], dim=1)  # two equal columns: without a bound, ψ runs to 0
    model = fit(x, 1, shrink=0.01)
    variance = x.var(0, correction=0).double()
    assert torch.allclose(model.noise[:2], 0.01 * variance[:2], rtol=1e-6)
    assert bool((fit(x, 1, floor=0.3, shrink=0.0).noise >= 0.3).all())


@pytest.mark.parametrize("rank", [0, 1, 3, 6])
@pytest.mark.parametrize("share", [0.0, 0.15])
def test_the_table_chooses_the_number_of_factors(rank, share):
    x = draw(known(20, rank, low=0.5), 3000)
    assert fit(x, None, holes(x, share)).loadings.shape == (20, rank)


def test_pairs_without_gaps_are_the_usual_moments():
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1e6
    pairs = Pairs(3)
    for part in x.split(20):
        pairs.add(part)
    mean, covariance = pairs.mean_and_covariance()
    assert not pairs.gaps
    assert torch.allclose(mean, x.mean(0), rtol=1e-15)
    assert torch.allclose(covariance, (x - x.mean(0)).T.cov(correction=0), atol=1e-9)


def test_bad_input_is_refused_in_one_line():
    x = torch.zeros(3, 2)
    with pytest.raises(ConfigError, match="3 factors of 2 columns; allowed are 0 to 2"):
        fit(x, 3)
    with pytest.raises(ConfigError, match="must be above 0"):
        fit(x, 1, floor=0.0)
    with pytest.raises(DataError, match="at least one row"):
        fit(x, 1, weights=torch.zeros(3))
    with pytest.raises(DataError, match="at least one row"):
        fit_factors(list, 2, 1)
    assert choose_rank(torch.eye(3, dtype=torch.float64), 100) == 0
    assert math.isfinite(float(log_likelihood(fit(x, 1), x).sum()))
