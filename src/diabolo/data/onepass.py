"""What one pass over a stream learns and keeps: training rows in buckets, the others and a sample in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from diabolo.config import Config
from diabolo.data.cache import Buckets
from diabolo.data.dtypes import TEXT
from diabolo.data.hashing import Fingerprint, hash_rows
from diabolo.data.matching import infinite_cell
from diabolo.data.roles import ROLES, RoleRule, bucket_of, is_seen
from diabolo.data.schema import MOST_LEVELS, Summary, check_names, summarise
from diabolo.data.slots import slot_groups
from diabolo.data.stream import Chunk, Stream
from diabolo.data.words import with_all_words
from diabolo.errors import ColumnsError, DataError
from diabolo.world import ALONE, World

__all__ = ["OnePass", "Part", "Recognizer", "sample_rows"]

#: Kinds of row that stay in memory.
KEPT = ("stop", "combine", "calibrate", "sample", "stored")
#: Training rows, and bytes of them, that tell resolution, quartiles and scale.
SAMPLE_ROWS, SAMPLE_BYTES = 200_000, 64 * 2**20


def sample_rows(columns: int, itemsize: int) -> int:
    """How many training rows stay in memory as a sample of all."""
    return max(20_000, min(SAMPLE_ROWS, SAMPLE_BYTES // max(1, columns * itemsize)))


@dataclasses.dataclass
class Part:
    """Rows of one role: values, weights, and their numbers in the dataset."""

    values: np.ndarray
    weights: np.ndarray | None
    at: np.ndarray


class _Keeper:
    """Collects rows of one kind over the chunks."""

    def __init__(self, empty: np.ndarray, weighted: bool) -> None:
        self.values, self.at = [empty], [np.empty(0, np.int64)]
        self.weights = [np.empty(0)] if weighted else None

    def add(self, chunk: Chunk, chosen: np.ndarray) -> None:
        self.values.append(chunk.values[chosen])
        self.at.append(chunk.numbers[chosen])
        if self.weights is not None and chunk.weights is not None:
            self.weights.append(chunk.weights[chosen])

    def part(self) -> Part:
        weights = None if self.weights is None else np.concatenate(self.weights)
        return Part(np.concatenate(self.values), weights, np.concatenate(self.at))


class Recognizer:
    """What a file keeps to recognize rows by: the fingerprint of all, the hashes of those trained or stopped on.

    Args:
        counts: rows by role.
        most: no hashes are kept of more rows than this.
    """

    def __init__(self, counts: dict[str, int], most: int) -> None:
        self.fingerprint = Fingerprint()
        self._known: list[np.ndarray] | None = [] if counts["train"] + counts["stop"] <= most else None

    def add(self, values: np.ndarray, roles: np.ndarray, at: int) -> None:
        """Rows from place `at` on, as the schema wants them, with their roles."""
        hashes = hash_rows(values)
        self.fingerprint.add(hashes, at)
        if self._known is not None:
            self._known.append(hashes[is_seen(roles)])

    def merge(self, world: World) -> None:
        """Take in what processes with the other rows have added."""
        self.fingerprint.join(*world.texts(str(self.fingerprint)))
        if self._known is not None:
            self._known = [world.joined(np.concatenate([np.empty(0, np.uint64), *self._known]))]

    @property
    def known(self) -> np.ndarray | None:
        """Sorted hashes."""
        return None if self._known is None else np.sort(np.concatenate([np.empty(0, np.uint64), *self._known]))


class OnePass:
    """Reads a stream once, row after row.

    Training rows go to `buckets`. `stop`, `combine`, `calibrate`, `sample` and `stored` are kept; missing shares,
    lowest and highest values, gaps in slots and levels of categories are those of all training rows.

    Args:
        stream: the dataset.
        rule: role of each row.
        buckets: where training rows go.
        config: settings of the fit.
        most_hashes: no hashes are kept of more rows than this.
        most_stored: how many training and stop rows are kept as `stored`.
        world: processes that share the rows. All of them then know what one alone would: rows, sums and levels are
            put together in the order of the dataset.
    """

    def __init__(
        self,
        stream: Stream,
        rule: RoleRule,
        buckets: Buckets,
        config: Config,
        most_hashes: int,
        most_stored: int = 0,
        world: World = ALONE,
    ) -> None:
        #: The dataset without its rows; `head` of all processes has the words that any of them has met.
        self.head = head = stream.head
        self.world = world
        self.stream, self.rule, self.buckets, self.config = stream, rule, buckets, config
        check_names(head.names, config)  # before the data are read, not after
        self.groups = slot_groups(head.values, head.names, config)
        self._belongs = rule.sample(sample_rows(len(head.names), head.values.itemsize))
        self._is_stored = rule.stored(most_stored)
        self._keepers = {k: _Keeper(head.values, stream.weighted) for k in KEPT}
        self._levels = [head.values]
        c = len(head.names)
        self._missing, self._low, self._high = np.zeros(c), np.full(c, np.inf), np.full(c, -np.inf)
        self._gaps = np.zeros(len(self.groups))
        kinds = config.kinds or {}
        self.categories = [
            i
            for i, (name, dtype) in enumerate(zip(head.names, head.dtypes, strict=True))
            if dtype in TEXT or kinds.get(name) == "categorical"
        ]
        self._seen: dict[int, np.ndarray] = {i: np.empty(0) for i in self.categories}
        self.weight = 0.0
        self.recognizer = Recognizer(rule.counts, most_hashes)

    def run(self, report: Callable[[int], None] | None = None) -> None:
        """Do it; `report` gets the number of rows that were just read."""
        rows = 0
        for chunk in self.stream.read():
            self._add(chunk)
            rows += len(chunk.values)
            if report:
                report(chunk.read)
        self.buckets.close()
        parts = [self._keepers.pop(k).part() for k in KEPT]
        if self.world.size > 1:
            rows, parts = self._merged(rows, parts)
        self.stop, self.combine, self.calibrate, self.sample, self.stored = parts
        if rows != self.stream.used:
            raise DataError(f"the dataset has changed: {rows:,} rows were read of {self.stream.used:,} counted before")

    def _add(self, chunk: Chunk) -> None:
        at, end = chunk.at, chunk.at + len(chunk.values)
        self._refuse_infinite(chunk)
        roles = self.rule.of(at, end)
        for name in ("stop", "combine", "calibrate"):
            self._keepers[name].add(chunk, roles == ROLES.index(name))
        self._keepers["sample"].add(chunk, self._belongs(at, end))
        self._keepers["stored"].add(chunk, self._is_stored(at, end))
        if not self.categories:
            self.recognizer.add(chunk.values, roles, at)
        train = roles == ROLES.index("train")
        bucket = bucket_of(at, end, self.rule.seed, len(self.buckets))[train]
        values = chunk.values[train]
        weights = None if chunk.weights is None else chunk.weights[train]
        self._levels.append(values[self._new_levels(values)])
        self._summarise(values)
        if weights is not None:
            self.weight += float(weights.sum())
        self.buckets.add(values, weights, bucket)

    def _refuse_infinite(self, chunk: Chunk) -> None:
        infinite = np.isinf(chunk.values)
        if infinite.any():
            row, column = np.argwhere(infinite)[0]
            head, cell = self.stream.head, float(chunk.values[row, column])
            cells = chunk.values[:, column]
            raise infinite_cell(int(chunk.numbers[row]), head.names[column], cell, head.dialect, cells)

    def _summarise(self, values: np.ndarray) -> None:
        if not len(values):
            return
        seen = summarise(values, self.groups)
        self._missing += np.rint(seen.missing * len(values))
        self._low, self._high = np.minimum(self._low, seen.low), np.maximum(self._high, seen.high)
        for i, group in enumerate(self.groups):
            filled = np.stack([(values[:, list(slot)] != 0).any(axis=1) for slot in group.slots], axis=1)
            self._gaps[i] += (filled[:, 1:] & ~filled[:, :-1]).any(axis=1).sum()

    def _new_levels(self, values: np.ndarray) -> np.ndarray:
        """[n] bool: the row has a category that no training row before had; few have."""
        new = np.zeros(len(values), bool)
        many: dict[str, str] = {}
        for column in self.categories:
            levels, first = np.unique(values[:, column], return_index=True)
            fresh = np.isfinite(levels) & ~np.isin(levels, self._seen[column])
            new[first[fresh]] = True
            self._seen[column] = np.concatenate([self._seen[column], levels[fresh]])
            if len(self._seen[column]) > MOST_LEVELS:
                said = f"has more than {MOST_LEVELS:,} different values; a category has at most {MOST_LEVELS:,}"
                many[self.stream.head.names[column]] = said
        if many:
            raise ColumnsError(many)
        return new

    def _merged(self, rows: int, parts: list[Part]) -> tuple[int, list[Part]]:
        """Rows of all processes, and the rows kept of them; sums and levels become those of all."""
        world = self.world
        self.head, codes = with_all_words(self.head, world)
        found = [world.joined(a) for a in (np.array([rows]), np.array([self.weight]))]
        for sums in (self._missing, self._gaps):
            sums[:] = np.sum(world.arrays(sums), axis=0)
        self._low, self._high = (
            f(world.arrays(ends), axis=0) for f, ends in ((np.min, self._low), (np.max, self._high))
        )
        self.weight = sum(found[1].tolist())
        self._levels = [world.joined(codes(np.concatenate(self._levels)))]
        if self.categories:
            self._seen = {i: np.empty(0) for i in self.categories}
            own = np.concatenate(self._levels)
            self._levels = [own[[bool(self._new_levels(row[None])[0]) for row in own]] if len(own) else own]
        joined = []
        for part in parts:
            weights = None if part.weights is None else world.joined(part.weights)
            joined.append(Part(world.joined(codes(part.values)), weights, world.joined(part.at)))
        return int(found[0].sum()), joined

    # ── what it learnt ────────────────────────────────────────────────────────────────────────────

    @property
    def looked_at(self) -> np.ndarray:
        """Training rows that tell kinds, resolutions and levels: the sample, and the first row of each level."""
        return np.concatenate([self.sample.values, *self._levels])

    @property
    def seen(self) -> Summary:
        """Summary of all training rows."""
        return Summary(self._missing / max(self.rule.counts["train"], 1), self._low, self._high)

    @property
    def gaps(self) -> list[float]:
        """Of each slot group, the share of training rows that have a gap between their objects."""
        return [float(g) for g in self._gaps / max(self.rule.counts["train"], 1)]

    def recognize(self, recode: Callable[[np.ndarray], np.ndarray]) -> Recognizer:
        """Fingerprint and hashes of rows as a schema wants them; the levels of categories are known only by now."""
        for chunk in self.stream.read() if self.categories else ():
            roles = self.rule.of(chunk.at, chunk.at + len(chunk.values))
            self.recognizer.add(recode(chunk.values), roles, chunk.at)
        if self.world.size > 1:
            self.recognizer.merge(self.world)
        return self.recognizer
