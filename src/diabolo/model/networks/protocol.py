"""What a network family is, and the registry of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

from diabolo.model.networks.operations import Operation
from diabolo.registry import Registry

__all__ = ["Network", "Shape", "networks"]

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


class _Networks(Registry[Network]):
    """The networks that are built in, and a user's own by import path."""

    def create(self, spec: Any) -> Network:
        """Build a network; a name like "mypackage.mymodule:MyNetwork" imports that class."""
        from diabolo.model.networks.own import OwnNetwork, is_own, own_network

        if isinstance(spec, OwnNetwork):
            return spec
        return own_network(spec) if is_own(spec) else super().create(spec)


networks: Registry[Network] = _Networks("network")
