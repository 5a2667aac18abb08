"""What is printed for files of physics and of data frames that are not read at once: one line each, reviewed here."""

from __future__ import annotations

import gzip
import importlib.util
import re
import shlex
from pathlib import Path

import awkward as ak
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot
from program import run

REAL = Path(importlib.util.find_spec("skhep_testdata").origin).parent / "data"
FILES = Path(__file__).parent / "files"
N = 60
RNG = np.random.default_rng(0)
X = {"x": RNG.normal(size=N), "y": RNG.normal(size=N)}
LISTS = ak.Array([[1.0] * (i % 3) for i in range(N)])


def tree(*names, **branches):
    def make():
        with uproot.recreate("a.root") as file:
            for name in names or ("t",):
                types = {n: c.type.content if isinstance(c, ak.Array) else c.dtype for n, c in branches.items()}
                file.mktree(name, types).extend(branches)

    return make


def rntuple(**fields):
    def make():
        with uproot.recreate("a.root") as file:
            file.mkrntuple("t", fields)

    return make


def histogram():
    with uproot.recreate("a.root") as file:
        file["h"] = np.histogram([1.0, 2.0])


def cut_tree():
    tree(**X)()
    whole = Path("a.root").read_bytes()
    Path("a.root").write_bytes(whole[: len(whole) // 2])


def empty_tree():
    with uproot.recreate("a.root") as file:
        file.mktree("t", {"x": "float64"})


def hdf(**datasets):
    def make():
        with h5py.File("a.h5", "w") as file:
            for path, cells in datasets.items():
                file[path.replace("__", "/")] = cells

    return make


def packed(name):
    return lambda: Path("a.h5").write_bytes(gzip.decompress((FILES / f"{name}.h5.gz").read_bytes()))


def parquet(**columns):
    return lambda: pq.write_table(pa.table(columns), "a.parquet")


def two_names():
    column = pa.array(X["x"])
    schema = pa.schema([("x", pa.float64()), ("x", pa.float64())])
    pq.write_table(pa.Table.from_arrays([column, column], schema=schema), "a.parquet")


def bytes_of(name, data):
    return lambda: Path(name).write_bytes(data)


def arrow(**columns):
    def make():
        table = pa.table(columns)
        with pa.ipc.new_file("a.arrow", table.schema) as out:
            out.write_table(table)

    return make


def nothing():
    pass


def struct(n=N):
    return pa.array([{"u": float(i % 7), "v": i} for i in range(n)])


FIT = "fit {} -o m.diabolo --epochs 1 --only main"
CODE = "compress m.diabolo a.parquet -o c.dbl --no-verdict"
#: (name, command, what makes the file, status, a pattern of the line).
CASES = [
    # ── ROOT ──
    ("no-tree", "info a.root", histogram, 2, r"a\.root: holds no tree; it holds h \(TH1D\)"),
    ("no-rows", "info a.root", empty_tree, 2, r"a\.root: has a header but no rows"),
    ("no-root", "info a.root", bytes_of("a.root", b"x,y\n1,2\n"), 2, r"a\.root: cannot be read: .+"),
    ("cut-off", "info a.root", cut_tree, 2, r"a\.root: cannot be read: .+"),
    ("absent", "info b.root", nothing, 2, r"b\.root: no such file"),
    (
        "trees",
        "info a.root",
        tree("a", "b", **X),
        2,
        r"holds 2 trees: a \(60 rows\), b \(60 rows\); name one, like a\.root:a",
    ),
    ("tree-misspelt", "info a.root:evets", tree("events", **X), 2, r"no tree 'evets': did you mean 'events'"),
    ("lists", FIT.format("a.root"), tree(pt=LISTS, **X), 2, r"column 'pt' holds lists; --take pt:10 .*--exclude pt"),
    (
        "take-other",
        "info a.root --take jets:2",
        tree(pt=LISTS),
        2,
        r"no jagged columns jets_\.\.\.: allowed: pt",
    ),
    ("take-none", "info a.root --take jets:2", tree(**X), 2, r"no jagged columns jets_\.\.\.: it has no lists at all"),
    (
        "length",
        "info a.root",
        tree(pt=LISTS, **X),
        0,
        r"1 left out, as no column can hold them: npt \(the length of pt\)",
    ),
    ("shared-length", "info a.root --take pt:1", tree(pt=LISTS, **X), 0, r"slots pt: 1 objects of 1 columns"),
    ("variant", "info a.root", rntuple(x=X["x"]), 0, r"60 rows, 1 column"),
    (
        "early",
        f"info {REAL}/uproot-ntpl001_staff.root",
        nothing,
        2,
        r"Staff is an RNTuple of before ROOT 6\.34, .*write it anew",
    ),
    (
        "pointers",
        f"info {REAL}/uproot-issue213.root",
        nothing,
        0,
        r"1 left out, .*JPetGeantEventInformation\*: uproot cannot",
    ),
    (
        "no-column",
        f"info {REAL}/uproot-issue485.root:MCTrack",
        nothing,
        2,
        r"no branch can be a column; .*MCTrack\*>: uproot",
    ),
    (
        "not-filled",
        f"info {REAL}/uproot-issue327.root",
        nothing,
        0,
        r"108 left out, .*with 0 entries where the tree has 98",
    ),
    (
        "broken-branch",
        f"score m.diabolo {REAL}/uproot-small-dy-nooffsets.root -o s.csv",
        nothing,
        2,
        r"m\.diabolo: no such file",
    ),
    # ── HDF5 ──
    (
        "lengths",
        "info a.h5",
        hdf(x=X["x"], z=np.zeros(3)),
        2,
        r"different lengths: 3 rows in z; 60 rows in x; choose some, like a\.h5::x",
    ),
    ("group", "info a.h5::jet", hdf(jets__pt=X["x"]), 2, r"no group or dataset 'jet': did you mean 'jets'"),
    ("no-dataset", "info a.h5", hdf(), 2, r"a\.h5: holds no dataset with rows"),
    (
        "complex",
        "info a.h5",
        hdf(z=np.zeros(5) + 1j),
        2,
        r"no dataset can be a column; allowed are numbers of up to 64 bits, .*z \(complex128\)",
    ),
    (
        "complex-beside",
        "info a.h5",
        hdf(z=X["x"] + 1j, **X),
        0,
        r"1 left out, as no column can hold them: z \(complex128\)",
    ),
    ("no-hdf5", "info a.h5", bytes_of("a.h5", b"x,y\n1,2\n"), 2, r"a\.h5: cannot be read: .+"),
    (
        "frames",
        "info a.h5",
        packed("frames"),
        2,
        r"holds 2 frames of pandas: two \(12 rows\), x/one \(12 rows\); name one, like a\.h5::two",
    ),
    ("pickled", "info a.h5", packed("fixed"), 0, r"1 left out, .*s \(str, which pandas has pickled: write Parquet\)"),
    ("index", "info a.h5", packed("table"), 0, r"1 left out, .*df\.index \(the index of pandas\)"),
    (
        "filter",
        "info a.h5",
        packed("blosc"),
        None,
        r"'x' is compressed by Blosc \(filter 32001\), which HDF5 lacks: pip install hdf5plugin|100 rows",
    ),
    # ── Parquet and Arrow ──
    ("duplicates", "info a.parquet", two_names, 2, r"a\.parquet: duplicate column names: x; rename them"),
    ("struct-clash", "info a.parquet", parquet(s=struct(), s_u=X["x"]), 2, r"duplicate column names: s_u; rename them"),
    ("parquet-cut", "info a.parquet", bytes_of("a.parquet", b"PAR1" + bytes(40)), 2, r"a\.parquet: cannot be read: .+"),
    ("parquet-empty", "info a.parquet", bytes_of("a.parquet", b""), 2, r"a\.parquet: cannot be read: .+"),
    (
        "list-column",
        FIT.format("a.parquet"),
        parquet(pt=LISTS.tolist(), **X),
        2,
        r"column 'pt' holds lists; --take pt:10",
    ),
    ("arrow-empty", "info a.arrow", bytes_of("a.arrow", b""), 2, r"a\.arrow: the file is empty"),
    (
        "feather-1",
        "info a.arrow",
        bytes_of("a.arrow", b"FEA1" + bytes(40)),
        2,
        r"a\.arrow: is Feather version 1; write it anew",
    ),
    ("arrow-cut", "info a.arrow", bytes_of("a.arrow", b"ARROW1" + bytes(40)), 2, r"a\.arrow: cannot be read: .+"),
    ("decimal", "info a.parquet", parquet(a=pa.array([1, 2] * 30, pa.decimal128(9, 2))), 0, r"a +integer +float64"),
    ("categories", "info a.arrow", arrow(k=pa.array(["a", "b"] * 30).dictionary_encode()), 0, r"k: a, b"),
    # ── what goes out ──
    (
        "keep-misspelt",
        f"{FIT.format('a.root')} && score m.diabolo a.root -o s.root --keep evnt",
        tree(**X),
        2,
        r"no column 'evnt' to keep: it has|did you mean",
    ),
    (
        "keep-own",
        f"{FIT.format('a.parquet --exclude row')} && score m.diabolo a.parquet -o s.csv --keep row",
        parquet(row=np.arange(N), **X),
        2,
        r"--keep row: the output has a column 'row' of its own",
    ),
    (
        "scores-npy",
        f"{FIT.format('a.root')} && score m.diabolo a.root -o s.npy",
        tree(**X),
        2,
        r"s\.npy: scores have names and a column of text; allowed: \.arrow, .*\.root",
    ),
    (
        "list-of-text",
        f"{FIT.format('a.parquet --exclude w')} && {CODE} && decompress c.dbl -o b.root",
        parquet(w=[["a"]] * N, **X),
        2,
        r"column 'w' holds list<.*string>, which a ROOT file cannot hold; write \.parquet or \.arrow",
    ),
    (
        "gaps-in-root",
        f"{FIT.format('a.parquet --exclude i')} && score m.diabolo a.parquet -o s.root --keep i",
        parquet(i=pa.array([None, 1] * 30), **X),
        2,
        r"column 'i' holds missing cells of type int64, which a ROOT file cannot hold",
    ),
    (
        "error-of-text",
        f"{FIT.format('a.parquet --exclude w')} && compress m.diabolo a.parquet -o c.dbl --column-error w=1",
        parquet(w=[["a"]] * N, **X),
        2,
        r"column error of 'w', which holds list<.*string>: allowed are floats",
    ),
    (
        "error-misspelt",
        f"{FIT.format('a.parquet --exclude pt')} && compress m.diabolo a.parquet -o c.dbl --column-error p=1",
        parquet(pt=LISTS.tolist(), **X),
        2,
        r"column error of 'p': did you mean 'pt'|allowed",
    ),
]


@pytest.mark.parametrize(("command", "make", "status", "line"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_one_line(command, make, status, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make()
    *before, last = command.split(" && ")
    for words in before:
        assert run(*shlex.split(words))[0] == 0
    code, out, err = run(*shlex.split(last))
    assert code == status or (status is None and code in (0, 2))
    if code:
        assert err.startswith("diabolo: ")
        assert len(err.strip().splitlines()) == 1
        assert not (tmp_path / "s.root").exists()
    assert re.search(line, err if code else out), err or out


def test_there_are_as_many_cases_as_promised():
    assert len(CASES) >= 40
    assert len({c[0] for c in CASES}) == len(CASES)
