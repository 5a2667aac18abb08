"""How much of each column the latent keeps."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from diabolo.data.table import TableLike
from diabolo.errors import DataError
from diabolo.plots.drawing import Display, colors, fit_of, ink, rows_of, said
from diabolo.report.evidence import spaced
from diabolo.report.space import Space, explained_variance, pass_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ColumnsDisplay"]

#: Rows looked at, and columns drawn, at most.
MOST_ROWS, MOST_COLUMNS = 10_000, 30


@dataclasses.dataclass
class ColumnsDisplay(Display):
    """The share of each column's variance that the reconstruction explains, 1 − Σ(x − x̂)² / Σ(x − x̄)².

    Attributes:
        columns: names, the best explained first.
        explained: [C] shares; below 0 where the column's mean would be closer. NaN of a constant.

    >>> from diabolo import LinearAutoencoder
    >>> X = np.random.default_rng(0).normal(size=(300, 1)) * [1.0, 2.0, 3.0]
    >>> display = ColumnsDisplay.from_estimator(LinearAutoencoder(latent_dim=1).fit(X), X)
    >>> display.columns, display.explained.round(2).tolist()
    (('x0', 'x1', 'x2'), [1.0, 1.0, 1.0])
    """

    columns: tuple[str, ...]
    explained: np.ndarray

    @classmethod
    def from_estimator(cls, estimator: Any, X: TableLike, *, ax: Axes | None = None) -> Self:
        """Reconstruct rows, and draw.

        Args:
            estimator: a fitted autoencoder, detector or clusterer.
            X: rows [n, C] in the columns of the fit; of more than 10,000 an even sample is taken.
            ax: axes to draw into; None for those of a new figure.

        Raises:
            DataError: images, whose pixels are no columns to name, or too few rows.
            MissingExtraError: matplotlib is not installed.
        """
        fitted = fit_of(estimator)
        schema = fitted.model.encoding.schema
        if schema.shape is not None:
            raise DataError("the columns of images are pixels; plot_reconstruction shows images")
        values = rows_of(fitted, X)
        p = pass_rows(fitted.model, values[spaced(len(values), MOST_ROWS)])
        share = explained_variance(p.x, p.x_hat, p.there, Space(fitted.model).column, len(schema.names))[0]
        if not np.isfinite(share).any():
            raise DataError(f"{len(values):,} rows tell nothing of any column; give 20 or more that vary")
        order = np.argsort(-np.nan_to_num(share, nan=-np.inf), kind="stable")
        return cls(tuple(schema.names[i] for i in order), share[order]).plot(ax)

    def _draw(self, ax: Axes) -> None:
        known = np.flatnonzero(np.isfinite(self.explained))
        shown = known if len(known) <= MOST_COLUMNS else np.r_[known[: MOST_COLUMNS // 2], known[-MOST_COLUMNS // 2 :]]
        at = np.arange(len(shown))[::-1]
        # A share far below 0 would flatten all others: its bar is cut, its number is not.
        bars = ax.barh(at, np.maximum(self.explained[shown], -0.5), color=colors(ax)[0], height=0.7)
        ax.bar_label(bars, [f"{100 * s:.0f} %" for s in self.explained[shown]], padding=3, fontsize="small")
        ax.axvline(0, color=ink(ax), linewidth=0.8)
        ax.set_yticks(at, [said(self.columns[i]) for i in shown])
        left = len(known) - len(shown)
        ax.set(
            xlim=(min(0, float(np.maximum(self.explained[shown], -0.5).min()) * 1.25), 1.12),
            xlabel="variance explained (share)",
            title="Reconstruction by column" + (f" ({left} columns between are left out)" if left else ""),
        )
