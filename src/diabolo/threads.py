"""How many threads a piece of work is worth; the caller's setting comes back afterwards (L0)."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

__all__ = ["one_thread", "threads_for"]

#: Multiply-adds of one step or tile from which a second thread pays. Below, threads wait for each other longer
#: than they work: on a busy machine a small step took 35 ms with two threads and 1.4 ms with one.
PARALLEL = 5e8
#: Who runs on one thread: PyTorch's number of threads is one for the whole process.
ALONE = threading.RLock()


@contextlib.contextmanager
def threads_for(multiply_adds: float) -> Iterator[None]:
    """Run small work on one thread, which also makes it the same bit for bit whatever the machine has."""
    import torch

    before = torch.get_num_threads()
    # Set for large work too: MKL keeps to a number that was set, and changes a default one as it goes.
    torch.set_num_threads(1 if multiply_adds < PARALLEL else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run work of any size on one thread, one caller of this process after the other."""
    import torch

    with ALONE:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)
