"""Tables as people have them: every registered format by one contract, and files that other programs wrote."""

from __future__ import annotations

import datetime
import math
import os

import numpy as np
import pyarrow as pa
import pytest

from diabolo.data.formats import format_of, formats, read_batches, schema_of, write_batches
from diabolo.errors import DataError

SUFFIXES = [pytest.param(s, id=s) for n in formats for s in formats.get(n).suffixes]
WRITTEN = [p for p in SUFFIXES if format_of(f"rows{p.values[0]}").name != "images"]
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
    if format_of(path).name == "csv" and kind.startswith(("float32", "huge")):
        table = table.cast(pa.schema([("x0", pa.float64())]), safe=False)  # text of numbers is read in double precision
        back = back.cast(pa.schema([("x0", pa.float32())])) if kind.startswith("float32") else back
    assert cells(back) == cells(table)
    assert {p.values[0] for p in WRITTEN} >= {".parquet", ".csv", ".npz", ".h5", ".root", ".arrow", ".idx"}
    if kind in ("float64", "float32", "uint8", "int16", "bool") and format_of(path).name != "csv":
        assert back.schema.field("x0").type == table.schema.field("x0").type


@pytest.mark.parametrize("suffix", WRITTEN)
@pytest.mark.parametrize("rows", [0, 1, 2, 99, 100, 101])
def test_any_number_of_rows(suffix, rows, tmp_path, monkeypatch):
    monkeypatch.setattr("diabolo.data.formats.CHUNK", 50)
    values = np.random.default_rng(rows).normal(size=(rows, 3))
    table = pa.table({f"x{i}": values[:, i] for i in range(3)})
    path = written(table, tmp_path / f"rows{suffix}", rows=33)
    batches = list(read_batches(path))
    assert [b.num_rows for b in batches if b.num_rows] == [n for n in (50, 50, 50) if n][: rows // 50] + (
        [rows % 50] if rows % 50 else []
    ) or format_of(path).name in ("arrow", "csv", "parquet")
    assert all(b.num_rows <= 50 for b in batches)
    assert cells(read(path)) == cells(table)
    known = schema_of(path)[1]
    assert known in (rows, None)
    assert known == rows or format_of(path).name == "csv" or suffix == ".arrows"


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
