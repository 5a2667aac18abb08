"""Ids, run and event numbers carried beside scores and labels, into every format that holds them."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot
from program import done, refused

from diabolo import AnomalyDetector, Autoencoder
from diabolo.data.formats import read_batches, schema_of
from diabolo.errors import DataError

ROWS = 400


def events(n=ROWS, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "run": np.full(n, 355_100_001, np.uint32),
        "event": rng.permutation(n).astype(np.uint64) + 2**53,
        "name": np.array([f"w{i % 7}" for i in range(n)]),
        "x": rng.normal(size=n),
        "y": rng.normal(size=n).astype(np.float32),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A ROOT file of events with lists, and a detector of its columns x and y."""
    at = tmp_path_factory.mktemp("keep")
    rows = events()
    lists = ak.unflatten(np.arange(2 * ROWS), np.full(ROWS, 2))
    with uproot.recreate(at / "rows.root") as file:
        types = {n: "string" if c.dtype.kind == "U" else c.dtype for n, c in rows.items()}
        tree = file.mktree("events", {**types, "hits": "var * int64"})
        tree.extend({**rows, "name": ak.Array(rows["name"].tolist()), "hits": lists})
    done("fit", at / "rows.root", "-o", at / "m.diabolo", "--columns", "x,y", "--epochs", 1, "-q")
    done("fit", at / "rows.root", "-o", at / "ae.diabolo", "--columns", "x,y", "--epochs", 1, "-q", "--only", "main")
    return at


def read(path):
    return pa.Table.from_batches(list(read_batches(path)), schema_of(path)[0])


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".csv", ".root", ".h5", ".npz"])
def test_kept_columns_stand_beside_scores_in_every_format(folder, suffix, tmp_path):
    out = tmp_path / f"s{suffix}"
    done("score", folder / "m.diabolo", folder / "rows.root", "-o", out, "--keep", "run,event", "--keep", "name")
    back, rows = read(out), events()
    assert set(back.column_names) == {"row", "run", "event", "name", "score", "p_value", "is_anomaly", "flag"}
    assert back.column_names[:4] == ["row", "run", "event", "name"]
    whole = [int(c) for c in back["event"].to_pylist()]
    assert whole == rows["event"].tolist() or suffix == ".csv"  # a reader of text takes whole numbers for floats
    assert back["name"].to_pylist() == rows["name"].tolist()
    frame = pd.DataFrame({n: rows[n] for n in "xy"})
    detector = AnomalyDetector.load(folder / "m.diabolo")
    np.testing.assert_allclose(back["score"], detector.anomaly_score(frame), rtol=1e-15)
    flags = back["is_anomaly"].to_pylist()
    assert [bool(f) for f in flags] == (detector.predict(frame) == -1).tolist()


def test_scores_and_lists_go_back_to_root(folder, tmp_path):
    out = tmp_path / "s.root"
    done("score", folder / "m.diabolo", folder / "rows.root", "-o", out, "--keep", "event,hits", "--explain")
    with uproot.open(out) as file:
        tree = file["events"]
        assert tree["event"].array(library="np").tolist() == events()["event"].tolist()
        assert tree["hits"].array().tolist() == np.arange(2 * ROWS).reshape(ROWS, 2).tolist()
        assert tree["flag"].array(library="np").tolist() == [""] * ROWS
        assert tree["is_anomaly"].array(library="np").dtype == bool
    # Without a detector there is no p-value, and no column that holds nothing.
    done("score", folder / "ae.diabolo", folder / "rows.root", "-o", out)
    with uproot.open(out) as file:
        assert set(file["events"].keys()) == {"row", "score", "flag"}
    done("score", folder / "ae.diabolo", folder / "rows.root", "-o", tmp_path / "s.parquet")
    assert pq.read_table(tmp_path / "s.parquet")["p_value"].null_count == ROWS


def test_kept_columns_stand_beside_labels(folder, tmp_path):
    for suffix in (".parquet", ".root"):
        out = tmp_path / f"l{suffix}"
        done("cluster", folder / "m.diabolo", folder / "rows.root", "-o", out, "--clusters", 2, "--keep", "event", "-q")
        back = read(out)
        assert back.column_names == ["row", "event", "cluster", "confidence"]
        assert back["event"].to_pylist() == events()["event"].tolist()


def test_what_cannot_be_kept_is_named(folder, tmp_path):
    words = ("score", folder / "m.diabolo", folder / "rows.root", "-o", tmp_path / "s.parquet", "--keep")
    assert "no column 'evnt' to keep: did you mean 'event'" in refused(*words, "run,evnt")
    odd = tmp_path / "odd.parquet"
    pq.write_table(pa.table({"x": [1.0], "y": pa.array([1.0], pa.float32()), "score": [1]}), odd)
    assert "--keep score: the output has a column 'score' of its own" in refused(
        "score", folder / "m.diabolo", odd, "-o", tmp_path / "s.parquet", "--keep", "score"
    )
    assert "scores have names and a column of text; allowed: .arrow, .csv, .h5, .npz, .parquet, .root" in refused(
        "score", folder / "m.diabolo", odd, "-o", tmp_path / "s.npy"
    )


def test_the_table_of_scores_in_python():
    rows = events()
    frame = pd.DataFrame(rows, index=pd.Index(rows["event"], name="id"))
    detector = AnomalyDetector(Autoencoder(epochs=1)).fit(frame[["x", "y"]])
    table = detector.score_table(frame, keep=["run", "name"])
    assert list(table.columns) == ["run", "name", "score", "p_value", "is_anomaly", "flag"]
    assert table.index.equals(frame.index)
    np.testing.assert_array_equal(table["score"], detector.anomaly_score(frame))
    np.testing.assert_array_equal(table["p_value"], detector.p_values(frame))
    np.testing.assert_array_equal(table["is_anomaly"], detector.predict(frame) == -1)
    arrow = detector.score_table(pa.Table.from_pandas(frame, preserve_index=False), keep="event")
    assert arrow.column_names == ["event", "score", "p_value", "is_anomaly", "flag"]
    assert arrow["event"].to_pylist() == rows["event"].tolist()
    assert detector.score_table(frame[["x", "y"]].to_numpy()).column_names == ["score", "p_value", "is_anomaly", "flag"]
    with pytest.raises(DataError, match="no column 'evnt' to keep: did you mean 'event'"):
        detector.score_table(frame, keep="evnt")
    with pytest.raises(DataError, match="X has no column names"):
        detector.score_table(frame[["x", "y"]].to_numpy(), keep="event")
