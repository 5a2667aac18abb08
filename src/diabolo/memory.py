"""Scratch memory that is kept between steps or tiles (L0).

A new megabyte from the system costs ten times as much as an elementwise pass over it. A loop that keeps its tensors
saves that. A caller that passes a `Memory` along must not use results of the previous round any more.
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
        #: Networks whose targets the current pass has overwritten; cleared at the start of a pass.
        self.written: set[str] = set()
        self._kept: dict[tuple[str, tuple[int, ...]], Tensor] = {}
        self._made: dict[str, Any] = {}

    def get(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """A tensor of `shape`, of `like`'s type and device, with left-over contents."""
        key = (name, shape)
        kept = self._kept.get(key)
        if kept is None or kept.dtype != like.dtype:
            if len(self._kept) >= MOST:
                self._kept.clear()
            kept = self._kept[key] = like.new_empty(shape)
        return kept

    def tensors(self) -> list[Tensor]:
        """All that is kept, for who needs it to stay after it is no longer."""
        return list(self._kept.values())

    def once(self, name: str, make: Callable[[], T]) -> T:
        """The result of `make`, which depends on parameters alone; where these are frozen, it is made once."""
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
