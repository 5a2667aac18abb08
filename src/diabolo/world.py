"""The processes that fit one model together, and what they tell each other; one process alone is a world of its own.

Every process calls the same methods in the same order. Sums add the processes' parts in the order of their ranks, so
their bits do not depend on who was first.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from diabolo.errors import ConfigError, WorkerError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ALONE", "ENDED", "Total", "World", "is_rank", "join"]

#: Sums over the rows of this process as sums over those of all; see `World.total`.
Total = Callable[[Sequence["Tensor"]], list["Tensor"]]

#: What the others say of a process that has ended.
ENDED = "another process of this fit has ended"
#: How long one process may read rows while others wait for it; one that ends is noticed at once.
PATIENCE = datetime.timedelta(days=7)
#: What a launcher tells each process that it starts.
TOLD = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclasses.dataclass(frozen=True)
class World:
    """`size` processes, of which this one is number `rank`.

    >>> import torch
    >>> ALONE.total([torch.ones(2)])[0].tolist(), [a.tolist() for a in ALONE.arrays(np.arange(2))]
    ([1.0, 1.0], [[0, 1]])
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and talks to the person."""
        return self.rank == 0

    def share(self, n: int) -> slice:
        """The consecutive ones of n things that are this process's.

        >>> [World(r, 3).share(10) for r in range(3)]
        [slice(0, 3, None), slice(3, 6, None), slice(6, 10, None)]
        """
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def total(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """The sum of each tensor over the processes, by rank."""
        import torch

        if self.size == 1:
            return list(parts)
        kind = torch.float64 if any(p.dtype == torch.float64 for p in parts) else torch.float32
        flat = torch.cat([p.detach().reshape(-1).to("cpu", kind) for p in parts])
        every = self._every(flat)
        out = every[0].clone()
        for other in every[1:]:
            out += other
        pieces = torch.split(out, [p.numel() for p in parts])
        return [
            piece.to(part.device, part.dtype).reshape(part.shape) for piece, part in zip(pieces, parts, strict=True)
        ]

    def add_(self, *parts: Tensor) -> None:
        """`total` in place."""
        if self.size > 1:
            for part, value in zip(parts, self.total(parts), strict=True):
                part.copy_(value)

    def first_(self, *parts: Tensor) -> None:
        """Overwrite each tensor by that of rank 0."""
        import torch.distributed as group

        for part in parts if self.size > 1 else ():
            held = part.cpu().contiguous()
            with _answered():
                group.broadcast(held, 0)
            part.copy_(held)

    def arrays(self, own: np.ndarray) -> list[np.ndarray]:
        """Every process's array, by rank; they may differ in length, not in the other axes."""
        import torch

        if self.size == 1:
            return [own]
        lengths = [int(n) for n in self._every(torch.tensor([len(own)]))]
        data = np.ascontiguousarray(own)
        row = data.itemsize * int(np.prod(data.shape[1:]))
        padded = np.zeros(max(lengths) * row, np.uint8)
        padded[: len(own) * row] = data.reshape(-1).view(np.uint8)
        found = [t.numpy()[: n * row] for t, n in zip(self._every(torch.from_numpy(padded)), lengths, strict=True)]
        return [f.view(data.dtype).reshape(n, *data.shape[1:]) for f, n in zip(found, lengths, strict=True)]

    def joined(self, own: np.ndarray) -> np.ndarray:
        """Every process's array, one behind the other."""
        return own if self.size == 1 else np.concatenate(self.arrays(own))

    def texts(self, own: str) -> list[str]:
        """Every process's text."""
        return [a.tobytes().decode() for a in self.arrays(np.frombuffer(own.encode(), np.uint8))]

    def _every(self, own: Tensor) -> list[Tensor]:
        import torch
        import torch.distributed as group

        found = [torch.empty_like(own) for _ in range(self.size)]
        if own.numel():
            with _answered():
                group.all_gather(found, own)
        return found


@contextlib.contextmanager
def _answered() -> Iterator[None]:
    """Say what it means that another process does not answer.

    Raises:
        WorkerError: it has ended.
    """
    try:
        yield
    except RuntimeError as error:
        raise WorkerError(f"{ENDED} ({' '.join(str(error).split())[:120]}); --resume goes on once all run") from None


ALONE = World()


def is_rank() -> bool:
    """Whether a launcher has started this process as one of several.

    >>> is_rank()
    False
    """
    return all(name in os.environ for name in TOLD)


def join() -> World:
    """The world of this process, by what its launcher says: that of `torchrun`.

    Raises:
        ConfigError: no launcher has started it, or the others do not answer.
    """
    import torch
    import torch.distributed as group

    if not is_rank():
        raise ConfigError(f"no launcher has started this process: {', '.join(TOLD)} are not set; start it by torchrun")
    try:
        if not group.is_initialized():
            group.init_process_group("gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError, OSError) as error:
        raise ConfigError(f"the processes of this fit cannot reach each other: {str(error)[:200]}") from None
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    return World(group.get_rank(), group.get_world_size())
