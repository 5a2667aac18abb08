"""Compressed files: bounds hold, exact columns are exact, damage is named, and lengths are those of the model."""

import contextlib
import hashlib
import io
import json
import os
import resource
import struct
import subprocess
import sys

import hypothesis.extra.numpy as hnp
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import diabolo
import diabolo.compress.bins
from diabolo.compress.bins import Bins, RowTables
from diabolo.compress.bytesio import BytesReader, pack, unpack
from diabolo.compress.chunk import decode_chunk, encode_chunk
from diabolo.compress.coder import TOTAL, Decoder, encode, information, lanes_for
from diabolo.compress.container import MAGIC, NEWEST, VERSION, Reader
from diabolo.compress.grid import Bound, Cover, Relative, bits_of, choose_grid, from_bits
from diabolo.compress.integers import coded, decoded
from diabolo.compress.network import Network, basis, cosines, direction, exponential
from diabolo.compress.plan import Plan
from diabolo.compress.planning import find_slots, make_plan
from diabolo.compress.report import report_lines
from diabolo.compress.rivals import Verdict, verdict
from diabolo.compress.stream import decompressed, opened, report_of, write_file
from diabolo.compress.tables import Table, frequencies
from diabolo.compress.verify import verify
from diabolo.errors import CompressedFileError, ConfigError, DataError
from diabolo.estimators.compressor import Compressor, decompress

GOLDEN = "03000090490c020075010070"
NETWORK = "f30fc9c07cf53aea"
QUICK = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def there_and_back(table, bounds=None, rows=65_536):
    batch = table.combine_chunks().to_batches()[0] if table.num_rows else pa.RecordBatch.from_pylist([], table.schema)
    plan = make_plan(batch, bounds or [None] * table.num_columns)
    out = io.BytesIO()
    write_file(out, table.to_batches(), plan, {"container": "arrow"}, rows=rows)
    return pa.Table.from_batches(list(decompressed(opened(out.getvalue()))), table.schema), out.getvalue()


# ── the coder ─────────────────────────────────────────────────────────────────────────────────────


def test_what_the_coder_writes_is_fixed():
    starts, widths = np.array([0, 1 << 27, 3, 77]), np.array([1 << 27, 1 << 26, 1, 1000])
    assert encode([(starts, widths)], 1).hex() == GOLDEN


@pytest.mark.parametrize("share", [0.5, 0.9, 0.999, 1e-3])
@pytest.mark.parametrize("n", [1, 100, 20_000])
def test_length_is_the_information(share, n):
    rng = np.random.default_rng(n)
    f = np.array([int(TOTAL * share), TOTAL - int(TOTAL * share)])
    table = Table(np.arange(3), np.concatenate([[0], np.cumsum(f)]))
    values = (rng.random(n) > share).astype(np.int64)
    symbols = [table.intervals(values)]
    bits = information(symbols)
    data = encode(symbols, lanes_for(bits))
    assert 8 * len(data) <= max(bits * 1.01, bits + 64 * 8)
    expected = -(np.log2(f / TOTAL)[values]).sum()
    assert bits == pytest.approx(expected, rel=1e-6)
    decoder = Decoder(data, lanes_for(bits))
    assert (decoder.column(n, table.find) == values).all()
    decoder.finish()


def test_a_file_is_as_long_as_its_distributions_say():
    """Whole files of columns whose entropy is known: within 1 %, or 64 bytes and what names the columns."""
    rng, n = np.random.default_rng(0), 60_000
    geometric = np.minimum(rng.geometric(0.2, n) - 1, 60)
    shares = np.append(0.2 * 0.8 ** np.arange(60), 0.8**60)
    columns = {
        "coin": ((rng.random(n) < 0.1).astype(np.int64), [0.9, 0.1]),
        "die": (rng.integers(0, 6, n), np.full(6, 1 / 6)),
        "wide": (rng.integers(0, 3_000, n), np.full(3_000, 1 / 3_000)),
        "geometric": (geometric, shares),
    }
    empty = len(there_and_back(pa.table({"x": pa.array([], pa.int64())}))[1])
    for name, (values, p) in columns.items():
        p = np.asarray(p)
        entropy = -(p * np.log2(p)).sum() * n / 8
        _, data = there_and_back(pa.table({"x": values}))
        assert len(data) <= max(1.01 * entropy, entropy + 64) + empty + 60, name
        assert len(data) >= 0.99 * entropy, name
    # Floats: −log₂ of a normal distribution's mass on the grid is h + log₂(1 / step).
    x = rng.normal(size=n)
    _, data = there_and_back(pa.table({"x": x}), [Bound(1e-3)])
    entropy = (0.5 * np.log2(2 * np.pi * np.e) - np.log2(2e-3)) * n / 8
    assert entropy * 0.99 <= len(data) <= 1.01 * entropy + empty


def test_frequencies_add_up_and_reach_everything():
    rng = np.random.default_rng(0)
    weights, measure = rng.integers(0, 1 << 20, (500, 40)), rng.integers(1, 1000, 40)
    weights[:50] = 0
    cumulative = frequencies(weights, measure[None])
    assert (cumulative[:, -1] == TOTAL).all()
    assert (np.diff(cumulative, axis=1) >= measure).all()


@pytest.mark.parametrize("edges", [[0, 1, 2, 3, 4], [0, 2, 3, 6]])
def test_every_slot_of_a_table_is_found(edges):
    edges = np.array(edges)
    table = Table(edges, frequencies(np.arange(1, len(edges)), np.diff(edges)))
    values = np.arange(edges[-1])
    starts, widths = table.intervals(values)
    ends = starts + widths
    assert (starts == np.concatenate([[0], ends[:-1]])).all()
    assert ends[-1] == TOTAL
    for slots in (starts, starts + widths - 1):
        assert (np.stack(table.find(slots, slice(0, 6))) == np.stack([values, starts, widths])).all()


@QUICK
@given(hnp.arrays(np.int64, st.integers(0, 60), elements=st.integers(-(2**63), 2**63 - 1)), st.integers(0, 60))
def test_any_integers(values, shift):
    values = values >> shift
    c = coded(values)
    data = encode(c.symbols, 2)
    reader, decoder = BytesReader(c.head), Decoder(data, 2)
    assert (decoded(reader, decoder, len(values)) == values).all()
    reader.finish()
    decoder.finish()


@pytest.mark.parametrize("data", [b"", b"x" * 5000, bytes(range(256)) * 8, np.random.default_rng(0).bytes(2000)])
def test_packed_bytes(data):
    assert unpack(pack(data), len(data)) == data
    with pytest.raises(CompressedFileError):
        unpack(pack(b"x" * 10_000), 100)


def test_never_much_larger_than_a_simple_way():
    rng = np.random.default_rng(0)
    for values in (rng.integers(0, 9, 20_000), np.repeat(rng.integers(0, 1 << 40, 50), 400), np.arange(20_000) ** 2):
        c = coded(values)
        assert len(c.head) + len(encode(c.symbols, 1)) <= 1.01 * len(pack(values.astype("<i8").tobytes())) + 64


# ── grids ─────────────────────────────────────────────────────────────────────────────────────────

ERRORS = st.one_of(st.floats(1e-12, 1e3), st.sampled_from([1e-12, 1e-3, 0.5, 1e3]))


@QUICK
@given(st.data(), st.sampled_from(["f2", "f4", "f8"]), ERRORS, st.booleans())
def test_the_bound_holds_for_every_float(data, kind, error, relative):
    width = {"f2": 16, "f4": 32, "f8": 64}[kind]
    x = data.draw(hnp.arrays(kind, st.integers(1, 40), elements=st.floats(width=width, allow_nan=True)))
    bound = Bound(min(error, 0.99), True) if relative else Bound(error)
    back, _ = there_and_back(pa.table({"x": floats(x)}), [bound])
    y = back["x"].to_numpy()
    check(x, y, bound)


def floats(x):
    return pa.Array.from_buffers(pa.from_numpy_dtype(x.dtype), len(x), [None, pa.py_buffer(x)])


def check(x, y, bound):
    """In exact rational arithmetic."""
    from fractions import Fraction

    for a, b in zip(x, y, strict=True):
        if not np.isfinite(a):
            assert a.tobytes() == b.tobytes()
            continue
        limit = Fraction(bound.error) * (abs(Fraction(float(a))) if bound.relative else 1)
        assert abs(Fraction(float(a)) - Fraction(float(b))) <= limit
        if a == 0 and np.signbit(a):
            assert np.signbit(b)


@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("error", ["0.1%", 1e-3, 0.004, "2%", 0.05])
def test_rounded_numbers_take_few_cells(kind, error):
    rng = np.random.default_rng(0)
    x = (np.rint(rng.normal(0, 3, 3_000) * 1000) / 1000).astype(kind)
    bound = Bound.parse(error)
    grid = choose_grid(x, bound)
    y = grid.value(grid.index(x))
    assert bound.holds(x, y).all()
    check(x, y, bound)
    if kind == "f4":  # a check in single precision agrees
        limit = np.float32(bound.error) * (np.abs(x) if bound.relative else np.float32(1))
        assert (np.abs(x - y) <= limit * np.float32(1 + 1e-6)).all()
    if isinstance(grid, Cover):
        plain = Relative(x.dtype.name, bound.error).index(x) if bound.relative else np.rint(x / (2 * bound.error))
        assert np.ptp(grid.index(x)) <= np.ptp(plain)


def test_a_relative_grid_is_as_coarse_as_it_may_be():
    grid = Relative("float64", 1e-3)
    # ln 2 / (2 ε) cells would fill an octave without any end.
    assert np.log(2) / 2e-3 <= grid.octave <= np.log(2) / 2e-3 + 2


@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
def test_bit_patterns_keep_their_order_and_come_back(kind):
    x = np.frombuffer(np.random.default_rng(0).bytes(4_000), kind)
    assert same_bits(from_bits(bits_of(x), x.dtype), x)
    finite = np.sort(x[np.isfinite(x)])
    assert (np.diff(bits_of(finite)) >= 0).all()


@pytest.mark.parametrize("said", [0, -1, "0%", "100%", "much", float("nan"), float("inf"), True, "1/0%"])
def test_what_is_no_bound(said):
    with pytest.raises(ConfigError, match="allowed are"):
        Bound.parse(said)


# ── tables ────────────────────────────────────────────────────────────────────────────────────────


def everything(n=300):
    rng = np.random.default_rng(1)
    odd = rng.normal(size=n)
    odd[:6] = [np.nan, np.inf, -np.inf, -0.0, 5e-324, 0.0]
    odd[6:8] = np.array([0x7FF8000000000123, 0xFFF0000000000001], np.uint64).view(np.float64)
    mask = rng.random(n) < 0.2
    words = [["a", "bc", "", "ü"][i] for i in rng.integers(0, 4, n)]
    return pa.table(
        {
            "odd": floats(odd),
            "single": floats(rng.normal(size=n).astype("f4")),
            "half": floats(rng.normal(size=n).astype("f2")),
            "holes": pa.array(rng.normal(size=n), mask=mask),
            "whole": pa.array(rng.integers(-(2**63), 2**63 - 1, n)),
            "unsigned": pa.array(rng.integers(0, 2**64 - 1, n, dtype=np.uint64), mask=mask),
            "small": pa.array(rng.integers(0, 9, n).astype("i1")),
            "flag": pa.array(rng.random(n) < 0.5, mask=mask),
            "text": pa.array(words, mask=mask),
            "kind": pa.array(words).dictionary_encode(),
            "date": pa.array(rng.integers(0, 20_000, n).astype("i4")).cast(pa.date32()),
            "time": pa.array(rng.integers(0, 2**60, n)).cast(pa.timestamp("ns", "UTC")),
            "list": pa.array([[1, 2], None, []] * (n // 3)),
            "nothing": pa.nulls(n),
            "bytes": pa.array([w.encode() for w in words]),
        }
    )


def equal(a, b):
    assert a.schema.equals(b.schema, check_metadata=True)
    for name in a.column_names:
        x, y = a[name].combine_chunks(), b[name].combine_chunks()
        if pa.types.is_floating(x.type):
            assert x.is_null().equals(y.is_null())
            x, y = x.drop_null(), y.drop_null()
            assert same_bits(x.to_numpy(), y.to_numpy()), name
        else:
            assert x.to_pylist() == y.to_pylist(), name


@pytest.mark.parametrize("rows", [100, 299, 300, 1000])
def test_every_type_comes_back(rows):
    table = everything()
    back, _ = there_and_back(table, rows=rows)
    equal(table, back)


@pytest.mark.parametrize("n", [0, 1])
def test_tables_of_hardly_any_rows(n):
    table = everything().slice(0, n)
    back, _ = there_and_back(table)
    assert back.num_rows == n
    equal(table, back)


def slotted(n, seed=0):
    """Two objects of length and angle, the second often absent and back to back with the first."""
    rng = np.random.default_rng(seed)
    pt = np.round(20 + rng.exponential(20, n), 2)
    phi = rng.uniform(-3.14, 3.14, n)
    other = rng.random(n) < 0.4
    pt2 = np.where(other, np.round(pt * rng.uniform(0.8, 1.0, n), 2), 0)
    phi2 = np.where(other, np.mod(phi + 2 * np.pi + rng.normal(0, 0.05, n), 2 * np.pi) - np.pi, 0)
    columns = {"j1_pt": pt, "j1_phi": np.round(phi, 3), "j2_pt": pt2, "j2_phi": np.round(phi2, 3)}
    columns = {k: v.astype("f4") for k, v in columns.items()}
    columns["j1_pt"][::50] = columns["j1_phi"][::50] = columns["j2_pt"][::50] = columns["j2_phi"][::50] = 0
    return pa.table({k: floats(v) for k, v in columns.items()})


def test_absent_objects_are_found_and_come_back():
    table = slotted(2_000)
    assert find_slots(table.combine_chunks().to_batches()[0]) == [[0, 1], [2, 3]]
    back, _ = there_and_back(table)
    equal(table, back)


@pytest.fixture(scope="module")
def fitted():
    return Compressor(max_error=1e-3, column_error={"j1_pt": "0.1%", "j2_pt": "0.1%"}).fit(slotted(4_000))


def test_the_autoregressive_network_pays_and_keeps_the_bounds(fitted):
    table = slotted(4_000, seed=9)
    data = fitted.compress(table)
    back = decompress(data)
    for name, bound in zip(table.column_names, fitted.plan_.bounds, strict=True):
        x, y = table[name].to_numpy(), back[name].to_numpy()
        assert bound.holds(x, y).all()
    assert fitted.report_.tally.by_model.sum() > 0
    plain = io.BytesIO()
    plan = Plan(*(getattr(fitted.plan_, n) for n in ("schema", "bounds", "grids", "slots")))
    simple = write_file(plain, table.to_batches(), plan, {"container": "arrow"})
    # Back to back: the second angle is worth some 4 bits less.
    assert fitted.report_.tally.bits[3] < simple.tally.bits[3] - 3 * 0.4 * 4_000
    assert same_bits(decompress(fitted.compress(table))["j2_pt"].to_numpy(), back["j2_pt"].to_numpy())


def test_a_file_without_its_codec_section_needs_it(fitted):
    table, out = slotted(500, seed=2), io.BytesIO()
    write_file(out, table.to_batches(), fitted.plan_, {"container": "arrow"}, external=True)
    section = fitted.plan_.autoregressive.to_bytes()
    card = json.loads(unpack(BytesReader(section).piece(), 1 << 20))
    assert set(card) == {"groups", "families"}, "no name of the network, which may change, stands in a file"
    assert decompress(out.getvalue(), section).equals(decompress(fitted.compress(table)))
    with pytest.raises(CompressedFileError, match="--model"):
        decompress(out.getvalue())
    with pytest.raises(CompressedFileError, match="needs the codec section"):
        decompress(out.getvalue(), section[:-1] + b"x")


@pytest.mark.parametrize("kind", ["f4", "f8", "i2", "u1", "bool"])
@pytest.mark.parametrize("shape", [(50, 3), (1, 2), (20, 4, 4)])
def test_arrays_come_back_as_they_were(kind, shape):
    x = (np.random.default_rng(0).normal(size=shape) * 50).astype(kind)
    c = Compressor(max_error=None).fit(x)
    assert same_bits(decompress(c.compress(x)), x)


def test_data_frames_come_back_as_they_were():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {"a": [1.5, np.nan, 3], "b": ["x", "y", "x"], "c": pd.Categorical(["u", "v", "u"])}, index=[5, 6, 9]
    )
    back = decompress(Compressor(max_error=None).fit(frame).compress(frame))
    pd.testing.assert_frame_equal(frame, back)


@pytest.mark.parametrize("cells", [200_000, pytest.param(100_000_000, marks=pytest.mark.slow)])
def test_long_tables_stream_in_bounded_memory(tmp_path, cells):
    """Every cell is compared by the writer, and its sum with what comes back, a chunk at a time."""
    columns, size = 8, 25_000
    bounds = [Bound(1e-3), Bound(1e-3, True), Bound(1e-12), Bound(1e3), None, None, None, None]
    sums, before = np.zeros(4), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def batches(adding):
        for number in range(cells // columns // size):
            rng = np.random.default_rng(number)
            x = rng.normal(size=(4, size)) * [[1], [100], [1e-3], [1e6]]
            x[:, ::997], x[0, ::991], x[1, ::983] = 0, np.nan, -np.inf
            if adding:
                sums[:] += np.where(np.isfinite(x), x, 0).sum(axis=1)
            whole = [rng.integers(0, 9, size), rng.integers(-(2**40), 2**40, size), rng.random(size) < 0.1]
            arrays = [*(floats(c) for c in x.copy()), floats(x[0].astype("f4")), *map(pa.array, whole)]
            yield pa.RecordBatch.from_arrays(arrays, names=[f"c{i}" for i in range(columns)])

    first, file = next(batches(False)), tmp_path / "long.dbl"
    plan = make_plan(first, bounds)
    with open(file, "wb") as out:
        report = write_file(out, batches(True), plan, {"container": "arrow"}, rows=20_000)
    assert report.rows * columns == cells
    told = np.zeros(4)
    with open(file, "rb") as data:
        for batch in decompressed(Reader(data, file.stat().st_size), threads=2):
            x = np.stack([batch.column(i).to_numpy() for i in range(4)])
            told += np.where(np.isfinite(x), x, 0).sum(axis=1)
    assert (np.abs(told - sums) <= cells / columns * np.array([1e-3, 1, 1e-9, 1e3])).all()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before < 1_000, "MiB, whatever the length"


def test_wrong_uses(fitted):
    with pytest.raises(DataError, match="not those of the fit"):
        fitted.compress(np.zeros((3, 2)))
    with pytest.raises(ConfigError, match="allowed are None and a fitted"):
        Compressor(autoencoder=3).fit(np.zeros((3, 2)))
    with pytest.raises(ConfigError, match="column error of 'y'"):
        Compressor(column_error={"y": 1}).fit(np.zeros((3, 2)))


# ── the network in whole numbers ──────────────────────────────────────────────────────────────────


def slow_direction(x, y):
    """By halving, with exact cross products alone."""
    cos = cosines()
    d = np.where((y < 0) | ((y == 0) & (x < 0)), 2048, 0)
    for step in 2 ** np.arange(10, -1, -1):
        beyond = cos[(d + step) % 4096] * y - cos[(d + step - 1024) % 4096] * x >= 0
        d = np.where(beyond & ((x != 0) | (y != 0)), d + step, d)
    return d


def test_the_integer_tables_are_the_functions():
    d = np.arange(4096)
    assert np.abs(cosines() - 2**14 * np.cos(2 * np.pi * d / 4096)).max() <= 0.5 + 1e-6
    t = np.arange(14 * 64)
    assert np.abs(exponential()[:-1] - 2**20 * np.exp(-t / 64)).max() <= 0.5 + 1e-6
    rng = np.random.default_rng(0)
    x, y = rng.integers(-(1 << 36), 1 << 36, (2, 5_000))
    x[:9], y[:9] = np.divmod(np.arange(9), 3)
    x[:9], y[:9] = x[:9] - 1, y[:9] - 1
    x[9:20], y[9:20] = -(1 << 36), np.arange(-5, 6)
    found = direction(x, y)
    assert (found == slow_direction(x, y)).all()
    x, y, found = x[9:], y[9:], found[9:]
    angle = np.mod(np.arctan2(y, x), 2 * np.pi) * 4096 / (2 * np.pi)
    assert np.abs(np.mod(angle - found + 2048, 4096) - 2048).max() < 1.1


def with_ones(x):
    return np.concatenate([x, np.ones((1, x.shape[1]))]).astype(np.float32)


def any_network(rng, inputs=40, bins=48):
    return Network(*(rng.integers(-20, 20, s) for s in ((32, inputs), 32, (12, 32), 12, bins)))


def test_the_network_is_the_same_in_any_order_and_batch():
    rng = np.random.default_rng(0)
    net = any_network(rng)
    assert net.exact
    x = rng.integers(-1024, 1025, (40, 500))
    whole = net.cumulative(with_ones(x))
    assert (np.concatenate([net.cumulative(with_ones(x[:, i : i + 1])) for i in range(500)], axis=1) == whole).all()
    order = rng.permutation(40)
    assert (Network(net.w1[:, order], *net.parts[1:]).cumulative(with_ones(x[order])) == whole).all()


def test_what_the_network_gives_is_fixed():
    steps = (np.arange(k * n).reshape(k, n) * 7 % 41 - 20 for k, n in ((8, 12), (1, 8), (6, 8), (1, 6), (1, 24)))
    w1, b1, w2, b2, base = steps
    x = with_ones(np.arange(12 * 50).reshape(12, 50) * 37 % 2049 - 1024)
    sums = Network(w1, b1[0], w2, b2[0], base[0], True).cumulative(x)
    assert hashlib.sha256(sums.astype("<f4").tobytes()).hexdigest()[:16] == NETWORK


def test_the_network_is_that_of_integers():
    """Once more with Python's integers and NumPy's single squarings."""
    rng = np.random.default_rng(1)
    net = any_network(rng)
    x = rng.integers(-1024, 1025, (40, 100))
    h = np.clip((net.w1 @ x + net.b1[:, None] * 256) // 32, 0, 4095)
    c = np.clip((net.w2 @ h + net.b2[:, None] * 256) // 128, -(24576 // 12), 24576 // 12)
    y = basis(48, 12, False) @ c + net.base[:, None] * 1024
    assert max(np.abs(net.w2 @ h).max(), np.abs(y).max()) < 1 << 24
    w = np.clip(((1 << 21) + y).astype(np.float32) / np.float32(1 << 21), np.float32(0.75), np.float32(2))
    for _ in range(6):
        w = w * w
    sums = np.zeros((49, 100), np.float32)
    for k in range(48):
        sums[k + 1] = sums[k] + w[k]
    assert same_bits(net.cumulative(with_ones(x)), sums)
    heavy = Network(np.full((32, 40), 1 << 9), *net.parts[1:])
    assert not heavy.exact


@pytest.mark.parametrize("turned", [False, True])
def test_every_slot_of_a_rows_distribution_is_found(turned):
    """Intervals of all integers of a row tile 2²⁸, and whatever slot is asked for gives its integer."""
    rng = np.random.default_rng(2)
    points = rng.integers(1, 5, 640)
    if turned:
        start = np.sort(rng.integers(0, 641, 4096))
        lower = np.concatenate([start, start + 640, [1280]])
        bins = Bins(lower, np.concatenate([[0], np.cumsum(np.tile(points, 2))]), 64, 64)
    else:
        bins = Bins(np.array([0, 1, *range(20, 640, 13), 640]), np.concatenate([[0], np.cumsum(points)]), 50)
    n = 30
    first = rng.integers(0, 4096, n) if turned else None
    x = with_ones(rng.integers(-1024, 1025, (40, n)))
    network = any_network(rng, bins=bins.count)
    for row in range(0, n, 7):
        at = np.arange(bins.count + 1) * bins.width + (first[row] if turned else 0)
        edges = bins.lower[at]
        place = np.arange(edges[0], edges[-1])
        k = np.searchsorted(edges, place, "right") - 1
        same = np.repeat(row, len(place))

        def one(same=same):
            return RowTables(bins, network, x[:, same], first if first is None else first[same])

        start, width = one().intervals(place, k)
        assert (width > 0).all()
        if not turned:  # a direction without cells keeps its weight
            assert (start == np.concatenate([[0], (start + width)[:-1]])).all()
            assert start[-1] + width[-1] == TOTAL
        for slots in (start, start + width - 1):
            found, s, w = one().find(slots, slice(0, len(place)))
            assert (np.stack([found, s, w]) == np.stack([place, start, width])).all()


# ── what is said of a file ────────────────────────────────────────────────────────────────────────


def test_the_report_tells_errors_of_what_decodes(fitted):
    table = slotted(3_000, seed=4)
    data = fitted.compress(table)
    reader = opened(data)
    told, back = report_of(reader), decompress(data)
    for i, bound in enumerate(told.plan.bounds):
        x, y = (t.column(i).to_numpy().astype(float) for t in (table, back))
        error = np.abs(x - y) / (np.where(x == 0, 1, np.abs(x)) if bound.relative else 1)
        for r, slack in ((fitted.report_, 1e-12), (told, bound.error / 10_000)):
            assert r.tally.worst[i] == pytest.approx(error.max(), abs=slack)
            assert np.sqrt(r.tally.squares[i] / 3_000) == pytest.approx(np.sqrt((error**2).mean()), abs=slack)
        assert told.tally.worst[i] <= bound.error
    assert told.bytes_out == len(data)
    assert told.bytes_in == table.nbytes
    assert told.tally.bits.sum() <= 8 * len(data)
    assert told.tally.bits == pytest.approx(fitted.report_.tally.bits, abs=8)
    assert report_lines("x", told)[0] == report_lines("x", fitted.report_)[0]
    plain = io.BytesIO()
    write_file(plain, table.to_batches(), fitted.plan_, {"container": "arrow"}, verified=False)
    assert "not verified" in report_lines("x", report_of(opened(plain.getvalue())))[1]


def test_what_does_not_decode_to_its_rows_is_not_written(fitted, monkeypatch):
    table = slotted(300, seed=5)
    batch = table.to_batches()[0]
    payload, tally = encode_chunk(fitted.plan_, batch)
    verify(fitted.plan_, batch, payload, tally)
    x = table["j1_pt"].to_numpy().copy()
    x[np.argmax(x)] *= 1.003
    other = table.set_column(0, "j1_pt", floats(x)).combine_chunks().to_batches()[0]
    with pytest.raises(CompressedFileError, match="'j1_pt' does not decode"):
        verify(fitted.plan_, other, payload, tally)


def test_the_verdict_names_the_smallest(fitted):
    batch = slotted(3_000, seed=6).to_batches()[0]
    v = verdict(fitted.plan_, batch, 700)
    assert {"zstd -19", "xz", "bz2", "Parquet+zstd"} <= set(v.rivals)
    assert "the codec's network wins by" in v.lines()[1]
    assert Verdict(9, 1000, {"a": 1230, "b": 2000}, True).lines()[1] == "  the codec's network wins by 23% over a"
    assert Verdict(9, 1000, {"a": 2000, "b": 900}, True).lines()[1] == "  use b: it is 10% smaller"
    assert Verdict(9, 1000, {"a": 995}, False).lines()[1] == "  no gain: a comes to the same size"
    # What a general compressor is made for, it may win: told as it is.
    rows = everything(300).combine_chunks().to_batches()[0]
    assert verdict(make_plan(rows, [None] * rows.num_columns), rows, 0).rivals["xz"] > 0


@pytest.mark.parametrize("threads", [2, 5])
def test_any_number_of_threads_gives_the_same_bytes(fitted, threads):
    table, files = slotted(1_000, seed=7), []
    for n in (1, threads):
        out = io.BytesIO()
        write_file(out, table.to_batches(), fitted.plan_, {"container": "arrow"}, rows=150, threads=n)
        files.append(out.getvalue())
    assert files[0] == files[1]
    one, more = (list(decompressed(opened(files[0]), threads=n)) for n in (1, threads))
    assert pa.Table.from_batches(one).equals(pa.Table.from_batches(more))


# ── anywhere ──────────────────────────────────────────────────────────────────────────────────────

#: A clean process: decodes a file, codes its rows again by the file's own plan, tells hashes of both.
ELSEWHERE = """
import hashlib, io, sys
import pyarrow as pa
from diabolo.compress.stream import decompressed, opened, write_file
data = open(sys.argv[1], "rb").read()
reader, rows = opened(data), int(sys.argv[2])
table = pa.Table.from_batches(list(decompressed(reader)))
plan, out = reader.header.plan(reader.model()), io.BytesIO()
write_file(out, table.to_batches(), plan, reader.header.input, rows=rows, verified=False)
cells = b"".join(c.to_numpy().tobytes() for c in table.columns)
assert "torch" not in sys.modules
print(hashlib.sha256(cells).hexdigest(), hashlib.sha256(out.getvalue()).hexdigest())
"""


def disabled():
    """Every instruction set that NumPy would choose at run time on this machine."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    return " ".join(name for name in __cpu_dispatch__ if __cpu_features__.get(name))


def test_other_threads_and_instruction_sets_give_the_same_bits(fitted, tmp_path):
    table, file = slotted(1_000, seed=8), tmp_path / "x.dbl"
    with open(file, "wb") as out:
        write_file(out, table.to_batches(), fitted.plan_, {"container": "arrow"}, rows=400, verified=False)
    back = decompress(file.read_bytes())
    again = io.BytesIO()
    write_file(again, back.to_batches(), fitted.plan_, {"container": "arrow"}, rows=400, verified=False)
    cells = b"".join(c.to_numpy().tobytes() for c in back.columns)
    expected = [hashlib.sha256(b).hexdigest() for b in (cells, again.getvalue())]
    threads = {"OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "4", "MKL_NUM_THREADS": "4"}
    plain = {"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": disabled()}
    plain |= {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "MKL_CBWR": "COMPATIBLE"}
    for setting in (threads, plain):
        done = subprocess.run(
            [sys.executable, "-c", ELSEWHERE, file, "400"], env=os.environ | setting, capture_output=True, text=True
        )
        assert done.stdout.split() == expected, done.stderr


@pytest.mark.parametrize("rows", [1, 7, 1 << 16])
def test_rows_worked_out_together_do_not_matter(fitted, monkeypatch, rows):
    table = slotted(300, seed=8)
    data = fitted.compress(table)
    monkeypatch.setattr(diabolo.compress.bins, "ROWS", rows)
    assert fitted.compress(table) == data
    assert decompress(data).equals(decompress(data))


# ── damage ────────────────────────────────────────────────────────────────────────────────────────


def test_rows_without_reading_the_rest():
    table = slotted(1_000)
    _, data = there_and_back(table, rows=100)
    bad = bytearray(data)
    bad[len(data) // 2] ^= 1
    reader = Reader(io.BytesIO(bytes(bad)), len(bad))
    part = pa.Table.from_batches(list(decompressed(reader, span=(95, 205))), table.schema)
    equal(part, table.slice(95, 110))


def test_salvage_keeps_every_intact_chunk():
    table = slotted(1_000)
    _, data = there_and_back(table, rows=100)
    chunk = Reader(io.BytesIO(data), len(data)).chunks[3]
    bad = bytearray(data)
    bad[chunk.offset + 60] ^= 1
    with pytest.raises(CompressedFileError, match=r"chunk 3 \(rows 300 to 400\) is damaged"):
        decompress(bytes(bad))
    lost = []
    kept = list(decompressed(Reader(io.BytesIO(bytes(bad)), len(bad), salvage=True), lost=lost))
    assert (sum(b.num_rows for b in kept), len(lost)) == (900, 1)
    for cut in (bad[: chunk.offset + 70], bad[:-5]):
        with pytest.raises(CompressedFileError, match="cut off"):
            decompress(bytes(cut))
        kept = list(decompressed(opened(bytes(cut), salvage=True), lost=[]))
        assert sum(b.num_rows for b in kept) in (300, 900)


def test_damaged_files_are_refused_whatever_the_damage(fitted):
    rng = np.random.default_rng(0)
    small = fitted.compress(slotted(60, seed=3))
    whole = decompress(small)
    for i in range(90):
        bad = bytearray(small)
        if i % 3 == 0:
            bad = bad[: rng.integers(len(bad))]
        else:
            bad[rng.integers(len(bad))] ^= 1 << rng.integers(8)
        try:
            assert decompress(bytes(bad)).equals(whole), i
        except CompressedFileError:
            continue
        raise AssertionError(f"damage {i} was not seen")


def test_hostile_chunks_that_pass_their_checksums(fitted):
    """Payloads are changed before they are framed, so that only the checks of their contents are left."""
    rng = np.random.default_rng(1)
    batch = slotted(60, seed=3).to_batches()[0]
    mixed = everything(60).combine_chunks().to_batches()[0]
    for plan, rows in ((fitted.plan_, batch), (make_plan(mixed, [None] * mixed.num_columns), mixed)):
        payload, _ = encode_chunk(plan, rows)
        for _ in range(40):
            bad = bytearray(payload)
            for _ in range(rng.integers(1, 4)):
                bad[rng.integers(len(bad))] = rng.integers(256)
            with contextlib.suppress(CompressedFileError):  # nothing else
                decode_chunk(plan, bytes(bad))
    with pytest.raises(CompressedFileError):
        decode_chunk(fitted.plan_, struct.pack("<Q", (1 << 63) + 5))


def test_the_names_are_public():
    assert (diabolo.Compressor, diabolo.decompress) == (Compressor, decompress)


@pytest.mark.parametrize(
    ("version", "advice"), [(NEWEST + 1, "upgrade diabolo"), (VERSION - 1, "decompress it with the diabolo")]
)
def test_a_file_of_another_version_says_which_diabolo_reads_it(version, advice):
    head = MAGIC + struct.pack("<III", version, 0, 0)
    with pytest.raises(CompressedFileError, match=advice):
        decompress(head + bytes(64))


def test_errors_of_a_summary_are_finite():
    """A large number in it, behind a right checksum, ended the reading in an OverflowError."""
    from types import SimpleNamespace

    from diabolo.compress.bytesio import BytesWriter, pack
    from diabolo.compress.report import summary_read
    from diabolo.errors import CompressedFileError

    plan = SimpleNamespace(schema=[0], bounds=[SimpleNamespace(error=1e300)])
    for root, refused in ((1, False), (2**62, True)):
        out = BytesWriter()
        for number in (1, 1, 1, 1, 1, 1, root):
            out.number(number)
        if refused:
            with pytest.raises(CompressedFileError, match="summary is damaged"):
                summary_read(pack(bytes(out.data)), 9, plan)
        else:
            plan.bounds[0].error = 1e-3
            assert summary_read(pack(bytes(out.data)), 9, plan)[0] == 1
            plan.bounds[0].error = 1e300
