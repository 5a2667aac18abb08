"""Contaminated training: the bound behind the suspicion, what trimming gains, and that clean data lose nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from diabolo import AnomalyDetector, Autoencoder, VariationalAutoencoder
from diabolo.errors import ConfigError
from diabolo.metrics import auroc
from diabolo.train.robust import FEWEST, LEVEL, MOST_SUSPECTED, chances, robusts, suspected

LAWS = [stats.chi2(2), stats.chi2(5), stats.chi2(40), stats.expon(), stats.gamma(3), stats.norm()]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: f"{law.dist.name}{law.args}")
def test_the_bound_holds_beyond_the_quartile(law):
    """Against the exact survival function, of laws with an increasing hazard rate."""
    losses = torch.from_numpy(law.ppf((np.arange(4000) + 0.5) / 4000))
    beyond = losses >= law.ppf(0.75)
    assert (chances(losses)[beyond].numpy() >= 0.99 * law.sf(losses[beyond].numpy())).all()


def test_the_bound_fails_for_heavy_tails():
    """As its condition says: Student's t with two degrees of freedom has a falling hazard."""
    law = stats.t(2)
    losses = torch.from_numpy(law.ppf((np.arange(4000) + 0.5) / 4000))
    assert float(chances(losses)[-1]) < 0.1 * law.sf(float(losses[-1]))


@pytest.mark.parametrize("law", LAWS[:5], ids=lambda law: f"{law.dist.name}{law.args}")
def test_clean_losses_are_seldom_suspected(law, rng):
    """Any row at all in at most 5 % of tables: 300 of them, with three standard errors."""
    found = 0
    for _ in range(300):
        losses = torch.from_numpy(law.rvs(1000, random_state=rng))
        found += bool(suspected(losses, chances(losses)).any())
    assert found <= 300 * LEVEL + 3 * np.sqrt(300 * LEVEL * (1 - LEVEL))


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1, 0.2])
def test_planted_losses_are_suspected_whatever_their_share(share, rng):
    n = 2000
    planted = np.arange(n) < share * n
    losses = torch.from_numpy(np.where(planted, 60 + rng.normal(size=n), rng.chisquare(6, size=n)))
    found = suspected(losses, chances(losses)).numpy()
    assert found[planted].all()
    assert found[~planted].mean() <= 0.01


def test_at_most_a_quarter_is_suspected(rng):
    losses = torch.from_numpy(rng.chisquare(6, size=1000))
    losses[:400] += 1e6
    assert suspected(losses, torch.zeros(1000)).sum() == MOST_SUSPECTED * 1000


def test_few_or_equal_losses_say_nothing():
    for losses in (torch.ones(500), torch.linspace(0, 1, FEWEST - 1) ** 9):
        assert (chances(losses) == 1).all()
    losses = torch.cat([torch.linspace(0, 1, 200), torch.tensor([torch.nan, torch.inf])])
    assert (chances(losses)[-2:] == 0).all()


def test_weights_count_as_repeated_losses(rng):
    losses, weights = torch.from_numpy(rng.chisquare(4, size=300)), torch.from_numpy(rng.integers(1, 4, size=300))
    repeated = torch.repeat_interleave(torch.arange(300), weights)
    torch.testing.assert_close(chances(losses, weights)[repeated], chances(losses[repeated]))


# ── fits ──────────────────────────────────────────────────────────────────────────────────────────

N, CLEAN = 1500, Autoencoder(network="linear", latent_dim=2, solver="gradient", epochs=30, scaling="none", clip=100.0)


def contaminated(share, seed=0):
    """Rows near a plane in six dimensions, planted: half of `share` one far cluster, half scattered."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(6, 2)))[0]
    X = rng.normal(size=(N, 2)) @ (3 * basis.T) + 0.3 * rng.normal(size=(N, 6))
    planted = rng.permutation(N)[: round(share * N)]
    half = len(planted) // 2
    away = rng.normal(size=6)
    away -= basis @ (basis.T @ away)
    Y = X.copy()
    Y[planted[:half]] = 14 * away / np.linalg.norm(away) + 0.3 * rng.normal(size=(half, 6))
    Y[planted[half:]] = 6 * rng.normal(size=(len(planted) - half, 6))
    fresh = rng.normal(size=(4000, 2)) @ (3 * basis.T) + 0.3 * rng.normal(size=(4000, 6))
    return X, Y, planted, fresh


def error(autoencoder, fresh):
    """Mean squared residual of clean rows in original units; 0.36 = 4 × 0.3² is what the plane leaves."""
    return float(((autoencoder.reconstruct(fresh) - fresh) ** 2).sum(1).mean())


def fresh_fit(**settings):
    return Autoencoder(**{**CLEAN.get_params(), **settings})


@pytest.mark.parametrize("share", [0.05, 0.1])
def test_robust_fits_are_closer_to_the_clean_fit(share):
    X, Y, _, fresh = contaminated(share)
    clean, plain = error(fresh_fit().fit(X), fresh), error(fresh_fit().fit(Y), fresh)
    assert plain > 1.5 * clean
    for settings in ({"robust": "trim"}, {"robust": "downweight"}, {"contamination": share}):
        assert error(fresh_fit(**settings).fit(Y), fresh) - clean < 0.1 * (plain - clean), settings


@pytest.mark.parametrize("robust", ["trim", "downweight"])
def test_clean_data_lose_nothing(robust):
    X, _, _, fresh = contaminated(0.1, seed=1)
    plain, found = fresh_fit().fit(X), fresh_fit(robust=robust).fit(X)
    assert error(found, fresh) < 1.02 * error(plain, fresh)
    assert len(found.suspects_) <= 0.01 * N
    assert len(plain.suspects_) <= 0.01 * N


def test_suspects_are_the_planted_rows():
    _, Y, planted, _ = contaminated(0.1)
    detector = AnomalyDetector(VariationalAutoencoder(latent_dim=2, hidden=(16,), epochs=30, robust="trim")).fit(Y)
    suspects = detector.suspects_
    used = detector.autoencoder_.n_train_ + detector.autoencoder_.n_stop_
    # All planted rows that were trained or stopped on, so nearly that share of them.
    assert np.isin(planted, suspects.rows).mean() > 0.9 * used / N
    assert np.isin(suspects.rows, planted).mean() > 0.9
    assert (np.diff(suspects.losses) <= 0).all()
    assert ((suspects.p_values >= 0) & (suspects.p_values < LEVEL)).all()


def test_a_named_share_is_trimmed():
    losses = torch.arange(200.0)
    weights = robusts.create({"name": "trim", "contamination": 0.1}).weights(losses, None)
    assert (weights == 0).nonzero().flatten().tolist() == list(range(180, 200))


def test_members_train_robustly_together(build_model, encoded):
    """One weight per row for all members; each ends near the plane."""
    from diabolo.data.sources import Rows
    from diabolo.model.objective import row_losses
    from diabolo.train.loop import fit

    _, Y, _, fresh = contaminated(0.1)
    errors = []
    for robust in ("none", "trim"):
        model = build_model(Y, (3,), network="linear", latent_dim=2, solver="gradient", epochs=40, robust=robust)
        rows = encoded(model, Y).clipped(8.0)
        fit(model, Rows(rows, None), Rows(rows.rows(slice(0, 0)), None))
        with torch.no_grad():
            errors.append(row_losses(model, encoded(model, fresh).clipped(8.0)).mean(-1))
    assert (errors[1] < errors[0]).all()


def test_what_does_not_go_together_is_refused(tmp_path):
    X = contaminated(0.1)[1]
    with pytest.raises(ConfigError, match="give one of the two"):
        Autoencoder(robust="downweight", contamination=0.1).fit(X)
    with pytest.raises(ConfigError, match="unknown robust 'trimm'"):
        Autoencoder(robust="trimm").fit(X)
    Autoencoder(epochs=1).fit(X).save(tmp_path / "m.diabolo")
    assert Autoencoder.load(tmp_path / "m.diabolo").suspects_ is None


def grouped(rng, rows, share=0.1):
    """Normal rows with a group of anomalies among them, in a random order."""
    bad = int(share * rows)
    X = np.r_[rng.normal(size=(rows - bad, 6)), 0.3 * rng.normal(size=(bad, 6)) + 4]
    return X[rng.permutation(rows)]


@pytest.mark.parametrize("setting", [{"robust": "trim"}, {"robust": "downweight"}, {"contamination": 0.1}])
def test_a_robust_fit_reaches_stored_rows_generator_and_calibration(setting, rng):
    X, normal, odd = grouped(rng, 2_000), rng.normal(size=(1_000, 6)), 0.3 * rng.normal(size=(200, 6)) + 4
    detector = AnomalyDetector(Autoencoder(epochs=5, **setting), false_alarm_rate=0.05).fit(X)
    scores = np.r_[detector.anomaly_score(normal), detector.anomaly_score(odd)]
    assert auroc(np.arange(1_200) >= 1_000, scores) > 0.95
    assert (detector.predict(odd) == -1).mean() > 0.95
    # 0.05 and the few normal rows that are taken for foreign; 360 rows calibrate.
    assert (detector.predict(normal) == -1).mean() < 0.1
    fitted = detector.autoencoder_.fitted_
    for kept in (detector.calibrated_.reference.stored.values, fitted.kept, fitted.source_rows):
        assert (kept.mean(axis=1) > 2).mean() < 0.01
    assert detector.n_calibration_ < 0.95 * 400


def test_without_robust_a_group_of_anomalies_hides_itself(rng):
    """The control: the same table, taken as it is."""
    X, normal, odd = grouped(rng, 2_000), rng.normal(size=(1_000, 6)), 0.3 * rng.normal(size=(200, 6)) + 4
    detector = AnomalyDetector(Autoencoder(epochs=5), false_alarm_rate=0.05).fit(X)
    scores = np.r_[detector.anomaly_score(normal), detector.anomaly_score(odd)]
    assert auroc(np.arange(1_200) >= 1_000, scores) < 0.5
    assert detector.n_calibration_ == 400


def test_the_rate_of_contaminated_calibration_rows(rng):
    """Normal rows are flagged with at most α/(1 − c), and with as much where the score ranks anomalies lowest."""
    found = []
    for seed in range(12):
        draw = np.random.default_rng(seed)
        X = grouped(draw, 1_500, 0.2)
        detector = AnomalyDetector(Autoencoder(epochs=1), false_alarm_rate=0.05, random_state=seed).fit(X)
        found.append((detector.predict(draw.normal(size=(2_000, 6))) == -1).mean())
    mean, error = np.mean(found), np.std(found) / len(found) ** 0.5
    assert abs(mean - 0.05 / 0.8) < 3 * error + 0.005
    assert mean > 0.05
