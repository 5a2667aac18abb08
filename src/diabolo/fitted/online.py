"""`partial_fit`: an autoencoder that learns from rows as they come."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

import numpy as np

from diabolo.data.encoding import fit_encoding
from diabolo.data.hashing import MOST_HASHES, Fingerprint, hash_rows
from diabolo.data.roles import ROLES
from diabolo.data.schema import infer_schema
from diabolo.data.table import Table, check_words, matched
from diabolo.errors import DataError
from diabolo.fitted.table import Fitted, refuse_infinite, rows_of, versions
from diabolo.model.autoencoder import Model, resolve
from diabolo.train.online import step_on

if TYPE_CHECKING:
    from diabolo.estimators.autoencoder import Autoencoder

__all__ = ["learn"]


def learn(ae: Autoencoder, table: Table, weights: np.ndarray | None) -> None:
    """Step on a table's rows; the first call fixes columns, scaling and network, unless the autoencoder is fitted.

    Raises:
        DataError: an infinite cell, columns that differ from those of the first call, nothing that varies in it.
    """
    began = time.perf_counter()
    if weights is not None:
        at = np.flatnonzero(weights > 0)
        weights, table = weights[at], dataclasses.replace(table, values=table.values[at])
    refuse_infinite(table, np.arange(len(table)))
    if not hasattr(ae, "model_"):
        ae._adopt(_begin(ae, table, weights), table)
    fitted: Fitted = ae.fitted_
    fitted.kept = None  # rows of an earlier fit have other codes now
    model = fitted.model
    table = matched(table, model.encoding.schema, type(ae).__name__)
    rows = rows_of(model.encoding, table.values, weights, np.arange(len(table)))
    before = fitted.roles["counts"]["train"]
    record, ae._pace = step_on(model, rows, before, len(fitted.history), ae._pace)
    fitted.history.append(dataclasses.asdict(record))
    fitted.training["seconds"] += time.perf_counter() - began
    _remember(fitted, hash_rows(table.values))
    ae.n_train_ = fitted.roles["counts"]["train"]


def _begin(ae: Autoencoder, table: Table, weights: np.ndarray | None) -> Fitted:
    """A model that is scaled on the rows, and has not been stepped on yet."""
    config = ae._settings()
    if len(table) < 2:
        raise DataError(
            f"Found {len(table)} sample(s) to begin with (n_samples={len(table)}); the first call fixes the scaling "
            "and needs at least 2 rows, better some thousands"
        )
    check_words(table, config.kinds or {})
    schema = infer_schema(table.values, table.names, table.dtypes, config, table.levels, table.shape)
    encoding = fit_encoding(matched(table, schema, "the model").values, schema, weights, config)
    varying = sum(c.kind != "constant" for c in schema.columns)
    model = Model(resolve(config, varying, encoding.width), encoding)
    roles = {
        "seed": config.random_state,
        "rows": 0,
        "stop": 0.0,
        "calibrate": 0.0,
        "combine": 0.0,
        "counts": dict.fromkeys(ROLES, 0),
        "fingerprint": str(Fingerprint()),
    }
    training = {"seconds": 0.0, "device": config.device, "versions": versions()}
    return Fitted(model, [], roles, training, np.empty(0, np.uint64))


def _remember(fitted: Fitted, hashes: np.ndarray) -> None:
    """Count the rows as trained on, so that a calibration leaves them out."""
    roles, known = fitted.roles, fitted.row_hashes
    chain = Fingerprint.after(roles["rows"], roles["fingerprint"])
    chain.add(hashes)
    # Whoever shows all rows again in this order has shown no row that was not trained on.
    roles |= {"rows": roles["rows"] + len(hashes), "fingerprint": str(chain)}
    roles |= {"stop": 0.0, "calibrate": 0.0, "combine": 0.0}
    roles["counts"]["train"] += len(hashes)
    if known is not None:
        known = np.union1d(known, hashes)
        fitted.row_hashes = known if len(known) <= MOST_HASHES else None
