"""A fitted detector in a form that other programs run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diabolo.data.formats import atomic
from diabolo.errors import ConfigError
from diabolo.export.onnx.document import Inputs, document

if TYPE_CHECKING:
    from diabolo.detect.calibrated import Calibrated

__all__ = ["Exported"]

#: What a graph's name ends in.
SUFFIX = ".onnx"


class Exported:
    """What a detector with `calibrated_` can be exported to."""

    if TYPE_CHECKING:

        @property
        def calibrated_(self) -> Calibrated: ...

    def to_onnx(self, path: str | Path | None = None, outputs: Sequence[str] = (), inputs: Inputs = "auto") -> bytes:
        """The detector as one ONNX graph (extra `onnx`): cells in, score, p-value, verdict and reason out.

        It has the score and the rate that are chosen now. The graph is run beside the detector on rows drawn from the
        model and spoiled; the largest differences stand in its metadata (docs/export.md).

        Args:
            path: file to write, by atomic rename; None for none.
            outputs: more of them: "z", "reconstruction", "column_p".
            inputs: "columns" for an input [n, 1] each, "matrix" for x [n, C]; "auto" takes a matrix but for text.

        Returns:
            The file's bytes.

        Raises:
            ConfigError: a part of the model without a form in ONNX, which is named; a path that does not end in .onnx.
            ExportError: the graph says something else than the detector; nothing is written.

        >>> import tempfile
        >>> import numpy as np
        >>> from diabolo import AnomalyDetector, Autoencoder
        >>> from diabolo.runtime import Scorer
        >>> X = np.random.default_rng(0).normal(size=(600, 3))
        >>> detector = AnomalyDetector(Autoencoder(latent_dim=1, epochs=1), score="mse").fit(X)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = detector.to_onnx(f"{folder}/my.onnx")
        ...     Scorer(f"{folder}/my.onnx").score_name
        'mse'
        """
        if path is not None and not str(path).lower().endswith(SUFFIX):
            raise ConfigError(f"{path}: a graph is a file whose name ends in {SUFFIX}, by which it is read; name it so")
        detector = self.calibrated_
        found = document(detector.reference, detector.score_name, detector, tuple(outputs), inputs)
        if path is not None:
            with atomic(path) as part:
                part.write_bytes(found.data)
        return found.data
