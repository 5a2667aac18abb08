"""A fit that is killed and resumed is the fit that was not: bit for bit, at any moment, or it is refused."""

from __future__ import annotations

import dataclasses
import os
import signal

import numpy as np
import pandas as pd
import pytest
import torch

from diabolo import AnomalyDetector, Autoencoder, VariationalAutoencoder, load
from diabolo.artifact import Section, read_sections, write_sections
from diabolo.data import sources as data_sources
from diabolo.data.sources import Rows
from diabolo.errors import CheckpointError, ConfigError, ModelFileError, OutputError, TrainingError
from diabolo.train import checkpoint as module
from diabolo.train.checkpoint import CHECKPOINT, Checkpoint
from diabolo.train.loop import Epoch, fit

#: What tells the time, and so differs between two runs of one fit.
CLOCKS = {"seconds", "left"}


class Killed(BaseException):
    """Ends a fit from inside, past everything that handles exceptions."""


class Interrupting(Checkpoint):
    """Writes after every piece, and ends the fit after so many."""

    def __init__(self, path, after, resume=True):
        super().__init__(path, {"fit": "this one"}, resume, every=0)
        self.after = after

    def offer(self, state):
        super().offer(state)
        self.after -= 1
        if self.after == 0:
            raise Killed


# ── inside one process: every boundary between pieces ─────────────────────────────────────────────

COMMON = {"hidden": (8,), "latent_dim": 2, "epochs": 4, "slots": {"e": 2}}
VAE = {"latent": "gaussian", "regularizer": "kl"}
MASKED = {
    "corruption": {"name": "mask", "rate": "any"},
    "nested": 0.2,
    "factors": 4,
    "likelihood": "flexible",
    "network": "residual",
}
CASES = {
    "vae": (VAE | {"warmup": 2}, ()),
    "noise": ({"corruption": "gaussian"}, ()),
    "mask": ({"corruption": "mask", "prior": "laplace", "regularizer": "prior"}, ()),
    "draws": (VAE | {"draws": 3}, ()),
    "patience": ({"patience": 1, "learning_rate": 0.05, "schedule": "constant"}, ()),
    "members": (VAE | {"corruption": "gaussian"}, (3,)),
    "members of members": ({"corruption": "mask", "patience": 2}, (2, 2)),
    "hidden cells": (MASKED, ()),
    "hidden cells of members": (MASKED | VAE, (2,)),
}


@pytest.fixture
def pieces(monkeypatch):
    """Pieces of 64 rows: three in an epoch of the small tables here."""
    monkeypatch.setattr(data_sources, "GATHER", 64)


@pytest.fixture
def fitted(mixed, build_model, encoded):
    """A function (settings, lead, checkpoint) → all that a fit of the mixed table leaves."""

    def run(settings, lead=(), checkpoint=None, weighted=False, stop=40):
        model = build_model(
            mixed, lead, **{"hidden": (8,), "latent_dim": 2, "epochs": 4, "slots": {"e": 2}, **settings}
        )
        rows = encoded(model, mixed).clipped(model.encoding.clip)
        n = len(rows) - stop
        weights = torch.linspace(0.5, 1.5, n) if weighted else None
        train, held = Rows(rows.rows(slice(0, n)), weights), Rows(rows.rows(slice(n, None)), None)
        return left(model, fit(model, train, held, None, checkpoint))

    return run


def left(model, history):
    """Everything of a fit but its clocks."""
    found = {"parameters": model.store.flat.numpy(), **{k: v.numpy() for k, v in model.buffers.items()}}
    for field in dataclasses.fields(history[0]):
        if field.name not in CLOCKS:
            found[field.name] = np.array([getattr(e, field.name) for e in history])
    return found


def same(a, b):
    """Bit for bit: names, shapes, types and bytes."""
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and a[k].tobytes() == b[k].tobytes() for k in a
    )


@pytest.mark.parametrize("case", CASES)
def test_interrupted_after_every_piece(case, fitted, pieces, tmp_path):
    """One fit, ended and resumed after each piece of each epoch, as often as it takes."""
    settings, lead = CASES[case]
    whole, ends = fitted(settings, lead), 0
    while True:
        try:
            resumed = fitted(settings, lead, Interrupting(tmp_path / "c.ckpt", after=1))
            break
        except Killed:
            ends += 1
    assert ends == 3 * len(whole["epoch"]), "there should be three pieces in each epoch"
    assert same(whole, resumed)


@pytest.mark.parametrize(("weighted", "stop"), [(True, 40), (False, 0)], ids=["weights", "no stop rows"])
def test_interrupted_once_anywhere(weighted, stop, fitted, pieces, tmp_path):
    """One interruption, at each place where one can be."""
    whole, at = fitted(VAE, weighted=weighted, stop=stop), 1
    while True:
        try:
            fitted(VAE, (), Interrupting(tmp_path / "c.ckpt", at, resume=False), weighted, stop)
            break
        except Killed:
            kept = Checkpoint(tmp_path / "c.ckpt", {"fit": "this one"}, resume=True)
            assert same(whole, fitted(VAE, (), kept, weighted, stop)), at
            assert kept.brought > 0
            at += 1
    assert at > 3 * len(whole["epoch"])


NEEDED = ["parameters", "first_moment", "second_moment", "steps", "best", "best_parameters", "stale", "distance"]
NEEDED += ["omega", "counted", "history", "order", "noise", "step"]


@pytest.mark.parametrize("name", NEEDED)
def test_everything_that_is_kept_is_needed(name, fitted, pieces, tmp_path):
    """The comparison sees whatever is wrong: a checkpoint with one entry made anew gives another fit."""
    settings = VAE | {"corruption": "gaussian", "patience": 3, "learning_rate": 0.2, "epochs": 10}
    settings["schedule"] = "cosine" if name == "step" else "constant"
    whole, path = fitted(settings), tmp_path / "c.ckpt"
    differs = False
    # Somewhere in the fit it matters: the best weights, for one, only while they are not being beaten.
    for after in range(4, 30, 3):
        try:
            fitted(settings, (), Interrupting(path, after, resume=False))
            break
        except Killed:
            section = read_sections(path, CHECKPOINT)["fit"]
        if name in section.tensors:
            section.tensors[name] = np.atleast_1d(section.tensors[name]).copy().reshape(section.tensors[name].shape)
            if name == "best":
                section.tensors[name][...] = np.inf
            elif name == "history":
                section.tensors[name][0, 3] += 1
            else:
                section.tensors[name] += section.tensors[name].dtype.type(1)
        else:
            fresh = bytes(torch.Generator().manual_seed(99).get_state().tolist()).hex()
            section.card[name] = 0 if name == "step" else fresh
        write_sections(path, {"fit": section}, CHECKPOINT)
        differs = not same(whole, fitted(settings, (), Checkpoint(path, {"fit": "this one"}, resume=True)))
        if differs:
            break
    assert differs


def test_checkpoints_change_nothing(fitted, pieces, tmp_path):
    kept = Checkpoint(tmp_path / "c.ckpt", {}, every=0)
    assert same(fitted(VAE), fitted(VAE, (), kept))


def test_not_written_before_it_is_time(fitted, pieces, tmp_path, monkeypatch):
    """At most every so many seconds, and never so often that writing takes more than a fiftieth of the time."""
    clock, cost = [0.0], [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])
    kept, written = Checkpoint(tmp_path / "c.ckpt", {}, every=10), []

    def write(state):
        written.append(clock[0])
        clock[0] += cost[0]

    monkeypatch.setattr(kept, "write", write)
    for each, step, expected in ((0.0, 0.5, [1, 11, 21]), (1.0, 1.0, [31, 82, 133])):
        cost[0] = each
        written.clear()
        while len(written) < 3:
            clock[0] += step
            kept.offer(None)
        assert written == expected


def test_a_full_disk_does_not_end_the_fit(fitted, pieces, tmp_path, monkeypatch):
    """The training is worth more than its checkpoint: it says so and goes on."""

    def full(*_):
        raise OutputError("cannot write c.ckpt: No space left on device")

    monkeypatch.setattr(module, "write_sections", full)
    with pytest.warns(RuntimeWarning, match="no checkpoint: cannot write c.ckpt: No space left"):
        kept = fitted(VAE, (), Checkpoint(tmp_path / "c.ckpt", {}, every=0))
    assert same(kept, fitted(VAE))


def test_the_variable_sets_the_seconds(tmp_path, monkeypatch):
    monkeypatch.setenv("DIABOLO_CHECKPOINT_SECONDS", "2.5")
    assert Checkpoint(tmp_path / "c", {}).every == 2.5
    for wrong in ("often", "-1", "nan"):
        monkeypatch.setenv("DIABOLO_CHECKPOINT_SECONDS", wrong)
        with pytest.raises(ConfigError, match=rf"DIABOLO_CHECKPOINT_SECONDS = '{wrong}'; allowed are seconds"):
            Checkpoint(tmp_path / "c", {})


# ── what is refused ───────────────────────────────────────────────────────────────────────────────


def plain(n=400, seed=0):
    return pd.DataFrame(np.random.default_rng(seed).normal(size=(n, 4)), columns=list("abcd"))


SMALL = {"hidden": (8,), "latent_dim": 2, "epochs": 3, "random_state": 0}


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A checkpoint that an interrupted fit of `plain()` has left."""
    monkeypatch.setenv("DIABOLO_CHECKPOINT_SECONDS", "0")
    path = tmp_path / "c.ckpt"
    VariationalAutoencoder(**SMALL).fit(plain(), checkpoint=path)
    return path


def test_the_estimators_resume(kept, monkeypatch):
    X = plain()
    whole = VariationalAutoencoder(**SMALL).fit(X)
    resumed = VariationalAutoencoder(**SMALL).fit(X, checkpoint=kept, resume=True)
    assert same(left_of(whole), left_of(resumed))
    detector = AnomalyDetector(VariationalAutoencoder(**SMALL))
    scores = detector.fit(X, checkpoint=kept).anomaly_score(X)
    again = AnomalyDetector(VariationalAutoencoder(**SMALL)).fit(X, checkpoint=kept, resume=True)
    assert scores.to_numpy().tobytes() == again.anomaly_score(X).to_numpy().tobytes()
    assert again.autoencoder_.fitted_.training.seconds > sum(e["seconds"] for e in again.autoencoder_.history_[:-1])


def left_of(ae):
    return left(ae.model_, [Epoch(**record) for record in ae.history_])


def test_without_a_checkpoint_it_starts_afresh(tmp_path):
    ae = VariationalAutoencoder(**SMALL).fit(plain(), checkpoint=tmp_path / "none.ckpt", resume=True)
    assert len(ae.history_) == 3


def test_a_closed_form_needs_none(tmp_path, monkeypatch):
    monkeypatch.setenv("DIABOLO_CHECKPOINT_SECONDS", "0")
    for table in (plain(), plain().mask(plain() > 1.5)):
        Autoencoder(network="linear", latent_dim=2).fit(table, checkpoint=tmp_path / "c.ckpt", resume=True)
    assert os.listdir(tmp_path) == []


def test_a_resumption_needs_a_file():
    with pytest.raises(ConfigError, match="checkpoint = PATH"):
        VariationalAutoencoder().fit(plain(), resume=True)


def changed(**cells):
    X = plain()
    for name, value in cells.items():
        X.loc[7, name] = value
    return X


OTHERS = {
    "a setting": ({"beta": 4.0}, {}, r"config\.beta = 1\.0 there, 4\.0 here"),
    "a part": ({"corruption": {"name": "mask", "rate": 0.5}}, {}, r"config\.corruption = none there, .*mask.* here"),
    "widths": ({"hidden": (9,)}, {}, r"config\.hidden: 8 there, 9 here"),
    "the seed": ({"random_state": 5}, {}, r"config\.random_state = 0 there, 5 here"),
    "a cell": ({}, {"X": changed(b=0.5)}, r"table = \w{16} there, \w{16} here"),
    "a cell's last bit": (
        {},
        {"X": changed(b=np.nextafter(plain().loc[7, "b"], 9.0))},
        r"checkpoint: values = \w{16} there",
    ),
    "rows": ({}, {"X": plain(399)}, r"rows = 400 there, 399 here"),
    "the order of rows": ({}, {"X": plain()[::-1].reset_index(drop=True)}, r"table = "),
    "a column": ({}, {"X": plain()[["a", "b", "c"]]}, r"columns: d there, nothing more here"),
    "a name": ({}, {"X": plain().rename(columns={"a": "z"})}, r"columns: a there, z here"),
    "the order of columns": ({}, {"X": plain()[list("badc")]}, r"columns: in another order or number"),
    "weights": ({}, {"sample_weight": np.linspace(1, 2, 400)}, r"weights = None there, \w{16} here"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_fits_checkpoint_is_refused(other, kept):
    settings, given, said = OTHERS[other]
    before, given = kept.read_bytes(), {"X": plain(), **given}
    with pytest.raises(CheckpointError, match=said) as failure:
        VariationalAutoencoder(**{**SMALL, **settings}).fit(**given, checkpoint=kept, resume=True)
    line = str(failure.value)
    assert line.startswith(f"{kept}: another fit's checkpoint: ")
    assert line.endswith("; without resume, the fit starts afresh")
    assert "\n" not in line
    assert kept.read_bytes() == before


def test_other_versions_threads_and_jobs_are_refused(kept, monkeypatch):
    def refused(estimator, said):
        with pytest.raises(CheckpointError, match=said):
            estimator.fit(plain(), checkpoint=kept, resume=True)

    ae = VariationalAutoencoder(**SMALL)
    refused(AnomalyDetector(ae), r"roles\.calibrate = 0\.0 there, 0\.\d+ here")
    with monkeypatch.context() as patched:
        patched.setattr("diabolo.version.__version__", "9.9.9")
        refused(ae, r"versions\.diabolo = \S+ there, 9\.9\.9 here")
    with monkeypatch.context() as patched:
        patched.setattr(module.torch, "get_num_threads", lambda: 3)
        refused(ae, r"threads = 1 there, 3 here")


def test_damaged_checkpoints_are_refused(kept, rng):
    """Cut off anywhere, or with any bit turned: one line, and never a fit from nonsense."""
    data = kept.read_bytes()
    broken = [data[:n] for n in (0, 7, 8, 100, len(data) // 2, len(data) - 1)]
    for at in np.sort(rng.choice(8 * len(data), 150, replace=False)):
        flipped = bytearray(data)
        flipped[at // 8] ^= 1 << (at % 8)
        broken.append(bytes(flipped))
    for bad in broken:
        kept.write_bytes(bad)
        with pytest.raises(CheckpointError) as failure:
            VariationalAutoencoder(**SMALL).fit(plain(), checkpoint=kept, resume=True)
        assert "without resume, the fit starts afresh" in str(failure.value)
        assert kept.read_bytes() == bad


def test_forged_checkpoints_are_refused(kept):
    """Whole by its hash, but not what a checkpoint holds."""
    section = read_sections(kept, CHECKPOINT)["fit"]

    def forged(card=None, tensors=None):
        return Section({**section.card, **(card or {})}, {**section.tensors, **(tensors or {})})

    without = forged()
    del without.tensors["steps"]
    wrong = {
        "has no setting 'more'": forged({"more": 1}),
        "epoch = -1": forged({"epoch": -1}),
        "9 epochs, but a history of": forged({"epoch": 9}),
        "a generator's state": forged({"order": "00" * 5056}),
        "generator's state is none": forged({"noise": "xy"}),
        r"tensors \['steps'\] do not belong": without,
        r"tensors \['left_over'\]": forged(None, {"left_over": np.zeros(3)}),
        "tensor 'best' has another shape": forged(None, {"best": np.zeros(3, np.float32)}),
        "tensor 'stale' has another shape or type": forged(None, {"stale": np.zeros((), np.float32)}),
    }
    for said, bad in wrong.items():
        write_sections(kept, {"fit": bad}, CHECKPOINT)
        with pytest.raises(CheckpointError, match=said):
            VariationalAutoencoder(**SMALL).fit(plain(), checkpoint=kept, resume=True)


def test_models_and_checkpoints_are_not_taken_for_each_other(kept, tmp_path):
    with pytest.raises(ModelFileError, match="not a diabolo model file"):
        load(kept)
    ae = VariationalAutoencoder(**SMALL).fit(plain())
    ae.save(tmp_path / "m.diabolo")
    with pytest.raises(CheckpointError, match="not a diabolo checkpoint"):
        VariationalAutoencoder(**SMALL).fit(plain(), checkpoint=tmp_path / "m.diabolo", resume=True)


# ── the program, killed for real ──────────────────────────────────────────────────────────────────

METHODS = {
    "detector": ("--method", "vae", "--set", "warmup=3"),
    "denoising": ("--only", "main", "--method", "denoising", "--set", "corruption.std=0.4"),
    "mask": ("--only", "main", "--method", "denoising", "--set", "corruption={name='mask'}", "--weight", "w"),
    "sparse": ("--only", "main", "--method", "sparse", "--latent", "6"),
    "draws": ("--only", "main", "--method", "vae", "--set", "draws=2"),
    "cache": ("--only", "main", "--method", "vae", "--memory", "100kB"),
}


@pytest.fixture(scope="module")
def program(stem):
    """A function (words, …) → the program in a process of its own, after some lines of Python."""

    def start(arguments, every="0.1", before="", errors=os.devnull):
        code = f"{before}\nfrom diabolo.cli import main\nmain()"
        return stem.start(code, arguments, {"DIABOLO_CHECKPOINT_SECONDS": every}, errors)

    return start


@pytest.fixture(scope="module")
def shop(tmp_path_factory, program):
    """A folder with a table that takes some seconds to fit, and the file that each method makes of it, when asked."""
    folder, made = tmp_path_factory.mktemp("shop"), {}
    rng = np.random.default_rng(1)
    X = rng.normal(size=(1500, 2)) @ rng.normal(size=(2, 8)) + 0.3 * rng.normal(size=(1500, 8))
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(8)])
    frame.loc[rng.random(1500) < 0.1, "x3"] = np.nan
    frame.assign(w=rng.uniform(0.5, 2, 1500)).to_parquet(folder / "data.parquet")

    def reference(method):
        """(sections of the uninterrupted fit, seconds of the processor that it took once all was loaded)."""
        if method not in made:
            told = folder / f"{method}.seconds"
            ended = program(words(folder, folder / f"{method}.diabolo", method), before=TIMED.format(str(told)))
            assert ended.wait() == 0
            made[method] = read_sections(folder / f"{method}.diabolo"), float(told.read_text())
        return made[method]

    return folder, reference


#: Said before the program runs: the seconds of the processor from here to the end go into a file.
TIMED = """
import atexit, pathlib, time
began = time.process_time()
atexit.register(lambda: pathlib.Path({0!r}).write_text(str(time.process_time() - began)))
"""
#: Or the process dies after so many of them, wherever it is: nothing in Python handles this signal.
DYING = "import signal\nsignal.setitimer(signal.ITIMER_PROF, {0})"


def words(folder, out, method, *more):
    epochs = ("--epochs", "6", "--set", "patience=40", "--hidden", "16", "-q")
    return ("fit", folder / "data.parquet", "-o", out, *METHODS[method], *epochs, *more)


def stripped(sections):
    """A file's sections without what tells the time."""
    main = sections["main"].card
    card = {**main, "training": {**main["training"], "seconds": 0.0}}
    card["training"]["history"] = [{k: v for k, v in e.items() if k not in CLOCKS} for e in main["training"]["history"]]
    return {name: card if name == "main" else section.card for name, section in sections.items()}


def assert_same_file(path, expected):
    found = read_sections(path)
    assert stripped(found) == stripped(expected)
    for name, section in expected.items():
        assert same(section.tensors, found[name].tensors), name


def killed_and_resumed(shop, program, tmp_path, method, seed, most):
    """Kill a fit at random moments, at most so often, then let it end; returns how often it was killed.

    Moments of its own processor's time: they are the same whatever else the machine does.
    """
    folder, reference = shop
    (expected, seconds), rng = reference(method), np.random.default_rng(seed)
    out, kills = tmp_path / "m.diabolo", 0
    for _ in range(most):
        dying = DYING.format(rng.uniform(0.05, 0.95) * seconds)
        running = program(words(folder, out, method, "--resume"), every=str(rng.choice([0, 0.1, 0.5])), before=dying)
        if running.wait() != -signal.SIGPROF:
            break
        kills += 1
    else:
        running = program(words(folder, out, method, "--resume"))
    assert running.wait() == 0
    assert_same_file(out, expected)
    assert os.listdir(tmp_path) == [out.name]
    return kills


@pytest.mark.parametrize(
    ("method", "seed"),
    [
        pytest.param(method, seed, marks=() if method in ("detector", "cache") else pytest.mark.slow)
        for seed, method in enumerate(METHODS)
    ],
)
def test_killed_at_random(method, seed, shop, program, tmp_path):
    # A fit that ends before its moment comes has shown nothing: another one then.
    for again in range(5):
        folder = tmp_path / str(again)
        folder.mkdir()
        if killed_and_resumed(shop, program, folder, method, seed + 10 * again, 1 + seed % 2):
            return
    pytest.fail("no fit could be killed")


@pytest.mark.slow
def test_fifty_kills(shop, program, tmp_path):
    """Fits until fifty of them have been killed; each ends as the file of the fit that was not."""
    kills = seed = 0
    while kills < 50:
        seed += 1
        folder = tmp_path / str(seed)
        folder.mkdir()
        kills += killed_and_resumed(
            shop, program, folder, list(METHODS)[seed % len(METHODS)], 100 + seed, min(5, 50 - kills)
        )
    assert kills == 50


#: Moments of a write at which the process kills itself; {0} is the file's name.
MOMENTS = {
    "half written": """
write = Path.write_bytes
def half(self, data):
    if self.name.startswith(".{0}.") and self.name.endswith(".part" + Path("{0}").suffix) and due():
        write(self, data[: len(data) // 2])
        die()
    return write(self, data)
Path.write_bytes = half
""",
    "not yet renamed": """
replace = Path.replace
def before(self, target):
    if target.name == "{0}" and due():
        die()
    return replace(self, target)
Path.replace = before
""",
    "renamed": """
replace = Path.replace
def after(self, target):
    replace(self, target)
    if target.name == "{0}" and due():
        die()
Path.replace = after
""",
}
PLANT = """
import os, signal
from pathlib import Path
left = [{}]
def due():
    left[0] -= 1
    return left[0] == 0
def die():
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("name", ["m.diabolo.ckpt", "m.diabolo"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_while_writing(moment, name, shop, program, tmp_path):
    folder, reference = shop
    method = "detector" if name == "m.diabolo" else "draws"
    expected, _ = reference(method)
    out = tmp_path / "m.diabolo"
    out.write_bytes(b"the model of last week")
    nth = 3 if name.endswith(".ckpt") else 1
    before = PLANT.format(nth) + MOMENTS[moment].format(name)
    killed = program(words(folder, out, method), every="0", before=before)
    assert killed.wait() == -signal.SIGKILL
    whole = out.read_bytes()
    if name == "m.diabolo" and moment == "renamed":
        assert_same_file(out, expected)
    else:
        assert whole == b"the model of last week"
    read_sections(tmp_path / "m.diabolo.ckpt", CHECKPOINT)  # whole, whatever was being written
    assert program(words(folder, out, method, "--resume")).wait() == 0
    assert_same_file(out, expected)
    assert os.listdir(tmp_path) == [out.name]


def test_what_the_program_says(shop, program, tmp_path):
    folder, _ = shop
    out, kept = tmp_path / "m.diabolo", tmp_path / "m.diabolo.ckpt"
    short = ("--epochs", "2", "-q")

    def said(*more):
        running = program(words(folder, out, "draws", *short, *more), every="0", errors=folder / "errors")
        return running.wait(), (folder / "errors").read_text()

    assert said("--resume") == (0, f"{kept}: no checkpoint to resume from; starting afresh\n")
    assert said() == (0, "")
    plant = PLANT.format(1) + MOMENTS["not yet renamed"].format("m.diabolo")
    assert program(words(folder, out, "draws", *short), every="0", before=plant).wait() == -signal.SIGKILL
    status, errors = said("--resume", "--beta", "3")
    assert status == 2
    assert errors.splitlines()[-1].startswith(f"diabolo: {kept}: another fit's checkpoint: config.beta = 1.0 there, 3")
    assert kept.exists()
    kept_bytes = kept.read_bytes()
    kept.write_bytes(kept_bytes[:-9])
    status, errors = said("--resume")
    assert status == 2
    assert "cut off or damaged" in errors
    kept.write_bytes(kept_bytes)
    assert said("--resume") == (0, f"{kept}: resuming\n")
    kept.write_bytes(kept_bytes)
    assert said() == (0, f"{kept}: starting afresh replaces this checkpoint; --resume would go on from it\n")
    assert os.listdir(tmp_path) == [out.name]


def test_a_fit_that_diverged_leaves_no_checkpoint(tmp_path, monkeypatch):
    """Resuming would only lead there again; another fit's checkpoint is left alone."""
    from diabolo.cli.checkpoint import kept

    out, path = tmp_path / "m.diabolo", tmp_path / "m.diabolo.ckpt"
    path.write_bytes(b"another's")
    with pytest.raises(TrainingError), kept(out, resume=False):
        raise TrainingError
    assert path.read_bytes() == b"another's"
    (tmp_path / "new").write_bytes(b"its own")
    with pytest.raises(TrainingError), kept(out, resume=False) as keep:
        raise TrainingError((tmp_path / "new").replace(keep.path))
    assert not path.exists()
