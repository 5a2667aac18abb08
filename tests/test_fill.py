"""Filling in missing cells: the law of a cell given the others, for every latent, and the verb `fill`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from program import done, refused

from diabolo import (
    Autoencoder,
    DenoisingAutoencoder,
    LinearAutoencoder,
    SparseAutoencoder,
    VariationalAutoencoder,
)
from diabolo.data.formats import read_batches, write_batches
from diabolo.errors import ConfigError
from diabolo.generate.filling import filled

METHODS = [Autoencoder, DenoisingAutoencoder, LinearAutoencoder, SparseAutoencoder, VariationalAutoencoder]
HOLES = 0.2


LOADINGS = np.array([[1.0, 0.8, -0.6, 0.9, 0.2], [0.3, -0.7, 0.9, 0.5, 1.0]])
NOISE = 0.3


def plane_with_holes(n=1000):
    """(truth, with holes, which) of rows near a plane in five dimensions."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(n, 2)) @ LOADINGS + NOISE * rng.normal(size=(n, 5))
    gone = rng.random(X.shape) < HOLES
    return X, np.where(gone, np.nan, X), gone


def best_possible(holes):
    """E[x|x_seen] under the law that the rows of `plane_with_holes` were drawn from."""
    out = holes.copy()
    for i, row in enumerate(holes):
        seen = np.flatnonzero(~np.isnan(row))
        law = (LOADINGS.T, np.zeros(5), np.full(5, NOISE), np.zeros(2), np.eye(2))
        out[i] = posterior(np.nan_to_num(row), seen, *law)[0]
    return out


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
    wide = {} if method is LinearAutoencoder else {"hidden": (32,)}
    ae = method(latent_dim=8 if method is SparseAutoencoder else 2, epochs=25, **wide)
    ceiling = r2(best_possible(holes), X, gone)
    assert ceiling > 0.7
    assert r2(ae.fit(holes).reconstruct(holes, only_missing=True), X, gone) > ceiling - 0.05
    rng = np.random.default_rng(0)
    mixed = np.column_stack([rng.permutation(c) for c in X.T])
    holes = np.where(gone, np.nan, mixed)
    assert -0.2 < r2(ae.fit(holes).reconstruct(holes, only_missing=True), mixed, gone) < 0.1


@pytest.mark.parametrize("method", [Autoencoder, SparseAutoencoder])
def test_a_model_of_complete_rows_fills_in_too(method):
    X, holes, gone = plane_with_holes()
    ae = method(latent_dim=8 if method is SparseAutoencoder else 2, hidden=(32,), epochs=25).fit(X)
    assert r2(ae.reconstruct(holes, only_missing=True), X, gone) > r2(best_possible(holes), X, gone) - 0.05


@pytest.mark.parametrize("method", [Autoencoder, VariationalAutoencoder])
def test_draws_are_those_of_the_seed_and_as_wide_as_the_error(method):
    X, holes, gone = plane_with_holes()
    ae = method(latent_dim=2, hidden=(32,), epochs=25).fit(holes)
    draws = ae.reconstruct(holes, draws=4, random_state=7, only_missing=True)
    assert draws.shape == (4, *X.shape)
    assert (draws[:, ~gone] == holes[~gone]).all()
    np.testing.assert_array_equal(draws, ae.reconstruct(holes, draws=4, random_state=7, only_missing=True))
    other = ae.reconstruct(holes, draws=4, random_state=8, only_missing=True)
    assert (draws != other)[:, gone].mean() > 0.99, "but for draws at an end of the range of training values"
    error = ae.reconstruct(holes, only_missing=True) - X
    spread = draws[:, gone].var(axis=0, ddof=1).mean()
    assert 0.6 < spread / (error[gone] ** 2).mean() < 1.4


def test_a_mean_does_not_depend_on_other_rows(mixed):
    ae = VariationalAutoencoder(latent_dim=3, epochs=2, slots={"e": 2}).fit(mixed)
    rows = mixed[mixed["gap"].isna() & mixed["a"].notna()]
    alone = ae.reconstruct(rows[:1], only_missing=True)
    pd.testing.assert_frame_equal(alone, ae.reconstruct(rows, only_missing=True)[:1])


def test_cells_that_cannot_be_read_say_nothing(mixed):
    """An infinite cell stays as it is, and the others are filled in as if it were missing."""
    ae = VariationalAutoencoder(latent_dim=3, epochs=2, slots={"e": 2}).fit(mixed)
    row = mixed[:1].assign(gap=np.nan, b=np.nan)
    wild = row.assign(b=np.inf)
    found = ae.reconstruct(wild, only_missing=True)
    assert found["b"].tolist() == [np.inf]
    assert found["gap"].tolist() == ae.reconstruct(row, only_missing=True)["gap"].tolist()


def test_an_object_that_is_there_gets_its_cells(rng):
    """A missing cell of a filled slot is no empty slot; the cells of an empty one are 0 and not missing."""
    n = 400
    there = rng.random(n) < 0.5
    pt = np.where(there, rng.uniform(20, 90, n), 0.0)
    X = pd.DataFrame({"x": rng.normal(size=n), "e1_pt": pt, "e1_eta": np.where(there, pt / 50 + 0.1, 0.0)})
    ae = Autoencoder(latent_dim=2, slots={"e": 1}, epochs=20).fit(X)
    holes = X.copy()
    holes.loc[there, "e1_eta"] = np.nan
    filled_in = ae.reconstruct(holes, only_missing=True)
    assert (filled_in["e1_eta"][there] > 0.3).all()
    assert (filled_in.loc[~there, ["e1_pt", "e1_eta"]] == 0).all(axis=None)


def test_a_latent_may_be_too_wide(build_model, rng):
    model = build_model(rng.normal(size=(40, 3)), latent_dim=1_025, network="linear")
    with pytest.raises(ConfigError, match=r"has 1,025 latent dimensions; cells are filled in by up to 1,024: fit with"):
        filled(model, np.full((1, 3), np.nan), None, 0)


def test_images_are_filled_in(rng):
    """Hidden rows of pixels of a convolutional model."""
    bright = rng.uniform(0, 1, size=(300, 1, 1))
    images = bright * np.outer(np.linspace(0, 1, 8), np.ones(8)) + 0.02 * rng.normal(size=(300, 8, 8))
    ae = Autoencoder(network="conv", latent_dim=2, hidden=(8, 8), epochs=15).fit(images)
    holes = images.copy()
    holes[:, 5:, 2:6] = np.nan
    found = ae.reconstruct(holes[:50], only_missing=True)
    assert found.shape == (50, 8, 8)
    assert r2(found, images[:50], np.isnan(holes[:50])) > 0.8


# ── the verb ──────────────────────────────────────────────────────────────────────────────────────


def customers(n=300, seed=0, missing=0.15):
    """A table of many types; `id` and `tags` are no columns of the model, `site` is a constant."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n)

    def gappy(values, kind=None):
        return pa.array(values, kind, mask=rng.random(n) < missing)

    words = np.array(["red", "green", "blue"])[np.digitize(z, [-0.5, 0.5])]
    return pa.table(
        {
            "id": pa.array([None if i == 5 else f"c{i}" for i in range(n)]),
            "height": gappy(170 + 8 * z + rng.normal(size=n)),
            "visits": gappy(rng.poisson(np.exp(1.5 + 0.5 * z)), pa.int16()),
            "day": gappy((19_000 + np.round(30 * z)).astype(np.int32), pa.date32()),
            "colour": gappy(words),
            "kind": gappy(words).dictionary_encode(),
            "member": gappy(z + 0.3 * rng.normal(size=n) > 0),
            "site": gappy(np.full(n, 7), pa.int8()),
            "number": pa.array((1 << 60) + np.arange(n) % 5),
            "weight": pa.array(np.where(np.arange(n) == 3, -0.0, 60 + 9 * z + rng.normal(size=n)).astype(np.float32)),
            "tags": pa.array([["a"] * (i % 3) for i in range(n)]),
        }
    )


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fill")
    ae = VariationalAutoencoder(latent_dim=2, epochs=30).fit(customers().drop(["id", "number", "tags"]))
    ae.save(folder / "m.diabolo")
    return folder / "m.diabolo", ae


FILLED = ["height", "visits", "day", "colour", "kind", "member", "site"]


def test_fill_gives_the_table_back_without_gaps(shop, here):
    path, ae = shop
    new = customers(seed=1)
    pq.write_table(new, "new.parquet", row_group_size=70)
    said = done("fill", path, "new.parquet", "-o", "out.parquet")
    found = pq.read_table("out.parquet")
    assert found.schema.names == new.schema.names
    for name in new.schema.names:
        kind = new.schema.field(name).type
        assert found.schema.field(name).type == kind, name
        there = pc.is_valid(new[name])
        assert found[name].filter(there).to_pylist() == new[name].filter(there).to_pylist(), name
    assert np.signbit(found["weight"][3].as_py())
    count = sum(new[name].null_count for name in FILLED)
    assert f"300 rows, {count} cells of 7 columns filled in by the mean" in said
    assert "1 cells stay missing, of columns that the model does not fill in: id (1)" in said
    assert [found[name].null_count for name in FILLED] == [0] * 7
    assert set(found["site"].to_pylist()) == {7}
    # What Python gives, cell by cell.
    python = ae.reconstruct(new.drop(["id", "number", "tags"]), only_missing=True)
    for name in python.schema.names:
        assert python[name].to_pylist() == found[name].to_pylist(), name
    # Better than the most frequent word.
    truth, gone = customers(seed=1, missing=0)["colour"], pc.is_null(new["colour"])
    wrong = np.mean([a != b for a, b in zip(found["colour"].filter(gone), truth.filter(gone), strict=True)])
    assert wrong < 0.4


def test_a_file_without_gaps_comes_back_equal(shop, here):
    whole = customers(seed=2, missing=0)
    for suffix in (".parquet", ".arrow"):
        write_batches(f"new{suffix}", whole.schema, iter(whole.to_batches()))
        assert "300 rows, no missing cell was filled in" in done("fill", shop[0], f"new{suffix}", "-o", f"out{suffix}")
        found, given = (next(read_batches(f"{name}{suffix}", nested=True)) for name in ("out", "new"))
        assert found.equals(given)


def test_draws_of_the_verb(shop, here):
    """Each row k times; the same as in Python; another seed gives others."""
    path, ae = shop
    new = customers(seed=3)
    pq.write_table(new, "new.parquet")
    said = done("fill", path, "new.parquet", "-o", "out.parquet", "--draws", 3, "--seed", 4)
    assert "by 3 draws from their law" in said
    assert "each row comes 3 times, one after the other" in said
    found = pq.read_table("out.parquet")
    assert found.schema.names == ["draw", *new.schema.names]
    assert found["draw"].to_pylist() == [0, 1, 2] * 300
    assert found["id"].to_pylist() == [i for i in new["id"].to_pylist() for _ in range(3)]
    draws = ae.reconstruct(new.drop(["id", "number", "tags"]), draws=3, random_state=4, only_missing=True)
    place = ae.model_.encoding.schema.names.index("height")
    np.testing.assert_array_equal(found["height"].to_numpy().reshape(300, 3), draws[:, :, place].T)
    done("fill", path, "new.parquet", "-o", "again.parquet", "--draws", 3, "--seed", 4)
    assert pq.read_table("again.parquet").equals(found)
    done("fill", path, "new.parquet", "-o", "other.parquet", "--draws", 3, "--seed", 5)
    other = pq.read_table("other.parquet")
    assert other["weight"].equals(found["weight"])
    assert not other["height"].equals(found["height"])
    pq.write_table(new.append_column("draw", new["weight"]), "taken.parquet")
    assert "has a column 'draw', in which draws are numbered; rename it" in refused(
        "fill", path, "taken.parquet", "-o", "x.parquet", "--draws", 2
    )


def test_pieces_do_not_show(shop, here, monkeypatch):
    """More rows than a piece, in row groups that end elsewhere, are filled in as at once."""
    new = customers(n=4_400, seed=5, missing=0.03)
    pq.write_table(new, "new.parquet", row_group_size=1_700)
    done("fill", shop[0], "new.parquet", "-o", "whole.parquet", "--draws", 1)
    monkeypatch.setattr("diabolo.generate.filled_table.PIECE", 4096)
    done("fill", shop[0], "new.parquet", "-o", "pieces.parquet", "--draws", 1)
    assert pq.read_table("whole.parquet").equals(pq.read_table("pieces.parquet"))


def test_rows_and_columns_without_any_cell(shop, here):
    """A row without a cell follows the law of all rows; a column without one gets the type that it had in the fit."""
    path, _ = shop
    new = customers(n=20, seed=6).drop(["tags"]).to_pandas()
    new.loc[3, [*FILLED, "weight"]] = None
    new["visits"] = None
    new.to_csv("new.csv", index=False)
    said = done("fill", path, "new.csv", "-o", "out.csv")
    assert "1 rows had no cell that the model reads: they follow the law of all rows" in said
    found = pd.read_csv("out.csv")
    assert not found[[*FILLED, "weight"]].isna().any(axis=None)
    assert abs(found["height"][3] - 170) < 4
    untyped = customers(n=20, seed=6).set_column(2, "visits", pa.nulls(20)).set_column(4, "colour", pa.nulls(20))
    pq.write_table(untyped, "new.parquet")
    done("fill", path, "new.parquet", "-o", "out.parquet")
    found = pq.read_table("out.parquet")
    assert [found.schema.field(c).type for c in ("visits", "colour")] == [pa.int16(), pa.string()]
    assert found["visits"].null_count == found["colour"].null_count == 0


def test_text_and_its_marks(here):
    """Decimal commas, dates and marks for missing cells come back in their own forms."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=200)
    lines = ["when;price;colour;name"]
    for i, v in enumerate(z):
        price = "n/a" if i % 7 == 0 else f"{100 + 10 * v:.2f}".replace(".", ",")
        day = "" if i % 11 == 0 else f"{1 + i % 28:02d}.05.2024"
        lines.append(f"{day};{price};{'' if i % 5 == 0 else 'red' if v > 0 else 'blue'};n{i}")
    Path("t.csv").write_text("\n".join(lines) + "\n")
    done("fit", "t.csv", "-o", "m.diabolo", "--exclude", "name", "--only", "main", "--epochs", 3, "-q")
    done("fill", "m.diabolo", "t.csv", "-o", "out.parquet")
    found = pq.read_table("out.parquet")
    assert [found[c].null_count for c in found.schema.names] == [0] * 4
    assert found["price"][1].as_py() == float(lines[2].split(";")[1].replace(",", "."))
    assert found["name"].to_pylist() == [f"n{i}" for i in range(200)]
    done("fill", "m.diabolo", "t.csv", "-o", "out.csv")
    assert len(Path("out.csv").read_text().splitlines()) == 201


def test_cells_inside_lists_stay(here):
    """The file comes back with its lists; what is missing in them is said."""
    rng = np.random.default_rng(1)
    pt = [[float(v) for v in rng.uniform(20, 90, rng.integers(0, 3))] for _ in range(200)]
    met = pa.array(rng.normal(size=200), mask=rng.random(200) < 0.2)
    pq.write_table(pa.table({"met": met, "jet_pt": pt, "jet_eta": [[v / 50 for v in row] for row in pt]}), "t.parquet")
    done("fit", "t.parquet", "-o", "m.diabolo", "--take", "jet:2", "--only", "main", "--epochs", 2, "-q")
    done("fill", "m.diabolo", "t.parquet", "-o", "out.parquet")
    found = pq.read_table("out.parquet")
    assert found["jet_pt"].to_pylist() == pt
    assert found["met"].null_count == 0


def test_refusals(shop, here):
    path, _ = shop
    pq.write_table(customers(seed=1), "new.parquet")
    pq.write_table(pa.table({"x": [1.0]}), "x.parquet")
    assert "column 'height' is missing" in refused("fill", path, "x.parquet", "-o", "o.csv")
    assert "is also the input" in refused("fill", path, "new.parquet", "-o", "new.parquet")
    assert "should be greater than or equal to 1" in refused("fill", path, "new.parquet", "-o", "o.csv", "--draws", 0)
