"""The default score of a detector: its views by their definition, what they find, and what they must not see."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diabolo import AnomalyDetector, Autoencoder, VariationalAutoencoder
from diabolo.data.encoding import Encoding
from diabolo.data.schema import Column, Schema
from diabolo.detect.scores.auto import views_of
from diabolo.detect.views import GROUPS, NEAR, RELATIVE, VIEWS, WIDE, Views, soft_clip
from diabolo.metrics import auroc


def plain(columns: int) -> Encoding:
    """Reals that enter as they are."""
    schema = Schema(tuple(Column(f"x{i}", "real", "float64", 0.0, -9.0, 9.0, 0.0) for i in range(columns)))
    return Encoding(schema, np.zeros(columns), np.ones(columns), 8.0, 100)


def measured(views: Views, encoding: Encoding, values: np.ndarray, own: np.ndarray | None = None) -> np.ndarray:
    rows = encoding.encode(torch.from_numpy(values))
    return views.measure(rows, None if own is None else torch.from_numpy(own)).double().numpy()


def combined(views: Views, encoding: Encoding, values: np.ndarray, own: np.ndarray | None = None) -> np.ndarray:
    z = (measured(views, encoding, values, own) - views.location.numpy()) / views.scale.numpy()
    return np.sort(z, axis=0)[-2:].mean(0)


def by_definition(stored: np.ndarray, query: np.ndarray, skip: int | None) -> list[float]:
    """The seven views of one row, in plain NumPy and double precision."""
    x = stored - stored.mean(0)
    q = query - stored.mean(0)
    std = stored.std(0)
    quartiles = np.quantile(stored, [0.25, 0.75], axis=0)
    iqr = (quartiles[1] - quartiles[0]) / 1.349
    covariance = np.cov(x / std, rowvar=False, bias=True)
    values, vectors = np.linalg.eigh(covariance)
    root = vectors @ np.diag((values + 0.1) ** -0.5) @ vectors.T
    others = np.arange(len(x)) if skip is None else np.delete(np.arange(len(x)), skip)

    def dealt_out(d: np.ndarray, count: int) -> float:
        """Mean over the nearest groups, to which stored rows go in turn, of the distance to their nearest row."""
        groups = min(GROUPS, len(x))
        least = [d[mine].min(initial=np.inf) for g in range(groups) if len(mine := others[others % groups == g])]
        return float(np.sort(least)[:count].mean())

    out = []
    for a, b in ((x / std, q / std), (x / iqr, q / iqr), (x / std @ root, q / std @ root)):
        d = np.sqrt(((a - b) ** 2).sum(1))
        out += [dealt_out(d, NEAR), dealt_out(d, WIDE)]
    every = np.sqrt(((a[:, None] - a[None]) ** 2).sum(-1))
    np.fill_diagonal(every, np.inf)
    local = np.sort(every, axis=1)[:, :20].mean(1)
    local += 1e-3 * np.sort(local)[(len(local) - 1) // 2] + 1e-3
    return [*out, dealt_out(d / local, RELATIVE)]


@pytest.fixture(scope="module")
def normal() -> np.ndarray:
    """An arc of changing density, and noise across it."""
    rng = np.random.default_rng(0)
    t = rng.beta(2, 4, 1500) * 4
    arc = np.stack([np.cos(t), np.sin(t), 0.5 * t], axis=1)
    return np.concatenate([arc + 0.03 * rng.normal(size=arc.shape), rng.normal(size=(1500, 1))], axis=1)


def test_views_are_what_they_say() -> None:
    rng = np.random.default_rng(1)
    stored = rng.normal(size=(150, 3)) @ np.array([[1.0, 0.9, 0.0], [0.0, 0.3, 0.2], [0.0, 0.0, 2.0]])
    encoding = plain(3)
    views = Views(encoding, stored)
    new = rng.normal(size=(6, 3))
    expected = np.array([by_definition(stored, row, None) for row in new]).T
    np.testing.assert_allclose(measured(views, encoding, new), expected, rtol=1e-4)
    # A stored row does not count itself, whichever round of its group it is in.
    some = np.array([0, 1, 127, 128, 148, 149])
    expected = np.array([by_definition(stored, stored[i], i) for i in some]).T
    np.testing.assert_allclose(measured(views, encoding, stored[some], some), expected, rtol=1e-4)
    assert len(VIEWS) == len(expected)


def test_location_and_scale_are_of_stored_rows_without_themselves() -> None:
    stored = np.random.default_rng(2).normal(size=(120, 2))
    encoding = plain(2)
    views = Views(encoding, stored)
    own = measured(views, encoding, stored, np.arange(120))
    np.testing.assert_allclose(views.location[:, 0].numpy(), np.median(own, axis=1), rtol=1e-5)
    reach = np.quantile(own, 0.95, axis=1) - np.median(own, axis=1)
    np.testing.assert_allclose(views.scale[:, 0].numpy(), reach, rtol=1e-4)
    share = (combined(views, encoding, np.random.default_rng(3).normal(size=(4000, 2))) > 1).mean()
    assert 0.02 < share < 0.15  # 1 is where a twentieth of normal rows begins, for each view


def test_wild_cells_stay_ordered_and_finite() -> None:
    x = torch.tensor([-1e15, -9.0, -8.0, 0.5, 8.0, 9.0, 100.0, 1e15])
    out = soft_clip(x)
    assert bool((out.diff() > 0).all())
    assert float(out.max()) < 50
    torch.testing.assert_close(out[2:5], x[2:5])


@pytest.mark.parametrize("kind", ["off the arc", "far away", "in a gap", "scattered"])
def test_finds(normal: np.ndarray, kind: str) -> None:
    rng = np.random.default_rng(4)
    t = rng.beta(2, 4, 200) * 4
    arc = np.stack([np.cos(t), np.sin(t), 0.5 * t], axis=1)
    last = rng.normal(size=(200, 1))
    planted = {
        "off the arc": np.concatenate([arc * [0.7, 0.7, 1.0], last], axis=1),
        "far away": np.full((200, 4), 4.0) + 0.1 * rng.normal(size=(200, 4)),
        "in a gap": np.concatenate([0.1 * rng.normal(size=(200, 2)), 0.5 * t[:, None], last], axis=1),
        "scattered": rng.uniform(-2, 2, size=(200, 4)),
    }[kind]
    encoding = plain(4)
    views = Views(encoding, normal[:1000])
    fresh = normal[1000:]
    truth = np.concatenate([np.zeros(len(fresh)), np.ones(len(planted))])
    found = auroc(truth, combined(views, encoding, np.concatenate([fresh, planted])))
    assert found > 0.95
    # The control: rows that are as normal as the others are not found.
    halves = np.arange(len(fresh)) % 2
    assert abs(auroc(halves, combined(views, encoding, fresh)) - 0.5) < 0.08


def test_a_cluster_among_the_training_rows_is_found(normal: np.ndarray) -> None:
    rng = np.random.default_rng(5)
    cluster = np.array([1.5, -1.5, 2.5, 0.0]) + 0.02 * rng.normal(size=(30, 4))
    table = np.concatenate([normal[:970], cluster])
    encoding = plain(4)
    views = Views(encoding, table)
    truth = np.arange(len(table)) >= 970
    own = np.arange(len(table))
    assert auroc(truth, combined(views, encoding, table, own)) > 0.95
    # Each has 29 of its kind nearby: the distance to the nearest few alone takes them for normal.
    assert auroc(truth, measured(views, encoding, table, own)[VIEWS.index(f"standardized {NEAR}")]) < 0.5


def test_units_do_not_matter(normal: np.ndarray) -> None:
    units = np.array([1e6, 1e-4, 3.0, 1.0])
    one, other = (
        AnomalyDetector(Autoencoder(epochs=1), random_state=0).fit(normal * u).anomaly_score(normal[:50] * u)
        for u in (1.0, units)
    )
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


@pytest.fixture(scope="module")
def detector(normal: np.ndarray) -> AnomalyDetector:
    return AnomalyDetector(Autoencoder(epochs=1), random_state=0).fit(normal)


def test_calibration_rows_never_enter(normal: np.ndarray, detector: AnomalyDetector) -> None:
    other = normal.copy()
    apart = detector.autoencoder_.fitted_.roles.calibrates()
    other[apart] += 3.0
    again = AnomalyDetector(Autoencoder(epochs=1), random_state=0).fit(other)
    for name in ("location", "scale"):
        assert torch.equal(
            getattr(views_of(again.calibrated_.reference), name),
            getattr(views_of(detector.calibrated_.reference), name),
        )
    # And rows that train do enter.
    other = normal.copy()
    other[~apart] *= [1.0, 1.0, 1.0, 3.0]
    other[~apart, 0] **= 2
    again = AnomalyDetector(Autoencoder(epochs=1), random_state=0).fit(other)
    assert not torch.equal(
        views_of(again.calibrated_.reference).location, views_of(detector.calibrated_.reference).location
    )


def test_batch_is_rows_and_the_file_says_the_same(normal: np.ndarray, detector: AnomalyDetector, tmp_path) -> None:
    scores = detector.anomaly_score(normal[:300])
    one_by_one = np.concatenate([detector.anomaly_score(normal[i : i + 1]) for i in (0, 7, 299)])
    np.testing.assert_array_equal(one_by_one, scores[[0, 7, 299]])
    detector.save(tmp_path / "model.diabolo")
    loaded = AnomalyDetector.load(tmp_path / "model.diabolo")
    assert loaded.score_ == "auto"
    np.testing.assert_array_equal(loaded.anomaly_score(normal[:300]), scores)
    # An autoencoder alone keeps the score that it can give.
    alone = Autoencoder.load(tmp_path / "model.diabolo")
    np.testing.assert_array_equal(alone.anomaly_score(normal[:9]), alone.anomaly_score(normal[:9], score="nll"))


def test_calibrated_with_power(normal: np.ndarray, detector: AnomalyDetector) -> None:
    rng = np.random.default_rng(6)
    far = normal[:100] + np.array([0.0, 0.0, 3.0, 0.0])
    assert (detector.p_values(far) < 0.01).mean() > 0.95
    t = rng.beta(2, 4, 4000) * 4
    fresh = np.stack([np.cos(t), np.sin(t), 0.5 * t], axis=1) + 0.03 * rng.normal(size=(4000, 3))
    fresh = np.concatenate([fresh, rng.normal(size=(4000, 1))], axis=1)
    # 300 calibration rows: the rate at 5 % follows Beta(15, 286).
    assert 0.015 < (detector.p_values(fresh) <= 0.05).mean() < 0.1


def test_mixed_columns() -> None:
    import pandas as pd

    rng = np.random.default_rng(7)
    n = 600
    x = rng.normal(size=n)
    table = pd.DataFrame(
        {
            "x": x,
            "y": 2 * x + 0.1 * rng.normal(size=n),
            "gap": np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n)),
            "flag": x > 0,
            "word": np.where(x > 0, "up", "down"),
            "phi": rng.uniform(-np.pi, np.pi, n),
            "same": 1.0,
        }
    )
    detector = AnomalyDetector(Autoencoder(epochs=1), random_state=0).fit(table)
    row = table.iloc[[0]]
    usual = detector.anomaly_score(row)[0]
    for change in (
        {"y": float(-2 * x[0]) + 5},
        {"word": "sideways"},
        {"same": 2.0},
        {"x": np.nan},
        {"flag": x[0] <= 0},
    ):
        assert detector.anomaly_score(row.assign(**change))[0] > usual, change
    assert np.isfinite(detector.anomaly_score(table)).all()


def test_few_rows_keep_the_score_of_the_model() -> None:
    x = np.random.default_rng(8).normal(size=(30, 3))
    detector = AnomalyDetector(Autoencoder(epochs=1), random_state=0).fit(x)
    assert len(detector.calibrated_.reference.stored) < 20
    assert detector.score_ == "nll"


def test_images_share_one_scale() -> None:
    rng = np.random.default_rng(9)
    images = np.zeros((200, 4, 4))
    images[:, 1:3, 1:3] = rng.normal(size=(200, 2, 2))
    images[:, 0, 0] = 1e-3 * rng.normal(size=200)
    detector = AnomalyDetector(Autoencoder(epochs=1), random_state=0).fit(images)
    odd = images[:1].copy()
    odd[0, 0, 0] += 0.02  # twenty of its own spreads, which are none beside those of the others
    before, after = detector.anomaly_score(images[:1])[0], detector.anomaly_score(odd)[0]
    assert after - before < 0.1


def test_images_with_missing_pixels_are_scored() -> None:
    images = np.random.default_rng(10).normal(size=(200, 4, 4))
    images[::7, 1, 2] = np.nan
    detector = AnomalyDetector(Autoencoder(epochs=1), random_state=0).fit(images)
    assert isinstance(views_of(detector.calibrated_.reference), Views)
    assert np.isfinite(detector.anomaly_score(images)).all()


def test_rows_of_objects_keep_the_bound_of_their_model() -> None:
    import pandas as pd

    rng = np.random.default_rng(11)
    count = rng.integers(0, 3, 400)
    table = pd.DataFrame({f"j{i}_pt": np.where(count >= i, rng.exponential(size=400) + 1, 0.0) for i in (1, 2)})
    table["met"] = rng.normal(size=400)
    of_objects = AnomalyDetector(VariationalAutoencoder(slots={"j": 2}, epochs=1), random_state=0).fit(table)
    assert of_objects.score_ == "neg_elbo"
    assert AnomalyDetector(Autoencoder(slots={"j": 2}, epochs=1), random_state=0).fit(table).score_ == "auto"
    assert AnomalyDetector(VariationalAutoencoder(epochs=1), random_state=0).fit(table).score_ == "auto"
