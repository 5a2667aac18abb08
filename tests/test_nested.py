"""Structs, fixed arrays and jagged columns: compressed value by value, within the bound, and back as they were."""

from __future__ import annotations

import io
import re
import shlex

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from program import done, run

from diabolo import Compressor, decompress
from diabolo.compress.container import NEWEST, VERSION
from diabolo.compress.nested import MOST_NAMES, Nest
from diabolo.compress.stream import opened
from diabolo.errors import ConfigError

ROWS = 300


def jets(seed=0, n=ROWS):
    """Columns nested in every way that tables of physics are."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(2, n)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    total = int(offsets[-1])

    def lists(values):
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))

    pt, eta = rng.exponential(40, total).astype(np.float32), rng.normal(size=total)
    objects = pa.StructArray.from_arrays(
        [pa.array(eta), pa.array(rng.integers(-1, 2, total), mask=rng.uniform(size=total) < 0.1)], ["eta", "charge"]
    )
    met = pa.StructArray.from_arrays(
        [pa.array(rng.normal(size=n)), pa.array(rng.normal(size=n).astype(np.float32))],
        ["x", "y"],
        mask=pa.array(rng.uniform(size=n) < 0.1),
    )
    cov = pa.FixedSizeListArray.from_arrays(pa.array(rng.normal(size=9 * n)), 9)
    return pa.table(
        {
            "run": pa.array(rng.integers(0, 5, n)),
            "pt": lists(pt),
            "eta": lists(eta),
            "word": lists(rng.choice(["a", "b", "c"], total)),
            "objects": pa.ListArray.from_arrays(pa.array(offsets), objects),
            "met": met,
            "cov": cov,
            "ht": pa.array(rng.normal(size=n)),
            "deep": pa.array([[[1.0] * (i % 3)] * (i % 2) if i % 7 else None for i in range(n)]),
        }
    )


def within(one, other, error):
    """Whether cells agree: floats within a bound, all else exactly, and every list is as long."""
    if isinstance(one, list):
        return len(one) == len(other) and all(within(a, b, error) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(within(one[k], other[k], error) for k in one)
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= error
    return one == other


@pytest.mark.parametrize("error", [None, 1e-2])
def test_nested_columns_come_back_as_they_were(error):
    table = jets()
    compressor = Compressor(max_error=error).fit(table)
    data = compressor.compress(jets(1))
    back = decompress(data)
    assert back.schema.equals(table.schema)
    back.validate(full=True)
    if error is None:
        assert back.equals(jets(1))
        return
    for name in table.column_names:
        assert within(jets(1).column(name).to_pylist(), back.column(name).to_pylist(), error), name
    # The bound is used, and what it saves is more than a half.
    assert not back.column("pt").equals(jets(1).column("pt"))
    exact = len(Compressor(max_error=None).fit(table).compress(jets(1)))
    assert len(data) < 0.6 * exact


def test_lists_of_one_length_are_told_once():
    n = 4000
    counts = np.random.default_rng(0).poisson(3, n)
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
    ones = pa.array(np.ones(int(counts.sum())))
    one = pa.table({"a": pa.ListArray.from_arrays(offsets, ones)})
    many = pa.table({n: pa.ListArray.from_arrays(offsets, ones) for n in "abcdef"})
    sizes = [len(Compressor(max_error=None).fit(t).compress(t)) for t in (one, many)]
    assert sizes[1] - sizes[0] < 0.2 * sizes[0]


def test_values_of_lists_have_bounds_of_their_own():
    table = jets()
    data = Compressor(max_error=None, column_error={"pt": "10%", "objects_eta": 0.5, "cov_3": 0.1}).fit(table)
    back = decompress(data.compress(table))
    assert back.column("eta").equals(table.column("eta"))
    pairs = zip(ak.flatten(ak.from_arrow(table["pt"])), ak.flatten(ak.from_arrow(back["pt"])), strict=True)
    shares = np.array([abs(a - b) / a for a, b in pairs])
    assert 0 < shares.max() <= 0.1
    cov = [np.array(t["cov"].to_pylist()) for t in (table, back)]
    changed = (cov[0] != cov[1]).any(axis=0)
    assert changed.tolist() == [j == 3 for j in range(9)]
    assert data.report_.tally.worst.max() > 0
    with pytest.raises(ConfigError, match="column error of 'word', which holds list<item: string>"):
        Compressor(column_error={"word": 1}).fit(table)
    with pytest.raises(ConfigError, match="column error of 'objects_phi': did you mean 'objects_eta'"):
        Compressor(column_error={"objects_phi": 1}).fit(table)


def test_only_what_needs_it_has_the_newer_version():
    plain = pa.table({"a": [1.5, 2.5], "b": ["x", "y"]})
    maps = pa.table({"m": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int32()))})
    versions = {
        name: opened(Compressor(max_error=None).fit(t).compress(t)).header.version
        for name, t in (("plain", plain), ("maps", maps), ("jets", jets(n=20)))
    }
    assert versions == {"plain": VERSION, "maps": VERSION, "jets": NEWEST}


SCALARS = st.sampled_from([pa.float64(), pa.float32(), pa.int32(), pa.bool_(), pa.string()])


def _kinds(inner):
    fields = st.lists(inner, min_size=1, max_size=3)
    structs = fields.map(lambda kinds: pa.struct([(f"f{i}", k) for i, k in enumerate(kinds)]))
    return st.one_of(structs, inner.map(pa.list_), st.tuples(inner, st.integers(1, 3)).map(lambda t: pa.list_(*t)))


KINDS = st.recursive(SCALARS, _kinds, max_leaves=5)


def _cell(draw, kind):
    """A cell of a type; sometimes none."""
    if draw(st.integers(0, 9)) == 0:
        return None
    if pa.types.is_struct(kind):
        return {f.name: _cell(draw, f.type) for f in kind}
    if pa.types.is_fixed_size_list(kind):
        return [_cell(draw, kind.value_type) for _ in range(kind.list_size)]
    if pa.types.is_list(kind):
        return [_cell(draw, kind.value_type) for _ in range(draw(st.integers(0, 3)))]
    if pa.types.is_floating(kind):
        return float(draw(st.integers(-50, 50))) / 4
    if pa.types.is_integer(kind):
        return draw(st.integers(-9, 9))
    return draw(st.booleans()) if pa.types.is_boolean(kind) else draw(st.sampled_from(["", "x", "ä"]))


@st.composite
def nested_tables(draw):
    kinds = draw(st.lists(KINDS, min_size=1, max_size=3))
    n = draw(st.integers(1, 12))
    return pa.table({f"c{i}": pa.array([_cell(draw, k) for _ in range(n)], k) for i, k in enumerate(kinds)})


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(nested_tables(), st.integers(0, 3))
def test_any_nesting_is_split_and_joined(table, start):
    batch = pa.Table.from_batches(table.to_batches()).combine_chunks().to_batches()[0].slice(start)
    nest = Nest(batch.schema)
    flat = nest.split(batch)
    flat.validate(full=True)
    back = nest.join(flat)
    back.validate(full=True)
    assert back.to_pylist() == batch.to_pylist()
    assert back.schema.equals(batch.schema)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(nested_tables())
def test_any_nesting_is_compressed_without_loss(table):
    assert decompress(Compressor(max_error=None).fit(table).compress(table)).to_pylist() == table.to_pylist()


def test_a_parquet_file_of_structs_and_lists_comes_back_by_the_program(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = jets()
    noted = table.schema.field("ht").with_metadata({"unit": "GeV"})
    table = table.cast(table.schema.set(table.schema.get_field_index("ht"), noted))
    pq.write_table(table, "rows.parquet")
    done("fit", "rows.parquet", "-o", "m.diabolo", "--epochs", 1, "-q", "--only", "main", "--columns", "ht,cov_0")
    said = done("compress", "m.diabolo", "rows.parquet", "-o", "rows.dbl", "--max-error", "1e-2")
    assert "objects_eta: " in said
    assert "bits per list, error at most 0.0" in said
    for name in ("back.parquet", "back.arrow"):
        done("decompress", "rows.dbl", "-o", name)
    back = pq.read_table("back.parquet")
    assert back.schema.equals(table.schema)
    assert back.schema.field("ht").metadata == {b"unit": b"GeV"}
    with pa.ipc.open_file("back.arrow") as file:
        assert file.read_all().equals(back)
        assert file.schema.field("ht").metadata == {b"unit": b"GeV"}
    assert within(table.to_pylist(), back.to_pylist(), 1e-2)


def test_a_jagged_root_file_goes_back_to_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    counts = rng.poisson(2, 400)
    rows = {
        "nJet": counts.astype(np.int32),
        "Jet_pt": ak.unflatten(rng.exponential(40, counts.sum()).astype(np.float32), counts),
        "Jet_btag": ak.unflatten(rng.uniform(size=counts.sum()) < 0.1, counts),
        "alone": ak.unflatten(rng.integers(0, 9, counts.sum()), counts),
        "met": rng.rayleigh(30, 400),
        "cov": rng.normal(size=(400, 2, 2)).astype(np.float32),
        "name": ak.Array([f"w{i % 3}" for i in range(400)]),
    }
    types = {
        n: r.dtype if isinstance(r, np.ndarray) and r.ndim == 1 else r.type.content
        for n, r in rows.items()
        if n != "cov"
    }
    types["cov"] = np.dtype(("f4", (2, 2)))
    with uproot.recreate("rows.root") as file:
        tree = file.mktree("events", types, counter_name=lambda n: "nJet" if n.startswith("Jet") else f"n{n}")
        tree.extend(rows)
    said = done("fit", "rows.root", "-o", "m.diabolo", "--epochs", 1, "-q", "--only", "main", "--take", "Jet:2,alone:1")
    assert "1 left out, as no column can hold them: nalone (the length of alone)" in said
    assert "1 left out, as the slots tell how many there are: nJet (of Jet_btag)" in said
    done("compress", "m.diabolo", "rows.root", "-o", "rows.dbl", "--no-verdict")
    done("decompress", "rows.dbl", "-o", "back.root")
    with uproot.open("rows.root") as one, uproot.open("back.root") as other:
        assert one["events"].typenames() == other["events"].typenames()
        assert set(other["events"].keys()) == {*rows, "nalone"}
        assert other["events"]["Jet_pt"].count_branch.name == "nJet"
        for name in rows:
            assert ak.array_equal(one["events"][name].array(), other["events"][name].array()), name


def test_a_damaged_file_of_lists_is_refused():
    table = jets(n=40)
    data = bytearray(Compressor(max_error=None).fit(table).compress(table))
    from diabolo.errors import CompressedFileError

    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(data), 60):
        broken = bytearray(data)
        broken[at] ^= int(rng.integers(1, 256))
        with pytest.raises(CompressedFileError):
            decompress(bytes(broken))
    assert io.BytesIO(data).read(4) == b"\x89DBL"


# ── schemas that ask for much ─────────────────────────────────────────────────────────────────────


def deep(kind, sizes):
    for size in sizes:
        kind = pa.list_(kind, size)
    return kind


def same_names(n):
    return pa.struct([pa.field("f", pa.int8()) for _ in range(n)])


GREEDY = {
    "many arrays in arrays": pa.schema([(f"c{i}", deep(pa.int8(), [2] * 12)) for i in range(500)]),
    "arrays of one cell": pa.schema([(f"c{i}", deep(pa.int8(), [1] * 16)) for i in range(500)]),
    "a long name times 4,096": pa.schema([("x" * 1_000_000, pa.list_(pa.int8(), 4096))]),
    "a long name of a struct of many": pa.schema([("x" * 1_000_000, same_names(5_000))]),
    "a long name within": pa.schema([("a", pa.struct([("x" * 1_000_000, same_names(5_000))]))]),
    "a long name within a list": pa.schema([("a", pa.list_(pa.struct([("x" * 1_000_000, same_names(5_000))])))]),
    "long names at each depth": pa.schema(
        [("a", pa.struct([("x" * 500_000, pa.struct([("y" * 500_000, same_names(3_000))]))]))]
    ),
    "one name many times": pa.schema([("a", same_names(50_000))]),
}


@pytest.mark.parametrize("schema", GREEDY.values(), ids=GREEDY)
def test_a_schema_of_few_bytes_asks_for_bounded_memory(schema):
    nest = Nest(schema)
    assert len(set(nest.flat.names)) == len(nest.flat)
    beyond = set(nest.flat.names) - set(schema.names)
    # Where a name is taken the number comes on top.
    assert sum(16 + len(name.split("'")[0]) for name in beyond) <= MOST_NAMES
    batch = schema.empty_table().to_batches(max_chunksize=1) or [pa.RecordBatch.from_pylist([], schema)]
    assert nest.join(nest.split(batch[0])).schema.equals(schema)


def test_columns_stay_whole_one_by_one():
    """Those that come first are taken apart, up to the limit, and rows come back from both sorts."""
    names = ["a" * 900, "b" * 900, "c" * 900]
    cells = {name: [[i % 7] * 4096 for i in range(5)] for name in names}
    table = pa.table(cells, pa.schema([(name, pa.list_(pa.int8(), 4096)) for name in names]))
    nest = Nest(table.schema)
    assert len(nest.flat) == 2 * (4096 + 1) + 1
    batch = table.to_batches()[0]
    assert nest.join(nest.split(batch)).equals(batch)


def test_a_name_that_is_taken_gets_a_number():
    schema = pa.schema([("a_f", pa.int8()), pa.field("a", same_names(3), nullable=False)])
    assert Nest(schema).flat.names == ["a_f", "a_f'1", "a_f'2", "a_f'3"]


# ── structs in lists ──────────────────────────────────────────────────────────────────────────────


def objects_of(field, cells):
    """A table of two columns of numbers, and lists of structs of a number and one more field."""
    rng = np.random.default_rng(3)
    kind = pa.list_(pa.struct([("pt", pa.float64()), ("more", field)]))
    jets = [[{"pt": float(rng.normal()), "more": cells(rng)} for _ in range(rng.poisson(2))] for _ in range(120)]
    jets[::17] = [None] * len(jets[::17])
    values = {"a": pa.array(rng.normal(size=120)), "b": pa.array(rng.normal(size=120)), "jets": pa.array(jets, kind)}
    return pa.table(values)


STRUCTS = {
    "list": objects_of(pa.list_(pa.float64()), lambda rng: rng.normal(size=rng.poisson(2)).tolist()),
    "string": objects_of(pa.string(), lambda rng: str(rng.choice(["u", "v"]))),
    "date": objects_of(pa.date32(), lambda rng: int(rng.integers(0, 9))),
    "array": objects_of(pa.list_(pa.float64(), 2), lambda rng: rng.normal(size=2).tolist()),
    "struct": objects_of(
        pa.struct([("x", pa.float64()), ("y", pa.int8())]), lambda rng: {"x": float(rng.normal()), "y": 3}
    ),
    "list in struct": objects_of(
        pa.struct([("l", pa.list_(pa.string()))]), lambda rng: {"l": ["w"] * int(rng.poisson(1))}
    ),
}


@pytest.mark.parametrize("name", STRUCTS)
def test_lists_of_structs_become_columns_or_are_named_with_what_works(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pq.write_table(STRUCTS[name], "a.parquet")
    said = done("info", "a.parquet")
    able = {"struct": "jets_pt, jets_more_x, jets_more_y"}.get(name, "jets_pt")
    assert f"lists, of which --take jets:10 would make columns: {able}\n" in said
    fit = ("fit", "a.parquet", "-o", "m.diabolo", "--epochs", 1, "-q")
    status, _, err = run(*fit)
    assert status == 2
    remedies = ["--exclude " + re.search(r"--exclude (\S+)", err)[1], "--exclude unusable"]
    if name == "struct":
        remedies.append("--take jets:10")
    else:
        whole = re.search(r"--take jets:10 --exclude \S+", err)
        remedies.append(whole[0])
        assert f"leave out what cannot be fitted: {whole[0].partition(':10 ')[2]}" in said
    assert all(remedy in err for remedy in remedies)
    for remedy in remedies:
        done(*fit, *shlex.split(remedy))
        done("score", "m.diabolo", "a.parquet", "-o", "s.csv", "-q")
        done("compress", "m.diabolo", "a.parquet", "-o", "a.dbl")
        done("decompress", "a.dbl", "-o", "b.parquet")
        assert pq.read_table("b.parquet").equals(pq.read_table("a.parquet"))


def test_a_table_of_nothing_but_lists_says_what_fits_and_what_is_left_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pq.write_table(STRUCTS["string"].select(["jets"]), "a.parquet")
    err = run("fit", "a.parquet", "-o", "m.diabolo", "--epochs", 1, "-q")[2]
    assert "no column can be fitted as it stands: --take jets:10 --exclude jets_more makes columns" in err
    done("fit", "a.parquet", "-o", "m.diabolo", "--epochs", 1, "-q", "--take", "jets:10", "--exclude", "jets_more")


def test_the_second_coordinate_is_no_label(tmp_path):
    pq.write_table(STRUCTS["struct"], tmp_path / "a.parquet")
    assert "like a label" not in done("info", tmp_path / "a.parquet", "--take", "jets:2")


def test_words_stored_as_views_are_read_and_come_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    words = pa.array(rng.choice(["u", "v"], 200), mask=rng.random(200) < 0.1).cast(pa.string_view())
    pq.write_table(pa.table({"a": rng.normal(size=200), "s": words}), "a.parquet")
    done("fit", "a.parquet", "-o", "m.diabolo", "--epochs", 1, "-q")
    done("compress", "m.diabolo", "a.parquet", "-o", "a.dbl")
    done("decompress", "a.dbl", "-o", "b.parquet")
    assert pq.read_table("b.parquet").to_pylist() == pq.read_table("a.parquet").to_pylist()


def test_tables_of_very_many_columns_are_answered_at_once(tmp_path):
    """As trees of simulations have; every step was quadratic in the number of columns or worse."""
    n = 3_000
    cells = pa.array([[[1.0]], [[2.0]]] * 15, pa.list_(pa.list_(pa.float64())))
    table = pa.table({"x": np.arange(30.0) % 7, **{f"track_{i:05d}_measured": cells for i in range(n)}})
    pq.write_table(table, tmp_path / "many.parquet")
    for words in (("info",), ("fit", "-o", tmp_path / "m.diabolo")):
        verb, *rest = words
        status, out, err = run(verb, tmp_path / "many.parquet", *rest)
        assert "--exclude unusable" in out + err
        assert max(map(len, err.splitlines()), default=0) < 100_000
    said = ",".join(f"track_{i:05d}_measured" for i in range(n))
    status, _, err = run(
        "fit", tmp_path / "many.parquet", "--exclude", said, "-o", tmp_path / "m.diabolo", "--epochs", 1
    )
    assert status == 0, err
    status, _, err = run(
        "fit", tmp_path / "many.parquet", "--exclude", "unusable", "-o", tmp_path / "n.diabolo", "--epochs", 1
    )
    assert status == 0, err
