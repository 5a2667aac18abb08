"""Rows to codes and back: σ(x) against its closed form, and the verbs encode, decode and reconstruct against Python."""

from __future__ import annotations

import itertools
import re

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import torch
from program import done, refused

from diabolo import Autoencoder, VariationalAutoencoder
from diabolo.data.formats import schema_of
from diabolo.data.reading import regrouped
from diabolo.errors import ConfigError, DataError
from diabolo.model.codes import decoded, encoded

WIDE = "latent 'point' gives each row a point z, so q(z|x) has no σ(x); latent='gaussian' has one"


def shop_table(n=90, seed=0):
    """Rows of every type that comes back: text, categories, dates, whole numbers, truth values, missing cells."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n)
    return pa.table(
        {
            "run": pa.array(np.arange(n) + 1000),
            "price": 3 * z + rng.normal(size=n),
            "width": pa.array(z + 0.1 * rng.normal(size=n), pa.float32()),
            "hits": pa.array(rng.poisson(4, n), pa.int16()),
            "new": z > 0,
            "gap": pa.array([None if i % 7 == 3 else v for i, v in enumerate(rng.normal(size=n))]),
            "colour": pa.array(np.array(["red", "green", "blue"])[rng.integers(0, 3, n)]),
            "shelf": pa.array(["top", "low"] * (n // 2)).dictionary_encode(),
            "day": pa.array((19_000 + rng.integers(0, 90, n)).astype(np.int32), pa.date32()),
            "note": pa.array([f"note {i}" for i in range(n)]),
        }
    )


FEATURES = ["price", "width", "hits", "new", "gap", "colour", "shelf", "day"]


def broken(frame):
    """The same rows, of which row 5 has an infinite cell and row 8 none at all."""
    columns = {n: frame.column(n) for n in frame.column_names}
    cells = columns["price"].to_numpy().copy()
    cells[5] = np.inf
    columns["price"] = pa.array(cells)
    for name in FEATURES:
        whole = columns[name].combine_chunks() if isinstance(columns[name], pa.ChunkedArray) else columns[name]
        gone = np.arange(len(whole)) == 8
        columns[name] = pa.array([None if g else v for g, v in zip(gone, whole.to_pylist(), strict=True)], whole.type)
    return pa.table(columns)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models of a table with and without a width, and tables of sound and of broken rows."""
    where = tmp_path_factory.mktemp("codes")
    frame = shop_table()
    pq.write_table(frame, where / "rows.parquet")
    pq.write_table(broken(shop_table(seed=1)), where / "broken.parquet")
    VariationalAutoencoder(latent_dim=3, hidden=(8,), epochs=2).fit(frame.select(FEATURES)).save(where / "vae.diabolo")
    Autoencoder(latent_dim=2, hidden=(8,), epochs=1).fit(frame.select(FEATURES)).save(where / "ae.diabolo")
    return where


@pytest.fixture(scope="module")
def vae(folder):
    return Autoencoder.load(folder / "vae.diabolo")


@pytest.fixture(scope="module")
def rows(folder):
    return pq.read_table(folder / "broken.parquet").select(FEATURES)


BROKEN, SOUND = [5, 8], np.setdiff1d(np.arange(90), [5, 8])


def codes_of(table, word="z"):
    """[n, K] of a table's columns z_0, z_1, ...; NaN where they are empty."""
    names = [n for n in table.column_names if re.fullmatch(rf"{word}_\d+", n)]
    return np.stack([table[n].to_numpy() for n in names], axis=1)


# ── σ(x) ──────────────────────────────────────────────────────────────────────────────────────────


def linear_vae(build_model, rng, k=2, columns=4):
    """A linear VAE with weights by hand, and rows that no clip touches."""
    X = rng.normal(size=(300, columns)) * [1, 20, 0.1, 3] + 5
    model = build_model(X, latent_dim=k, network="linear", latent="gaussian", regularizer="kl")
    weight, bias = rng.normal(size=(2 * k, columns)), rng.normal(size=2 * k)
    model.store.views["encoder.0.weight"].copy_(torch.from_numpy(weight))
    model.store.views["encoder.0.bias"].copy_(torch.from_numpy(bias))
    h = (X - model.encoding.center) / model.encoding.scale @ weight.T + bias
    return model, X, h


def test_sigma_and_mu_of_a_linear_vae_are_the_closed_form(build_model, rng):
    model, X, h = linear_vae(build_model, rng)
    codes = encoded(model, X, std=True)
    np.testing.assert_allclose(codes.mean, h[:, :2], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(codes.std, np.exp(h[:, 2:] / 2), rtol=1e-5)
    assert codes.mean.dtype == codes.std.dtype == np.float64
    # Negative controls: neither the variance nor its logarithm.
    assert np.abs(codes.std - np.exp(h[:, 2:])).max() > 0.1
    assert np.abs(codes.std - h[:, 2:]).max() > 0.1
    assert encoded(model, X).std is None


def test_sigma_comes_in_the_type_of_the_rows_and_does_not_depend_on_company(vae, folder):
    X = pq.read_table(folder / "rows.parquet").select(FEATURES)
    sigma = vae.posterior_std(X)
    assert sigma.shape == (90, 3)
    assert (sigma > 0).all()
    for i in (0, 41, 89):
        np.testing.assert_array_equal(vae.posterior_std(X.slice(i, 1))[0], sigma[i])
    plain = VariationalAutoencoder(latent_dim=1, epochs=1).fit(np.random.default_rng(0).normal(size=(60, 3)))
    for kind in (np.float32, np.float64):
        assert plain.posterior_std(np.ones((2, 3), kind)).dtype == kind


@pytest.mark.parametrize("latent", ["point", "topk"])
def test_a_point_has_no_sigma(latent):
    ae = Autoencoder(latent=latent, latent_dim=2, epochs=1).fit(np.random.default_rng(0).normal(size=(60, 3)))
    with pytest.raises(ConfigError, match=f"latent '{latent}' gives each row a point z, .* latent='gaussian' has one"):
        ae.posterior_std(np.ones((1, 3)))


# ── rows that cannot be encoded ───────────────────────────────────────────────────────────────────


def test_rows_that_cannot_be_encoded_have_no_code_and_no_reconstruction(vae, rows):
    sound = rows.take(SOUND)
    for method in (vae.transform, vae.posterior_std):
        found = method(rows)
        assert np.isnan(found[BROKEN]).all()
        np.testing.assert_array_equal(found[SOUND], method(sound))
        assert np.isfinite(found[SOUND]).all()
    whole = vae.reconstruct(rows)
    assert whole.take(SOUND).equals(vae.reconstruct(sound))
    assert all(c.null_count == 2 for c in whole.take(BROKEN).columns)
    drawn = vae.reconstruct(rows, draws=2)
    assert np.isnan(drawn[:, BROKEN]).all()
    assert not np.isnan(drawn[:, SOUND]).all(axis=2).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_a_code_that_is_none_has_no_row(vae, rows, bad):
    z = vae.transform(rows.take(SOUND))
    back = vae.inverse_transform(z)
    z[4, 1] = bad
    found = vae.inverse_transform(z)
    assert np.isnan(found[4]).all()
    np.testing.assert_array_equal(np.delete(found, 4, 0), np.delete(back, 4, 0))


def test_a_decoded_row_does_not_depend_on_company(vae, rows):
    z = vae.transform(rows.take(SOUND))
    back = vae.inverse_transform(z)
    for i in (0, 50):
        np.testing.assert_array_equal(vae.inverse_transform(z[i : i + 1])[0], back[i])
    with pytest.raises(DataError, match="codes have 2 columns; this model's latent has 3"):
        decoded(vae.model_, z[:, :2])


# ── the verbs ─────────────────────────────────────────────────────────────────────────────────────


def test_encode_is_transform_and_sigma(folder, vae, rows, here):
    said = done("encode", folder / "vae.diabolo", folder / "broken.parquet", "-o", "z.parquet", "--sigma")
    assert said.splitlines() == [
        "z.parquet: 90 rows as codes of 3 numbers and their σ",
        "  2 rows could not be encoded and have no code; the first is row 5: infinite: price",
    ]
    z = pq.read_table("z.parquet")
    assert z.column_names == ["row", *(f"{w}_{k}" for w in ("z", "sigma") for k in range(3))]
    assert z["row"].to_pylist() == list(range(90))
    np.testing.assert_array_equal(codes_of(z), vae.transform(rows))
    np.testing.assert_array_equal(codes_of(z, "sigma"), vae.posterior_std(rows))
    assert all(c.null_count == 2 and c.type == pa.float32() for c in z.columns[1:])
    assert done("encode", folder / "vae.diabolo", folder / "rows.parquet", "-o", "plain.parquet").count("\n") == 1
    assert pq.read_schema("plain.parquet").names == ["row", "z_0", "z_1", "z_2"]
    assert done("encode", folder / "vae.diabolo", folder / "rows.parquet", "-o", "plain.parquet", "-q") == ""


def in_words(table):
    at = table.column_names.index("shelf")
    return table.set_column(at, "shelf", table["shelf"].cast(pa.string()))


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".arrow", ".npz", ".h5", ".root"])
def test_decode_of_encode_is_reconstruct_through_every_format(suffix, folder, vae, rows, here):
    done("encode", folder / "vae.diabolo", folder / "broken.parquet", "-o", f"z{suffix}")
    said = done("decode", folder / "vae.diabolo", f"z{suffix}", "-o", "back.parquet")
    assert said.splitlines() == [
        "back.parquet: 90 rows decoded",
        "  2 codes are none and have no row; the first is row 5: a number is missing or infinite",
    ]
    done("reconstruct", folder / "vae.diabolo", folder / "broken.parquet", "-o", "whole.parquet")
    back, whole = pq.read_table("back.parquet"), pq.read_table("whole.parquet")
    assert back.equals(whole)
    # Parquet keeps the words of a category that occur, in their own order.
    assert in_words(whole).equals(in_words(vae.reconstruct(rows)))
    # In the columns and types of the table, but for means of whole numbers and of truth values.
    kinds = {n: rows.schema.field(n).type for n in FEATURES} | {"hits": pa.float64(), "new": pa.float64()}
    assert {n: whole.schema.field(n).type for n in whole.column_names} == kinds
    assert set(whole["colour"].to_pylist()) <= {"red", "green", "blue", None}
    assert all(c.null_count == 2 for c in whole.columns)


def test_columns_are_carried_and_codes_found_by_name(folder, here):
    done("encode", folder / "vae.diabolo", folder / "rows.parquet", "-o", "z.parquet", "--keep", "run,note")
    z = pq.read_table("z.parquet")
    assert z.column_names == ["row", "run", "note", "z_0", "z_1", "z_2"]
    assert z["run"].to_pylist() == list(range(1000, 1090))
    pq.write_table(z.select(["z_2", "note", "z_0", "run", "z_1"]), "moved.parquet")
    said = done("decode", folder / "vae.diabolo", "moved.parquet", "-o", "back.parquet", "--keep", "run")
    assert said.splitlines()[1:] == ["  ignored, as no code: note"]
    back = pq.read_table("back.parquet")
    assert back.column_names == ["run", *FEATURES]
    assert back["run"].equals(z["run"])
    keep = ("--keep", "note", "--keep", "run")
    done("reconstruct", folder / "vae.diabolo", folder / "rows.parquet", "-o", "whole.parquet", *keep)
    whole = pq.read_table("whole.parquet")
    assert whole.column_names == ["note", "run", *FEATURES]
    assert whole.select(FEATURES).equals(back.select(FEATURES))


def test_draws_are_those_of_python_row_by_row(folder, vae, rows, here):
    words = ("reconstruct", folder / "vae.diabolo", folder / "broken.parquet", "--draws", 3, "--seed", 4)
    said = done(*words, "-o", "d.parquet", "--keep", "run")
    assert said.splitlines()[0] == "d.parquet: 90 rows reconstructed 3 times"
    found = pq.read_table("d.parquet")
    assert found.column_names == ["row", "draw", "run", *FEATURES]
    assert found["row"].to_pylist() == [i for i in range(90) for _ in range(3)]
    assert found["draw"].to_pylist() == [0, 1, 2] * 90
    assert found["run"].to_pylist() == [1000 + i for i in range(90) for _ in range(3)]
    assert {n: found.schema.field(n).type for n in FEATURES} == {n: rows.schema.field(n).type for n in FEATURES}
    drawn = vae.reconstruct(rows, draws=3, random_state=4)
    levels = vae.model_.encoding.schema.levels["colour"]
    assert not np.array_equal(drawn[0], drawn[1], equal_nan=True)
    for k in range(3):
        part = found.filter(pa.array(found["draw"].to_numpy() == k))
        np.testing.assert_array_equal(part["price"].to_numpy(), drawn[k, :, 0])
        words = [None if np.isnan(v) else levels[int(v)] for v in drawn[k, :, FEATURES.index("colour")]]
        assert part["colour"].to_pylist() == words


def test_a_seed_draws_the_same_rows_and_another_one_others(folder, here):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        words = ("--draws", 1, "--seed", seed, "-o", f"{name}.parquet", "-q")
        done("reconstruct", folder / "vae.diabolo", folder / "rows.parquet", *words)
    a, b, c = (pq.read_table(f"{name}.parquet") for name in "abc")
    assert a.equals(b)
    assert not a.equals(c)


# ── pieces ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """A table of more than a tile, whole and in files of odd sizes, and a model of it."""
    where = tmp_path_factory.mktemp("long")
    X = np.random.default_rng(0).normal(size=(4600, 2)).astype(np.float32)
    frame = pa.table({"a": X[:, 0], "b": X[:, 0] + X[:, 1], "id": np.char.mod("i%d", np.arange(4600))})
    pq.write_table(frame, where / "whole.parquet")
    for i, (start, stop) in enumerate([(0, 37), (37, 4090), (4090, 4091), (4091, 4600)]):
        pq.write_table(frame.slice(start, stop - start), where / f"part{i}.parquet")
    ae = VariationalAutoencoder(latent_dim=1, hidden=(4,), epochs=1).fit(frame.select(["a", "b"]).slice(0, 200))
    ae.save(where / "m.diabolo")
    return where, ae, frame


@pytest.mark.parametrize(
    ("verb", "more"), [("encode", ["--sigma"]), ("reconstruct", []), ("reconstruct", ["--draws", "2", "--seed", "3"])]
)
def test_pieces_give_the_same_bits(verb, more, long, here):
    where, ae, frame = long
    found = []
    for name in ("whole.parquet", "part*.parquet"):
        done(verb, where / "m.diabolo", where / name, "-o", "out.parquet", "-q", "--keep", "id", *more)
        found.append(pq.read_table("out.parquet"))
    assert found[0].equals(found[1])
    if more[:1] == ["--draws"]:
        drawn = ae.reconstruct(frame.select(["a", "b"]), draws=2, random_state=3).astype(np.float32)
        np.testing.assert_array_equal(found[0]["b"].to_numpy(), drawn[:, :, 1].T.reshape(-1))
        assert found[0]["id"].to_pylist()[-2:] == ["i4599", "i4599"]


def test_codes_in_pieces_decode_to_the_same_bits(long, here):
    where, ae, frame = long
    done("encode", where / "m.diabolo", where / "whole.parquet", "-o", "z.parquet", "-q")
    z = pq.read_table("z.parquet")
    for i, (start, stop) in enumerate([(0, 700), (700, 701), (701, 4600)]):
        pq.write_table(z.slice(start, stop - start), f"z{i}.parquet")
    for name in ("z.parquet", "z?.parquet"):
        done("decode", where / "m.diabolo", name, "-o", "out.parquet", "-q")
        assert pq.read_table("out.parquet").equals(ae.reconstruct(frame.select(["a", "b"])))


def test_regrouped_pieces_are_the_same_rows():
    rows = np.arange(23.0).reshape(-1, 1)
    cuts = [0, 2, 2, 11, 12, 23]
    words = pa.array([f"w{i % 5}" for i in range(23)])
    pieces = [(rows[a:b], {"w": words[a:b].dictionary_encode()}) for a, b in itertools.pairwise(cuts)]
    found = list(regrouped(iter(pieces), 5))
    assert [len(values) for values, _ in found] == [5, 5, 5, 5, 3]
    np.testing.assert_array_equal(np.concatenate([values for values, _ in found]), rows)
    assert [w for _, cells in found for w in cells["w"].to_pylist()] == words.to_pylist()
    assert list(regrouped(iter([]), 5)) == []


# ── images ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 1), (5, 4, 3)])
def test_images_come_back_as_images(shape, here):
    X = np.random.default_rng(0).integers(0, 256, size=(60, *shape)).astype(np.uint8)
    np.save("x.npy", X)
    ae = VariationalAutoencoder(latent_dim=2, hidden=(4,), epochs=1).fit(X)
    ae.save("m.diabolo")
    done("encode", "m.diabolo", "x.npy", "-o", "z.csv")
    done("decode", "m.diabolo", "z.csv", "-o", "back.npy")
    done("reconstruct", "m.diabolo", "x.npy", "-o", "whole.npy")
    whole = ae.reconstruct(X)
    assert whole.shape == X.shape
    np.testing.assert_array_equal(np.load("whole.npy"), whole)
    np.testing.assert_array_equal(np.load("back.npy"), whole)
    # A matrix without names is one of codes, as `transform` gives it.
    np.save("z.npy", ae.transform(X.astype(np.float32)))
    done("decode", "m.diabolo", "z.npy", "-o", "back.npy")
    np.testing.assert_array_equal(np.load("back.npy"), whole)
    done("reconstruct", "m.diabolo", "x.npy", "-o", "drawn.npz", "--draws", 2)
    drawn = np.load("drawn.npz")
    assert drawn["x"].shape == (120, *shape)
    assert drawn["x"].dtype == np.uint8
    np.testing.assert_array_equal(drawn["draw"], np.tile([0, 1], 60))
    done("reconstruct", "m.diabolo", "x.npy", "-o", "whole.h5")
    assert h5py.File("whole.h5")["x"].shape == X.shape
    assert "the columns row and draw; allowed" in refused(
        "reconstruct", "m.diabolo", "x.npy", "-o", "drawn.npy", "--draws", 2
    )


def test_an_image_with_an_infinite_pixel_comes_back_empty(here):
    X = np.random.default_rng(0).random((60, 5, 4))
    ae = Autoencoder(latent_dim=2, hidden=(4,), epochs=1).fit(X)
    ae.save("m.diabolo")
    X[3, 0, 0] = np.inf
    np.save("x.npy", X)
    said = done("reconstruct", "m.diabolo", "x.npy", "-o", "whole.npy")
    assert "  1 rows could not be encoded and are empty; the first is row 3: infinite: x0" in said
    whole = np.load("whole.npy")
    np.testing.assert_array_equal(whole, ae.reconstruct(X))
    assert np.isnan(whole[3]).all()
    assert np.isfinite(np.delete(whole, 3, 0)).all()


# ── what is refused ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def wrong(folder):
    """Tables that hold no codes of this model."""
    done("fit", folder / "rows.parquet", "-o", folder / "whole.diabolo", "--exclude", "run,note", "--epochs", 1, "-q",
         "--false-alarm-rate", 0.2)  # fmt: skip
    done("score", folder / "whole.diabolo", folder / "rows.parquet", "-o", folder / "scores.parquet", "-q")
    done("encode", folder / "ae.diabolo", folder / "rows.parquet", "-o", folder / "two.parquet", "-q")
    z = pa.table({f"z_{k}": np.arange(4.0) for k in range(3)})
    pq.write_table(z.append_column("z_7", pa.array(np.zeros(4))).drop_columns("z_1"), folder / "hole.parquet")
    pq.write_table(z.set_column(1, "z_1", pa.array(list("abcd"))), folder / "text.parquet")
    pq.write_table(z.set_column(1, "z_1", pa.array([[1.0]] * 4)), folder / "list.parquet")
    np.save(folder / "four.npy", np.zeros((4, 4)))
    return folder


DECODED = {
    "scores": ("scores.parquet", "holds no codes: expected the columns z_0 to z_2, .*; it has row, score, p_value"),
    "rows": ("rows.parquet", "holds no codes: expected the columns z_0 to z_2"),
    "another-width": ("two.parquet", r"holds codes of 2 numbers \(z_0 to z_1\); this model's have 3 \(z_0 to z_2\)"),
    "a-hole": ("hole.parquet", r"holds codes of 3 numbers \(z_0 to z_7\); this model's have 3"),
    "a-wide-matrix": ("four.npy", r"holds codes of 4 numbers \(x0 to x3\); this model's have 3"),
    "text": ("text.parquet", "column 'z_1' holds string; a code is a number"),
    "lists": ("list.parquet", "column 'z_1' holds list"),
    "nothing": ("nothing.parquet", "no such file"),
    "a-model": ("ae.diabolo", "ae.diabolo"),
}


@pytest.mark.parametrize("case", DECODED)
def test_what_holds_no_codes_is_refused(case, wrong, here):
    name, said = DECODED[case]
    assert re.search(said, refused("decode", wrong / "vae.diabolo", wrong / name, "-o", "x.parquet"))
    assert not list(here.iterdir())


REFUSED = {
    "sigma-of-a-point": ("encode {f}/ae.diabolo {f}/rows.parquet -o z.parquet --sigma", re.escape(WIDE)),
    "codes-without-names": ("encode {f}/ae.diabolo {f}/rows.parquet -o z.npy", r"z.npy: codes have names; allowed: \."),
    "keeps-nothing": ("encode {f}/ae.diabolo {f}/rows.parquet -o z.csv --keep rum", "no column 'rum' to keep: did you"),
    "keeps-what-it-writes": (
        "reconstruct {f}/ae.diabolo {f}/rows.parquet -o z.csv --keep price",
        "the output has a column 'price' of its own",
    ),
    "no-draws": (
        "reconstruct {f}/ae.diabolo {f}/rows.parquet -o z.csv --draws 0",
        "'--draws': Input should be greater than or equal to 1",
    ),
    "the-input": ("decode {f}/ae.diabolo {f}/two.parquet -o {f}/two.parquet", "is also the input"),
    "no-folder": ("reconstruct {f}/ae.diabolo {f}/rows.parquet -o no/z.csv", "cannot write no/z.csv"),
    "codes-for-rows": ("reconstruct {f}/ae.diabolo {f}/two.parquet -o x.csv", "column 'price' is missing"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_verbs_refuse(case, wrong, here):
    words, said = REFUSED[case]
    assert re.search(said, refused(*words.format(f=wrong).split()))
    assert not list(here.iterdir())


def test_a_table_with_a_column_draw_has_no_draws(here):
    frame = pa.table({"draw": np.random.default_rng(0).normal(size=60), "b": np.arange(60.0)})
    Autoencoder(latent_dim=1, epochs=1).fit(frame).save("m.diabolo")
    pq.write_table(frame, "x.parquet")
    done("reconstruct", "m.diabolo", "x.parquet", "-o", "y.parquet")
    said = refused("reconstruct", "m.diabolo", "x.parquet", "-o", "y.parquet", "--draws", 1)
    assert "draws have a column 'draw' of their own; rename the table's" in said


def test_text_is_read_by_the_models_dialect(folder, here):
    frame = pq.read_table(folder / "rows.parquet").select(["price", "width", "colour"]).to_pandas()
    frame.to_csv("x.csv", index=False, sep=";", decimal=",")
    done("fit", "x.csv", "-o", "m.diabolo", "--epochs", 1, "-q", "--only", "main")
    done("encode", "m.diabolo", "x.csv", "-o", "z.csv")
    done("reconstruct", "m.diabolo", "x.csv", "-o", "whole.csv")
    done("decode", "m.diabolo", "z.csv", "-o", "back.csv")
    assert (here / "whole.csv").read_bytes() == (here / "back.csv").read_bytes()
    assert list(pd.read_csv("back.csv").columns) == ["price", "width", "colour"]
    assert schema_of("back.csv")[0].names == ["price", "width", "colour"]


def test_rows_of_codes_have_the_types_of_the_fit(here):
    """Whole numbers with gaps, truth values and the order of a category, as drawn rows have them."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "n": pd.array(rng.integers(0, 9, 200), "Int64"),
            "yes": pd.array(rng.random(200) < 0.5, "boolean"),
            "size": pd.Categorical(rng.choice(["lo", "mid", "hi"], 200), ["lo", "mid", "hi"], ordered=True),
        }
    )
    frame.loc[:20, "n"] = pd.NA
    frame.to_parquet("x.parquet")
    done("fit", "x.parquet", "-o", "m.diabolo", "--only", "main", "--epochs", 1, "-q")
    done("reconstruct", "m.diabolo", "x.parquet", "-o", "r.parquet", "--draws", 2, "-q")
    back = pd.read_parquet("r.parquet").drop(columns=["row", "draw"])
    assert back.dtypes.astype(str).to_dict() == frame.dtypes.astype(str).to_dict()
    assert back["size"].cat.ordered
    assert list(back["size"].cat.categories) == ["lo", "mid", "hi"]
