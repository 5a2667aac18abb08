"""`diabolo info` of a model file: what serves each job, the bytes of each section, and whose rows are in the file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from program import done, refused

from diabolo import AnomalyDetector, Autoencoder, Compressor, LatentClusterer, LinearAutoencoder, VariationalAutoencoder
from diabolo.data.hashing import hash_rows
from diabolo.demo import FITTED, SLOTS
from diabolo.file.model_file import ModelFile, save_sections

FOLDER = Path(__file__).parent / "golden" / "v1"
SAMPLE = Path(__file__).parents[1] / "src" / "diabolo" / "sample" / "background.parquet"
OLD = sorted(p.name for p in FOLDER.glob("*.diabolo"))
NO_CODEC = "none yet: diabolo compress fits a network of its own for it, never the main autoencoder"


def plane(n=300, columns=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 2)) @ np.random.default_rng(1).normal(size=(2, columns)) + rng.normal(size=(n, columns))


def jobs(path):
    """The job lines that the program prints."""
    return dict(re.findall(r"^    (detect|fill in|draw|cluster|compress) +(.+)$", done("info", path), re.MULTILINE))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Model files of every kind, by name."""
    folder = tmp_path_factory.mktemp("kinds")
    X = plane()
    rng = np.random.default_rng(0)
    walk = np.round(np.cumsum(rng.normal(size=3_000)), 2)
    twice = np.column_stack([walk, walk + np.round(0.05 * rng.normal(size=3_000), 2)])
    made = {
        "main": LinearAutoencoder(latent_dim=2).fit(X),
        "stream": LinearAutoencoder(latent_dim=2, solver="gradient").partial_fit(X),
        "detector": AnomalyDetector(LinearAutoencoder(latent_dim=2)).fit(X),
        "model's score": AnomalyDetector(LinearAutoencoder(latent_dim=2), score="nll").fit(X),
        "clusters": LatentClusterer(LinearAutoencoder(latent_dim=2), n_clusters=2, n_resamples=0).fit(X),
        "embedded": LatentClusterer(
            LinearAutoencoder(latent_dim=2),
            n_clusters=2,
            n_resamples=0,
            embedding={"name": "neighbours", "hidden": 16, "n_neighbors": 10, "epochs": 2},
        ).fit(X),
        "codec": Compressor(max_error=0.01).fit(twice),
        "simple codec": Compressor().fit(X[:20]),
    }
    for name, estimator in made.items():
        estimator.save(folder / f"{name}.diabolo")
    return {name: folder / f"{name}.diabolo" for name in made}


def test_each_kind_of_file_says_what_serves_its_jobs(files):
    alone = "the stored rows alone; the main autoencoder is not read (score auto)"
    codes, trees = "codes of the main autoencoder", "trees over the kept rows and their codes by the main autoencoder"
    without = "the main autoencoder (score nll), with no threshold: the file holds no detector"
    main = {
        "detect": without,
        "fill in": "the main autoencoder",
        "draw": trees,
        "cluster": f"{codes}; no clusters are in the file yet",
        "compress": NO_CODEC,
    }
    assert jobs(files["main"]) == main
    assert jobs(files["stream"]) == main | {"draw": "the main autoencoder's decoder, from its prior"}
    assert jobs(files["detector"]) == main | {"detect": alone}
    assert jobs(files["model's score"]) == main | {"detect": "the main autoencoder (score nll)"}
    assert jobs(files["clusters"]) == main | {"cluster": codes}
    head = "a small network of its own, which sees rows and their codes by the main autoencoder"
    assert jobs(files["embedded"]) == main | {"cluster": head}
    decoder = "the main autoencoder's decoder, from the density of its codes of the kept rows"
    assert jobs(FOLDER / "conv.diabolo") == main | {"draw": decoder}


def test_a_codec_alone_names_its_own_network(files):
    nothing = dict.fromkeys(("detect", "fill in", "draw", "cluster"), "nothing here: the file holds no autoencoder")
    size = len(ModelFile(files["codec"]).codec.data)
    own = f"an autoregressive network of its own, in whole numbers, {size:,} bytes"
    assert size > 0
    assert jobs(files["codec"]) == nothing | {"compress": own}
    assert jobs(files["simple codec"]) == nothing | {"compress": "no network: simple ways only"}


def test_the_words_are_true_of_the_default_score(files):
    """A detector whose main autoencoder is made blind gives the same scores where its words say that it is not read."""
    X = plane(50, seed=2)
    for name, same in (("detector", True), ("model's score", False)):
        detector = AnomalyDetector.load(files[name])
        before = detector.anomaly_score(X)
        for view in detector.autoencoder_.model_.store.views.values():
            view.detach().zero_()
        assert np.array_equal(detector.anomaly_score(X), before) is same
        assert ("is not read" in jobs(files[name])["detect"]) is same


def test_a_compressed_file_names_its_network(files, tmp_path):
    compressor = Compressor.load(files["codec"])
    (tmp_path / "t.dbl").write_bytes(compressor.compress(np.round(np.cumsum(np.ones((900, 2)), axis=0), 2)))
    assert re.search(
        r"codec section SHA-256 \w+\.\.\., an autoregressive network in whole numbers", done("info", tmp_path / "t.dbl")
    )


# ── bytes ─────────────────────────────────────────────────────────────────────────────────────────


def shown(path):
    """(bytes by section, of rows, of the file) that the program prints."""
    said = done("info", path)
    line = next(line for line in said.splitlines() if line.startswith("  bytes "))
    sections, apart = line.removeprefix("  bytes").split("; apart from these ")
    rows = re.match(r"([\d,]+) of rows of the training table", apart)
    number = lambda text: int(text.replace(",", ""))  # noqa: E731
    sizes = {name: number(size) for name, size in re.findall(r"(\w+) (\d[\d,]*)", sections)}
    return sizes, number(rows[1]) if rows else 0, number(re.search(r" ([\d,]+) bytes, sections", said)[1])


@pytest.mark.parametrize("name", [*OLD, "main", "stream", "detector", "clusters", "codec", "simple codec"])
def test_bytes_of_sections_add_up_to_the_file(name, files):
    path = FOLDER / name if name in OLD else files[name]
    sizes, rows, size = shown(path)
    assert sum(sizes.values()) + rows == size == path.stat().st_size
    assert set(sizes) == {*ModelFile(path).names, "header"}
    header = json.loads(path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")])
    cards = json.loads(header.pop("__metadata__")["manifest"])["sections"]
    by_hand = dict.fromkeys((*sizes, "rows"), 0)
    for section, entry in cards.items():
        by_hand[section] += len(json.dumps(entry["card"], sort_keys=True, separators=(",", ":")))
    for tensor, entry in header.items():
        begin, end = entry["data_offsets"]
        is_rows = tensor in ("detector/stored", "generator/rows")
        by_hand["rows" if is_rows else tensor.partition("/")[0]] += end - begin
    by_hand["header"] = size - sum(by_hand.values())
    assert by_hand == sizes | {"rows": rows}
    assert sizes["header"] >= 8 + len(json.dumps(header)) / 2, "what is left is the header's own"


def test_the_main_section_of_a_file_like_the_demos_is_below_a_megabyte(tmp_path):
    n = 1_000
    rows = pd.read_parquet(SAMPLE).drop(columns="process")[:n]
    vae = VariationalAutoencoder(slots=SLOTS, epochs=1, batch_size=512)
    AnomalyDetector(vae).fit(rows).save(tmp_path / "m.diabolo")
    sizes, kept, size = shown(tmp_path / "m.diabolo")
    assert sum(sizes.values()) + kept == size
    # Main holds a hash of each row, of the demo's as well; the network has the same size whatever the rows.
    assert sizes["main"] + 8 * FITTED < 1_000_000
    cells = rows.shape[1] * 4
    assert ModelFile(tmp_path / "m.diabolo").rows * cells <= kept <= n * cells + 100


def test_a_file_that_grows_says_so(files, tmp_path):
    path = tmp_path / "m.diabolo"
    path.write_bytes(files["main"].read_bytes())
    before = ModelFile(path).sizes
    ModelFile(path).update({"codec": ModelFile(files["codec"]).section("codec")})
    after = ModelFile(path).sizes
    assert {k: v for k, v in after.items() if k not in ("codec", "header")} == {
        k: v for k, v in before.items() if k != "header"
    }
    assert after["codec"] == ModelFile(files["codec"]).sizes["codec"]


# ── whose rows are in the file ────────────────────────────────────────────────────────────────────


def found(data, rows, cells=None):
    """Rows of which some `cells` neighboring cells stand in the bytes, as float32 or float64, of n."""
    cells = cells or rows.shape[1]
    kinds = [np.ascontiguousarray(rows, dtype) for dtype in ("<f4", "<f8")]
    starts = range(rows.shape[1] - cells + 1)
    return sum(any(k[i, s : s + cells].tobytes() in data for k in kinds for s in starts) for i in range(len(rows)))


def test_a_file_without_kept_rows_holds_none_of_their_bytes(files, tmp_path):
    X = plane()
    main = Autoencoder.load(files["main"]).sections()["main"]
    save_sections(tmp_path / "alone.diabolo", "LinearAutoencoder", {"main": main})
    for path in (tmp_path / "alone.diabolo", files["stream"]):
        file = ModelFile(path)
        assert file.rows == 0
        assert "rows" not in file.sizes
        assert found(path.read_bytes(), X, cells=2) == 0
        # Known again they are, though: main has their hashes (docs/limits.md).
        assert np.isin(hash_rows(X), file.autoencoder.row_hashes).sum() >= 0.8 * len(X)
    # A file that keeps rows has every one of them.
    for name in ("main", "detector"):
        file = ModelFile(files[name])
        assert file.rows > 0
        assert found(files[name].read_bytes(), X) == file.rows


@pytest.mark.parametrize("name", ["main", "detector", "model's score", "clusters", "codec"])
def test_the_card_agrees_with_the_file(name, files):
    card = json.loads(done("info", files[name], "--json"))
    file = ModelFile(files[name])
    assert card["library_name"] == "diabolo"
    assert card["file"]["bytes"] == files[name].stat().st_size
    assert set(card["file"]["sections"]) == set(file.names)
    assert card["jobs"] == jobs(files[name])
    limits = " ".join(card["bias_risks_limitations"])
    assert (f"{file.rows:,} rows of the training table are in the file" in limits) == (file.rows > 0)
    assert ("main" in file) == ("training_data" in card)
    if "main" in file:
        data = card["training_data"]
        assert sum(data["rows_by_role"].values()) == 300
        assert [c["name"] for c in data["columns"]] == file.schema.names
        assert card["training_hyperparameters"]["latent_dim"] == 2
    assert ("detector" in file) == ("detector" in card) == ("exchangeable" in limits)
    if "detector" in file:
        d, said = file.detector, card["detector"]
        assert (said["false_alarm_rate"], said["threshold"]) == (d.rate, d.threshold)
        assert said["calibration_rows"] == d.n_calibration == data["rows_by_role"]["calibrate"]


def test_an_exported_graph_is_told_from_a_model_file(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"\x08\x09")
    assert "is a network in ONNX; diabolo info says what the model file holds" in refused("info", tmp_path / "m.onnx")


def test_only_a_model_file_has_a_card(tmp_path):
    (tmp_path / "t.csv").write_text("a\n1\n2\n")
    assert "--json gives the card of a model file" in refused("info", tmp_path / "t.csv", "--json")


def test_a_tables_kinds_are_those_of_the_fit(tmp_path):
    """A column of few values is ordinal to the default method, and so `info` says."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "grade": rng.choice([1, 2, 3.5, 5], 1_000),
            "hits": rng.poisson(3, 1_000),
            "phi": rng.uniform(-3, 3, 1_000),
            "pt": rng.normal(size=1_000),
            "site": rng.choice(["a", "b"], 1_000),
        }
    )
    table.to_parquet(tmp_path / "t.parquet")
    done("fit", tmp_path / "t.parquet", "-o", tmp_path / "m.diabolo", "--set", "epochs=1")
    kinds = {c.name: c.kind for c in ModelFile(tmp_path / "m.diabolo").schema.columns}
    said = dict(re.findall(r"^  (\w+) +(\w+) +\w+ ", done("info", tmp_path / "t.parquet"), re.MULTILINE))
    assert kinds["grade"] == "ordinal"
    assert {name: said[name] for name in kinds} == kinds


def test_options_of_reading_change_nothing_of_a_file_that_is_no_table(shop):
    """What reads a table comes with the path, of a model file too."""
    model = str(shop / "vae.diabolo")
    for more in ([], ["--json"]):
        assert done("info", model, *more, "--missing", "n.a.") == done("info", model, *more)


def told_of(folder, columns, name="a.parquet"):
    """What `info` prints of a table."""
    path = folder / name
    frame = pd.DataFrame(columns)
    frame.to_parquet(path) if name.endswith("parquet") else frame.to_csv(path, index=False)
    return path, done("info", path)


def test_whole_numbers_are_printed_whole_and_others_until_they_differ(tmp_path):
    x = np.arange(60)
    said = told_of(tmp_path, {"n": 30_000_001 + 2 * (x * 7 % 5), "x": 1 + 1e-9 * (x * 7 % 50), "k": x * 7 % 11})[1]
    assert re.search(r"^  n +integer +int64 +30000001 +30000009 ", said, re.MULTILINE)
    assert re.search(r"^  x +real +float64 +1 +1\.00000005", said, re.MULTILINE)
    assert re.search(r"^  k +integer +int64 +0 +10 ", said, re.MULTILINE)


@pytest.mark.parametrize("first", [2**53, 2**63 - 1_000, -(2**63)])
def test_whole_numbers_without_doubles_of_their_own_are_said(tmp_path, first):
    path, said = told_of(tmp_path, {"n": [first + 3 * i for i in range(60)], "x": np.arange(60) % 7})
    line = (
        "  'n' has whole numbers of more than 53 bits, whose last digits are lost, so that some that differ are equal: "
        "give it less a constant, or --exclude n\n"
    )
    assert line in said
    assert line in done("fit", path, "-o", tmp_path / "m.diabolo", "--epochs", 1, "-q")


def test_whole_numbers_of_53_bits_are_as_they_are(tmp_path):
    said = told_of(tmp_path, {"n": [2**53 - 1 - 3 * (i * 7 % 11) for i in range(60)], "x": np.arange(60) % 7})[1]
    assert "53 bits" not in said
    assert f" {2**53 - 31} " in said
    assert f" {2**53 - 1} " in said


@pytest.mark.parametrize(
    ("cells", "way"),
    [
        ({3: np.inf}, "--missing inf takes them"),
        ({3: -np.inf, 5: -np.inf}, "--missing -inf takes them"),
        ({3: -np.inf, 4: np.inf}, "--missing inf --missing -inf takes them"),
    ],
)
def test_info_says_what_a_fit_says_of_infinite_cells(tmp_path, cells, way):
    x = np.linspace(0, 1, 60)
    x[list(cells)] = list(cells.values())
    for name, remedy in (("a.parquet", "replace them by NaN"), ("a.csv", way)):
        path, said = told_of(tmp_path, {"x": x, "z": np.arange(60) % 7}, name)
        assert (
            f"  'x' has infinite cells, {len(cells)} in the first 60 rows, that cannot be fitted; {remedy} for missing "
            "ones, or leave these rows out\n" in said
        )
        fit = ("fit", path, "-o", tmp_path / "m.diabolo", "--epochs", 1, "-q")
        assert "(infinity) cannot be fitted" in refused(*fit)
    done(*fit, *way.removesuffix(" takes them").split())


def test_info_names_all_columns_whose_squares_have_no_double(tmp_path):
    x = np.random.default_rng(0).normal(size=60)
    path, said = told_of(tmp_path, {"x": x, "huge": 1e300 * x, "tiny": 1e-300 * x, "z": x + 1, "zero": 0 * x})
    assert "like an identifier" not in said
    assert said.count("allowed are spreads from 1e-150 to 1e150: rescale the column") == 2
    assert said.endswith("  leave out what cannot be fitted: --exclude huge,tiny\n")
    fit = ("fit", path, "-o", tmp_path / "m.diabolo", "--epochs", 1, "-q")
    assert "2 columns cannot be fitted: --exclude huge,tiny leaves them out" in refused(*fit)
    done(*fit, "--exclude", "huge,tiny")


def test_words_of_a_column_stay_on_its_line(tmp_path):
    said = told_of(tmp_path, {"s": ["red\n  k  real", "b\x07ell", "t\tab"] * 20, "x\ny": np.arange(60) % 7})[1]
    assert "  s: b�ell, red\\n  k  real, t\\tab\n" in said
    assert re.search(r"^  x\\ny +integer ", said, re.MULTILINE)
    assert "\n  k  real" not in said


def test_a_fit_of_three_rows_says_that_no_others_decided(tmp_path):
    path = told_of(tmp_path, {"x": [1.5, 2.5, 7.25], "y": [0.5, 1.5, 0.25]})[0]
    said = done("fit", path, "-o", tmp_path / "m.diabolo", "--epochs", 1, "-q")
    assert "  2 rows trained, no others decided when to stop (epoch 1 of 1, loss " in said
