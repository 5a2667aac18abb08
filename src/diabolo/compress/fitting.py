"""What a compressor learns of a table: bounds by column, grids, and the network that predicts cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diabolo.compress.columns import is_float, leaf
from diabolo.compress.grid import Bound
from diabolo.compress.learning import fit_autoregressive
from diabolo.compress.learning_images import fit_images
from diabolo.compress.nested import Nest
from diabolo.compress.pixels import pixel_columns, pixels_of
from diabolo.compress.plan import Plan
from diabolo.compress.planning import cells_of_plan, make_plan
from diabolo.compress.stream import rechunked
from diabolo.errors import ConfigError, nearest

__all__ = ["bounds_of", "learned_plan"]


def learned_plan(table: Any, bounds: list[Bound | None], seed: int, epochs: int | None = None) -> Plan:
    """Grids, slots, and the autoencoder of images or the autoregressive network, for tables like this one."""

    batch = next(rechunked(table.to_batches(), table.schema, max(1, table.num_rows)))
    plan = make_plan(batch, bounds)
    there = pixel_columns(plan.schema)
    images = None if there is None else pixels_of(plan.nest.split(batch), there[1])
    if there is not None and images is not None:
        plan.images = fit_images(images, there[0], seed, epochs)
    if plan.images is None:
        plan.autoregressive = fit_autoregressive(plan, cells_of_plan(plan, batch), batch.num_rows, seed)
    return plan


def bounds_of(schema: Any, max_error: Any, column_error: Mapping[str, Any] | None) -> list[Bound | None]:
    """The bound of each flat column of a schema; None where it has none or holds no floats, in lists or not."""
    flat = Nest(schema).flat
    default = None if max_error is None else Bound.parse(max_error)
    said = {n: None if e is None else Bound.parse(e) for n, e in (column_error or {}).items()}
    for name in said:
        if name not in flat.names:
            floats = [f.name for f in flat if is_float(leaf(f.type))]
            raise ConfigError(f"column error of {name!r}: {nearest(name, floats)}")
        if not is_float(leaf(flat.field(name).type)):
            raise ConfigError(f"column error of {name!r}, which holds {flat.field(name).type}: allowed are floats")
    return [said.get(f.name, default) if is_float(leaf(f.type)) else None for f in flat]
