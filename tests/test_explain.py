"""Explanations: against a Gaussian whose answer is known, planted columns, the law of the p-values, kinds, the file."""

from __future__ import annotations

import datetime
import re

import numpy as np
import pandas as pd
import pytest
from program import done, refused, rewrite, sections_of, table, write
from scipy import stats

from diabolo import AnomalyDetector, LinearAutoencoder, MaskedAutoencoder, VariationalAutoencoder
from diabolo.cli.verbs.explain import parse_rows
from diabolo.detect.columns import ColumnCalibration
from diabolo.detect.repair import Neighborhood, repairs
from diabolo.errors import CalibrationError, ConfigError, DataError, ModelFileError

C = 10
BASIS = np.random.default_rng(1).normal(size=(3, C))
PRECISION = np.linalg.inv(BASIS.T @ BASIS + 0.25 * np.eye(C))


def gaussian(rng, n):
    return rng.normal(size=(n, 3)) @ BASIS + 0.5 * rng.normal(size=(n, C))


def quadratic(rows):
    """−log density of those rows, up to a constant."""
    return 0.5 * np.einsum("ij,jk,ik->i", rows, PRECISION, rows)


@pytest.fixture(scope="module")
def known(build_model):
    """Stored rows, and the level that one normal row in a hundred exceeds."""
    rng = np.random.default_rng(2)
    stored = gaussian(rng, 3_000)
    level = stats.chi2.ppf(0.99, C) / 2
    return Neighborhood(build_model(stored).encoding, stored), level


def everywhere(rows):
    return [np.arange(rows.shape[1])] * len(rows)


def first(repair, k):
    rest = [c for c in np.argsort(-repair.contribution) if c not in repair.changed]
    return set([*repair.changed, *rest][:k])


# ── the search ────────────────────────────────────────────────────────────────────────────────────


def test_contributions_of_a_normal_row_are_the_closed_form(known, rng):
    """s(x) − min over x_j of s = (Ω x)_j² / (2 Ω_jj), from above approached by the values tried."""
    near, level = known
    rows = gaussian(rng, 40)
    rows = rows[quadratic(rows) < level]
    exact = np.square(rows @ PRECISION) / (2 * np.diag(PRECISION))
    found = np.stack([r.contribution for r in repairs(rows, quadratic, near, level, everywhere(rows))])
    assert (found <= exact + 1e-9).all()
    assert np.corrcoef(found.ravel(), exact.ravel())[0, 1] > 0.95
    assert found.sum() > 0.6 * exact.sum()


@pytest.mark.parametrize("k", [1, 3])
def test_moved_columns_come_first(known, rng, k):
    near, level = known
    rows = gaussian(rng, 200)
    moved = [rng.choice(C, k, replace=False) for _ in rows]
    spread = np.subtract(*np.quantile(near.values, [0.75, 0.25], axis=0))
    for row, columns in zip(rows, moved, strict=True):
        row[columns] += rng.choice([-1, 1], k) * rng.uniform(3, 6, k) * spread[columns]
    flagged = np.flatnonzero(quadratic(rows) > level)[:100]
    found = repairs(rows[flagged], quadratic, near, level, everywhere(rows[flagged]))
    hits = [first(r, k) == set(moved[i].tolist()) for r, i in zip(found, flagged, strict=True)]
    assert len(flagged) == 100
    assert np.mean(hits) >= 0.95
    assert all(r.score <= level for r in found)


def test_a_column_wrong_only_given_the_others_comes_first_and_its_size_says_nothing(known, rng):
    near, level = known
    rows = gaussian(rng, 3_000)
    moved = rng.integers(C, size=len(rows))
    rows[np.arange(len(rows)), moved] = gaussian(rng, len(rows))[np.arange(len(rows)), moved]
    flagged = np.flatnonzero(quadratic(rows) > 1.3 * level)[:100]
    found = repairs(rows[flagged], quadratic, near, level, everywhere(rows[flagged]))
    hits = np.mean([first(r, 1) == {moved[i]} for r, i in zip(found, flagged, strict=True)])
    by_size = np.mean(np.abs(rows[flagged] / near.values.std(axis=0)).argmax(axis=1) == moved[flagged])
    assert hits > 0.9
    assert by_size < 0.6


def test_what_hides_behind_the_level_comes_next(known):
    """Of the largest of |x_j| / σ_j, one change of three makes the row barely normal, and the others cost no more."""
    near, _ = known
    spread = near.values.std(axis=0)
    row = np.zeros((1, C))
    row[0, [9, 8, 7]] = np.array([6.0, 5.0, 4.0]) * spread[[9, 8, 7]]

    def largest(rows):
        return np.abs(rows / spread).max(axis=1)

    barely = repairs(row, largest, near, 5.5, everywhere(row))[0]
    further = repairs(row, largest, near, 5.5, everywhere(row), ordinary=2.0)[0]
    assert barely.changed == further.changed == (9,)
    assert barely.score == further.score
    assert first(barely, 3) != {7, 8, 9}
    assert first(further, 3) == {7, 8, 9}
    # What a column costs is judged where nothing else is wrong.
    assert further.contribution[[9, 8, 7]].tolist() == sorted(further.contribution)[:-4:-1]


def test_what_is_searched_beside_a_row_changes_nothing(known, rng):
    near, level = known
    rows = gaussian(rng, 7)
    rows[:, 4] += 9
    together = repairs(rows, quadratic, near, level, everywhere(rows))
    for row, one in zip(rows, together, strict=True):
        alone = repairs(row[None], quadratic, near, level, everywhere(row[None]))[0]
        assert alone.changed == one.changed
        np.testing.assert_allclose(alone.contribution, one.contribution, rtol=1e-12)


# ── p-values per column ───────────────────────────────────────────────────────────────────────────


def test_a_column_p_value_of_a_normal_row_is_below_alpha_at_most_that_often():
    """Over repeated fits: the plain p-value is uniform on its grid, and the one that is given never smaller."""
    alpha, shares = 0.1, []
    for seed in range(40):
        rng = np.random.default_rng([5, seed])
        detector = AnomalyDetector(LinearAutoencoder(latent_dim=3)).fit(gaussian(rng, 300))
        found = detector.explain(gaussian(rng, 30), neighbors=0)
        shares.append(np.mean([[part.p_value <= alpha for part in one.columns] for one in found]))
    mean, error = np.mean(shares), np.std(shares, ddof=1) / np.sqrt(len(shares))
    assert mean < alpha + 3 * error
    assert mean > alpha / 2, "a p-value that is never small says nothing"


def test_column_p_values_by_hand():
    costs = np.array([[0.0, 3.0], [1.0, 2.0], [2.0, 1.0]], np.float32)
    calibration = ColumnCalibration(costs)
    np.testing.assert_allclose(calibration.p_values([[1.0, np.inf], [5.0, 0.0]]), [[3 / 4, 1 / 4], [1 / 4, 1.0]])
    weighted = ColumnCalibration(costs, np.array([2.0, 1.0, 0.0]))
    # Of mean 1: the rows weigh 2, 1 and 0.
    np.testing.assert_allclose(weighted.p_values([[0.5, 2.5]]), [[(1 + 1) / 4, (1 + 2) / 4]])


# ── the detector ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def detector():
    return AnomalyDetector(LinearAutoencoder(latent_dim=3)).fit(gaussian(np.random.default_rng(3), 1_500))


def test_a_stored_row_is_not_its_own_neighbor(detector):
    stored = detector.calibrated_.reference.stored.values
    one = detector.explain(stored[7])[0]
    assert len(one.neighbors) == 3
    assert one.neighbors[0].distance > 0
    assert all(list(n.values.values()) != stored[7].tolist() for n in one.neighbors)


def test_an_explanation(detector, rng):
    row = gaussian(rng, 1)[0]
    row[6] += 8
    one = detector.explain(row)[0]
    assert detector.explain(row[None]) == [one]
    assert detector.explain(row.tolist()) == [one]
    assert one.is_anomaly
    assert one.score == detector.anomaly_score(row[None])[0]
    assert one.p_value == detector.p_values(row[None])[0]
    assert one.changed == ("x6",)
    assert one.repaired_score <= one.threshold < one.score
    part = one.columns[0]
    assert (part.column, part.seen) == ("x6", row[6])
    assert abs(part.expected - (row[6] - 8)) < 3
    assert part.p_value == min(p.p_value for p in one.columns) < 0.02
    assert part.contribution == max(p.contribution for p in one.columns) > 0
    assert [p.column for p in one.columns] != sorted(p.column for p in one.columns)
    assert sorted(p.column for p in one.columns) == sorted(f"x{i}" for i in range(C))
    assert one.to_frame().to_dict("records")[0] == {
        "column": "x6", "seen": part.seen, "expected": part.expected, "contribution": part.contribution,
        "p_value": part.p_value, "changed": True, "low": None, "high": None, "levels": {},
    }  # fmt: skip
    assert len(one.neighbors) == 3
    assert [n.distance for n in one.neighbors] == sorted(n.distance for n in one.neighbors)
    nearest = np.array([[n.values[f"x{i}"] for i in range(C)] for n in one.neighbors])
    assert (detector.predict(nearest) == 1).all()
    assert "* x6" in str(one)
    assert "anomaly" in str(one)


def test_a_normal_row_needs_no_change(detector, rng):
    rows = gaussian(rng, 60)
    found = detector.explain(rows, neighbors=0)
    for one, p in zip(found, detector.p_values(rows), strict=True):
        assert one.is_anomaly == bool(one.changed)
        assert one.p_value == p
        assert all(part.contribution >= 0 for part in one.columns)
    assert [one.row for one in found] == list(range(60))


def test_the_file_keeps_it(detector, rng, tmp_path):
    rows = gaussian(rng, 3)
    rows[:, 2] -= 9
    detector.save(tmp_path / "m.diabolo")
    loaded = AnomalyDetector.load(tmp_path / "m.diabolo")
    assert loaded.explain(rows) == detector.explain(rows)
    sections = sections_of(tmp_path / "m.diabolo")
    costs = sections["detector"].tensors["columns"]
    for wrong in (costs[:, 1:], costs.astype(np.float64), np.full_like(costs, np.nan)):
        sections["detector"].tensors["columns"] = wrong
        rewrite(tmp_path / "wrong.diabolo", sections)
        with pytest.raises(ModelFileError, match="columns"):
            AnomalyDetector.load(tmp_path / "wrong.diabolo")
    del sections["detector"].tensors["columns"]
    rewrite(tmp_path / "old.diabolo", sections)
    old = AnomalyDetector.load(tmp_path / "old.diabolo")
    np.testing.assert_array_equal(old.predict(rows), detector.predict(rows))
    with pytest.raises(CalibrationError, match="fit it again"):
        old.explain(rows)


def test_weights_are_kept(rng, tmp_path):
    rows = gaussian(rng, 800)
    detector = AnomalyDetector(LinearAutoencoder(latent_dim=3)).fit(rows, sample_weight=rng.uniform(0.5, 2, 800))
    detector.save(tmp_path / "m.diabolo")
    assert AnomalyDetector.load(tmp_path / "m.diabolo").explain(rows[:4]) == detector.explain(rows[:4])


@pytest.fixture(scope="module")
def of_mixed(mixed):
    frame = pd.concat([mixed] * 3, ignore_index=True)
    settings = {"slots": {"e": 2}, "epochs": 4, "latent_dim": 3}
    return frame, AnomalyDetector(VariationalAutoencoder(**settings)).fit(frame)


def test_every_kind_of_column_can_be_to_blame(of_mixed):
    frame, detector = of_mixed
    row = frame[detector.predict(frame) == 1].iloc[[0]]
    wrong = {"a": 1e4, "hits": 9_000, "when": pd.Timestamp("2031-01-01"), "colour": "purple"}
    for column, value in wrong.items():
        odd = row.copy()
        odd[column] = odd[column].astype(object) if column == "colour" else odd[column]
        odd[column] = value
        one = detector.explain(odd)[0]
        assert one.is_anomaly or column == "colour", column
        assert one.columns[0].column == column, f"{column}: {one}"
        assert (one.columns[0].seen == "(not seen in the fit)") == (column == "colour")
    one = detector.explain(row)[0]
    types = {part.column: type(part.seen) for part in one.columns}
    assert types["colour"] is str
    assert types["hits"] is int
    assert "missing" not in str(one) or row.isna().any(axis=None)


def test_missing_absent_and_infinite_cells(of_mixed):
    frame, detector = of_mixed
    row = frame[detector.predict(frame) == 1].iloc[[1]].copy()
    row["gap"] = np.nan
    row["a"] = np.nan  # which no training row lacks
    assert detector.explain(row)[0].columns[0].column == "a"
    row["a"] = np.inf
    one = detector.explain(row)[0]
    assert one.flag == "infinite: a"
    assert one.is_anomaly
    assert one.columns[0].column == "a"
    assert "cannot be scored" in str(one)


def test_images_and_constants(images, rng):
    detector = AnomalyDetector(LinearAutoencoder(latent_dim=6)).fit(np.concatenate([images] * 2))
    odd = images[:1].copy()
    odd[0, 4, 5, 1] += 9
    one = detector.explain(odd)[0]
    assert one.columns[0].column == f"x{(4 * 8 + 5) * 2 + 1}"
    rows = np.c_[gaussian(rng, 400), np.full(400, 7.0)]
    detector = AnomalyDetector(LinearAutoencoder(latent_dim=3)).fit(rows)
    changed = rows[:1].copy()
    changed[0, C] = 8.0
    one = detector.explain(changed)[0]
    if one.is_anomaly:
        assert one.columns[0].column == f"x{C}"
    assert min(one.columns, key=lambda part: part.p_value).column == f"x{C}"


def test_wrong_arguments(detector, rng):
    with pytest.raises(ConfigError, match=r"neighbors = -1; allowed"):
        detector.explain(gaussian(rng, 1), neighbors=-1)
    with pytest.raises(DataError):
        detector.explain(gaussian(rng, 1)[:, 1:])


# ── columns that are given ────────────────────────────────────────────────────────────────────────


def test_columns_that_are_given_are_not_judged(detector, rng):
    row = gaussian(rng, 1)[0]
    row[6] += 8
    names = [f"x{i}" for i in range(C)]
    one = detector.explain(row, context=["x6", "x2"])[0]
    assert {part.column for part in one.columns} == set(names) - {"x6", "x2"}
    assert not {"x6", "x2"} & set(one.changed)
    # The row's own score and verdict stay: they are of all columns.
    assert (one.score, one.is_anomaly) == (detector.explain(row)[0].score, True)
    alone = detector.explain(row, context=[n for n in names if n != "x6"])[0]
    assert alone.changed == ("x6",)
    assert [part.column for part in alone.columns] == ["x6"]
    assert detector.explain(row, context=())[0] == detector.explain(row)[0]


def test_a_context_that_cannot_be(detector, rng):
    row = gaussian(rng, 1)
    with pytest.raises(DataError, match=r"'x66' is not in the table: did you mean 'x6'"):
        detector.explain(row, context=["x1", "x66"])
    with pytest.raises(ConfigError, match=r"context = 'x1'; .*\['x1'\]"):
        detector.explain(row, context="x1")
    with pytest.raises(ConfigError, match=r"all 10 columns; leave out"):
        detector.explain(row, context=[f"x{i}" for i in range(C)])


def test_a_context_by_the_program(shop, odd):
    said = done("explain", shop / "vae.diabolo", odd, "--row", 3, "--context", "pt", "--neighbors", 0)
    assert not re.search(r"\bpt\b", said)
    assert "eta" in said
    line = refused("explain", shop / "vae.diabolo", odd, "--row", 3, "--context", "eta,ptt")
    assert "'ptt' is not in the table: did you mean 'pt'" in line


# ── the law of a cell ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def lawful(tmp_path_factory):
    """A folder with rows of many kinds, a masked model of them, and odd rows."""
    rng, n, folder = np.random.default_rng(4), 500, tmp_path_factory.mktemp("lawful")
    a = rng.normal(size=n)
    when = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 9_999, n), unit="s")
    p = rng.random(n)
    frame = pd.DataFrame({
        "a": a, "phi": rng.uniform(-3, 3, n), "whole": rng.integers(0, 9, n), "yes": p < 0.25, "when": when, "fixed": 7,
        "hue": np.select([p < 0.1, p < 0.4], ["green", "red"], "blue"), "gap": np.where(p < 0.2, np.nan, a + p),
    })  # fmt: skip
    frame.to_parquet(folder / "data.parquet")
    settings = {"epochs": 2, "hidden": (16, 16), "code_dim": 24}
    detector = AnomalyDetector(MaskedAutoencoder(**settings)).fit(frame)
    detector.save(folder / "m.diabolo")
    frame.loc[[3, 8], "a"] = 50.0
    frame.to_parquet(folder / "odd.parquet")
    return folder, frame, detector


def test_every_kind_of_cell_has_its_law(lawful):
    _, frame, detector = lawful
    for one in detector.explain(frame.head(12)):
        parts = {part.column: part for part in one.columns}
        for name in ("a", "whole", "gap"):
            assert parts[name].low <= parts[name].high, name
        # Up from low, through the expected angle, to high: most of a turn, for nothing tells of it.
        phi = parts["phi"]
        assert 0 < (phi.expected - phi.low) % (2 * np.pi) < (phi.high - phi.low) % (2 * np.pi) < 2 * np.pi
        assert isinstance(parts["when"].low, datetime.datetime)
        assert parts["when"].low < parts["when"].expected < parts["when"].high
        assert (parts["fixed"].low, parts["fixed"].interval) == (None, "")
        assert sum(parts["hue"].levels.values()) == pytest.approx(1)
        assert list(parts["hue"].levels.values()) == sorted(parts["hue"].levels.values(), reverse=True)
        assert next(iter(parts["hue"].levels)) == parts["hue"].expected
        assert set(parts["yes"].levels) == {"false", "true"}
        assert parts["yes"].levels["true"] == pytest.approx(parts["yes"].expected, abs=1e-6)
        assert parts["hue"].low is None
        assert "-0 " not in str(one)


def test_an_interval_has_nine_cells_in_ten(lawful):
    _, frame, detector = lawful
    rows = frame.drop(index=[3, 8])
    rows = rows[detector.predict(rows) == 1]
    told = detector.explain(rows.head(150), neighbors=0).to_frame()
    own = told[told.column == "a"].reset_index(drop=True)
    inside = ((own.seen >= own.low) & (own.seen <= own.high)).mean()
    assert 0.75 < inside < 0.99


def test_frames_and_cards_have_it_and_others_none(lawful, detector, rng):
    _, frame, masked = lawful
    found = masked.explain(frame.iloc[[3]], neighbors=0)
    assert {"low", "high", "levels"} <= set(found.to_frame())
    card = found[0].html()
    assert "interval" in card
    assert " to " in card
    assert f"{found[0].columns[0].low:.4g}" in str(found[0])
    plain = detector.explain(gaussian(rng, 1), neighbors=0)[0]
    assert {(part.low, part.high, part.interval) for part in plain.columns} == {(None, None, "")}
    assert "interval" not in plain.html()


def test_the_program_shows_it(lawful, shop, odd):
    folder, *_ = lawful
    said = done("explain", folder / "m.diabolo", folder / "odd.parquet", "--row", 3, "--neighbors", 0)
    assert "likely: 5 % to 95 % of the law given the other cells" in said
    assert re.search(r"blue \d+ %, ", said)
    assert "likely" not in done("explain", shop / "vae.diabolo", odd, "--row", 3)


def test_the_report_shows_it(lawful, shop, here):
    folder, *_ = lawful
    done("report", folder / "m.diabolo", folder / "odd.parquet", "-o", "r.html", "--no-refits")
    page = (here / "r.html").read_text()
    assert "5 % to 95 % of the law given the other cells" in page
    assert re.search(r"<th[^>]*>likely</th>", page)
    done("report", shop / "vae.diabolo", shop / "data.parquet", "-o", "vae.html", "--no-refits")
    assert "likely" not in (here / "vae.html").read_text()


def test_the_report_of_many_columns_shows_it(here, rng):
    """Of more columns than are searched."""
    rows = rng.normal(size=(300, 1)) + rng.normal(size=(300, 26))
    settings = {"epochs": 1, "hidden": (8, 8), "code_dim": 32}
    AnomalyDetector(MaskedAutoencoder(**settings)).fit(rows).report(rows[:60], here / "r.html")
    page = (here / "r.html").read_text()
    assert "searches for the fewest that would have to change" in page
    assert re.search(r"<th[^>]*>likely</th>", page)


# ── the program ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def odd(shop):
    """The shop's table with a wrong cell in rows 3 and 8."""
    frame = table()
    frame.loc[[3, 8], "pt"] = 500.0
    write(frame, shop / "odd.parquet")
    return shop / "odd.parquet"


def test_explain_a_row(shop, odd):
    said = done("explain", shop / "vae.diabolo", odd, "--row", 3)
    assert "row 3: anomaly" in said
    assert "* pt" in said
    assert "500" in said
    for word in ("seen", "expected", "contribution", "normal row"):
        assert word in said
    several = done("explain", shop / "vae.diabolo", odd, "--row", "7:9", "--row", 3, "--columns", 1, "--neighbors", 0)
    assert [w for w in several.split() if w.rstrip(":").isdecimal() and w.endswith(":")] == ["3:", "7:", "8:"]
    assert "normal row" not in several
    assert "4 more columns" in several


def test_scores_with_the_first_columns(shop, odd, here):
    done("score", shop / "vae.diabolo", odd, "-o", "plain.parquet")
    done("score", shop / "vae.diabolo", odd, "-o", "s.parquet", "--explain")
    found, plain = pd.read_parquet("s.parquet"), pd.read_parquet("plain.parquet")
    pd.testing.assert_frame_equal(found[plain.columns.tolist()], plain)
    assert [*plain.columns, "top_1", "top_1_p", "top_2", "top_2_p", "top_3", "top_3_p"] == list(found.columns)
    assert found.loc[[3, 8], "top_1"].tolist() == ["pt", "pt"]
    assert (found.loc[[3, 8], "top_1_p"] < 0.05).all()
    assert (found["top_1"].notna() == found["is_anomaly"]).all()
    done("score", shop / "vae.diabolo", odd, "-o", "s.csv", "--explain")
    assert pd.read_csv("s.csv").loc[3, "top_1"] == "pt"


@pytest.mark.parametrize("word", ["x", "-1", "5:5", "9:3", ":", "1:", "0:5000"])
def test_rows_that_are_none(shop, odd, word):
    line = refused("explain", shop / "vae.diabolo", odd, f"--row={word}")
    assert f"--row {word}" in line


def test_refusals(shop, odd, here):
    line = refused("explain", shop / "vae.diabolo", odd, "--row", 400)
    assert "--row 400" in line
    assert "rows from 0 to 399" in line
    assert "no detector" in refused("explain", shop / "ae.diabolo", odd, "--row", 1)
    assert "no detector" in refused("score", shop / "ae.diabolo", odd, "-o", "s.parquet", "--explain")
    assert "--row" in refused("explain", shop / "vae.diabolo", odd)


def test_row_numbers():
    assert parse_rows(["4", "1:3", "2"]) == [1, 2, 4]
