"""What every entry of every registry must do; a new entry is tested here without new code."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import math
import pkgutil
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import values_of
from kinds import BlockOf, variants
from torch.utils.flop_counter import FlopCounterMode

import diabolo
from diabolo import AnomalyDetector, Autoencoder, VariationalAutoencoder
from diabolo.data.sources import Rows
from diabolo.detect.choice import applicable
from diabolo.detect.reference import Reference, Stored
from diabolo.detect.scores import scores
from diabolo.detect.scoring import score_table
from diabolo.errors import ConfigError
from diabolo.model.autoencoder import Model
from diabolo.model.corruption import corruptions
from diabolo.model.latent import latents
from diabolo.model.latent.gaussian import GaussianPosterior
from diabolo.model.likelihood import likelihoods
from diabolo.model.networks import ParameterStore, networks, parameter_shapes, run
from diabolo.model.objective import corrupted, loss_terms, objective
from diabolo.model.prior import priors
from diabolo.model.regularizer import Context, regularizers
from diabolo.registry import Entry, Registry, spec_of
from diabolo.train.engine import Engine
from diabolo.train.loop import fit, validate

LEADS = [(), (3,), (2, 3)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed))


def all_registries():
    """Every `Registry` that some module of the package holds, once."""
    found = {}
    for info in pkgutil.walk_packages(diabolo.__path__, "diabolo."):
        if not info.name.endswith("__main__"):
            for value in vars(importlib.import_module(info.name)).values():
                if isinstance(value, Registry):
                    found[id(value)] = value
    return list(found.values())


ENTRIES = [pytest.param(r, n, id=f"{r.concept}-{n}") for r in all_registries() for n in r.names()]


# ── the registries themselves ─────────────────────────────────────────────────────────────────────


def test_every_concept_has_its_registry():
    known = {"corruption", "network", "latent", "prior", "likelihood", "regularizer", "score", "format"}
    known |= {"verb", "section", "alarm", "partition", "embedding", "method", "robust"}
    assert known <= {r.concept for r in all_registries()}


@pytest.mark.parametrize(("registry", "name"), ENTRIES)
def test_settings_round_trip_through_plain_json(registry, name):
    part = registry.create(name)
    spec = json.loads(json.dumps(spec_of(part)))
    assert spec["name"] == name == part.name
    assert registry.create(spec) == part
    assert registry.create(part) is part
    assert set(spec) == {"name"} | {f.name for f in dataclasses.fields(part)}


@pytest.mark.parametrize(("registry", "name"), ENTRIES)
def test_parts_are_frozen(registry, name):
    part = registry.create(name)
    for field in dataclasses.fields(part):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, field.name, None)


@pytest.mark.parametrize(("registry", "name"), ENTRIES)
def test_unknown_setting_is_named_with_the_nearest(registry, name):
    fields = [f.name for f in dataclasses.fields(registry.get(name))]
    typo = f"{fields[0]}s" if fields else "sigmas"
    hint = f"did you mean '{fields[0]}'" if fields else "it takes none"
    with pytest.raises(ConfigError, match=typo) as failure:
        registry.create({"name": name, typo: 1})
    assert name in str(failure.value)
    assert hint in str(failure.value)


@pytest.mark.parametrize(("registry", "name"), ENTRIES)
def test_unknown_name_is_told_with_the_nearest(registry, name):
    typo = f"{name}q"
    with pytest.raises(ConfigError, match="did you mean") as failure:
        registry.create(typo)
    assert registry.concept in str(failure.value)
    assert all(n in str(failure.value) for n in registry.names())


@pytest.mark.parametrize(("registry", "name"), ENTRIES)
def test_wrong_type_is_refused(registry, name):
    for field in dataclasses.fields(registry.get(name)):
        with pytest.raises(ConfigError, match=field.name):
            registry.create({"name": name, field.name: {"no": "number"}})
    for spec in (7, {"nome": name}, {"name": 3}, None):
        with pytest.raises(ConfigError, match=registry.concept):
            registry.create(spec)


@pytest.mark.parametrize(("registry", "name"), ENTRIES)
def test_every_part_says_in_one_whole_sentence_what_it_is(registry, name):
    sentence = dict(registry.describe())[name]
    assert sentence
    # A dataclass without a docstring gets its signature as one.
    assert not sentence.startswith(f"{registry.get(name).__name__}(")
    assert sentence.endswith(".")
    assert sentence.count("(") == sentence.count(")")


def test_registering_twice_is_refused():
    registry = Registry("toy")
    registry.register("one")(type("One", (Entry,), {}))
    with pytest.raises(ConfigError, match="twice"):
        registry.register("one")(type("Other", (Entry,), {}))


TOY = """
from diabolo.registry import Entry
from {package}.base import toys


@toys.register("{name}")
class Toy(Entry):
    place = {place}
"""


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """A registry of a folder, and a function that puts a part of some name and place there."""
    package = f"toys_{tmp_path.name}"
    folder = tmp_path / package
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "base.py").write_text('from diabolo.registry import Registry\n\ntoys = Registry("toy", __package__)\n')
    monkeypatch.syspath_prepend(tmp_path)

    def drop(name, place=0):
        (folder / f"{name}.py").write_text(TOY.format(package=package, name=name, place=place))

    yield importlib.import_module(f"{package}.base").toys, drop
    for module in [m for m in sys.modules if m.partition(".")[0] == package]:
        del sys.modules[module]


def test_a_file_in_the_folder_is_all_that_a_part_needs(toys):
    registry, drop = toys
    for name, place in (("zebra", 0), ("late", 2), ("ape", 0), ("early", 1)):
        drop(name, place)
    assert registry.names() == ["ape", "zebra", "early", "late"]
    assert spec_of(registry.create("zebra")) == {"name": "zebra"}


def test_a_folder_is_looked_into_once_and_only_when_asked(toys):
    registry, drop = toys
    package = registry.folder
    drop("one")
    assert f"{package}.one" not in sys.modules
    assert "one" in registry
    drop("two")
    assert "two" not in registry


def test_a_part_of_ones_own_joins_those_of_the_folder(toys):
    registry, drop = toys
    drop("built_in")
    with pytest.raises(ConfigError, match="'built_in' is registered twice"):
        registry.register("built_in")(type("Mine", (Entry,), {}))
    registry.register("another")(type("Mine", (Entry,), {}))
    assert registry.names() == ["another", "built_in"]


def test_a_folder_that_cannot_be_imported_says_so_every_time(toys):
    registry, drop = toys
    drop("good")
    drop("broken", "nonsense")
    for _ in range(2):
        with pytest.raises(NameError, match="nonsense"):
            registry.names()


@pytest.mark.parametrize(("registry", "name"), ENTRIES)
def test_a_part_is_of_its_concepts_class(registry, name):
    """Of the first class that all parts have in common, which says what a part must answer."""
    assert issubclass(registry.get(name), Entry)
    assert not inspect.isabstract(registry.get(name))


# ── networks ──────────────────────────────────────────────────────────────────────────────────────


SIDES = [pytest.param(n, side, id=f"{n}-{side}") for n in networks for side in ("encoder", "decoder")]


def side_of(name, side, lead, seed=0, parts=1, **settings):
    """Operations of an encoder 64 → 6 or a decoder 3 → 64 · parts, and a store with their first values."""
    network = networks.create({"name": name, **settings})
    shape, code = (8, 8, 1) if network.needs_shape else None, 6 if side == "encoder" else 3
    hidden = network.default_hidden(64, shape)
    if side == "encoder":
        operations = network.encoder(64, hidden, code, shape)
    else:
        operations = network.decoder(code, hidden[::-1], 64 * parts, shape)
    store = ParameterStore(parameter_shapes("n", operations), lead)
    store.initialise("n", operations, seed)
    return operations, store


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize(("name", "side"), SIDES)
def test_network_maps_rows_and_members_apart(name, side, lead):
    operations, store = side_of(name, side, lead)
    inputs, outputs = (64, 6) if side == "encoder" else (3, 64)
    x = normal(11, inputs)
    out = run(operations, list(store.views.values()), x)
    assert out.shape == (*lead, 11, outputs)
    several = run(operations, list(store.views.values()), x.expand(*lead, 11, inputs).contiguous())
    torch.testing.assert_close(several, out)
    drawn = run(operations, list(store.views.values()), x.expand(4, *lead, 11, inputs))
    torch.testing.assert_close(drawn, out.expand(4, *out.shape))
    flat = store.flat.view(-1, store.flat.shape[-1])
    for m, alone in enumerate(out.reshape(-1, 11, outputs)):
        torch.testing.assert_close(run(operations, list(store.split(flat[m]).values()), x), alone)
    if len(flat) > 1:
        assert not torch.equal(flat[0], flat[1])


@pytest.mark.parametrize(("name", "side"), SIDES)
def test_network_gives_a_likelihood_several_numbers_per_input(name, side):
    for parts in (1, 2, 3):
        operations, store = side_of(name, side, (), parts=parts)
        out = run(operations, list(store.views.values()), normal(5, 3 if side == "decoder" else 64))
        assert out.shape == (5, 64 * parts if side == "decoder" else 6)


@pytest.mark.parametrize(("name", "side"), SIDES)
def test_network_repeats_with_its_seed(name, side):
    for lead in LEADS:
        weights = [side_of(name, side, lead, seed=s)[1].flat for s in (4, 4, 400)]
        assert torch.equal(weights[0], weights[1])
        assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(("name", "side"), SIDES)
def test_network_keeps_the_size_of_its_signal(name, side):
    operations, store = side_of(name, side, ())
    spread = float(run(operations, list(store.views.values()), normal(500, 64 if side == "encoder" else 3)).std())
    assert 0.3 < spread < 3


@pytest.mark.parametrize(("name", "side"), SIDES)
def test_network_counts_its_multiplications(name, side):
    """Against a count of what PyTorch was asked to do."""
    operations, store = side_of(name, side, ())
    x = normal(7, 64 if side == "encoder" else 3)
    with FlopCounterMode(display=False) as counter:
        run(operations, list(store.views.values()), x)
    assert counter.get_total_flops() == 2 * len(x) * sum(o.multiply_adds for o in operations)


# ── corruptions ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("name", corruptions.names())
def test_corruption_has_leading_axes_and_leaves_x_alone(name, lead, mixed, build_model, encoded):
    model = build_model(mixed, lead, slots={"e": 2})
    x = encoded(model, mixed).x
    before = x.clone()
    corruption = corruptions.create(name)
    x_tilde = corruption(x, model.encoding, lead, generator())
    assert torch.equal(x, before)
    assert torch.broadcast_shapes(x_tilde.shape, (*lead, *x.shape)) == (*lead, *x.shape)
    assert torch.isfinite(x_tilde).all()
    assert x_tilde.dtype == x.dtype
    assert torch.equal(x_tilde, corruption(x, model.encoding, lead, generator()))
    if name == "none":
        assert torch.equal(x_tilde, x)
        return
    assert x_tilde.shape == (*lead, *x.shape)
    assert not torch.equal(x_tilde, corruption(x, model.encoding, lead, generator(1)))
    members = x_tilde.reshape(-1, *x.shape)
    for member in members:
        assert not torch.equal(member, x)
    if len(members) > 1:
        assert not torch.equal(members[0], members[1])
    # Whether an object is there is no value that noise may change; a cell may be hidden, never uncovered.
    for block in model.encoding.blocks:
        inputs = slice(block.start, block.stop)
        if block.kind == "slots":
            assert torch.equal(members[0][:, inputs], x[:, inputs])
        elif block.kind == "missing":
            assert (members[0][:, inputs] >= x[:, inputs]).all()


# ── latents and priors ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("name", latents.names())
def test_latent_shapes_draws_and_densities(name, lead):
    latent = latents.create(name)
    posterior = latent.posterior(normal(*lead, 9, latent.width(4)))
    assert posterior.mean.shape == (*lead, 9, 4)
    assert posterior.sample(1, generator()).shape == (*lead, 9, 4)
    several = posterior.sample(5, generator())
    assert several.shape == (5, *lead, 9, 4)
    assert torch.equal(several, posterior.sample(5, generator()))
    assert torch.equal(posterior.at(torch.zeros(4)).expand_as(posterior.mean), posterior.mean)
    if not latent.stochastic:
        assert torch.equal(several[0], several[1])
        for density in (lambda: posterior.log_prob(several), lambda: posterior.kl(priors.create("normal"))):
            with pytest.raises(ConfigError, match="gaussian"):
                density()
        return
    assert not torch.equal(several[0], several[1])
    assert posterior.log_prob(several).shape == (5, *lead, 9)
    assert posterior.kl(priors.create("normal")).shape == (*lead, 9, 4)


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("name", priors.names())
def test_prior_is_unreduced(name, lead):
    prior = priors.create(name)
    z = 3 * normal(*lead, 9, 4)
    assert prior.log_prob(z).shape == z.shape
    kl = prior.kl(z, normal(*lead, 9, 4, seed=1))
    assert kl.shape == z.shape
    assert (kl > -1e-6).all()
    drawn = prior.sample((9, 4), generator())
    assert drawn.shape == (9, 4)
    assert drawn.dtype == torch.float32
    assert torch.isfinite(drawn).all()
    assert torch.equal(drawn, prior.sample((9, 4), generator()))
    assert not torch.equal(drawn, prior.sample((9, 4), generator(1)))


@pytest.mark.parametrize("name", priors.names())
def test_prior_step_is_the_best_of_a_grid(name):
    prior, z = priors.create(name), torch.tensor([-3.0, -0.3, 0.0, 0.7, 5.0])
    grid = torch.linspace(-6, 6, 24_001)
    for step in (0.01, 0.5, 20.0):
        cost = (grid[:, None] - z).square() / (2 * step) - prior.log_prob(grid[:, None])
        found = prior.prox(z[:, None], torch.tensor(step))[:, 0]
        torch.testing.assert_close(found, grid[cost.argmin(0)], atol=5e-3, rtol=0)


@pytest.mark.parametrize("name", priors.names())
def test_prior_kl_agrees_with_monte_carlo(name):
    prior = priors.create(name)
    mu, log_var = torch.tensor([-1.0, 0.0, 2.0]), torch.tensor([-2.0, 0.0, 0.5])
    posterior = GaussianPosterior(mu.expand(100_000, 3), log_var.expand(100_000, 3))
    z = posterior.sample(1, generator())
    each = float((posterior.log_prob(z) - prior.log_prob(z).sum(-1)).mean())
    kl = float(prior.kl(mu[None], log_var[None]).sum())
    if prior.exact:
        assert kl == pytest.approx(each, abs=0.03)
    else:
        assert kl > each - 0.03


# ── likelihoods ───────────────────────────────────────────────────────────────────────────────────


VARIANTS = [spec for name in likelihoods for spec in variants(name)]


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("spec", VARIANTS, ids=str)
def test_likelihood_is_unreduced_under_leading_axes(spec, lead):
    likelihood = likelihoods.create(spec)
    block = BlockOf(likelihood)
    likelihood = block.likelihood
    x, units, columns = block.rows(9), block.units, block.columns
    own = block.own(lambda shape: 0.1 * normal(*lead, *shape))
    for axes in (lead, (4, *lead)):  # members, and draws over members
        theta = normal(*axes, 9, block.width)
        nll = likelihood.nll(theta, own, x, units)
        assert nll.shape == (*axes, 9, columns)
        assert nll.dtype == torch.float32
        assert torch.isfinite(nll).all()
        error = likelihood.squared_error(theta, x, units)
        assert error.shape == (*axes, 9, columns)
        assert (error > -1e-5).all()
        mean = likelihood.mean(theta, units)
        assert mean.shape == (*axes, 9, columns)
        if len(axes) > len(lead):
            equal = torch.full((4, *lead, 9, 1), -math.log(4))
            pooled = likelihood.mean(likelihood.pooled(theta, equal, units), units)
            assert pooled.shape == mean.shape[1:]
            if block.kind not in ("categorical", "angle", "integer"):  # a mode, a direction, and a bounded mean
                torch.testing.assert_close(pooled, mean.mean(0), rtol=1e-3, atol=1e-4)
        drawn = likelihood.sample(theta, own, units, generator())
        assert drawn.shape == mean.shape
        assert torch.equal(drawn, likelihood.sample(theta, own, units, generator()))
        assert not torch.equal(drawn, likelihood.sample(theta, own, units, generator(1)))
        cdf = likelihood.cdf(theta, own, drawn, units)
        assert cdf.shape == mean.shape
        assert cdf.dtype == torch.float64
        assert (cdf >= 0).all()
        assert (cdf <= 1).all()
        if lead and axes == lead:
            at = (0,) * len(lead)
            alone = likelihood.nll(theta[at], {n: v[at] for n, v in own.items()}, x, units)
            torch.testing.assert_close(alone, nll[at])


@pytest.mark.parametrize("spec", VARIANTS, ids=str)
def test_likelihood_stays_finite_for_wild_numbers(spec):
    """A decoder far off must cost much, not give NaN: exact zeros, and numbers of size 100."""
    likelihood = likelihoods.create(spec)
    block = BlockOf(likelihood)
    likelihood = block.likelihood
    own = block.own(torch.zeros)
    for size in (0.0, 100.0):
        theta = (size * normal(9, block.width)).requires_grad_()
        nll = likelihood.nll(theta, own, block.rows(9), block.units)
        nll.sum().backward()
        assert torch.isfinite(nll).all()
        assert torch.isfinite(theta.grad).all()


@pytest.mark.parametrize("name", likelihoods.names())
def test_every_allowed_setting_gives_a_cost(name):
    """The ends of each range are allowed too: what is not refused must not fail or give NaN."""
    for field in dataclasses.fields(likelihoods.get(name)):
        for value in (0, 0.0, 1, 1.0, 1e-30, 1e30):
            try:
                likelihood = likelihoods.create({"name": name, field.name: value})
            except ConfigError:
                continue
            block = BlockOf(likelihood)
            nll = block.likelihood.nll(normal(9, block.width), block.own(torch.zeros), block.rows(9), block.units)
            assert not torch.isnan(nll).any()


# ── regularizers ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("prior", priors.names())
@pytest.mark.parametrize("name", regularizers.names())
def test_regularizer_is_one_number_per_row(name, prior, lead):
    regularizer = regularizers.create(name)
    latent = latents.create("gaussian" if regularizer.needs_stochastic else "point")
    x, weight = normal(9, 6), normal(*lead, 6, latent.width(4), seed=1)
    for share in (None, torch.linspace(0.05, 0.15, 9)):
        for rms in (None, torch.full((*lead, 4), 0.7)):
            context = context_of(latent, x, weight, prior, share, rms)
            omega = regularizer(context.encode(x), context)
            if omega is None:
                assert name == "none"
                return
            assert omega.shape == (*lead, 9)
            assert torch.isfinite(omega).all()
        # Members do not mix: each one's Ω is what it would be alone.
        if lead:
            together, at = context_of(latent, x, weight, prior, share), (0,) * len(lead)
            alone = context_of(latent, x, weight[at], prior, share)
            omega = regularizer(together.encode(x), together)
            torch.testing.assert_close(regularizer(alone.encode(x), alone), omega[at])


def context_of(latent, x, weight, prior, share=None, rms=None):
    """What a regularizer sees of a linear encoder with weights [*lead, D, width]."""

    def encode(u):
        return latent.posterior(u @ weight)

    return Context(priors.create(prior), x, encode, generator(), share, rms)


@pytest.mark.parametrize("name", [n for n in regularizers if regularizers.get(n).needs_stochastic])
def test_regularizer_of_a_width_refuses_a_point(name, plane, build_model):
    with pytest.raises(ConfigError, match="latent='gaussian'"):
        build_model(plane[1], regularizer=name)


# ── one real step with each part ──────────────────────────────────────────────────────────────────

CHOICES = [
    *[{"network": n} for n in networks],
    *[{"latent": n} for n in latents],
    *[{"corruption": n} for n in corruptions],
    *[{"regularizer": "kl", "latent": "gaussian", "prior": n} for n in priors],
    *[{"regularizer": n, "latent": "gaussian", "prior": "laplace"} for n in regularizers],
    *[{"likelihood": s} for s in VARIANTS if {"real", "integer", "count"} & set(likelihoods.create(s).kinds)],
    {"latent": "gaussian", "regularizer": "kl", "draws": 3},
    *[{"latent": "gaussian", "regularizer": "kl", "draws": n, "bound": "iwae"} for n in (1, 3)],
]


def suited(settings, X, images, **more):
    """The rows that a choice is tested on, and its settings: images where the network needs them, else X."""
    if networks.get(settings.get("network", "mlp")).needs_shape:
        return images, {**more, "slots": None, **settings}
    return X, {**more, **settings}


@pytest.mark.parametrize("lead", [(), (2,)])
@pytest.mark.parametrize("settings", CHOICES, ids=str)
def test_every_parameter_gets_a_finite_gradient(settings, lead, mixed, images, build_model, encoded):
    """Through the mixed table, so every kind of block and its likelihood takes part."""
    X, config = suited(settings, mixed, images, slots={"e": 2})
    model = build_model(X, lead, **config)
    kinds = {h.block.kind for h in model.heads}
    if X is mixed:
        always = {"real", "angle", "boolean", "categorical", "slots", "missing"}
        assert kinds - {"integer", "count", "ordinal"} == always
        assert len(kinds & {"integer", "count"}) == 1
    rows = encoded(model, X).clipped(model.encoding.clip)
    leaves = {k: v.clone().requires_grad_() for k, v in model.store.views.items()}
    model.use(leaves)
    loss, columns, omega = objective(model, rows, None, 1.0, generator())
    assert loss.shape == lead
    assert [c.shape for c in columns] == [(*lead, len(h.block.columns)) for h in model.heads]
    assert omega is None or omega.shape == lead
    loss.sum().backward()
    for name, leaf in leaves.items():
        assert leaf.grad is not None, name
        assert torch.isfinite(leaf.grad).all(), name
        assert (leaf.grad != 0).any(), name


@pytest.mark.parametrize("settings", CHOICES, ids=str)
def test_terms_repeat_with_their_seed(settings, mixed, images, build_model, encoded):
    X, config = suited(settings, mixed, images, slots={"e": 2})
    model = build_model(X, **config)
    rows = encoded(model, X)
    first, again = (objective(model, rows, None, 1.0, generator(7))[0] for _ in range(2))
    assert torch.equal(first, again)


def test_nll_comes_out_per_column(mixed, build_model, encoded):
    model = build_model(mixed, (2,), slots={"e": 2})
    rows = encoded(model, mixed)
    theta = model.decode(model.encode(rows.x).sample(1, generator()).expand(4, 2, len(mixed), -1))
    names = model.encoding.schema.output_names
    assert names == [*mixed.columns, "e.count"]
    for cells in (model.column_nll(theta, rows), model.column_squared_error(theta, rows)):
        assert cells.shape == (4, 2, len(mixed), len(names))
        assert torch.isfinite(cells).all()
    assert model.mean_values(theta).shape == (4, 2, len(mixed), len(mixed.columns))
    assert model.sample_values(theta, generator()).shape == (4, 2, len(mixed), len(mixed.columns))


def test_absent_objects_cost_nothing_in_their_columns(mixed, build_model, encoded):
    model = build_model(mixed, slots={"e": 2})
    rows = encoded(model, mixed)
    nll = model.column_nll(model.decode(model.encode(rows.x).mean), rows)
    absent = torch.tensor(((mixed["e2_pt"] == 0) & (mixed["e2_eta"] == 0)).tolist())
    at = [mixed.columns.get_loc(c) for c in ("e2_pt", "e2_eta")]
    assert (nll[absent][:, at] == 0).all()
    assert (nll[~absent][:, at] != 0).all()


@pytest.mark.parametrize("lead", [(), (2,)])
@pytest.mark.parametrize("name", regularizers.names())
def test_weights_count_as_repeated_rows(name, lead, mixed, build_model, encoded):
    width = "gaussian" if regularizers.get(name).needs_stochastic else "point"
    model = build_model(mixed, lead, slots={"e": 2}, regularizer=name, latent=width, prior="laplace")
    rows = encoded(model, mixed.iloc[:50])
    weights = torch.from_numpy(np.random.default_rng(0).integers(1, 4, size=50)).float()
    _, distance, omega = loss_terms(model, rows, rows.x, weights / weights.mean(), 1, 1.0, generator())
    posterior, repeated = model.encode(rows.x), torch.repeat_interleave(torch.arange(50), weights.long())
    cells = model.nll(model.decode(posterior.sample(1, generator())), rows)
    for mean, cell in zip(distance, cells, strict=True):
        torch.testing.assert_close(mean, cell[..., repeated, :].mean(-2))
    many, noise = model.encode(rows.x[repeated]), generator()
    each = model.regularizer(many, Context(model.prior, rows.x[repeated], model.encode, noise, None, model.reach()))
    # One that draws for its rows draws other numbers for other rows; it says so, and none other does.
    assert model.regularizer.draws == (not torch.equal(noise.get_state(), generator().get_state()))
    assert (omega is None) == (each is None)
    if omega is not None and not model.regularizer.draws:
        torch.testing.assert_close(omega, each.mean(-1))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("lead", [(), (2,)])
@pytest.mark.parametrize("settings", CHOICES, ids=str)
@pytest.mark.parametrize("kinds", ["every kind of column", "one kind"])
def test_steps_follow_the_gradient_of_the_formula(
    kinds, settings, lead, weighted, mixed, plane, images, build_model, encoded
):
    """Training's short cuts (fused networks, kept memory, reduced distances) against plain autograd."""
    likelihood = likelihoods.create(settings.get("likelihood", "gaussian"))
    # Counts where no real would do.
    one_kind = plane[1][:100] if "real" in likelihood.kinds else np.round(2 * np.abs(plane[1][:100]))
    slots = None if kinds == "one kind" else {"e": 2}
    X, settings = suited(settings, one_kind if kinds == "one kind" else mixed, images, slots=slots)
    weights = torch.linspace(0.5, 2, len(X)) if weighted else None
    share = torch.full((len(X),), 1 / len(X)) if weights is None else weights / len(weights)
    config = {"clip_norm": 1e9, "hidden": (16, 8), **settings}
    if settings.get("network") == "linear":
        config["hidden"] = None
    model = build_model(X, lead, **config)
    rows = encoded(model, X).clipped(model.encoding.clip)
    leaves = {k: v.clone().requires_grad_() for k, v in model.store.views.items()}
    model.use(leaves)
    noise = generator()
    x_tilde = corrupted(model, rows.x, noise)
    posterior = model.latent.in_training(model.encode(x_tilde), noise)
    z = posterior.sample(model.config.draws, noise)
    cells = torch.cat(model.nll(model.decode(z), rows), dim=-1)
    per_row = cells.sum(-1) if model.config.draws == 1 else cells.sum(-1).mean(0)
    omega = model.regularizer(posterior, Context(model.prior, x_tilde, model.encode, noise, share, model.reach()))
    if model.config.bound == "iwae":
        log_ratio = model.prior.log_prob(z).sum(-1) - posterior.log_prob(z)
        log_w = (0.7 * log_ratio - cells.sum(-1)).reshape(model.config.draws, *lead, len(X))
        per_row, omega = math.log(model.config.draws) - log_w.logsumexp(0), None
    exact = ((per_row if omega is None else per_row + 0.7 * omega) * share).sum(-1)
    exact.sum().backward()
    engine = Engine(model, model.config)
    # Twice over the same memory: what the first step left there must not matter.
    for _ in range(2):
        batch = rows.batch(slice(None), engine.memory)
        loss, _, _ = objective(model, batch, weights, 0.7, generator())
        engine.step(loss, 0.0)
    torch.testing.assert_close(loss.detach(), exact.detach(), rtol=1e-4, atol=1e-4)
    size = float(engine.gradient.abs().max())
    for name, gradient in model.store.split(engine.gradient).items():
        torch.testing.assert_close(gradient, leaves[name].grad, rtol=1e-3, atol=1e-5 * size, msg=name)


# ── members ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("settings", [{}, {"latent": "gaussian", "regularizer": "kl"}], ids=["ae", "vae"])
def test_member_equals_the_model_of_its_seed(settings, plane, build_model, encoded):
    """Member m of seed s is the model of seed s + m, so that an ensemble is its members and nothing else."""
    X = plane[1][:60]
    several = build_model(X, (3,), hidden=(16,), random_state=5, **settings)
    rows = encoded(several, X)
    posterior = several.encode(rows.x)
    nll = several.column_nll(several.decode(posterior.mean), rows)
    for member in range(3):
        alone = build_model(X, hidden=(16,), random_state=5 + member, **settings)
        assert torch.equal(alone.store.flat, several.store.flat[member])
        one = alone.encode(rows.x)
        torch.testing.assert_close(one.mean, posterior.mean[member])
        torch.testing.assert_close(alone.column_nll(alone.decode(one.mean), rows), nll[member])
    torch.testing.assert_close(several.row_nll(several.decode(posterior.mean), rows), nll.sum(-1))


@pytest.mark.parametrize("settings", [{}, {"latent": "gaussian", "regularizer": "kl"}], ids=["ae", "vae"])
def test_equal_weights_give_equal_members(settings, plane, build_model, encoded):
    """Whatever the seeds: a model that takes over one member's state gives that member's numbers."""
    X = plane[1][:60]
    several = build_model(X, (3,), hidden=(16,), **settings)
    rows = encoded(several, X)
    theta = several.decode(several.encode(rows.x).mean)
    for member in range(3):
        state = {k: v[member].numpy() for k, v in {**several.store.views, **several.buffers}.items()}
        alone = Model(several.config, several.encoding, state=state)
        torch.testing.assert_close(alone.decode(alone.encode(rows.x).mean), theta[member])


def test_networks_of_an_ensemble_are_drawn_apart(plane, build_model):
    """No encoder or decoder repeats another one's random numbers."""
    model = build_model(plane[1], (4,), hidden=(16,))
    views = model.store.views
    drawn = [w.flatten()[:40] for name in ("encoder.0.weight", "decoder.0.weight") for w in views[name]]
    drawn = torch.stack([w / w.norm() for w in drawn])  # up to the gain
    similar = (drawn @ drawn.T).fill_diagonal_(0)
    assert float(similar.abs().max()) < 0.9


@pytest.fixture
def ensemble(plane, build_model, encoded):
    """Three members and their rows, with an engine over them."""
    X = plane[1][:200]
    model = build_model(X, (3,), hidden=(16,), latent="gaussian", regularizer="kl", epochs=12, patience=4)
    return model, encoded(model, X[:150]).clipped(8.0), encoded(model, X[150:]).clipped(8.0)


def test_a_step_of_members_warns_of_nothing(ensemble):
    """PyTorch says some things once per process; here it says them always, and warnings are errors."""
    model, rows, _ = ensemble
    engine = Engine(model, model.config)
    torch.set_warn_always(True)
    try:
        engine.step(objective(model, rows, None, 1.0, generator())[0], 1e-2)
    finally:
        torch.set_warn_always(False)


def test_nan_in_one_member_skips_only_that_member(ensemble):
    model, rows, _ = ensemble
    engine = Engine(model, model.config)

    def step():
        return engine.step(objective(model, rows, None, 1.0, generator())[0], 1e-2)

    def state(member):
        _, _, *moments = engine.members[member]
        return [m.clone() for m in moments]

    assert step().tolist() == [True, True, True]
    assert all((m != 0).any() for m in state(1))
    healthy = model.store.flat.clone()
    model.store.views["encoder.0.weight"][1, 0, 0] = torch.nan
    before, moments = model.store.flat.clone(), state(1)
    assert step().tolist() == [True, False, True]
    torch.testing.assert_close(model.store.flat[1], before[1], equal_nan=True, rtol=0, atol=0)
    assert all(torch.equal(a, b) for a, b in zip(state(1), moments, strict=True))
    for member in (0, 2):
        assert not torch.equal(model.store.flat[member], before[member])
        assert torch.isfinite(model.store.flat[member]).all()
    # Mended, it goes on from where it was.
    model.store.flat[1] = healthy[1]
    assert step().tolist() == [True, True, True]
    assert torch.isfinite(model.store.flat).all()
    assert not any(torch.equal(a, b) for a, b in zip(state(1), moments, strict=True))


def test_a_step_of_one_member_does_not_depend_on_the_others(plane, build_model, encoded):
    """One step of three members is three steps of one, shortening of long gradients included."""
    X = plane[1][:150]
    several = build_model(X, (3,), hidden=(16,))
    rows = encoded(several, X).clipped(8.0)
    # This member has a long gradient, which must shorten nobody else's.
    several.store.flat[2] *= 30
    start = several.store.flat.clone()

    def two_steps(model):
        engine = Engine(model, model.config)
        for _ in range(2):
            engine.step(objective(model, rows, None, 1.0, generator())[0], 1e-2)
        engine.release()
        return model.store.flat

    together = two_steps(several)
    for member in range(3):
        alone = build_model(X, hidden=(16,))
        alone.store.flat.copy_(start[member])
        torch.testing.assert_close(together[member], two_steps(alone), rtol=1e-3, atol=1e-4)


def test_best_weights_are_restored_per_member(ensemble):
    model, train, stop = ensemble
    model.config = dataclasses.replace(model.config, learning_rate=0.1, schedule="constant")
    values, weights = [], []

    def record(epoch):
        with torch.no_grad():
            values.append(validate(model, Rows(stop, None)))
        weights.append(model.store.flat.clone())

    fit(model, Rows(train, None), Rows(stop, None), record)
    values, weights = torch.stack(values), torch.stack(weights)
    best = []
    for member in range(3):
        stale, at = 0, 0
        for epoch in range(1, len(values)):
            better = bool(values[epoch, member] < values[at, member]) and stale < model.config.patience
            at, stale = (epoch, 0) if better else (at, stale + 1)
        best.append(at)
        assert torch.equal(model.store.flat[member], weights[at, member])
    # The members' best epochs differ, so restoring one epoch for all would have failed.
    assert len(set(best)) > 1


def test_point_model_with_members_samples(plane, build_model):
    """`sample_prior` takes leading axes like everything else."""
    for settings in ({}, {"latent": "gaussian", "regularizer": "kl"}):
        model = build_model(plane[1], (3,), hidden=(16,), **settings)
        model.buffers["latent_cov"] = torch.eye(model.latent_dim).expand(3, -1, -1).clone()
        theta = model.decode(model.sample_prior(11, generator()))
        assert model.mean_values(theta).shape == (3, 11, 8)


# ── scores ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def fitted(mixed):
    settings = {"slots": {"e": 2}, "epochs": 2}
    kinds = {"point": Autoencoder, "gaussian": VariationalAutoencoder}
    return {
        latent: AnomalyDetector(kind(**settings)).fit(mixed).calibrated_.reference for latent, kind in kinds.items()
    }


def score_of(reference, X, name):
    return score_table(reference, values_of(reference.model, X), [name])[name]


@pytest.mark.parametrize("name", scores.names())
def test_score_is_one_number_per_row_and_repeats(name, fitted, mixed):
    for latent, reference in fitted.items():
        if name not in applicable(reference):
            assert latent == "point"
            with pytest.raises(ConfigError, match=name):
                score_of(reference, mixed, name)
            continue
        value = score_of(reference, mixed, name)
        assert value.shape == (len(mixed),)
        assert value.dtype == np.float64
        assert np.isfinite(value).all()
        assert len(set(value)) > 100
        assert np.array_equal(value, score_of(reference, mixed, name))


@pytest.mark.parametrize("name", scores.names())
def test_score_of_a_batch_is_the_score_of_its_rows(name, fitted, mixed):
    reference = fitted["gaussian"]
    whole = score_of(reference, pd.concat([mixed] * 6), name)
    assert np.array_equal(whole, np.tile(whole[: len(mixed)], 6))
    for row in (0, 7, 219):
        assert score_of(reference, mixed.iloc[[row]], name)[0] == whole[row]


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("name", scores.names())
def test_score_has_leading_axes(name, lead, mixed, build_model, encoded):
    model = build_model(mixed, lead, slots={"e": 2}, latent="gaussian", regularizer="kl")
    model.buffers["latent_cov"] = torch.eye(model.latent_dim).expand(*lead, -1, -1).clone()
    reference = Reference(model, Stored(values_of(model, mixed[100:])))
    rows = encoded(model, mixed)
    rows.own = torch.from_numpy(reference.stored.positions(values_of(model, mixed)))
    value = scores.create(name)(reference, rows)
    assert value.shape == (*lead, len(mixed))
    table = score_table(reference, values_of(model, mixed), [name])[name]
    mean = value.double().reshape(-1, len(mixed)).mean(0)
    np.testing.assert_allclose(table, mean.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", scores.names())
def test_score_rises_far_away(name, fitted, mixed):
    far = mixed.copy()
    far["a"] += 200
    far["b"] -= 200
    reference = fitted["gaussian"]
    assert np.median(score_of(reference, far, name)) > np.median(score_of(reference, mixed, name))


def test_unknown_score_is_named(fitted, mixed):
    with pytest.raises(ConfigError, match="did you mean 'neg_elbo'"):
        score_of(fitted["gaussian"], mixed, "neg_ello")


@pytest.mark.parametrize(
    ("registry", "said", "meant"),
    [
        (likelihoods, "mse", "gaussian"),
        (likelihoods, "MAE", "laplace"),
        (likelihoods, "bce", "bernoulli"),
        (likelihoods, "cross_entropy", "categorical"),
        (regularizers, "l1", "lp"),
        (regularizers, "l2", "lp"),
        (regularizers, "kld", "kl"),
    ],
)
def test_names_that_people_have_are_answered_with_the_one_here(registry, said, meant):
    with pytest.raises(ConfigError, match=f"what it is called here is '{meant}'"):
        registry.create(said)
    assert meant in registry.names()
    assert not set(registry.called) & set(registry.names())
