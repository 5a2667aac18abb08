"""Scores against oracles: closed forms, SciPy, scikit-learn's neighbours."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import values_of
from scipy.spatial.distance import mahalanobis as scipy_mahalanobis
from sklearn.neighbors import NearestNeighbors

from diabolo import AnomalyDetector, Autoencoder, DenoisingAutoencoder, LinearAutoencoder, VariationalAutoencoder, load
from diabolo.data.hashing import hash_rows
from diabolo.detect.choice import applicable
from diabolo.detect.neighbours import SPACES, Nearest, nearest_rows
from diabolo.detect.reference import Reference, Stored
from diabolo.detect.scores import ByColumn, scores
from diabolo.detect.scores.error import LEVELS, denoised_error
from diabolo.detect.scores.latent import RIDGE
from diabolo.detect.scores.neighbours import Neighbours
from diabolo.detect.scoring import score_table
from diabolo.detect.split import apart_of_any_table
from diabolo.detect.tiling import tiled
from diabolo.errors import ConfigError
from diabolo.fitted.record import KEPT_BYTES, most_kept


def nearest_of(reference, values, k):
    """Distances to the k nearest stored rows in input space, and their positions, of the rows of one tile."""
    with torch.inference_mode():
        _, rows = next(tiled(reference, values, own=True))
        return (found[: len(values)].numpy() for found in nearest_rows(reference, rows, "input", k))


@pytest.fixture(scope="module")
def linear(plane):
    """A detector around a PCA of rows on a plane with noise, and 300 rows that it has not seen."""
    noisy = plane[1]
    return AnomalyDetector(LinearAutoencoder(latent_dim=2)).fit(noisy[:900]), noisy[900:]


@pytest.fixture(scope="module")
def mixed_detector(mixed):
    return AnomalyDetector(VariationalAutoencoder(slots={"e": 2}, epochs=2)).fit(mixed)


def score_of(detector, X, name):
    model = detector.calibrated_.reference.model
    return score_table(detector.calibrated_.reference, values_of(model, X), [name])[name]


# ── the search ────────────────────────────────────────────────────────────────────────────────────


def clouds(case, rng):
    points, queries = rng.normal(size=(1_500, 7)), rng.normal(size=(90, 7))
    if case == "a far query":
        queries[:20] *= 1e6
    if case == "a wild point":  # which makes single precision useless for all the others
        points[0] = 1e7
    if case == "a tight heap far out":
        points[:700] = 1e3 + 1e-4 * points[:700]
        queries[:50] = 1e3 + 1e-4 * queries[:50]
    if case == "copies":
        points, queries = points.round(), queries.round()
    if case == "few":
        points = points[:40]
    return points.astype(np.float32), queries.astype(np.float32)


CASES = ["plain", "a far query", "a wild point", "a tight heap far out", "copies", "few"]


@pytest.mark.parametrize("case", CASES)
def test_the_nearest_are_those_of_scikit_learn(case, rng):
    points, queries = clouds(case, rng)
    distance, at = Nearest(torch.from_numpy(points)).query(torch.from_numpy(queries), 5)
    exact, places = NearestNeighbors(n_neighbors=5, algorithm="kd_tree").fit(points.astype(float)).kneighbors(queries)
    np.testing.assert_allclose(distance, exact, rtol=1e-6, atol=1e-12)
    if case not in ("copies", "a tight heap far out"):  # where distances tie
        assert np.array_equal(at, places)
    here = np.linalg.norm(points[at].astype(float) - queries[:, None].astype(float), axis=-1)
    np.testing.assert_allclose(here, exact, rtol=1e-6, atol=1e-12)


def test_single_precision_alone_would_be_wrong(rng, monkeypatch):
    """Negative control: without the second look in double precision the same comparison fails."""
    monkeypatch.setattr("diabolo.detect.neighbours.TOLERANCE", np.inf)
    with pytest.raises(AssertionError):
        test_the_nearest_are_those_of_scikit_learn("a wild point", rng)


def test_a_point_does_not_count_itself_once(rng):
    points = rng.normal(size=(300, 3)).astype(np.float32)
    points[10:20] = points[0]  # eleven of one place: ten are left at distance 0
    index = Nearest(torch.from_numpy(points))
    distance, at = index.query(torch.from_numpy(points), 3, torch.arange(300))
    for i in range(300):
        others = np.delete(points, i, axis=0).astype(float)
        exact = np.sort(np.linalg.norm(others - points[i], axis=1))[:3]
        np.testing.assert_allclose(distance[i], exact, rtol=1e-9, atol=1e-12)
    alone = np.setdiff1d(np.arange(300), np.r_[0, 10:20])
    assert (at[alone] != torch.from_numpy(alone)[:, None]).all()


def test_neighbours_where_fewer_points_are_than_asked_for(rng):
    points = torch.from_numpy(rng.normal(size=(3, 2)))
    distance, _ = Nearest(points).query(points, 5, torch.arange(3))
    assert distance.shape == (3, 2)
    assert torch.isfinite(distance).all()


# ── the spaces ────────────────────────────────────────────────────────────────────────────────────


def test_input_space_is_the_standardised_table(linear):
    detector, new = linear
    encoding, stored = detector.calibrated_.reference.model.encoding, detector.calibrated_.reference.stored.values
    scaled = [(v - encoding.center) / encoding.scale for v in (stored, new)]
    exact = NearestNeighbors(n_neighbors=5).fit(scaled[0]).kneighbors(scaled[1])[0]
    np.testing.assert_allclose(score_of(detector, new, "neighbours"), exact[:, -1], rtol=1e-5)
    distances, positions = nearest_of(detector.calibrated_.reference, new, 5)
    np.testing.assert_allclose(distances, exact, rtol=1e-5)
    here = np.linalg.norm(scaled[0][positions[:, 2]] - scaled[1], axis=1)
    np.testing.assert_allclose(here, exact[:, 2], rtol=1e-5)


def test_stored_rows_leave_themselves_out(linear):
    """A copy of a stored row is not its own neighbour, in double or single precision."""
    detector, _ = linear
    encoding, stored = detector.calibrated_.reference.model.encoding, detector.calibrated_.reference.stored.values
    scaled = (stored - encoding.center) / encoding.scale
    exact = NearestNeighbors(n_neighbors=Neighbours.k + 1).fit(scaled).kneighbors(scaled)[0]
    for rows in (stored, stored.astype(np.float32)):
        np.testing.assert_allclose(score_of(detector, rows, "neighbours"), exact[:, Neighbours.k], rtol=1e-4)


def squared_distance(encoding, one, other):
    """The formula of input space, column by column, for rows of the fixture `mixed`."""
    total = 0.0
    for c, column in enumerate(encoding.schema.columns):
        a, b = one[c], other[c]
        slot = column.name[:2] if column.name.startswith(("e1", "e2")) else None
        total += 2.0 * (np.isnan(a) != np.isnan(b))
        if column.kind == "boolean" or column.kind == "categorical":
            total += 2.0 * (a != b)
        elif column.kind == "angle":
            total += 2 - 2 * np.cos(a - b)
        else:
            scaled = [0.0 if np.isnan(v) else (v - encoding.center[c]) / encoding.scale[c] for v in (a, b)]
            if slot:
                pt = encoding.schema.names.index(f"{slot}_pt")
                there = [one[pt] != 0, other[pt] != 0]
                scaled = [s if t else 0.0 for s, t in zip(scaled, there, strict=True)]
                total += 2.0 * (column.name.endswith("_pt") and there[0] != there[1])
            total += (scaled[0] - scaled[1]) ** 2
    return total


def test_input_space_counts_every_kind_of_column(mixed, mixed_detector):
    reference = mixed_detector.calibrated_.reference
    encoding, stored = reference.model.encoding, reference.stored.values
    rows = values_of(reference.model, mixed)[:12].copy()
    known = {int(h) for h in hash_rows(stored)}
    distance, _ = nearest_of(reference, rows, 3)
    for i, row in enumerate(rows):
        exact = np.sort([squared_distance(encoding, row, other) for other in stored]) ** 0.5
        exact = exact[1:4] if int(hash_rows(rows[i : i + 1])[0]) in known else exact[:3]
        np.testing.assert_allclose(distance[i], exact, rtol=1e-4, atol=1e-5)


def test_what_no_training_row_had_costs_two_in_input_space(mixed, mixed_detector):
    encoding = mixed_detector.calibrated_.reference.model.encoding
    names = encoding.schema.names
    row = values_of(mixed_detector.calibrated_.reference.model, mixed)[:1].astype(float)
    strange = np.repeat(row, 2, axis=0)
    strange[1, names.index("a")] = np.nan

    def counted(values):
        rows = encoding.encode(torch.from_numpy(values))
        return SPACES["input"](mixed_detector.calibrated_.reference.model, rows)[:, -1].square().tolist()

    assert counted(row) == [0.0]
    assert counted(strange) == pytest.approx([0.0, 2.0])
    strange[1, names.index("colour")] = 99
    assert counted(strange) == pytest.approx([0.0, 4.0])


def test_latent_neighbours_of_a_pca_are_those_in_its_plane(linear):
    detector, new = linear
    ae = detector.autoencoder_
    codes, stored = ae.transform(new), ae.transform(detector.calibrated_.reference.stored.values)
    unit = np.sqrt(np.trace(ae.model_.buffers["latent_cov"].numpy()) / 2)
    exact = NearestNeighbors(n_neighbors=5).fit(stored / unit).kneighbors(codes / unit)[0][:, -1]
    np.testing.assert_allclose(score_of(detector, new, "neighbours_latent"), exact, rtol=1e-4)


def test_residual_neighbours_are_those_of_signed_residuals(linear):
    detector, new = linear
    ae = detector.autoencoder_
    encoding, stored = ae.model_.encoding, detector.calibrated_.reference.stored.values
    unit = np.sqrt(ae.model_.buffers["typical_squared_error"].numpy())
    residual = [(X - ae.reconstruct(X)) / encoding.scale / unit for X in (stored, new)]
    exact = NearestNeighbors(n_neighbors=5).fit(residual[0]).kneighbors(residual[1])[0][:, -1]
    np.testing.assert_allclose(score_of(detector, new, "neighbours_residual"), exact, rtol=1e-3)


# ── the other scores ──────────────────────────────────────────────────────────────────────────────


def test_mahalanobis_is_that_of_scipy(linear):
    detector, new = linear
    buffers, codes = detector.autoencoder_.model_.buffers, detector.autoencoder_.transform(new)
    mean, covariance = (buffers[n].double().numpy() for n in ("latent_mean", "latent_cov"))
    inverse = np.linalg.inv(covariance + RIDGE * np.trace(covariance) / 2 * np.eye(2))
    exact = [scipy_mahalanobis(z, mean, inverse) for z in codes]
    np.testing.assert_allclose(score_of(detector, new, "mahalanobis"), exact, rtol=1e-5)


def test_a_dimension_that_is_shut_down_does_not_outweigh_the_others(build_model, encoded, plane):
    model = build_model(plane[1], hidden=(), network="linear", latent_dim=2)
    model.buffers["latent_cov"] = torch.diag(torch.tensor([1.0, 1e-12]))
    rows = encoded(model, plane[1])
    value = scores.create("mahalanobis")(Reference(model), rows)
    codes = model.posterior(rows).mean
    np.testing.assert_allclose(value, (codes[:, 0] ** 2 / 1.0005 + codes[:, 1] ** 2 / 5e-4).sqrt(), rtol=1e-4)


def test_absolute_and_squared_error_are_those_of_reconstructions(linear):
    detector, new = linear
    ae = detector.autoencoder_
    off = (new - ae.reconstruct(new)) / ae.model_.encoding.scale
    np.testing.assert_allclose(score_of(detector, new, "mae"), np.abs(off).mean(1), rtol=1e-4)
    np.testing.assert_allclose(score_of(detector, new, "mse"), (off**2).mean(1), rtol=1e-4)


def test_undoing_noise_of_a_linear_model_is_its_error_and_its_sensitivity(build_model, encoded, plane):
    """f(x) = A x + b: the mean over ±ε is exactly (x − f(x))² + σ² (A ε)²."""
    model = build_model(plane[1], hidden=(), network="linear", latent_dim=2, clip=1e6)
    rows = encoded(model, plane[1][:50])
    generator = torch.Generator().manual_seed(0)
    nodes = torch.zeros(len(LEVELS), 8).normal_(generator=generator)
    zero = torch.zeros(1, 8)
    moved = model.decode(model.encode(nodes).mean) - model.decode(model.encode(zero).mean)
    plain = model.column_squared_error(model.decode(model.posterior(rows).mean), rows)
    sensitivity = sum(s**2 * m.square() for s, m in zip(LEVELS, moved, strict=True)) / len(LEVELS)
    np.testing.assert_allclose(
        denoised_error(model, rows).detach(), (plain + sensitivity).detach(), rtol=1e-3, atol=1e-5
    )
    assert torch.allclose(denoised_error(model, rows, (0.0,)), plain, atol=1e-6)


def test_undoing_noise_tells_rows_off_the_plane_from_rows_on_it(plane):
    ae = DenoisingAutoencoder(latent_dim=2, hidden=(32,), epochs=10).fit(plane[1][:800])
    off = plane[1][800:] + 1.5 * np.random.default_rng(0).normal(size=(400, 8))
    assert (
        ae.anomaly_score(off, "denoise") > np.quantile(ae.anomaly_score(plane[1][800:], "denoise"), 0.9)
    ).mean() > 0.8


@pytest.mark.parametrize("name", [n for n in scores if issubclass(scores.get(n), ByColumn)])
def test_columns_add_up_to_the_score(name, mixed, mixed_detector):
    reference = mixed_detector.calibrated_.reference
    values = values_of(reference.model, mixed).astype(float)
    with torch.inference_mode():
        rows = reference.model.encoding.encode(torch.from_numpy(values))
        columns = scores.create(name).columns(reference, rows).numpy()
    assert columns.shape == (len(values), len(reference.model.encoding.schema.output_names))
    reduced = columns.sum(1) if name == "nll" else columns.mean(1)
    np.testing.assert_allclose(reduced, score_table(reference, values, [name])[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", scores.names())
def test_rows_that_cannot_be_scored_are_infinite(name, mixed, mixed_detector):
    model = mixed_detector.calibrated_.reference.model
    values = values_of(model, mixed)[:6].astype(float)
    values[1, 0], values[2] = np.inf, np.nan
    value = score_table(mixed_detector.calibrated_.reference, values, [name])[name]
    assert np.isinf(value).tolist() == [False, True, True, False, False, False]


# ── what a detector keeps ─────────────────────────────────────────────────────────────────────────


def test_how_many_rows_are_stored():
    assert most_kept(3, 8) == 20_000
    assert most_kept(1_000, 4) == KEPT_BYTES // 4_000
    assert most_kept(10**6, 4) == 1_000


def test_a_score_of_neighbours_needs_a_detector(plane):
    ae = Autoencoder(epochs=1).fit(plane[1])
    with pytest.raises(ConfigError, match=r"'neighbours' needs training rows, which a detector keeps: .* gives .*nll"):
        ae.anomaly_score(plane[1], "neighbours")
    assert "neighbours" not in applicable(Reference(ae.model_))
    assert "neighbours" not in applicable(Reference(ae.model_, Stored(plane[1][:1])))


def test_a_detector_by_neighbours_holds_its_rate_and_finds_what_is_far(linear, plane):
    detector = AnomalyDetector(LinearAutoencoder(latent_dim=2), score="neighbours", false_alarm_rate=0.1).fit(
        plane[1][:900]
    )
    assert (detector.predict(plane[1][900:]) == -1).mean() < 0.2
    assert (detector.predict(plane[1][900:] + 20) == -1).all()
    with pytest.raises(ConfigError, match=r"takes long.*score='denoise'"):
        detector.set_params(score="denoise").predict(plane[1])


def test_which_neighbour_counts_is_a_setting(plane, tmp_path):
    X = plane[1]
    detector = AnomalyDetector(LinearAutoencoder(latent_dim=2), score="neighbours:2").fit(X[:300])
    stored = detector.calibrated_.reference.stored.values
    values = stored[:5] + 0.5
    each = np.sort(np.linalg.norm(((values[:, None] - stored) / stored_scale(detector)), axis=-1), axis=1)
    np.testing.assert_allclose(detector.anomaly_score(values), each[:, 1], rtol=1e-6)
    for k in (1, 5):
        name = "neighbours" if k == 5 else f"neighbours:{k}"
        found = score_table(detector.calibrated_.reference, values, [name])[name]
        np.testing.assert_allclose(found, each[:, k - 1], rtol=1e-6)
    detector.save(tmp_path / "m.diabolo")
    again = AnomalyDetector.load(tmp_path / "m.diabolo")
    assert again.score_ == "neighbours:2"
    np.testing.assert_array_equal(again.p_values(values), detector.p_values(values))
    for name, said in {
        "neighbours:0": "greater than or equal to 1",
        "nll:3": "no setting 'k'",
        "near:3": "unknown",
    }.items():
        with pytest.raises(ConfigError, match=said):
            score_table(detector.calibrated_.reference, values, [name])
    with pytest.raises(ConfigError, match="takes long"):
        again.set_params(score="neighbours:3").predict(values)


def stored_scale(detector):
    return detector.autoencoder_.model_.encoding.scale


def test_stored_rows_of_a_fit_are_trained_or_stopped_on(plane):
    X = plane[1]
    detector = AnomalyDetector(LinearAutoencoder(latent_dim=2)).fit(X)
    kept = hash_rows(detector.calibrated_.reference.stored.values)
    assert np.array_equal(np.sort(kept), detector.autoencoder_.fitted_.row_hashes)
    counts = detector.autoencoder_.fitted_.roles.counts
    assert len(kept) + counts["calibrate"] == len(X)


def test_half_of_a_table_that_the_autoencoder_never_saw_is_stored(plane):
    ae = LinearAutoencoder(latent_dim=2).fit(plane[1][:600])
    from diabolo.data.table import as_table

    for n, stored in ((600, 300), (220, 110), (120, 21), (104, 5), (99, 0)):
        parts, excluded = apart_of_any_table(ae.fitted_, as_table(plane[1][600 : 600 + n]), None, 0, 1)
        assert excluded == 0
        assert len(parts.stored) == stored
        assert len(parts.calibrate) == n - stored >= 99
        everything = np.concatenate([parts.stored, parts.calibrate])
        assert set(hash_rows(everything)) == set(hash_rows(plane[1][600 : 600 + n]))
    parts, excluded = apart_of_any_table(ae.fitted_, as_table(plane[1]), None, 0, 1)
    assert (len(parts.stored), excluded, len(parts.calibrate)) == (600, 600, len(plane[1]) - 600)


IN_A_NEW_PROCESS = """
import sys, numpy as np, pandas as pd
from diabolo import AnomalyDetector
from diabolo.detect.choice import applicable
from diabolo.detect.scoring import score_table
from diabolo.data.matching import matched
from diabolo.data.table import as_table
detector = AnomalyDetector.load(sys.argv[1] + "/m.diabolo")
X = pd.read_parquet(sys.argv[1] + "/X.parquet")
reference = detector.calibrated_.reference
values = matched(as_table(X), reference.model.encoding.schema, "the model").values
np.savez(sys.argv[1] + "/out.npz", **score_table(reference, values, applicable(reference)))
"""


def test_a_new_process_gives_every_score_the_same_bits(mixed, mixed_detector, tmp_path, stem):
    mixed_detector.save(tmp_path / "m.diabolo")
    mixed.to_parquet(tmp_path / "X.parquet")
    status, errors = stem.run(IN_A_NEW_PROCESS, [tmp_path])
    assert status == 0, errors
    with np.load(tmp_path / "out.npz") as there:
        known = set(applicable(mixed_detector.calibrated_.reference))
        assert set(there) == known >= set(scores.names()) - {"auto"}
        for name in there:
            np.testing.assert_array_equal(there[name], score_of(mixed_detector, mixed, name), err_msg=name)


def test_all_scores_stand_side_by_side(mixed, tmp_path, shop):
    from program import done

    out = tmp_path / "all.parquet"
    done("score", shop / "vae.diabolo", shop / "data.parquet", "--score", "all", "-o", out, "-q")
    done("score", shop / "vae.diabolo", shop / "data.parquet", "-o", tmp_path / "one.parquet", "-q")
    every, one = pd.read_parquet(out), pd.read_parquet(tmp_path / "one.parquet")
    pd.testing.assert_frame_equal(every[one.columns], one)
    detector = AnomalyDetector.load(shop / "vae.diabolo")
    assert [c for c in every if c.startswith("score_")] == [
        f"score_{n}" for n in applicable(detector.calibrated_.reference)
    ]
    assert (every[f"score_{detector.score_}"] == every["score"]).all()
    done("score", shop / "ae.diabolo", shop / "data.parquet", "--score", "all", "-o", out, "-q")
    assert list(pd.read_parquet(out))[5:] == [
        f"score_{n}" for n in applicable(Reference(load(shop / "ae.diabolo").model_))
    ]
