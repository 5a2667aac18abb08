"""Signal found against false alarms."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from diabolo.data.table import TableLike
from diabolo.errors import DataError
from diabolo.metrics import auroc
from diabolo.plots.drawing import Display, colors, ink
from diabolo.plots.scores import scored

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["RocDisplay", "anomalies"]


@dataclasses.dataclass
class RocDisplay(Display):
    """The share of anomalies found against the share of normal rows flagged, on a logarithmic axis.

    Attributes:
        fpr: share of normal rows above each threshold, rising.
        tpr: share of anomalies above it.
        roc_auc: area under the curve on a linear axis; 0.5 is chance.
        false_alarm_rate: the rate that a detector promises; None of an autoencoder.
        normal: number of normal rows.
        score_name: name of the score.

    >>> from diabolo import AnomalyDetector, LinearAutoencoder
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(600, 4))
    >>> detector = AnomalyDetector(LinearAutoencoder(latent_dim=2)).fit(X)
    >>> new, y = np.r_[rng.normal(size=(100, 4)), 9 + rng.normal(size=(20, 4))], np.repeat([0, 1], [100, 20])
    >>> RocDisplay.from_estimator(detector, new, y).roc_auc
    1.0
    """

    fpr: np.ndarray
    tpr: np.ndarray
    roc_auc: float
    false_alarm_rate: float | None
    normal: int
    score_name: str

    @classmethod
    def from_estimator(cls, estimator: Any, X: TableLike, y: ArrayLike, *, ax: Axes | None = None) -> Self:
        """Score rows, and draw.

        Args:
            estimator: a fitted detector or autoencoder.
            X: rows [n, C] in the columns of the fit; one that cannot be scored counts as the most anomalous.
            y: [n] True or 1 for an anomaly and False or 0 for a normal row, or −1 and 1 as `predict` says.
            ax: axes to draw into; None for those of a new figure.

        Raises:
            DataError: y is neither, or has one of the two alone.
            MissingExtraError: matplotlib is not installed.
        """
        # Importing it takes long, and only this asks for it.
        from sklearn.metrics import roc_curve

        name, found, detector = scored(estimator, X)
        truth = anomalies(y, len(found))
        # Ranks keep the order, and infinities are numbers among them.
        ranks = np.unique(found, return_inverse=True)[1]
        fpr, tpr, _ = roc_curve(truth, ranks)
        rate = None if detector is None else detector.rate
        return cls(fpr, tpr, auroc(truth, ranks.astype(float)), rate, int((~truth).sum()), name).plot(ax)

    def _draw(self, ax: Axes) -> None:
        first = colors(ax)[0]
        floor = 0.5 / max(1, self.normal)
        label = f"{self.score_name}, AUROC {self.roc_auc:.3f}"
        ax.plot(np.maximum(self.fpr, floor), self.tpr, color=first, linewidth=2, label=label)
        chance = np.geomspace(floor, 1, 100)
        ax.plot(chance, chance, color=ink(ax), linewidth=0.8, linestyle=":", label="chance")
        if self.false_alarm_rate is not None:
            label = f"promised rate {100 * self.false_alarm_rate:.3g} %"
            ax.axvline(self.false_alarm_rate, color=ink(ax), linestyle="--", linewidth=1, label=label)
        ax.set(
            xscale="log",
            xlim=(floor, 1),
            ylim=(0, 1.02),
            xlabel="false-alarm rate (share of normal rows flagged)",
            ylabel="anomalies found (share)",
            title="ROC",
        )
        ax.legend(loc="best")


def anomalies(y: ArrayLike, n: int) -> np.ndarray:
    """Which rows are anomalies, [n] bool, of truth values, 0 and 1, or 1 and −1.

    >>> anomalies([1, -1, 1], 3).tolist(), anomalies([0, 1, 1], 3).tolist()
    ([False, True, False], [False, True, True])
    """
    truth = np.asarray(y)
    if truth.shape != (n,):
        raise DataError(f"y has shape {truth.shape}; expected ({n},), one value per row")
    kinds = set(truth.tolist())
    if kinds == {-1, 1}:
        return np.asarray(truth == -1)
    if kinds != {0, 1}:
        some = ", ".join(map(repr, sorted(kinds, key=str)[:4]))
        raise DataError(f"y holds {some}; allowed are both of False and True, 0 and 1 (anomaly), or 1 and -1 (anomaly)")
    return truth.astype(bool)
