"""The interface of a network, built in or a user's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from diabolo.model.networks.operations import Operation

__all__ = ["Network", "Shape"]

#: Height, width and channels of the image that a row is, in C order.
Shape = tuple[int, int, int]


class Network(Protocol):
    """A registry entry: settings plus the rule from widths to operations."""

    @property
    def name(self) -> str: ...

    #: Whether rows must be images.
    needs_shape: ClassVar[bool]

    def encoder(self, inputs: int, hidden: Sequence[int], outputs: int, shape: Shape | None) -> list[Operation]:
        """Rows [n, inputs] → [n, outputs], over the widths `hidden`; `shape` where rows are images."""
        ...

    def decoder(self, inputs: int, hidden: Sequence[int], outputs: int, shape: Shape | None) -> list[Operation]:
        """The way back: `hidden` is in its own order; with `shape`, outputs are (parts, h, w, c) in C order."""
        ...

    def default_hidden(self, inputs: int, shape: Shape | None) -> tuple[int, ...]: ...
