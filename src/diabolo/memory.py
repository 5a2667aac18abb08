"""Scratch memory that is kept between steps or tiles (L0).

Asking the system for a megabyte, and paging it in, costs ten times what an elementwise pass over it does; a loop that
keeps its tensors is spared that. Whoever passes a `Memory` along promises that results of the last round are done with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Memory"]


class Memory:
    """Named tensors, handed out again at each round.

    Args:
        targets: by network, where the gradient of each of its parameters is to be written; without, gradients go
            through PyTorch's accumulation.
    """

    def __init__(self, targets: dict[str, list[Tensor]] | None = None) -> None:
        self.targets = targets or {}
        self._kept: dict[str, Tensor] = {}

    def get(self, name: str, rows: int, width: int, like: Tensor) -> Tensor:
        """A tensor [rows, width] of `like`'s type and device; what it holds is left over."""
        kept = self._kept.get(name)
        if kept is None or kept.shape[0] < rows or kept.shape[1] != width or kept.dtype != like.dtype:
            kept = self._kept[name] = like.new_empty(rows, width)
        return kept[:rows]

    def ones(self, like: Tensor) -> Tensor:
        """[rows of `like`] ones."""
        rows = like.shape[0]
        kept = self._kept.get("ones")
        if kept is None or kept.shape[0] < rows:
            kept = self._kept["ones"] = like.new_ones(rows, 1)
        return kept[:rows, 0]
