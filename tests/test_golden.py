"""Files of earlier format versions: what they gave when they were written, they give now."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sklearn
import torch

import diabolo
from diabolo import AnomalyDetector, Autoencoder, LatentClusterer
from diabolo.file.model_file import ModelFile

FOLDER = Path(__file__).parent / "golden" / "v1"


@pytest.fixture(scope="module")
def expected():
    with np.load(FOLDER / "expected.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def new():
    return pq.read_table(FOLDER / "new.parquet")


@pytest.fixture
def same(expected):
    """Compares bit for bit on the machine and versions that wrote the files; elsewhere matrix products differ."""
    here = f"{torch.__version__} {torch.backends.cpu.get_cpu_capability()} {np.__version__}"

    def compare(name, value):
        there = expected[name]
        if here == str(expected["cpu"]):
            np.testing.assert_array_equal(value, there, err_msg=name)
        else:
            np.testing.assert_allclose(value, there, rtol=1e-4, atol=1e-5, err_msg=name)

    return compare


def test_a_detector(expected, new, same):
    detector = AnomalyDetector.load(FOLDER / "detector.diabolo")
    names = [n.removeprefix("detector/score/") for n in expected if n.startswith("detector/score/")]
    assert {"auto", "nll", "mse", "kl", "mu_norm", "neg_elbo", "mahalanobis"} <= set(names)
    for name in names:
        detector.set_params(score=name)
        same(f"detector/score/{name}", detector.anomaly_score(new))
        same(f"detector/p/{name}", detector.p_values(new))
    assert detector.set_params(score="auto").false_alarm_rate_ == 0.02


def test_an_autoencoder_and_rows_drawn_from_it(new, same):
    ae = Autoencoder.load(FOLDER / "detector.diabolo")
    same("detector/codes", ae.transform(new))
    same("detector/a", ae.reconstruct(new)["a"].to_numpy())
    for method in ("prior", "mixture", "trees"):
        drawn = ae.sample(40, random_state=3, method=method)["a"].to_numpy()
        # The laws of "trees" are learnt when it draws; scikit-learn before 1.9 bins weighted rows otherwise.
        if method != "trees" or tuple(int(n) for n in sklearn.__version__.split(".")[:2]) >= (1, 9):
            same(f"detector/draws/{method}", drawn)
        else:
            assert np.isfinite(drawn).all()


def test_clusters(new, same):
    same("clusters/proba", LatentClusterer.load(FOLDER / "clusters.diabolo").predict_proba(new))


def test_arrays_and_images(expected, same):
    linear = Autoencoder.load(FOLDER / "linear.diabolo")
    same("linear/codes", linear.transform(expected["linear/X"]))
    same("linear/nll", linear.anomaly_score(expected["linear/X"]))
    same("conv/codes", Autoencoder.load(FOLDER / "conv.diabolo").transform(expected["conv/X"]))


@pytest.mark.parametrize("name", ["table", "lossless", "images"])
def test_compressed_files_are_the_same_bytes_again_on_any_machine(name, expected):
    back = diabolo.decompress((FOLDER / f"{name}.dbl").read_bytes())
    if isinstance(back, pa.Table):
        there = pa.ipc.open_stream(expected[f"dbl/{name}"].tobytes()).read_all()
        assert back.schema.equals(there.schema, check_metadata=True)
        # By their bytes: NaN is not equal to itself.
        assert all(a.to_pylist() == b.to_pylist() or a.equals(b) for a, b in zip(back, there, strict=True))
    else:
        np.testing.assert_array_equal(back, expected[f"dbl/{name}"])
        assert back.dtype == expected[f"dbl/{name}"].dtype


@pytest.mark.parametrize(
    ("name", "saved"),
    [
        ("detector", "AnomalyDetector"),
        ("clusters", "VariationalAutoencoder"),
        ("linear", "LinearAutoencoder"),
        ("conv", "Autoencoder"),
    ],
)
def test_load_returns_the_class_that_such_a_file_stands_for(name, saved, tmp_path):
    """Version 1 named no class: a file with a detector is the detector's."""
    path = FOLDER / f"{name}.diabolo"
    assert type(diabolo.load(path)).__name__ == saved
    diabolo.load(path).save(tmp_path / "again.diabolo")
    again = ModelFile(tmp_path / "again.diabolo")
    assert (ModelFile(path).version, again.version, again.saved) == ("1", "2", saved)


def test_a_command_that_adds_a_section_writes_the_new_version_and_keeps_the_others(tmp_path):
    path = tmp_path / "m.diabolo"
    path.write_bytes((FOLDER / "detector.diabolo").read_bytes())
    before, file = ModelFile(path), ModelFile(path)
    file.update({"clusters": ModelFile(FOLDER / "clusters.diabolo").section("clusters")})
    after = ModelFile(path)
    assert (after.version, after.saved) == ("2", "AnomalyDetector")
    for name in before.names:
        assert after.section(name).sha256(name) == before.section(name).sha256(name)
    assert 0 < after.rows < before.rows, "rows that two sections held are in the file once"
