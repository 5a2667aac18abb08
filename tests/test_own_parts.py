"""A user's own likelihoods and regularizers by import path: what they may be, and that nobody imports them unasked."""

from __future__ import annotations

import contextlib
import sys
import textwrap

import numpy as np
import pytest
from program import done, refused, rewrite, sections_of

from diabolo import Autoencoder, load
from diabolo.errors import CheckpointError, ConfigError, ModelFileError

HEAD = """
    import math
    import torch
    from diabolo.model.likelihood import Likelihood
    from diabolo.model.regularizer import Regularizer
"""
#: Between the squared and the absolute error: log cosh, with the constant that makes it a density.
LOG_COSH = """
    class Mine(Likelihood):
        \"\"\"A hyperbolic secant: −log p = log cosh((x − θ) / s) + log(π s).\"\"\"
        kinds = ("real",)
        density = True
        s: float = 0.5
        def nll(self, theta, own, x, units, memory=None):
            r = (x - theta) / self.s
            log_cosh = r.abs() + torch.nn.functional.softplus(-2 * r.abs()) - math.log(2)
            return log_cosh + math.log(math.pi * self.s)
        def mean(self, theta, units):
            return theta
        def sample(self, theta, own, units, generator):
            u = torch.rand(theta.shape, generator=generator)
            return theta + self.s * torch.log(torch.tan(torch.pi / 2 * u.clamp(1e-6, 1 - 1e-6)))
        def cdf(self, theta, own, x, units):
            return 2 / torch.pi * torch.atan(torch.exp((x - theta).double() / self.s))
"""
#: The built-in Gaussian of σ = 1, written out.
GAUSSIAN = """
    class Mine(Likelihood):
        kinds = ("real",)
        density = True
        def nll(self, theta, own, x, units, memory=None):
            return 0.5 * (x - theta).square() + 0.9189385332046727
        def mean(self, theta, units):
            return theta
        def sample(self, theta, own, units, generator):
            return theta + torch.randn(theta.shape, generator=generator)
        def cdf(self, theta, own, x, units):
            return torch.special.ndtr((x - theta).double())
"""
SQUARES = """
    class Mine(Regularizer):
        \"\"\"Ω = w Σ z².\"\"\"
        w: float = 1.0
        def __call__(self, posterior, context):
            return self.w * posterior.mean.square().sum(-1)
"""
SMALL = {"latent_dim": 2, "hidden": (8,), "epochs": 3, "random_state": 0}


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A function (body) → import path of Mine in a new module, which is on the import path."""
    folder = tmp_path / "code"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    made = []

    def make(body, head=HEAD):
        made.append(f"own_part_{len(made)}")
        (folder / f"{made[-1]}.py").write_text(textwrap.dedent(head) + textwrap.dedent(body))
        return f"{made[-1]}:Mine"

    yield make
    for name in made:
        sys.modules.pop(name, None)


@pytest.fixture
def X(rng):
    z = rng.normal(size=(400, 2))
    return np.c_[z, z @ [1, 1], z @ [1, -1]] + 0.1 * rng.normal(size=(400, 4))


def test_a_gaussian_of_ones_own_is_the_built_in_one(module, X):
    own = Autoencoder(likelihood=module(GAUSSIAN), **SMALL).fit(X)
    built = Autoencoder(likelihood={"name": "gaussian", "sigma": 1.0}, **SMALL).fit(X)
    for score in ("nll", "mse"):
        np.testing.assert_allclose(own.anomaly_score(X, score), built.anomaly_score(X, score), rtol=1e-3)
    np.testing.assert_allclose(own.transform(X), built.transform(X), atol=1e-3)


def test_another_density_with_a_setting_is_trained_scored_and_drawn_from(module, X):
    path = module(LOG_COSH)
    ae = Autoencoder(likelihood={"name": path, "s": 0.3}, **SMALL).fit(X)
    theta = ae.reconstruct(X)
    scale = np.array(ae.model_.encoding.scale)
    r = (X - theta) / scale / 0.3
    by_hand = (np.log(np.cosh(r)) + np.log(np.pi * 0.3) + np.log(scale)).sum(axis=1)
    np.testing.assert_allclose(ae.anomaly_score(X, "nll"), by_hand, rtol=1e-3, atol=1e-3)
    assert ae.sample(50).shape == (50, 4)
    single = Autoencoder(column_likelihood={"x1": {"name": path, "s": 1.0}}, **SMALL).fit(X)
    assert np.isfinite(single.anomaly_score(X, "nll")).all()
    with pytest.raises(ConfigError, match="has no setting 'sigma'"):
        Autoencoder(likelihood={"name": path, "sigma": 1.0}, **SMALL).fit(X)


def test_a_regularizer_of_ones_own_shrinks_codes_by_its_weight(module, X):
    path = module(SQUARES)
    sizes = [
        float(np.square(Autoencoder(regularizer={"name": path, "w": w}, **SMALL).fit(X).transform(X)).mean())
        for w in (1e-6, 10.0)
    ]
    assert sizes[1] < 0.1 * sizes[0]


@pytest.mark.parametrize(
    ("setting", "body", "said"),
    [
        ("likelihood", "class Mine: pass", "must derive from"),
        ("regularizer", GAUSSIAN, "must derive from"),
        ("likelihood", "class Mine(Likelihood): pass", "lacks cdf, mean, nll, sample, kinds"),
        ("regularizer", "class Mine(Regularizer): pass", "lacks __call__"),
        ("likelihood", GAUSSIAN.replace(".square() +", ".square().sum(-1) +"), "nll gave"),
        ("likelihood", GAUSSIAN.replace("(x - theta).square()", "(x - x.mean(0)).square() + 0 * theta"), "gradient"),
        ("likelihood", GAUSSIAN.replace("(x - theta)", "(x - theta.mean(-2, True))"), "depend on the other rows"),
        ("likelihood", GAUSSIAN.replace("0.5 *", "float('nan') *"), "not finite"),
        ("likelihood", GAUSSIAN.replace("return theta\n", "raise KeyError('k')\n"), "raised KeyError"),
        ("regularizer", SQUARES.replace(".sum(-1)", ""), "expected \\[3\\]"),
        ("regularizer", SQUARES.replace("posterior.mean", "posterior.mean.detach()"), "no gradient"),
        ("regularizer", "import nowhere_at_all\nMine = 1", "importing .* raised ModuleNotFoundError"),
    ],
)
def test_what_would_go_wrong_later_is_refused_in_one_line(setting, body, said, module, X):
    with pytest.raises(ConfigError, match=said) as failure:
        Autoencoder(**{setting: module(body)}, **SMALL).fit(X)
    assert "\n" not in str(failure.value)


# ── files ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def saved(module, X, tmp_path):
    """(file, import paths): a likelihood and a regularizer of the user's own."""
    paths = [module(LOG_COSH), module(SQUARES)]
    ae = Autoencoder(likelihood=paths[0], regularizer={"name": paths[1], "w": 0.1}, **SMALL).fit(X)
    ae.save(tmp_path / "m.diabolo")
    return tmp_path / "m.diabolo", paths, ae


def forget(paths):
    for path in paths:
        sys.modules.pop(path.partition(":")[0], None)


def test_they_are_imported_only_when_asked_and_only_from_the_fitted_source(saved, X):
    file, paths, ae = saved
    forget(paths)
    with pytest.raises(ModelFileError, match="own_network=True"):
        load(file)
    assert not {p.partition(":")[0] for p in paths} & set(sys.modules)
    again = load(file, own_network=True)
    np.testing.assert_array_equal(again.anomaly_score(X, "nll"), ae.anomaly_score(X, "nll"))
    source = file.parent / "code" / f"{paths[1].partition(':')[0]}.py"
    forget(paths)
    source.write_text(source.read_text() + "raise SystemExit('run')\n")
    with pytest.raises(ModelFileError, match="was fitted with a source of SHA-256"):
        load(file, own_network=True)


@pytest.mark.parametrize("where", ["config", "parameters", "single", "cards"])
def test_a_file_cannot_hide_one(where, saved, tmp_path):
    """Whatever a section names, nothing is imported that its cards do not list, or that nobody asked for."""
    file, paths, _ = saved
    sections = sections_of(file)
    card = sections["main"].card
    if where == "config":
        card["config"]["regularizer"] = {"name": "this:That"}
    elif where == "parameters":
        card["estimator"]["parameters"]["likelihood"] = "this:That"
    elif where == "single":
        card["config"]["column_likelihood"] = {"x0": {"name": "this:That"}}
    else:
        del card["own_parts"]
    rewrite(tmp_path / "n.diabolo", sections)
    forget([*paths, "this:That"])
    for asked in (False, True):
        with pytest.raises(ModelFileError):
            load(tmp_path / "n.diabolo", own_network=asked)
    assert "this" not in sys.modules
    assert paths[0].partition(":")[0] not in sys.modules


def test_a_checkpoint_of_another_source_is_not_resumed(module, X, tmp_path, monkeypatch):
    monkeypatch.setenv("DIABOLO_CHECKPOINT_SECONDS", "0")
    path, kept = module(SQUARES), tmp_path / "fit.ckpt"
    ae = Autoencoder(regularizer=path, **SMALL)
    with monkeypatch.context() as patch:

        def stop(epoch):
            raise KeyboardInterrupt

        patch.setattr("diabolo.estimators.autoencoder.following", lambda verbose: contextlib.nullcontext(stop))
        with pytest.raises(KeyboardInterrupt):
            ae.set_params(verbose=1).fit(X, checkpoint=kept)
    ae.set_params(verbose=0)
    source = tmp_path / "code" / f"{path.partition(':')[0]}.py"
    before = source.read_text()
    source.write_text(before + "# another\n")
    forget([path])
    with pytest.raises(CheckpointError, match="own_parts"):
        ae.fit(X, checkpoint=kept, resume=True)
    source.write_text(before)
    forget([path])
    ae.fit(X, checkpoint=kept, resume=True)


def test_the_command_line(module, X, here):
    path = module(SQUARES)
    np.save("t.npy", X)
    done(
        "fit",
        "t.npy",
        "-o",
        "m.diabolo",
        "--epochs",
        1,
        "-q",
        "--set",
        f"regularizer={path}",
        "--set",
        "regularizer.w=0.5",
    )
    assert "--own-network" in refused("score", "m.diabolo", "t.npy", "-o", "s.csv")
    done("score", "m.diabolo", "t.npy", "-o", "s.csv", "--own-network")
