"""ROOT files as experiments have them: objects, leaf lists, arrays, several trees, RNTuples; no branch is lost."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa
import pytest
import uproot
from program import done

from diabolo.data.formats import counters, left_out, read_batches, schema_of, write_batches
from diabolo.data.formats.notes import counted_by
from diabolo.data.formats.root_branches import branches_of
from diabolo.errors import DataError

#: Files that ROOT itself made, which the package scikit-hep-testdata ships.
REAL = Path(importlib.util.find_spec("skhep_testdata").origin).parent / "data"
OBJECTS = REAL / "uproot-HZZ-objects.root"


def read(path, columns=None, take=None):
    schema = schema_of(path, take)[0]
    schema = schema if columns is None else pa.schema([schema.field(c) for c in columns])
    return pa.Table.from_batches(list(read_batches(path, columns, take)), schema)


def test_every_branch_of_objects_is_a_column():
    schema, rows = schema_of(OBJECTS)
    assert (rows, len(schema), left_out(schema)) == (2421, 47, {})
    vectors = [f"{n}_{m}" for n in ("jetp4", "muonp4", "electronp4", "photonp4") for m in ("px", "py", "pz", "E")]
    assert set(vectors) | {"MET_x", "MET_y", "MC_lepton_x", "MC_lepton_y", "MC_lepton_z"} <= set(schema.names)
    with uproot.open(OBJECTS) as file:
        tree = file["events"]
        met, jets = tree["MET"].array(), tree["jetp4"].array()
    table = read(OBJECTS, ["MET_x", "MET_y", "jetp4_px", "jetp4_E"])
    np.testing.assert_array_equal(table["MET_x"], met.fX)
    np.testing.assert_array_equal(table["MET_y"], met.fY)
    assert table["jetp4_px"].to_pylist() == jets.fP.fX.tolist()
    assert table["jetp4_E"].to_pylist() == jets.fE.tolist()


def test_objects_are_fitted_scored_compressed_and_drawn(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lists = [n for n in schema_of(OBJECTS)[0].names if n.startswith(("electron", "photon", "MC_"))]
    lists += ["jetbtag", "jetid", "muonq", "muoniso"]
    words = ("--take", "jetp4:2,muonp4:2", "--exclude", ",".join(lists), "--only", "main")
    done("fit", OBJECTS, "-o", "m.diabolo", *words, "--epochs", 1, "-q")
    assert "jetp42_E" in done("info", "m.diabolo")
    done("score", "m.diabolo", OBJECTS, "-o", "s.root", "--keep", "MET_x,jetp4_E")
    assert uproot.open("s.root")["events"].num_entries == 2421
    done("sample", "m.diabolo", "-n", 20, "-o", "drawn.root")
    done("compress", "m.diabolo", OBJECTS, "-o", "rows.dbl", "--no-verdict")
    done("decompress", "rows.dbl", "-o", "back.root")
    # Objects come back by member, each with the values that it had.
    back, came = read("back.root"), read(OBJECTS)
    assert set(back.column_names) == set(came.column_names)
    for name in ("MET_x", "jetp4_px", "muonp4_E", "MC_lepton_z", "jetbtag"):
        assert back[name].to_pylist() == came[name].to_pylist()


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("uproot-leaflist.root", {"leaflist_x": "double", "leaflist_y": "int32", "leaflist_z": "int8"}),
        ("uproot-vectorVectorDouble.root", {"x": "list<item: list<item: double>>"}),
        ("issue367b.root", {"weights_key": "list<item: string>", "weights_value": "list<item: list<item: double>>"}),
        (
            "uproot-issue46.root",
            {"evt_Bool": "bool", "evt_ArrayBool_9": "bool", "evt_SliceBool": "list<item: bool>"},
        ),
        (
            "uproot-issue429.root",
            {"data_ana_kk_MphiK_1": "float", "data_ana_kk_itopo": "int32", "mctopdata_191": "int32"},
        ),
        ("uproot-issue96.root", {"jet1P4_px": "double"}),
        ("uproot-demo-double32.root", {"fD32": "double"}),
    ],
)
def test_types_of_real_files(name, columns):
    schema = schema_of(REAL / name)[0]
    found = {n: str(schema.field(n).type) for n in columns if n in schema.names}
    if name in ("uproot-demo-double32.root", "uproot-issue96.root"):
        assert len(schema) >= 15
        assert not left_out(schema)
        return
    assert found == columns


def test_branches_that_are_no_columns_are_named(tmp_path):
    said = left_out(schema_of(REAL / "uproot-issue327.root")[0])
    assert len(said) == 108
    assert set(said.values()) >= {"float[], with 0 entries where the tree has 98"}
    out = done("info", REAL / "uproot-issue213.root")
    assert "JPetGeantEventInformation*: uproot cannot read it (" in out
    assert "1 left out, as no column can hold them" in out


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("uproot-ntpl001_staff.root", "Staff is an RNTuple of before ROOT 6.34, whose format was not settled"),
        ("uproot-from-geant4.root", "holds 4 trees: Details (1 row), HitStrips (4,808 rows), "),
        ("uproot-issue371.root", "Event (10 rows); name one, like "),
        ("uproot-issue485.root", "MCTrack (5 rows), MCParticle (5 rows); name one, like"),
        (
            "uproot-issue485.root:MCTrack",
            "no branch can be a column; allowed are numbers, text, lists and objects of them; ",
        ),
    ],
)
def test_files_that_need_a_word(name, line):
    with pytest.raises(DataError) as error:
        schema_of(REAL / name)
    assert line in str(error.value)


def test_the_fullest_tree_is_the_one_that_is_proposed():
    with pytest.raises(DataError, match=r"name one, like \S+uproot-from-geant4.root:HitStrips$"):
        schema_of(REAL / "uproot-from-geant4.root")
    assert schema_of(f"{REAL}/uproot-from-geant4.root:HitStrips")[1] == 4808


def test_an_empty_tree_beside_is_no_choice(tmp_path):
    path = tmp_path / "rows.root"
    with uproot.recreate(path) as file:
        file.mktree("notes", {"x": "float64"})
        file.mktree("deep/events", {"y": "float64"}).extend({"y": np.arange(3.0)})
    assert schema_of(path)[0].names == ["y"]


def test_branches_of_one_name_are_called_by_their_paths(tmp_path):
    names = schema_of(REAL / "uproot-issue126b.root")[0].names
    assert len(set(names)) == len(names)
    assert {"DC_UP/fChannelName", "DC_DOWN/fChannelName"} <= set(names)


def test_fields_of_an_rntuple(tmp_path):
    path, rows = tmp_path / "rows.root", 5
    fields = {
        "x": np.arange(5.0),
        "met": ak.Array([{"pt": i * 1.5, "phi": -i} for i in range(rows)]),
        "jets": ak.Array([[{"pt": float(k), "eta": k - i} for k in range(i)] for i in range(rows)]),
        "cov": np.arange(10.0).reshape(5, 2),
        "some": ak.Array([1, None, 3, None, 5]),
    }
    with uproot.recreate(path) as file:
        file.mkrntuple("events", fields)
    table = read(path)
    assert set(table.column_names) == {"x", "met_pt", "met_phi", "jets_pt", "jets_eta", "cov_0", "cov_1", "some"}
    assert table["some"].to_pylist() == [1, None, 3, None, 5]
    assert table["cov_1"].to_pylist() == [1, 3, 5, 7, 9]
    assert table["jets_eta"].to_pylist() == [[k - i for k in range(i)] for i in range(rows)]
    assert read(path, ["jets2_pt"], {"jets": 2})["jets2_pt"].to_pylist() == [0, 0, 1, 1, 1]


def test_counters_are_marked_and_left_out_with_take(tmp_path):
    path = tmp_path / "rows.root"
    with uproot.recreate(path) as file:
        tree = file.mktree(
            "t",
            {
                "jets_pt": "var * float64",
                "jets_eta": "var * float64",
                "hits": "var * int32",
                "n": "int32",
                "nhits": "int32",
            },
            counter_name=lambda name: "njets" if name.startswith("jets") else f"n{name}",
        )
        lists = ak.Array([[1.0], [], [2.0, 3.0]])
        tree.extend(
            {
                "jets_pt": lists,
                "jets_eta": lists,
                "hits": ak.values_astype(lists, "int32"),
                "n": np.arange(3),
                "nhits": [1, 0, 2],
            }
        )
    schema = schema_of(path)[0]
    assert set(schema.names) == {"jets_pt", "jets_eta", "hits", "n", "njets"}
    assert counted_by(schema.field("njets")) == ["jets_pt", "jets_eta"]
    assert left_out(schema) == {"nhits": "the length of hits"}
    assert counters(schema) == {}
    taken = schema_of(path, {"jets": 1})[0]
    assert counters(taken) == {"njets": "jets_eta"}
    assert "njets" in taken.names  # for a model that was fitted on it


def test_what_was_written_is_read_as_it_was(tmp_path):
    """Numbers of every type, text, arrays of two dimensions, lists of numbers and truth values."""
    n = 50
    table = pa.table(
        {
            **{
                t: pa.array(np.arange(n), pa.from_numpy_dtype(t))
                for t in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")
            },
            "f4": pa.array(np.arange(n, dtype="f4") / 3),
            "good": pa.array([i % 2 == 0 for i in range(n)]),
            "word": pa.array([f"ä{i}" * (i % 3) for i in range(n)]),
            "cov": pa.FixedSizeListArray.from_arrays(
                pa.FixedSizeListArray.from_arrays(pa.array(np.arange(6.0 * n)), 3), 2
            ),
            "list": pa.array([[float(i)] * (i % 4) for i in range(n)]),
            "truths": pa.array([[True, False][: i % 3] for i in range(n)]),
            "nlist": pa.array(np.arange(n)),
        }
    )
    path = tmp_path / "rows.root"
    write_batches(path, table.schema, iter(table.to_batches(max_chunksize=7)))
    with uproot.open(path) as file:
        tree = file["events"]
        assert tree["list"].count_branch.name == "nlist_"
        assert tree["cov"].array().type.show is not None
        found = {name: branch.kind for name, branch in branches_of(tree).columns.items()}
    assert found == {f.name: f.type for f in table.schema}
    nested = pa.Table.from_batches(list(read_batches(path, nested=True))).select(table.column_names)
    assert nested.to_pylist() == table.to_pylist()
