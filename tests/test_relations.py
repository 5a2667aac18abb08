"""Exact relations between columns: found where they are, not by chance, and kept by the rows of every method."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from program import done, refused

from diabolo import MaskedAutoencoder, VariationalAutoencoder, load
from diabolo.artifact import Section
from diabolo.config import build_config
from diabolo.data.matching import matched
from diabolo.data.schema import infer_schema
from diabolo.data.table import as_table
from diabolo.errors import DataError, ModelFileError, PromiseWarning
from diabolo.file.generator import generator_section, sampler_of
from diabolo.generate.drawing import draw
from diabolo.generate.keeping import repaired
from diabolo.generate.methods import Sampler, methods
from diabolo.generate.relations.base import Source
from diabolo.generate.relations.finding import find_relations
from diabolo.generate.relations.orders import _evidence

COUNTRY = {"Köln": "DE", "Berlin": "DE", "Paris": "FR", "Lyon": "FR", "Roma": "IT"}


def relational(n=600, seed=0):
    rng = np.random.default_rng(seed)
    a, b, c, price = (np.round(rng.lognormal(2, s, n), 2) for s in (1, 0.5, 1, 0.7))
    qty, city = rng.integers(1, 10, n), rng.choice(list(COUNTRY), n)
    checkin = pd.Timestamp("2023-01-01") + pd.to_timedelta(rng.integers(0, 700, n), "D")
    low, hot, k = np.round(rng.normal(10, 4, n), 1), rng.integers(0, 3, n), rng.integers(0, 50, n)
    celsius = np.round(rng.normal(15, 8, n), 1)
    high = np.where(rng.random(n) < 0.2, np.nan, np.round(low + rng.exponential(5, n) + 0.1, 1))
    return pd.DataFrame(
        {
            **{"id": rng.permutation(n) + 1_000, "a": a, "b": b, "c": c, "sum": np.round(a + b + c, 2)},
            **{"price": price, "qty": qty, "total": np.round(price * qty, 2), "rate": np.round(a / b, 3)},
            **{"checkin": checkin, "ymd": checkin.strftime("%Y%m%d").astype(int)},
            **{"checkout": checkin + pd.to_timedelta(rng.poisson(4, n) + 1, "D"), "low": low, "high": high},
            **{f"h{i}": (hot == i).astype(int) for i in range(3)},
            **{"city": city, "country": [COUNTRY[w] for w in city], "k": k, "k2": 10 * k},
            **{"C": celsius, "F": np.round(1.8 * celsius + 32, 1)},
        }
    )


FOUND = {
    "one of h0, h1, h2 is 1, the others are 0",
    "ymd = yyyymmdd of checkin",
    "sum = a + b + c",
    "k2 = 10 · k",
    "F = 1.8 · C + 32",
    "city determines country",
    "total = price · qty",
    "rate = a / b",
    "low < high",
    "checkin < checkout",
    "id is another whole number in every row: drawn rows get new ones",
}


def kept(t):
    """Share of rows that keep each relation, from their definitions."""
    holds = {
        "sum": (t["sum"] - t["a"] - t["b"] - t["c"]).abs() < 0.005,
        "total": (t["total"] - t["price"] * t["qty"]).abs() < 0.005,
        "rate": (t["rate"] - t["a"] / t["b"]).abs() < 0.00051,
        "ymd": t["checkin"].dt.strftime("%Y%m%d").astype(int) == t["ymd"],
        "checkin": t["checkin"] < t["checkout"],
        "low": (t["low"] < t["high"]) | t["high"].isna(),
        "hot": t[["h0", "h1", "h2"]].sum(axis=1) == 1,
        "city": t["city"].map(COUNTRY) == t["country"],
        "k2": t["k2"] == 10 * t["k"],
        "F": (t["F"] - (1.8 * t["C"] + 32)).abs() < 0.0501,
    }
    return {name: float(on.mean()) for name, on in holds.items()}


def read(frame, **settings):
    """(values, schema) of a data frame."""
    table = as_table(frame)
    schema = infer_schema(table.values, table.names, table.dtypes, build_config(settings), table.levels)
    return matched(table, schema, "the test").values.astype(np.float64), schema


def said(frame, **settings):
    """The relations of a data frame in words."""
    values, schema = read(frame, **settings)
    return {r.describe(schema.names) for r in find_relations(schema, values)}


# ── what is found ─────────────────────────────────────────────────────────────────────────────────


def test_all_that_holds_is_found_and_nothing_else():
    assert said(relational()) == FOUND


def independent(seed):
    """Columns of many kinds that say nothing of each other."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(100, 1500))
    day = pd.Timestamp("2020-01-01")
    return pd.DataFrame(
        {
            **{"x": rng.normal(size=n), "g": rng.gamma(2, 3, n).round(1), "l": rng.lognormal(8, 1.5, n).round(2)},
            **{"i": rng.integers(0, 5, n), "j": rng.integers(0, 2, n), "p": rng.poisson(3, n)},
            **{"rare": (rng.random(n) < 0.01) * 1, "rare2": (rng.random(n) < 0.02) * 1},
            **{"word": rng.choice(list("abcdef"), n), "often": rng.choice(list("xy"), n, p=[0.97, 0.03])},
            **{"people": np.round(rng.lognormal(11, 1.5, n)).astype(int), "few": rng.choice([0, 0, 0, 1.5, 2.5], n)},
            "day": day + pd.to_timedelta(rng.integers(0, 3000, n), "D"),
            "second": day + pd.to_timedelta(rng.integers(0, 10**8, n), "s"),
            "gap": np.where(rng.random(n) < 0.3, np.nan, rng.normal(size=n)),
            "whole": np.where(rng.random(n) < 0.5, np.nan, rng.integers(0, 100, n)),
            **{"year": rng.integers(1990, 2021, n), "share": np.round(rng.random(n), 2)},
            **{"wide": rng.integers(0, 10**9, n), "phi": rng.uniform(-np.pi, np.pi, n)},
            **{"cents": rng.integers(1, 5, n) * 100},
        }
    )


@pytest.mark.parametrize("seed", range(20))
def test_independent_columns_have_no_relation(seed):
    assert said(independent(seed)) == set()


def test_what_nearly_holds_is_no_relation():
    """One wrong row of 600, rows that tie, a rounded total of rounded parts."""
    t = relational()
    wrong = {"sum": 0.01, "total": 1.0, "F": 0.2, "k2": 1, "ymd": 1, "h1": 1, "country": "US"}
    for row, (name, more) in enumerate(wrong.items()):
        t.loc[row, name] = more if name == "country" else t.loc[row, name] + more
    t.loc[7, "checkout"] = t.loc[7, "checkin"]
    t.loc[8, ["low", "high"]] = [3.0, 2.9]
    found = said(t)
    assert "checkin ≤ checkout" in found
    assert not found & (FOUND - {"rate = a / b", next(f for f in FOUND if f.startswith("id"))})
    # A part lies below its total, a tenth of an odd k2 is its k when rounded, and an odd F tells its C.
    assert all("<" in f or "≤" in f or f in ("k = 0.1 · k2", "F determines C") for f in found - FOUND)
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 500))
    assert said(pd.DataFrame({"a": np.round(a, 1), "b": np.round(b, 1), "t": np.round(a + b, 1)})) == set()


def test_missing_cells_single_precision_and_negative_parts_are_no_obstacle():
    rng = np.random.default_rng(1)
    a, b = np.round(rng.normal(0, 30, (2, 800)), 2)
    t = pd.DataFrame({"a": a, "b": b, "left": np.round(a - b, 2)}).mask(rng.random((800, 3)) < 0.3)
    assert said(t) & {"left = a - b", "a = b + left", "b = a - left"} == said(t) != set()
    x = rng.normal(size=(500, 2)).astype(np.float32)
    assert said(pd.DataFrame({"x": x[:, 0], "y": x[:, 1], "z": x[:, 0] + x[:, 1]})) == {"z = x + y"}
    assert said(pd.DataFrame({"x": x[:, 0], "y": x[:, 1], "z": 3 * (x[:, 0] + x[:, 1])})) == {"z = 3 · x + 3 · y"}


def test_dates_and_numbers_of_nights_are_a_sum_and_zones_have_their_own_days():
    rng = np.random.default_rng(2)
    start = pd.Timestamp("2023-01-01") + pd.to_timedelta(rng.integers(0, 700, 500), "D")
    nights = rng.integers(1, 9, 500)
    t = pd.DataFrame({"start": start, "nights": nights, "end": start + pd.to_timedelta(nights, "D")})
    assert said(t) == {"end = start + 86400 · nights"}  # and the order follows from it
    when = pd.to_datetime("2024-03-01") + pd.to_timedelta(rng.integers(0, 10**7, 500), "s")
    when = when.tz_localize("UTC").tz_convert("America/New_York")
    assert said(pd.DataFrame({"when": when, "hour": when.hour})) == {"hour = hour of when"}


def test_a_copy_stands_in_no_relation_but_its_own():
    rng = np.random.default_rng(4)
    k = rng.integers(0, 12, 400)
    t = pd.DataFrame({"k": k, "half": k // 2, "copy": k, "tenfold": 10 * k + 3})
    assert said(t) == {"copy = k", "tenfold = 10 · k + 3", "k determines half"}


def test_slots_angles_and_images_are_left_alone():
    rng = np.random.default_rng(3)
    pt = np.where(rng.random((400, 2)) < 0.3, 0.0, np.round(rng.exponential(30, (400, 2)), 1))
    t = pd.DataFrame({"e1_pt": pt[:, 0], "e1_m": 2 * pt[:, 0], "e2_pt": pt[:, 1], "e2_m": 2 * pt[:, 1]})
    t["phi"] = rng.uniform(-3, 3, 400)
    t["phi2"] = t["phi"]
    assert said(t, slots={"e": 2}, angles=["phi", "phi2"]) == set()
    table = as_table(rng.integers(0, 255, (200, 4, 4)).astype(np.uint8))
    schema = infer_schema(table.values, table.names, table.dtypes, build_config({}), {}, table.shape)
    assert find_relations(schema, table.values) == []


def test_the_evidence_of_an_order_is_the_share_of_shuffles_that_keep_it():
    rng = np.random.default_rng(0)
    for strict in (True, False):
        low, high = rng.integers(0, 6, 5).astype(float), rng.integers(4, 9, 5).astype(float)
        shuffles = [np.array(p) for p in itertools.permutations(high)]
        share = np.mean([((low < p) if strict else (low <= p)).all() for p in shuffles])
        assert share > 0
        assert _evidence(low, high, strict) == pytest.approx(-np.log(share))


@pytest.mark.parametrize("seed", range(3))
def test_keys_are_numbers_without_information(seed):
    rng = np.random.default_rng(seed)
    n = 400
    order = np.arange(n)
    x = rng.normal(size=n)

    def is_key(cells, name="n", **more):
        return any("another whole number" in s for s in said(pd.DataFrame({name: cells, "x": x, **more})))

    assert is_key(order)
    assert is_key(rng.permutation(n) + 10**6)
    assert is_key(n - order)
    assert is_key(rng.choice(10**8, n, replace=False), "customer_id")
    # Measured: wide, spread by a law, with another column in step, or simply not whole.
    assert not is_key(rng.choice(10**8, n, replace=False))
    assert not is_key(np.unique(np.round(rng.lognormal(11, 1, 3 * n)).astype(int))[:n][rng.permutation(n)])
    rank = np.empty(n, int)
    rank[np.argsort(x)] = order
    assert not is_key(rank)
    assert not is_key(order + 0.5)
    assert not is_key(rng.integers(0, 300, n))
    assert not is_key(order[:100].repeat(4))


# ── what drawn rows keep ──────────────────────────────────────────────────────────────────────────


def scrambled(frame, seed=0):
    """Each column in an order of its own: every relation is broken."""
    rng = np.random.default_rng(seed)
    values, schema = read(frame)
    rows = np.stack([rng.permutation(values[:, i]) for i in range(values.shape[1])], axis=1)
    return rows, schema, Source(schema, values), find_relations(schema, values), rng


def test_repaired_rows_keep_every_relation_and_missing_cells_stay():
    rows, schema, source, found, rng = scrambled(relational())
    gone = np.isnan(rows)
    assert all(r.broken(rows, schema).mean() > 0.1 for r in found if r.name != "key")
    broken = repaired(found, rows, (), source, rng)
    assert broken.mean() < 0.01
    assert (np.isnan(rows) == gone).all()


def test_without_training_rows_relations_are_repaired_too(tmp_path):
    """As of a model's file, which keeps none: nothing fails, and a row that no cell makes right is drawn anew."""
    for given in ((), *((c,) for c in GIVEN)):
        rows, schema, source, found, rng = scrambled(relational())
        settled = {schema.names.index(c) for c in given}
        for c in settled:
            rows[:, c] = source.rows[0, c]
        empty = Source(schema, np.empty((0, rows.shape[1])))
        broken = repaired(found, rows, settled, empty, rng)
        for r in found:
            if r.name in ("one_hot", "affine", "key") or (r.name == "sum" and not given):
                assert not (r.broken(rows, schema) & ~broken).any()
        assert np.isfinite(rows[:, schema.names.index("h1")]).all()
    MaskedAutoencoder(latent_dim=2, hidden=(16,), epochs=2).fit(relational()).save(tmp_path / "m.diabolo")
    drawn = load(tmp_path / "m.diabolo").sample(300, random_state=1)
    assert min(kept(drawn).values()) >= 0.99, kept(drawn)


GIVEN = ["sum", "a", "total", "rate", "ymd", "checkin", "checkout", "low", "h1", "country", "k2", "F"]


@pytest.mark.parametrize("given", GIVEN)
def test_given_cells_stay_and_others_make_the_relation_hold(given):
    rows, schema, source, found, rng = scrambled(relational())
    c = schema.names.index(given)
    rows[:, c] = source.rows[0, c]
    before = rows[:, c].copy()
    repaired(found, rows, {c}, source, rng)
    np.testing.assert_array_equal(rows[:, c], before)
    for r in (r for r in found if c in r.columns):
        # Where no addend or factor within its range makes up for the rest, the row stays broken and is drawn again.
        least = 0.8 if r.name in ("product", "sum") else 0.99
        assert 1 - r.broken(rows, schema).mean() >= least, r.describe(schema.names)


@pytest.fixture(scope="module")
def fitted():
    return VariationalAutoencoder(latent_dim=2, hidden=(16,), epochs=2).fit(relational())


@pytest.mark.parametrize("method", [m if m != "resampled" else {"name": m, "rounds": 0} for m in methods.names()])
def test_every_method_keeps_them(fitted, method):
    if method == "masked":
        fitted = MaskedAutoencoder(latent_dim=2, hidden=(16,), epochs=2).fit(relational())
    drawn = fitted.sample(300, random_state=1, method=method)
    assert min(kept(drawn).values()) >= 0.99, kept(drawn)
    assert drawn["id"].is_unique
    assert drawn["id"].min() == 1_600
    assert (drawn["checkin"] == drawn["checkin"].dt.normalize()).all()
    some = fitted.sample(200, random_state=1, method=method, given={"country": "DE", "sum": 60.0, "ymd": 20230305})
    assert min(kept(some).values()) >= 0.99, kept(some)
    assert set(some["city"]) == {"Köln", "Berlin"}
    assert (set(some["sum"]), set(some["ymd"])) == ({60.0}, {20230305})


def test_single_precision_has_the_same_relations():
    rng = np.random.default_rng(0)
    a, k = np.round(rng.normal(0, 3, 400), 1), rng.integers(0, 6, 400)
    t = pd.DataFrame({"a": a, "b": np.round(rng.normal(0, 3, 400), 1), "k": k / 10, "f": (k // 2) / 10})
    t = t.assign(s=np.round(t["a"] + t["b"], 1)).astype(np.float32)
    assert said(t) == {"s = a + b", "k determines f"}
    ae = VariationalAutoencoder(latent_dim=1, hidden=(4,), epochs=1).fit(t)
    for method in ("trees", "mixture"):
        drawn = ae.sample(200, method=method).astype(np.float64).round(1)
        assert ((drawn["s"] - drawn["a"] - drawn["b"]).abs() < 0.01).mean() >= 0.99
        assert (drawn["f"] == ((drawn["k"] * 10).round() // 2) / 10).mean() >= 0.99
    assert (ae.sample(3, given={"k": 0.3, "s": 0.5})["f"] == np.float32(0.1)).all()


def test_rows_drawn_later_have_later_keys(fitted):
    first, second = (draw(fitted.sampler_, 50, seed, start=start)[:, 0] for seed, start in ((0, 0), (1, 50)))
    assert sorted([*first, *second]) == list(range(1_600, 1_700))
    assert set(fitted.sample(5, given={"id": 1_005})["id"]) == {1_005}


def test_what_is_not_kept_is_told(fitted, monkeypatch):
    monkeypatch.setattr("diabolo.generate.fidelity.two_sample_auroc", lambda *_: [0.5])  # the slow part
    assert fitted.fidelity(relational(300, seed=1), method="mixture").broken == ()
    fitted.sampler_, before = Sampler(fitted.model_, fitted.sampler_.rows, relations=[]), fitted.sampler_
    try:
        broken = fitted.fidelity(relational(300, seed=1), method="mixture").broken
    finally:
        fitted.sampler_ = before
    assert {b.relation for b in broken} >= {"sum = a + b + c", "total = price · qty", "ymd = yyyymmdd of checkin"}
    assert all(0 < b.share <= 1 for b in broken)


# ── the file and the program ──────────────────────────────────────────────────────────────────────


def test_the_file_keeps_them_and_one_without_them_loads(fitted, tmp_path):
    section = generator_section(fitted.sampler_)
    back = sampler_of("m", section, fitted.fitted_)
    assert list(back.relations) == list(fitted.sampler_.relations)
    old = sampler_of("m", Section({"rows": section.card["rows"]}, section.tensors), fitted.fitted_)
    assert list(old.relations) == []
    assert {r.describe(fitted.model_.encoding.schema.names) for r in old.shown} == FOUND
    for wrong, complaint in {
        "name": "unknown relation 'magic'",
        "column": "column 99, which is not there",
        "same": "needs 2 columns or more",
        "length": "needs a value for each",
        "setting": "no setting 'colour'",
    }.items():
        spec = {"name": "function", "determining": 17, "determined": 18, "keys": [0.0, 1.0], "values": [0.0, 0.0]}
        spec |= {
            "name": {"name": "magic"},
            "column": {"determined": 99},
            "same": {"determined": 17},
            "length": {"values": [0.0]},
            "setting": {"colour": 1},
        }[wrong]
        with pytest.raises(ModelFileError, match=complaint):
            sampler_of("m", Section({**section.card, "relations": [spec]}, section.tensors), fitted.fitted_)


def test_the_program_lists_them_and_refuses_what_breaks_them(fitted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fitted.save("m.diabolo")
    shown = done("info", "m.diabolo")
    lines = [line.strip() for line in shown.splitlines()]
    assert {line.removeprefix("relation").strip() for line in lines if line.startswith("relation ")} == FOUND
    assert " day" in next(line for line in shown.splitlines() if "checkin" in line)
    done("sample", "m.diabolo", "-n", 40, "-o", "d.parquet", "--method", "mixture", "--given", "city=Köln")
    drawn = pd.read_parquet("d.parquet")
    assert min(kept(drawn).values()) == 1
    relational(60, seed=5).to_parquet("new.parquet")
    assert "  broken  " not in done("sample", "m.diabolo", "-n", 60, "-o", "d.csv", "--against", "new.parquet")
    fitted.sampler_, before = Sampler(fitted.model_, fitted.sampler_.rows, relations=[]), fitted.sampler_
    try:
        fitted.save("old.diabolo")
    finally:
        fitted.sampler_ = before
    lost = done("sample", "old.diabolo", "-n", 60, "-o", "d.csv", "--against", "new.parquet", "--method", "mixture")
    assert re.search(r"broken +\d+\.\d% of drawn rows break .*, which all training rows keep", lost)
    wrong = refused("sample", "m.diabolo", "-n", 5, "-o", "d.csv", "--given", "city=Köln", "--given", "country=FR")
    assert "given city = Köln, country = FR: in all training rows city determines country" in wrong


# ── given values ──────────────────────────────────────────────────────────────────────────────────


def pairs_table():
    """Words that exclude each other without a rule, a zone, missing cells."""
    rng = np.random.default_rng(0)
    n = 900
    a, rows = rng.choice(list("pqr"), n), slice(0, 2)
    b = np.where(a == "p", rng.choice(["u", "v"], n), rng.choice(["u", "v", "w"], n))
    when = (pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, n), "D")).tz_localize("Europe/Berlin")
    y = np.where(a == "q", rng.normal(10, 1, n), rng.normal(0, 1, n))
    im = np.where(rng.random(n) < 0.3, np.nan, rng.integers(30, 100, n))
    b = b.astype(object)
    b[rows], a[rows] = "rare", "q"
    return pd.DataFrame({"a": a, "b": b, "y": y, "im": im, "when": when, "at": when + pd.Timedelta("30min")})


@pytest.fixture(scope="module")
def pairs():
    return VariationalAutoencoder(latent_dim=2, hidden=(8,), epochs=2).fit(pairs_table())


@pytest.mark.parametrize("method", ["trees", "mixture", "prior"])
def test_values_that_exclude_each_other_are_refused(pairs, method):
    with pytest.raises(DataError, match=r"given a = p, b = w: never together in the 900 training rows kept, where ch"):
        pairs.sample(3, given={"a": "p", "b": "w"}, method=method)
    with pytest.raises(DataError, match=r"given a = p, y = 10: never together"):
        pairs.sample(3, given={"a": "p", "y": 10.0}, method=method)
    assert len(pairs.sample(3, given={"a": "p", "b": "u", "y": 0.1}, method=method)) == 3


def test_values_that_chance_would_not_join_are_drawn_with_a_word(pairs):
    with pytest.warns(PromiseWarning, match=r"given a = p, b = rare: never together .* are a guess") as seen:
        pairs.sample(3, given={"a": "p", "b": "rare"})
    assert seen[0].filename == __file__


@pytest.mark.parametrize("method", ["trees", "mixture", "prior"])
def test_a_missing_cell_can_be_asked_for(pairs, method):
    for value in (None, np.nan, pd.NA, ""):
        assert pairs.sample(20, given={"im": value}, method=method)["im"].isna().all()
    with pytest.raises(ValueError, match=r"given y = None: no training row lacks this cell; allowed are numbers from"):
        pairs.sample(2, given={"y": None}, method=method)


def test_a_naive_time_is_one_of_the_zone_of_its_column(pairs):
    for value in ("2024-07-02", pd.Timestamp("2024-07-02"), "2024-07-02T00:00+02:00", "2024-07-01T22:00+00:00"):
        drawn = pairs.sample(3, given={"when": value})
        assert (drawn["when"] == pd.Timestamp("2024-07-02", tz="Europe/Berlin")).all(), value
    with pytest.raises(ValueError, match=r"allowed are dates from 2024-01-0\d to 2024-10-2\d, as"):
        pairs.sample(3, given={"when": "1999-01-01"})


def test_the_program_reads_missing_cells_and_naive_times(pairs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pairs.save("m.diabolo")
    flags = [w for v in ("im=", "when=2024-07-02", "a=q", "b=rare") for w in ("--given", v)]
    done("sample", "m.diabolo", "-n", 4, "-o", "d.parquet", *flags)
    drawn = pd.read_parquet("d.parquet")
    assert drawn["im"].isna().all()
    assert (drawn["when"] == pd.Timestamp("2024-07-02", tz="Europe/Berlin")).all()
    told = done("sample", "m.diabolo", "-n", 4, "-o", "d.csv", "--given", "a=p", "--given", "b=rare")
    assert "given a = p, b = rare: never together in the 900 training rows kept, so that the rows drawn are a" in told
    assert "no training row lacks this cell" in refused("sample", "m.diabolo", "-n", 4, "-o", "d.csv", "--given", "y=")


@pytest.mark.parametrize("method", methods.names())
def test_dates_stay_on_their_step_by_the_clock_of_their_zone(pairs, method):
    columns = {c.name: c.resolution for c in pairs.model_.encoding.schema.columns}
    assert (columns["when"], columns["at"]) == (86_400, 60)
    if method == "masked":
        pairs = MaskedAutoencoder(latent_dim=1, hidden=(4,), epochs=1).fit(pairs_table())
    drawn = pairs.sample(200, method={"name": method, "rounds": 0} if method == "resampled" else method)
    assert (drawn["when"] == drawn["when"].dt.normalize()).all()
    assert (drawn["at"] == drawn["at"].dt.floor("min")).all()


@pytest.mark.parametrize(
    ("unit", "step"), [("D", 86400), ("h", 3600), ("min", 60), ("s", 1), ("ms", 1e-3), ("us", 1e-6)]
)
def test_the_step_of_dates_is_the_largest_that_all_lie_on(unit, step):
    rng = np.random.default_rng(0)
    when = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 2_000, 300), unit)
    finer = when + pd.to_timedelta(rng.integers(0, 999, 300), "ns")
    schema = read(pd.DataFrame({"when": when, "finer": finer}))[1]
    assert [c.resolution for c in schema.columns] == [step, 0]


# ── types ─────────────────────────────────────────────────────────────────────────────────────────


def of_own_types(n=120):
    rng = np.random.default_rng(0)
    levels = ["lo", "mid", "hi", "never"]
    return pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "flag": pd.array(rng.choice(np.array([True, False, None], object), n), dtype="boolean"),
            "whole": pd.array(np.where(rng.random(n) < 0.2, None, rng.integers(0, 50, n)), dtype="Int64"),
            "single": pd.array(rng.normal(size=n), dtype="Float32"),
            "text": pd.array(rng.choice(["a", "b"], n), dtype="string"),
            "number": pd.Categorical(rng.choice([10, 2, 30], n), categories=[30, 10, 2, 99]),
            "grade": pd.Categorical(rng.choice(levels[:3], n), categories=levels, ordered=True),
            "day": pd.Categorical(pd.to_datetime(rng.choice(["2024-01-01", "2024-02-01"], n))),
            **{"plain": rng.choice([True, False], n), "word": rng.choice(["u", "v"], n)},
        }
    )


def test_a_data_frame_comes_back_in_its_own_types(tmp_path):
    frame = of_own_types()
    ae = VariationalAutoencoder(latent_dim=1, hidden=(4,), epochs=1).fit(frame)
    drawn = ae.sample(200)
    assert drawn.dtypes.to_dict() == frame.dtypes.to_dict()
    assert list(drawn["grade"].cat.categories) == ["lo", "mid", "hi", "never"]
    assert 0 < (drawn["grade"] > "lo").mean() < 1
    assert drawn["whole"].isna().any()
    assert set(drawn["number"]) <= {30, 10, 2}
    ae.save(tmp_path / "m.diabolo")
    pd.testing.assert_frame_equal(VariationalAutoencoder.load(tmp_path / "m.diabolo").sample(200), drawn)
    # A mean of whole numbers is none, the level of a category is one.
    means = ae.sample(5, mean=True, method="mixture").dtypes
    assert (str(means["whole"]), str(means["number"])) == ("float64", "float64")
    assert means["grade"] == frame["grade"].dtype


def test_a_parquet_file_gives_pandas_its_types_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    of_own_types().drop(columns="day").to_parquet("t.parquet")
    frame = pd.read_parquet("t.parquet")
    done("fit", "t.parquet", "-o", "m.diabolo", "-q", "--epochs", 1, "--only", "main")
    done("sample", "m.diabolo", "-n", 50, "-o", "d.parquet")
    drawn = pd.read_parquet("d.parquet")
    assert drawn.dtypes.to_dict() == frame.dtypes.to_dict()
    assert list(drawn["grade"].cat.categories) == ["lo", "mid", "hi", "never"]
    table = pa.Table.from_pandas(frame)
    kept = VariationalAutoencoder(latent_dim=1, hidden=(4,), epochs=1).fit(table).sample(20)
    assert kept.to_pandas().dtypes.to_dict() == frame.dtypes.to_dict()


def test_a_note_of_types_that_is_no_note_is_left_alone():
    table = pa.table({"x": np.arange(60.0), "y": np.arange(60.0) % 7})
    for note in (b"{", b"[]", b'{"columns": 3}', b'{"columns": [{"field_name": "x", "numpy_type": "os.system"}]}'):
        assert not as_table(table.replace_schema_metadata({b"pandas": note})).types


def test_an_invoice_adds_up():
    """A tax rounded to cents is a share of the price, and the total is their sum, to the cent."""
    rng = np.random.default_rng(3)
    net = np.round(rng.lognormal(3, 1, 900), 2)
    tax = np.round(0.19 * net, 2)
    t = pd.DataFrame({"net": net, "tax": tax, "total": np.round(net + tax, 2), "other": rng.normal(size=900)})
    assert {"total = tax + net", "tax = 0.19 · net"} <= {x.replace("net + tax", "tax + net") for x in said(t)}
    drawn = VariationalAutoencoder(latent_dim=1, hidden=(4,), epochs=1).fit(t).sample(400, method="mixture")
    assert (np.abs(drawn["total"] - drawn["net"] - drawn["tax"]) < 0.005).mean() >= 0.99
    assert (np.abs(drawn["tax"] - 0.19 * drawn["net"]) < 0.0051).mean() >= 0.99
