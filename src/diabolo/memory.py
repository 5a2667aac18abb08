"""Scratch memory that is kept between steps or tiles (L0).

Asking the system for a megabyte, and paging it in, costs ten times what an elementwise pass over it does; a loop that
keeps its tensors is spared that. Whoever passes a `Memory` along promises that results of the last round are done with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Memory"]

#: Tensors kept at most; loops have batches of two or three lengths and some twenty names.
MOST = 512

T = TypeVar("T")


class Memory:
    """Named tensors, handed out again at each round.

    Args:
        targets: by network, where the gradient of each of its parameters is to be written; without, gradients go
            through PyTorch's accumulation.
        frozen: whether it serves one model, whose parameters stay as they are.
    """

    def __init__(self, targets: dict[str, list[Tensor]] | None = None, frozen: bool = False) -> None:
        self.targets, self.frozen = targets or {}, frozen
        #: Networks whose targets the pass under way has written over; who starts a pass clears it.
        self.written: set[str] = set()
        self._kept: dict[tuple[str, tuple[int, ...]], Tensor] = {}
        self._made: dict[str, Any] = {}

    def get(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """A tensor of `shape`, of `like`'s type and device; what it holds is left over."""
        key = (name, shape)
        kept = self._kept.get(key)
        if kept is None or kept.dtype != like.dtype:
            if len(self._kept) >= MOST:
                self._kept.clear()
            kept = self._kept[key] = like.new_empty(shape)
        return kept

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What `make` makes of parameters alone: the first time only where they are frozen."""
        if not self.frozen:
            return make()
        if name not in self._made:
            self._made[name] = make()
        made: T = self._made[name]
        return made

    def ones(self, like: Tensor) -> Tensor:
        """[rows] ones, for `like` [*, rows, columns]."""
        key = ("ones", (like.shape[-2],))
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = like.new_ones(like.shape[-2])
        return kept
