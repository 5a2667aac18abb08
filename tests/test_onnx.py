"""The exported graph beside diabolo: every kind of column and score, what it refuses, and what it does midway."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from program import done, left_behind, refused, run

from diabolo import AnomalyDetector, Autoencoder, MaskedAutoencoder, VariationalAutoencoder
from diabolo.data.schema import Kind
from diabolo.detect.scores import scores
from diabolo.detect.scoring import score_table
from diabolo.errors import ConfigError, ExportError
from diabolo.model.latent import latents
from diabolo.model.likelihood import likelihoods
from diabolo.model.networks import networks
from diabolo.model.networks.operations import Operation
from diabolo.model.prior import priors

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from diabolo.export.onnx import verify
from diabolo.export.onnx.document import MORE, document
from diabolo.export.onnx.encoding import KINDS
from diabolo.export.onnx.graph import DOUBLE, FLOAT, Graph
from diabolo.export.onnx.likelihood import LAWS
from diabolo.export.onnx.network import LATENTS, OPERATIONS
from diabolo.export.onnx.priors import PRIORS
from diabolo.export.onnx.scores import REFUSED, SCORES
from diabolo.export.onnx.search import places_in
from diabolo.export.onnx.special import log_gamma, log_i0e
from diabolo.export.targets import targets
from diabolo.runtime import Scorer, ScorerError

#: Likelihoods without a form in ONNX, which docs/export.md names.
WITHOUT = {"flexible"}


def mixed(n=1_500, seed=0):
    """A table with every kind of column."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 2))
    return pd.DataFrame(
        {
            "pt": np.exp(z[:, 0]) + 0.05 * rng.normal(size=n),
            "eta": (z @ [1, -1] + 0.1 * rng.normal(size=n)).astype(np.float32),
            "phi": np.arctan2(z[:, 1], z[:, 0]),
            "hits": rng.poisson(np.exp(1 + 0.3 * z[:, 1])).astype(np.int32),
            "counts": rng.poisson(np.exp(2 + 0.3 * z[:, 0])).astype(np.int32),
            "tagged": z[:, 0] > 0,
            "grade": np.choose((z[:, 0] * 2).astype(int).clip(0, 3), [1, 2, 3.5, 5]),
            "score": np.array(["a", "b", "", "d"])[rng.integers(0, 4, n)],
            "cell": rng.choice([3, 7, 11], n),
            "const": 7.0,
            "kind": "k",
            "when": pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta((z[:, 1] * 1e5).astype(int), unit="s"),
            "gap": np.where(rng.random(n) < 0.1, np.nan, z[:, 1] + 0.2 * rng.normal(size=n)),
        }
    )


@pytest.fixture(scope="module")
def detector():
    kinds = {"cell": "categorical", "counts": "count"}
    return AnomalyDetector(VariationalAutoencoder(epochs=2, kinds=kinds), random_state=0).fit(mixed())


@pytest.fixture(scope="module")
def files(detector, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    detector.save(folder / "m.diabolo")
    detector.to_onnx(folder / "m.onnx", outputs=MORE)
    return folder


def spoiled(n=200):
    """New rows with gaps, infinities, levels never seen and changed constants."""
    new = mixed(n, seed=1)
    new.loc[0, "pt"], new.loc[1, "eta"] = np.inf, -np.inf
    new.loc[2, "score"], new.loc[3, "score"] = "never", None
    new.loc[4, "const"], new.loc[5, "kind"], new.loc[6, "cell"] = 8.0, "l", 5
    new.loc[7, "when"], new.loc[8, "pt"], new.loc[9, "grade"] = pd.NaT, np.nan, 4.2
    new.loc[10, "counts"], new.loc[11, "pt"] = -1, 1e30
    new.loc[12, "score"] = ""
    new["tagged"] = new["tagged"].astype(object)
    for name in new.columns:
        new[name] = new[name].astype("float64") if new[name].dtype.kind == "i" else new[name]
    new.loc[13] = [np.nan if new[c].dtype.kind == "f" else None for c in new]
    return new


# ── parity ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", SCORES)
def test_every_score_of_a_table_with_every_kind_of_column(detector, name):
    state = detector.calibrated_
    judge = state.choosing(name) if name in state.calibrations else None
    made = document(state.reference, name, judge)
    parity = json.loads(Meta(made.data)["diabolo.parity"])
    assert parity["rows"] >= 8_000
    assert parity["outside"] == parity["flags"] == 0
    assert parity["score"] < 1e-4
    assert parity["ranks"] <= 2


class Meta(dict):
    """The metadata of a file's bytes."""

    def __init__(self, data):
        super().__init__(verify.session(data).get_modelmeta().custom_metadata_map)


def test_new_rows_have_the_same_verdicts(detector, files):
    new = spoiled()
    own, told = detector.score_table(new), Scorer(files / "m.onnx").score(pa.Table.from_pandas(new)).to_pandas()
    finite = np.isfinite(own["score"])
    assert (finite == np.isfinite(told["score"])).all()
    assert not finite.all()
    assert np.abs(own["score"] - told["score"])[finite].max() < 1e-4 * own["score"][finite].max()
    assert (own["is_anomaly"] == told["is_anomaly"]).all()
    assert told["is_anomaly"][[2, 4, 5, 6, 9]].all(), "a fact that no row shows is an anomaly"
    flags = dict(enumerate(told["flag"]))
    assert {i: f for i, f in flags.items() if isinstance(f, str)} == {
        0: "infinite: pt",
        1: "infinite: eta",
        10: "negative count: counts",
        11: "overflow: pt",
        13: "every cell is missing",
    }


def test_contradictions_are_counted_alike(tmp_path):
    """A number that the others contradict, beside rows with gaps and words never seen, in which none is counted."""
    rng = np.random.default_rng(3)

    def table(n):
        x = rng.normal(size=(n, 2)) @ np.random.default_rng(1).normal(size=(2, 6)) + 0.1 * rng.normal(size=(n, 6))
        return pd.DataFrame(x, columns=list("abcdef")).assign(word=rng.choice(["u", "v"], n))

    train, odd = table(1_500), table(600)
    detector = AnomalyDetector(Autoencoder(latent_dim=2, hidden=(8,), epochs=1)).fit(train)
    odd.loc[:399, "c"] += rng.choice([-1, 1], 400) * 2 * train.c.std()
    odd.loc[100:199, "a"], odd.loc[200:299, "word"] = np.nan, "w"
    detector.to_onnx(tmp_path / "m.onnx")
    ours, theirs = detector.anomaly_score(odd).to_numpy(), Scorer(tmp_path / "m.onnx").score(pa.table(odd))
    top = detector.calibrated_.reference.derived["views"].top
    assert (ours[:100] > top).mean() > 0.9
    assert (ours[400:] > top).mean() < 0.1
    np.testing.assert_allclose(theirs["score"].to_numpy(), ours, rtol=1e-5)


def test_a_stored_row_is_not_its_own_neighbor(detector, files):
    """diabolo knows rows that it keeps; the graph knows them by their distance."""
    known = detector.calibrated_.reference.stored.values[:300]
    told = Scorer(files / "m.onnx").score_positions(known)["score"].to_numpy()
    np.testing.assert_allclose(told, detector.calibrated_.scores(known), rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "settings", "names"),
    [
        (Autoencoder, {"likelihood": "laplace"}, ("nll", "mse", "auto")),
        (VariationalAutoencoder, {"likelihood": {"name": "gaussian", "sigma": "decoded"}}, ("nll", "neg_elbo")),
        (VariationalAutoencoder, {"prior": "mixture"}, ("kl", "neg_elbo", "neg_log_likelihood")),
        (VariationalAutoencoder, {"prior": "laplace"}, ("kl", "neg_log_likelihood")),
        (VariationalAutoencoder, {"likelihood": "poisson"}, ("nll",)),
        (Autoencoder, {"latent": "topk", "network": "residual"}, ("nll", "mu_norm")),
        (Autoencoder, {"network": {"name": "mlp", "slope": 0.1}, "hidden": [8]}, ("mse",)),
    ],
)
def test_other_parts(make, settings, names):
    rng = np.random.default_rng(0)
    x = rng.poisson(np.exp(1 + 0.4 * rng.normal(size=(500, 1)) + 0.1 * rng.normal(size=(500, 4)))).astype(float)
    if settings.get("likelihood") != "poisson":
        x += 0.1 * rng.normal(size=x.shape)
    found = AnomalyDetector(make(epochs=1, **settings)).fit(x).calibrated_
    for name in names:
        document(found.reference, name, found.choosing(name) if name in found.calibrations else None)


def test_images_and_slots():
    rng = np.random.default_rng(0)
    images = rng.random((300, 8, 9)) * rng.random((300, 1, 1))
    found = AnomalyDetector(Autoencoder(epochs=1, network="conv"), score="mse").fit(images).calibrated_
    document(found.reference, "mse", found, more=("z", "reconstruction"))
    made = document(found.reference, "auto", found.choosing("auto"))
    # Images of the fit too are not their own neighbors; one that came twice is that of its copy.
    rows = np.concatenate([images[:40], images[:40] + 0.01 * rng.random((40, 8, 9))]).reshape(80, -1)
    own = score_table(found.reference, rows, ["auto"])["auto"]
    scores = verify.session(made.data).run(["score"], {"x": rows})[0]
    np.testing.assert_allclose(scores, own, rtol=0, atol=1e-4)
    n = 500
    there = np.arange(3) < rng.integers(0, 4, n)[:, None]
    table = pd.DataFrame({"met": rng.exponential(size=n)})
    for k in range(3):
        table[f"j{k}_pt"] = np.where(there[:, k], rng.exponential(size=n) + 0.3, 0)
    vae = AnomalyDetector(VariationalAutoencoder(epochs=1, slots={"j": 3})).fit(table).calibrated_
    for name in (vae.score_name, "nll", "mse"):
        document(vae.reference, name, vae.choosing(name), more=("reconstruction",))


def test_more_outputs_are_the_models(detector, files):
    new = mixed(100, seed=2)
    ae, told = detector.autoencoder_, Scorer(files / "m.onnx").outputs(pa.Table.from_pandas(new), MORE)
    np.testing.assert_allclose(told["z"], ae.transform(new), atol=1e-5)
    own = ae.reconstruct(new)
    np.testing.assert_allclose(told["reconstruction"][:, 0], own["pt"], rtol=1e-4)
    np.testing.assert_allclose(told["reconstruction"][:, 2], own["phi"], atol=1e-4)
    p = {c.column: c.p_value for c in detector.explain(new.iloc[:1])[0].columns}
    names = detector.calibrated_.reference.model.encoding.schema.names
    np.testing.assert_allclose([p[n] for n in names], told["column_p"][0], atol=1e-3)


def test_the_threshold_is_an_input(files):
    scorer = Scorer(files / "m.onnx")
    feed = scorer._feed(scorer._cells(pa.Table.from_pandas(mixed(50, seed=3))), slice(0, 50))
    everyone = scorer._session.run(["is_anomaly"], {**feed, "threshold": np.array(-1.0)})[0]
    assert everyone.all()
    assert not scorer._session.run(["is_anomaly"], feed)[0].all()


# ── pieces beside closed forms ────────────────────────────────────────────────────────────────────


def computed(make, x, kind=DOUBLE):
    g = Graph()
    given = g.input("x", kind, x.shape[1])
    g.output("y", make(g, given), kind, x.shape[1])
    return verify.session(g.model({}).SerializeToString()).run(["y"], {"x": x})[0]


def test_log_gamma_and_bessel():
    from scipy.special import gammaln, i0e

    x = np.concatenate([np.linspace(1e-3, 20, 300), 10.0 ** np.arange(2, 19)])[:, None]
    np.testing.assert_allclose(computed(log_gamma, x), gammaln(x), rtol=1e-12, atol=1e-12)
    kappa = np.concatenate([np.linspace(0, 20, 300), 10.0 ** np.arange(2, 6)])[:, None].astype(np.float32)
    np.testing.assert_allclose(computed(log_i0e, kappa, FLOAT), np.log(i0e(kappa)), atol=2e-6)


@pytest.mark.parametrize("sizes", [(1, 5), (31, 32, 33), (1_023, 1_024, 1_025, 3), (40_000, 7)])
def test_places_in_tables_are_those_of_a_search(sizes):
    rng = np.random.default_rng(0)
    tables = [np.sort(rng.integers(0, max(4, n // 2), n).astype(float)) for n in sizes]
    x = np.stack([rng.choice(np.concatenate([t, t - 0.5, [-1e9, 1e9]]), 500) for t in tables], axis=1)

    def count(g, value):
        return g.cast(places_in(g, tables, value).count, DOUBLE)

    expected = np.stack([np.searchsorted(t, x[:, i]) for i, t in enumerate(tables)], axis=1)
    np.testing.assert_array_equal(computed(count, x), expected)


# ── every part has a form, or a refusal that names it ─────────────────────────────────────────────


def test_every_part_of_the_registries_has_an_emitter_or_a_refusal():
    import typing

    assert set(SCORES) | set(REFUSED) == set(scores)
    assert set(LAWS) | WITHOUT == set(likelihoods)
    assert set(KINDS) == set(typing.get_args(Kind))
    assert set(LATENTS) == set(latents)
    assert set(PRIORS) == set(priors)
    for name in networks:
        network, shape = networks.create(name), (16, 16, 1)
        hidden = network.default_hidden(256, shape)
        for operations in (network.encoder(256, hidden, 4, shape), network.decoder(4, hidden[::-1], 256, shape)):
            lacking = {type(o).__name__ for o in operations} - {o.__name__ for o in OPERATIONS}
            assert lacking == set(), name


@pytest.mark.parametrize("name", REFUSED)
def test_a_score_without_a_form_is_named(detector, name):
    with pytest.raises(ConfigError, match=f"score '{name}'.*no form in ONNX.*auto"):
        document(detector.calibrated_.reference, name)


def test_other_refusals_name_the_part(detector):
    x = np.random.default_rng(0).normal(size=(400, 3))
    ae = Autoencoder(epochs=1, likelihood="flexible").fit(x)
    from diabolo.detect.reference import Reference

    with pytest.raises(ConfigError, match="likelihood 'flexible' of x0, x1, x2"):
        document(Reference(ae.model_), "nll")
    masked = AnomalyDetector(MaskedAutoencoder(epochs=1)).fit(x)
    masked.to_onnx()
    with pytest.raises(ConfigError, match="masked autoencoder"):
        document(masked.calibrated_.reference, "nll")
    whole = VariationalAutoencoder(
        latent_dim=2,
        epochs=2,
        warmup=2,
        likelihood={"name": "gaussian", "sigma": 0.2},
        quantize={"weights": 6, "activations": 10},
    ).fit(x)
    said = r"network in whole numbers \(quantize\) has no form in ONNX; export it as a C header \(-o model\.h\)"
    with pytest.raises(ConfigError, match=said):
        document(Reference(whole.model_), "mu_norm")
    model = ae.model_
    operation = type("Strange", (Operation,), {"shapes": lambda self: {}})()
    model.encoder[0], kept = operation, model.encoder[0]
    with pytest.raises(ConfigError, match="encoder's operation 0, Strange"):
        document(Reference(model), "mu_norm")
    model.encoder[0] = kept
    with pytest.raises(ConfigError, match=r"m\.txt: .* ends in \.onnx"):
        detector.to_onnx("m.txt")
    with pytest.raises(ConfigError, match="unknown output 'codes': allowed: z"):
        detector.to_onnx(outputs=["codes"])
    with pytest.raises(ConfigError, match="column 'score' holds text"):
        detector.to_onnx(inputs="matrix")


def test_targets_are_told_by_name_or_suffix(files):
    assert ".onnx" in targets.get("onnx").suffixes
    assert "suffix names no form" in refused("export", files / "m.diabolo", "-o", files / "m.xyz")
    done("export", files / "m.diabolo", "-o", files / "other.ONNX", "--to", "onnx", "--score", "mu_norm")
    assert Meta((files / "other.ONNX").read_bytes())["diabolo.score"] == "mu_norm"
    for form, ends in (("onnx", ".onnx"), ("c", ".h or .hpp")):
        said = refused("export", files / "m.diabolo", "-o", files / "x.txt", "--to", form)
        assert f"x.txt: {form} is a file whose name ends in {ends}, by which it is read; name it so" in said
    assert not (files / "x.txt").exists()
    assert "unknown export target 'onxx': did you mean 'onnx'" in refused(
        "export", files / "m.diabolo", "-o", files / "b", "--to", "onxx"
    )


# ── the check is real ─────────────────────────────────────────────────────────────────────────────


def test_a_graph_that_says_something_else_is_not_written(detector, files, monkeypatch, tmp_path):
    """The negative control: a weight that differs by 1 %."""
    from diabolo.export.onnx import scores as module

    right = SCORES["mu_norm"]
    monkeypatch.setitem(module.SCORES, "mu_norm", lambda g, r, row: g.op("Mul", right(g, r, row), 1.01))
    status, _, err = run("export", files / "m.diabolo", "-o", tmp_path / "m.onnx", "--score", "mu_norm")
    assert status == 2
    assert "nothing was written" in err
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ExportError):
        document(detector.calibrated_.reference, "mu_norm", detector.calibrated_.choosing("mu_norm"))


def test_killed_midway_it_leaves_no_file(files, tmp_path):
    out = tmp_path / "m.onnx"
    stop = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "whole = Path.write_bytes\n"
        "def half(self, data):\n"
        "    whole(self, data[: len(data) // 2])\n"
        "    os.kill(os.getpid(), 9)\n"
        "Path.write_bytes = half\n"
        "from diabolo.cli import main\n"
        f"main(['export', {str(files / 'm.diabolo')!r}, '-o', {str(out)!r}, '--score', 'mu_norm'])\n"
    )
    assert subprocess.run([sys.executable, "-c", stop], timeout=300).returncode == -9
    assert not out.exists()
    done("export", files / "m.diabolo", "-o", out, "--score", "mu_norm")
    assert left_behind(tmp_path) == []
    assert out.exists()


# ── the program and the scorer ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_score_writes_the_same_table(files, tmp_path, suffix):
    new = mixed(300, seed=4)
    new.loc[3, "pt"] = np.inf
    data = tmp_path / f"new{suffix}"
    new.to_parquet(data) if suffix == ".parquet" else new.to_csv(data, index=False)
    tables = []
    for model in ("m.diabolo", "m.onnx"):
        out = tmp_path / f"{model}.parquet"
        said = done("score", files / model, data, "-o", out, "--keep", "pt", "--false-alarm-rate", "0.05")
        tables.append(pq.read_table(out))
        assert "300 rows scored by auto" in said
        assert "1 rows could not be scored" in said
    own, told = tables
    assert own.schema.equals(told.schema, check_metadata=False)
    for name in ("row", "pt", "is_anomaly", "flag"):
        assert own[name].equals(told[name]), name
    np.testing.assert_allclose(told["score"].to_numpy(), own["score"].to_numpy(), rtol=1e-4)


def test_what_a_graph_cannot_do_is_said(files, tmp_path):
    mixed(20).to_parquet(tmp_path / "new.parquet")
    words = ("score", files / "m.onnx", tmp_path / "new.parquet", "-o", tmp_path / "o.csv")
    assert "takes no --fdr" in refused(*words, "--fdr", "0.1")
    assert "takes no --explain and no --score" in refused(*words, "--explain", "--score", "nll")
    assert "calibration rows promise" in refused(*words, "--false-alarm-rate", "0.000001")
    (tmp_path / "bad.onnx").write_bytes((files / "m.onnx").read_bytes()[:500])
    assert "no ONNX file, or a damaged one" in refused("score", tmp_path / "bad.onnx", *words[2:])
    foreign = Graph()
    foreign.output("y", foreign.op("Abs", foreign.input("x", FLOAT, 2)), FLOAT, 2)
    (tmp_path / "foreign.onnx").write_bytes(foreign.model({}).SerializeToString())
    assert "that diabolo has not exported" in refused("score", tmp_path / "foreign.onnx", *words[2:])
    assert "no such file" in refused("score", tmp_path / "none.onnx", *words[2:])


def test_without_a_detector_there_is_a_score_alone(tmp_path):
    x = np.random.default_rng(0).normal(size=(300, 3))
    Autoencoder(epochs=1).fit(x).save(tmp_path / "m.diabolo")
    done("export", tmp_path / "m.diabolo", "-o", tmp_path / "m.onnx")
    told = Scorer(tmp_path / "m.onnx").score(x)
    assert told["p_value"].null_count == told["is_anomaly"].null_count == 300
    assert "has no false-alarm rate" in refused(
        "export", tmp_path / "m.diabolo", "-o", tmp_path / "n.onnx", "--false-alarm-rate", "0.1"
    )


def test_single_rows_are_dictionaries(files):
    scorer, table = Scorer(files / "m.onnx"), pa.Table.from_pandas(spoiled(20))
    told = scorer.score(table)
    for i, row in enumerate(table.to_pylist()):
        one = scorer.score(row)
        assert one["flag"] == told["flag"][i].as_py(), i
        assert one["is_anomaly"] == told["is_anomaly"][i].as_py(), i
        assert math.isclose(one["score"], told["score"][i].as_py(), rel_tol=1e-5), i
    row = table.to_pylist()[15]
    said = row["when"].isoformat()
    assert scorer.score({**row, "when": said})["score"] == scorer.score(row)["score"]
    assert scorer.score({**row, "pt": np.float64(row["pt"])})["score"] == scorer.score(row)["score"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pt": "much"}, "column 'pt' has 'much'; the model was fitted on numbers there"),
        ({"score": 3.0}, "column 'score' has '3.0'; the model was fitted on text there"),
        ({"when": 5}, "column 'when' has '5'; the model was fitted on dates there"),
        ({"when": "soon", "hits": [1]}, "column 'hits' has '\\[1\\]'; .*; column 'when' has 'soon'"),
    ],
)
def test_cells_of_another_kind_are_refused(files, change, said):
    scorer, row = Scorer(files / "m.onnx"), pa.Table.from_pandas(mixed(1)).to_pylist()[0]
    with pytest.raises(ScorerError, match=said):
        scorer.score({**row, **change})
    with pytest.raises(ScorerError, match=r"column 'eta' missing \(1 of the model's 13\)"):
        scorer.score({k: v for k, v in row.items() if k != "eta"})


def test_tables_of_another_kind_are_refused(files):
    scorer, table = Scorer(files / "m.onnx"), pa.Table.from_pandas(mixed(5))
    with pytest.raises(ScorerError, match="columns 'pt', 'gap' missing"):
        scorer.score(table.drop_columns(["pt", "gap"]))
    wrong = table.set_column(0, "pt", pa.array(["x"] * 5)).set_column(7, "score", pa.array([1.0] * 5))
    with pytest.raises(ScorerError, match=r"column 'pt' holds text.*; column 'score' holds numbers"):
        scorer.score(wrong)
    with pytest.raises(ScorerError, match="duplicate column names: eta; rename"):
        scorer.score(table.append_column("eta", table["eta"]))
    with pytest.raises(ScorerError, match=r"no Arrow table: .*eta"):
        scorer.score(pd.concat([table.to_pandas(), table.to_pandas()[["eta"]]], axis=1))
    with pytest.raises(ScorerError, match=r"^rows of type int"):
        scorer.score(3)
    empty = scorer.score(table.slice(0, 0))
    assert (empty.num_rows, empty.column_names) == (0, ["score", "p_value", "is_anomaly", "flag"])
