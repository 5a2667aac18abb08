"""Traps that autoencoder libraries fall into: scoring unlike training, silence about odd cells, company that matters.

Each test fits for real and looks only at what the estimators show.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from diabolo import AnomalyDetector, Autoencoder, LinearAutoencoder, VariationalAutoencoder
from diabolo.data.dtypes import restored
from diabolo.data.matching import matched
from diabolo.data.roles import ROLES, assign_roles, calibration_share
from diabolo.data.table import as_table
from diabolo.data.tiles import TILE
from diabolo.detect.choice import applicable
from diabolo.detect.reference import Reference
from diabolo.detect.scores import scores
from diabolo.errors import DataError

SEED = 11
SLOTS = {"e": 3}


def events(n=1200, seed=0):
    """Two hidden numbers behind reals, an angle, an integer, a boolean, a constant, gaps, and zero-padded objects."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 2))
    frame = pd.DataFrame(
        {
            "a": 3 * z[:, 0] + 50 + 0.2 * rng.normal(size=n),
            "b": z @ [1, -1] + 0.2 * rng.normal(size=n),
            "phi": np.arctan2(z[:, 1] + 0.2 * rng.normal(size=n), z[:, 0]),
            "hits": rng.poisson(np.exp(1 + 0.3 * z[:, 1])).astype(np.int32),
            "tagged": z[:, 0] + 0.3 * rng.normal(size=n) > 0,
            "run": np.full(n, 362_104),
            "gap": np.where(z[:, 0] > 0.5, np.nan, z[:, 1] + 0.2 * rng.normal(size=n)),
        }
    )
    count = rng.choice(4, size=n, p=[0.02, 0.5, 0.45, 0.03])
    for slot in (1, 2, 3):
        there = count >= slot
        frame[f"e{slot}_pt"] = np.where(there, rng.exponential(20, size=n) + 5, 0.0)
        frame[f"e{slot}_eta"] = np.where(there, rng.normal(size=n), 0.0)
    return frame


def real(n=600, seed=0):
    """Six columns on a plane, all real: the shortest way through the encoding."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 2)) @ rng.normal(size=(2, 6)) + 0.1 * rng.normal(size=(n, 6)) + 5


@pytest.fixture(scope="module")
def X():
    return events()


@pytest.fixture(scope="module")
def models(X):
    """An autoencoder and a VAE of the events, and a VAE of the plain table."""
    settings = {"hidden": (32,), "latent_dim": 3, "epochs": 15, "learning_rate": 1e-2, "random_state": SEED}
    return {
        "ae": Autoencoder(**settings, likelihood={"name": "gaussian", "sigma": "learned"}, slots=SLOTS).fit(X),
        "vae": VariationalAutoencoder(**settings, slots=SLOTS).fit(X),
        "plain": VariationalAutoencoder(**settings).fit(real()),
    }


@pytest.fixture(scope="module")
def detector(X):
    ae = VariationalAutoencoder(hidden=(32,), latent_dim=3, epochs=5, slots=SLOTS, random_state=SEED)
    return AnomalyDetector(ae, false_alarm_rate=0.05, random_state=SEED).fit(X)


def score_of(ae, X, name="nll"):
    return ae.anomaly_score(X, score=name)


def by_column(ae, X):
    """−log p(x|z) of each row, one column of the frame for each output."""
    model = ae.model_
    with torch.inference_mode():
        rows = model.encoding.encode(torch.from_numpy(np.array(ae._table(X).values)))
        nll = model.column_nll(model.decode(model.posterior(rows).mean), rows)
    return pd.DataFrame(nll.double().numpy(), columns=model.encoding.schema.output_names)


# ── trap 1: scoring unlike training ───────────────────────────────────────────────────────────────


def test_scaling_is_that_of_the_training_rows_alone(models):
    """Mean and standard deviation of the rows that are stepped on, not of those that stop or are scored."""
    table, ae = real(), models["plain"]
    train = table[assign_roles(len(table), SEED, 0.1) == ROLES.index("train")]
    np.testing.assert_allclose(ae.model_.encoding.center, train.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(ae.model_.encoding.scale, train.std(axis=0), rtol=1e-12)


def test_rows_with_other_roles_change_nothing_of_the_model():
    """Calibration rows replaced by junk: the same weights and scaling, bit for bit."""
    table = real()
    ae = Autoencoder(hidden=(8,), epochs=3, random_state=SEED)
    clean = AnomalyDetector(ae, random_state=SEED).fit(table).autoencoder_
    junk = table.copy()
    apart = assign_roles(len(table), SEED, 0.1, 0.0, calibration_share(len(table))) == ROLES.index("calibrate")
    junk[apart] = 1e3 * np.random.default_rng(0).normal(size=(apart.sum(), 6)) - 400
    junky = AnomalyDetector(ae, random_state=SEED).fit(junk).autoencoder_
    assert torch.equal(clean.model_.store.flat, junky.model_.store.flat)
    np.testing.assert_array_equal(clean.model_.encoding.center, junky.model_.encoding.center)
    np.testing.assert_array_equal(clean.model_.encoding.scale, junky.model_.encoding.scale)
    np.testing.assert_array_equal(clean.anomaly_score(table), junky.anomaly_score(table))


def test_scaling_is_not_learnt_again_when_scoring(models, X):
    for name, ae in models.items():
        rows = real(300, seed=4) if name == "plain" else events(300, seed=4)
        before = ae.model_.encoding.center.copy(), ae.model_.encoding.scale.copy()
        ae.anomaly_score(rows * 7 if name == "plain" else rows.assign(a=rows["a"] * 7))
        np.testing.assert_array_equal(ae.model_.encoding.center, before[0])
        np.testing.assert_array_equal(ae.model_.encoding.scale, before[1])


def test_scaling_and_scores_are_the_same_in_a_new_process(models, X, tmp_path, stem):
    models["vae"].save(tmp_path / "m.diabolo")
    X[:100].to_parquet(tmp_path / "X.parquet")
    code = """
import sys
import numpy as np
import pandas as pd
from diabolo import Autoencoder
ae = Autoencoder.load(f"{sys.argv[1]}/m.diabolo")
X = pd.read_parquet(f"{sys.argv[1]}/X.parquet")
e = ae.model_.encoding
scores = ae.anomaly_score(X[X.columns[::-1]], score="neg_elbo")
np.savez(f"{sys.argv[1]}/out.npz", center=e.center, scale=e.scale, scores=scores)
"""
    status, errors = stem.run(code, [tmp_path])
    assert status == 0, errors
    with np.load(tmp_path / "out.npz") as there:
        np.testing.assert_array_equal(there["center"], models["vae"].model_.encoding.center)
        np.testing.assert_array_equal(there["scale"], models["vae"].model_.encoding.scale)
        np.testing.assert_array_equal(there["scores"], score_of(models["vae"], X[:100], "neg_elbo"))


def test_columns_go_by_name(models, detector, X):
    shuffled = X[np.random.default_rng(0).permutation(X.columns)].assign(more=1.0)
    for name in applicable(Reference(models["vae"].model_)):
        np.testing.assert_array_equal(score_of(models["vae"], shuffled, name), score_of(models["vae"], X, name))
    np.testing.assert_array_equal(detector.p_values(shuffled), detector.p_values(X))
    np.testing.assert_array_equal(models["vae"].transform(shuffled), models["vae"].transform(X))


def test_missing_columns_are_refused_by_name(models, detector, X):
    for estimator in (models["vae"], detector):
        with pytest.raises(DataError, match=r"column 'phi' is missing \(1 of the model's 13 are\)"):
            estimator.anomaly_score(X.drop(columns="phi"))
        with pytest.raises(DataError, match=r"column 'phi' is missing .*did you mean 'phis'"):
            estimator.anomaly_score(X.rename(columns={"phi": "phis"}))
        with pytest.raises(DataError, match=r"X has 12 features, but .* is expecting 13 features"):
            estimator.anomaly_score(X.to_numpy(float)[:, :12])
    with pytest.raises(DataError, match="X has 7 features"):
        models["plain"].anomaly_score(np.zeros((3, 7)))


#: Models of the fixture, and what each offers its scores without a detector.
OFFERS = {"ae": frozenset(), "vae": frozenset({"stochastic"}), "plain": frozenset({"stochastic"})}
SCORED = [(name, score) for name in OFFERS for score in scores if scores.get(score).needs <= OFFERS[name]]


def test_the_scores_of_each_model_are_known(models):
    assert [(name, score) for name in OFFERS for score in applicable(Reference(models[name].model_))] == SCORED


@pytest.mark.parametrize(("name", "score"), SCORED)
def test_a_shift_by_twenty_sigma_raises_every_score(name, score, models):
    """Scaling that is fitted at every call would hide it."""
    rows = real(300, seed=2) if name == "plain" else events(300, seed=2)
    columns = list(range(6)) if name == "plain" else ["a", "b"]
    far = rows.copy()
    if name == "plain":
        far += 20 * real().std(axis=0)
    else:
        far[columns] += 20 * events()[columns].std()
    near, shifted = score_of(models[name], rows, score), score_of(models[name], far, score)
    assert (shifted > near).all() or score in ("kl", "mu_norm", "mahalanobis")
    # Inputs are clipped on their way to the code, whose distance from the mean so has an end.
    assert np.median(shifted) > np.quantile(near, 0.99) or score == "mahalanobis"


# ── company does not matter ───────────────────────────────────────────────────────────────────────


def with_odd_rows(name, n):
    """Rows of every fate: plain, with gaps, with an infinity, all missing."""
    rows = pd.DataFrame(real(n, seed=3)) if name == "plain" else events(n, seed=3).astype({"a": float, "tagged": float})
    rng = np.random.default_rng(0)
    some = rng.choice(n, 8, replace=False)
    rows.iloc[some[:3], 1] = np.nan
    rows.iloc[some[3], 0] = np.inf
    rows.iloc[some[4], 0] = 1e39
    rows.iloc[some[5]] = np.nan
    return rows.to_numpy() if name == "plain" else rows


def one_of_each(rows):
    """The first row that is whole, with a gap, with an infinity, and all missing."""
    cells = np.asarray(rows, float)
    gaps, odd = np.isnan(cells).sum(axis=1), np.isinf(cells).any(axis=1)
    fates = (~odd & (gaps == gaps.min()), ~odd & (gaps == gaps.min() + 1), odd, gaps == cells.shape[1])
    return [int(np.flatnonzero(fate)[0]) for fate in fates]


def take(rows, index):
    return rows[index] if isinstance(rows, np.ndarray) else rows.iloc[index]


@pytest.mark.parametrize(("name", "score"), SCORED)
def test_a_batch_scores_like_its_rows(name, score, models):
    """Of a score of tens of passes, one row of each fate: alone it takes as long as a full tile."""
    ae, rows = models[name], with_odd_rows(name, 12)
    together = score_of(ae, rows, score)
    assert together.dtype == np.float64
    own = one_of_each(rows) if scores.get(score).costly else range(12)
    alone = np.concatenate([score_of(ae, take(rows, slice(i, i + 1)), score) for i in own])
    np.testing.assert_array_equal(together[list(own)], alone)


@pytest.mark.parametrize("name", ["ae", "vae", "plain"])
def test_the_score_of_a_row_is_the_sum_of_its_columns(name, models):
    rows = with_odd_rows(name, 60)
    together = score_of(models[name], rows, "nll")
    there = np.isfinite(together)
    assert 50 < there.sum() < 60
    np.testing.assert_allclose(by_column(models[name], rows).sum(axis=1)[there], together[there], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("name", "score"), SCORED)
def test_no_split_and_no_order_changes_a_score(name, score, models):
    ae, n = models[name], TILE + 321
    rows, rng = with_odd_rows(name, n), np.random.default_rng(5)
    order = rng.permutation(n)
    cuts = np.sort(rng.choice(np.arange(1, n), 5, replace=False))
    together = score_of(ae, rows, score)
    few = cuts[:1] if scores.get(score).costly else cuts
    pieces = [score_of(ae, take(rows, part), score) for part in np.split(np.arange(n), few)]
    np.testing.assert_array_equal(np.concatenate(pieces), together)
    np.testing.assert_array_equal(score_of(ae, take(rows, order), score), together[order])


@pytest.mark.parametrize("name", ["ae", "vae", "plain"])
def test_codes_and_reconstructions_do_not_depend_on_company_either(name, models):
    ae, rows = models[name], take(with_odd_rows(name, 60), slice(0, 20))
    codes, outputs = ae.transform(rows), np.asarray(ae.reconstruct(rows))
    for i in (0, 7, 19):
        row = take(rows, slice(i, i + 1))
        np.testing.assert_array_equal(ae.transform(row)[0], codes[i])
        np.testing.assert_array_equal(np.asarray(ae.reconstruct(row))[0], outputs[i])


# ── missing cells ─────────────────────────────────────────────────────────────────────────────────


def test_a_missing_cell_has_a_finite_price(models, X):
    gone = pd.concat([X[:20].astype(float)] * X.shape[1], ignore_index=True)
    for i, column in enumerate(X.columns):
        gone.loc[20 * i : 20 * i + 19, column] = np.nan
    for name in ("ae", "vae"):
        for score in applicable(Reference(models[name].model_)):
            finite = np.isfinite(np.asarray(score_of(models[name], gone, score))).reshape(-1, 20).all(axis=1)
            assert finite.all(), (name, list(X.columns[~finite]), score)


def test_a_gap_where_none_was_ever_seen_is_a_surprise(models, X):
    """Such a cell costs more than any typical cell of its column, so that gaps cannot hide an anomaly."""
    for name in ("ae", "vae"):
        rows = X[:300]
        for column in ("a", "b", "phi", "hits", "tagged"):
            gone = rows.astype({column: float})
            gone[column] = np.nan
            price = by_column(models[name], gone)[column]
            assert (price > np.median(by_column(models[name], rows)[column]) + 3).all(), (name, column)
            assert np.median(score_of(models[name], gone) - score_of(models[name], rows)) > 2, (name, column)


def test_gaps_that_were_seen_are_modelled(models, X):
    """The column `gap` is missing where a is large: a gap there is no surprise, one elsewhere is."""
    encoding = models["vae"].model_.encoding
    assert [encoding.schema.names[i] for i in encoding.nullable] == ["gap"]
    assert [b.kind for b in encoding.blocks][-1] == "missing"
    assert encoding.schema.columns[6].missing == pytest.approx(X["gap"].isna().mean(), abs=0.02)
    for name in ("ae", "vae"):
        rows = events(800, seed=9)
        usual, unusual = rows[rows["a"] > 54], rows[rows["a"] < 47]
        assert usual["gap"].isna().all()
        assert unusual["gap"].notna().all()
        there = by_column(models[name], usual)["gap"].mean()
        wrong = by_column(models[name], unusual.assign(gap=np.nan))["gap"].mean()
        assert wrong > there + 1, name


def test_samples_have_gaps_where_the_data_has_them(models, X):
    drawn = models["vae"].sample(4000)
    assert drawn.drop(columns="gap").notna().all(axis=None)
    assert drawn["gap"].isna().mean() == pytest.approx(X["gap"].isna().mean(), abs=0.12)


# ── constants, overflow and other silence ─────────────────────────────────────────────────────────


def test_a_constant_that_changes_is_a_surprise(models, X):
    for name in ("ae", "vae"):
        n_train = models[name].model_.encoding.n_train
        changed = X[:200].assign(run=362_105)
        for score in ("nll", "neg_elbo") if name == "vae" else ("nll",):
            more = score_of(models[name], changed, score) - score_of(models[name], X[:200], score)
            np.testing.assert_allclose(more, np.log(n_train + 2), rtol=1e-4)
        assert (score_of(models[name], changed, "mse") > score_of(models[name], X[:200], "mse")).all()


def test_a_category_that_no_training_row_had_costs_what_a_changed_constant_costs():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"color": rng.choice(["red", "green", "blue"], 300), "x": rng.normal(size=300)})
    detector = AnomalyDetector(VariationalAutoencoder(epochs=2)).fit(frame)
    model, new = detector.autoencoder_.model_, frame[:10].copy()
    new.loc[4, "color"] = "violet"
    rows = model.encoding.encode(torch.from_numpy(matched(as_table(new), model.encoding.schema, "test").values))
    theta = model.decode(torch.randn(10, model.latent_dim, generator=torch.Generator().manual_seed(0)))
    nll = model.column_nll(theta, rows)[:, model.encoding.schema.output_names.index("color")]
    assert nll[4].item() == pytest.approx(np.log(model.encoding.n_train + 2), rel=1e-6)
    assert (np.delete(nll.numpy(), 4) < 4).all()
    assert np.isfinite(detector.anomaly_score(new)).all()
    assert model.encoding.flags(matched(as_table(new), model.encoding.schema, "test").values) == [None] * 10


def odd(X, column, value):
    rows = X[:20].astype({column: float})
    rows.loc[5, column] = value
    return rows


def test_what_cannot_be_scored_is_never_normal(detector, X):
    """+inf, no p-value and −1, at any rate; and the other rows are not disturbed."""
    cells = [("a", np.inf), ("a", -np.inf), ("b", 1e39), ("b", -1e300), ("phi", np.inf), ("tagged", 3.0)]
    cells += [("run", np.inf)]
    rows = X[:20].astype({column: float for column, _ in cells})
    for at, (column, value) in enumerate(cells, 5):
        rows.loc[at, column] = value
    bad = np.isin(np.arange(20), range(5, 5 + len(cells)))
    smallest = 1 / (detector.n_calibration_ + 1)
    for score in detector.calibrated_.calibrations:
        for rate in (smallest, 0.9):
            judge = AnomalyDetector(**detector.get_params(deep=False))
            judge.__dict__.update(detector.__dict__)
            judge.set_params(score=score, false_alarm_rate=rate)
            assert (judge.anomaly_score(rows)[bad] == np.inf).all()
            assert np.isnan(judge.p_values(rows)[bad]).all()
            assert (judge.predict(rows)[bad] == -1).all()
            assert (judge.decision_function(rows)[bad] == -np.inf).all()
        np.testing.assert_array_equal(judge.anomaly_score(rows)[~bad], judge.anomaly_score(X[:20])[~bad])


def test_a_row_without_a_cell_is_never_normal(detector, X):
    rows = X[:20].astype(float)
    rows.loc[5] = np.nan
    rows.loc[6, X.columns != "run"] = np.nan
    for at in (5, 6):
        assert detector.anomaly_score(rows)[at] == np.inf
        assert detector.predict(rows)[at] == -1
        assert np.isnan(detector.p_values(rows)[at])
    assert np.isfinite(np.delete(detector.anomaly_score(rows), [5, 6])).all()


def test_single_precision_that_overflows():
    table = real().astype(np.float32)
    detector = AnomalyDetector(LinearAutoencoder(latent_dim=2)).fit(table)
    rows = table[:3].copy()
    rows[1, 0], rows[2, 0] = 3e38, np.inf
    assert np.isposinf(detector.anomaly_score(rows)).tolist() == [False, True, True]
    assert detector.predict(rows)[1:].tolist() == [-1, -1]


@pytest.mark.parametrize("unit", [1e-30, 1e-19, 1e-14, 1e30])
def test_units_do_not_matter(unit, X):
    """A charge in coulombs is no column of zeros: the density changes by the unit and by nothing else."""
    rows = np.random.default_rng(0).normal(size=(300, 3))
    plain, scaled = (Autoencoder(epochs=2).fit(rows * u) for u in (1.0, unit))
    # Large enough, every double is a whole number, which says nothing.
    assert [c.resolution for c in scaled.model_.encoding.schema.columns] == [0.0] * 3
    expected = plain.anomaly_score(rows) + 3 * np.log(unit)
    np.testing.assert_allclose(scaled.anomaly_score(rows * unit), expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(("start", "width"), [(1_700_000_000_000_000_000, 10**10), (1.7e9, 10.0)])
def test_a_minute_of_time_stamps_is_no_constant(start, width):
    """Nanoseconds since 1970: a spread far below the mean, and far above what double precision rounds."""
    rng = np.random.default_rng(0)
    since = (width * rng.normal(size=400)).astype(type(width))
    frame = pd.DataFrame({"t": start + since, "x": rng.normal(size=400)})
    detector = AnomalyDetector(Autoencoder(epochs=2)).fit(frame)
    assert detector.autoencoder_.model_.encoding.scale[0] == pytest.approx(width, rel=0.1)
    late = frame[:1].assign(t=start + 60 * width)
    assert detector.predict(late)[0] == -1


def test_a_constant_that_is_often_missing_says_nothing():
    """A flag that is 1 or missing: neither is a surprise, and distances between rows stay what they were."""
    rng = np.random.default_rng(0)
    x = pd.DataFrame(rng.normal(size=(400, 3)), columns=list("abc"))
    gappy = x.assign(flag=np.where(rng.random(400) < 0.5, np.nan, 1.0), never=np.nan)
    plain, other = (AnomalyDetector(Autoencoder(epochs=1)).fit(t) for t in (x, gappy))
    assert np.array_equal(plain.anomaly_score(x), other.anomaly_score(gappy))
    ae, row = other.autoencoder_, gappy[:1].assign(flag=1.0)
    rows = pd.concat([row, row.assign(flag=np.nan), row.assign(flag=2.0), row.assign(never=0.0)])
    cost = ae.anomaly_score(rows, score="nll").to_numpy()
    share, changed = ae.model_.encoding.schema.columns[3].missing, np.log(ae.n_train_ + 2)
    np.testing.assert_allclose(np.diff(cost[:2]), np.log(1 - share) - np.log(share), rtol=1e-4)
    np.testing.assert_allclose(cost[2:] - cost[0], changed, rtol=1e-4)
    assert ae.anomaly_score(row, score="nll").iloc[0] == cost[0], "alone as in the company of missing cells"


@pytest.mark.parametrize("dtype", ["int64", "uint64", "int8"])
def test_the_largest_integer_does_not_wrap_around(dtype):
    top = np.iinfo(dtype).max
    back = restored(np.array([float(top), 2.0 * top, -1e30]), dtype).to_pylist()
    assert back[0] == back[1] > 0.999 * top
    assert back[2] == np.iinfo(dtype).min


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.float32, np.float64])
def test_a_flag_is_whole_whatever_its_type(dtype):
    """A text file has no types: 0 and 1 there are what they are in a Parquet file."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"flag": rng.integers(0, 2, 200).astype(dtype), "x": rng.normal(size=200)})
    assert Autoencoder(epochs=1).fit(frame).model_.encoding.schema.columns[0].kind == "integer"


def test_a_fit_refuses_what_it_cannot_use(X):
    for value in (np.inf, -np.inf):
        with pytest.raises(DataError, match=r"row 5, column 'a': -?inf .*replace it by NaN"):
            VariationalAutoencoder(epochs=1).fit(odd(X, "a", value))
    rows = X.copy()
    rows.loc[::40, "a"] = 1e39  # somewhere among the training rows too
    with pytest.raises(DataError, match=r"row \d+ cannot be fitted: overflow: a; mend it or leave the row out"):
        Autoencoder(epochs=1).fit(rows)
    with pytest.raises(DataError, match="all 2 columns are constant on the training rows"):
        Autoencoder(epochs=1).fit(np.ones((50, 2)))
    with pytest.raises(DataError, match="all 2 columns are constant on the training rows"):
        Autoencoder(epochs=1).fit(np.full((50, 2), np.nan))
    with pytest.raises(DataError, match=r"column 'c' holds object of mixed kinds .*one kind per column"):
        Autoencoder(epochs=1).fit(pd.DataFrame({"a": [1.0, 2.0], "c": ["x", 1.5]}))
    with pytest.raises(
        DataError, match=r"column 'c' has 'x', which is not a number, in row 1, and its other cells are: mend it"
    ):
        Autoencoder(epochs=1).fit(pd.DataFrame({"a": [1.0, 2.0] * 3, "c": ["2", "x", "1", "3", "4", "5"]}))


# ── slots and angles ──────────────────────────────────────────────────────────────────────────────


def test_absent_objects_cost_nothing_and_their_number_is_modelled(models):
    rows = events(600, seed=6)
    count = (rows[["e1_pt", "e2_pt", "e3_pt"]] > 0).sum(axis=1).to_numpy()
    for name in ("ae", "vae"):
        assert models[name].model_.encoding.schema.output_names[-1] == "e.count"
        nll = by_column(models[name], rows)
        for slot in (1, 2, 3):
            for part in ("pt", "eta"):
                cell = nll[f"e{slot}_{part}"].to_numpy()
                assert (cell[count < slot] == 0).all()
                assert (cell[count >= slot] != 0).all()
        # Counts were drawn with 2, 50, 45 and 3 %: rare ones are surprising.
        cost = [nll["e.count"][count == k].mean() for k in range(4)]
        assert min(cost[0], cost[3]) > max(cost[1], cost[2])


def test_zeros_of_absent_objects_do_not_enter_the_scaling(models, X):
    encoding = models["vae"].model_.encoding
    at = encoding.schema.names.index("e2_pt")
    there = X["e2_pt"][X["e2_pt"] > 0]
    assert encoding.center[at] == pytest.approx(there.mean(), rel=0.1)
    assert encoding.scale[at] == pytest.approx(there.std(), rel=0.15)


def test_sampled_objects_stand_in_the_first_slots(models):
    drawn = models["vae"].sample(2000)
    there = (drawn[["e1_pt", "e2_pt", "e3_pt"]] != 0).to_numpy()
    assert (there[:, :-1] >= there[:, 1:]).all()
    for slot in (1, 2, 3):
        absent = ~there[:, slot - 1]
        assert (drawn.loc[absent, [f"e{slot}_pt", f"e{slot}_eta"]] == 0).all(axis=None)
    shares = np.bincount(there.sum(axis=1), minlength=4) / 2000
    np.testing.assert_allclose(shares, [0.02, 0.5, 0.45, 0.03], atol=0.1)


def test_an_angle_has_no_edge(models, X):
    """φ = π − ε and φ = −π + ε are neighbours; a half turn away is far."""
    rows = X[X["phi"].abs() > 2.5][:100].reset_index(drop=True)
    one, other = rows.assign(phi=np.pi - 1e-4), rows.assign(phi=-np.pi + 1e-4)
    opposite = rows.assign(phi=1e-4)
    for name in ("ae", "vae"):
        for score in applicable(Reference(models[name].model_)):
            a, b, c = (score_of(models[name], r, score) for r in (one, other, opposite))
            assert np.abs(a - b).mean() < 0.01 * np.abs(a - c).mean() + 1e-5, score
        assert (score_of(models[name], opposite, "mse") > score_of(models[name], one, "mse")).mean() > 0.9
        np.testing.assert_allclose(models[name].transform(one), models[name].transform(other), atol=0.02)
        assert models[name].reconstruct(rows)["phi"].abs().median() > 2


# ── weights ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("cls", [LinearAutoencoder, VariationalAutoencoder])
def test_rows_of_weight_zero_play_no_part(cls):
    table, rng = real(400), np.random.default_rng(0)
    weights = np.where(rng.random(400) < 0.3, 0.0, rng.uniform(0.5, 2, size=400))
    junk = np.where(weights[:, None] > 0, table, 1e4)
    hidden = () if cls is LinearAutoencoder else (8,)
    with_them = cls(hidden=hidden, epochs=3, random_state=SEED).fit(junk, sample_weight=weights)
    without = cls(hidden=hidden, epochs=3, random_state=SEED).fit(
        table[weights > 0], sample_weight=weights[weights > 0]
    )
    assert torch.equal(with_them.model_.store.flat, without.model_.store.flat)
    np.testing.assert_array_equal(with_them.anomaly_score(table), without.anomaly_score(table))
    assert with_them.n_train_ + with_them.n_stop_ == (weights > 0).sum()


def test_rows_of_weight_zero_are_not_calibrated_on():
    table = real(600)
    weights = np.repeat([1.0, 0.0], 300)
    table[300:] += 100
    detector = AnomalyDetector(LinearAutoencoder(latent_dim=2), random_state=SEED)
    with_them = detector.fit(table, sample_weight=weights)
    without = AnomalyDetector(LinearAutoencoder(latent_dim=2), random_state=SEED).fit(
        table[:300], sample_weight=np.ones(300)
    )
    assert with_them.n_calibration_ == without.n_calibration_
    np.testing.assert_array_equal(with_them.p_values(real(50, seed=5)), without.p_values(real(50, seed=5)))


# ── the same again ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("settings", [{}, {"corruption": "mask", "latent": "point", "regularizer": "none"}], ids=str)
def test_a_seed_decides_everything(settings, X):
    def fitted(seed, threads=1):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            ae = VariationalAutoencoder(hidden=(16,), epochs=3, slots=SLOTS, random_state=seed, **settings)
            return AnomalyDetector(ae, random_state=seed).fit(X[:500])
        finally:
            torch.set_num_threads(before)

    # The default's draws once, which learn laws of their own; then those of the decoder.
    method = "prior" if settings else "auto"

    def seen(detector):
        ae = detector.autoencoder_
        return [
            ae.model_.store.flat.numpy(),
            detector.anomaly_score(X),
            detector.p_values(X),
            ae.transform(X),
            ae.sample(50, random_state=1, method=method).to_numpy(float),
            ae.reconstruct(X[:10], draws=3),
            np.array([[e["distance"], e["regularizer"], e["validation"]] for e in ae.history_]),
        ]

    first = seen(fitted(SEED))
    for again in (seen(fitted(SEED)), seen(fitted(SEED, threads=2))):
        for a, b in zip(first, again, strict=True):
            np.testing.assert_array_equal(a, b)
    for a, b in zip(first, seen(fitted(SEED + 1)), strict=True):
        assert a.shape != b.shape or not np.array_equal(a, b, equal_nan=True)


def test_threads_do_not_change_a_score(models, X):
    before = torch.get_num_threads()
    one = score_of(models["vae"], X, "neg_elbo")
    torch.set_num_threads(2)
    try:
        np.testing.assert_array_equal(score_of(models["vae"], X, "neg_elbo"), one)
        assert torch.get_num_threads() == 2, "the caller's setting comes back"
    finally:
        torch.set_num_threads(before)


def test_nothing_global_is_seeded_or_drawn(X):
    """A fit leaves the caller's random numbers alone, and does not depend on them."""
    np.random.seed(1)
    torch.manual_seed(1)
    ae = VariationalAutoencoder(hidden=(8,), epochs=1, slots=SLOTS, random_state=SEED).fit(X[:300])
    ae.sample(5)
    numpy_next, torch_next = np.random.random(), float(torch.rand(()))
    np.random.seed(1)
    torch.manual_seed(1)
    assert (numpy_next, torch_next) == (np.random.random(), float(torch.rand(())))


def test_scores_survive_a_save_within_the_process(models, X, tmp_path):
    for name in ("ae", "vae"):
        models[name].save(tmp_path / "m.diabolo")
        again = Autoencoder.load(tmp_path / "m.diabolo")
        for score in applicable(Reference(again.model_)):
            np.testing.assert_array_equal(score_of(again, X, score), score_of(models[name], X, score))
