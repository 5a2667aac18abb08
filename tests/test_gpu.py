"""Scores and training steps on a device that is no processor: held without a card, on one that PyTorch takes for one.

`shadow` refuses what a card refuses, and writes down what a card would wait for.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import itertools
import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import shadow
import torch
from conftest import values_of
from program import done, refused, table, write

from diabolo import AnomalyDetector, Autoencoder, LinearAutoencoder, MaskedAutoencoder, VariationalAutoencoder, load
from diabolo.config import METHODS
from diabolo.data.sources import encoded_rows
from diabolo.detect.choice import applicable
from diabolo.detect.conformal import Calibration
from diabolo.detect.least import without
from diabolo.detect.neighbours import Nearest
from diabolo.detect.reference import Reference
from diabolo.detect.scores import Score, scores
from diabolo.detect.scoring import p_values_there, score_table
from diabolo.device import choose_device, single_precision
from diabolo.errors import CalibrationError, ConfigError
from diabolo.file.detector import calibrated_of, detector_section
from diabolo.staging import Lane, read_ahead
from diabolo.train import loop
from diabolo.train.engine import Engine
from diabolo.train.schedule import schedule_of
from diabolo.train.state import State
from diabolo.train.step import Recorded, Step

#: Rows of a tile, of a card and of the processor: small ones, for most of a walk is bookkeeping.
ROWS = 64


@pytest.fixture(scope="module", autouse=True)
def small_tiles():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diabolo.data.tiles.TILE", ROWS)
        yield


@pytest.fixture
def card(monkeypatch):
    """The device, with small tiles."""
    monkeypatch.setattr("diabolo.detect.tiling.WIDE_BLOCK", ROWS)
    monkeypatch.setattr("diabolo.detect.tiling.MOST_ROWS", ROWS)
    monkeypatch.setattr("diabolo.detect.views.WIDE_BLOCK", ROWS)
    with shadow.there(monkeypatch) as watch:
        yield watch


@pytest.fixture(scope="module")
def detectors(mixed, images):
    """One for each way through a model: Gaussian and point codes, hidden cells, members, images, many stored rows."""
    rng = np.random.default_rng(2)
    many = rng.normal(size=(2_600, 4)) @ rng.normal(size=(4, 6))
    short = {"epochs": 1, "batch_size": 64, "hidden": (8,)}
    return {
        "vae": (AnomalyDetector(VariationalAutoencoder(slots={"e": 2}, **short)).fit(mixed), mixed),
        "sparse": (AnomalyDetector(Autoencoder(latent="topk", slots={"e": 2}, **short)).fit(mixed), mixed),
        "masked": (AnomalyDetector(MaskedAutoencoder(factors=4, **short)).fit(mixed), mixed),
        "linear": (AnomalyDetector(LinearAutoencoder(latent_dim=2)).fit(many), many),
        "images": (AnomalyDetector(Autoencoder(network="conv", epochs=1, hidden=(4,))).fit(images), images),
    }


def odd(model, X):
    """Rows of a table, and some with gaps, infinities and levels that no training row has."""
    values = np.array(values_of(model, X))[: ROWS - 20].astype(float)
    worse = values[:40].copy()
    worse[::3, 0], worse[1::3, 1], worse[5] = np.nan, np.inf, np.nan
    worse[10:20, -1] = 7.0
    columns = [i for i, c in enumerate(model.encoding.schema.columns) if c.kind in ("categorical", "ordinal")]
    worse[20:30, columns] = 99.0
    return np.concatenate([values, worse])


WAYS = ("vae", "sparse", "masked", "linear", "images")


@pytest.mark.parametrize("way", WAYS)
def test_every_score_is_the_processors_and_waits_for_nothing(way, detectors, card):
    """Rows go up, scores come down, and between a card would neither wait nor be handed anything."""
    detector, X = detectors[way]
    reference = detector.calibrated_.reference
    values = odd(reference.model, X)
    there = reference.on(shadow.NAME)
    names = applicable(reference)
    if way == "masked":  # each of its passes is long here
        values = values[-40:]
    expected = score_table(reference, values, names)
    for name in names:
        score_table(there, values[:1], [name])  # what stays there is taken there
        card.events.clear()
        found = score_table(there, values, [name])[name]
        np.testing.assert_array_equal(np.isinf(found), np.isinf(expected[name]), err_msg=name)
        # Gradients add up in another order, by one part in ten million, and this search of a law of many hills takes
        # other turns from the fifth step on: its result is a bound of the minimum, and not the minimum.
        loose = (way, name) == ("masked", "profile")
        np.testing.assert_allclose(found, expected[name], rtol=0.05 if loose else 2e-5, err_msg=name)
        tiles = -(-len(values) // ROWS)
        stored = "stored" in scores.get(name).needs
        assert card.said("wait") == [], name
        assert {place.rpartition(":")[0] for _, _, place in card.said("up")} == {"staging.py"}, name
        assert len(card.said("up")) == tiles * (2 if stored else 1), name
        assert len(card.said("down")) == 1, name
    # The model on the processor is where it was.
    assert reference.model.store.flat.device.type == "cpu"


class Forgets(Score):
    """A score with a tensor that forgets its device."""

    def __call__(self, reference, rows):
        return rows.x.sum(-1) + torch.ones(len(rows))


class Asks(Score):
    """A score that looks at its numbers on the way."""

    def __call__(self, reference, rows):
        return rows.x.sum(-1) * (2 if bool((rows.x > 0).any()) else 1)


class Lists(Score):
    """A score that hands positions over at each call."""

    def __call__(self, reference, rows):
        return rows.x[:, torch.tensor([0, 1])].sum(-1)


def test_the_device_sees_what_it_is_to_see(detectors, card, monkeypatch):
    """The negative control: three scores with the three faults."""
    detector, X = detectors["linear"]
    there = detector.calibrated_.reference.on(shadow.NAME)
    values = values_of(there.model, X)[:10]

    def by(score):
        monkeypatch.setattr("diabolo.detect.scoring.check_score", lambda *_: score())
        card.events.clear()
        return score_table(there, values, ["it"])

    with pytest.raises(shadow.Mixed, match="on the processor"):
        by(Forgets)
    by(Asks)
    assert [op for _, op, _ in card.said("wait")] == ["aten::_local_scalar_dense"]
    by(Lists)
    assert [op for _, op, _ in card.said("up")] == ["aten::_to_copy", "aten::index"]


def test_p_values_are_worked_out_where_the_scores_are(detectors, card):
    detector, X = detectors["linear"]
    state = detector.calibrated_
    values = odd(state.reference.model, X)
    expected = state.judged(values, "mse")
    there = dataclasses.replace(state.on(shadow.NAME), made_on=shadow.NAME)
    there.judged(values)
    card.events.clear()
    found = there.judged(values, "mse")
    assert len(card.said("down")) == 3
    assert card.said("wait") == []
    np.testing.assert_allclose(found["p_value"], expected["p_value"], atol=2 / state.n_calibration)
    assert np.isnan(found["p_value"]).any()
    assert (np.isnan(found["p_value"]) == np.isinf(found[state.score_name])).all()
    # Of the very same scores they are the same, ties and ends too.
    rng = np.random.default_rng(0)
    known = rng.integers(0, 9, 50).astype(float)
    weighted = Calibration(known, rng.random(50))
    asked = np.array([*known, -1.0, 4.5, 99.0, np.inf])
    there = p_values_there(weighted, torch.from_numpy(asked), {}).numpy()
    np.testing.assert_array_equal(there, weighted.p_values(asked))


def test_neighbours_of_a_card_are_those_of_double_precision(rng, card):
    points, queries = torch.from_numpy(rng.normal(size=(900, 5))), torch.from_numpy(rng.normal(size=(40, 5)))
    points[7] *= 1e7  # single precision alone would be wrong
    own = torch.arange(40) - 20
    index = Nearest(points)
    expected = index.query(queries, 6, own.clamp_min(-1))
    there = index.to(shadow.NAME)
    card.events.clear()
    found = there.query(queries.to(shadow.NAME), 6, own.clamp_min(-1).to(shadow.NAME))
    assert card.said("wait", "down") == []
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(shadow.raw(a).numpy(), b.numpy())


def test_own_rows_are_left_out_alike(card):
    squared = torch.arange(12.0).reshape(3, 4)
    own, there = torch.tensor([-1, 2, 0]), squared.clone().to(shadow.NAME)
    without(squared, own)
    without(there, own.to(shadow.NAME))
    assert torch.equal(shadow.raw(there), squared)
    assert squared.isinf().sum() == 2
    assert squared[1, 2] == squared[2, 0] == torch.inf


# ── training ──────────────────────────────────────────────────────────────────────────────────────

#: Settings of steps that differ in what they draw, weigh or look up.
STEPS = {
    **{name: {"method": name, "solver": "gradient"} for name in METHODS},
    "iwae": {"method": "vae", "bound": "iwae", "draws": 3, "warmup": 1},
    "dreg": {"method": "vae", "bound": "dreg", "draws": 3, "warmup": 1},
    "contractive": {"regularizer": "contractive"},
    "mmd": {"regularizer": "mmd"},
    "lp": {"regularizer": "lp"},
    "mixture": {"method": "vae", "prior": "mixture", "warmup": 1},
    "swap": {"corruption": "swap"},
    "salt": {"corruption": "salt_and_pepper"},
    "hidden": {"corruption": {"name": "mask", "distance": "hidden"}},
}


def prepared(build_model, X, name):
    """A fresh model by these settings, and its rows."""
    settings = {**METHODS[STEPS[name].get("method", "ae")], **STEPS[name]}
    settings = {k: v for k, v in settings.items() if k != "method"}
    model = build_model(
        X, lead=() if name in ("masked", "asks") else (2,), slots={"e": 2}, batch_size=32, epochs=2, **settings
    )
    values = values_of(model, X)
    return model, encoded_rows(model.encoding, values, None, np.arange(len(values)))


def descend(build_model, X, name, make, device=None):
    """Two epochs by steps that `make` gives: the parameters, and the history."""
    model, rows = prepared(build_model, X, name)
    if device is not None:
        model.to(device)
        rows = rows.to(device)
    steps = schedule_of(model.config, len(rows))
    engine = Engine(model, model.config)
    step = make(engine, model, State(model, engine), steps.rows_per_step)
    told = []
    for _ in range(2):
        told.append(loop.run_epoch(step, rows, steps, None))
        step.state.end_epoch(None)
    return model.store.flat.detach(), told


def plain(engine, model, state, size):
    return Step(engine, model, state)


def eager(call, generators):
    """A recording that plays by calling again."""
    return call


@pytest.mark.parametrize("name", STEPS)
def test_a_step_to_be_recorded_is_todays_bit_for_bit(name, build_model, mixed):
    """β and the rate lie in memory, the batch is copied: the numbers are the same."""
    expected, told = descend(build_model, mixed, name, plain)
    plays = []

    def record(call, generators):
        plays.append(call)
        return call

    def recorded(engine, model, state, size):
        return Recorded(engine, model, state, size, record, warm=2)

    found, as_told = descend(build_model, mixed, name, recorded)
    assert torch.equal(found, expected)
    for mine, other in zip(as_told, told, strict=True):
        assert torch.equal(mine[0], other[0])
        assert torch.equal(mine[1], other[1])
        assert mine[2] == other[2]
    assert len(plays) == 1  # β changes between steps, and no step is recorded again for it


@pytest.mark.parametrize("name", ["vae", "masked", "dreg", "mmd", "swap", "contractive"])
def test_a_recorded_step_waits_for_nothing(name, build_model, mixed, card):
    """A CUDA graph can hold no copy from or to the processor, and nothing that waits."""
    events = []

    def record(call, generators):
        def play():
            before = len(card.events)
            call()
            events.append(card.events[before:])

        return play

    def recorded(engine, model, state, size):
        return Recorded(engine, model, state, size, record, warm=1)

    expected, told = descend(build_model, mixed, name, plain)
    found, as_told = descend(build_model, mixed, name, recorded, shadow.NAME)
    assert len(events) > 5
    assert not any(events)
    for mine, other in zip(as_told, told, strict=True):
        np.testing.assert_allclose(shadow.raw(mine[0]).numpy(), other[0].numpy(), rtol=1e-3)
    # Its rate is in single precision. Layers that begin at zero have gradients of rounding alone at first, of which the
    # optimizer makes whole steps: there weights say nothing.
    if name != "masked":
        np.testing.assert_allclose(shadow.raw(found).numpy(), expected.numpy(), atol=2e-6)


def test_a_recording_that_fails_is_said_once_and_steps_go_on(build_model, mixed):
    def record(call, generators):
        raise RuntimeError("no capture here\nand a long trace")

    def recorded(engine, model, state, size):
        return Recorded(engine, model, state, size, record)

    expected, _ = descend(build_model, mixed, "vae", plain)
    with pytest.warns(UserWarning, match="one by one, for recording one failed: no capture here$") as told:
        found, _ = descend(build_model, mixed, "vae", recorded)
    assert len(told) == 1
    assert torch.equal(found, expected)


def test_a_step_that_has_to_wait_is_not_recorded(build_model, mixed, monkeypatch):
    monkeypatch.setitem(STEPS, "asks", {"method": "vae", "prior": "mixture", "regularizer": "mmd"})

    def recorded(engine, model, state, size):
        return Recorded(engine, model, state, size, lambda *_: pytest.fail("recorded"))

    descend(build_model, mixed, "asks", recorded)


# ── on the way to a card ──────────────────────────────────────────────────────────────────────────


class Late:
    """A card whose copies come as late as they may: when somebody waits for a mark."""

    def __init__(self):
        self.waits, self.owed, self.marks = [], [], itertools.count()

    def pinned(self, cells, dtype):
        return torch.empty(cells, dtype=dtype)

    def copying(self):
        return contextlib.nullcontext()

    def mark(self):
        return next(self.marks)

    def wait(self, mark):
        self.waits.append(mark)

    def follow(self, mark, tensor):
        self.owed.append((mark, tensor))


def test_two_buffers_are_filled_in_turn_and_none_before_its_copy_is_done():
    device = Late()
    lane, rng = Lane("cpu", device), np.random.default_rng(0)
    arrays = [rng.normal(size=(n, 3)) for n in (5, 5, 4, 5, 9)]
    sent = [lane.send("cells", a) for a in arrays]
    # The third array waits for the first one's copy, the fourth for the second's.
    assert device.waits == [0, 1, 2]
    assert [mark for mark, _ in device.owed] == [0, 1, 2, 3, 4]
    assert all(own is out for (_, own), out in zip(device.owed, sent, strict=True))
    # A copy to the processor itself is none, so that each shows its buffer: two of them, which took turns.
    places = [s.untyped_storage().data_ptr() for s in sent]
    assert places[0] == places[2] != places[1] == places[3]
    np.testing.assert_array_equal(sent[4].numpy(), arrays[4])
    # Another kind of array has buffers of its own, and nothing to wait for.
    lane.send("own", np.arange(5))
    assert device.waits == [0, 1, 2]


def test_on_the_processor_rows_stay_where_they_are():
    array = np.arange(6.0).reshape(3, 2)
    assert Lane("cpu").send("cells", array).numpy() is not None
    assert np.shares_memory(Lane("cpu").send("cells", array).numpy(), array)
    before = threading.active_count()
    assert list(read_ahead(iter([1, 2, 3]), "cpu")) == [1, 2, 3]
    assert threading.active_count() == before


def test_the_next_item_is_read_while_this_one_is_used():
    read, second = [], threading.Event()

    def items():
        for i in range(4):
            read.append(i)
            if i == 1:
                second.set()
            yield i

    ahead = read_ahead(items(), "cuda")
    assert next(ahead) == 0
    assert second.wait(10)  # nobody has asked for it yet
    assert list(ahead) == [1, 2, 3]
    # Who stops early ends the thread.
    ahead = read_ahead(iter(range(1_000_000)), "cuda")
    next(ahead)
    ahead.close()
    assert not any(t.name == "diabolo-reads-ahead" for t in threading.enumerate())


def test_a_fault_of_the_reader_is_the_callers():
    def items():
        yield 1
        raise ValueError("a torn file")

    ahead = read_ahead(items(), "cuda")
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="a torn file"):
        next(ahead)


# ── names ─────────────────────────────────────────────────────────────────────────────────────────


def elsewhere(detector):
    """The detector as one that was calibrated on a card."""
    return dataclasses.replace(detector.calibrated_.on("cuda"), made_on="cuda")


def test_p_values_of_another_devices_scores_are_refused(detectors, tmp_path):
    detector, X = detectors["linear"]
    here = elsewhere(detector).on("cpu")
    line = "calibrated on cuda and would score on cpu.*diabolo calibrate MODEL NORMAL_ROWS --device cpu$"
    for ask in (lambda: here.threshold, lambda: here.judged(X[:5])):
        with pytest.raises(CalibrationError, match=line):
            ask()
    assert np.isfinite(here.scores(X[:5])).all()  # scores themselves promise nothing


def test_a_file_keeps_the_device_of_its_calibration(detectors, tmp_path):
    detector, _ = detectors["linear"]
    state = detector.calibrated_
    assert "device" not in detector_section(state).card  # files from before stay as they are
    section = detector_section(elsewhere(detector))
    assert section.card["device"] == "cuda"
    found = calibrated_of("m.diabolo", section, state.fitted)
    assert (found.made_on, found.device, found.threshold) == ("cuda", "cuda", state.threshold)


@pytest.fixture
def no_card(monkeypatch):
    """A machine without one, wherever the tests run."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_a_device_that_is_not_there_is_said_in_one_line(shop, here, no_card):
    model, data = shop / "vae.diabolo", shop / "data.parquet"
    gone = "device 'cuda' is not available here"
    asks = {
        "score": (model, data, "-o", "s.parquet"),
        "report": (model, data, "-o", "r.html"),
        "calibrate": (model, data, "-o", "m.diabolo"),
        "serve": (model, "--port", 0),
        "fit": (data, "-o", "m.diabolo", "--label", "truth"),
    }
    for verb, words in asks.items():
        line = refused(verb, *words, "--device", "cuda")
        assert gone in line, (verb, line)
        assert "allowed: cpu" in line, (verb, line)
    assert "unknown device 'tpu'; allowed: auto, cpu, cuda" in refused("score", *asks["score"], "--device", "tpu")
    assert list(here.iterdir()) == []


def test_a_file_that_was_calibrated_on_a_card_says_how_to_go_on(shop, here, no_card):
    detector = load(shop / "vae.diabolo")
    detector._state = elsewhere(detector)
    detector.save("card.diabolo")
    write(table(), here / "new.parquet")
    line = refused("score", "card.diabolo", "new.parquet", "-o", "s.parquet")
    assert "device 'cuda' is not available here" in line
    assert "diabolo calibrate MODEL NORMAL_ROWS --device cpu" in line
    line = refused("score", "card.diabolo", "new.parquet", "-o", "s.parquet", "--device", "cpu")
    assert "calibrated on cuda and would score on cpu" in line
    done("calibrate", "card.diabolo", "new.parquet", "--device", "cpu", "-o", "here.diabolo")
    done("score", "here.diabolo", "new.parquet", "-o", "s.parquet", "--device", "auto", "-q")
    assert load("here.diabolo").calibrated_.made_on == "cpu"


def test_a_card_counts_in_single_precision_and_the_callers_setting_comes_back():
    places = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [place.allow_tf32 for place in places]
    try:
        for place in places:
            place.allow_tf32 = True
        with single_precision("cpu"):
            assert all(place.allow_tf32 for place in places)
        with contextlib.suppress(ZeroDivisionError), single_precision("cuda:1"):
            assert not any(place.allow_tf32 for place in places)
            raise ZeroDivisionError
        assert all(place.allow_tf32 for place in places)
    finally:
        for place, was in zip(places, before, strict=True):
            place.allow_tf32 = was


def test_tf32_that_is_asked_for_by_pytorchs_newer_words_is_off_as_well():
    """The flag cannot be read then, which would have ended every fit on a card."""
    product, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    if not hasattr(product, "fp32_precision"):
        pytest.skip("this PyTorch has no such words")
    places = (product, cudnn.conv, cudnn.rnn)
    before = [place.fp32_precision for place in places]
    try:
        for own in (("tf32", "ieee", "ieee"), ("tf32", "tf32", "ieee"), ("ieee", "ieee", "tf32")):
            for place, word in zip(places, own, strict=True):
                place.fp32_precision = word
            with single_precision("cuda"):
                assert "tf32" not in {place.fp32_precision for place in places}
            assert tuple(place.fp32_precision for place in places) == own
    finally:
        for place, was in zip(places, before, strict=True):
            place.fp32_precision = was


def test_devices_by_name():
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") in ("cpu", "cuda")
    with pytest.raises(ConfigError, match="unknown device 'gpu'; allowed: auto, cpu, cuda, mps"):
        choose_device("gpu")


def test_a_detector_moves_and_asks_for_a_new_calibration(detectors, card):
    detector, X = detectors["linear"]
    moved = copy.copy(detector).to(shadow.NAME)
    for ask in (moved.score_samples, moved.predict):
        with pytest.raises(CalibrationError, match="would score on shadow"):
            ask(X[:5])
    assert np.isfinite(moved.calibrated_.scores(X[:5])).all()
    moved.calibrate(np.random.default_rng(5).normal(size=(150, X.shape[1])))
    assert moved.calibrated_.made_on == shadow.NAME
    assert set(moved.predict(X[:5])) <= {-1, 1}


def test_a_reference_that_is_placed_shares_what_the_stored_rows_gave(detectors, card):
    reference = detectors["linear"][0].calibrated_.reference
    there = reference.on(shadow.NAME)
    assert there.placed is there.placed
    assert there.placed.home.derived is reference.derived
    assert isinstance(Reference(reference.model).placed, Reference)


# ── the script ────────────────────────────────────────────────────────────────────────────────────

BENCH = Path(__file__).parents[1] / "bench" / "gpu.py"


def bench(*words):
    return subprocess.run([sys.executable, BENCH, *map(str, words)], capture_output=True, text=True, timeout=900)


def test_the_script_for_a_card_runs_as_far_as_a_processor_can(tmp_path):
    """All of it that needs no card, so that a run on one is not spent on its faults."""
    ended = bench("--device", "cpu", "--rows", 300, "--least", 0, "--json", tmp_path / "out.json")
    assert ended.returncode == 0, ended.stderr
    assert "failed" not in ended.stdout
    found = json.loads((tmp_path / "out.json").read_text())["numbers"]
    said = {name.partition(":")[0] for name in found}
    assert said == {"parity", "bits", "training", "resident", "stream"}
    # The processor agrees with itself, and draws the same fit twice.
    assert all(off == [0.0, 0] for name, off in found.items() if name.startswith("parity"))
    assert found["bits: two fits by one seed"] == [True, 0.0]
    for rival in ("training: plain PyTorch loop, batch 1024", "resident: brute-force neighbors, cdist and topk"):
        assert min(found[rival]) > 0


@pytest.mark.parametrize("gone", ["cuda", "tpu"])
def test_the_script_says_where_there_is_no_card(gone):
    if gone == "cuda" and torch.cuda.is_available():
        gone = "no such card"
    ended = bench("--device", gone)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert "allowed: " in ended.stderr
    assert "nothing was measured" in ended.stderr
