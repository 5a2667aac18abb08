"""The mathematics against independent computations: closed forms, integrals, known densities."""

from __future__ import annotations

import functools
import itertools
import math
import typing

import numpy as np
import pandas as pd
import pytest
import torch
from kinds import BlockOf, quantile, variants
from scipy import integrate, stats
from scipy.linalg import subspace_angles
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from diabolo import (
    Autoencoder,
    DenoisingAutoencoder,
    LinearAutoencoder,
    SparseAutoencoder,
    VariationalAutoencoder,
)
from diabolo.config import Config
from diabolo.data.roles import ROLES, assign_roles
from diabolo.data.sources import Rows
from diabolo.detect.choice import automatic_score
from diabolo.detect.reference import Reference
from diabolo.detect.scores.profile import code_scale, profile
from diabolo.detect.scoring import score_table
from diabolo.errors import ConfigError
from diabolo.model.corruption import corruptions
from diabolo.model.latent import latents
from diabolo.model.latent.point import PointPosterior
from diabolo.model.likelihood import Likelihood, Units, likelihoods
from diabolo.model.objective import importance_weighted, loss_terms, neg_elbo, objective
from diabolo.model.prior import priors
from diabolo.model.regularizer import Context, mmd, regularizers
from diabolo.model.regularizer.mmd import PAIRED, SCALES, mmd_squared
from diabolo.train import loop


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# ── the linear autoencoder is PCA ─────────────────────────────────────────────────────────────────


def training_inputs(ae, X):
    """The standardised rows that the fit stepped on."""
    roles = assign_roles(len(X), ae.config_.random_state, ae.config_.stop_fraction)
    encoding = ae.model_.encoding
    u = (X[roles == ROLES.index("train")] - encoding.center) / encoding.scale
    assert np.abs(u).max() < encoding.clip
    return u


def squared_error(ae, u):
    x = torch.from_numpy(u.astype(np.float32))
    with torch.no_grad():
        x_hat = ae.model_.decode(ae.model_.encode(x).mean)
    return float((x_hat - x).double().square().sum(-1).mean())


def correlated(rng, n=600):
    X = rng.normal(size=(n, 7)) @ rng.normal(size=(7, 7)) + rng.normal(size=7) * 5
    return X * [1, 10, 100, 1, 1e-3, 1, 1e4]


@pytest.mark.parametrize("scaling", ["standard", "none"])
def test_linear_autoencoder_spans_the_principal_subspace(scaling, rng):
    """Without scaling the rows are far from 0, so that the centring is the fit's own."""
    X = correlated(rng) if scaling == "standard" else rng.normal(size=(600, 7)) @ rng.normal(size=(7, 7)) + 5
    ae = LinearAutoencoder(latent_dim=3, scaling=scaling).fit(X)
    u = training_inputs(ae, X)
    pca = PCA(3).fit(u)
    decoder = ae.model_.store.views["decoder.0.weight"].double().numpy()
    encoder = ae.model_.store.views["encoder.0.weight"].double().numpy()
    assert subspace_angles(decoder, pca.components_.T).max() < 1e-4
    assert subspace_angles(encoder.T, pca.components_.T).max() < 1e-4
    best = ((u - pca.inverse_transform(pca.transform(u))) ** 2).sum(1).mean()
    assert squared_error(ae, u) == pytest.approx(best, rel=1e-4)


def test_gradient_training_comes_close_to_the_closed_form(rng):
    X = correlated(rng)
    # Without stop rows both minimise the same thing, the error of the training rows.
    settings = {"latent_dim": 3, "stop_fraction": 0.0}
    exact = LinearAutoencoder(**settings).fit(X)
    training = {"solver": "gradient", "epochs": 150, "batch_size": 100, "learning_rate": 1e-2}
    trained = LinearAutoencoder(**settings, **training).fit(X)
    assert len(trained.history_) > 1
    u = training_inputs(exact, X)
    assert squared_error(trained, u) == pytest.approx(squared_error(exact, u), rel=0.01)


def test_weighted_closed_form_is_pca_of_repeated_rows(rng):
    X = correlated(rng, 300)
    weights = rng.integers(1, 4, size=len(X))
    ae = LinearAutoencoder(latent_dim=2, stop_fraction=0.0).fit(X, sample_weight=weights)
    u = np.repeat((X - ae.model_.encoding.center) / ae.model_.encoding.scale, weights, axis=0)
    decoder = ae.model_.store.views["decoder.0.weight"].double().numpy()
    assert subspace_angles(decoder, PCA(2).fit(u).components_.T).max() < 1e-4


# ── KL divergences ────────────────────────────────────────────────────────────────────────────────


def test_normal_kl_agrees_with_torch_and_monte_carlo():
    mu = torch.tensor([-2.0, 0.0, 0.3, 4.0])
    log_var = torch.tensor([-3.0, 0.0, 1.0, 0.5])
    kl = priors.create("normal").kl(mu, log_var)
    q = torch.distributions.Normal(mu, (0.5 * log_var).exp())
    p = torch.distributions.Normal(0.0, 1.0)
    torch.testing.assert_close(kl, torch.distributions.kl_divergence(q, p))
    noise = torch.randn(200_000, 4, generator=generator())
    z = mu + q.scale * noise
    torch.testing.assert_close(kl, (q.log_prob(z) - p.log_prob(z)).mean(0), rtol=0.01, atol=0.02)
    assert float(priors.create("normal").kl(torch.zeros(1), torch.zeros(1))) == 0


@pytest.mark.parametrize("rate", [0.3, 1.0, 5.0])
@pytest.mark.parametrize(("mu", "sigma"), [(0.0, 1.0), (-1.5, 0.2), (3.0, 2.0), (0.01, 0.05)])
def test_laplace_kl_agrees_with_numerical_integration(rate, mu, sigma):
    q, p = stats.norm(mu, sigma), stats.laplace(scale=1 / rate)

    def integrand(z):
        return q.pdf(z) * (q.logpdf(z) - p.logpdf(z))

    ends = sorted({mu - 12 * sigma, max(min(0.0, mu + 12 * sigma), mu - 12 * sigma), mu + 12 * sigma})
    exact = sum(integrate.quad(integrand, a, b, limit=200)[0] for a, b in itertools.pairwise(ends))
    prior = priors.create({"name": "laplace", "rate": rate})
    kl = prior.kl(torch.tensor([mu]), torch.tensor([2 * math.log(sigma)]))
    assert float(kl) == pytest.approx(exact, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", priors.names())
def test_priors_are_normalised_and_draw_what_they_say(name):
    prior = priors.create(name)
    z = torch.linspace(-40, 40, 80_001, dtype=torch.float64)
    density = prior.log_prob(z[:, None])[:, 0].exp()
    assert float(torch.trapezoid(density, z)) == pytest.approx(1, abs=1e-4)
    drawn = prior.sample((4000, 1), generator()).double().numpy()[:, 0]
    cumulative = torch.cumulative_trapezoid(density, z).numpy()
    assert stats.kstest(np.interp(drawn, z[1:].numpy(), cumulative), "uniform").pvalue > 1e-3


# ── corruptions ───────────────────────────────────────────────────────────────────────────────────


def corrupted(name, rate, build_model, encoded):
    """(model, x, x̃ [400, B, D], hit [400, B, cells]) for a table of distinct values, many times over."""
    rng = np.random.default_rng(8)
    frame = pd.DataFrame(
        {
            "a": rng.normal(size=60),
            "b": rng.exponential(size=60),
            "turn_phi": rng.uniform(-3, 3, size=60),
            "flag": rng.random(60) < 0.3,
            "color": rng.choice(["red", "green", "blue"], p=[0.7, 0.2, 0.1], size=60),
        }
    )
    model = build_model(frame)
    x = encoded(model, frame).x.clamp(-model.encoding.clip, model.encoding.clip)
    corruption = corruptions.create({"name": name, "rate": rate})
    x_tilde = corruption(x, model.encoding, (400,), generator())
    return model.encoding, x, x_tilde, x_tilde != x


def distinct_inputs(encoding):
    """Inputs of cells whose values are all different, so that a change shows."""
    return [i for b in encoding.blocks if b.kind in ("real", "angle") for i in range(b.start, b.stop)]


@pytest.mark.parametrize("rate", [0.1, 0.6])
@pytest.mark.parametrize("name", [n for n in corruptions if "rate" in corruptions.get(n).__dataclass_fields__])
def test_corruption_keeps_its_rate_and_hits_whole_cells(name, rate, build_model, encoded):
    encoding, _, _, hit = corrupted(name, rate, build_model, encoded)
    inputs = distinct_inputs(encoding)
    share = hit[..., inputs].float().mean((0, 1))
    # What is at an extreme already stays: 2 cells of 60 in half of the draws.
    lost = 1 / 60 if name == "salt_and_pepper" else 0.0
    reals = torch.tensor([i < 2 for i in inputs])
    np.testing.assert_allclose(share[reals], rate * (1 - lost), atol=4 * 0.5 / math.sqrt(hit[..., 0].numel()))
    cell = encoding.cell_of_input
    for one, other in itertools.combinations(inputs, 2):
        together = torch.equal(hit[..., one], hit[..., other])
        assert together == bool(cell[one] == cell[other])
    # Cells are hit one by one: a pair as often as chance has it.
    both = float((hit[..., 0] & hit[..., 1]).float().mean())
    assert both == pytest.approx((rate * (1 - lost)) ** 2, abs=0.012)


def test_mask_hides(build_model, encoded):
    _, _, x_tilde, hit = corrupted("mask", 0.4, build_model, encoded)
    assert (x_tilde[hit] == 0).all()


def test_salt_and_pepper_are_the_extremes(build_model, encoded):
    encoding, x, x_tilde, hit = corrupted("salt_and_pepper", 0.4, build_model, encoded)
    for i in distinct_inputs(encoding)[:2]:
        ends = x_tilde[..., i][hit[..., i]]
        assert set(ends.tolist()) == {float(x[:, i].min()), float(x[:, i].max())}
        assert float((ends == x[:, i].max()).float().mean()) == pytest.approx(0.5, abs=0.03)
    boolean = next(b for b in encoding.blocks if b.kind == "boolean").start
    changed = hit[..., boolean].float().mean(0)
    assert float(changed.mean()) == pytest.approx(0.2, abs=0.01)
    assert set(x_tilde[..., boolean].unique().tolist()) == {0.0, 1.0}
    angle = next(b for b in encoding.blocks if b.kind == "angle").start
    cos, sin = x_tilde[..., angle], x_tilde[..., angle + 1]
    torch.testing.assert_close(cos.square() + sin.square(), torch.ones_like(cos))
    turned = torch.atan2(sin, cos)[hit[..., angle]].numpy()
    assert stats.kstest(turned, stats.uniform(-math.pi, 2 * math.pi).cdf).pvalue > 1e-3


def test_swap_keeps_every_marginal_and_breaks_what_ties_columns(build_model, encoded):
    encoding, x, x_tilde, hit = corrupted("swap", 0.5, build_model, encoded)
    for i in range(encoding.width):
        assert set(x_tilde[..., i].unique().tolist()) == set(x[:, i].unique().tolist())
        assert float(x_tilde[..., i].mean()) == pytest.approx(float(x[:, i].mean()), abs=0.02)
    # A hit cell comes from each of the other rows equally often.
    values = x[:, 0]
    row, taken = hit[..., 0].nonzero()[:, 1], x_tilde[..., 0][hit[..., 0]]
    source = (taken[:, None] == values).float().argmax(1)
    counts = torch.bincount((source - row) % 60, minlength=60)
    assert int(counts[0]) == 0
    assert stats.chisquare(counts[1:].numpy()).pvalue > 1e-3
    # An angle's cosine and sine move together.
    angle = next(b for b in encoding.blocks if b.kind == "angle").start
    pairs = {tuple(p) for p in x[:, angle : angle + 2].tolist()}
    assert {tuple(p) for p in x_tilde[..., angle : angle + 2].reshape(-1, 2).tolist()} == pairs


@pytest.mark.parametrize("name", ["salt_and_pepper", "swap"])
def test_a_category_stays_one_of_its_levels(name, build_model, encoded):
    """Any of them alike for salt and pepper; as often as in the table for swap."""
    encoding, x, x_tilde, _ = corrupted(name, 0.9, build_model, encoded)
    block = next(b for b in encoding.blocks if b.kind == "categorical")
    levels = x_tilde[..., block.start : block.stop]
    assert (levels.sum(-1) == 1).all()
    there = x[:, block.start : block.stop].mean(0)
    drawn = torch.full((3,), 1 / 3) if name == "salt_and_pepper" else there
    np.testing.assert_allclose(levels.mean((0, 1)), 0.9 * drawn + 0.1 * there, atol=0.01)


def test_one_row_has_nobody_to_swap_with(build_model, encoded, plane):
    model = build_model(plane[1])
    x = encoded(model, plane[1][:1]).x
    assert torch.equal(corruptions.create("swap")(x, model.encoding, (), generator()), x)


# ── penalties that rescaling cannot evade ─────────────────────────────────────────────────────────


def test_laplace_penalty_is_lambda_l1_minus_its_constant(rng):
    z = torch.from_numpy(rng.normal(size=(64, 5)).astype(np.float32)) * torch.tensor([1, 10, 0.1, 3, 1e-3])
    rate = 2.5
    prior = priors.create({"name": "laplace", "rate": rate})
    omega = regularizers.create("prior")(PointPosterior(z), Context(prior, z, PointPosterior, generator()))
    z_bar = z / z.square().mean(0).sqrt()
    torch.testing.assert_close(omega, rate * z_bar.abs().sum(-1) - 5 * math.log(rate / 2))


def free_of_scale():
    """Those whose scale is not that of π."""
    penalties = [n for n in regularizers if n != "none" and not regularizers.get(n).matches_prior]
    return [(n, s) for n in penalties for s in (("decoder", "rms") if regularizers.get(n).scaled else ("decoder",))]


def terms(model, rows):
    """Distance [B, C] and Ω [B] of clean rows."""
    posterior = model.encode(rows.x)
    distance = torch.cat(model.nll(model.decode(posterior.mean), rows), dim=-1)
    return distance, model.regularizer(
        posterior, Context(model.prior, rows.x, model.encode, generator(), None, model.reach())
    )


@pytest.mark.parametrize(("name", "scale"), free_of_scale())
def test_rescaling_the_code_leaves_the_penalty_unchanged(name, scale, plane, build_model, encoded):
    """Through a real model: z → c z in the encoder's last layer, undone in the decoder's first one."""
    model = build_model(plane[1], latent_dim=3, hidden=(16,), regularizer=name, prior="laplace", code_scale=scale)
    rows, views = encoded(model, plane[1]), model.store.views
    untouched = terms(model, rows)
    views["encoder.2.bias"].add_(0.3)
    views["encoder.2.weight"][0].add_(views["encoder.2.weight"][1])
    before = terms(model, rows)
    c = torch.tensor([10.0, 0.01, 3.0])
    views["encoder.2.weight"].mul_(c[:, None])
    views["encoder.2.bias"].mul_(c)
    views["decoder.0.weight"].div_(c)
    # And h → 7 h of the decoder's hidden layer, undone in its last one.
    views["decoder.0.weight"].mul_(7)
    views["decoder.0.bias"].mul_(7)
    views["decoder.2.weight"].div_(7)
    after = terms(model, rows)
    torch.testing.assert_close(after[0], before[0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(after[1], before[1], rtol=1e-4, atol=1e-4)
    # Another code has another Ω, so one that looked at nothing would not have passed.
    assert not torch.allclose(untouched[1], before[1], rtol=1e-2)


@pytest.mark.parametrize(("name", "scale"), free_of_scale())
def test_penalty_has_no_gradient_along_the_rescaling(name, scale, plane, build_model, encoded):
    model = build_model(plane[1], latent_dim=3, hidden=(16,), regularizer=name, prior="laplace", code_scale=scale)
    rows = encoded(model, plane[1])
    leaves = {k: v.clone().requires_grad_() for k, v in model.store.views.items()}
    model.use(leaves)
    _, _, omega = loss_terms(model, rows, rows.x, None, 1, 1.0, generator())
    omega.backward()
    weight, bias = leaves["encoder.2.weight"], leaves["encoder.2.bias"]
    with torch.no_grad():
        along = (weight.grad * weight).sum(-1) + bias.grad * bias
        back = leaves["decoder.0.weight"]
        if back.grad is not None:
            along = along - (back.grad * back).sum(0)
        length = (weight.grad.square().sum(-1) + bias.grad.square()).sqrt() * weight.norm(dim=-1)
    assert float(length.min()) > 1e-4
    assert float((along / length).abs().max()) < 1e-4


def test_no_row_changes_another_rows_penalty(plane, build_model, encoded):
    """A loud row makes the others of its batch cheap by their rms, and by the decoder's weights not."""
    for scale, same in (("decoder", True), ("rms", False)):
        model = build_model(plane[1], latent_dim=3, hidden=(16,), regularizer="lp", code_scale=scale)
        z = torch.randn(20, 3, generator=generator())
        loud = torch.cat([z, 1e3 * torch.ones(1, 3)])
        context = Context(model.prior, z, PointPosterior, generator(), None, model.reach())
        few, more = (model.regularizer(PointPosterior(c), context)[:20] for c in (z, loud))
        assert torch.allclose(few, more, rtol=1e-5) == same


@pytest.mark.parametrize("network", ["linear", "mlp", "conv"])
def test_the_decoders_paths_are_summed_in_squares(network, build_model):
    """By hand: ‖W_j‖ of one affine map, and the squared weights multiplied out of several."""
    X = np.random.default_rng(0).random((60, 8, 8) if network == "conv" else (60, 5))
    model = build_model(X, latent_dim=3, network=network, regularizer="lp", hidden={"linear": None}.get(network, (4,)))
    views = model.store.views
    if network == "linear":
        expected = views["decoder.0.weight"].norm(dim=0)
    elif network == "mlp":
        expected = (views["decoder.2.weight"].square() @ views["decoder.0.weight"].square()).sum(0).sqrt()
    else:
        steps = [functools.partial(op.__call__) for op in model.decoder]
        expected = []
        for j in range(3):
            parameters = iter([p * 0 if p.dim() == 1 else p.square() for n, p in views.items() if n[0] == "d"])
            x = torch.eye(3)[j : j + 1]
            for step, op in zip(steps, model.decoder, strict=True):
                x = x if type(op).__name__ == "Rectify" else step(x, parameters)
            expected.append(x.sum().sqrt())
        expected = torch.stack(expected)
    torch.testing.assert_close(model.reach(), expected, rtol=1e-4, atol=1e-5)


def test_a_topk_code_has_k_dimensions_and_its_gradient_only_there():
    z = torch.randn(50, 12, generator=generator(), requires_grad=True)
    code = latents.create({"name": "topk", "k": 3}).posterior(z).mean
    assert (code != 0).sum(-1).tolist() == [3] * 50
    largest = z.abs().argsort(dim=-1, descending=True)[:, :3]
    assert torch.equal(code.gather(1, largest), z.gather(1, largest))
    code.sum().backward()
    assert torch.equal(z.grad, (code != 0).float())


def test_in_training_other_dimensions_of_a_topk_code_speak_now_and_then():
    """A quarter of the rows keep k of the dimensions that a fifth of silence leaves; the others are as they were."""
    z = torch.randn(20_000, 12, generator=generator())
    latent = latents.create({"name": "topk", "k": 3})
    usual = latent.posterior(z)
    tried = latent.in_training(usual, generator(1)).mean
    assert ((tried != 0).sum(-1) == 3).all()
    assert torch.equal(tried[tried != 0], z[tried != 0])
    other = (tried != usual.mean).any(-1).float().mean()
    # A row stays the same unless one of its three is silent.
    assert abs(float(other) - 0.25 * (1 - 0.8**3)) < 0.01
    assert torch.equal(latent.in_training(usual, generator(1)).mean, tried)
    assert torch.equal(latent.posterior(z).mean, usual.mean)


def test_a_topk_code_that_may_be_whole_is_whole_in_training():
    z = torch.randn(50, 4, generator=generator())
    latent = latents.create({"name": "topk", "k": 4})
    assert torch.equal(latent.in_training(latent.posterior(z), generator()).mean, z)


# ── penalties with closed forms ───────────────────────────────────────────────────────────────────


def penalty(name, z, share=None, **settings):
    """Ω [B] of codes that are the encoder's input."""
    context = Context(priors.create("normal"), z, PointPosterior, generator(), share)
    return regularizers.create({"name": name, **settings})(PointPosterior(z), context)


def test_sparsity_is_free_for_the_share_of_rows_it_asks_for():
    """One dimension speaks in a share ρ of the rows: ρ̂ = ρ tanh(ρ^−½), and Ω is the divergence of that."""
    rho, n = 0.05, 2000
    z = torch.zeros(n, 1)
    z[: int(rho * n)] = -30.0
    rate = rho * math.tanh(rho**-0.5)
    expected = rho * math.log(rho / rate) + (1 - rho) * math.log((1 - rho) / (1 - rate))
    assert float(penalty("kl_sparsity", z, rho=rho)[0]) == pytest.approx(expected, abs=1e-6)
    assert expected < 1e-6
    # In more or in fewer rows it costs.
    for share in (0.01, 0.2, 0.9):
        other = torch.zeros(n, 1)
        other[: int(share * n)] = 5.0
        assert float(penalty("kl_sparsity", other, rho=rho)[0]) > 0.02


def test_a_shift_of_the_code_buys_no_sparsity(rng):
    """A code of constant size is the worst there is: KL(ρ ‖ tanh 1)."""
    z = torch.from_numpy(rng.laplace(size=(4000, 1)).astype(np.float32))
    worst = 0.05 * math.log(0.05 / math.tanh(1)) + 0.95 * math.log(0.95 / (1 - math.tanh(1)))
    shifted = [float(penalty("kl_sparsity", z + shift)[0]) for shift in (0.0, 3.0, 1000.0)]
    assert shifted[0] < shifted[1] < shifted[2] == pytest.approx(worst, abs=1e-3)


def test_contractive_penalty_of_a_linear_encoder(rng):
    """‖W / std‖²_F on average over probes, whatever is added to the code, and the same number for every row."""
    W = torch.from_numpy(rng.normal(size=(3, 6)).astype(np.float32))
    x = torch.from_numpy(rng.normal(size=(500, 6)).astype(np.float32))
    shift = torch.tensor([0.0, 5.0, -100.0])

    def encode(u):
        return PointPosterior(u @ W.T + shift)

    contractive, prior, noise = regularizers.create("contractive"), priors.create("normal"), generator()
    drawn = [contractive(encode(x), Context(prior, x, encode, noise)).mean() for _ in range(200)]
    exact = (W / (x @ W.T).std(0, correction=0)[:, None]).square().sum()
    assert float(torch.stack(drawn).mean()) == pytest.approx(float(exact), rel=0.01)


def test_contractive_penalty_of_a_network_and_its_gradient(plane, build_model, encoded):
    """Against Jacobians written out, through a rectifier, with the gradient that training follows."""
    model = build_model(plane[1], latent_dim=2, hidden=(16,), regularizer="contractive")
    x = encoded(model, plane[1][:40]).x
    leaves = {k: v.clone().requires_grad_() for k, v in model.store.views.items()}
    model.use(leaves)
    encoder = [v for k, v in leaves.items() if k.startswith("encoder")]
    z = model.encode(x).mean
    jacobian = torch.stack([torch.autograd.functional.jacobian(lambda u: model.encode(u).mean, r, True) for r in x])
    exact = (jacobian.square().sum(-1) / z.var(0, correction=0)).sum(-1)
    wanted = torch.autograd.grad(exact.mean(), encoder)
    context, noise = Context(model.prior, x, model.encode, generator()), 3000
    drawn = torch.stack([model.regularizer(model.encode(x), context) for _ in range(noise)])
    found = torch.autograd.grad(drawn.mean(), encoder)
    torch.testing.assert_close(drawn.mean(0), exact, rtol=0.15, atol=0)
    size = max(float(b.abs().max()) for b in wanted)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0.05, atol=0.03 * size)
    # A constant added to the code buys nothing.
    assert float(found[-1].abs().max()) < 1e-4 * size


def gaussian_mmd(k, shift, spread, width):
    """MMD² of N(shift, spread² I) and N(0, I) under Σ C_s / (C_s + r²), by C/(C + r²) = C ∫ e^(−Ct) e^(−r²t) dt.

    With a − b ~ N(d, v I): E e^(−r²t) = (1 + 2tv)^(−K/2) e^(−t d²/(1 + 2tv)).
    """

    def expected(t, d_squared, v):
        return (1 + 2 * t * v) ** (-k / 2) * math.exp(-t * d_squared / (1 + 2 * t * v))

    def difference(t):
        d = k * shift**2
        return expected(t, 0, 2 * spread**2) + expected(t, 0, 2) - 2 * expected(t, d, 1 + spread**2)

    scales = [s * width for s in SCALES]
    return sum(integrate.quad(lambda t, c=c: c * math.exp(-c * t) * difference(t), 0, np.inf)[0] for c in scales)


@pytest.mark.parametrize(("shift", "spread"), [(0.0, 1.0), (1.0, 1.0), (0.0, 0.2), (-0.5, 3.0)])
@pytest.mark.parametrize("weighted", [False, True])
def test_mmd_is_that_of_two_gaussians(shift, spread, weighted, rng):
    """On average over draws; weights that undo a biased choice of rows give the same number."""
    k, n, values = 3, 400, []
    prior = priors.create("normal")
    for _ in range(60):
        a = torch.from_numpy((shift + spread * rng.normal(size=(4 * n, k))).astype(np.float32))
        weight = torch.ones(n)
        if weighted:
            # Rows above the mean of the first dimension are kept twice as often, and weigh half.
            high = a[:, 0] > shift
            a = torch.cat([a[high][: 2 * n // 3], a[~high][: n - 2 * n // 3]])
            weight = torch.where(a[:, 0] > shift, 0.5, 1.0)
        else:
            a = a[:n]
        b = torch.from_numpy(rng.normal(size=(n, k)).astype(np.float32))
        values.append(float(mmd_squared(a, b, weight, 2 * k * prior.variance)))
    error = np.std(values) / math.sqrt(len(values))
    assert np.mean(values) == pytest.approx(gaussian_mmd(k, shift, spread, 2 * k), abs=5 * error + 1e-4)
    if (shift, spread) != (0.0, 1.0):
        assert np.mean(values) > 20 * error


@pytest.mark.parametrize("name", priors.names())
def test_mmd_accepts_the_prior_and_rejects_what_is_not(name):
    """Against permutations of the pooled rows: the size of the statistic when both come from one distribution."""
    prior = priors.create(name)
    codes, drawn = prior.sample((300, 4), generator(1)), prior.sample((300, 4), generator(2))

    def rank(a):
        pooled, ones = torch.cat([a, drawn]), torch.ones(300)
        value = float(mmd_squared(a, drawn, ones, 8 * prior.variance))
        null = []
        for seed in range(200):
            order = torch.randperm(600, generator=generator(seed))
            null.append(float(mmd_squared(pooled[order[:300]], pooled[order[300:]], ones, 8 * prior.variance)))
        return np.mean(np.array(null) >= value)

    assert rank(codes) > 0.01
    assert rank(codes * 1.5) == 0
    assert rank(codes + 0.4 * prior.variance**0.5) == 0


def test_mmd_of_many_rows_is_looked_at_in_pieces(monkeypatch):
    """The largest table of pairs stays small, and the mean over pieces is the same quantity."""
    largest = []
    kernel = mmd._kernel
    monkeypatch.setattr(mmd, "_kernel", lambda a, b, w: (largest.append(a.shape[-2] * b.shape[-2]), kernel(a, b, w))[1])
    z = 0.5 * torch.randn(10_000, 2, generator=generator())
    omega = penalty("mmd", z)
    assert omega.shape == (10_000,)
    assert max(largest) <= PAIRED**2
    assert float(omega[0]) == pytest.approx(gaussian_mmd(2, 0.0, 0.5, 4), rel=0.1)


def test_a_code_cannot_escape_mmd_by_its_scale(rng):
    z = torch.from_numpy(rng.normal(size=(1000, 3)).astype(np.float32))
    omega = [float(penalty("mmd", c * z)[0]) for c in (1e-3, 0.3, 1.0, 3.0, 1e3)]
    assert omega[0] > omega[1] > omega[2] < omega[3] < omega[4]


def test_wasserstein_autoencoder_generates_from_its_prior(plane):
    """Its codes follow π, so that draws of π decode to the training distribution (Tolstikhin et al. 2018)."""
    X = plane[1]
    ae = Autoencoder(latent_dim=2, hidden=(32,), regularizer="mmd", beta=20.0, epochs=60).fit(X)
    free = Autoencoder(latent_dim=2, hidden=(32,), epochs=60).fit(X)
    z, far = ae.transform(X), free.transform(X)
    assert max(stats.kstest(z[:, i], "norm").statistic for i in range(2)) < 0.08
    assert max(stats.kstest(far[:, i], "norm").statistic for i in range(2)) > 0.1
    drawn = ae.sample(2000, mean=True)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(ae.reconstruct(X).T), atol=0.3)


# ── a density that is known ───────────────────────────────────────────────────────────────────────

COLUMNS = np.array([1.0, 30.0, 0.02, 5.0])
OFFSET = np.array([100.0, -3.0, 0.0, 7.0])


def toy(build_model, wrong=0.0, seed=1, **settings):
    """x = W z + b + σ ε in original units, and a VAE with the true decoder and the exact posterior.

    W has orthogonal columns in the metric of the noise, so that the true posterior is diagonal. With
    `wrong` > 0 the encoder's mean and width are off by about that much.
    """
    rng = np.random.default_rng(seed)
    sigma = 0.5 * COLUMNS
    whitened = np.linalg.qr(rng.normal(size=(4, 2)))[0] * [2.0, 1.0]  # W / σ
    W = sigma[:, None] * whitened
    X = rng.normal(size=(500, 2)) @ W.T + OFFSET + sigma * rng.normal(size=(500, 4))
    model = build_model(
        X,
        latent_dim=2,
        network="linear",
        latent="gaussian",
        regularizer="kl",
        likelihood={"name": "gaussian", "sigma": "learned"},
        clip=1e6,
        **settings,
    )
    encoding, views = model.encoding, model.store.views
    precision = 1 + np.array([4.0, 1.0])  # of the posterior: I + WᵀΣ⁻¹W
    back = (whitened / sigma[:, None]).T / precision[:, None]  # E[z|x] = back (x − b)

    def put(name, value):
        views[name].copy_(torch.from_numpy(np.asarray(value, np.float32)))

    put("decoder.0.weight", W / encoding.scale[:, None])
    put("decoder.0.bias", (OFFSET - encoding.center) / encoding.scale)
    mean_weight, mean_bias = back * encoding.scale, back @ (encoding.center - OFFSET)
    put("encoder.0.weight", np.vstack([mean_weight * (1 - wrong), np.zeros((2, 4))]))
    put("encoder.0.bias", np.concatenate([mean_bias + wrong, -np.log(precision) + 2 * wrong]))
    floor = model.heads[0].units.floor.double().numpy()
    put("head.0.log_sigma", 0.5 * np.log((sigma / encoding.scale) ** 2 - floor**2))
    log_p = stats.multivariate_normal(OFFSET, W @ W.T + np.diag(sigma**2)).logpdf(X)
    return model, X, log_p


def cubature(k):
    """2K nodes with mean 0 and covariance 1: exact for the quadratics under this expectation."""
    return math.sqrt(k) * torch.cat([torch.eye(k), -torch.eye(k)])


def test_elbo_is_the_log_density_when_the_posterior_is_exact(build_model, encoded):
    model, X, log_p = toy(build_model)
    rows = encoded(model, X)
    np.testing.assert_allclose(-neg_elbo(model, rows, cubature(2)).numpy(), log_p, atol=2e-3)
    for draws in (1, 7):
        bound = importance_weighted(model, rows, draws, generator())
        np.testing.assert_allclose(bound.numpy(), log_p, atol=2e-3)


def test_bounds_rise_to_the_log_density(build_model, encoded):
    """ELBO ≤ importance-weighted bound ≤ log p(x) for a wrong posterior, and closer with every draw."""
    model, X, log_p = toy(build_model, wrong=0.4)
    rows = encoded(model, X)
    elbo = -neg_elbo(model, rows, cubature(2)).double().numpy()
    assert (elbo <= log_p + 2e-3).all()
    gaps = [float((log_p - elbo).mean())]
    for draws in (1, 10, 100, 1000):
        several = [importance_weighted(model, rows, draws, generator(s)).double().numpy() for s in range(4)]
        gaps.append(float((log_p - np.mean(several, axis=0)).mean()))
    # One draw is an unbiased estimate of the ELBO.
    assert gaps[1] == pytest.approx(gaps[0], abs=0.1)
    assert gaps[0] > 0.3
    assert gaps[1] > gaps[2] > gaps[3] > gaps[4] > -5e-3
    assert gaps[4] < 0.02


IWAE = [b for b in typing.get_args(typing.get_type_hints(Config)["bound"]) if b != "elbo"]


def trained_bound(model, rows, draws, beta=1.0, seed=0):
    """Loss, distance and Ω that training sees, without corruption."""
    return loss_terms(model, rows, rows.x, None, draws, beta, generator(seed))


@pytest.mark.parametrize("bound", IWAE)
def test_trained_bound_is_exact_for_an_exact_posterior(bound, build_model, encoded):
    """For any number of draws, for stop rows in chunks, and with weights, which a single noise could not give."""
    model, X, log_p = toy(build_model, bound=bound, draws=7)
    rows = encoded(model, X)
    log_p = log_p + np.log(model.encoding.scale).sum()  # a density of the standardised rows
    for draws in (1, 7):
        assert float(trained_bound(model, rows, draws)[0]) == pytest.approx(-log_p.mean(), abs=2e-3)
    weights = np.random.default_rng(0).integers(1, 4, len(X))
    stop = Rows(rows, torch.from_numpy(weights / weights.mean()).float())
    for most in (loop.DECODED, 350):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "DECODED", most)
            assert float(loop.validate(model, stop)) == pytest.approx(-np.average(log_p, weights=weights), abs=2e-3)


@pytest.mark.parametrize("bound", IWAE)
def test_trained_bound_closes_with_draws(bound, build_model, encoded):
    model, X, log_p = toy(build_model, wrong=0.4, bound=bound)
    elbo_model, _, _ = toy(build_model, wrong=0.4)
    rows = encoded(model, X)
    exact = -(log_p + np.log(model.encoding.scale).sum()).mean()
    elbo = np.mean([float(trained_bound(elbo_model, rows, 50, seed=s)[0]) for s in range(4)])
    losses = []
    for draws in (1, 5, 50, 500):
        terms = [trained_bound(model, rows, draws, seed=s) for s in range(4)]
        losses.append(np.mean([float(t[0]) for t in terms]))
        for loss, distance, omega in terms:
            assert float(loss) == pytest.approx(sum(float(d.sum()) for d in distance) + float(omega), rel=1e-5)
    assert losses[0] == pytest.approx(elbo, abs=0.1)
    assert losses[0] > losses[1] > losses[2] > losses[3] > exact - 5e-3
    assert losses[3] < exact + 0.03


def gradients(model, rows, draws, beta, seed):
    leaves = {k: v.clone().requires_grad_() for k, v in model.store.views.items()}
    model.use(leaves)
    trained_bound(model, rows, draws, beta, seed)[0].backward()
    parts = [torch.cat([leaf.grad.flatten() for k, leaf in leaves.items() if k.startswith(p)]) for p in ("en", "de")]
    model.use(model.store.views)
    return parts


@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_doubly_reparameterized_gradient_is_the_plain_one_on_average(beta, build_model, encoded):
    """Over 60,000 copies of a few rows: the same mean for less noise, and the decoder's gradient to the digit."""
    few, noisy = [], []
    for bound in ("iwae", "dreg"):
        model, X, _ = toy(build_model, wrong=0.4, bound=bound)
        rows = encoded(model, np.repeat(X[:3], 20_000, axis=0))
        mean, decoder = gradients(model, rows, 4, beta, seed=3)
        small = encoded(model, X[:3])
        spread = torch.stack([gradients(model, small, 4, beta, s)[0] for s in range(300)]).std(0)
        few.append((mean, decoder))
        noisy.append(spread)
    (plain, plain_decoder), (doubly, doubly_decoder) = few
    torch.testing.assert_close(doubly_decoder, plain_decoder)
    # `spread` is that of 3 rows' mean; of 60,000 it is √20,000 times smaller.
    error = 5 * (noisy[0].square() + noisy[1].square()).sqrt() / math.sqrt(20_000)
    assert ((doubly - plain).abs() <= error + 1e-6).all()
    assert float((plain.abs() / error).max()) > 10
    assert not torch.allclose(doubly, plain, rtol=1e-3)
    if beta == 1.0:
        assert float(noisy[1].norm()) < 0.7 * float(noisy[0].norm())


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"latent": "gaussian"},
        {"latent": "gaussian", "regularizer": {"name": "kl", "free_bits": 0.1}},
        {"latent": "gaussian", "regularizer": "kl", "beta": 0.0},
    ],
    ids=str,
)
def test_importance_weights_refuse_what_has_none(settings, plane, build_model):
    with pytest.raises(ConfigError, match="bound 'iwae'"):
        build_model(plane[1], bound="iwae", **settings)


@pytest.mark.parametrize("bound", IWAE)
def test_the_bound_takes_over_after_epochs_on_the_elbo(bound, plane):
    """Until then each step is the ELBO's with one draw, number for number; then it is not."""
    common = {"hidden": (8,), "latent_dim": 2, "epochs": 4, "batch_size": 32}
    late = VariationalAutoencoder(**common, bound=bound, draws=3, bound_after=2).fit(plane[1][:300]).history_
    elbo = VariationalAutoencoder(**common).fit(plane[1][:300]).history_
    same = [all(a[k] == b[k] for k in ("distance", "regularizer")) for a, b in zip(late, elbo, strict=True)]
    assert same == [True, True, False, False]


@pytest.mark.parametrize("settings", [{"bound_after": 2}, {"bound": "iwae", "bound_after": 3, "epochs": 3}], ids=str)
def test_a_takeover_that_never_comes_is_refused(settings, plane):
    with pytest.raises(ConfigError, match="bound_after"):
        VariationalAutoencoder(latent_dim=2, **settings).fit(plane[1][:100])


def test_importance_weighted_score_lies_between_the_elbo_and_the_density(build_model, encoded):
    """In original units; exact for an exact posterior, and what "auto" takes where it was trained."""
    for wrong in (0.0, 0.4):
        model, X, log_p = toy(build_model, wrong=wrong, bound="iwae")
        score = score_table(Reference(model), X, ["neg_elbo", "neg_log_likelihood"])
        gaps = {name: (value + log_p).mean() for name, value in score.items()}
        if wrong:
            assert -5e-3 < gaps["neg_log_likelihood"] < 0.3 * gaps["neg_elbo"]
        else:
            np.testing.assert_allclose(score["neg_log_likelihood"], -log_p, atol=2e-3)
        assert automatic_score(Reference(model)) == "neg_log_likelihood"


# ── cells that are probabilities ──────────────────────────────────────────────────────────────────


def test_binarized_cells_are_drawn_afresh_for_encoder_and_distance(build_model, encoded, monkeypatch):
    """Each step sees zeros and ones of the cell's rate, the same ones on both sides; stop rows keep one draw."""
    X = np.random.default_rng(4).random((300, 5))
    model = build_model(X, hidden=(8,), likelihood={"name": "bernoulli", "binarize": True})
    rows, noise = encoded(model, X), generator()
    seen, compared = [], []
    encode, mean_nll = model.encode, model.mean_nll
    monkeypatch.setattr(model, "encode", lambda x, memory=None: (seen.append(x), encode(x, memory))[1])
    monkeypatch.setattr(model, "mean_nll", lambda theta, r, share: (compared.append(r.x), mean_nll(theta, r, share))[1])
    for _ in range(400):
        objective(model, rows, None, 1.0, noise)
    assert all(torch.equal(a, b) for a, b in zip(seen, compared, strict=True))
    drawn = torch.stack(seen)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    z = (drawn.mean(0) - rows.x) / (rows.x * (1 - rows.x) / len(drawn)).sqrt()
    assert float(z.square().mean()) == pytest.approx(1, abs=0.15)
    assert torch.equal(rows.x, encoded(model, X).x)
    values = [loop.validate(model, Rows(rows, None)) for _ in range(2)]
    assert torch.equal(*values)
    assert torch.equal(seen[-1], seen[-2])
    assert set(seen[-1].unique().tolist()) == {0.0, 1.0}


def test_binarized_training_finds_the_entropy(rng):
    """Cells of one rate p each: the best loss is Σ entropy(p), whichever way x lies between 0 and 1."""
    p = np.array([0.1, 0.5, 0.8])
    X = np.clip(p + 0.02 * rng.normal(size=(2000, 3)), 0, 1)
    ae = VariationalAutoencoder(likelihood={"name": "bernoulli", "binarize": True}, epochs=30, latent_dim=1).fit(X)
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p)).sum()
    assert ae.history_[-1]["validation"] == pytest.approx(entropy, abs=0.08)


def test_public_scores_are_densities_in_original_units(build_model, rng):
    """A unit ten times smaller adds log 10 per column to −log p, whatever the scaling does inside."""
    X = rng.normal(size=(300, 2)) @ rng.normal(size=(2, 4)) + 0.1 * rng.normal(size=(300, 4))
    factor = np.array([10.0, 0.01, 1.0, 1e5])
    one = VariationalAutoencoder(latent_dim=2, hidden=(8,), epochs=2).fit(X)
    other = VariationalAutoencoder(latent_dim=2, hidden=(8,), epochs=2).fit(X * factor)
    for score in ("nll", "neg_elbo"):
        moved = other.anomaly_score(X * factor, score) - one.anomaly_score(X, score)
        np.testing.assert_allclose(moved, np.log(factor).sum(), atol=5e-3)


def test_score_bounds_the_importance_weighted_density(plane, encoded):
    """The public neg_elbo of a fitted VAE, nonlinear and with learned widths, is a bound on average."""
    _, X = plane
    ae = VariationalAutoencoder(latent_dim=3, hidden=(16,), epochs=5).fit(X)
    rows = encoded(ae.model_, X[:300])
    with torch.no_grad():
        elbo = -ae.anomaly_score(X[:300], "neg_elbo").mean()
        bounds = [float(importance_weighted(ae.model_, rows, s, generator()).mean()) for s in (10, 100, 1000)]
    assert elbo < bounds[0] < bounds[1] < bounds[2] + 1e-3


# ── the best code of a row ────────────────────────────────────────────────────────────────────────


def linear_model(build_model, rng, columns, k, prior, sigma=0.5):
    """A linear decoder W z + b with a poor encoder, its rows, and the decoder in standardised units."""
    X = rng.normal(size=(300, columns)) @ rng.normal(size=(columns, columns)) * 10 + 3
    settings = {"network": "linear", "latent": "gaussian", "regularizer": "kl", "prior": prior}
    model = build_model(X, latent_dim=k, likelihood={"name": "gaussian", "sigma": sigma}, clip=1e6, **settings)
    views = model.store.views
    W, b = 0.8 * rng.normal(size=(columns, k)), 0.3 * rng.normal(size=columns)
    views["decoder.0.weight"].copy_(torch.from_numpy(W))
    views["decoder.0.bias"].copy_(torch.from_numpy(b))
    u = (X - model.encoding.center) / model.encoding.scale
    return model, X, u, W, b


def profiled(model, X, z, u, W, b, sigma=0.5):
    """−log p(x|z) − log π(z), in original units, by hand."""
    nll = -stats.norm(z @ W.T + b, sigma).logpdf(u).sum(1) + np.log(model.encoding.scale).sum()
    return nll - model.prior.log_prob(torch.from_numpy(z)).sum(-1).numpy()


def test_profile_of_a_linear_decoder_is_ridge(build_model, encoded, rng):
    """With a normal prior the best code is (WᵀW/σ² + I)⁻¹ Wᵀ(x − b)/σ²."""
    model, X, u, W, b = linear_model(build_model, rng, 7, 4, "normal")
    best = np.linalg.solve(W.T @ W / 0.25 + np.eye(4), W.T @ (u - b).T / 0.25).T
    np.testing.assert_allclose(profile(model, encoded(model, X)), profiled(model, X, best, u, W, b), rtol=1e-4)


@pytest.mark.parametrize("rate", [0.5, 3.0])
def test_profile_of_a_narrow_linear_decoder_is_the_soft_threshold(rate, build_model, encoded, rng):
    """With a Laplace prior and one dimension: the least-squares code, pulled to 0 by λσ²/|w|², and not beyond."""
    model, X, u, W, b = linear_model(build_model, rng, 5, 1, {"name": "laplace", "rate": rate})
    w = W[:, 0]
    free = (u - b) @ w / (w @ w)
    best = np.sign(free) * np.maximum(np.abs(free) - rate * 0.25 / (w @ w), 0)
    assert 0 < (best == 0).mean() < 1
    found = profile(model, encoded(model, X))
    np.testing.assert_allclose(found, profiled(model, X, best[:, None], u, W, b), rtol=1e-4)


def laplacian(**settings):
    """An autoencoder with the L1 penalty."""
    return Autoencoder(regularizer="prior", prior="laplace", **settings)


@pytest.mark.parametrize("kind", [Autoencoder, laplacian, SparseAutoencoder, VariationalAutoencoder])
def test_profile_falls_with_iterations_from_the_encoders_code(kind, mixed, encoded):
    """For every row, of every kind of column, and by more than nothing."""
    ae = kind(epochs=5, latent_dim=3, slots={"e": 2}).fit(mixed)
    model, rows = ae.model_, encoded(ae.model_, mixed)
    scale = code_scale(model)
    z = model.encode(rows.clipped(model.encoding.clip).x).mean
    start = model.column_nll(model.decode(z), rows).sum(-1)
    if kind is not SparseAutoencoder:  # whose codes of one dimension count alike
        start = start - model.prior.log_prob(z / scale).sum(-1)
    values = [start, *(profile(model, rows, n) for n in (0, 1, 5, 15, 30, 400))]
    torch.testing.assert_close(values[1], start)
    for before, after in itertools.pairwise(values):
        assert (after <= before + 1e-4 * (1 + before.abs())).all()
    gained = (values[0] - values[-2]).mean()
    assert float(gained) > 0.1
    # What the cap leaves on the table is little.
    assert float((values[-2] - values[-1]).mean()) < 0.02 * float(gained)
    np.testing.assert_allclose(ae.anomaly_score(mixed, "profile"), values[-2], rtol=1e-4)


@pytest.mark.parametrize("scale", ["decoder", "rms"])
def test_profile_does_not_see_the_scale_of_a_point_code(scale, plane, encoded):
    """π is that of z̄ where the regularizer acts on z̄, so a code in other units changes nothing."""
    ae = laplacian(latent_dim=3, hidden=(16,), epochs=5, beta=0.1, code_scale=scale).fit(plane[1])
    model, views = ae.model_, ae.model_.store.views
    before = ae.anomaly_score(plane[1][:200], "profile")
    c = torch.tensor([8.0, 0.125, 4.0])
    views["encoder.2.weight"].mul_(c[:, None])
    views["encoder.2.bias"].mul_(c)
    views["decoder.0.weight"].div_(c)
    model.buffers["latent_mean"].mul_(c)
    model.buffers["latent_cov"].mul_(c[:, None] * c)
    np.testing.assert_allclose(ae.anomaly_score(plane[1][:200], "profile"), before, rtol=1e-3)


# ── what the kinds of autoencoder are for ─────────────────────────────────────────────────────────

WIDE = {"latent_dim": 12, "hidden": (48,), "epochs": 40, "learning_rate": 5e-3}


@pytest.fixture(scope="module")
def overcomplete(plane):
    """Plain, sparse and denoising autoencoders with more codes than columns, on one table."""
    X = plane[1]
    return {
        "plain": Autoencoder(**WIDE).fit(X),
        "sparse": SparseAutoencoder(**WIDE).fit(X),
        "denoising": DenoisingAutoencoder(**WIDE, corruption={"name": "gaussian", "std": 0.6}).fit(X),
    }


def mean_squared(a, b, X):
    return float((((a - b) / X.std(0)) ** 2).mean())


def test_overcomplete_plain_copies_and_the_others_do_not(overcomplete, plane, rng):
    X = plane[1]
    far = rng.normal(size=(500, 8)) * X.std(0)
    error = {name: mean_squared(ae.reconstruct(far), far, X) for name, ae in overcomplete.items()}
    assert error["plain"] < 0.1
    assert error["sparse"] > 4 * error["plain"]
    assert error["denoising"] > 4 * error["plain"]


def test_denoising_removes_noise_better_than_plain(overcomplete, rng):
    basis = np.linalg.qr(np.random.default_rng(5).normal(size=(8, 2)))[0]  # that of the fixture
    clean = rng.normal(size=(500, 2)) * 2 @ basis.T
    noisy = clean + 0.3 * rng.normal(size=clean.shape)
    left = {n: mean_squared(ae.reconstruct(noisy), clean, clean) for n, ae in overcomplete.items()}
    unchanged = mean_squared(noisy, clean, clean)
    assert left["denoising"] < 0.75 * left["plain"]
    assert left["denoising"] < 0.75 * unchanged


def test_beta_trades_divergence_for_distance(plane):
    X = plane[1]
    kl, distance = [], []
    for beta in (0.1, 1.0, 10.0):
        ae = VariationalAutoencoder(latent_dim=3, hidden=(16,), beta=beta, epochs=25, learning_rate=5e-3)
        ae.fit(X)
        kl.append(ae.anomaly_score(X, "kl").mean())
        distance.append(ae.anomaly_score(X, "neg_elbo").mean() - kl[-1])
    assert kl[0] > kl[1] > kl[2]
    assert distance[0] < distance[1] < distance[2]


def test_learned_sigma_is_the_residual_spread(plane):
    """At the optimum σ² is the mean squared residual under q(z|x), column by column.

    A VAE, because a point latent may copy one column and let its σ fall to the floor.
    """
    X = plane[1]
    ae = VariationalAutoencoder(latent_dim=2, hidden=(16,), epochs=50, learning_rate=5e-3).fit(X)
    head, model = ae.model_.heads[0], ae.model_
    variance = head.likelihood.variance(None, {"log_sigma": model.store.views["head.0.log_sigma"]}, head.units)[0]
    assert float((variance.sqrt() / head.units.floor).min()) > 10
    x = torch.from_numpy(((X - model.encoding.center) / model.encoding.scale).astype(np.float32))
    with torch.no_grad():
        z = model.encode(x).sample(50, generator())
        residual = (model.decode(z) - x).square().mean((0, 1)).sqrt()
    np.testing.assert_allclose(variance.sqrt().numpy(), residual.numpy(), rtol=0.05)


# ── likelihoods are distributions ─────────────────────────────────────────────────────────────────

LIKELIHOODS = [*(spec for name in likelihoods for spec in variants(name)), {"name": "gaussian", "sigma": 0.2}]
CONTINUOUS = [s for s in LIKELIHOODS if likelihoods.create(s).density]


def one_column(spec):
    """A likelihood of one column with decoder numbers theta [1, width], own parameters and units."""
    likelihood = likelihoods.create(spec)
    block = BlockOf(likelihood, columns=1)
    theta = torch.tensor([[0.4, -1.1, 0.8, 0.2]]).repeat(1, -(-block.width // 4))[:, : block.width]
    return block.likelihood, theta, block.own(lambda shape: torch.full(shape, -0.7)), block.units


def nll_at(likelihood, theta, own, value, units):
    """−log p at standardised values [n, 1], under one theta for all of them."""
    x = BlockOf(likelihood, columns=1).inputs_of(value).float()
    return likelihood.nll(theta.expand(len(x), -1), own, x, units)[:, 0]


def test_von_mises_integrates_to_one_over_the_circle():
    likelihood, units = likelihoods.create("von_mises"), Units.plain(1, 1e-3)
    turn = torch.linspace(-math.pi, math.pi, 400_001, dtype=torch.float64)[:, None]
    for kappa in (0.0, 0.3, 5.0, 80.0, 1e3, 1e4):
        theta = kappa * torch.tensor([[math.cos(2.0), math.sin(2.0)]])
        density = (-nll_at(likelihood, theta, {}, turn, units)).double().exp()
        assert float(torch.trapezoid(density, turn[:, 0])) == pytest.approx(1, abs=2e-3)


def test_von_mises_nll_keeps_its_digits_at_large_kappa():
    likelihood, units = likelihoods.create("von_mises"), Units.plain(1, 1e-3)
    for sigma in (0.1, 0.01, 0.002):
        phi = 2.0 + sigma * torch.linspace(-3, 3, 41, dtype=torch.float64)[:, None]
        theta = torch.tensor([[math.cos(2.0), math.sin(2.0)]]) / sigma**2
        nll = nll_at(likelihood, theta, {}, phi, units).double().numpy()
        exact = -stats.vonmises(1 / sigma**2, loc=2.0).logpdf(phi[:, 0].numpy())
        np.testing.assert_allclose(nll, exact, atol=0.02)


@pytest.mark.parametrize("slots", [1, 3, 5])
@pytest.mark.parametrize("gaps", [0.1, 0.5, 0.9])
def test_multiplicity_sums_to_one_over_all_patterns(slots, gaps, rng):
    likelihood = likelihoods.create({"name": "multiplicity", "gaps": gaps})
    theta = torch.from_numpy(rng.normal(size=(1, slots + 1)).astype(np.float32))
    patterns = torch.tensor(list(itertools.product([0.0, 1.0], repeat=slots)))
    nll = nll_at(likelihood, theta, {}, patterns, Units.plain(1))
    assert float((-nll).double().exp().sum()) == pytest.approx(1, abs=1e-5)


def integral(likelihood, theta, own, units):
    """∫ p(x) dx over the range that holds all but 1e-6 of the mass by the likelihood's own distribution."""
    low, first, middle, third, high = (
        quantile(likelihood, theta, own, units, p) for p in (5e-7, 0.25, 0.5, 0.75, 1 - 5e-7)
    )
    # x = middle + width sinh u: steps that grow with the distance reach the end of a heavy tail.
    width = third - first
    u = torch.linspace(*(math.asinh((end - middle) / width) for end in (low, high)), 240_001, dtype=torch.float64)
    density = (-nll_at(likelihood, theta, own, middle + width * u.sinh()[:, None], units)).double().exp()
    return float(torch.trapezoid(density * width * u.cosh(), u))


@pytest.mark.parametrize("spec", [s for s in CONTINUOUS if "real" in likelihoods.create(s).kinds], ids=str)
def test_real_likelihoods_integrate_to_one(spec):
    assert integral(*one_column(spec)) == pytest.approx(1, abs=1e-4)


class HeavyTail(Likelihood):
    """A right Cauchy, whose tail holds 5e-3 of the mass beyond 60 of its widths."""

    kinds = ("real",)
    density = True

    def nll(self, theta, own, x, units, memory=None):
        return self.cost((x - theta).abs() / units.floor) + (torch.pi * units.floor).log()

    def cost(self, far):
        return far.square().log1p()

    def mean(self, theta, units):
        return theta

    def sample(self, theta, own, units, generator):
        return theta + units.floor * torch.tan(torch.pi * (torch.rand(theta.shape, generator=generator) - 0.5))

    def cdf(self, theta, own, x, units):
        return 0.5 + torch.atan((x.double() - theta.double()) / units.floor.double()) / torch.pi


class FlatTail(HeavyTail):
    """Wrong: cells beyond 100 widths all cost the same."""

    def cost(self, far):
        return super().cost(far.clamp_max(100))


class ThinTail(HeavyTail):
    """Wrong: cells beyond 100 widths cost as those of a density that falls with the third power."""

    def cost(self, far):
        return torch.where(far > 100, 3 * far.log() - math.log(100), super().cost(far))


@pytest.mark.parametrize("cls", [HeavyTail, FlatTail, ThinTail])
def test_a_right_heavy_tail_passes_and_a_wrong_one_fails(cls):
    likelihood = cls()
    block = BlockOf(likelihood, columns=1)
    found = integral(likelihood, torch.tensor([[0.4]]), {}, block.units)
    assert (abs(found - 1) < 1e-4) == (cls is HeavyTail)


DISCRETE = [s for s in LIKELIHOODS if not likelihoods.create(s).density and s["name"] != "multiplicity"]


@pytest.mark.parametrize("spec", DISCRETE, ids=str)
def test_masses_sum_to_one_and_make_up_the_cdf(spec):
    likelihood, theta, own, units = one_column(spec)
    top = {"boolean": 1, "categorical": 3, "ordinal": 3, "integer": 255, "count": 400}[likelihood.kinds[0]]
    cells = units.standardised(torch.arange(top + 1.0, dtype=torch.float64)[:, None])
    mass = (-nll_at(likelihood, theta, own, cells, units)).double().exp()
    assert float(mass.sum()) == pytest.approx(1, abs=1e-5)
    cdf = likelihood.cdf(theta.expand(len(cells), -1), own, cells, units)[:, 0]
    np.testing.assert_allclose(mass.cumsum(0).numpy(), cdf.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("spec", "law"),
    [
        ("poisson", lambda rate, r: stats.poisson(rate)),
        ("negative_binomial", lambda rate, r: stats.nbinom(r, r / (r + rate))),
    ],
)
def test_counts_follow_their_law(spec, law):
    """Against SciPy, up to counts where single precision would lose whole nats."""
    likelihood, theta, own, units = one_column(spec)
    for mean in (0.5, 40.0, 3e5):
        units.center = torch.full((1,), mean)
        k = np.unique(np.round(mean + np.sqrt(mean) * np.arange(-4, 9))).clip(0)
        r = 5 * math.exp(-0.7)
        exact = -law(mean * math.exp(0.4), r).logpmf(k)
        cells = units.standardised(torch.from_numpy(k)[:, None])
        exactly = likelihood.nll(theta.expand(len(k), -1), own, cells, units)[:, 0]
        np.testing.assert_allclose(exactly.numpy(), exact, rtol=1e-4, atol=1e-4)


def test_a_discretized_logistic_is_the_mass_of_its_steps():
    likelihood, theta, own, units = one_column("discretized_logistic")
    s = 0.02 / 2 + math.exp(-1.7)
    law = stats.logistic(loc=0.4, scale=s)
    mass = [law.cdf((k + 0.5 - 3) / 2) - law.cdf((k - 0.5 - 3) / 2) for k in range(1, 10)]
    cells = units.standardised(torch.arange(1.0, 255.0, dtype=torch.float64)[:, None])
    nll = nll_at(likelihood, theta, own, cells, units).numpy()
    np.testing.assert_allclose(-nll[:9], np.log(mass), atol=1e-3)
    assert np.isfinite(nll).all()
    assert (np.diff(nll[5:]) > 0).all()  # far out in the tail it neither overflows nor flattens


def test_a_category_costs_its_log_probability():
    likelihood, theta, own, units = one_column("categorical")
    p = theta.softmax(-1)[0]
    nll = nll_at(likelihood, theta, own, torch.arange(4.0)[:, None], units)
    torch.testing.assert_close(nll, -p.log())
    brier = likelihood.squared_error(theta, torch.eye(4)[:1], units)
    assert float(brier) == pytest.approx(0.5 * float((p - torch.eye(4)[0]).square().sum()))
    assert float(likelihood.mean(theta, units)) == float(p.argmax())


def uniform_residuals(likelihood, theta, own, units, drawn):
    """Probability integral transform; within a step of a discrete distribution a uniform number decides."""
    upper = likelihood.cdf(theta, own, drawn, units).double().numpy()[:, 0]
    if likelihood.density:
        return upper
    lower = likelihood.cdf(theta, own, drawn - float(units.step[0]), units).double().numpy()[:, 0]
    return lower + np.random.default_rng(1).random(len(drawn)) * (upper - lower)


@pytest.mark.parametrize("spec", LIKELIHOODS, ids=str)
def test_samples_follow_the_cdf(spec):
    likelihood, theta, own, units = one_column(spec)
    many = theta.expand(4000, -1)
    drawn = likelihood.sample(many, own, units, generator())
    assert drawn.shape == (4000, 1)
    assert stats.kstest(uniform_residuals(likelihood, many, own, units, drawn), "uniform").pvalue > 1e-3
    wrong = many + torch.linspace(0.7, 2.1, theta.shape[-1])
    assert stats.kstest(uniform_residuals(likelihood, wrong, own, units, drawn), "uniform").pvalue < 1e-6


@pytest.mark.parametrize("spec", CONTINUOUS, ids=str)
def test_density_is_the_derivative_of_the_cdf(spec):
    likelihood, theta, own, units = one_column(spec)
    # Within half a turn of the mean, where an angle's cdf has no jump.
    x = float(likelihood.mean(theta, units)[0, 0]) + torch.linspace(-2.5, 2.5, 101, dtype=torch.float64)[:, None]
    step = 1e-4
    many = theta.expand(len(x), -1)
    slope = likelihood.cdf(many, own, x + step, units) - likelihood.cdf(many, own, x - step, units)
    density = (-nll_at(likelihood, theta, own, x, units)).exp()
    np.testing.assert_allclose(slope[:, 0].numpy() / (2 * step), density.numpy(), rtol=2e-3, atol=1e-6)


# ── generation ────────────────────────────────────────────────────────────────────────────────────


def test_samples_of_a_vae_follow_a_known_gaussian(rng):
    mean, covariance = [5.0, -300.0], [[4.0, 80.0], [80.0, 2500.0]]
    X = rng.multivariate_normal(mean, covariance, size=2500)
    ae = VariationalAutoencoder(latent_dim=2, hidden=(16,), epochs=60, batch_size=256, learning_rate=1e-2)
    drawn = ae.fit(X).sample(30_000)
    for column in range(2):
        true = stats.norm(mean[column], covariance[column][column] ** 0.5)
        # The training rows are themselves some 0.02 from the law.
        assert stats.kstest(drawn[:, column], true.cdf).statistic < 0.05
    assert np.corrcoef(drawn.T)[0, 1] == pytest.approx(0.8, abs=0.1)


@pytest.mark.parametrize("estimator", [Autoencoder, VariationalAutoencoder])
def test_samples_come_in_the_type_that_fit_was_given(estimator, mixed):
    X = mixed.drop(columns="gap").astype({"a": "float32", "hits": "int16"})
    drawn = estimator(epochs=2, slots={"e": 2}).fit(X).sample(50, random_state=1, method="prior")
    assert isinstance(drawn, pd.DataFrame)
    assert drawn.shape == (50, X.shape[1])
    assert drawn.dtypes.to_dict() == X.dtypes.to_dict()
    assert drawn["lead_phi"].abs().max() <= math.pi + 1e-6
    absent = (drawn[["e2_pt", "e2_eta"]] == 0).all(axis=1)
    assert absent.any()
    assert not absent.all()


def test_samples_of_missing_cells_are_missing(mixed):
    drawn = VariationalAutoencoder(epochs=5).fit(mixed).sample(400)
    assert 0 < drawn["gap"].isna().mean() < 0.5
    assert not drawn["a"].isna().any()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int64", "bool"])
def test_array_samples_keep_their_dtype(dtype, rng):
    X = (rng.normal(size=(120, 4)) > 0) if dtype == "bool" else (3 * rng.normal(size=(120, 4))).astype(dtype)
    drawn = Autoencoder(epochs=2).fit(X).sample(30)
    assert isinstance(drawn, np.ndarray)
    assert drawn.dtype == X.dtype


def test_arrow_samples_are_arrow(mixed):
    import pyarrow as pa

    table = pa.Table.from_pandas(mixed, preserve_index=False)
    drawn = Autoencoder(epochs=2).fit(table).sample(7)
    assert isinstance(drawn, pa.Table)
    assert drawn.num_rows == 7
    assert drawn.schema.field("tagged").type == pa.bool_()
    assert drawn.schema.field("hits").type == table.schema.field("hits").type


def test_sampling_repeats_with_its_seed(plane):
    ae = VariationalAutoencoder(epochs=2).fit(plane[1][:200])
    assert np.array_equal(ae.sample(20, random_state=4), ae.sample(20, random_state=4))
    assert not np.array_equal(ae.sample(20, random_state=4), ae.sample(20, random_state=5))


def test_the_sparse_default_is_sparse_in_each_row_and_keeps_the_digits():
    X = load_digits().data[np.random.default_rng(0).permutation(1797)] / 16
    train, test = X[:1400], X[1400:]
    ae = SparseAutoencoder().fit(train)
    z = ae.transform(test)
    energy = np.sort((z**2 / ((z**2).mean(0) + 1e-12)).mean(1))
    assert energy[-39:].sum() / energy.sum() <= 0.3
    assert ((ae.reconstruct(test) - test) ** 2).mean() / test.var(0).mean() <= 0.25
    root = np.sqrt(z.shape[1])
    hoyer = (root - np.abs(z).sum(1) / np.linalg.norm(z, axis=1)) / (root - 1)
    assert np.median(hoyer) >= 0.5
    # Without silence in training 38 % of the dimensions speak in less than a tenth of the rows.
    assert ((z != 0).mean(0) < 0.1).mean() <= 0.25
