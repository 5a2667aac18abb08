"""The guarantee: what share of normal rows is flagged, over repeated fits, against the law it must follow.

With n calibration rows and l = ⌊α (n + 1)⌋ the realised rate of one fit is Beta(l, n + 1 − l), so the number
of flags among m fresh normal rows is beta-binomial. That law is tested for models that fit well and for
models that know their training rows by heart, together with power: a detector that never flags fails here.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from diabolo import AnomalyDetector, Autoencoder, LinearAutoencoder, VariationalAutoencoder
from diabolo.data.hashing import hash_rows
from diabolo.data.roles import ROLES, assign_roles
from diabolo.detect.choice import applicable
from diabolo.detect.conformal import Calibration, default_rate
from diabolo.errors import CalibrationError, ConfigError, DataError

FRESH = 1950


def law_pvalue(flags, m, n, alpha):
    """Kolmogorov-Smirnov p-value of flag counts under BetaBinomial(m, l, n + 1 − l).

    The counts are mapped through their distribution function, at random within each step, so that they are
    exactly uniform if the law holds, however few fresh rows there are.
    """
    flags, at = np.asarray(flags), math.floor(alpha * (n + 1) * (1 + 1e-12))
    law = stats.betabinom(m, at, n + 1 - at)
    within = np.random.default_rng(0).random(len(flags))
    return stats.kstest(law.cdf(flags - 1) + within * law.pmf(flags), "uniform").pvalue


def rows(rng, n, columns, k=3, noise=0.5):
    """Normal rows near a k-dimensional plane that is the same for every table of that width."""
    basis = np.random.default_rng(columns).normal(size=(k, columns))
    return rng.normal(size=(n, k)) @ basis + noise * rng.normal(size=(n, columns))


def planted(rng, n, columns):
    """Anomalies: normal rows that are pushed far off the plane."""
    return rows(rng, n, columns) + 12 * rng.choice([-1.0, 1.0], size=(n, columns))


def repeat(times, build, n, columns, alpha, score="auto", mistake=False):
    """Calibration rows, flags among fresh normal rows, share of planted anomalies found, training-set flags.

    The last, if asked for, are what the common mistake would flag: a threshold at the quantile of the training rows.
    """
    flags, found, mistaken = [], [], []
    for seed in range(times):
        rng = np.random.default_rng([7, seed])
        X, fresh, odd = rows(rng, n, columns), rows(rng, FRESH, columns), planted(rng, 50, columns)
        detector = AnomalyDetector(build(seed), score=score, false_alarm_rate=alpha).fit(X)
        flagged = detector.predict(np.concatenate([fresh, odd])) == -1
        flags.append(int(flagged[:FRESH].sum()))
        found.append(flagged[FRESH:].mean())
        if not mistake:
            continue
        scores = detector.anomaly_score(np.concatenate([training_rows(detector, X), fresh]))
        threshold = np.quantile(scores[:-FRESH], 1 - alpha, method="higher")
        mistaken.append(int((scores[-FRESH:] > threshold).sum()))
    return detector.n_calibration_, flags, np.mean(found), mistaken


def training_rows(detector, X):
    return X[role_of(detector, X) == "train"]


def role_of(detector, X):
    """Each row's part, from what the fit remembers of its split."""
    split = detector.autoencoder_.fitted_.roles
    roles = np.array(ROLES)[assign_roles(len(X), split.seed, split.stop, split.combine, split.calibrate)]
    assert (roles == "train").sum() == detector.autoencoder_.n_train_
    assert (roles == "calibrate").sum() == detector.n_calibration_
    return roles


# ── the law over repeated fits ────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def well_fitted():
    """Detectors of 200 tables, each fitted once; the rate acts at once, so one fit serves every rate."""
    fits = []
    for seed in range(200):
        rng = np.random.default_rng([7, seed])
        X, fresh, odd = rows(rng, 400, 8), rows(rng, FRESH, 8), planted(rng, 50, 8)
        fits.append((AnomalyDetector(LinearAutoencoder(latent_dim=3, random_state=seed)).fit(X), fresh, odd))
    return fits


@pytest.mark.parametrize("alpha", [0.02, 0.1])
def test_well_fitted_model_keeps_its_rate(alpha, well_fitted):
    flags, found = [], []
    for detector, fresh, odd in well_fitted:
        flagged = detector.set_params(false_alarm_rate=alpha).predict(np.concatenate([fresh, odd])) == -1
        flags.append(int(flagged[:FRESH].sum()))
        found.append(flagged[FRESH:].mean())
    assert {detector.n_calibration_ for detector, *_ in well_fitted} == {99}
    assert law_pvalue(flags, FRESH, 99, alpha) > 0.01
    assert np.mean(found) > 0.95


@pytest.mark.parametrize("times", [60, pytest.param(200, marks=pytest.mark.slow)])
def test_over_fitted_model_keeps_its_rate_and_training_quantiles_do_not(times):
    """As many components as training rows: they have no residual, fresh rows have all of theirs."""

    def build(seed):
        return LinearAutoencoder(latent_dim=35, stop_fraction=0.0, random_state=seed)

    alpha = 0.1
    n, flags, found, mistaken = repeat(times, build, n=60, columns=40, alpha=alpha, mistake=True)
    assert n == 24
    assert law_pvalue(flags, FRESH, n, alpha) > 0.01
    assert found > 0.95
    assert law_pvalue(mistaken, FRESH, n, alpha) < 1e-12
    assert np.mean(mistaken) / FRESH > 3 * alpha


def test_over_fitted_network_keeps_its_rate():
    """An over-complete network, trained for long on 42 rows."""

    def build(seed):
        return Autoencoder(
            latent_dim=8,
            hidden=(32,),
            epochs=40,
            batch_size=14,
            learning_rate=1e-2,
            stop_fraction=0.0,
            patience=1000,
            random_state=seed,
        )

    alpha = 0.15
    n, flags, found, mistaken = repeat(30, build, n=70, columns=8, alpha=alpha, score="nll", mistake=True)
    assert n == 28
    assert law_pvalue(flags, FRESH, n, alpha) > 0.01
    assert found > 0.9
    assert law_pvalue(mistaken, FRESH, n, alpha) < 1e-6
    assert np.mean(mistaken) / FRESH > 2 * alpha


def test_vae_keeps_its_rate():
    """The default score, which integrates over the posterior."""

    def build(seed):
        settings = {"latent_dim": 3, "hidden": (16,), "epochs": 10, "learning_rate": 1e-2}
        return VariationalAutoencoder(**settings, random_state=seed)

    n, flags, found, _ = repeat(30, build, n=300, columns=8, alpha=0.05)
    assert law_pvalue(flags, FRESH, n, 0.05) > 0.01
    assert found > 0.9


def test_the_law_refuses_wrong_detectors():
    """Negative controls: never flagging, always the nominal share, and half of the rate."""
    n, alpha, rng = 99, 0.05, np.random.default_rng(1)
    honest = rng.binomial(FRESH, rng.beta(5, 95, size=200))
    assert law_pvalue(honest, FRESH, n, alpha) > 0.01
    assert law_pvalue(np.zeros(200, int), FRESH, n, alpha) < 1e-12
    assert law_pvalue(np.full(200, int(alpha * FRESH)), FRESH, n, alpha) < 1e-12
    assert law_pvalue(rng.binomial(FRESH, rng.beta(2, 98, size=200)), FRESH, n, alpha) < 1e-6
    assert law_pvalue(rng.binomial(FRESH, rng.beta(6, 94, size=200)), FRESH, n, alpha) < 0.01


def test_p_values_of_normal_rows_are_uniform(well_fitted):
    """Not only at one rate: over many fits, one fresh row's p-value takes each of its n + 1 values alike."""
    p = [detector.p_values(fresh[:1])[0] for detector, fresh, _ in well_fitted]
    assert min(p) >= 1 / 100
    ranks = np.round(np.array(p) * 100).astype(int)  # 99 calibration rows
    assert stats.kstest((ranks - np.random.default_rng(0).random(200)) / 100, "uniform").pvalue > 0.01


# ── p-values and the decision are one rule ────────────────────────────────────────────────────────


@pytest.mark.parametrize("n", [9, 19, 24, 99, 128, 999])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_small_p_value_is_the_threshold_rule(n, ties, weighted):
    """p ≤ α ⇔ score > threshold, at every rate that p can take and between them."""
    rng = np.random.default_rng(n)
    draw = (lambda size: rng.integers(0, 6, size).astype(float)) if ties else rng.normal
    weights = rng.integers(1, 5, size=n).astype(float) if weighted else None
    calibration = Calibration(draw(size=n), weights)
    new = np.concatenate([draw(size=300), calibration.scores, [-1e300, 1e300]])
    p = calibration.p_values(new)
    assert p.min() >= 1 / (n + 1)
    assert p.max() <= 1
    grid = [k / (n + 1) for k in range(1, n + 1)]
    for alpha in [*grid, *np.unique(p[p < 1]), *rng.uniform(1 / (n + 1), 1, size=50), 0.1, 0.2, 0.3, 0.7]:
        if alpha >= 1 / (n + 1):
            assert np.array_equal(p <= alpha, new > calibration.threshold(float(alpha))), alpha


def test_p_value_counts_calibration_scores_at_or_above():
    calibration = Calibration(np.array([1.0, 2.0, 2.0, 3.0]))
    assert calibration.p_values(np.array([0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0])).tolist() == [
        1.0, 1.0, 0.8, 0.8, 0.4, 0.4, 0.2,
    ]  # fmt: skip


@pytest.mark.parametrize("rate", [None, 0.02, 0.05, 0.2, 0.5])
def test_detector_flags_exactly_the_small_p_values(rate, rng):
    """Through the public names, on a column of few values, so that scores tie."""
    X = rng.integers(0, 3, size=(400, 3)).astype(float)
    detector = AnomalyDetector(LinearAutoencoder(latent_dim=1), false_alarm_rate=rate).fit(X)
    new = np.concatenate([X, rng.integers(0, 8, size=(300, 3)).astype(float)])
    p, flagged = detector.p_values(new), detector.predict(new) == -1
    assert len(np.unique(detector.anomaly_score(X))) < 30
    assert np.array_equal(p <= detector.false_alarm_rate_, flagged)
    assert np.array_equal(detector.anomaly_score(new) > detector.threshold_, flagged)
    assert np.array_equal(detector.decision_function(new) < 0, flagged)
    decision = detector.score_samples(new) - detector.offset_
    np.testing.assert_allclose(decision, detector.decision_function(new))
    assert flagged.any()


def test_ties_flag_no_more_than_allowed(rng):
    """With ties the rule is conservative: no rate is ever exceeded on average."""
    realised = []
    for seed in range(150):
        rng = np.random.default_rng([13, seed])
        calibration = Calibration(rng.integers(0, 8, size=49).astype(float))
        realised.append((rng.integers(0, 8, size=2000) > calibration.threshold(0.2)).mean())
    assert np.mean(realised) <= 0.2


# ── weights ───────────────────────────────────────────────────────────────────────────────────────


def test_equal_weights_are_no_weights(rng):
    scores, new = rng.normal(size=50), rng.normal(size=80)
    plain = Calibration(scores)
    for weight in (1.0, 7.5):
        weighted = Calibration(scores, np.full(50, weight))
        np.testing.assert_allclose(weighted.p_values(new), plain.p_values(new), rtol=1e-12)
        assert weighted.threshold(0.1) == plain.threshold(0.1)


def test_weighted_p_value_is_the_weighted_share(rng):
    scores, weights = rng.normal(size=30), rng.uniform(0.1, 3, size=30)
    calibration, unit = Calibration(scores, weights), weights / weights.mean()
    for s in (-0.5, 0.3, 1.0):
        exact = (1 + unit[scores >= s].sum()) / 31
        assert calibration.p_values(np.array([s]))[0] == pytest.approx(exact, rel=1e-12)


def test_weights_make_the_rate_that_of_the_weighted_rows():
    """Rows that are drawn with the wrong frequency, and weighted back, give the rate of the true one."""
    alpha, realised, blind = 0.1, [], []
    for seed in range(60):
        rng = np.random.default_rng([17, seed])
        wide = rng.random(600) < 0.5  # half of the calibration rows are wide, a tenth of the new ones
        scores = np.where(wide, 4.0, 1.0) * rng.exponential(size=600)
        new = np.where(rng.random(4000) < 0.1, 4.0, 1.0) * rng.exponential(size=4000)
        weights = np.where(wide, 0.1 / 0.5, 0.9 / 0.5)
        realised.append((Calibration(scores, weights).p_values(new) <= alpha).mean())
        blind.append((Calibration(scores).p_values(new) <= alpha).mean())
    assert np.mean(realised) == pytest.approx(alpha, abs=0.01)
    assert np.mean(blind) < 0.06


def test_detector_calibrates_with_its_weights(rng):
    """The weights of the calibration rows themselves, not of others: seen by the p-values they imply."""
    X = rows(rng, 400, 5)
    weights = rng.uniform(0.2, 3, size=400)
    detector = AnomalyDetector(LinearAutoencoder(latent_dim=2)).fit(X, sample_weight=weights)
    own = role_of(detector, X) == "calibrate"
    unit = weights[own] / weights[own].mean()
    scores, new = detector.anomaly_score(X[own]), detector.anomaly_score(X)
    exact = (1 + (unit * (scores >= new[:, None])).sum(1)) / (own.sum() + 1)
    np.testing.assert_allclose(detector.p_values(X), exact, rtol=1e-9)


def test_rows_of_no_weight_play_no_part(rng):
    X = np.concatenate([rows(rng, 300, 5), planted(rng, 300, 5)])
    weights = np.r_[np.ones(300), np.zeros(300)]
    detector = AnomalyDetector(LinearAutoencoder(latent_dim=2)).fit(X, sample_weight=weights)
    only = AnomalyDetector(LinearAutoencoder(latent_dim=2)).fit(X[:300], sample_weight=np.ones(300))
    assert detector.n_calibration_ <= 300
    assert np.isfinite(detector.threshold_)
    assert (detector.predict(X[300:]) == -1).mean() > 0.95
    counts = detector.autoencoder_.fitted_.roles.counts
    assert counts["train"] + counts["stop"] + detector.n_calibration_ == 300
    assert only.n_calibration_ == detector.n_calibration_


# ── rates ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def detector():
    return AnomalyDetector(LinearAutoencoder(latent_dim=2)).fit(rows(np.random.default_rng(0), 400, 6))


@pytest.fixture
def fresh():
    return rows(np.random.default_rng(1), 3000, 6)


def test_rate_acts_at_once(detector, fresh):
    model, before = detector.autoencoder_.model_, detector.p_values(fresh)
    shares = []
    for rate in (0.01, 0.1, 0.5):
        detector.set_params(false_alarm_rate=rate)
        assert detector.false_alarm_rate_ == rate
        shares.append((detector.predict(fresh) == -1).mean())
    detector.set_params(false_alarm_rate=None)
    assert shares[0] < shares[1] < shares[2]
    assert shares[2] == pytest.approx(0.5, abs=0.2)
    assert detector.autoencoder_.model_ is model
    assert np.array_equal(detector.p_values(fresh), before)


def test_score_acts_at_once(detector, fresh):
    by_nll = detector.anomaly_score(fresh)
    detector.set_params(score="mse")
    assert not np.array_equal(detector.anomaly_score(fresh), by_nll)
    assert (detector.predict(fresh) == -1).mean() < 0.1
    detector.set_params(score="mu_norm")
    assert (detector.predict(fresh) == -1).mean() < 0.1
    for wrong in ("nil", "neg_elbo"):
        detector.set_params(score=wrong)
        with pytest.raises(ConfigError, match=f"{wrong}.*nll"):
            detector.predict(fresh)
    detector.set_params(score="auto")


def test_an_unknown_score_lists_those_that_the_model_can_give_once_each(detector, fresh):
    detector.set_params(score="nlll")
    with pytest.raises(ConfigError, match="unknown score 'nlll': did you mean 'nll'") as failure:
        detector.predict(fresh)
    detector.set_params(score="auto")
    assert str(failure.value).partition("Allowed: ")[2].split(", ") == applicable(detector.calibrated_.reference)
    assert {"auto", "profile", "neighbours"} <= set(applicable(detector.calibrated_.reference))


def test_default_rate_says_which_it_is(detector):
    assert detector.n_calibration_ == 99
    assert detector.false_alarm_rate_ == 0.01
    small = AnomalyDetector(LinearAutoencoder()).fit(rows(np.random.default_rng(2), 100, 6))
    assert small.n_calibration_ == 40
    assert small.false_alarm_rate_ == 1 / 41
    assert default_rate(10_000) == 0.01


def test_too_small_a_rate_is_refused_with_what_it_needs(detector, fresh):
    for rate, needed in ((0.001, "999"), (0.005, "199"), (1e-6, "999,999")):
        detector.set_params(false_alarm_rate=rate)
        for method in (detector.predict, detector.decision_function):
            with pytest.raises(CalibrationError, match=f"at least {needed} calibration rows, there are 99"):
                method(fresh)
    detector.set_params(false_alarm_rate=None)
    with pytest.raises(CalibrationError, match="at least 999"):
        AnomalyDetector(LinearAutoencoder(), false_alarm_rate=1e-3).fit(fresh[:300])


@pytest.mark.parametrize("rate", [0.001, 0.0, "1%"])
def test_a_rate_that_no_file_may_have_is_not_saved(rate, fresh, tmp_path):
    """`save` refuses what `load` would, in the words of the fit and of `predict`."""
    detector = AnomalyDetector(LinearAutoencoder(latent_dim=2)).fit(rows(np.random.default_rng(0), 400, 6))
    detector.set_params(false_alarm_rate=rate)
    with pytest.raises(CalibrationError) as of_predict:
        detector.predict(fresh)
    with pytest.raises(CalibrationError) as of_save:
        detector.save(tmp_path / "m.diabolo")
    assert str(of_save.value) == str(of_predict.value)
    assert not (tmp_path / "m.diabolo").exists()
    detector.set_params(false_alarm_rate=0.05).save(tmp_path / "m.diabolo")
    assert AnomalyDetector.load(tmp_path / "m.diabolo").false_alarm_rate_ == 0.05


@pytest.mark.parametrize("n", [1, 9, 19, 49, 99, 199, 333, 999, 1233])
def test_the_smallest_rate_is_allowed(n):
    """1/(n+1), however it was rounded; n rows are enough for it, and n − 1 are told that they are not."""
    calibration = Calibration(np.arange(n, dtype=float))
    for rate in (1 / (n + 1), float(f"{1 / (n + 1):.12g}")):
        assert calibration.check_rate(rate) == rate
        assert calibration.threshold(rate) == n - 1
    if n > 1:
        with pytest.raises(CalibrationError, match=f"at least {n:,} "):
            Calibration(np.arange(n - 1, dtype=float)).check_rate(1 / (n + 1))


@pytest.mark.parametrize("rate", [0, 1, -0.1, 1.5, float("nan"), float("inf"), "1%", True])
def test_senseless_rates_are_refused(rate, detector, fresh):
    detector.set_params(false_alarm_rate=rate)
    with pytest.raises(CalibrationError, match="false_alarm_rate"):
        detector.predict(fresh)
    detector.set_params(false_alarm_rate=None)


def test_numpy_rates_are_numbers(detector, fresh):
    detector.set_params(false_alarm_rate=np.float32(0.25))
    assert 0.05 < (detector.predict(fresh) == -1).mean() < 0.5
    detector.set_params(false_alarm_rate=None)


# ── rows that the autoencoder has seen ────────────────────────────────────────────────────────────


def test_training_rows_of_a_fitted_autoencoder_are_left_out(rng):
    X, new = rows(rng, 300, 6), rows(rng, 150, 6)
    ae = LinearAutoencoder(latent_dim=2).fit(X)
    mixed = np.concatenate([X, new])[rng.permutation(450)]
    detector = AnomalyDetector(ae).fit(mixed)
    assert detector.autoencoder_ is ae
    assert detector.n_excluded_ == 300
    assert detector.n_calibration_ == 150
    at = np.isin(hash_rows(mixed), hash_rows(X))
    assert set(hash_rows(detector.calibrated_.reference.stored.values)) == set(hash_rows(mixed[at]))


def copies(X):
    named = pd.DataFrame(X, columns=[f"c{i}" for i in range(X.shape[1])])
    return {
        "array": (X, X),
        "other order of columns": (named, named[list(reversed(named.columns))]),
        "without names": (named, X),
        "arrow": (named, __import__("pyarrow").Table.from_pandas(named)),
        "float32 of float64": (X, X.astype(np.float32)),
        "float64 of float32": (X.astype(np.float32), X.astype(np.float32).astype(np.float64)),
        "negative zeros": (np.where(np.abs(X) < 0.5, 0.0, X), np.where(np.abs(X) < 0.5, -0.0, X)),
    }


@pytest.mark.parametrize("guise", copies(np.ones((1, 2))))
def test_training_rows_are_known_in_any_guise(guise, rng):
    fitted_on, given = copies(rows(rng, 250, 6))[guise]
    ae = LinearAutoencoder(latent_dim=2).fit(fitted_on)
    with pytest.raises(CalibrationError, match=r"0 of 250 rows are left .*250 were"):
        AnomalyDetector(ae).fit(given)


def test_fewer_than_99_unseen_rows_are_refused(rng):
    X = rows(rng, 400, 6)
    ae = LinearAutoencoder(latent_dim=2).fit(X[:300])
    with pytest.raises(CalibrationError, match=r"98 of 398 rows .*300 were .* at least 99"):
        AnomalyDetector(ae).fit(X[:398])
    assert AnomalyDetector(ae).fit(X[:399]).n_calibration_ == 99
    assert AnomalyDetector(ae).fit(X[300:399]).false_alarm_rate_ == 0.01


def test_an_autoencoder_fitted_by_a_detector_remembers_its_calibration_rows(rng):
    """Those rows were kept from it, so another detector may calibrate on them; training rows stay out."""
    X = rows(rng, 1000, 6)
    first = AnomalyDetector(LinearAutoencoder(latent_dim=2)).fit(X)
    again = AnomalyDetector(first.autoencoder_).fit(X)
    assert again.n_calibration_ == first.n_calibration_ == 200
    assert again.threshold_ == first.threshold_


def test_roles_are_disjoint_and_nothing_is_learnt_from_calibration_rows(rng):
    """Wild values in calibration rows change neither scaling nor weights."""
    X = rows(rng, 500, 6)
    one = AnomalyDetector(LinearAutoencoder(latent_dim=2)).fit(X)
    wild = np.where((role_of(one, X) == "calibrate")[:, None], 1e3 * X, X)
    other = AnomalyDetector(LinearAutoencoder(latent_dim=2)).fit(wild)
    assert np.array_equal(one.autoencoder_.transform(X), other.autoencoder_.transform(X))
    assert one.threshold_ < other.threshold_


def test_the_given_autoencoder_is_not_touched(rng):
    template = LinearAutoencoder(latent_dim=2)
    detector = AnomalyDetector(template).fit(rows(rng, 200, 6))
    assert not hasattr(template, "model_")
    assert detector.autoencoder_ is not template
    with pytest.raises(ConfigError, match="autoencoder"):
        AnomalyDetector("vae").fit(rows(rng, 200, 6))


# ── rows that cannot be scored ────────────────────────────────────────────────────────────────────


def unscorable(X):
    bad = X[:6].copy()
    bad[0, 1] = np.inf
    bad[1, 2] = -np.inf
    bad[2, 0] = 1e300
    bad[3, 0] = -1e200
    bad[4] = np.nan
    bad[5] = [np.inf, *[np.nan] * (X.shape[1] - 1)]
    return bad


@pytest.mark.parametrize("rate", [None, 0.2, 0.9])
@pytest.mark.parametrize("estimator", [LinearAutoencoder, VariationalAutoencoder])
def test_rows_that_cannot_be_scored_are_never_normal(estimator, rate, rng):
    X = rows(rng, 300, 6)
    detector = AnomalyDetector(estimator(epochs=2), false_alarm_rate=rate).fit(X)
    bad = unscorable(X)
    assert np.array_equal(detector.predict(bad), np.full(6, -1))
    assert np.array_equal(detector.anomaly_score(bad), np.full(6, np.inf))
    assert np.array_equal(detector.decision_function(bad), np.full(6, -np.inf))
    assert np.array_equal(detector.score_samples(bad), np.full(6, -np.inf))
    assert np.isnan(detector.p_values(bad)).all(), "a row without a score has no p-value"
    # In company they spoil nobody else's score.
    together = np.concatenate([X, bad])
    assert np.array_equal(detector.anomaly_score(together)[:300], detector.anomaly_score(X))


@pytest.mark.parametrize("rate", [None, 0.05, 0.3])
def test_empty_rows_in_the_table_spoil_no_decision(rate, rng):
    """One row in twelve without any cell: such rows are flagged, and the others keep rate and power."""
    X = rows(rng, 1200, 6)
    X[::12] = np.nan
    detector = AnomalyDetector(LinearAutoencoder(latent_dim=3, epochs=15), false_alarm_rate=rate).fit(X)
    bad, normal, odd = unscorable(rows(rng, 6, 6)), rows(rng, 2000, 6), planted(rng, 50, 6)
    assert (detector.predict(bad) == -1).all()
    assert (detector.predict(odd) == -1).all()
    allowed = detector.false_alarm_rate_
    spread = math.sqrt(allowed / detector.n_calibration_)
    assert (detector.predict(normal) == -1).mean() < allowed + 4 * spread
    new = np.concatenate([bad, normal, odd])
    # A row without a score has no p-value, and is flagged all the same.
    p = detector.p_values(new)
    assert np.array_equal(np.isnan(p) | (p <= allowed), detector.predict(new) == -1)


def test_infinite_cells_are_refused_at_fit(rng):
    X = rows(rng, 200, 6)
    X[17, 3] = np.inf
    with pytest.raises(DataError, match=r"row 17.*'x3'"):
        AnomalyDetector(LinearAutoencoder()).fit(X)


def test_a_missing_cell_is_not_an_alarm(rng):
    """A row with a cell missing, where cells were missing in training, keeps the false-alarm rate."""
    X, new = rows(rng, 2000, 6), rows(rng, 2000, 6)
    for table in (X, new):
        table[rng.random(table.shape) < 0.1] = np.nan
    detector = AnomalyDetector(
        VariationalAutoencoder(latent_dim=3, hidden=(16,), epochs=5, batch_size=128), false_alarm_rate=0.1
    ).fit(X)
    holed = np.isnan(new).any(axis=1)
    flagged = detector.predict(new) == -1
    assert flagged.mean() == pytest.approx(0.1, abs=0.05)
    assert flagged[holed].mean() < 0.3


def test_a_costly_score_is_calibrated_where_it_is_asked_for(rng):
    X = rng.normal(size=(600, 4))
    detector = AnomalyDetector(Autoencoder(epochs=2)).fit(X)
    assert "profile" not in detector.calibrated_.calibrations
    with pytest.raises(ConfigError, match=r"takes long.*fit the detector with score='profile'"):
        detector.set_params(score="profile").p_values(X)
    asked = AnomalyDetector(Autoencoder(epochs=2), score="profile").fit(X)
    assert asked.score_ == "profile"
    assert asked.p_values(X).min() == 1 / (asked.n_calibration_ + 1)
