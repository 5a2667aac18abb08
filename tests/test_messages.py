"""What the program says of small and odd inputs: columns that are not there, shares, few rows."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from program import done, refused

from diabolo.data.choosing import choose_columns
from diabolo.detect.reference import Stored
from diabolo.errors import nearest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of 30 rows, and tables of them."""
    out = tmp_path_factory.mktemp("messages")
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 3)), columns=["pt", "eta", "phi"])
    rows.to_csv(out / "rows.csv", index=False)
    rows.head(0).to_parquet(out / "none.parquet")
    rows.drop(columns="phi").to_csv(out / "less.csv", index=False)
    said = done("fit", out / "rows.csv", "-o", out / "m.diabolo", "--epochs", 1, "-q")
    (out / "said.txt").write_text(said)
    return out


def test_a_missing_column_is_told_beside_what_there_is(folder):
    line = refused("score", folder / "m.diabolo", folder / "less.csv", "-o", folder / "s.csv")
    assert "column 'phi' is missing (1 of the model's 3 are): it has pt, eta" in line
    assert "allowed" not in line


def test_a_missing_label_is_none_of_the_models_columns(folder):
    line = refused("evaluate", folder / "m.diabolo", folder / "rows.csv", "--label", "truth")
    assert "no column 'truth': it has pt, eta, phi" in line
    assert "of the model's" not in line


def test_a_near_name_is_offered():
    assert nearest("Eta", ["pt", "eta"], "it has") == "did you mean 'eta'? It has pt, eta"


def test_shares_are_percentages_throughout(folder):
    said = done("score", folder / "m.diabolo", folder / "rows.csv", "-o", folder / "s.csv", "--false-alarm-rate", 0.25)
    assert re.search(
        r"\d+ anomalies, [\d.]+ % of the rows; of rows exchangeable with the \d+ calibration rows at most 25 % are",
        said,
    )
    said = done("score", folder / "m.diabolo", folder / "none.parquet", "-o", folder / "s.csv")
    assert "0 anomalies; of rows exchangeable with" in said


def test_the_rows_of_a_fit_add_up_and_few_are_told(folder):
    said = (folder / "said.txt").read_text()
    counts = [int(n) for n in re.findall(r"(\d+) (?:rows trained|decided|rows calibrated)", said)]
    assert len(counts) == 3
    assert sum(counts) == 30
    assert f"{counts[0]} training rows are few" in said


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_stored_rows_are_recognized_and_others_are_not(kind):
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(500, 4)).round(1).astype(kind)
    rows[::7, 2] = np.nan
    rows[::5, 1] = 0.0
    stored = Stored(rows)
    asked = np.concatenate([rows[::3], rng.normal(size=(5_000, 4))]).astype(np.float32 if kind is np.float64 else kind)
    asked[:, 1] = np.where(asked[:, 1] == 0, -0.0, asked[:, 1])
    found = stored.positions(asked)
    same = (asked[:, None] == rows.astype(np.float32)) | (np.isnan(asked[:, None]) & np.isnan(rows))
    each = same.all(-1)
    np.testing.assert_array_equal(found, np.where(each.any(1), each.argmax(1), -1))
    assert (found >= 0).sum() >= len(rows[::3])


@pytest.mark.parametrize("suffix", ["npz", "h5"])
def test_a_vector_beside_a_matrix_is_no_feature_unasked(tmp_path, suffix):
    """X and y in one file, as scikit-learn's users keep them: y in the fit would give the answer away."""
    rng = np.random.default_rng(2)
    arrays = {"X": rng.normal(size=(60, 3)), "y": rng.integers(0, 2, 60)}
    path = tmp_path / f"xy.{suffix}"
    if suffix == "npz":
        np.savez(path, **arrays)
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    line = refused("fit", path, "-o", tmp_path / "m.diabolo")
    assert f"xy.{suffix}: column 'y' beside an array of more dimensions may be a label" in line
    columns = {
        "--label y": 3,
        "--exclude y": 3,
        "--columns x0,y": 2,
    }
    for flags, count in columns.items():
        assert chosen(str(path), *flags.split()) == count
    assert chosen(f"{path}::X,y", "--exclude", "x0") == 3
    # Vectors alone are a table's columns.
    np.savez(tmp_path / "vectors.npz", pt=arrays["y"], y=arrays["y"])
    assert chosen(str(tmp_path / "vectors.npz"), "--exclude", "pt") == 1


def chosen(path, flag, value):
    """How many columns a fit with this flag takes."""
    given = {"--columns": [], "--exclude": [], "--label": []} | {flag: [value]}
    return len(choose_columns(path, given["--columns"], given["--exclude"], given["--label"])[0])
