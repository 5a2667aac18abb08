"""Figures: their numbers against other ways to get them, axes in and out, and no trace in pyplot."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.metrics import auc, roc_auc_score

from diabolo import AnomalyDetector, Autoencoder, LatentClusterer, LinearAutoencoder, plots
from diabolo.errors import ConfigError, DataError, MissingExtraError
from diabolo.plots import drawing

matplotlib = pytest.importorskip("matplotlib")
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(900, 2)) @ rng.normal(size=(2, 4)) + 0.3 * rng.normal(size=(900, 4))
    frame = pd.DataFrame(values, columns=["pt", "$x$", "phi", "a name that is far too long for an axis"])
    return frame.assign(kind=np.where(values[:, 0] > 0, "up", "down"))


@pytest.fixture(scope="module")
def detector(rows):
    return AnomalyDetector(Autoencoder(latent_dim=2, epochs=4), score="nll").fit(rows)


@pytest.fixture(scope="module")
def mixed(rows):
    """Rows as in the fit, then far ones, and which are far."""
    far = rows[:80].assign(pt=rows["pt"][:80] + 9)
    return pd.concat([rows[:300], far], ignore_index=True), np.repeat([0, 1], [300, 80])


def drawn(detector, mixed):
    """Every method's axes."""
    X, y = mixed
    yield "history", detector.plot_history
    yield "scores", lambda **at: detector.plot_scores(X, **at)
    yield "scores by kind", lambda **at: detector.plot_scores(X, y, **at)
    yield "roc", lambda **at: detector.plot_roc(X, y, **at)
    yield "latent", lambda **at: detector.plot_latent(X, **at)
    yield "latent by number", lambda **at: detector.plot_latent(X, "pt", **at)
    yield "latent by word", lambda **at: detector.plot_latent(X, "kind", **at)
    yield "columns", lambda **at: detector.plot_columns(X, **at)
    yield "errors", lambda **at: detector.plot_reconstruction(X, **at)
    yield "column", lambda **at: detector.plot_reconstruction(X, "$x$", **at)


def test_axes_come_back_labelled_and_pyplot_knows_of_none(detector, mixed):
    from matplotlib import pyplot as plt

    before = plt.get_fignums()
    for name, draw in drawn(detector, mixed):
        own = Figure().subplots()
        assert draw(ax=own) is own, name
        ax = draw()
        assert isinstance(ax, Axes), name
        assert ax.figure is not own.figure, name
        for shown in (own, ax):
            assert shown.get_xlabel(), name
            assert shown.get_title(), name
            assert shown.get_ylabel() or shown.get_yticklabels(), name
            shown.figure.savefig(io.BytesIO(), format="png")
        assert ax._repr_png_().startswith(b"\x89PNG"), name
    assert plt.get_fignums() == before


def test_a_display_has_its_axes_as_scikit_learns_have(detector):
    display = plots.HistoryDisplay.from_estimator(detector)
    assert display.figure_ is display.ax_.figure
    first = display.ax_
    other = Figure().subplots()
    assert display.plot(ax=other) is display
    assert display.ax_ is other is not first
    assert display._repr_png_().startswith(b"\x89PNG")
    assert len(display.epochs) == len(detector.autoencoder_.history_)
    assert display.stop.tolist() == [h["validation"] for h in detector.autoencoder_.history_]


def test_scores_and_curve_are_the_detectors(detector, mixed):
    X, y = mixed
    scores = detector.anomaly_score(X).to_numpy()
    display = plots.ScoreDisplay.from_estimator(detector, X, np.where(y, "far", "near"))
    np.testing.assert_array_equal(display.scores["far"], scores[y == 1])
    assert display.threshold == detector.threshold_
    heights = [p.get_data().values.sum() for p in display.ax_.patches if hasattr(p, "get_data")]
    np.testing.assert_allclose(heights, 1, err_msg="each histogram is of shares")
    curve = plots.RocDisplay.from_estimator(detector, X, y)
    assert curve.roc_auc == pytest.approx(roc_auc_score(y, scores))
    assert auc(curve.fpr, curve.tpr) == pytest.approx(roc_auc_score(y, scores))
    np.testing.assert_array_equal(plots.RocDisplay.from_estimator(detector, X, 1 - 2 * y).tpr, curve.tpr)


def test_a_row_without_a_score_is_told_and_counts_as_found(detector, mixed):
    X, y = mixed
    X = X.copy()
    X.loc[len(X) - 1, "pt"] = np.inf
    display = plots.ScoreDisplay.from_estimator(detector, X)
    assert display.unscored == {"": 1}
    assert "1 more unscored" in display.ax_.get_legend().get_texts()[0].get_text()
    assert plots.RocDisplay.from_estimator(detector, X, y).tpr[-1] == 1
    assert len(plots.LatentDisplay.from_estimator(detector, X).points) == len(X) - 1
    with pytest.raises(DataError, match="none of the 1 rows can be scored"):
        detector.plot_scores(X[-1:])
    with pytest.raises(DataError, match="none of the 1 rows can be encoded"):
        detector.plot_latent(X[-1:])


def test_one_row_lies_at_its_own_code(rows):
    ae = Autoencoder(latent_dim=3, epochs=1).fit(rows)
    display = plots.LatentDisplay.from_estimator(ae, rows[:1])
    assert np.array_equal(display.points, ae.transform(rows[:1])[:, :2])
    assert display.labels[0].startswith("latent z1")


def test_explained_variance_of_a_linear_autoencoder_is_that_of_principal_components():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(2000, 2)) @ np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]) + 0.1 * rng.normal(size=(2000, 3))
    ae = LinearAutoencoder(latent_dim=1).fit(X)
    display = plots.ColumnsDisplay.from_estimator(ae, X)
    assert display.columns[-1] == "x2"
    gone = 1 - np.square(ae.reconstruct(X) - X).sum(axis=0) / np.square(X - X.mean(axis=0)).sum(axis=0)
    np.testing.assert_allclose(display.explained, gone[[int(c[1]) for c in display.columns]], atol=2e-3)


def test_errors_are_in_standard_deviations_and_angles_turn():
    rng = np.random.default_rng(2)
    phi = (np.pi + 0.3 * rng.normal(size=800) + np.pi) % (2 * np.pi) - np.pi
    X = pd.DataFrame({"x": 50 * rng.normal(size=800), "phi": phi})
    display = plots.ReconstructionDisplay.from_estimator(Autoencoder(angles=["phi"], epochs=2).fit(X), X)
    assert display.turns.tolist() == [False, True]
    assert np.abs(display.errors[:, 1]).max() <= np.pi / display.scale[1] + 1e-9
    assert 0.01 < display.errors[:, 0].std() < 3


def test_codes_of_one_two_and_more_numbers_and_of_clusters(rows):
    X = rows[["pt", "$x$", "phi"]]
    for k in (1, 2, 3):
        ae = LinearAutoencoder(latent_dim=k).fit(X)
        display = plots.LatentDisplay.from_estimator(ae, X)
        assert display.points.shape == (len(X), min(k, 2))
    assert "principal component 1 of 3" in display.ax_.get_xlabel()
    apart = np.concatenate([X.to_numpy() * 0.1, X.to_numpy() * 0.1 + 40])
    clusterer = LatentClusterer(LinearAutoencoder(latent_dim=2), n_clusters=2, n_resamples=0).fit(apart)
    display = plots.LatentDisplay.from_estimator(clusterer, apart)
    assert sorted(set(display.color)) == ["0", "1"]
    assert display.ax_.get_legend().get_title().get_text() == "cluster"
    assert not hasattr(clusterer, "plot_scores")


def test_images_stand_above_their_reconstructions():
    images = np.random.default_rng(0).random((40, 6, 5))
    ae = LinearAutoencoder(latent_dim=2).fit(images)
    ax = ae.plot_reconstruction(images)
    assert ax.get_images()[0].get_array().shape == (2 * 6 + 1, 8 * 5 + 7)
    with pytest.raises(ConfigError, match="whose pixels have no names"):
        ae.plot_reconstruction(images, "x1")
    with pytest.raises(DataError, match="plot_reconstruction shows images"):
        ae.plot_columns(images)


def test_colors_stand_out_from_light_and_dark_ground(detector):
    def luminance(color):
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in matplotlib.colors.to_rgb(color)]
        return np.dot([0.2126, 0.7152, 0.0722], linear)

    for style, palette in (("default", drawing.LIGHT), ("dark_background", drawing.DARK)):
        with matplotlib.style.context(style):
            ax = detector.plot_history()
        assert drawing.colors(ax) == palette
        ground = luminance(ax.get_facecolor())
        for color in palette[:3]:
            low, high = sorted([luminance(color), ground])
            assert (high + 0.05) / (low + 0.05) >= 3, "WCAG 2.2, 1.4.11: graphical objects"


def test_names_of_the_data_are_never_mathematics(detector, mixed):
    for ax in (detector.plot_columns(mixed[0]), detector.plot_reconstruction(mixed[0])):
        labels = [t.get_text() for t in ax.get_yticklabels()]
        assert r"\$x\$" in labels
        assert max(map(len, labels)) <= 28


def test_what_cannot_be_drawn_is_named(detector, mixed, monkeypatch):
    X, y = mixed
    for wrong, said in (
        (lambda: detector.plot_roc(X, y[:5]), r"y has shape \(5,\); expected \(380,\)"),
        (lambda: detector.plot_roc(X, y + 2), "y holds 2, 3; allowed are both of False and True"),
        (lambda: detector.plot_roc(X, 0 * y), "y holds 0; allowed"),
        (lambda: detector.plot_latent(X, "ptt"), "color = 'ptt': the rows have no such column"),
        (lambda: detector.plot_latent(X, y[:5]), r"color has shape \(5,\)"),
        (lambda: detector.plot_reconstruction(X, "kind"), "no column of numbers"),
        (lambda: plots.HistoryDisplay.from_estimator(3), "estimator = 3; allowed are fitted"),
    ):
        with pytest.raises((DataError, ConfigError), match=said):
            wrong()
    with pytest.raises(NotFittedError):
        Autoencoder().plot_history()
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'diabolo\[plot\]'"):
        detector.plot_history()
