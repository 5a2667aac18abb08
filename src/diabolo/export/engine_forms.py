"""An ONNX graph in the layouts of Triton and KServe."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import ClassVar

from diabolo.export.folder import new_folder
from diabolo.export.onnx.document import Document
from diabolo.export.onnx.graph import BOOL, DOUBLE, FLOAT, INT8, STRING
from diabolo.export.onnx_file import Graphed
from diabolo.export.targets import targets
from diabolo.file.model_file import ModelFile

#: Triton's names of ONNX's element types.
TYPES = {FLOAT: "TYPE_FP32", INT8: "TYPE_INT8", STRING: "TYPE_STRING", BOOL: "TYPE_BOOL", DOUBLE: "TYPE_FP64"}
SERVICE = """apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: {name}
spec:
  predictor:
    model:
      modelFormat:
        name: onnx
      protocolVersion: v2
      runtime: kserve-tritonserver
      # Where you copy the folder repository/ to.
      storageUri: s3://BUCKET/{name}/repository
"""


@targets.register("triton")
class Triton(Graphed):
    """A folder that is a model repository of Triton with one model, its graph and its config.pbtxt."""

    folder: ClassVar[bool] = True

    def write(self, file: ModelFile, out: str) -> list[str]:
        found, name = self.graph(file), _name(file)
        with new_folder(out) as part:
            _repository(part, name, found)
        return [f"{out}: model {name} for tritonserver --model-repository={out}", *found.said]


@targets.register("kserve")
class KServe(Graphed):
    """A folder with a model repository and an InferenceService of KServe, which runs it by Triton."""

    folder: ClassVar[bool] = True

    def write(self, file: ModelFile, out: str) -> list[str]:
        found, name = self.graph(file), _name(file)
        with new_folder(out) as part:
            repository = part / "repository"
            repository.mkdir()
            _repository(repository, name, found)
            (part / "inferenceservice.yaml").write_text(SERVICE.format(name=_label(name)))
        return [
            f"{out}: model {name} in repository/, and inferenceservice.yaml",
            "  copy repository/ to your store, put its address as storageUri, then kubectl apply -f",
            *found.said,
        ]


def _repository(folder: Path, name: str, found: Document) -> None:
    version = folder / name / "1"
    version.mkdir(parents=True)
    (version / "model.onnx").write_bytes(found.data)
    (folder / name / "config.pbtxt").write_text(_config(name, found))


def _config(name: str, found: Document) -> str:
    """Triton's description of a graph: with batches of its own it would put an axis before that of the rows."""
    lines = [f"name: {json.dumps(name)}", 'platform: "onnxruntime_onnx"', "max_batch_size: 0"]
    for kind, tensors in (("input", found.inputs), ("output", found.outputs)):
        for t in tensors:
            named = json.dumps(t.name, ensure_ascii=False)
            lines.append(f"{kind} {{ name: {named} data_type: {TYPES[t.kind]} dims: {[*t.dims]} }}")
    return "\n".join(lines) + "\n"


def _name(file: ModelFile) -> str:
    """A model's name as part of an address."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", file.path.stem).strip("_-") or "model"


def _label(name: str) -> str:
    """A name as Kubernetes has it: small letters, digits and -, a letter first."""
    label = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return (label if label[:1].isalpha() else f"model-{label}")[:50].strip("-")
