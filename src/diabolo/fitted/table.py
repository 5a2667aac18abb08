"""A fit to a table in memory."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import numpy as np

from diabolo.config import Config
from diabolo.data.hashing import MOST_HASHES, fingerprint, hash_rows
from diabolo.data.matching import matched
from diabolo.data.roles import ROLES, GivenRoles, is_seen
from diabolo.data.sources import encoded_rows
from diabolo.data.split import Split
from diabolo.data.table import Table
from diabolo.errors import DataError
from diabolo.fitted.keep import Keep, checkpoint_of, seconds_of
from diabolo.fitted.prepare import prepare, refuse_few, refuse_infinite
from diabolo.fitted.record import Fitted, Input, Roles, Training, most_kept
from diabolo.train.loop import fit
from diabolo.train.robust import loss_limit, suspects_among
from diabolo.train.state import Epoch
from diabolo.world import ALONE, World

__all__ = ["fit_table"]


def fit_table(
    table: Table,
    weights: np.ndarray | None,
    config: Config,
    calibrate: float = 0.0,
    report: Callable[[Epoch], None] | None = None,
    role_seed: int | None = None,
    keep: Keep | None = None,
    split: Split | None = None,
    world: World = ALONE,
) -> Fitted:
    """Fit a model to a table's training rows.

    Args:
        table: n rows.
        weights: [n] or None; a row of weight 0 plays no part.
        config: settings, widths possibly left open.
        calibrate: share of rows that no part of the fit sees.
        report: called after each epoch.
        role_seed: seed of the roles; None for the config's.
        keep: the fit's checkpoint, if it has one.
        split: what decides the roles of the table's rows; None for their positions.
        world: the processes that fit together, each with the whole table; they share the work of every step.

    Raises:
        CheckpointError: the checkpoint to resume from is damaged, or another fit's.
        DataError: fewer than two rows, an infinite cell, columns that cannot be used.
    """
    started = time.perf_counter()
    used = np.arange(len(table)) if weights is None else np.flatnonzero(weights > 0)
    refuse_few(len(used))
    refuse_infinite(table, used)
    seed = config.random_state if role_seed is None else role_seed
    split = Split() if split is None else split.among(used)
    rule = split.roles(len(used), seed, config.stop_fraction, calibrate)
    roles = rule.of(0, len(used))
    train, stop = (used[roles == ROLES.index(name)] for name in ("train", "stop"))
    if len(train) < 1:
        raise DataError(f"no training rows are left of {len(used)}; lower stop_fraction = {config.stop_fraction}")
    shares = None if weights is None else weights[train]
    model = prepare(table, config, shares, train).model
    table = matched(table, model.encoding.schema, "the model")
    hashes = hash_rows(table.values[used])
    told = Roles(seed, len(used), config.stop_fraction, calibrate, rule.counts, fingerprint(hashes), split=split.name)
    given = rule if isinstance(rule, GivenRoles) else None
    checkpoint = checkpoint_of(keep, model, told, weights, values=table.values, given=given, world=world)
    parts = [
        encoded_rows(model.encoding, table.values[at], None if weights is None else weights[at], at)
        for at in (train, stop)
    ]
    history = fit(model, parts[0], parts[1], report, checkpoint, world)
    known = hashes[is_seen(roles)]
    fitted = Fitted(
        model=model,
        history=[dataclasses.asdict(e) for e in history],
        roles=told,
        training=Training(config.device, seconds_of(started, checkpoint)),
        input=Input(table.container, table.named, table.types),
        row_hashes=np.sort(known) if len(known) <= MOST_HASHES else None,
        suspects=suspects_among(model, parts, [train, stop]),
        assigned=given,
        limit=loss_limit(model, parts),
    )
    stored = used[rule.stored(most_kept(table.values.shape[1], table.values.itemsize))(0, len(used))]
    fitted.keep(table.values[stored], None if weights is None else weights[stored])
    return fitted
