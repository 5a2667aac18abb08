"""Cards of a file's sections: typed checks that name each fault, and Python objects as plain JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import numpy as np
from annotated_types import Ge

from diabolo.errors import DAMAGE, ConfigError, ModelFileError
from diabolo.registry import spec_of, validated

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["Count", "card_of", "finite", "jsonable"]

Count = Annotated[int, Ge(0)]
AnyCard = TypeVar("AnyCard", bound="DataclassInstance")


def card_of(path: str | Path, cls: type[AnyCard], card: dict[str, Any]) -> AnyCard:
    """A card as the dataclass that describes it.

    Raises:
        ModelFileError: an entry that is unknown, missing or wrong.
    """
    try:
        built = validated(cls, card, f"{path}: card")
        unknown = next(_unknown(card, dataclasses.asdict(built)), None)
    except ConfigError as error:
        raise ModelFileError(str(error)[:600]) from None
    except DAMAGE as error:
        raise ModelFileError(f"{path}: card makes no sense: {str(error)[:300]}") from None
    if unknown is not None:
        raise ModelFileError(f"{path}: card has the unknown entry {unknown!r}; the file is damaged, or upgrade diabolo")
    return built


def _unknown(given: Any, used: Any, where: str = "") -> Iterator[str]:
    """Names of entries, at any depth, that no check has read."""
    if isinstance(given, dict) and isinstance(used, dict):
        for key, value in given.items():
            if key not in used:
                yield f"{where}{key}"
            else:
                yield from _unknown(value, used[key], f"{where}{key}.")
    elif isinstance(given, list):
        for i, (value, kept) in enumerate(zip(given, used, strict=False)):
            yield from _unknown(value, kept, f"{where}{i}.")


def finite(value: Any) -> Any:
    """JSON has no infinity: a validation that was not finite becomes null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def jsonable(value: object) -> Any:
    """A parameter as plain JSON; null for an object that has none."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [jsonable(v) for v in value]
    if isinstance(value, dict):
        return {str(k): jsonable(v) for k, v in value.items()}
    if dataclasses.is_dataclass(value) and hasattr(value, "name"):
        return spec_of(value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else None
