"""A detector as one ONNX graph, for onnxruntime and other engines: table cells in, verdicts out."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

from annotated_types import Gt, Lt

from diabolo.data.formats import atomic
from diabolo.export.onnx.document import Document, Inputs, exported
from diabolo.export.targets import Target, targets
from diabolo.file.model_file import ModelFile

__all__ = ["Graphed"]


@dataclasses.dataclass(frozen=True)
class Graphed(Target):
    """A form around an ONNX graph."""

    #: Score; the detector's own if None.
    score: str | None = None
    #: False-alarm rate behind the verdict; the detector's own if None.
    rate: Annotated[float, Gt(0), Lt(1)] | None = None
    #: Outputs beside score, p_value, is_anomaly and flag, with commas: z, reconstruction, column_p.
    outputs: str = ""
    #: An input for each column, or one matrix; columns where a column holds text.
    inputs: Inputs = "auto"

    def graph(self, file: ModelFile) -> Document:
        """The graph, checked against diabolo.

        Raises:
            ConfigError: a part of the model has no form in ONNX.
            ExportError: the graph says something else than the model.
        """
        return exported(file, self.score, self.rate, self.outputs, self.inputs)


@targets.register("onnx")
class Onnx(Graphed):
    """One ONNX graph of encoding, score, p-value and verdict, checked against diabolo before it is written."""

    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)

    def write(self, file: ModelFile, out: str) -> list[str]:
        found = self.graph(file)
        with atomic(out) as part:
            part.write_bytes(found.data)
        return [f"{out}: {len(found.data):,} bytes, {found.nodes} operations", *found.said]
