"""The masked autoencoder: hidden cells, its exact linear part, conditionals, densities and draws by closed forms."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from program import done
from scipy import stats

from diabolo import Autoencoder, DenoisingAutoencoder, MaskedAutoencoder, load
from diabolo.data.encoding import Encoded
from diabolo.errors import ConfigError, DataError
from diabolo.model.chain import chain_nll, orders_of
from diabolo.model.corruption import hidden
from diabolo.model.factors import LinearPart, inverse_of
from diabolo.model.masked_objective import masked_rows
from diabolo.model.masking import variables_there
from diabolo.model.variables import variables
from diabolo.report.space import axis_sizes

SMALL = {"epochs": 2, "hidden": (16, 16), "code_dim": 24}
#: No step: the linear part alone.
STILL = {**SMALL, "epochs": 1, "learning_rate": 1e-12}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def gaussian_table(n, seed=0, noise=0.5):
    rng = np.random.default_rng(seed)
    loadings = np.random.default_rng(7).normal(size=(2, 6))
    X = rng.normal(size=(n, 2)) @ loadings + noise * rng.normal(size=(n, 6))
    return X, loadings.T @ loadings + noise**2 * np.eye(6)


def mixed_table(n=400, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=n)
    word = np.where(a + 0.3 * rng.normal(size=n) > 0, "up", "down")
    gaps = np.where(rng.random(n) < 0.2, np.nan, a**2)
    phi = np.arctan2(a, 1 + 0.3 * rng.normal(size=n))
    return pd.DataFrame({"a": a, "word": word, "gaps": gaps, "phi": phi, "whole": rng.poisson(3, n), "yes": a > 0})


# ── hidden cells ──────────────────────────────────────────────────────────────────────────────────


def test_every_number_of_hidden_cells_is_as_likely():
    X, _ = gaussian_table(300)
    model = MaskedAutoencoder(**STILL).fit(X).model_
    rows = Encoded(torch.zeros(6000, 6))
    count = model.corruption.hide(rows, model.encoding, (), generator()).sum(-1)
    assert stats.chisquare(np.bincount(count, minlength=7)).pvalue > 1e-3


def test_what_a_cell_needs_is_known_before_it():
    model = MaskedAutoencoder(**STILL, slots={"e": 2}).fit(slot_table()).model_
    rows = Encoded(torch.zeros(2000, model.encoding.width))
    hidden = model.corruption.hide(rows, model.encoding, (), generator())
    slots, gaps = model.encoding.parents
    for parent in (slots, gaps):
        assert not (hidden[:, parent] & ~hidden).any()
    assert (slots != torch.arange(len(slots))).sum() == 4


def slot_table(n=300, seed=0):
    rng = np.random.default_rng(seed)
    first, second = rng.random(n) < 0.9, rng.random(n) < 0.4
    second &= first
    columns = {"met": rng.exponential(size=n)}
    for i, there in ((1, first), (2, second)):
        columns[f"e{i}_pt"] = np.where(there, 1 + rng.exponential(size=n), 0)
        columns[f"e{i}_eta"] = np.where(there, rng.normal(size=n), 0)
    return pd.DataFrame(columns)


def test_the_law_of_a_hidden_cell_does_not_depend_on_it():
    X = mixed_table()
    model = MaskedAutoencoder(**SMALL).fit(X).model_
    rows = model.encoding.encode(torch.from_numpy(values_of(model, X)))
    there = variables_there(rows, model.masking.variables)
    for v in variables(model)[:3]:
        seen = there.clone()
        seen[:, v.number] = False
        changed = rows.x.clone()
        changed[:, v.inputs] = changed[torch.randperm(len(X), generator=generator())][:, v.inputs]
        one, other = (model.predict(Encoded(x, rows.present), seen) for x in (rows.x, changed))
        assert torch.equal(one, other)
        # Negative control: a cell that is seen matters.
        assert not torch.equal(model.predict(rows, there), model.predict(Encoded(changed, rows.present), there))


def values_of(model, X):
    from diabolo.data.matching import matched
    from diabolo.data.table import as_table

    return matched(as_table(X), model.encoding.schema, "the model").values.copy()


def test_the_distance_is_to_hidden_cells_scaled_up_to_the_row():
    X, _ = gaussian_table(200)
    model = MaskedAutoencoder(**STILL, nested=0.0).fit(X).model_
    rows = model.encoding.encode(torch.from_numpy(X[:50]))
    hidden = model.corruption.hide(rows, model.encoding, (), generator())
    seen = ~hidden
    masked = masked_rows(model, rows, hidden.clone(), generator())
    cells = model.nll(model.predict(rows, seen), rows)[0]
    weight = hidden * 6 / hidden.sum(-1, keepdim=True).clamp_min(1)
    torch.testing.assert_close(masked.cells[0], cells * weight, rtol=1e-4, atol=1e-4)
    assert masked.whole == 0


def test_other_methods_take_the_distance_on_hidden_cells_too():
    X, _ = gaussian_table(300)
    given = {"epochs": 2, "hidden": (8,)}
    fits = [
        DenoisingAutoencoder(corruption={"name": "mask", "rate": 0.3, "distance": d}, **given).fit(X)
        for d in ("all", "hidden")
    ]
    assert not np.array_equal(fits[0].transform(X), fits[1].transform(X))


def test_a_hidden_cell_enters_a_plain_encoder_as_a_missing_one():
    """Marked as missing where its column has gaps, and a hidden group of slots without an object."""
    X = slot_table().assign(gap=np.where(np.random.default_rng(1).random(300) < 0.3, np.nan, 1.0) * np.arange(300) % 7)
    mask = {"name": "mask", "rate": 0.4, "distance": "hidden"}
    model = DenoisingAutoencoder(corruption=mask, epochs=1, hidden=(4,), slots={"e": 2}).fit(X).model_
    encoding = model.encoding
    rows = encoding.encode(torch.from_numpy(values_of(model, X)))
    hides = model.corruption.hide(rows, encoding, (), generator())
    x = hidden(rows.x, ~hides, encoding)
    by_input = hides[:, encoding.variable_of_input]
    blocks = {b.kind: slice(b.start, b.stop) for b in encoding.blocks}
    cells = torch.ones(encoding.width, dtype=torch.bool)
    cells[blocks["missing"]] = False
    assert (x[by_input & cells] == 0).all()
    assert torch.equal(x[~by_input & cells], rows.x[~by_input & cells])
    at = encoding.cells.index(list(X).index("gap"))
    assert (x[:, blocks["missing"]][hides[:, at]] == 1).all()
    assert torch.equal(x[:, blocks["missing"]][~hides[:, at]], rows.x[:, blocks["missing"]][~hides[:, at]])


# ── the linear part ───────────────────────────────────────────────────────────────────────────────


def test_elimination_is_the_inverse():
    a = torch.randn(40, 7, 7, generator=generator(), dtype=torch.float64)
    a = a @ a.mT + torch.eye(7, dtype=torch.float64)
    torch.testing.assert_close(inverse_of(a), torch.linalg.inv(a), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(inverse_of(a[:1]), inverse_of(a)[:1], rtol=0, atol=0)


def test_the_linear_part_is_the_conditional_of_its_gaussian():
    loadings = torch.randn(6, 2, generator=generator(), dtype=torch.float64)
    noise = torch.rand(6, generator=generator(1), dtype=torch.float64) + 0.2
    part = LinearPart(loadings, noise, torch.zeros(6).double(), torch.ones(6).double())
    S = (loadings @ loadings.T + torch.diag(noise)).numpy()
    x = torch.randn(5, 6, generator=generator(2), dtype=torch.float64)
    for size in range(7):
        for seen in itertools.combinations(range(6), size):
            s, h = list(seen), [i for i in range(6) if i not in seen]
            mark = torch.zeros(5, 6, dtype=torch.float64)
            mark[:, s] = 1
            z, variance = part.code(x, mark)
            weights = np.linalg.solve(S[np.ix_(s, s)], S[np.ix_(s, h)])
            np.testing.assert_allclose((z @ loadings.T)[:, h], x[:, s].numpy() @ weights, atol=1e-10)
            left = S[np.ix_(h, h)] - S[np.ix_(h, s)] @ weights
            np.testing.assert_allclose(variance[0, h], np.diag(left), atol=1e-10)


def test_a_fit_begins_at_the_linear_solution():
    """Conditionals, density and fill of a Gaussian table are the closed form's before any step."""
    X, S = gaussian_table(20_000)
    ae = MaskedAutoencoder(**STILL, likelihood={"name": "gaussian", "sigma": "decoded"}).fit(X)
    new, _ = gaussian_table(500, seed=1)
    law = ae.conditional(new)
    for c in range(6):
        others = [i for i in range(6) if i != c]
        weights = np.linalg.solve(S[np.ix_(others, others)], S[others, c])
        mean, var = new[:, others] @ weights, S[c, c] - S[c, others] @ weights
        found = law[f"x{c}"]
        assert np.sqrt(np.mean((found.mean() - mean) ** 2) / var) < 0.03
        np.testing.assert_allclose(found.quantile([0.8413447])[:, 0] - found.mean(), np.sqrt(var), rtol=0.03)
        exact = stats.norm(mean, np.sqrt(var))
        assert abs(np.mean(exact.logpdf(new[:, c]) - found.log_prob())) < 0.01
        np.testing.assert_allclose(found.cdf()[1], exact.cdf(new[:, c]), atol=0.05)
    exact = -stats.multivariate_normal(np.zeros(6), S).logpdf(new)
    assert abs(np.mean(ae.nll(new) - exact)) < 0.02
    np.testing.assert_allclose(ae.nll(new), exact, atol=0.5)


def test_a_gaussian_table_keeps_the_linear_solution():
    """Stop rows gain nothing by leaving it, and draws have its covariance."""
    X, S = gaussian_table(4000)
    ae = MaskedAutoencoder(epochs=6, likelihood={"name": "gaussian", "sigma": "decoded"}, hidden=(32, 32)).fit(X)
    new, _ = gaussian_table(1000, seed=1)
    exact = -stats.multivariate_normal(np.zeros(6), S).logpdf(new)
    assert np.mean(ae.nll(new) - exact) < 0.03
    drawn = ae.sample(8000, method="masked")
    np.testing.assert_allclose(np.cov(drawn.T), S, atol=0.12 * S.max())


def test_nested_linear_axes_are_principal_components():
    X, _ = gaussian_table(3000, noise=0.4)
    X = (X - X.mean(0)) / X.std(0)
    ae = MaskedAutoencoder(**STILL, latent_dim=2, likelihood={"name": "gaussian", "sigma": 1.0}, stop_fraction=0).fit(X)
    Z = ae.transform(X)
    _, _, axes = np.linalg.svd(X - X.mean(0), full_matrices=False)
    for k in (1, 2):
        wanted = X.mean(0) + (X - X.mean(0)) @ axes[:k].T @ axes[:k]
        np.testing.assert_allclose(ae.inverse_transform(Z[:, :k]), wanted, atol=2e-3)


def test_a_network_gains_where_the_table_is_curved():
    rng = np.random.default_rng(0)
    a = rng.normal(size=2000)
    X = np.stack([a, a**2 + 0.1 * rng.normal(size=2000), rng.normal(size=2000)], 1)
    fits = [
        MaskedAutoencoder(**{**SMALL, "hidden": (32, 32), **more}).fit(X[:1500]) for more in ({"epochs": 15}, STILL)
    ]
    assert fits[0].nll(X[1500:]).mean() < fits[1].nll(X[1500:]).mean() - 0.3


# ── densities ─────────────────────────────────────────────────────────────────────────────────────


def test_the_chain_rule_sums_to_one():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.random(300) < 0.3, "b": rng.choice(["x", "y", "z"], 300)})
    frame["c"] = np.where(rng.random(300) < 0.5, frame["b"], "x")
    ae = MaskedAutoencoder(**SMALL).fit(frame)
    every = pd.DataFrame(itertools.product([False, True], "xyz", sorted(set(frame["c"]))), columns=["a", "b", "c"])
    for orders in (1, 2, 5):
        assert np.exp(-ae.nll(every, orders)).sum() == pytest.approx(1, abs=1e-5)
    given = every[every["b"] == "y"]
    assert np.exp(-ae.nll(given, context=["b"])).sum() == pytest.approx(1, abs=1e-5)
    parts = ae.nll(every, by_column=True)
    np.testing.assert_allclose(sum(parts.values()), ae.nll(every), atol=1e-6)


def test_the_density_of_a_known_mixture_is_at_least_its_entropy():
    rng = np.random.default_rng(0)

    def rows(n):
        side = rng.random(n) < 0.5
        return np.where(side[:, None], 3.0, -3.0) * np.array([1, -1]) + rng.normal(size=(n, 2)), side

    X, _ = rows(4000)
    new, _ = rows(2000)
    centers = np.array([[3.0, -3.0], [-3.0, 3.0]])
    log_p = [stats.multivariate_normal(c, np.eye(2)).logpdf(new) for c in centers]
    exact = -np.logaddexp(*log_p) + np.log(2)
    ae = MaskedAutoencoder(hidden=(32, 32), epochs=12).fit(X)
    gap = ae.nll(new) - exact
    assert -2 * gap.std() / np.sqrt(2000) < gap.mean() < 0.1
    drawn = ae.sample(2000)
    assert (np.sign(drawn[:, 0]) != np.sign(drawn[:, 1])).mean() > 0.97


def test_the_score_nll_is_the_density():
    X, _ = gaussian_table(300)
    ae = MaskedAutoencoder(**SMALL).fit(X)
    np.testing.assert_allclose(ae.anomaly_score(X), ae.nll(X), rtol=1e-6, atol=1e-6)
    one = np.concatenate([ae.nll(X[i : i + 1]) for i in range(5)])
    np.testing.assert_array_equal(one, ae.nll(X[:5]))


def test_missing_cells_and_their_gaps_are_priced():
    X = mixed_table()
    ae = MaskedAutoencoder(**SMALL).fit(X)
    rows = ae.model_.encoding.encode(torch.from_numpy(values_of(ae.model_, X)))
    with torch.inference_mode():
        cost = chain_nll(ae.model_, rows, orders_of(ae.model_, 2))
    assert torch.isfinite(cost).all()
    share = X["gaps"].isna().mean()
    gap = cost[:, list(X).index("gaps")][torch.from_numpy(X["gaps"].isna().to_numpy().copy())]
    typical = ae.model_.buffers["typical_nll"][list(X).index("gaps")]
    assert float((gap - typical).mean()) == pytest.approx(-np.log(share), abs=0.5)


# ── draws ─────────────────────────────────────────────────────────────────────────────────────────


def test_draws_keep_types_gaps_and_given_cells():
    X = mixed_table()
    ae = MaskedAutoencoder(**SMALL).fit(X)
    drawn = ae.sample(600)
    assert list(drawn) == list(X)
    assert set(drawn["word"]) <= {"up", "down"}
    assert 0.1 < drawn["gaps"].isna().mean() < 0.3
    assert (drawn["whole"] == drawn["whole"].round()).all()
    given = ae.sample(50, given={"word": "up", "whole": 3})
    assert (given["word"] == "up").all()
    assert (given["whole"] == 3).all()
    assert given["a"].mean() > 0.3 > ae.sample(50, given={"word": "down"})["a"].mean()
    assert ae.sample(5).equals(ae.sample(5))
    assert not ae.sample(5).equals(ae.sample(5, random_state=1))


def test_slots_are_filled_from_the_first_on():
    X = slot_table()
    ae = MaskedAutoencoder(**SMALL, slots={"e": 2}).fit(X)
    drawn = ae.sample(500)
    assert not ((drawn["e1_pt"] == 0) & (drawn["e2_pt"] != 0)).any()
    assert abs((drawn["e2_pt"] != 0).mean() - (X["e2_pt"] != 0).mean()) < 0.12
    assert ((drawn["e1_pt"] == 0) == (drawn["e1_eta"] == 0)).all()
    assert np.isfinite(ae.nll(X)).all()


def test_a_given_cell_of_an_object_makes_it_be_there():
    ae = MaskedAutoencoder(**SMALL, slots={"e": 2}).fit(slot_table())
    with_two = ae.sample(100, given={"e2_pt": 2.0}, method="masked")
    assert (with_two[["e1_pt", "e2_pt"]] != 0).all().all()
    assert (with_two["e2_eta"] != 0).all()
    without = ae.sample(100, given={"e1_pt": 0.0}, method="masked")
    assert (without.filter(like="e") == 0).drop(columns="met").all().all()


def test_rows_that_cannot_be_scored_are_marked():
    X = mixed_table().drop(columns=["whole", "yes"])
    ae = MaskedAutoencoder(**SMALL).fit(X)
    bad = X.iloc[:4].copy()
    bad.loc[bad.index[0], "a"] = np.inf
    bad.iloc[1] = None
    bad.loc[bad.index[2], "word"] = "never seen"
    nll = ae.nll(bad)
    assert np.isposinf(nll[:2]).all()
    assert np.isfinite(nll[2:]).all()
    np.testing.assert_allclose(ae.anomaly_score(bad), nll, rtol=1e-6)


def test_quantiles_of_whole_numbers_are_whole():
    X = mixed_table()
    law = MaskedAutoencoder(**SMALL).fit(X).conditional(X[:50], ["whole"])["whole"]
    found = law.quantile([0.1, 0.5, 0.9])
    np.testing.assert_array_equal(found, np.round(found))
    assert (np.diff(found, axis=1) >= 0).all()
    low, high = law.cdf()
    np.testing.assert_allclose(high - low, np.exp(law.log_prob()), rtol=1e-3)


def test_atoms_come_back_as_themselves():
    rng = np.random.default_rng(0)
    X = np.stack([np.where(rng.random(800) < 0.6, 0.1, rng.exponential(size=800)), rng.choice([1 / 3, 2.7], 800)], 1)
    drawn = MaskedAutoencoder(**SMALL).fit(X).sample(400)
    assert abs((drawn[:, 0] == 0.1).mean() - 0.6) < 0.1
    assert np.isin(drawn[:, 1], [1 / 3, 2.7]).all()


# ── the estimator ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("settings", [{}, {"latent": "gaussian", "regularizer": "kl"}, {"robust": "trim"}], ids=str)
def test_a_file_gives_the_same_bits(settings, tmp_path):
    X = mixed_table()
    ae = MaskedAutoencoder(**SMALL, **settings).fit(X, sample_weight=np.linspace(0.5, 1.5, len(X)))
    ae.save(tmp_path / "m.diabolo")
    again = load(tmp_path / "m.diabolo")
    assert type(again) is MaskedAutoencoder
    np.testing.assert_array_equal(again.nll(X), ae.nll(X))
    np.testing.assert_array_equal(again.transform(X), ae.transform(X))
    assert again.sample(20).equals(ae.sample(20))


def test_a_stream_is_learnt_from():
    X, _ = gaussian_table(600)
    ae = MaskedAutoencoder(**SMALL)
    for part in np.split(X, 3):
        ae.partial_fit(part)
    assert ae.model_.masking.linear is not None
    assert np.isfinite(ae.nll(X)).all()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"latent": "topk"}, "take latent 'point' or 'gaussian'"),
        ({"regularizer": "prior", "prior": "laplace"}, "or none"),
        ({"latent": "gaussian", "regularizer": "kl", "bound": "iwae", "draws": 5}, "leave both out"),
        ({"code_dim": 1, "latent_dim": 3}, "allowed are numbers from"),
    ],
)
def test_parts_that_hidden_cells_do_not_go_with_are_refused(settings, said):
    X, _ = gaussian_table(100)
    with pytest.raises(ConfigError, match=said):
        MaskedAutoencoder(**{**SMALL, **settings}).fit(X)


@pytest.mark.parametrize("name", ["nested", "code_dim", "factors"])
def test_settings_of_hidden_cells_alone_are_refused_without_them(name):
    X, _ = gaussian_table(100)
    with pytest.raises(ConfigError, match=f"{name} = .* take method masked"):
        Autoencoder(**{name: 0.5 if name == "nested" else 8}, epochs=1).fit(X)


def test_images_are_refused():
    with pytest.raises(ConfigError, match="the rows are images: take method ae or vae"):
        MaskedAutoencoder(epochs=1).fit(np.random.default_rng(0).random((50, 8, 8)))


def test_conditionals_of_another_method_are_refused():
    X, _ = gaussian_table(100)
    ae = Autoencoder(epochs=1).fit(X)
    for ask in (ae.conditional, ae.nll):
        with pytest.raises(ConfigError, match="MaskedAutoencoder, method masked"):
            ask(X)
    with pytest.raises(DataError, match="x9"):
        MaskedAutoencoder(**STILL).fit(X).conditional(X, ["x9"])


def test_codes_of_fewer_axes_need_nested_ones():
    X, _ = gaussian_table(100)
    ae = MaskedAutoencoder(**STILL, latent_dim=3, nested=0.0).fit(X)
    with pytest.raises(DataError, match="this model's latent has 3"):
        ae.inverse_transform(ae.transform(X)[:, :2])


def test_a_file_keeps_no_rows_unless_asked(tmp_path):
    X = mixed_table()
    sizes = {}
    for kept in (None, True):
        ae = MaskedAutoencoder(**SMALL, keep_rows=kept).fit(X)
        ae.save(tmp_path / "m.diabolo")
        again = load(tmp_path / "m.diabolo")
        assert (again.sampler_.rows is None) == (kept is None)
        assert again.sample(10).equals(ae.sample(10))
        assert again.sampler_.relations == ae.sampler_.relations
        sizes[kept] = (tmp_path / "m.diabolo").stat().st_size
        if kept:
            assert len(again.sample(5, method="trees")) == 5
        else:
            with pytest.raises(ConfigError, match="keep_rows=True"):
                again.sample(5, method="trees")
    assert sizes[True] > sizes[None] + X.shape[0] * X.shape[1] * 4


def test_rows_are_drawn_alike_before_and_after_the_file(tmp_path):
    """`keep_rows=False` of another method leaves no rows, so `auto` is not trees at either side of the file."""
    X = mixed_table()
    ae = Autoencoder(epochs=2, hidden=(8,), keep_rows=False).fit(X)
    ae.save(tmp_path / "m.diabolo")
    again = load(tmp_path / "m.diabolo")
    assert again.sampler_.rows is None
    assert again.sample(20).equals(ae.sample(20))
    masked = MaskedAutoencoder(**SMALL).fit(X)
    masked.save(tmp_path / "k.diabolo")
    assert load(tmp_path / "k.diabolo").sample(20, mean=True).equals(masked.sample(20, mean=True))


def test_gaps_are_filled_by_the_law_of_the_cell(tmp_path):
    X, S = gaussian_table(6000)
    holes = X[:2000].copy()
    gone = np.random.default_rng(1).random(holes.shape) < 0.2
    holes[gone] = np.nan
    ae = MaskedAutoencoder(**STILL, likelihood={"name": "gaussian", "sigma": "decoded"}).fit(X)
    filled = ae.reconstruct(holes, only_missing=True)
    wanted, spread = holes.copy(), np.zeros_like(holes)
    for row in range(200):
        s, h = np.flatnonzero(~gone[row]), np.flatnonzero(gone[row])
        weights = np.linalg.solve(S[np.ix_(s, s)], S[np.ix_(s, h)])
        wanted[row, h] = holes[row, s] @ weights
        spread[row, h] = np.sqrt(np.diag(S[np.ix_(h, h)] - S[np.ix_(h, s)] @ weights))
    some = gone[:200]
    assert np.sqrt(np.mean(((filled - wanted)[:200][some] / spread[:200][some]) ** 2)) < 0.1
    draws = ae.reconstruct(holes[:200], draws=200, only_missing=True)
    np.testing.assert_array_equal(draws[:, ~some], np.broadcast_to(holes[:200][~some], (200, (~some).sum())))
    ratio = draws.std(0)[some] / spread[:200][some]
    assert np.median(ratio) == pytest.approx(1, abs=0.06)


# ── the command line and the page ─────────────────────────────────────────────────────────────────


def test_a_masked_model_serves_every_verb(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X = mixed_table(700)
    X.to_parquet("x.parquet")
    X.mask(np.random.default_rng(0).random(X.shape) < 0.1).to_parquet("holes.parquet")
    settings = ["--method", "masked", "--epochs", 3, "--hidden", "16,16", "--set", "code_dim=24", "-q"]
    said = done("fit", "x.parquet", "-o", "m.diabolo", *settings)
    assert "of 3, loss" in said or "none of 3 epochs was better than the linear part" in said
    info = done("info", "m.diabolo")
    assert "linear part   loss" in info
    assert "draw        the main autoencoder, one column after the other given those before" in info
    done("score", "m.diabolo", "holes.parquet", "-o", "s.parquet", "--score", "all")
    assert np.isfinite(pd.read_parquet("s.parquet").filter(like="nll").to_numpy()).all()
    done("fill", "m.diabolo", "holes.parquet", "-o", "filled.parquet")
    assert not pd.read_parquet("filled.parquet").isna().any().any()
    done("sample", "m.diabolo", "-n", 50, "-o", "d.parquet", "--given", "word=up")
    assert set(pd.read_parquet("d.parquet")["word"]) == {"up"}
    done("report", "m.diabolo", "x.parquet", "-o", "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "leading axes of this model" in page
    assert "quick refits</" not in page


def test_a_fit_larger_than_memory_and_one_that_goes_on_end_alike(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mixed_table(900).to_parquet("x.parquet")
    settings = ["--method", "masked", "--epochs", 2, "--hidden", "8,8", "--only", "main", "-q"]
    done("fit", "x.parquet", "-o", "memory.diabolo", *settings)
    done("fit", "x.parquet", "-o", "cache.diabolo", *settings, "--memory", 1)
    new = mixed_table(50, seed=3)
    one, other = (load(f"{name}.diabolo") for name in ("memory", "cache"))
    assert other.model_.masking.linear.rank == one.model_.masking.linear.rank
    assert abs(one.nll(new).mean() - other.nll(new).mean()) < 1


def test_a_table_that_no_network_helps_says_so():
    X, _ = gaussian_table(2000)
    ae = MaskedAutoencoder(**STILL, likelihood={"name": "gaussian", "sigma": "decoded"}).fit(X)
    assert ae.history_[-1]["linear"] <= ae.history_[-1]["validation"]
    assert ae.history_[-1]["best"] is False


def test_few_stop_rows_do_not_choose_a_network_by_chance():
    """The tables are Gaussian, so that no epoch can be better; four stop rows find some that seem so."""
    lower = 0
    for seed in range(4):
        X, _ = gaussian_table(40, seed)
        settings = {"hidden": (16,), "random_state": seed}
        ae = MaskedAutoencoder(epochs=12, learning_rate=0.01, **settings).fit(X)
        lower += min(e["validation"] for e in ae.history_) < ae.history_[0]["linear"]
        assert not any(e["best"] for e in ae.history_)
        still = MaskedAutoencoder(epochs=1, learning_rate=1e-12, **settings).fit(X)
        torch.testing.assert_close(ae.model_.store.flat, still.model_.store.flat, rtol=0, atol=1e-9)
    assert lower > 0


def test_a_few_rows_far_off_do_not_hide_what_all_others_gain(monkeypatch):
    """The rule against Wilcoxon's signed ranks in SciPy; a test of means would keep the linear solution."""
    from types import SimpleNamespace

    from scipy import stats

    from diabolo.train import standing

    rng, decided = np.random.default_rng(3), 0
    config = MaskedAutoencoder().settings()
    for shift, n in ((0.0, 9), (0.0, 300), (0.5, 300), (1.0, 40), (0.5, 5), (3.0, 12)):
        gain = shift + rng.standard_t(1.5, n)
        losses = iter([torch.from_numpy(gain), torch.zeros(n, dtype=torch.float64)])
        monkeypatch.setattr(standing, "_losses", lambda *_, losses=losses: next(losses))
        stop = SimpleNamespace(rows=None, weights=None)
        stands = bool(standing.stands(SimpleNamespace(config=config), stop, torch.zeros(1), torch.zeros(1)))
        p = stats.wilcoxon(gain, alternative="greater", method="approx", correction=False).pvalue
        assert stands == (p > 0.01), (shift, n, p)
        decided += not stands
    assert decided >= 2
    gain = np.r_[np.full(297, 0.4) + 0.1 * rng.normal(size=297), -60.0, -30.0, 40.0]
    assert stats.ttest_1samp(gain, 0, alternative="greater").pvalue > 0.01
    losses = iter([torch.from_numpy(gain), torch.zeros(300, dtype=torch.float64)])
    monkeypatch.setattr(standing, "_losses", lambda *_: next(losses))
    assert not standing.stands(SimpleNamespace(config=config), stop, torch.zeros(1), torch.zeros(1))


def test_explanations_judge_each_column_given_the_others():
    """A cell that breaks the relation is named, though the code of the row has seen it."""
    from diabolo import AnomalyDetector

    X, S = gaussian_table(3000, noise=0.2)
    det = AnomalyDetector(MaskedAutoencoder(**STILL, likelihood={"name": "gaussian", "sigma": "decoded"})).fit(X)
    rows = gaussian_table(6, seed=5, noise=0.2)[0]
    rows[np.arange(6), np.arange(6)] += 4.0
    for i, said in enumerate(det.explain(rows)):
        first = said.columns[0]
        assert first.column == f"x{i}"
        others = [j for j in range(6) if j != i]
        mean = rows[i, others] @ np.linalg.solve(S[np.ix_(others, others)], S[others, i])
        assert abs(first.expected - mean) < 0.4
        given = np.linalg.solve(S[np.ix_(others, others)], S[others, i])
        spread = np.sqrt(S[i, i] - S[others, i] @ given)
        # The values of a normal law that 5 % and 95 % lie below.
        assert first.low == pytest.approx(mean - 1.645 * spread, abs=0.4)
        assert first.high == pytest.approx(mean + 1.645 * spread, abs=0.4)
        assert first.low < first.expected < first.high < first.seen
        assert first.levels == {}


def test_levels_of_words_and_truth_values_have_probabilities_and_numbers_none():
    X = mixed_table()
    laws = MaskedAutoencoder(**SMALL).fit(X).conditional(X.head(20))
    for name, levels in (("word", ("down", "up")), ("yes", ("false", "true"))):
        assert laws[name].levels == levels
        p = laws[name].probabilities()
        assert p.shape == (20, 2)
        np.testing.assert_allclose(p.sum(1), 1)
        # P of the row's own level, as log p has it.
        own = np.array([levels.index(str(w).lower()) for w in X[name].head(20)])
        np.testing.assert_allclose(np.log(p[np.arange(20), own]), laws[name].log_prob(), atol=1e-5)
    with pytest.raises(ConfigError, match="a is a column of numbers and has no levels"):
        laws["a"].probabilities()


def test_axes_of_a_map_are_as_long_as_they_move_the_reconstruction():
    rng = np.random.default_rng(0)
    t = rng.normal(size=600)
    table = pd.DataFrame(t[:, None] + 0.3 * rng.normal(size=(600, 6)), columns=[f"x{i}" for i in range(6)])
    ae = MaskedAutoencoder(latent_dim=5, epochs=1).fit(table)
    codes = np.asarray(ae.transform(table), np.float64)
    sizes = axis_sizes(ae.model_, codes)
    assert sizes.shape == (5,)
    assert (sizes[1:] < sizes[0] / 2).all()
    weighed = (codes - codes.mean(0)) * sizes
    first = weighed @ np.linalg.svd(weighed, full_matrices=False)[2][0]
    assert abs(np.corrcoef(first, t)[0, 1]) > 0.95
    np.testing.assert_array_equal(axis_sizes(Autoencoder(latent_dim=2, epochs=1).fit(table).model_, codes[:, :2]), 1.0)
