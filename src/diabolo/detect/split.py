"""The rows that a detector keeps, and those that it calibrates on."""

from __future__ import annotations

import warnings

import numpy as np

from diabolo.data.hashing import fingerprint, hash_rows, mix
from diabolo.data.roles import ROLES, ranked
from diabolo.data.split import Split
from diabolo.data.table import Table
from diabolo.detect.conformal import FEWEST
from diabolo.detect.reference import Stored
from diabolo.errors import CalibrationError
from diabolo.fitted.record import Apart, Fitted, most_kept

__all__ = ["apart_of_any_table", "apart_of_fitted_table", "known_groups", "refuse_few_to_calibrate", "unseen_rows"]


def apart_of_fitted_table(fitted: Fitted, table: Table, weights: np.ndarray | None, split: Split) -> Apart:
    """The parts of the very table that an autoencoder was fitted to: the roles that the fit gave its rows.

    Of the rows trained or stopped on, those of the smallest hashes are stored. Calibration rows come in the table's
    order, or that of the split's time.
    """
    used = np.arange(len(table)) if weights is None else np.flatnonzero(weights > 0)
    rule = fitted.roles.rule if fitted.assigned is None else fitted.assigned
    stored = rule.stored(most_kept(table.values.shape[1], table.values.itemsize))(0, len(used))
    calibrate = used[rule.of(0, len(used)) == ROLES.index("calibrate")]
    if split.time is not None:
        calibrate = calibrate[np.argsort(split.time[calibrate], kind="stable")]
    return _apart(table, weights, used[stored], calibrate, split.groups, split.name)


def apart_of_any_table(
    fitted: Fitted,
    table: Table,
    weights: np.ndarray | None,
    seed: int,
    stacklevel: int,
    groups: np.ndarray | None = None,
) -> tuple[Apart, int]:
    """The parts of a table around an autoencoder that was fitted before, and how many rows it was trained on.

    Three tables are told apart:

    - The table of the fit, by its fingerprint: its rows play the parts they played.
    - A table with rows that the autoencoder was trained or stopped on, by their hashes: these rows are stored, and the
      others calibrate.
    - A table with fewer than 99 such rows, as one that the autoencoder never saw: half of the others are stored
      instead. A seeded hash of the position decides. At least 99 rows are left to calibrate on.

    Rows of one group [n] of `groups` play one part; a group of which half the rows are known is known.

    Raises:
        CalibrationError: fewer than 99 rows would be left to calibrate on.
    """
    free = np.arange(len(table)) if weights is None else np.flatnonzero(weights > 0)
    hashes, roles = hash_rows(table.values[free]), fitted.roles
    if groups is None and roles.rows == len(free) and roles.tells(fingerprint(hashes)):
        parts = apart_of_fitted_table(fitted, table, weights, Split())
        excluded = roles.counts["train"] + roles.counts["stop"]
        refuse_few_to_calibrate(len(parts.calibrate), len(table), excluded)
        return parts, excluded
    seen = np.zeros(len(free), bool)
    if fitted.row_hashes is not None:
        seen = np.isin(hashes, fitted.row_hashes)
    else:
        _warn_unknown(fitted, stacklevel + 1)
    if groups is not None:
        seen |= known_groups(groups[free], seen)
    known, new = ranked(free[seen], seed), ranked(free[~seen], seed)
    if groups is not None:  # whole groups, in a random order
        new = new[np.argsort(mix(mix(groups[new]) ^ np.uint64(seed)), kind="stable")]
    n, most = len(new), most_kept(table.values.shape[1], table.values.itemsize)
    refuse_few_to_calibrate(n, len(table), len(known))
    to_store = max(0, min(most - len(known), n // 2, n - FEWEST)) if len(known) < FEWEST else 0
    if groups is not None and to_store:
        to_store = int(np.flatnonzero(groups[new] == groups[new[to_store]])[0])
    stored, calibrate = np.concatenate([known[:most], new[:to_store]]), new[to_store:]
    return _apart(table, weights, np.sort(stored), np.sort(calibrate), groups), len(known)


def unseen_rows(
    fitted: Fitted,
    stored: Stored | None,
    values: np.ndarray,
    stacklevel: int,
    positions: np.ndarray | None = None,
    table: str | None = None,
) -> np.ndarray:
    """Whether each of the rows [n, C] was kept away from an autoencoder and all that a detector has learnt, [n] bool.

    Known are the hashes of the rows that it was trained on, or, beyond 200,000 of them, the split of its table.

    Args:
        fitted: the autoencoder.
        stored: rows that a detector keeps, perhaps of another table.
        values: rows in the schema's order.
        stacklevel: of the warning where neither is known.
        positions: of the rows in the table that they are a sample of; None for all of it.
        table: fingerprint of that table; None where the rows are all of it.
    """
    hashes = hash_rows(values)
    if fitted.roles.tells(table or fingerprint(hashes)):
        return fitted.roles.calibrates(positions)
    free = np.ones(len(values), bool) if stored is None else stored.positions(values) < 0
    if fitted.row_hashes is not None:
        return free & ~np.isin(hashes, fitted.row_hashes)
    _warn_unknown(fitted, stacklevel + 1)
    return free


def known_groups(groups: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Whether each row [n] is of a group of which at least half the rows are known, [n] bool."""
    _, of = np.unique(groups, return_inverse=True)
    return np.asarray((2 * np.bincount(of, seen) >= np.bincount(of))[of])


def refuse_few_to_calibrate(left: int, rows: int, excluded: int) -> None:
    """Refuse to calibrate a fitted autoencoder on fewer rows than 1 % needs.

    Raises:
        CalibrationError: fewer than 99 are left.
    """
    if left < FEWEST:
        raise CalibrationError(
            f"{left} of {rows} rows are left to calibrate on ({excluded} were trained on); "
            f"at least {FEWEST} are needed: give rows that the autoencoder has not seen"
        )


def _warn_unknown(fitted: Fitted, stacklevel: int) -> None:
    warnings.warn(
        f"the autoencoder was fitted on {fitted.roles.rows:,} rows, too many for its file to keep their hashes, and "
        "this is another table: make sure that it holds none of them",
        UserWarning,
        stacklevel=stacklevel,
    )


def _apart(
    table: Table,
    weights: np.ndarray | None,
    stored: np.ndarray,
    calibrate: np.ndarray,
    groups: np.ndarray | None,
    split: str | None = None,
) -> Apart:
    split = split or ("position" if groups is None else "group")
    weights, groups = (None if a is None else a[calibrate] for a in (weights, groups))
    return Apart(table.values[stored], table.values[calibrate], weights, groups, split)
