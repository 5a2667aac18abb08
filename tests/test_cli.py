"""The program as a person meets it: what the verbs write, and how they fail.

A failure is one line on stderr that says what came, what is allowed and what to do; the status is 2, nothing is lost
and nothing is left behind.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from diabolo import AnomalyDetector, load
from diabolo.artifact import read_sections
from diabolo.cli import main
from diabolo.errors import DataError

VERBS = ["fit", "score", "evaluate", "sample", "info", "demo"]
FEATURES = ["pt", "eta", "phi", "hits", "tagged"]
SCORES = pa.schema(
    [
        ("row", pa.int64()),
        ("score", pa.float64()),
        ("p_value", pa.float64()),
        ("is_anomaly", pa.bool_()),
        ("flag", pa.string()),
    ]
)


def run(*words):
    """(status, stdout, stderr) of the program, run inside this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
        main([str(w) for w in words])
    return end.value.code or 0, out.getvalue(), err.getvalue()


def done(*words):
    """stdout of a run that must succeed."""
    status, out, err = run(*words)
    assert status == 0, err
    return out


def refused(*words):
    """The one line of a run that must fail."""
    status, _, err = run(*words)
    assert status == 2
    assert err.startswith("diabolo: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert "--debug shows where" not in err, "an exception that nobody foresaw"
    return err


def program(*words, **more):
    return subprocess.run(
        [sys.executable, "-m", "diabolo", *map(str, words)], capture_output=True, text=True, timeout=120, **more
    )


def left_behind(folder):
    return sorted(p.name for p in Path(folder).iterdir() if ".part" in p.name)


def table(n=400, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 2))
    return pd.DataFrame(
        {
            "pt": 3 * z[:, 0] + 20 + 0.1 * rng.normal(size=n),
            "eta": (z @ [1, -1] + 0.1 * rng.normal(size=n)).astype(np.float32),
            "phi": np.arctan2(z[:, 1], z[:, 0]),
            "hits": rng.poisson(np.exp(1 + 0.3 * z[:, 1])).astype(np.int16),
            "tagged": z[:, 0] > 0,
            "truth": (rng.random(n) < 0.2).astype(np.int64),
        }
    )


def write(frame, path):
    """A table as the suffix says; NumPy files hold the columns of `FEATURES` that are not named in them."""
    suffix = Path(path).suffix
    if suffix == ".csv":
        frame.to_csv(path, index=False)
    elif suffix == ".parquet":
        frame.to_parquet(path)
    elif suffix == ".npy":
        np.save(path, frame[FEATURES].to_numpy(np.float64))
    else:
        np.savez(path, **{n: frame[n].to_numpy() for n in frame})
    return path


@pytest.fixture(scope="module")
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


# ── round trips ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npy", ".npz"])
def test_fit_score_evaluate_sample_info(suffix, here):
    data = write(table(), here / f"data{suffix}")
    plain = suffix == ".npy"
    said = done("fit", data, "-o", "m.diabolo", "--epochs", 2, "-q", *([] if plain else ["--label", "truth"]))
    assert "400 rows, 5 columns" in said
    assert "80 rows calibrated neg_elbo" not in said, "a table of 400 rows sets more than a fifth aside"
    assert "99 rows calibrated neg_elbo" in said
    new = table(300, seed=1)
    fresh = write(new, here / f"new{suffix}")
    assert "300 rows scored by neg_elbo" in done("score", "m.diabolo", fresh, "-o", "s.parquet")
    scores = pq.read_table("s.parquet")
    assert scores.schema.equals(SCORES)
    assert scores["row"].to_pylist() == list(range(300))
    detector = AnomalyDetector.load("m.diabolo")
    rows = new[FEATURES].to_numpy(np.float64) if plain else new[FEATURES]
    if suffix == ".csv":  # text of a single-precision number is read in double precision
        rows = pa.csv.read_csv(fresh).select(FEATURES)
    np.testing.assert_array_equal(scores["score"], detector.anomaly_score(rows))
    np.testing.assert_array_equal(scores["p_value"], detector.p_values(rows))
    np.testing.assert_array_equal(scores["is_anomaly"], detector.predict(rows) == -1)
    assert scores["flag"].null_count == 300
    if not plain:
        judged = done("evaluate", "m.diabolo", fresh, "--label", "truth")
        for word in ("AUROC", "average precision", "neg_elbo", "IsolationForest", "PCA", "promised"):
            assert word in judged
    done("sample", "m.diabolo", "-o", f"drawn{suffix}", "-n", 50)
    assert "50 rows" in done("info", f"drawn{suffix}") or suffix == ".csv"
    about = done("info", "m.diabolo")
    for word in ("VariationalAutoencoder", "neg_elbo", "99 calibrate", "gaussian (sigma = learned)", detector.score_):
        assert word in about


def test_the_program_as_it_is_installed(shop, here):
    """Once through real processes: `python -m diabolo`."""
    fitted = program("fit", shop / "data.csv", "-o", "m.diabolo", "--label", "truth", "--epochs", 2)
    assert fitted.returncode == 0, fitted.stderr
    assert [line.split()[0] for line in fitted.stderr.splitlines()] == ["epoch", "epoch"]
    assert "400 rows, 5 columns" in fitted.stdout
    scored = program("score", "m.diabolo", shop / "data.csv", "-o", "s.parquet")
    assert scored.returncode == 0, scored.stderr
    assert scored.stderr == ""
    rows = pa.csv.read_csv(shop / "data.csv").select(FEATURES)
    detector = AnomalyDetector.load("m.diabolo")
    np.testing.assert_array_equal(pq.read_table("s.parquet")["score"], detector.anomaly_score(rows))


def test_debug_shows_where(shop, here):
    words = ["score", str(shop / "vae.diabolo"), "nothing.csv", "-o", "s.parquet"]
    assert refused(*words) == "diabolo: nothing.csv: no such file\n"
    with pytest.raises(DataError, match=r"nothing\.csv: no such file"):
        main([*words, "--debug"])


def test_scores_can_be_written_as_csv(shop, here):
    done("score", shop / "vae.diabolo", shop / "data.parquet", "-o", "s.csv")
    done("score", shop / "vae.diabolo", shop / "data.parquet", "-o", "s.parquet")
    text, binary = pd.read_csv("s.csv"), pd.read_parquet("s.parquet")
    assert list(text.columns) == SCORES.names
    np.testing.assert_array_equal(text["score"], binary["score"])
    np.testing.assert_array_equal(text["is_anomaly"], binary["is_anomaly"])


def scored(model, data, *more):
    done("score", model, data, "-o", "s.parquet", *more)
    return pd.read_parquet("s.parquet")


def test_columns_are_found_by_name(shop, here):
    frame = table()
    as_fitted = scored(shop / "vae.diabolo", shop / "data.parquet")
    write(frame[["truth", "hits", "tagged", "phi", "eta", "pt"]].assign(more="text"), here / "other.parquet")
    pd.testing.assert_frame_equal(scored(shop / "vae.diabolo", "other.parquet"), as_fitted)
    write(frame.drop(columns="eta"), here / "less.csv")
    line = refused("score", shop / "vae.diabolo", "less.csv", "-o", "s2.parquet")
    assert "less.csv: column 'eta' is missing (1 of the model's 5 are)" in line
    write(frame.rename(columns={"eta": "etas"}), here / "renamed.csv")
    assert "did you mean 'etas'?" in refused("score", shop / "vae.diabolo", "renamed.csv", "-o", "s2.parquet")
    assert not Path("s2.parquet").exists()


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npy", ".npz"])
def test_chunks_change_nothing(suffix, here, monkeypatch):
    data = write(table(), here / f"data{suffix}")
    label = [] if suffix == ".npy" else ["--label", "truth"]
    done("fit", data, "-o", "whole.diabolo", "--epochs", 2, "-q", *label)
    whole = scored("whole.diabolo", data)
    monkeypatch.setattr("diabolo.data.formats.CHUNK", 37)
    pd.testing.assert_frame_equal(scored("whole.diabolo", data), whole)
    done("fit", data, "-o", "pieces.diabolo", "--epochs", 2, "-q", *label)
    pd.testing.assert_frame_equal(scored("pieces.diabolo", data), whole)


def test_only_main(shop, here):
    assert list(read_sections(shop / "ae.diabolo")) == ["main"]
    frame = scored(shop / "ae.diabolo", shop / "data.parquet")
    assert pq.read_schema("s.parquet").equals(SCORES)
    np.testing.assert_array_equal(frame["score"], load(shop / "ae.diabolo").anomaly_score(table()[FEATURES]))
    assert frame["p_value"].isna().all()
    assert frame["is_anomaly"].isna().all()
    assert "has no detector" in refused(
        "score", shop / "ae.diabolo", shop / "data.csv", "-o", "s.parquet", "--false-alarm-rate", 0.1
    )
    load(shop / "ae.diabolo").set_params(epochs=1)


def test_scores_by_name_and_rate(shop, here):
    detector = AnomalyDetector.load(shop / "vae.diabolo")
    for name in ("nll", "mse", "neg_elbo", "kl", "mu_norm"):
        detector.set_params(score=name, false_alarm_rate=0.2)
        frame = scored(shop / "vae.diabolo", shop / "data.parquet", "--score", name, "--false-alarm-rate", 0.2)
        np.testing.assert_array_equal(frame["score"], detector.anomaly_score(table()[FEATURES]))
        np.testing.assert_array_equal(frame["is_anomaly"], detector.predict(table()[FEATURES]) == -1)
        np.testing.assert_array_equal(frame["is_anomaly"], frame["p_value"] <= 0.2)


def test_a_rate_that_the_rows_cannot_promise(shop, here):
    line = refused("score", shop / "vae.diabolo", shop / "data.csv", "-o", "s.parquet", "--false-alarm-rate", 0.001)
    assert "needs at least 999 calibration rows, there are 99" in line
    assert "allow a rate of 0.01 or more" in line
    fit = ("fit", shop / "data.csv", "-o", "m.diabolo", "--label", "truth", "--epochs", 1, "-q")
    assert "needs at least 999" in refused(*fit, "--false-alarm-rate", 0.001)
    assert os.listdir(here) == []
    done(*fit, "--false-alarm-rate", 0.01)
    assert AnomalyDetector.load("m.diabolo").false_alarm_rate_ == 0.01


# ── the flags of fit ──────────────────────────────────────────────────────────────────────────────


def fitted(shop, *flags):
    done("fit", shop / "data.parquet", "-o", "m.diabolo", "--epochs", 1, "-q", *flags)
    return load("m.diabolo")


def test_columns_exclude_label_and_weight(shop, here):
    assert list(fitted(shop, "--columns", "phi,pt").feature_names_in_) == ["phi", "pt"]
    assert list(fitted(shop, "--exclude", "truth,eta").feature_names_in_) == ["pt", "phi", "hits", "tagged"]
    assert list(fitted(shop, "--label", "truth").feature_names_in_) == FEATURES
    # Rows of weight 0 play no part.
    ae = fitted(shop, "--weight", "truth")
    assert list(ae.feature_names_in_) == FEATURES
    assert sum(ae.fitted_.roles["counts"].values()) == table()["truth"].sum()


def test_method_latent_hidden_beta_epochs_seed(shop, here):
    ae = fitted(shop, "--latent", 3, "--hidden", "12,7", "--beta", 0.5, "--seed", 4, "--epochs", 3)
    c = ae.config_
    assert (c.latent_dim, c.hidden, c.beta, c.random_state, c.epochs) == (3, (12, 7), 0.5, 4, 3)
    assert len(ae.history_) == 3
    for method, name in (("ae", "Autoencoder"), ("linear", "LinearAutoencoder"), ("sparse", "SparseAutoencoder")):
        assert type(fitted(shop, "--method", method)).__name__ == name


def test_slots(here):
    rng = np.random.default_rng(0)
    there = rng.random((200, 2)) < [0.9, 0.5]
    frame = pd.DataFrame({f"e{i + 1}_pt": np.where(there[:, i], rng.exponential(size=200) + 1, 0) for i in range(2)})
    frame["met"] = rng.normal(size=200)
    write(frame, here / "data.parquet")
    done("fit", "data.parquet", "-o", "m.diabolo", "--slots", "e:2", "--epochs", 1, "-q", "--only", "main")
    assert load("m.diabolo").model_.encoding.schema.output_names == ["e1_pt", "e2_pt", "met", "e.count"]
    line = refused("fit", "data.parquet", "-o", "m2.diabolo", "--slots", "e:3", "-q")
    assert "slots e:3 needs the columns e1_..., to e3_" in line


def test_settings_of_a_file_and_of_flags(shop, here):
    lines = ["latent_dim = 3", "learning_rate = 1e-2", "epochs = 7", "[corruption]", 'name = "mask"', "rate = 0.1"]
    Path("s.toml").write_text("\n".join(['method = "denoising"', *lines]))
    ae = fitted(shop, "--config", "s.toml", "--set", "learning_rate=5e-3", "--set", "corruption.rate=0.4")
    assert type(ae).__name__ == "DenoisingAutoencoder"
    assert ae.config_.corruption == {"name": "mask", "rate": 0.4}
    assert (ae.config_.latent_dim, ae.config_.learning_rate, ae.config_.epochs) == (3, 5e-3, 1)
    # A setting of a part that only the method names.
    assert fitted(shop, "--method", "denoising", "--set", "corruption.std=0.2").config_.corruption == {
        "name": "gaussian",
        "std": 0.2,
    }
    own = fitted(shop, "--set", "column_likelihood.pt=laplace", "--set", "hidden=[5]") if _has_laplace() else None
    assert own is None or own.config_.column_likelihood == {"pt": "laplace"}


def _has_laplace():
    from diabolo.model.likelihood import likelihoods

    return "laplace" in likelihoods.names()


def test_every_wrong_setting_is_named_at_once(shop, here):
    Path("s.toml").write_text("learning_rte = 1e-3\nbeta = -1\n")
    line = refused("fit", shop / "data.csv", "-o", "m.diabolo", "--config", "s.toml", "--epochs", -2)
    assert "no setting 'learning_rte' (did you mean 'learning_rate'?" in line
    assert "beta = -1: input should be greater than or equal to 0" in line
    assert "epochs = -2: input should be greater than or equal to 1" in line
    assert os.listdir(here) == ["s.toml"]


# ── rows that cannot be scored ────────────────────────────────────────────────────────────────────


def test_rows_that_cannot_be_scored_are_flagged_and_never_normal(shop, here):
    frame = table().astype({"pt": float, "eta": float, "tagged": object})
    frame.loc[1, "pt"] = np.inf
    frame.loc[2, "eta"] = 1e39
    frame.loc[3, FEATURES] = np.nan
    frame.loc[4, "eta"] = np.nan
    write(frame, here / "odd.csv")
    for rate in (0.01, 0.5):
        odd = scored(shop / "vae.diabolo", "odd.csv", "--false-alarm-rate", rate)
        assert len(odd) == 400
        assert odd["flag"][1:4].tolist() == ["infinite: pt", "overflow: eta", "every cell is missing"]
        assert odd["flag"].notna().sum() == 3
        assert np.isinf(odd["score"][1:4]).all()
        assert odd["is_anomaly"][1:4].all()
        assert (odd["p_value"][1:4] == odd["p_value"].min()).all()
        assert np.isfinite(odd["score"][4]), "one missing cell has a price, not a flag"
    assert "3 rows could not be scored" in done("score", shop / "vae.diabolo", "odd.csv", "-o", "s.parquet")
    line = refused("score", shop / "vae.diabolo", "odd.csv", "-o", "strict.parquet", "--strict")
    assert "odd.csv: row 1 cannot be scored: infinite: pt" in line
    assert not Path("strict.parquet").exists()
    without = scored(shop / "ae.diabolo", "odd.csv")
    assert without["flag"].notna().sum() == 3
    assert "cannot be scored" in refused("score", shop / "ae.diabolo", "odd.csv", "-o", "s2.parquet", "--strict")


def test_rows_are_counted_across_chunks(shop, here, monkeypatch):
    frame = table()
    frame.loc[123, "pt"] = -np.inf
    write(frame, here / "odd.parquet")
    monkeypatch.setattr("diabolo.data.formats.CHUNK", 50)
    assert np.flatnonzero(scored(shop / "vae.diabolo", "odd.parquet")["flag"].notna()).tolist() == [123]
    assert "row 123 " in refused("score", shop / "vae.diabolo", "odd.parquet", "-o", "x.parquet", "--strict")


def test_constant_columns_are_watched(here):
    frame = table()[["pt", "eta"]].assign(run=7)
    write(frame, here / "data.parquet")
    said = done("fit", "data.parquet", "-o", "m.diabolo", "--epochs", 1, "-q")
    assert "constant, so only watched for a change: run" in said
    same = scored("m.diabolo", "data.parquet")
    write(frame.assign(run=8), here / "changed.parquet")
    assert (scored("m.diabolo", "changed.parquet")["score"] > same["score"] + 4).all()


def test_an_empty_table_gets_empty_scores(shop, here):
    write(table().iloc[:0], here / "none.parquet")
    assert len(scored(shop / "vae.diabolo", "none.parquet")) == 0
    assert pq.read_schema("s.parquet").equals(SCORES)


# ── labels ────────────────────────────────────────────────────────────────────────────────────────


def test_evaluate_takes_text_labels_with_normal(shop, here):
    frame = table(300, seed=2)
    frame["process"] = np.array(["W", "QCD", "LQ", "A"])[np.random.default_rng(0).integers(0, 4, 300)]
    write(frame, here / "new.csv")
    line = refused("evaluate", shop / "vae.diabolo", "new.csv", "--label", "process")
    assert "label 'process' is text (A, LQ, QCD, W, ...); say which is normal: --normal VALUE,VALUE" in line
    judged = done("evaluate", shop / "vae.diabolo", "new.csv", "--label", "process", "--normal", "W,QCD")
    for kind in ("A: ", "LQ: ", "all: "):
        assert kind in judged
    line = refused("evaluate", shop / "vae.diabolo", "new.csv", "--label", "process", "--normal", "W,QDC")
    assert "--normal QDC: not a value of 'process': did you mean 'QCD'?" in line


def test_normal_values_may_be_in_any_chunk(shop, here, monkeypatch):
    monkeypatch.setattr("diabolo.data.formats.CHUNK", 100)
    frame = table(300, seed=2).assign(process=np.repeat(["W", "LQ"], 150))
    write(frame, here / "sorted.csv")
    assert "150 anomalies" in done(
        "evaluate", shop / "vae.diabolo", "sorted.csv", "--label", "process", "--normal", "W"
    )


def test_evaluate_needs_rows_that_the_model_has_not_seen(shop, here):
    frame = table().assign(truth=0)
    known = load(shop / "vae.diabolo").fitted_.row_hashes
    from diabolo.data.batches import hash_rows
    from diabolo.data.table import as_table

    seen = np.isin(hash_rows(as_table(frame[FEATURES]).values), known)
    frame.loc[np.flatnonzero(seen)[:3], "truth"] = 1
    write(frame, here / "seen.parquet")
    line = refused("evaluate", shop / "vae.diabolo", "seen.parquet", "--label", "truth")
    assert "no anomalous row is left to judge, for the model was trained on 3 of them" in line


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (np.r_[np.nan, np.zeros(150), np.ones(149)], "is empty in row 0"),
        (np.zeros(300), "every row is normal by 'mark'"),
        (np.ones(300), "every row is anomalous by 'mark'"),
        (np.r_[np.zeros(2), np.ones(298)], "2 rows are normal by 'mark'; at least 4 are needed"),
    ],
)
def test_labels_that_cannot_be_used(column, said, shop, here):
    for name in ("new.csv", "new.npz"):
        write(table(300, seed=2).assign(mark=column), here / name)
        line = refused("evaluate", shop / "vae.diabolo", name, "--label", "mark")
        assert f"diabolo: {name}: " in line
        assert said in line


# ── samples ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_samples_have_the_columns_and_types_of_the_data(suffix, shop, here):
    done("sample", shop / "vae.diabolo", "-o", f"d{suffix}", "-n", 500, "--seed", 3)
    if suffix == ".npz":
        with np.load("d.npz") as drawn:
            assert {n: drawn[n].dtype for n in drawn} == dict(table()[FEATURES].dtypes)
        return
    drawn = pd.read_csv("d.csv") if suffix == ".csv" else pd.read_parquet("d.parquet")
    assert list(drawn.columns) == FEATURES
    assert len(drawn) == 500
    assert drawn["tagged"].dtype == bool
    assert drawn["hits"].dtype.kind == "i"
    assert drawn["phi"].between(-np.pi, np.pi).all()
    if suffix == ".parquet":
        assert pq.read_schema("d.parquet").types == pq.read_schema(shop / "data.parquet").types[:5]
        in_memory = load(shop / "vae.diabolo").sample(500, random_state=3).to_pandas()
        pd.testing.assert_frame_equal(drawn, in_memory)


def test_samples_of_columns_with_gaps_keep_their_types(here):
    rng = np.random.default_rng(0)
    gone = rng.random((2, 300)) < 0.3
    frame = pd.DataFrame(
        {
            "a": rng.normal(size=300),
            "k": pd.array(np.where(gone[0], None, rng.integers(0, 9, 300)), dtype="Int64"),
            "t": pd.array(np.where(gone[1], None, rng.random(300) < 0.5), dtype="boolean"),
        }
    )
    write(frame, here / "data.parquet")
    done("fit", "data.parquet", "-o", "m.diabolo", "--epochs", 1, "-q")
    done("sample", "m.diabolo", "-o", "d.parquet", "-n", 300)
    drawn = pq.read_table("d.parquet")
    assert drawn.schema.types == pq.read_schema("data.parquet").types
    assert 20 < drawn["k"].null_count < 280
    assert 20 < drawn["t"].null_count < 280
    done("sample", "m.diabolo", "-o", "d.npy", "-n", 300)
    assert np.load("d.npy").shape == (300, 3)


def test_samples_come_in_pieces_that_fit_memory(shop, here):
    done("sample", shop / "vae.diabolo", "-o", "d.parquet", "-n", 65_536 + 10, "--mean")
    assert pq.read_metadata("d.parquet").num_rows == 65_546
    again = pq.read_table("d.parquet")
    done("sample", shop / "vae.diabolo", "-o", "d.parquet", "-n", 65_536 + 10, "--mean")
    assert pq.read_table("d.parquet").equals(again)


# ── the demo ──────────────────────────────────────────────────────────────────────────────────────


def test_demo_on_part_of_its_sample(here, monkeypatch):
    import diabolo.demo as demo

    whole = demo._read
    monkeypatch.setattr(demo, "_read", lambda name: whole(name).rows(slice(0, 1500)))
    monkeypatch.setattr(demo, "FITTED", 1000)
    said = done("demo", "-o", "out", "--epochs", 1)
    assert "background, held back" in said
    assert "diabolo fit DATA.parquet -o my.diabolo" in said
    assert {"lhc.diabolo", "lhc.png"} <= set(os.listdir("out"))
    AnomalyDetector.load("out/lhc.diabolo")
    Path("file").write_text("")
    assert "cannot make the folder file" in refused("demo", "-o", "file")


# ── help, and what it costs ───────────────────────────────────────────────────────────────────────


def test_help_of_the_program_and_of_every_verb():
    said = done("--help")
    assert [v for v in VERBS if re.search(rf"^  {v} ", said, re.M)] == VERBS
    assert done() == said
    for verb in VERBS:
        for flag in ("--help", "-h"):
            assert f"Usage: diabolo {verb}" in done(verb, flag)
    assert re.fullmatch(r"diabolo \d+\.\d+\.\d+\n", done("--version"))


@pytest.mark.parametrize("words", [None, ["--help"], ["fit", "--help"], ["score", "--help"]])
def test_help_loads_nothing_heavy(words):
    code = f"""
import sys
import diabolo
words = {words!r}
if words is not None:
    from diabolo.cli import main
    try:
        main(words)
    except SystemExit as end:
        print("status", end.code, file=sys.stderr)
heavy = "torch sklearn pyarrow pandas pydantic scipy numpy matplotlib safetensors"
print(*(m for m in heavy.split() if m in sys.modules), file=sys.stderr)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.stderr.split() == ([] if words is None else ["status", "0"])


def test_a_reader_that_leaves_early_is_no_failure(shop, here):
    words = [["--help"], ["info", str(shop / "vae.diabolo")]]
    running = [
        subprocess.Popen([sys.executable, "-m", "diabolo", *w], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for w in words
    ]
    for process in running:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0
        process.stderr.close()


# ── outputs appear whole or not at all ────────────────────────────────────────────────────────────

OLD = b"what stood here before"


@contextlib.contextmanager
def killed_midway(words, ready, sign=signal.SIGKILL):
    """Run the program and end it as soon as `ready(process)` says so."""
    running = subprocess.Popen(
        [sys.executable, "-m", "diabolo", *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until = time.monotonic() + 60
        while not ready(running):
            assert running.poll() is None, f"it ended by itself: {running.stderr.read()}"
            assert time.monotonic() < until
            time.sleep(0.005)
        running.send_signal(sign)
        running.wait(30)
        yield running
    finally:
        running.kill()
        running.stderr.close()


LONG = ("--epochs", 100_000, "--set", "patience=100000")


def test_killed_during_fit(shop, tmp_path):
    out = tmp_path / "m.diabolo"
    out.write_bytes(OLD)
    words = ("fit", shop / "data.csv", "-o", out, *LONG)
    with killed_midway(words, lambda p: p.stderr.readline().startswith("epoch")) as ended:
        assert ended.returncode == -signal.SIGKILL
    assert out.read_bytes() == OLD
    assert set(os.listdir(tmp_path)) <= {"m.diabolo", "m.diabolo.ckpt"}


def test_interrupted_during_fit(shop, tmp_path):
    """A batch system's SIGTERM leaves no temporary file, and says how to go on."""
    words, kept = ("fit", shop / "data.csv", "-o", tmp_path / "m.diabolo", *LONG), tmp_path / "m.diabolo.ckpt"

    def ready(running):
        running.stderr.readline()
        return kept.exists()

    with killed_midway(words, ready, signal.SIGTERM) as ended:
        assert ended.returncode == 130
        said = f"diabolo: interrupted; nothing was left half-written; --resume goes on from {kept}"
        assert ended.stderr.read().splitlines()[-1] == said
    assert os.listdir(tmp_path) == [kept.name]


@pytest.fixture(scope="module")
def many(tmp_path_factory, shop):
    """Rows enough for a second of scoring, and a model of them."""
    folder = tmp_path_factory.mktemp("many")
    np.save(folder / "many.npy", np.random.default_rng(0).normal(size=(1_000_000, 4)).astype(np.float32))
    np.save(folder / "few.npy", np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32))
    done("fit", folder / "few.npy", "-o", folder / "m.diabolo", "--epochs", 1, "-q", "--hidden", "256,256")
    yield folder
    shutil.rmtree(folder)


def test_killed_during_score(many, tmp_path):
    out = tmp_path / "s.parquet"
    out.write_bytes(OLD)
    words = ("score", many / "m.diabolo", many / "many.npy", "-o", out)
    with killed_midway(words, lambda _: any(p.stat().st_size for p in tmp_path.glob(".*.part*"))) as ended:
        assert ended.returncode == -signal.SIGKILL
    assert out.read_bytes() == OLD


def writes(shop):
    """One run of each verb that writes, with its output's name."""
    return {
        "fit": ("out.diabolo", ["fit", shop / "data.csv", "--label", "truth", "--epochs", 1, "-q"]),
        "score": ("out.parquet", ["score", shop / "vae.diabolo", shop / "data.csv"]),
        "score-csv": ("out.csv", ["score", shop / "vae.diabolo", shop / "data.csv"]),
        "sample": ("out.parquet", ["sample", shop / "vae.diabolo", "-n", 3000]),
        "sample-csv": ("out.csv", ["sample", shop / "vae.diabolo", "-n", 3000]),
        "sample-npz": ("out.npz", ["sample", shop / "vae.diabolo", "-n", 3000]),
        "sample-npy": ("out.npy", ["sample", shop / "vae.diabolo", "-n", 3000]),
    }


JOBS = ["fit", "score", "score-csv", "sample", "sample-csv", "sample-npz", "sample-npy"]


@contextlib.contextmanager
def room_for(size):
    """The kernel itself refuses to write a file beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("job", JOBS)
def test_no_room_to_write(job, shop, here):
    name, words = writes(shop)[job]
    Path(name).write_bytes(OLD)
    with room_for(1000):
        line = refused(*words, "-o", name)
    assert f"cannot write {name}: " in line
    assert Path(name).read_bytes() == OLD
    assert os.listdir(here) == [name]


@pytest.mark.parametrize("job", ["fit", "score", "sample"])
def test_a_disk_that_is_full_at_the_last_moment(job, shop, here, monkeypatch):
    name, words = writes(shop)[job]

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert f"cannot write {name}: No space left on device; nothing was left behind" in refused(*words, "-o", name)
    assert os.listdir(here) == []


@pytest.mark.parametrize("job", ["fit", "score", "sample"])
def test_places_that_cannot_be_written(job, shop, here, monkeypatch):
    name, words = writes(shop)[job]
    assert "cannot write nowhere/" in refused(*words, "-o", f"nowhere/{name}")
    Path(name).mkdir()
    assert f"cannot write {name}: it is a folder or a device" in refused(*words, "-o", name)
    os.mkfifo(f"pipe-{name}")
    assert "it is a folder or a device" in refused(*words, "-o", f"pipe-{name}")
    assert sorted(os.listdir(here)) == sorted([name, f"pipe-{name}"])

    def read_only(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "mkstemp", read_only)
    monkeypatch.setattr(tempfile, "NamedTemporaryFile", read_only)
    line = refused(*words, "-o", f"new-{name}")
    assert "Read-only file system; choose a folder that exists and is writable" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to any folder")
@pytest.mark.parametrize("job", ["fit", "score", "sample"])
def test_a_folder_without_permission(job, shop, here):
    name, words = writes(shop)[job]
    Path("shut").mkdir(mode=0o555)
    assert "Permission denied" in refused(*words, "-o", f"shut/{name}")


def test_an_input_is_never_written_over(shop, here):
    for name in ("data.parquet", "vae.diabolo"):
        shutil.copy(shop / name, here / name)
    os.symlink("data.parquet", "link.parquet")
    before = {n: Path(n).read_bytes() for n in ("data.parquet", "vae.diabolo")}
    for words in (
        ("fit", "data.parquet", "-o", "data.parquet"),
        ("fit", "link.parquet", "-o", "data.parquet"),
        ("score", "vae.diabolo", "data.parquet", "-o", "data.parquet"),
        ("score", "vae.diabolo", "data.parquet", "-o", "link.parquet"),
    ):
        assert "is also the input; choose another name" in refused(*words)
    assert {n: Path(n).read_bytes() for n in before} == before


def test_an_output_takes_the_place_of_an_older_one(shop, here):
    umask = os.umask(0o022)
    try:
        Path("s.parquet").write_bytes(OLD)
        done("score", shop / "vae.diabolo", shop / "data.csv", "-o", "s.parquet")
    finally:
        os.umask(umask)
    assert pq.read_schema("s.parquet").equals(SCORES)
    assert Path("s.parquet").stat().st_mode & 0o777 == 0o644


# ── bad input, verb by verb ───────────────────────────────────────────────────────────────────────


def text(name, content):
    return lambda: Path(name).write_text(content)


def array(name, *values, **named):
    def build():
        np.save(name, *values, allow_pickle=True) if values else np.savez(name, **named)

    return build


def frame(name, **changes):
    """The table with cells changed: column → (row, value), or the whole column."""

    def build():
        data = table()
        for column, change in changes.items():
            if isinstance(change, tuple):
                data[column] = data[column].astype(object if isinstance(change[1], str) else float)
                data.loc[change[0], column] = change[1]
            else:
                data[column] = change
        write(data, name)

    return build


def nothing():
    pass


NORMAL = np.random.default_rng(0).normal(size=(60, 3))

#: What is made in the folder; its name; what the line must say.
TABLES = {
    "empty": (text("a.csv", ""), "a.csv", "a.csv: the file is empty"),
    "header-only": (text("a.csv", "x,y\n"), "a.csv", "a.csv: has a header but no rows"),
    "one-row": (text("a.csv", "x,y\n1,2\n"), "a.csv", r"a.csv: Found 1 sample.*at least 2 rows are needed"),
    "duplicates": (text("a.csv", "x,y,x\n1,2,3\n4,5,6\n"), "a.csv", "a.csv: duplicate column names: x; rename them"),
    "all-constant": (text("a.csv", "x,y\n" + "1,2\n" * 50), "a.csv", "a.csv: all 2 columns are constant"),
    "all-missing": (text("a.csv", "x,y\n" + ",\n" * 50), "a.csv", "a.csv: all 2 columns are constant"),
    "text-cell": (
        frame("a.csv", eta=(17, "oops")),
        "a.csv",
        r"a.csv: row 17, column 'eta': 'oops' is not a number; .*--exclude eta, or --label eta",
    ),
    "text-cell-late": (
        text("a.csv", "x,y\n" + "1.5,2.5\n" * 600_000 + "1,oops\n"),
        "a.csv",
        r"a.csv: row 600000, column 'y': .*invalid value 'oops'",
    ),
    "text-column": (frame("a.parquet", eta="words"), "a.parquet", r"a.parquet: row 0, column 'eta': 'words' is not"),
    "ragged": (text("a.csv", "x,y\n1,2\n1,2,3\n"), "a.csv", "a.csv: row 1: Expected 2 columns, got 3"),
    "dates": (
        frame("a.parquet", eta=pd.Timestamp("2024-01-01")),
        "a.parquet",
        r"a.parquet: column 'eta' holds timestamp.*allowed are numbers and booleans",
    ),
    "infinity": (frame("a.csv", pt=(5, np.inf)), "a.csv", r"a.csv: row 5, column 'pt': inf .*replace it by NaN"),
    "overflow": (
        text("a.csv", "x,y\n" + "\n".join(f"{a},{b}" for a, b in np.where(NORMAL[:, :2] > 1.2, 1e39, NORMAL[:, :2]))),
        "a.csv",
        r"a.csv: row \d+ cannot be fitted: overflow: x",
    ),
    "object-npz": (array("a.npz", x=np.array([1, None], object)), "a.npz", "a.npz: holds Python objects, which could"),
    "object-npy": (array("a.npy", np.array([[1, None]], object)), "a.npy", "a.npy: holds Python objects, which could"),
    "3-d": (array("a.npy", np.zeros((3, 4, 5))), "a.npy", r"a.npy: holds x \[3, 4, 5\]; allowed are matrices \[rows"),
    "3-d-among-others": (array("a.npz", x=np.zeros((3, 4, 5)), y=np.ones(3)), "a.npz", r"a.npz: holds x \[3, 4, 5\]"),
    "0-d": (array("a.npy", np.zeros(())), "a.npy", r"a.npy: holds x \[\]; allowed are matrices"),
    "complex": (array("a.npy", NORMAL + 1j), "a.npy", "a.npy: holds complex128; allowed are numbers of up to 64"),
    "records": (array("a.npy", np.zeros(9, [("x", "f8")])), "a.npy", "a.npy: holds .*; allowed are numbers of up to"),
    "text-npy": (array("a.npy", np.array([["a", "b"]])), "a.npy", "a.npy: row 0, column 'x0': 'a' is not a number"),
    "lengths": (array("a.npz", x=np.zeros(3), y=np.zeros(4)), "a.npz", r"a.npz: its arrays have different lengths \[3"),
    "suffix": (text("a.txt", "x,y\n"), "a.txt", "a.txt: unknown file type '.txt'; allowed: .parquet, .pq, .csv, .npy"),
    "no-suffix": (text("a", "x,y\n"), "a", r"a: unknown file type '\(no suffix\)'"),
    "folder": (lambda: Path("a.csv").mkdir(), "a.csv", "a.csv: cannot be read: .*is a directory"),
    "folder-npy": (lambda: Path("a.npy").mkdir(), "a.npy", "a.npy: cannot be read: .*Is a directory"),
    "not-there": (nothing, "a.csv", "a.csv: no such file"),
    "not-parquet": (text("a.parquet", "x,y\n1,2\n"), "a.parquet", "a.parquet: cannot be read: .*not a parquet file"),
    "not-npz": (text("a.npz", "x,y\n1,2\n"), "a.npz", "a.npz: cannot be read: File is not a zip file"),
    "not-npy": (text("a.npy", "x,y\n1,2\n"), "a.npy", "a.npy: cannot be read: "),
    "cut-off-npy": (
        lambda: Path("a.npy").write_bytes(_bytes_of(NORMAL)[:500]),
        "a.npy",
        "a.npy: cannot be read: ",
    ),
    "escape-codes": (
        lambda: Path("a.csv").write_bytes(b"x,y\n1,2\n\x1b[31mred\x07,1,2\n"),
        "a.csv",
        r"a.csv: row 1: Expected 2 columns, got 3: \?\[31mred\?,1,2",
    ),
}


def _bytes_of(values):
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


@pytest.mark.parametrize("case", TABLES)
def test_fit_refuses_a_table(case, here):
    build, name, said = TABLES[case]
    build()
    before = sorted(os.listdir(here))
    assert re.search(said, refused("fit", name, "-o", "m.diabolo", "--epochs", 1, "-q"))
    assert sorted(os.listdir(here)) == before
    if case in ("empty", "duplicates", "3-d", "object-npz", "suffix", "folder", "not-there", "not-parquet"):
        refused("info", name) if case != "duplicates" else None


def test_an_array_of_objects_is_never_unpickled(shop, here):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, ("sprung",))

    np.savez("a.npz", **{n: np.array([Trap()], object) for n in FEATURES})
    np.save("a.npy", np.array([[Trap()]], object))
    for name in ("a.npz", "a.npy"):
        for words in (
            ("fit", name, "-o", "m"),
            ("score", shop / "vae.diabolo", name, "-o", "s.parquet"),
            ("info", name),
        ):
            assert "holds Python objects" in refused(*words)
        assert "holds Python objects" in refused("evaluate", shop / "vae.diabolo", name, "--label", "truth")
    assert sorted(os.listdir(here)) == ["a.npy", "a.npz"]


FIT = {
    "unknown-setting": (["--set", "learning_rte=1"], "no setting 'learning_rte' .did you mean 'learning_rate'"),
    "no-value": (["--set", "learning_rate"], "--set learning_rate: expected key=value"),
    "out-of-range": (
        ["--set", "learning_rate=-1", "--beta", -1, "--latent", 0],
        "latent_dim = 0: .*beta = -1.0: .*learning_rate = -1: ",
    ),
    "setting-of-a-number": (["--set", "beta.x=1"], "'beta' is one value and has no setting 'x'"),
    "setting-of-a-part": (
        ["--method", "denoising", "--set", "corruption.sdt=1"],
        "corruption 'gaussian' has no setting 'sdt' .did you mean 'std'",
    ),
    "part": (["--set", "corruption=gausian"], "unknown corruption 'gausian': did you mean 'gaussian'"),
    "method": (["--method", "vea"], "unknown method 'vea': did you mean 'vae'. Allowed: ae, linear, denoising, sparse"),
    "method-set": (["--set", "method=vea"], "unknown method 'vea'"),
    "epochs": (["--epochs", -3], "epochs = -3: input should be greater than or equal to 1"),
    "epochs-text": (["--epochs", "many"], "Invalid value for '--epochs'"),
    "hidden": (["--hidden", "12,x"], "--hidden: 'x' is not a whole number"),
    "hidden-zero": (["--hidden", "0"], "hidden.0 = 0: input should be greater"),
    "hidden-linear": (["--method", "linear", "--hidden", "8"], "network 'linear' has no hidden layers"),
    "kl-of-a-point": (["--method", "ae", "--set", "regularizer=kl"], "regularizer 'kl' needs a latent with a width"),
    "draws-of-a-point": (["--method", "ae", "--set", "draws=3"], "draws = 3 needs latent='gaussian'"),
    "slots": (["--slots", "e4"], "--slots e4: expected name:number"),
    "slots-zero": (["--slots", "e:0"], "--slots e:0: expected name:number"),
    "slots-twice": (["--slots", "e:2,e:3"], "each name once, like e:4,mu:4,j:10"),
    "slots-missing": (["--slots", "jet:2"], "slots jet:2 needs the columns jet1_..., to jet2_"),
    "only": (["--only", "detector"], "--only detector: allowed is main"),
    "only-and-rate": (["--only", "main", "--false-alarm-rate", 0.1], "--false-alarm-rate is the detector's"),
    "rate-zero": (["--false-alarm-rate", 0], "false_alarm_rate = 0.0; allowed are numbers above 0 and below 1"),
    "columns": (["--columns", "pt,etta"], "data.csv: no column 'etta': did you mean 'eta'"),
    "columns-empty": (["--columns", ""], "data.csv: no column ''"),
    "columns-twice": (["--columns", "pt,pt"], "--columns names 'pt' twice"),
    "exclude": (["--exclude", "etta"], "data.csv: no column 'etta'"),
    "exclude-all": (["--exclude", ",".join([*FEATURES, "truth"])], "data.csv: no column is left to fit"),
    "label": (["--label", "thruth"], "data.csv: no column 'thruth': did you mean 'truth'"),
    "weight": (["--weight", "wight"], "data.csv: no column 'wight'"),
    "weight-negative": (
        ["--weight", "eta"],
        r"data.csv: sample_weight of row \d+ is -.*allowed are finite numbers from 0",
    ),
    "config": (["--config", "nothing.toml"], "cannot read the configuration nothing.toml: No such file"),
    "seed": (["--seed", -1], "random_state = -1: input should be greater than or equal to 0"),
    "angles": (["--set", 'angles=["fi"]'], "angles names 'fi': "),
    "flag": (["--epoch", 3], "No such option: --epoch.*--help"),
    "word": (["more"], r"unexpected extra argument.*more"),
}


@pytest.mark.parametrize("case", FIT)
def test_fit_refuses_a_flag(case, shop, here):
    flags, said = FIT[case]
    line = refused("fit", shop / "data.csv", "-o", "m.diabolo", "--set", "patience=2", "-q", *flags)
    assert re.search(said, line)
    assert os.listdir(here) == []


def test_a_file_that_is_not_toml(shop, here):
    Path("a.toml").write_text("beta = \n")
    line = refused("fit", shop / "data.csv", "-o", "m.diabolo", "--config", "a.toml")
    assert re.search(r"a.toml is not valid TOML: .*line 1", line)


def test_a_column_of_weights_must_be_numbers(here):
    write(table().assign(w="heavy"), here / "a.csv")
    line = refused("fit", "a.csv", "-o", "m.diabolo", "--weight", "w")
    assert "a.csv: row 0, column 'w': 'heavy' is not a number" in line


VAE, DATA = "{shop}/vae.diabolo", "{shop}/data.csv"
OTHERS = {
    "score-is-no-model": (["score", DATA, DATA, "-o", "s.parquet"], "data.csv: not a model file, or cut off"),
    "score-is-no-data": (
        ["score", VAE, VAE, "-o", "s.parquet"],
        "vae.diabolo: unknown file type '.diabolo'; allowed: ",
    ),
    "score-no-model": (["score", "none.diabolo", DATA, "-o", "s.parquet"], "none.diabolo: no such file"),
    "score-model-folder": (["score", ".", DATA, "-o", "s.parquet"], ".: cannot be read: Is a directory"),
    "score-no-data": (["score", VAE, "none.csv", "-o", "s.parquet"], "none.csv: no such file"),
    "score-suffix": (["score", VAE, DATA, "-o", "s.txt"], "s.txt: unknown file type '.txt'; allowed: "),
    "score-numpy": (
        ["score", VAE, DATA, "-o", "s.npz"],
        "s.npz: scores have a column of text; allowed: .parquet, .csv",
    ),
    "score-name": (["score", VAE, DATA, "-o", "s.parquet", "--score", "nell"], "score 'nell': did you mean 'nll'"),
    "score-name-main": (
        ["score", "{shop}/ae.diabolo", DATA, "-o", "s.parquet", "--score", "msee"],
        "unknown score 'msee': did you mean 'mse'",
    ),
    "score-needs-vae": (
        ["score", "{shop}/ae.diabolo", DATA, "-o", "s.parquet", "--score", "neg_elbo"],
        "score 'neg_elbo' needs a VAE; this model has a point latent and gives nll, mse, mu_norm",
    ),
    "score-rate": (["score", VAE, DATA, "-o", "s.parquet", "--false-alarm-rate", 1], "numbers above 0 and below 1"),
    "score-rate-text": (["score", VAE, DATA, "-o", "s.parquet", "--false-alarm-rate", "x"], "Invalid value for"),
    "score-no-out": (["score", VAE, DATA], "Missing option '-o'"),
    "evaluate-label": (["evaluate", VAE, DATA, "--label", "thruth"], "data.csv: column 'thruth' is missing"),
    "evaluate-feature": (
        ["evaluate", VAE, DATA, "--label", "pt"],
        "fitted on the column 'pt'; a truth column must not",
    ),
    "evaluate-no-label": (["evaluate", VAE, DATA], "Missing option '--label'"),
    "evaluate-model": (["evaluate", DATA, DATA, "--label", "truth"], "data.csv: not a model file"),
    "evaluate-seed": (["evaluate", VAE, DATA, "--label", "truth", "--seed", -1], "Invalid value for '--seed'"),
    "sample-none": (["sample", VAE, "-o", "d.csv", "-n", 0], "-n 0: allowed are whole numbers from 1 up"),
    "sample-half": (["sample", VAE, "-o", "d.csv", "-n", 1.5], "Invalid value for '-n'"),
    "sample-no-n": (["sample", VAE, "-o", "d.csv"], "Missing option '-n'"),
    "sample-suffix": (["sample", VAE, "-o", "d.xls", "-n", 5], "d.xls: unknown file type '.xls'"),
    "sample-seed": (["sample", VAE, "-o", "d.csv", "-n", 5, "--seed", -1], "Invalid value for '--seed'"),
    "sample-model": (["sample", DATA, "-o", "d.csv", "-n", 5], "data.csv: not a model file"),
    "info-none": (["info", "none.diabolo"], "none.diabolo: no such file"),
    "info-suffix": (["info", "none.txt"], "none.txt: "),
    "demo-epochs": (["demo", "-o", "out", "--epochs", 0], "Invalid value for '--epochs'"),
    "verb": (["fitt"], "No such command 'fitt'.*Did you mean 'fit'"),
    "later-verb": (["compress", VAE, DATA], "No such command 'compress'"),
    "option": (["--fast"], "No such option: --fast"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_verbs_refuse(case, shop, here):
    words, said = OTHERS[case]
    line = refused(*(str(w).replace("{shop}", str(shop)) for w in words))
    assert re.search(said, line)
    assert os.listdir(here) == []


def test_score_refuses_a_table(shop, here):
    for build, name, said in (
        (frame("a.csv", eta=(17, "oops")), "a.csv", "a.csv: row 17, column 'eta': 'oops' is not a number"),
        (text("b.csv", "pt,eta,phi,hits,tagged,pt\n1,2,3,4,true,5\n"), "b.csv", "duplicate column names: pt"),
        (text("c.csv", ""), "c.csv", "c.csv: the file is empty"),
        (array("d.npy", np.zeros((3, 5))), "d.npy", "d.npy: column 'pt' is missing (5 of the model's 5 are)"),
        (text("e.csv", "pt,eta,phi,hits,tagged\n1,2,3,4\n"), "e.csv", "e.csv: row 0: Expected 5 columns, got 4"),
    ):
        build()
        assert said in refused("score", shop / "vae.diabolo", name, "-o", "s.parquet")
        assert not Path("s.parquet").exists()


def test_names_with_brackets_are_names(shop, here):
    """What a person wrote is never taken for markup."""
    write(table().rename(columns={"eta": "[/red]"}), here / "a[bold].parquet")
    done("fit", "a[bold].parquet", "-o", "m[1].diabolo", "--label", "truth", "--epochs", 1, "-q")
    assert "[/red]" in done("info", "m[1].diabolo")
    assert "a[bold].parquet: 400 rows" in done("info", "a[bold].parquet")
