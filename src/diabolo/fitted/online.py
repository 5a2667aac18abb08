"""A fit to rows as they come, a few at a time."""

from __future__ import annotations

import dataclasses
import time

import numpy as np

from diabolo.config import Config
from diabolo.data.hashing import MOST_HASHES, Fingerprint, hash_rows
from diabolo.data.matching import matched
from diabolo.data.roles import ROLES
from diabolo.data.sources import encoded_rows
from diabolo.data.table import Table
from diabolo.errors import ConfigError, DataError
from diabolo.fitted.prepare import prepare, refuse_infinite
from diabolo.fitted.record import Fitted, Input, Roles, Training
from diabolo.train.online import step_on

__all__ = ["begin", "learn"]


def begin(table: Table, weights: np.ndarray | None, config: Config) -> Fitted:
    """A model that is scaled on the rows of positive weight, and has not been stepped on yet.

    Raises:
        DataError: fewer than two rows, an infinite cell, nothing that varies.
    """
    if config.quantize is not None:
        raise ConfigError(
            "quantize: ranges of whole numbers are chosen on rows that stop a fit, and partial_fit has none: call fit"
        )
    table, weights = _used(table, weights)
    if len(table) < 2:
        raise DataError(
            f"Found {len(table)} sample(s) to begin with (n_samples={len(table)}); the first call fixes the scaling "
            "and needs at least 2 rows, better some thousands"
        )
    model = prepare(table, config, weights).model
    roles = Roles(config.random_state, 0, 0.0, 0.0, dict.fromkeys(ROLES, 0), str(Fingerprint()))
    given = Input(table.container, table.named, table.types)
    return Fitted(model, [], roles, Training(config.device), given, np.empty(0, np.uint64))


def learn(fitted: Fitted, table: Table, weights: np.ndarray | None, who: str) -> None:
    """Step on a table's rows, and add them to the record of the fit.

    Raises:
        DataError: an infinite cell, other columns than the fit's.
    """
    began = time.perf_counter()
    table, weights = _used(table, weights)
    model = fitted.model
    table = matched(table, model.encoding.schema, who)
    rows = encoded_rows(model.encoding, table.values, weights, np.arange(len(table)))
    before = fitted.roles.counts["train"]
    record, fitted.pace = step_on(model, rows, before, len(fitted.history), fitted.pace)
    fitted.history.append(dataclasses.asdict(record))
    fitted.training.seconds += time.perf_counter() - began
    fitted.kept = fitted.drawn = None  # rows of an earlier fit have other codes now
    _remember(fitted, hash_rows(table.values))


def _used(table: Table, weights: np.ndarray | None) -> tuple[Table, np.ndarray | None]:
    """The rows of positive weight."""
    if weights is not None:
        at = np.flatnonzero(weights > 0)
        weights, table = weights[at], table.rows(at)
    refuse_infinite(table, np.arange(len(table)))
    return table, weights


def _remember(fitted: Fitted, hashes: np.ndarray) -> None:
    """Count the rows as trained on, so that a calibration leaves them out."""
    roles, known = fitted.roles, fitted.row_hashes
    chain = Fingerprint(roles.rows, roles.fingerprint)
    chain.add(hashes)
    counts = {**roles.counts, "train": roles.counts["train"] + len(hashes)}
    # The same rows in the same order are then a table that was trained on as a whole.
    fitted.roles = Roles(roles.seed, roles.rows + len(hashes), 0.0, 0.0, counts, str(chain))
    if known is not None:
        known = np.union1d(known, hashes)
        fitted.row_hashes = known if len(known) <= MOST_HASHES else None
