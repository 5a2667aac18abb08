"""Steps on rows that come a few at a time, and the state between two calls."""

from __future__ import annotations

import dataclasses
import math
import time

import torch
from torch import Tensor

from diabolo.data.encoding import Encoded
from diabolo.data.sources import Rows
from diabolo.device import choose_device, single_precision
from diabolo.model.autoencoder import Model
from diabolo.threads import threads_for
from diabolo.train.engine import Engine
from diabolo.train.linear_start import start_linear
from diabolo.train.loop import describe_codes, run_epoch, validate
from diabolo.train.schedule import Schedule, peak_rate
from diabolo.train.state import Epoch, State
from diabolo.train.step import stepping

__all__ = ["Pace", "step_on"]

#: Rows per step where the settings leave it open. A stream is seen once, so small steps learn more.
ROWS = 64
#: Rows that the moments of the codes and the typical costs are taken from: the last ones, by the encoder of now.
WINDOW = 2_048
#: A stream has no last epoch.
FOREVER = 1 << 40


@dataclasses.dataclass
class Pace:
    """The state between two calls: the optimizer's means and counts, and the last rows."""

    first: Tensor
    second: Tensor
    steps: Tensor
    step: int
    recent: Rows


def step_on(model: Model, rows: Rows, before: int, call: int, pace: Pace | None) -> tuple[Epoch, Pace]:
    """One pass over rows at a constant learning rate; the model's buffers follow.

    The validation of the record is the loss of the rows before the first step on them, when they were still unseen.

    Args:
        model: on the CPU; changed in place.
        rows: n ≥ 1 rows.
        before: rows stepped on in earlier calls.
        call: number of earlier calls, for the seeds.
        pace: state that the last call returned; None for an optimizer that starts afresh.

    Raises:
        TrainingError: no step had a finite loss.
    """
    began, n = time.perf_counter(), len(rows)
    config = model.config
    count = math.ceil(n / (config.batch_size or ROWS))
    # Calls count as epochs do in a fit.
    beta = config.beta * (min(1.0, (call + 1) / config.warmup) if config.warmup else 1.0)
    rate = peak_rate(config)
    early = FOREVER if call < config.bound_after else 0
    steps = Schedule(FOREVER, count, math.ceil(n / count), rate, False, beta, warmup_steps=0, elbo_steps=early)
    kept = {name: tensor.clone() for name, tensor in model.buffers.items()} if before else {}
    device = choose_device(config.device)
    with threads_for(3 * steps.rows_per_step * model.store.flat.numel()), single_precision(device):
        start_linear(model, rows)
        model.to(device)
        rows = rows.to(device)
        with torch.no_grad():
            value = validate(model, rows)
        engine = Engine(model, config)
        try:
            state = _resumed(State(model, engine), call, pace)
            distance, omega, skipped = run_epoch(stepping(engine, model, state, steps.rows_per_step), rows, steps, None)
        finally:
            engine.release()
            model.to("cpu")
        recent = _recent(None if pace is None else pace.recent, rows.to("cpu"))
        describe_codes(model, recent, recent)
    _blend(model, kept, min(before, WINDOW - len(recent)), recent)
    record = Epoch(
        epoch=call + 1,
        distance=float(distance.mean()),
        regularizer=float(omega.mean()),
        validation=float(value.mean()),
        learning_rate=steps.learning_rate(state.step - 1),
        beta=beta,
        seconds=time.perf_counter() - began,
        rows=n,
        skipped=skipped,
        best=True,
        left=0.0,
    )
    return record, Pace(engine.first.cpu(), engine.second.cpu(), engine.steps.cpu(), state.step, recent)


def _resumed(state: State, call: int, pace: Pace | None) -> State:
    """Give each call generators of its own, and the optimizer of the last call."""
    seed = state.model.config.random_state
    for generator, stream in ((state.order, 2 * call), (state.noise, 2 * call + 1)):
        generator.manual_seed((seed * 0x9E3779B97F4A7C15 + stream) % (1 << 63))
    if pace is not None:
        for now, then in ((state.engine.first, pace.first), (state.engine.second, pace.second)):
            now.copy_(then)
        state.engine.steps.copy_(pace.steps)
        state.step = pace.step
    return state


def _recent(before: Rows | None, rows: Rows) -> Rows:
    """The last `WINDOW` rows."""
    n = len(rows)
    if before is None or n >= WINDOW:
        return _part(rows, slice(max(0, n - WINDOW), n))
    old = _part(before, slice(max(0, len(before) + n - WINDOW), len(before)))
    present = weights = None
    if old.rows.present is not None or rows.rows.present is not None:
        cells = (rows.rows.present if old.rows.present is None else old.rows.present).shape[1]  # type: ignore[union-attr]
        there = [
            torch.ones(len(r), cells, dtype=torch.bool) if r.rows.present is None else r.rows.present
            for r in (old, rows)
        ]
        present = torch.cat(there)
    if old.weights is not None or rows.weights is not None:
        weights = torch.cat([torch.ones(len(r)) if r.weights is None else r.weights for r in (old, rows)])
    x = torch.cat([old.rows.x, rows.rows.x])
    return Rows(Encoded(x, present, largest=max(old.rows.largest, rows.rows.largest)), weights)


def _part(rows: Rows, part: slice) -> Rows:
    return Rows(rows.rows.rows(part), None if rows.weights is None else rows.weights[part])


def _blend(model: Model, kept: dict[str, Tensor], weight: int, rows: Rows) -> None:
    """Where the last rows are few, after a fit or a load, count the earlier buffers as `weight` more rows."""
    if not kept or weight <= 0:
        return
    new, n = model.buffers, len(rows)
    share = n / (weight + n)
    mean = kept["latent_mean"] + share * (new["latent_mean"] - kept["latent_mean"])
    gap = (new["latent_mean"] - kept["latent_mean"]).unsqueeze(-1)
    # Variance within, and between the two means.
    covariance = (1 - share) * kept["latent_cov"] + share * new["latent_cov"] + share * (1 - share) * gap * gap.mT
    there = model.present_by_column(rows.rows).sum(0)
    part = there / (weight + there).clamp_min(1)
    typical = {name: kept[name] + part * (new[name] - kept[name]) for name in ("typical_nll", "typical_squared_error")}
    model.buffers |= {"latent_mean": mean, "latent_cov": covariance, **typical}
