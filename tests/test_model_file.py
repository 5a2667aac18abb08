"""`ModelFile`: opened, hashed and built once for whatever a command asks; what is saved is what is loaded."""

from __future__ import annotations

import collections
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest
from program import done, program, refused, table, write

import diabolo
from diabolo import (
    AnomalyDetector,
    Autoencoder,
    Compressor,
    LatentClusterer,
    LinearAutoencoder,
    VariationalAutoencoder,
    artifact,
    load,
)
from diabolo.artifact import Section
from diabolo.cards import jsonable
from diabolo.errors import ModelFileError
from diabolo.file import main as main_module
from diabolo.file import model_file
from diabolo.file.model_file import ModelFile


def rows(n=400, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 2)) @ np.random.default_rng(1).normal(size=(2, 4)) + 0.3 * rng.normal(size=(n, 4))


# ── what you save is what you load ────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def detector():
    return AnomalyDetector(VariationalAutoencoder(latent_dim=2, hidden=(8,), epochs=2)).fit(rows())


@pytest.fixture(scope="module")
def estimators(detector):
    ae = detector.autoencoder_
    return {
        "AnomalyDetector": detector,
        "VariationalAutoencoder": ae,
        "LinearAutoencoder": LinearAutoencoder(latent_dim=1).fit(rows()),
        "LatentClusterer": LatentClusterer(ae, n_clusters=2, n_resamples=0).fit(rows()),
        "Compressor": Compressor(max_error=0.01).fit(rows()),
        "Compressor of an autoencoder": Compressor(LinearAutoencoder(latent_dim=1).fit(frame()), "0.1%").fit(frame()),
    }


def plain(value):
    """A parameter as JSON keeps it, and a part that has its settings beside its name as the name."""
    return value["name"] if isinstance(value, dict) and "name" in value else jsonable(value)


def frame():
    return pd.DataFrame(rows(), columns=list("abcd"))


@pytest.mark.parametrize(
    "name",
    [
        "AnomalyDetector",
        "VariationalAutoencoder",
        "LinearAutoencoder",
        "LatentClusterer",
        "Compressor",
        "Compressor of an autoencoder",
    ],
)
def test_load_returns_what_was_saved(name, estimators, tmp_path):
    estimator, path = estimators[name], tmp_path / "m.diabolo"
    estimator.save(path)
    for back in (load(path), type(estimator).load(path)):
        assert type(back) is type(estimator)
        mine, its = (e.get_params(deep=False) for e in (estimator, back))
        for key in set(mine) - {"autoencoder"}:
            assert plain(its[key]) == plain(mine[key]), key
    X = rows(50, seed=3)
    if isinstance(estimator, AnomalyDetector | LatentClusterer):
        assert np.array_equal(back.predict(X), estimator.predict(X))
    elif isinstance(estimator, Autoencoder):
        assert np.array_equal(back.transform(X), estimator.transform(X))
    else:
        rows_ = frame() if "of an" in name else X
        assert back.compress(rows_) == estimator.compress(rows_)


def test_one_of_a_file_by_name_or_what_it_holds(estimators, tmp_path):
    path = tmp_path / "m.diabolo"
    estimators["AnomalyDetector"].save(path)
    assert isinstance(Autoencoder.load(path), VariationalAutoencoder)
    assert isinstance(VariationalAutoencoder.load(path), VariationalAutoencoder)
    said = "m.diabolo: holds a VariationalAutoencoder, not a LinearAutoencoder"
    with pytest.raises(ModelFileError, match=said):
        LinearAutoencoder.load(path)
    for cls, what in ((LatentClusterer, "clusters"), (Compressor, "codec section")):
        said = f"holds no {what}: it was saved by AnomalyDetector and holds main, detector, generator"
        with pytest.raises(ModelFileError, match=said):
            cls.load(path)
    estimators["Compressor"].save(tmp_path / "c.diabolo")
    for cls, what in ((Autoencoder, "autoencoder"), (AnomalyDetector, "detector")):
        with pytest.raises(ModelFileError, match=f"holds no {what}: it was saved by Compressor and holds codec"):
            cls.load(tmp_path / "c.diabolo")


def test_a_verb_that_adds_a_section_leaves_the_saved_class(shop, here):
    for name, saved in (("vae", "AnomalyDetector"), ("ae", "Autoencoder")):
        write(table(), "data.parquet")
        path = here / f"{name}.diabolo"
        path.write_bytes((shop / path.name).read_bytes())
        assert type(load(path)).__name__ == saved
        done("cluster", path, "data.parquet", "-o", "labels.parquet", "--clusters", 2, "-q")
        done("compress", path, "data.parquet", "-o", "data.dbl", "--max-error", "0.1", "--no-verdict")
        assert type(load(path)).__name__ == saved
        assert {"clusters", "codec"} <= set(ModelFile(path).names)
        back = diabolo.decompress(Compressor.load(path).compress(table()))
        pd.testing.assert_frame_equal(back, diabolo.decompress((here / "data.dbl").read_bytes()).to_pandas())


def test_a_method_of_the_autoencoder_is_named_in_the_error(estimators):
    for name in ("AnomalyDetector", "LatentClusterer", "Compressor"):
        for method in ("transform", "posterior_std", "reconstruct", "sample"):
            with pytest.raises(AttributeError, match=rf"its autoencoder has it: \.autoencoder_\.{method}$"):
                getattr(estimators[name], method)
        with pytest.raises(AttributeError, match=r"object has no attribute 'nonsense'$"):
            _ = estimators[name].nonsense
    with pytest.raises(AttributeError, match="not fitted yet"):
        _ = AnomalyDetector().threshold_


# ── once ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def counted(monkeypatch):
    """How often a file is opened, a section hashed, and a network built."""
    counts = collections.Counter()

    def counting(where, name, what):
        old = getattr(where, name)

        def new(*args, **more):
            counts[what] += 1
            return old(*args, **more)

        monkeypatch.setattr(where, name, new)

    counting(model_file, "read_content", "opened")
    counting(main_module, "Model", "built")
    hashed = Section.sha256

    def sha256(self, name):
        counts[f"hashed {name}"] += 1
        return hashed(self, name)

    monkeypatch.setattr(artifact.Section, "sha256", sha256)
    return counts


@pytest.fixture(scope="module")
def everything(shop, tmp_path_factory):
    """A model file with all sections, and its table."""
    folder = tmp_path_factory.mktemp("everything")
    path, data = folder / "m.diabolo", write(table(), folder / "data.parquet")
    path.write_bytes((shop / "vae.diabolo").read_bytes())
    done("cluster", path, data, "-o", folder / "labels.parquet", "--clusters", 2, "-q")
    done("compress", path, data, "-o", folder / "data.dbl", "--max-error", "0.1", "--no-verdict")
    return path, data


VERBS = {
    "info": lambda m, d: ("info", m),
    "score": lambda m, d: ("score", m, d, "-o", "s.parquet", "-q"),
    "score all": lambda m, d: ("score", m, d, "-o", "s.parquet", "-q", "--score", "all"),
    "evaluate": lambda m, d: ("evaluate", m, d, "--label", "truth"),
    "report": lambda m, d: ("report", m, d, "-o", "r.html", "--no-refits"),
    "cluster": lambda m, d: ("cluster", m, d, "-o", "l.parquet", "--clusters", 3, "-q"),
    "cluster --no-fit": lambda m, d: ("cluster", m, d, "-o", "l.parquet", "--no-fit", "-q"),
    "explain": lambda m, d: ("explain", m, d, "--row", 0),
    "health": lambda m, d: ("health", m, d),
    "calibrate": lambda m, d: ("calibrate", m, d),
    "encode": lambda m, d: ("encode", m, d, "-o", "z.parquet", "--sigma"),
    "reconstruct": lambda m, d: ("reconstruct", m, d, "-o", "rows.parquet"),
    "sample": lambda m, d: ("sample", m, "-n", 5, "-o", "rows.parquet"),
    "fill": lambda m, d: ("fill", m, d, "-o", "filled.parquet", "-q"),
    "compress": lambda m, d: ("compress", m, d, "-o", "x.dbl", "--max-error", "0.1", "--no-verdict"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_command_opens_hashes_and_builds_once(verb, everything, counted, here):
    path, data = here / "m.diabolo", everything[1]
    path.write_bytes(everything[0].read_bytes())
    names = ModelFile(path).names
    write(table(300, seed=9), "new.parquet")
    counted.clear()
    words = VERBS[verb](path, data if verb not in ("calibrate", "health", "evaluate") else "new.parquet")
    status = program_in_process(*words)
    assert status in (0, 1) if verb == "health" else status == 0
    assert counted["opened"] == 1
    assert counted["built"] == (0 if verb == "compress" else 1)
    # A section that is written is hashed for the file that is written, too.
    writes = {"cluster": 1, "calibrate": 1}.get(verb, 0)
    for name in names:
        assert counted[f"hashed {name}"] == 1 + writes, name


def program_in_process(*words):
    from program import run

    return run(*words)[0]


# ── two at a time ─────────────────────────────────────────────────────────────────────────────────


def test_updates_at_the_same_time_lose_nothing(detector, tmp_path):
    """Twenty sections by as many threads: each finds those that were written before."""
    path = tmp_path / "m.diabolo"
    detector.save(path)
    files = [ModelFile(path) for _ in range(8)]
    names = ["codec", "clusters"] * 4
    refusals = []

    def add(file, name, k):
        try:
            file.update({name: Section({"k": k}, {"t": np.full(3, float(k))})})
        except ModelFileError as error:
            refusals.append(str(error))

    threads = [threading.Thread(target=add, args=(f, n, k)) for k, (f, n) in enumerate(zip(files, names, strict=True))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = ModelFile(path)
    assert {"main", "detector", "generator", "codec", "clusters"} == set(after.names)
    assert len(refusals) == 6, "the first of each section is kept, the others are told"
    assert all("another command has changed its section" in r for r in refusals)


COMPRESS_SLOWLY = """
import sys, time
from diabolo.compress import fitting
from diabolo.file import compressing
learned = fitting.learned_plan

def slowly(*args, **more):
    plan = learned(*args, **more)
    print("learnt", flush=True)
    sys.stdin.readline()
    return plan

compressing.learned_plan = slowly
from diabolo.cli import main
main(sys.argv[1:])
"""


def test_compress_does_not_undo_a_calibrate_that_ended_meanwhile(shop, here):
    path = here / "m.diabolo"
    path.write_bytes((shop / "vae.diabolo").read_bytes())
    write(table(), "old.parquet")
    write(table(900, seed=5), "new.parquet")
    words = ["compress", str(path), "old.parquet", "-o", "c.dbl", "--max-error", "0.003", "--no-verdict"]
    slow = subprocess.Popen(
        [sys.executable, "-c", COMPRESS_SLOWLY, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert slow.stdout.readline() == "learnt\n"
    done("calibrate", path, "new.parquet")
    calibrated = AnomalyDetector.load(path).n_calibration_
    slow.communicate("go on\n", timeout=120)
    assert slow.returncode == 0
    back = AnomalyDetector.load(path)
    assert back.n_calibration_ == calibrated > 800
    assert "codec" in ModelFile(path)


def test_a_calibration_of_a_model_that_was_fitted_again_meanwhile_is_refused(shop, here):
    path = here / "m.diabolo"
    path.write_bytes((shop / "vae.diabolo").read_bytes())
    file = ModelFile(path)
    AnomalyDetector(LinearAutoencoder(latent_dim=1)).fit(rows()).save(path)
    with pytest.raises(ModelFileError, match="holds another section 'main' than when it was read; run this command"):
        file.update({"detector": file.section("detector")})
    assert isinstance(load(path).autoencoder_, LinearAutoencoder)


def test_info_says_how_many_rows_a_file_holds_and_why(shop):
    said = done("info", shop / "vae.diabolo")
    held = ModelFile(shop / "vae.diabolo")
    assert f"{held.rows:,} rows of the training table are in the file" in said
    assert f"{held.rows_of('detector'):,} that the detector compares new rows with" in said
    assert f"{held.rows_of('generator'):,} that new rows are drawn from" in said
    assert "AnomalyDetector" in said.splitlines()[0]


def test_info_of_a_file_without_an_autoencoder(here):
    Compressor(max_error=0.01).fit(rows()).save("c.diabolo")
    said = done("info", "c.diabolo")
    assert "Compressor" in said
    assert "for 4 columns" in said
    write(table(), "data.parquet")
    assert "holds no autoencoder: it was saved by Compressor" in refused(
        "score", "c.diabolo", "data.parquet", "-o", "s.parquet"
    )


def test_start_imports_nothing_heavy():
    heavy = "[m for m in ('torch', 'numpy', 'sklearn') if m in sys.modules]"
    code = f"import sys, diabolo; print(diabolo.__version__, {heavy})"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == f"{diabolo.__version__} []\n"
    assert program("--version").stdout == f"diabolo {diabolo.__version__}\n"
