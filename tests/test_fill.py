"""Filling in missing cells: the law of a cell given the others, for every latent, and the verb `fill`."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from diabolo import (
    Autoencoder,
    DenoisingAutoencoder,
    LinearAutoencoder,
    SparseAutoencoder,
    VariationalAutoencoder,
)
from diabolo.generate.filling import filled

METHODS = [Autoencoder, DenoisingAutoencoder, LinearAutoencoder, SparseAutoencoder, VariationalAutoencoder]
HOLES = 0.2


def plane_with_holes(seed=1, n=1500):
    """(truth, with holes, which) of rows near a plane in five dimensions."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2)) @ rng.normal(size=(2, 5)) + 0.3 * rng.normal(size=(n, 5))
    gone = rng.random(X.shape) < HOLES
    return X, np.where(gone, np.nan, X), gone


def r2(found, truth, gone):
    return 1 - ((found - truth)[gone] ** 2).mean() / truth[gone].var()


# ── the closed form of a linear decoder with Gaussian noise ───────────────────────────────────────


def linear(build_model, latent, k=2, columns=5, seed=3):
    """A model x = W z + b + σ ε with a poor encoder: (model, W, b, σ, mean and covariance of z)."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(400, columns)) @ rng.normal(size=(columns, columns)) * 10 + 3
    settings = {"latent": "gaussian", "regularizer": "kl"} if latent == "gaussian" else {}
    sigma = np.full(columns, 0.5)
    model = build_model(
        X, latent_dim=k, network="linear", clip=1e6, likelihood={"name": "gaussian", "sigma": 0.5}, **settings
    )
    W, b = 0.8 * rng.normal(size=(columns, k)), 0.3 * rng.normal(size=columns)
    model.store.views["decoder.0.weight"].copy_(torch.from_numpy(W))
    model.store.views["decoder.0.bias"].copy_(torch.from_numpy(b))
    mean, root = np.zeros(k), np.eye(k)
    if latent == "point":
        mean, root = rng.normal(size=k), rng.normal(size=(k, k)) * 2
        sigma = rng.uniform(0.3, 0.7, columns)
        model.buffers["latent_mean"] = torch.from_numpy(mean).float()
        model.buffers["latent_cov"] = torch.from_numpy(root @ root.T).float()
        # The σ of a point latent is that of stop rows; the model's σ² is floor² + it.
        model.buffers["typical_squared_error"] = torch.from_numpy(sigma**2).float()
        sigma = np.sqrt(sigma**2 + model.heads[0].units.floor.numpy().astype(float) ** 2)
    # The range of training values, which fills keep to, must not cut the law off.
    columns = [dataclasses.replace(c, low=-1e9, high=1e9) for c in model.encoding.schema.columns]
    model.encoding.schema = dataclasses.replace(model.encoding.schema, columns=columns)
    return model, W, b, sigma, mean, root @ root.T


def posterior(row, seen, W, b, sigma, mean, cov):
    """Mean and covariance of x given the seen cells, in standardised units."""
    C = W @ cov @ W.T + np.diag(sigma**2)
    m = W @ mean + b
    gain = C[:, seen] @ np.linalg.inv(C[np.ix_(seen, seen)])
    return m + gain @ (row - m)[seen], C - gain @ C[seen]


@pytest.mark.parametrize("latent", ["point", "gaussian"])
@pytest.mark.parametrize("seen", [[], [1], [0, 3], [0, 1, 2, 4]])
def test_a_linear_decoder_gives_the_closed_form(latent, seen, build_model):
    """Mean of the mean, mean and covariance of the draws; with fewer seen cells than dimensions, and with none."""
    model, W, b, sigma, mean, cov = linear(build_model, latent)
    scale, center = model.encoding.scale, model.encoding.center
    u = b + 0.3 * np.arange(5)
    x = np.full((1, 5), np.nan)
    x[0, seen] = (center + scale * u)[seen]
    wanted, spread = posterior(u, seen, W, b, sigma, mean, cov)
    gone = [c for c in range(5) if c not in seen]
    found = (filled(model, x, None, 0)[0, 0] - center) / scale
    np.testing.assert_allclose(found[gone], wanted[gone], rtol=1e-3, atol=2e-3)
    np.testing.assert_array_equal(filled(model, x, None, 0)[0, 0][seen], x[0, seen])

    many = np.repeat(x, 4000, axis=0)
    drawn = (filled(model, many, 2, 0).reshape(-1, 5) - center) / scale
    spread = spread[np.ix_(gone, gone)]
    assert (np.abs(drawn.mean(0) - wanted)[gone] < 5 * np.sqrt(np.diag(spread) / len(drawn))).all()
    assert (np.abs(drawn.var(0)[gone] / np.diag(spread) - 1) < 5 * np.sqrt(2 / len(drawn))).all()
    covariance = np.cov(drawn[:, gone].T).reshape(spread.shape)
    np.testing.assert_allclose(covariance, spread, atol=0.08 * np.diag(spread).max())


# ── fitted models ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", METHODS)
def test_every_method_fills_in_from_the_other_columns(method):
    """Where columns have no relation at all, a fill is no better than the mean, and hardly worse."""
    X, holes, gone = plane_with_holes()
    ae = method(latent_dim=8 if method is SparseAutoencoder else 2, hidden=(32,), epochs=25)
    assert r2(ae.fit(holes).reconstruct(holes, only_missing=True), X, gone) > 0.82
    rng = np.random.default_rng(0)
    mixed = np.column_stack([rng.permutation(c) for c in X.T])
    holes = np.where(gone, np.nan, mixed)
    assert -0.2 < r2(ae.fit(holes).reconstruct(holes, only_missing=True), mixed, gone) < 0.1


@pytest.mark.parametrize("method", [Autoencoder, SparseAutoencoder])
def test_a_model_of_complete_rows_fills_in_too(method):
    X, holes, gone = plane_with_holes()
    ae = method(latent_dim=8 if method is SparseAutoencoder else 2, hidden=(32,), epochs=25).fit(X)
    assert r2(ae.reconstruct(holes, only_missing=True), X, gone) > 0.85
