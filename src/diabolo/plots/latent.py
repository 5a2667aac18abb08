"""A map of codes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from diabolo.data.table import TableLike
from diabolo.errors import DataError
from diabolo.model.codes import encoded
from diabolo.plots.drawing import MARKERS, Display, colors, fit_of, kinds_of, rows_of, said

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LatentDisplay"]

#: Different numbers up to which a color stands for each.
MOST_LEVELS = 6


@dataclasses.dataclass
class LatentDisplay(Display):
    """Rows by their codes: one latent number as a histogram, two as they are, more by their principal components.

    Attributes:
        points: [m, 1 or 2], of the rows that can be encoded.
        labels: of the axes.
        color: [m] numbers or words; None for one color.
        color_name: its label.

    >>> from diabolo import Autoencoder
    >>> X = np.random.default_rng(0).normal(size=(300, 5))
    >>> display = LatentDisplay.from_estimator(Autoencoder(latent_dim=2, epochs=2).fit(X), X)
    >>> display.points.shape, display.ax_.get_xlabel()
    ((300, 2), 'latent z1 (its own unit)')
    """

    points: np.ndarray
    labels: tuple[str, ...]
    color: np.ndarray | None
    color_name: str

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: TableLike, color: str | ArrayLike | None = None, *, ax: Axes | None = None
    ) -> Self:
        """Encode rows, and draw.

        Args:
            estimator: a fitted autoencoder, detector or clusterer.
            X: rows [n, C] in the columns of the fit.
            color: name of a column of X, or values [n]; None for clusters of a clusterer, and whether a detector calls
                a row an anomaly.
            ax: axes to draw into; None for those of a new figure.

        Raises:
            DataError: no row can be encoded, X has no such column, or the colors are not as many as the rows.
            MissingExtraError: matplotlib is not installed.
        """
        fitted = fit_of(estimator)
        codes = encoded(fitted.model, rows_of(fitted, X)).mean.astype(np.float64)
        good = np.isfinite(codes).all(axis=1)
        if not good.any():
            raise DataError(f"none of the {len(codes):,} rows can be encoded; score_table(X)['flag'] says why")
        shade, name = _color(estimator, X, color, len(codes))
        points, labels = _flat(codes[good])
        return cls(points, labels, None if shade is None else shade[good], name).plot(ax)

    def _draw(self, ax: Axes) -> None:
        points: Any = self.points.T
        size = float(np.clip(3000 / len(self.points), 4, 30))
        look: dict[str, Any] = {"s": size, "linewidths": 0, "rasterized": True}
        if len(points) == 1:
            self._draw_one(ax)
        elif self.color is None:
            ax.scatter(*points, color=colors(ax)[0], alpha=0.6, **look)
        elif self.color.dtype.kind == "f":
            shown = ax.scatter(points[0], points[1], c=self.color, cmap="cividis", **look)
            self.figure_.colorbar(shown, ax=ax, label=said(self.color_name))
        else:
            kinds, count = np.unique(self.color, return_counts=True)
            # The rarest come last, on top of the others.
            for i, kind in enumerate(kinds[np.argsort(-count, kind="stable")]):
                at = self.color == kind
                look |= {"marker": MARKERS[i], "label": f"{said(kind)} ({at.sum():,})"}
                ax.scatter(points[0, at], points[1, at], color=colors(ax)[i], alpha=0.7, **look)
            ax.legend(title=said(self.color_name) or None, markerscale=(30 / size) ** 0.5)
        ax.set(xlabel=self.labels[0], ylabel=self.labels[1], title=f"Codes of {len(self.points):,} rows")

    def _draw_one(self, ax: Axes) -> None:
        kinds = np.full(len(self.points), "rows") if self.color is None else self.color
        if kinds.dtype.kind == "f":  # a number colors points only, which one axis has not
            kinds = np.full(len(self.points), "rows")
        edges = np.histogram_bin_edges(self.points[:, 0], 50)
        for i, kind in enumerate(sorted(set(kinds))):
            counts = np.histogram(self.points[kinds == kind, 0], edges)[0]
            ax.stairs(counts, edges, color=colors(ax)[i], linewidth=1.8, label=said(str(kind)))
        ax.legend()


def _flat(codes: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    if codes.shape[1] == 1:
        return codes, ("latent z1 (its own unit)", "rows per bar")
    if codes.shape[1] == 2 or len(codes) == 1:  # one row has no principal components
        return codes[:, :2], ("latent z1 (its own unit)", "latent z2 (its own unit)")
    centered = codes - codes.mean(axis=0)
    _, size, axes = np.linalg.svd(centered, full_matrices=False)
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    share = 100 * np.square(size) / max(float(np.square(size).sum()), 1e-30)
    labels = tuple(f"principal component {i + 1} of {codes.shape[1]} ({share[i]:.0f} % of variance)" for i in range(2))
    return centered @ axes[:2].T, labels


def _color(estimator: Any, X: Any, color: str | ArrayLike | None, n: int) -> tuple[np.ndarray | None, str]:
    if color is None:
        if hasattr(estimator, "clusters_"):
            found = np.asarray(estimator.predict(X))
            return kinds_of(np.where(found < 0, "none", found.astype(str)), n), "cluster"
        if hasattr(estimator, "threshold_"):
            return kinds_of(np.where(estimator.predict(X) < 0, "anomaly", "normal"), n), ""
        return None, ""
    name = color if isinstance(color, str) else ""
    if isinstance(color, str):
        try:
            color = X[color]
        except (KeyError, IndexError, TypeError, ValueError):
            raise DataError(f"color = {color!r}: the rows have no such column") from None
    cells = np.asarray(color)
    if cells.shape == (n,) and cells.dtype.kind in "fiu" and len(np.unique(cells)) > MOST_LEVELS:
        return cells.astype(np.float64), name
    return kinds_of(cells, n, "color"), name
