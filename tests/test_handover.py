"""Folders for Triton, KServe, MLflow and the Hub: what they say is what the graph is, and none is half written."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import types

import numpy as np
import pandas as pd
import pytest
from program import done, left_behind, refused

from diabolo import AnomalyDetector, Autoencoder
from diabolo.export.folder import new_folder
from diabolo.export.targets import targets

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

#: ONNX Runtime's names of types by Triton's.
TYPES = {
    "TYPE_FP32": "tensor(float)",
    "TYPE_FP64": "tensor(double)",
    "TYPE_STRING": "tensor(string)",
    "TYPE_BOOL": "tensor(bool)",
    "TYPE_INT8": "tensor(int8)",
}
FORMS = ("triton", "kserve", "mlflow", "hub")


def frame(n=300, seed=0):
    rng = np.random.default_rng(seed)
    size = rng.normal(size=n)
    return pd.DataFrame(
        {
            "size": size,
            'a "b"|µ': size + rng.normal(size=n),
            "word": np.where(size > 0, "up", "down"),
            "cell": rng.integers(100, size=n),
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A file with text, one with numbers alone, and every form of the first."""
    at = tmp_path_factory.mktemp("handover")
    AnomalyDetector(Autoencoder(epochs=1)).fit(frame()).save(at / "My model.1.diabolo")
    x = np.random.default_rng(0).normal(size=(300, 4))
    AnomalyDetector(Autoencoder(epochs=1)).fit(x).save(at / "plain.diabolo")
    for form in FORMS:
        done("export", at / "My model.1.diabolo", "-o", at / form, "--to", form)
    return at


def tensors(text):
    """Inputs and outputs of a config.pbtxt: (kind, name, type, dims)."""
    pattern = r'^(input|output) \{ name: ("(?:[^"\\]|\\.)*") data_type: (\w+) dims: (\[[^]]*\]) \}$'
    return [(k, json.loads(n), t, json.loads(d)) for k, n, t, d in re.findall(pattern, text, re.MULTILINE)]


def agree(model):
    text = (model / "config.pbtxt").read_text()
    assert f'name: "{model.name}"' in text.splitlines()
    assert "max_batch_size: 0" in text.splitlines()
    session = onnxruntime.InferenceSession(model / "1" / "model.onnx")
    found = tensors(text)
    for kind, there in (("input", session.get_inputs()), ("output", session.get_outputs())):
        of_graph = [(t.name, t.type, [d if isinstance(d, int) else -1 for d in t.shape]) for t in there]
        assert [(n, TYPES[t], d) for k, n, t, d in found if k == kind] == of_graph
    assert len(text.splitlines()) == 3 + len(found)
    return found


def test_triton_is_told_what_the_graph_is(folder):
    found = agree(folder / "triton" / "My_model_1")
    assert ("input", "word", "TYPE_STRING", [-1, 1]) in found
    assert not any(name == "threshold" for _, name, _, _ in found)
    done("export", folder / "plain.diabolo", "-o", folder / "t2", "--to", "triton", "--outputs", "z,column_p")
    found = agree(folder / "t2" / "plain")
    assert ("input", "x", "TYPE_FP64", [-1, 4]) in found or ("input", "x", "TYPE_FP32", [-1, 4]) in found
    assert ("output", "column_p", "TYPE_FP64", [-1, 4]) in found


def test_kserve_is_told_where_the_repository_lies(folder):
    yaml = pytest.importorskip("yaml")
    agree(folder / "kserve" / "repository" / "My_model_1")
    told = yaml.safe_load((folder / "kserve" / "inferenceservice.yaml").read_text())
    assert (told["apiVersion"], told["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", told["metadata"]["name"])
    model = told["spec"]["predictor"]["model"]
    assert model["protocolVersion"] == "v2"
    assert model["storageUri"].endswith("/repository")


def test_mlflows_model_scores_a_frame(folder, monkeypatch):
    """By what MLflow does: the folder code on the path, model.py run, load_context, predict."""
    yaml = pytest.importorskip("yaml")
    at = folder / "mlflow"
    flavor = yaml.safe_load((at / "MLmodel").read_text())["flavors"]["python_function"]
    assert not [p.name for p in at.rglob("*") if p.suffix in (".pkl", ".pickle")]
    made = []
    fake, models = types.ModuleType("mlflow"), types.ModuleType("mlflow.models")
    fake.pyfunc = types.SimpleNamespace(PythonModel=object)
    models.set_model = made.append
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    monkeypatch.setitem(sys.modules, "mlflow.models", models)
    monkeypatch.syspath_prepend(str(at / flavor["code"]))
    exec(compile((at / flavor["model_code_path"]).read_text(), "model.py", "exec"), {})
    artifacts = {name: str(at / told["path"]) for name, told in flavor["artifacts"].items()}
    model = made[0]
    model.load_context(types.SimpleNamespace(artifacts=artifacts))
    new = frame(50, seed=1)
    told = model.predict(None, new)
    new.to_parquet(folder / "new.parquet")
    done("score", folder / "My model.1.diabolo", folder / "new.parquet", "-o", folder / "s.parquet", "-q")
    expected = pd.read_parquet(folder / "s.parquet")
    assert told["is_anomaly"].tolist() == expected["is_anomaly"].tolist()
    np.testing.assert_allclose(told["score"], expected["score"], atol=1e-4)
    wide = model.predict(None, new, {"rate": 0.5})
    assert (wide["is_anomaly"] == (wide["p_value"] <= 0.5)).all()
    for name in [n for n in sys.modules if n.split(".")[0] == "diabolo_runtime"]:
        monkeypatch.delitem(sys.modules, name)


def test_mlflows_signature_names_every_column(folder):
    yaml = pytest.importorskip("yaml")
    told = yaml.safe_load((folder / "mlflow" / "MLmodel").read_text())["signature"]
    columns = json.loads(told["inputs"])
    assert [(c["name"], c["type"]) for c in columns] == [
        ("size", "double"),
        ('a "b"|µ', "double"),
        ("word", "string"),
        ("cell", "any"),
    ]
    assert [c["name"] for c in json.loads(told["outputs"])] == ["score", "p_value", "is_anomaly", "flag"]


def test_mlflow_loads_the_folder(folder):
    mlflow = pytest.importorskip("mlflow")
    model, rows = mlflow.pyfunc.load_model(str(folder / "mlflow")), frame(20)
    told = model.predict(rows)
    assert list(told) == ["score", "p_value", "is_anomaly", "flag"]
    gappy = rows.astype({"cell": float}).assign(cell=lambda f: f.cell.where(f.index > 0))
    np.testing.assert_array_equal(model.predict(gappy)["score"][1:], told["score"][1:])


def test_the_hubs_card_is_the_files(folder):
    yaml = pytest.importorskip("yaml")
    text = (folder / "hub" / "README.md").read_text()
    _, front, page = text.split("---\n", 2)
    assert yaml.safe_load(front) == {"library_name": "diabolo", "tags": ["autoencoder", "anomaly-detection"]}
    card = json.loads((folder / "hub" / "card.json").read_text())
    assert str(card["detector"]["threshold"]) in page
    assert all(f"- {line}" in page for line in card["bias_risks_limitations"])
    assert '| a "b"\\|µ |' in page
    same = folder / "hub" / "My model.1.diabolo"
    assert same.read_bytes() == (folder / "My model.1.diabolo").read_bytes()
    assert (folder / "hub" / "model.onnx").exists()
    assert "rows of the training table are in the files" in done(
        "export", folder / "My model.1.diabolo", "-o", folder / "hub2", "--to", "hub"
    )


@pytest.mark.parametrize("form", [n for n in targets if targets.get(n).folder])
def test_a_folder_that_holds_something_is_refused(folder, form, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("kept")
    said = refused("export", folder / "plain.diabolo", "-o", tmp_path / "full", "--to", form)
    assert "not empty" in said
    assert "already" in refused("export", folder / "plain.diabolo", "-o", tmp_path / "full" / "mine", "--to", form)
    assert "no such folder" in refused("export", folder / "plain.diabolo", "-o", tmp_path / "a" / "b", "--to", form)
    assert [p.name for p in tmp_path.rglob("*")] == ["full", "mine"]


def test_an_empty_folder_is_taken(folder, tmp_path):
    (tmp_path / "new").mkdir()
    done("export", folder / "plain.diabolo", "-o", tmp_path / "new", "--to", "triton", "--score", "mu_norm")
    agree(tmp_path / "new" / "plain")


def test_killed_midway_there_is_no_folder(folder, tmp_path):
    stop = (
        "import os\n"
        "from pathlib import Path\n"
        "whole = Path.write_text\n"
        "def half(self, text):\n"
        "    whole(self, text[: len(text) // 2])\n"
        "    os.kill(os.getpid(), 9)\n"
        "Path.write_text = half\n"
        "from diabolo.cli import main\n"
        f"main(['export', {str(folder / 'plain.diabolo')!r}, '-o', {str(tmp_path / 'm')!r}, '--to', 'mlflow'])\n"
    )
    assert subprocess.run([sys.executable, "-c", stop], timeout=300).returncode == -9
    assert not (tmp_path / "m").exists()
    assert len(left_behind(tmp_path)) == 1
    done("export", folder / "plain.diabolo", "-o", tmp_path / "m", "--to", "mlflow")
    assert left_behind(tmp_path) == []


def test_a_folder_that_another_process_is_writing_is_not_swept(tmp_path):
    with new_folder(str(tmp_path / "m")) as first:
        (first / "half").write_text("half")
        with new_folder(str(tmp_path / "m")) as second:
            assert first.exists()
            (second / "whole").write_text("whole")
        assert [p.name for p in (tmp_path / "m").iterdir()] == ["whole"]
        (tmp_path / "m" / "whole").unlink()
    assert [p.name for p in (tmp_path / "m").iterdir()] == ["half"]


def test_a_network_in_whole_numbers_has_other_forms(tmp_path):
    x = np.random.default_rng(0).normal(size=(3_000, 4))
    bits = {"weights": 6, "activations": 10}
    AnomalyDetector(Autoencoder(epochs=2, hidden=(8,), quantize=bits)).fit(x).save(tmp_path / "q.diabolo")
    for words in (("-o", tmp_path / "q.onnx"), *(("-o", tmp_path / f, "--to", f) for f in FORMS)):
        said = refused("export", tmp_path / "q.diabolo", *words)
        assert "-o model.h" in said
        assert "--to hls4ml" in said
    done("export", tmp_path / "q.diabolo", "-o", tmp_path / "model.h")
    assert not (tmp_path / "q.onnx").exists()
