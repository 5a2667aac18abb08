"""Every setting acts: a real fit with a changed value shows another loss, other weights or another output.

Settings are discovered, those of `Config` and those of every entry of every registry. A new one is tested by
the rule for its type, or fails until it is given an alternative value here.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import typing

import numpy as np
import pytest
import torch
from conftest import values_of
from joblib import hash as fingerprint

import diabolo
from diabolo import AnomalyDetector, Autoencoder, LinearAutoencoder, VariationalAutoencoder
from diabolo.config import Config
from diabolo.data.sources import Rows
from diabolo.data.table import as_table
from diabolo.detect.scores import scores
from diabolo.detect.scoring import score_table
from diabolo.errors import ConfigError, DiaboloError
from diabolo.model.corruption import corruptions
from diabolo.model.likelihood import likelihoods
from diabolo.model.prior import priors
from diabolo.model.regularizer import regularizers
from diabolo.registry import Registry
from diabolo.train.loop import fit

#: Where most settings can act: a small network, two epochs, all kinds of columns.
COMMON = {"hidden": (16,), "latent_dim": 2, "epochs": 2, "learning_rate": 1e-2, "slots": {"e": 2}}
VAE = {"latent": "gaussian", "regularizer": "kl"}
MASKED = {"corruption": {"name": "mask", "rate": "any"}}


# ── the check ─────────────────────────────────────────────────────────────────────────────────────


#: What fits have shown, by their table and settings: most tests compare with a fit that another has made.
SEEN = {}


def outcome(X, settings):
    """All that a fit shows, which is the same at each time (the first test below), so a fit of a kind is enough."""
    key = fingerprint((X, sorted(settings.items())))
    if key not in SEEN:
        SEEN[key] = fresh_outcome(X, settings)
    return SEEN[key]


def fresh_outcome(X, settings, method="prior"):
    """What a fit says, its losses, its encoder, and what it makes of rows; drawn by the method that learns nothing."""
    try:
        ae = Autoencoder(**settings).fit(X)
    except DiaboloError as error:
        return {"message": str(error)}
    drawn = as_table(ae.sample(50, method=method)).values
    return shown(ae.model_, ae.history_) | {"output": np.asarray(ae.anomaly_score(X)), "sample": drawn}


def shown(model, history):
    losses = [[e["distance"], e["beta"] * e["regularizer"], e["validation"]] for e in history]
    encoder = [v.flatten() for name, v in model.store.views.items() if name.startswith("encoder")]
    return {"losses": np.array(losses), "encoder": torch.cat(encoder).numpy()}


def differences(before, after):
    """Names of what differs by more than rounding: a dead term's gradient of 1e-9 must not look alive."""
    found = set()
    for name in before.keys() | after.keys():
        a, b = before.get(name), after.get(name)
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.shape == b.shape:
            size = np.nanmax(np.abs(a), initial=0.0)
            same = np.allclose(a, b, rtol=1e-4, atol=3e-5 * size, equal_nan=True)
        else:
            same = a is b or (isinstance(a, str) and a == b)
        if not same:
            found.add(name)
    return found


def acts(X, base, changed, expected=("losses", "encoder")):
    """Raise unless changing `base` to `changed` shows in all of `expected`."""
    settings = {**COMMON, **base}
    before, after = outcome(X, settings), outcome(X, {**settings, **changed})
    assert "message" not in before, before["message"]
    assert "message" in expected or "message" not in after, after["message"]
    dead = set(expected) - differences(before, after)
    assert not dead, f"dead: {changed} changes nothing in {', '.join(sorted(dead))}"


def test_equal_settings_give_equal_outcomes(mixed):
    """Otherwise chance alone would make every setting look alive."""
    for base in ({}, VAE, {"corruption": "gaussian"}):
        settings = {**COMMON, **base}
        one, other = (fresh_outcome(mixed, settings, "auto") for _ in range(2))
        assert differences(one, other) == set()


# ── the fields of Config ──────────────────────────────────────────────────────────────────────────

#: Field → base in which it can act, and what it is changed to there.
CHANGES = {
    "latent_dim": ({}, [1, 3]),
    "hidden": ({}, [(8,), (16, 8)]),
    "network": ({"hidden": None}, ["linear"]),
    "latent": ({}, ["gaussian"]),
    "prior": (VAE, ["laplace"]),
    "likelihood": ({}, [{"name": "gaussian", "sigma": "learned"}]),
    "column_likelihood": ({}, [{"a": {"name": "gaussian", "sigma": 0.3}}]),
    "nested": (MASKED, [0.5]),
    "code_dim": (MASKED, [40]),
    "factors": (MASKED, [4]),
    "corruption": ({}, ["gaussian"]),
    "regularizer": ({"prior": "laplace"}, ["prior", "lp"]),
    "code_scale": ({"regularizer": "lp"}, ["rms"]),
    "beta": (VAE, [0.0, 5.0]),
    "warmup": (VAE, [2]),
    "bound": ({**VAE, "draws": 4}, ["iwae", "dreg"]),
    "bound_after": ({**VAE, "bound": "iwae", "draws": 4}, [1]),
    "draws": (VAE, [4]),
    "clip": ({}, [1.0]),
    "angles": ({}, [(), ("a",)]),
    "slots": ({}, [None, {"e": [["e1_pt"], ["e2_pt"]]}]),
    "robust": ({}, ["trim", "downweight"]),
    "contamination": ({}, [0.2]),
    "epochs": ({}, [3]),
    "batch_size": ({}, [16]),
    "learning_rate": ({}, [3e-3]),
    "weight_decay": ({}, [0.5]),
    "clip_norm": ({}, [0.01]),
    # Patience acts once the stop rows get worse.
    "patience": ({"epochs": 25, "learning_rate": 0.1}, [1]),
    "kinds": ({}, [{"hits": "count"}, {"hits": "categorical"}, {"a": "real", "b": "real", "hits": "real"}]),
    "quantize": ({"slots": None}, [{"weights": 3}, {"activations": 5}]),
    "solver": ({"network": "linear", "hidden": None, "slots": None}, ["gradient"]),
    "device": ({}, [d for d in ("cuda", "mps") if not getattr(torch, d).is_available()]),
    "random_state": ({}, [1]),
}
#: What a field may leave unchanged, and why is plain.
EXPECTED = {"patience": ("losses",), "device": ("message",)}


def alternatives(field, hint):
    """Other values than a field's default, by its type."""
    default = field.default
    if isinstance(default, bool):
        return [not default]
    if isinstance(default, int):
        return [default + 1]
    if isinstance(default, float):
        return [0.5 * default + 0.2]
    choices = [c for option in (hint, *typing.get_args(hint)) for c in typing.get_args(option)]
    named = [c for c in choices if isinstance(c, str) and c != default]
    if not named:
        pytest.fail(f"the setting {field.name!r} needs an alternative value in this file")
    return named


def spoiled(mixed):
    """One row in twenty is out of place, so that what leaves out such rows has some to leave out."""
    return mixed.assign(a=mixed["a"].where(np.arange(len(mixed)) % 20 > 0, 200.0))


#: What a file holds and no fit shows; test_masked.py shows that it acts.
OF_FILES = {"keep_rows"}
CONFIG = {f.name: f for f in dataclasses.fields(Config) if f.name not in OF_FILES}
HINTS = typing.get_type_hints(Config)


def test_table_of_changes_names_fields_that_exist():
    assert set(CHANGES) <= set(CONFIG)
    assert set(EXPECTED) <= set(CONFIG)


@pytest.mark.parametrize("name", CONFIG)
def test_every_field_of_config_acts(name, mixed, plane):
    base, values = CHANGES.get(name) or ({}, alternatives(CONFIG[name], HINTS[name]))
    X = plane[1][:200] if name in ("solver", "quantize") else spoiled(mixed) if name == "robust" else mixed
    for value in values:
        acts(X, base, {name: value}, EXPECTED.get(name, ("losses", "encoder")))


def test_verbose_writes_one_line_per_epoch(mixed, capsys):
    Autoencoder(**COMMON, verbose=1).fit(mixed)
    said = capsys.readouterr()
    assert said.err.count("epoch") == 2
    assert said.out == ""
    Autoencoder(**COMMON).fit(mixed)
    assert capsys.readouterr().err == ""


# ── the entries of the registries and their fields ────────────────────────────────────────────────

#: Concept (which is its field of `Config`) → base in which its entries can act.
BASES = {
    "network": {"hidden": None},
    "latent": {},
    "prior": VAE,
    "likelihood": {},
    "corruption": {},
    # With λ = 1 the Laplace prior is |z̄|^1 up to a constant.
    "regularizer": {"prior": {"name": "laplace", "rate": 3.0}},
    "robust": {},
}
#: (concept, entry, field) → values, where the rule for the field's type is not enough.
VALUES = {
    ("likelihood", "gaussian", "sigma"): ["learned", 0.3],
    ("regularizer", "kl", "free_bits"): [1.0],
    ("robust", "trim", "contamination"): [0.2],
    ("regularizer", "lp", "p"): [0.5],
    ("latent", "topk", "k"): [2],
}
#: Settings that the data decide, not the user; each has a test of its own below.
FROM_DATA = {
    ("likelihood", "multiplicity", "gaps"),
    ("likelihood", "levels", "count"),
    ("likelihood", "flexible", "groups"),
}
#: Concepts that come after the fit; test_cluster.py, test_embedding.py, test_scores.py, test_generate.py and
#: test_relations.py show that their settings act.
AFTERWARDS = {"export target", "partition", "embedding", "score", "method", "relation"}


def registries():
    found = {}
    for info in pkgutil.walk_packages(diabolo.__path__, "diabolo."):
        if not info.name.endswith("__main__"):
            for value in vars(importlib.import_module(info.name)).values():
                if isinstance(value, Registry):
                    found[value.concept] = value
    return found


REGISTRIES = registries()
ENTRIES = [(concept, name) for concept in BASES for name in REGISTRIES[concept].names()]
FIELDS = [
    (concept, name, field.name)
    for concept, registry in REGISTRIES.items()
    for name in registry.names()
    for field in dataclasses.fields(registry.get(name))
]


def base_for(concept, name):
    needs_width = concept == "regularizer" and regularizers.get(name).needs_stochastic
    return {**BASES[concept], **({"latent": "gaussian"} if needs_width else {})}


def needs_images(concept, *names):
    return concept == "network" and any(REGISTRIES[concept].get(n).needs_shape for n in names)


@pytest.mark.parametrize(("concept", "name", "field"), FIELDS)
def test_every_field_of_every_part_acts(concept, name, field, mixed, unit, images):
    if (concept, name, field) in FROM_DATA or concept in AFTERWARDS:
        return
    if concept not in BASES:
        pytest.fail(f"the {concept} {name!r} has the setting {field!r}, but no base to test it in")
    part = REGISTRIES[concept].get(name)
    described = next(f for f in dataclasses.fields(part) if f.name == field)
    hint = typing.get_type_hints(part)[field]
    values = VALUES.get((concept, name, field)) or alternatives(described, hint)
    base = {**base_for(concept, name), concept: name}
    X = mixed
    if concept == "likelihood" and "real" not in part.kinds:
        X, base["slots"] = numbers(name, unit), None
    if needs_images(concept, name):
        X, base["slots"] = images, None
    for value in values:
        acts(X, base, {concept: {"name": name, field: value}})


def test_the_share_of_gaps_acts(mixed, build_model, encoded):
    """The one setting that comes with the data: it prices gaps, the same for every z, so no encoder moves."""
    results = []
    for gaps in (0.05, 0.5):
        model = build_model(mixed, **COMMON)
        head = next(h for h in model.heads if h.block.kind == "slots")
        assert head.likelihood.gaps != likelihoods.create("multiplicity").gaps
        head.likelihood = likelihoods.create({"name": "multiplicity", "gaps": gaps})
        rows = encoded(model, mixed).clipped(model.encoding.clip)
        history = fit(model, Rows(rows.rows(slice(0, 180)), None), Rows(rows.rows(slice(180, None)), None))
        results.append(shown(model, [dataclasses.asdict(e) for e in history]))
    assert differences(*results) == {"losses"}


@pytest.mark.parametrize(("concept", "name"), [e for e in ENTRIES if e[0] != "likelihood"])
def test_every_entry_acts(concept, name, mixed, images):
    """Each part against its neighbours: no two entries of a registry are one and the same."""
    base = base_for(concept, name)
    for other in REGISTRIES[concept].names():
        if other != name and base_for(concept, other) == base:
            X, slots = (images, {"slots": None}) if needs_images(concept, name, other) else (mixed, {})
            X = spoiled(mixed) if concept == "robust" else X
            acts(X, {**base, **slots, concept: other}, {concept: name})


@pytest.fixture
def unit(plane):
    """Values between 0 and 1, which suit every likelihood that a user may choose."""
    return 1 / (1 + np.exp(-plane[1][:200]))


def numbers(name, unit):
    """A table of columns of one kind that a likelihood can describe, None where columns leave no choice."""
    kinds = set(likelihoods.get(name).kinds)
    if kinds & {"real", "boolean"}:
        return unit
    return np.round(9 * unit) if kinds & {"integer", "count"} else None


@pytest.mark.parametrize("name", likelihoods.names())
def test_every_likelihood_acts(name, unit, mixed):
    """Against each other entry that the same columns can have."""
    X = numbers(name, unit)
    if X is None:
        with pytest.raises(ConfigError, match=name):
            Autoencoder(**COMMON, likelihood=name).fit(mixed)
        return
    beside = []
    for other in [n for n in likelihoods if n != name and numbers(n, unit) is not None]:
        # Columns that both describe: where it is of fewer kinds, those of its own.
        narrow = set(likelihoods.get(name).kinds) <= set(likelihoods.get(other).kinds)
        Y = X if narrow or "real" not in likelihoods.get(name).kinds else numbers(other, unit)
        if "message" in outcome(Y, {**COMMON, "slots": None, "likelihood": name}):
            continue  # no column is of a kind of both
        if outcome(Y, {**COMMON, "slots": None, "likelihood": other}).get("message") is None:
            acts(Y, {"slots": None, "likelihood": other}, {"likelihood": name})
            beside.append(other)
    assert beside, "no other likelihood describes a column that this one does"


def test_every_score_acts(mixed):
    reference = AnomalyDetector(VariationalAutoencoder(**COMMON)).fit(mixed).calibrated_.reference
    own = set(scores.names())
    values = score_table(reference, values_of(reference.model, mixed), sorted(own))
    for name, value in values.items():
        for other in set(values) - {name}:
            assert not np.allclose(value, values[other], rtol=1e-3), (name, other)


# ── the terms of the loss ─────────────────────────────────────────────────────────────────────────

TERMS = [
    *[{"regularizer": n} for n in regularizers if n != "none"],
    *[{"regularizer": n, "prior": p} for n in regularizers if n != "none" for p in priors],
    {"regularizer": {"name": "lp", "p": 2.0}},
    {"regularizer": {"name": "lp", "p": 0.5}},
    {"regularizer": {"name": "kl", "free_bits": 0.01}},
]


def term_acts(X, settings):
    """Raise if the weight of Ω moves nothing; a combination that is refused at once cannot be dead."""
    part = regularizers.create(settings["regularizer"])
    base = {**settings, "beta": 0.0, "latent": "gaussian" if part.needs_stochastic else "point"}
    refusal = outcome(X, {**COMMON, **base, "beta": 1.0}).get("message")
    if refusal is None:
        acts(X, base, {"beta": 1.0})
    else:
        assert "regularizer" in refusal


@pytest.mark.parametrize("settings", TERMS, ids=str)
def test_every_regularizer_moves_loss_and_encoder(settings, mixed):
    term_acts(mixed, settings)


# ── the detector's parameters ─────────────────────────────────────────────────────────────────────

DETECTOR = {
    "autoencoder": [LinearAutoencoder(latent_dim=1, epochs=2), VariationalAutoencoder(**COMMON)],
    "score": ["mse", "mu_norm"],
    "false_alarm_rate": [0.3],
    "random_state": [1],
}


@pytest.mark.parametrize("name", [n for n in AnomalyDetector()._get_param_names() if n != "verbose"])
def test_every_parameter_of_the_detector_acts(name, mixed):
    X = mixed.drop(columns=["gap"])
    base = {"autoencoder": LinearAutoencoder(latent_dim=2, epochs=2, slots={"e": 2})}
    before = AnomalyDetector(**base).fit(X)
    for value in DETECTOR[name]:
        after = AnomalyDetector(**{**base, name: value}).fit(X)
        assert before.threshold_ != after.threshold_
        same_p = np.array_equal(before.p_values(X), after.p_values(X))
        assert not same_p or name == "false_alarm_rate"


# ── negative controls: the same check catches what is dead ────────────────────────────────────────


@pytest.fixture
def idle(monkeypatch):
    """A corruption that does nothing, with a setting that does nothing."""
    entry = dataclasses.make_dataclass(
        "Idle",
        [("strength", float, 0.5)],
        bases=(corruptions.get("none"),),
        frozen=True,
        namespace={"name": "idle", "__call__": lambda self, x, encoding, lead, generator: x},
    )
    monkeypatch.setitem(corruptions._entries, "idle", entry)
    return entry


def test_a_dead_entry_is_caught(idle, mixed):
    with pytest.raises(AssertionError, match="dead"):
        acts(mixed, {}, {"corruption": "idle"})


def test_a_dead_field_is_caught(idle, mixed):
    with pytest.raises(AssertionError, match="dead"):
        acts(mixed, {"corruption": "idle"}, {"corruption": {"name": "idle", "strength": 0.9}})
    with pytest.raises(AssertionError, match="dead"):
        test_every_field_of_every_part_acts("corruption", "idle", "strength", mixed, None, None)


@pytest.mark.parametrize("changed", [{"prior": "laplace"}, {"warmup": 1}], ids=str)
def test_a_field_in_a_base_where_it_is_idle_is_caught(changed, mixed):
    with pytest.raises(AssertionError, match="dead"):
        acts(mixed, {}, changed)


def test_a_weight_of_no_regularizer_is_refused(mixed):
    assert "beta = 3 weighs a regularizer, and there is none" in outcome(mixed, {**COMMON, "beta": 3.0})["message"]


def test_the_regularizer_none_is_dead(mixed):
    with pytest.raises(AssertionError, match="dead"):
        term_acts(mixed, {"regularizer": "none"})


def test_a_constant_term_is_caught(monkeypatch, mixed):
    """It raises the loss and moves no weight, as Σ z̄² would on a code whose mean square is 1."""
    entry = dataclasses.make_dataclass(
        "Constant",
        [],
        frozen=True,
        namespace={
            "name": "constant",
            "needs_stochastic": False,
            "matches_prior": False,
            "scaled": False,
            "draws": False,
            "void": lambda self, prior, by_rms: None,
            "__call__": lambda self, posterior, context: posterior.mean.detach()[..., 0] * 0 + 7.0,
        },
    )
    monkeypatch.setitem(regularizers._entries, "constant", entry)
    with pytest.raises(AssertionError, match=r"dead.*encoder"):
        term_acts(mixed, {"regularizer": "constant"})


def test_a_setting_without_an_alternative_fails_loudly():
    field = next(f for f in dataclasses.fields(dataclasses.make_dataclass("New", [("x", dict, None)])))
    with pytest.raises(pytest.fail.Exception, match="'x' needs an alternative"):
        alternatives(field, dict)
