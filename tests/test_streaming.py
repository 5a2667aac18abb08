"""`AnomalyDetector.partial_fit`: the rate holds at every call, rows play one part, and the last rows decide."""

import copy

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from diabolo import AnomalyDetector, Autoencoder, VariationalAutoencoder, load
from diabolo.data.hashing import hash_rows
from diabolo.data.roles import bucket_of
from diabolo.detect import streaming
from diabolo.errors import CalibrationError, ConfigError, DataError, PromiseWarning

PLANE = np.random.default_rng(7).normal(size=(2, 5))
SMALL = {"latent_dim": 2, "hidden": (8,)}


def rows(rng, n, shift=0.0):
    return rng.normal(size=(n, 2)) @ PLANE + 0.3 * rng.normal(size=(n, 5)) + shift


def streamed(parts, **settings):
    detector = AnomalyDetector(Autoencoder(**SMALL), **settings)
    for part in parts:
        detector.partial_fit(part)
    return detector


@pytest.mark.parametrize("calls", [1, 3])
def test_the_rate_holds_after_every_call(calls):
    """Of exchangeable rows the share flagged follows Beta(l, n + 1 − l); 40 streams, 0.001 on each side."""
    z = []
    for seed in range(40):
        rng = np.random.default_rng([3, seed])
        detector = streamed([rows(rng, 300) for _ in range(calls)], false_alarm_rate=0.1, random_state=seed)
        n = detector.n_calibration_
        at = int(0.1 * (n + 1) + 1e-9)
        law, m = stats.betabinom(1_000, at, n + 1 - at), 1_000
        z.append(((detector.predict(rows(rng, m)) == -1).sum() - law.mean()) / law.std())
    assert abs(np.mean(z)) * np.sqrt(len(z)) < stats.norm.isf(0.001)


def test_a_row_plays_one_part_and_the_last_ones_stay(monkeypatch):
    monkeypatch.setattr(streaming, "MOST_CALIBRATE", 150)
    monkeypatch.setattr(streaming, "most_kept", lambda columns, itemsize: 400)
    parts = [rows(np.random.default_rng(seed), 400) for seed in range(3)]
    detector = streamed(parts)
    stored = hash_rows(detector.calibrated_.reference.stored.values)
    trained = detector.autoencoder_.fitted_.row_hashes
    every = hash_rows(np.concatenate(parts))
    apart = ~np.isin(every, trained)
    assert 0.15 < apart.mean() < 0.25
    assert np.array_equal(stored, every[~apart][-400:])
    assert detector.n_calibration_ == 150
    # The scores that calibrate are those of the last rows kept apart, by the model of now.
    last = np.concatenate(parts)[apart][-150:]
    assert np.array_equal(np.sort(detector.anomaly_score(last)), detector.calibrated_.calibration.scores)
    # In pieces of another size the same rows calibrate.
    other = streamed([np.concatenate(parts)])
    assert np.array_equal(other.autoencoder_.fitted_.row_hashes, trained)


def test_it_follows_rows_that_change():
    """A shift of a spread over the stream: without the calls most rows of the end are flagged."""
    rng = np.random.default_rng(5)
    parts = [rows(rng, 2_000, shift) for shift in np.linspace(0, 4, 10)]
    still, follows = streamed(parts[:1]), streamed(parts)
    assert (still.predict(parts[-1]) == -1).mean() > 0.5
    assert (follows.predict(rows(rng, 2_000, 4.0)) == -1).mean() < 0.05


def test_a_fit_and_a_file_go_on(tmp_path):
    rng = np.random.default_rng(6)
    detector = AnomalyDetector(VariationalAutoencoder(**SMALL, epochs=2)).fit(rows(rng, 1_000))
    kept, epochs = len(detector.calibrated_.reference.stored), len(detector.autoencoder_.history_)
    detector.partial_fit(rows(rng, 600))
    assert len(detector.autoencoder_.history_) == epochs + 1
    assert detector.n_calibration_ + len(detector.calibrated_.reference.stored) == kept + 600
    detector.save(tmp_path / "m.diabolo")
    again, new = load(tmp_path / "m.diabolo"), rows(rng, 200)
    assert np.array_equal(again.p_values(new), detector.p_values(new))
    known = len(again.calibrated_.reference.stored)
    again.partial_fit(rows(rng, 600))
    assert again.n_calibration_ + len(again.calibrated_.reference.stored) == known + 600
    # A fit begins anew.
    assert detector.fit(rows(rng, 800)).partial_fit(rows(rng, 600)).n_calibration_ < 200


def test_an_autoencoder_that_was_given_stays_as_it_is():
    rng = np.random.default_rng(8)
    for given in (Autoencoder(**SMALL, epochs=1), Autoencoder(**SMALL, epochs=1).fit(rows(rng, 500))):
        before, fitted = copy.deepcopy(vars(given)), hasattr(given, "model_")
        detector = AnomalyDetector(given).partial_fit(rows(rng, 600)).partial_fit(rows(rng, 600))
        assert detector.autoencoder_ is not given
        assert len(detector.autoencoder_.history_) == 2 + fitted
        assert vars(given).keys() == before.keys()
        if fitted:
            new = rows(rng, 50)
            assert np.array_equal(given.transform(new), Autoencoder.from_fitted(before["fitted_"], {}).transform(new))
            assert len(given.history_) == 1


def test_weights_and_columns_of_a_stream():
    rng = np.random.default_rng(9)
    X, weights = rows(rng, 900), np.repeat([1.0, 0.0, 2.0], 300)
    weighted = AnomalyDetector(Autoencoder(**SMALL)).partial_fit(X, sample_weight=weights)
    assert weighted.autoencoder_.n_train_ + weighted.n_calibration_ == 600
    weighted.partial_fit(X)
    frame = pd.DataFrame(X, columns=list("abcde")).assign(word=rng.choice(["x", "y"], 900))
    detector = AnomalyDetector(Autoencoder(**SMALL)).partial_fit(frame[:600])
    detector.partial_fit(frame[600:][["word", "e", "d", "c", "b", "a"]])
    odd = frame[:2].assign(a=[99.0, frame.a[1]])
    assert detector.predict(odd)[0] == -1
    with pytest.raises(DataError, match="word"):
        detector.partial_fit(frame[["a", "b", "c", "d", "e"]])


def test_too_few_rows_are_refused_before_anything_is_learnt():
    X = rows(np.random.default_rng(10), 600)
    with pytest.raises(CalibrationError, match="none of 1 rows calibrates, since one in 5 does"):
        AnomalyDetector(Autoencoder(**SMALL), random_state=1).partial_fit(X[:1])
    detector = AnomalyDetector(Autoencoder(**SMALL)).partial_fit(X[:300])
    before = detector.anomaly_score(X)
    detector.set_params(false_alarm_rate=0.001)
    with pytest.raises(CalibrationError, match=r"0\.001"):
        detector.partial_fit(X[300:])
    assert np.array_equal(detector.set_params(false_alarm_rate=None).anomaly_score(X), before)
    with pytest.raises(DataError, match="inf"):
        detector.partial_fit(np.where(np.arange(5) == 2, np.inf, X[:100]))
    assert np.array_equal(detector.anomaly_score(X), before)
    with pytest.raises(ConfigError, match="allowed are None"):
        AnomalyDetector("vae").partial_fit(X)
    with pytest.warns(PromiseWarning, match="calibration rows can promise"):
        AnomalyDetector(Autoencoder(**SMALL)).partial_fit(X[:40])


def test_a_call_that_fails_late_leaves_the_detector(monkeypatch):
    """Rows kept apart that cannot be scored leave too few for the rate, which shows after the steps alone."""
    X, new = rows(np.random.default_rng(11), 600), rows(np.random.default_rng(12), 600)
    new[np.flatnonzero(bucket_of(0, 600, 0, streaming.ONE_IN) == 0)[:60], 0] = 1e300
    detector = AnomalyDetector(Autoencoder(**SMALL, epochs=1), false_alarm_rate=0.01).fit(X)
    before, codes = detector.p_values(X), detector.autoencoder_.transform(X)
    with pytest.raises(CalibrationError, match=r"0\.01 needs at least 99"):
        detector.partial_fit(new)

    def broken(*args, **settings):
        raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr(streaming, "calibrated", broken)
        with pytest.raises(KeyboardInterrupt):
            detector.partial_fit(X)
    assert np.array_equal(detector.p_values(X), before)
    assert np.array_equal(detector.autoencoder_.transform(X), codes)
    assert len(detector.autoencoder_.history_) == 1
    # Nor does a call that works reach what was handed out before it.
    handed = detector.autoencoder_
    detector.partial_fit(X)
    assert np.array_equal(handed.transform(X), codes)
    assert not np.array_equal(detector.autoencoder_.transform(X), codes)


def test_groups_are_refused():
    rng = np.random.default_rng(13)
    X, groups = rows(rng, 600), np.repeat(np.arange(200), 3)
    detector = AnomalyDetector(Autoencoder(**SMALL, epochs=1)).fit(X, groups=groups)
    before = detector.p_values(X)
    with pytest.raises(CalibrationError, match="partial_fit knows none: fit again with groups="):
        detector.partial_fit(rows(rng, 300))
    assert np.array_equal(detector.p_values(X), before)
    assert AnomalyDetector(detector.autoencoder_).partial_fit(rows(rng, 300)).n_calibration_groups_ is None
