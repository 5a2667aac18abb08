"""slots = "auto", the default: columns of numbered objects that are zero together are found, and nothing else is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from program import done

from diabolo import Autoencoder
from diabolo.config import Config
from diabolo.data.slots import found_slots, with_found_slots


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


#: Columns of tables that hold no objects, numbered ones among them.
PLAIN = {
    "titanic": "PassengerId Survived Pclass Sex Age SibSp Parch Ticket Fare Cabin Embarked",
    "randhie": "mdvis lncoins idp lpi fmde physlm disea hlthg hlthf hlthp",
    "birdstrikes": "Airport_Name Aircraft_Make_Model Effect_Amount_of_damage Flight_Date Speed_IAS_in_knots",
    "credit": "FIELD_9_CE FIELD_13_CE FIELD_39_CE FIELD_1 FIELD_2",
    "regrets": "p1_regret0 p1_regret1 p2_regret0",
    "adbench": " ".join(f"x{i}" for i in range(30)),
    "pixels": " ".join(f"pixel_{i}_{j}" for i in range(4) for j in range(4)),
}


@pytest.mark.parametrize("name", PLAIN)
def test_rows_of_plain_tables_are_not_even_read(name):
    columns = PLAIN[name].split()

    def rows() -> np.ndarray:
        raise AssertionError("rows were read")

    assert with_found_slots(Config(slots="auto"), columns, ["float64"] * len(columns), rows).slots is None
    assert found_slots(np.zeros((50, len(columns))), columns) == {}


@pytest.mark.parametrize("seed", range(20))
def test_numbered_columns_with_zeros_of_their_own_are_no_objects(seed):
    rng = np.random.default_rng(seed)
    names = [f"page{i}_{c}" for i in (1, 2, 3) for c in ("views", "clicks")]
    views = rng.poisson(3 / np.arange(1, 4), (400, 3))
    clicks = rng.binomial(views, 0.3)  # none without a view, and often none with one
    assert found_slots(np.stack([views, clicks], axis=2).reshape(400, 6).astype(float), names) == {}
    some = np.where(rng.random((400, 6)) < 0.5, rng.normal(size=(400, 6)), 0.0)
    assert found_slots(some, names) == {}
    late = np.repeat(np.sort(rng.random((400, 3)) < 0.7, axis=1).astype(float), 2, axis=1)  # the last ones first
    assert found_slots(late, names) == {}


def test_few_empty_slots_say_nothing():
    table = events(500)
    full, empty = table[table.j3_pt != 0], table[(table.j3_pt == 0) & (table.j1_pt != 0)]
    assert found(pd.concat([full[:30], empty[:9]])) == {}
    assert set(found(pd.concat([full[:30], empty[:10]]))) == {"j"}


@pytest.mark.parametrize(
    "change",
    [
        {"kinds": {"j2_phi": "categorical"}},
        {"column_likelihood": {"j2_phi": "gaussian"}},
        {"quantize": {"weights": 6}},
        {"slots": None},
    ],
)
def test_settings_of_such_columns_come_first(change):
    table = events(500)
    config = Config(**{"slots": "auto", **change})
    types = ["float64"] * len(table.columns)
    assert with_found_slots(config, list(table.columns), types, table.to_numpy).slots is None
    assert with_found_slots(Config(slots="auto"), list(table.columns), types, table.to_numpy).slots is not None
    assert with_found_slots(Config(slots="auto"), list(table.columns), ["str"] * 10, table.to_numpy).slots is None


def test_a_fit_takes_them_unless_it_is_told_not_to(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = events(400)
    ae = Autoencoder(epochs=1).fit(table)
    named = Autoencoder(slots={"j": 3}, epochs=1).fit(table)
    assert [g.name for g in ae.model_.encoding.schema.groups] == ["j"]
    np.testing.assert_array_equal(ae.anomaly_score(table), named.anomaly_score(table))
    plain = Autoencoder(slots=None, epochs=1).fit(table)
    assert not plain.model_.encoding.schema.groups
    words = {"j1": "first", "j2": "second", "j3": "third"}
    renamed = table.rename(columns=lambda n: words.get(n[:2], n[:2]) + n[2:])
    other = Autoencoder(epochs=1).fit(renamed)
    np.testing.assert_array_equal(plain.anomaly_score(table), other.anomaly_score(renamed))
    ae.save("m.diabolo")
    np.testing.assert_array_equal(Autoencoder.load("m.diabolo").anomaly_score(table), ae.anomaly_score(table))
    text = table.assign(**{f"j{i}_pt": np.where(table[f"j{i}_pt"] == 0, "none", "some") for i in (1, 2, 3)})
    assert not Autoencoder(epochs=1).fit(text).model_.encoding.schema.groups


def test_the_command_line_says_them_and_can_leave_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    events(400).to_csv("t.csv", index=False)
    given = ("fit", "t.csv", "--epochs", "1", "--quiet", "--only", "main", "-o")
    objects = "objects, where their columns are zero together absent: j (3 slots of 3 columns); off by --slots none"
    assert objects in done(*given, "c.diabolo")
    assert objects in done(*given, "d.diabolo", "--memory", "1kB")
    for how in (("--slots", "none"), ("--slots", "none", "--memory", "1kB"), ("--set", "slots={}")):
        assert "objects," not in done(*given, "e.diabolo", *how)
    assert "slots j: 3 objects of 3 columns" in done("info", "t.csv")
