"""An ONNX graph as a model of MLflow: models from code, so no pickle."""

from __future__ import annotations

import json
import platform
import shutil
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, ClassVar

from diabolo.data.dtypes import TEXT, is_date, is_duration, is_time
from diabolo.data.schema import Column
from diabolo.export.folder import new_folder
from diabolo.export.onnx_file import Graphed
from diabolo.export.targets import targets
from diabolo.file.model_file import ModelFile

CODE = '''"""Scores rows of a data frame: score, p_value, is_anomaly and flag."""

import mlflow
from diabolo_runtime import Scorer
from mlflow.models import set_model


class Detector(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        self.scorer = Scorer(context.artifacts["graph"])

    def predict(self, context, model_input, params=None):
        rate = (params or {}).get("rate")
        return self.scorer.score(model_input, rate or None).to_pandas()


set_model(Detector())
'''
REQUIREMENTS = ("mlflow-skinny>=2.12.2", "numpy>=1.26", "pandas>=2.2", "pyarrow>=16", "onnxruntime>=1.19")
#: YAML that MLflow reads as MLmodel; the signature is JSON in text, as MLflow writes it.
MLMODEL = """artifact_path: model
flavors:
  python_function:
    artifacts:
      graph:
        path: artifacts/model.onnx
        uri: artifacts/model.onnx
    code: code
    env:
      virtualenv: python_env.yaml
    loader_module: mlflow.pyfunc.model
    model_code_path: model.py
    python_version: {python}
    streamable: false
signature:
  inputs: {inputs}
  outputs: {outputs}
  params: {params}
"""
ENVIRONMENT = """python: {python}
dependencies:
  - -r requirements.txt
"""
OUTPUTS = {"score": "double", "p_value": "double", "is_anomaly": "boolean", "flag": "string"}
UNCHECKED = ("bool", "int64", "uint64")
RATE = {"name": "rate", "type": "double", "default": 0.0, "shape": None}


@targets.register("mlflow")
class MLflow(Graphed):
    """A folder that MLflow loads as a pyfunc model: model.py, the graph, and the scorer's code."""

    folder: ClassVar[bool] = True

    def write(self, file: ModelFile, out: str) -> list[str]:
        found = self.graph(file)
        outputs = OUTPUTS if "detector" in file else {n: OUTPUTS[n] for n in ("score", "flag")}
        params = [RATE] if "detector" in file else []
        told = {
            "inputs": _columns({c.name: _type(c) for c in file.schema.columns}),
            "outputs": _columns(outputs, required=False),
            "params": json.dumps(params),
            "python": platform.python_version(),
        }
        with new_folder(out) as part:
            (part / "artifacts").mkdir()
            (part / "artifacts" / "model.onnx").write_bytes(found.data)
            (part / "MLmodel").write_text(MLMODEL.format(**{k: json.dumps(v) for k, v in told.items()}))
            (part / "model.py").write_text(CODE)
            (part / "requirements.txt").write_text("\n".join(REQUIREMENTS) + "\n")
            (part / "python_env.yaml").write_text(ENVIRONMENT.format(python=json.dumps(told["python"])))
            _runtime(part / "code" / "diabolo_runtime")
        return [f"{out}: mlflow.pyfunc.load_model({out!r}), or mlflow models serve -m {out}", *found.said]


def _runtime(folder: Path) -> None:
    """The scorer's code, which is a package of its own."""
    folder.mkdir(parents=True)
    with as_file(files("diabolo.runtime")) as source:
        for path in sorted(source.glob("*.py")):
            shutil.copyfile(path, folder / path.name)


def _columns(types: dict[str, str], required: bool = True) -> str:
    told: list[dict[str, Any]] = [{"name": n, "type": t, "required": required} for n, t in types.items()]
    return json.dumps(told, ensure_ascii=False)


def _type(column: Column) -> str:
    """MLflow's type of a column; what it has none for goes in unchecked.

    So do whole numbers of 64 bits: MLflow takes none for a double, and no double, as of a column with gaps, for them.
    """
    if column.dtype in TEXT:
        return "string"
    if is_date(column.dtype):
        return "datetime"
    unchecked = is_time(column.dtype) or is_duration(column.dtype) or column.dtype in UNCHECKED
    return "any" if unchecked else "double"
