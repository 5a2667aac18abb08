"""Axes, colors and rows of all displays; no state of pyplot is read or changed."""

from __future__ import annotations

import abc
import functools
import io
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from diabolo.data.matching import matched
from diabolo.data.table import TableLike, as_table
from diabolo.errors import ConfigError, DataError, MissingExtraError
from diabolo.fitted.record import Fitted
from diabolo.markup import words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LINES", "MARKERS", "Display", "colors", "fit_of", "ink", "kinds_of", "rows_of", "said"]

#: Okabe and Ito's colors, which people with any color vision tell apart, on light and on dark ground.
LIGHT = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#A87000", "#3C8DBC")
DARK = ("#56B4E9", "#E69F00", "#33C6A0", "#E3A0C6", "#F0E442", "#FF8A4C")
#: A second sign beside the color.
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
MARKERS = ("o", "^", "s", "D", "v", "P")
#: Kinds of rows that have a color of their own; the rest is one.
MOST_KINDS = 6


class Display(abc.ABC):
    """Numbers of a figure, and the figure once it is drawn.

    Attributes:
        ax_: the axes drawn into.
        figure_: their figure.

    >>> from diabolo import LinearAutoencoder, plots
    >>> X = np.random.default_rng(0).normal(size=(300, 3))
    >>> display = plots.ColumnsDisplay.from_estimator(LinearAutoencoder(latent_dim=1).fit(X), X)
    >>> display.figure_ is display.ax_.figure, display.plot(display.ax_) is display
    (True, True)
    """

    ax_: Axes
    figure_: Any

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw into axes, or into those of a new figure, which pyplot does not know and need not close.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        self.ax_ = _new_axes() if ax is None else ax
        self.figure_ = self.ax_.get_figure()
        self._draw(self.ax_)
        return self

    @abc.abstractmethod
    def _draw(self, ax: Axes) -> None: ...

    def _repr_png_(self) -> bytes | None:
        return _png(self.figure_) if hasattr(self, "figure_") else None


def _new_axes() -> Axes:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "plot", "a plot") from None
    return Figure(layout="constrained").add_subplot(axes_class=_shown_axes())


@functools.cache
def _shown_axes() -> Any:
    from matplotlib.axes import Axes

    class ShownAxes(Axes):
        """Axes that a notebook shows as their figure, for one outside pyplot is shown by nothing else."""

        def _repr_png_(self) -> bytes:
            return _png(self.get_figure())

    return ShownAxes


def _png(figure: Any) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def colors(ax: Axes) -> tuple[str, ...]:
    """Colors for lines and marks on the ground that the axes have."""
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(ax.get_facecolor())
    return LIGHT if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else DARK


def ink(ax: Axes) -> Any:
    """The color of the axes' own text."""
    return ax.xaxis.label.get_color()


def said(name: str) -> str:
    """A name from the data as a label: cut to a length, and never read as mathematics."""
    return words(name, 28).replace("$", r"\$")


def fit_of(estimator: Any) -> Fitted:
    """The fit of an estimator's autoencoder.

    Raises:
        NotFittedError: there is none.
        ConfigError: it is no estimator with an autoencoder.
    """
    ae = getattr(estimator, "autoencoder_", estimator)
    if hasattr(estimator, "fit"):
        check_is_fitted(estimator)
    fitted = getattr(ae, "fitted_", None)
    if not isinstance(fitted, Fitted):
        raise ConfigError(f"estimator = {estimator!r}; allowed are fitted autoencoders, detectors and clusterers")
    return fitted


def rows_of(fitted: Fitted, X: TableLike) -> np.ndarray:
    """Rows X in the columns of the fit, [n, C]."""
    return matched(as_table(X), fitted.model.encoding.schema, "the estimator").values


def kinds_of(y: Any, n: int, what: str = "y") -> np.ndarray:
    """Words [n] of what each row is; the rarest beyond six are one.

    Raises:
        DataError: another number of them.
    """
    cells = np.asarray(y)
    if cells.shape != (n,):
        raise DataError(f"{what} has shape {cells.shape}; expected ({n},), one value per row")
    found = np.array(["missing" if c is None or c != c else str(c) for c in cells.tolist()], object)
    names, count = np.unique(found, return_counts=True)
    if len(names) > MOST_KINDS:
        kept = set(names[np.argsort(-count, kind="stable")][: MOST_KINDS - 1])
        found = np.array([name if name in kept else "others" for name in found], object)
    return found
