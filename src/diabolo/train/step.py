"""One training step: the objective, the optimizer and the sums of the epoch; as it is, or recorded and played again.

A step of a small network is some 25 kernels of a few microseconds, and asking for each takes a card's host as long. A
recording asks once. It plays for full batches, with the batch, β and the learning rate put into memory of its own; the
short last batch of an epoch goes as it is, since random numbers of another shape would be other numbers. Whether a
recording plays as it should on a card no run has shown so far (docs/gpu.md).
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from diabolo.data.encoding import Encoded
from diabolo.device import class_of, on_cpu
from diabolo.model.autoencoder import Model
from diabolo.model.objective import objective
from diabolo.train.engine import Engine
from diabolo.train.state import State

__all__ = ["Record", "Recorded", "Step", "stepping"]

#: Takes a call without arguments, and what is random in it, and returns what does the same again.
Record = Callable[[Callable[[], None], list[torch.Generator]], Callable[[], None]]
#: Steps that a card takes as they are before it records: its libraries choose their kernels in them.
WARM = 3


class Step:
    """A step on a batch, which changes the parameters, the optimizer's state and the sums of the epoch."""

    def __init__(self, engine: Engine, model: Model, state: State) -> None:
        self.engine, self.model, self.state = engine, model, state

    def __call__(
        self, batch: Encoded, weights: Tensor | None, beta: float | Tensor, rate: float | Tensor, early: bool
    ) -> None:
        """One step.

        Args:
            batch: clipped rows at hand, with the engine's memory; the state's noise knows how many there are in all.
            weights: [B], of mean 1 over the table; None for equal ones.
            beta: weight of Ω; a tensor is float64 without axes.
            rate: learning rate; a tensor is as `rate_of` makes it.
            early: whether the ELBO still stands in for the bound.
        """
        state = self.state
        loss, distance, omega = objective(self.model, batch, weights, beta, state.noise, early)
        cost = torch.cat([d.detach() for d in distance], dim=-1) if len(distance) > 1 else distance[0].detach()
        if omega is None and self.engine.world.size > 1:
            omega = torch.zeros_like(state.omega)  # another process may have rows that have one
        terms = (cost,) if omega is None else (cost, omega.detach())
        stepped = self.engine.step(loss, rate, *terms)
        share = stepped * float(state.noise.rows)
        state.counted += share
        state.raw += cost
        state.distance += torch.where(stepped.unsqueeze(-1), cost, 0.0) * share.unsqueeze(-1)
        if omega is not None:
            state.omega += torch.where(stepped, omega.detach(), 0.0) * share


@dataclasses.dataclass
class _Played:
    """A recording: the memory that it reads, and how often its shape has come so far."""

    batch: Encoded
    weights: Tensor | None
    beta: Tensor
    rate: Tensor
    seen: int = 0
    play: Callable[[], None] | None = None
    #: Memory between operations, which must outlive the recording.
    held: list[Tensor] = dataclasses.field(default_factory=list)


class Recorded(Step):
    """Steps on batches of `size` rows are recorded after the first few, and played; all others are taken as they are.

    Args:
        size: rows of a full batch.
        record: makes a recording; a card's own (`cuda_graph`).
        warm: steps before it, each taken by `apart`.
        apart: takes a step as a recording would, on a stream of its own.
    """

    def __init__(
        self,
        engine: Engine,
        model: Model,
        state: State,
        size: int,
        record: Record,
        warm: int = WARM,
        apart: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        super().__init__(engine, model, state)
        self.size, self._record, self._warm, self._apart = size, record, warm, apart
        self._played: dict[tuple[bool, bool, bool], _Played] = {}

    def __call__(
        self, batch: Encoded, weights: Tensor | None, beta: float | Tensor, rate: float | Tensor, early: bool
    ) -> None:
        if len(batch) != self.size or not can_record(self.model):
            return super().__call__(batch, weights, beta, rate, early)
        key = (early, weights is None, batch.present is None)
        if key not in self._played:
            self._played[key] = self._room(batch, weights)
        played = self._played[key]
        played.batch.x.copy_(batch.x)
        for own, given in ((played.batch.present, batch.present), (played.weights, weights)):
            if own is not None and given is not None:
                own.copy_(given)
        played.beta.fill_(beta)
        played.rate.fill_(rate)

        def once() -> None:
            Step.__call__(self, played.batch, played.weights, played.beta, played.rate, early)

        played.seen += 1
        if played.seen <= self._warm:
            return once() if self._apart is None else self._apart(once)
        if played.play is None:
            played.play = self._recording(once)
            played.held = self.engine.memory.tensors()
        return played.play()

    def _room(self, batch: Encoded, weights: Tensor | None) -> _Played:
        x = torch.empty_like(batch.x)
        present = None if batch.present is None else torch.empty_like(batch.present)
        own = Encoded(x, present, largest=batch.largest, memory=self.engine.memory)
        beta = torch.zeros((), dtype=torch.float64, device=x.device)
        return _Played(own, None if weights is None else torch.empty_like(weights), beta, rate_of(x))

    def _recording(self, once: Callable[[], None]) -> Callable[[], None]:
        try:
            return self._record(once, [self.state.noise])
        except RuntimeError as error:
            first = str(error).partition("\n")[0]
            warnings.warn(f"training steps are taken one by one, for recording one failed: {first}", stacklevel=2)
            return once


def rate_of(like: Tensor) -> Tensor:
    """Room for a learning rate as AdamW's kernel reads it: double precision on the processor, single on a card."""
    return torch.zeros((), dtype=torch.float64 if on_cpu(like) else torch.float32, device=like.device)


def can_record(model: Model) -> bool:
    """Whether a step waits for nothing: the kernels of `mmd` ask a learned prior for its spread."""
    return not (model.regularizer.name == "mmd" and model.config.prior == "mixture")


def cuda_graph(call: Callable[[], None], generators: list[torch.Generator]) -> Callable[[], None]:
    """Record a call as a CUDA graph; recording runs nothing."""
    graph: Any = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    with torch.cuda.graph(graph):
        call()
    play: Callable[[], None] = graph.replay
    return play


def side_stream(call: Callable[[], None]) -> None:
    """Take a step on another stream, as graphs ask of the steps before: what it leaves behind is bound to no stream."""
    here, side = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(here)
    with torch.cuda.stream(side):
        call()
    here.wait_stream(side)


def stepping(engine: Engine, model: Model, state: State, size: int) -> Step:
    """Steps on batches of at most `size` rows: recorded on a card, plain on the processor."""
    # Processes talk to each other within a step, which no recording can.
    if class_of(model.device) == "cuda" and engine.world.size == 1:
        return Recorded(engine, model, state, size, cuda_graph, apart=side_stream)
    return Step(engine, model, state)
