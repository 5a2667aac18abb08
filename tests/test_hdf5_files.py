"""HDF5 as pandas and PyTables write it, and files that hold more than columns (tests/files/make_files.py made them)."""

from __future__ import annotations

import datetime
import gzip
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pytest
from program import done, refused

from diabolo.data.formats import left_out, read_batches, schema_of
from diabolo.data.reading import notes_on
from diabolo.errors import DataError

FILES = Path(__file__).parent / "files"
MISSING_MOMENT, MISSING_WORD, MISSING_LEVEL = 5, (0, 5, 10), 4


@pytest.fixture
def hdf(tmp_path, monkeypatch):
    """A folder with the files, in which a test is at home."""
    for packed in FILES.glob("*.h5.gz"):
        (tmp_path / packed.name.removesuffix(".gz")).write_bytes(gzip.decompress(packed.read_bytes()))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(path):
    return pa.Table.from_batches(list(read_batches(path)), schema_of(path)[0])


def said(path):
    with pytest.raises(DataError) as error:
        schema_of(path)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", ["fixed.h5", "table.h5", "data_columns.h5", "table.h5::df", "table.h5::df/table"])
def test_frames_of_pandas(hdf, name):
    table = read(name)
    fixed = name == "fixed.h5"
    assert table.column_names == (["a", "b", "c", "t", "f"] if fixed else ["a", "b", "c", "t", "f", "s", "k"])
    assert [i for i, cell in enumerate(table["a"].to_pylist()) if np.isnan(cell)] == [3]
    assert table["b"].to_pylist() == list(range(12))
    assert table["c"].to_pylist() == [i % 2 == 0 for i in range(12)]
    moments = [datetime.datetime(2024, 1, 1, i) if i != MISSING_MOMENT else None for i in range(12)]
    assert table["t"].to_pylist() == moments
    assert table.schema.field("f").type == pa.float32()
    if fixed:
        assert left_out(table.schema) == {"s": "str, which pandas has pickled: write Parquet"}
        return
    assert table["s"].to_pylist() == [None if i in MISSING_WORD else f"w{i % 3}" for i in range(12)]
    assert table["k"].to_pylist() == [None if i == MISSING_LEVEL else f"k{i % 3}" for i in range(12)]
    assert list(left_out(table.schema).values()) == ["the index of pandas"]


def test_several_frames_are_named(hdf):
    assert said("frames.h5").endswith(
        "frames.h5: holds 2 frames of pandas: two (12 rows), x/one (12 rows); name one, like frames.h5::two"
    )
    assert read("frames.h5::x/one").column_names == ["a", "b"]
    assert read("frames.h5::two").column_names == ["a"]


def test_tables_of_pytables_are_read_without_their_indices(hdf):
    table = read("pytables.h5")
    assert table.column_names == ["name", "x_0", "x_1", "good", "nested.u", "nested.v"]
    assert table.to_pylist()[3] == {
        "name": "n3",
        "x_0": 3.0,
        "x_1": 3.5,
        "good": False,
        "nested.u": 3.0,
        "nested.v": -3,
    }
    # An array among the fields is no picture, and its neighbours no labels.
    out = done("fit", "pytables.h5", "-o", "m.diabolo", "--epochs", 1, "--only", "main", "--exclude", "name")
    assert "12 rows, 5 columns" in out


def test_a_filter_that_is_missing_is_named_with_what_brings_it(hdf):
    line = said("blosc.h5") if not h5py.h5z.filter_avail(32001) else "pip install hdf5plugin"
    assert line.endswith("pip install hdf5plugin")


def test_what_is_no_column_is_listed_and_the_rest_is_read(hdf):
    rng = np.random.default_rng(0)
    with h5py.File("mixed.h5", "w") as file:
        file["x"], file["y"] = rng.normal(size=(2, 200))
        file["wave"] = rng.normal(size=200) + 1j
        file["deep"] = np.zeros((200, 1, 1, 1, 1))
        file["empty"] = np.zeros((200, 0))
    assert schema_of("mixed.h5")[0].names == ["x", "y"]
    assert left_out(schema_of("mixed.h5")[0]) == {
        "wave": "complex128",
        "deep": "float64 in 5 dimensions; allowed are up to 4",
        "empty": "rows of shape [0], which are empty",
    }
    line = "3 left out, as no column can hold them: deep (float64 in 5 dimensions; allowed are up to 4), empty"
    assert line in done("info", "mixed.h5")
    assert line in done("fit", "mixed.h5", "-o", "m.diabolo", "--epochs", 1, "--only", "main")
    assert len(notes_on("mixed.h5", 1)) == 1
    assert notes_on("mixed.h5", 1)[0].endswith(", and 2 more")
    with h5py.File("none.h5", "w") as file:
        file["z"] = np.zeros(3) + 1j
    assert "no dataset can be a column; allowed are numbers of up to 64 bits" in refused("info", "none.h5")


def test_nothing_pickled_is_run(hdf):
    """A frame whose names are a pickle that calls: it is a list of opcodes, and none of them is one of a list."""
    with h5py.File("table.h5", "r+") as file:
        file["df/table"].attrs["values_block_0_kind"] = b"cos\nsystem\n(S'touch was_here'\ntR."
    assert read("table.h5").column_names[0] == "values_block_0"
    assert not Path("was_here").exists()
