"""Which rows a detector keeps, and which it calibrates on."""

from __future__ import annotations

import dataclasses
import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch

from diabolo.data.encoding import Encoding
from diabolo.data.hashing import fingerprint, hash_rows
from diabolo.data.roles import ROLES, RoleRule, ranked
from diabolo.detect.conformal import FEWEST
from diabolo.detect.reference import Stored, stored_rows
from diabolo.errors import CalibrationError

if TYPE_CHECKING:
    from diabolo.data.table import Table
    from diabolo.fitted.table import Fitted

__all__ = ["Parts", "kept_rows", "parts_of_any_table", "parts_of_fitted_table"]


@dataclasses.dataclass
class Parts:
    """Rows [·, C] by what a detector does with them, in the schema's order and levels; the parts share no row."""

    stored: np.ndarray
    calibrate: np.ndarray
    calibrate_weights: np.ndarray | None = None


def kept_rows(encoding: Encoding, values: np.ndarray) -> Stored | None:
    """Rows to keep, without those that cannot be scored; None if none is left."""
    values = np.require(values, requirements=("C", "W"))
    if len(values):
        bad = encoding.encode(torch.from_numpy(values)).bad
        values = values if bad is None else values[~bad.numpy()]
    return Stored(values) if len(values) else None


def parts_of_fitted_table(fitted: Fitted, table: Table, weights: np.ndarray | None) -> Parts:
    """The parts of the very table that an autoencoder was fitted to: the roles that the fit gave its rows.

    Of the rows trained or stopped on, those of the smallest hashes are stored.
    """
    used = np.arange(len(table)) if weights is None else np.flatnonzero(weights > 0)
    r = fitted.roles
    rule = RoleRule(r["rows"], r["seed"], r["stop"], r["combine"], r["calibrate"])
    roles = rule.of(0, len(used))
    stored = rule.stored(stored_rows(table.values.shape[1], table.values.itemsize))(0, len(used))
    return _parts(table, weights, used[stored], used[roles == ROLES.index("calibrate")])


def parts_of_any_table(
    fitted: Fitted, table: Table, weights: np.ndarray | None, seed: int, stacklevel: int
) -> tuple[Parts, int]:
    """The parts of a table around an autoencoder that was fitted before, and how many rows it was trained on.

    If the table is the one that it was fitted to, its rows play the parts they played. Of another table, rows that the
    autoencoder was trained or stopped on, known by their hashes, are stored, and the others calibrate. Where fewer than
    99 of its rows are known, as of a table that it never saw, half of what would calibrate is stored instead. A seeded
    hash of the position decides; stored rows always leave 99 rows to calibrate on.

    Raises:
        CalibrationError: fewer than 99 rows would be left to calibrate on.
    """
    free = np.arange(len(table)) if weights is None else np.flatnonzero(weights > 0)
    hashes, r = hash_rows(table.values[free]), fitted.roles
    if r["rows"] == len(free) and r["fingerprint"] == fingerprint(hashes):
        parts = parts_of_fitted_table(fitted, table, weights)
        excluded = r["counts"]["train"] + r["counts"]["stop"]
        _refuse_few(len(parts.calibrate), len(table), excluded)
        return parts, excluded
    seen = np.zeros(len(free), bool)
    if fitted.row_hashes is not None:
        seen = np.isin(hashes, fitted.row_hashes)
    else:
        warnings.warn(
            f"the autoencoder was fitted on {r['rows']:,} rows, too many for its file to keep their hashes, and this "
            "is another table: make sure that it holds none of them",
            UserWarning,
            stacklevel=stacklevel,
        )
    known, new = ranked(free[seen], seed), ranked(free[~seen], seed)
    n, most = len(new), stored_rows(table.values.shape[1], table.values.itemsize)
    _refuse_few(n, len(table), len(known))
    to_store = max(0, min(most - len(known), n // 2, n - FEWEST)) if len(known) < FEWEST else 0
    stored, calibrate = np.concatenate([known[:most], new[:to_store]]), new[to_store:]
    return _parts(table, weights, np.sort(stored), np.sort(calibrate)), len(known)


def _refuse_few(left: int, rows: int, excluded: int) -> None:
    if left < FEWEST:
        raise CalibrationError(
            f"{left} of {rows} rows are left to calibrate on ({excluded} were trained on); "
            f"at least {FEWEST} are needed: give rows that the autoencoder has not seen"
        )


def _parts(table: Table, weights: np.ndarray | None, stored: np.ndarray, calibrate: np.ndarray) -> Parts:
    return Parts(table.values[stored], table.values[calibrate], None if weights is None else weights[calibrate])
