"""The state of a fit: all that its remaining steps depend on, besides the settings and the rows."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from diabolo.device import generator
from diabolo.model.autoencoder import Model
from diabolo.model.drawn import BatchGenerator
from diabolo.train.engine import Engine
from diabolo.world import World

__all__ = ["Epoch", "State"]

#: What makes each of an epoch's numbers, by its type, of a double.
TYPES: dict[str, Callable[[float], Any]] = {
    "int": int,
    "float": float,
    "bool": bool,
    "float | None": lambda value: None if math.isnan(value) else value,
}


@dataclasses.dataclass(frozen=True)
class Epoch:
    """One entry of `history_`; loss terms in standardised nats per row, averaged over members."""

    epoch: int
    distance: float
    regularizer: float
    validation: float
    learning_rate: float
    beta: float
    seconds: float
    rows: int
    skipped: int
    best: bool
    left: float
    #: The stop rows' loss at the linear solution that a masked autoencoder's fit began at; None of others.
    linear: float | None = None


class State:
    """Position, generators, running sums of the epoch, best weights and history of one fit.

    The parameters and the optimiser's moments stay where they are trained; `tensors` names them all.
    """

    def __init__(self, model: Model, engine: Engine) -> None:
        self.model, self.engine = model, engine
        lead, device, seed = model.lead, model.device, model.config.random_state
        #: Epochs done, pieces done of the epoch under way, and steps taken in all.
        self.epoch = self.piece = self.step = 0
        self.history: list[Epoch] = []
        self.noise = cast(BatchGenerator, generator(device, seed, BatchGenerator))
        self.order = torch.Generator().manual_seed(seed)
        #: The order's state as the epoch began: a fit that resumes within the epoch draws the same order again.
        self.order_began = self.order.get_state()
        self.best = torch.full(lead, float("inf"), device=device)
        self.best_parameters = model.store.flat.clone()
        self.stale = torch.zeros(lead, dtype=torch.long, device=device)
        columns = sum(len(h.block.columns) for h in model.heads)
        #: Sums over the epoch's rows: distance of the steps taken, of all steps, Ω, and the rows stepped on.
        self.distance = torch.zeros(*lead, columns, device=device)
        self.raw = torch.zeros_like(self.distance)
        self.omega = torch.zeros(lead, device=device)
        self.counted = torch.zeros(lead, device=device)
        self._before, self._begun = 0.0, time.perf_counter()

    @property
    def spent(self) -> float:
        """Seconds of training, those before a resumption included."""
        return self._before + time.perf_counter() - self._begun

    @spent.setter
    def spent(self, seconds: float) -> None:
        self._before, self._begun = seconds, time.perf_counter()

    @property
    def histories(self) -> np.ndarray:
        """The history as numbers, [epochs, fields of `Epoch`] float64; None is NaN."""
        rows = [dataclasses.astuple(e) for e in self.history]
        return np.array(rows, np.float64).reshape(len(rows), len(dataclasses.fields(Epoch)))

    @histories.setter
    def histories(self, rows: np.ndarray) -> None:
        kinds = [TYPES[str(f.type)] for f in dataclasses.fields(Epoch)]
        self.history = [Epoch(*(k(v) for k, v in zip(kinds, row.tolist(), strict=True))) for row in rows]

    def share(self, world: World) -> None:
        """Bring every process to where rank 0 is."""
        if world.size == 1:
            return
        place = torch.tensor([self.epoch, self.piece, self.step, self.spent, len(self.history)], dtype=torch.float64)
        order, noise = self.order.get_state(), self.noise.get_state()
        world.first_(place, order, noise, *self.tensors().values())
        self.epoch, self.piece, self.step = (int(n) for n in place[:3])
        self.spent = float(place[3])
        self.order.set_state(order)
        self.noise.set_state(noise)
        history = torch.zeros(int(place[4]), len(dataclasses.fields(Epoch)), dtype=torch.float64)
        if world.leads:
            history = torch.from_numpy(self.histories)
        world.first_(history)
        self.histories = history.numpy()

    def begin_epoch(self) -> None:
        self.order_began = self.order.get_state()

    def end_epoch(self, record: Epoch) -> None:
        self.history.append(record)
        self.epoch, self.piece = self.epoch + 1, 0
        for sums in (self.distance, self.raw, self.omega, self.counted):
            sums.zero_()

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the state, as it is trained, by the name that a checkpoint gives it."""
        return {
            "parameters": self.model.store.flat,
            "first_moment": self.engine.first,
            "second_moment": self.engine.second,
            "steps": self.engine.steps,
            "best": self.best,
            "best_parameters": self.best_parameters,
            "stale": self.stale,
            "distance": self.distance,
            "raw": self.raw,
            "omega": self.omega,
            "counted": self.counted,
        }
