"""slots = "auto": columns of numbered objects that are zero together are found, and nothing else is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from program import done

from diabolo import Autoencoder
from diabolo.data.slots import found_slots


def events(rows: int, most: int = 3, seed: int = 0) -> pd.DataFrame:
    """Up to `most` objects of three columns each, and a number of its own."""
    rng = np.random.default_rng(seed)
    count = rng.integers(0, most + 1, rows)
    out = {"met": rng.exponential(size=rows)}
    for i in range(most):
        there = count > i
        for name in ("pt", "eta", "phi"):
            out[f"j{i + 1}_{name}"] = np.where(there, rng.normal(size=rows) + 5 * (name == "pt"), 0.0)
    return pd.DataFrame(out)


def found(table: pd.DataFrame) -> dict:
    return found_slots(table.to_numpy(float), list(table.columns))


def test_objects_are_found_by_names_and_zeros():
    table = events(500)
    slots = [[f"j{i}_{c}" for c in ("pt", "eta", "phi")] for i in (1, 2, 3)]
    assert found(table) == {"j": slots}
    assert found(table.rename(columns=lambda n: n.replace("_", "."))) == {
        "j": [[c.replace("_", ".") for c in s] for s in slots]
    }
    assert found(table.iloc[:, ::-1].copy())["j"][0][0] == "j3_phi" or "j" in found(table.iloc[:, ::-1].copy())


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.assign(j2_pt=t.j2_pt + 1),  # a cell of an empty slot is not zero
        lambda t: t.where(t != 0, 1.0),  # nothing is ever empty
        lambda t: t.drop(columns="j2_phi"),  # slots of unlike columns
        lambda t: t.drop(columns=["j2_pt", "j2_eta", "j2_phi"]),  # numbers that do not run
        lambda t: t[["met", "j1_pt", "j2_pt", "j3_pt"]],  # one column each
        lambda t: t.assign(j1_pt=np.nan),  # gaps say something else
        lambda t: t.sample(frac=1, axis=1, random_state=0).rename(columns=lambda n: n.replace("j", "q" * len(n))[:4]),
    ],
)
def test_nothing_else_is(change):
    assert found(change(events(500))) == {}


def test_usual_tables_have_none():
    rng = np.random.default_rng(1)
    table = pd.DataFrame(
        rng.normal(size=(300, 8)), columns=["x0_a", "x0_b", "x1_a", "x1_b", "q1", "q2", "item_1", "item_2"]
    )
    assert found(table) == {}
    answers = pd.DataFrame((rng.random((300, 4)) < 0.3) * 1.0, columns=["s1_a", "s1_b", "s2_a", "s2_b"])
    assert found(answers) == {}, "zeros of their own"


def test_a_fit_takes_them_on_request_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = events(400)
    ae = Autoencoder(slots="auto", epochs=1).fit(table)
    named = Autoencoder(slots={"j": 3}, epochs=1).fit(table)
    assert [g.name for g in ae.model_.encoding.schema.groups] == ["j"]
    np.testing.assert_array_equal(ae.anomaly_score(table), named.anomaly_score(table))
    assert not Autoencoder(epochs=1).fit(table).model_.encoding.schema.groups
    ae.save("m.diabolo")
    np.testing.assert_array_equal(Autoencoder.load("m.diabolo").anomaly_score(table), ae.anomaly_score(table))
    table.to_csv("t.csv", index=False)
    said = done("fit", "t.csv", "-o", "c.diabolo", "--epochs", "1", "--quiet", "--slots", "auto")
    assert "objects, where their columns are zero together absent: j (3 slots of 3 columns)" in said
    streamed = done("fit", "t.csv", "-o", "d.diabolo", "--epochs", "1", "--quiet", "--slots", "auto", "--memory", "1kB")
    assert "j (3 slots of 3 columns)" in streamed
