"""The section `codec`: grids and distributions of a compressor, laid out as in a `*.dbl` file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from diabolo.artifact import Section
from diabolo.cards import Count, card_of
from diabolo.compress.columns import is_float, leaf
from diabolo.compress.container import Header
from diabolo.compress.grid import Bound
from diabolo.compress.nested import Nest
from diabolo.compress.plan import Plan
from diabolo.errors import DAMAGE, ModelFileError

__all__ = ["Codec", "asked_bounds", "codec_of", "codec_section"]


@dataclasses.dataclass
class CodecCard:
    """What the section says: header as in a `*.dbl` file, bytes of the codec section, and bounds of its floats."""

    header: str
    bytes: Count
    bounds: list[tuple[float, bool] | None]
    outside: bool = False
    parameters: dict[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class Codec:
    """A plan, and the bounds that it was learnt for.

    Attributes:
        plan: grids, distributions and bounds by column.
        asked: (ε, whether it is relative) of each column of floats, None for no loss.
        outside: whether there are files that were written without it, and need it to be read.
        parameters: of the `Compressor` that was saved; None where a command has added the codec.
    """

    plan: Plan
    asked: list[list[Any] | None]
    outside: bool = False
    parameters: dict[str, Any] | None = None
    #: The bytes that were read; files written without them name their SHA-256.
    read: bytes | None = None

    @property
    def data(self) -> bytes:
        """Its bytes, as a `*.dbl` file has them."""
        return self.plan.codec if self.read is None else self.read


def asked_bounds(bounds: list[Bound | None], schema: pa.Schema) -> list[list[Any] | None]:
    """The bounds of flat columns of floats, as a card has them."""
    floats = [b for b, f in zip(bounds, Nest(schema).flat, strict=True) if is_float(leaf(f.type))]
    return [None if b is None else [float(b.error), b.relative] for b in floats]


def codec_section(codec: Codec) -> Section:
    """A codec as a section."""
    plan, data = codec.plan, codec.data
    header = Header(plan.schema, plan.bounds, plan.grids, plan.slots, {}, nested=plan.nested).to_bytes()
    card = {"header": header.decode(), "bytes": len(data), "bounds": codec.asked}
    if codec.outside:
        card["outside"] = True
    if codec.parameters is not None:
        card["parameters"] = codec.parameters
    return Section(card, {"data": np.frombuffer(data + bytes(-len(data) % 8), "<u8").copy()})


def codec_of(path: str | Path, section: Section) -> Codec:
    """The codec of a section.

    Raises:
        ModelFileError: the section is damaged.
    """
    card: CodecCard = card_of(path, CodecCard, section.card)
    cells = section.tensors.get("data")
    if cells is None or cells.dtype != np.uint64 or cells.ndim != 1 or not 0 <= cells.nbytes - card.bytes < 8:
        raise ModelFileError(f"{path}: tensor 'codec/data' must be [n] U64 of {card.bytes:,} bytes")
    data = cells.tobytes()[: card.bytes]
    try:
        header = Header.from_bytes(card.header.encode())
        # A section older than the coding of lists: files written by it code them now.
        plan = dataclasses.replace(header.plan(header.model(data)), lists=True)
    except DAMAGE as error:
        raise ModelFileError(f"{path}: section 'codec' is damaged ({str(error)[:100]})") from None
    asked: list[list[Any] | None] = [None if b is None else [b[0], b[1]] for b in card.bounds]
    return Codec(plan, asked, card.outside, card.parameters, data)
