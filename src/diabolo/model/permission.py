"""Permission to run code: a user's own parts that a model file names are imported only for a reader who asks for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from diabolo.config import Config
from diabolo.errors import ConfigError, ModelFileError
from diabolo.model.autoencoder import Model
from diabolo.model.networks.own import OwnNetwork
from diabolo.model.own import is_own, source_of

__all__ = ["OwnPartCard", "check_permission", "own_network_card", "own_part_cards"]


@dataclasses.dataclass
class OwnPartCard:
    """Import path of a user's own part, and the SHA-256 of its module's source when it was fitted."""

    name: str
    sha256: str


def own_network_card(model: Model) -> OwnPartCard | None:
    """The card of a user's own network in a model file; None for a built-in one."""
    network = model.network
    return OwnPartCard(network.name, network.sha256) if isinstance(network, OwnNetwork) else None


def own_part_cards(model: Model) -> list[OwnPartCard]:
    """The cards of a user's own likelihoods and regularizer, each once."""
    parts: list[Any] = [model.regularizer, *(head.likelihood for head in model.heads)]
    found = {p.name: OwnPartCard(p.name, p.sha256) for p in parts if is_own(p.name)}
    return [found[name] for name in sorted(found)]


def check_permission(
    path: str | Path,
    config: Config,
    parameters: Mapping[str, Any],
    network: OwnPartCard | None,
    parts: Iterable[OwnPartCard],
    asked: bool,
) -> None:
    """Refuse to import code that nobody asked for, or another source than the one that was fitted.

    Args:
        path: model file.
        config: of the file.
        parameters: of the file's estimator; a refit would build the parts from them.
        network: the file's card of a user's own network.
        parts: the file's cards of a user's own likelihoods and regularizer.
        asked: whether the reader may import them.

    Raises:
        ModelFileError: names the part and what to do.
    """
    parts = list(parts)
    if _names([config.network, parameters.get("network")]) != ({network.name} if network else set()):
        raise ModelFileError(f"{path}: section 'main' does not name one network of the user's own, with its source")
    own = _names([*_parts(dataclasses.asdict(config)), *_parts(parameters)])
    if own != {p.name for p in parts}:
        raise ModelFileError(f"{path}: section 'main' does not name each part of the user's own, with its source")
    for kept, concept in [*([(network, "network")] if network else []), *((p, "part") for p in parts)]:
        if not asked:
            raise ModelFileError(
                f"{path}: its {concept} is {kept.name!r}, code that is not in the file; to import and run it, say "
                "load(path, own_network=True), or --own-network on the command line"
            )
        try:
            source, digest = source_of(kept.name, concept)
        except ConfigError as error:
            raise ModelFileError(f"{path}: {error}") from None
        if digest != kept.sha256:
            raise ModelFileError(
                f"{path}: {concept} {kept.name!r} was fitted with a source of SHA-256 {kept.sha256}; {source} has "
                f"{digest}: bring that source back, or fit again"
            )


def _parts(settings: Mapping[str, Any]) -> Iterator[Any]:
    """What settings name as likelihoods and regularizer."""
    yield from (settings.get("likelihood"), settings.get("regularizer"))
    single = settings.get("column_likelihood")
    yield from single.values() if isinstance(single, Mapping) else ()


def _names(specs: Iterable[Any]) -> set[str]:
    return {s if isinstance(s, str) else str(s["name"]) for s in specs if is_own(s)}
