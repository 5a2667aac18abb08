"""The default score of a detector: its views by their definition, what they find, and what they must not see."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.special
import torch

from diabolo import AnomalyDetector, Autoencoder, VariationalAutoencoder
from diabolo.data.encoding import Encoding
from diabolo.data.schema import Column, Schema
from diabolo.detect import views as views_module
from diabolo.detect.calibrating import recalibrated
from diabolo.detect.least import grouped, partitioned
from diabolo.detect.places import DIFFER, TILE, LinearResiduals, NormalScores, soft_clip
from diabolo.detect.scores.auto import views_of
from diabolo.detect.scoring import score_table
from diabolo.detect.views import NEAR, SHORTLIST, WEIGHTS, Views
from diabolo.errors import CalibrationError
from diabolo.file.detector import RULE, calibrated_of, detector_section
from diabolo.metrics import auroc


def plain(columns: int) -> Encoding:
    """Reals that enter as they are."""
    schema = Schema(tuple(Column(f"x{i}", "real", "float64", 0.0, -9.0, 9.0, 0.0) for i in range(columns)))
    return Encoding(schema, np.zeros(columns), np.ones(columns), 8.0, 100)


def encoded(values: np.ndarray, columns: int):
    return plain(columns).encode(torch.from_numpy(np.ascontiguousarray(values)))


def measured(views: Views, values: np.ndarray, own: np.ndarray | None = None) -> np.ndarray:
    rows = encoded(values, values.shape[1])
    return views.measure(rows, None if own is None else torch.from_numpy(own)).double().numpy()


def scored(views: Views, values: np.ndarray, own: np.ndarray | None = None) -> np.ndarray:
    return views(encoded(values, values.shape[1]), None if own is None else torch.from_numpy(own)).double().numpy()


def normal_scores(stored: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Φ⁻¹ of mid-ranks, linear beyond, in plain NumPy."""
    out = np.empty_like(new)
    for c in range(new.shape[1]):
        s = stored[:, c]
        rank = (s[None] < new[:, c, None]).sum(1) + (s[None] <= new[:, c, None]).sum(1) + 1
        out[:, c] = scipy.special.ndtri(rank / 2 / (len(s) + 1))
        out[:, c] += np.maximum(new[:, c] - s.max(), 0) - np.maximum(s.min() - new[:, c], 0)
    return out


def residuals(stored: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Of each column by least squares on the others, with a ridge of 0.05 n, in units of their spread."""
    z, q = stored - stored.mean(0), new - stored.mean(0)
    z, q = z / stored.std(0), q / stored.std(0)
    n, out = len(z), np.empty_like(q)
    for c in range(z.shape[1]):
        others = np.delete(np.arange(z.shape[1]), c)
        a = z[:, others].T @ z[:, others] / n + 0.05 * np.eye(len(others))
        slope = np.linalg.solve(a, z[:, others].T @ z[:, c] / n)
        variance = 1.05 - slope @ (z[:, others].T @ z[:, c] / n)
        out[:, c] = (q[:, c] - q[:, others] @ slope) / np.sqrt(variance)
    return out


def by_definition(stored: np.ndarray, query: np.ndarray, skip: int | None) -> list[float]:
    """The four views of one row, in plain NumPy and double precision."""
    mean, std = stored.mean(0), stored.std(0)
    x, q = (stored - mean) / std, ((query - mean) / std)[None]
    n, nq = normal_scores(x, x), normal_scores(x, q)
    e, eq = residuals(x, x), residuals(x, q)
    r, rq = normal_scores(e, e), normal_scores(e, eq)
    others = np.arange(len(x)) if skip is None else np.delete(np.arange(len(x)), skip)
    squared = ((np.c_[x, n] - np.c_[q, nq]) ** 2).sum(1)
    short = others[np.argsort(squared[others])[:SHORTLIST]]
    near = [float(np.sort(np.abs(a[short] - b).sum(1))[:NEAR].mean()) for a, b in ((x, q), (n, nq), (r, rq))]
    return [*near, float(np.sort(np.sqrt(squared[others]))[: len(x) // 10].mean())]


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
    views = Views(plain(3), stored)
    new = rng.normal(size=(6, 3))
    expected = np.array([by_definition(stored, row, None) for row in new]).T
    np.testing.assert_allclose(measured(views, new), expected, rtol=2e-3)
    # A stored row does not count itself. Rounding may move a residual by half a rank beside its own.
    some = np.array([0, 1, 127, 128, 148, 149])
    expected = np.array([by_definition(stored, stored[i], i) for i in some]).T
    found = measured(views, stored[some], some)
    np.testing.assert_allclose(found[[0, 1, 3]], expected[[0, 1, 3]], rtol=2e-3)
    np.testing.assert_allclose(found[2], expected[2], rtol=0.03)
    # The negative control: with itself, it would be at no distance.
    assert (measured(views, stored[some])[0] < expected[0]).all()


@pytest.mark.parametrize("rows", [1_030, 3_000])
def test_the_search_finds_the_nearest_of_many_rows(rows: int) -> None:
    """Beyond 1,024 rows by groups and their parts, with the same rows as a look at all of them."""
    rng = np.random.default_rng(2)
    stored, new = rng.normal(size=(rows, 2)), rng.normal(size=(20, 2))
    views = Views(plain(2), stored)
    expected = np.array([by_definition(stored, row, None)[:3] for row in new]).T
    np.testing.assert_allclose(measured(views, new)[:3], expected, rtol=2e-3, atol=1e-4)


def test_the_shortlist_holds_the_nearest_rows_by_double_precision() -> None:
    rng = np.random.default_rng(8)
    far = rng.gamma(9.0, size=(500, 10_016)).astype(np.float32)
    views = Views(plain(20), rng.normal(size=(10_000, 20)))
    expected = np.sort(far.argsort(axis=1)[:, :SHORTLIST], axis=1)
    # Distances that are equal to five digits may change places.
    right = np.sort(partitioned(far, views.groups, SHORTLIST), axis=1) == expected
    assert right.all(axis=1).mean() > 0.98
    # A card compares all digits.
    on_a_card = grouped(torch.from_numpy(far), views.groups, SHORTLIST)
    np.testing.assert_array_equal(np.sort(on_a_card.numpy(), axis=1), expected)


@pytest.mark.parametrize("kin", [False, True])
def test_rows_that_fill_a_tile_change_nothing(kin: bool) -> None:
    rng = np.random.default_rng(9)
    stored = rng.normal(size=(2_000, 4))
    views, rows = Views(plain(4), stored), encoded(stored[: 2 * TILE], 4)
    own = torch.arange(2 * TILE) if kin else None
    whole = views(rows, own)
    for rows.count in (1, 2, TILE - 1, TILE, TILE + 3):
        np.testing.assert_array_equal(views(rows, own), whole[: rows.count])


@pytest.mark.parametrize("few", [True, False])
def test_a_pickle_asks_the_machine_that_reads_it(few: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    views = Views(plain(4), np.random.default_rng(2).normal(size=(200, 4)))
    there = pickle.dumps(views)
    monkeypatch.setattr(Views, "_alike", lambda *_: few)
    assert pickle.loads(there).few is few


def test_a_typical_row_scores_one_and_views_count_by_their_weights() -> None:
    stored = np.random.default_rng(2).normal(size=(400, 2))
    views = Views(plain(2), stored)
    own = measured(views, stored, np.arange(400))
    unit = np.median(own, axis=1)
    np.testing.assert_allclose(views.unit.numpy(), unit, rtol=2e-2)
    weights = np.array(WEIGHTS) / sum(WEIGHTS)
    np.testing.assert_allclose(
        scored(views, stored, np.arange(400)), weights @ (own / views.unit.numpy()[:, None]), rtol=1e-5
    )
    assert 0.8 < np.median(scored(views, stored, np.arange(400))) < 1.25


def test_wild_cells_stay_ordered_and_finite() -> None:
    x = torch.tensor([-1e15, -9.0, -8.0, 0.5, 8.0, 9.0, 100.0, 1e15])
    out = soft_clip(x)
    assert bool((out.diff() > 0).all())
    assert float(out.max()) < 50
    torch.testing.assert_close(out[2:5], x[2:5])
    # The same bits whatever lies beside a cell.
    assert soft_clip(x[2:5]).tolist() == out[2:5].tolist() == x[2:5].tolist()
    assert all(soft_clip(x[i : i + 1]).tolist() == out[i : i + 1].tolist() for i in range(len(x)))


def test_normal_scores_are_those_of_ranks_and_leave_missing_cells_out() -> None:
    rng = np.random.default_rng(3)
    stored = np.round(rng.normal(size=(60, 2)), 1)  # ties
    new = np.concatenate([stored[:20], np.array([[9.0, -9.0], [0.05, 0.0]])])
    found = NormalScores(torch.from_numpy(stored).float())(torch.from_numpy(new).float())
    np.testing.assert_allclose(
        found.numpy(), normal_scores(stored.astype(np.float32), new.astype(np.float32)), atol=1e-5
    )
    there = torch.ones(60, 2, dtype=torch.bool)
    there[30:, 0] = False
    part = NormalScores(torch.from_numpy(stored).float(), there)(torch.from_numpy(new).float())
    expected = normal_scores(stored[:30, :1].astype(np.float32), new[:, :1].astype(np.float32))
    np.testing.assert_allclose(part[:, :1].numpy(), expected, atol=1e-5)


def test_linear_residuals_are_those_of_least_squares() -> None:
    rng = np.random.default_rng(4)
    z = rng.normal(size=(300, 4)) @ rng.normal(size=(4, 4))
    found = LinearResiduals(torch.from_numpy(z), 4)(torch.from_numpy(z[:9]).float())
    np.testing.assert_allclose(found.numpy(), residuals(z, z[:9]), atol=1e-4)


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
    views = Views(plain(4), normal[:1000])
    fresh = normal[1000:]
    truth = np.concatenate([np.zeros(len(fresh)), np.ones(len(planted))])
    assert auroc(truth, scored(views, np.concatenate([fresh, planted]))) > 0.95
    # The control: rows that are as normal as the others are not found.
    halves = np.arange(len(fresh)) % 2
    assert abs(auroc(halves, scored(views, fresh)) - 0.5) < 0.08


def test_a_group_of_anomalies_among_the_training_rows_is_found_by_the_wide_view(normal: np.ndarray) -> None:
    rng = np.random.default_rng(5)
    group = np.array([3.5, -3.5, 4.5, 0.0]) + 0.02 * rng.normal(size=(30, 4))
    table = np.concatenate([normal[:970], group])
    views = Views(plain(4), table)
    truth, own = np.arange(len(table)) >= 970, np.arange(len(table))
    assert auroc(truth, measured(views, table, own)[3]) > 0.95
    # Each has 29 of its kind nearby: the distance to the nearest few alone takes them for normal.
    assert auroc(truth, measured(views, table, own)[0]) < 0.5


def test_units_do_not_matter(normal: np.ndarray) -> None:
    units = np.array([1e6, 1e-4, 3.0, 1.0])
    one, other = (
        AnomalyDetector(Autoencoder(epochs=1), random_state=0).fit(normal * u).anomaly_score(normal[:50] * u)
        for u in (1.0, units)
    )
    np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-3)


@pytest.fixture(scope="module")
def detector(normal: np.ndarray) -> AnomalyDetector:
    return AnomalyDetector(Autoencoder(epochs=1), random_state=0).fit(normal)


def test_calibration_rows_never_enter(normal: np.ndarray, detector: AnomalyDetector) -> None:
    def unit(of: AnomalyDetector) -> torch.Tensor:
        return views_of(of.calibrated_.reference).unit  # type: ignore[union-attr]

    other = normal.copy()
    apart = detector.autoencoder_.fitted_.roles.calibrates()
    other[apart] += 3.0
    again = AnomalyDetector(Autoencoder(epochs=1), random_state=0).fit(other)
    assert torch.equal(unit(again), unit(detector))
    # And rows that train do enter.
    other = normal.copy()
    other[~apart, 0] **= 2
    again = AnomalyDetector(Autoencoder(epochs=1), random_state=0).fit(other)
    assert not torch.equal(unit(again), unit(detector))


def mixed(rows: int, seed: int) -> pd.DataFrame:
    """Numbers, an angle, gaps, truth values, words and a constant."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)
    return pd.DataFrame(
        {
            "x": x,
            "y": 2 * x + 0.1 * rng.normal(size=rows),
            "gap": np.where(rng.random(rows) < 0.2, np.nan, rng.normal(size=rows)),
            "flag": x > 0,
            "word": np.where(x > 0, "up", "down"),
            "name": rng.choice([f"n{i}" for i in range(30)], rows),
            "phi": rng.uniform(-np.pi, np.pi, rows),
            "same": 1.0,
        }
    )


def test_a_row_has_the_same_bits_alone_in_a_batch_and_from_a_file(tmp_path) -> None:
    table, new = mixed(2_900, 0), mixed(700, 1)
    detector = AnomalyDetector(Autoencoder(epochs=1), random_state=0).fit(table)
    scores = detector.anomaly_score(new)
    for part in (slice(7, 8), slice(0, 1), slice(699, 700), slice(100, 100 + TILE + 1), slice(200, 657)):
        np.testing.assert_array_equal(detector.anomaly_score(new[part]), scores[part])
    # Also in full tiles, beside a score that needs them.
    everything = detector.calibrated_
    rows = detector._values(new)
    beside = score_table(everything.reference, rows, ["auto", "nll"])["auto"]
    np.testing.assert_array_equal(beside, scores)
    detector.save(tmp_path / "model.diabolo")
    loaded = AnomalyDetector.load(tmp_path / "model.diabolo")
    assert loaded.score_ == "auto"
    np.testing.assert_array_equal(loaded.anomaly_score(new), scores)
    # An autoencoder alone keeps the score that it can give.
    alone = Autoencoder.load(tmp_path / "model.diabolo")
    np.testing.assert_array_equal(alone.anomaly_score(new[:9]), alone.anomaly_score(new[:9], score="nll"))


@pytest.mark.parametrize("columns", [2, 3, 5, 6, 7, 8, 13])
@pytest.mark.parametrize("rows", [60, 700, 3_000])
def test_where_a_row_lies_in_a_tile_changes_no_bit(columns: int, rows: int) -> None:
    """Products of few columns have other last bits for some of their rows."""
    rng = np.random.default_rng(columns)
    stored = np.round(rng.normal(size=(rows, columns)), 1) if columns % 2 else rng.normal(size=(rows, columns))
    views, new = Views(plain(columns), stored), rng.normal(size=(120, columns))
    whole = scored(views, new)
    for start in (1, 5, 37, 111):
        np.testing.assert_array_equal(scored(views, new[start:]), whole[start:])
    order = rng.permutation(120)
    np.testing.assert_array_equal(scored(views, new[order]), whole[order])


@pytest.mark.parametrize("few", [1, 2, 4])
@pytest.mark.parametrize("columns", [2, 9, 20])
def test_a_smaller_product_is_taken_only_where_it_has_the_same_bits(monkeypatch, few: int, columns: int) -> None:
    """One row, as many as make a smaller tile, and more; MKL's product of one row has other bits, of four the same."""
    rng = np.random.default_rng(few)
    monkeypatch.setattr(views_module, "FEW", few)
    views, new = Views(plain(columns), rng.normal(size=(1_500, columns))), rng.normal(size=(60, columns))
    whole = scored(views, new)
    for start, stop in ((7, 8), (16, 18), (20, 23), (0, 4), (59, 60), (30, 35)):
        np.testing.assert_array_equal(scored(views, new[start:stop]), whole[start:stop])
    views.few = False
    np.testing.assert_array_equal(scored(views, new), whole)


def test_a_product_of_other_bits_is_told(monkeypatch) -> None:
    views = Views(plain(6), np.random.default_rng(0).normal(size=(300, 6)))
    asked = torch.randn(40, len(views.table), generator=torch.Generator().manual_seed(0))
    product = torch.Tensor.__matmul__

    def rounded(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        found = product(a, b)
        if len(a) < TILE:
            found[0, 0] = torch.nextafter(found[0, 0], torch.tensor(torch.inf))
        return found

    assert not views._alike(asked[: TILE - 1])
    monkeypatch.setattr(torch.Tensor, "__matmul__", rounded)
    assert not views._alike(asked)


def test_an_earlier_rule_is_refused_and_the_other_scores_stay(normal: np.ndarray, detector: AnomalyDetector) -> None:
    before = dataclasses.replace(detector.calibrated_, outdated=True)
    section = detector_section(before)
    old = calibrated_of("m.diabolo", section, before.fitted)
    with pytest.raises(CalibrationError, match=r"another rule since .* fit it again, .* nll"):
        _ = old.threshold
    nll = old.choosing(score="nll")
    assert nll.threshold == detector.calibrated_.choosing(score="nll").threshold
    # A calibration on other rows makes it new.
    new = recalibrated(old, normal[:200] + 1e-6, None, np.ones(200, bool))
    assert not new.outdated
    assert np.isfinite(new.threshold)
    del section.card["rule"]
    assert calibrated_of("m.diabolo", section, before.fitted).outdated
    section.card["rule"] = RULE - 1
    assert calibrated_of("m.diabolo", section, before.fitted).outdated
    section.card["rule"] = RULE
    assert not calibrated_of("m.diabolo", section, before.fitted).outdated


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
    table = mixed(600, 7)
    detector = AnomalyDetector(Autoencoder(epochs=1), random_state=0).fit(table)
    row = table.iloc[[0]]
    x, usual = table["x"][0], detector.anomaly_score(row)[0]
    for change in ({"y": -2 * x + 5}, {"word": "sideways"}, {"same": 2.0}, {"x": np.nan}, {"flag": x <= 0}):
        assert detector.anomaly_score(row.assign(**change))[0] > usual, change
    assert np.isfinite(detector.anomaly_score(table)).all()


def test_a_level_counts_once_per_column_however_rare_it_is() -> None:
    """Two rows that differ in one word lie `DIFFER` apart in x and in n, whichever words."""
    rng = np.random.default_rng(8)
    words = np.array([f"w{i}" for i in range(40)])
    table = pd.DataFrame({"a": rng.normal(size=900), "k": words[(rng.pareto(0.7, 900) * 2).astype(int).clip(0, 39)]})
    detector = AnomalyDetector(Autoencoder(epochs=1), random_state=0).fit(table)
    views = views_of(detector.calibrated_.reference)
    encoding = detector.autoencoder_.model_.encoding
    row = detector._values(pd.DataFrame({"a": [0.0] * 4, "k": ["w0", "w1", "w38", "w39"]}))
    with torch.inference_mode():
        places, levels = views.places(encoding.encode(torch.from_numpy(row).expand(4, -1)).rows(torch.arange(4)))
    assert torch.equal(places[0], places[3])
    assert len(set(levels[:, 0].tolist())) >= 2
    assert 1.1 < DIFFER < 1.2


def test_few_rows_keep_the_score_of_the_model() -> None:
    x = np.random.default_rng(8).normal(size=(30, 3))
    detector = AnomalyDetector(Autoencoder(epochs=1), random_state=0).fit(x)
    assert len(detector.calibrated_.reference.stored) < 20
    assert detector.score_ == "nll"


@pytest.mark.parametrize("kind", ["words", "truth values", "copies", "one column"])
def test_tables_in_which_a_view_has_nothing_to_say(kind: str) -> None:
    rng = np.random.default_rng(9)
    table = {
        "words": pd.DataFrame({"k": rng.choice(list("abc"), 300), "l": rng.choice(list("xyz"), 300)}),
        "truth values": pd.DataFrame({"a": rng.random(300) < 0.5, "b": rng.random(300) < 0.02}),
        "copies": pd.DataFrame(np.repeat(rng.normal(size=(6, 3)), 50, axis=0)),
        "one column": pd.DataFrame({"a": rng.normal(size=300)}),
    }[kind]
    detector = AnomalyDetector(Autoencoder(epochs=1), random_state=0).fit(table)
    assert np.isfinite(detector.anomaly_score(table)).all()
    assert (detector.predict(table) == -1).mean() <= 0.05


def test_among_copies_a_row_that_is_none_of_them_is_found() -> None:
    rng = np.random.default_rng(12)
    kinds = rng.integers(0, 5, size=(40, 3)).astype(float)
    table, new = kinds[rng.integers(0, 40, 2_000)], kinds[rng.integers(0, 40, 200)]
    detector = AnomalyDetector(Autoencoder(epochs=1), random_state=0).fit(table, groups="content")
    known = detector.calibrated_.reference.stored.values
    scores = detector.anomaly_score(np.r_[known[:100], new + rng.normal(size=new.shape)])
    assert auroc(np.arange(300) >= 100, scores) > 0.99


def test_images_with_missing_pixels_are_scored() -> None:
    images = np.random.default_rng(10).normal(size=(200, 4, 4))
    images[::7, 1, 2] = np.nan
    detector = AnomalyDetector(Autoencoder(epochs=1), random_state=0).fit(images)
    assert isinstance(views_of(detector.calibrated_.reference), Views)
    assert np.isfinite(detector.anomaly_score(images)).all()


def test_rows_of_objects_keep_the_bound_of_their_model() -> None:
    rng = np.random.default_rng(11)
    count = rng.integers(0, 3, 400)
    table = pd.DataFrame({f"j{i}_pt": np.where(count >= i, rng.exponential(size=400) + 1, 0.0) for i in (1, 2)})
    table["met"] = rng.normal(size=400)
    of_objects = AnomalyDetector(VariationalAutoencoder(slots={"j": 2}, epochs=1), random_state=0).fit(table)
    assert of_objects.score_ == "neg_elbo"
    assert AnomalyDetector(Autoencoder(slots={"j": 2}, epochs=1), random_state=0).fit(table).score_ == "auto"
    assert AnomalyDetector(VariationalAutoencoder(epochs=1), random_state=0).fit(table).score_ == "auto"
