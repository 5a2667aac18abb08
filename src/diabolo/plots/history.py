"""The loss of a fit by epoch."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from diabolo.plots.drawing import Display, colors, fit_of, ink

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["HistoryDisplay"]


@dataclasses.dataclass
class HistoryDisplay(Display):
    """The loss of training and stop rows by epoch, with the epoch whose weights were kept.

    Attributes:
        epochs: [e] from 1 on.
        training: [e] nats per row, standardised, distance + β Ω: rows are met with noise and weights in motion.
        stop: [e] nats per row of the rows that decide when to stop; NaN without any.
        kept: the epoch whose weights were kept; None where no history tells.

    >>> from diabolo import Autoencoder
    >>> X = np.random.default_rng(0).normal(size=(300, 4))
    >>> display = HistoryDisplay.from_estimator(Autoencoder(epochs=3).fit(X))
    >>> display.ax_.get_xlabel(), display.ax_.get_ylabel(), len(display.epochs)
    ('epoch', 'loss (nats per row)', 3)
    """

    epochs: np.ndarray
    training: np.ndarray
    stop: np.ndarray
    kept: int | None

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Axes | None = None) -> Self:
        """Draw the history of a fitted estimator.

        Args:
            estimator: an autoencoder, detector or clusterer.
            ax: axes to draw into; None for those of a new figure.

        Raises:
            NotFittedError: it is not fitted.
            MissingExtraError: matplotlib is not installed.
        """
        history = fit_of(estimator).history
        training = _series(history, "distance") + _series(history, "beta") * np.nan_to_num(
            _series(history, "regularizer")
        )
        kept = next((int(h["epoch"]) for h in reversed(history) if h["best"]), None)
        return cls(_series(history, "epoch"), training, _series(history, "validation"), kept).plot(ax)

    def _draw(self, ax: Axes) -> None:
        first, second = colors(ax)[:2]
        ax.plot(self.epochs, self.training, "-o", markersize=3, color=first, label="training rows")
        if np.isfinite(self.stop).any():
            ax.plot(self.epochs, self.stop, "--^", markersize=3, color=second, label="stop rows")
        if self.kept is not None:
            ax.axvline(self.kept, color=ink(ax), linestyle=":", label=f"kept: epoch {self.kept}")
        ax.set(xlabel="epoch", ylabel="loss (nats per row)", title="Training")
        ax.legend()


def _series(history: list[dict[str, Any]], key: str) -> np.ndarray:
    return np.array([math.nan if h.get(key) is None else float(h[key]) for h in history])
