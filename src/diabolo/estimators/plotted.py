"""Figures of an estimator by its own methods: `diabolo.plots` with matplotlib's Axes in and out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from diabolo.data.table import TableLike
from diabolo.plots import (
    ColumnsDisplay,
    HistoryDisplay,
    LatentDisplay,
    ReconstructionDisplay,
    RocDisplay,
    ScoreDisplay,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Plotted", "PlottedScores"]


class Plotted:
    """Figures of an estimator with an autoencoder.

    Each method draws into the axes `ax`, or into those of a new figure, which a notebook shows and pyplot does not
    know; `.figure.savefig(path)` saves it. It needs `pip install 'diabolo[plot]'`.

    >>> import numpy as np
    >>> from diabolo import Autoencoder
    >>> X = np.random.default_rng(0).normal(size=(300, 3))
    >>> ae = Autoencoder(latent_dim=2, epochs=2).fit(X)
    >>> ae.plot_history().get_xlabel(), ae.plot_latent(X, color=X[:, 0]).get_title()
    ('epoch', 'Codes of 300 rows')
    >>> len(ae.plot_columns(X).patches), ae.plot_reconstruction(X).get_title()
    (3, 'Reconstruction, the worst column on top')
    """

    def plot_history(self, *, ax: Axes | None = None) -> Axes:
        """The loss by epoch; see `diabolo.plots.HistoryDisplay`."""
        return HistoryDisplay.from_estimator(self, ax=ax).ax_

    def plot_latent(self, X: TableLike, color: str | ArrayLike | None = None, *, ax: Axes | None = None) -> Axes:
        """Rows X [n, C] by their codes, colored by a column or by values [n]; see `diabolo.plots.LatentDisplay`."""
        return LatentDisplay.from_estimator(self, X, color, ax=ax).ax_

    def plot_columns(self, X: TableLike, *, ax: Axes | None = None) -> Axes:
        """The share of each column that is explained on rows X [n, C]; see `diabolo.plots.ColumnsDisplay`."""
        return ColumnsDisplay.from_estimator(self, X, ax=ax).ax_

    def plot_reconstruction(self, X: TableLike, column: str | None = None, *, ax: Axes | None = None) -> Axes:
        """Rows X [n, C] beside their reconstructions; see `diabolo.plots.ReconstructionDisplay`."""
        return ReconstructionDisplay.from_estimator(self, X, column, ax=ax).ax_


class PlottedScores(Plotted):
    """Figures of an estimator that scores rows.

    >>> import numpy as np
    >>> from diabolo import Autoencoder
    >>> X = np.random.default_rng(0).normal(size=(300, 3))
    >>> ae, odd = Autoencoder(latent_dim=1, epochs=2).fit(X), np.arange(300) % 2
    >>> ae.plot_scores(X, odd).get_title().split(";")[0], ae.plot_roc(X, odd).get_title()
    ('Anomaly scores', 'ROC')
    """

    def plot_scores(self, X: TableLike, y: ArrayLike | None = None, *, bins: int = 50, ax: Axes | None = None) -> Axes:
        """Histogram of the scores of rows X [n, C], of each kind y [n] if given; see `diabolo.plots.ScoreDisplay`."""
        return ScoreDisplay.from_estimator(self, X, y, bins=bins, ax=ax).ax_

    def plot_roc(self, X: TableLike, y: ArrayLike, *, ax: Axes | None = None) -> Axes:
        """Anomalies found against false alarms, by the truth y [n]; see `diabolo.plots.RocDisplay`."""
        return RocDisplay.from_estimator(self, X, y, ax=ax).ax_
