"""A model as one ONNX file: graph and metadata, checked before anybody gets it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from diabolo.data.dtypes import TEXT
from diabolo.detect.calibrated import Calibrated
from diabolo.detect.choice import automatic_score, check_score
from diabolo.detect.reference import Reference
from diabolo.errors import ConfigError, nearest
from diabolo.export.onnx.calibration import column_p_values, final_score, p_value, reason
from diabolo.export.onnx.costs import column_nll
from diabolo.export.onnx.encoding import Cells, Row, cells, encoded
from diabolo.export.onnx.graph import BOOL, DOUBLE, FLOAT, INT8, Graph
from diabolo.export.onnx.network import code, decoded
from diabolo.export.onnx.reconstruction import reconstruction
from diabolo.export.onnx.scores import score_value
from diabolo.export.onnx.verify import Expected, verified
from diabolo.file.model_file import ModelFile
from diabolo.version import __version__

__all__ = ["MORE", "Document", "Tensor", "document", "exported"]

#: Number of the metadata's layout.
FORMAT = "1"
#: Outputs that are asked for.
MORE = ("z", "reconstruction", "column_p")

Inputs = Literal["auto", "columns", "matrix"]


@dataclasses.dataclass(frozen=True)
class Tensor:
    """What goes into a graph or comes out: its name, ONNX's number of its elements' type, -1 for the axis of rows."""

    name: str
    kind: int
    dims: tuple[int, ...]


@dataclasses.dataclass
class Document:
    """An ONNX file's bytes, and what a person is told of it.

    Attributes:
        inputs: those that have to be given.
        outputs: all.
    """

    data: bytes
    nodes: int
    said: list[str]
    inputs: list[Tensor]
    outputs: list[Tensor]


def exported(file: ModelFile, score: str | None, rate: float | None, outputs: str, inputs: Inputs) -> Document:
    """The document of a model file.

    Raises:
        ConfigError: a part without a form in ONNX, an unknown output, a rate without a detector.
        ExportError: the graph says something else than the model.
    """
    more = tuple(word for word in (w.strip() for w in outputs.split(",")) if word)
    if "detector" in file:
        detector = file.detector.choosing(score, rate)
        return document(detector.reference, detector.score_name, detector, more, inputs, _origin(file))
    if rate is not None:
        raise ConfigError(f"{file.path} has no detector, so it has no false-alarm rate; fit without --only main")
    reference = Reference(file.autoencoder.model)
    name = automatic_score(reference) if score in (None, "auto") else str(score)
    return document(reference, name, None, more, inputs, _origin(file))


def _origin(file: ModelFile) -> dict[str, str]:
    return {name: file.section(name).sha256(name) for name in file.names if name in ("main", "detector")}


def document(
    reference: Reference,
    name: str,
    detector: Calibrated | None = None,
    more: tuple[str, ...] = (),
    inputs: Inputs = "auto",
    origin: Mapping[str, str] | None = None,
) -> Document:
    """One graph of a score, and of the verdict where there is a detector."""
    if reference.model.config.quantize is not None:
        raise ConfigError(
            "a network in whole numbers (quantize) has no form in ONNX; export it as a C header (-o model.h) or for "
            "hls4ml (--to hls4ml)"
        )
    check_score(reference, name)
    for word in more:
        if word not in MORE:
            raise ConfigError(f"unknown output {word!r}: {nearest(word, MORE)}")
    e = reference.model.encoding
    text = [c.name for c in e.schema.columns if c.dtype in TEXT]
    if inputs == "matrix" and text:
        raise ConfigError(f"column {text[0]!r} holds text, which a matrix of numbers cannot; take inputs='columns'")
    g = Graph()
    given = cells(g, e, matrix=inputs == "matrix" or (inputs == "auto" and not text))
    row = encoded(g, e, given)
    score = final_score(g, score_value(g, reference, name, row), row)
    g.output("score", score, DOUBLE)
    if detector is not None:
        limit = g.default("threshold", detector.threshold)
        g.output("p_value", p_value(g, detector.calibration, score), DOUBLE)
        g.output("is_anomaly", g.op("Greater", score, limit), BOOL)
    g.output("flag", reason(g, score, row), INT8)
    _more(g, reference, detector, row, more)
    model = g.model(_metadata(reference, name, detector, given, origin or {}))
    found = verified(model, Expected(reference, name, detector, given, more))
    _note(model, "diabolo.parity", found.to_json())
    free = {tensor.name for tensor in g.defaults}
    needed = [_tensor(v) for v in g.inputs if v.name not in free]
    return Document(model.SerializeToString(), len(g.nodes), [found.said], needed, [_tensor(v) for v in g.outputs])


def _more(g: Graph, reference: Reference, detector: Calibrated | None, row: Row, more: tuple[str, ...]) -> None:
    model = reference.model
    if not more:
        return
    z = code(g, model, row.x)
    if "z" in more:
        g.output("z", z, FLOAT, model.latent_dim)
    if "reconstruction" in more:
        g.output(
            "reconstruction", reconstruction(g, model, decoded(g, model, z)), DOUBLE, len(model.encoding.schema.columns)
        )
    if "column_p" in more:
        if detector is None or detector.columns is None:
            raise ConfigError("the output column_p needs a detector that has kept costs of columns; fit it again")
        c = len(model.encoding.schema.columns)
        costs = g.columns(
            column_nll(g, model, row, decoded(g, model, z)), range(c), len(model.encoding.schema.output_names)
        )
        g.output("column_p", column_p_values(g, detector.columns, costs), DOUBLE, c)


def _tensor(value: Any) -> Tensor:
    found = value.type.tensor_type
    dims = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in found.shape.dim)
    return Tensor(value.name, found.elem_type, dims)


def _metadata(
    reference: Reference, name: str, detector: Calibrated | None, given: Cells, origin: Mapping[str, str]
) -> dict[str, str]:
    e = reference.model.encoding
    dialect = e.schema.dialect
    said: dict[str, Any] = {
        "format": FORMAT,
        "version": __version__,
        "score": name,
        "sections": dict(origin),
        "schema": e.schema.to_json(),
        "dialect": None if dialect is None else dataclasses.asdict(dialect),
        "inputs": {"names": given.names, "missing": given.missing, "type": np.dtype(given.type).name},
        "encoding": {
            "center": e.center.tolist(),
            "scale": e.scale.tolist(),
            "boolean": e.boolean,
            "count": e.count,
        },
        "stored": 0 if reference.stored is None else len(reference.stored),
    }
    if detector is not None:
        said["calibration"] = {
            "said": detector.calibration.said,
            "units": detector.calibration.units,
            "rate": detector.rate,
            "threshold": detector.threshold,
        }
    return {f"diabolo.{key}": v if isinstance(v, str) else json.dumps(v) for key, v in said.items()}


def _note(model: Any, key: str, text: str) -> None:
    entry = model.metadata_props.add()
    entry.key, entry.value = key, text
