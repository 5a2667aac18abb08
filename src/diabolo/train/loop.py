"""The one training loop: steps, epochs, early stopping per member, and the buffers of a finished fit."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from diabolo.data.shared import batches, share_of
from diabolo.data.sources import Rows, Source, slices
from diabolo.device import choose_device, generator, single_precision
from diabolo.errors import ConfigError
from diabolo.model.autoencoder import Model
from diabolo.model.objective import loss_terms, masked_terms
from diabolo.model.permission import own_part_cards
from diabolo.threads import threads_for
from diabolo.train.checkpoint import Checkpoint
from diabolo.train.closed_form import Moments, has_closed_form, solve
from diabolo.train.diverged import in_an_epoch, on_stop_rows
from diabolo.train.engine import Engine
from diabolo.train.linear_start import start_linear
from diabolo.train.robust import create_robust, reweighted
from diabolo.train.schedule import Schedule, refinement_of, schedule_of
from diabolo.train.standing import MASKED_ROWS, MASKS, settle
from diabolo.train.state import Epoch, State
from diabolo.train.step import Step, stepping
from diabolo.world import ALONE, World

__all__ = ["Epoch", "describe_codes", "fit", "run_epoch", "validate"]

#: Draws of stop rows decoded at once under an importance-weighted bound.
DECODED = 16_384
#: Stop rows from which on the patience of a masked fit counts from the middle of its epochs: a network at its full
#: learning rate is often above the linear solution, and below it once the rate has fallen. Fewer could not tell.
WAITS = 100

OnEpoch = Callable[[Epoch], None]


def fit(
    model: Model,
    train: Source,
    stop: Rows,
    report: OnEpoch | None = None,
    checkpoint: Checkpoint | None = None,
    world: World = ALONE,
) -> list[Epoch]:
    """Fit the model in place and return its history.

    Args:
        model: freshly initialised, on the CPU.
        train: rows that are stepped on.
        stop: rows that decide when to stop; may be empty, then the training loss decides.
        report: called after each epoch.
        checkpoint: where the fit is kept while it runs, and perhaps resumed from; a closed form needs none.
        world: the processes that fit this model together, each with its share of `train` and all of `stop`.

    Raises:
        TrainingError: no step of an epoch had a finite loss and gradient, or no epoch a finite loss on the stop rows.
        CheckpointError: the checkpoint to resume from is damaged, or another fit's.
        ConfigError: a part of the user's own, where processes fit together.
    """
    parts = own_part_cards(model)
    if world.size > 1 and parts:
        raise ConfigError(
            f"{parts[0].name}: a part of your own may draw random numbers for the rows that it sees, and processes see "
            "others of a batch; fit it in one process, without --engine"
        )
    rows_per_step = schedule_of(model.config, max(1, len(train))).rows_per_step
    device = choose_device(model.config.device)
    with threads_for(3 * rows_per_step * model.multiply_adds), single_precision(device):
        return _fit(model, share_of(train, world), stop, report, checkpoint, device, world)


def _fit(
    model: Model,
    train: Source,
    stop: Rows,
    report: OnEpoch | None,
    checkpoint: Checkpoint | None,
    device: str,
    world: World,
) -> list[Epoch]:
    started = time.perf_counter()
    if has_closed_form(model):
        solve(model, train)
        world.first_(model.store.flat)
        value = float(validate(model, stop if len(stop) else train.some()).mean())
        seconds = time.perf_counter() - started
        history = [Epoch(1, value, 0.0, value, 0.0, model.config.beta, seconds, len(train), 0, True, 0.0)]
        if report:
            report(history[0])
    else:
        start_linear(model, train)
        model.to(device)
        train, stop = train.to(device), stop.to(device)
        steps = schedule_of(model.config, len(train))
        history = _descend(model, train, stop, steps, report, checkpoint, world)
        if model.whole is not None:
            rows = (stop if len(stop) else train.some()).rows.clipped(model.encoding.clip)
            model.choose_ranges(rows.x)
            history += _descend(model, train, stop, refinement_of(steps), report, None, world, history)
    describe_codes(model, share_of(train.some(), world), stop if len(stop) else train.some())
    model.to("cpu")
    return history


def _descend(
    model: Model,
    train: Source,
    stop: Rows,
    steps: Schedule,
    report: OnEpoch | None,
    checkpoint: Checkpoint | None,
    world: World,
    before: Sequence[Epoch] = (),
) -> list[Epoch]:
    """Train by one schedule; `before` are the epochs of another that these weights come from."""
    engine = Engine(model, model.config, world)
    state = State(model, engine)
    step = stepping(engine, model, state, steps.rows_per_step)
    linear, began = None, state.best_parameters.clone()
    if (model.masking is not None or before) and len(stop):
        # What a fit begins at, the linear solution or rounded weights, stands until an epoch is better than it; the
        # linear solution until one is clearly better.
        with torch.no_grad():
            state.best = validate(model, stop)
        linear = None if before else float(state.best.mean())
    if checkpoint is not None:
        checkpoint.restore(state)
    state.share(world)
    ended = False
    patient = steps.epochs // 2 if linear is not None and len(stop) >= WAITS else 0
    while state.epoch < steps.epochs and not ended:
        distance, omega, skipped = run_epoch(step, train, steps, checkpoint)
        loss = distance + model.config.beta * omega
        with torch.no_grad():
            value = validate(model, stop) if len(stop) else loss
        value = torch.where(torch.isfinite(value), value, torch.inf)
        # Processors of another make may round otherwise: all go on from the numbers of one.
        world.first_(value, model.store.flat, engine.first, engine.second)
        # A member that has run out of patience keeps its weights, as if it had been fitted alone.
        better = (value < state.best) & (state.stale < model.config.patience)
        state.best = torch.where(better, value, state.best)
        state.best_parameters = torch.where(better.unsqueeze(-1), model.store.flat, state.best_parameters)
        state.stale = torch.where(better, 0, state.stale + int(state.epoch >= patient))
        ended = bool((state.stale >= model.config.patience).all())
        spent = state.spent
        record = Epoch(
            epoch=len(before) + state.epoch + 1,
            distance=float(distance.mean()),
            regularizer=float(omega.mean()),
            validation=float(value.mean()),
            learning_rate=steps.learning_rate(state.step - 1),
            beta=steps.weight((state.epoch + 1) * steps.steps_per_epoch),
            seconds=spent - sum(e.seconds for e in state.history),
            rows=len(train),
            skipped=skipped,
            best=bool(better.any()),
            left=0.0 if ended else spent / (state.epoch + 1) * (steps.epochs - state.epoch - 1),
            linear=linear,
        )
        state.end_epoch(record)
        if report:
            report(record)
    if not bool(torch.isfinite(state.best).all()):
        rows, what = (stop, "stop rows") if len(stop) else (train.some(), "training rows")
        raise on_stop_rows(model, state, rows, what, steps)
    engine.release()
    if linear is not None:
        settle(model, stop, state, began, world)
    model.store.flat.copy_(state.best_parameters)
    return state.history


def run_epoch(step: Step, train: Source, steps: Schedule, checkpoint: Checkpoint | None) -> tuple[Tensor, Tensor, int]:
    """One pass, or the rest of one; sums stay on the device until its end. Returns mean distance, mean Ω, skips."""
    engine, model, state = step.engine, step.model, step.state
    n, size = len(train), steps.rows_per_step
    state.begin_epoch()
    robust = create_robust(model.config)
    for piece in train.pieces(size, state.order, engine.memory, state.piece):
        weights = reweighted(model, robust, piece[0], piece[1], state.step == 0, engine.world)
        for batch in batches(piece, weights, size, engine.memory):
            state.noise.rows, state.noise.at = batch.count, batch.at
            beta, rate = steps.weight(state.step), steps.learning_rate(state.step)
            step(batch.rows, batch.weights, beta, rate, steps.early(state.step))
            state.step += 1
        state.piece += 1
        if checkpoint is not None:
            checkpoint.offer(state)
    counted, fewest = state.counted, float(state.counted.min())
    skipped = round(steps.steps_per_epoch - fewest / size) if fewest < n else 0
    if not bool((counted > 0).all()):
        raise in_an_epoch(model, state, train.some(), steps)
    # Quotients, new tensors: the sums start again with the next epoch.
    return state.distance.sum(-1) / counted, state.omega / counted, skipped


def validate(model: Model, stop: Rows) -> Tensor:
    """Loss [*lead] of the stop rows: clean input, final β, the same noise at every call.

    Where cells are hidden it is the masked term alone, with the same cells hidden at every call: a code of few axes can
    go on gaining on the rows where conditionals lose.
    """
    config, n = model.config, len(stop.rows)
    stop = Rows(stop.rows, reweighted(model, create_robust(config), stop.rows, stop.weights))
    noise = generator(model.device, config.random_state + 1)
    draws, size = (1, n) if config.bound == "elbo" else (config.draws, max(1, DECODED // config.draws))
    value = torch.zeros(model.lead, device=model.device)
    hides = model.corruption.hide(stop.rows.rows(slice(0, 1)), model.encoding, model.lead, noise) is not None
    # A row's loss over all its hidden sets takes many of them; the same ones at every call.
    repeats = max(1, min(MASKS, MASKED_ROWS // max(1, n))) if hides else 1
    for part in [*slices(n, size)] * repeats:
        rows = model.observe(stop.rows.rows(part), noise)
        weights = None if stop.weights is None else stop.weights[part]
        hidden = model.corruption.hide(rows, model.encoding, model.lead, noise) if hides else None
        if hidden is not None:
            loss = masked_terms(model, rows, hidden, weights, config.beta, noise, nested=0.0)[0]
        else:
            loss = loss_terms(model, rows, rows.x, weights, draws, config.beta, noise)[0]
        value = value + loss * (len(rows) / n)
    return value / repeats


@torch.no_grad()
def describe_codes(model: Model, train: Source, stop: Rows) -> None:
    """Fill the buffers: moments of the training codes, and the typical cost of each column on stop rows."""
    members = [Moments(model.latent_dim) for _ in range(max(1, model.store.flat.numel() // model.store.flat.shape[-1]))]
    robust = create_robust(model.config)
    for rows, given in train.chunks():
        weights = reweighted(model, robust, rows, given)
        codes = model.posterior(rows).mean.cpu().reshape(len(members), -1, model.latent_dim)
        for moments, code in zip(members, codes, strict=True):
            moments.add(code, None if weights is None else weights.cpu())
    for moments in members:
        moments.merge(train)
    pairs = [m.mean_and_covariance() for m in members]
    shape = (*model.lead, model.latent_dim)
    model.buffers["latent_mean"] = torch.stack([p[0] for p in pairs]).reshape(shape).float()
    model.buffers["latent_cov"] = torch.stack([p[1] for p in pairs]).reshape(*shape, -1).float()
    rows = dataclasses.replace(stop.rows, missing=None)  # a missing cell must not count towards its own price
    there = model.present_by_column(rows)
    theta = model.decode(model.posterior(rows).mean)
    count = there.sum(0).clamp_min(1)
    for name, cost in (
        ("typical_nll", model.column_nll(theta, rows, missingness=False)),
        ("typical_squared_error", model.column_squared_error(theta, rows)),
    ):
        model.buffers[name] = (cost * there).sum(-2) / count
