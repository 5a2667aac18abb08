"""Whether an alarm means something: silent while nothing has changed, loud on planted changes, and it names them."""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from math import comb

import numpy as np
import pandas as pd
import pytest
from program import done, refused, run
from scipy import stats

from diabolo import AnomalyDetector, LinearAutoencoder, VariationalAutoencoder
from diabolo.detect.health import _holm, _quantile
from diabolo.detect.marginals import Counts, Marginals, fisher, kolmogorov
from diabolo.errors import ConfigError

COLUMNS = 5
REPEATS = 100


def rows(rng, n):
    X = rng.normal(size=(n, 2)) @ np.random.default_rng(8).normal(size=(2, COLUMNS))
    X += 0.25 * rng.normal(size=(n, COLUMNS))
    return X


@cache
def fitted(seed, n=1000):
    """Detectors differ by their tables: what is tested holds over calibrations, not for one."""
    X = rows(np.random.default_rng([1, seed]), n)
    return AnomalyDetector(LinearAutoencoder(latent_dim=2, random_state=seed)).fit(X)


# ── the tests that it is made of ──────────────────────────────────────────────────────────────────


def test_fisher_is_scipys():
    for known, n, count, m in [(5, 200, 20, 300), (0, 99, 3, 50), (150, 200, 100, 300), (200, 200, 50, 50)]:
        law = stats.hypergeom(n + m, known + count, n)
        expected = min(1.0, 2 * min(law.cdf(known), law.sf(known - 1)))
        assert fisher(known, n, count, m) == pytest.approx(expected, rel=1e-6)
    assert fisher(10, 20_000, 5_000_000, 10**9) < 1e-8  # a billion rows cost no more


def test_kolmogorov_is_near_the_exact_law():
    rng = np.random.default_rng(0)
    for n, m in [(99, 50), (99, 700), (400, 400), (150, 3000)]:
        for shift in (0.0, 0.4):
            exact = stats.ks_2samp(rng.normal(size=n), rng.normal(shift, size=m), method="exact")
            assert kolmogorov(exact.statistic, n, m) == pytest.approx(exact.pvalue, rel=0.3, abs=1e-12)
    assert kolmogorov(0.0, 99, 5) == 1.0


def test_one_sided_fisher_is_the_law_of_rows_beyond_another():
    """New rows beyond the (c+1)-th largest of n others: P(X ≥ k) of BetaBinomial(m, c + 1, n − c)."""
    for n, m, c in [(50, 80, 4), (99, 4000, 0), (200, 30, 199), (999, 10_000, 9)]:
        law = stats.betabinom(m, c + 1, n - c)
        for k in (0, 1, 3, 8, 25):
            assert fisher(c, n, k, m, risen=True) == pytest.approx(law.sf(k - 1), rel=1e-6)
        for q in (0.025, 0.5, 0.975):
            assert _quantile(q, c + 1, n, m) == law.ppf(q)


def test_holm_by_hand():
    np.testing.assert_allclose(_holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])


LAWS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "heavy tails": lambda rng, n: rng.standard_cauchy(n),
    "half zeros": lambda rng, n: np.where(rng.random(n) < 0.5, 0.0, rng.exponential(size=n)),
    "counts": lambda rng, n: rng.poisson(3.0, n).astype(float),
    "geometric": lambda rng, n: rng.geometric(0.1, n).astype(float),
    "rare levels": lambda rng, n: np.where(rng.random(n) < 0.5, 0, rng.integers(1, 40, n)).astype(float),
    "nearly all zeros": lambda rng, n: np.where(rng.random(n) < 0.94, 0.0, rng.exponential(size=n)),
    "boolean": lambda rng, n: (rng.random(n) < 0.02).astype(float),
    "constant": lambda rng, n: np.full(n, 3.0),
    "gaps": lambda rng, n: np.where(rng.random(n) < 0.3, np.nan, rng.normal(size=n)),
}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("n", "m"), [(99, 60), (99, 4000), (600, 600)])
def test_p_values_of_one_feature_are_valid(law, n, m):
    """P(p ≤ α) ≤ α at every α, also where many new rows share few calibration rows, and for any law."""
    p = []
    for seed in range(150):
        rng = np.random.default_rng([n, m, seed])
        counts = Counts(Marginals.of(LAWS[law](rng, n)[:, None]))
        counts.add(LAWS[law](rng, m)[:, None])
        p.append([counts.differ(0).p_value, counts.lacks(0).p_value])
    for alpha in (0.01, 0.05, 0.2):
        assert stats.binomtest(int((np.array(p)[:, 0] <= alpha).sum()), 150, alpha, "greater").pvalue > 1e-4
        assert stats.binomtest(int((np.array(p)[:, 1] <= alpha).sum()), 150, alpha, "greater").pvalue > 1e-4


def test_a_test_against_the_uniform_law_would_not_be_valid():
    """Negative control: p-values of 4,000 healthy rows by 99 calibration rows are not 4,000 uniform numbers."""
    from diabolo.detect.conformal import Calibration

    naive = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        p = Calibration(rng.normal(size=99)).p_values(rng.normal(size=4000))
        naive.append(stats.kstest(p - rng.random(4000) / 100, "uniform").pvalue)
    assert np.mean(np.array(naive) <= 0.01) > 0.8


@pytest.mark.parametrize("law", [n for n in LAWS if n not in ("constant",)])
def test_changes_of_one_feature_are_seen(law):
    rng = np.random.default_rng(1)
    counts = Counts(Marginals.of(LAWS[law](rng, 1000)[:, None]))
    changed = LAWS[law](rng, 1000) * 2 + 1
    counts.add(changed[:, None])
    assert counts.differ(0).p_value < 1e-6


def test_a_constant_that_moves_and_a_spike_in_the_tail_are_seen():
    counts = Counts(Marginals.of(np.full((1000, 1), 3.0)))
    counts.add(np.r_[np.full(990, 3.0), np.full(10, 4.0)][:, None])
    assert counts.differ(0).of == "new"
    assert counts.differ(0).p_value < 0.01
    rng = np.random.default_rng(2)
    counts = Counts(Marginals.of(rng.normal(size=(1000, 1))))
    counts.add(np.r_[rng.normal(size=940), np.full(60, 50.0)][:, None])
    found = counts.differ(0)
    assert found.p_value < 1e-6
    assert found.of == "above"
    assert 0.06 <= found.now < 0.1


@pytest.mark.parametrize("value", [1.0, 2.0**53, 1e300])
def test_values_that_are_neighbouring_doubles_are_counted_apart(value):
    """Half the way to the next one is a double no more, like that between whole numbers from 2^53 on."""
    after = np.nextafter(value, np.inf)
    cells = np.repeat([value, after, np.nextafter(after, np.inf)], 100)[:, None]
    counts = Counts(Marginals.of(cells))
    counts.add(cells)
    assert counts.exact[0, :3].tolist() == [100, 100, 100]
    assert counts.differ(0).p_value == 1


@pytest.mark.parametrize("law", LAWS)
def test_single_and_double_precision_are_the_same_cells(law):
    """A table that was fitted in one and comes in the other has not changed."""
    rng = np.random.default_rng(3)
    values = np.round(LAWS[law](rng, 2000), 1)[:, None]
    for one, other in ((np.float32, np.float64), (np.float64, np.float32)):
        counts = Counts(Marginals.of(values.astype(one)))
        counts.add(values.astype(other))
        assert counts.differ(0).distance < 1e-9


# ── a detector's health ───────────────────────────────────────────────────────────────────────────


def test_silent_while_nothing_has_changed():
    """100 repeats at a level of 1 %, each with a fit of its own; also at 20 %, where silence would be no art."""
    alarms, eager = 0, 0
    for seed in range(REPEATS):
        detector = fitted(seed)
        found = detector.health(rows(np.random.default_rng([2, seed]), 700), level=0.2)
        least = min(found.p_value, found.rate.p_value, found.unscorable_p_value, *(c.p_value for c in found.columns))
        assert found.healthy is bool(least > 0.2)
        alarms += least <= 0.01
        eager += least <= 0.2
    assert alarms <= 4, "P(5 or more of 100 at 1 %) = 0.003"
    assert 0 < eager <= 33


def shifted(X, rng):
    X[:, 2] += 0.6 * np.nanstd(X[:, 2])


def stretched(X, rng):
    X[:, 4] *= 2


def unplugged(X, rng):
    """A sensor that repeats one of its own values: nothing is far out."""
    X[:, 1] = np.median(X[:, 1])


def permuted(X, rng):
    """Its values are the same, its relation to the others is gone."""
    X[:, 3] = rng.permutation(X[:, 3])


def gaps(X, rng):
    X[rng.random(len(X)) < 0.1, 0] = np.nan


def anomalies(X, rng):
    X[: len(X) // 10] *= 6


DRIFTS = {shifted: "x2", stretched: "x4", unplugged: "x1", permuted: "x3", gaps: "x0", anomalies: None}


@pytest.mark.parametrize("drift", DRIFTS, ids=lambda d: d.__name__)
def test_an_alarm_on_planted_changes(drift):
    """Of 100 repeats each, and the column that was changed is named first."""
    alarms, named = 0, 0
    for seed in range(REPEATS):
        rng = np.random.default_rng([5, seed])
        X = rows(rng, 700)
        drift(X, rng)
        found = fitted(seed).health(X)
        alarms += not found.healthy
        named += DRIFTS[drift] in found.drifted[:1]
    assert alarms >= 95
    assert DRIFTS[drift] is None or named >= 90


def test_the_rate_is_told_with_its_interval():
    detector = fitted(0)
    rng = np.random.default_rng(0)
    X = rows(rng, 2000)
    X[:200] *= 8
    rate = detector.health(X).rate
    flagged = (detector.predict(X) == -1).mean()
    assert rate.promised == detector.false_alarm_rate_ == 0.01
    assert rate.now == pytest.approx(flagged)
    assert rate.low < rate.now < rate.high
    interval = stats.binomtest(round(flagged * 2000), 2000).proportion_ci(method="exact")
    assert (rate.low, rate.high) == pytest.approx((interval.low, interval.high))
    assert rate.usual_low <= 0.01 <= rate.usual_high < rate.low
    assert rate.p_value < 1e-6


def test_pieces_say_what_the_whole_says():
    detector, X = fitted(1), rows(np.random.default_rng(9), 3000)
    shifted(X, None)
    whole = detector.health(X)
    monitor = detector.calibrated_.monitor(0.01)
    for piece in np.array_split(X, 11):
        monitor.add(piece)
    assert monitor.report() == whole
    assert not whole.healthy


def test_the_distance_is_that_of_the_scores():
    detector, X = fitted(2), rows(np.random.default_rng(9), 500)
    known = detector.calibrated_.calibrations[detector.score_].scores
    assert detector.health(X).distance == pytest.approx(stats.ks_2samp(known, detector.anomaly_score(X)).statistic)


def test_rows_that_cannot_be_scored_raise_the_alarm():
    X = rows(np.random.default_rng(9), 500)
    X[:60, 0] = np.inf
    found = fitted(3).health(X)
    assert found.n_unscorable == 60
    assert found.unscorable_p_value < 1e-6
    assert not found.healthy
    everything = fitted(3).health(np.full((300, COLUMNS), np.inf))
    assert not everything.healthy
    assert everything.distance == 0
    json.loads(everything.to_json())


def test_rows_that_were_trained_on_are_counted():
    X = rows(np.random.default_rng([1, 4]), 1000)
    detector = fitted(4)
    assert detector.health(X).n_seen == detector.autoencoder_.n_train_ + detector.autoencoder_.n_stop_
    assert detector.health(rows(np.random.default_rng(0), 100)).n_seen == 0


def test_weights_of_calibration_rows_count():
    """A table of two halves that is weighted back to the mixture that new rows have."""
    rng = np.random.default_rng(0)

    def mixed(share, n):
        return rows(rng, n) * np.where(rng.random(n) < share, 3.0, 1.0)[:, None]

    wide = rng.random(3000) < 0.5
    X = rows(rng, 3000) * np.where(wide, 3.0, 1.0)[:, None]
    build = LinearAutoencoder(latent_dim=2)
    weighted = AnomalyDetector(build).fit(X, sample_weight=np.where(wide, 0.2, 1.8))
    blind = AnomalyDetector(build).fit(X)
    new = mixed(0.1, 2000)
    assert weighted.health(new).healthy
    assert not blind.health(new).healthy


def test_health_is_frozen_and_goes_through_a_file(tmp_path):
    detector, X = fitted(5), rows(np.random.default_rng(9), 400)
    found = detector.health(X)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.healthy = False
    detector.save(tmp_path / "m.diabolo")
    assert AnomalyDetector.load(tmp_path / "m.diabolo").health(X) == found
    with pytest.raises(ConfigError, match="level = 2; allowed"):
        detector.health(X, level=2)


def test_every_kind_of_column_is_looked_after(mixed):
    """Categories, dates, slots and gaps: no alarm on their like, and the level that took over is named."""
    rng = np.random.default_rng(0)
    big = mixed.iloc[rng.integers(0, len(mixed), 1500)].reset_index(drop=True)
    detector = AnomalyDetector(VariationalAutoencoder(epochs=2)).fit(big)
    new = mixed.iloc[rng.integers(0, len(mixed), 600)].reset_index(drop=True)
    assert detector.health(new).healthy
    new["colour"] = "red"
    found = detector.health(new)
    assert "colour" in found.drifted
    assert any(c.at == "red" and c.of == "equal to" and c.now == 1.0 for c in found.columns if c.drifted)
    new["colour"] = "violet"
    assert any(c.of == "new" and c.now == 1.0 for c in detector.health(new).columns if c.drifted)


# ── the verb ──────────────────────────────────────────────────────────────────────────────────────


def test_the_verb_says_what_python_says(here):
    rng = np.random.default_rng(0)
    names = [f"c{i}" for i in range(COLUMNS)]
    pd.DataFrame(rows(rng, 1500), columns=names).to_parquet("a.parquet")
    good, bad = (pd.DataFrame(rows(rng, 1200), columns=names) for _ in range(2))
    bad["c2"] += 3
    good.to_parquet("good.parquet")
    bad.to_csv("bad.csv", index=False)
    done("fit", "a.parquet", "-o", "m.diabolo", "--method", "linear", "--epochs", 2, "-q")
    said = done("health", "m.diabolo", "good.parquet")
    assert "still fits" in said
    assert "your 1 % is now" in said
    status, said, err = run("health", "m.diabolo", "bad.csv")
    assert (status, err) == (1, "")
    assert "has changed" in said
    assert "ALARM" in said
    assert "    c2: " in said
    status, line, _ = run("health", "m.diabolo", "bad.csv", "--json")
    assert status == 1
    told = json.loads(line)
    found = AnomalyDetector.load("m.diabolo").health(bad)
    assert told["rate"]["now"] == found.rate.now
    assert told["columns"][0]["column"] == found.columns[0].column == "c2"
    assert not told["healthy"]


def test_what_the_verb_refuses(shop, here):
    assert "give it one: diabolo calibrate" in refused("health", shop / "ae.diabolo", shop / "data.parquet")
    assert "level = 1.5; allowed" in refused("health", shop / "vae.diabolo", shop / "data.parquet", "--level", 1.5)
    assert "nothing.csv: no such file" in refused("health", shop / "vae.diabolo", "nothing.csv")
    assert "at least 999" in refused("health", shop / "vae.diabolo", shop / "data.csv", "--false-alarm-rate", 0.001)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 3), (5, 5), (7, 31), (40, 3)])
def test_the_law_of_two_small_samples_is_exact(n, m, rng):
    """One calibration row lies outside three new ones half of the time: no alarm."""
    for shift in (0.0, 1.0, 9.0):
        exact = stats.ks_2samp(rng.normal(size=n), rng.normal(size=m) + shift, method="exact")
        assert kolmogorov(exact.statistic, n, m) == pytest.approx(exact.pvalue, rel=1e-9)
    assert kolmogorov(1.0, n, m) == pytest.approx(2 / comb(n + m, n))


def test_the_law_of_two_equal_samples_takes_their_steps_into_account():
    for distance in (0.14, 0.19, 0.25):
        exact = (
            2 * sum((-1) ** (k - 1) * comb(200, 100 + k * round(100 * distance)) for k in range(1, 5)) / comb(200, 100)
        )
        assert exact <= kolmogorov(distance, 100, 100) <= 1.4 * exact
