"""Fits to more rows than memory holds: one pass into a cache on disk, then the same loop over it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from diabolo.config import Config
from diabolo.data.cache import Buckets, Cached
from diabolo.data.encoding import LIMIT, fit_encoding
from diabolo.data.hashing import MOST_HASHES
from diabolo.data.onepass import OnePass
from diabolo.data.roles import RoleRule
from diabolo.data.sources import Rows
from diabolo.data.stream import Stream
from diabolo.data.table import matched
from diabolo.detect.split import Parts
from diabolo.errors import DataError
from diabolo.fitted.table import Fitted, Keep, checkpoint_of, kept_rows, roles_card, rows_of, seconds_of, versions
from diabolo.model.autoencoder import Model, resolve
from diabolo.train.loop import Epoch, fit

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
    stored: int = 0,
) -> tuple[Fitted, Parts]:
    """Fit a model to a stream's training rows; as `diabolo.fitted.table.fit_table`, in bounded memory.

    Roles, summaries, fingerprint and weights are those of a fit in memory; quartiles, scale and resolution come from a
    sample of the training rows.

    Args:
        stream: the dataset.
        folder: an empty folder for the cache.
        config: settings, widths possibly left open.
        calibrate: share of rows kept away from everything here.
        report: called after each epoch.
        role_seed: seed of the roles; None for the config's.
        keep: the fit's checkpoint, if it has one.
        progress: called with the number of rows that the pass has just read.
        stored: number of training and stop rows to hand over beside those kept away.

    Raises:
        DataError: fewer than two rows, an infinite cell, columns that cannot be used.
        OutputError: the cache cannot be written.
    """
    started = time.perf_counter()
    if stream.used < 2:
        raise DataError(f"Found {stream.used} sample(s) to fit (n_samples={stream.used}); at least 2 rows are needed")
    seed = config.random_state if role_seed is None else role_seed
    rule = RoleRule(stream.used, seed, config.stop_fraction, calibrate=calibrate)
    n = rule.counts["train"]
    if n < 1:
        raise DataError(f"no training rows are left of {stream.used}; lower stop_fraction = {config.stop_fraction}")
    head = stream.head
    buckets = Buckets(folder, n, len(head.names), head.values.dtype, stream.weighted)
    once = OnePass(stream, rule, buckets, config, MOST_HASHES, stored)
    once.run(progress)
    model, train, stop, recode = _prepared(once, config)
    recognizer = once.recognize(recode)
    told = roles_card(seed, stream.used, config, calibrate, rule.counts, str(recognizer.fingerprint))
    weight = np.array([once.weight]) if stream.weighted else None
    checkpoint = checkpoint_of(keep, model, told, weight, len(buckets))
    history = fit(model, train, stop, report, checkpoint)
    fitted = Fitted(
        model=model,
        history=[dataclasses.asdict(e) for e in history],
        roles=told,
        training={"seconds": seconds_of(started, checkpoint), "device": config.device, "versions": versions()},
        row_hashes=recognizer.known,
        kept=kept_rows(model.encoding, recode(once.sample.values), once.sample.weights, seed),
    )
    return fitted, Parts(recode(once.stored.values), recode(once.calibrate.values), once.calibrate.weights)


def _prepared(once: OnePass, config: Config) -> tuple[Model, Cached, Rows, Callable[[np.ndarray], np.ndarray]]:
    """A fresh model, its training and stop rows, and how rows as they were read become what its schema wants."""
    head, n, schema = once.stream.head, once.rule.counts["train"], once.schema()

    def recode(values: np.ndarray) -> np.ndarray:
        return matched(dataclasses.replace(head, values=values), schema, "the model").values

    sample = recode(once.sample.values)
    encoding = fit_encoding(sample, schema, once.sample.weights, config)
    encoding.n_train = n
    once.refuse_overflow(encoding.center, encoding.scale, LIMIT)
    varying = sum(c.kind != "constant" for c in schema.columns)
    train = Cached(
        once.buckets,
        encoding,
        recode,
        once.weight / n if once.stream.weighted else 1.0,
        bool(schema.groups) or any(c.missing > 0 for c in schema.columns),
        rows_of(encoding, sample, once.sample.weights, once.sample.at),
    )
    stop = rows_of(encoding, recode(once.stop.values), once.stop.weights, once.stop.at)
    return Model(resolve(config, varying, encoding.width), encoding), train, stop, recode
