"""Scratch memory that is kept between steps or tiles (L0).

Asking the system for a megabyte, and paging it in, costs ten times what an elementwise pass over it does; a loop that
keeps its tensors is spared that. Whoever passes a `Memory` along promises that results of the last round are done with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Memory"]

#: Tensors kept at most; loops have batches of two or three lengths and some twenty names.
MOST = 512


class Memory:
    """Named tensors, handed out again at each round.

    Args:
        targets: by network, where the gradient of each of its parameters is to be written; without, gradients go
            through PyTorch's accumulation.
    """

    def __init__(self, targets: dict[str, list[Tensor]] | None = None) -> None:
        self.targets = targets or {}
        #: Networks whose targets the pass under way has written over; who starts a pass clears it.
        self.written: set[str] = set()
        self._kept: dict[tuple[str, tuple[int, ...]], Tensor] = {}

    def get(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """A tensor of `shape`, of `like`'s type and device; what it holds is left over."""
        key = (name, shape)
        kept = self._kept.get(key)
        if kept is None or kept.dtype != like.dtype:
            if len(self._kept) >= MOST:
                self._kept.clear()
            kept = self._kept[key] = like.new_empty(shape)
        return kept

    def ones(self, like: Tensor) -> Tensor:
        """[rows] ones, for `like` [*, rows, columns]."""
        key = ("ones", (like.shape[-2],))
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = like.new_ones(like.shape[-2])
        return kept
