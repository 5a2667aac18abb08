"""Tables as people have them: every registered format by one contract, and files that other programs wrote."""

from __future__ import annotations

import datetime
import functools
import gzip
import http.server
import importlib.util
import math
import os
import re
import struct
import sys
import threading
from pathlib import Path

import awkward as ak
import fsspec
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot
from PIL import Image
from program import done, refused

from diabolo import AnomalyDetector, Autoencoder
from diabolo.data.formats import LIST, SHAPE, check_writable, format_of, formats, read_batches, schema_of, write_batches
from diabolo.errors import DataError, MissingExtraError, OutputError

SUFFIXES = [pytest.param(s, id=s) for n in formats for s in formats.get(n).suffixes]
WRITTEN = [p for p in SUFFIXES if format_of(f"rows{p.values[0]}").name not in ("images", "text")]
#: Formats that hold one array, whose columns have no names.
NAMELESS = {"idx"}


def nameless(suffix):
    return suffix == ".npy" or format_of(f"rows{suffix}").name in NAMELESS


def written(table, path, rows=100):
    write_batches(path, table.schema, iter(table.to_batches(max_chunksize=rows)))
    return path


def read(path, columns=None, take=None):
    schema = schema_of(path, take)[0]
    if columns is not None:
        schema = pa.schema([schema.field(c) for c in columns], schema.metadata)
    return pa.Table.from_batches(list(read_batches(path, columns, take)), schema)


def cells(table):
    """Cells as they compare: dates as dates, NaN equal to NaN and to a missing cell, 1 equal to 1.0."""

    def plain(cell):
        if isinstance(cell, float) and math.isnan(cell):
            return None
        if isinstance(cell, datetime.date) and not isinstance(cell, datetime.datetime):
            return datetime.datetime.combine(cell, datetime.time())
        return cell

    return {name: [plain(c) for c in table.column(name).to_pylist()] for name in table.column_names}


def attempt(job, *given):
    """(result, None) or (None, the one line of its `DataError`); nothing else may be raised."""
    try:
        return job(*given), None
    except DataError as error:
        line = str(error)
    assert "\n" not in line
    return None, line


# ── the contract ──────────────────────────────────────────────────────────────────────────────────

MOMENT = datetime.datetime(2024, 2, 29, 12, 30, 15)
#: One column each, of 230 rows; None is a missing cell.
KINDS = {
    "float64": pa.array([1 / 3 + i * 1e-17 for i in range(230)]),
    "float32": pa.array([i / 3 for i in range(230)], pa.float32()),
    "float32-missing": pa.array([None if i % 7 == 0 else i / 3 for i in range(230)], pa.float32()),
    "uint8": pa.array(list(range(230)), pa.uint8()),
    "int16": pa.array([i * 100 - 9000 for i in range(230)], pa.int16()),
    "int64": pa.array([2**53 - i for i in range(230)], pa.int64()),
    "int64-missing": pa.array([None if i % 7 == 3 else i - 100 for i in range(230)], pa.int64()),
    "huge-missing": pa.array([None if i % 7 == 3 else 2**62 + i for i in range(230)], pa.int64()),
    "bool": pa.array([i % 3 == 0 for i in range(230)]),
    "bool-missing": pa.array([None if i % 7 == 3 else i % 3 == 0 for i in range(230)]),
    "text": pa.array([f'ä {i % 5}, "quoted"\nline' for i in range(230)]),
    "text-missing": pa.array([None if i % 7 == 3 else f"word {i % 5}" for i in range(230)]),
    "text-na": pa.array(["NA" if i % 7 == 3 else "DE" for i in range(230)]),
    "text-empty": pa.array(["" if i % 7 == 3 else "DE" for i in range(230)]),
    "category": pa.array([f"c{i % 4}" for i in range(230)]).dictionary_encode(),
    "category-missing": pa.array([None if i % 9 == 2 else f"c{i % 4}" for i in range(230)]).dictionary_encode(),
    "date": pa.array([datetime.date(2024, 1, 1) + datetime.timedelta(days=i) for i in range(230)]),
    "moment": pa.array([MOMENT + datetime.timedelta(seconds=i) for i in range(230)], pa.timestamp("s")),
    "moment-missing": pa.array(
        [None if i % 7 == 3 else MOMENT + datetime.timedelta(microseconds=i) for i in range(230)], pa.timestamp("us")
    ),
    "zone": pa.array([MOMENT] * 230, pa.timestamp("s", tz="UTC")),
    "all-missing": pa.nulls(230, pa.float64()),
    "list": pa.array([[1.5] * (i % 3) for i in range(230)]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", WRITTEN)
def test_cells_come_back_or_the_format_says_that_it_cannot_hold_them(suffix, kind, tmp_path):
    table = pa.table({"x0": KINDS[kind]})
    path = tmp_path / f"rows{suffix}"
    _, error = attempt(written, table, path)
    if error:
        assert not format_of(path).complete or kind.startswith(("list", "text-na", "text-empty")), error
        assert error.startswith("column 'x0' holds ")
        assert error.endswith("; write .parquet or .arrow")
        assert os.listdir(tmp_path) == []
        assert kind not in ("float64", "uint8") or suffix not in (".parquet", ".h5", ".root", ".npz", ".csv", ".idx")
        assert suffix not in (".parquet", ".arrow")
        return
    assert os.listdir(tmp_path) == [path.name]
    back = read(path)
    assert back.num_rows == 230
    if format_of(path).name == "csv" and kind.startswith("float32"):
        back = back.cast(pa.schema([("x0", pa.float32())]))  # text of numbers is read in double precision
    assert cells(back) == cells(table)
    assert {p.values[0] for p in WRITTEN} >= {".parquet", ".csv", ".npz", ".h5", ".root", ".arrow", ".idx"}
    if kind in ("float64", "float32", "uint8", "int16", "bool") and format_of(path).name != "csv":
        assert back.schema.field("x0").type == table.schema.field("x0").type


@pytest.mark.parametrize("suffix", WRITTEN)
@pytest.mark.parametrize("rows", [0, 1, 2, 99, 100, 101])
def test_any_number_of_rows(suffix, rows, tmp_path):
    values = np.random.default_rng(rows).normal(size=(rows, 3))
    table = pa.table({f"x{i}": values[:, i] for i in range(3)})
    path = written(table, tmp_path / f"rows{suffix}", rows=33)
    batches = list(read_batches(path, rows=50))
    assert [b.num_rows for b in batches if b.num_rows] == [n for n in (50, 50, 50) if n][: rows // 50] + (
        [rows % 50] if rows % 50 else []
    ) or format_of(path).name in ("arrow", "csv", "parquet")
    assert all(b.num_rows <= 50 for b in batches)
    assert cells(read(path)) == cells(table)
    known = schema_of(path)[1]
    assert known in (rows, None)
    assert known == rows or format_of(path).name == "csv"


@pytest.mark.parametrize("suffix", WRITTEN)
def test_chosen_columns_in_the_order_asked_for(suffix, tmp_path):
    table = pa.table({"x0": [1.0, 2.0], "x1": [3.0, 4.0], "x2": [5.0, 6.0]})
    path = written(table, tmp_path / f"rows{suffix}")
    batch = next(iter(read_batches(path, ["x2", "x0"])))
    assert batch.schema.names == ["x2", "x0"]
    assert batch.column("x2").to_pylist() == [5.0, 6.0]
    with pytest.raises(DataError, match="no column 'x7'"):
        list(read_batches(path, ["x7"]))
    assert schema_of(path)[0].names == ["x0", "x1", "x2"]


@pytest.mark.parametrize("suffix", WRITTEN)
def test_mixed_tables(suffix, tmp_path, mixed):
    numbers = mixed.drop(columns=["colour", "when"])  # text and dates have their own test above
    frame = numbers.drop(columns=["hits", "tagged"]).astype("float32") if nameless(suffix) else numbers
    table = pa.Table.from_pandas(frame, preserve_index=False)
    back = read(written(table, tmp_path / f"rows{suffix}"))
    if nameless(suffix):
        assert back.column_names == [f"x{i}" for i in range(table.num_columns)]
        back = back.rename_columns(table.column_names)
    assert back.column_names == table.column_names
    assert cells(back) == cells(table)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_files(suffix, tmp_path):
    path = tmp_path / f"rows{suffix}"
    with pytest.raises(DataError, match="no such file"):
        list(read_batches(path))
    path.write_bytes(b"")
    with pytest.raises(DataError, match="rows"):
        list(read_batches(path))
    if suffix not in (".csv", ".tsv"):
        path.write_bytes(b"\x93NUMPY\x01\x00 no table at all" * 3)
        with pytest.raises(DataError, match="rows"):
            list(read_batches(path))


@pytest.mark.parametrize("suffix", WRITTEN)
def test_a_file_that_is_cut_off_is_never_read_as_a_whole_one(suffix, tmp_path):
    values = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    table = pa.table({f"x{i}": values[:, i] for i in range(3)})
    whole = written(table, tmp_path / f"rows{suffix}").read_bytes()
    for keep in (0.1, 0.5, 0.9, 0.99):
        (tmp_path / f"cut{suffix}").write_bytes(whole[: int(len(whole) * keep)])
        if suffix in (".csv", ".tsv"):  # text has no end: the rows that are there are read
            continue
        back, error = attempt(read, tmp_path / f"cut{suffix}")
        # A format may keep a reserve or an index behind its last row; then all cells are there.
        assert cells(back) == cells(table) if error is None else "cut" in error


@pytest.mark.parametrize("suffix", WRITTEN)
def test_flipped_bytes_give_one_line_or_rows(suffix, tmp_path):
    rng = np.random.default_rng(1)
    table = pa.table({f"x{i}": rng.normal(size=50).astype(np.float32) for i in range(3)})
    whole = bytearray(written(table, tmp_path / f"rows{suffix}").read_bytes())
    path = tmp_path / f"flipped{suffix}"
    for _ in range(25):
        flipped = bytearray(whole)
        for at in rng.integers(0, min(len(whole), 600), size=3):
            flipped[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        _, error = attempt(read, path)
        assert error is None or "flipped" in error


def test_unknown_suffix_is_refused():
    with pytest.raises(DataError, match=r"unknown file type '.py'; allowed: .*parquet"):
        list(read_batches(__file__))


# ── images ────────────────────────────────────────────────────────────────────────────────────────

PICTURES = np.random.default_rng(7).integers(0, 256, size=(23, 9, 8, 3)).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".idx", "-ubyte.gz", ".parquet", ".arrow"])
@pytest.mark.parametrize("shape", [(28, 28), (9, 8, 3)])
def test_images_are_columns_with_a_shape_and_come_back_as_images(suffix, shape, tmp_path, monkeypatch):
    monkeypatch.setattr("diabolo.data.formats.CHUNK", 10)
    images = np.random.default_rng(0).integers(0, 256, size=(23, *shape)).astype(np.uint8)
    np.save(tmp_path / "source.npy", images)
    schema, rows = schema_of(tmp_path / "source.npy")
    assert schema.names == [f"x{i}" for i in range(images[0].size)]
    assert schema.metadata[SHAPE] == ",".join(map(str, shape)).encode()
    assert rows == 23
    path = tmp_path / f"images{suffix}"
    write_batches(path, schema, read_batches(tmp_path / "source.npy"))
    assert schema_of(path)[0].metadata[SHAPE] == schema.metadata[SHAPE]
    assert set(schema_of(path)[0].types) == {pa.uint8()}
    back = read(path)
    flat = np.stack([back.column(f"x{i}").to_numpy() for i in range(images[0].size)], axis=1)
    np.testing.assert_array_equal(flat.reshape(images.shape), images)
    if suffix in (".npy", ".npz"):
        stored = np.load(path)
        np.testing.assert_array_equal(stored if suffix == ".npy" else stored["x"], images)
    elif suffix == ".h5":
        with h5py.File(path) as file:
            np.testing.assert_array_equal(file["x"], images)
    elif suffix == "-ubyte.gz":
        head = struct.pack(">BBBB" + "I" * (1 + len(shape)), 0, 0, 8, 1 + len(shape), 23, *shape)
        assert gzip.decompress(path.read_bytes()) == head + images.tobytes()


def test_an_archive_like_mnist(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (30, 28, 28)).astype(np.uint8), rng.integers(0, 10, 30).astype(np.uint8)
    path = tmp_path / "mnist.npz"
    np.savez(path, x_train=x, y_train=y, x_test=x[:10], y_test=y[:10])
    with pytest.raises(DataError, match="10 rows in x_test, y_test; 30 rows in x_train, y_train; choose some, like "):
        schema_of(path)
    back = read(f"{path}::x_train,y_train")
    assert back.column_names == [*(f"x{i}" for i in range(784)), "y_train"]
    assert back.schema.metadata[SHAPE] == b"28,28"
    assert back.column("x35").to_pylist() == x[:, 1, 7].tolist()
    assert back.column("y_train").to_pylist() == y.tolist()
    with pytest.raises(DataError, match="no array 'x_trian': did you mean 'x_train'"):
        schema_of(f"{path}::x_trian")


def pictures(folder, labels=("cat", "dog")):
    for i, pixels in enumerate(PICTURES):
        place = folder / (labels[i % len(labels)] if labels else "")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{i:02}.png")
    return folder


def test_a_folder_of_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr("diabolo.data.formats.CHUNK", 10)
    folder = pictures(tmp_path / "flat", ())
    (folder / "notes.txt").write_text("not a picture")
    schema, rows = schema_of(folder)
    assert (schema.names, rows) == ([f"x{i}" for i in range(216)], 23)
    assert schema.metadata[SHAPE] == b"9,8,3"
    flat = np.stack([c.to_numpy() for c in read(folder).columns], axis=1)
    np.testing.assert_array_equal(flat.reshape(PICTURES.shape), PICTURES)
    labelled = read(pictures(tmp_path / "deep"))
    assert labelled.column_names == [*schema.names, "label"]
    assert labelled.column("label").to_pylist() == ["cat"] * 12 + ["dog"] * 11
    assert labelled.column("x0").to_pylist() == [*PICTURES[::2, 0, 0, 0].tolist(), *PICTURES[1::2, 0, 0, 0].tolist()]
    assert read(f"{tmp_path}/deep/dog/*.png").column("x0").to_pylist() == PICTURES[1::2, 0, 0, 0].tolist()
    grey = tmp_path / "grey"
    grey.mkdir()
    Image.fromarray(PICTURES[0, :, :, 0]).save(grey / "one.png")
    assert read(grey).schema.metadata[SHAPE] == b"9,8"


def test_pictures_that_differ_or_are_damaged(tmp_path):
    folder = pictures(tmp_path / "flat", ())
    Image.fromarray(PICTURES[0, :, :7]).save(folder / "17.png")
    assert "17.png: is 9×7×3 uint8, and 00.png is 9×8×3 uint8" in attempt(read, folder)[1]
    Image.fromarray(PICTURES[0, :, :, 0]).save(folder / "17.png")
    assert "17.png: is 9×8×1 uint8, and 00.png is 9×8×3 uint8" in attempt(read, folder)[1]
    (folder / "17.png").write_bytes((folder / "16.png").read_bytes()[:90])
    assert "17.png: cannot be read: " in attempt(read, folder)[1]
    assert "written" in attempt(written, pa.table({"x0": [1.0]}), tmp_path / "a.png")[1]


@pytest.mark.parametrize("shape", [(9, 8), (9, 8, 1), (9, 8, 3)])
def test_a_model_of_images_draws_images(shape, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("few.npy", np.random.default_rng(0).integers(0, 256, size=(150, *shape)).astype(np.uint8))
    done("fit", "few.npy", "-o", "m.diabolo", "--epochs", 1, "-q", "--only", "main", "--hidden", 8, "--latent", 2)
    for suffix in (".npy", ".npz", "-ubyte", ".h5"):
        done("sample", "m.diabolo", "-n", 7, "--method", "prior", "-o", f"drawn{suffix}")
        assert schema_of(f"drawn{suffix}")[0].metadata[SHAPE] == ",".join(map(str, shape)).encode()
        assert "7 rows scored" in done("score", "m.diabolo", f"drawn{suffix}", "-o", "s.parquet")
    assert np.load("drawn.npy").shape == (7, *shape)
    assert np.load("drawn.npy").dtype == np.uint8
    assert "zero-padded" not in done("info", "few.npy")


# ── HDF5 as h5py writes it ────────────────────────────────────────────────────────────────────────


@pytest.fixture
def hdf(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "events.h5"
    with h5py.File(path, "w") as file:
        file["met"] = np.arange(6, dtype=np.float32)
        file["run"] = np.arange(6)
        file["process"] = ["W", "Z", "QCD", "W", "tt", "ä"]
        file["code"] = np.array([b"aa", b"b", b"", b"dd", b"e", b"f"])
        file["good"] = np.array([True, False, True, True, False, True])
        file["cells"] = rng.normal(size=(6, 4))
        jets = file.create_dataset("jets/pt", 6, h5py.vlen_dtype(np.float32))
        eta = file.create_dataset("jets/eta", 6, h5py.vlen_dtype(np.float64))
        for i in range(6):
            jets[i], eta[i] = np.arange(i % 3) + 1.5, -np.arange(i % 3)
        file["table"] = np.array([(i, i / 2, [i, -i]) for i in range(9)], [("a", "i4"), ("b", "f8"), ("c", "i2", 2)])
        file["images/train"] = PICTURES
        file["note"] = "a scalar is no column"
    return path


def test_hdf5_by_h5py(hdf):
    line = attempt(schema_of, hdf)[1]
    assert "different lengths: 6 rows in cells, code, good, jets/eta, jets/pt, met, ...; 9 rows in table; " in line
    assert line.endswith(f"23 rows in images/train; choose some, like {hdf}::images/train")
    back = read(f"{hdf}::met,run,process,code,good,cells,jets")
    assert back.column_names == ["met", "run", "process", "code", "good", "x0", "x1", "x2", "x3", "eta", "pt"]
    assert back.schema.field("met").type == pa.float32()
    assert back.schema.field("run").type == pa.int64()
    assert back.schema.field("good").type == pa.bool_()
    assert back.column("process").to_pylist() == ["W", "Z", "QCD", "W", "tt", "ä"]
    assert back.column("code").to_pylist() == ["aa", "b", "", "dd", "e", "f"]
    assert back.column("pt").to_pylist() == [[], [1.5], [1.5, 2.5]] * 2
    table = read(f"{hdf}::table")
    assert table.column_names == ["a", "b", "c_0", "c_1"]
    assert table.column("c_1").to_pylist() == [-i for i in range(9)]
    images = read(f"{hdf}::images")
    assert images.schema.metadata[SHAPE] == b"9,8,3"
    assert images.column("x25").to_pylist() == PICTURES[:, 1, 0, 1].tolist()
    assert "no group or dataset 'imagse': did you mean 'images'" in attempt(schema_of, f"{hdf}::imagse")[1]


def test_hdf5_takes_objects(hdf):
    back = read(f"{hdf}::met,jets/pt,jets/eta", take={"pt": 2})
    assert back.column_names == ["met", "pt1", "pt2", "eta"]
    with h5py.File(hdf, "a") as file:
        for name in ("jets/pt", "jets/eta"):
            file.move(name, name.replace("/", "_"))
        for name in ("table", "images"):
            del file[name]
    back = read(hdf, take={"jets": 2})
    assert back.column("jets1_pt").to_pylist() == [0, 1.5, 1.5] * 2
    assert back.column("jets2_pt").to_pylist() == [0, 0, 2.5] * 2
    assert back.column("jets2_eta").to_pylist() == [0, 0, -1] * 2


def test_hdf5_never_follows_a_way_out_of_the_file(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = np.arange(5)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["out"] = h5py.ExternalLink("other.h5", "secret")
        file["soft"] = h5py.SoftLink("/x")
        file["x"] = np.arange(5)
        file["loop/again"] = file["/"]
    assert schema_of(tmp_path / "a.h5")[0].names == ["x"]
    layout = h5py.VirtualLayout(shape=(5,), dtype="i8")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "secret", shape=(5,))
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_virtual_dataset("v", layout)
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file.create_dataset("e", (5,), "i8", external=[(str(tmp_path / "other.h5"), 0, 40)])
    for name in ("b.h5", "c.h5"):
        assert "takes its cells from other files" in attempt(schema_of, tmp_path / name)[1]


def test_hdf5_refuses_what_is_no_column(tmp_path):
    for name, value in (("complex", np.zeros(3) + 1j), ("five", np.zeros((2, 2, 2, 2, 2))), ("wide", np.zeros((3, 0)))):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["x"] = value
        assert "allowed" in attempt(schema_of, tmp_path / f"{name}.h5")[1]


# ── ROOT as uproot writes it ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["TTree", "RNTuple"])
def test_root_by_uproot(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("diabolo.data.formats.CHUNK", 2)
    path = tmp_path / "events.root"
    jets = ak.Array([[1.5, 2.5], [], [3.5], [4.5, 5.5, 6.5]])
    rows = {
        "met": np.arange(4, dtype=np.float32),
        "n": np.arange(4, dtype=np.int16),
        "good": np.array([True, False, True, True]),
        "word": ak.Array(["a", "bc", "", "ä"]),
        "jets_pt": jets,
        "jets_eta": -jets,
    }
    with uproot.recreate(path) as file:
        if kind == "TTree":
            types = {n: r.dtype if isinstance(r, np.ndarray) else r.type.content for n, r in rows.items()}
            tree = file.mktree("deep/events", {**types, "cov": np.dtype(("f4", (2, 2)))})
            tree.extend({**rows, "cov": np.arange(16, dtype="f4").reshape(4, 2, 2)})
        else:
            file.mkrntuple("deep/events", rows)
    back = read(path)
    assert back.column("met").to_pylist() == [0, 1, 2, 3]
    assert back.schema.field("met").type == pa.float32()
    assert back.schema.field("n").type == pa.int16()
    assert back.column("good").to_pylist() == [True, False, True, True]
    assert back.column("word").to_pylist() == ["a", "bc", "", "ä"]
    assert back.column("jets_pt").to_pylist() == jets.tolist()
    if kind == "TTree":
        assert back.column("cov_2").to_pylist() == [2, 6, 10, 14]
    taken = read(path, ["met", "jets2_eta", "jets1_pt"], {"jets": 2})
    assert taken.column("jets1_pt").to_pylist() == [1.5, 0, 3.5, 4.5]
    assert taken.column("jets2_eta").to_pylist() == [-2.5, 0, 0, -5.5]


def test_root_names_its_trees(tmp_path):
    path = tmp_path / "two.root"
    with uproot.recreate(path) as file:
        for name in ("events", "runs"):
            file.mktree(name, {"x": "float64"}).extend({"x": np.arange(3.0) + len(name)})
    assert (
        attempt(read, path)[1] == f"{path}: holds 2 trees: events (3 rows), runs (3 rows); name one, like {path}:events"
    )
    assert read(f"{path}:runs").column("x").to_pylist() == [4, 5, 6]
    assert read(f"{path}:events;1").column("x").to_pylist() == [6, 7, 8]
    assert "no tree 'event': did you mean 'events'" in attempt(read, f"{path}:event")[1]
    with uproot.recreate(tmp_path / "none.root") as file:
        file["h"] = np.histogram([1.0, 2.0])
    assert "holds no tree; it holds h (TH1D)" in attempt(read, tmp_path / "none.root")[1]


#: Files of experiments, made by ROOT itself, that the package scikit-hep-testdata ships.
REAL = Path(importlib.util.find_spec("skhep_testdata").origin).parent / "data"


def test_a_real_jagged_file_is_fitted_scored_and_evaluated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    real = REAL / "uproot-HZZ.root"
    objects = ["--take", "Jet:4,Muon:2", "--exclude", "Jet_ID,Jet_btag"]
    other = "Electron_Px,Electron_Py,Electron_Pz,Electron_E,Electron_Charge,Electron_Iso"
    photons = ",".join(f"Photon_{n}" for n in ("Px", "Py", "Pz", "E", "Iso"))
    assert "'Jet_Px' holds lists; --take Jet:10" in refused("fit", real, "-o", "m.diabolo")
    objects[-1] += f",{other},{photons}"
    done("fit", real, "-o", "m.diabolo", "--epochs", 1, "-q", "--label", "NPhoton", *objects)
    schema = Autoencoder.load("m.diabolo").model_.encoding.schema
    assert {(g.name, len(g.slots), len(g.slots[0])) for g in schema.groups} == {("Jet", 4, 4), ("Muon", 2, 6)}
    assert "2,421 rows scored" in done("score", "m.diabolo", real, "-o", "s.parquet")
    fresh = ["--label", "NPhoton", "--seed", 3]  # rows that trained the model are left out
    assert re.search(r"AUROC.*IsolationForest", done("evaluate", "m.diabolo", real, *fresh), re.S)
    # The same rows by way of uproot and NumPy alone.
    tree = uproot.open(real)["events"]
    columns = {}
    for name in schema.names:
        found = re.fullmatch(r"(Jet|Muon)(\d)(_.*)", name)
        if found is None:
            columns[name] = tree[name].array(library="np")
        else:
            lists, k = tree[found[1] + found[3]].array(library="np"), int(found[2])
            columns[name] = np.array([cell[k - 1] if len(cell) >= k else 0 for cell in lists], lists[0].dtype)
    frame = pd.DataFrame(columns)
    expected = AnomalyDetector.load("m.diabolo").anomaly_score(frame)
    np.testing.assert_array_equal(pq.read_table("s.parquet")["score"], expected)
    # A flat copy scores alike, and so does what the model draws, as ROOT.
    frame.to_parquet("flat.parquet")
    done("score", "m.diabolo", "flat.parquet", "-o", "flat-scores.parquet")
    assert pq.read_table("flat-scores.parquet")["score"].equals(pq.read_table("s.parquet")["score"])
    done("sample", "m.diabolo", "-n", 30, "--method", "prior", "-o", "drawn.root")
    assert uproot.open("drawn.root")["events"].num_entries == 30
    assert "30 rows scored" in done("score", "m.diabolo", "drawn.root:events", "-o", "s.csv")
    tree.file.close()
    said = done("info", real)
    assert "lists, of which --take Jet:10 would make columns: Jet_Px, " in said
    assert "slots Jet: 4 objects of 6 columns" in done("info", real, "--take", "Jet:4")


@pytest.mark.parametrize(
    "name",
    ["uproot-Zmumu.root", "uproot-small-evnt-tree-fullsplit.root", "uproot-simple.root", "uproot-nesteddirs.root"],
)
def test_other_real_files_are_read_or_refused_by_name(name):
    back, error = attempt(read, REAL / name)
    if name == "uproot-nesteddirs.root":
        assert "trees: one/two/tree (100 rows), " in error
        back = read(f"{REAL / name}:one/two/tree")
    assert back.num_rows > 0
    tree = uproot.open(f"{REAL / name}:one/two/tree" if error else {REAL / name: _only_tree(REAL / name)})
    for column in back.column_names:
        if pa.types.is_floating(back.schema.field(column).type) and column in tree:
            np.testing.assert_array_equal(back.column(column), tree[column].array(library="np"))


def _only_tree(path):
    return next(n for n, kind in uproot.open(path).classnames(cycle=False).items() if kind == "TTree")


# ── jagged columns ────────────────────────────────────────────────────────────────────────────────


def test_take_pads_cuts_and_keeps_types(tmp_path):
    table = pa.table(
        {
            "id": pa.array([7, 8, 9, 10]),
            "jets_pt": pa.array([[1.5, 2.5, 3.5], [], None, [4.5]], pa.list_(pa.float32())),
            "jets_tag": pa.array([[True, False, True], [], [], [True]]),
            "jets_n.x": pa.array([[1, 2, 3], [], [], [None]], pa.large_list(pa.int16())),
            "jets_4v": pa.array([1.0, 2, 3, 4]),
            "jetset_x": pa.array([[1.0], [], [], []]),
        }
    )
    path = written(table, tmp_path / "a.parquet", rows=3)
    assert schema_of(path, {"jets": 2})[0].names == [
        "id", "jets1_pt", "jets1_tag", "jets1_n.x", "jets2_pt", "jets2_tag", "jets2_n.x", "jets_4v", "jetset_x",
    ]  # fmt: skip
    back = read(path, take={"jets": 2})
    assert back.column("jets1_pt").to_pylist() == [1.5, 0, 0, 4.5]
    assert back.column("jets2_pt").to_pylist() == [2.5, 0, 0, 0]
    assert back.column("jets1_tag").to_pylist() == [True, False, False, True]
    assert back.column("jets1_n.x").to_pylist() == [1, 0, 0, None]
    assert back.column("jets2_n.x").to_pylist() == [2, 0, 0, 0]
    assert back.schema.field("jets1_pt").type == pa.float32()
    assert back.schema.field("jets1_tag").type == pa.bool_()
    assert back.schema.field("jets1_pt").metadata == {LIST: b"jets_pt"}
    assert read(path, ["jets2_tag"], {"jets": 2}).column(0).to_pylist() == [False, False, False, False]
    assert "no jagged columns jet_...: did you mean 'jets'" in attempt(schema_of, path, {"jet": 2})[1]


def test_lists_of_one_collection_must_be_equally_long(tmp_path):
    table = pa.table({"e_pt": [[1.0]] * 150 + [[1.0, 2.0]], "e_eta": [[1.0]] * 151})
    path = written(table, tmp_path / "a.parquet", rows=60)
    line = attempt(read, path, None, {"e": 1})[1]
    assert "row 150: 'e_pt' lists 2 objects and 'e_eta' 1" in line
    assert read(path, ["e1_eta"], {"e": 1}).num_rows == 151


def test_structs_lists_of_structs_and_fixed_arrays(tmp_path):
    jets = [[{"pt": 1.0, "ok": True}, {"pt": 2.0, "ok": False}], [], [{"pt": 3.0, "ok": True}]]
    cov = pa.FixedSizeListArray.from_arrays(pa.array(range(12), pa.int32()), 2)
    # Said, since older Arrow puts the fields that it finds in dictionaries into the order of their names.
    jets = pa.array(jets, pa.list_(pa.struct({"pt": pa.float64(), "ok": pa.bool_()})))
    table = pa.table(
        {
            "met": [{"x": 1.0, "y": 2.0}, {"x": 3.0, "y": None}, {"x": 5.0, "y": 6.0}],
            "jets": jets,
            "cov": pa.FixedSizeListArray.from_arrays(cov, 2),
        }
    )
    path = written(table, tmp_path / "a.parquet")
    back = read(path, take={"jets": 1})
    assert back.column_names == ["met_x", "met_y", "jets1_pt", "jets1_ok", "cov_0", "cov_1", "cov_2", "cov_3"]
    assert back.column("met_y").to_pylist() == [2, None, 6]
    assert back.column("jets1_pt").to_pylist() == [1, 0, 3]
    assert back.column("jets1_ok").to_pylist() == [True, False, True]
    assert back.column("cov_2").to_pylist() == [2, 6, 10]
    assert read(path).column("jets_pt").to_pylist() == [[1, 2], [], [3]]


# ── many files ────────────────────────────────────────────────────────────────────────────────────


def test_a_folder_and_a_pattern_are_one_table(tmp_path):
    for i in range(3):
        frame = pd.DataFrame({"a": np.arange(5) + 10 * i, "b": np.full(5, i, ["int16", "float32", "int64"][i])})
        frame[["b", "a"] if i == 2 else ["a", "b"]].to_parquet(tmp_path / f"part-{i}.parquet")
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / ".hidden.parquet").write_bytes(b"not read")
    for data in (tmp_path, f"{tmp_path}/part-*.parquet", f"{tmp_path}/**/*.parquet"):
        schema, rows = schema_of(data)
        assert (schema.names, rows) == (["a", "b"], 15)
        back = read(data)
        assert back.column("a").to_pylist() == [*range(5), *range(10, 15), *range(20, 25)]
        assert back.column("b").to_pylist() == [0] * 5 + [1] * 5 + [2] * 5
        assert back.schema.field("b").type == pa.float64()
    assert read(f"{tmp_path}/part-[01].parquet").num_rows == 10
    assert "no file matches this pattern" in attempt(read, f"{tmp_path}/x*.parquet")[1]


def test_files_that_do_not_agree_are_named_with_their_column(tmp_path):
    def folder(name, *tables):
        for i, table in enumerate(tables):
            (tmp_path / name).mkdir(exist_ok=True)
            written(table, tmp_path / name / f"{i}.parquet")
        return tmp_path / name

    first = pa.table({"a": [1], "b": [2.0]})
    line = attempt(read, folder("less", first, pa.table({"a": [1]})))[1]
    assert re.search(r"1.parquet: has no column 'b', which .*0.parquet has", line)
    line = attempt(read, folder("more", first, pa.table({"a": [1], "b": [1.0], "c": [1]})))[1]
    assert re.search(r"1.parquet: has a column 'c', which .*0.parquet has not", line)
    line = attempt(read, folder("kinds", first, pa.table({"a": ["x"], "b": [1.0]})))[1]
    assert re.search(r"1.parquet: column 'a' holds string, and in .*0.parquet int64", line)
    mixed = folder("types", first)
    written(first, mixed / "1.csv")
    assert "has files of several types: 0.parquet (parquet), 1.csv (csv)" in attempt(read, mixed)[1]
    folder("cut", first, first, first)
    (tmp_path / "cut" / "1.parquet").write_bytes(b"PAR1")
    assert "cut/1.parquet: cannot be read: " in attempt(read, tmp_path / "cut")[1]


def test_text_of_many_files_may_be_plain_or_a_dictionary(tmp_path):
    written(pa.table({"t": pa.array(["a", "b"]).dictionary_encode()}), tmp_path / "0.parquet")
    written(pa.table({"t": ["c", None]}), tmp_path / "1.parquet")
    assert read(tmp_path).column("t").to_pylist() == ["a", "b", "c", None]


# ── URLs ──────────────────────────────────────────────────────────────────────────────────────────


def test_memory_and_file_urls(tmp_path):
    table = pa.table({"a": [1.0, 2.0], "b": ["x", None]})
    for n in range(3):
        written(table, f"memory://shop/{n}.parquet")
    assert cells(read("memory://shop/1.parquet")) == cells(table)
    for data in ("memory://shop", "memory://shop/", "memory://shop/*.parquet"):
        assert read(data).num_rows == 6
    written(table.slice(0, 1), "memory://shop/1.parquet")
    assert read("memory://shop").num_rows == 5, "a file that has changed is fetched anew"
    assert "no such file" in attempt(read, "memory://shop/7.parquet")[1]
    assert "no such file" in attempt(read, "memory://nothing/*.parquet")[1]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["g/x"], file["y"] = np.arange(3), np.arange(4)
    fsspec.filesystem("memory").put_file(str(tmp_path / "a.h5"), "/deep/a.h5")
    assert read("memory://deep/a.h5::g").column("x").to_pylist() == [0, 1, 2]
    written(table, f"file://{tmp_path}/b.csv")
    assert cells(read(f"file://{tmp_path}/b.csv")) == cells(read(tmp_path / "b.csv")) == cells(table)
    assert "Protocol not known: nosuch" in attempt(read, "nosuch://a/b.csv")[1]
    with pytest.raises(OutputError, match="cannot write nosuch://a/b"):
        check_writable("nosuch://a/b.csv")
    with pytest.raises(OutputError, match=r"cannot write http://127\.0\.0\.1:9/b\.csv"):
        written(table, "http://127.0.0.1:9/b.csv")


def test_http(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n3,4\n")
    handler = functools.partial(QuietHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at = f"http://127.0.0.1:{server.server_port}"
        assert cells(read(f"{at}/a.csv?token=1")) == {"x": [1, 3], "y": [2, 4]}
        assert attempt(read, f"{at}/b.csv")[1] == f"{at}/b.csv: no such file"
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_verbs_take_urls_and_patterns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for i in range(3):
        pd.DataFrame(rng.normal(size=(100, 3)), columns=list("abc")).to_csv(f"part{i}.csv", index=False)
    done("fit", "part*.csv", "-o", "m.diabolo", "--epochs", 1, "-q")
    assert "300 rows scored" in done("score", "m.diabolo", "part*.csv", "-o", "memory://out/s.parquet")
    assert read("memory://out/s.parquet").num_rows == 300
    assert read("memory://out/s.parquet").column("row").to_pylist() == list(range(300))
    assert "part*.csv: 300 rows, 3 columns" in done("info", "part*.csv")
    assert "is also the input" in refused("score", "m.diabolo", "part*.csv", "-o", "part1.csv")
    assert sorted(os.listdir(tmp_path)) == ["m.diabolo", "part0.csv", "part1.csv", "part2.csv"]


@pytest.mark.parametrize(
    ("package", "name", "extra"),
    [
        ("h5py", "a.h5", "hdf5"),
        ("uproot", "a.root", "root"),
        ("PIL", "a.png", "images"),
        ("fsspec", "s3://b/a.csv", "remote"),
    ],
)
def test_a_missing_package_is_named_with_how_to_get_it(package, name, extra, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(tmp_path / Path(name).name).write_bytes(b"something")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'diabolo\[{extra}\]'"):
        schema_of(name)
