"""The condition of the false-alarm rate: copies, groups and order are noticed, and a split by them keeps the rate."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from program import done, refused, write
from scipy import stats

from diabolo import AnomalyDetector, LinearAutoencoder
from diabolo.data.roles import ROLES
from diabolo.data.split import Split, split_of, unit_keys
from diabolo.data.table import as_table
from diabolo.detect.conformal import Calibration, by_group
from diabolo.detect.doubts import doubts_of
from diabolo.errors import CalibrationError, ConfigError, DataError, PromiseWarning

PLANE = np.random.default_rng(0).normal(size=(2, 5))


def rows(rng, n):
    return rng.normal(size=(n, 2)) @ PLANE + 0.3 * rng.normal(size=(n, 5))


def grouped(rng, groups, size):
    """Rows that are near the centre of their group."""
    return np.repeat(rows(rng, groups), size, axis=0) + 0.1 * rng.normal(size=(groups * size, 5))


def fit(X, seed=0, rate=None, **split):
    """A detector, and the warnings of its fit."""
    detector = AnomalyDetector(LinearAutoencoder(latent_dim=2), false_alarm_rate=rate, random_state=seed)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        detector.fit(X, **split)
    return detector, [str(w.message) for w in said if issubclass(w.category, PromiseWarning)]


def realised(build, fresh, rate, fits, **split):
    """Share flagged of fresh rows in each fit, and how many fits warned."""
    shares, warned, detector = [], 0, None
    for seed in range(fits):
        rng = np.random.default_rng([31, seed])
        detector, said = fit(build(rng), seed, rate, **split)
        shares.append(float((detector.predict(fresh(rng)) == -1).mean()))
        warned += bool(said)
    return np.array(shares), warned, detector


def below(shares, units, rate):
    """Probability of shares as large as these on average, if each is Beta(l, n + 1 − l): z of their mean."""
    at = int(rate * (units + 1) + 1e-9)
    mean, spread = at / (units + 1), stats.beta(at, units + 1 - at).std() / np.sqrt(len(shares))
    return (shares.mean() - mean) / spread


# ── the rates, with and without the split ─────────────────────────────────────────────────────────


def copies(rng):
    return rng.permutation(np.repeat(rows(rng, 120), 6, axis=0))


def test_copies_are_warned_of_and_a_split_by_content_keeps_the_rate():
    shares, warned, _ = realised(copies, lambda rng: rows(rng, 1000), 0.1, 12)
    assert warned == 12
    assert shares.mean() > 0.2, "the case must be one where the promise fails"
    shares, warned, detector = realised(copies, lambda rng: rows(rng, 1000), 0.1, 25, groups="content")
    assert not warned
    assert detector.n_calibration_groups_ == 48
    assert detector.n_calibration_ == 6 * 48
    assert abs(below(shares, 48, 0.1)) < 4, "neither too many nor, without ties between groups, too few"


def test_groups_are_warned_of_and_a_split_by_them_keeps_the_rate_for_new_groups():
    of = np.arange(3000) // 30

    def fresh(rng):
        return grouped(rng, 400, 2)

    shares, warned, _ = realised(lambda rng: grouped(rng, 100, 30), fresh, 0.1, 6)
    assert warned == 6
    assert shares.mean() > 0.2
    shares, warned, detector = realised(lambda rng: grouped(rng, 100, 30), fresh, 0.1, 15, groups=of)
    assert not warned
    assert detector.n_calibration_groups_ == 40
    assert below(shares, 40, 0.1) < 4
    assert shares.mean() > 0.02, "not by flagging nothing"


def drifting(rng, start=0.0):
    return rows(rng, 600) + 6 * (start + np.arange(600)[:, None] / 600)


def test_drift_is_warned_of_with_either_split_and_within_time_the_last_rows_calibrate():
    _, warned, _ = realised(drifting, lambda rng: drifting(rng, 1), 0.1, 5)
    assert warned == 5
    _, warned, detector = realised(drifting, lambda rng: drifting(rng, 1), 0.1, 5, time=np.arange(600))
    assert warned == 5, "they are unlike earlier rows"
    assert detector.autoencoder_.fitted_.assigned.roles[-120:].tolist() == [ROLES.index("calibrate")] * 120
    # A change before the calibration rows, and none after: the split by time keeps the rate, positions do not.
    past = np.arange(600)[:, None] < 400

    def stepped(rng):
        return rows(rng, 600) + 8 * past

    kept, warned, _ = realised(stepped, lambda rng: rows(rng, 1000), 0.1, 20, time=pd.date_range("2024", periods=600))
    assert below(kept, 120, 0.1) < 4
    assert warned == 20, "what has changed once may change again"
    _, warned, _ = realised(lambda rng: rows(rng, 600), lambda rng: rows(rng, 10), 0.1, 10, time=np.arange(600))
    assert not warned


@pytest.mark.parametrize("kind", ["normal", "Cauchy", "binary", "Poisson", "missing"])
def test_exchangeable_rows_bring_no_warning(kind):
    """In 1,000 tables at most one, with the copies that values of few kinds have by nature."""
    draw = {
        "normal": lambda rng: rows(rng, 150),
        "Cauchy": lambda rng: rng.standard_cauchy((150, 3)),
        "binary": lambda rng: 1.0 * (rows(rng, 150)[:, :4] > 0),
        "Poisson": lambda rng: 1.0 * rng.poisson(3, (150, 3)),
        "missing": lambda rng: np.where(rng.random((150, 5)) < 0.3, np.nan, rows(rng, 150)),
    }[kind]
    schema, found = fit(draw(np.random.default_rng(0)))[0].autoencoder_.model_.encoding.schema, 0
    for seed in range(1000):
        values = draw(np.random.default_rng([5, seed]))
        found += bool(doubts_of(values, schema, None, "position", values[:0]))
    assert found <= (1 if kind != "binary" else 5)


def test_a_table_of_few_rows_says_its_rate(rng):
    detector, said = fit(rows(rng, 20))
    assert said == [
        "8 calibration rows can promise a false-alarm rate of 11.1 % at best, not the default of 1 %; give more rows, "
        "or false_alarm_rate"
    ]
    assert not fit(rows(rng, 20), rate=0.2)[1]
    assert not fit(rows(rng, 100))[1]
    assert detector.false_alarm_rate_ == pytest.approx(1 / 9)


# ── one group, one role ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(5))
def test_a_group_plays_one_part(seed):
    rng = np.random.default_rng(seed)
    of = rng.choice(60, 900, p=rng.dirichlet(np.full(60, 0.5)))
    split = split_of(np.zeros((900, 1)), of.astype(str) if seed % 2 else of, None)
    roles = split.roles(900, seed, 0.1, 0.2).of(0, 900)
    for group in np.unique(of):
        assert len(np.unique(roles[of == group])) == 1
    used = {name: len(np.unique(of[roles == k])) for k, name in enumerate(ROLES)}
    n = len(np.unique(of))
    assert used["calibrate"] == int(n * 0.2)
    assert used["stop"] == int(n * 0.1)


def test_the_groups_of_each_role_are_like_all_groups():
    """Size plays no part in a group's role: large groups calibrate as often as small ones."""
    of = np.repeat(np.arange(50), np.r_[np.full(25, 1), np.full(25, 9)])
    large = []
    for seed in range(400):
        roles = split_of(np.zeros((250, 1)), of, None).roles(250, seed, 0.1, 0.2).of(0, 250)
        large.append(np.mean(np.unique(of[roles == 3]) >= 25))
    assert abs(np.mean(large) - 0.5) < 4 * 0.5 / np.sqrt(400 * 10)


def test_keys_are_those_of_values():
    for cells in ([1, 2, 1, 1 << 60, (1 << 60) + 1], [0.5, -0.0, 0.5, 0.0, 2.0], ["a", "b", "a", "é", ""]):
        keys = unit_keys(split_column(cells), "g")
        equal = np.array(cells, object)[:, None] == np.array(cells, object)
        assert np.array_equal(keys[:, None] == keys, equal)
    assert np.array_equal(unit_keys(split_column(["x", "y"]), "g"), unit_keys(split_column(["y", "x"]), "g")[::-1])


def split_column(cells):
    import pyarrow as pa

    return pa.array(cells)


def test_what_a_split_refuses(rng):
    X, detector = rows(rng, 60), AnomalyDetector(LinearAutoencoder(latent_dim=2))
    for split, said in (
        ({"groups": np.arange(60), "time": np.arange(60)}, "groups and time are two splits"),
        ({"groups": "rows"}, 'allowed are "content" and one cell per row'),
        ({"groups": np.arange(59)}, "groups has 59 cells; expected 60"),
        ({"groups": np.arange(60) // 30}, "the rows are of 2 groups; at least 3 are needed"),
        ({"groups": [None] + ["a", "b", "c"] * 19 + ["a", "b"]}, "row 0 has no 'groups'"),
        ({"groups": X}, "groups: .*one number, text or date per row"),
        ({"time": ["a"] * 60}, "the time 'time' holds text"),
        ({"time": [np.nan] * 60}, "row 0 has no 'time'"),
    ):
        with pytest.raises(DataError, match=said):
            detector.fit(X, **split)
    with pytest.raises(CalibrationError, match="needs at least 99 calibration groups, there are 4; calibrate on more"):
        detector.set_params(false_alarm_rate=0.01).fit(X, groups=np.arange(60) // 6)
    ready = AnomalyDetector(LinearAutoencoder(latent_dim=2).fit(X))
    with pytest.raises(ConfigError, match="time splits the rows of a fit"):
        ready.fit(rows(rng, 300), time=np.arange(300))


# ── p-values by groups ────────────────────────────────────────────────────────────────────────────


def test_each_group_has_the_same_weight():
    scores, of = np.array([1.0, 2.0, 3.0, 4.0, 9.0]), np.array([5, 5, 5, 5, 8])
    weights, groups = by_group(of, None)
    calibration = Calibration(scores, weights, groups)
    assert calibration.units == 2
    assert calibration.size == 2
    # (1 + share of the group of four + share of the group of one) / 3
    expected = [(1 + 1 + 1) / 3, (1 + 0.5 + 1) / 3, (1 + 0 + 1) / 3, 1 / 3]
    np.testing.assert_allclose(calibration.p_values(np.array([0.5, 3.0, 5.0, 10.0])), expected)
    assert calibration.threshold(1 / 3) == 9.0
    with pytest.raises(CalibrationError, match="needs at least 3 calibration groups, there are 2"):
        calibration.threshold(0.25)


def test_groups_of_one_row_are_rows(rng):
    scores, new, w = rng.normal(size=80), rng.normal(size=300), rng.uniform(0.1, 2, 80)
    for weights in (None, w):
        by, groups = by_group(np.arange(80), weights)
        np.testing.assert_allclose(
            Calibration(scores, by, groups).p_values(new), Calibration(scores, weights).p_values(new), rtol=1e-12
        )


def test_a_detector_by_groups_survives_its_file(tmp_path, rng):
    X, of = grouped(rng, 60, 5), np.arange(300) // 5
    detector, _ = fit(X, groups=of)
    detector.save(tmp_path / "g.diabolo")
    back, new = AnomalyDetector.load(tmp_path / "g.diabolo"), rows(rng, 200)
    assert back.n_calibration_groups_ == detector.n_calibration_groups_ == 24
    assert back.false_alarm_rate_ == detector.false_alarm_rate_ == pytest.approx(1 / 25)
    np.testing.assert_array_equal(back.p_values(new), detector.p_values(new))
    assert back.autoencoder_.fitted_.roles.split == "group"
    with pytest.raises(CalibrationError, match="give the groups of these rows"):
        back.calibrate(grouped(rng, 80, 5))
    back.calibrate(grouped(rng, 80, 5), groups=np.arange(400) // 5)
    assert back.n_calibration_groups_ == 80


def test_no_row_of_a_trained_group_calibrates_again(rng):
    X, of = grouped(rng, 100, 5), np.arange(500) // 5
    detector, _ = fit(X, groups=of)
    before = detector.n_calibration_groups_
    detector.calibrate(X, groups=of)
    assert detector.n_calibration_groups_ == before == 40


def test_a_fitted_autoencoder_is_calibrated_by_whole_groups(rng):
    ae, X, of = LinearAutoencoder(latent_dim=2).fit(rows(rng, 200)), grouped(rng, 100, 6), np.arange(600) // 6
    detector = AnomalyDetector(ae).fit(X, groups=of)
    assert detector.n_calibration_ == 6 * detector.n_calibration_groups_
    assert 50 <= detector.n_calibration_groups_ < 100


def test_the_law_of_flags_is_the_beta_binomial():
    """The largest share to be expected: exceeded by 1 of 100 calibrations at most, and by more than none."""
    over = []
    for seed in range(2000):
        rng = np.random.default_rng([8, seed])
        calibration = Calibration(rng.random(200))
        over.append((rng.random(300) > calibration.threshold(0.05)).mean() > calibration.most_flagged(0.05, 300))
    assert 0.001 < np.mean(over) <= 0.01 + 3 * np.sqrt(0.01 / 2000)
    assert Calibration(np.zeros(99)).most_flagged(0.01, 0) == 1.0


# ── rows that cannot be scored ────────────────────────────────────────────────────────────────────


def test_a_row_that_cannot_be_scored_has_no_p_value_and_is_no_discovery(rng):
    detector, _ = fit(rows(rng, 600))
    new = np.vstack([rows(rng, 400), np.full((1, 5), np.nan)])
    assert np.isnan(detector.p_values(new)[-1])
    assert not detector.discoveries(new)[-1]
    assert detector.predict(new)[-1] == -1


# ── the command line ──────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def tables(here):
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(grouped(rng, 120, 5), columns=list("abcde"))
    frame["run"] = [f"run {i // 5}" for i in range(600)]
    frame["when"] = pd.Timestamp("2024-03-01") + pd.to_timedelta(np.arange(600), unit="h")
    write(frame, "t.parquet")
    write(frame.drop(columns=["run", "when"]).loc[np.repeat(np.arange(0, 600, 5), 5)], "copies.parquet")
    write(pd.DataFrame(rows(rng, 2000), columns=list("abcde")), "new.parquet")
    return here


def cli_fit(*words):
    return done("fit", *words, "--method", "linear", "-q", "-o", "m.diabolo")


def test_the_program_says_what_speaks_against_its_rate(tables):
    assert "the column 'when' never falls from row to row" in (said := cli_fit("t.parquet", "--exclude", "run"))
    assert "--time when calibrates on the last rows" in said
    assert "neighboring rows are alike" in (said := cli_fit("t.parquet", "--exclude", "run,when"))
    assert "--group COL keeps groups together" in said
    said = cli_fit("copies.parquet")
    assert "100 % of the calibration rows equal a row that was trained on, or each other" in said
    assert "--group content" in said
    said = cli_fit("new.parquet")
    assert "400 rows calibrated auto" in said
    assert len(said.splitlines()) == 3, said


def test_the_remedies_that_the_program_names_work(tables):
    said = cli_fit("copies.parquet", "--group", "content")
    assert "48 groups (240 rows) calibrated auto" in said
    assert "the rate is that of rows that equal none of the table; each group has the same weight" in said
    assert "(the smallest that they promise; 1 % needs 99)" in said
    said = cli_fit("t.parquet", "--time", "when", "--exclude", "run")
    assert "5 columns" in said
    assert "the last rows by when calibrated: drift after them is not covered" in said
    said = cli_fit("t.parquet", "--group", "run", "--exclude", "when")
    assert "5 columns" in said, "groups are not fitted on"
    assert "48 groups (240 rows) calibrated auto" in said
    assert "rows of new groups by run" in said
    said = done("info", "m.diabolo")
    assert "48 calibration groups (240 rows)" in said
    assert "split by group run" in said
    said = done("score", "m.diabolo", "new.parquet", "-o", "s.parquet")
    assert "of rows exchangeable with the 48 calibration groups (240 rows) at most 2.05 % are flagged" in said
    # Recalibrated by the same column, unless another is named.
    said = done("calibrate", "m.diabolo", "t.parquet", "-o", "n.diabolo")
    assert "48 groups (240 rows) calibrated auto" in said
    assert "no column 'run'" in refused("calibrate", "m.diabolo", "new.parquet")
    assert "2,000 groups (2,000 rows)" in done("calibrate", "m.diabolo", "new.parquet", "--group", "content")


def test_what_the_splits_refuse_on_the_command_line(tables):
    fit_ = ("fit", "t.parquet", "-o", "m.diabolo", "-q", "--method", "linear")
    for words, said in {
        ("--group", "run", "--time", "when"): "--group and --time are two splits; give one of them",
        ("--group", "ruin"): "no column 'ruin': did you mean 'run'",
        ("--time", "run", "--exclude", "when"): "the time 'run' holds text; allowed are numbers and dates",
        ("--group", "run", "--memory", "1kB"): "--group run: needs the table in memory",
        ("--group", "run", "--false-alarm-rate", 0.01): "needs at least 99 calibration groups, there are 48",
    }.items():
        assert said in refused(*fit_, *words), words


def test_score_compares_what_it_flags_with_the_promise(tables):
    cli_fit("copies.parquet")
    said = done("score", "m.diabolo", "new.parquet", "-o", "s.parquet")
    assert "of so many exchangeable rows at most" in said
    assert "diabolo health MODEL DATA" in said
    cli_fit("new.parquet")
    write(pd.DataFrame(rows(np.random.default_rng(77), 1000), columns=list("abcde")), "newer.parquet")
    said = done("score", "m.diabolo", "newer.parquet", "-o", "s.parquet")
    assert "on average over calibrations" in said
    assert "of so many" not in said


def test_scores_at_a_false_discovery_rate_leave_rows_without_a_cell_empty(tables):
    cli_fit("new.parquet")
    frame = pd.DataFrame(rows(np.random.default_rng(4), 300), columns=list("abcde"))
    frame.iloc[7] = np.nan
    write(frame, "gaps.parquet")
    said = done("score", "m.diabolo", "gaps.parquet", "-o", "s.parquet", "--fdr", 0.1)
    scores = pd.read_parquet("s.parquet")
    assert scores["is_anomaly"].isna().tolist() == [i == 7 for i in range(300)]
    assert scores["p_value"].isna().tolist() == [i == 7 for i in range(300)]
    assert "0 discoveries among 299 rows" in said
    done("score", "m.diabolo", "gaps.parquet", "-o", "s.parquet")
    assert pd.read_parquet("s.parquet")["is_anomaly"][7]


def test_a_split_is_kept_by_a_resumed_fit(rng):
    """The same split twice gives the same roles; another one is another fit."""
    X, of = rows(rng, 300), np.arange(300) // 3
    first, again = fit(X, groups=of)[0], fit(X, groups=of)[0]
    np.testing.assert_array_equal(first.autoencoder_.fitted_.assigned.roles, again.autoencoder_.fitted_.assigned.roles)
    assert as_table(X).values.shape == (300, 5)
    assert Split().roles(300, 0, 0.1, 0.2).counts["calibrate"] == 60


def test_a_second_fit_to_one_file_is_refused_and_a_stale_lock_is_not_in_the_way(tables):
    fcntl = pytest.importorskip("fcntl")
    Path(".m.diabolo.lock").write_text("4711")  # of a process that was killed
    cli_fit("new.parquet")
    assert not Path(".m.diabolo.lock").exists()
    before = Path("m.diabolo").read_bytes()
    with Path(".m.diabolo.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write("4711")
        other.flush()
        said = refused("fit", "new.parquet", "-o", "m.diabolo", "-q")
        assert "m.diabolo: another fit (process 4711) writes it; wait for its end, or choose another name" in said
        assert Path("m.diabolo").read_bytes() == before
        done("fit", "new.parquet", "--method", "linear", "-q", "-o", "n.diabolo")
    cli_fit("new.parquet")
    assert not list(Path().glob(".*.lock"))
