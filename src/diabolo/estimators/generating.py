"""Rows that an autoencoder draws, how far they are from real ones, and lines between codes."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from diabolo.config import RandomState, seed_of
from diabolo.data.table import Table, TableLike, TableOut
from diabolo.errors import ConfigError, DataError
from diabolo.estimators.promise import warn_of_draws
from diabolo.fitted.record import Fitted
from diabolo.generate.drawing import draw, judge
from diabolo.generate.fidelity import MOST_ROWS, Fidelity
from diabolo.generate.methods import Sampler
from diabolo.progress import progress
from diabolo.registry import Spec

__all__ = ["Generates"]


class Generates(abc.ABC):
    """The methods of an autoencoder that make rows."""

    fitted_: Fitted
    sampler_: Sampler
    verbose: int

    @abc.abstractmethod
    def _table(self, X: TableLike) -> Table:
        """Rows X in the schema's order."""

    @abc.abstractmethod
    def transform(self, X: TableLike) -> np.ndarray:
        """Codes of rows."""

    @abc.abstractmethod
    def inverse_transform(self, X: TableLike) -> np.ndarray:
        """Rows of codes."""

    def sample(
        self,
        n: int = 1,
        random_state: RandomState = 0,
        mean: bool = False,
        *,
        method: Spec = "auto",
        given: Mapping[str, Any] | None = None,
    ) -> TableOut:
        """Draw n rows in original units, in the container and types that fit was given (docs/generate.md).

        Args:
            random_state: seed of the draws.
            mean: E[x|z] in place of draws.
            method: "prior", "mixture", "resampled", "trees" or a mapping with settings; "auto" takes trees for draws of
                a table, and the mixture for means, images and more than 128 columns.
            given: values by column; the other columns are drawn from their law given these values.

        Raises:
            ConfigError: a column or value that training rows do not have.
            DataError: such values exclude each other, or rows with them are too rare for the method.

        Warns:
            PromiseWarning: no training row has the given values, or drawn rows break a relation of all training rows.

        >>> import pandas as pd
        >>> from diabolo import Autoencoder
        >>> X = pd.DataFrame({"a": np.arange(300.0), "b": np.arange(300) % 2})
        >>> Autoencoder(latent_dim=1, epochs=1).fit(X).sample(3, given={"b": 1})["b"].tolist()
        [1, 1, 1]
        """
        check_is_fitted(self, "model_")
        seed = seed_of(random_state)
        said: list[str] = []
        with progress("sample", self.verbose):
            drawn = draw(self.sampler_, n, seed, mean, method, given, tell=said.append)
        for doubt in said:
            warn_of_draws(doubt)
        return self.fitted_.like_fit(drawn, mean)

    def fidelity(
        self, X: TableLike, n: int = MOST_ROWS, random_state: RandomState = 0, method: Spec = "auto"
    ) -> Fidelity:
        """How far drawn rows are from the rows of X [m, C] that the autoencoder was not fitted on (docs/generate.md).

        Args:
            n: rows to draw, at most as many as there are real ones.
            random_state: seed of draws, folds and classifier.
            method: as for `sample`.

        Raises:
            DataError: fewer than ten rows of X are new to the autoencoder.

        >>> from diabolo import Autoencoder
        >>> X = np.random.default_rng(0).normal(size=(500, 2))
        >>> found = Autoencoder(latent_dim=1, epochs=1).fit(X[:400]).fidelity(X[400:], method="prior")
        >>> found.n_real, 0 <= found.auroc <= 1
        (100, True)
        """
        rows = self._table(X).values
        known = self.fitted_.row_hashes
        with progress("fidelity", self.verbose):
            return judge(self.sampler_, known, rows, n, seed_of(random_state), method)

    def interpolate(self, a: TableLike, b: TableLike, steps: int = 10) -> np.ndarray:
        """E[x|z_t] on the line z_t = (1 − t) μ(a) + t μ(b), t = 0..1 in equal steps, [steps, n, C] or images, float64.

        Args:
            a, b: rows [n, C] where the lines begin and end; categories come out as positions of levels.
            steps: points on each line, both ends too.

        Raises:
            ConfigError: steps is not a whole number from 2 up.
            DataError: a and b have not the same number of rows.

        >>> from diabolo import Autoencoder
        >>> X = np.random.default_rng(0).normal(size=(200, 3))
        >>> Autoencoder(latent_dim=1, epochs=1).fit(X).interpolate(X[:2], X[2:4], steps=5).shape
        (5, 2, 3)
        """
        if not isinstance(steps, (int, np.integer)) or steps < 2:
            raise ConfigError(f"steps = {steps!r}; allowed are whole numbers from 2 up: both ends count")
        first, last = (self.transform(rows).astype(np.float64) for rows in (a, b))
        if len(first) != len(last):
            raise DataError(f"a has {len(first)} rows and b has {len(last)}; each row of a needs one of b")
        t = np.linspace(0, 1, steps)[:, None, None]
        rows = self.inverse_transform(((1 - t) * first + t * last).reshape(-1, first.shape[-1]))
        return rows.reshape(steps, len(first), *rows.shape[1:])
