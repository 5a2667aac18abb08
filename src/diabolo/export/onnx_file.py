"""A detector as one ONNX graph, for onnxruntime and other engines: table cells in, verdicts out."""

from __future__ import annotations

from typing import Annotated, ClassVar

from annotated_types import Gt, Lt

from diabolo.data.formats import atomic
from diabolo.export.onnx.document import Inputs, exported
from diabolo.export.targets import Target, targets
from diabolo.file.model_file import ModelFile


@targets.register("onnx")
class Onnx(Target):
    """One ONNX graph of encoding, score, p-value and verdict, checked against diabolo before it is written."""

    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)
    #: Score; the detector's own if None.
    score: str | None = None
    #: False-alarm rate behind the verdict; the detector's own if None.
    rate: Annotated[float, Gt(0), Lt(1)] | None = None
    #: Outputs beside score, p_value, is_anomaly and flag, with commas: z, reconstruction, column_p.
    outputs: str = ""
    #: An input for each column, or one matrix; columns where a column holds text.
    inputs: Inputs = "auto"

    def write(self, file: ModelFile, out: str) -> list[str]:
        found = exported(file, self.score, self.rate, self.outputs, self.inputs)
        with atomic(out) as part:
            part.write_bytes(found.data)
        return [f"{out}: {len(found.data):,} bytes, {found.nodes} operations", *found.said]
