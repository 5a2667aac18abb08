"""The scorer alone: its imports, its time, and the distribution without PyTorch."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from diabolo import AnomalyDetector, Autoencoder
from diabolo.runtime import Scorer, ScorerError

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

ROOT = Path(__file__).parents[1]
RUNTIME = ROOT / "src" / "diabolo" / "runtime"
#: Packages that the scorer may import.
ALLOWED = {"numpy", "pyarrow", "onnxruntime"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runtime")
    x = np.random.default_rng(0).normal(size=(400, 5))
    AnomalyDetector(Autoencoder(epochs=1)).fit(x).to_onnx(folder / "m.onnx")
    return folder / "m.onnx"


def test_it_imports_nothing_else():
    for path in RUNTIME.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names.append(node.module)
            outside = {n.split(".")[0] for n in names} - set(sys.stdlib_module_names) - {"__future__"}
            assert outside <= ALLOWED, path.name


def test_the_program_scores_without_pytorch(model, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(1).normal(size=(30, 5)))
    words = ["score", str(model), str(tmp_path / "x.npy"), "-o", str(tmp_path / "o.parquet")]
    code = (
        "import sys\n"
        "from diabolo.cli import main\n"
        "try:\n"
        f"    main({words!r})\n"
        "except SystemExit as end:\n"
        "    assert not end.code\n"
        "print([m for m in ('torch', 'sklearn', 'diabolo.model') if m in sys.modules])\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert out.stdout.strip().endswith("[]"), out.stdout + out.stderr
    assert pq.read_table(tmp_path / "o.parquet").num_rows == 30


def test_a_model_file_is_told_from_a_damaged_graph(tmp_path):
    for name, said in (
        ("m.diabolo", r"a model file, and no graph: `diabolo export .*m.diabolo -o m.onnx`"),
        ("m.onnx", "no ONNX file"),
    ):
        (tmp_path / name).write_bytes(b"PK")
        with pytest.raises(ScorerError, match=said):
            Scorer(tmp_path / name)


def test_it_is_a_distribution_of_its_own(model, tmp_path):
    """A wheel of this repository in a fresh environment that has NumPy, PyArrow and onnxruntime and nothing else."""
    pytest.importorskip("hatchling")
    build = "import sys, hatchling.build as b; print(b.build_wheel(sys.argv[1]))"
    made = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=ROOT / "runtime", capture_output=True, text=True, check=True
    )
    wheel = tmp_path / made.stdout.split()[-1]
    assert wheel.stat().st_size < 60_000
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    site = next((tmp_path / "env").rglob("site-packages"))
    others = tmp_path / "others"
    others.mkdir()
    for package in ALLOWED:
        place = Path(__import__(package).__file__).parent
        for found in (place, place.with_name(f"{package}.libs")):
            if found.exists():
                (others / found.name).symlink_to(found)
    (site / "others.pth").write_text(f"{others}\n")
    shutil.unpack_archive(wheel, site, "zip")
    code = (
        "import sys, json, numpy as np\n"
        "from diabolo_runtime import Scorer\n"
        "s = Scorer(sys.argv[1])\n"
        "told = s.score(np.zeros((3, 5)))\n"
        "try:\n"
        "    import torch\n"
        "except ImportError:\n"
        "    print(json.dumps([told.column_names, told.num_rows, s.score(dict.fromkeys(s.columns, 0.0))]))\n"
    )
    out = subprocess.run([python, "-I", "-c", code, str(model)], capture_output=True, text=True, timeout=300)
    assert out.returncode == 0, out.stderr
    names, rows, one = json.loads(out.stdout)
    assert (names, rows) == (["score", "p_value", "is_anomaly", "flag"], 3)
    assert one["is_anomaly"] is False


def test_both_distributions_are_installed_beside_each_other():
    """Their packages have different names: neither writes into the other's folder."""
    import tomllib

    own = tomllib.loads((ROOT / "runtime" / "pyproject.toml").read_text())
    packed = own["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert all(place.split("/")[0] == "diabolo_runtime" for place in packed.values())
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["onnx"]
    floor = next(d for d in whole if d.startswith("onnxruntime"))
    assert floor in own["project"]["dependencies"]
