"""The registry of networks; a file of this folder that registers one is all that a new one needs."""

from __future__ import annotations

from collections.abc import Mapping

from diabolo.model.networks.own import OwnNetwork, own_network
from diabolo.model.networks.protocol import Network
from diabolo.model.own import is_own
from diabolo.registry import Registry, Spec

__all__ = ["networks"]


class _Networks(Registry[Network]):
    """The networks that are built in, and a user's own by import path."""

    def create(self, spec: Spec) -> Network:
        """Build a network; a name like "mypackage.mymodule:MyNetwork" imports that class."""
        if isinstance(spec, OwnNetwork):
            return spec
        return own_network(spec) if isinstance(spec, str | Mapping) and is_own(spec) else super().create(spec)


networks: Registry[Network] = _Networks("network", __package__)
