"""Permission to run code: a model file's own network is imported only for a reader who asks for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diabolo.errors import ConfigError, ModelFileError
from diabolo.model.networks import Network
from diabolo.model.networks.own import OwnNetwork, is_own, source_of
from diabolo.registry import Spec

__all__ = ["OwnNetworkCard", "check_permission", "own_network_card"]


@dataclasses.dataclass
class OwnNetworkCard:
    """Import path of a user's own network, and the SHA-256 of its module's source when it was fitted."""

    name: str
    sha256: str


def own_network_card(network: Network) -> OwnNetworkCard | None:
    """The card of a user's own network in a model file; None for a built-in one."""
    return OwnNetworkCard(network.name, network.sha256) if isinstance(network, OwnNetwork) else None


def check_permission(
    path: str | Path, network: Spec, parameters: Mapping[str, Any], kept: OwnNetworkCard | None, asked: bool
) -> None:
    """Refuse to import code that nobody asked for, or another source than the one that was fitted.

    Args:
        path: model file.
        network: of the file's config.
        parameters: of the file's estimator; a refit would build the network from them.
        kept: the file's card of a user's own network.
        asked: whether the reader may import it.

    Raises:
        ModelFileError: names the network and what to do.
    """
    specs: list[Any] = [network, parameters.get("network")]
    names = {s if isinstance(s, str) else str(s["name"]) for s in specs if is_own(s)}
    if names != ({kept.name} if kept else set()):
        raise ModelFileError(f"{path}: section 'main' does not name one network of the user's own, with its source")
    if kept is None:
        return
    if not asked:
        raise ModelFileError(
            f"{path}: its network is {kept.name!r}, code that is not in the file; to import and run it, say "
            "load(path, own_network=True), or --own-network on the command line"
        )
    try:
        source, digest = source_of(kept.name)
    except ConfigError as error:
        raise ModelFileError(f"{path}: {error}") from None
    if digest != kept.sha256:
        raise ModelFileError(
            f"{path}: network {kept.name!r} was fitted with a source of SHA-256 {kept.sha256}; {source} has {digest}: "
            "bring that source back, or fit again"
        )
