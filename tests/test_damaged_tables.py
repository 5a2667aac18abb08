"""Footers of Parquet files against PyArrow's reading of them, damaged ones, and mutations of every binary format."""

import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzz_tables import FILES, packed_struct, parquet_files, plain_struct, structs_of
from program import refused, run

from diabolo.data.formats import read_batches
from diabolo.data.formats.base import Source
from diabolo.data.formats.footer import CODECS, chunks_of
from diabolo.data.formats.thrift import Damaged, struct_at
from diabolo.errors import DataError

SOURCE = Path(__file__)


@pytest.fixture(scope="module")
def sound():
    return [data for _, data in parquet_files()]


def parts(data):
    """(bytes before the footer, the footer's struct)."""
    at = len(data) - 8 - struct.unpack("<I", data[-8:-4])[0]
    return data[:at], plain_struct(data, at)[0]


def whole(pages, footer):
    packed = packed_struct(footer)
    return pages + packed + struct.pack("<I", len(packed)) + b"PAR1"


def first_chunk(footer):
    """The first column of the first row group; its field 3 says what it is."""
    _, (_, groups) = footer[4]
    _, (_, columns) = groups[0][1]
    return columns[0]


def found(data):
    return chunks_of(memoryview(data), Source(SOURCE, "t.parquet"))


def test_chunks_are_what_pyarrow_says(sound):
    for data in sound:
        metadata = pq.ParquetFile(pa.BufferReader(data)).metadata
        theirs = [
            metadata.row_group(i).column(j) for i in range(metadata.num_row_groups) for j in range(metadata.num_columns)
        ]
        chunks = found(data)
        assert len(chunks) == len(theirs) > 0
        for chunk, column in zip(chunks, theirs, strict=True):
            assert chunk.path == column.path_in_schema
            assert chunk.codec.replace("LZ4_RAW", "LZ4") == column.compression
            assert (chunk.values, chunk.packed) == (column.num_values, column.total_compressed_size)
            assert chunk.plain == column.total_uncompressed_size
            first = column.dictionary_page_offset if column.has_dictionary_page else column.data_page_offset
            assert chunk.start == min(first, column.data_page_offset)
            names = {6: "DELTA_LENGTH_BYTE_ARRAY", 7: "DELTA_BYTE_ARRAY"}
            assert {names[e] for e in chunk.encodings & names.keys()} == set(column.encodings) & set(names.values())


DAMAGES = {
    "codec": (lambda c: c.update({4: (5, len(CODECS))}), "has the codec 8; there are 0 to 7"),
    "negative": (lambda c: c.update({7: (6, -1)}), "has a negative number"),
    "offset": (lambda c: c.update({9: (6, 2**40)}), "has bytes 1,099,511,627,776"),
    "size": (lambda c: c.update({7: (6, 2**40)}), r"has bytes \d+ to 1,099"),
    "lost": (lambda c: c.pop(4), "something is missing"),
    "kind": (lambda c: c.update({3: (6, 5)}), "something is missing"),
    "name": (lambda c: c.update({3: (9, (8, [b"\xff"]))}), "something is missing"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_footer_is_refused(sound, name):
    pages, footer = parts(sound[2])
    change, said = DAMAGES[name]
    assert found(whole(pages, footer))
    change(first_chunk(footer)[3][1])
    with pytest.raises(DataError, match=f"footer is damaged: .*{said}"):
        found(whole(pages, footer))


def test_lengths_and_depths_of_a_footer_are_bounded(sound):
    pages, footer = parts(sound[2])
    for length in (0, 2, len(sound[2]), 2**32 - 1):
        with pytest.raises(DataError, match="footer is damaged"):
            found(sound[2][:-8] + struct.pack("<I", length) + b"PAR1")
    for data, said in (
        (b"\x1c" * 40, "structs within structs"),
        (b"\x19" + b"\x19" * 40, "lists within lists"),
        (b"\x19\xf5\xff\xff\xff\xff\x0f", "a list of"),
        (b"\x18\xff\xff\xff\xff\x0f", "a text of"),
        (b"\x15" + b"\xff" * 12, "more than 64 bits"),
        (b"\x1f", "type 15"),
        (b"\x15", "does not end"),
    ):
        with pytest.raises(Damaged, match=said):
            struct_at(data, 0)
    first_chunk(footer)[1] = (8, b"other.parquet")
    with pytest.raises(DataError, match="columns lie in other files"):
        found(whole(pages, footer))


def test_histograms_of_another_length_end_no_process(sound, tmp_path):
    """Asking PyArrow for such a column's metadata ends the process."""
    changed = 0
    for number, data in enumerate(sound):
        pages, footer = parts(data)
        for inner in structs_of(footer):
            sizes = inner.get(16, (0, {}))[1]  # size statistics of a column: 2 and 3 are histograms
            for field in {2, 3} & set(sizes if isinstance(sizes, dict) else ()):
                sizes[field] = (9, (6, [1, 2, 3, 4, 5, 6, 7]))
                changed += 1
        (tmp_path / f"{number}.parquet").write_bytes(whole(pages, footer))
        status, _, err = run("info", tmp_path / f"{number}.parquet")
        assert status in (0, 2), err
        assert "Traceback" not in err
    assert changed > 10


def test_cells_that_are_no_text_are_refused(tmp_path):
    table = pa.table({"x": np.arange(40.0), "s": ["abcd"] * 40})
    pq.write_table(table, tmp_path / "t.parquet", use_dictionary=False, compression="none", write_statistics=False)
    data = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(data.replace(b"abcd", b"\xff\xfe\xfd\xfc"))
    assert "UTF8" in refused("info", tmp_path / "t.parquet")


def test_rows_that_were_never_written_are_refused(tmp_path):
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file.create_dataset("x", (1 << 40,), "f8", chunks=(1 << 16,))
    assert "would unpack to 8,796,093,022,208" in refused("info", tmp_path / "t.h5")
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file.create_dataset("x", (1 << 16,), "f8", chunks=(1 << 12,))
    assert sum(b.num_rows for b in read_batches(tmp_path / "t.h5")) == 1 << 16


@pytest.mark.parametrize("chunks", [None, (8,)])
@pytest.mark.parametrize("kind", [h5py.vlen_dtype(np.int32), h5py.string_dtype()], ids=["lists", "words"])
def test_a_list_that_is_longer_than_its_file_is_refused(tmp_path, kind, chunks):
    """HDF5's library makes room for what a length says before it looks for the values."""
    cell = "abc" if h5py.check_string_dtype(kind) else np.full(3, 7, np.int32)
    with h5py.File(tmp_path / "t.h5", "w") as file:
        made = file.create_dataset("l", (40,), kind, chunks=chunks)
        for i in range(40):
            made[i] = cell
        at = made.id.get_offset() if chunks is None else made.id.get_chunk_info(2).byte_offset
    assert sum(b.num_rows for b in read_batches(tmp_path / "t.h5")) == 40
    data = bytearray((tmp_path / "t.h5").read_bytes())
    assert data[at : at + 4] == struct.pack("<I", 3)
    data[at : at + 4] = struct.pack("<I", 2**31)
    (tmp_path / "t.h5").write_bytes(data)
    with pytest.raises(DataError, match="a cell of 2,147,483,648 values"):
        list(read_batches(tmp_path / "t.h5"))


#: A field of each kind that holds words or lists, with what else moves its place in the file.
HELD = np.dtype(
    [
        ("n", "i1"),
        ("w", h5py.string_dtype()),
        ("l", h5py.vlen_dtype(np.float64)),
        ("two", h5py.string_dtype(), (2,)),
        ("in", [("u", "i2"), ("deep", h5py.string_dtype())]),
    ]
)
WAYS = {
    "whole": {},
    "chunks": {"chunks": (16,)},
    "gzip": {"chunks": (16,), "compression": "gzip"},
    "shuffled": {"chunks": (16,), "compression": "gzip", "shuffle": True},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("length", [3001, 3002, 3004, 3005, 3006])
def test_lengths_within_fields_and_packed_chunks_are_known_before(tmp_path, way, length):
    """Each field's own length is made huge, in a file whose checksums say nothing of it."""
    words = [(1, "a" * 3001, np.zeros(3002), ["b" * 3003, "c" * 3004], (2, "d" * 3005))] * 40
    lists = h5py.vlen_dtype(np.int16)
    with h5py.File(tmp_path / "t.h5", "w", userblock_size=512) as file:
        file.create_dataset("rows", data=np.array(words, HELD), **WAYS[way])
        made = file.create_dataset("l", (40,), lists, **WAYS[way])
        for i in range(40):
            made[i] = np.zeros(3006, np.int16)
    parts = {n: list(read_batches(f"{tmp_path}/t.h5::{n}")) for n in ("rows", "l")}
    assert [sum(b.num_rows for b in p) for p in parts.values()] == [40, 40]
    name = "l" if length == 3006 else "rows"
    data = (tmp_path / "t.h5").read_bytes()
    with h5py.File(tmp_path / "t.h5", "r+") as file:
        made, small, large = file[name], struct.pack("<I", length), struct.pack("<I", 2**30)
        if "compression" in WAYS[way]:
            # What the shuffle takes for a cell: of a list alone it is a byte, and nothing moves.
            width = (made.id.get_create_plist().get_filter(0)[2] or (1,))[0]
            plain = zlib.decompress(made.id.read_direct_chunk((16,))[1])
            if way == "shuffled":
                plain = np.frombuffer(plain, "u1").reshape(width, -1).T.tobytes()
            assert plain.count(small) == 16
            plain = plain.replace(small, large, 1)
            if way == "shuffled":
                plain = np.frombuffer(plain, "u1").reshape(-1, width).T.tobytes()
            made.id.write_direct_chunk((16,), zlib.compress(plain))
        else:
            at = made.id.get_offset() if way == "whole" else made.id.get_chunk_info(2).byte_offset
            at = data.index(small, at)
    if "compression" not in WAYS[way]:
        (tmp_path / "t.h5").write_bytes(data[:at] + large + data[at + 4 :])
    with pytest.raises(DataError, match="a cell of 1,073,741,824 values"):
        list(read_batches(f"{tmp_path}/t.h5::{name}"))


@pytest.mark.parametrize("size", [0, 2**64 - 8, 1 << 20], ids=["none", "back", "beyond"])
@pytest.mark.parametrize("compression", [None, "gzip", "lzf"])
def test_a_heap_that_leads_nowhere_is_refused(tmp_path, size, compression):
    """HDF5's library steps by the sizes that objects say, and never ends where what is free has no bytes."""
    with h5py.File(tmp_path / "t.h5", "w") as file:
        made = file.create_dataset("l", (40,), h5py.vlen_dtype(np.int32), compression=compression)
        for i in range(40):
            made[i] = range(i % 3)
    assert sum(b.num_rows for b in read_batches(tmp_path / "t.h5")) == 40
    data = bytearray((tmp_path / "t.h5").read_bytes())
    start = data.index(b"GCOL")
    at, free = start + 16, None
    while free is None:
        number, held = struct.unpack_from("<H", data, at)[0], struct.unpack_from("<Q", data, at + 8)[0]
        free = at if number == 0 else None
        at += 16 + -(-held // 8) * 8
    struct.pack_into("<Q", data, free + 8, size)
    (tmp_path / "t.h5").write_bytes(data)
    with pytest.raises(DataError, match=f"the heap of lists and words at byte {start:,} does not add up"):
        list(read_batches(tmp_path / "t.h5"))


def test_mutations_of_every_format_are_read_or_refused():
    """In processes of their own; `make fuzz` tries more."""
    words = [sys.executable, Path(__file__).with_name("fuzz_tables.py"), "--mutations", "60", "--seed", "1"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = {
        line.partition(": ")[0]: json.loads(line[line.index("{") : line.index("}") + 1])
        for line in ended.stdout.splitlines()
    }
    assert list(told) == list(FILES)
    for kind, counts in told.items():
        assert counts["tried"] == 60
        assert counts["read"] > 3, kind
        assert counts["refused"] > 3, kind
