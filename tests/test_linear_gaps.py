"""The linear autoencoder where cells are missing: the likeliest plane, not that of rows filled with zeros."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from program import done
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from diabolo import LinearAutoencoder, load
from diabolo.data import cache
from diabolo.train import closed_form
from diabolo.train.covariance import fit_covariance
from diabolo.train.logistic import logistic_regressions


def plane(n, width=8, k=2, noise=0.3, share=0.2, seed=0):
    """Rows near a plane far from 0, the same with gaps, and the plane's axes."""
    rng = np.random.default_rng(seed)
    axes = rng.normal(size=(width, k))
    X = rng.normal(size=(n, k)) @ axes.T + noise * rng.normal(size=(n, width)) + rng.normal(size=width)
    return X, np.where(rng.random(X.shape) < share, np.nan, X), axes


def weights_of(ae, width):
    """V [D, K] and m [D] of the decoder, and the encoder's weights [K, inputs] and bias."""
    views = {name: view.double().numpy() for name, view in ae.model_.store.views.items()}
    return (
        views["decoder.0.weight"][:width],
        views["decoder.0.bias"][:width],
        views["encoder.0.weight"],
        views["encoder.0.bias"],
    )


def angle(a, b):
    """Largest angle between two planes, in degrees."""
    return np.degrees(subspace_angles(a, b).max())


@pytest.fixture(scope="module")
def fitted():
    X, gappy, axes = plane(20_000)
    return X, gappy, axes, LinearAutoencoder(latent_dim=2, scaling="none").fit(gappy)


def test_the_plane_is_found_in_spite_of_gaps(fitted):
    X, gappy, axes, ae = fitted
    decoder, mean, _, _ = weights_of(ae, 8)
    assert len(ae.history_) == 1
    assert angle(decoder, axes) < 0.5
    assert np.allclose(mean, X.mean(0), atol=0.02)
    zeros = PCA(2).fit(np.nan_to_num(gappy)).components_.T
    assert angle(zeros, axes) > 3  # the control
    # In units of the columns' spreads the noise is not isotropic: the components are those of the rows without gaps.
    scaled = LinearAutoencoder(latent_dim=2, stop_fraction=0.0).fit(gappy)
    encoding = scaled.model_.encoding
    assert angle(weights_of(scaled, 8)[0], PCA(2).fit((X - encoding.center) / encoding.scale).components_.T) < 0.5


def test_gaps_that_depend_on_cells_that_are_there_bias_nothing():
    X = plane(20_000, noise=1.0)[0]
    gappy = X.copy()
    gappy[X[:, 0] > X[:, 0].mean() + 0.5, 1::2] = np.nan
    ae = LinearAutoencoder(latent_dim=2, scaling="none", stop_fraction=0.0).fit(gappy)
    whole = PCA(2).fit(X).components_.T
    assert angle(weights_of(ae, 8)[0], whole) < 1
    assert angle(PCA(2).fit(gappy[~np.isnan(gappy).any(1)]).components_.T, whole) > 3  # the control: whole rows alone


@pytest.mark.parametrize("name", ["WIDE", "ROWS_PER_COLUMN"])
def test_wide_tables_and_few_rows_take_factors(monkeypatch, name):
    _, gappy, axes = plane(6000)
    monkeypatch.setattr(closed_form, name, {"WIDE": 7, "ROWS_PER_COLUMN": 1000}[name])
    ae = LinearAutoencoder(latent_dim=2, scaling="none").fit(gappy)
    assert angle(weights_of(ae, 8)[0], axes) < 1


def test_whole_rows_are_projected_and_a_missing_cell_is_its_mean(fitted):
    X, _, _, ae = fitted
    decoder, mean, encoder, bias = weights_of(ae, 8)
    projected = mean + (X[:50] - mean) @ decoder @ decoder.T
    assert np.allclose(ae.reconstruct(X[:50]), projected, atol=1e-5)
    hidden, filled = X[:50].copy(), X[:50].copy()
    hidden[:, 3], filled[:, 3] = np.nan, mean[3]
    assert np.allclose(ae.transform(hidden), ae.transform(filled), atol=1e-5)
    assert np.allclose(encoder[:, :8] @ mean + bias, 0, atol=1e-6)


def test_a_weight_is_repeated_rows_with_gaps_too():
    _, gappy, _ = plane(300)
    weights = np.arange(300) % 3 + 1
    settings = {"latent_dim": 2, "scaling": "none", "stop_fraction": 0.0}
    once = LinearAutoencoder(**settings).fit(gappy, sample_weight=weights)
    again = LinearAutoencoder(**settings).fit(np.repeat(gappy, weights, axis=0))
    for a, b in zip(weights_of(once, 8), weights_of(again, 8), strict=True):
        assert np.allclose(a, b, atol=1e-3)


def test_integers_share_the_plane_with_reals():
    X, _, _ = plane(400)
    table = pd.DataFrame(X, columns=list("abcdefgh"))
    table["i"] = np.round(10 * X[:, 0]).astype(int)
    ae = LinearAutoencoder(latent_dim=2, stop_fraction=0.0).fit(table)
    assert [head.block.kind for head in ae.model_.heads] == ["real", "integer"]
    assert len(ae.history_) == 1
    u = (table.to_numpy() - ae.model_.encoding.center) / ae.model_.encoding.scale
    assert angle(weights_of(ae, 9)[0], PCA(2).fit(u).components_.T) < 0.01


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_as_many_dimensions_as_columns_keep_everything(share):
    X, gappy, _ = plane(300, width=3, share=share)
    ae = LinearAutoencoder(latent_dim=5).fit(gappy)
    assert np.allclose(ae.reconstruct(X), X, atol=1e-4)
    exact = LinearAutoencoder(latent_dim=2).fit(plane(300, noise=0.0, share=share)[1])
    other = plane(300, noise=0.0)[0]
    assert np.allclose(exact.reconstruct(other), other, atol=1e-3)


def test_gaps_that_depend_on_a_value_keep_doing_so():
    X, _, _ = plane(4000)
    gappy = X.copy()
    gone = np.random.default_rng(1).random(4000) < 1 / (1 + np.exp(-2 * (X[:, 0] - X[:, 0].mean())))
    gappy[gone, 1] = np.nan
    gappy[::7, 2] = np.nan
    ae = LinearAutoencoder(latent_dim=2).fit(gappy)
    with torch.no_grad():
        rows = ae.model_.encoding.encode(torch.from_numpy(gappy))
        p = ae.model_.decode(ae.model_.encode(rows.x).mean)[:, 8:].sigmoid().numpy()
    assert p.shape == (4000, 2)
    assert np.allclose(p.mean(0), [gone.mean(), 1 / 7], atol=0.02)
    assert p[gone, 0].mean() - p[~gone, 0].mean() > 0.04
    assert abs(p[gone, 1].mean() - p[~gone, 1].mean()) < 0.01


def test_what_has_no_closed_form_is_trained():
    _, gappy, _ = plane(200)
    table = pd.DataFrame(gappy, columns=list("abcdefgh"))
    table["flag"] = table["a"] > 0
    assert len(LinearAutoencoder(latent_dim=2, epochs=2).fit(table).history_) == 2
    decoded = LinearAutoencoder(latent_dim=2, epochs=2, likelihood={"name": "gaussian", "sigma": "decoded"})
    assert len(decoded.fit(gappy).history_) == 2


def test_the_command_line_from_memory_and_from_a_cache(tmp_path, monkeypatch):
    X, gappy, _ = plane(3000)
    columns = {name: pa.array(gappy[:, i], from_pandas=True) for i, name in enumerate("abcdefgh")}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    monkeypatch.setattr(cache, "BUCKET", 30_000)  # several passes over several buckets
    monkeypatch.setenv("DIABOLO_CHECKPOINT_SECONDS", "0")
    found = []
    for name, how in (("memory", []), ("disk", ["--memory", "0"])):
        out = tmp_path / f"{name}.diabolo"
        done("fit", tmp_path / "t.parquet", "-o", out, "--method", "linear", "--latent", "2", "--resume", *how)
        found.append(load(out))
    assert sorted(os.listdir(tmp_path)) == ["disk.diabolo", "memory.diabolo", "t.parquet"]
    scale = found[0].autoencoder_.model_.encoding.scale[:, None]
    decoders = [weights_of(model.autoencoder_, 8)[0] for model in found]
    assert angle(*decoders) < 0.05
    assert angle(decoders[0], PCA(2).fit(X / scale.T).components_.T) < 2


# ── logistic regressions ──────────────────────────────────────────────────────────────────────────


def test_logistic_regressions_are_scikit_learns():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 3)) * [1, 10, 0.1] + 5
    logits = np.stack([x[:, 0] - 5, 0.2 * (x[:, 1] - 5) - 2], axis=1)
    y = rng.random(logits.shape) < 1 / (1 + np.exp(-logits))
    w = rng.integers(0, 3, 3000)
    center, scale = x.mean(0), x.std(0)
    parts = [
        tuple(torch.from_numpy(np.ascontiguousarray(t[i : i + 700])) for t in (x, y, w)) for i in range(0, 3000, 700)
    ]
    slopes, intercepts = logistic_regressions(lambda: parts, torch.tensor(center), torch.tensor(scale), 2)
    # Laplace's two rows stand at the center.
    u = np.vstack([(x - center) / scale, np.zeros((2, 3))])
    for j in range(2):
        rival = LogisticRegression(tol=1e-10, max_iter=1000)
        rival.fit(u, np.append(y[:, j], [0, 1]), sample_weight=np.append(w, [1, 1]))
        assert np.allclose(slopes[j].numpy() * scale, rival.coef_[0], atol=1e-4)
        assert float(intercepts[j] + slopes[j] @ torch.tensor(center)) == pytest.approx(rival.intercept_[0], abs=1e-4)


def test_separable_rare_and_constant_labels_have_finite_slopes():
    x = torch.linspace(-1, 1, 1000, dtype=torch.float64)[:, None]
    y = torch.cat([x > 0, x > 0.998, x > 2, x < 2], dim=1)
    slopes, intercepts = logistic_regressions(lambda: [(x, y, None)], torch.zeros(1), torch.ones(1), 4)
    assert bool(torch.isfinite(slopes).all())
    assert float(intercepts[0]) == pytest.approx(0, abs=0.1)
    assert float(slopes[0]) > 8
    assert torch.allclose(intercepts[2:].sigmoid(), torch.tensor([1 / 1002, 1001 / 1002]).double(), atol=1e-6)
    assert float(slopes[2:].abs().max()) < 1e-6


# ── the covariance ────────────────────────────────────────────────────────────────────────────────


def test_no_other_covariance_is_likelier():
    """Zero gradient: any small step away from the fit loses likelihood."""
    _, gappy, _ = plane(150, width=4, share=0.3)
    x = torch.from_numpy(gappy)
    seen = ~x.isnan()
    mean, covariance = fit_covariance(lambda: [(x[:50], None, seen[:50]), (x[50:], None, seen[50:])], 4, floor=1e-9)

    def log_likelihood(mean, covariance):
        total = 0.0
        for row, there in zip(x, seen, strict=True):
            if bool(there.any()):
                law = torch.distributions.MultivariateNormal(mean[there], covariance[there][:, there])
                total += float(law.log_prob(row[there]))
        return total

    best = log_likelihood(mean, covariance)
    noise = torch.Generator().manual_seed(0)
    for _ in range(5):
        turn = torch.eye(4, dtype=torch.float64) + 0.02 * torch.randn(4, 4, generator=noise, dtype=torch.float64)
        shift = 0.02 * torch.randn(4, generator=noise, dtype=torch.float64)
        assert log_likelihood(mean + shift, turn @ covariance @ turn.T) < best
