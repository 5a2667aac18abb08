"""Everything that a report shows: a model, rows, and the figures of both, each computed once."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np
import torch

from diabolo.cluster.stability import most_likely
from diabolo.data.hashing import hash_rows
from diabolo.data.roles import ROLES
from diabolo.data.slots import filled
from diabolo.detect.choice import density, score_of
from diabolo.detect.reference import Reference
from diabolo.detect.scoring import score_table
from diabolo.errors import DataError
from diabolo.report.space import Pass, PrincipalComponents, Space, explained_variance, pass_rows, principal_components

if TYPE_CHECKING:
    from diabolo.cluster.clusters import Clusters
    from diabolo.data.formats import Data
    from diabolo.data.schema import Schema
    from diabolo.detect.calibrated import Calibrated
    from diabolo.file.model_file import ModelFile
    from diabolo.fitted.record import Fitted
    from diabolo.generate.methods import Sampler

__all__ = ["Evidence", "Given", "ReportRows", "most_scored", "share", "spaced"]

#: Rows scored, looked at column by column, compared by size, and drawn on the map, at most.
MOST_SCORED, MOST_LOOKED, MOST_COMPARED, MOST_MAPPED = 100_000, 10_000, 3_000, 3_000
#: Rows scored with a costly score, at most.
FEWER_SCORED = 40_000
#: Cells (rows × columns) looked at, at most, which images reach first.
MOST_CELLS = 6_000_000


@dataclasses.dataclass
class Given:
    """The model: its autoencoder and, where there are any, its detector, its clusters and its file."""

    name: str
    estimator: str  #: name of the autoencoder's class
    fitted: Fitted
    sampler: Sampler
    detector: Calibrated | None
    clusters: Clusters | None = None
    file: ModelFile | None = None


@dataclasses.dataclass
class ReportRows:
    """Rows of the table, perhaps a uniform sample of them."""

    name: str
    values: np.ndarray  #: [n, C] in the schema's order
    positions: np.ndarray  #: [n] row numbers in the table
    total: int  #: rows of the table
    fingerprint: str
    label: str | None = None
    truth: np.ndarray | None = None  #: [n] cells of the label's column, as text
    source: Data | None = None  #: the dataset, which the codec reads again


def most_scored(given: Given) -> int:
    """Number of rows scored: as many as take some seconds."""
    name = density(given.fitted.model) if given.detector is None else given.detector.score_name
    return FEWER_SCORED if score_of(name).costly else MOST_SCORED


def spaced(n: int, most: int) -> np.ndarray:
    """At most so many of n positions, evenly spaced."""
    return np.arange(n) if n <= most else np.unique(np.linspace(0, n - 1, most).astype(np.int64))


class Evidence:
    """Everything that sections and alarms read; a property is computed when it is first asked for."""

    def __init__(self, given: Given, rows: ReportRows, seed: int = 0, refits: bool | None = None) -> None:
        self.given, self.rows, self.seed, self.refits = given, rows, seed, refits
        self.fitted, self.detector = given.fitted, given.detector
        self.model, self.config = given.fitted.model, given.fitted.model.config
        self.encoding = self.model.encoding
        self.space = Space(self.model)

    @property
    def schema(self) -> Schema:
        return self.encoding.schema

    @property
    def is_image(self) -> bool:
        return self.schema.shape is not None

    # ── rows and roles ────────────────────────────────────────────────────────────────────────────

    @functools.cached_property
    def same_table(self) -> bool:
        """Whether the rows are those of the very table that the model was fitted to."""
        return bool(self.rows.fingerprint == self.fitted.roles.fingerprint)

    @functools.cached_property
    def roles(self) -> np.ndarray | None:
        """[n] positions in `ROLES` if the table is the one of the fit, and positions tell them."""
        if not self.fitted.roles.tells(self.rows.fingerprint):
            return None
        return self.fitted.roles.of(self.rows.positions)

    @functools.cached_property
    def seen(self) -> np.ndarray | None:
        """[n] bool: rows that the model was trained or stopped on; None where its file does not tell."""
        if self.roles is not None:
            return np.asarray(self.roles <= ROLES.index("stop"))
        known = self.fitted.row_hashes
        return None if known is None else np.isin(hash_rows(self.rows.values), known)

    @functools.cached_property
    def judged(self) -> np.ndarray:
        """[n] bool: rows that stand for new ones: not trained on, stored or combined on."""
        if self.roles is not None:
            fresh = self.roles == ROLES.index("calibrate")
            return fresh if fresh.any() else np.ones(len(fresh), bool)
        fresh = np.ones(len(self.rows.values), bool) if self.seen is None else ~self.seen
        return fresh if fresh.any() else np.ones(len(fresh), bool)

    # ── scores ────────────────────────────────────────────────────────────────────────────────────

    @functools.cached_property
    def reference(self) -> Reference:
        return Reference(self.model) if self.detector is None else self.detector.reference

    @functools.cached_property
    def score_name(self) -> str:
        return density(self.model) if self.detector is None else self.detector.score_name

    @functools.cached_property
    def scores(self) -> np.ndarray:
        """[n] float64; +inf for a row that cannot be scored.

        Raises:
            DataError: none can.
        """
        found = score_table(self.reference, self.rows.values, [self.score_name])[self.score_name]
        if not np.isfinite(found).any():
            why = next((f for f in self.encoding.flags(self.rows.values[:1]) if f), "the score overflows")
            raise DataError(f"{self.rows.name}: no row can be scored, the first for this reason: {why}; mend the cells")
        return found

    @functools.cached_property
    def p_values(self) -> np.ndarray | None:
        return None if self.detector is None else self.detector.p_values(self.scores)

    @functools.cached_property
    def flagged(self) -> np.ndarray | None:
        """[n] bool: anomalies at the detector's rate."""
        if self.detector is None:
            return None
        return np.asarray((self.scores > self.detector.threshold) | ~np.isfinite(self.scores))

    @functools.cached_property
    def worst(self) -> np.ndarray:
        """Positions of rows by falling score, those that cannot be scored first."""
        return np.argsort(-self.scores, kind="stable")

    # ── a closer look at fewer rows ───────────────────────────────────────────────────────────────

    @functools.cached_property
    def looked(self) -> np.ndarray:
        """Positions of rows that are passed through the model: judged ones that can be scored, evenly spaced."""
        usable = np.flatnonzero(self.judged & np.isfinite(self.scores))
        if not len(usable):
            usable = np.flatnonzero(np.isfinite(self.scores))
        most = max(200, min(MOST_LOOKED, MOST_CELLS // max(1, self.rows.values.shape[1])))
        return np.asarray(usable[spaced(len(usable), most)])

    @functools.cached_property
    def passed(self) -> Pass:
        return pass_rows(self.model, self.rows.values[self.looked])

    @functools.cached_property
    def explained(self) -> np.ndarray:
        """[C] share of each column's variance that reconstruction explains, NaN for a constant."""
        return self._explained[0]

    @functools.cached_property
    def _explained(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        p = self.passed
        return explained_variance(p.x, p.x_hat, p.there, self.space.column, len(self.schema.names))

    @functools.cached_property
    def overall(self) -> float:
        """Share of the variance of all columns together, standardised, that reconstruction explains."""
        return share(self._explained)

    @functools.cached_property
    def units(self) -> list[list[int]]:
        """Columns that are changed together: the cells of one object, else each column by itself."""
        objects = [list(slot) for g in self.schema.groups for slot in g.slots]
        taken = {c for unit in objects for c in unit}
        constant = set(self.encoding.constant)
        return [*objects, *([c] for c in range(len(self.schema.names)) if c not in taken | constant)]

    @functools.cached_property
    def compared(self) -> np.ndarray:
        """Positions of at most 3,000 of the rows looked at, which sizes and checks are compared on."""
        return np.asarray(self.looked[spaced(len(self.looked), MOST_COMPARED)])

    @functools.cached_property
    def _unit_of(self) -> np.ndarray:
        """[C] the unit of each column, the number of units for a constant."""
        out = np.full(len(self.schema.names), len(self.units))
        for i, unit in enumerate(self.units):
            out[unit] = i
        return out

    @functools.cached_property
    def damaged(self) -> np.ndarray:
        """[n, C]: the rows compared, one column in eight, at least one, taken from another row."""
        rng, many = np.random.default_rng([self.seed, 1]), len(self.units)
        values = self.rows.values[self.compared]
        chosen = rng.random((len(values), many)).argsort(axis=1) < max(1, round(many / 8))
        return self._mixed(values, rng.integers(0, len(values), (len(values), many)), chosen)

    @functools.cached_property
    def shuffled(self) -> np.ndarray:
        """[n, C]: the rows compared, each column (each object) in an order of its own: the columns' laws alone."""
        rng, many = np.random.default_rng([self.seed, 2]), len(self.units)
        values = self.rows.values[self.compared]
        order = np.tile(np.arange(len(values))[:, None], (1, many))
        return self._mixed(values, rng.permuted(order, axis=0), np.ones(order.shape, bool))

    def _mixed(self, values: np.ndarray, donors: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Rows [n, C] with the chosen units [n, units] of the donors [n, units]; constants stay."""
        none = np.zeros((len(values), 1), int)
        at = np.concatenate([donors, none], axis=1)[:, self._unit_of]
        where = np.concatenate([chosen, none.astype(bool)], axis=1)[:, self._unit_of]
        return np.where(where, np.take_along_axis(values, at, axis=0), values)

    @functools.cached_property
    def training_values(self) -> tuple[np.ndarray, str]:
        """Rows that principal components are fitted to, and their description."""
        most = max(500, int(1e10 / max(1, self.space.width) ** 2))
        if self.roles is not None:
            at = np.flatnonzero((self.roles == 0) & np.isfinite(self.scores))
            if len(at) > self.space.width:
                return self.rows.values[at[spaced(len(at), most)]], "training rows"
        stored = self.reference.stored
        if stored is not None and len(stored) > self.space.width:
            return stored.values[:most].astype(self.rows.values.dtype), "training rows kept in the file"
        return self.rows.values[self.looked[::2]], "half of the rows looked at"

    @functools.cached_property
    def components(self) -> PrincipalComponents:
        """Principal components of the network's inputs, of rows that the model was trained on where there are any."""
        values = np.ascontiguousarray(self.training_values[0])
        parts = []
        with torch.inference_mode():
            for start in range(0, len(values), 4096):
                rows = self.encoding.encode(torch.from_numpy(values[start : start + 4096]))
                x = rows.clipped(self.encoding.clip).x
                parts.append((x if rows.bad is None else x[~rows.bad]).numpy())
        return principal_components(np.concatenate(parts), 64)

    # ── the map ───────────────────────────────────────────────────────────────────────────────────

    @functools.cached_property
    def mapped(self) -> np.ndarray:
        """Positions of rows on the map: the most anomalous ones, and others evenly spaced; in the table's order."""
        good = np.flatnonzero(np.isfinite(self.scores))
        most = MOST_MAPPED if not self.is_image else min(MOST_MAPPED, max(300, 1_200_000 // len(self.schema.names)))
        first = self.worst[np.isfinite(self.scores[self.worst])][: most // 10]
        return np.union1d(first, good[spaced(len(good), most - len(first))])

    @functools.cached_property
    def clusters(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Cluster and confidence of each mapped row, where the file has clusters."""
        found = self.given.clusters
        if found is None or found.n_clusters < 2:
            return None
        return most_likely(found.proba(self.model, self.rows.values[self.mapped]))

    @functools.cached_property
    def mapped_pass(self) -> Pass:
        return pass_rows(self.model, self.rows.values[self.mapped])

    def present(self, values: np.ndarray) -> np.ndarray:
        """[n, C] bool: cells that are there."""
        return np.asarray(filled(values, self.schema.groups) & np.isfinite(values))


def share(sums: tuple[np.ndarray, np.ndarray, np.ndarray]) -> float:
    """Of the sums of `explained_variance`: the share of all columns together."""
    _, error, variance = sums
    whole = variance.sum()
    return float(1 - error.sum() / whole) if whole > 0 else float("nan")
