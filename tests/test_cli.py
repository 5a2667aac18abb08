"""The program as a person meets it: what the verbs write; how they fail stands in test_bad_inputs.py."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from program import FEATURES, done, program, refused, table, write

from diabolo import AnomalyDetector, Autoencoder, load
from diabolo.artifact import read_sections
from diabolo.cli import main
from diabolo.data.formats import atomic
from diabolo.errors import DataError

VERBS = ["fit", "score", "evaluate", "encode", "decode", "reconstruct", "sample", "fill", "info", "demo"]
SCORES = pa.schema(
    [
        ("row", pa.int64()),
        ("score", pa.float64()),
        ("p_value", pa.float64()),
        ("is_anomaly", pa.bool_()),
        ("flag", pa.string()),
    ]
)


# ── round trips ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npy", ".npz"])
def test_fit_score_evaluate_sample_info(suffix, here):
    data = write(table(), here / f"data{suffix}")
    plain = suffix == ".npy"
    said = done("fit", data, "-o", "m.diabolo", "--epochs", 2, "-q", *([] if plain else ["--label", "truth"]))
    assert "400 rows, 5 columns" in said
    assert "80 rows calibrated auto" not in said, "a table of 400 rows sets more than a fifth aside"
    assert "99 rows calibrated auto" in said
    new = table(300, seed=1)
    fresh = write(new, here / f"new{suffix}")
    assert "300 rows scored by auto" in done("score", "m.diabolo", fresh, "-o", "s.parquet")
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
        for word in ("AUROC", "average precision", "auto", "IsolationForest", "PCA", "promised"):
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
    # Arrow reads a number as it was written; pandas before its third version does not.
    text, binary = pa.csv.read_csv("s.csv").to_pandas(), pd.read_parquet("s.parquet")
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
    monkeypatch.setattr("diabolo.detect.dataset.READ", 37)
    pd.testing.assert_frame_equal(scored("whole.diabolo", data), whole)
    done("fit", data, "-o", "pieces.diabolo", "--epochs", 2, "-q", *label)
    pd.testing.assert_frame_equal(scored("pieces.diabolo", data), whole)


def test_only_main(shop, here):
    assert list(read_sections(shop / "ae.diabolo")) == ["generator", "main", "rows"]
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
    return Autoencoder.load("m.diabolo")


def test_columns_exclude_label_and_weight(shop, here):
    assert list(fitted(shop, "--columns", "phi,pt").feature_names_in_) == ["phi", "pt"]
    assert list(fitted(shop, "--exclude", "truth,eta").feature_names_in_) == ["pt", "phi", "hits", "tagged"]
    assert list(fitted(shop, "--label", "truth").feature_names_in_) == FEATURES
    # Rows of weight 0 play no part.
    ae = fitted(shop, "--weight", "truth")
    assert list(ae.feature_names_in_) == FEATURES
    assert sum(ae.fitted_.roles.counts.values()) == table()["truth"].sum()


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
    assert Autoencoder.load("m.diabolo").model_.encoding.schema.output_names == ["e1_pt", "e2_pt", "met", "e.count"]
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
        assert odd["p_value"][1:4].isna().all()
        assert odd["p_value"].notna().sum() == 397
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
    monkeypatch.setattr("diabolo.detect.dataset.READ", 50)
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
    monkeypatch.setattr("diabolo.detect.dataset.READ", 100)
    frame = table(300, seed=2).assign(process=np.repeat(["W", "LQ"], 150))
    write(frame, here / "sorted.csv")
    assert "150 anomalies" in done(
        "evaluate", shop / "vae.diabolo", "sorted.csv", "--label", "process", "--normal", "W"
    )


def test_evaluate_needs_rows_that_the_model_has_not_seen(shop, here):
    frame = table().assign(truth=0)
    known = Autoencoder.load(shop / "vae.diabolo").fitted_.row_hashes
    from diabolo.data.hashing import hash_rows
    from diabolo.data.table import as_table

    seen = np.isin(hash_rows(as_table(frame[FEATURES]).values), known)
    frame.loc[np.flatnonzero(seen)[:3], "truth"] = 1
    write(frame, here / "seen.parquet")
    line = refused("evaluate", shop / "vae.diabolo", "seen.parquet", "--label", "truth")
    assert "no anomalous row is left to judge, for the model was trained on 3 of them" in line


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
        in_memory = Autoencoder.load(shop / "vae.diabolo").sample(500, random_state=3).to_pandas()
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
    assert {"lhc.diabolo", "lhc.png", "report.html"} <= set(os.listdir("out"))
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
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert ended.stderr.split() == ([] if words is None else ["status", "0"])


def test_a_look_at_a_table_loads_no_pytorch(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b,c\n" + "".join(f"{i % 7}.5,{i % 3},{'xyz'[i % 3]}\n" for i in range(60)))
    code = f"""
import sys
from diabolo.cli import main
try:
    main(["info", {str(path)!r}])
finally:
    print(*(m for m in ("torch", "sklearn", "scipy") if m in sys.modules), file=sys.stderr)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert "60 rows, 3 columns" in ended.stdout
    assert ended.stderr.split() == []


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


# ── outputs, and names ────────────────────────────────────────────────────────────────────────────


def test_an_output_takes_the_place_of_an_older_one(shop, here):
    umask = os.umask(0o022)
    try:
        Path("s.parquet").write_bytes(b"what stood here before")
        done("score", shop / "vae.diabolo", shop / "data.csv", "-o", "s.parquet")
    finally:
        os.umask(umask)
    assert pq.read_schema("s.parquet").equals(SCORES)
    assert Path("s.parquet").stat().st_mode & 0o777 == 0o644


def test_an_older_output_keeps_its_mode_and_a_link_stays_one(here):
    Path("private").write_bytes(b"before")
    Path("private").chmod(0o600)
    os.symlink("private", "link")
    with atomic("link") as part:
        part.write_bytes(b"after")
    assert Path("link").is_symlink()
    assert Path("private").read_bytes() == b"after"
    assert Path("private").stat().st_mode & 0o777 == 0o600


def test_names_with_brackets_are_names(shop, here):
    """What a person wrote is never taken for markup."""
    write(table().rename(columns={"eta": "[/red]"}), here / "a[bold].parquet")
    done("fit", "a[bold].parquet", "-o", "m[1].diabolo", "--label", "truth", "--epochs", 1, "-q")
    assert "[/red]" in done("info", "m[1].diabolo")
    assert "a[bold].parquet: 400 rows" in done("info", "a[bold].parquet")
    assert "[/red]" in done("explain", "m[1].diabolo", "a[bold].parquet", "--row", 0)
