"""A user's own network: what it may be, what it may not, and that nobody imports it unasked."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from program import rewrite, sections_of

from diabolo import AnomalyDetector, Autoencoder, LinearAutoencoder, load
from diabolo.cli.app import main
from diabolo.data.formats import write_batches
from diabolo.errors import CheckpointError, ConfigError, ModelFileError
from diabolo.model.networks import networks
from diabolo.model.objective import objective
from diabolo.model.own import source_of
from diabolo.train.engine import Engine

HEAD = """
    import dataclasses
    import torch
    from torch import nn
    from diabolo.model.networks import Affine, Rectify
"""

OPERATIONS = """
    @dataclasses.dataclass(frozen=True)
    class Mine:
        width: int = 12
        def encoder(self, inputs, hidden, outputs, shape):
            return [Affine(inputs, self.width, 1.4), Rectify(0.1), Affine(self.width, outputs)]
        decoder = encoder
"""

MODULES = """
    class Residual(nn.Module):
        def __init__(self, inputs, width, outputs):
            super().__init__()
            self.into, self.mid, self.out = nn.Linear(inputs, width), nn.Linear(width, width), nn.Linear(width, outputs)
            self.norm = nn.LayerNorm(width)
        def forward(self, x):
            h = torch.tanh(self.into(x))
            return self.out(self.norm(h + torch.relu(self.mid(h))))

    @dataclasses.dataclass(frozen=True)
    class Mine:
        width: int = 12
        def encoder(self, inputs, hidden, outputs, shape):
            return Residual(inputs, self.width, outputs)
        decoder = encoder
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A function (body, head=HEAD) → import path of Mine in a new module, which is on the import path."""
    folder = tmp_path / "code"
    package = folder / "theirs"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(folder))
    made = []

    def make(body, head=HEAD):
        name = f"net{len(made)}"
        (package / f"{name}.py").write_text(textwrap.dedent(head) + textwrap.dedent(body))
        made.append(f"theirs.{name}")
        return f"theirs.{name}:Mine"

    yield make
    for name in ["theirs", *made]:
        sys.modules.pop(name, None)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# ── what it may be ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("body", [OPERATIONS, MODULES], ids=["operations", "modules"])
@pytest.mark.parametrize("lead", [(), (2,)])
def test_steps_follow_the_gradient_of_the_formula(body, lead, module, plane, build_model, encoded):
    X = plane[1][:60]
    model = build_model(X, lead, network=module(body), clip_norm=1e9, latent="gaussian", regularizer="kl")
    rows = encoded(model, X).clipped(8.0)
    leaves = {k: v.clone().requires_grad_() for k, v in model.store.views.items()}
    model.use(leaves)
    exact = objective(model, rows, None, 1.0, generator())[0]
    exact.sum().backward()
    engine = Engine(model, model.config)
    for _ in range(2):
        loss, _, _ = objective(model, rows.batch(slice(None), engine.memory), None, 1.0, generator())
        engine.step(loss, 0.0)
    torch.testing.assert_close(loss.detach(), exact.detach())
    assert (engine.gradient != 0).any()
    for name, gradient in model.store.split(engine.gradient).items():
        torch.testing.assert_close(gradient, leaves[name].grad, rtol=1e-3, atol=1e-5, msg=name)


def test_a_module_computes_what_it_computes_alone(module, plane, build_model):
    """With its own initial values, which the seed alone decides."""
    path = module(MODULES)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    model, again, other = (build_model(plane[1], network=path, random_state=s) for s in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(model.store.flat, again.store.flat)
    assert not torch.equal(model.store.flat, other.store.flat)
    alone = sys.modules[path.partition(":")[0]].Residual(8, 12, model.latent_dim)
    own = {k.removeprefix("encoder.0."): v for k, v in model.store.views.items() if k.startswith("encoder.")}
    assert own["norm.weight"].eq(1).all()
    # nn.Linear draws from ±1/√inputs.
    assert 0.25 < float(own["into.weight"].abs().max()) <= 8**-0.5
    alone.load_state_dict(own)
    x = torch.randn(7, 8, generator=generator())
    torch.testing.assert_close(model.encode(x).mean, alone(x))


def test_members_of_a_module_are_drawn_apart(module, plane, build_model):
    path = module(MODULES)
    several = build_model(plane[1], (3,), network=path, random_state=5)
    x = torch.randn(7, 8, generator=generator())
    for member in range(3):
        alone = build_model(plane[1], network=path, random_state=5 + member)
        assert torch.equal(alone.store.flat, several.store.flat[member])
        torch.testing.assert_close(alone.encode(x).mean, several.encode(x).mean[member])


def test_settings_act_and_are_checked(module, plane):
    path = module(OPERATIONS)
    settings = {"epochs": 1, "latent_dim": 2}
    narrow = Autoencoder(network={"name": path, "width": 3}, **settings).fit(plane[1])
    wide = Autoencoder(network=path, **settings).fit(plane[1])
    assert narrow.model_.store.flat.numel() < wide.model_.store.flat.numel()
    with pytest.raises(ConfigError, match=r"no setting 'widht'.*did you mean 'width'"):
        Autoencoder(network={"name": path, "widht": 3}, **settings).fit(plane[1])
    with pytest.raises(ConfigError, match="width"):
        Autoencoder(network={"name": path, "width": "many"}, **settings).fit(plane[1])


@pytest.mark.parametrize("body", [OPERATIONS, MODULES], ids=["operations", "modules"])
def test_it_learns(body, module, plane):
    clean, noisy = plane
    ae = Autoencoder(network=module(body), latent_dim=2, epochs=40, learning_rate=1e-2).fit(noisy[:900])
    error = np.square(ae.reconstruct(noisy[900:]) - clean[900:]).mean()
    assert error < 0.1 * np.square(clean[900:]).mean()


def test_one_affine_map_of_ones_own_is_solved_like_the_linear_network(module, plane):
    """And a single module, which is one operation too, is trained."""
    body = """
    @dataclasses.dataclass(frozen=True)
    class Mine:
        module: bool = False
        def encoder(self, inputs, hidden, outputs, shape):
            return nn.Linear(inputs, outputs) if self.module else [Affine(inputs, outputs)]
        decoder = encoder
    """
    path, settings = module(body), {"latent_dim": 2, "epochs": 2}
    solved = Autoencoder(network=path, **settings).fit(plane[1])
    linear = LinearAutoencoder(**settings).fit(plane[1])
    assert np.array_equal(solved.transform(plane[1]), linear.transform(plane[1]))
    assert len(Autoencoder(network={"name": path, "module": True}, **settings).fit(plane[1]).history_) == 2


# ── what it may not be ────────────────────────────────────────────────────────────────────────────


def returns(expression, before=""):
    return f"""
    {before}
    @dataclasses.dataclass(frozen=True)
    class Mine:
        def encoder(self, inputs, hidden, outputs, shape):
            return {expression}
        def decoder(self, inputs, hidden, outputs, shape):
            return [Affine(inputs, outputs)]
    """


MIXES = "def mixes(x):\n        return x - x.mean(0)\n"
WRONG = [
    (returns("[Affine(inputs, outputs + 1)]"), r"maps rows \[3, 8\] to \[3, 3\]; expected \[3, 2\]"),
    (returns("nn.Linear(inputs, 1)"), r"to \[3, 1\]; expected \[3, 2\]"),
    (returns("[Affine(inputs, 5), Affine(4, outputs)]"), "encoder raised RuntimeError"),
    (returns("nn.Linear(inputs + 1, outputs)"), "encoder raised RuntimeError"),
    (returns("3"), "gave 3; expected a list of operations"),
    (returns("[nn.Linear(inputs, outputs)]"), "expected a list of operations or a torch.nn.Module"),
    (returns("[Rectify(), Affine(inputs, outputs)]"), "in place"),
    (returns("nn.Sequential(nn.ReLU(inplace=True), nn.Linear(inputs, outputs))"), "in place"),
    (returns("nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs))"), "the buffer '1.running_mean'"),
    (
        returns("nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs, track_running_stats=False))"),
        "depend on the other rows",
    ),
    (returns("nn.Sequential(nn.Linear(inputs, outputs), nn.Dropout(0.5))"), "random numbers"),
    (returns("nn.Linear(inputs, outputs).double()"), "'weight', which is of torch.float64"),
    (returns("nn.Linear(inputs, outputs).requires_grad_(False)"), "'weight', which is frozen"),
    (returns("nn.Linear(inputs, outputs, device='nowhere')"), "encoder raised RuntimeError"),
    (returns("nn.Flatten()"), "nothing to train"),
    (returns("undefined"), "encoder raised NameError"),
    ("Mine = 3", "a network is a dataclass"),
    ("class Mine:\n        def encoder(self): pass", "is no dataclass, without decoder"),
    ("class Other: pass", "has no 'Mine'; allowed: Other"),
    ("1/0", "raised ZeroDivisionError"),
]


@pytest.mark.parametrize(("body", "message"), WRONG, ids=[m for _, m in WRONG])
def test_what_would_go_wrong_later_is_refused_in_one_line(body, message, module, plane):
    path = module(body)
    with pytest.raises(ConfigError, match=message) as failure:
        Autoencoder(network=path, latent_dim=2, epochs=1).fit(plane[1])
    assert path in str(failure.value)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.at_all:Net", "no module 'nowhere.at_all' on the import path"),
        ("json.nowhere:Net", "no module 'json.nowhere'"),
        ("sys:Net", "not a file"),
        ("__main__:Net", "move the class into a module"),
        ("not a path:Net", "an import path is"),
        ("json:", "an import path is"),
        (":Net", "an import path is"),
    ],
)
def test_a_wrong_path_is_told(name, message):
    with pytest.raises(ConfigError) as failure:
        networks.create(name)
    assert message in str(failure.value)


# ── the file ──────────────────────────────────────────────────────────────────────────────────────

#: Leaves a mark where it is imported, the package too.
MARK = """
    import os
    with open(os.environ["MARK"], "a") as mark:
        mark.write(__name__ + " ")
"""


@pytest.fixture
def saved(module, plane, tmp_path, monkeypatch):
    """A detector with an own network in a file, and the mark that its import leaves."""
    mark = tmp_path / "mark"
    monkeypatch.setenv("MARK", str(mark))
    path = module(MODULES, MARK + HEAD)
    package = tmp_path / "code" / "theirs" / "__init__.py"
    package.write_text(textwrap.dedent(MARK))
    sys.modules.pop("theirs", None)
    detector = AnomalyDetector(Autoencoder(network=path, latent_dim=2, epochs=2)).fit(plane[1])
    file = tmp_path / "own.diabolo"
    detector.save(file)
    assert mark.read_text().split() == ["theirs", "theirs.net0"]
    for name in ("theirs", "theirs.net0"):
        sys.modules.pop(name)
    mark.unlink()
    return file, path, mark, detector


def test_a_file_names_the_network_and_the_hash_of_its_source(saved, tmp_path):
    file, path, mark, _ = saved
    source = tmp_path / "code" / "theirs" / "net0.py"
    card = sections_of(file)["main"].card["own_network"]
    assert card == {"name": path, "sha256": hashlib.sha256(source.read_bytes()).hexdigest()}
    assert b"Residual" not in file.read_bytes()
    assert source_of(path) == (source, card["sha256"])
    assert not mark.exists()


def test_it_is_imported_only_when_asked(saved, plane, capsys):
    file, path, mark, detector = saved
    for refused in (load, AnomalyDetector.load):
        with pytest.raises(ModelFileError, match="own_network=True") as failure:
            refused(file)
        assert path in str(failure.value)
    assert not mark.exists()
    assert "theirs" not in sys.modules
    assert np.array_equal(
        Autoencoder.load(file, own_network=True).transform(plane[1]), detector.autoencoder_.transform(plane[1])
    )
    again = AnomalyDetector.load(file, own_network=True)
    assert np.array_equal(again.p_values(plane[1]), detector.p_values(plane[1]))
    assert mark.read_text().split() == ["theirs", "theirs.net0"]


def test_another_source_is_refused_before_it_runs(saved, plane, tmp_path):
    file, _, mark, detector = saved
    source = tmp_path / "code" / "theirs" / "net0.py"
    source.write_text(source.read_text() + "\n# changed\n")
    now = hashlib.sha256(source.read_bytes()).hexdigest()
    with pytest.raises(ModelFileError, match="SHA-256") as failure:
        load(file, own_network=True)
    kept = sections_of(file)["main"].card["own_network"]["sha256"]
    assert kept in str(failure.value)
    assert now in str(failure.value)
    assert kept != now
    assert not mark.exists()
    # A refit takes the source as it is now.
    detector.autoencoder_.fit(plane[1]).save(file)
    load(file, own_network=True)


def test_a_checkpoint_of_another_source_is_not_resumed(module, plane, tmp_path, monkeypatch):
    monkeypatch.setenv("DIABOLO_CHECKPOINT_SECONDS", "0")
    path, kept = module(OPERATIONS), tmp_path / "fit.ckpt"
    ae = Autoencoder(network=path, latent_dim=2, epochs=3)
    with monkeypatch.context() as patch:

        def stop(epoch):
            raise KeyboardInterrupt

        patch.setattr("diabolo.estimators.autoencoder.following", lambda verbose: contextlib.nullcontext(stop))
        with pytest.raises(KeyboardInterrupt):
            ae.set_params(verbose=1).fit(plane[1], checkpoint=kept)
    ae.set_params(verbose=0)
    source = tmp_path / "code" / "theirs" / "net0.py"
    before = source.read_text()
    source.write_text(before + "\n# changed\n")
    with pytest.raises(CheckpointError, match="own_network"):
        ae.fit(plane[1], checkpoint=kept, resume=True)
    source.write_text(before)
    ae.fit(plane[1], checkpoint=kept, resume=True)


def test_a_module_that_is_gone_is_told(saved, tmp_path):
    file = saved[0]
    (tmp_path / "code" / "theirs" / "net0.py").unlink()
    with pytest.raises(ModelFileError, match=r"no module 'theirs\.net0'"):
        load(file, own_network=True)


@pytest.mark.parametrize("where", ["config", "parameters", "neither", "another"])
def test_a_file_cannot_hide_an_own_network(where, saved, tmp_path):
    """Neither in the config nor in the parameters that a refit would use."""
    file, _, mark, _ = saved
    sections = sections_of(file)
    card = sections["main"].card
    if where == "another":
        card["own_network"]["name"] = "theirs.other:Mine"
    else:
        if where != "neither":
            del card["own_network"]
        if where != "config":
            card["config"]["network"] = "mlp"
        if where != "parameters":
            card["estimator"]["parameters"]["network"] = "mlp"
    rewrite(file, sections)
    for asked in (False, True):
        with pytest.raises(ModelFileError, match="own"):
            load(file, own_network=asked)
    assert not mark.exists()


def test_every_verb_that_reads_a_file_has_the_flag(saved, plane, tmp_path, capsys):
    import pyarrow as pa

    file, _, mark, _ = saved
    table = pa.table({f"x{i}": plane[1][:, i] for i in range(8)} | {"label": np.arange(1200) % 2})
    data = tmp_path / "rows.parquet"
    write_batches(data, table.schema, iter(table.to_batches()))
    verbs = [
        ["info", str(file)],
        ["score", str(file), str(data), "-o", str(tmp_path / "scores.parquet"), "-q"],
        ["encode", str(file), str(data), "-o", str(tmp_path / "codes.parquet")],
        ["decode", str(file), str(tmp_path / "codes.parquet"), "-o", str(tmp_path / "back.parquet")],
        ["reconstruct", str(file), str(data), "-o", str(tmp_path / "back.parquet")],
        ["sample", str(file), "-n", "5", "-o", str(tmp_path / "drawn.parquet")],
        ["fill", str(file), str(data), "-o", str(tmp_path / "filled.parquet")],
        ["evaluate", str(file), str(data), "--label", "label"],
    ]
    for verb in verbs:
        with pytest.raises(SystemExit) as ended:
            main(verb)
        assert ended.value.code == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "--own-network" in error
        assert not mark.exists()
    for verb in verbs:
        with pytest.raises(SystemExit) as ended:
            main([*verb, "--own-network"])
        assert ended.value.code == 0
    assert mark.exists()


def test_the_command_line_fits_and_scores_in_new_processes(module, plane, tmp_path):
    path, data, file = module(OPERATIONS), tmp_path / "rows.npy", tmp_path / "own.diabolo"
    np.save(data, plane[1][:400])
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'code'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}

    def diabolo(*words):
        command = [sys.executable, "-m", "diabolo", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)

    fitted = diabolo(
        "fit", str(data), "-o", str(file), "--set", f"network={path}", "--set", "network.width=5", "--epochs", "2", "-q"
    )
    assert fitted.returncode == 0, fitted.stderr
    kept = json.loads(json.dumps(sections_of(file)["main"].card["config"]["network"]))
    assert kept == {"name": path, "width": 5}
    scores = ("score", str(file), str(data), "-o", str(tmp_path / "scores.parquet"))
    assert diabolo(*scores).returncode == 2
    scored = diabolo(*scores, "--own-network")
    assert scored.returncode == 0, scored.stderr
