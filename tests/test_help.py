"""Help and answers of the command line: examples that run, values that are listed, files and words in a wrong place."""

from __future__ import annotations

import re
import shlex

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from program import done, refused, run, table, write

from diabolo.cli.app import app
from diabolo.cli.command import METAVARS
from diabolo.cli.kinds import TAKES_GRAPHS, kind_of
from diabolo.cli.verb import verbs
from diabolo.cluster.embedding import embeddings
from diabolo.cluster.partition import partitions
from diabolo.config import METHODS, Config
from diabolo.data.formats import formats
from diabolo.generate.methods import methods

NAMES = list(verbs)


def said_by(verb):
    """--help of a verb, without its line breaks."""
    return " ".join(done(verb, "--help").split())


# ── help ──────────────────────────────────────────────────────────────────────────────────────────


def test_no_line_of_the_list_of_verbs_is_cut(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    said = done("--help")
    assert max(map(len, said.splitlines())) <= 80
    listed = " ".join(said.split("Verbs:")[1].split())
    for name in NAMES:
        first = " ".join((verbs.get(name).run.__doc__ or "").split("\n\n")[0].split())
        assert f"{name} {first}" in listed
    assert "diabolo docs" in said
    assert "--install-completion" in said


@pytest.mark.parametrize("verb", NAMES)
def test_every_verb_has_an_example_and_names_its_values(verb):
    said = done(verb, "--help")
    examples = verbs.get(verb).examples
    assert examples
    assert said.split("Examples:")[1].split("\n")[1:-1] == [f"  {line}" for line in examples]
    assert all(len(line) <= 80 for line in examples)
    assert all(shlex.split(line)[:2] == ["diabolo", verb] for line in examples)
    assert "list[str]" not in said, "a list is called by what it holds"
    assert not re.search(r"\.md\b", said), "an installed program has no file of that name"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with the tables and models that examples name."""
    folder = tmp_path_factory.mktemp("workplace")
    for seed, name in enumerate(("DATA", "NEW", "NEWER", "TODAY", "LABELLED")):
        rng = np.random.default_rng(seed)
        n = 700
        frame = pd.DataFrame(
            {"pt": rng.exponential(20, n) + 5, "phi": rng.uniform(-3, 3, n), "hits": rng.poisson(3, n)}
        )
        frame = frame.assign(mass=0.5 * frame.pt + rng.normal(size=n), colour=rng.choice(["red", "blue"], n))
        frame = frame.assign(id=rng.permutation(n))
        if name == "LABELLED":
            frame = frame.assign(label=np.arange(n) % 20 == 0, process=rng.choice(["QCD", "W", "new"], n))
        frame.to_parquet(folder / f"{name}.parquet")
        frame.to_csv(folder / f"{name}.csv", index=False)
    return folder


def test_the_examples_run_as_they_stand(workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    for verb in NAMES:
        if verb in ("demo", "serve"):
            continue  # a minute, which test_cli.py cuts short; and one without end, which test_serve.py ends
        for line in verbs.get(verb).examples:
            words = shlex.split(line)[1:]
            status, _, err = run(*words, *(["--epochs", "2", "-q"] if verb == "fit" else []))
            assert status in ((0, 1) if verb == "health" else (0,)), (line, err)


@pytest.mark.parametrize(
    ("verb", "option", "allowed"),
    [
        ("fit", "--method", METHODS),
        ("cluster", "--method", partitions),
        ("cluster", "--embedding", embeddings),
        ("sample", "--method", [*methods, "auto"]),
        ("fit", "--for", ["compression"]),
        ("fit", "--only", ["main"]),
    ],
)
def test_allowed_values_are_listed(verb, option, allowed):
    option = re.search(rf"{option} .*?(?= --[a-z])", said_by(verb))[0]
    assert [name for name in allowed if not re.search(rf"\b{name}\b", option)] == []


def test_an_option_that_may_be_left_out_has_a_default_or_does_nothing_without():
    """A plain option without a default in its help is one that does nothing unless it is given."""
    without = {}
    for name in NAMES:
        command = typer.main.get_command(app).commands[name]
        with command.make_context(name, ["--help"], resilient_parsing=True) as context:
            records = [(p, p.get_help_record(context)) for p in command.params]
        for parameter, record in records:
            plain = parameter.opts[0].startswith("-") and not parameter.is_flag and not parameter.multiple
            if record and plain and "[default:" not in record[1] and not parameter.required:
                without.setdefault(parameter.name, set()).add(name)
    nothing = {"for_", "label", "weight", "group", "time", "config", "fdr", "accept_rate", "against", "model"}
    shown_otherwise = {"beta", "separator", "decimal", "header"}
    assert set(without) <= nothing | shown_otherwise, without
    assert Config().beta == 1
    assert METAVARS


# ── completion, and pages ─────────────────────────────────────────────────────────────────────────


def test_shells_get_completions(monkeypatch):
    script = done("--show-completion") if run("--show-completion")[0] == 0 else ""
    monkeypatch.setenv("_DIABOLO_COMPLETE", "complete_bash")
    for typed, wanted in (("diabolo comp", "compress"), ("diabolo fit --lat", "--latent"), ("diabolo ", "\nscore")):
        monkeypatch.setenv("COMP_WORDS", typed)
        monkeypatch.setenv("COMP_CWORD", str(len(typed.split(" ")) - 1))
        status, out, _ = run()
        assert wanted in f"\n{out}", (status, typed)
    assert not script or "_DIABOLO_COMPLETE" in script


def test_pages_are_listed_and_shown():
    listed = done("docs")
    for page in ("detect", "settings", "benchmarks/detect"):
        assert re.search(rf"^{page} ", listed, re.M)
    assert done("docs", "detect").startswith("# Detect")
    assert done("docs", "docs/detect.md") == done("docs", "detect") == done("docs", "Docs/DETECT.md")
    assert done("docs", "readme") == done("docs", "README")
    assert "did you mean 'detect'?" in refused("docs", "detct")


# ── shares ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("said", ["0.05", "5%", "5 %", " 5.0% "])
def test_a_share_is_a_number_or_a_percentage(said, shop, here):
    rows = ("score", shop / "vae.diabolo", shop / "data.parquet", "-o", "s.csv")
    assert "at most 5 % are flagged" in done(*rows, "--false-alarm-rate", said)
    assert "on average at most 5 % of them are normal" in done(*rows, "--fdr", said)
    assert "level 0.05)" in run("health", shop / "vae.diabolo", shop / "data.parquet", "--level", said)[1]
    assert (
        "your 5 % is now" in run("health", shop / "vae.diabolo", shop / "data.parquet", "--false-alarm-rate", said)[1]
    )


def test_a_share_of_a_fit_and_of_its_settings(shop, here):
    words = ("fit", shop / "data.csv", "--label", "truth", "--epochs", 1, "-q")
    done(*words, "-o", "a.diabolo", "--false-alarm-rate", "5%", "--set", "stop_fraction=20%")
    done(*words, "-o", "b.diabolo", "--false-alarm-rate", 0.05, "--set", "stop_fraction=0.2")
    for name in ("a.diabolo", "b.diabolo"):
        assert "80 stop" in done("info", name)
    assert "rate of 5 %" in done("calibrate", "a.diabolo", shop / "data.csv", "-o", "c.diabolo", "--group", "content")


@pytest.mark.parametrize("said", ["x", "1%%", "%", "1/100", "0,01"])
def test_what_is_no_share_is_told(said, shop):
    line = refused("score", shop / "vae.diabolo", shop / "data.csv", "-o", "s.csv", "--fdr", said)
    assert f"{said!r} is no share; allowed are numbers and percentages, like 0.01 or 1%" in line
    assert line.endswith("(diabolo score --help)\n")


# ── words in a wrong place ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (["fit"], "diabolo fit --help"),
        (["score", "--fo"], "diabolo score --help"),
        (["nothing"], "diabolo --help"),
        (["fit", "x.csv", "-o", "m.diabolo", "--epochs", "two"], "diabolo fit --help"),
    ],
)
def test_a_wrong_line_names_the_help_of_its_verb(words, place):
    assert refused(*words).endswith(f"({place})\n")


def test_widths_may_stand_apart_by_blanks(shop, here):
    words = ("fit", shop / "data.csv", "--label", "truth", "--epochs", 1, "-q", "-o", "m.diabolo", "--hidden")
    for said in ("16 8", "16,8", "16, 8"):
        assert "→16→8→" in done(*words, said)
    assert "'a' is not a whole number" in refused(*words, "16 a")


@pytest.fixture(scope="module")
def kinds(shop, tmp_path_factory):
    """A file of each kind."""
    folder = tmp_path_factory.mktemp("kinds")
    for suffix in ("csv", "parquet", "npz", "npy"):
        write(table(120), folder / f"t.{suffix}")
    (folder / "m.diabolo").write_bytes((shop / "vae.diabolo").read_bytes())
    (folder / "m.bin").write_bytes((shop / "vae.diabolo").read_bytes())
    done("compress", folder / "m.diabolo", folder / "t.parquet", "-o", folder / "t.dbl")
    (folder / "p.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    (folder / "n.onnx").write_bytes(b"\x08\x09\x12\x07pytorch")
    return folder


def test_kinds_are_known_by_content_and_name(kinds):
    found = {p.name: kind_of(p) for p in sorted(kinds.iterdir())}
    assert found["m.diabolo"] == found["m.bin"] == "a model file"
    assert found["t.dbl"] == "a compressed table"
    assert {found[f"t.{s}"] for s in ("csv", "parquet", "npz", "npy")} == {"a table"}
    assert (found["p.png"], found["n.onnx"]) == ("a picture", "a network in ONNX")
    assert kind_of(kinds) is None
    assert kind_of(kinds / "nothing.csv") is None
    for name in formats:
        for suffix in formats.get(name).suffixes:
            (kinds / f"x{suffix}").write_text("a,b\n1,2\n")
            assert kind_of(kinds / f"x{suffix}") in ("a table", "a picture", None)
            (kinds / f"x{suffix}").unlink()


def verbs_with(*parameters):
    found = []
    for name in NAMES:
        command = typer.main.get_command(app).commands[name]
        arguments = [p.name for p in command.params if not p.opts[0].startswith("-")]
        if arguments == list(parameters):
            found.append(name)
    return found


#: What a verb cannot do without.
NEEDED = {"evaluate": ["--label", "truth"], "explain": ["--row", "0"], "sample": ["-n", "10"], "calibrate": []}
#: Verbs without an output that they must be given.
NO_OUT = ("evaluate", "explain", "health", "serve")


@pytest.mark.parametrize("verb", verbs_with("model", "data"))
def test_swapped_arguments_are_put_right(verb, kinds, here):
    out = [] if verb in NO_OUT else ["-o", "out.csv"]
    line = refused(verb, kinds / "t.csv", kinds / "m.diabolo", *out, *NEEDED.get(verb, []))
    right = line.partition("MODEL comes first: diabolo ")[2]
    words = shlex.split(right)
    assert words[:3] == [verb, str(kinds / "m.diabolo"), str(kinds / "t.csv")]
    if verb in ("score", "encode", "explain"):
        done(*words)


@pytest.mark.parametrize("verb", [v for v in NAMES if v in {*verbs_with("model", "data"), *verbs_with("model")}])
@pytest.mark.parametrize("file", ["t.csv", "t.dbl", "p.png", "n.onnx"])
def test_another_file_in_place_of_the_model_is_recognized(verb, file, kinds, here):
    if file == "n.onnx" and verb in TAKES_GRAPHS:
        pytest.skip("a graph has its place there")
    data = [kinds / "t.parquet"] if verb in verbs_with("model", "data") else []
    out = [] if verb in NO_OUT else ["-o", "out.csv"]
    line = refused(verb, kinds / file, *data, *out, *NEEDED.get(verb, []))
    kind = {"t.csv": "a table", "t.dbl": "a compressed table", "p.png": "a picture", "n.onnx": "a network in ONNX"}
    assert f"{file} is {kind[file]}; MODEL is a model file" in line


@pytest.mark.parametrize("verb", [v for v in NAMES if v in {*verbs_with("model", "data"), *verbs_with("data")}])
@pytest.mark.parametrize("file", ["m.diabolo", "m.bin", "t.dbl", "n.onnx"])
def test_another_file_in_place_of_the_table_is_recognized(verb, file, kinds, here):
    model = [kinds / "m.diabolo"] if verb in verbs_with("model", "data") else []
    out = [] if verb in NO_OUT else ["-o", "out.csv"]
    line = refused(verb, *model, kinds / file, *out, *NEEDED.get(verb, []))
    assert "; DATA is a table" in line, line
    if file == "t.dbl":
        remedy = shlex.split(line.partition("diabolo decompress ")[2].partition(" gives")[0])
        assert remedy == [str(kinds / "t.dbl"), "-o", str(kinds / "t.parquet")]


def test_sisters_of_model_and_table(kinds, here):
    words = ("sample", kinds / "m.diabolo", "-n", 10, "-o", "s.csv", "--against")
    assert "--against is a table" in refused(*words, kinds / "t.dbl")
    line = refused("decompress", kinds / "t.csv", "-o", "x.parquet")
    assert "FILE is a compressed table (*.dbl), which diabolo compress makes" in line
    line = refused("decompress", kinds / "t.dbl", "-o", "x.parquet", "--model", kinds / "t.csv")
    assert "t.csv is a table; MODEL is a model file" in line


def test_a_name_in_another_case_is_offered(shop, here):
    write(table().rename(columns={"pt": "PT", "eta": "E"}), here / "t.csv")
    assert "did you mean 'PT'?" in refused("score", shop / "vae.diabolo", "t.csv", "-o", "s.csv")
    assert "did you mean 'E'?" in refused("fit", "t.csv", "-o", "m.diabolo", "--exclude", "e")


# ── outputs ───────────────────────────────────────────────────────────────────────────────────────

WRITERS = {
    "score": ["{model}", "{data}"],
    "cluster": ["{model}", "{data}"],
    "encode": ["{model}", "{data}"],
    "decode": ["{model}", "z.csv"],
    "reconstruct": ["{model}", "{data}"],
    "sample": ["{model}", "-n", "10"],
    "fill": ["{model}", "{data}"],
    "decompress": ["{packed}"],
}


#: Verbs for which a name without an ending is a folder of parts.
PARTS = ("score", "cluster", "sample", "fill")


@pytest.mark.parametrize("out", ["x.png", "x.dat", "x.foo", "x.jpg", "x.txt", "x"])
@pytest.mark.parametrize("verb", WRITERS)
def test_a_table_that_cannot_be_written_is_called_as_it_was_typed(verb, out, kinds, here):
    (here / "z.csv").write_text("z_0,z_1\n1,2\n")
    there = {"model": kinds / "m.diabolo", "data": kinds / "t.csv", "packed": kinds / "t.dbl"}
    if out == "x" and verb in PARTS:
        done(verb, *[word.format(**there) for word in WRITERS[verb]], "-o", out, "--engine", "local:1")
        assert (here / "x").is_dir()
        return
    line = refused(verb, *[word.format(**there) for word in WRITERS[verb]], "-o", out)
    assert line.startswith(f"diabolo: {out}: ")
    assert ".part" not in line
    assert ".png" not in line.removeprefix(f"diabolo: {out}")


def test_a_fault_while_writing_names_the_file_as_it_was_typed(kinds, here):
    pa_table = pa.table({"a": [1.0, 2.0], "s": pa.array([{"x": 1}, {"x": 2}])})
    pq.write_table(pa_table, "nested.parquet")
    pq.write_table(pa.table({"a": pa.array([b"\xff\x00", b"1"], pa.binary())}), "bytes.parquet")
    for data, out in (("nested.parquet", "y.npy"), ("bytes.parquet", "y.root"), ("bytes.parquet", "y.h5")):
        status, _, err = run("fill", kinds / "m.diabolo", data, "-o", out)
        assert status == 2
        assert ".part" not in err


def test_columns_may_be_left_out_of_a_compressed_file(kinds, here):
    model = here / "m.diabolo"
    model.write_bytes((kinds / "m.diabolo").read_bytes())
    said = done("compress", model, kinds / "t.parquet", "-o", "t.dbl", "--exclude", "hits,tagged", "--exclude", "truth")
    assert "in the file" in said
    assert "beside its source" not in said
    done("decompress", "t.dbl", "-o", "back.parquet")
    left = pd.read_parquet(kinds / "t.parquet").drop(columns=["hits", "tagged", "truth"])
    pd.testing.assert_frame_equal(pd.read_parquet("back.parquet"), left)
    assert "did you mean 'hits'?" in refused("compress", model, kinds / "t.csv", "-o", "t.dbl", "--exclude", "hit")
    every = ",".join(table(2).columns)
    assert "no column is left" in refused("compress", model, kinds / "t.csv", "-o", "t.dbl", "--exclude", every)


# ── rates ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_rate_beyond_the_calibration_names_what_gives_it(shop, here):
    rows = ("score", shop / "vae.diabolo", shop / "data.csv", "-o", "s.csv")
    line = refused(*rows, "--accept-rate", "1 kHz of 40 MHz")
    assert f"diabolo calibrate {shop / 'vae.diabolo'} MORE, where MORE has 39,999 or more normal rows" in line
    assert "a fit to" not in line, "no fit keeps so many rows apart"
    for words in (
        (*rows, "--false-alarm-rate", "0.5%"),
        ("health", shop / "vae.diabolo", shop / "data.csv", "--false-alarm-rate", 0.005),
        ("fit", shop / "data.csv", "-o", "m.diabolo", "--false-alarm-rate", 0.005),
    ):
        line = refused(*words)
        assert "diabolo calibrate" in line
        assert "199 or more normal rows" in line
        assert "a fit to 995 rows or more" in line
    line = refused("calibrate", shop / "vae.diabolo", shop / "data.csv", "-o", "m.diabolo", "--false-alarm-rate", 1e-3)
    assert "a table of 999 or more normal rows that the fit has not seen" in line


def test_the_named_numbers_of_rows_are_enough(here):
    """Both remedies, with tables of just as many rows, and one too few."""
    write(table(995), here / "fit.csv")
    write(table(994), here / "less.csv")
    words = ("-o", "m.diabolo", "--label", "truth", "--epochs", 1, "-q", "--false-alarm-rate", 0.005)
    refused("fit", "less.csv", *words)
    assert "rate of 0.5 %" in done("fit", "fit.csv", *words)
    write(table(999, seed=7), here / "more.csv")
    write(table(998, seed=7), here / "few.csv")
    refused("calibrate", "m.diabolo", "few.csv", "-o", "n.diabolo", "--false-alarm-rate", "0.1%")
    assert "rate of 0.1 %" in done(
        "calibrate", "m.diabolo", "more.csv", "-o", "n.diabolo", "--false-alarm-rate", "0.1%"
    )
