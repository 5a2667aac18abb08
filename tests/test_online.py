"""`partial_fit`: as good as a fit after enough calls, its rows remembered, its state kept as the docs say."""

import warnings

import numpy as np
import pandas as pd
import pytest

from diabolo import AnomalyDetector, Autoencoder, LinearAutoencoder, SparseAutoencoder, VariationalAutoencoder
from diabolo.data.hashing import Fingerprint, fingerprint
from diabolo.errors import CalibrationError, DataError
from diabolo.fitted import online

SMALL = {"latent_dim": 2, "hidden": (16,)}


def plane(n, seed=0):
    """Rows near a plane in six dimensions."""
    rng, maps = np.random.default_rng(seed), np.random.default_rng(7)
    return rng.normal(size=(n, 2)) @ maps.normal(size=(2, 6)) + 0.3 * rng.normal(size=(n, 6))


def streamed(ae, X, size, weights=None):
    for start in range(0, len(X), size):
        part = slice(start, start + size)
        ae.partial_fit(X[part], sample_weight=None if weights is None else weights[part])
    return ae


@pytest.mark.parametrize(
    ("cls", "score"),
    [
        (Autoencoder, "mse"),
        (VariationalAutoencoder, "neg_elbo"),
        (SparseAutoencoder, "mse"),
        (LinearAutoencoder, "mse"),
    ],
)
def test_many_calls_come_near_a_fit(cls, score):
    """On new rows: most of the way from the first call to the fit."""
    settings = {"latent_dim": 2} if cls is LinearAutoencoder else SMALL
    if cls is SparseAutoencoder:
        # A quarter of the codes is active: two of eight span the plane, one of two could not.
        settings = {**SMALL, "latent_dim": 8}
    X, new = plane(30_000), plane(4_000, seed=1)
    first = cls(**settings).partial_fit(X[:1000]).anomaly_score(new, score).mean()
    calls = streamed(cls(**settings), X, 1_000).anomaly_score(new, score).mean()
    fit = cls(**settings, epochs=10).fit(X).anomaly_score(new, score).mean()
    assert calls - fit < 0.1 * (first - fit)


def test_the_history_tells_of_each_call():
    X = plane(3_000)
    ae = streamed(Autoencoder(**SMALL, learning_rate=3e-3, batch_size=100), X, 500)
    assert [e["epoch"] for e in ae.history_] == [1, 2, 3, 4, 5, 6]
    assert [e["rows"] for e in ae.history_] == [500] * 6
    assert ae.n_train_ == 3_000
    assert ae.n_stop_ == 0
    # The rate rises over a hundred steps and is constant from then on.
    ae = streamed(ae, np.tile(X, (5, 1)), 3_000)
    assert [e["learning_rate"] for e in ae.history_] == pytest.approx(
        [3e-5 * min(100, k) for k in (5, 10, 15, 20, 25, 30, 60, 90, 120, 150, 180)]
    )


def test_validation_is_the_loss_of_rows_not_seen_yet():
    """Rows from elsewhere cost more before the steps on them than after."""
    ae = streamed(Autoencoder(**SMALL), plane(8_000), 1_000)
    strange = plane(1_000, seed=5)[:, ::-1] * 2
    before = ae.history_[-1]["validation"]
    for _ in range(8):
        ae.partial_fit(strange)
    told = [e["validation"] for e in ae.history_[-8:]]
    assert told[0] > 2 * before
    assert told[-1] < told[0] / 2


def test_the_first_call_fixes_the_scaling():
    X = plane(2_000)
    ae = Autoencoder(**SMALL).partial_fit(X[:1_000])
    center, scale = ae.model_.encoding.center.copy(), ae.model_.encoding.scale.copy()
    assert np.allclose(center, X[:1_000].mean(0))
    ae.partial_fit(X[1_000:] * 5 + 3)
    assert np.array_equal(ae.model_.encoding.center, center)
    assert np.array_equal(ae.model_.encoding.scale, scale)


def test_a_fitted_model_is_taken_over():
    X = plane(4_000)
    ae = VariationalAutoencoder(**SMALL, epochs=8).fit(X[:2_000])
    center, before = ae.model_.encoding.center.copy(), ae.history_[-1]["validation"]
    ae.partial_fit(X[2_000:3_000])
    assert np.array_equal(ae.model_.encoding.center, center)
    assert len(ae.history_) == 9
    assert ae.history_[-1]["validation"] < 1.2 * before
    assert ae.n_train_ == 1_800 + 1_000
    # A fit starts afresh.
    assert len(ae.fit(X[:2_000]).history_) <= 8


def test_the_optimizer_lives_on_between_calls():
    """Without its moments, each call would begin with the small steps of a start."""
    X = plane(6_000)
    kept, dropped = Autoencoder(**SMALL), Autoencoder(**SMALL)
    for start in range(0, 6_000, 200):
        kept.partial_fit(X[start : start + 200])
        dropped.partial_fit(X[start : start + 200])
        dropped.fitted_.pace = None
    new = plane(2_000, seed=1)
    assert kept.fitted_.pace.steps.item() == 30 * 4
    assert kept.anomaly_score(new, "mse").mean() != dropped.anomaly_score(new, "mse").mean()
    assert kept.history_[-1]["learning_rate"] > 5 * dropped.history_[-1]["learning_rate"]


def test_a_model_saved_between_calls_goes_on(tmp_path):
    X, new = plane(20_000), plane(2_000, seed=1)
    ae = streamed(VariationalAutoencoder(**SMALL), X[:10_000], 1_000)
    ae.save(tmp_path / "m.diabolo")
    back = Autoencoder.load(tmp_path / "m.diabolo")
    assert np.array_equal(back.anomaly_score(new), ae.anomaly_score(new))
    streamed(back, X[10_000:], 1_000)
    straight = streamed(ae, X[10_000:], 1_000)
    assert len(back.history_) == 20
    assert back.n_train_ == straight.n_train_ == 20_000
    assert back.fitted_.roles == straight.fitted_.roles
    assert np.array_equal(back.fitted_.row_hashes, straight.fitted_.row_hashes)
    mine, theirs = back.anomaly_score(new, "neg_elbo").mean(), straight.anomaly_score(new, "neg_elbo").mean()
    assert mine == pytest.approx(theirs, rel=0.1)


def test_the_same_calls_give_the_same_weights():
    X = plane(2_000)
    a, b = (streamed(VariationalAutoencoder(**SMALL, random_state=3), X, 300) for _ in range(2))
    assert np.array_equal(a.model_.store.flat.numpy(), b.model_.store.flat.numpy())
    c = streamed(VariationalAutoencoder(**SMALL, random_state=4), X, 300)
    assert not np.array_equal(a.model_.store.flat.numpy(), c.model_.store.flat.numpy())


def test_rows_seen_are_left_out_of_a_calibration(monkeypatch):
    X = plane(3_000)
    ae = streamed(Autoencoder(**SMALL), X[:2_000], 500)
    detector = AnomalyDetector(ae).fit(X)
    assert (detector.n_excluded_, detector.n_calibration_) == (2_000, 1_000)
    with pytest.raises(CalibrationError, match="2000 were trained on"):
        AnomalyDetector(ae).fit(X[:2_000])
    # Beyond the limit, the whole stream is still known by its fingerprint, and a part of it raises a warning.
    monkeypatch.setattr(online, "MOST_HASHES", 1_500)
    ae = streamed(Autoencoder(**SMALL), X[:2_000], 500)
    assert ae.fitted_.row_hashes is None
    with pytest.raises(CalibrationError, match="2000 were trained on"):
        AnomalyDetector(ae).fit(X[:2_000])
    with pytest.warns(UserWarning, match="too many for its file to keep their hashes"):
        AnomalyDetector(ae).fit(X[2_000:])


def test_a_detector_from_before_a_call_is_refused(tmp_path):
    """Its threshold was that of another model."""
    X = plane(3_000)
    ae = Autoencoder(**SMALL, epochs=2).fit(X[:1_000])
    detector = AnomalyDetector(ae).fit(X[1_000:2_000])
    detector.predict(X[:5])
    ae.partial_fit(X[2_000:])
    with pytest.raises(CalibrationError, match="has been trained on since; fit the detector again"):
        detector.predict(X[:5])
    with pytest.raises(CalibrationError, match="fit the detector again"):
        detector.save(tmp_path / "m.diabolo")
    detector.fit(X[1_000:2_000]).save(tmp_path / "m.diabolo")
    AnomalyDetector.load(tmp_path / "m.diabolo").predict(X[:5])


@pytest.mark.parametrize("cls", [Autoencoder, VariationalAutoencoder])
def test_draws_and_typical_costs_follow_the_stream(cls):
    """The moments of the codes are those of the rows, whatever the size of a call."""
    X = plane(20_000)
    X[::20, 2] = np.nan
    ae = streamed(cls(**SMALL), X, 250)
    codes = ae.transform(X[-10_000:])
    assert np.allclose(ae.model_.buffers["latent_mean"].numpy(), codes.mean(0), atol=0.1 * codes.std())
    assert np.allclose(ae.model_.buffers["latent_cov"].numpy(), np.cov(codes.T), atol=0.15 * codes.var())
    drawn = ae.sample(5_000)
    assert np.abs(np.nanmean(drawn, 0) - np.nanmean(X, 0)).max() < 0.2
    # A missing cell costs about what a cell of its column does.
    whole, gap = X[1:2_000:20].copy(), X[1:2_000:20].copy()
    gap[:, 2] = np.nan
    assert abs(ae.anomaly_score(gap).mean() - ae.anomaly_score(whole).mean()) < 4


def test_weights_weigh_the_rows_of_a_call():
    """Rows of weight 0 are as if they were not there."""
    X = plane(2_000)
    X[1_000:] = 50
    w = np.r_[np.ones(1_000), np.zeros(1_000)]
    a = Autoencoder(**SMALL).partial_fit(X, sample_weight=w)
    b = Autoencoder(**SMALL).partial_fit(X[:1_000], sample_weight=np.ones(1_000))
    assert np.array_equal(a.model_.store.flat.numpy(), b.model_.store.flat.numpy())
    assert a.n_train_ == 1_000


def test_mixed_columns_and_what_is_refused():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=600), "k": rng.choice(["x", "y"], 600), "n": rng.poisson(3, 600)})
    ae = VariationalAutoencoder(latent_dim=1, hidden=(8,)).partial_fit(frame[:300])
    ae.partial_fit(frame[300:][["n", "k", "a"]])
    assert ae.n_train_ == 600
    before = ae.model_.store.flat.clone()
    with pytest.raises(DataError, match="column 'k' is missing"):
        ae.partial_fit(frame[["a", "n"]])
    bad = frame.copy()
    bad.loc[7, "a"] = np.inf
    with pytest.raises(DataError, match="row 7, column 'a': inf"):
        ae.partial_fit(bad)
    with pytest.raises(DataError, match="at least 2 rows"):
        Autoencoder().partial_fit([[1.0, 2.0]])
    assert np.array_equal(ae.model_.store.flat.numpy(), before.numpy())
    ae.partial_fit(frame[:1])  # one row is enough once the scaling is known
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(ae.anomaly_score(frame)).all()


def test_a_fingerprint_goes_on_where_it_left_off():
    hashes = np.random.default_rng(0).integers(0, 2**64, 100, dtype=np.uint64)
    first = Fingerprint()
    first.add(hashes[:37])
    rest = Fingerprint(37, str(first))
    rest.add(hashes[37:])
    assert str(rest) == fingerprint(hashes)
