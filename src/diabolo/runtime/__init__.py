"""Scores of tables by an exported ONNX file, with NumPy, PyArrow and onnxruntime alone.

This folder is also the distribution `diabolo-runtime`, whose package is `diabolo_runtime`: so its modules import one
another by relative names, and nothing else of diabolo.
"""

from .flags import REASONS
from .scorer import Scorer, ScorerError

__all__ = ["REASONS", "Scorer", "ScorerError"]
