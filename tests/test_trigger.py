"""Networks in whole numbers: trained, scored, exported to C, hls4ml and CMSSW, and refused where they cannot be."""

from __future__ import annotations

import ctypes
import dataclasses
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
import torch
from program import done, refused

from diabolo import AnomalyDetector, Autoencoder, VariationalAutoencoder
from diabolo.artifact import MODEL, Section, read_sections, write_sections
from diabolo.config import Quantize
from diabolo.data.integer_inputs import IntegerInputs, integer_inputs
from diabolo.errors import CalibrationError, ColumnsError, ConfigError, ModelFileError
from diabolo.export.trigger.c import header
from diabolo.export.trigger.hls import emulated, precisions, project, sequential
from diabolo.export.trigger.integers import IntegerLayer, Trigger, trigger_of
from diabolo.file.model_file import ModelFile
from diabolo.model.networks import Affine, Rectify
from diabolo.model.quantize import whole_network

BITS = {"weights": 6, "activations": 10}
LEVELS = ["-O0", "-O2", "-O3", "-Os"]
SANITIZED = ["-O1", "-fsanitize=undefined", "-fno-sanitize-recover=all"]
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None or shutil.which("g++") is None, reason="needs gcc and g++")


def table(n=3000, seed=0):
    """Numbers of unlike sizes on a curved surface, whole ones, one that is rarely there, one that never changes."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 2))
    return pd.DataFrame(
        {
            "pt": np.exp(3 + z[:, 0]),
            "eta": z[:, 1] + 0.1 * rng.normal(size=n),
            "phi": np.pi * np.tanh(z[:, 0] + z[:, 1]) + 0.01 * rng.normal(size=n),
            "hits": np.round(40 + 8 * z[:, 1] + rng.normal(size=n)).astype(np.int32),
            "rare": np.where(rng.random(n) < 0.02, rng.exponential(30, size=n), 0.0),
            "never": np.zeros(n),
        }
    )


def fitted(bits=BITS, kind=VariationalAutoencoder, **settings):
    own = {"hidden": (8,), "latent_dim": 3, "epochs": 5, "warmup": 2} if kind is VariationalAutoencoder else {}
    own = {"hidden": (8,), "latent_dim": 3, "epochs": 5, **own, **settings}
    return AnomalyDetector(kind(quantize=bits, **own)).fit(table())


@pytest.fixture(scope="module")
def detector():
    return fitted()


@pytest.fixture(scope="module")
def saved(detector, tmp_path_factory):
    path = tmp_path_factory.mktemp("trigger") / "model.diabolo"
    detector.save(path)
    return path


def wild():
    """New rows, and rows beyond all that an input holds."""
    rows = table(500, seed=1)
    rows.iloc[::7] = rows.iloc[::7] * 1e3
    rows.iloc[::11] = -rows.iloc[::11] * 1e9
    return rows


# ── the arithmetic ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("bits", "kind"),
    [
        (BITS, VariationalAutoencoder),
        ({"weights": 3, "activations": 8}, VariationalAutoencoder),
        ({"weights": 16, "activations": 16}, VariationalAutoencoder),
        ({**BITS, "score": "mse"}, Autoencoder),
        ({"weights": 16, "activations": 16, "score": "mse"}, VariationalAutoencoder),
    ],
)
def test_a_score_is_that_of_the_integers_bit_for_bit(bits, kind):
    found = fitted(bits, kind, epochs=2)
    trigger = trigger_of(found.calibrated_)
    for rows in (table(500, seed=1), wild()):
        words = trigger.words(rows.to_numpy(np.float64))
        scores = trigger.scores(words)
        own = found.anomaly_score(rows)
        assert np.array_equal(trigger.real(scores), own)
        assert np.array_equal(scores > trigger.threshold, found.predict(rows) < 0)
    assert found.score_ == Quantize(**bits).score


def test_the_network_is_plain_arithmetic_of_python_integers(detector):
    trigger = trigger_of(detector.calibrated_)
    words = np.random.default_rng(0).integers(-(1 << 15), 1 << 15, size=(40, 6))
    for row, score in zip(words.tolist(), trigger.scores(words).tolist(), strict=True):
        shifts = zip(row, trigger.inputs.offset.tolist(), trigger.inputs.shift.tolist(), strict=True)
        h = [max(-512, min(511, (x - o) // 2**s if s >= 0 else (x - o) * 2**-s)) for x, o, s in shifts]
        for layer in trigger.layers:
            sums = [
                sum(w * v for w, v in zip(weights, h, strict=True)) + b
                for weights, b in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
            ]
            h = [max(layer.low, min(layer.high, int(a // 2**layer.shift))) for a in sums]
        assert score == sum(v * v for v in h)


def test_weights_have_their_bits_and_activations_theirs(detector):
    trigger = trigger_of(detector.calibrated_)
    first, last = trigger.layers
    assert (np.abs(first.weight).max(), np.abs(last.weight).max()) <= (31, 31)
    assert (first.low, first.high, last.low, last.high) == (0, 1023, -512, 511)
    assert (trigger.inputs.low, trigger.inputs.high) == (-512, 511)
    assert first.weight.any()
    assert last.weight.any()


def test_integers_of_a_column_of_integers_are_its_own(detector):
    trigger = trigger_of(detector.calibrated_)
    at = trigger.names.index("hits")
    assert trigger.inputs.unit[at] == 1
    rows = table(50)
    assert np.array_equal(trigger.words(rows.to_numpy())[:, at], rows["hits"])


@pytest.mark.parametrize("low", [0, -3])
def test_slopes_pass_within_bounds_and_stop_beyond(low):
    """Against the slopes of a clamp, which ⌊·⌋ in steps of 2⁻⁴ follows."""
    operations = [Affine(3, 4), Rectify(), Affine(4, 2)] if low == 0 else [Affine(3, 2)]
    network = whole_network(operations, Quantize(weights=8, activations=6), 2)
    generator = torch.Generator().manual_seed(0)
    shapes = [(4, 3), (4,), (2, 4), (2,)] if low == 0 else [(2, 3), (2,)]
    leaves = [torch.randn(s, generator=generator).requires_grad_() for s in shapes]
    x = torch.randn(64, 3, generator=generator).mul(16).round().div(16)
    network.choose(leaves, x, entering=4)
    h = wide = 4 * x
    network(leaves, h).sum().backward()
    seen = [leaf.grad.clone() for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    step, saturated = [2.0**-f for _, f in network.fractions], []
    for k, (weight, bias) in enumerate(zip(leaves[::2], leaves[1::2], strict=True)):
        g = network.fractions[k][0]
        near = weight + ((weight * 2.0**g).round() * 2.0**-g - weight).detach()
        least, most = network.bounds(k)
        a = wide @ near.T + bias
        clamped = a.clamp(least * step[k], (most + 1) * step[k])
        saturated.append(bool((clamped != a).any()))
        floored = (a / step[k]).floor().clamp(least, most) * step[k]
        wide = clamped + (floored - clamped).detach()
    wide.sum().backward()
    assert all(saturated)
    for leaf, slope in zip(leaves, seen, strict=True):
        assert torch.allclose(leaf.grad, slope, rtol=0.02, atol=0.02 * float(leaf.grad.abs().max()))


def test_a_fit_goes_on_in_whole_numbers_and_ends_no_worse_than_rounding(monkeypatch):
    from diabolo.data.sources import Rows
    from diabolo.model.autoencoder import Model
    from diabolo.train import loop

    began = {}
    choose = Model.choose_ranges

    def choosing(model, x):
        choose(model, x)
        began["weights"] = model.store.flat.clone()

    monkeypatch.setattr(Model, "choose_ranges", choosing)
    validate = loop.validate
    losses = []
    monkeypatch.setattr(loop, "validate", lambda model, stop: losses.append(validate(model, stop)) or losses[-1])
    ae = VariationalAutoencoder(hidden=(8,), latent_dim=3, epochs=5, warmup=2, quantize=BITS).fit(table())
    assert [e["epoch"] for e in ae.history_] == [1, 2, 3, 4, 5, 6]
    # Five epochs in real numbers, the rounded weights, one epoch in whole numbers.
    rounded, last = float(losses[5]), float(losses[6])
    assert len(losses) == 7
    assert ae.history_[-1]["best"] == (last < rounded)
    assert bool(torch.equal(began["weights"], ae.model_.store.flat)) == (last >= rounded)
    assert isinstance(loop.Rows, type(Rows))


# ── the map of inputs ─────────────────────────────────────────────────────────────────────────────


def test_units_hold_every_cell_and_refuse_what_they_cannot():
    ranges = [("a", "float64", -5.0, 700.0), ("b", "int16", 0.0, 200.0), ("c", "float64", 0.0, 0.0)]
    inputs, center, scale, clip = integer_inputs(
        ranges, np.array([3.2, 100.4, 0.0]), np.array([50.0, 20.0, 1.0]), 8, 10
    )
    assert (clip, inputs.fraction, scale.tolist()) == (8, 6, [64, 16, 1])
    assert inputs.unit[0] == 2.0**-3 * 0.5  # 2 · 700 / 32767 needs 2^-4, four bits below a step of 1
    assert inputs.shift.tolist()[:2] == [4, -2]
    assert center.tolist()[1] == 100
    assert np.array_equal(inputs.words(np.array([[700.0, 1e9, np.float64(-1e300)]])), [[11200, 32767, -32768]])
    with pytest.raises(ColumnsError, match="'far' has cells up to 1e\\+06 beside a spread of 1: the 16 bits"):
        integer_inputs([("far", "float64", 1e6 - 3, 1e6)], np.array([1e6]), np.array([1.0]), 8, 10)


def test_maps_that_are_no_integers_are_refused():
    one = np.ones(1)
    for center, scale, unit, clip in ((0.3, 1, 1, 8), (0, 3, 1, 8), (0, 1, 0.3, 8), (0, 1, 1, 7), (0, 2.0**60, 1, 8)):
        with pytest.raises(ConfigError):
            IntegerInputs.of(center * one, scale * one, unit * one, clip, 10)


# ── the file ──────────────────────────────────────────────────────────────────────────────────────


def test_a_file_scores_as_the_fit_did(detector, saved):
    rows = wild()
    loaded = AnomalyDetector.load(saved)
    assert np.array_equal(loaded.anomaly_score(rows), detector.anomaly_score(rows))
    assert np.array_equal(loaded.p_values(rows), detector.p_values(rows))
    assert header(trigger_of(loaded.calibrated_)) == header(trigger_of(detector.calibrated_))


@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        ("encoder_ranges", lambda t: t + np.float32(0.5), "whole numbers"),
        ("encoder_ranges", lambda t: t * np.float32(1e6), "whole numbers"),
        ("unit", lambda t: t * 3, "powers of two"),
        ("unit", lambda t: t[:-1], "unit"),
        ("unit", None, "'unit' is missing"),
    ],
)
def test_damaged_ranges_are_refused(saved, tmp_path, name, spoil, said):
    sections = dict(read_sections(saved, MODEL))
    tensors = dict(sections["main"].tensors)
    if spoil is None:
        del tensors[name]
    else:
        tensors[name] = spoil(tensors[name])
    sections["main"] = Section(sections["main"].card, tensors)
    path = tmp_path / "spoiled.diabolo"
    write_sections(path, sections, saved="AnomalyDetector")
    with pytest.raises(ModelFileError, match=said):
        _ = ModelFile(path).autoencoder


# ── C ─────────────────────────────────────────────────────────────────────────────────────────────

MAIN = """\
#include "model.h"
#include <stdio.h>
int main(void) {
  int16_t x[DIABOLO_INPUTS];
  while (fread(x, sizeof x, 1, stdin) == 1) printf("%lld %d\\n", (long long)diabolo_score(x), diabolo_is_anomaly(x));
  return 0;
}
"""
STRICT = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror"]


def compiled(folder, compiler, *flags):
    (folder / "main.c").write_text(MAIN)
    language = ["-x", "c", "-std=c99"] if compiler == "gcc" else ["-x", "c++", "-std=c++11"]
    words = [compiler, *language, *STRICT, *flags, "main.c", "-o", "main"]
    subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True)
    return folder / "main"


def spoken(program, words):
    """Scores and verdicts of a compiled header."""
    out = subprocess.run([program], input=words.astype(np.int16).tobytes(), capture_output=True, check=True).stdout
    return np.array([line.split() for line in out.decode().splitlines()], np.int64).T


def trying(trigger, seed=3):
    """Random integers of all 16 bits, ones near the offsets, and the corners."""
    rng = np.random.default_rng(seed)
    n = len(trigger.names)
    near = trigger.inputs.offset + rng.integers(-3000, 3000, size=(300, n))
    corners = rng.choice([-(1 << 15), (1 << 15) - 1], size=(100, n))
    return np.concatenate(
        [rng.integers(-(1 << 15), 1 << 15, size=(300, n)), near.clip(-(1 << 15), (1 << 15) - 1), corners]
    )


@needs_gcc
@pytest.mark.parametrize("compiler", ["gcc", "g++"])
def test_a_header_gives_the_bits_of_numpy(detector, tmp_path, compiler):
    trigger = trigger_of(detector.calibrated_)
    (tmp_path / "model.h").write_text(header(trigger))
    words = trying(trigger)
    expected = trigger.scores(words)
    assert len(np.unique(expected)) > 100
    for flags in (*([level] for level in LEVELS), SANITIZED):
        scores, verdicts = spoken(compiled(tmp_path, compiler, *flags), words)
        assert np.array_equal(scores, expected)
        assert np.array_equal(verdicts, expected > trigger.threshold)


@needs_gcc
@pytest.mark.parametrize(
    ("bits", "kind"),
    [
        ({"weights": 16, "activations": 16}, VariationalAutoencoder),
        ({**BITS, "score": "mse"}, Autoencoder),
        ({"weights": 12, "activations": 16, "score": "mse"}, Autoencoder),
    ],
)
def test_headers_of_many_bits_and_of_the_decoder(bits, kind, tmp_path):
    trigger = trigger_of(fitted(bits, kind, epochs=1).calibrated_)
    # A shift to the left as hardware of coarse integers needs it, and an output that grows.
    inputs = dataclasses.replace(trigger.inputs, shift=trigger.inputs.shift - 3)
    trigger = dataclasses.replace(trigger, inputs=inputs)
    (tmp_path / "model.h").write_text(header(trigger))
    words = trying(trigger)
    scores, _ = spoken(compiled(tmp_path, "gcc", *SANITIZED), words)
    assert np.array_equal(scores, trigger.scores(words))


@needs_gcc
@pytest.mark.parametrize("shifts", [(0,), (3, 0, 5), (-2, 4), (-30, 30, 17, 0), (30, 29), (-14, -15)])
@pytest.mark.parametrize("n", [8, 9])
@pytest.mark.parametrize("bits", [2, 10, 16])
def test_inputs_of_any_shift_and_number(shifts, n, bits, tmp_path):
    """With a copy of the cells and without; offsets at the ends of 16 bits; both widths of difference and product."""
    rng = np.random.default_rng(n)
    offset = rng.choice([-(1 << 15), -7, 0, 900, (1 << 15) - 1], size=n)
    inputs = IntegerInputs(np.ones(n), offset, np.resize(shifts, n), bits, 4)
    weight, bias = rng.integers(-31, 32, size=(5, n)), rng.integers(-99, 99, size=5)
    layer = IntegerLayer(weight, bias, 5, -(1 << 15), (1 << 15) - 1, 4, 4, inputs.low, inputs.high)
    trigger = Trigger(tuple("abcdefghi"[:n]), inputs, (layer,), "mu_norm", 5, 10, 0.01)
    (tmp_path / "model.h").write_text(header(trigger))
    words = trying(trigger)
    scores, _ = spoken(compiled(tmp_path, "gcc", *SANITIZED), words)
    assert np.array_equal(scores, trigger.scores(words))


def test_a_header_has_integers_alone(detector):
    text = header(trigger_of(detector.calibrated_))
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    assert not re.search(r"\b(float|double|malloc|free|static\s+int\d+_t\s+v)\b|\d\.\d|\de[-+]?\d", code)
    assert re.findall(r"#include (\S+)", code) == ["<stdint.h>"]


@needs_gcc
def test_a_sum_that_overflows_does_not_compile(detector, tmp_path):
    text = header(trigger_of(detector.calibrated_))
    spoiled = re.sub(r"(layer_0, \(INT64_C\()\d+", r"\g<1>400000000", text)
    assert spoiled != text
    (tmp_path / "model.h").write_text(spoiled)
    with pytest.raises(subprocess.CalledProcessError) as error:
        compiled(tmp_path, "gcc")
    assert "layer_0" in error.value.stderr


def test_the_proof_is_of_the_worst_inputs():
    """Inputs that reach the bound, and a layer whose bound takes the wider type."""
    rng = np.random.default_rng(0)
    weight, bias = rng.integers(-31, 32, size=(5, 7)), np.abs(rng.integers(0, 99, size=5))
    layer = IntegerLayer(weight, bias, 3, 0, 1023, 4, 4, -512, 512)
    reached = np.array([layer_row @ (512 * np.sign(layer_row)) for layer_row in weight]) + bias
    assert layer.worst == reached.max()
    assert layer.bits == 32
    assert dataclasses.replace(layer, weight=weight * (1 << 20)).bits == 64
    with pytest.raises(ConfigError, match="64 bits"):
        _ = dataclasses.replace(layer, weight=weight * (1 << 40), least=-(1 << 20)).bits


def test_names_do_not_leave_their_comment(detector):
    trigger = dataclasses.replace(trigger_of(detector.calibrated_), names=("*/ int main", "a\nb", "é", "d", "e", "f"))
    text = header(trigger)
    assert text.index("*/") > text.index("?? int main")
    assert "a?b" in text


# ── the program ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("program")
    table().to_parquet(place / "data.parquet")
    words = ("--hidden", "8", "--latent", 3, "--epochs", 5, "--set", "warmup=2", "-q")
    done("fit", place / "data.parquet", *words, "--quantize", "weights=6,activations=10", "-o", place / "m.diabolo")
    return place


@needs_gcc
def test_fit_export_and_compile(folder, tmp_path):
    out = tmp_path / "model.h"
    said = done("export", folder / "m.diabolo", "-o", out, "--accept-rate", "100 kHz of 4 MHz")
    assert "6-8-3 in whole numbers" in said
    assert "rate 0.025" in said
    golden = pd.read_csv(tmp_path / "model.golden.csv")
    assert golden.shape == (1000, 8)
    words = golden.iloc[:, :6].to_numpy()
    scores, verdicts = spoken(compiled(tmp_path, "gcc", "-O2"), words)
    assert np.array_equal(scores, golden["score"])
    assert np.array_equal(verdicts, golden["is_anomaly"])
    # The rate of new rows of the same kind, by the integers of the header: within four standard deviations.
    trigger = trigger_of(ModelFile(folder / "m.diabolo").detector, rate=0.025)
    new = trigger.words(table(20_000, seed=9).to_numpy())
    flagged = spoken(tmp_path / "main", new)[1].mean()
    calibration = ModelFile(folder / "m.diabolo").detector.n_calibration
    assert abs(flagged - 0.025) < 4 * np.sqrt(0.025 * (1 / calibration + 1 / 20_000))


def test_rates_and_scores_that_are_refused(folder, tmp_path):
    model, out = folder / "m.diabolo", tmp_path / "x.h"
    assert "drop one of the two" in refused(
        "export", model, "-o", out, "--false-alarm-rate", 0.1, "--accept-rate", "1%"
    )
    assert "calibration rows" in refused("export", model, "-o", out, "--accept-rate", "1 of 1000000")
    said = refused("export", model, "-o", out, "--score", "mse")
    flags = re.search(r"fit with (--quantize \S+)", said)[1].split()
    fit = ("fit", folder / "data.parquet", "--method", "ae", "--hidden", "8", "--epochs", 2, "-q")
    done(*fit, *flags, "-o", tmp_path / "mse.diabolo")
    assert "mse above" in done("export", tmp_path / "mse.diabolo", "-o", out)
    said = refused("export", model, "-o", tmp_path / "y.h", "--score", "nll")
    remedy = re.search(r"take (--score \S+)", said)[1].split()
    done("export", model, "-o", tmp_path / "y.h", *remedy)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mse.diabolo", "x.golden.csv", "x.h", "y.golden.csv", "y.h"]


def test_columns_that_are_refused_and_the_remedy(folder, tmp_path):
    rows = table()
    rows["word"] = "a"
    rows.loc[::2, "word"] = "b"
    rows["gap"] = np.where(np.arange(len(rows)) % 3, 1.5, np.nan)
    rows.to_parquet(tmp_path / "odd.parquet")
    words = ("fit", tmp_path / "odd.parquet", "--hidden", "8", "--epochs", 1, "-q", "--quantize", "weights=6")
    said = refused(*words, "-o", tmp_path / "m.diabolo")
    assert "'word' holds text" in said
    assert "'gap' has missing cells" in said
    remedy = re.search(r"(--exclude \S+)", said)[1].split()
    assert "6→8→2" in done(*words, *remedy, "-o", tmp_path / "m.diabolo")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--quantize", "weights"), "weights=6,activations=10"),
        (("--quantize", "weights=99"), "quantize.weights = 99"),
        (("--quantize", "bits=6"), "bits"),
        (("--quantize", "score=nll"), "quantize.score"),
        (("--set", "slots.e=2"), "slots"),
        (("--set", "kinds.eta=angle"), "kinds has angle"),
        (("--set", "network={name='mlp',slope=0.1}"), "rectifiers of slope 0"),
        (("--set", "network=residual"), "network 'mlp'"),
        (("--set", "latent=topk", "--set", "regularizer=none"), "latent 'topk'"),
        (("--method", "masked"), "masked"),
        (("--set", "scaling=none"), "scaling"),
    ],
)
def test_settings_that_whole_numbers_do_not_go_with(folder, tmp_path, flags, said):
    quantize = () if "--quantize" in flags else ("--quantize", "weights=6")
    words = ("fit", folder / "data.parquet", "--epochs", 1, "-q", *quantize, *flags, "-o", tmp_path / "m.diabolo")
    assert said in refused(*words)


def test_steps_on_rows_as_they_come_are_refused():
    with pytest.raises(ConfigError, match="call fit"):
        Autoencoder(quantize=BITS).partial_fit(table(100))


def test_models_that_make_no_trigger(folder, tmp_path):
    data, out = folder / "data.parquet", tmp_path / "m.h"
    done("fit", data, "--epochs", 1, "-q", "-o", tmp_path / "real.diabolo")
    assert "--quantize weights=6,activations=10" in refused("export", tmp_path / "real.diabolo", "-o", out)
    words = ("fit", data, "--hidden", "8", "--epochs", 3, "-q", "--quantize", "weights=6,activations=10")
    fitted = done(*words, "--beta", 100, "-o", tmp_path / "flat.diabolo")
    assert "diabolo export will refuse it: the latent has collapsed" in fitted
    assert "will refuse" not in done("fit", data, "-q", "--epochs", 1, "--beta", 100, "-o", tmp_path / "floats.diabolo")
    assert "the latent has collapsed" in refused("export", tmp_path / "flat.diabolo", "-o", out)
    assert not out.exists()


def test_scores_of_a_few_values_are_refused(detector):
    scores = detector.calibrated_.calibration.scores
    few = type(detector.calibrated_.calibration)(np.round(scores).clip(0, 3))
    found = dataclasses.replace(detector.calibrated_, calibrations={"mu_norm": few})
    with pytest.raises(CalibrationError, match=r"calibration rows have [234] different scores"):
        trigger_of(found)
    tied = type(few)(np.minimum(scores, np.quantile(scores, 0.9)))
    found = dataclasses.replace(detector.calibrated_, calibrations={"mu_norm": tied})
    with pytest.raises(CalibrationError, match="equal scores leave a rate of 0"):
        trigger_of(found, rate=0.05)


def test_a_table_larger_than_memory_gives_a_trigger(folder, tmp_path):
    words = ("fit", folder / "data.parquet", "--hidden", "8", "--latent", 3, "--epochs", 2, "--set", "warmup=1", "-q")
    done(*words, "--quantize", "weights=6,activations=10", "--memory", "1k", "-o", tmp_path / "m.diabolo")
    assert "6-8-3 in whole numbers" in done("export", tmp_path / "m.diabolo", "-o", tmp_path / "m.h")


# ── CMSSW ─────────────────────────────────────────────────────────────────────────────────────────

#: What the emulator takes of hls4mlEmulatorExtras.
STUB = """\
#pragma once
#include <any>
namespace hls4mlEmulator {
class Model {
public:
  virtual void prepare_input(std::any input) = 0;
  virtual void predict() = 0;
  virtual void read_result(std::any result) = 0;
  virtual ~Model() = default;
};
}  // namespace hls4mlEmulator
"""
#: What CMSSW does with a model that it has loaded, behind a function of C.
DRIVER = """\
#include "emulator.h"
#include <cstdint>
#include <utility>
extern "C" hls4mlEmulator::Model *create_model();
extern "C" void destroy_model(hls4mlEmulator::Model *);
extern "C" int64_t told(int16_t *x, int *verdict) {
  hls4mlEmulator::Model *model = create_model();
  model->prepare_input(x);
  model->predict();
  std::pair<std::int64_t, bool> result;
  model->read_result(&result);
  std::int64_t alone;
  model->read_result(&alone);
  model->prepare_input(static_cast<const int16_t *>(x));
  destroy_model(model);
  *verdict = result.second;
  return result.first == alone ? alone : -1;
}
"""


@needs_gcc
def test_an_emulator_of_cmssw(folder, tmp_path):
    done("export", folder / "m.diabolo", "--to", "cmssw", "-o", tmp_path / "MyTrigger_v1")
    place = tmp_path / "MyTrigger_v1"
    include = tmp_path / "extras" / "include"
    include.mkdir(parents=True)
    (include / "emulator.h").write_text(STUB)
    subprocess.run(["make", f"EMULATOR_EXTRAS={include.parent}"], cwd=place, check=True, capture_output=True)
    (tmp_path / "driver.cc").write_text(DRIVER)
    words = ["g++", "-std=c++17", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", f"-I{include}", "driver.cc"]
    library = place / "MyTrigger_v1.so"
    subprocess.run([*words, str(library), "-o", "driver.so"], cwd=tmp_path, check=True, capture_output=True)
    told = ctypes.CDLL(str(tmp_path / "driver.so")).told
    told.restype = ctypes.c_int64
    golden = np.loadtxt(place / "golden.csv", delimiter=",", skiprows=1, dtype=np.int64)
    for row in golden[::25]:
        verdict = ctypes.c_int()
        assert told((ctypes.c_int16 * 6)(*row[:6].tolist()), ctypes.byref(verdict)) == row[6]
        assert verdict.value == row[7]


def test_names_that_are_no_class(folder, tmp_path):
    assert "a letter first" in refused("export", folder / "m.diabolo", "--to", "cmssw", "-o", tmp_path / "7-up")


# ── hls4ml ────────────────────────────────────────────────────────────────────────────────────────


def test_the_network_handed_over_is_the_same(detector):
    """In double precision, cut down as the types say."""
    trigger = trigger_of(detector.calibrated_)
    network, types = sequential(trigger).double(), precisions(trigger)
    words = trying(trigger)
    h = torch.from_numpy(trigger.inputs.inputs(words) * 2.0**-trigger.inputs.fraction)
    for k, module in enumerate(network):
        h = module(h)
        bits, whole, *rule = re.fullmatch(r"ap_u?fixed<(-?\d+),(-?\d+)(.*)>", types[f"_{k}"]["result"]).groups()
        if rule[0]:
            step, unsigned = 2.0 ** -(int(bits) - int(whole)), "ufixed" in types[f"_{k}"]["result"]
            low, high = (0, 2 ** int(bits) - 1) if unsigned else (-(2 ** (int(bits) - 1)), 2 ** (int(bits) - 1) - 1)
            h = (h / step).floor().clamp(low, high) * step
    outputs = (h.detach().numpy() * 2.0**trigger.fraction).astype(np.int64)
    assert np.array_equal(outputs, trigger.outputs(words))
    assert types["input_1"]["result"] == "ap_fixed<10,4>"


def test_a_project_that_hls4ml_reads_wrongly_is_refused(detector, tmp_path, monkeypatch):
    hls4ml = pytest.importorskip("hls4ml")
    read = hls4ml.utils.config_from_pytorch_model

    def sideways(*words, **options):
        return read(*words, **{**options, "channels_last_conversion": "off"})

    project(trigger_of(detector.calibrated_), tmp_path / "one")
    monkeypatch.setattr(hls4ml.utils, "config_from_pytorch_model", sideways)
    with pytest.raises(ConfigError, match="reads layer _0 wrongly"):
        project(trigger_of(detector.calibrated_), tmp_path / "two")


@needs_gcc
@pytest.mark.slow
@pytest.mark.parametrize("score", ["mu_norm", "mse"])
def test_hls4ml_emulates_the_integers(score, tmp_path):
    pytest.importorskip("hls4ml")
    found = fitted({**BITS, "score": score}, VariationalAutoencoder)
    found.save(tmp_path / "m.diabolo")
    done("export", tmp_path / "m.diabolo", "--to", "hls4ml", "-o", tmp_path / "hls")
    assert (tmp_path / "hls" / "project" / "firmware" / "trigger.cpp").exists()
    trigger = trigger_of(found.calibrated_)
    built = project(trigger, tmp_path / "again")
    built.compile()
    words = np.concatenate([trigger.words(table(5000, seed=5).to_numpy()), trying(trigger)])
    assert np.array_equal(emulated(built, trigger, words), trigger.outputs(words))
