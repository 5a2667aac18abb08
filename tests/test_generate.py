"""Generation: how drawn rows are judged, densities and conditions against closed forms, and the rows' schema."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from program import done, refused
from scipy import stats

from diabolo import (
    Autoencoder,
    DenoisingAutoencoder,
    LinearAutoencoder,
    MaskedAutoencoder,
    SparseAutoencoder,
    VariationalAutoencoder,
)
from diabolo.config import build_config
from diabolo.data.matching import matched
from diabolo.data.schema import infer_schema
from diabolo.data.table import as_table
from diabolo.errors import ConfigError, DataError
from diabolo.generate.adjusting import _ridge
from diabolo.generate.fidelity import column_distances, copying, fidelity_of, two_sample_auroc
from diabolo.generate.margins import Margins
from diabolo.generate.methods import methods
from diabolo.generate.mixture import fit_mixture
from diabolo.generate.reweighting import fit_ratio
from diabolo.generate.trees import Trees, smallest_leaf


def read(frame):
    """(values, schema) of a data frame."""
    table = as_table(frame)
    schema = infer_schema(table.values, table.names, table.dtypes, build_config({}), table.levels)
    return matched(table, schema, "the test").values.astype(np.float64), schema


def normal(n, seed, rho=0.0):
    cov = [[1, rho, 0], [rho, 1, 0], [0, 0, 1]]
    return np.random.default_rng(seed).multivariate_normal(np.zeros(3), cov, size=n)


# ── how drawn rows are judged ─────────────────────────────────────────────────────────────────────


def test_rows_of_one_law_cannot_be_told_apart_and_disjoint_ones_can():
    same = two_sample_auroc(normal(600, 1), normal(600, 2))
    assert len(same) == 5
    assert abs(np.mean(same) - 0.5) < 0.07
    assert np.mean(two_sample_auroc(normal(200, 1), normal(200, 2) + 20)) > 0.999


def test_a_column_far_off_comes_first_and_its_distance_is_the_closed_form():
    """sup |Φ(x) − Φ(x − 1)| = 2Φ(½) − 1; a category's is half the sum of differences."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 2))
    values, schema = read(pd.DataFrame({"same": x[:, 0], "moved": x[:, 1], "word": [*"aab" * 1333, "a"]}))
    drawn = values.copy()
    drawn[:, 0] = rng.normal(size=4000)
    drawn[:, 1] = rng.normal(size=4000) + 1
    drawn[:, 2] = np.arange(4000) % 2
    by_name = {c.column: c for c in column_distances(values, drawn, schema)}
    assert by_name["moved"].distance == pytest.approx(0.3829, abs=0.03)
    assert by_name["same"].distance < 0.05
    assert by_name["word"].measure == "total variation"
    assert by_name["word"].distance == pytest.approx(1 / 6, abs=0.001)
    told = fidelity_of(values, drawn, schema)
    assert told.columns[0].column == "moved"
    assert told.copying is None
    assert told.auroc > 0.6


def test_a_lost_correlation_is_named(monkeypatch):
    schema = read(pd.DataFrame(normal(50, 0), columns=list("abc")))[1]
    monkeypatch.setattr("diabolo.generate.fidelity.two_sample_auroc", lambda *_: [0.5])  # the slow part
    told = fidelity_of(normal(3000, 1, rho=0.8), normal(3000, 2), schema)
    assert told.worst_pair[:2] == ("a", "b")
    # The rank correlation of a Gaussian pair is 6/π asin(ρ/2).
    assert told.worst_pair[2] == pytest.approx(6 / np.pi * np.arcsin(0.4), abs=0.04)
    assert told.correlation_error == pytest.approx(abs(told.worst_pair[2]) / 3, abs=0.03)
    none = fidelity_of(normal(3000, 1, rho=0.8), normal(3000, 3, rho=0.8), schema)
    assert none.correlation_error < 0.04
    assert all(c.distance < 3 * none.expected_distance for c in none.columns)


def test_missing_cells_are_counted_and_their_pattern_is_seen(monkeypatch):
    rng = np.random.default_rng(0)
    a = rng.normal(size=2000)
    values, schema = read(pd.DataFrame({"a": a, "b": np.where(a > 1, np.nan, rng.normal(size=2000))}))
    drawn = np.stack([rng.normal(size=2000), rng.normal(size=2000)], axis=1)
    drawn[rng.random(2000) < 0.16, 1] = np.nan
    monkeypatch.setattr("diabolo.generate.fidelity.two_sample_auroc", lambda *_: [0.5])
    told = fidelity_of(values, drawn, schema)
    b = next(c for c in told.columns if c.column == "b")
    assert b.missing_real == np.isnan(values[:, 1]).mean()
    assert b.missing_drawn == np.isnan(drawn[:, 1]).mean()
    assert told.worst_pair[:2] == ("a", "b missing")


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_the_alarm_rings_for_copies(share):
    rng = np.random.default_rng(0)
    schema = read(pd.DataFrame(normal(50, 0), columns=list("abc")))[1]
    train, drawn = normal(1500, 1), normal(1500, 2)
    copied = rng.random(1500) < share
    drawn[copied] = train[rng.permutation(1500)][copied]
    told = copying(normal(1500, 3), drawn, train, schema)
    assert told.alarm
    assert told.excess == pytest.approx(share, abs=0.05)
    assert told.identical_drawn == pytest.approx(copied.mean())
    assert told.identical_held_out == 0
    assert told.closer == pytest.approx(0.5 + share / 2, abs=0.05)


def test_the_alarm_rings_for_copies_with_a_little_noise():
    schema = read(pd.DataFrame(normal(50, 0), columns=list("abc")))[1]
    train = normal(1500, 1)
    told = copying(normal(1500, 3), train + 0.01 * normal(1500, 4), train, schema)
    assert told.alarm
    assert told.identical_drawn == 0


def test_the_alarm_is_silent_for_fresh_rows():
    schema = read(pd.DataFrame(normal(50, 0), columns=list("abc")))[1]
    for seed in range(20):
        told = copying(normal(400, 3 * seed), normal(400, 3 * seed + 1), normal(800, 3 * seed + 2), schema)
        assert not told.alarm
        assert abs(told.closer - 0.5) < 0.1


def test_rows_of_few_values_repeat_without_an_alarm():
    rng = np.random.default_rng(0)
    train, held_out, drawn = ({"a": rng.integers(0, 3, n), "b": rng.choice(["x", "y"], n)} for n in (600, 500, 500))
    schema = read(pd.DataFrame(train))[1]
    told = copying(*(matched(as_table(pd.DataFrame(t)), schema, "t").values for t in (held_out, drawn, train)), schema)
    assert (told.identical_drawn, told.identical_held_out, told.alarm) == (1, 1, False)


def test_too_few_rows_to_compare():
    schema = read(pd.DataFrame(normal(50, 0), columns=list("abc")))[1]
    with pytest.raises(DataError, match="9 drawn rows came to compare; allowed are 10 or more"):
        fidelity_of(normal(50, 0), normal(9, 1), schema)


# ── the density of codes ──────────────────────────────────────────────────────────────────────────


def two_clouds(n, seed):
    """Half at (−4, 0) with covariance [[1, .6], [.6, 1]], half at (4, 1) with ¼ of the unit matrix."""
    rng = np.random.default_rng(seed)
    first = rng.multivariate_normal([-4, 0], [[1, 0.6], [0.6, 1]], size=n // 2)
    return np.concatenate([first, rng.multivariate_normal([4, 1], 0.25 * np.eye(2), size=n - n // 2)])


def test_a_known_mixture_is_found_and_drawn_from():
    found = fit_mixture(two_clouds(4000, 0), seed=0)
    assert len(found) == 2
    order = np.argsort(found.means[:, 0])
    np.testing.assert_allclose(found.means[order], [[-4, 0], [4, 1]], atol=0.1)
    np.testing.assert_allclose(found.covariances[order], [[[1, 0.6], [0.6, 1]], [[0.25, 0], [0, 0.25]]], atol=0.1)
    drawn = found.sample(20_000, np.random.default_rng(1))
    left = drawn[:, 0] < 0
    assert left.mean() == pytest.approx(0.5, abs=0.03)
    np.testing.assert_allclose(np.cov(drawn[left].T), [[1, 0.6], [0.6, 1]], atol=0.1)
    assert (found.component(np.array([[-4.0, 0], [4, 1]])) == order).all()


def test_the_density_of_one_gaussian_is_its_closed_form():
    x = normal(3000, 0, rho=0.5)
    found = fit_mixture(x, seed=0)
    expected = stats.multivariate_normal(x.mean(axis=0), np.cov(x.T, bias=True)).logpdf(x[:50])
    if len(found) == 1:
        np.testing.assert_allclose(np.logaddexp.reduce(found.log_joint(x[:50]), axis=1), expected, atol=1e-3)
    assert len(found) <= 2


@pytest.mark.parametrize("codes", [np.ones((50, 3)), np.zeros((1, 2)), np.repeat([[0.0, 1.0]], 200, axis=0)])
def test_codes_without_spread_have_a_density(codes):
    drawn = fit_mixture(codes, seed=0).sample(100, np.random.default_rng(0))
    np.testing.assert_allclose(drawn, np.broadcast_to(codes[0], drawn.shape), atol=0.02)


# ── rows of fitted models against closed forms ────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def plane():
    """A linear autoencoder of Gaussian rows [4000, 3] near a plane, and their covariance."""
    basis = np.array([[1.0, 0], [0.8, 0.6], [0, 1]])
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 2)) @ basis.T + 0.4 * rng.normal(size=(4000, 3)) + [5, 0, -5]
    return LinearAutoencoder(latent_dim=2).fit(pd.DataFrame(x, columns=list("abc"))), np.cov(x.T), x.mean(axis=0)


def bent(n, seed):
    """Rows [n, 3]: x, y = x² and noise, w = x + y exactly."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    y = x**2 + 0.5 * rng.normal(size=n)
    return np.stack([x, y, x + y], axis=1)


def trees_of(rows, leaf):
    schema = infer_schema(rows, ["x", "y", "w"], ["float64"] * 3, build_config({}))
    return Trees(schema, rows, np.zeros(len(rows), np.int64), (), leaf, 0)


def test_larger_leaves_follow_the_other_columns_less_but_keep_what_is_exact():
    """With leaves that no table has the rows for, y follows x by a straight line, whose slope here is 0; w is x + y."""
    rows = bent(2000, 0)
    for leaf, low, high in ((5, 0.8, 1.0), (10_000, -0.1, 0.1)):
        x, y, w = trees_of(rows, leaf).draw(4000, {}, np.random.default_rng(1)).T
        assert low < np.corrcoef(x**2, y)[0, 1] < high
        assert np.quantile(np.abs(w - x - y), 0.9) < 0.02


def test_what_one_leaf_loses_the_ratio_brings_back():
    """Candidates of a law without y = x² are kept where training rows are denser."""
    rows, rng = bent(2000, 0), np.random.default_rng(1)
    trees = trees_of(rows, 10_000)
    ratio = fit_ratio(rows, lambda n: trees.draw(n, {}, rng), 0)
    x, y, w = ratio.draw(lambda n: trees.draw(n, {}, rng), 4000, 100, rng).T
    assert np.corrcoef(x**2, y)[0, 1] > 0.7
    assert np.quantile(np.abs(w - x - y), 0.9) < 0.02


def test_the_ratio_is_that_of_the_densities():
    """Of N(1, 1) to N(0, 1) it is exp(x − ½), whose squared coefficient of variation under N(0, 1) is e − 1."""
    rng = np.random.default_rng(0)
    found = fit_ratio(rng.normal(1, 1, (4000, 1)), lambda n: rng.normal(size=(n, 1)), 0)
    x = np.linspace(-1, 2, 20)[:, None]
    assert np.polyfit(x[:, 0], found.log(x), 1)[0] == pytest.approx(1, abs=0.15)
    assert found.spread == pytest.approx(np.e - 1, rel=0.4)
    drawn = found.draw(lambda n: rng.normal(size=(n, 1)), 4000, 100, rng)
    assert drawn.mean() == pytest.approx(1, abs=0.2)


def test_rounds_find_what_the_first_one_leaves():
    """Rows at ±3 of a standard normal law: three rounds come nearer to their two narrow peaks than one."""
    rng = np.random.default_rng(0)
    rows = rng.choice([-3, 3], (1000, 1)) + 0.1 * rng.normal(size=(1000, 1))
    far = []
    for rounds in (1, 3):
        found = fit_ratio(rows, lambda n: 2 * rng.normal(size=(n, 1)), 0, rounds)
        drawn = found.draw(lambda n: 2 * rng.normal(size=(n, 1)), 2000, 100, rng)
        far.append(stats.ks_2samp(drawn[:, 0], rows[:, 0]).statistic)
    assert far[1] < 0.8 * far[0]


def test_margins_become_those_of_the_rows_and_ranks_stay():
    rng = np.random.default_rng(0)
    schema = read(pd.DataFrame({"a": [0.5, 1.5, 2.5] * 20, "b": rng.normal(size=60), "c": [*"xyz"] * 20}))[1]
    rows = np.stack([rng.choice([0.5, 1.5, 7.5], 3000, p=[0.6, 0.3, 0.1]), rng.exponential(size=3000)], axis=1)
    rows = np.column_stack([rows, rng.integers(0, 3, 3000)])
    drawn = np.column_stack([normal(3000, 1, rho=0.9)[:, :2], np.zeros(3000)])
    drawn[:300, 1] = np.nan
    out = Margins(schema, rows, drawn)(drawn, rng)
    assert {v: round((out[:, 0] == v).mean(), 3) for v in (0.5, 1.5, 7.5)} == {
        v: round((rows[:, 0] == v).mean(), 3) for v in (0.5, 1.5, 7.5)
    }
    there = ~np.isnan(drawn[:, 1])
    assert (np.isnan(out[:, 1]) == ~there).all()
    assert stats.ks_2samp(out[there, 1], rows[:, 1]).statistic < 0.01
    assert (np.diff(out[there, 1][np.argsort(drawn[there, 1])]) >= 0).all()
    assert (out[:, 2] == 0).all()


def test_the_decoder_resampled_is_hard_to_tell_from_the_table(plane):
    """A straight decoder of a bent table: its margins, and what lies between columns, come from the correction."""
    frame = pd.DataFrame(bent(2000, 0)[:, :2], columns=["x", "y"])
    ae = LinearAutoencoder(latent_dim=1).fit(frame)
    x, y = ae.sample(2000, random_state=0, method="mixture").to_numpy().T
    assert np.corrcoef(x**2, y)[0, 1] < 0.5
    x, y = ae.sample(2000, random_state=0, method="resampled").to_numpy().T
    assert np.corrcoef(x**2, y)[0, 1] > 0.7
    assert stats.ks_2samp(y, frame["y"]).statistic < 0.08


def test_no_ratio_is_learnt_of_one_law_or_of_few_rows():
    rng = np.random.default_rng(0)
    for n in (1000, 100):
        assert fit_ratio(rng.normal(size=(n, 2)), lambda m: rng.normal(size=(m, 2)), 0) is None


def test_slopes_are_the_regression_and_noise_has_none():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3)) * [1, 10, 0.1] + [0, 1e6, 5]
    np.testing.assert_allclose(_ridge(x, x @ [2, -3, 40] + 7), [2, -3, 40], rtol=0.01)
    assert not _ridge(np.ones((50, 2)), rng.normal(size=50)).any()
    assert np.mean([_ridge(rng.normal(size=(100, 1)), rng.normal(size=100)).any() for _ in range(50)]) < 0.3


def test_leaves_grow_until_rows_drawn_are_no_copies():
    """Eight answers of seven levels that share one cause: a leaf of five rows of 1,000 says which rows they are."""
    rng = np.random.default_rng(0)
    rows, new = (np.round(rng.normal(size=(n, 1)) * 1.5 + rng.normal(size=(n, 8))).clip(-3, 3) for n in (1000, 2000))
    schema = infer_schema(rows, list("abcdefgh"), ["float64"] * 8, build_config({}))
    none = np.zeros(1000, np.int64)
    chosen = smallest_leaf(schema, rows, none, 0)
    assert chosen > 5
    for leaf, alarm in ((5, True), (chosen, False)):
        drawn = Trees(schema, rows, none, (), leaf, 0).draw(2000, {}, rng)
        assert copying(new, drawn, rows, schema).alarm == alarm
    walk = np.cumsum(rng.normal(size=(1000, 8)), axis=1)
    assert smallest_leaf(infer_schema(walk, list("abcdefgh"), ["float64"] * 8, build_config({})), walk, none, 0) == 5


@pytest.mark.parametrize("method", ["mixture", "trees"])
def test_means_and_covariances_are_those_of_the_data(plane, method):
    """A point latent's σ is that of stop rows: with σ = 1, its unit in the loss, each variance would double."""
    ae, cov, mean = plane
    drawn = ae.sample(8000, random_state=1, method=method).to_numpy()
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=0.08)
    np.testing.assert_allclose(np.cov(drawn.T), cov, atol=0.13 if method == "mixture" else 0.09)


@pytest.mark.parametrize(("method", "slack"), [("mixture", 0.09), ("prior", 0.09), ("trees", 0.12)])
def test_conditions_give_the_exact_gaussian_conditional(plane, method, slack):
    """E[·|c] = m + Σ_rc (c − m_c)/Σ_cc, Σ_r − Σ_rc Σ_cr/Σ_cc; the last column is the one given."""
    ae, cov, mean = plane
    c = mean[2] + 1.0
    drawn = ae.sample(4000, random_state=2, method=method, given={"c": c}).to_numpy()
    assert (drawn[:, 2] == c).all()
    slope = cov[:2, 2] / cov[2, 2]
    np.testing.assert_allclose(drawn[:, :2].mean(axis=0), mean[:2] + slope * 1.0, atol=slack)
    np.testing.assert_allclose(np.cov(drawn[:, :2].T), cov[:2, :2] - np.outer(slope, cov[2, :2]), atol=2 * slack)


def test_conditions_on_categories_are_bayes_rule():
    """p(word | other words) of the law that made the table; the given columns are the last, and depend on one another.

    By Bayes: b follows c = y with 0.8, 0.1, 0.1, and a is b with 0.8 + 0.2 / 3.
    """
    rng = np.random.default_rng(0)
    a = rng.integers(0, 3, 6000)
    b = np.where(rng.random(6000) < 0.8, a, rng.integers(0, 3, 6000))
    c = np.where(rng.random(6000) < 0.7, b, rng.integers(0, 3, 6000))
    words = np.array(["x", "y", "z"])
    frame = pd.DataFrame({"a": words[a], "b": words[b], "c": words[c], "u": rng.normal(size=6000)})
    # Of 189 rows that are like the second condition, and by the chance of a fit, a share has a spread of 0.03: the mean
    # of four fits has half of that.
    fits = [Autoencoder(latent_dim=1, epochs=2, random_state=seed).fit(frame) for seed in range(4)]
    same, other = 0.8 + 0.2 / 3, 0.2 / 3
    b_of_y = {"x": 0.1, "y": 0.8, "z": 0.1}
    a_of_y = {word: same * share + other * (1 - share) for word, share in b_of_y.items()}
    a_of_z = {"x": other, "y": other, "z": same}
    for given, expected in (({"c": "y"}, {"a": a_of_y, "b": b_of_y}), ({"c": "y", "b": "z"}, {"a": a_of_z})):
        drawn = pd.concat([ae.sample(1000, given=given) for ae in fits])
        for name, shares in expected.items():
            for word, share in shares.items():
                assert (drawn[name] == word).mean() == pytest.approx(share, abs=0.05), (given, name, word)


# ── the schema's contract ─────────────────────────────────────────────────────────────────────────


KINDS = [VariationalAutoencoder, Autoencoder, SparseAutoencoder, DenoisingAutoencoder, MaskedAutoencoder]


@pytest.fixture(scope="module", params=KINDS)
def of_every_kind(request, mixed):
    more = {"keep_rows": True} if request.param is MaskedAutoencoder else {}
    return request.param(latent_dim=2, hidden=(16,), epochs=2, slots={"e": 2}, **more).fit(mixed), mixed


def lacks(ae, method):
    """Whether a method is one of masked autoencoders alone, and refused: the law of a column given others."""
    if method != "masked" or ae.model_.masking is not None:
        return False
    with pytest.raises(ConfigError, match="MaskedAutoencoder, method masked"):
        ae.sample(5, method=method)
    return True


@pytest.mark.parametrize("method", methods.names())
def test_rows_obey_the_schema(of_every_kind, method):
    ae, data = of_every_kind
    if lacks(ae, method):
        return
    drawn = ae.sample(400, random_state=3, method=method)
    assert list(drawn.columns) == list(data.columns)
    kinds = {n: data[n].dtype if data[n].notna().all() else np.dtype("float64") for n in data}
    assert {n: str(k) for n, k in drawn.dtypes.items()} == {n: str(k) for n, k in kinds.items()}
    assert drawn["lead_phi"].abs().max() <= np.pi
    for name in ("a", "b", "hits", "when", "dose", "gap"):
        there = drawn[name].dropna()
        assert data[name].min() <= there.min(), name
        assert there.max() <= data[name].max(), name
    assert set(drawn["colour"]) <= set(data["colour"])
    if method == "trees" or ae.model_.latent.stochastic:  # elsewhere it is a real column, of one decimal
        assert set(drawn["dose"]) <= set(data["dose"])
    assert drawn["hits"].dtype.kind == "i"
    assert 0.02 < drawn["gap"].isna().mean() < 0.6
    assert drawn.drop(columns="gap").notna().all().all()
    for slot in (1, 2):
        pt, eta = drawn[f"e{slot}_pt"], drawn[f"e{slot}_eta"]
        assert ((pt == 0) == (eta == 0)).all()
        assert (pt == 0).any()


@pytest.mark.parametrize("method", methods.names())
def test_cells_of_rounded_columns_are_the_very_numbers_of_the_table(method):
    """Tenths and hundredths as they are written: 0.3, not 3 · 0.1 = 0.30000000000000004."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.integers(0, 100, 400) / 10, "b": rng.integers(0, 1000, 400) / 100})
    kind = MaskedAutoencoder if method == "masked" else VariationalAutoencoder
    drawn = kind(latent_dim=1, hidden=(4,), epochs=1).fit(frame).sample(300, method=method)
    for name, places in (("a", 1), ("b", 2)):
        assert [f"{v!r}" for v in drawn[name].tolist()] == [f"{round(v, places)!r}" for v in drawn[name].tolist()]
        assert method != "trees" or drawn[name].isin(frame[name]).all()


def test_trees_keep_what_the_table_never_breaks(of_every_kind):
    """Slots of the table have gaps here, and its marginal shares come out; cells that no value takes do not."""
    ae, data = of_every_kind
    drawn = ae.sample(4000, random_state=4, method="trees")
    kept = pd.DataFrame(ae.sampler_.rows, columns=data.columns)
    for name in ("e1_pt", "e2_pt"):
        assert (drawn[name] == 0).mean() == pytest.approx((kept[name] == 0).mean(), abs=0.06)
    assert drawn["gap"].isna().mean() == pytest.approx(kept["gap"].isna().mean(), abs=0.06)
    # A column late in the order bears what trees of 198 rows get wrong before it.
    assert drawn["tagged"].mean() == pytest.approx(kept["tagged"].mean(), abs=0.1)


@pytest.mark.parametrize("method", methods.names())
def test_samples_follow_their_seed_and_survive_the_file(method, of_every_kind, tmp_path):
    ae, _ = of_every_kind
    if lacks(ae, method):
        return
    ae.save(tmp_path / "m.diabolo")
    again = Autoencoder.load(tmp_path / "m.diabolo")
    one = ae.sample(60, random_state=5, method=method)
    pd.testing.assert_frame_equal(again.sample(60, random_state=5, method=method), one)
    assert not ae.sample(60, random_state=6, method=method).equals(one)


def test_lines_between_rows(plane):
    """A linear decoder's line of codes is a line of rows, from one reconstruction to the other."""
    ae, _, _ = plane
    a, b = (pd.DataFrame(rows, columns=list("abc")) for rows in (np.zeros((2, 3)), np.ones((2, 3))))
    line = ae.interpolate(a, b, steps=5)
    assert line.shape == (5, 2, 3)
    ends = [ae.reconstruct(rows).to_numpy() for rows in (a, b)]
    np.testing.assert_allclose(line, [(1 - t) * ends[0] + t * ends[1] for t in np.linspace(0, 1, 5)], atol=1e-4)
    with pytest.raises(ConfigError, match="steps = 1; allowed are whole numbers from 2 up"):
        ae.interpolate(a, b, steps=1)
    with pytest.raises(DataError, match="a has 2 rows and b has 1"):
        ae.interpolate(a, b[:1])


def test_a_stream_draws_from_the_prior():
    ae = VariationalAutoencoder(latent_dim=1, hidden=(4,)).partial_fit(normal(200, 0))
    assert ae.sample(5).shape == (5, 3)
    with pytest.raises(ConfigError, match=r"keeps no training rows .*: take method 'prior'"):
        ae.sample(5, method="trees")


BAD = {
    "column": ({"colr": "red"}, "given 'colr': .*did you mean 'colour'"),
    "word": ({"colour": "pink"}, "given colour = 'pink'; allowed are blue, green, red"),
    "far": ({"a": 1e6}, r"given a = 1000000.0; allowed are numbers from .* to .*, as in training rows"),
    "half": ({"hits": 1.5}, r"given hits = 1.5; allowed are whole numbers from 0 to"),
    "text": ({"a": "much"}, "given a = 'much'; allowed are numbers"),
    "level": ({"dose": 1.0}, "given dose = 1.0; allowed are 0.5, 1.5, 4.0"),
    "truth": ({"tagged": "maybe"}, "given tagged = 'maybe'; allowed are true and false"),
    "date": ({"when": "1999-01-01"}, "given when = '1999-01-01'; allowed are dates from 2024-04"),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_conditions_are_named(of_every_kind, case):
    given, said = BAD[case]
    if case == "level" and type(of_every_kind[0]) is not VariationalAutoencoder:
        pytest.skip("numbers of few values are ordinal for a Gaussian latent alone")
    with pytest.raises(ConfigError, match=said):
        of_every_kind[0].sample(3, given=given)


def test_rows_too_rare_for_the_decoder_are_refused(plane, monkeypatch):
    ae, _, _ = plane
    monkeypatch.setattr("diabolo.generate.decoding.LEFT", 2000.0)
    a, b, c = ae.model_.encoding.schema.columns
    with pytest.raises(DataError, match=r"left in effect; such rows are too rare .*take method 'trees'"):
        ae.sample(10, method="mixture", given={"a": a.low, "b": b.high, "c": c.low})


def test_judging_leaves_training_rows_out(plane):
    ae, _, mean = plane
    rng = np.random.default_rng(9)
    new = rng.multivariate_normal(mean, plane[1], size=2000)
    found = ae.fidelity(pd.DataFrame(new, columns=list("abc")), random_state=0)
    assert (found.n_real, found.n_drawn) == (2000, 2000)
    assert found.auroc < 0.6
    assert not found.copying.alarm
    with pytest.raises(DataError, match="0 of 500 rows are new to the model; at least 10"):
        ae.fidelity(pd.DataFrame(ae.sampler_.rows[:500], columns=list("abc")))


# ── the program ───────────────────────────────────────────────────────────────────────────────────


def test_the_program_draws_under_conditions_and_compares(tmp_path, monkeypatch, mixed):
    monkeypatch.chdir(tmp_path)
    mixed.to_parquet("t.parquet")
    Autoencoder(latent_dim=2, hidden=(16,), epochs=2).fit(mixed[:150]).save("m.diabolo")
    done("sample", "m.diabolo", "-n", 70, "-o", "d.parquet", "--given", "colour=red", "--given", "hits=3")
    drawn = pd.read_parquet("d.parquet")
    assert (len(drawn), set(drawn["colour"]), set(drawn["hits"])) == (70, {"red"}, {3})
    said = done("sample", "m.diabolo", "-n", 60, "-o", "d.csv", "--against", "t.parquet")
    assert "t.parquet: 60 drawn rows beside 70 real ones that the model was not fitted on" in said
    for line in (
        "told apart    AUROC 0.",
        "columns       farthest: ",
        "correlations  mean error 0.",
        "copies        dis",
    ):
        assert f"  {line}" in said
    for flags, wrong in {
        "--given colour": "--given colour: expected COL=VALUE, each column once",
        "--given a=1 --given a=2": "--given a=2: expected COL=VALUE, each column once",
        "--given shade=red": "given 'shade': ",
        "--method magic": "unknown method 'magic'",
        "--against t.parquet --mean": "leave out --given and --mean",
        "--against none.parquet": "none.parquet",
        "--method trees --mean": "method 'trees' draws rows and has no mean",
    }.items():
        assert wrong in refused("sample", "m.diabolo", "-n", 20, "-o", "x.csv", *flags.split())


def test_constants_are_missing_as_often_as_in_training_rows():
    """Also one that was never there: a zero in its place would tell every drawn row from a real one."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"x": rng.normal(size=400), "never": np.nan, "const": np.where(rng.random(400) < 0.4, np.nan, 7)}
    )
    ae = VariationalAutoencoder(epochs=1).fit(frame)
    share = ae.model_.encoding.schema.columns[2].missing
    for method in ("trees", "mixture"):
        drawn = ae.sample(2_000, random_state=0, method=method)
        assert drawn["never"].isna().all()
        assert drawn["const"].isna().mean() == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / 2_000))
        assert (drawn["const"].dropna() == 7).all()
    assert ae.sample(5, given={"const": 7}, random_state=0)["const"].eq(7).all()
    assert ae.reconstruct(frame[:3])["never"].isna().all()
    # Any value of a column that was never there is a change, zero too.
    scores = [ae.anomaly_score(frame[:1].assign(never=v))[0] for v in (np.nan, 0.0, 3.0)]
    assert scores[1] == scores[2] == pytest.approx(scores[0] + np.log(ae.n_train_ + 2))


def test_real_rows_that_cannot_be_scored_are_no_measure():
    rng = np.random.default_rng(0)
    ae = VariationalAutoencoder(epochs=1).fit(rng.normal(size=(300, 2)))
    new = rng.normal(size=(60, 2))
    new[3, 0], new[5, 1] = np.inf, 1e300
    found = ae.fidelity(new)
    assert (found.n_real, found.n_drawn) == (58, 58)


def test_a_date_may_say_its_zone():
    when = pd.date_range("2024-01-01", periods=300, freq="h", tz="UTC")
    frame = pd.DataFrame({"when": when, "x": np.random.default_rng(0).normal(size=300)})
    ae = VariationalAutoencoder(epochs=1).fit(frame)
    drawn = ae.sample(2, given={"when": "2024-01-05T10:00+02:00"}, random_state=0)
    assert (drawn["when"] == pd.Timestamp("2024-01-05T08:00", tz="UTC")).all()
