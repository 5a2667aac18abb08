"""Facts that no training row shows: seen whatever the table's width, and never more often than promised."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from test_auto import encoded, plain, residuals

from diabolo import AnomalyDetector, Autoencoder, LinearAutoencoder
from diabolo.data.matching import matched
from diabolo.data.table import as_table
from diabolo.detect.scores.auto import views_of
from diabolo.detect.views import Views


def wide(columns: int, rows: int, seed: int) -> pd.DataFrame:
    """Correlated numbers, a word and a constant."""
    rng, mixing = np.random.default_rng(seed), np.random.default_rng(7).normal(size=(30, columns)) / 30**0.5
    x = rng.normal(size=(rows, 30)) @ mixing + 0.5 * rng.normal(size=(rows, columns))
    return pd.DataFrame(x, columns=[f"v{i}" for i in range(columns)]).assign(k=rng.choice(list("wxyz"), rows), c=3.0)


def flagged(detector: AnomalyDetector, table: pd.DataFrame) -> float:
    return float((detector.predict(table) == -1).mean())


@pytest.mark.parametrize("columns", [20, 60, 150, 500])
def test_what_no_row_had_is_flagged_whatever_the_width(columns: int) -> None:
    train, fresh = wide(columns, 2_000, 0), wide(columns, 200, 1)
    detector = AnomalyDetector(Autoencoder(epochs=1, hidden=(8,)), random_state=0).fit(train)
    assert flagged(detector, fresh) < 0.05
    for change in (
        {"k": "NEW"},
        {"c": 4.0},
        {"c": 3.0 + 1e-9},
        {"v3": np.nan},
        {"v0": fresh.v0 + 10 * train.v0.std()},
        {"v0": fresh.v0 - 10 * train.v0.std()},
    ):
        assert flagged(detector, fresh.assign(**change)) >= 0.95, change


@pytest.mark.parametrize("levels", [30, 200, 1000])
def test_a_text_column_of_many_levels_blinds_nothing(levels: int) -> None:
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, levels + 1)

    def table(rows: int) -> pd.DataFrame:
        words = rng.choice(levels, rows, p=share / share.sum())
        return pd.DataFrame(rng.normal(size=(rows, 3)), columns=list("abd")).assign(k=[f"u{i}" for i in words])

    train, fresh = table(8_000), table(500)
    detector = AnomalyDetector(Autoencoder(epochs=1, hidden=(8,)), random_state=0).fit(train)
    assert flagged(detector, fresh) < 0.04
    for change in ({"a": fresh.a + 6}, {"a": fresh.a - 6}, {"a": -8.0, "b": 8.0}):
        assert flagged(detector, fresh.assign(**change)) >= 0.9, change
    once = int((train.k.value_counts() == 1).sum()) / len(train)
    new = flagged(detector, fresh.assign(k="NEW"))
    common = views_of(detector.calibrated_.reference).novelty.common
    if once < 0.003:
        assert new >= 0.9
        assert not common
    else:  # normal rows bring new levels too, which no promise allows to flag
        assert new < 0.1
        assert [(c.column, c.fact) for c in common] == [("k", "a level never seen")]
        assert "alone it is no alarm" in common[0].said


@pytest.mark.parametrize(
    ("value", "changed"),
    [(355100001, 355100002), (1234567890, 1234567891), (2**24, 2**24 + 1), (5.0, 5.0 + 1e-9), (1e6, 1e6 + 0.01)],
)
def test_a_constant_is_compared_exactly(value: float, changed: float) -> None:
    rng = np.random.default_rng(1)
    base = pd.DataFrame(rng.normal(size=(600, 2)), columns=["a", "b"])
    detector = AnomalyDetector(Autoencoder(epochs=1), random_state=0).fit(base.assign(k=value))
    assert flagged(detector, base.assign(k=value)) < 0.1
    assert flagged(detector, base.assign(k=changed)) == 1


def test_a_date_one_minute_later_is_another_constant() -> None:
    rng = np.random.default_rng(2)
    base = pd.DataFrame(rng.normal(size=(600, 2)), columns=["a", "b"])
    day = pd.Timestamp("2026-03-01 12:00")
    detector = AnomalyDetector(Autoencoder(epochs=1), random_state=0).fit(base.assign(t=day))
    assert flagged(detector, base.assign(t=day)) < 0.1
    assert flagged(detector, base.assign(t=day + pd.Timedelta(minutes=1))) == 1


def test_a_constant_of_single_precision_is_the_same_in_double() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(600, 3)).astype(np.float32)
    x[:, 2] = 0.1
    detector = AnomalyDetector(Autoencoder(epochs=1), random_state=0).fit(x)
    again = x.astype(np.float64)
    again[:, 2] = 0.1
    assert (detector.predict(again) == -1).mean() < 0.1


def test_columns_of_heavy_tails_leave_the_channel_and_the_rate_holds() -> None:
    """Of 60 Cauchy columns some cell of most rows lies far beyond: no novelty, and others stay seen."""
    rng = np.random.default_rng(4)
    train, fresh = rng.standard_cauchy((1_500, 60)), rng.standard_cauchy((2_000, 60))
    train[:, 0], fresh[:, 0] = rng.normal(size=1_500), rng.normal(size=2_000)
    detector = AnomalyDetector(Autoencoder(epochs=1, hidden=(8,)), random_state=0).fit(train)
    novelty = views_of(detector.calibrated_.reference).novelty
    assert len(novelty.common) > 20
    assert "x0" not in {c.column for c in novelty.common}
    assert (detector.predict(fresh) == -1).mean() < 0.03
    fresh[:, 0] += 12
    assert (detector.predict(fresh) == -1).mean() > 0.9


def test_gaps_that_come_everywhere_now_and_then_are_no_novelty() -> None:
    """Of 200 columns with a gap in one of 2,000 cells, some have none by chance; new rows have first gaps there."""
    rng = np.random.default_rng(6)

    def table(rows: int) -> np.ndarray:
        return np.where(rng.random((rows, 200)) < 1 / 2_000, np.nan, rng.normal(size=(rows, 200)))

    detector = AnomalyDetector(Autoencoder(epochs=1, hidden=(8,)), random_state=0).fit(table(1_500))
    novelty = views_of(detector.calibrated_.reference).novelty
    assert {c.fact for c in novelty.common} == {"a gap"}
    fresh = table(2_000)
    assert (detector.predict(fresh) == -1).mean() < 0.03
    fresh[:, 0] = 12.0
    assert (detector.predict(fresh) == -1).mean() > 0.9


def test_the_rate_is_that_of_the_beta_law_over_repeated_fits() -> None:
    """Tables with rare levels and heavy tails: the realised rate is uniform under Beta(l, n + 1 − l)."""
    u = []
    for seed in range(24):
        rng = np.random.default_rng(seed)

        def table(rows: int, rng: np.random.Generator = rng) -> pd.DataFrame:
            words = (rng.pareto(1.0, rows) * 3).astype(int).clip(0, 60)
            return pd.DataFrame(
                {"a": rng.normal(size=rows), "b": rng.standard_t(2, rows), "k": [f"w{i}" for i in words]}
            )

        detector = AnomalyDetector(Autoencoder(epochs=1, hidden=(4,)), random_state=seed, false_alarm_rate=0.05)
        detector.fit(table(500))
        n, m = detector.n_calibration_, 3_000
        count = int((detector.predict(table(m)) == -1).sum())
        at = int(0.05 * (n + 1))
        u.append(scipy.stats.betabinom.cdf(count, m, at, n + 1 - at))
    assert scipy.stats.kstest(u, "uniform").pvalue > 1e-3
    # The control: a rate of one and a half would be seen.
    assert scipy.stats.kstest(np.array(u) ** 3, "uniform").pvalue < 1e-3


def test_facts_are_counted_by_definition() -> None:
    from diabolo.data.encoding import Encoding
    from diabolo.data.schema import Column, Schema
    from diabolo.detect.novelty import Novelty

    columns = tuple(Column(n, "real", "float64", 0.0, -9.0, 9.0, 0.0) for n in "ab")
    encoding = Encoding(Schema(columns), np.zeros(2), np.ones(2), 8.0, 400)
    x = np.linspace(-1, 1, 401)
    stored = np.stack([x, np.r_[x[:-1], 50.0]], axis=1)  # the farthest cell of b would be new if it were left out
    novelty = Novelty(encoding, encoding.encode(torch.from_numpy(stored)))
    rows = np.array([[0.0, 0.0], [1.9, 0.0], [2.1, 0.0], [-2.1, -2.5], [np.nan, 0.0], [2.1, np.nan]])
    found = novelty(encoding.encode(torch.from_numpy(rows))).tolist()
    assert found == [0, 0, 1, 2, 1, 2]
    assert not novelty.common  # 1 of 401 is below half a percent
    few = Novelty(encoding, encoding.encode(torch.from_numpy(stored[::4])))
    assert [(c.column, c.fact) for c in few.common] == [("b", "a value far beyond all others")]


def plane(rng: np.random.Generator, rows: int, columns: int, noise: float = 0.3) -> np.ndarray:
    """Rows near a plane of four dimensions."""
    turn = np.random.default_rng(columns).normal(size=(4, columns))
    return rng.normal(size=(rows, 4)) @ turn + noise * rng.normal(size=(rows, columns))


@pytest.mark.parametrize("columns", [20, 60, 150])
def test_a_number_that_the_others_contradict_is_flagged(columns: int) -> None:
    """Of three spreads, which none of the column's own values rules out; the rest of the rows hold the rate."""
    rng = np.random.default_rng(5)
    X, odd = plane(rng, 6_000, columns), plane(rng, 400, columns)
    detector = AnomalyDetector(Autoencoder(epochs=1, hidden=(8,)), random_state=0).fit(X)
    assert (detector.predict(odd) == -1).mean() < 0.03
    there = np.abs(odd[:, 3]) < 0.5 * X[:, 3].std()
    odd[:, 3] += 3 * X[:, 3].std()
    assert np.abs(odd[there, 3]).max() < np.abs(X[:, 3]).max()
    assert (detector.predict(odd[there]) == -1).mean() >= 0.95
    # The control: by distances alone.
    views, scores = views_of(detector.calibrated_.reference), detector.anomaly_score(odd[there])
    alone = (np.where(scores > views.top, scores % views.top, scores) > detector.threshold_).mean()
    assert alone < 0.1


def test_relations_of_heavy_tails_are_no_contradictions_and_the_rate_holds() -> None:
    """Noise of Cauchy's law breaks the relation now and then in normal rows too."""
    shares = []
    for seed in range(12):
        rng = np.random.default_rng([8, seed])
        a, b = (plane(rng, n, 6) for n in (1_500, 3_000))
        for x in (a, b):
            x[:, 0] += 0.3 * rng.standard_cauchy(len(x))
        detector = AnomalyDetector(Autoencoder(epochs=1, hidden=(4,)), random_state=seed, false_alarm_rate=0.05)
        shares.append((detector.fit(a).predict(b) == -1).mean())
    n = detector.n_calibration_
    law = scipy.stats.beta(int(0.05 * (n + 1)), n + 1 - int(0.05 * (n + 1)))
    assert abs(np.mean(shares) - law.mean()) < 3.5 * law.std() / len(shares) ** 0.5


def test_contradictions_are_counted_by_definition() -> None:
    """Residuals of ridge regressions in plain NumPy, beyond twice the farthest of the stored rows."""
    rng = np.random.default_rng(9)
    stored, rows = plane(rng, 400, 5), plane(rng, 300, 5)
    rows[np.arange(200), rng.integers(5, size=200)] += rng.normal(scale=4, size=200)
    views = Views(plain(5), stored)
    left, new = residuals(stored, stored), residuals(stored, rows)
    middle = np.sort(left, axis=0)[(len(left) - 1) // 2]
    high, low = middle + 2 * (left.max(0) - middle), middle - 2 * (middle - left.min(0))
    expected = ((new > high) | (new < low)).sum(1)
    assert 20 < (expected > 0).sum() < 150

    def counted(values: np.ndarray, views: Views = views) -> np.ndarray:
        found = encoded(values, 5)
        places, levels = views.places(found)
        return views.contradictions(places[:, views.places.parts[-1]], views.places.whole(found, levels)).numpy()

    assert np.array_equal(counted(rows), expected)
    gappy = rows.copy()
    gappy[:, 0] = np.nan
    assert not counted(gappy).any()
    assert not counted(rows, Views(plain(5), stored[:99])).any()  # 20 rows for each input are needed


def test_a_level_never_seen_is_no_contradiction_of_numbers() -> None:
    rng = np.random.default_rng(10)
    word = rng.choice(["a", "b"], 2_000)
    frame = pd.DataFrame({"k": word, "x": np.where(word == "a", 5.0, -5.0) + 0.1 * rng.normal(size=2_000)})
    frame["y"] = frame.x + 0.1 * rng.normal(size=2_000)
    detector = AnomalyDetector(Autoencoder(epochs=1, hidden=(4,)), random_state=0).fit(frame)
    views = views_of(detector.calibrated_.reference)
    odd = frame[:3].assign(k=["c", word[1], word[2]], y=[frame.y[0], -frame.y[1], frame.y[2]])
    encoding = detector.autoencoder_.model_.encoding
    rows = encoding.encode(torch.from_numpy(matched(as_table(odd), encoding.schema, "the detector").values))
    places, levels = views.places(rows)
    found = views.contradictions(places[:, views.places.parts[-1]], views.places.whole(rows, levels))
    assert (found > 0).tolist() == [False, True, False]


def test_rows_without_a_word_do_not_hide_contradictions() -> None:
    """Of a row without the word least squares leave much, whatever its numbers: it tells nothing of other rows."""
    rng = np.random.default_rng(4)
    word = rng.choice(["u", "v", "w"], 900).astype(object)
    a = rng.normal(size=900)
    table = pd.DataFrame({"a": a, "b": 2 * a + np.select([word == "u", word == "v"], [0, 3], -5.0), "word": word})
    table.loc[rng.random(900) < 0.05, "word"] = None
    detector = AnomalyDetector(LinearAutoencoder(latent_dim=1)).fit(table[:800])
    odd = table[800:].assign(b=table.b[800:] + 6)[table.word[800:].notna()]
    assert (detector.anomaly_score(odd) > views_of(detector.calibrated_.reference).top).all()


def test_fit_says_which_new_levels_are_no_alarm(tmp_path, monkeypatch) -> None:
    from program import done

    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(5)
    words = (rng.pareto(0.6, 900) * 4).astype(int).clip(0, 400)
    table = pd.DataFrame({"a": rng.normal(size=900), "k": [f"w{i}" for i in words]})
    table.to_csv("t.csv", index=False)
    assert "a level never seen in 'k' comes with" in done("fit", "t.csv", "-o", "m.diabolo", "--epochs", "1", "--quiet")
    assert "never seen" not in done("fit", "t.csv", "-o", "m.diabolo", "--epochs", "1", "--quiet", "--exclude", "k")
