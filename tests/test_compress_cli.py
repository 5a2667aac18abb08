"""`diabolo compress` and `decompress`: files to files, with bounds, parts and damage."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from program import rewrite, sections_of

from diabolo import VariationalAutoencoder
from diabolo.cli.app import main
from diabolo.cli.verbs.compress import _pair, _span
from diabolo.errors import ConfigError, OutputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A Parquet table, and a model file of its floats."""
    folder = tmp_path_factory.mktemp("dbl")
    rng = np.random.default_rng(0)
    n = 3_000
    x = rng.normal(size=n)
    table = pa.table(
        {
            "x": x,
            "y": (x + rng.normal(0, 0.1, n)).astype("f4"),
            "n": rng.integers(0, 9, n),
            "kind": pa.array([["a", "b"][i] for i in rng.integers(0, 2, n)]).dictionary_encode(),
        }
    )
    pq.write_table(table, folder / "t.parquet")
    VariationalAutoencoder(epochs=1).fit(table.select(["x", "y"])).save(folder / "m.diabolo")
    return folder


def run(*words):
    with pytest.raises(SystemExit) as done:
        main([str(w) for w in words])
    return done.value.code


def test_parquet_to_dbl_to_parquet(folder, capsys):
    table, dbl = pq.read_table(folder / "t.parquet"), folder / "t.dbl"
    main_before = sections_of(folder / "m.diabolo")["main"].sha256("main")
    words = ["compress", folder / "m.diabolo", folder / "t.parquet", "-o", dbl, "--max-error", "0.01"]
    assert run(*words, "--column-error", "y=none") == 0
    said = capsys.readouterr().out
    assert "3,000 rows" in said
    assert "bits per value, error at most" in said
    assert "verdict on 3,000 rows" in said
    assert re.search(r"wins by \d+% over|use \S+.*: it is \d+% smaller|no gain", said)
    assert run("info", dbl) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[0] in said
    # Told as when they were measured, to the digits that the file keeps.
    pattern = r"  (\w+): ([\d.]+) bits per value(.*?)(?:, RMS|$)"
    before, after = (re.findall(pattern, text, re.MULTILINE) for text in (said, shown))
    assert len(before) == len(after) == 4
    for (name, bits, rest), (name_, bits_, rest_) in zip(before, after, strict=True):
        assert (name, rest) == (name_, rest_)
        assert float(bits) == pytest.approx(float(bits_), abs=0.01)
    assert "  codec section no network: simple ways only" in shown
    assert sections_of(folder / "m.diabolo")["main"].sha256("main") == main_before
    assert run("decompress", dbl, "-o", folder / "b.parquet") == 0
    back = pq.read_table(folder / "b.parquet")
    assert back.schema.equals(table.schema)
    assert np.abs(back["x"].to_numpy() - table["x"].to_numpy()).max() <= 0.01
    for name in ("y", "n", "kind"):
        assert back[name].to_pylist() == table[name].to_pylist()
    assert run("decompress", dbl, "-o", folder / "part.parquet", "--rows", "10:20") == 0
    assert pq.read_table(folder / "part.parquet").equals(back.slice(10, 10))


@pytest.mark.parametrize("ending", ["npz", "h5"])
def test_arrays_in_files(folder, ending):
    if ending == "h5":
        pytest.importorskip("h5py")
    assert run("compress", folder / "m.diabolo", folder / "t.parquet", "-o", folder / "u.dbl") == 0
    assert run("decompress", folder / "u.dbl", "-o", folder / "t2.parquet") == 0
    table = pq.read_table(folder / "t2.parquet").drop(["kind"])
    from diabolo.data.formats import read_batches, write_batches

    write_batches(folder / f"t.{ending}", table.schema, iter(table.to_batches()))
    came = pa.Table.from_batches(list(read_batches(str(folder / f"t.{ending}"))))
    assert run("compress", folder / "m.diabolo", folder / f"t.{ending}", "-o", folder / "a.dbl") == 0
    assert run("decompress", folder / "a.dbl", "-o", folder / f"back.{ending}") == 0
    assert pa.Table.from_batches(list(read_batches(str(folder / f"back.{ending}")))).equals(came)


def test_the_codec_section_outside(folder, capsys):
    words = ["compress", folder / "m.diabolo", folder / "t.parquet", "-o", folder / "e.dbl", "--max-error", "0.01"]
    assert run(*words, "--external-model") == 0
    capsys.readouterr()
    if "which is outside" in open_fails(folder, capsys):
        assert run("decompress", folder / "e.dbl", "-o", folder / "e.parquet", "--model", folder / "m.diabolo") == 0
        back = pq.read_table(folder / "e.parquet")
        assert np.abs(back["x"].to_numpy() - pq.read_table(folder / "t.parquet")["x"].to_numpy()).max() <= 0.01
    else:
        raise AssertionError("the section is not needed, so it was not left out")


def test_a_section_that_files_were_written_without_is_never_replaced(folder, capsys):
    model, table = without_codec(folder, "kept.diabolo"), pq.read_table(folder / "t.parquet")
    words = ["compress", model, folder / "t.parquet", "--no-verdict", "-o"]
    assert run(*words, folder / "first.dbl", "--max-error", "0.01", "--external-model") == 0
    section = sections_of(model)["codec"].sha256("codec")
    # What pandas notes of its index is no other table.
    pq.write_table(table.slice(0, 500).replace_schema_metadata({"pandas": "500"}), folder / "half.parquet")
    capsys.readouterr()
    half = ["compress", model, folder / "half.parquet", "--no-verdict", "-o", folder / "half.dbl", "--external-model"]
    assert run(*half, "--max-error", "0.01") == 0
    assert "learnt" not in capsys.readouterr().out
    assert run(*words, folder / "other.dbl", "--max-error", "0.1", "--external-model") == 2
    assert "files written with --external-model need it" in capsys.readouterr().err
    assert run(*words, folder / "other.dbl", "--max-error", "0.1") == 0
    assert "it is in this file alone" in capsys.readouterr().out
    assert sections_of(model)["codec"].sha256("codec") == section
    for name, rows, bound, needs in (
        ("first", 3_000, 0.01, True),
        ("half", 500, 0.01, True),
        ("other", 3_000, 0.1, False),
    ):
        back = folder / f"{name}_back.parquet"
        assert run("decompress", folder / f"{name}.dbl", "-o", back, *(["--model", model] if needs else [])) == 0
        assert np.abs(pq.read_table(back)["x"].to_numpy() - table["x"].to_numpy()[:rows]).max() <= bound


def test_a_model_file_that_cannot_be_written_to(folder, monkeypatch, capsys):
    def refuse(path):
        raise OutputError(f"cannot write {path}: Permission denied; choose a folder that exists and is writable")

    monkeypatch.setattr("diabolo.file.compressing.check_writable", refuse)
    model = without_codec(folder, "closed.diabolo")
    before = model.read_bytes()
    words = ["compress", model, folder / "t.parquet", "-o", folder / "r.dbl", "--max-error", "0.03"]
    assert run(*words, "--no-verdict") == 0
    assert "it is in this file alone: cannot write" in capsys.readouterr().out
    assert run(*words, "--external-model") == 2
    assert model.read_bytes() == before


def test_lists_of_which_a_model_took_objects(tmp_path, capsys):
    rng = np.random.default_rng(0)
    counts = rng.poisson(2, 300)
    jets = pa.array([rng.normal(size=n).tolist() for n in counts])
    pq.write_table(pa.table({"jets_pt": jets, "x": rng.normal(size=300)}), tmp_path / "j.parquet")
    model, dbl = tmp_path / "j.diabolo", tmp_path / "j.dbl"
    fit = ["fit", tmp_path / "j.parquet", "-o", model, "--take", "jets:2", "--epochs", "1", "--only", "main", "-q"]
    assert run(*fit) == 0
    assert run("compress", model, tmp_path / "j.parquet", "-o", dbl, "--max-error", "0.1", "--no-verdict") == 0
    assert run("decompress", dbl, "-o", tmp_path / "back.parquet") == 0
    back = pq.read_table(tmp_path / "back.parquet")["jets_pt"]
    assert back.type == jets.type
    for one, other in zip(back.to_pylist(), jets.to_pylist(), strict=True):
        assert len(one) == len(other)
        assert np.abs(np.subtract(one, other)).max(initial=0) <= 0.1


def without_codec(folder, name):
    sections = sections_of(folder / "m.diabolo")
    rewrite(folder / name, {n: s for n, s in sections.items() if n != "codec"})
    return folder / name


def open_fails(folder, capsys):
    assert run("decompress", folder / "e.dbl", "-o", folder / "e.parquet") == 2
    assert not (folder / "e.parquet").exists()
    return capsys.readouterr().err


def test_damage_is_one_line_and_salvage_keeps_the_rest(folder, capsys):
    assert run("compress", folder / "m.diabolo", folder / "t.parquet", "-o", folder / "d.dbl") == 0
    data = bytearray((folder / "d.dbl").read_bytes())
    data[len(data) // 2] ^= 4
    (folder / "d.dbl").write_bytes(data)
    capsys.readouterr()
    assert run("decompress", folder / "d.dbl", "-o", folder / "d.parquet") == 2
    err = capsys.readouterr().err
    assert "d.dbl" in err
    assert "chunk 0" in err
    assert err.count("\n") == 1
    assert run("decompress", folder / "d.dbl", "-o", folder / "d.parquet", "--salvage") == 0
    assert "lost: chunk 0" in capsys.readouterr().out


def test_a_fit_for_compression_is_one_that_compress_uses(folder, capsys):
    table, model = folder / "t.parquet", folder / "c.diabolo"
    bounds = ["--max-error", "0.01", "--column-error", "y=0.1%"]
    words = ["fit", table, "-o", model, "--epochs", "1", "-q", "--exclude", "kind,n"]
    assert run(*words, "--for", "compression", *bounds) == 0
    assert "learnt a codec section from the first 3,000 rows" in capsys.readouterr().out
    assert "codec" in sections_of(model)
    assert "detector" not in sections_of(model)
    assert run("compress", model, table, "-o", folder / "c.dbl", *bounds, "--no-verdict") == 0
    assert "learnt" not in capsys.readouterr().out
    for flags, said in (
        (["--for", "speed"], "allowed is --for compression"),
        (bounds, "need --for compression"),
        (["--for", "compression", "--max-error", "much"], "allowed are"),
        (["--for", "compression", "--false-alarm-rate", "0.1"], "fits no detector"),
    ):
        assert run(*words, *flags) == 2
        assert said in capsys.readouterr().err


def test_info_of_what_is_damaged_or_absent(folder, capsys):
    assert run("compress", folder / "m.diabolo", folder / "t.parquet", "-o", folder / "i.dbl", "--no-verdict") == 0
    assert "verdict" not in capsys.readouterr().out
    (folder / "i.dbl").write_bytes((folder / "i.dbl").read_bytes()[:-20])
    for name, said in (("i.dbl", "cut off"), ("nowhere.dbl", "no such file")):
        assert run("info", folder / name) == 2
        err = capsys.readouterr().err
        assert said in err
        assert err.count("\n") == 1


@pytest.mark.parametrize("words", [["-o", "x.parquet"], ["-o", "x.dbl", "--max-error", "0"]])
def test_wrong_flags(folder, words, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert run("compress", "m.diabolo", "t.parquet", *words) == 2
    assert "allowed" in capsys.readouterr().err or words[1].endswith("parquet")


@pytest.mark.parametrize("said", ["5", "a:b", "3:3", "9:2"])
def test_what_is_no_span(said):
    with pytest.raises(ConfigError, match="--rows"):
        _span(said)


def test_what_is_no_pair():
    assert _pair("a=b=0.1%") == ("a=b", "0.1%")
    with pytest.raises(ConfigError, match="expected COLUMN=E"):
        _pair("x")
