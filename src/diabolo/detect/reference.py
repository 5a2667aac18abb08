"""The inputs of a score: the main autoencoder, and the training rows that a detector keeps."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from diabolo.data.hashing import hash_rows
from diabolo.detect.views import FEWEST_ROWS
from diabolo.device import CPU, choose_device
from diabolo.errors import ConfigError
from diabolo.model.autoencoder import Model

__all__ = ["Reference", "Stored"]

#: Bits by which most new rows are told from stored ones: with 20,000 of these, one new row in fifty is looked up.
SIEVE = 20


def _sums(values: np.ndarray) -> np.ndarray:
    """A number for each row [n, C], the same where `hash_rows` is and quicker: its cells' bits times odd numbers."""
    with np.errstate(over="ignore", invalid="ignore"):
        cells = np.asarray(values, np.float32) + np.float32(0)  # of −0 too
    cells[np.isnan(cells)] = np.nan
    return np.asarray((cells.view(np.uint32).astype(np.int64) @ _odd(cells.shape[1])).view(np.uint64))


@functools.lru_cache(maxsize=64)
def _odd(columns: int) -> np.ndarray:
    """An odd number for each column."""
    return np.asarray(np.random.default_rng(0).integers(1 << 62, size=columns, dtype=np.int64) * 2 + 1)


@dataclasses.dataclass
class Stored:
    """Rows kept for scores: R rows that the main autoencoder was trained or stopped on, or has never seen.

    Attributes:
        values: [R, C] in the schema's order, NaN where missing; each row can be scored.
    """

    values: np.ndarray

    def __post_init__(self) -> None:
        hashes = hash_rows(self.values)
        self._order = np.argsort(hashes, kind="stable")
        self._sorted = hashes[self._order]
        sums = _sums(self.values)
        self._sums, self._sieve = np.sort(sums), np.zeros(1 << SIEVE, bool)
        self._sieve[sums >> np.uint64(64 - SIEVE)] = True

    def __len__(self) -> int:
        return len(self.values)

    def positions(self, values: np.ndarray) -> np.ndarray:
        """Which stored row each of the rows [n, C] is by its contents, the first one of equals, −1 for none: [n]."""
        out = np.full(len(values), -1)
        if not len(self):
            return out
        # Most rows are new, and are told without a hash.
        sums = _sums(values)
        maybe = np.flatnonzero(self._sieve[sums >> np.uint64(64 - SIEVE)])
        if not len(maybe):
            return out
        at = np.searchsorted(self._sums, sums[maybe]).clip(max=len(self) - 1)
        maybe = maybe[self._sums[at] == sums[maybe]]
        if len(maybe):
            hashes = hash_rows(values[maybe])
            at = np.searchsorted(self._sorted, hashes).clip(max=len(self) - 1)
            out[maybe] = np.where(self._sorted[at] == hashes, self._order[at], -1)
        return out

    def firsts(self) -> np.ndarray:
        """Which rows are the first of equal ones, [R] bool: a row of their cells is that one."""
        return np.asarray(self.positions(self.values) == np.arange(len(self)))


def _there(device: str) -> str:
    """A device, if it is there."""
    try:
        return choose_device(device)
    except ConfigError as error:
        raise ConfigError(
            f"{error}; a detector that scores there is calibrated for this machine by: diabolo calibrate MODEL "
            "NORMAL_ROWS --device cpu"
        ) from None


@dataclasses.dataclass
class Reference:
    """The inputs of scores.

    Attributes:
        model: the main autoencoder.
        stored: training rows kept.
        device: where rows are scored; the model and all else stay on the processor, and a copy goes there.
    """

    model: Model
    stored: Stored | None = None
    device: str = CPU

    def __post_init__(self) -> None:
        #: Results that scores derive from the stored rows once, such as their places in a space of neighbors.
        self.derived: dict[Any, Any] = {}
        #: The same on the processor, where this one's model lies elsewhere.
        self.home = self

    def on(self, device: str) -> Reference:
        """The same that scores on a device; what it has derived is kept."""
        found = Reference(self.model, self.stored, device)
        found.derived = self.derived
        return found

    @property
    def placed(self) -> Reference:
        """The same with its model on `device`, made once; what it derives from the stored rows stays there too.

        Raises:
            ConfigError: no such device is there, or a model that the processor alone scores.
        """
        if self.device == self.model.device:
            return self
        if ("placed", self.device) not in self.derived:
            found = Reference(self.model.on(_there(self.device)), self.stored, self.device)
            found.home = self.home
            self.derived["placed", self.device] = found
        return self.derived["placed", self.device]  # type: ignore[no-any-return]

    @property
    def offers(self) -> frozenset[str]:
        """The needs of scores (`Score.needs`) that are met."""
        found = {
            "stochastic": self.model.latent.stochastic,
            "stored": self.stored is not None and len(self.stored) > 1,
            "tail": self.stored is not None and len(self.stored) >= FEWEST_ROWS,
        }
        return frozenset(name for name, there in found.items() if there)
