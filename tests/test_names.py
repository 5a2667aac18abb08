"""Names that users of PyOD, scikit-learn and PyTorch bring: answered with the right one, or taken."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from diabolo import AnomalyDetector, Autoencoder, Compressor, LatentClusterer, LinearAutoencoder, VariationalAutoencoder
from diabolo.errors import ConfigError, SettingError
from diabolo.estimators.naming import ALIASES

ESTIMATORS = (Autoencoder, VariationalAutoencoder, AnomalyDetector, LatentClusterer, Compressor)


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(size=(600, 4))


@pytest.fixture(scope="module")
def detector(rows):
    return AnomalyDetector(LinearAutoencoder(latent_dim=2), score="nll").fit(rows)


@pytest.mark.parametrize(
    ("cls", "typed", "meant"),
    [
        (Autoencoder, "n_components", "it is latent_dim"),
        (VariationalAutoencoder, "max_iter", "it is epochs"),
        (VariationalAutoencoder, "lr", "it is learning_rate"),
        (VariationalAutoencoder, "batch", "it is batch_size"),
        (VariationalAutoencoder, "hidden_neurons", "it is hidden"),
        (VariationalAutoencoder, "alpha", "it is weight_decay"),
        (VariationalAutoencoder, "epoch", "it is epochs"),
        (VariationalAutoencoder, "latentdim", "did you mean 'latent_dim'?"),
        (AnomalyDetector, "alpha", "it is false_alarm_rate"),
        (AnomalyDetector, "contamination", r"it is false_alarm_rate .*as_pyod\(contamination="),
        (AnomalyDetector, "latent_dim", r"AnomalyDetector\(VariationalAutoencoder\(latent_dim=\.\.\.\)\)"),
        (AnomalyDetector, "n_iter", r"AnomalyDetector\(VariationalAutoencoder\(epochs=\.\.\.\)\)"),
        (AnomalyDetector, "scor", "did you mean 'score'?"),
        (LatentClusterer, "k", "it is n_clusters"),
        (Compressor, "tolerance", "it is max_error"),
    ],
)
def test_another_librarys_setting_is_answered_with_its_name_here(cls, typed, meant):
    with pytest.raises(SettingError, match=f"{cls.__name__} has no setting '{typed}': .*{meant}"):
        cls(**{typed: 3})


def test_every_alias_leads_to_a_setting_and_is_none_itself():
    each = [set(cls._get_param_names()) for cls in ESTIMATORS]
    for alias, meant in ALIASES.items():
        assert set(meant) <= set().union(*each), alias
        assert not any(alias in names and names & set(meant) for names in each), alias


def test_a_size_in_place_of_a_kind_of_code_is_told(rows):
    with pytest.raises(ConfigError, match=r"latent = 3: .* its size is latent_dim = 3"):
        VariationalAutoencoder(latent=3).fit(rows)
    with pytest.raises(ConfigError, match=r"VariationalAutoencoder\(\) is that one"):
        AnomalyDetector("vae").fit(rows)


def test_one_hidden_layer_may_be_a_number(rows, tmp_path):
    one, same = (Autoencoder(hidden=h, epochs=1).fit(rows) for h in (7, (7,)))
    assert one.config_.hidden == (7,)
    assert np.array_equal(one.transform(rows), same.transform(rows))
    assert one.get_params()["hidden"] == clone(one).get_params()["hidden"] == 7
    one.save(tmp_path / "m.diabolo")
    assert Autoencoder.load(tmp_path / "m.diabolo").get_params()["hidden"] == 7
    for wrong in (True, 0, -3, "7"):
        with pytest.raises(ConfigError, match="hidden"):
            Autoencoder(hidden=wrong).fit(rows)


def test_attributes_that_are_elsewhere_are_named(detector):
    for estimator, name, said in (
        (detector, "labels_", r"predict\(X\) gives -1 and 1, and as_pyod"),
        (detector, "decision_scores_", r"anomaly_score\(X\)"),
        (detector, "predict_proba", r"p_values\(X\)"),
        (detector, "contamination", "false_alarm_rate"),
        (detector, "plot", "plot_scores"),
        (detector, "transform", r"\.autoencoder_\.transform"),
        (Autoencoder(), "predict", r"AnomalyDetector\(Autoencoder\(\.\.\.\)\)\.fit\(X\)\.predict"),
    ):
        assert not hasattr(estimator, name)
        with pytest.raises(AttributeError, match=f"has no attribute '{name}'; .*{said}"):
            getattr(estimator, name)
    with pytest.raises(AttributeError, match=r"no attribute 'transfom'$"):
        _ = detector.transfom
    for duplicate in (copy.deepcopy(detector), pickle.loads(pickle.dumps(detector))):
        assert duplicate.threshold_ == detector.threshold_


# ── PyOD's face ───────────────────────────────────────────────────────────────────────────────────


def test_the_adapter_has_what_pyod_has(rows, detector):
    clf = AnomalyDetector(LinearAutoencoder(latent_dim=2), score="nll").as_pyod()
    assert clf.fit(rows) is clf
    np.testing.assert_array_equal(clf.decision_scores_, detector.anomaly_score(rows))
    assert clf.threshold_ == detector.threshold_
    np.testing.assert_array_equal(clf.labels_, np.where(detector.predict(rows) < 0, 1, 0))
    new = np.vstack([rows[:3], [[np.inf, 0, 0, 0], [90, -90, 90, -90]]])
    assert clf.predict(new)[-2:].tolist() == [1, 1]
    np.testing.assert_array_equal(clf.decision_function(new), -detector.score_samples(new))
    np.testing.assert_array_equal(clf.fit_predict(rows), clf.labels_)


def test_contamination_is_the_share_of_the_fitted_rows(rows):
    clf = AnomalyDetector(LinearAutoencoder(latent_dim=2)).as_pyod(contamination=0.1).fit(rows)
    assert clf.labels_.mean() == pytest.approx(0.1)
    assert clf.threshold_ == np.percentile(clf.decision_scores_, 90)
    assert clone(clf).set_params(contamination="10%").fit(rows).threshold_ == clf.threshold_
    for wrong in (0, 0.6, "auto", "60%", True):
        with pytest.raises(ConfigError, match=r"contamination = .*; allowed are None and numbers above 0 up to 0.5"):
            clone(clf).set_params(contamination=wrong).fit(rows)
        with pytest.raises(ConfigError, match="contamination"):
            AnomalyDetector().as_pyod(contamination=wrong)


def test_scores_become_shares_as_in_pyod(rows):
    clf = AnomalyDetector(LinearAutoencoder(latent_dim=2)).as_pyod().fit(rows)
    for method in ("linear", "unify"):
        found = clf.predict_proba(rows, method=method)
        assert found.shape == (600, 2)
        np.testing.assert_allclose(found.sum(axis=1), 1)
        assert (np.diff(found[np.argsort(clf.decision_scores_), 1]) >= 0).all()
    linear = clf.predict_proba(rows)[:, 1]
    assert (linear.min(), linear.max()) == (0, 1)
    assert clf.predict_proba([[90, -90, 90, -90], [np.inf, 0, 0, 0]])[:, 1].tolist() == [1, 1]
    with pytest.raises(ConfigError, match="allowed are 'linear' and 'unify'"):
        clf.predict_proba(rows, method="beta")


def test_a_fitted_detector_predicts_at_once(rows, detector):
    clf = detector.as_pyod()
    np.testing.assert_array_equal(clf.predict(rows), detector.predict(rows) < 0)
    with pytest.raises(AttributeError, match=r"it is of the rows given to fit: \.fit\(X\) first"):
        _ = clf.decision_scores_
    with pytest.raises(NotFittedError):
        AnomalyDetector().as_pyod().predict(rows)
