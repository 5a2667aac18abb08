"""What the tests share: small seeded tables, and a model built from settings without a fit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from program import done, left_behind, table, write
from stem import Stem

from diabolo.config import build_config
from diabolo.data.matching import matched
from diabolo.data.scaling import fit_encoding
from diabolo.data.schema import infer_schema
from diabolo.data.table import as_table
from diabolo.model.autoencoder import Model
from diabolo.model.checks import resolve


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small matrices gain nothing from more threads, and test runs side by side lose much."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def rng():
    return np.random.default_rng(20)


@pytest.fixture(scope="session")
def plane():
    """(clean, noisy) [1200, 8]: rows on a plane in eight dimensions, and with noise off it."""
    rng = np.random.default_rng(5)
    basis = np.linalg.qr(rng.normal(size=(8, 2)))[0]
    clean = rng.normal(size=(1200, 2)) * 2 @ basis.T
    return clean, clean + 0.3 * rng.normal(size=clean.shape)


@pytest.fixture(scope="session")
def mixed():
    """220 rows: reals, an integer, an angle, a category, a date, booleans, slots of objects, missing cells."""
    rng = np.random.default_rng(3)
    n = 220
    z = rng.normal(size=(n, 2))
    frame = pd.DataFrame(
        {
            "a": 3 * z[:, 0] + 0.3 * rng.normal(size=n) + 10,
            "b": z @ [1, -1] + 0.3 * rng.standard_t(3, size=n),
            "hits": rng.poisson(np.exp(1 + 0.3 * z[:, 1])),
            "lead_phi": np.arctan2(z[:, 1] + 0.2 * rng.normal(size=n), z[:, 0]),
            "colour": np.array(["red", "green", "blue"])[np.digitize(z[:, 1] + 0.5 * rng.normal(size=n), [-0.4, 0.6])],
            "when": pd.Timestamp("2024-05-01") + pd.to_timedelta(np.round(9e4 * z[:, 0]), unit="s"),
            "dose": np.array([0.5, 1.5, 4.0])[np.digitize(z[:, 0] + 0.5 * rng.normal(size=n), [-0.5, 0.8])],
            "tagged": z[:, 0] + 0.5 * rng.normal(size=n) > 0,
            "gap": np.where(rng.random(n) < 0.15, np.nan, z[:, 1] + 0.2 * rng.normal(size=n)),
        }
    )
    count = rng.integers(0, 3, size=n)
    for slot in (1, 2):
        there = count >= slot
        frame[f"e{slot}_pt"] = np.where(there, rng.exponential(20, size=n) + 5, 0.0)
        frame[f"e{slot}_eta"] = np.where(there, rng.normal(size=n), 0.0)
    # One row in ten has its second slot filled and its first one empty.
    swapped = (count == 1) & (rng.random(n) < 0.3)
    for part in ("pt", "eta"):
        frame.loc[swapped, f"e2_{part}"] = frame.loc[swapped, f"e1_{part}"]
        frame.loc[swapped, f"e1_{part}"] = 0.0
    return frame


@pytest.fixture(scope="session")
def images():
    """[220, 9, 8, 2]: bars at random places, with noise; the second channel is the first one upside down."""
    rng = np.random.default_rng(4)
    row, column = rng.integers(0, 9, size=(220, 1, 1)), rng.integers(0, 8, size=(220, 1, 1))
    bars = (np.arange(9)[:, None] == row) + 0.7 * (np.arange(8) == column)
    bars = bars + 0.1 * rng.normal(size=(220, 9, 8))
    return np.stack([bars, bars[:, ::-1]], axis=-1)


@pytest.fixture(scope="session")
def build_model():
    """A function (X, lead=(), **settings) → freshly initialised model, scaled on X."""

    def build(X, lead=(), **settings):
        table, config = as_table(X), build_config(settings)
        schema = infer_schema(table.values, table.names, table.dtypes, config, table.levels, table.shape)
        table = matched(table, schema, "the model")
        encoding = fit_encoding(table.values, schema, None, config)
        varying = sum(c.kind != "constant" for c in schema.columns)
        return Model(resolve(config, varying, encoding.width, encoding.shape), encoding, lead)

    return build


def values_of(model, X):
    """The table's cells as a model of it reads them."""
    return matched(as_table(X), model.encoding.schema, "the model").values


@pytest.fixture(scope="session")
def encoded():
    """A function (model, X) → rows as the model takes them, not clipped."""

    def encode(model, X):
        values = values_of(model, X)
        return model.encoding.encode(torch.from_numpy(np.array(values)))

    return encode


@pytest.fixture(scope="session")
def stem():
    """Processes of their own that need not import everything first."""
    found = Stem()
    yield found
    found.close()


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    """A folder with a table and two models of it; tests read it and write elsewhere."""
    folder = tmp_path_factory.mktemp("shop")
    write(table(), folder / "data.parquet")
    write(table(), folder / "data.csv")
    fit = ("fit", folder / "data.parquet", "--label", "truth", "--epochs", 2, "-q")
    done(*fit, "-o", folder / "vae.diabolo")
    done(*fit, "-o", folder / "ae.diabolo", "--method", "ae", "--only", "main")
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder, found without a stray temporary file at the end."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert left_behind(tmp_path) == []
