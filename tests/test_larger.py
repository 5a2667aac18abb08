"""Fits from a cache on disk: the same rows in the same roles as in memory, as good, and nothing left behind."""

import contextlib
import re
import resource
import signal
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from program import refused, run

from diabolo import AnomalyDetector, Autoencoder, LinearAutoencoder, VariationalAutoencoder
from diabolo.data import cache, onepass
from diabolo.data.cache import cache_folder
from diabolo.data.roles import calibration_share
from diabolo.data.stream import open_stream
from diabolo.detect.calibrating import Choice, fit_detector_stream
from diabolo.errors import DataError, OutputError
from diabolo.fitted.keep import Keep
from diabolo.fitted.stream import fit_stream

COLUMNS = ["a", "b", "c", "phi", "hits", "kind", "e1_pt", "e1_eta", "e2_pt", "e2_eta"]
SLOTS = {"e": 2}


def events(n, seed=0):
    """Every kind of column, cells that are missing, slots with gaps, and weights of which a tenth are 0."""
    rng = np.random.default_rng(seed)
    maps = np.random.default_rng(99)
    z = rng.normal(size=(n, 2))
    reals = (
        np.tanh(z @ maps.normal(size=(2, 3))) * [1, 30, 0.1] + [0, 5, 0] + 0.1 * rng.normal(size=(n, 3)) * [1, 30, 0.1]
    )
    reals[rng.random(n) < 0.05, 1] = np.nan
    count = rng.integers(0, 3, n)
    first, second = (count >= 1) & (rng.random(n) > 0.05), count == 2
    columns = {
        "a": reals[:, 0],
        "b": pa.array(reals[:, 1], from_pandas=True),
        "c": reals[:, 2],
        "phi": np.arctan2(z[:, 0], z[:, 1]),
        "hits": rng.poisson(np.exp(1 + z[:, 0] / 2)),
        "kind": pa.array(np.array(["low", "middle", "high"])[np.digitize(z[:, 1], [-0.5, 0.5])]),
        "e1_pt": np.where(first, rng.exponential(20, n) + 5, 0),
        "e1_eta": np.where(first, z[:, 0], 0),
        "e2_pt": np.where(second, rng.exponential(10, n) + 5, 0),
        "e2_eta": np.where(second, z[:, 1], 0),
        "w": rng.uniform(0.5, 1.5, n) * (rng.random(n) > 0.1),
    }
    return pa.table(columns)


@pytest.fixture(scope="module")
def table():
    return events(24_000)


@pytest.fixture
def small(monkeypatch):
    """Buckets of some 2,000 rows, and a sample of the training rows that is not all of them."""
    monkeypatch.setattr(cache, "BUCKET", 160_000)
    monkeypatch.setattr(cache, "WAITING", 100_000)
    monkeypatch.setattr(onepass, "sample_rows", lambda *_: 5_000)


def from_cache(path, folder, estimator, weight=None, **how):
    folder.mkdir()
    fitted = streamed(estimator, open_stream(path, COLUMNS, weight), folder, **how)
    assert len(list(folder.iterdir())) > 5
    return fitted


def streamed(estimator, stream, folder, **how):
    """A fit of the estimator from a cache."""
    if isinstance(estimator, AnomalyDetector):
        settings = estimator.get_params(deep=False)
        choice = Choice(settings["score"], settings["false_alarm_rate"], settings["random_state"])
        found = fit_detector_stream(stream, folder, estimator.autoencoder.settings(), choice, **how)
        return AnomalyDetector.from_calibrated(found, streamed_face(estimator.autoencoder, found.fitted))
    return streamed_face(estimator, fit_stream(stream, folder, estimator.settings(), **how)[0])


def streamed_face(estimator, fitted):
    return estimator.from_fitted(fitted, estimator.get_params(deep=False))


@pytest.mark.parametrize("weight", [None, "w"])
@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_rows_play_the_same_parts_as_in_memory(table, small, tmp_path, weight, suffix):
    path = tmp_path / f"events{suffix}"
    pq.write_table(table, path, row_group_size=3_000) if suffix == ".parquet" else pc.write_csv(table, path)
    settings = {"epochs": 1, "slots": SLOTS, "hidden": (8,), "latent_dim": 2}
    on_disk = from_cache(path, tmp_path / "cache", AnomalyDetector(VariationalAutoencoder(**settings)), weight)
    w = None if weight is None else table["w"].to_numpy()
    in_memory = AnomalyDetector(VariationalAutoencoder(**settings)).fit(table.select(COLUMNS), sample_weight=w)
    a, b = on_disk.autoencoder_, in_memory.autoencoder_
    assert a.fitted_.roles == b.fitted_.roles
    assert np.array_equal(a.fitted_.row_hashes, b.fitted_.row_hashes)
    assert (a.n_train_, a.n_stop_, on_disk.n_calibration_) == (b.n_train_, b.n_stop_, in_memory.n_calibration_)
    # Exact over all training rows, though only a sample of them stays in memory.
    assert a.model_.encoding.schema.groups == b.model_.encoding.schema.groups
    assert 0.01 < a.model_.encoding.schema.groups[0].gaps < 0.1
    for mine, theirs in zip(a.model_.encoding.schema.columns, b.model_.encoding.schema.columns, strict=True):
        assert (mine.name, mine.kind, mine.low, mine.high, mine.levels) == (
            theirs.name,
            theirs.kind,
            theirs.low,
            theirs.high,
            theirs.levels,
        )
        assert mine.missing == pytest.approx(theirs.missing, rel=1e-12)
    assert a.model_.encoding.n_train == b.model_.encoding.n_train
    # A sample's mean and spread: within five standard errors.
    off = np.abs(a.model_.encoding.center - b.model_.encoding.center) / b.model_.encoding.scale
    assert off.max() < 5 / np.sqrt(5_000)
    assert np.abs(a.model_.encoding.scale / b.model_.encoding.scale - 1).max() < 0.1
    if weight:
        assert on_disk.calibrated_.calibrations["neg_elbo"].weights.sum() == pytest.approx(
            in_memory.calibrated_.calibrations["neg_elbo"].weights.sum()
        )
    kept, there = on_disk.calibrated_.reference.stored.values, in_memory.calibrated_.reference.stored.values
    assert np.array_equal(kept, there, equal_nan=True)
    # The calibration rows are the very same: scored by one model, they give the same scores.
    again = AnomalyDetector(a).fit(table.select(COLUMNS), sample_weight=w)
    assert np.array_equal(again.calibrated_.calibrations["nll"].scores, on_disk.calibrated_.calibrations["nll"].scores)


def test_a_cache_that_holds_the_sample_of_all_gives_the_same_encoding(table, tmp_path):
    path = tmp_path / "events.parquet"
    pq.write_table(table, path)
    (tmp_path / "cache").mkdir()
    settings = {"epochs": 1, "slots": SLOTS, "hidden": (8,)}
    a, b = Autoencoder(**settings), Autoencoder(**settings).fit(table.select(COLUMNS))
    a = streamed(a, open_stream(path, COLUMNS), tmp_path / "cache")
    assert a.model_.encoding.to_json() == b.model_.encoding.to_json()


def plane(n, seed=0):
    """Six columns on a plane and a weight: a fit has one optimum, so two good fits agree."""
    rng, maps = np.random.default_rng(seed), np.random.default_rng(7)
    x = rng.normal(size=(n, 2)) @ maps.normal(size=(2, 6)) + 0.3 * rng.normal(size=(n, 6))
    return pa.table({**{f"x{i}": x[:, i] for i in range(6)}, "w": rng.uniform(0.5, 1.5, n) * (rng.random(n) > 0.1)})


@pytest.mark.parametrize("weight", [None, "w"])
@pytest.mark.parametrize("cls", [VariationalAutoencoder, Autoencoder, LinearAutoencoder])
def test_a_fit_from_disk_is_as_good_as_one_from_memory(small, tmp_path, cls, weight):
    """Judged on rows that neither has seen, beside a fit that is cut short."""
    names, (data, new) = [f"x{i}" for i in range(6)], (plane(12_000), plane(4_000, seed=1))
    path = tmp_path / "plane.parquet"
    pq.write_table(data, path)
    settings = {"latent_dim": 2} if cls is LinearAutoencoder else {"latent_dim": 2, "hidden": (32,), "epochs": 12}
    w = None if weight is None else data["w"].to_numpy()
    fits = {"memory": cls(**settings).fit(data.select(names), sample_weight=w), "disk": cls(**settings)}
    fits["short"] = cls(**{**settings, "epochs": 1, "solver": "gradient"}).fit(data.select(names))
    (tmp_path / "cache").mkdir()
    fits["disk"] = streamed(fits["disk"], open_stream(path, names, weight), tmp_path / "cache")
    score = "neg_elbo" if cls is VariationalAutoencoder else "mse"
    loss = {name: np.mean(ae.anomaly_score(new.select(names), score)) for name, ae in fits.items()}
    assert loss["disk"] == pytest.approx(loss["memory"], rel=0.03)
    assert loss["short"] > 1.03 * loss["memory"]


def test_the_rate_holds_for_a_detector_from_disk(small, tmp_path):
    """Over repeated fits, false alarms on new rows follow Beta(l, n + 1 − l), l = ⌊α(n + 1)⌋."""
    rate, z = 0.05, []
    for seed in range(12):
        path = tmp_path / f"{seed}.parquet"
        pq.write_table(events(3_000, seed=100 + seed), path)
        (tmp_path / str(seed)).mkdir()
        detector = AnomalyDetector(Autoencoder(epochs=2, hidden=(8,)), false_alarm_rate=rate, random_state=seed)
        detector = streamed(detector, open_stream(path, COLUMNS), tmp_path / str(seed))
        n = detector.n_calibration_
        assert n == int(3_000 * calibration_share(3_000))
        flagged = (detector.predict(events(6_000, seed=1_000 + seed).select(COLUMNS)) == -1).mean()
        el = np.floor(rate * (n + 1))
        mean = el / (n + 1)
        z.append((flagged - mean) / np.sqrt(mean * (1 - mean) / (n + 2) + mean * (1 - mean) / 6_000))
    assert abs(np.mean(z)) < 4 / np.sqrt(len(z))
    assert 0.3 < np.std(z) < 2


def test_a_fit_from_disk_is_resumed_bit_for_bit(table, small, tmp_path, monkeypatch):
    monkeypatch.setenv("DIABOLO_CHECKPOINT_SECONDS", "0")
    path = tmp_path / "events.parquet"
    pq.write_table(table, path)
    settings = {"epochs": 4, "hidden": (8,), "latent_dim": 2}
    whole = VariationalAutoencoder(**settings)
    (tmp_path / "whole").mkdir()
    whole = streamed(whole, open_stream(path, COLUMNS), tmp_path / "whole")

    class Killed(Exception):
        pass

    def kill(epoch):
        if epoch.epoch == 2:
            raise Killed

    for name, how in (("first", {"report": kill}), ("second", {"resume": True})):
        (tmp_path / name).mkdir()
        part, keep = VariationalAutoencoder(**settings), Keep(tmp_path / "fit.ckpt", how.pop("resume", False))
        with contextlib.suppress(Killed):
            part = streamed(part, open_stream(path, COLUMNS), tmp_path / name, keep=keep, **how)
    assert np.array_equal(part.model_.store.flat.numpy(), whole.model_.store.flat.numpy())
    assert [e["distance"] for e in part.history_] == [e["distance"] for e in whole.history_]


# ── refusals ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("a", np.inf, "row 17, column 'a': inf"),
        ("a", 1e300, "column 'a' cannot be fitted: overflow"),
        ("w", -1.0, "the weight 'w' of row 17 is -1.0"),
        ("w", np.nan, "the weight 'w' of row 17 is nan"),
    ],
)
def test_what_cannot_be_fitted_is_refused_with_its_row(table, small, tmp_path, column, value, said):
    cells = table[column].to_numpy().copy()
    cells[17] = value
    bad = table.set_column(table.column_names.index(column), column, pa.array(cells))
    path = tmp_path / "bad.parquet"
    pq.write_table(bad, path)
    (tmp_path / "cache").mkdir()
    with pytest.raises(DataError, match=said):
        streamed(Autoencoder(epochs=1), open_stream(path, COLUMNS, "w"), tmp_path / "cache")


def test_a_name_among_the_columns_is_refused_before_it_fills_memory(table, small, tmp_path):
    path = tmp_path / "names.parquet"
    names = pa.array([f"event {i}" for i in range(len(table))])
    pq.write_table(table.append_column("name", names), path)
    (tmp_path / "cache").mkdir()
    stream = open_stream(path, ["a", "name"])
    with pytest.raises(DataError, match="column 'name' has more than 1,000 different values"):
        streamed(Autoencoder(epochs=1), stream, tmp_path / "cache")


def test_a_full_disk_is_one_line_and_leaves_nothing(table, small, tmp_path):
    path = tmp_path / "events.parquet"
    pq.write_table(table, path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
        with (
            pytest.raises(OutputError, match=r"cannot write the cache in .*: File too large; give a folder with room"),
            cache_folder(tmp_path, tmp_path / "m.diabolo", 1) as folder,
        ):
            streamed(Autoencoder(epochs=1), open_stream(path, COLUMNS), folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [p.name for p in tmp_path.iterdir()] == ["events.parquet"]


def test_too_little_room_is_said_before_anything_is_read(tmp_path):
    with (
        pytest.raises(OutputError, match=r"the cache needs 1048576.00 GiB in .*, which has .* GiB left"),
        cache_folder(tmp_path, tmp_path / "m.diabolo", 2**50),
    ):
        pass


def test_what_a_killed_fit_left_is_removed_by_the_next(tmp_path):
    out = tmp_path / "m.diabolo"
    with cache_folder(tmp_path, out, 1) as folder:
        (folder / "0000").write_bytes(b"left behind")
        with cache_folder(tmp_path, out, 1) as again:
            assert again == folder
            assert not list(again.iterdir())
    assert not list(tmp_path.iterdir())
    with cache_folder(tmp_path, out, 1) as one, cache_folder(tmp_path, tmp_path / "other.diabolo", 1) as two:
        assert one != two


# ── the program ───────────────────────────────────────────────────────────────────────────────────

QUICK = ("--exclude", "w", "--slots", "e:2", "--epochs", "1", "--hidden", "8", "--latent", "2")


@pytest.fixture
def parts(table, tmp_path):
    """The table as a folder of three files."""
    folder = tmp_path / "parts"
    folder.mkdir()
    for i in range(3):
        pq.write_table(table.slice(i * 8_000, 8_000), folder / f"{i}.parquet")
    return folder


def test_the_program_trains_from_a_cache_and_says_so(parts, small, tmp_path):
    out, place = tmp_path / "m.diabolo", tmp_path / "place"
    place.mkdir()
    status, said, err = run("fit", parts, "-o", out, *QUICK, "--memory", "500kB", "--cache", place)
    assert status == 0, err
    first, second, *epochs = err.splitlines()
    assert re.search(
        r"24,000 rows take 1.83 MiB, more than --memory 488.28 KiB: training from a cache of at most", first
    )
    assert first.endswith(str(place))
    assert re.match(r"cached in [\d.]+ s, [\d,]+ rows/s", second)
    assert [line.split()[0] for line in epochs] == ["epoch"]
    assert "24,000 rows, 10 columns" in said
    assert not list(place.iterdir())
    assert Autoencoder.load(out).n_train_ == 24_000 - 2_400 - 4_800
    # It scores like any other, and the rows that it was trained on are known.
    assert run("score", out, parts, "-o", tmp_path / "s.parquet")[0] == 0
    flagged = pq.read_table(tmp_path / "s.parquet")["is_anomaly"].to_numpy()
    assert 0.005 < flagged.mean() < 0.02


@pytest.mark.parametrize("memory", ["1.83MiB", "2MB", "1GiB"])
def test_the_program_reads_into_memory_what_is_small_enough(parts, tmp_path, memory):
    """The very model that the Python interface gives, and no word of a cache."""
    out = tmp_path / "m.diabolo"
    status, _, err = run("fit", parts, "-o", out, *QUICK, "--memory", memory)
    assert status == 0
    assert ("cache" in err) == (memory == "1.83MiB")  # of 24,000 × 10 doubles, 1.831 MiB


def test_the_program_counts_the_rows_of_text_and_takes_weights(table, small, tmp_path):
    pc.write_csv(table, tmp_path / "t.csv")
    pq.write_table(table, tmp_path / "t.parquet")
    models = []
    for name in ("t.csv", "t.parquet"):
        out = tmp_path / f"{name}.diabolo"
        words = ("--weight", "w", "--columns", "a,c,phi", "--epochs", "2", "--hidden", "8", "--memory", "100kB")
        status, said, err = run("fit", tmp_path / name, "-o", out, *words)
        assert status == 0, err
        assert "24,000 rows" in said
        models.append(Autoencoder.load(out))
    assert models[0].n_train_ == models[1].n_train_ < 24_000 * 0.95 * 0.7
    assert np.array_equal(models[0].model_.store.flat, models[1].model_.store.flat)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--memory", "much"), "--memory much: expected a number of bytes, like 500MB or 1GiB"),
        (("--memory", "-1"), "--memory -1: expected a number of bytes"),
        (("--memory", "1kB", "--cache", "/no/such/folder"), "cannot keep a cache in /no/such/folder: No such file"),
        (("--memory", "1kB", "--set", 'angles=["nowhere"]'), "angles names 'nowhere'"),
        (("--memory", "1kB", "--false-alarm-rate", "1e-9"), "1e-09"),
    ],
)
def test_the_program_refuses_in_one_line_and_leaves_nothing(parts, small, tmp_path, words, said):
    assert said in refused("fit", parts, "-o", tmp_path / "m.diabolo", "-q", *QUICK, *words)
    assert [p.name for p in tmp_path.iterdir()] == ["parts"]


def test_a_fit_that_is_ended_leaves_no_cache(tmp_path):
    """SIGTERM, as a batch system sends it."""
    rows = 300_000
    rng = np.random.default_rng(0)
    pq.write_table(pa.table({f"x{i}": rng.normal(size=rows) for i in range(8)}), tmp_path / "t.parquet")
    words = ["fit", "t.parquet", "-o", "m.diabolo", "--memory", "1MB", "--epochs", "1000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "diabolo", *words],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if line.startswith("epoch"):
            break
    assert any(p.name.endswith(".cache") for p in tmp_path.iterdir())
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=600)
    assert process.returncode == 130
    assert not any(p.name.endswith(".cache") for p in tmp_path.iterdir())


# ── kinds that are not in the table above ─────────────────────────────────────────────────────────


def schema_from(path, folder, names, **settings):
    folder.mkdir()
    ae = Autoencoder(epochs=1, hidden=(8,), latent_dim=2, **settings)
    ae = streamed(ae, open_stream(path, names), folder)
    return ae


def test_categories_of_numbers_dates_and_rare_levels_are_those_of_all_training_rows(small, tmp_path):
    """A level that one training row in 12,000 has is a level, though no row of the sample has it."""
    rng, n = np.random.default_rng(0), 12_000
    words = np.full(n, "often")
    words[::4_000] = ["once", "twice", "thrice"]
    table = pa.table(
        {
            "x": rng.normal(size=n),
            "code": pa.array(rng.choice([11, 22, 33], n)),
            "flag": rng.random(n) > 0.3,
            "day": pa.array(rng.integers(0, 10**6, n) * 3600, pa.timestamp("ms")),
            "rare": words,
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    settings = {"kinds": {"code": "categorical"}}
    ae = schema_from(tmp_path / "t.parquet", tmp_path / "cache", table.column_names, **settings)
    in_memory = Autoencoder(epochs=1, hidden=(8,), latent_dim=2, **settings).fit(table)
    assert ae.model_.encoding.schema == in_memory.model_.encoding.schema
    assert ae.fitted_.roles == in_memory.fitted_.roles
    assert [c.kind for c in ae.model_.encoding.schema.columns] == [
        "real",
        "categorical",
        "boolean",
        "date",
        "categorical",
    ]
    assert len(ae.model_.encoding.schema.columns[4].levels) > 1


def test_images_keep_their_shape(small, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (6_000, 8, 9)).astype(np.uint8)
    images[:, 0, 0] = 0
    np.save(tmp_path / "images.npy", images)
    ae = schema_from(tmp_path / "images.npy", tmp_path / "cache", [f"x{i}" for i in range(72)])
    in_memory = Autoencoder(epochs=1, hidden=(8,), latent_dim=2).fit(images)
    assert ae.model_.encoding.schema == in_memory.model_.encoding.schema
    assert ae.model_.encoding.schema.shape == (8, 9, 1)
    assert ae.fitted_.roles.fingerprint == in_memory.fitted_.roles.fingerprint
