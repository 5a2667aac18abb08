"""The distribution of anomaly scores, with the threshold."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from diabolo.data.table import TableLike
from diabolo.detect.calibrated import Calibrated
from diabolo.detect.choice import density
from diabolo.detect.reference import Reference
from diabolo.detect.scoring import score_table
from diabolo.errors import DataError
from diabolo.plots.drawing import LINES, Display, colors, fit_of, ink, kinds_of, rows_of, said

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ScoreDisplay", "scored"]

#: Scores in nats; all others have no unit.
NATS = frozenset({"nll", "neg_elbo", "neg_log_likelihood", "kl", "profile"})


def scored(estimator: Any, X: TableLike) -> tuple[str, np.ndarray, Calibrated | None]:
    """Name of the score in use (of an autoencoder its density), scores of rows X [n], and the calibration."""
    fitted = fit_of(estimator)
    values, detector = rows_of(fitted, X), getattr(estimator, "calibrated_", None)
    if detector is not None:
        return detector.score_name, detector.scores(values), detector
    name = density(fitted.model)
    return name, score_table(Reference(fitted.model), values, [name])[name], None


@dataclasses.dataclass
class ScoreDisplay(Display):
    """Histograms of anomaly scores, up = more anomalous, of all rows or of each kind of rows.

    Attributes:
        scores: [m] finite ones by kind of row; "" where no kinds were given.
        unscored: rows that could not be scored, by kind.
        calibration: [n] scores of the rows that set the threshold; None without a detector.
        threshold: rows above are anomalies; None without a detector.
        false_alarm_rate: share of rows like the calibration rows above it, at most; None without a detector.
        score_name: name of the score.
        bins: number of bars.

    >>> from diabolo import AnomalyDetector, LinearAutoencoder
    >>> X = np.random.default_rng(0).normal(size=(600, 4))
    >>> detector = AnomalyDetector(LinearAutoencoder(latent_dim=2), score="nll").fit(X)
    >>> display = ScoreDisplay.from_estimator(detector, X)
    >>> display.ax_.get_xlabel(), display.threshold == detector.threshold_
    ('anomaly score nll (nats)', True)
    """

    scores: dict[str, np.ndarray]
    unscored: dict[str, int]
    calibration: np.ndarray | None
    threshold: float | None
    false_alarm_rate: float | None
    score_name: str
    bins: int = 50

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: TableLike, y: ArrayLike | None = None, *, bins: int = 50, ax: Axes | None = None
    ) -> Self:
        """Score rows, and draw.

        Args:
            estimator: a fitted detector, or an autoencoder, which has no threshold.
            X: rows [n, C] in the columns of the fit.
            y: [n] what each row is, in words or numbers: a histogram for each of the six most frequent kinds.
            bins: number of bars.
            ax: axes to draw into; None for those of a new figure.

        Raises:
            DataError: no row can be scored, or y has another length.
            MissingExtraError: matplotlib is not installed.
        """
        name, found, detector = scored(estimator, X)
        good = np.isfinite(found)
        if not good.any():
            raise DataError(f"none of the {len(found):,} rows can be scored; score_table(X)['flag'] says why")
        kinds = np.full(len(found), "", object) if y is None else kinds_of(y, len(found))
        each = {kind: found[(kinds == kind) & good] for kind in sorted(set(kinds))}
        bad = {kind: int(((kinds == kind) & ~good).sum()) for kind in each}
        if detector is None:
            return cls(each, bad, None, None, None, name, bins).plot(ax)
        return cls(each, bad, detector.calibration.scores, detector.threshold, detector.rate, name, bins).plot(ax)

    def _draw(self, ax: Axes) -> None:
        known = [s for s in (*self.scores.values(), self.calibration) if s is not None and len(s)]
        low, high = np.quantile(np.concatenate(known), [0.001, 0.995])
        if self.threshold is not None and np.isfinite(self.threshold):
            high = max(high, self.threshold + 0.1 * (self.threshold - low))
        edges = np.linspace(low, high if high > low else low + 1, self.bins + 1)
        for i, (kind, found) in enumerate(self.scores.items()):
            bad = f", {self.unscored[kind]:,} more unscored" if self.unscored[kind] else ""
            label = f"{said(kind) or 'rows'} ({len(found):,}{bad})"
            color, alone = colors(ax)[i], len(self.scores) == 1
            share = _shares(found, edges)
            ax.stairs(share, edges, fill=alone, alpha=0.45 if alone else None, color=color)
            ax.stairs(share, edges, color=color, linewidth=1.8, linestyle=LINES[i], label=label)
        if self.calibration is not None:
            label = f"calibration rows ({len(self.calibration):,})"
            ax.stairs(_shares(self.calibration, edges), edges, color=ink(ax), linewidth=1, label=label)
        if self.threshold is not None and np.isfinite(self.threshold):
            label = f"threshold: {100 * (self.false_alarm_rate or 0):.3g} % false alarms"
            ax.axvline(self.threshold, color=ink(ax), linestyle="--", label=label)
        unit = "nats" if self.score_name in NATS else "no unit"
        ax.set(
            xlabel=f"anomaly score {self.score_name} ({unit})",
            ylabel="share of rows per bar",
            title="Anomaly scores; the last bar holds all beyond",
        )
        ax.legend()


def _shares(scores: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return np.asarray(np.histogram(np.clip(scores, edges[0], edges[-1]), edges)[0] / max(1, len(scores)))
