"""The one training loop: steps, epochs, early stopping per member, and what a finished fit knows of itself."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import torch
from torch import Tensor

from diabolo.data.rows import Rows, Source, slices
from diabolo.errors import TrainingError
from diabolo.model.autoencoder import Model
from diabolo.model.objective import loss_terms, objective
from diabolo.threads import threads_for
from diabolo.train.closed_form import Moments, has_closed_form, solve
from diabolo.train.engine import Engine, choose_device
from diabolo.train.schedule import Plan, plan

__all__ = ["Epoch", "fit"]

#: Draws of stop rows decoded at once under an importance-weighted bound.
DECODED = 16_384


@dataclasses.dataclass(frozen=True)
class Epoch:
    """One line of `history_`; loss terms in standardised nats per row, averaged over members."""

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


def fit(model: Model, train: Source, stop: Rows, report: Callable[[Epoch], None] | None = None) -> list[Epoch]:
    """Fit the model in place and return its history.

    Args:
        model: freshly initialised, on the CPU.
        train: rows that are stepped on.
        stop: rows that decide when to stop; may be empty, then the training loss decides.
        report: called after each epoch.

    Raises:
        TrainingError: no step of an epoch had a finite loss.
    """
    rows_per_step = plan(model.config, max(1, len(train))).rows_per_step
    with threads_for(3 * rows_per_step * model.store.flat.numel()):
        return _fit(model, train, stop, report)


def _fit(model: Model, train: Source, stop: Rows, report: Callable[[Epoch], None] | None) -> list[Epoch]:
    started = time.perf_counter()
    if has_closed_form(model, train.masked):
        moments = Moments(model.encoding.width)
        for rows, weights in train.chunks():
            moments.add(rows.x, weights)
        solve(model, moments)
        value = float(_validate(model, stop if len(stop) else train.some()).mean())
        seconds = time.perf_counter() - started
        history = [Epoch(1, value, 0.0, value, 0.0, model.config.beta, seconds, len(train), 0, True, 0.0)]
        if report:
            report(history[0])
    else:
        device = choose_device(model.config.device)
        model.to(device)
        train, stop = train.to(device), stop.to(device)
        history = _descend(model, train, stop, report)
    _describe(model, train.some(), stop if len(stop) else train.some())
    model.to("cpu")
    return history


def _descend(model: Model, train: Source, stop: Rows, report: Callable[[Epoch], None] | None) -> list[Epoch]:
    steps = plan(model.config, len(train))
    engine = Engine(model, model.config)
    noise = torch.Generator(device=model.device).manual_seed(model.config.random_state)
    order = torch.Generator().manual_seed(model.config.random_state)
    best = torch.full(model.lead, float("inf"), device=model.device)
    best_flat = model.store.flat.clone()
    stale = torch.zeros(model.lead, dtype=torch.long, device=model.device)
    history: list[Epoch] = []
    begun = time.perf_counter()
    for epoch in range(steps.epochs):
        distance, omega, skipped, rate = _epoch(engine, model, train, steps, epoch, order, noise)
        loss = distance + model.config.beta * omega
        with torch.no_grad():
            value = _validate(model, stop) if len(stop) else loss
        value = torch.where(torch.isfinite(value), value, torch.inf)
        # A member that has run out of patience keeps its weights, as if it had been fitted alone.
        better = (value < best) & (stale < model.config.patience)
        best = torch.where(better, value, best)
        best_flat = torch.where(better.unsqueeze(-1), model.store.flat, best_flat)
        stale = torch.where(better, 0, stale + 1)
        ended = bool((stale >= model.config.patience).all())
        spent = time.perf_counter() - begun
        record = Epoch(
            epoch=epoch + 1,
            distance=float(distance.mean()),
            regularizer=float(omega.mean()),
            validation=float(value.mean()),
            learning_rate=rate,
            beta=steps.weight((epoch + 1) * steps.steps_per_epoch),
            seconds=spent - sum(e.seconds for e in history),
            rows=len(train),
            skipped=skipped,
            best=bool(better.any()),
            left=0.0 if ended else spent / (epoch + 1) * (steps.epochs - epoch - 1),
        )
        history.append(record)
        if report:
            report(record)
        if ended:
            break
    if not bool(torch.isfinite(best).all()):
        raise TrainingError(
            "the loss was never finite on the stop rows; try a learning_rate ten times smaller, "
            "or look at the columns with the largest values (diabolo info DATA)"
        )
    engine.release()
    model.store.flat.copy_(best_flat)
    return history


def _epoch(
    engine: Engine, model: Model, train: Source, steps: Plan, epoch: int, order: torch.Generator, noise: torch.Generator
) -> tuple[Tensor, Tensor, int, float]:
    """One pass; sums stay on the device until the end of it. Returns mean distance, mean Ω, skips, rate."""
    n, size = len(train), steps.rows_per_step
    columns = [c for h in model.heads for c in h.block.columns]
    sums = torch.zeros(*model.lead, len(columns), device=model.device)
    raw = torch.zeros_like(sums)
    omega_sum = torch.zeros(model.lead, device=model.device)
    counted = torch.zeros(model.lead, device=model.device)
    step, rate = epoch * steps.steps_per_epoch, 0.0
    for rows, weights in train.pieces(size, order, engine.memory):
        for inner in slices(len(rows), size):
            batch = rows.batch(inner, engine.memory)
            rate = steps.learning_rate(step)
            w = None if weights is None else weights[inner]
            loss, distance, omega = objective(model, batch, w, steps.weight(step), noise)
            stepped = engine.step(loss, rate)
            share = stepped * float(len(batch))
            counted += share
            cost = torch.cat([d.detach() for d in distance], dim=-1) if len(distance) > 1 else distance[0].detach()
            raw += cost
            sums += torch.where(stepped.unsqueeze(-1), cost, 0.0) * share.unsqueeze(-1)
            if omega is not None:
                omega_sum += torch.where(stepped, omega.detach(), 0.0) * share
            step += 1
    skipped = round(steps.steps_per_epoch - float(counted.min()) / size) if float(counted.min()) < n else 0
    if not bool((counted > 0).all()):
        names = model.encoding.schema.output_names
        wrong = (~torch.isfinite(raw)).reshape(-1, len(columns)).any(0).tolist()
        bad = [names[c] for c, w in zip(columns, wrong, strict=True) if w]
        where = f"; not finite in {', '.join(bad[:5])}" if bad else "; the gradient was not finite"
        raise TrainingError(
            f"the fit diverged in epoch {epoch + 1}: none of its {steps.steps_per_epoch} steps had a finite "
            f"loss{where}; try a learning_rate ten times smaller than {steps.peak:g}, or scaling='standard'"
        )
    return sums.sum(-1) / counted, omega_sum / counted, skipped, rate


def _validate(model: Model, stop: Rows) -> Tensor:
    """Loss [*lead] of the stop rows: clean input, final β, the same noise at every call."""
    config, n = model.config, len(stop.rows)
    noise = torch.Generator(device=model.device).manual_seed(config.random_state + 1)
    draws, size = (1, n) if config.bound == "elbo" else (config.draws, max(1, DECODED // config.draws))
    value = torch.zeros(model.lead, device=model.device)
    for part in slices(n, size):
        rows = model.observe(stop.rows.rows(part), noise)
        weights = None if stop.weights is None else stop.weights[part]
        loss = loss_terms(model, rows, rows.x, weights, draws, config.beta, noise)[0]
        value = value + loss * (len(rows) / n)
    return value


@torch.no_grad()
def _describe(model: Model, train: Rows, stop: Rows) -> None:
    """Fill the buffers: moments of the training codes, and the typical cost of each column on stop rows."""
    members = [Moments(model.latent_dim) for _ in range(max(1, model.store.flat.numel() // model.store.flat.shape[-1]))]
    for rows, weights in train.chunks():
        codes = model.encode(rows.x).mean.cpu().reshape(len(members), -1, model.latent_dim)
        for moments, code in zip(members, codes, strict=True):
            moments.add(code, None if weights is None else weights.cpu())
    pairs = [m.mean_and_covariance() for m in members]
    shape = (*model.lead, model.latent_dim)
    model.buffers["latent_mean"] = torch.stack([p[0] for p in pairs]).reshape(shape).float()
    model.buffers["latent_cov"] = torch.stack([p[1] for p in pairs]).reshape(*shape, -1).float()
    rows = dataclasses.replace(stop.rows, missing=None)  # a missing cell must not count towards its own price
    there = model.present_by_column(rows)
    theta = model.decode(model.encode(rows.x).mean)
    count = there.sum(0).clamp_min(1)
    for name, cost in (
        ("typical_nll", model.column_nll(theta, rows, missingness=False)),
        ("typical_squared_error", model.column_squared_error(theta, rows)),
    ):
        model.buffers[name] = (cost * there).sum(-2) / count
