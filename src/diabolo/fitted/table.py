"""From a table to a fitted model: roles, schema, scaling, training, and the card that tells of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diabolo.config import Config
from diabolo.data.encoding import Encoded, Encoding, fit_encoding
from diabolo.data.hashing import MOST_HASHES, fingerprint, hash_rows
from diabolo.data.roles import ROLES, assign_roles, is_seen
from diabolo.data.schema import infer_schema
from diabolo.data.sources import Rows
from diabolo.data.table import Table, check_words, matched
from diabolo.errors import ConfigError, DataError
from diabolo.model.autoencoder import Model, resolve
from diabolo.model.networks.permission import own_network_card
from diabolo.train.checkpoint import Checkpoint
from diabolo.train.loop import Epoch, fit
from diabolo.train.robust import Suspects, suspects_among

#: Training rows kept to draw new ones from, at most: so many, and so many bytes.
MOST_KEPT, KEPT_BYTES = 20_000, 16 << 20

__all__ = [
    "Fitted",
    "Keep",
    "check_weights",
    "checkpoint_of",
    "fit_table",
    "kept_rows",
    "keep_of",
    "refuse_infinite",
    "roles_card",
    "rows_of",
    "seconds_of",
    "seed_of",
    "versions",
]


@dataclasses.dataclass
class Fitted:
    """A fitted model and what its file will say of the fit."""

    model: Model
    history: list[dict[str, Any]]
    roles: dict[str, Any]
    training: dict[str, Any]
    row_hashes: np.ndarray | None
    #: Training and stop rows that look out of place; None where no table was in memory.
    suspects: Suspects | None = None
    #: Training rows that new ones are drawn from, [R, C] in the schema's order and levels.
    kept: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Keep:
    """Where a fit is kept while it runs, and whether it goes on from there."""

    path: str | Path
    resume: bool = False


def keep_of(checkpoint: str | Path | None, resume: bool) -> Keep | None:
    """The arguments of a public `fit` as one.

    Raises:
        ConfigError: a resumption without a file to resume from.
    """
    if checkpoint is None and resume:
        raise ConfigError("resume = True needs the file to resume from: checkpoint = PATH")
    return None if checkpoint is None else Keep(checkpoint, resume)


def seed_of(random_state: Any) -> int:
    """An integer seed from None (fresh entropy), an integer or a NumPy generator."""
    if random_state is None:
        return secrets.randbits(62)
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(0, 2**31 - 1))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(0, 2**62))
    return random_state  # type: ignore[no-any-return]  # Config checks it


def check_weights(weights: Any, n: int) -> np.ndarray | None:
    """Weights [n], finite and not negative, with a positive sum; None for equal ones."""
    if weights is None:
        return None
    try:
        w = np.asarray(weights, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"sample_weight: {error}; allowed are finite numbers from 0 up, one per row") from None
    if w.shape != (n,):
        raise DataError(f"sample_weight has shape {w.shape}; expected ({n},), one weight per row")
    wrong = np.flatnonzero(~(np.isfinite(w) & (w >= 0)))
    if len(wrong):
        raise DataError(f"sample_weight of row {wrong[0]} is {w[wrong[0]]}; allowed are finite numbers from 0 up")
    if not w.sum() > 0:
        raise DataError("sample_weight sums to zero: every weight is zero; at least one row needs a positive weight")
    return w


def fit_table(
    table: Table,
    weights: np.ndarray | None,
    config: Config,
    calibrate: float = 0.0,
    report: Callable[[Epoch], None] | None = None,
    role_seed: int | None = None,
    keep: Keep | None = None,
) -> Fitted:
    """Fit a model to a table's training rows.

    Args:
        table: n rows.
        weights: [n] or None; a row of weight 0 plays no part.
        config: settings, widths possibly left open.
        calibrate: share of rows kept away from everything here.
        report: called after each epoch.
        role_seed: seed of the roles; None for the config's.
        keep: the fit's checkpoint, if it has one.

    Raises:
        CheckpointError: the checkpoint to resume from is damaged, or another fit's.
        DataError: fewer than two rows, an infinite cell, columns that cannot be used.
    """
    started = time.perf_counter()
    used = np.arange(len(table)) if weights is None else np.flatnonzero(weights > 0)
    if len(used) < 2:
        raise DataError(f"Found {len(used)} sample(s) to fit (n_samples={len(used)}); at least 2 rows are needed")
    refuse_infinite(table, used)
    seed = config.random_state if role_seed is None else role_seed
    roles = assign_roles(len(used), seed, config.stop_fraction, calibrate=calibrate)
    by_role = {name: used[roles == k] for k, name in enumerate(ROLES)}
    train, stop = by_role["train"], by_role["stop"]
    if len(train) < 1:
        raise DataError(f"no training rows are left of {len(used)}; lower stop_fraction = {config.stop_fraction}")
    check_words(table, config.kinds or {})
    schema = infer_schema(table.values[train], table.names, table.dtypes, config, table.levels, table.shape)
    table = matched(table, schema, "the model")
    values = table.values[train]
    w_train = None if weights is None else weights[train]
    encoding = fit_encoding(values, schema, w_train, config)
    varying = sum(c.kind != "constant" for c in schema.columns)
    model = Model(resolve(config, varying, encoding.width, encoding.shape), encoding)
    w_stop = None if weights is None else weights[stop]
    hashes = hash_rows(table.values[used])
    counts = {name: len(rows) for name, rows in by_role.items()}
    told = roles_card(seed, len(used), config, calibrate, counts, fingerprint(hashes))
    checkpoint = checkpoint_of(keep, model, told, weights, values=table.values)
    parts = [rows_of(encoding, values, w_train, train), rows_of(encoding, table.values[stop], w_stop, stop)]
    history = fit(model, parts[0], parts[1], report, checkpoint)
    known = hashes[is_seen(roles)]
    return Fitted(
        model=model,
        history=[dataclasses.asdict(e) for e in history],
        roles=told,
        training={"seconds": seconds_of(started, checkpoint), "device": config.device, "versions": versions()},
        row_hashes=np.sort(known) if len(known) <= MOST_HASHES else None,
        suspects=suspects_among(model, parts, [train, stop]),
        kept=kept_rows(model.encoding, values, w_train, seed),
    )


def kept_rows(encoding: Encoding, values: np.ndarray, weights: np.ndarray | None, seed: int) -> np.ndarray | None:
    """A random choice of training rows [n, C], by their weights, that can be scored; None if there is none."""
    most = max(100, min(MOST_KEPT, KEPT_BYTES // max(1, values.shape[1] * values.itemsize)))
    rng = np.random.default_rng(seed)
    if weights is None:
        at = rng.permutation(len(values))[:most]
    else:
        at = rng.choice(len(values), min(most, len(values)), p=weights / weights.sum())
    rows = np.require(values[np.sort(at)], requirements=("C", "W"))
    bad = encoding.encode(torch.from_numpy(rows)).bad
    rows = rows if bad is None else rows[~bad.numpy()]
    return rows if len(rows) else None


def roles_card(
    seed: int, rows: int, config: Config, calibrate: float, counts: dict[str, int], fingerprint: str
) -> dict[str, Any]:
    """What the model file says of the parts that rows played."""
    return {
        "seed": seed,
        "rows": rows,
        "stop": config.stop_fraction,
        "calibrate": calibrate,
        "combine": 0.0,
        "counts": counts,
        "fingerprint": fingerprint,
    }


def checkpoint_of(
    keep: Keep | None,
    model: Model,
    roles: dict[str, Any],
    weights: np.ndarray | None,
    buckets: int = 0,
    values: np.ndarray | None = None,
) -> Checkpoint | None:
    """The fit's checkpoint, which knows what a file must agree on to be this fit's.

    Args:
        buckets: of the cache that rows come from; they come in another order than from memory.
        values: the table, where it is in memory.
    """
    if keep is None:
        return None
    # The fingerprint sees single precision; scaling and schema, or the table itself, see the rest.
    encoding = json.dumps(model.encoding.to_json(), sort_keys=True)
    own = own_network_card(model.network)
    identity = {
        "versions": {name: version for name, version in versions().items() if name != "python"},
        "columns": model.encoding.schema.names,
        "config": model.config.to_json(),
        "own_network": None if own is None else own.sha256,
        "roles": {name: roles[name] for name in ("seed", "stop", "calibrate", "combine")},
        "rows": roles["rows"],
        "table": roles["fingerprint"],
        "values": None if values is None else _digest(np.ascontiguousarray(values).data),
        "weights": None if weights is None else _digest(weights.tobytes()),
        "encoding": _digest(encoding.encode()),
    }
    if buckets:
        identity["buckets"] = buckets
    return Checkpoint(keep.path, identity, keep.resume)


def seconds_of(started: float, checkpoint: Checkpoint | None) -> float:
    """How long the fit has taken, whatever a checkpoint brought along included."""
    return time.perf_counter() - started + (checkpoint.brought if checkpoint else 0.0)


def _digest(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def refuse_infinite(table: Table, used: np.ndarray) -> None:
    for start in range(0, len(used), 65_536):
        rows = used[start : start + 65_536]
        infinite = np.isinf(table.values[rows])
        if infinite.any():
            at, column = np.argwhere(infinite)[0]
            row = int(rows[at])
            raise DataError(
                f"row {row}, column {table.names[column]!r}: {table.values[row, column]} (infinity) "
                "cannot be fitted; replace it by NaN for a missing cell, or leave the row out"
            )


def rows_of(encoding: Encoding, values: np.ndarray, weights: np.ndarray | None, at: np.ndarray) -> Rows:
    """Encode in chunks, clip, and refuse what overflows."""
    parts = []
    for start in range(0, max(len(values), 1), 65_536):
        part = encoding.encode(torch.from_numpy(np.ascontiguousarray(values[start : start + 65_536])))
        if part.bad is not None:
            reasons = encoding.flags(values[start : start + 65_536])
            for i, reason in enumerate(reasons):
                if reason and "missing" not in reason:
                    raise DataError(f"row {at[start + i]} cannot be fitted: {reason}; mend it or leave the row out")
        parts.append(part.clipped(encoding.clip))
    joined = _join(parts, len(encoding.cells))
    w = None
    if weights is not None:
        w = torch.from_numpy((weights / (weights.mean() if len(weights) else 1.0)).astype(np.float32))
    return Rows(dataclasses.replace(joined, missing=None, bad=None, changed=None), w)


def _join(parts: list[Encoded], cells: int) -> Encoded:
    if len(parts) == 1:
        return parts[0]
    present = None
    if any(p.present is not None for p in parts):
        present = torch.cat(
            [torch.ones(len(p), cells, dtype=torch.bool) if p.present is None else p.present for p in parts]
        )
    return Encoded(torch.cat([p.x for p in parts]), present)


def versions() -> dict[str, str]:
    from diabolo import __version__

    return {
        "diabolo": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
    }
