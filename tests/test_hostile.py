"""Files made to fill memory, to wait for ever, to reach the terminal, and what killed writers leave behind."""

import base64
import bz2
import io
import json
import os
import signal
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzz_dbl import framed
from program import done, left_behind, one_line, program, refused, run, table

from diabolo import AnomalyDetector, Autoencoder, LatentClusterer
from diabolo.artifact import Section, read_content, write_sections
from diabolo.compress import stream
from diabolo.compress.bytesio import BytesWriter
from diabolo.compress.columns import ipc
from diabolo.compress.limits import Budget, check_plain
from diabolo.compress.stream import decompressed, opened, write_file
from diabolo.data.dtypes import python_cells
from diabolo.data.formats import atomic, claims, read_batches
from diabolo.data.times import moment
from diabolo.data.weight import halved, weight
from diabolo.errors import CompressedFileError, ConfigError, DataError, ModelFileError
from diabolo.estimators.compressor import Compressor, decompress
from diabolo.model import checks
from diabolo.screen import visible

# ── compressed files ──────────────────────────────────────────────────────────────────────────────


class Chunk:
    def __init__(self, rows):
        self.rows = rows


def compressed(schema, payload, rows):
    """A `*.dbl` file with valid checksums around one payload."""
    none = [None] * len(schema)
    card = {
        "version": 2,
        "schema": base64.b64encode(schema.serialize()).decode(),
        "bounds": none,
        "grids": none,
        "slots": [],
        "input": {"container": "arrow"},
        "codec": "",
    }
    return framed(json.dumps(card, sort_keys=True, separators=(",", ":")).encode(), b"", [(Chunk(rows), payload)], b"")


def payload(rows, heads):
    out = BytesWriter()
    out.number(rows)
    out.number(1)
    out.piece(b"")
    return bytes(out.data) + heads


def constant():
    """A column of one value, in two bytes."""
    return bytes([0, 0, 2])


def carried_list(rows, codec):
    """A list column in an Arrow stream whose body is compressed, in turn packed by bz2."""
    column = pa.array([[0] * 1_000] * rows)
    batch = pa.RecordBatch.from_arrays([column], names=["x"])
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=codec)
    with pa.ipc.new_stream(sink, batch.schema, options=options) as out:
        out.write_batch(batch)
    inner = BytesWriter()
    inner.number(0)
    inner.piece(b"\2" + bz2.compress(sink.getvalue().to_pybytes()))
    return bytes(inner.data)


def long_word(size, kind):
    """One word of many letters that stands in every row."""
    inner = BytesWriter()
    inner.number(0)
    inner.piece(b"\2" + bz2.compress(ipc(pa.array(["a" * size], kind))))
    return bytes(inner.data) + bytes([0, 0])


BOMBS = {
    "rows": (pa.schema([(f"c{i}", pa.float64()) for i in range(64)]), payload(1 << 24, constant() * 64), 1 << 24),
    "columns": (
        pa.schema([(f"c{i}", pa.float64()) for i in range(2_000)]),
        payload(1 << 17, constant() * 2_000),
        1 << 17,
    ),
    "zstd": (pa.schema([("x", pa.list_(pa.int64()))]), payload(2_000, carried_list(2_000, "zstd")), 2_000),
    "word": (pa.schema([("x", pa.string())]), payload(1 << 17, long_word(1 << 20, pa.string())), 1 << 17),
    "large word": (
        pa.schema([("x", pa.large_string())]),
        payload(1 << 17, long_word(1 << 20, pa.large_string())),
        1 << 17,
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_small_files_that_would_fill_memory_are_refused(name):
    schema, body, rows = BOMBS[name]
    data = compressed(schema, body, rows)
    assert len(data) < 100_000
    before = pa.total_allocated_bytes()
    with pytest.raises(CompressedFileError, match=r"impossible|memory|compressed buffers"):
        list(decompressed(opened(data)))
    assert pa.total_allocated_bytes() - before < 1 << 28


def test_the_same_files_in_a_sane_size_are_read():
    """What is refused above is refused for its size, not for how it is made."""
    schema = pa.schema([(f"c{i}", pa.float64()) for i in range(3)])
    (batch,) = decompressed(opened(compressed(schema, payload(5, constant() * 3), 5)))
    assert batch.num_rows == 5
    schema = pa.schema([("x", pa.string())])
    (batch,) = decompressed(opened(compressed(schema, payload(4, long_word(10, pa.string())), 4)))
    assert batch.column(0).to_pylist() == ["a" * 10] * 4


def test_a_header_that_is_nested_without_end_and_one_without_columns():
    for header, said in ((b"[" * 200_000, "header is damaged"), (None, "no columns")):
        data = compressed(pa.schema([]), payload(9, b""), 9) if header is None else framed(header, b"", [], b"")
        with pytest.raises(CompressedFileError, match=said):
            opened(data)


def test_what_a_writer_makes_a_reader_takes(monkeypatch):
    """Long words and lists that repeat: chunks become smaller, and come back."""
    monkeypatch.setattr(stream, "CHUNK_BYTES", 1 << 20)
    words = pa.array(["ü" * 2_000, "b"] * 500)
    table = pa.table({"words": words, "lists": pa.array([[1, 2, 3] * 50] * 1_000)})
    data = Compressor(max_error=None).fit(table.slice(0, 50)).compress(table)
    reader = opened(data)
    assert len(reader.chunks) > 1
    assert decompress(data).equals(table)
    huge = pa.table({"x": pa.array(["a" * ((1 << 20) + 1)])}).to_batches()
    plan = Compressor(max_error=None).fit(pa.table({"x": ["a"]})).plan_
    with pytest.raises(DataError, match="a chunk"):
        write_file(io.BytesIO(), huge, plan, {"container": "arrow"})


def test_a_budget_grows_with_the_file():
    Budget(1 << 20).spend(1 << 30)
    with pytest.raises(CompressedFileError):
        Budget(1 << 10).spend(1 << 30)
    check_plain(ipc(pa.array(["a"]).dictionary_encode()))


@pytest.mark.parametrize(
    "array",
    [
        pa.array(["a", None, "bcd"]),
        pa.array(["a", "bcd"]).dictionary_encode(),
        pa.array([[1, 2], None, [3]]),
        pa.array([{"a": 1, "b": "xyz"}]),
        pa.array([[1.0, 2.0]], pa.list_(pa.float64(), 2)),
        pa.array([b"12"], pa.binary_view()),
        pa.array([True, False]),
        pa.nulls(5),
    ],
    ids=str,
)
def test_the_weight_of_every_type_is_known(array):
    assert 0 <= weight(array) <= 64 * max(len(array), 1)
    batch = pa.RecordBatch.from_arrays([array], ["x"])
    assert pa.Table.from_batches(halved(batch, 1)).column(0).to_pylist() == array.to_pylist()


# ── tables ────────────────────────────────────────────────────────────────────────────────────────


def test_a_column_major_array_in_an_archive_is_read_row_by_row(tmp_path):
    x = np.asfortranarray(np.random.default_rng(0).normal(size=(5_000, 3)))
    np.savez_compressed(tmp_path / "f.npz", x=x)
    read = np.concatenate([np.stack([c.to_numpy() for c in b.columns], 1) for b in read_batches(tmp_path / "f.npz")])
    assert np.array_equal(read, x)
    with zipfile.ZipFile(tmp_path / "f.npz") as whole, zipfile.ZipFile(tmp_path / "cut.npz", "w") as cut:
        cut.writestr("x.npy", whole.read("x.npy")[:-80])
    with pytest.raises(DataError, match="its header says"):
        list(read_batches(tmp_path / "cut.npz"))


def test_one_long_word_in_every_row_does_not_fill_memory(tmp_path):
    pq.write_table(pa.table({"s": ["a" * 20_000_000] * 20, "x": np.arange(20.0)}), tmp_path / "t.parquet")
    assert max(sum(weight(c) for c in b.columns) for b in read_batches(tmp_path / "t.parquet")) < 1 << 26
    shown = done("info", tmp_path / "t.parquet")
    line = refused("fit", tmp_path / "t.parquet", "-o", tmp_path / "m.diabolo")
    for said in (shown, line):
        assert "text of 20,000,000 bytes" in said
        assert "--exclude s" in said
    assert "x  " in shown
    done("fit", tmp_path / "t.parquet", "-o", tmp_path / "m.diabolo", "--epochs", 1, "-q", "--exclude", "s")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes of a name here")
@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "m.diabolo", "t.dbl"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    result = program("info", tmp_path / name)
    assert result.returncode == 2
    assert "pipe" in one_line(result.stderr)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of file sizes as Linux has them")
@pytest.mark.parametrize("limit", [0, 8_192, 200_000])
def test_hdf5_on_a_full_disk_is_one_line(tmp_path, limit):
    code = f"""
import resource, signal
import numpy as np, pyarrow as pa
from diabolo.data.formats import write_batches
from diabolo.errors import OutputError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
t = pa.table({{c: np.random.default_rng(0).normal(size=20_000) for c in "abc"}})
try:
    write_batches({str(tmp_path / "q.h5")!r}, t.schema, iter(t.to_batches(5_000)))
except OutputError as error:
    raise SystemExit(7)
"""
    result = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True, timeout=300)
    assert result.returncode == 7, result.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_is_swept_by_the_next_and_a_living_ones_is_not(tmp_path):
    code = f"""
import os, signal
from diabolo.data.formats import atomic
with atomic({str(tmp_path / "out.csv")!r}) as part:
    part.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", code], timeout=300)
    assert killed.returncode == -signal.SIGKILL
    assert len(left_behind(tmp_path)) == 1
    other = tmp_path / ".other.csv.abcdefgh.part.csv"
    other.write_text("of another file")
    with atomic(tmp_path / "out.csv") as living:
        living.write_text("first")
        with atomic(tmp_path / "out.csv") as part:
            part.write_text("second")
        assert living.exists()
    assert (tmp_path / "out.csv").read_text() == "first"
    assert left_behind(tmp_path) == [other.name]


# ── the terminal ──────────────────────────────────────────────────────────────────────────────────

NAMES = ["\x1b[31mred\x1b]0;OWNED\x07", "\u202eturned", "tab\tbell\x07", "c1\x9b31m"]


def test_names_and_words_of_files_are_shown_and_never_obeyed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({n: rng.normal(size=200) for n in NAMES})
    frame["w"] = rng.choice(["\x1b[2J\x1b[31mX", "plain"], 200)
    frame.to_parquet("t.parquet")
    said = [
        *run("info", "t.parquet")[1:],
        *run("fit", "t.parquet", "-o", "m.diabolo", "--epochs", 1)[1:],
        *run("info", "m.diabolo")[1:],
        *run("explain", "m.diabolo", "t.parquet", "--row", 0)[1:],
        *run("compress", "m.diabolo", "t.parquet", "-o", "t.dbl", "--no-verdict")[1:],
        *run("info", "t.dbl")[1:],
        *run("info", "\x1b[31mmissing.csv")[1:],
    ]
    text = "".join(said)
    assert "red" in text
    for character in "\x1b\x07\u202e\x9b":
        assert character not in text
    assert visible("a\tb\nc\xa0d") == "a\tb\nc\xa0d"


# ── model files and settings ──────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    table().drop(columns="truth").to_parquet(folder / "t.parquet")
    done("fit", folder / "t.parquet", "-o", folder / "m.diabolo", "--epochs", 1, "--only", "main")
    det = AnomalyDetector(Autoencoder(epochs=1, latent_dim=1, hidden=(4,)))
    det.fit(np.random.default_rng(0).normal(size=(600, 3))).save(folder / "d.diabolo")
    return folder


def rewritten(path, target, change):
    content = read_content(path)
    sections = dict(content.sections)
    change(sections)
    write_sections(target, sections, saved=content.saved)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_a_calibration_that_is_not_finite_is_refused(model, tmp_path, value):
    def change(sections):
        tensors = sections["detector"].tensors
        tensors["calibration"] = np.full_like(tensors["calibration"], value)

    rewritten(model / "d.diabolo", tmp_path / "x.diabolo", change)
    with pytest.raises(ModelFileError, match="calibration"):
        AnomalyDetector.load(tmp_path / "x.diabolo")


def test_hostile_cards_are_refused_by_compress_too(model, tmp_path):
    def without_encoding(sections):
        del sections["main"].card["encoding"]

    def deep(sections):
        card = {"header": "[" * 200_000, "bytes": 0, "bounds": []}
        sections["codec"] = Section(card, {"data": np.zeros(0, "<u8")})

    def layers(sections):
        sections["main"].card["config"]["hidden"] = [1] * 200_000

    for change in (without_encoding, deep, layers):
        target = tmp_path / f"{change.__name__}.diabolo"
        rewritten(model / "m.diabolo", target, change)
        line = refused("compress", target, model / "t.parquet", "-o", tmp_path / "o.dbl")
        assert str(target) in line


def test_rates_below_any_number_are_told_in_words(model, tmp_path):
    pd.DataFrame(np.random.default_rng(1).normal(size=(20, 3)), columns=["x0", "x1", "x2"]).to_csv(
        tmp_path / "t.csv", index=False
    )
    for flag in ("--fdr", "--false-alarm-rate"):
        line = refused("score", model / "d.diabolo", tmp_path / "t.csv", "-o", tmp_path / "s.csv", flag, "1e-320")
        assert "10^320 calibration rows" in line


def test_a_model_that_memory_has_no_room_for_is_refused(monkeypatch):
    monkeypatch.setattr(checks, "memory_limit", lambda: 8 << 30)
    X = np.random.default_rng(0).normal(size=(200, 4))
    with pytest.raises(ConfigError, match="65,536"):
        Autoencoder(latent_dim=65536, epochs=1).fit(X)
    Autoencoder(latent_dim=3, epochs=1).fit(X)


@pytest.mark.parametrize("said", [1e300, 1e-300, "1e-300%", "1e300"])
def test_bounds_beyond_every_grid_are_refused_as_bounds(said):
    with pytest.raises(ConfigError, match=r"max_error = .*allowed"):
        Compressor(max_error=said).fit(np.full((5, 1), np.nan))


# ── dates of any year ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("unit", ["s", "ms"])
@pytest.mark.parametrize("year", [10001, 250000, -44])
def test_dates_of_any_year_are_printed_by_every_verb(tmp_path, unit, year):
    rng = np.random.default_rng(0)
    stamps = (1_600_000_000 + rng.integers(0, 10**6, 300)).astype("datetime64[s]")
    stamps[::5] = np.datetime64(0, "s") + np.timedelta64(int((year - 1970) * 31_556_952), "s")
    pq.write_table(
        pa.table({"x": rng.normal(size=300), "t": pa.array(stamps.astype(f"datetime64[{unit}]"))}),
        tmp_path / "t.parquet",
    )
    m = tmp_path / "m.diabolo"
    shown = str(stamps[0])[:4]
    assert shown in done("info", tmp_path / "t.parquet")
    done("fit", tmp_path / "t.parquet", "-o", m, "--epochs", 1)
    assert shown in done("info", m)
    assert shown in "".join(done("explain", m, tmp_path / "t.parquet", "--row", 0).split())
    done("score", m, tmp_path / "t.parquet", "-o", tmp_path / "s.parquet", "--explain")


def test_every_time_has_words():
    for unit in ("s", "ms", "us", "ns"):
        cells = pa.array([-(2**63) + 1, 2**63 - 1, None, 0], pa.int64()).cast(pa.timestamp(unit))
        assert [c is None for c in python_cells(cells)] == [False, False, True, False]
    assert python_cells(pa.array([2**31 - 1], pa.int32()).cast(pa.date32()))[0] > np.datetime64("9999")
    assert moment(float(2**63))
    assert moment(-float(2**63))


# ── parts of tables that claim more than they have ────────────────────────────────────────────────


def small(table, path):
    """Written with compression, as a file of its suffix."""
    if path.suffix == ".parquet":
        pq.write_table(table, path, compression="zstd", use_dictionary=False)
        return
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with (pa.ipc.new_stream if path.suffix == ".arrows" else pa.ipc.new_file)(
        path, table.schema, options=options
    ) as out:
        out.write_table(table)


CLAIMS = {
    "numbers": pa.table({"x": np.zeros(1 << 19), "y": np.zeros(1 << 19)}),
    "word": pa.table({"x": np.arange(9.0), "w": pa.array(["a" * (1 << 22)] * 9).dictionary_encode()}),
    "nested": pa.table({"x": [1.0, 2.0], "l": pa.array([np.zeros(1 << 19), []])}),
}


@pytest.mark.parametrize("suffix", ["arrow", "arrows", "parquet"])
@pytest.mark.parametrize("name", CLAIMS)
def test_parts_that_would_unpack_to_a_multiple_that_no_table_reaches_are_refused(tmp_path, monkeypatch, name, suffix):
    path = tmp_path / f"t.{suffix}"
    small(CLAIMS[name], path)
    assert path.stat().st_size < 10_000
    assert pa.Table.from_batches(read_batches(path, nested=True)).num_rows == CLAIMS[name].num_rows
    monkeypatch.setattr(claims, "FREE", 1 << 20)
    before = pa.total_allocated_bytes()
    with pytest.raises(DataError, match=r"bytes that would unpack to \d"):
        list(read_batches(path, nested=True))
    assert pa.total_allocated_bytes() - before < 1 << 20


def test_a_footer_that_claims_less_than_its_pages_helps_nobody(tmp_path, monkeypatch):
    path = tmp_path / "t.parquet"
    pq.write_table(CLAIMS["numbers"], path, compression="zstd", use_dictionary=False)
    column = pq.ParquetFile(path).metadata.row_group(0).column(0)
    written = path.read_bytes()
    length = int.from_bytes(written[-8:-4], "little")
    pages, footer = written[: -8 - length], written[-8 - length :]
    said = varint(2 * column.total_uncompressed_size, 4)
    assert said in footer
    path.write_bytes(pages + footer.replace(said, varint(2 * 1_000, 4)))
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).total_uncompressed_size == 1_000
    monkeypatch.setattr(claims, "FREE", 1 << 17)
    with pytest.raises(DataError, match="a page of column 'x'"):
        list(read_batches(path))


def varint(number, count):
    """A number of Thrift's compact protocol in so many bytes, seven bits each."""
    return bytes((number >> 7 * i) & 127 | (128 if i < count - 1 else 0) for i in range(count))


def test_batches_of_nulls_without_end_and_offsets_beyond_the_file_are_refused(tmp_path):
    path = tmp_path / "t.arrow"
    small(pa.table({"n": pa.nulls(77)}), path)
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack("<q", 77), struct.pack("<q", 1 << 40)))
    with pytest.raises(DataError, match="would unpack to 8,796,093,022,208"):
        list(read_batches(path))
    small(CLAIMS["numbers"], path)
    content = path.read_bytes()
    said = []
    for at in range(0, len(content), 3):
        path.write_bytes(content[:at] + struct.pack("<q", 1 << 62) + content[at + 8 :])
        try:
            list(read_batches(path))
        except DataError as error:
            said.append(str(error))
    assert len(said) > 20
    assert not any("\n" in line for line in said)


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY", "PLAIN"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "brotli", "zstd", "lz4"])
def test_parquet_of_every_layout_is_read(tmp_path, encoding, version, compression):
    words = pa.array(["abc", "abd", None, "x"] * 500)
    layout = {"w": encoding, "x": "BYTE_STREAM_SPLIT", "l.list.element": "DELTA_BINARY_PACKED"}
    made = pa.table({"w": words, "x": np.arange(2_000) / 7, "l": [[1, 2], None, [], [3]] * 500})
    options = {"column_encoding": layout, "use_dictionary": False, "data_page_version": version}
    pq.write_table(made, tmp_path / "t.parquet", compression=compression, data_page_size=1_000, **options)
    assert pa.Table.from_batches(read_batches(tmp_path / "t.parquet", nested=True)).to_pylist() == made.to_pylist()


def test_words_that_share_their_letters_are_read_some_at_a_time(tmp_path):
    """A word of a megabyte that a few bytes repeat in each of a thousand rows."""
    made = pa.table({"w": ["a" * 1_000_000] * 1_000, "x": np.arange(1_000.0)})
    layout = {"w": "DELTA_BYTE_ARRAY", "x": "PLAIN"}
    pq.write_table(made, tmp_path / "t.parquet", use_dictionary=False, column_encoding=layout, compression="zstd")
    del made
    before, rows = pa.total_allocated_bytes(), 0
    for batch in read_batches(tmp_path / "t.parquet"):
        rows += batch.num_rows
        assert pa.total_allocated_bytes() - before < 1 << 28
    assert rows == 1_000


def test_a_group_of_clusters_beyond_all_others_is_refused_at_once(tmp_path):
    X = np.random.default_rng(0).normal(size=(200, 3))
    X[100:] += 5
    found = LatentClusterer(Autoencoder(latent_dim=2, hidden=(4,), epochs=1), n_clusters=2, n_resamples=1).fit(X)
    found.save(tmp_path / "c.diabolo")

    def far(sections):
        group = sections["clusters"].tensors["group"].copy()
        group[0] = 1 << 62  # as many numbers would be 37 exabytes
        sections["clusters"].tensors["group"] = group

    assert LatentClusterer.load(tmp_path / "c.diabolo").predict(X).max() == 1
    rewritten(tmp_path / "c.diabolo", tmp_path / "x.diabolo", far)
    with pytest.raises(ModelFileError, match="groups have no component"):
        LatentClusterer.load(tmp_path / "x.diabolo")
