"""The three ways to fit (a table in memory, a cache on disk, rows as they come) prepare one and the same model."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from program import done

from diabolo import Autoencoder
from diabolo.data.stream import open_stream
from diabolo.errors import ConfigError
from diabolo.fitted.stream import fit_stream
from diabolo.model.corruption import corruptions
from diabolo.model.latent import latents
from diabolo.model.likelihood import likelihoods
from diabolo.model.networks import networks
from diabolo.model.prior import priors
from diabolo.model.regularizer import regularizers
from diabolo.train.robust import robusts

GAUSSIAN = {"latent": "gaussian"}
#: Every entry of every registry of a fit, with what it needs beside it.
PARTS = [
    *[{"network": n} for n in networks],
    *[{"latent": n} for n in latents],
    *[{"corruption": n} for n in corruptions],
    *[{"prior": n, "regularizer": "kl", **GAUSSIAN} for n in priors],
    *[{"regularizer": n, "prior": "laplace", **GAUSSIAN} for n in regularizers],
    # The others are those of columns that have no choice.
    *[{"likelihood": n} for n in likelihoods if {"real", "integer", "count"} & set(likelihoods.get(n).kinds)],
    *[{"robust": n} for n in robusts],
]
ROWS = 160


def table(settings):
    """A table of every kind of column, or images where the network needs them."""
    rng = np.random.default_rng(0)
    if networks.get(settings.get("network", "mlp")).needs_shape:
        return (255 * rng.random((ROWS, 8, 8)) ** 3).astype(np.uint8)
    z = rng.normal(size=(ROWS, 2))
    there = rng.random(ROWS) < 0.6
    return pd.DataFrame(
        {
            "a": 3 * z[:, 0] + rng.normal(size=ROWS),
            "hits": rng.poisson(4, ROWS),
            "lead_phi": np.arctan2(z[:, 1], z[:, 0]),
            "colour": np.array(["red", "green", "blue"])[rng.integers(0, 3, ROWS)],
            "tagged": z[:, 0] > 0,
            "gap": np.where(rng.random(ROWS) < 0.2, np.nan, z[:, 1]),
            "e1_pt": np.where(there, rng.exponential(20, ROWS) + 5, 0.0),
            "e1_eta": np.where(there, rng.normal(size=ROWS), 0.0),
        }
    )


def through_the_cache(ae, X, folder):
    path = folder / ("x.npy" if isinstance(X, np.ndarray) else "x.parquet")
    np.save(path, X) if isinstance(X, np.ndarray) else X.to_parquet(path)
    (folder / "cache").mkdir()
    names = [f"x{i}" for i in range(64)] if isinstance(X, np.ndarray) else list(X.columns)
    fitted, apart = fit_stream(open_stream(path, names), folder / "cache", ae.settings())
    assert len(apart.stored)
    return ae.from_fitted(fitted, ae.get_params(deep=False))


@pytest.mark.parametrize("settings", PARTS, ids=str)
def test_every_part_comes_through_every_door(settings, tmp_path):
    X = table(settings)
    slots = None if isinstance(X, np.ndarray) else {"e": 1}
    new = {"epochs": 1, "latent_dim": 2, "batch_size": 32, "slots": slots, **settings}
    fits = {
        "memory": Autoencoder(**new).fit(X),
        "cache": through_the_cache(Autoencoder(**new), X, tmp_path),
        "stream": Autoencoder(**new).partial_fit(X[: ROWS // 2]).partial_fit(X[ROWS // 2 :]),
    }
    memory, cache, stream = (fits[door].model_ for door in ("memory", "cache", "stream"))
    # In memory and from a cache the same rows train, so that all that is learnt before training is the same.
    assert cache.encoding.to_json() == memory.encoding.to_json()
    assert cache.config == memory.config
    kinds = [[c.kind for c in m.encoding.schema.columns] for m in (memory, stream)]
    assert kinds[0] == kinds[1]
    for door, ae in fits.items():
        model = ae.model_
        assert model.network.name == settings.get("network", "mlp"), door
        shapes = [{n: t.shape for n, t in m.store.views.items()} for m in (model, memory)]
        # A flexible law of half the rows has fewer groups.
        assert shapes[0] == shapes[1] or (door == "stream" and memory.encoding.marginals is not None), door
        assert np.isfinite(ae.anomaly_score(X)).all(), door
        assert torch.isfinite(model.store.flat).all(), door


@pytest.mark.parametrize("door", ["memory", "stream"])
def test_a_network_of_images_refuses_a_table_at_every_door(door):
    X = np.random.default_rng(0).normal(size=(100, 6))
    ae = Autoencoder(network="conv", latent_dim=2, epochs=1)
    with pytest.raises(ConfigError, match="network 'conv' needs images"):
        ae.fit(X) if door == "memory" else ae.partial_fit(X)


@pytest.mark.parametrize("memory", ["1", "1GiB"])
def test_the_verb_fits_images_from_memory_and_from_a_cache(memory, here):
    np.save("images.npy", table({"network": "conv"}))
    fit = ("--method", "ae", "--latent", 2, "--epochs", 1, "--set", "network=conv", "--memory", memory, "-q")
    done("fit", "images.npy", "-o", "m.diabolo", *fit)
    ae = Autoencoder.load("m.diabolo")
    assert ae.model_.encoding.shape is not None
    assert ae.model_.config.network == "conv"


def test_rows_of_weight_zero_play_no_part_at_any_door(tmp_path):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(300, 3))
    X[200:] += 1e6
    weights = np.r_[np.ones(200), np.zeros(100)]
    frame = pd.DataFrame(X, columns=list("abc")).assign(w=weights)
    frame.to_parquet(tmp_path / "x.parquet")
    (tmp_path / "cache").mkdir()
    ae = Autoencoder(epochs=1, latent_dim=1)
    stream = open_stream(tmp_path / "x.parquet", list("abc"), "w")
    fits = [
        Autoencoder(epochs=1, latent_dim=1).fit(X, sample_weight=weights).fitted_,
        fit_stream(stream, tmp_path / "cache", ae.settings())[0],
        Autoencoder(epochs=1, latent_dim=1).partial_fit(X, sample_weight=weights).fitted_,
    ]
    for fitted in fits:
        assert np.abs(fitted.model.encoding.center).max() < 1
        assert sum(fitted.roles.counts.values()) == 200
