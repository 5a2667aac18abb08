"""Matplotlib figures of a fitted estimator, as scikit-learn's Displays: `from_estimator`, `plot`, `ax_`, `figure_`."""

from diabolo.plots.columns import ColumnsDisplay
from diabolo.plots.drawing import Display
from diabolo.plots.history import HistoryDisplay
from diabolo.plots.latent import LatentDisplay
from diabolo.plots.reconstruction import ReconstructionDisplay
from diabolo.plots.roc import RocDisplay
from diabolo.plots.scores import ScoreDisplay

__all__ = [
    "ColumnsDisplay",
    "Display",
    "HistoryDisplay",
    "LatentDisplay",
    "ReconstructionDisplay",
    "RocDisplay",
    "ScoreDisplay",
]
