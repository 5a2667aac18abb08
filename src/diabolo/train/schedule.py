"""Number and size of steps, learning rate and weight of Ω: pure functions of the step."""

from __future__ import annotations

import dataclasses
import math

from diabolo.config import Config
from diabolo.model.corruption import corruptions

__all__ = ["Schedule", "peak_rate", "refinement_of", "schedule_of"]

#: Steps of a small table's fit; a step of hidden cells costs more, and teaches every column at once.
STEPS, MASKED_STEPS = 4_000, 3_000
#: Its peak learning rate.
MASKED_RATE = 3e-3


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The course of a fit: the numbers that a config leaves to the data's size are filled in."""

    epochs: int
    steps_per_epoch: int
    rows_per_step: int
    peak: float
    cosine: bool
    beta: float
    warmup_steps: int
    elbo_steps: int

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    def learning_rate(self, step: int) -> float:
        """A linear rise over the first 2 % of steps (at most 100), then the cosine's fall to 1 %."""
        rise = min(100, max(1, self.steps // 50))
        factor = min(1.0, (step + 1) / rise)
        if self.cosine:
            factor *= 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return self.peak * factor

    def weight(self, step: int) -> float:
        """β, after a linear rise over the warm-up."""
        return self.beta * min(1.0, step / self.warmup_steps) if self.warmup_steps else self.beta

    def early(self, step: int) -> bool:
        """Whether the ELBO still stands in for the bound."""
        return step < self.elbo_steps


def refinement_of(steps: Schedule) -> Schedule:
    """Steps in whole numbers after a fit: a fifth of its epochs, at a tenth of its rate, with all of its β."""
    return dataclasses.replace(
        steps, epochs=max(1, math.ceil(steps.epochs / 5)), peak=steps.peak / 10, warmup_steps=0, elbo_steps=0
    )


def peak_rate(config: Config) -> float:
    """The config's learning rate; else 1e-2 up to 64 units wide, then falling with the root of the widest layer."""
    if config.learning_rate is not None:
        return config.learning_rate
    if corruptions.create(config.corruption).marks:
        return MASKED_RATE
    return 1e-2 * math.sqrt(64 / max(64, *(config.hidden or ()), 64))


def _power(size: float, least: int, most: int) -> int:
    """The power of two at or below a size, within bounds."""
    return min(most, max(least, 1 << math.floor(math.log2(max(size, 1)))))


def _masked_batch(rows: int) -> int:
    """Some sixteen steps per epoch of a small table: each row comes with other hidden cells every time."""
    return max(_power(rows / 16, 32, 256), _power(rows / 64, 32, 1024))


def schedule_of(config: Config, rows: int) -> Schedule:
    """Fill in batch size and epochs for a number of training rows.

    Batches are made equally long rather than leaving a short one or dropping rows: every row is stepped on
    in every epoch.
    """
    masked = corruptions.create(config.corruption).marks
    batch = config.batch_size or (_masked_batch(rows) if masked else _power(rows / 64, 32, 1024))
    steps_per_epoch = max(1, math.ceil(rows / batch))
    fewest, most, steps = (20, 60, MASKED_STEPS) if masked else (50, 500, STEPS)
    epochs = config.epochs or min(most, max(fewest, math.ceil(steps / steps_per_epoch)))
    return Schedule(
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        rows_per_step=math.ceil(rows / steps_per_epoch),
        peak=peak_rate(config),
        cosine=config.schedule == "cosine",
        beta=config.beta,
        warmup_steps=config.warmup * steps_per_epoch,
        elbo_steps=config.bound_after * steps_per_epoch,
    )
