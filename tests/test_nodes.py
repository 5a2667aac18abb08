"""Fixed nodes in the place of draws of q(z|x): against closed forms of a linear Gaussian model."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from diabolo.detect.reference import Reference
from diabolo.detect.scores.likelihood import NODES, WEIGHTED
from diabolo.detect.scoring import score_table
from diabolo.model.nodes import quadratic_nodes, radial_nodes


@pytest.mark.parametrize("make", [quadratic_nodes, radial_nodes])
@pytest.mark.parametrize("k", [1, 2, 7, 8, 9, 31, 40])
def test_nodes_come_in_pairs_and_are_always_the_same(make, k):
    nodes = make(NODES, k)
    assert nodes.shape == (NODES, k)
    assert nodes.dtype == torch.float32
    assert torch.equal(nodes, make(NODES, k))
    assert torch.equal(nodes[: NODES // 2], -nodes[NODES // 2 :])


@pytest.mark.parametrize("k", [1, 3, 8])
def test_the_mean_of_a_quadratic_is_exact(k, rng):
    nodes = quadratic_nodes(NODES, k).double().numpy()
    A, b, c = rng.normal(size=(k, k)), rng.normal(size=k), rng.normal()
    values = np.einsum("si,ij,sj->s", nodes, A, nodes) + nodes @ b + c
    assert values.mean() == pytest.approx(np.trace(A) + c, abs=1e-5)


@pytest.mark.parametrize("k", [9, 16, 20, 64])
def test_beyond_that_second_moments_hold_and_others_are_small(k):
    """The mean square off the diagonal is Welch's bound where K is a multiple of h, within twice that elsewhere."""
    half = NODES // 2
    nodes = quadratic_nodes(NODES, k).double()
    moments = nodes.T @ nodes / NODES
    torch.testing.assert_close(moments.diagonal(), torch.ones(k, dtype=torch.float64), atol=1e-6, rtol=0)
    off = float((moments - torch.eye(k)).square().sum() / (k * (k - 1)))
    assert off <= (1.001 if k % half == 0 else 2) * (k - half) / (half * (k - 1))
    blocks = moments[:half, :half]
    torch.testing.assert_close(blocks, torch.eye(half, dtype=torch.float64), atol=1e-6, rtol=0)


@pytest.mark.parametrize("k", [1, 3, 20, 40])
def test_radial_nodes_are_like_draws(k):
    """Radii follow |ε| to half a step of their rank, and directions in a block are orthogonal."""
    half = WEIGHTED // 2
    nodes = radial_nodes(WEIGHTED, k)[:half].double()
    assert stats.kstest(nodes.norm(dim=1).numpy(), stats.chi(k).cdf).statistic <= 0.5 / half + 1e-6
    block = nodes[: min(k, half)]
    unit = block / block.norm(dim=1, keepdim=True)
    torch.testing.assert_close(unit @ unit.T, torch.eye(len(unit), dtype=torch.float64), atol=1e-6, rtol=0)


def linear_gaussian(build_model, rng, k=3, columns=6):
    """A linear VAE of random weights, rows that it draws, and its numbers in float64 and standardised units."""
    X = rng.normal(size=(400, columns))
    sigma = {"name": "gaussian", "sigma": "learned"}
    model = build_model(X, latent_dim=k, network="linear", latent="gaussian", regularizer="kl", likelihood=sigma)
    views = model.store.views
    W = rng.normal(size=(columns, k))
    precision = np.eye(k) + 4 * W.T @ W
    encoder = np.linalg.solve(precision, 4 * W.T) + 0.01 * rng.normal(size=(k, columns))
    # The best diagonal q(z|x) is narrower than the true posterior, whose axes lie askew.
    log_var = -np.log(np.diag(precision)) + 0.2 * rng.normal(size=k)
    floor = model.heads[0].units.floor.double().numpy()
    for name, value in {
        "decoder.0.weight": W,
        "decoder.0.bias": np.zeros(columns),
        "encoder.0.weight": np.vstack([encoder, np.zeros((k, columns))]),
        "encoder.0.bias": np.concatenate([np.zeros(k), log_var]),
        "head.0.log_sigma": 0.5 * np.log(0.25 - floor**2),
    }.items():
        views[name].copy_(torch.from_numpy(np.asarray(value, np.float32)))
    u = 0.5 * rng.normal(size=(300, columns)) + rng.normal(size=(300, k)) @ W.T
    u *= np.minimum(1, 0.9 * model.encoding.clip / np.abs(u).max())
    return model, u * model.encoding.scale + model.encoding.center, u, W, encoder, log_var


@pytest.mark.parametrize("k", [3, 8])
def test_neg_elbo_is_the_closed_form_and_never_below_the_density(k, build_model, rng):
    model, X, u, W, encoder, log_var = linear_gaussian(build_model, rng, k, columns=2 * k)
    score = score_table(Reference(model), X, ["neg_elbo", "neg_log_likelihood"])
    mu, variance = u @ encoder.T, np.exp(log_var)
    expected_square = ((u - mu @ W.T) ** 2).sum(1) + (W**2 @ variance).sum()
    distance = 2 * expected_square + u.shape[1] * 0.5 * math.log(2 * math.pi * 0.25)
    kl = 0.5 * (variance + mu**2 - 1 - log_var).sum(1)
    jacobian = np.log(model.encoding.scale).sum()
    closed = distance + kl + jacobian
    np.testing.assert_allclose(score["neg_elbo"], closed, rtol=2e-6, atol=1e-4)
    law = stats.multivariate_normal(np.zeros(u.shape[1]), W @ W.T + 0.25 * np.eye(u.shape[1]))
    floor = -law.logpdf(u) + jacobian
    assert (score["neg_elbo"] >= floor - 1e-4).all()
    gap = {name: (value - floor).mean() for name, value in score.items()}
    assert abs(gap["neg_log_likelihood"]) < 0.5 * gap["neg_elbo"]
