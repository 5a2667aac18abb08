"""Rows beside their reconstructions."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from diabolo.data.table import TableLike
from diabolo.errors import ConfigError, DataError, nearest
from diabolo.plots.drawing import Display, colors, fit_of, ink, rows_of, said
from diabolo.report.evidence import spaced
from diabolo.report.png import as_bytes, sheet
from diabolo.report.space import pass_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ReconstructionDisplay"]

#: Rows looked at, columns drawn, and images drawn, at most.
MOST_ROWS, MOST_COLUMNS, IMAGES = 10_000, 30, 8
#: Kinds of columns whose difference means something.
NUMBERS = frozenset({"real", "integer", "count", "ordinal", "angle"})
SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclasses.dataclass
class ReconstructionDisplay(Display):
    """Seen and reconstructed values: of images the pictures, of one column a scatter, of a table the errors by column.

    Attributes:
        columns: names of the columns of numbers drawn; empty for images.
        seen: [n, columns] in original units, or images [n, h, w, channels].
        reconstructed: E[x|z] at the posterior mean, likewise.
        scale: [columns], one standardised unit of each column.
        turns: [columns] bool, whether a column is an angle.

    >>> from diabolo import LinearAutoencoder
    >>> X = np.random.default_rng(0).normal(size=(300, 1)) * [1.0, 2.0, 3.0]
    >>> ae = LinearAutoencoder(latent_dim=1).fit(X)
    >>> ReconstructionDisplay.from_estimator(ae, X).ax_.get_xlabel()
    'reconstructed − seen (standard deviations of the column)'
    >>> ReconstructionDisplay.from_estimator(ae, X, column="x1").ax_.get_ylabel()
    'x1 reconstructed (unit of the column)'
    >>> ReconstructionDisplay.from_estimator(ae, X).errors.shape
    (300, 3)
    """

    columns: tuple[str, ...]
    seen: np.ndarray
    reconstructed: np.ndarray
    scale: np.ndarray
    turns: np.ndarray

    @classmethod
    def from_estimator(cls, estimator: Any, X: TableLike, column: str | None = None, *, ax: Axes | None = None) -> Self:
        """Reconstruct rows, and draw.

        Args:
            estimator: a fitted autoencoder, detector or clusterer.
            X: rows [n, C] in the columns of the fit, of more than 10,000 an even sample; of images the first eight.
            column: a column of numbers to draw alone, seen against reconstructed.
            ax: axes to draw into; None for those of a new figure.

        Raises:
            ConfigError: no such column, or none of numbers.
            DataError: no row can be reconstructed.
            MissingExtraError: matplotlib is not installed.
        """
        fitted = fit_of(estimator)
        encoding, values = fitted.model.encoding, rows_of(fitted, X)
        schema = encoding.schema
        some = values[:IMAGES] if schema.shape is not None else values[spaced(len(values), MOST_ROWS)]
        means = pass_rows(fitted.model, some).values
        if not np.isfinite(means).any():
            raise DataError(f"none of the {len(values):,} rows can be reconstructed; score_table(X)['flag'] says why")
        if schema.shape is not None:
            if column is not None:
                raise ConfigError(f"column = {column!r}: rows are images, whose pixels have no names")
            ends = np.array([schema.columns[0].low, schema.columns[0].high])
            seen, again = (v.reshape(-1, *schema.shape) for v in (some, means))
            return cls((), seen, again, ends, np.zeros(0, bool)).plot(ax)
        at = [i for i, c in enumerate(schema.columns) if c.kind in NUMBERS]
        names = [schema.names[i] for i in at]
        if column is not None and column not in names:
            raise ConfigError(f"column = {column!r}: no column of numbers: {nearest(column, names)}")
        if not at:
            raise DataError("no column of numbers varies; levels and truth values have no distance to draw")
        at = at if column is None else [schema.names.index(column)]
        turns = np.array([schema.columns[i].kind == "angle" for i in at])
        columns = tuple(schema.names[i] for i in at)
        return cls(columns, some[:, at], means[:, at], encoding.scale[at], turns).plot(ax)

    def _draw(self, ax: Axes) -> None:
        if not self.columns:
            self._draw_images(ax)
        elif len(self.columns) == 1:
            self._draw_column(ax)
        else:
            self._draw_errors(ax)

    def _draw_images(self, ax: Axes) -> None:
        low, high = self.scale
        n, h = len(self.seen), self.seen.shape[1]
        pictures = as_bytes(np.concatenate([self.seen, self.reconstructed]), float(low), float(high))
        ax.imshow(sheet(pictures, n, gap=1), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        ax.set_xticks([])
        ax.set_yticks([h / 2, 1.5 * h + 1], ["seen", "reconstructed"])
        ax.set(xlabel=f"the first {n} rows", title="Reconstruction")

    def _draw_column(self, ax: Axes) -> None:
        x, y = self.seen[:, 0], self.reconstructed[:, 0]
        size = float(np.clip(3000 / len(x), 4, 30))
        ax.scatter(x, y, s=size, color=colors(ax)[0], alpha=0.5, linewidths=0, rasterized=True)
        good = x[np.isfinite(x)]
        ends = (good.min(), good.max()) if len(good) else (0.0, 1.0)
        ax.plot(ends, ends, color=ink(ax), linestyle="--", linewidth=1, label="perfect")
        name = said(self.columns[0])
        ax.set(
            xlabel=f"{name} seen (unit of the column)",
            ylabel=f"{name} reconstructed (unit of the column)",
            title=f"Reconstruction of {len(x):,} rows",
        )
        ax.legend()

    @property
    def errors(self) -> np.ndarray:
        """Reconstructed − seen in standardised units, [n, columns]; NaN where a cell is missing."""
        with np.errstate(invalid="ignore", over="ignore"):
            gap = self.reconstructed - self.seen
            gap[:, self.turns] = (gap[:, self.turns] + np.pi) % (2 * np.pi) - np.pi
            return np.asarray(np.where(np.isfinite(gap), gap / self.scale, np.nan))

    def _draw_errors(self, ax: Axes) -> None:
        errors = self.errors
        known = np.flatnonzero(np.isfinite(errors).any(axis=0))
        spread = np.nanmean(np.square(errors[:, known]), axis=0)
        shown = known[np.argsort(-spread, kind="stable")][:MOST_COLUMNS]
        at = np.arange(len(shown))[::-1]
        q = np.nanquantile(errors[:, shown], SHARES, axis=0)
        first, second = colors(ax)[:2]
        ax.hlines(at, q[0], q[4], color=first, linewidth=1.5, label="90 % of rows")
        ax.hlines(at, q[1], q[3], color=first, linewidth=6, label="50 %")
        ax.plot(q[2], at, "D", color=second, markersize=5, linestyle="none", label="median")
        ax.axvline(0, color=ink(ax), linewidth=0.8, linestyle=":")
        ax.set_yticks(at, [said(self.columns[i]) for i in shown])
        left = len(known) - len(shown)
        ax.set(
            xlabel="reconstructed − seen (standard deviations of the column)",
            title="Reconstruction, the worst column on top" + (f"; {left} more" if left else ""),
        )
        ax.legend(loc="lower right")
