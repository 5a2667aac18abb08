"""What all chunks of a file share, and what coding them came to."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from diabolo.compress.autoregressive import Autoregressive
from diabolo.compress.grid import Bound, Grid
from diabolo.compress.image_model import ImageModel
from diabolo.compress.nested import Nest

__all__ = ["Plan", "Tally", "network_of"]


def network_of(codec: bytes) -> str:
    """The network that a codec section holds, in words."""
    if not codec:
        return "no network: simple ways only"
    return "an autoencoder of images" if codec[0] == 0 else "an autoregressive network"


@dataclasses.dataclass
class Plan:
    """What all chunks of a file share."""

    schema: Any
    bounds: list[Bound | None]
    grids: list[Grid | None]
    #: Columns of floats that are all +0.0 together where an object is absent.
    slots: list[list[int]]
    autoregressive: Autoregressive | None = None
    images: ImageModel | None = None
    #: Schema of the table where columns are structs or arrays, which `schema` has by field and cell.
    nested: Any = None
    #: Whether values of lists are coded one by one; files of version 2 carry lists as they are.
    lists: bool = True

    @functools.cached_property
    def nest(self) -> Nest:
        return Nest(self.outer)

    @property
    def outer(self) -> Any:
        """Schema of the table."""
        return self.schema if self.nested is None else self.nested

    def with_outer(self, schema: Any) -> Plan:
        """The plan for a table of the same columns, with what else that table's schema notes."""
        if self.nested is None:
            return dataclasses.replace(self, schema=schema)
        return dataclasses.replace(self, schema=Nest(schema).flat, nested=schema)

    @property
    def codec(self) -> bytes:
        """The codec section, empty without one."""
        model = self.autoregressive or self.images
        return b"" if model is None else model.to_bytes()

    @property
    def order(self) -> list[int]:
        """The order in which columns are coded."""
        first = [] if self.autoregressive is None else self.autoregressive.order
        return [*first, *(i for i in range(len(self.schema)) if i not in set(first))]


@dataclasses.dataclass
class Tally:
    """What coding a chunk came to, by column in schema order."""

    bits: np.ndarray
    worst: np.ndarray
    squares: np.ndarray
    values: np.ndarray
    by_model: np.ndarray
    escapes: np.ndarray
    #: Whether the errors (`worst`, and the sum of their `squares`) are known: of what decodes, in units of the bound.
    verified: bool = False

    @staticmethod
    def of(columns: int) -> Tally:
        bits, worst, squares, values, by_model, escapes = np.zeros((6, columns))
        return Tally(bits, worst, squares, values, by_model, escapes)

    def add(self, other: Tally) -> None:
        self.worst = np.maximum(self.worst, other.worst)
        for name in ("bits", "squares", "values", "by_model", "escapes"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
