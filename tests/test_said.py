"""Every sentence with "exact", "at most" or "guarantee" that the program can print is held against hostile data.

The sentences are found in the source: literals of any module, and the help of the verbs. `PROOF` maps each to a test
here, or to the file and name of one elsewhere. A sentence without a proof fails, and so does a proof of none.
"""

from __future__ import annotations

import ast
import contextlib
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from program import done, refused, run

from diabolo import Compressor, LinearAutoencoder, decompress, evaluation
from diabolo.cli.verbs.explain import parse_rows
from diabolo.compress.layers import DOUBLE, Layer
from diabolo.compress.report import report_lines
from diabolo.data import cache
from diabolo.data.dtypes import MOST_WORD
from diabolo.data.schema import MOST_LEVELS
from diabolo.errors import CompressedFileError, DataError
from diabolo.screen import at_most, at_most_percent

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "diabolo"
CLAIM = re.compile(r"\b(exact(ly)?|at most|guarantee\w*)\b", re.IGNORECASE)
QUICK = ("--only", "main", "--epochs", 1, "-q")

#: (module, words of the sentence) → the test that holds it.
PROOF = {
    ("cli/app.py", "at a guaranteed false-alarm rate"): "test_calibration.py::test_over_fitted_network_keeps_its_rate",
    ("cli/rules.py", "{} anomalies{}; of {} with the {} at most"): "test_rows_that_cannot_be_scored_are_apart",
    (
        "cli/rules.py",
        "of so many exchangeable rows at most",
    ): "test_promise.py::test_the_law_of_flags_is_the_beta_binomial",
    ("cli/training.py", "training from a cache of at most"): "test_a_cache_is_no_larger_than_was_said",
    ("cli/verbs/calibrate.py", "cells of at most this size, or"): "test_a_sample_is_no_larger_than_was_said",
    ("cli/verbs/compress.py", "within its bound after decoding; other types are exact"): (
        "test_said_bounds.py::test_said_bounds_hold"
    ),
    (
        "cli/verbs/evaluate.py",
        "a random half of the normal rows (at most",
    ): "test_rivals_see_no_more_rows_than_was_said",
    ("cli/verbs/explain.py", "at most {} rows are explained at once"): "test_rows_named_twice_count_once",
    ("cli/verbs/health.py", "Probability of an alarm where nothing has changed, at most"): (
        "test_health.py::test_silent_while_nothing_has_changed"
    ),
    ("cli/verbs/serve.py", "one verdict on drift is an alarm where nothing has changed, at most"): (
        "test_health.py::test_silent_while_nothing_has_changed"
    ),
    ("cli/verbs/serve.py", "Rows of a request, at most"): "test_serve.py::test_limits_are_said",
    ("cli/verbs/serve.py", "Bytes of a request, at most"): "test_serve.py::test_limits_are_said",
    ("compress/layers.py", "a layer whose sums are too large to be exact"): "test_sums_of_a_layer_are_exact",
    ("compress/report.py", "images of {}: {} bits per pixel, exact"): "test_images_come_back_bit_by_bit",
    ("compress/report.py", ", exact"): "test_said_bounds.py::test_said_bounds_hold",
    ("compress/report.py", ", error at most"): "test_a_largest_error_is_never_rounded_down",
    ("compress/report.py", ", {} cells exact"): "test_as_many_cells_as_was_said_are_exact",
    ("compress/stream.py", "a chunk of a *.dbl file holds at most"): (
        "test_hostile.py::test_what_a_writer_makes_a_reader_takes"
    ),
    ("data/dialect/forms.py", "doubles hold every whole number exactly only up to there"): (
        "test_whole_numbers_of_text_beyond_doubles"
    ),
    ("data/dtypes.py", "a category has words of at most"): "test_words_of_the_largest_size",
    ("data/onepass.py", "a category has at most"): "test_levels_of_the_largest_number",
    ("data/schema.py", "a category has at most {}, and from 20 on at most half as many as cells"): (
        "test_levels_of_the_largest_number"
    ),
    ("data/schema.py", "an ordinal one at most"): "test_levels_of_the_largest_number",
    ("describe/table.py", "columns are often exactly 0"): "test_a_number_next_to_nothing_is_no_zero",
    ("detect/fdr.py", "discoveries among {} rows: on average at most"): (
        "test_fdr.py::test_the_share_of_false_discoveries_is_kept"
    ),
    ("cli/graph.py", "of rows exchangeable with the {} at most"): (
        "test_calibration.py::test_over_fitted_network_keeps_its_rate"
    ),
    (
        "explore/asking.py",
        "filters: allowed is a list of at most",
    ): "test_explore.py::test_what_no_page_sends_is_answered_in_a_line",
    (
        "explore/asking.py",
        "fields: allowed are at most",
    ): "test_explore.py::test_what_no_page_sends_is_answered_in_a_line",
    ("export/hub_form.py", "It flags at most"): "test_calibration.py::test_over_fitted_network_keeps_its_rate",
    ("export/onnx/scores.py", "compares a row with every stored one, and no shortlist is exact"): (
        "test_onnx.py::test_every_part_of_the_registries_has_an_emitter_or_a_refusal"
    ),
    (
        "export/onnx/verify.py",
        "verdicts differ, scores by at most",
    ): "test_onnx.py::test_a_graph_that_says_something_else_is_not_written",
    ("report/sections/codec.py", "exact"): "test_said_bounds.py::test_said_bounds_hold",
    ("report/sections/codec.py", "kept exactly"): "test_as_many_cells_as_was_said_are_exact",
    ("report/sections/scores.py", "score above the threshold, which promises at most"): (
        "test_calibration.py::test_over_fitted_network_keeps_its_rate"
    ),
}


# ── the sentences ─────────────────────────────────────────────────────────────────────────────────


#: Keys of the counts that health keeps, which are no sentences.
COUNTERS = {("detect/marginals.py", "exact")}


def literals(tree, help_too):
    """Texts of a module but docstrings, which are printed for verbs alone; {} for what is put in."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    first = [n.body[0] for n in ast.walk(tree) if isinstance(n, kinds) and n.body]
    quiet = {id(s.value) for s in first if isinstance(s, ast.Expr)}
    if help_too:
        quiet -= {id(n.body[0].value) for n in tree.body if isinstance(n, ast.FunctionDef) and n.decorator_list}
    parts = {id(v) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for v in n.values}
    formats = {id(n.format_spec) for n in ast.walk(tree) if isinstance(n, ast.FormattedValue)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            if id(node) not in formats:
                yield "".join(str(v.value) if isinstance(v, ast.Constant) else "{}" for v in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (quiet | parts):
            yield " ".join(node.value.split())


def said():
    """(module, sentence) of every claim that can be printed."""
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        tree = ast.parse(path.read_text())
        # The command line's own callback and verbs have their help in a docstring.
        for text in literals(tree, name.startswith("cli/")):
            if CLAIM.search(text) and not re.fullmatch(r"[A-Z_]+", text):
                yield name, text


def unproved(found, proof):
    return [(m, t) for m, t in found if not any(m == at and words in t for at, words in proof)]


def test_every_claim_that_is_printed_has_a_proof():
    found = [c for c in said() if c not in COUNTERS]
    assert len(found) > 20
    assert not unproved(found, PROOF)
    assert not [k for k in PROOF if not any(k[0] == m and k[1] in t for m, t in found)], "claims that are gone"
    for proof in PROOF.values():
        file, _, name = proof.rpartition("::")
        source = Path(__file__) if not file else ROOT / "tests" / file
        assert re.search(rf"^def {name}\(", source.read_text(), re.M), proof
    assert unproved([("cli/new.py", "exact to the last bit")], PROOF), "a new claim has no proof"


def test_claims_in_help_and_within_formats_are_found():
    tree = ast.parse(
        '@verb\ndef f():\n    """Exact help."""\n    say(f"at most {x:.3g} of it")\ndef g():\n    """Exactly."""'
    )
    assert sorted(literals(tree, True)) == ["Exact help.", "at most {} of it"]
    assert list(literals(tree, False)) == ["at most {} of it"]


# ── their proofs ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", range(5))
def test_what_follows_at_most_is_never_below(seed):
    rng = np.random.default_rng(seed)
    for value in [*(10.0 ** rng.uniform(-300, 300, 200)), 0.07, 0.29, 1e-3, 5e-324, 1.0]:
        assert value <= float(at_most(value)) <= value * 1.0101 or value < 1e-300
        share = min(value, 1.0)
        assert share * 100 <= float(at_most_percent(share).split()[0]) * (1 + 1e-15)
    assert (at_most(0.001), at_most_percent(0.01), at_most_percent(0.07)) == ("0.001", "1 %", "7 %")


def plain(rng, n):
    z = rng.normal(size=(n, 2))
    return pd.DataFrame(np.c_[z, z.sum(axis=1) + 0.1 * rng.normal(size=n)], columns=list("abc"))


def test_rows_that_cannot_be_scored_are_apart(here):
    """Rows without a cell, as many in the calibration: all of them are flagged, beyond the promise of the others."""
    rng = np.random.default_rng(0)
    for name in ("t", "new"):
        frame = plain(rng, 1500)
        frame[rng.random(1500) < 0.05] = np.nan
        frame.to_parquet(f"{name}.parquet")
    done("fit", "t.parquet", "-o", "m.diabolo", "--epochs", 2, "-q")
    told = done("score", "m.diabolo", "new.parquet", "-o", "s.parquet", "--false-alarm-rate", "1.2341%")
    assert "of rows that can be scored and are exchangeable with the" in told
    assert "at most 1.24 % are flagged" in told
    scores = pq.read_table("s.parquet").to_pandas()
    there = scores[scores["score"].notna()] if scores["score"].isna().any() else scores[np.isfinite(scores["score"])]
    assert len(there) < 1500
    assert scores["is_anomaly"].mean() > 0.03 > there["is_anomaly"].mean()


def test_a_cache_is_no_larger_than_was_said(here, monkeypatch):
    """Every bucket gets rows, some of weight; the folder is measured just before it goes."""
    sizes = []
    gone = cache.shutil.rmtree

    def measured(folder, **given):
        if "cache" in str(folder):
            sizes.append(sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file()))
        gone(folder, **given)

    monkeypatch.setattr(cache.shutil, "rmtree", measured)
    plain(np.random.default_rng(0), 5000).assign(w=1.0).to_parquet("t.parquet")
    status, _, err = run("fit", "t.parquet", "-o", "m.diabolo", "--only", "main", "--epochs", 1, "--weight", "w",
                         "--memory", "50kB", "--cache", ".")  # fmt: skip
    assert status == 0, err
    amount, unit = re.search(r"cache of at most ([\d.]+) (\w+)", err).groups()
    assert len(sizes) >= 1
    assert 0 < max(sizes) <= float(amount) * {"KiB": 1024, "MiB": 1 << 20}[unit]


@pytest.mark.parametrize("memory", ["1kB", "40kB"])
def test_a_sample_is_no_larger_than_was_said(here, memory):
    rng = np.random.default_rng(0)
    plain(rng, 2000).to_parquet("t.parquet")
    plain(rng, 9000).to_parquet("more.parquet")
    done("fit", "t.parquet", "-o", "m.diabolo", "--epochs", 1, "-q")
    told = done("calibrate", "m.diabolo", "more.parquet", "--memory", memory)
    rows = int(re.search(r"([\d,]+) (?:of [\d,]+ )?rows? calibrate|([\d,]+) rows", told)[0].split()[0].replace(",", ""))
    assert rows <= max(1000, int(memory[:-2]) * 1000 / (8 * 3))


def test_rivals_see_no_more_rows_than_was_said(here, monkeypatch):
    frame = plain(np.random.default_rng(0), 800)
    frame["bad"] = np.arange(800) % 8 == 0
    frame.to_parquet("t.parquet")
    done("fit", "t.parquet", "-o", "m.diabolo", "--exclude", "bad", *QUICK)
    seen = []
    rivals = evaluation.Rivals.__init__

    def counted(self, values, seed):
        seen.append(len(values))
        rivals(self, values, seed)

    monkeypatch.setattr(evaluation.Rivals, "__init__", counted)
    assert evaluation.MOST_FIT == 50_000
    fresh = plain(np.random.default_rng(1), 800).assign(bad=frame["bad"])
    fresh.to_parquet("new.parquet")
    done("evaluate", "m.diabolo", "new.parquet", "--label", "bad")
    monkeypatch.setattr(evaluation, "MOST_FIT", 100)
    done("evaluate", "m.diabolo", "new.parquet", "--label", "bad")
    assert seen == [350, 100]


def test_rows_named_twice_count_once(here):
    plain(np.random.default_rng(0), 1200).to_parquet("t.parquet")
    done("fit", "t.parquet", "-o", "m.diabolo", "--epochs", 1, "-q")
    line = refused("explain", "m.diabolo", "t.parquet", "--row", "0:600", "--row", "500:1001")
    assert "at most 1,000 rows are explained at once" in line
    assert parse_rows(["0:600", "500:1000", "7"]) == list(range(1000))


def test_sums_of_a_layer_are_exact():
    """Just below the limit every sum is that of Python's integers; at it the layer is refused."""
    rng = np.random.default_rng(0)
    most = DOUBLE // 2
    for k in (1, 2, 7):
        reach = np.full(k, float(1 << 20))
        w = rng.integers(-(most // k) // (1 << 20) + 1, (most // k) // (1 << 20) - 1, size=(5, k))
        x = rng.integers(-(1 << 20), (1 << 20) + 1, size=(k, 50))
        layer = Layer(w, np.zeros(5, np.int64), 0, reach, last=True)
        came = layer(x.astype(layer.dtype))
        wanted = [[sum(int(a) * int(b) for a, b in zip(row, col, strict=True)) for col in x.T] for row in w]
        assert [[int(v) for v in row] for row in came] == wanted
    with pytest.raises(CompressedFileError, match="too large to be exact"):
        Layer(np.array([[most >> 20]]), np.zeros(1, np.int64), 0, np.array([float(1 << 20)]), last=True)


def test_images_come_back_bit_by_bit():
    """Pixels without any order, all 0, and all 255."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, size=(60, 8, 8), dtype=np.uint8)
    X[:10], X[10:20] = 0, 255
    compressor = Compressor().fit(X)
    back = decompress(compressor.compress(X))
    assert "bits per pixel, exact" in " ".join(report_lines("x", compressor.report_))
    assert back.dtype == X.dtype
    assert back.tobytes() == X.tobytes()


@pytest.mark.parametrize("bound", ["0.00123456", "0.123456%"])
def test_a_largest_error_is_never_rounded_down(bound, here):
    """The largest error that is found in the file is not above the one that is told, for bounds of many digits."""
    rng = np.random.default_rng(0)
    for seed in range(3):
        x = np.random.default_rng(seed).normal(size=400) * 10.0 ** rng.integers(-2, 3, 400)
        pq.write_table(pa.table({"x": x, "y": x + rng.normal(size=400)}), "t.parquet")
        done("fit", "t.parquet", "-o", f"m{seed}.diabolo", *QUICK)
        told = done("compress", f"m{seed}.diabolo", "t.parquet", "-o", "t.dbl", "--max-error", bound, "--no-verdict")
        done("decompress", "t.dbl", "-o", "back.parquet")
        back = pq.read_table("back.parquet")["x"].to_numpy()
        error = np.abs(x - back) / (np.abs(x) if "%" in bound else 1)
        line = re.search(r"^  x: .*error at most ([\d.e+-]+)", told, re.M)
        assert error.max() <= float(line[1]) * (1 + 1e-12)
        assert float(line[1]) < 1.02 * error.max()
        # `info` tells it of what the file has kept.
        kept = re.search(r"x: .*error at most ([\d.e+-]+)", done("info", "t.dbl"))
        assert kept is None or error.max() <= float(kept[1]) * (1 + 1e-12)


def test_as_many_cells_as_was_said_are_exact(here):
    """Minus zero and what is no number are kept bit by bit."""
    x = np.random.default_rng(0).normal(size=500)
    odd = np.array([np.nan, np.inf, -np.inf, -0.0])
    x[: 4 * len(odd)] = np.tile(odd, 4)
    pq.write_table(pa.table({"x": x, "y": x[::-1].copy()}), "t.parquet")
    plain(np.random.default_rng(0), 500).rename(columns={"a": "x", "b": "y"})[["x", "y"]].to_parquet("f.parquet")
    done("fit", "f.parquet", "-o", "m.diabolo", *QUICK)
    told = done("compress", "m.diabolo", "t.parquet", "-o", "t.dbl", "--max-error", "1e-3", "--no-verdict")
    done("decompress", "t.dbl", "-o", "back.parquet")
    back = pq.read_table("back.parquet")["x"].to_numpy()
    same = x.view(np.int64) == back.view(np.int64)
    said_of_x = int(re.search(r"^  x: .* ([\d,]+) cells exact", told, re.M)[1])
    assert said_of_x >= len(odd)
    assert same[: 4 * len(odd)].all()
    assert same.sum() >= said_of_x


@pytest.mark.parametrize(
    ("word", "beyond"),
    [("9007199254740993", True), ("-123456789012345678901234567890", True), ("0000000000000001", False), ("x", False)],
)
def test_whole_numbers_of_text_beyond_doubles(here, word, beyond):
    """Later cells of a column that began with a decimal comma; zeros ahead make no number large."""
    Path("t.csv").write_text("a;b\n" + "".join(f"{i},5;{i * i},25\n" for i in range(60)))
    done("fit", "t.csv", "-o", "m.diabolo", *QUICK)
    Path("new.csv").write_text(f"a;b\n1,5;2,5\n{word};2,5\n3,5;1,5\n")
    status, _, err = run("score", "m.diabolo", "new.csv", "-o", "s.csv", "--score", "mse")
    assert ("doubles hold every whole number exactly" in err) == beyond, err
    if beyond:
        assert status == 2
        assert int(word) != int(float(word)) or abs(int(word)) >= 2**53


def test_words_of_the_largest_size(here):
    rng = np.random.default_rng(0)
    for size, fits in ((MOST_WORD, True), (MOST_WORD + 1, False)):
        words = np.where(rng.random(300) < 0.5, "a" * size, "b")
        pq.write_table(pa.table({"x": rng.normal(size=300), "y": rng.normal(size=300), "w": words}), "t.parquet")
        status, _, err = run("fit", "t.parquet", "-o", "m.diabolo", *QUICK)
        assert (status == 0) == fits, err
        assert ("a category has words of at most 65,536" in err) != fits


@pytest.mark.parametrize(
    ("levels", "each", "fits"), [(1000, 14, True), (1001, 14, False), (19, 1, True), (60, 1, False)]
)
def test_levels_of_the_largest_number(here, levels, each, fits):
    """Of text in memory and on disk, and of numbers that are to be ordinal; each level is among the training rows."""
    assert MOST_LEVELS == 1000
    words = np.random.default_rng(1).permutation(np.repeat([f"w{i}" for i in range(levels)], each))
    frame = plain(np.random.default_rng(0), len(words)).assign(w=words)
    frame.to_parquet("t.parquet")
    for more in ((), ("--memory", "10kB", "--cache", ".")):
        if each > 1 or not more:
            status, _, err = run("fit", "t.parquet", "-o", "m.diabolo", *QUICK, *more)
            assert (status == 0) == fits, err
            assert ("a category has at most 1,000" in err) != fits
    if each > 1:
        X = frame.assign(w=[float(w[1:]) for w in words])
        ae = LinearAutoencoder(latent_dim=1, kinds={"w": "ordinal"})
        with contextlib.nullcontext() if fits else pytest.raises(DataError, match="an ordinal one at most 1,000"):
            ae.fit(X)


@pytest.mark.parametrize(("least", "told"), [(0.0, True), (-0.0, True), (1e-300, False), (5e-324, False)])
def test_a_number_next_to_nothing_is_no_zero(here, least, told):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({f"e{i}_{c}": rng.normal(size=300) for i in (1, 2) for c in ("pt", "eta")})
    for i in (1, 2):
        frame.loc[rng.random(300) < 0.5, [f"e{i}_pt", f"e{i}_eta"]] = least
    frame.to_csv("t.csv", index=False)
    assert ("are often exactly 0" in done("info", "t.csv")) == told
