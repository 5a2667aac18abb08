"""Tables as people have them: categories, integers, ordinals, dates, images; read, modelled, drawn and filled in."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from diabolo import AnomalyDetector, Autoencoder, DenoisingAutoencoder, VariationalAutoencoder, load
from diabolo.cli.app import main
from diabolo.compress.frames import as_arrow
from diabolo.config import build_config
from diabolo.data.formats import write_batches
from diabolo.data.schema import infer_schema
from diabolo.data.table import as_table
from diabolo.errors import ConfigError, DataError


def people(n=1500, seed=0, missing=0.1):
    """A table whose columns all follow one hidden number."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n)
    frame = pd.DataFrame(
        {
            "height": 1.7 + 0.1 * z + 0.03 * rng.normal(size=n),
            "visits": rng.poisson(np.exp(1 + 0.7 * z)),
            "grade": np.array([1.5, 2.0, 4.5])[np.digitize(z + 0.2 * rng.normal(size=n), [-0.6, 0.6])],
            "colour": np.array(["red", "green", "blue"])[np.digitize(z + 0.2 * rng.normal(size=n), [-0.5, 0.7])],
            "born": pd.Timestamp("1980-01-01") + pd.to_timedelta(np.round(365 * (10 + 3 * z)), unit="D"),
            "member": z + 0.3 * rng.normal(size=n) > 0,
        }
    )
    if missing:
        frame.loc[rng.random(n) < missing, "height"] = np.nan
        frame.loc[rng.random(n) < missing, "colour"] = None
        frame.loc[rng.random(n) < missing, "born"] = pd.NaT
    return frame


@pytest.fixture(scope="module")
def vae():
    return VariationalAutoencoder(latent_dim=2, hidden=(32,), epochs=30, learning_rate=5e-3).fit(people())


def kinds_of(ae):
    return {c.name: c.kind for c in ae.model_.encoding.schema.columns}


# ── what is read ──────────────────────────────────────────────────────────────────────────────────


def test_kinds_are_inferred(vae):
    assert kinds_of(vae) == {
        "height": "real",
        "visits": "integer",
        "grade": "ordinal",
        "colour": "categorical",
        "born": "date",
        "member": "boolean",
    }
    # The squared error of a point latent needs no density, so few values stay a number.
    assert kinds_of(Autoencoder(epochs=1).fit(people()))["grade"] == "real"


def test_kinds_can_be_chosen():
    chosen = {"visits": "count", "grade": "categorical"}
    ae = VariationalAutoencoder(epochs=1, kinds=chosen).fit(people())
    assert {k: v for k, v in kinds_of(ae).items() if k in chosen} == chosen
    assert {h.likelihood.name for h in ae.model_.heads} >= {"negative_binomial", "categorical"}
    assert set(np.unique(ae.sample(200, method="prior")["grade"])) <= {1.5, 2.0, 4.5}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kinds": {"colour": "real"}}, "'colour' the kind 'real', but it holds text: a category"),
        ({"kinds": {"born": "integer"}}, "'born' the kind 'integer'; its type datetime64"),
        ({"kinds": {"colours": "categorical"}}, "kinds names 'colours': did you mean 'colour'"),
        ({"kinds": {"height": "integer"}}, "'height' has .*an integer column takes whole numbers"),
        ({"kinds": {"height": "count"}}, "'height' has .*a count takes whole numbers from 0 up"),
        ({"kinds": {"visits": "nominal"}}, "kinds"),
        ({"likelihood": "poisson", "kinds": {"visits": "real"}}, "'poisson' describes count columns"),
        ({"likelihood": "categorical"}, "'categorical' is what categorical columns always take"),
        ({"column_likelihood": {"colour": "gaussian"}}, "gives 'colour' the likelihood 'gaussian'"),
    ],
)
def test_settings_that_do_not_fit_a_column_are_refused(settings, said):
    with pytest.raises((ConfigError, DataError), match=said):
        VariationalAutoencoder(epochs=1, **settings).fit(people(300))


def test_pandas_arrow_and_files_give_one_model(tmp_path, vae):
    table = pa.Table.from_pandas(people(), preserve_index=False)
    path = tmp_path / "people.parquet"
    write_batches(path, table.schema, iter(table.to_batches(max_chunksize=100)))
    settings = {"latent_dim": 2, "hidden": (32,), "epochs": 3, "learning_rate": 5e-3}
    frame = VariationalAutoencoder(**settings).fit(people())
    arrow = VariationalAutoencoder(**settings).fit(table)
    # A dictionary that lists its words in another order, and words that no row has, changes nothing.
    words = pa.array(["none", "blue", "red", "green"])
    codes = table["colour"].combine_chunks().cast(pa.string())
    index = pa.array([None if c is None else words.to_pylist().index(c) for c in codes.to_pylist()], pa.int8())
    at = table.schema.get_field_index("colour")
    coded = table.set_column(at, "colour", pa.DictionaryArray.from_arrays(index, words))
    for X in (people(), table, coded):
        np.testing.assert_array_equal(frame.anomaly_score(X), arrow.anomaly_score(X))
    assert main_fits(path, tmp_path / "m.diabolo", "--epochs", "3", "--latent", "2", "--hidden", "32")
    assert kinds_of(Autoencoder.load(tmp_path / "m.diabolo")) == kinds_of(vae)


def main_fits(path, out, *words):
    with pytest.raises(SystemExit) as ended:
        main(["fit", str(path), "-o", str(out), "-q", *words])
    return ended.value.code == 0


def test_columns_are_matched_by_name_and_levels_by_word(vae):
    X = people(200, seed=1)
    shuffled = X[["member", "colour", "born", "visits", "grade", "height"]]
    np.testing.assert_array_equal(vae.anomaly_score(X), vae.anomaly_score(shuffled))
    only_blue = X[X["colour"] == "blue"]
    np.testing.assert_array_equal(
        vae.anomaly_score(only_blue), vae.anomaly_score(X)[(X["colour"] == "blue").to_numpy()]
    )


def test_wrong_types_at_score_are_refused(vae):
    X = people(50, seed=1)
    with pytest.raises(DataError, match=r"row 0, column 'height': 'tall' is not a number; the model was fitted on"):
        vae.anomaly_score(X.assign(height="tall"))
    with pytest.raises(DataError, match="column 'colour' holds float64; the model was fitted on text there"):
        vae.anomaly_score(X.assign(colour=1.0))


# ── what it costs ─────────────────────────────────────────────────────────────────────────────────


def test_an_unseen_category_costs_log_n_plus_2_and_is_scored(vae):
    X = people(200, seed=2, missing=0)
    odd = X.copy()
    odd.loc[3, "colour"] = "purple"
    model = vae.model_
    clean, changed = vae.anomaly_score(X), vae.anomaly_score(odd)
    assert np.isfinite(changed).all()
    assert changed[3] > clean[3]
    np.testing.assert_array_equal(np.delete(changed, 3), np.delete(clean, 3))
    at = list(model.encoding.schema.output_names).index("colour")
    rows = model.encoding.encode(tensor_of(model, odd))
    nll = model.column_nll(model.decode(model.posterior(rows).mean), rows, missingness=False)
    assert float(nll[3, at]) == pytest.approx(np.log(model.encoding.n_train + 2), rel=1e-5)


def test_an_unseen_ordinal_value_costs_log_n_plus_2(vae):
    odd = people(20, seed=2, missing=0)
    odd.loc[3, "grade"] = 3.1
    model = vae.model_
    at = list(model.encoding.schema.output_names).index("grade")
    rows = model.encoding.encode(tensor_of(model, odd))
    nll = model.column_nll(model.decode(model.posterior(rows).mean), rows)[:, at]
    assert float(nll[3]) == pytest.approx(np.log(model.encoding.n_train + 2), rel=1e-5)
    assert float(nll[[0, 1, 2]].max()) < float(nll[3])


def tensor_of(model, X):
    import torch
    from conftest import values_of

    return torch.from_numpy(np.ascontiguousarray(values_of(model, X)))


def test_a_level_that_only_calibration_rows_have_is_unseen():
    X = people(400)
    X.loc[::100, "colour"] = [f"rare {i}" for i in range(len(X[::100]))]
    detector = AnomalyDetector(VariationalAutoencoder(epochs=2)).fit(X)
    levels = detector.autoencoder_.model_.encoding.schema.levels["colour"]
    assert len(levels) < 3 + len(X[::100])
    assert np.isfinite(detector.anomaly_score(X)).all()


def test_a_negative_count_cannot_be_scored():
    ae = VariationalAutoencoder(epochs=1, kinds={"visits": "count"}).fit(people())
    X = people(20, seed=3)
    X.loc[4, "visits"] = -1
    assert np.isinf(ae.anomaly_score(X)[4])
    assert ae.model_.encoding.flags(tensor_of(ae.model_, X).numpy())[4] == "negative count: visits"


def test_planted_mixtures_are_anomalous():
    """Each cell is common, together they are not: only a joint model tells."""
    X, new = people(3000, missing=0), people(400, seed=5, missing=0)
    detector = AnomalyDetector(VariationalAutoencoder(latent_dim=2, hidden=(32,), epochs=40)).fit(X)
    odd = new.copy()
    odd["colour"] = np.where(odd["height"] > 1.7, "red", "blue")
    odd["grade"] = np.where(odd["height"] > 1.7, 1.5, 4.5)
    assert np.median(detector.p_values(odd)) < 0.15 < np.median(detector.p_values(new))


# ── what comes back ───────────────────────────────────────────────────────────────────────────────


def test_samples_obey_the_schema(vae):
    drawn = vae.sample(500)
    original = people()
    assert drawn.dtypes.astype(str).to_dict() == original.dtypes.astype(str).to_dict()
    assert set(drawn["colour"].dropna()) <= {"red", "green", "blue"}
    assert set(drawn["grade"]) <= {1.5, 2.0, 4.5}
    assert drawn["colour"].isna().mean() == pytest.approx(0.1, abs=0.06)
    shares = drawn["colour"].value_counts(normalize=True) - original["colour"].value_counts(normalize=True)
    assert shares.abs().max() < 0.12
    assert abs((drawn["born"] - original["born"].mean()).mean()) < pd.Timedelta(days=400)


def test_a_file_keeps_levels_dates_and_kinds(vae, tmp_path):
    vae.save(tmp_path / "m.diabolo")
    back = Autoencoder.load(tmp_path / "m.diabolo")
    assert back.model_.encoding.schema == vae.model_.encoding.schema
    np.testing.assert_array_equal(back.anomaly_score(people(50)), vae.anomaly_score(people(50)))
    pd.testing.assert_frame_equal(back.sample(20), vae.sample(20))


def test_types_of_arrow_come_back():
    day = datetime.date(2024, 5, 1)
    n = 200
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "small": pa.array(rng.integers(0, 9, n), pa.int8()),
            "gappy": pa.array([None if i % 5 == 0 else i % 7 for i in range(n)], pa.int32()),
            "day": pa.array([day + datetime.timedelta(days=int(i)) for i in rng.integers(0, 90, n)]),
            "zoned": pa.array(
                [datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC) + datetime.timedelta(hours=i) for i in range(n)],
                pa.timestamp("ms", tz="UTC"),
            ),
            "word": pa.array(["a", "b"] * (n // 2)).dictionary_encode(),
            "text": pa.array(["x", "y", None, "x"] * (n // 4)),
            "single": pa.array(rng.normal(size=n), pa.float32()),
            "flag": pa.array(rng.random(n) > 0.5),
        }
    )
    ae = VariationalAutoencoder(epochs=1).fit(table)
    drawn = ae.sample(30)
    assert drawn.schema.names == table.schema.names
    for name in table.column_names:
        expected = table.schema.field(name).type
        if pa.types.is_dictionary(expected):
            assert pa.types.is_dictionary(drawn.schema.field(name).type)
        else:
            assert drawn.schema.field(name).type == expected, name
    filled = ae.reconstruct(table, only_missing=True)
    assert filled["gappy"].null_count == filled["text"].null_count == 0
    for name in ("small", "day", "zoned", "single", "flag"):
        assert filled[name].to_pylist() == table[name].to_pylist(), name


# ── missing cells are filled in ───────────────────────────────────────────────────────────────────


def test_reconstruct_fills_in_from_the_other_columns(vae):
    X = people(600, seed=4, missing=0)
    holes = X.copy()
    gone = np.random.default_rng(0).random(len(X)) < 0.3
    holes.loc[gone, "colour"] = None
    holes.loc[gone, "height"] = np.nan
    filled = vae.reconstruct(holes, only_missing=True)
    pd.testing.assert_frame_equal(filled[~gone], X[~gone], check_dtype=False)
    assert not filled.isna().any().any()
    assert filled.dtypes.astype(str).to_dict() == X.dtypes.astype(str).to_dict()
    mode = (X["colour"][gone] != X["colour"].mode()[0]).mean()
    assert (filled["colour"][gone] != X["colour"][gone]).mean() < 0.7 * mode
    error = np.sqrt(np.mean((filled["height"][gone] - X["height"][gone]) ** 2))
    assert error < 0.75 * X["height"][gone].std()


def test_multiple_imputations_differ_only_where_cells_were_missing(vae):
    X = people(100, seed=6)
    draws = vae.reconstruct(X, draws=3, only_missing=True)
    assert draws.shape == (3, 100, 6)
    assert not np.isnan(draws).any()
    cells = as_table(X).values
    for i, name in enumerate(X.columns):
        if name == "colour":
            continue  # positions among the model's levels, not the table's
        there = ~np.isnan(cells[:, i])
        assert (draws[:, there, i] == cells[there, i]).all()
    gone = X["height"].isna().to_numpy()
    assert (draws[0, gone, 0] != draws[1, gone, 0]).all()


def test_hiding_cells_in_training_teaches_to_fill_in(monkeypatch):
    """The distance of a point latent never sees what is decoded where a cell is missing, so more cells are hidden."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2000, 2))
    X = z @ rng.normal(size=(2, 6)) + 0.1 * rng.normal(size=(2000, 6))
    holes = X.copy()
    holes[rng.random(X.shape) < 0.2] = np.nan
    gone = np.isnan(holes)
    common = {"latent_dim": 3, "hidden": (32,), "epochs": 15}

    def error(ae):
        return np.sqrt(np.mean((ae.fit(holes).reconstruct(holes, only_missing=True) - X)[gone] ** 2))

    masked = error(DenoisingAutoencoder(corruption={"name": "mask", "rate": 0.3}, **common))
    taught = error(Autoencoder(**common))
    monkeypatch.setattr("diabolo.model.objective.with_gaps", lambda x, *_: x)
    assert max(masked, taught) < 0.3 * X[gone].std()
    assert max(masked, taught) < 0.7 * error(Autoencoder(**common))


# ── images ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shape", [(9, 7), (8, 10, 3)])
def test_images_keep_their_shape(shape, tmp_path):
    rng = np.random.default_rng(0)
    images = (
        255 * rng.random((300, 1, *shape[1:])) * np.linspace(0, 1, shape[0]).reshape(-1, 1, *[1] * (len(shape) - 2))
    )
    images = images.astype(np.uint8)
    ae = VariationalAutoencoder(epochs=2, latent_dim=4).fit(images)
    schema = ae.model_.encoding.schema
    assert schema.shape == (*shape, 1)[:3]
    assert {c.kind for c in schema.columns} == {"integer"}, "a row of black pixels is no constant column"
    assert {h.likelihood.name for h in ae.model_.heads} == {"discretized_logistic"}
    assert ae.reconstruct(images[:5]).shape == (5, *shape)
    drawn = ae.sample(4)
    assert drawn.shape == (4, *shape)
    assert drawn.dtype == np.uint8
    np.testing.assert_array_equal(ae.anomaly_score(images), ae.anomaly_score(images.reshape(300, -1)))
    ae.save(tmp_path / "m.diabolo")
    np.testing.assert_array_equal(load(tmp_path / "m.diabolo").sample(4), drawn)
    with pytest.raises(DataError, match="fitted on"):
        ae.anomaly_score(images[:, :, : shape[1] - 1])


def test_images_of_floats_and_of_probabilities():
    rng = np.random.default_rng(0)
    images = rng.random((200, 8, 8)).astype(np.float32)
    assert {c.kind for c in Autoencoder(epochs=1).fit(images).model_.encoding.schema.columns} == {"real"}
    ae = VariationalAutoencoder(epochs=1, likelihood="bernoulli").fit(images)
    assert {c.kind for c in ae.model_.encoding.schema.columns} == {"boolean"}
    with pytest.raises(DataError, match="all pixels of the training images are equal"):
        Autoencoder(epochs=1).fit(np.ones((50, 8, 8)))
    with pytest.raises(DataError, match=r"shape \[2, 3, 4, 5, 6\]; allowed are rows \[n, columns\] and images"):
        Autoencoder(epochs=1).fit(np.ones((2, 3, 4, 5, 6)))
    with pytest.raises(ConfigError, match="the rows are images"):
        Autoencoder(epochs=1, kinds={"x0": "real"}).fit(images)


def test_a_masked_cell_is_a_missing_one():
    x = np.arange(12).reshape(4, 3)
    masked = np.ma.masked_array(x, mask=x % 5 == 0)
    values = as_table(masked).values
    np.testing.assert_array_equal(np.isnan(values), x % 5 == 0)
    np.testing.assert_array_equal(values[x % 5 != 0], x[x % 5 != 0])
    assert as_table(np.ma.masked_array(x)).dtypes == ["int64"] * 3
    with pytest.raises(DataError, match="fill in its masked cells"):
        as_arrow(masked)


@pytest.mark.parametrize(("dtype", "unit"), [("float64", 1e20), ("float32", 1e9)])
def test_floats_too_large_for_fractions_are_no_whole_numbers(dtype, unit):
    x = (np.random.default_rng(0).normal(3, 0.1, 50) * unit).astype(dtype)[:, None]
    assert (x == np.round(x)).all()
    for v, kind in ((x, "real"), ((x / unit * 1e4).round().astype(dtype), "integer")):
        (column,) = infer_schema(v, ["a"], [dtype], build_config({})).columns
        assert column.kind == kind


def test_info_cuts_no_number(tmp_path, capsys):
    x = np.random.default_rng(0).normal(size=60)
    table = pa.table({"a_rather_long_name_of_a_column": x * -1.2345e-30, "energy_in_electronvolts": x * 1.2345e25})
    write_batches(tmp_path / "t.parquet", table.schema, iter(table.to_batches()))
    with pytest.raises(SystemExit):
        main(["info", str(tmp_path / "t.parquet")])
    said = capsys.readouterr().out
    for name in table.column_names:
        for end in (table[name].to_numpy().min(), table[name].to_numpy().max()):
            assert f"{end:.6g}" in said


# ── arrays of three and four axes ─────────────────────────────────────────────────────────────────


def series(rows=300, times=12, seed=0):
    """Windows [n, times, 3] of a temperature, a pressure and a tiny current."""
    rng = np.random.default_rng(seed)
    parts = 20 + rng.normal(size=(rows, times)), 1000 + 30 * rng.normal(size=(rows, times))
    return np.stack([*parts, 1e-3 * rng.normal(size=(rows, times))], axis=-1)


def scales(x, **settings):
    encoding = Autoencoder(latent_dim=2, epochs=1, **settings).fit(x).model_.encoding
    return encoding.scale.reshape(x.shape[1:])


@pytest.mark.parametrize("turned", [False, True])
def test_series_of_unlike_channels_are_no_images(turned):
    x = series()
    x = x.transpose(0, 2, 1) if turned else x
    said = r"(last|second) axis the cells spread from 0\.003.* X\.reshape\(len\(X\), -1\).* X\[\.\.\., None\]"
    with pytest.raises(DataError, match=said):
        Autoencoder(latent_dim=2, epochs=1).fit(x)
    # Both remedies work.
    assert scales(x.reshape(len(x), -1)).shape == (36,)
    assert len(np.unique(scales(x[..., None]))) == 1
    # So do cells that are missing, and numbers that are not scaled.
    gone = np.where(np.abs(x) < 1, np.nan, x)
    Autoencoder(latent_dim=2, epochs=1).fit(gone[..., None])
    Autoencoder(latent_dim=2, epochs=1, scaling="none", clip=1e30).fit(x)


def test_channels_of_images_have_scales_of_their_own():
    x = series()[:, :, None, :]
    found = scales(x)
    assert np.allclose(found, x.reshape(-1, 3).std(0), rtol=0.02)
    # All pixels of a channel have one.
    assert np.ptp(found.reshape(-1, 3), axis=0).max() == 0


def test_images_with_dark_borders_or_of_whole_numbers_are_images():
    rng = np.random.default_rng(0)
    dark = np.pad(rng.random((200, 6, 6)), ((0, 0), (2, 2), (2, 2)))
    faint = rng.random((200, 8, 8)) * np.linspace(0.05, 1, 8)
    for x in (dark, faint, (255 * dark).astype(np.uint8)):
        assert len(np.unique(scales(x))) == 1
