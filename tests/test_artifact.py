"""The model file: what comes back from it, and what a reader makes of damaged and hostile ones (docs/format.md)."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import pickle
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from program import rewrite, sections_of
from safetensors import safe_open
from safetensors.numpy import save_file

from diabolo import (
    AnomalyDetector,
    Autoencoder,
    DenoisingAutoencoder,
    LinearAutoencoder,
    SparseAutoencoder,
    VariationalAutoencoder,
    load,
)
from diabolo.artifact import HEADER_LIMIT, SECTIONS, Section, read_sections, sealed, write_sections
from diabolo.describe.model import describe_model
from diabolo.detect.choice import applicable
from diabolo.detect.reference import Reference
from diabolo.detect.scores import scores
from diabolo.errors import CalibrationError, ModelFileError, OutputError
from diabolo.file.model_file import ModelFile
from diabolo.file.rows import packed, unpacked

CLASSES = [Autoencoder, LinearAutoencoder, DenoisingAutoencoder, SparseAutoencoder, VariationalAutoencoder]


def events(n=300, seed=0):
    """Rows with every kind of column: real, angle, boolean, integer, constant, slots, gaps."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 2))
    there = rng.random((n, 2)) < [0.9, 0.4]
    return pd.DataFrame(
        {
            "a": z[:, 0] * 3 + 10 + 0.1 * rng.normal(size=n),
            "phi": np.arctan2(z[:, 1], z[:, 0]),
            "tagged": z[:, 0] > 0,
            "hits": rng.poisson(3, size=n),
            "run": np.full(n, 7),
            "gap": np.where(rng.random(n) < 0.2, np.nan, z[:, 1]),
            "e1_pt": np.where(there[:, 0], rng.exponential(size=n) + 1, 0.0),
            "e2_pt": np.where(there[:, 1], rng.exponential(size=n) + 1, 0.0),
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def detectors(folder):
    """A detector around each class, saved under the class's name."""
    X = events()
    found = {}
    for cls in CLASSES:
        ae = cls(epochs=2, slots={"e": 2}, hidden=() if cls is LinearAutoencoder else (8,), random_state=3)
        found[cls.__name__] = AnomalyDetector(ae, score="nll", false_alarm_rate=0.05).fit(X)
        found[cls.__name__].save(folder / f"{cls.__name__}.diabolo")
    return found


@pytest.fixture(scope="module")
def small(folder):
    """The smallest file with all that a file has, for reading it thousands of times."""
    X = np.random.default_rng(0).normal(size=(60, 2))
    weights = np.random.default_rng(1).uniform(1, 2, size=60)
    path = folder / "small.diabolo"
    AnomalyDetector(LinearAutoencoder(latent_dim=1)).fit(X, sample_weight=weights).save(path)
    return path


def outputs(detector, X):
    """All numbers that a person may ask of a detector and its autoencoder."""
    ae = detector.autoencoder_
    # The default learns its laws from the rows kept, whatever the class: once is enough.
    method = "auto" if type(ae) is VariationalAutoencoder else "mixture"
    found = {"codes": ae.transform(X), "sample": np.asarray(ae.sample(40, random_state=1, method=method), np.float64)}
    found["mean"] = np.asarray(ae.sample(40, mean=True), np.float64)
    found["draws"] = ae.reconstruct(X, draws=2)
    for name in applicable(Reference(ae.model_)):
        found[f"score {name}"] = ae.anomaly_score(X, score=name)
    for name in detector.calibrated_.calibrations:
        again = AnomalyDetector.set_params(detector, score=name)
        found[f"p {name}"], found[f"predict {name}"] = again.p_values(X), again.predict(X)
        found[f"threshold {name}"] = np.array(again.threshold_)
    return found


IN_A_NEW_PROCESS = """
import sys
import numpy as np
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[2])
from test_artifact import CLASSES, AnomalyDetector, events, outputs
for cls in CLASSES:
    detector = AnomalyDetector.load(f"{sys.argv[1]}/{cls.__name__}.diabolo")
    assert type(detector.autoencoder_) is cls
    np.savez(f"{sys.argv[1]}/{cls.__name__}.npz", **outputs(detector, events(200, seed=1)))
"""


def test_a_new_process_gives_the_same_bits(detectors, folder, stem):
    status, errors = stem.run(IN_A_NEW_PROCESS, [folder, Path(__file__).parent])
    assert status == 0, errors
    X = events(200, seed=1)
    for name, detector in detectors.items():
        here = outputs(copy.copy(detector), X)
        with np.load(folder / f"{name}.npz") as there:
            assert set(there) == set(here)
            for key, value in here.items():
                np.testing.assert_array_equal(there[key], value, err_msg=f"{name}: {key}")
                assert there[key].dtype == value.dtype


def test_what_a_loaded_estimator_knows(detectors, folder):
    for name, fitted in detectors.items():
        loaded = AnomalyDetector.load(folder / f"{name}.diabolo")
        assert loaded.get_params(deep=False)["false_alarm_rate"] == 0.05
        assert loaded.score_ == "nll"
        for attribute in ("n_calibration_", "n_excluded_", "n_features_in_", "threshold_"):
            assert getattr(loaded, attribute) == getattr(fitted, attribute)
        mine, its = fitted.autoencoder_, Autoencoder.load(folder / f"{name}.diabolo")
        assert type(its) is type(mine)
        assert its.get_params() == {**mine.get_params(), "hidden": its.hidden}
        assert list(its.hidden) == list(mine.hidden)
        assert its.config_ == mine.config_
        assert its.history_ == mine.history_
        assert list(its.feature_names_in_) == list(events().columns)
        for attribute in ("n_train_", "n_stop_", "n_features_in_"):
            assert getattr(its, attribute) == getattr(mine, attribute)
        assert its.fitted_.input == mine.fitted_.input
        assert its.fitted_.roles == mine.fitted_.roles
        assert its.fitted_.training == mine.fitted_.training


def test_a_loaded_estimator_can_be_fitted_again(detectors, folder):
    from sklearn.base import clone

    again = clone(Autoencoder.load(folder / "VariationalAutoencoder.diabolo")).fit(events())
    fresh = clone(detectors["VariationalAutoencoder"].autoencoder_).fit(events())
    np.testing.assert_array_equal(again.anomaly_score(events()), fresh.anomaly_score(events()))


def same(a, b):
    assert a.card == b.card
    assert set(a.tensors) == set(b.tensors)
    for name, tensor in a.tensors.items():
        assert tensor.dtype == b.tensors[name].dtype
        assert tensor.shape == b.tensors[name].shape
        assert tensor.tobytes() == b.tensors[name].tobytes()


def test_saving_what_was_loaded_writes_the_same_sections(detectors, folder, tmp_path):
    for name in detectors:
        first = sections_of(folder / f"{name}.diabolo")
        assert set(first) == {"main", "detector", "generator"}
        AnomalyDetector.load(folder / f"{name}.diabolo").save(tmp_path / "both.diabolo")
        Autoencoder.load(folder / f"{name}.diabolo").save(tmp_path / "main.diabolo")
        both, main = sections_of(tmp_path / "both.diabolo"), sections_of(tmp_path / "main.diabolo")
        assert set(both) == {"main", "detector", "generator"}
        assert set(main) == {"main", "generator"}
        for section in both:
            same(first[section], both[section])
        for section in main:
            same(first[section], main[section])


def test_a_section_more_changes_no_other(small, tmp_path):
    before = sections_of(small)
    codec = Section({"about": "ü ∫"}, {"table": np.arange(6, dtype=np.int64).reshape(2, 3)})
    rewrite(tmp_path / "more.diabolo", {**before, "codec": codec})
    after = sections_of(tmp_path / "more.diabolo")
    same(after["codec"], codec)
    for name in before:
        same(before[name], after[name])
        assert before[name].sha256(name) == after[name].sha256(name)
    X = np.random.default_rng(5).normal(size=(50, 2))
    np.testing.assert_array_equal(
        Autoencoder.load(small).anomaly_score(X), Autoencoder.load(tmp_path / "more.diabolo").anomaly_score(X)
    )
    np.testing.assert_array_equal(
        AnomalyDetector.load(small).p_values(X), AnomalyDetector.load(tmp_path / "more.diabolo").p_values(X)
    )


def test_any_safetensors_reader_lists_the_tensors(detectors, folder):
    path = folder / "VariationalAutoencoder.diabolo"
    sections = read_sections(path)
    with safe_open(path, framework="np") as file:
        assert file.metadata()["format"] == "diabolo"
        assert file.metadata()["version"] == "2"
        manifest = json.loads(file.metadata()["manifest"])
        assert set(file.keys()) == {f"{n}/{k}" for n, s in sections.items() for k in s.tensors}
        for name, section in sections.items():
            assert manifest["sections"][name] == {"sha256": section.sha256(name), "card": section.card}
            for key, tensor in section.tensors.items():
                np.testing.assert_array_equal(file.get_tensor(f"{name}/{key}"), tensor)
    assert "encoder.0.weight" in sections["main"].tensors
    assert sections["detector"].tensors["calibration"].dtype == np.float64


def test_main_alone_is_no_detector(detectors, tmp_path):
    detectors["Autoencoder"].autoencoder_.save(tmp_path / "m.diabolo")
    with pytest.raises(
        ModelFileError, match="holds no detector: it was saved by Autoencoder and holds main, generator; give it"
    ):
        AnomalyDetector.load(tmp_path / "m.diabolo")


# ── rows ──────────────────────────────────────────────────────────────────────────────────────────


def test_each_row_is_in_the_file_once(small, tmp_path):
    held = read_sections(small)
    store = held["rows"].tensors["values"]
    bits = {row.tobytes() for row in store}
    assert len(bits) == len(store) == held["rows"].card["rows"]
    used = [held["detector"].tensors["stored_at"], held["generator"].tensors["rows_at"]]
    assert set(np.concatenate(used)) == set(range(len(store))), "a row that nothing needs"
    whole = sections_of(small)
    for name, tensor, at in (("detector", "stored", used[0]), ("generator", "rows", used[1])):
        np.testing.assert_array_equal(whole[name].tensors[tensor], store[at])
    assert ModelFile(small).rows == len(store) < len(used[0]) + len(used[1])


def test_rows_of_two_types_come_back_in_theirs():
    """A detector of single precision around an autoencoder of double precision."""
    rows = np.random.default_rng(0).normal(size=(9, 3))
    rows[3, 1], rows[4] = np.nan, rows[5]
    held = {
        "main": Section({}, {}),
        "detector": Section({}, {"stored": rows[:7].astype(np.float32)}),
        "generator": Section({"rows": 4}, {"rows": rows[[8, 8, 2, 3]]}),
    }
    file = packed(held)
    assert len(file["rows"].tensors["values"]) == 6 + 3
    for name, section in unpacked("x", file).items():
        same(section, held[name])
    assert "rows" not in packed({"main": held["main"]})


ROWS = {
    "beyond the store": ("detector", {"stored_at": np.array([0, 10**6])}, "names rows that section 'rows' does not"),
    "before the store": ("generator", {"rows_at": np.array([-1])}, "names rows that section 'rows' does not have"),
    "positions as floats": ("detector", {"stored_at": np.array([0.0])}, r"'detector/stored_at' must be \[n\] I64"),
    "no positions": ("detector", {"stored_at": None}, r"'detector/stored_at' must be \[n\] I64"),
    "rows twice": ("detector", {"stored": np.zeros((1, 2))}, r"'detector/stored_at' must be \[n\] I64"),
    "a store of one axis": ("rows", {"values": np.zeros(3)}, "tensor 'rows/values' must be"),
    "a store of whole numbers": (
        "rows",
        {"values": np.zeros((600, 2), np.int64)},
        "section 'rows' does not fit|must be",
    ),
    "no store": ("rows", {"values": None}, "tensor 'rows/values' must be"),
    "one more": ("rows", {"more": np.zeros(1)}, "tensor 'rows/values' must be"),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_store_that_does_not_fit(case, small, tmp_path):
    owner, changes, said = ROWS[case]
    held = read_sections(small)
    kept = {k: v for k, v in {**held[owner].tensors, **changes}.items() if v is not None}
    write_sections(tmp_path / "x.diabolo", {**held, owner: Section(held[owner].card, kept)}, saved="AnomalyDetector")
    refused(tmp_path / "x.diabolo", said, [load, AnomalyDetector.load])


@pytest.mark.parametrize("types", [{}, {"detector": "F32", "codec": "F32"}, {"detector": "I64"}, {"main": "F64"}])
def test_a_store_for_sections_that_hold_none(types, small, tmp_path):
    held = read_sections(small)
    card = {**held["rows"].card, "types": types}
    write_sections(
        tmp_path / "x.diabolo", {**held, "rows": Section(card, held["rows"].tensors)}, saved="AnomalyDetector"
    )
    refused(tmp_path / "x.diabolo", None, [load, AnomalyDetector.load])


def test_a_manifest_that_is_too_long_is_not_written(tmp_path):
    with pytest.raises(ModelFileError, match="the manifest exceeds 8,388,608 bytes"):
        write_sections(tmp_path / "m.diabolo", {"main": Section({"text": "x" * HEADER_LIMIT}, {})})
    with pytest.raises(OutputError, match="choose a folder that exists"):
        write_sections(tmp_path / "nowhere" / "m.diabolo", {"main": Section({}, {})})
    assert os.listdir(tmp_path) == []


# ── damage ────────────────────────────────────────────────────────────────────────────────────────


def refused(path, said=None, readers=(read_sections, load, AnomalyDetector.load)):
    """Every reader refuses the file in one line that names it."""
    for reader in readers:
        with pytest.raises(ModelFileError, match=said) as caught:
            reader(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_cut_off_at_every_64th_byte(detectors, folder, tmp_path):
    whole = (folder / "VariationalAutoencoder.diabolo").read_bytes()
    path = tmp_path / "cut.diabolo"
    lengths = [*range(16), *range(16, len(whole), 64), len(whole) - 1]
    path.write_bytes(whole)
    for length in reversed(lengths):
        os.truncate(path, length)
        refused(path, readers=[read_sections])
    path.write_bytes(whole + b"\0")
    refused(path, "cut off or damaged")


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["some", "every"])
def test_any_flipped_bit_is_found(every, small, tmp_path):
    """All bits of the length, one of each byte of the header (or all), and 400 of the tensors, one at a time."""
    whole = bytearray(small.read_bytes())
    header = 8 + int.from_bytes(whole[:8], "little")
    path = tmp_path / "flipped.diabolo"
    path.write_bytes(whole)
    rng = np.random.default_rng(0)
    some = rng.choice(np.arange(8 * header, 8 * len(whole)), 400, replace=False)
    bits = range(64, 8 * header) if every else 8 * np.arange(8, header) + rng.integers(0, 8, header - 8)
    accepted = []
    with open(path, "rb+", buffering=0) as file:
        for bit in [*range(64), *bits, *some.tolist()]:
            place = bit // 8
            os.pwrite(file.fileno(), bytes([whole[place] ^ (1 << int(bit % 8))]), place)
            try:
                read_sections(path)
                accepted.append((place, bit % 8, bytes(whole[max(0, place - 20) : place + 20])))
            except ModelFileError:
                pass
            os.pwrite(file.fileno(), whole[place : place + 1], place)
    assert accepted == []
    assert set(read_sections(path)) == {"main", "detector", "generator", "rows"}


# ── forged headers ────────────────────────────────────────────────────────────────────────────────


def parts(path):
    """(header, data) of a file, the header as JSON."""
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    return json.loads(whole[8 : 8 + length]), whole[8 + length :]


def with_header(path, header, data=b""):
    """A file with this header, JSON or bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def manifest_as(header, text):
    header = copy.deepcopy(header)
    header["__metadata__"]["manifest"] = text
    return header


def metadata(**changes):
    def change(header):
        header["__metadata__"] |= changes

    return change


def first(**changes):
    """Change the entry of one tensor."""

    def change(header):
        header["detector/calibration"] |= changes

    return change


def offsets(change):
    def apply(header):
        header["main/center"]["data_offsets"] = change(*header["main/center"]["data_offsets"])

    return apply


def entry(key, value):
    def change(header):
        header[key] = value

    return change


def said(header, old, new):
    """Another word in the manifest, whose hash stays as it was."""
    text = header["__metadata__"]["manifest"]
    assert old in text
    header["__metadata__"]["manifest"] = text.replace(old, new, 1)


def section(name, value):
    def change(header):
        manifest = json.loads(header["__metadata__"]["manifest"])
        manifest["sections"][name] = value
        plain = {k: v for k, v in manifest.items() if k != "sha256"}
        header["__metadata__"]["manifest"] = json.dumps(sealed(plain), sort_keys=True, separators=(",", ":"))

    return change


EMPTY = {"dtype": "F32", "data_offsets": [0, 0]}
HEADERS = {
    "another format": (metadata(format="other"), "a safetensors file, but not a diabolo model"),
    "no format": (lambda h: h["__metadata__"].pop("format"), "a safetensors file, but not a diabolo model"),
    "no metadata": (lambda h: h.pop("__metadata__"), "a safetensors file, but not a diabolo model"),
    "metadata of another type": (entry("__metadata__", [1]), "a safetensors file, but not a diabolo model"),
    "version 3": (metadata(version="3"), "has format version '3'; this diabolo reads '1' and '2': upgrade diabolo"),
    "version as number": (metadata(version=1), "has format version 1; this diabolo reads '1' and '2'"),
    "another class": (lambda h: said(h, '"AnomalyDetector"', '"Autoencoder"'), "its manifest is damaged: its SHA-256"),
    "version 1 of a version 2": (metadata(version="1"), "its manifest has no section 'main'"),
    "more metadata": (metadata(more="x"), "its metadata is damaged"),
    "manifest as object": (metadata(manifest={}), "its metadata is damaged"),
    "manifest not JSON": (metadata(manifest="{"), "its header is not valid JSON"),
    "manifest empty": (metadata(manifest="{}"), "its manifest has no section 'main'"),
    "manifest a list": (metadata(manifest="[]"), "its manifest has no section 'main'"),
    "manifest deep": (metadata(manifest="[" * 100_000), "its header is not valid JSON"),
    "manifest with NaN": (metadata(manifest='{"sections":NaN}'), "NaN is not a number of JSON"),
    "manifest with infinity": (metadata(manifest='{"sections":-Infinity}'), "Infinity is not a number of JSON"),
    "manifest with overflow": (metadata(manifest='{"sections":1e999}'), "its manifest is damaged"),
    "manifest with a long number": (metadata(manifest='{"sections":' + "9" * 5000 + "}"), "not valid JSON"),
    "manifest with a lone surrogate": (metadata(manifest='{"sections":"\ud800"}'), "its manifest is damaged"),
    "manifest in another writing": (metadata(manifest='{"sections": {"main":{}}}'), "its manifest is damaged"),
    "unknown section": (section("trees", {"sha256": "", "card": {}}), "unknown section 'trees'; allowed: main, det"),
    "section a list": (section("main", []), "section 'main' needs a sha256 and a card"),
    "section without hash": (section("main", {"card": {}}), "section 'main' needs a sha256 and a card"),
    "card a list": (section("main", {"card": [], "sha256": ""}), "section 'main' needs a sha256 and a card"),
    "hash a list": (section("main", {"card": {}, "sha256": []}), "section 'main' is damaged: its SHA-256 differs"),
    "no such hash": (section("main", {"card": {}, "sha256": "0" * 64}), "section 'main' is damaged: its SHA-256"),
    "tensor of no section": (entry("trees/x", {**EMPTY, "shape": [0]}), "tensor 'trees/x' belongs to no section"),
    "tensor a list": (entry("main/x", []), "tensor 'main/x' needs dtype, shape and data_offsets"),
    "tensor with more": (first(more=1), "tensor 'detector/calibration' needs dtype, shape and data_offsets"),
    "dtype unknown": (first(dtype="BF16"), "has dtype 'BF16'; allowed: F32, F64, U64, I64"),
    "dtype a list": (first(dtype=["F32"]), "has dtype .*; allowed: F32, F64, U64, I64"),
    "another dtype": (first(dtype="F32"), r"bytes for the shape \[\d+, \d+\] of F32"),
    "same-sized dtype": (first(dtype="I64"), "section 'detector' is damaged"),
    "shape of text": (first(shape="3"), "has a wrong shape or offsets"),
    "shape negative": (first(shape=[-1, -1]), "has a wrong shape or offsets"),
    "shape of truths": (first(shape=[True, True]), "has a wrong shape or offsets"),
    "shape too large": (first(shape=[1 << 40, 1 << 40]), "has a wrong shape or offsets"),
    "shape of many axes": (first(shape=[1] * 9), "has a wrong shape or offsets"),
    "another shape": (first(shape=[5]), r"bytes for the shape \[5\] of F64"),
    "transposed shape": (lambda h: h["detector/weights"]["shape"].reverse(), "section 'detector' is damaged"),
    "empty but huge": (entry("main/x", {**EMPTY, "shape": [0, 1 << 61, 1 << 61]}), "has a wrong shape or offsets"),
    "empty tensor more": (entry("main/x", {**EMPTY, "shape": [0, 4]}), "section 'main' is damaged"),
    "offsets overlap": (offsets(lambda a, b: [a - 8, b - 8]), "its tensors overlap or leave gaps"),
    "offsets leave a gap": (offsets(lambda a, b: [a + 8, b + 8]), "its tensors overlap or leave gaps"),
    "offsets backwards": (offsets(lambda a, b: [b, a]), "has -16 bytes for the shape"),
    "offsets negative": (offsets(lambda a, b: [-16, 0]), "has a wrong shape or offsets"),
    "offsets far away": (offsets(lambda a, b: [1 << 50, (1 << 50) + 16]), "its tensors overlap or leave gaps"),
    "offsets of three": (offsets(lambda a, b: [a, b, b]), "has a wrong shape or offsets"),
    "offsets as floats": (offsets(lambda a, b: [float(a), float(b)]), "has a wrong shape or offsets"),
    "offsets of text": (offsets(lambda a, b: "ab"), "has a wrong shape or offsets"),
    "tensor missing": (lambda h: h.pop("main/center"), "overlap or leave gaps|cut off or damaged"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_forged_header(case, small, tmp_path):
    change, said = HEADERS[case]
    header, data = parts(small)
    change(header)
    with_header(tmp_path / "forged.diabolo", header, data)
    refused(tmp_path / "forged.diabolo", said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a model file, or cut off"),
        (b"\1\0\0", "not a model file, or cut off"),
        (b"\0" * 8, "its header is not valid JSON"),
        (struct.pack("<Q", HEADER_LIMIT + 1) + b"{}", "not a model file, or cut off"),
        (struct.pack("<Q", (1 << 64) - 1) + b"{}", "not a model file, or cut off"),
        (struct.pack("<Q", 100) + b"{}", "its header says 100 bytes, the file has 10"),
        (struct.pack("<Q", 4) + b"nope", "its header is not valid JSON"),
        (struct.pack("<Q", 2) + b"\xff\xfe", "its header is not valid JSON"),
        (struct.pack("<Q", 2) + b"[]", "not a diabolo model"),
        (struct.pack("<Q", 4) + b"null", "not a diabolo model"),
        (struct.pack("<Q", 200_000) + b"[" * 200_000, "its header is not valid JSON"),
        (struct.pack("<Q", 600_000) + b'{"a":' * 120_000, "its header is not valid JSON"),
        (struct.pack("<Q", 26) + b'{"a":1,"__metadata__":{} }', "not a diabolo model"),
        (pickle.dumps({"model": [1, 2, 3]}), "not a model file|not valid JSON"),
        (b"PK\3\4" + bytes(100), "not a model file|not valid JSON"),
    ],
)
def test_what_is_no_model_file(content, said, tmp_path):
    (tmp_path / "x.diabolo").write_bytes(content)
    refused(tmp_path / "x.diabolo", said)


def test_keys_that_stand_twice(small, tmp_path):
    header, data = parts(small)
    text = json.dumps(header)
    path = tmp_path / "twice.diabolo"
    with_header(path, ("{" + f'"main/center": {json.dumps(header["main/center"])}, ' + text[1:]).encode(), data)
    refused(path, "a key stands twice")
    manifest = header["__metadata__"]["manifest"]
    with_header(path, manifest_as(header, manifest.replace('"clip":', '"clip":9.0,"clip":', 1)), data)
    refused(path, "a key stands twice")
    with_header(path, manifest_as(header, manifest.replace('"sections"', '"sections":{},"sections"', 1)), data)
    refused(path, "a key stands twice")


def test_foreign_files_and_no_files(tmp_path):
    save_file({"main/center": np.zeros(3)}, tmp_path / "foreign.diabolo", {"format": "pt"})
    refused(tmp_path / "foreign.diabolo", "a safetensors file, but not a diabolo model")
    save_file({"x": np.zeros(3)}, tmp_path / "bare.diabolo")
    refused(tmp_path / "bare.diabolo", "a safetensors file, but not a diabolo model")
    refused(tmp_path / "nothing.diabolo", "no such file")
    refused(tmp_path, "is a folder")


# ── forged contents, with hashes that are right ───────────────────────────────────────────────────


def forged(source, path, owner="main", card=None, **tensors):
    """Write `source` with a changed card, and tensors replaced, or left out where None."""
    sections = sections_of(source)
    old = sections[owner]
    new = {k.replace("__", "."): v for k, v in tensors.items()}
    kept = {k: v for k, v in {**old.tensors, **new}.items() if v is not None}
    sections[owner] = Section(old.card if card is None else card, kept)
    rewrite(path, sections)
    return path


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["encoder.0.weight", "decoder.0.bias", "latent_mean", "latent_cov", "typical_nll"])
def test_numbers_that_are_not_finite(name, value, small, tmp_path):
    tensor = sections_of(small)["main"].tensors[name].copy()
    tensor.flat[-1] = value
    path = forged(small, tmp_path / "x.diabolo", **{name.replace(".", "__"): tensor})
    refused(path, f"tensor '{name}' has a number that is not finite", [load, AnomalyDetector.load])


MAIN_TENSORS = {
    "no encoder": ({"encoder__0__weight": None}, "tensor 'encoder.0.weight' is missing"),
    "no center": ({"center": None}, r"tensor 'main/center' must be \[2\] finite F64"),
    "no moments": ({"latent_cov": None}, "tensor 'latent_cov' is missing"),
    "one more": ({"encoder__9__weight": np.zeros((2, 2), np.float32)}, "tensor 'encoder.9.weight' is left over"),
    "none left": ({"more": np.zeros(0, np.float32)}, "tensor 'more' is left over"),
    "transposed": (
        {"encoder__0__weight": np.zeros((2, 1), np.float32)},
        r"tensor 'encoder.0.weight' has shape \[2, 1\]; the config implies \[1, 2\] F32",
    ),
    "flat": ({"encoder__0__bias": np.zeros((1, 1), np.float32)}, r"'encoder.0.bias' has shape \[1, 1\]"),
    "double": ({"encoder__0__weight": np.zeros((1, 2))}, r"'encoder.0.weight' has shape .*implies \[1, 2\] F32"),
    "center NaN": ({"center": np.array([0, np.nan])}, "tensor 'main/center' must be"),
    "center long": ({"center": np.zeros(3)}, "tensor 'main/center' must be"),
    "center single": ({"center": np.zeros(2, np.float32)}, "tensor 'main/center' must be"),
    "scale zero": ({"scale": np.array([1.0, 0])}, "tensor 'main/scale' must be positive"),
    "scale negative": ({"scale": np.array([1.0, -1])}, "tensor 'main/scale' must be positive"),
    "scale infinite": ({"scale": np.array([1.0, np.inf])}, "tensor 'main/scale' must be"),
    "hashes": ({"row_hashes": np.zeros(4)}, r"tensor 'main/row_hashes' must be \[n\] U64"),
    "hashes square": ({"row_hashes": np.zeros((2, 2), np.uint64)}, r"tensor 'main/row_hashes' must be \[n\] U64"),
}


@pytest.mark.parametrize("case", MAIN_TENSORS)
def test_tensors_of_main(case, small, tmp_path):
    tensors, said = MAIN_TENSORS[case]
    refused(forged(small, tmp_path / "x.diabolo", **tensors), said, [load, AnomalyDetector.load])


#: Scores of the detector in the small file.
KINDS = sum(scores.get(n).needs <= {"stored", "tail"} and not scores.get(n).costly for n in scores)
DETECTOR_TENSORS = {
    "none": ({"calibration": None}, "needs the tensor 'calibration' of F64"),
    "single": ({"calibration": np.zeros((KINDS, 9), np.float32)}, "needs the tensor 'calibration' of F64"),
    "one more": ({"more": np.zeros(3)}, "tensor 'more' is left over"),
    "flat": ({"calibration": np.zeros(9)}, "calibration is not one sorted row per score"),
    "empty": ({"calibration": np.zeros((KINDS, 0))}, "calibration is not one sorted row per score"),
    "too few rows": ({"calibration": np.zeros((1, 9))}, "calibration is not one sorted row per score"),
    "not sorted": ({"calibration": np.arange(9.0 * KINDS).reshape(KINDS, 9)[:, ::-1]}, "not one sorted row per score"),
    "NaN": ({"calibration": np.full((KINDS, 9), np.nan)}, "not one sorted row per score"),
    "stored flat": ({"stored": np.zeros(9)}, "'detector/stored' must be rows of 2 cells, F32 or F64"),
    "stored empty": ({"stored": np.zeros((0, 2))}, "'detector/stored' must be rows of 2 cells, F32 or F64"),
    "stored wide": ({"stored": np.zeros((4, 3))}, "'detector/stored' must be rows of 2 cells, F32 or F64"),
    "stored whole": ({"stored": np.zeros((4, 2), np.int64)}, "'detector/stored' must be rows of 2 cells, F32 or F64"),
    "stored infinite": ({"stored": np.full((4, 2), np.inf)}, "'detector/stored' has rows that cannot be scored"),
    "stored NaN": ({"stored": np.full((4, 2), np.nan)}, "'detector/stored' has rows that cannot be scored"),
    "weights long": ({"weights": np.ones((KINDS, 1))}, "weights do not fit the calibration"),
    "weights negative": ({"calibration": np.zeros((KINDS, 9)), "weights": -np.ones((KINDS, 9))}, "weights do not fit"),
    "weights NaN": ({"weights": np.full((KINDS, 9), np.nan)}, "weights do not fit"),
    "weights zero": ({"calibration": np.zeros((KINDS, 9)), "weights": np.zeros((KINDS, 9))}, "weights do not fit"),
}


@pytest.mark.parametrize("case", DETECTOR_TENSORS)
def test_tensors_of_the_detector(case, small, tmp_path):
    tensors, said = DETECTOR_TENSORS[case]
    path = forged(small, tmp_path / "x.diabolo", "detector", **tensors)
    refused(path, said, [AnomalyDetector.load])
    Autoencoder.load(path)


def changed(card, place, value):
    """A copy of a card with the entry at `place`, like config.latent_dim, set; left out where `value` is None."""
    card = copy.deepcopy(card)
    *way, last = (int(p) if p.isdigit() else p for p in place.split("."))
    inner = card
    for step in way:
        inner = inner[step]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return card


CARDS = {
    "estimator": ("main", "estimator.type", "Perceptron", "unknown estimator 'Perceptron'; allowed: Autoencoder, Den"),
    "estimator's parameter": ("main", "estimator.parameters.bta", 1, "does not fit together: .*bta"),
    "estimator's value": ("main", "estimator.parameters.beta", -1, "does not fit together: .*beta = -1"),
    "entry more": ("main", "more", 1, "card has no setting 'more'"),
    "entry less": ("main", "roles", None, "card: roles = "),
    "config's key": ("main", "config.bta", 1.0, "card has the unknown entry 'config.bta'"),
    "config's value": ("main", "config.beta", -1.0, "card: config.* = -1.0: input should be greater"),
    "config's type": ("main", "config.hidden", "wide", "card: config.* = 'wide': "),
    "config without a width": ("main", "config.latent_dim", 10**6, "input should be less than or equal to 65536"),
    "wider": ("main", "config.latent_dim", 2, "the config implies"),
    "deeper": ("main", "config.hidden", [4], "does not fit together"),
    "another network": ("main", "config.network", "mlpp", "unknown network 'mlpp'"),
    "part of no name": ("main", "config.latent", {"sigma": 1}, "does not fit together: latent = "),
    "part's setting": ("main", "config.likelihood", {"name": "gaussian", "s": 1}, "has no setting 's'"),
    "no column": ("main", "encoding.schema.columns", [], "must be .0. finite F64|has no columns"),
    "column's key": ("main", "encoding.schema.columns.0.more", 1, "unknown entry 'encoding.schema.columns.0.more'"),
    "column's kind": (
        "main",
        "encoding.schema.columns.0.kind",
        "vector",
        "card: encoding.* = 'vector': input should be 'real', ",
    ),
    "column's type": ("main", "encoding.schema.columns.0.dtype", "O", "column 'x0' has type 'O'"),
    "column's odd type": ("main", "encoding.schema.columns.0.dtype", "f4,f4", "column 'x0' has type 'f4,f4'"),
    "column's no type": ("main", "encoding.schema.columns.0.dtype", "real", "does not fit together"),
    "column's name twice": ("main", "encoding.schema.columns.0.name", "x1", "two of one name"),
    "column's resolution": ("main", "encoding.schema.columns.0.resolution", -1.0, "wrong range or resolution"),
    "all constant": ("main", "encoding.schema.columns.0.kind", "constant", "does not fit|implies"),
    "slots beyond": (
        "main",
        "encoding.schema.groups",
        [{"name": "e", "slots": [[7]], "gaps": 0.0}],
        "names a column that is not there",
    ),
    "slots unequal": (
        "main",
        "encoding.schema.groups",
        [{"name": "e", "slots": [[0], []], "gaps": 0.0}],
        "unequal ones|names a column",
    ),
    "clip": ("main", "encoding.clip", -1.0, "card: encoding.* = -1.0: input should be greater"),
    "clip beyond": ("main", "encoding.clip", 1e300, "card: encoding.* = 1e.300: input should be less"),
    "rows": ("main", "encoding.n_train", -1, "card: encoding.* = -1: input should be greater"),
    "container": ("main", "input.container", "list", "card: input.* = 'list': input should be 'numpy', "),
    "counts": ("main", "roles.counts", {}, "roles have no counts"),
    "history": ("main", "training.history", "long", "card: training.* = 'long': input should be a valid list"),
    "history's line": ("main", "training.history", [{}], "an epoch of the history has no number, validation or best"),
    "seconds": ("main", "training.seconds", "many", "card: training.* = 'many': input should be a valid number"),
    "versions": ("main", "training.versions", 3, "card: training.* = 3: input should be a valid dict"),
    "score": ("detector", "scores.0", "magic", "names the unknown score 'magic'; upgrade diabolo"),
    "too few scores": ("detector", "scores", ["nll"], "not one sorted row per score"),
    "default score": ("detector", "parameters.score", "kl", "does not fit together: score 'kl'"),
    "rate": ("detector", "parameters.false_alarm_rate", 2.0, "does not fit together: false_alarm_rate = 2.0"),
    "small rate": ("detector", "parameters.false_alarm_rate", 1e-9, "does not fit together: .*needs at least"),
    "detector's key": ("detector", "parameters.more", 1, "unknown entry 'parameters.more'"),
    "excluded": ("detector", "n_excluded", -1, "n_excluded = -1"),
}


@pytest.mark.parametrize("case", CARDS)
def test_cards(case, small, tmp_path):
    owner, place, value, said = CARDS[case]
    card = changed(sections_of(small)[owner].card, place, value)
    path = forged(small, tmp_path / "x.diabolo", owner, card)
    refused(path, said, [AnomalyDetector.load] if owner == "detector" else [load, AnomalyDetector.load])


def places(card, way=""):
    """Every entry of a card, at any depth; of a list the first."""
    items = card.items() if isinstance(card, dict) else enumerate(card[:1]) if isinstance(card, list) else ()
    for key, value in items:
        yield f"{way}{key}"
        yield from places(value, f"{way}{key}.")


def loaded(path):
    """A detector, or None where its file is refused, in one line."""
    try:
        return AnomalyDetector.load(path)
    except ModelFileError as error:
        return None if "\n" not in str(error) else pytest.fail(str(error))


def test_a_card_of_any_wrong_type_is_refused_or_harmless(small, tmp_path):
    """Entries left out, or of another type, a sample of all: nothing but a ModelFileError, or a model that works."""
    sections, path = sections_of(small), tmp_path / "x.diabolo"
    X = np.random.default_rng(0).normal(size=(3, 2))
    wrong = [(o, p, v) for o in sections for p in places(sections[o].card) for v in (None, -1, "x", [], {}, [{}], 1e30)]
    counted = {"refused": 0, "harmless": 0}
    for at in np.random.default_rng(0).choice(len(wrong), 250, replace=False):
        owner, place, value = wrong[at]
        detector = loaded(forged(small, path, owner, changed(sections[owner].card, place, value)))
        counted["refused" if detector is None else "harmless"] += 1
        if detector is not None:
            # Without the number of its rule the file is one of an earlier version, whose default score is refused.
            with contextlib.suppress(CalibrationError) if detector.calibrated_.outdated else contextlib.nullcontext():
                detector.predict(X)
            detector.autoencoder_.sample(2)
            with contextlib.redirect_stdout(io.StringIO()):
                describe_model(path)
    assert counted["refused"] > 2 * counted["harmless"] > 0


def test_a_card_cannot_name_a_section_or_a_class_of_its_own():
    """Nothing in a file is imported or called: names are looked up in tables that the package holds."""
    folder = Path(__file__).parents[1] / "src/diabolo/file"
    for source in folder.glob("*.py"):
        names = re.findall(r"import_module|getattr\([^)]*card|eval\(|exec\(|__import__", source.read_text())
        assert names == [], source
    assert SECTIONS == ("main", "detector", "codec", "clusters", "generator", "rows")


ABSURD = """
import os, resource, sys
from pathlib import Path
import torch
from diabolo import AnomalyDetector, load
from diabolo.errors import ModelFileError
load(sys.argv[1])  # what loading itself needs is there
used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20), resource.RLIM_INFINITY))
for path in sys.argv[2:]:
    try:
        load(path)
    except ModelFileError as error:
        print(error)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux to bound memory")
def test_absurd_widths_are_refused_before_they_are_allocated(small, folder, tmp_path):
    """Refused within 256 MB, where the weights would be terabytes."""
    card = sections_of(small)["main"].card
    wide = {
        "latent": changed(card, "config.latent_dim", 60_000),
        "hidden": changed(changed(card, "config.network", "mlp"), "config.hidden", [1_000_000, 1_000_000]),
        "both": changed(changed(card, "config.latent_dim", 60_000), "config.hidden", [1_000_000] * 50),
        "deep": changed(changed(card, "config.network", "mlp"), "config.hidden", [1_000_000] * 10_000),
    }
    paths = [forged(small, tmp_path / f"{name}.diabolo", card=c) for name, c in wide.items()]
    words = [sys.executable, "-c", ABSURD, str(small), *map(str, paths)]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr
    assert [line.split(".diabolo")[0] for line in ended.stdout.splitlines()] == [
        str(p)[: -len(".diabolo")] for p in paths
    ]
