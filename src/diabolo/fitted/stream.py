"""A fit to more rows than memory holds: one pass into a cache on disk, then the same loop over it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from diabolo.config import Config
from diabolo.data.cache import Buckets, Cached
from diabolo.data.hashing import MOST_HASHES
from diabolo.data.onepass import OnePass
from diabolo.data.roles import RoleRule
from diabolo.data.shared import shared_cache
from diabolo.data.slots import with_found_slots
from diabolo.data.sources import encoded_rows
from diabolo.data.stream import Stream
from diabolo.errors import DataError
from diabolo.fitted.keep import Keep, checkpoint_of, seconds_of
from diabolo.fitted.prepare import Prepared, Totals, prepare, refuse_few
from diabolo.fitted.record import Apart, Fitted, Input, Roles, Training, most_kept
from diabolo.train.loop import fit
from diabolo.train.robust import loss_limit
from diabolo.train.state import Epoch
from diabolo.world import ALONE, World

__all__ = ["fit_stream"]


def fit_stream(
    stream: Stream,
    folder: Path,
    config: Config,
    calibrate: float = 0.0,
    report: Callable[[Epoch], None] | None = None,
    role_seed: int | None = None,
    keep: Keep | None = None,
    progress: Callable[[int], None] | None = None,
    world: World = ALONE,
) -> tuple[Fitted, Apart]:
    """Fit a model to a stream's training rows; as `diabolo.fitted.table.fit_table`, in bounded memory.

    Roles, summaries, fingerprint and weights are those of a fit in memory; quartiles, scale and resolution come from a
    sample of the training rows.

    Args:
        stream: the dataset.
        folder: an empty folder for the cache.
        config: settings, widths possibly left open.
        calibrate: share of rows that no part of the fit sees.
        report: called after each epoch.
        role_seed: seed of the roles; None for the config's.
        keep: the fit's checkpoint, if it has one.
        progress: called with the number of rows that the pass has just read.
        world: the processes that fit together, each of which reads and caches its own run of the rows.

    Returns:
        The fit, and the rows for a detector.

    Raises:
        DataError: fewer than two rows, an infinite cell, columns that cannot be used.
        OutputError: the cache cannot be written.
    """
    started = time.perf_counter()
    refuse_few(stream.used)
    seed = config.random_state if role_seed is None else role_seed
    rule = _roles(stream.used, seed, config, calibrate)
    n = rule.counts["train"]
    head = stream.head
    config = with_found_slots(config, head.names, head.dtypes, stream.first)
    buckets = Buckets(folder, n, len(head.names), head.values.dtype, stream.weighted)
    once = OnePass(stream, rule, buckets, config, MOST_HASHES, most_kept(len(head.names), head.values.itemsize), world)
    once.run(progress)
    prepared = _prepared(once, config, n)
    model, recoded = prepared.model, prepared.recoded
    sample, stop = (
        encoded_rows(model.encoding, recoded(part.values), part.weights, part.at) for part in (once.sample, once.stop)
    )
    mean_weight = once.weight / n if stream.weighted else 1.0
    # Words of this process's own rows are positions among those that it has met.
    own = dataclasses.replace(prepared, head=head).recoded
    train = shared_cache(Cached(buckets, model.encoding, own, mean_weight, prepared.has_gaps, sample), world)
    recognizer = once.recognize(own)
    told = Roles(seed, stream.used, config.stop_fraction, calibrate, rule.counts, str(recognizer.fingerprint))
    weight = np.array([once.weight]) if stream.weighted else None
    checkpoint = checkpoint_of(keep, model, told, weight, len(buckets), world=world)
    history = fit(model, train, stop, report, checkpoint, world)
    fitted = Fitted(
        model=model,
        history=[dataclasses.asdict(e) for e in history],
        roles=told,
        training=Training(config.device, seconds_of(started, checkpoint)),
        input=Input(head.container, head.named, head.types),
        row_hashes=recognizer.known,
        limit=loss_limit(model, [sample, stop]),
    )
    stored = recoded(once.stored.values)
    fitted.keep(stored, once.stored.weights)
    return fitted, Apart(stored, recoded(once.calibrate.values), once.calibrate.weights)


def _roles(rows: int, seed: int, config: Config, calibrate: float) -> RoleRule:
    rule = RoleRule(rows, seed, config.stop_fraction, calibrate=calibrate)
    if rule.counts["train"] < 1:
        raise DataError(f"no training rows are left of {rows}; lower stop_fraction = {config.stop_fraction}")
    return rule


def _prepared(once: OnePass, config: Config, n: int) -> Prepared:
    looked_at = dataclasses.replace(once.head, values=once.looked_at)
    totals = Totals(n, once.seen, once.gaps)
    return prepare(looked_at, config, once.sample.weights, scaled_on=once.sample.values, totals=totals)
