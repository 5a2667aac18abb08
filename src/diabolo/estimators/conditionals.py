"""Conditionals and densities of an autoencoder that knows each column given others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from diabolo.data.matching import matched
from diabolo.data.table import Table, TableLike, as_table
from diabolo.data.tiles import SMALL, padded
from diabolo.errors import ColumnsError, ConfigError, nearest
from diabolo.model.autoencoder import Model
from diabolo.model.chain import chain_nll, laws, orders_of
from diabolo.model.laws import Law

__all__ = ["HasConditionals"]


class HasConditionals:
    """The methods of a masked autoencoder."""

    model_: Model

    def _table(self, X: TableLike) -> Table:
        check_is_fitted(self, "model_")
        return matched(as_table(X), self.model_.encoding.schema, type(self).__name__)

    def conditional(self, X: TableLike, columns: Sequence[str] | None = None) -> dict[str, Law]:
        """The law of each cell given the other cells of its row, by column.

        p(x_c | x_others), from one network for every column; of an autoencoder that was fitted with hidden cells
        (`MaskedAutoencoder`). A missing cell has the law of its value, if it were there. Costs one pass over the rows
        for each column.

        Args:
            X: rows [n, C].
            columns: names of columns, or of counts of slot groups; None for all that vary.

        Returns:
            By name a `Law` with `mean()`, `quantile(shares)`, `log_prob()`, `cdf()`, `probabilities()`, `draw()`.

        Raises:
            ConfigError: the autoencoder was fitted without hidden cells, or has no such column.

        >>> from diabolo import MaskedAutoencoder
        >>> x = np.random.default_rng(0).normal(size=(300, 1)) * [1.0, 2.0]
        >>> law = MaskedAutoencoder(epochs=3).fit(x).conditional(x[:5])["x1"]
        >>> law.mean().shape, law.quantile([0.1, 0.9]).shape, law.log_prob().shape
        ((5,), (5, 2), (5,))
        """
        table = self._table(X)
        found = laws(self.model_, table.values, None if columns is None else self._positions(columns))
        return {law.name: law for law in found.values()}

    def _positions(self, columns: Sequence[str]) -> list[int]:
        names = self.model_.encoding.schema.output_names
        constant = {names[i] for i in self.model_.encoding.constant}
        faults = {c: f"is not in the table: {nearest(c, names)}" for c in columns if c not in names}
        faults |= {c: "is constant among training rows and has no law" for c in columns if c in constant}
        if faults:
            raise ColumnsError(faults)
        return [names.index(c) for c in columns]

    @overload
    def nll(self, X: TableLike, orders: int = ..., *, context: Sequence[str] = ...) -> np.ndarray: ...

    @overload
    def nll(
        self, X: TableLike, orders: int = ..., *, context: Sequence[str] = ..., by_column: Literal[True]
    ) -> dict[str, np.ndarray]: ...

    def nll(
        self, X: TableLike, orders: int = 2, *, context: Sequence[str] = (), by_column: bool = False
    ) -> np.ndarray | dict[str, np.ndarray]:
        """−log p(x) by the chain rule, [n] float64, nats, a density in original units.

        p(x) = mean over orders of Π_k p(x_k | x_before): the columns' order, its reverse, then random ones. It is the
        exact density of that mixture, so its mean over rows is at least the entropy of the rows' law; a single row may
        lie below. Costs a pass for each column and order; beyond 64 columns they come in blocks, independent within a
        block given those before.

        Args:
            X: rows [n, C].
            orders: their number.
            context: columns that are given: −log p(the others | context).
            by_column: the sum's parts instead, by column; they depend on the orders.

        A row that cannot be scored, with an infinite cell or no cell at all, costs +inf.

        Raises:
            ConfigError: the autoencoder was fitted without hidden cells.

        >>> from diabolo import MaskedAutoencoder
        >>> x = np.random.default_rng(0).normal(size=(300, 1)) * [1.0, 2.0]
        >>> ae = MaskedAutoencoder(epochs=1).fit(x)
        >>> ae.nll(x[:5]).shape, ae.nll(x[:5], context=["x0"]).shape
        ((5,), (5,))
        """
        if not isinstance(orders, (int, np.integer)) or orders < 1:
            raise ConfigError(f"orders = {orders!r}; allowed are whole numbers from 1 up")
        table, model = self._table(X), self.model_
        names = model.encoding.schema.output_names
        out = np.empty((len(table), len(names)))
        with torch.inference_mode():
            found = orders_of(model, int(orders))
            given = self._variables(context)
            for part, tile in padded(table.values, SMALL):
                rows = model.encoding.encode(tile)
                cost = chain_nll(model, rows, found, given).double()
                if rows.bad is not None:
                    cost[rows.bad] = torch.inf
                out[part] = cost[: part.stop - part.start].numpy()
        out[np.isnan(out)] = np.inf
        if by_column:
            return dict(zip(names, out.T, strict=True))
        return np.asarray(out.sum(axis=1))

    def _variables(self, context: Sequence[str]) -> list[int]:
        """The variables of columns: their cells, whether they are missing, and the group of a slot."""
        encoding, out = self.model_.encoding, []
        slots, gaps = (p.tolist() for p in encoding.parents)
        n = len(encoding.schema.columns)
        for c in self._positions(context):
            v = encoding.cells.index(c) if c < n else len(encoding.cells) + c - n
            out += [slots[v], gaps[v], v]
        return sorted(set(out))
