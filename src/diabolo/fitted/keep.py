"""The checkpoint of a running fit: its path, and the facts that tell this fit from others."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from pathlib import Path

import numpy as np

from diabolo.data.roles import GivenRoles
from diabolo.errors import ConfigError
from diabolo.fitted.record import Roles
from diabolo.model.autoencoder import Model
from diabolo.model.permission import own_network_card, own_part_cards
from diabolo.train.checkpoint import Checkpoint
from diabolo.version import versions
from diabolo.world import ALONE, World

__all__ = ["Keep", "checkpoint_of", "keep_of", "seconds_of"]


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


def checkpoint_of(
    keep: Keep | None,
    model: Model,
    roles: Roles,
    weights: np.ndarray | None,
    buckets: int = 0,
    values: np.ndarray | None = None,
    given: GivenRoles | None = None,
    world: World = ALONE,
) -> Checkpoint | None:
    """The fit's checkpoint, with the facts in which a file of the same fit agrees.

    Args:
        buckets: number of buckets of the cache; rows come from there in another order than from memory.
        values: the table, where it is in memory.
        given: the roles, where positions do not tell them.
        world: the processes that fit together; rank 0 keeps the file for all, and another number of them is another
            fit, whose sums have other last bits.
    """
    if keep is None:
        return None
    # The fingerprint is of single precision; scaling and schema, or the table itself, cover the other digits.
    encoding = json.dumps(model.encoding.to_json(), sort_keys=True)
    own, parts = own_network_card(model), own_part_cards(model)
    identity = {
        "versions": {name: version for name, version in versions().items() if name != "python"},
        "columns": model.encoding.schema.names,
        "config": model.config.to_json(),
        "own_network": None if own is None else own.sha256,
        "roles": {name: getattr(roles, name) for name in ("seed", "stop", "calibrate", "combine")},
        "rows": roles.rows,
        "table": roles.fingerprint,
        "values": None if values is None else _digest(np.ascontiguousarray(values).data),
        "weights": None if weights is None else _digest(weights.tobytes()),
        "encoding": _digest(encoding.encode()),
    }
    if parts:
        identity["own_parts"] = [p.sha256 for p in parts]
    if given is not None:
        identity["split"] = [roles.split, _digest(given.roles.tobytes())]
    if buckets:
        identity["buckets"] = buckets
    if world.size > 1:
        identity["world"] = world.size
    return Checkpoint(keep.path, identity, keep.resume, writes=world.leads)


def seconds_of(started: float, checkpoint: Checkpoint | None) -> float:
    """Seconds that the fit has taken, those before a resumption included."""
    return time.perf_counter() - started + (checkpoint.brought if checkpoint else 0.0)


def _digest(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
