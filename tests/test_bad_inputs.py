"""Bad inputs, one table: what a person did, and what the program says.

A failure is one line on stderr that says what came, what is allowed and what to do, with file, row and column where
there is one; the status is 2; nothing is lost, half-written or left behind. Some rows look bad and are fine: those
say what comes of them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import gzip
import io
import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import awkward as ak
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse
import uproot
from program import FEATURES, done, one_line, refused, run, table, write

from diabolo import AnomalyDetector, Autoencoder, load
from diabolo.errors import CalibrationError, ConfigError, DataError, DiaboloError, ModelFileError, OutputError

OLD = b"what stood here before"


@dataclasses.dataclass(frozen=True)
class Case:
    """One row: the words of the command, what is said (a regular expression), and how the input comes to be.

    {vae} and {ae} are models (with and without a detector), {data} the table that they were fitted on; {kinds} is a
    model of dates and categories.
    """

    words: str
    said: str
    make: Callable[[], object] = lambda: None
    status: int = 2
    #: What holds while the command runs: a full disk, a package that is not there.
    during: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext
    #: A line on stderr that is no failure and may stand before one.
    note: str = ""


# ── how inputs are made ───────────────────────────────────────────────────────────────────────────


def text(name, content, encoding="utf-8"):
    return lambda: Path(name).write_bytes(content if isinstance(content, bytes) else content.encode(encoding))


def array(name, *values, **named):
    def build():
        np.save(name, *values, allow_pickle=True) if values else np.savez(name, **named)

    return build


def frame(name, **changes):
    """The table with cells changed: column → (row, value), or the whole column."""

    def build():
        data = table()
        for column, change in changes.items():
            if isinstance(change, tuple):
                data[column] = data[column].astype(object if isinstance(change[1], str) else float)
                data.loc[change[0], column] = change[1]
            else:
                data[column] = change
        write(data, name)

    return build


def mixed():
    """Dates and categories beside numbers."""
    rng = np.random.default_rng(0)
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 99, 400), unit="D")
    return pd.DataFrame({"day": day, "color": rng.choice(["red", "green", "blue"], 400), "x": rng.normal(size=400)})


def kinds(name, **changes):
    """That table with cells changed."""

    def build():
        data = mixed()
        for column, change in changes.items():
            if isinstance(change, tuple):
                data.loc[change[0], column] = change[1]
            else:
                data[column] = change
        write(data, name)

    return build


def arrow(name, **columns):
    return lambda: pq.write_table(pa.table(columns), name)


def damaged(name, change, source="data.parquet"):
    """A file of the shop with its bytes changed."""
    return lambda: Path(name).write_bytes(change(bytearray((SHOP[0] / source).read_bytes())))


def flipped(data, at):
    data[at] ^= 0x10
    return data


def zeroed(data, start, count):
    return data[:start] + bytes(count) + data[start + count :]


SHOP: list[Path] = []  # where {vae}, {ae} and {data} lie, once they exist
NORMAL = np.random.default_rng(0).normal(size=(60, 3))
BUFFER = io.BytesIO()
np.save(BUFFER, NORMAL)
OVERFLOWING = np.where(NORMAL[:, :2] > 1.2, 1e39, NORMAL[:, :2])


def safetensors(header, body=b""):
    """The bytes of a safetensors file."""
    written = json.dumps(header).encode()
    return len(written).to_bytes(8, "little") + written + body


def newer(data):
    """A model file that says it is of version 9."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(bytes(data[8 : 8 + length]))
    header["__metadata__"]["version"] = "9"
    return safetensors(header, bytes(data[8 + length :]))


@contextlib.contextmanager
def room_for(size=1000):
    """The kernel itself refuses to write a file beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def failing(name, number):
    """A call of the operating system that fails with an error number."""

    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(name, fail)
        yield


@contextlib.contextmanager
def without(package):
    """An optional package is not installed."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [m for m in sys.modules if m.split(".")[0] == package]:
            patch.delitem(sys.modules, name)
        patch.setitem(sys.modules, package, None)
        yield


# ── the table ─────────────────────────────────────────────────────────────────────────────────────


def fit(name, said, make, **more):
    """A table that cannot be fitted."""
    return Case(f"fit {name} -o m.diabolo --epochs 1 -q", said, make, **more)


TABLES = {
    "empty": fit("a.csv", "a.csv: the file is empty", text("a.csv", "")),
    "header-only": fit("a.csv", "a.csv: has a header but no rows", text("a.csv", "x,y\n")),
    "one-row": fit("a.csv", r"a.csv: Found 1 sample.*at least 2 rows are needed", text("a.csv", "x,y\n1,2\n")),
    "duplicates": fit(
        "a.parquet",
        "a.parquet: duplicate column names: x; rename them",
        lambda: pq.write_table(pa.table([[1, 2], [3, 4], [5, 6]], ["x", "y", "x"]), "a.parquet"),
    ),
    "all-constant": fit("a.csv", "a.csv: all 2 columns are constant", text("a.csv", "x,y\n" + "1,2\n" * 50)),
    "all-missing": fit("a.csv", "a.csv: all 2 columns are constant", text("a.csv", "x,y\n" + ",\n" * 50)),
    "one-column-missing": fit(
        "a.csv", "constant, so only watched for a change: eta", frame("a.csv", eta=np.nan), status=0
    ),
    "text-cell": fit(
        "a.csv",
        r"a.csv: column 'eta' has 'oops', which is not a number, in row 17, .*--missing oops .*kinds.eta=categorical"
        r".*--exclude eta leaves it out",
        frame("a.csv", eta=(17, "oops")),
    ),
    "text-cell-late": fit(
        "a.csv",
        r"a.csv: row 600000, column 'y': .*invalid value 'oops'",
        text("a.csv", "x,y\n" + "1.5,2.5\n" * 600_000 + "1,oops\n"),
    ),
    "text-of-one-word": fit(
        "a.parquet", "constant, so only watched for a change: eta", frame("a.parquet", eta="words"), status=0
    ),
    "text-that-names-rows": fit(
        "a.parquet",
        r"a.parquet: column 'eta' has \d+ different values among \d+ training rows; .*--exclude eta leaves it out",
        frame("a.parquet", eta=[f"event {i}" for i in range(400)]),
    ),
    "ragged": fit("a.csv", "a.csv: row 1: Expected 2 columns, got 3", text("a.csv", "x,y\n1,2\n1,2,3\n")),
    "separated-by-letters": fit("a.csv", "a.csv: all 1 columns are constant", text("a.csv", "x!y\n" + "1!2\n" * 50)),
    "separator-of-two": fit(
        "a.csv --separator ::", "--separator '::': allowed is one character, or comma", text("a.csv", "x;y\n1;2\n")
    ),
    "one-column-of-two-words": fit(
        "a.csv", "60 rows, 1 columns", text("a.csv", "my number\n" + "\n".join(map(str, NORMAL[:, 0]))), status=0
    ),
    "names-or-a-row": fit(
        "a.csv",
        r"a.csv: its first line .1, 2. may be names or a row: --header first or --header none says it",
        text("a.csv", "1,2\n" + "3,4\n2,5\n" * 50),
    ),
    "wavelengths-as-names": fit(
        "a.csv",
        "60 rows, 3 columns",
        text("a.csv", "400.5,401.0,401.5\n" + "\n".join(",".join(map(str, r)) for r in NORMAL)),
        status=0,
    ),
    "byte-order-mark": fit(
        "a.csv",
        "5 columns",
        lambda: Path("a.csv").write_text("\ufeff" + table()[FEATURES].to_csv(index=False)),
        status=0,
    ),
    "latin-1": fit(
        "a.csv",
        "a.csv: its text is not UTF-8, and its bytes do not tell which encoding it is in: --encoding says it",
        text("a.csv", "размер,y\n" + "1,2\n3,4\n" * 50, "cp1251"),
    ),
    "latin-1-cells": fit(
        "a.csv",
        "a.csv: its text is not UTF-8, and its bytes do not tell",
        text("a.csv", "x,y\n" + "1,ä\n3,ö\n" * 50, "latin-1"),
    ),
    "late-latin-1": fit(
        "a.csv",
        "a.csv: row 60000, column 'y': .*invalid UTF8.*: --encoding says",
        lambda: Path("a.csv").write_bytes(b"x,y\n" + b"1.5,b\n2.5,a\n" * 30_000 + "1,ä\n".encode("latin-1")),
    ),
    "binary": fit("a.csv", "a.csv: is no text; allowed is text", text("a.csv", bytes(range(256)))),
    "bytes": fit(
        "a.parquet",
        r"a.parquet: column 'y' holds binary.*allowed are",
        arrow("a.parquet", x=NORMAL[:, 0], y=[b"a"] * 60),
    ),
    "lists": fit(
        "a.parquet",
        r"a.parquet: column 'y' holds lists; --take y:10 makes columns",
        arrow("a.parquet", x=NORMAL[:, 0], y=[[1, 2]] * 60),
    ),
    "infinity": fit(
        "a.csv",
        r"a.csv: row 5, column 'pt': inf .*--missing inf takes it for a missing cell",
        frame("a.csv", pt=(5, np.inf)),
    ),
    "overflow": fit(
        "a.csv",
        r"a.csv: row \d+ cannot be fitted: overflow: x",
        text("a.csv", "x,y\n" + "\n".join(f"{a},{b}" for a, b in OVERFLOWING)),
    ),
    "object-npz": fit(
        "a.npz", "a.npz: holds Python objects, which could", array("a.npz", x=np.array([1, None], object))
    ),
    "object-npy": fit(
        "a.npy", "a.npy: holds Python objects, which could", array("a.npy", np.array([[1, None]], object))
    ),
    "5-d": fit("a.npy", r"a.npy: holds x \[3, 2, 2, 2, 2\]; allowed are", array("a.npy", np.zeros((3, 2, 2, 2, 2)))),
    "0-d": fit("a.npy", r"a.npy: holds x \[\]; allowed are arrays \[rows", array("a.npy", np.zeros(()))),
    "no-columns": fit("a.npy", "a.npy: ", array("a.npy", np.zeros((5, 0)))),
    "no-rows": fit("a.npy", "a.npy: has .*no rows", array("a.npy", np.zeros((0, 5)))),
    "no-members": fit("a.npz", "a.npz: holds nothing", array("a.npz")),
    "complex": fit("a.npy", "a.npy: holds complex128; allowed are numbers of up to 64", array("a.npy", NORMAL + 1j)),
    "records": fit(
        "a.npy", "a.npy: holds .*; allowed are numbers of up to", array("a.npy", np.zeros(9, [("x", "f8")]))
    ),
    "lengths": fit(
        "a.npz",
        r"a.npz: its arrays have different lengths: 3 rows in x; 4",
        array("a.npz", x=np.zeros(3), y=np.zeros(4)),
    ),
    "suffix": fit("a.doc", "a.doc: unknown file type '.doc'; allowed: .*[.]parquet", text("a.doc", "x,y\n")),
    "no-suffix": fit("a", r"a: unknown file type '\(no suffix\)'", text("a", "x,y\n")),
    "folder": fit("a.csv", "a.csv: the folder holds no files", lambda: Path("a.csv").mkdir()),
    "folder-npy": fit("a.npy", "a.npy: the folder holds no files", lambda: Path("a.npy").mkdir()),
    "not-there": fit("a.csv", "a.csv: no such file", lambda: None),
    "not-parquet": fit("a.parquet", "a.parquet: cannot be read: .*not a parquet file", text("a.parquet", "x,y\n1,2\n")),
    "not-npz": fit("a.npz", "a.npz: cannot be read: File is not a zip file", text("a.npz", "x,y\n1,2\n")),
    "not-npy": fit("a.npy", "a.npy: cannot be read: ", text("a.npy", "x,y\n1,2\n")),
    "cut-off-npy": fit("a.npy", "a.npy: cannot be read: ", text("a.npy", BUFFER.getvalue()[:500])),
    "cut-off-parquet": fit(
        "a.parquet", "a.parquet: cannot be read: ", damaged("a.parquet", lambda d: d[: len(d) // 2])
    ),
    "zeroed-parquet": fit(
        "a.parquet",
        "a.parquet: cannot be read: .*CRC checksum",
        lambda: (
            pq.write_table(pa.table({"x": NORMAL[:, 0]}), "a.parquet", write_page_checksum=True, compression="none"),
            Path("a.parquet").write_bytes(zeroed(Path("a.parquet").read_bytes(), 200, 100)),
        ),
    ),
    "no-columns-parquet": fit("a.parquet", "a.parquet: ", arrow("a.parquet")),
    "escape-codes": fit(
        "a.csv",
        "a.csv: row 1: Expected 2 columns, got 3: \N{REPLACEMENT CHARACTER}\\[31mred\N{REPLACEMENT CHARACTER},1,2",
        text("a.csv", b"x,y\n1,2\n\x1b[31mred\x07,1,2\n"),
    ),
}


def hdf5(name, **datasets):
    def build():
        with h5py.File(name, "w") as file:
            for key, values in datasets.items():
                file[key] = values

    return build


def root(name, **trees):
    def build():
        with uproot.recreate(name) as file:
            for key, columns in trees.items():
                file[key] = columns

    return build


def cut(make, name, keep=0.5):
    """A file that ends early."""

    def build():
        make()
        data = Path(name).read_bytes()
        Path(name).write_bytes(data[: int(len(data) * keep)])

    return build


XY = {"x": NORMAL[:, 0], "y": NORMAL[:, 1]}
JETS = {"met": NORMAL[:, 0], "jets_pt": ak.Array([[1.5 + v, 2.5] for v in NORMAL[:, 1]])}
GZIPPED = gzip.compress(b"x,y\n" + b"1,2\n3,5\n" * 5000)


FORMATS = {
    "root-no-tree": fit(
        "a.root", "a.root: holds no tree; it holds h .TH1D", root("a.root", h=np.histogram([1.0, 2.0]))
    ),
    "root-empty": fit("a.root", "a.root: holds no tree; it holds nothing", root("a.root")),
    "root-two-trees": fit(
        "a.root",
        r"a.root: holds 2 trees: a \(60 rows\), b \(60 rows\); name one, like a.root:a",
        root("a.root", a=XY, b=XY),
    ),
    "root-wrong-tree": fit("a.root:event", "no tree 'event': did you mean 'events'", root("a.root", events=XY)),
    "root-cut-off": fit("a.root", "a.root: cannot be read: ", cut(root("a.root", a=XY), "a.root")),
    "root-no-root": fit("a.root", "a.root: cannot be read: ", text("a.root", "x,y\n1,2\n")),
    "root-no-package": fit(
        "a.root",
        r"needs the package 'uproot', which is not installed: pip install 'diabolo\[root\]'",
        root("a.root", a=XY),
        during=lambda: without("uproot"),
    ),
    "hdf5-lengths": fit(
        "a.h5",
        "a.h5: its arrays have different lengths: 60 rows in x; 61 rows in y; choose some, like a.h5::",
        hdf5("a.h5", x=NORMAL[:, 0], y=np.zeros(61)),
    ),
    "hdf5-empty": fit("a.h5", "a.h5: holds no dataset with rows", hdf5("a.h5")),
    "hdf5-5-d": fit(
        "a.h5", "x \\(float64 in 5 dimensions; allowed are up to 4\\)", hdf5("a.h5", x=np.zeros((5, 2, 2, 2, 2)))
    ),
    "hdf5-wrong-part": fit(
        "a.h5::jests", "a.h5: no group or dataset 'jests': did you mean 'jets'", hdf5("a.h5", jets=NORMAL)
    ),
    "hdf5-cut-off": fit("a.h5", "a.h5: cannot be read: ", cut(hdf5("a.h5", x=NORMAL), "a.h5")),
    "hdf5-no-hdf5": fit("a.h5", "a.h5: cannot be read: ", text("a.h5", "x,y\n1,2\n")),
    "hdf5-no-package": fit(
        "a.h5",
        r"needs the package 'h5py', which is not installed: pip install 'diabolo\[hdf5\]'",
        hdf5("a.h5", x=NORMAL),
        during=lambda: without("h5py"),
    ),
    "npz-cut-off": fit("a.npz", "a.npz: cannot be read: ", cut(array("a.npz", x=NORMAL), "a.npz")),
    "npz-flipped": fit(
        "a.npz",
        "a.npz: cannot be read: Bad CRC-32",
        lambda: (
            np.savez("a.npz", **XY),
            Path("a.npz").write_bytes(flipped(bytearray(Path("a.npz").read_bytes()), 300)),
        ),
    ),
    "gzip-cut-off": fit("a.csv.gz", "a.csv.gz: cannot be read: ", text("a.csv.gz", GZIPPED[: len(GZIPPED) // 2])),
    "gzip-none": fit("a.csv.gz", "a.csv.gz: cannot be read: Not a gzipped file", text("a.csv.gz", "x,y\n1,2\n")),
    "feather-cut-off": fit("a.feather", "a.feather: cannot be read: ", text("a.feather", b"ARROW1\0\0")),
    "idx-cut-off": fit(
        "a-ubyte",
        "a-ubyte: ends after row 0 of 9",
        text("a-ubyte", bytes([0, 0, 8, 3, 0, 0, 0, 9, 0, 0, 0, 4, 0, 0, 0, 4, 0])),
    ),
    "png-cut-off": fit("a.png", "a.png: cannot be read: ", text("a.png", b"\x89PNG\r\n\x1a\n")),
    "folder-of-nothing": fit("a", "a: the folder holds no files", lambda: Path("a").mkdir()),
    "folder-without-tables": fit(
        "a",
        "a: holds no table; allowed are files that end in",
        lambda: (Path("a").mkdir(), Path("a/b.txt").write_text("b")),
    ),
    "folder-of-two-types": fit(
        "a",
        r"a: has files of several types: b.csv .csv., c.parquet .parquet.; choose those of one, like a/\*.csv",
        lambda: (Path("a").mkdir(), write(table(), "a/b.csv"), write(table(), "a/c.parquet")),
    ),
    "folder-of-two-tables": fit(
        "a",
        "a/c.csv: has no column 'pt', which a/b.csv has; files of a table need the same columns",
        lambda: (Path("a").mkdir(), write(table(), "a/b.csv"), write(table().drop(columns="pt"), "a/c.csv")),
    ),
    "jagged": fit(
        "a.root",
        "a.root: column 'jets_pt' holds lists; --take jets:10 makes columns of .*--exclude jets_pt",
        root("a.root", t=JETS),
    ),
    "take": fit("a.root --take jets:2", "60 rows, 3 columns", root("a.root", t=JETS), status=0),
    "take-absent": fit(
        "a.root --take jest:2", "a.root: no jagged columns jest_...: did you mean 'jets'", root("a.root", t=JETS)
    ),
    "take-no-number": fit("a.root --take jets", "--take jets: expected name:number", root("a.root", t=JETS)),
    "take-of-a-flat-table": fit(
        "a.csv --take jets:2", "a.csv: no jagged columns jets_", text("a.csv", "x,y\n1,2\n3,5\n")
    ),
    "url-unknown": fit(
        "gopher://x/y.csv", "gopher://x/y.csv: cannot be opened: Protocol not known: gopher", lambda: None
    ),
    "url-not-there": fit("file://{here}/y.csv", "y.csv: no such file", lambda: None),
    "url-no-package": fit(
        "memory://y.csv",
        r"memory://y.csv needs the package 'fsspec', .*pip install 'diabolo\[remote\]'",
        lambda: None,
        during=lambda: without("fsspec"),
    ),
    "pattern-of-nothing": fit("'a*.csv'", r"a\*.csv: no file matches this pattern", lambda: None),
}


def flags(words, said, make=lambda: None):
    """Flags that a fit of the good table refuses."""
    return Case(f"fit {{data}} -o m.diabolo --set patience=2 -q {words}", said, make)


FLAGS = {
    "unknown-setting": flags("--set learning_rte=1", "no setting 'learning_rte' .did you mean 'learning_rate'"),
    "no-value": flags("--set learning_rate", "--set learning_rate: expected key=value"),
    "out-of-range": flags(
        "--set learning_rate=-1 --beta -1 --latent 0", "latent_dim = 0: .*beta = -1.0: .*learning_rate = -1: "
    ),
    "type-number": flags("--set epochs=often", "epochs = 'often': input should be a valid integer"),
    "type-fraction": flags("--set epochs=1.5", "epochs = 1.5: input should be a valid integer"),
    "type-list": flags("--set beta=[1]", r"beta = \[1\]: input should be a valid number"),
    "type-choice": flags("--set schedule=cosin", "schedule = 'cosin': input should be 'cosine' or 'constant'"),
    "setting-of-a-number": flags("--set beta.x=1", "'beta' is one value and has no setting 'x'"),
    "setting-of-a-part": flags(
        "--method denoising --set corruption.sdt=1", "corruption 'gaussian' has no setting 'sdt' .did you mean 'std'"
    ),
    "setting-of-a-part-range": flags("--method denoising --set corruption.std=-1", "std = -1: input should be greater"),
    "type-inside": flags("--set 'slots={e=[1]}'", r"slots.e.0 = 1: input should be a valid list"),
    "type-of-one-column": flags(
        "--set column_likelihood.pt=3", "column_likelihood.pt = 3: input should be a valid string"
    ),
    "part": flags("--set corruption=gausian", "unknown corruption 'gausian': did you mean 'gaussian'"),
    "part-of-a-number": flags(
        "--set corruption=5", "corruption = 5: input should be a valid string, or .*valid dictionary"
    ),
    "part-without-name": flags("--set 'corruption={std=1}'", "corruption = .*name"),
    "method": flags("--method vea", "unknown method 'vea': did you mean 'vae'. Allowed: ae, linear, denoising, sparse"),
    "method-set": flags("--set method=vea", "unknown method 'vea'"),
    "epochs": flags("--epochs -3", "epochs = -3: input should be greater than or equal to 1"),
    "epochs-text": flags("--epochs many", "Invalid value for '--epochs'"),
    "hidden": flags("--hidden 12,x", "--hidden: 'x' is not a whole number"),
    "hidden-zero": flags("--hidden 0", "hidden.0 = 0: input should be greater"),
    "hidden-linear": flags("--method linear --hidden 8", "network 'linear' has no hidden layers"),
    "kl-of-a-point": flags("--method ae --set regularizer=kl", "regularizer 'kl' needs a latent with a width"),
    "draws-of-a-point": flags("--method ae --set draws=3", "draws = 3 needs latent='gaussian'"),
    "slots": flags("--slots e4", "--slots e4: expected name:number"),
    "slots-zero": flags("--slots e:0", "--slots e:0: expected name:number"),
    "slots-twice": flags("--slots e:2,e:3", "each name once, like e:4,mu:4,j:10"),
    "slots-missing": flags("--slots jet:2", "slots jet:2 needs the columns jet1_..., to jet2_"),
    "only": flags("--only detector", "--only detector: allowed is main"),
    "only-and-rate": flags("--only main --false-alarm-rate 0.1", "--false-alarm-rate is the detector's"),
    "rate-zero": flags("--false-alarm-rate 0", "false_alarm_rate = 0.0; allowed are numbers above 0 and below 1"),
    "rate-nan": flags("--false-alarm-rate nan", "false_alarm_rate = nan; allowed are numbers above 0 and below 1"),
    "rate-too-small": flags(
        "--false-alarm-rate 0.001", "needs at least 999 calibration rows, .*allow a rate of 0.01 or more"
    ),
    "columns": flags("--columns pt,etta", "data.csv: no column 'etta': did you mean 'eta'"),
    "columns-empty": flags("--columns ''", "data.csv: no column ''"),
    "columns-twice": flags("--columns pt,pt", "--columns names 'pt' twice"),
    "exclude": flags("--exclude etta", "data.csv: no column 'etta'"),
    "exclude-all": flags(f"--exclude {','.join(FEATURES)},truth", "data.csv: no column is left to fit"),
    "label": flags("--label thruth", "data.csv: no column 'thruth': did you mean 'truth'"),
    "weight": flags("--weight wight", "data.csv: no column 'wight'"),
    "seed": flags("--seed -1", "random_state = -1: input should be greater than or equal to 0"),
    "angles": flags("""--set 'angles=["fi"]'""", "angles names 'fi': "),
    "likelihood-of-no-column": flags("--set column_likelihood.ptt=gaussian", "column_likelihood.*'ptt'.*'pt'"),
    "flag": flags("--epoch 3", "No such option: --epoch.*--help"),
    "word": flags("more", r"unexpected extra argument.*more"),
    "config": flags("--config nothing.toml", "nothing.toml: no such file"),
    "config-folder": flags("--config .", r"\.: is a folder"),
    "config-not-toml": flags("--config a.toml", r"a.toml is not valid TOML: .*line 1", text("a.toml", "beta = \n")),
    "config-not-text": flags("--config a.toml", r"a.toml is not valid TOML: .*UTF-8", text("a.toml", b"\xff\xfe\x00")),
    "config-unknown": flags(
        "--config a.toml",
        "no setting 'learning_rte' .did you mean 'learning_rate'",
        text("a.toml", "learning_rte = 1\n"),
    ),
    "config-type": flags(
        "--config a.toml",
        "latent_dim = 'three': input should be a valid integer",
        text("a.toml", "latent_dim = 'three'\n"),
    ),
    "config-method": flags(
        "--config a.toml", "unknown method 'vea': did you mean 'vae'", text("a.toml", "method = 'vea'\n")
    ),
    "config-method-type": flags("--config a.toml", "unknown method 3", text("a.toml", "method = 3\n")),
    "config-table-for-a-value": flags("--config a.toml", "beta = ", text("a.toml", "[beta]\nx = 1\n")),
}


def weights(values, said):
    """A column of weights that a fit refuses."""
    return Case("fit a.csv -o m.diabolo --epochs 1 -q --weight w", f"a.csv: {said}", frame("a.csv", w=values))


WEIGHTS = {
    "text": weights("heavy", "the weight column 'w' holds str; allowed are numbers from 0 up"),
    "negative": weights(np.where(np.arange(400) == 7, -1.0, 1), "sample_weight of row 7 is -1.0; allowed are finite"),
    "missing": weights(np.where(np.arange(400) == 7, np.nan, 1), "sample_weight of row 7 is nan; allowed are finite"),
    "infinite": weights(np.where(np.arange(400) == 7, np.inf, 1), "sample_weight of row 7 is inf; allowed are finite"),
    "all-zero": weights(0.0, "sample_weight sums to zero"),
    "all-but-one-zero": weights(np.where(np.arange(400) == 7, 1.0, 0), "Found 1 sample.*at least 2 rows are needed"),
}


@contextlib.contextmanager
def setting(name, value):
    """A variable of the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(name, value)
        yield


def resume(words, said, make=lambda: None, note="m.diabolo.ckpt: resuming", **more):
    """A fit that goes on from a checkpoint, or should not."""
    return Case(
        f"fit {{data}} -o m.diabolo --label truth --epochs 4 -q --resume {words}", said, make, note=note, **more
    )


def checkpoint(change=lambda d: d):
    return damaged("m.diabolo.ckpt", change, "stopped.ckpt")


RESUME = {
    "fine": resume("", "400 rows, 5 columns", checkpoint(), status=0),
    "none-there": resume(
        "", "400 rows", note="m.diabolo.ckpt: no checkpoint to resume from; starting afresh", status=0
    ),
    "another-setting": resume(
        "--beta 3", "m.diabolo.ckpt: another fit's checkpoint: .*beta = 1.0 there, 3.0 here", checkpoint()
    ),
    "another-method": resume("--method ae", "m.diabolo.ckpt: another fit's checkpoint: ", checkpoint()),
    "other-columns": resume("--exclude pt", "m.diabolo.ckpt: another fit's checkpoint: .*pt", checkpoint()),
    "cut-off": resume(
        "", "m.diabolo.ckpt: .*cut off.*without resume, the fit starts afresh", checkpoint(lambda d: d[:-9])
    ),
    "flipped": resume("", "m.diabolo.ckpt: .*damaged", checkpoint(lambda d: flipped(d, len(d) - 9))),
    "empty": resume("", "m.diabolo.ckpt: .*cut off", checkpoint(lambda d: b"")),
    "a-model": resume(
        "", "m.diabolo.ckpt: .*not a diabolo checkpoint", damaged("m.diabolo.ckpt", lambda d: d, "vae.diabolo")
    ),
    "a-folder": resume("", "m.diabolo.ckpt: ", lambda: Path("m.diabolo.ckpt").mkdir()),
    "seconds": Case(
        "fit {data} -o m.diabolo --label truth --epochs 4 -q",
        "DIABOLO_CHECKPOINT_SECONDS = 'soon'; allowed are seconds from 0 up",
        during=lambda: setting("DIABOLO_CHECKPOINT_SECONDS", "soon"),
    ),
}


def labels(name, mark, said):
    """A column of labels by which nothing can be judged."""
    return Case(
        f"evaluate {{vae}} {name} --label mark",
        f"diabolo: {name}: .*{said}",
        lambda: write(table(300, 2).assign(mark=mark), name),
    )


LABELS = {
    f"{case}-{name[2:]}": labels(name, mark, said)
    for name in ("a.csv", "a.npz")
    for case, mark, said in (
        ("missing", np.r_[np.nan, np.zeros(150), np.ones(149)], "is empty in row 0"),
        ("all-normal", np.zeros(300), "every row is normal by 'mark'"),
        ("all-anomalous", np.ones(300), "every row is anomalous by 'mark'"),
        ("few-normal", np.r_[np.zeros(2), np.ones(298)], "2 rows are normal by 'mark'; at least 4 are needed"),
    )
}


def score(name, said, make, **more):
    """A table that a model cannot score."""
    return Case(f"score {{vae}} {name} -o s.parquet", said, make, **more)


SCORES = {
    "text-cell": score(
        "a.csv", "a.csv: row 17, column 'eta': 'oops' is not a number", frame("a.csv", eta=(17, "oops"))
    ),
    "duplicates": score(
        "a.csv", "a.csv: duplicate column names: pt", text("a.csv", "pt,eta,phi,hits,tagged,pt\n1,2,3,4,true,5\n")
    ),
    "empty": score("a.csv", "a.csv: the file is empty", text("a.csv", "")),
    "columns": score(
        "a.npy", r"a.npy: column 'pt' is missing \(5 of the model's 5 are\)", array("a.npy", np.zeros((3, 5)))
    ),
    "column-renamed": score(
        "a.csv",
        r"a.csv: column 'eta' is missing \(1 of the model's 5 are\): did you mean 'etas'",
        lambda: write(table().rename(columns={"eta": "etas"}), "a.csv"),
    ),
    "columns-reordered": score(
        "a.csv", "400 rows scored", lambda: write(table()[[*reversed(FEATURES), "truth"]], "a.csv"), status=0
    ),
    "ragged": score(
        "a.csv", "a.csv: row 0: Expected 5 columns, got 4", text("a.csv", "pt,eta,phi,hits,tagged\n1,2,3,4\n")
    ),
    "dates-for-numbers": score(
        "a.parquet",
        "a.parquet: column 'pt' holds datetime64.*; the model was fitted on numbers there",
        frame("a.parquet", pt=pd.Timestamp("2024-01-01")),
    ),
    "text-for-numbers": score(
        "a.parquet",
        "a.parquet: row 0, column 'pt': 'ten' is not a number; the model was fitted on numbers there",
        frame("a.parquet", pt="ten"),
    ),
    "numbers-for-dates": Case(
        "score {kinds} a.parquet -o s.parquet",
        "a.parquet: column 'day' holds float64; the model was fitted on dates there",
        kinds("a.parquet", day=3.5),
    ),
    "text-for-dates": Case(
        "score {kinds} a.parquet -o s.parquet",
        "a.parquet: column 'day' holds text; the model was fitted on dates there",
        kinds("a.parquet", day="2024-01-01"),
    ),
    "numbers-for-text": Case(
        "score {kinds} a.csv -o s.parquet",
        "a.csv: column 'color' holds int64; the model was fitted on text there .blue, green, red",
        kinds("a.csv", color=5),
    ),
    "another-category": Case(
        "score {kinds} a.csv -o s.parquet", "400 rows scored", kinds("a.csv", color=(3, "violet")), status=0
    ),
    "nothing-in-a-column": Case(
        "score {kinds} a.parquet -o s.parquet",
        "400 rows scored",
        lambda: pq.write_table(
            pa.Table.from_pandas(mixed()).set_column(0, "day", pa.nulls(400, pa.string())), "a.parquet"
        ),
        status=0,
    ),
    "infinite": score("a.csv", "1 rows could not be scored: the column flag", frame("a.csv", pt=(5, np.inf)), status=0),
    "overflow": score("a.csv", "1 rows could not be scored: the column flag", frame("a.csv", eta=(5, 1e39)), status=0),
    "cut-off-parquet": score(
        "a.parquet", "a.parquet: cannot be read: ", damaged("a.parquet", lambda d: d[: len(d) // 2])
    ),
    "no-model": Case("score none.diabolo {data} -o s.parquet", "none.diabolo: no such file"),
    "model-is-data": Case("score {data} {data} -o s.parquet", "data.csv is a table; MODEL is a model file"),
    "data-is-model": Case("score {vae} {vae} -o s.parquet", "vae.diabolo is a model file; DATA is a table"),
    "model-is-folder": Case("score . {data} -o s.parquet", ".: is a folder"),
    "no-data": Case("score {vae} none.csv -o s.parquet", "none.csv: no such file"),
    "suffix": Case("score {vae} {data} -o s.doc", "s.doc: unknown file type '.doc'; allowed: "),
    "name": Case("score {vae} {data} -o s.parquet --score nell", "score 'nell': did you mean 'nll'"),
    "name-main": Case("score {ae} {data} -o s.parquet --score msee", "unknown score 'msee': did you mean 'mse'"),
    "needs-vae": Case(
        "score {ae} {data} -o s.parquet --score neg_elbo",
        "score 'neg_elbo' needs a VAE; this model has a point latent and gives .*mu_norm, nll",
    ),
    "needs-detector": Case("score {ae} {data} -o s.parquet --false-alarm-rate 0.1", "ae.diabolo has no detector"),
    "rate": Case("score {vae} {data} -o s.parquet --false-alarm-rate 1", "numbers above 0 and below 1"),
    "rate-nan": Case("score {vae} {data} -o s.parquet --false-alarm-rate nan", "numbers above 0 and below 1"),
    "rate-text": Case("score {vae} {data} -o s.parquet --false-alarm-rate x", "Invalid value for"),
    "rate-too-small": Case(
        "score {vae} {data} -o s.parquet --false-alarm-rate 0.001",
        "needs at least 999 calibration rows, there are 99.*allow a rate of 0.01 or more",
    ),
    "strict": Case(
        "score {vae} a.csv -o s.parquet --strict",
        "a.csv: row 5 cannot be scored: infinite: pt",
        frame("a.csv", pt=(5, np.inf)),
    ),
    "no-out": Case("score {vae} {data}", "Missing option '-o'"),
}


def model(said, change):
    """A model file that nobody can use; `info` says the same as `score`."""
    return Case(
        "score a.diabolo {data} -o s.parquet", f"a.diabolo: .*{said}", damaged("a.diabolo", change, "vae.diabolo")
    )


MODELS = {
    "empty": model("not a model file, or cut off", lambda d: b""),
    "cut-in-the-header": model("not a model file, or cut off", lambda d: d[:200]),
    "cut-in-the-weights": model("cut off or damaged: its tensors need", lambda d: d[:-50]),
    "too-long": model("cut off or damaged", lambda d: d + b"\0"),
    "flip-in-the-header": model("", lambda d: flipped(d, 100)),
    "flip-in-the-weights": model("section '.*' is damaged: its SHA-256 differs", lambda d: flipped(d, len(d) - 9)),
    "oversized-header": model("not a model file, or cut off", lambda d: (1 << 40).to_bytes(8, "little") + d[8:]),
    "foreign": model(
        "a safetensors file, but not a diabolo model",
        lambda d: safetensors({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
    ),
    "newer": model("has format version '9'; this diabolo reads '1' and '2': upgrade", newer),
    "pickle": model("not a model file", lambda d: b"\x80\x04cos\nmkdir\n(S'sprung'\ntR."),
}

OUTPUTS = {
    **{
        f"{trouble}-{verb}": Case(words.format(out=out), said.format(out=re.escape(out)), make, during=during)
        for verb, out, words in (
            ("fit", "out.diabolo", "fit {{data}} --label truth --epochs 1 -q -o {out}"),
            ("score", "out.parquet", "score {{vae}} {{data}} -o {out}"),
            ("score-csv", "out.csv", "score {{vae}} {{data}} -o {out}"),
            ("sample", "out.parquet", "sample {{vae}} -n 3000 --method prior -o {out}"),
            ("sample-csv", "out.csv", "sample {{vae}} -n 3000 --method prior -o {out}"),
            ("sample-npz", "out.npz", "sample {{vae}} -n 3000 --method prior -o {out}"),
            ("sample-npy", "out.npy", "sample {{vae}} -n 3000 --method prior -o {out}"),
            ("fill", "out.parquet", "fill {{vae}} {{data}} -o {out}"),
        )
        for trouble, said, make, during in (
            ("full-disk", "cannot write {out}: .*; nothing was left behind", lambda: None, room_for),
            (
                "full-disk-at-the-end",
                "cannot write {out}: No space left on device; nothing was left behind",
                lambda: None,
                lambda: failing("os.fsync", errno.ENOSPC),
            ),
            (
                "read-only",
                "cannot write {out}: Read-only file system; choose a folder that exists and is writable",
                lambda: None,
                lambda: failing("tempfile._mkstemp_inner", errno.EROFS),
            ),
            (
                "folder",
                "cannot write {out}: it is a folder or a device; choose the name of a file",
                lambda out=out: Path(out).mkdir(),
                contextlib.nullcontext,
            ),
            (
                "pipe",
                "cannot write {out}: it is a folder or a device",
                lambda out=out: os.mkfifo(out),
                contextlib.nullcontext,
            ),
        )
    },
    **{
        f"{trouble}-{verb}": Case(f"{words} {place}", said)
        for verb, words in (
            ("fit", "fit {data} -q -o"),
            ("score", "score {vae} {data} -o"),
            ("sample", "sample {vae} -n 9 --method prior -o"),
            ("fill", "fill {vae} {data} -o"),
        )
        for trouble, place, said in (
            (
                "no-folder",
                "nowhere/out.parquet",
                "cannot write nowhere/out.parquet: No such file or directory; choose a",
            ),
            ("kernel-folder", "/proc/out.parquet", "cannot write /proc/out.parquet: .*; choose a folder that exists"),
        )
    },
    **{
        f"current-folder-{verb}": Case(f"{words} -o .", "-o .: is the folder you are in; name a file, or another")
        for verb, words in (
            ("score", "score {vae} {data}"),
            ("sample", "sample {vae} -n 9 --method prior"),
            ("fill", "fill {vae} {data}"),
        )
    },
    "current-folder-fit": Case("fit {data} -q -o .", "cannot write .: it is a folder or a device; choose the name of"),
    "is-the-input": Case("fit a.csv -o a.csv", "a.csv: is also the input; choose another name", frame("a.csv")),
    "links-to-the-input": Case(
        "score {vae} a.csv -o b.csv",
        "b.csv: is also the input; choose another name",
        lambda: (frame("a.csv")(), os.symlink("a.csv", "b.csv")),
    ),
    "is-the-model": Case(
        "score m.parquet {data} -o m.parquet",
        "m.parquet: is also the input; choose another name",
        damaged("m.parquet", lambda d: d, "vae.diabolo"),
    ),
}

VERBS = {
    "evaluate-label": Case(
        "evaluate {vae} {data} --label thruth", "data.csv: no column 'thruth': did you mean 'truth'"
    ),
    "evaluate-feature": Case("evaluate {vae} {data} --label pt", "fitted on the column 'pt'; a truth column must not"),
    "evaluate-no-label": Case("evaluate {vae} {data}", "Missing option '--label'"),
    "evaluate-model": Case("evaluate {data} {data} --label truth", "data.csv is a table; MODEL is a model file"),
    "evaluate-seed": Case("evaluate {vae} {data} --label truth --seed -1", "Invalid value for '--seed'"),
    "sample-none": Case("sample {vae} -o d.csv -n 0", "-n 0: allowed are whole numbers from 1 up"),
    "sample-half": Case("sample {vae} -o d.csv -n 1.5", "Invalid value for '-n'"),
    "sample-no-n": Case("sample {vae} -o d.csv", "Missing option '-n'"),
    "sample-suffix": Case("sample {vae} -o d.xls -n 5", "d.xls: unknown file type '.xls'"),
    "sample-seed": Case("sample {vae} -o d.csv -n 5 --seed -1", "Invalid value for '--seed'"),
    "sample-model": Case("sample {data} -o d.csv -n 5", "data.csv is a table; MODEL is a model file"),
    "fill-draws": Case("fill {vae} {data} -o d.csv --draws 0", "Invalid value for '--draws'"),
    "fill-suffix": Case("fill {vae} {data} -o d.xls", "d.xls: unknown file type '.xls'"),
    "fill-model": Case("fill {data} {data} -o d.csv", "data.csv is a table; MODEL is a model file"),
    "info-none": Case("info none.diabolo", "none.diabolo: no such file"),
    "info-suffix": Case("info none.txt", "none.txt: "),
    "demo-epochs": Case("demo -o out --epochs 0", "Invalid value for '--epochs'"),
    "unknown": Case("fitt", "No such command 'fitt'.*Did you mean 'fit'"),
    "cluster-none": Case("cluster {vae} {data} -o l.csv --clusters 0", "--clusters 0: allowed are auto and whole"),
    "cluster-method": Case("cluster {vae} {data} -o l.csv --method mixtur", "did you mean 'mixture'"),
    "cluster-setting": Case("cluster {vae} {data} -o l.csv --set starts", "--set starts: expected NAME=VALUE"),
    "cluster-keep": Case("cluster {vae} {data} -o l.csv --no-fit", "holds no clusters: .*; find some"),
    "later": Case("train {vae} {data}", "No such command 'train'"),
    "option": Case("--fast", "No such option: --fast"),
}

GROUPS = {
    "table": TABLES,
    "format": FORMATS,
    "flags": FLAGS,
    "weights": WEIGHTS,
    "resume": RESUME,
    "labels": LABELS,
    "score": SCORES,
    "model": MODELS,
    "output": OUTPUTS,
    "verb": VERBS,
}
CASES = {f"{group}: {name}": case for group, cases in GROUPS.items() for name, case in cases.items()}


def everything(folder):
    """Every file's bytes, by name."""
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else "no file"
        for p in sorted(Path(folder).rglob("*"))
    }


def output_of(words):
    """The file that -o names, if it could hold something before the command."""
    named = [Path(words[i + 1]) for i, word in enumerate(words) if word == "-o"]
    return next((p for p in named if not p.exists() and p.parent == Path() and p.suffix), None)


@pytest.fixture(scope="module")
def stopped(shop):
    """The shop with the checkpoint of a fit that was interrupted after two of its four epochs."""
    words = ("fit", shop / "data.csv", "-o", shop / "m.diabolo", "--label", "truth", "--epochs", 4)

    def stop(epoch):
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    with setting("DIABOLO_CHECKPOINT_SECONDS", "0"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("diabolo.train.progress.print_epoch", stop)
        assert run(*words)[0] == 130
    (shop / "m.diabolo.ckpt").rename(shop / "stopped.ckpt")
    write(mixed(), shop / "kinds.parquet")
    done("fit", shop / "kinds.parquet", "-o", shop / "kinds.diabolo", "--epochs", 1, "-q")
    SHOP[:] = [shop]
    return shop


@pytest.mark.parametrize("case", CASES)
def test_bad_inputs(case, stopped, here):
    c, shop = CASES[case], stopped
    c.make()
    places = {
        "{vae}": shop / "vae.diabolo",
        "{ae}": shop / "ae.diabolo",
        "{data}": shop / "data.csv",
        "{kinds}": shop / "kinds.diabolo",
        "{here}": here,
    }
    words = shlex.split(re.sub(r"{\w+}", lambda m: shlex.quote(str(places.get(m[0], m[0]))), c.words))
    old = output_of(words)
    if old is not None:
        old.write_bytes(OLD)
    before, in_the_shop = everything(here), everything(shop)
    with c.during():
        status, out, err = run(*words)
    assert status == c.status, out + err
    if c.note:
        note, _, err = err.partition("\n")
        assert re.fullmatch(c.note, note)
    if c.status:
        assert re.search(c.said, one_line(err)), err
        assert out == "", "what failed has nothing to tell"
        assert everything(here) == before
    else:
        assert err == ""
        assert re.search(c.said, out), out
        assert set(everything(here)) == set(before) - {"m.diabolo.ckpt"}, "a fit that has ended needs no checkpoint"
    assert everything(shop) == in_the_shop


ROWS = np.random.default_rng(1).normal(size=(300, 4))


def fitted(X=ROWS, **settings):
    return lambda: Autoencoder(epochs=1, **settings).fit(X)


def of_fitted(name, *words, **more):
    return lambda: getattr(Autoencoder(epochs=1).fit(ROWS), name)(*words, **more)


def weighted(w):
    return lambda: Autoencoder(epochs=1).fit(ROWS, sample_weight=w)


def detector(X=ROWS, **settings):
    return lambda: AnomalyDetector(**{"autoencoder": Autoencoder(epochs=1), **settings}).fit(X)


#: The same from Python: a call, the error, what it says.
CALLS = {
    "1-d": (fitted(np.zeros(5)), DataError, "Expected 2D array, got 1D array instead: Reshape your data"),
    "5-d": (fitted(np.zeros((5, 2, 2, 2, 2))), DataError, r"shape \[5, 2, 2, 2, 2\]; allowed are rows .*reshape it"),
    "a-name": (fitted("data.csv"), DataError, "X is 'data.csv' of type str; allowed .*: read the file first"),
    "a-path": (fitted(Path("data.csv")), DataError, "X is 'data.csv' of type .*Path; .*: read the file first"),
    "nothing": (fitted(None), DataError, "X is 'None' of type NoneType; allowed are rows"),
    "a-dictionary": (fitted({"x": [1, 2]}), DataError, r"of type dict; .*pandas.DataFrame\(X\) makes one"),
    "objects": (
        fitted(np.array([["a", 1], ["b", 2]], object)),
        DataError,
        "could not convert string to float: 'a'; allowed",
    ),
    "text": (
        fitted(np.array([["1", "x"]])),
        DataError,
        "not compatible with arrays of bytes/strings.*; allowed are rows",
    ),
    "dates": (fitted(np.array([["2024-01-01"]], "M8[D]")), DataError, "the array has type datetime64"),
    "complex": (fitted(ROWS + 1j), DataError, "Complex data not supported; allowed are rows"),
    "lists-of-many-lengths": (fitted([[1, 2], [3]]), DataError, "inhomogeneous shape .*; allowed are rows"),
    "sparse": (fitted(scipy.sparse.csr_matrix(ROWS)), DataError, "Sparse data was passed.*toarray.*; allowed are rows"),
    "no-rows": (fitted(np.zeros((0, 4))), DataError, "0 sample.*; allowed are rows"),
    "no-columns": (fitted(np.zeros((4, 0))), DataError, "0 feature.*; allowed are rows"),
    "constant": (fitted(np.ones((40, 3))), DataError, "all 3 columns are constant"),
    "missing": (fitted(np.full((40, 3), np.nan)), DataError, "all 3 columns are constant"),
    "infinite": (fitted(np.where(ROWS > 2, np.inf, ROWS)), DataError, r"row \d+, column 'x\d': inf"),
    "huge": (
        fitted(ROWS * 1e300),
        DataError,
        "column 'x0' has values from .*; allowed are spreads from 1e-150 to 1e150",
    ),
    "tiny": (
        fitted(ROWS * 1e-200),
        DataError,
        "column 'x0' has values from .*; allowed are spreads from 1e-150 to 1e150",
    ),
    "twice": (fitted(pd.DataFrame(ROWS, columns=list("abca"))), DataError, "duplicate column names in the data frame"),
    "twice-arrow": (
        fitted(pa.table([[1.0], [2.0]], names=["a", "a"])),
        DataError,
        "duplicate column names in the Arrow",
    ),
    "mixed-kinds": (fitted(pd.DataFrame({"a": [1.5, "x", {}]})), DataError, "column 'a' holds object of mixed kinds"),
    "weights-short": (weighted(np.ones(3)), DataError, r"sample_weight has shape \(3,\); expected \(300,\)"),
    "weights-text": (
        weighted(["a"] * 300),
        DataError,
        "sample_weight: could not convert .*; allowed are finite numbers",
    ),
    "weights-negative": (weighted(-np.ones(300)), DataError, "sample_weight of row 0 is -1.0; allowed are finite"),
    "weights-zero": (weighted(np.zeros(300)), DataError, "sample_weight sums to zero"),
    "width": (of_fitted("transform", ROWS[:, :3]), DataError, "X has 3 features, but Autoencoder is expecting 4"),
    "codes": (
        of_fitted("inverse_transform", np.zeros((3, 9))),
        DataError,
        "codes have 9 columns; this model's latent has",
    ),
    "draws": (of_fitted("reconstruct", ROWS, draws=0), ConfigError, "draws = 0; allowed are whole numbers from 1 up"),
    "sample": (of_fitted("sample", -1), ConfigError, "n = -1; allowed are whole numbers from 1 up"),
    "score": (of_fitted("anomaly_score", ROWS, score="msee"), ConfigError, "unknown score 'msee': did you mean 'mse'"),
    "score-number": (of_fitted("anomaly_score", ROWS, score=3), ConfigError, "unknown score 3: allowed: denoise, mae"),
    "setting": (fitted(latent=5), ConfigError, "its size is latent_dim = 5"),
    "seed": (fitted(random_state="x"), ConfigError, "random_state = 'x': input should be a valid integer"),
    "load": (lambda: load("nothing.diabolo"), ModelFileError, "nothing.diabolo: no such file"),
    "load-folder": (lambda: load("."), ModelFileError, ".: is a folder"),
    "save-folder": (of_fitted("save", "."), OutputError, "cannot write .: it is a folder or a device"),
    "save-nowhere": (of_fitted("save", "nowhere/m"), OutputError, "cannot write nowhere/m: No such file or directory"),
    "detector-of-a-number": (detector(autoencoder=3), ConfigError, "autoencoder = 3; allowed are None and diabolo's"),
    "rate": (detector(false_alarm_rate=0), CalibrationError, "false_alarm_rate = 0; allowed are numbers above 0"),
    "rate-text": (detector(false_alarm_rate="x"), CalibrationError, "false_alarm_rate = 'x'; allowed are numbers"),
    "rate-small": (detector(false_alarm_rate=1e-9), CalibrationError, "needs at least 999,999,999 calibration rows"),
    "calibrate-on-what-was-trained": (
        lambda: AnomalyDetector(Autoencoder(epochs=1).fit(ROWS)).fit(ROWS),
        CalibrationError,
        "0 of 300 rows are left to calibrate on .300 were trained on.; at least 99 are needed",
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_bad_calls(case, here):
    call, error, said = CALLS[case]
    with pytest.raises(error, match=said) as caught:
        call()
    assert isinstance(caught.value, DiaboloError)
    assert "\n" not in str(caught.value)
    assert os.listdir(here) == []


def test_the_table_is_long_enough_and_names_what_must_be_in_it():
    assert len(CASES) >= 60
    for word in (
        "empty",
        "duplicates",
        "infinity",
        "overflow",
        "object",
        "5-d",
        "read-only",
        "full-disk",
        "unknown-setting",
    ):
        assert any(word in name for name in CASES), word


# ── what only a process shows ─────────────────────────────────────────────────────────────────────


def test_an_array_of_objects_is_never_unpickled(shop, here):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, ("sprung",))

    np.savez("a.npz", **{n: np.array([Trap()], object) for n in FEATURES})
    np.save("a.npy", np.array([[Trap()]], object))
    for name in ("a.npz", "a.npy"):
        for words in (
            ("fit", name, "-o", "m"),
            ("score", shop / "vae.diabolo", name, "-o", "s.parquet"),
            ("info", name),
            ("evaluate", shop / "vae.diabolo", name, "--label", "truth"),
        ):
            assert "holds Python objects" in refused(*words)
    assert sorted(os.listdir(here)) == ["a.npy", "a.npz"]


@contextlib.contextmanager
def killed_midway(words, ready, sign=signal.SIGKILL):
    """Run the program and end it as soon as `ready(process)` says so."""
    running = subprocess.Popen(
        [sys.executable, "-m", "diabolo", *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until = time.monotonic() + 60
        while not ready(running):
            assert running.poll() is None, f"it ended by itself: {running.stderr.read()}"
            assert time.monotonic() < until
            time.sleep(0.005)
        running.send_signal(sign)
        running.wait(30)
        yield running
    finally:
        running.kill()
        running.stderr.close()


LONG = ("--epochs", 100_000, "--set", "patience=100000")
INTERRUPTED = "diabolo: interrupted; nothing was left half-written"


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM], ids=lambda s: s.name)
def test_ended_during_fit(sign, shop, tmp_path):
    """SIGTERM is how a batch system ends a job; it tidies up like Ctrl-C and says how to go on."""
    out, kept = tmp_path / "m.diabolo", tmp_path / "m.diabolo.ckpt"
    out.write_bytes(OLD)

    def ready(running):
        running.stderr.readline()
        return kept.exists()

    with killed_midway(("fit", shop / "data.csv", "-o", out, *LONG), ready, sign) as ended:
        if sign == signal.SIGKILL:
            assert ended.returncode == -sign
        else:
            assert ended.returncode == 130
            assert ended.stderr.read().splitlines()[-1] == f"{INTERRUPTED}; --resume goes on from {kept}"
    assert out.read_bytes() == OLD
    hidden = [*tmp_path.glob(".*.part*"), *tmp_path.glob(".*.lock")] if sign == signal.SIGKILL else []
    left = set(os.listdir(tmp_path)) - {p.name for p in hidden}
    assert left == {"m.diabolo", "m.diabolo.ckpt"}


@pytest.fixture(scope="module")
def many(tmp_path_factory, shop):
    """Rows enough for a second of scoring, and a model of them."""
    folder = tmp_path_factory.mktemp("many")
    np.save(folder / "many.npy", np.random.default_rng(0).normal(size=(1_000_000, 4)).astype(np.float32))
    np.save(folder / "few.npy", np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32))
    done("fit", folder / "few.npy", "-o", folder / "m.diabolo", "--epochs", 1, "-q", "--hidden", "256,256")
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("verb", "sign"), [("score", signal.SIGKILL), ("score", signal.SIGTERM), ("sample", signal.SIGTERM)]
)
def test_ended_while_it_writes(verb, sign, many, tmp_path):
    out = tmp_path / "s.parquet"
    out.write_bytes(OLD)
    rows = many / "many.npy" if verb == "score" else "-n"
    words = (
        (verb, many / "m.diabolo", rows, "-o", out)
        if verb == "score"
        else (verb, many / "m.diabolo", "-n", 10**9, "-o", out)
    )
    with killed_midway(words, lambda _: any(p.stat().st_size for p in tmp_path.glob(".*.part*")), sign) as ended:
        if sign == signal.SIGKILL:
            assert ended.returncode == -sign
        else:
            assert ended.returncode == 130
            assert ended.stderr.read().splitlines() == [INTERRUPTED]
    assert out.read_bytes() == OLD
    if sign == signal.SIGTERM:
        assert os.listdir(tmp_path) == ["s.parquet"]


@pytest.mark.parametrize(("raised", "status"), [("", 130), ("plain", -signal.SIGINT)])
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name)
def test_an_interrupt_within_source_text_ends_as_any_other(sign, raised, status, tmp_path):
    """Python remembers a plain KeyboardInterrupt of an `exec`, and ends by it: the second case shows that."""
    (tmp_path / "program.py").write_text(
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # tests in the background have it ignored
        "import diabolo.cli.app\n"
        "program = sys.modules['diabolo.cli.app']\n"
        "def verb(_):\n"
        f"    if {bool(raised)}: signal.signal({int(sign)}, signal.default_int_handler)\n"
        f"    exec('os.kill(os.getpid(), {int(sign)}); time.sleep(60)')\n"
        "program.typer.main.get_command = verb\n"
        "sys.argv = ['diabolo', 'info']\n"
        "program.main()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-m", "program"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert (ended.returncode, ended.stderr.splitlines()) == (status, [INTERRUPTED])


def test_nowhere_to_say_it(shop, here):
    """/dev/full takes nothing: what was written stays, and one line says that the summary could not be."""
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "diabolo", "info", str(shop / "vae.diabolo")],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=600,
        )
    assert ended.returncode == 2
    assert "cannot write to stdout: No space left on device" in one_line(ended.stderr)
