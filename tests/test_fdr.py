"""Benjamini-Hochberg over conformal p-values, and rates said in a trigger's words."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from diabolo import AnomalyDetector, LinearAutoencoder
from diabolo.detect.conformal import Calibration
from diabolo.detect.fdr import Discoveries, benjamini_hochberg
from diabolo.detect.rates import accept_rate
from diabolo.errors import CalibrationError, ConfigError, DataError

# ── the rule ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("ties", [False, True])
def test_the_rule_is_scipys(seed, ties):
    rng = np.random.default_rng(seed)
    p = np.concatenate([rng.random(80), rng.random(20) ** 8])
    p = np.ceil(p * 50) / 50 if ties else p
    for q in (0.01, 0.1, 0.2, 0.5):
        assert np.array_equal(benjamini_hochberg(p, q), stats.false_discovery_control(p) <= q * (1 + 1e-12))


def test_the_rule_of_no_rows_and_of_wrong_ones():
    assert benjamini_hochberg(np.empty(0), 0.1).tolist() == []
    for wrong in (np.nan, -0.1, 1.1):
        with pytest.raises(DataError, match="p-value 1 is"):
            benjamini_hochberg(np.array([0.5, wrong]), 0.1)
    for q in (0, 1, -1, "10%", True, math.nan):
        with pytest.raises(CalibrationError, match="fdr = "):
            benjamini_hochberg(np.array([0.5]), q)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ties", [False, True])
def test_counts_of_places_decide_as_all_p_values_do(weighted, ties):
    """In pieces, in any order, with ties and weights: the same rows as by the list of all p-values."""
    for seed in range(30):
        rng = np.random.default_rng(seed)

        def draw(size, rng=rng):
            return rng.integers(0, 12, size).astype(float) if ties else rng.normal(size=size)

        calibration = Calibration(draw(150), rng.random(150) + 0.1 if weighted else None)
        scores = np.concatenate([draw(300), draw(40) + (13 if ties else 5), [np.inf] * 3])
        found = Discoveries(calibration, 0.1)
        for piece in np.array_split(rng.permutation(scores), 7):
            found.add(piece)
        finite = np.isfinite(scores)
        expected = benjamini_hochberg(calibration.p_values(scores[finite]), 0.1)
        assert found.tests == 340
        assert np.array_equal(scores[finite] > found.threshold, expected)
        assert expected.any()


@pytest.mark.parametrize(("n", "m", "q"), [(99, 50, 0.1), (99, 1000, 0.1), (999, 1000, 0.05), (200, 777, 0.3)])
def test_so_many_rows_at_the_smallest_p_value_are_needed(n, m, q):
    """The number that is printed: with one row fewer nothing is rejected, with so many they are."""
    calibration = Calibration(np.arange(n, dtype=float))
    found = Discoveries(calibration, q)
    found.add(np.zeros(m))
    needed = found.needed
    assert needed == math.ceil(m / (q * (n + 1)) - 1e-9)
    for top, rejected in ((needed - 1, False), (needed, True)):
        found = Discoveries(calibration, q)
        found.add(np.r_[np.full(top, n + 1.0), np.zeros(m - top)])
        assert found.needed == needed
        assert np.isfinite(found.threshold) is np.bool_(rejected)


def test_a_rate_that_no_table_could_show_is_refused():
    calibration = Calibration(np.arange(99.0))
    assert Discoveries(calibration, 0.01).q == 0.01
    with pytest.raises(CalibrationError, match="needs at least 199 calibration rows, there are 99"):
        Discoveries(calibration, 0.005)


# ── what it promises ──────────────────────────────────────────────────────────────────────────────


def rows(rng, n):
    return rng.normal(size=(n, 2)) @ np.random.default_rng(0).normal(size=(2, 6)) + 0.5 * rng.normal(size=(n, 6))


def mixture(rng, n, odd):
    X = rows(rng, n)
    X[:odd] += rng.choice([-1.0, 1.0], size=(odd, 6)) * rng.uniform(1, 4, size=(odd, 1))
    return X


@pytest.mark.parametrize("q", [0.1, 0.25])
def test_the_share_of_false_discoveries_is_kept(q):
    """Over repeated fits and mixtures the mean share of false discoveries is at most q, and much is found."""
    shares, power = [], []
    for seed in range(100):
        rng = np.random.default_rng([3, seed])
        X = rows(rng, 800)
        detector = AnomalyDetector(LinearAutoencoder(latent_dim=2, random_state=seed)).fit(X)
        new = mixture(rng, 300, 60)
        found = detector.discoveries(new, fdr=q)
        shares.append(found[60:].sum() / max(1, found.sum()))
        power.append(found[:60].mean())
    error = np.std(shares) / np.sqrt(len(shares))
    assert np.mean(shares) <= q + 3 * error
    # Not by saying nothing: with 80 % normal rows the rule may use 0.8 q of its rate.
    assert np.mean(shares) > 0.4 * q
    assert np.mean(power) > 0.4


def test_optimistic_p_values_break_the_rate():
    """Negative control: calibrated on training rows of an over-fitted model, the share is wrong."""
    q, shares = 0.1, []
    for seed in range(60):
        rng = np.random.default_rng([4, seed])
        X = rng.normal(size=(60, 30))
        ae = LinearAutoencoder(latent_dim=25, stop_fraction=0.0, random_state=seed).fit(X)
        new = rng.normal(size=(200, 30))
        new[:20] += 6 * rng.choice([-1.0, 1.0], size=(20, 30))
        found = benjamini_hochberg(Calibration(ae.anomaly_score(X, "mse")).p_values(ae.anomaly_score(new, "mse")), q)
        shares.append(found[20:].sum() / max(1, found.sum()))
    assert np.mean(shares) > 3 * q


def test_rows_that_cannot_be_scored_are_no_tests_and_no_discoveries(rng):
    detector = AnomalyDetector(LinearAutoencoder(latent_dim=2)).fit(rows(rng, 800))
    new = mixture(rng, 200, 40)
    alone = detector.discoveries(new, fdr=0.2)
    with_bad = detector.discoveries(np.concatenate([np.full((500, 6), np.inf), new]), fdr=0.2)
    assert not with_bad[:500].any()
    assert np.array_equal(with_bad[500:], alone)
    assert alone[:40].any()
    with pytest.raises(CalibrationError, match="fdr"):
        detector.discoveries(new, fdr=2)


# ── rates in other words ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "rate", "said"),
    [
        ("30 kHz of 40 MHz", 7.5e-4, "30 kHz"),
        ("30kHz of 40MHz", 7.5e-4, "30 kHz"),
        ("750 Hz OF 1 ghz", 7.5e-7, "750 Hz"),
        ("10/s of 2e4 / s", 5e-4, "10 /s"),
        ("5 /s of 1 kHz", 5e-3, "5 /s"),
        ("1 of 1000", 1e-3, "1"),
        (".5 of 10", 0.05, "0.5"),
        ("0.1%", 1e-3, "0.1%"),
        (" 2.5 % ", 0.025, "2.5%"),
    ],
)
def test_accept_rates(text, rate, said):
    read = accept_rate(text)
    assert read.rate == pytest.approx(rate, rel=1e-12)
    assert read.said(read.rate) == said


@pytest.mark.parametrize(
    "text",
    ["", "30 kHz", "0.001", "30 kHz of 40", "1 of 1000 Hz", "30 of", "3 of 2", "0 of 5", "1 of 0", "5 of 5", "0%",
     "100%", "120%", "-1 of 5", "1,000 of 5", "nan of 5", "1 THz of 2 THz", "one of ten", 0.1, None],
)  # fmt: skip
def test_senseless_accept_rates_are_refused(text):
    with pytest.raises(ConfigError, match=r"accept rate.*allowed are"):
        accept_rate(text)


def test_an_accept_rate_is_a_false_alarm_rate(rng):
    detector = AnomalyDetector(LinearAutoencoder(), false_alarm_rate=accept_rate("1 MHz of 40 MHz").rate)
    assert detector.fit(rows(rng, 600)).false_alarm_rate_ == 0.025
    detector.set_params(false_alarm_rate=accept_rate("30 kHz of 40 MHz").rate)
    with pytest.raises(CalibrationError, match="at least 1,333 calibration rows"):
        detector.predict(rows(rng, 5))


def test_the_interval_of_the_realised_rate_holds_it():
    """By simulation, of the detector at hand rather than on average: 95 of 100 calibrations."""
    inside = []
    for seed in range(400):
        calibration = Calibration(np.random.default_rng(seed).random(500))
        low, high = calibration.realised(0.03)
        inside.append(low <= 1 - calibration.threshold(0.03) <= high)
    assert stats.binomtest(sum(inside), 400, 0.95).pvalue > 0.001
