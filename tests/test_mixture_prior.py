"""The mixture prior: densities and Ω against integrals, what it learns, and the clusters it is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from sklearn.metrics import adjusted_rand_score

from diabolo import Autoencoder, LatentClusterer, LinearAutoencoder, VariationalAutoencoder
from diabolo.data.sources import Rows
from diabolo.errors import ConfigError
from diabolo.model.latent.point import PointPosterior
from diabolo.model.prior import priors
from diabolo.model.regularizer import Context, regularizers
from diabolo.train.loop import fit

LOGITS = torch.tensor([0.0, 1.0, -0.5])
MEANS = torch.tensor([[-2.0, 1.0], [0.5, 0.0], [3.0, -1.0]])
LOG_VARS = torch.tensor([[0.0, -1.0], [0.4, 0.3], [-0.8, 0.2]])


def mixture(dims=2):
    parameters = {"logits": LOGITS, "means": MEANS[:, :dims], "log_vars": LOG_VARS[:, :dims]}
    return priors.create({"name": "mixture", "components": 3}).bound(parameters)


def gaussians(dims=2):
    w = LOGITS.softmax(0).numpy()
    return w, [
        stats.multivariate_normal(m[:dims], np.diag(v[:dims].exp())) for m, v in zip(MEANS, LOG_VARS, strict=True)
    ]


def test_density_is_that_of_the_mixture():
    z = np.random.default_rng(0).normal(size=(50, 2)) * 3
    w, parts = gaussians()
    wanted = np.log(sum(share * part.pdf(z) for share, part in zip(w, parts, strict=True)))
    found = mixture().log_prob(torch.from_numpy(z).float())
    np.testing.assert_allclose(found.sum(-1), wanted, rtol=1e-4)
    first = np.log(sum(share * part.pdf(z[:, :1]) for share, part in zip(*gaussians(1), strict=True)))
    np.testing.assert_allclose(found[:, 0], first, rtol=1e-4)


@pytest.mark.parametrize(("mu", "sigma"), [(0.3, 1.0), (-2.0, 0.2), (1.8, 2.5)])
def test_omega_is_the_divergence_of_code_and_component_together(mu, sigma):
    """Σ_c ∫ q(z) γ_c log(q(z) γ_c / (w_c N_c(z))) dz, minimal over γ, and no less than KL(q ‖ π)."""
    q, (w, parts) = stats.norm(mu, sigma), gaussians(1)

    def integral(f):
        return integrate.quad(f, mu - 10 * sigma, mu + 10 * sigma, limit=200, points=[mu])[0]

    kl = np.array([integral(lambda z, p=p: q.pdf(z) * (q.logpdf(z) - p.logpdf(z))) for p in parts])

    def joint(gamma):
        return float((gamma * (kl + np.log(gamma / w))).sum())

    best = w * np.exp(-kl) / (w * np.exp(-kl)).sum()
    omega = float(mixture(1).kl(torch.tensor([[mu]]), torch.tensor([[2 * math.log(sigma)]])))
    assert omega == pytest.approx(joint(best), abs=1e-4)
    for other in ([0.2, 0.3, 0.5], [0.98, 0.01, 0.01], [0.01, 0.01, 0.98]):
        assert omega <= joint(np.array(other)) + 1e-6
    marginal = integral(
        lambda z: q.pdf(z) * (q.logpdf(z) - np.log(sum(s * p.pdf(z) for s, p in zip(w, parts, strict=True))))
    )
    assert omega >= marginal - 1e-6


def test_draws_have_the_moments_of_the_mixture():
    drawn = mixture().sample((40_000, 2), torch.Generator().manual_seed(0)).numpy()
    w, _ = gaussians()
    mean = (w[:, None] * MEANS.numpy()).sum(0)
    var = (w[:, None] * (LOG_VARS.exp().numpy() + (MEANS.numpy() - mean) ** 2)).sum(0)
    np.testing.assert_allclose(drawn.mean(0), mean, atol=0.05)
    np.testing.assert_allclose(drawn.var(0), var, rtol=0.05)
    assert mixture().variance == pytest.approx(var.mean(), rel=1e-4)


def test_members_have_mixtures_of_their_own():
    parameters = {"logits": LOGITS, "means": MEANS, "log_vars": LOG_VARS}
    two = priors.create({"name": "mixture", "components": 3}).bound(
        {n: torch.stack([p, p.flip(0) + (n == "means")]) for n, p in parameters.items()}
    )
    z = torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(two.log_prob(z)[0], mixture().log_prob(z[0]))
    torch.testing.assert_close(two.log_prob(z)[1].sum(-1), mixture().log_prob(z[1] - 1).sum(-1))
    assert two.sample((2, 7, 2), torch.Generator().manual_seed(0)).shape == (2, 7, 2)
    torch.testing.assert_close(two.kl(z, -z.abs())[0], mixture().kl(z[0], -z[0].abs()))


def test_mmd_of_members_is_each_ones_own_from_the_same_draws():
    parameters = {"logits": LOGITS, "means": MEANS, "log_vars": LOG_VARS}
    several = {n: torch.stack([p, p.flip(0) * 2]) for n, p in parameters.items()}
    empty = priors.create({"name": "mixture", "components": 3})
    z = torch.randn(2, 40, 2, generator=torch.Generator().manual_seed(0))

    def omega(prior, codes):
        posterior = PointPosterior(codes)
        context = Context(prior, codes, PointPosterior, torch.Generator().manual_seed(1))
        return regularizers.create("mmd")(posterior, context)

    together = omega(empty.bound(several), z)
    assert together.shape == (2, 40)
    for member in range(2):
        alone = omega(empty.bound({n: p[member] for n, p in several.items()}), z[member])
        torch.testing.assert_close(together[member], alone)
    assert float((together[0] - together[1]).abs().max()) > 1e-3


def test_several_members_fit_with_mmd_and_a_mixture(build_model, encoded):
    X = blobs()[0]
    model = build_model(X, (2,), hidden=(8,), latent_dim=2, prior="mixture", regularizer="mmd", epochs=2)
    history = fit(model, Rows(encoded(model, X), None), Rows(encoded(model, X[:50]), None))
    assert len(history) == 2
    assert all(np.isfinite(e.validation) for e in history)


# ── trained with the model ────────────────────────────────────────────────────────────────────────


def blobs():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2, 3], [200, 150, 100, 80])
    centers = np.array([[0, 0, 0, 0], [9, 0, 0, 4], [0, 9, 9, 0], [-9, 0, 9, 9]])
    return centers[y] + rng.normal(size=(len(y), 4)), y


@pytest.fixture(scope="module")
def fitted():
    settings = {"latent_dim": 2, "hidden": (32,), "epochs": 60, "warmup": 30, "batch_size": 32}
    return VariationalAutoencoder(**settings, prior="mixture").fit(blobs()[0])


def test_the_prior_learns_where_the_codes_are(fitted):
    prior = fitted.model_.prior
    before = priors.create("mixture").own(2)
    for name, value in before.items():
        assert not torch.allclose(fitted.model_.store.views[f"prior.{name}"], value, atol=1e-2), name
    codes = torch.from_numpy(fitted.transform(blobs()[0])).float()
    assert prior.log_prob(codes).sum(-1).mean() > priors.create("mixture").log_prob(codes).sum(-1).mean()


def test_its_gaussians_are_clusters(fitted):
    X, y = blobs()
    found = LatentClusterer(fitted, method="prior").fit(X)
    assert adjusted_rand_score(y, found.labels_) > 0.8
    assert found.n_clusters_ <= 10
    assert (found.sizes_ > 0).all()
    assert np.isnan(found.stability_)
    assert np.array_equal(found.predict(X), found.labels_)


def test_the_file_keeps_the_prior(fitted, tmp_path):
    X = blobs()[0]
    LatentClusterer(fitted, method="prior").fit(X).save(tmp_path / "m.diabolo")
    again = Autoencoder.load(tmp_path / "m.diabolo")
    assert np.array_equal(again.anomaly_score(X, "neg_elbo"), fitted.anomaly_score(X, "neg_elbo"))
    assert np.array_equal(again.sample(9), fitted.sample(9))
    assert np.array_equal(
        LatentClusterer.load(tmp_path / "m.diabolo").predict(X), LatentClusterer(fitted, method="prior").fit_predict(X)
    )


def test_other_priors_are_no_clusters():
    with pytest.raises(ConfigError, match="prior='mixture'"):
        LatentClusterer(LinearAutoencoder(latent_dim=2), method="prior").fit(blobs()[0])
    with pytest.raises(ConfigError, match="finds out"):
        LatentClusterer(LinearAutoencoder(latent_dim=2), method="prior", n_clusters=3).fit(blobs()[0])
