"""The section `codec`: grids and distributions of a compressor, laid out as in a `*.dbl` file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from diabolo.artifact import Section
from diabolo.cards import Count, card_of
from diabolo.compress.chunk import Plan
from diabolo.compress.container import Header
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
        outside: whether files were written without it, which need it to be read.
        parameters: of the `Compressor` that was saved; None of one that a command has put there.
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


def asked_bounds(bounds: list[Any], schema: Any) -> list[list[Any] | None]:
    """The bounds of columns of floats, as a card has them."""
    import pyarrow as pa

    floats = [b for b, f in zip(bounds, schema, strict=True) if pa.types.is_floating(f.type)]
    return [None if b is None else [float(b.error), b.relative] for b in floats]


def codec_section(codec: Codec) -> Section:
    """A codec as a section."""
    plan, data = codec.plan, codec.data
    header = Header(plan.schema, plan.bounds, plan.grids, plan.slots, {}).to_bytes()
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
        plan = header.plan(header.model(data))
    except DAMAGE as error:
        raise ModelFileError(f"{path}: section 'codec' is damaged ({str(error)[:100]})") from None
    asked: list[list[Any] | None] = [None if b is None else [b[0], b[1]] for b in card.bounds]
    return Codec(plan, asked, card.outside, card.parameters, data)
