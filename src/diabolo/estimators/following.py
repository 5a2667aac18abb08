"""A fit as a person follows it: by a bar, or by a line for each epoch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from diabolo.progress import in_notebook, progress, tick
from diabolo.train.progress import print_epoch
from diabolo.train.state import Epoch

__all__ = ["following"]

OnEpoch = Callable[[Epoch], None]


@contextlib.contextmanager
def following(verbose: int, what: str = "fit") -> Iterator[OnEpoch]:
    """What a fit calls after each epoch.

    Args:
        verbose: 0 for a bar on a terminal or in a notebook; from 1 up for a line an epoch outside of notebooks; below 0
            for nothing.
    """
    lines = verbose > 0 and not in_notebook()
    with progress(what, -1 if lines else verbose):
        yield print_epoch if lines else _Ticks()


class _Ticks:
    """Epochs as steps of a bar; the number of all of them follows from the time that is left."""

    def __init__(self) -> None:
        self.spent = 0.0

    def __call__(self, e: Epoch) -> None:
        self.spent += e.seconds
        left = round(e.left * e.epoch / self.spent) if self.spent > 0 else 0
        tick(e.epoch, e.epoch + left, f"epochs, validation {e.validation:.4f}")
