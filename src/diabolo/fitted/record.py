"""The record of a fit: the model, the roles of its rows, its history, and the rows that are kept."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from annotated_types import Ge

from diabolo.cards import Count
from diabolo.data.dtypes import mean_type
from diabolo.data.encoding import Encoding
from diabolo.data.formats import shape_metadata
from diabolo.data.roles import ROLES, GivenRoles, RoleRule
from diabolo.data.table import Container, TableOut, from_values
from diabolo.data.types import Types
from diabolo.model.autoencoder import Model
from diabolo.train.online import Pace
from diabolo.train.robust import Suspects, belonging
from diabolo.version import versions

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Apart", "Fitted", "Input", "Roles", "Training", "most_kept", "scorable"]

#: Rows kept at most. Neighbours cost R · D multiply-adds per row scored: with 20,000 rows of some 20 columns a core
#: still scores tens of thousands of rows a second, and the file grows by a few MB.
MOST_KEPT = 20_000
#: Bytes of them at most, which wide rows (images) reach first; at least 1,000 rows are kept whatever they take.
KEPT_BYTES = 32 << 20
FEWEST_KEPT = 1_000
#: The same for rows that new ones are drawn from.
MOST_DRAWN, DRAWN_BYTES, FEWEST_DRAWN = 20_000, 16 << 20, 100


@dataclasses.dataclass(frozen=True)
class Roles:
    """The role of each row of the table in the fit, as a rule of few numbers."""

    seed: Count
    rows: Count
    stop: Annotated[float, Ge(0)]
    calibrate: Annotated[float, Ge(0)]
    counts: dict[str, Count]
    fingerprint: str
    combine: Annotated[float, Ge(0)] = 0.0
    split: str = "position"  #: `diabolo.data.split.Split.name`

    @property
    def rule(self) -> RoleRule:
        return RoleRule(self.rows, self.seed, self.stop, self.combine, self.calibrate)

    def tells(self, fingerprint: str) -> bool:
        """Whether `of` gives the roles of the table of that fingerprint: that of the fit, split by positions."""
        return self.split == "position" and self.fingerprint == fingerprint

    def of(self, positions: np.ndarray | None = None) -> np.ndarray:
        """Positions in `ROLES` of all rows of the table, or of those at some positions, [n] int8."""
        every = self.rule.of(0, self.rows)
        return every if positions is None else np.asarray(every[positions])

    def calibrates(self, positions: np.ndarray | None = None) -> np.ndarray:
        """Whether rows of the table were kept away from all that was learnt, [n] bool."""
        return np.asarray(self.of(positions) == ROLES.index("calibrate"))


@dataclasses.dataclass
class Training:
    """How long a fit took, on which device and by which versions."""

    device: str
    seconds: float = 0.0
    versions: dict[str, str] = dataclasses.field(default_factory=versions)


@dataclasses.dataclass(frozen=True)
class Input:
    """The container that a fit was given, whether its columns had names, and what their type names do not tell."""

    container: Container
    named: bool
    types: Types = dataclasses.field(default_factory=Types)


@dataclasses.dataclass
class Fitted:
    """A fitted autoencoder.

    Attributes:
        row_hashes: sorted hashes of the rows trained or stopped on; None where there are too many.
        suspects: training and stop rows that look out of place; None where no table was in memory.
        kept: rows trained or stopped on [R, C], in the schema's order and levels, each of which can be scored.
        drawn: positions in `kept` of the rows that new ones are drawn from, by their weights.
        pace: state of `partial_fit` between two calls.
        assigned: the roles of the fit's rows where positions do not tell them; not kept in a file.
        limit: loss from which on rows do not belong, of a robust fit; not kept in a file.
    """

    model: Model
    history: list[dict[str, Any]]
    roles: Roles
    training: Training
    input: Input
    row_hashes: np.ndarray | None
    suspects: Suspects | None = None
    kept: np.ndarray | None = None
    drawn: np.ndarray | None = None
    pace: Pace | None = None
    assigned: GivenRoles | None = None
    limit: float | None = None

    @property
    def source_rows(self) -> np.ndarray | None:
        """The rows that new ones are drawn from, [m, C]."""
        return None if self.kept is None or self.drawn is None else self.kept[self.drawn]

    def like_fit(self, cells: np.ndarray, mean: bool = False, container: Container | None = None) -> TableOut:
        """Cells [n, C] in the container and types that the fit was given.

        Args:
            cells: in the schema's order and levels.
            mean: whether they are means, which of whole numbers are none.
            container: another container.
        """
        schema, types = self.model.encoding.schema, self.input.types
        dtypes = [mean_type(c.dtype) if mean else c.dtype for c in schema.columns]
        container, shape = container or self.input.container, schema.row_shape
        types = types.of_means if mean else types
        return from_values(
            cells, schema.names, dtypes, container, schema.levels, shape if container == "numpy" else None, types
        )

    def arrow_like_fit(self, mean: bool) -> tuple[pa.Schema, Callable[[np.ndarray], list[pa.Array]]]:
        """The Arrow schema of such rows, and what makes the columns of cells [n, C]; see `like_fit`."""
        table: Any = self.like_fit(np.empty((0, len(self.model.encoding.schema.columns))), mean, "arrow")
        shape = shape_metadata(self.model.encoding.schema.row_shape)
        schema = table.schema if shape is None else table.schema.with_metadata(shape)

        def columns(cells: np.ndarray) -> list[pa.Array]:
            made: Any = self.like_fit(cells, mean, "arrow")
            return [c.combine_chunks().cast(f.type) for c, f in zip(made.columns, schema, strict=True)]

        return schema, columns

    def copied(self) -> Fitted:
        """The same with a model of its own, to step on while this one stays as it is."""
        model = copy.deepcopy(self.model, {id(self.model.encoding): self.model.encoding})
        return dataclasses.replace(
            self, model=model, history=[*self.history], training=dataclasses.replace(self.training)
        )

    def belongs(self, values: np.ndarray) -> np.ndarray:
        """Which rows [n, C] a robust fit takes for normal ones, [n] bool; all of them after any other fit."""
        return belonging(self.model, values, self.limit)

    def keep(self, values: np.ndarray, weights: np.ndarray | None) -> None:
        """Keep rows [R, C] that were trained or stopped on, those that can be scored and belong."""
        good = scorable(self.model.encoding, values) & self.belongs(values)
        values = np.require(values[good], requirements=("C", "W"))
        if not len(values):
            return
        most = max(FEWEST_DRAWN, min(MOST_DRAWN, DRAWN_BYTES // max(1, values.shape[1] * values.itemsize)))
        rng = np.random.default_rng(self.roles.seed)
        if weights is None:
            at = rng.permutation(len(values))[:most]
        else:
            share = weights[good]
            at = rng.choice(len(values), min(most, len(values)), p=share / share.sum())
        self.kept, self.drawn = values, np.sort(at)


@dataclasses.dataclass
class Apart:
    """Rows [·, C] that a fit hands to a detector, in the schema's order and levels; the parts share no row.

    `calibrate_groups` [·] are the groups that the calibration rows come in; `split` parted them from the stored ones.
    """

    stored: np.ndarray
    calibrate: np.ndarray
    calibrate_weights: np.ndarray | None = None
    calibrate_groups: np.ndarray | None = None
    split: str = "position"


def most_kept(columns: int, itemsize: int) -> int:
    """Number of rows kept, by the cells of a row.

    >>> most_kept(21, 8), most_kept(784, 4)
    (20000, 10699)
    """
    return max(FEWEST_KEPT, min(MOST_KEPT, KEPT_BYTES // max(1, columns * itemsize)))


def scorable(encoding: Encoding, values: np.ndarray) -> np.ndarray:
    """Which of the rows [n, C] can be scored, [n] bool."""
    bad = encoding.encode(torch.from_numpy(np.require(values, requirements=("C", "W")))).bad if len(values) else None
    return np.ones(len(values), bool) if bad is None else ~bad.numpy()
