"""Noise on numbers, and cells that are hidden, changed or exchanged."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor

from diabolo.data.encoding import Encoded, Encoding
from diabolo.model.corruption.base import Corruption, corruptions, hidden, per_cell
from diabolo.model.drawn import for_rows


@corruptions.register("none")
class NoCorruption(Corruption):
    """x̃ = x."""

    def __call__(self, x: Tensor, encoding: Encoding, lead: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return x


@corruptions.register("gaussian")
class GaussianNoise(Corruption):
    """x̃ = x + std · ε, ε ~ N(0, 1), on real columns and angles, in standardised units (Vincent et al. 2010)."""

    std: Annotated[float, Ge(0)] = 0.3

    def __call__(self, x: Tensor, encoding: Encoding, lead: tuple[int, ...], generator: torch.Generator) -> Tensor:
        def draw(shape: tuple[int, ...]) -> Tensor:
            noise = torch.zeros(shape, device=x.device)
            noise[..., : encoding.continuous].normal_(0, self.std, generator=generator)
            return noise

        return for_rows(draw, (*lead, *x.shape), generator).add_(x)


@corruptions.register("mask")
class Mask(Corruption):
    """x̃ hides each cell with probability `rate` as a missing one is hidden (Vincent et al. 2008).

    A hidden cell enters as 0, the mean. In a column with missing cells it is marked as missing too, so that the encoder
    learns to fill in. With a rate of "any" each row draws its own number of hidden cells, all numbers alike, the
    encoder is told which they are, and the distance is to the hidden cells: one network then knows each column given
    any others (Uria, Murray, Larochelle 2014, arXiv:1310.1757).
    """

    rate: Annotated[float, Gt(0), Lt(1)] | Literal["any"] = 0.25
    #: Cells whose distance counts: "all", or the "hidden" ones, whose sum is scaled up to all cells of the row.
    distance: Literal["all", "hidden"] = "all"

    @property
    def marks(self) -> bool:
        return self.rate == "any"

    def hide(
        self, rows: Encoded, encoding: Encoding, lead: tuple[int, ...], generator: torch.Generator
    ) -> Tensor | None:
        if self.rate != "any" and self.distance == "all":
            return None
        n, device = len(rows), rows.x.device
        slots, gaps = encoding.places_on(device)[0]
        shape = (*lead, n, len(slots))
        rank = for_rows(lambda s: torch.rand(s, device=device, generator=generator), shape, generator)
        share = self._share(n, lead, device, generator)
        # A variable comes before those that need it: what is hidden of it hides them too.
        for parent in (gaps, slots):
            rank = rank.scatter_reduce(-1, parent.expand(rank.shape), rank, "amin")
        return rank > 1 - share

    def _share(
        self, rows: int, lead: tuple[int, ...], device: torch.device, generator: torch.Generator
    ) -> Tensor | float:
        """The share of each row's cells that is hidden, [*lead, B, 1], or one for all.

        A uniform share makes the number of hidden cells uniform from none to all; it is stratified over the rows.
        """
        if self.rate != "any":
            return self.rate

        def draw(shape: tuple[int, ...]) -> Tensor:
            order = torch.rand(shape, device=device, generator=generator).argsort(-1).argsort(-1)
            return (order + torch.rand(shape, device=device, generator=generator)) / shape[-1]

        return for_rows(draw, (*lead, rows), generator, axis=-1).unsqueeze(-1)

    def __call__(self, x: Tensor, encoding: Encoding, lead: tuple[int, ...], generator: torch.Generator) -> Tensor:
        cells = per_cell(x, encoding, lead, generator)
        return hidden(x, cells >= self._share(x.shape[-2], lead, x.device, generator), encoding)


@corruptions.register("salt_and_pepper")
class SaltAndPepper(Corruption):
    """x̃ sets a cell, with probability rate/2 each, to its column's lowest or highest training value.

    A boolean becomes 0 or 1. An angle or a category has no extremes: it becomes any of its values, all equally likely
    (Vincent et al. 2010, sec. 3.3).
    """

    rate: Annotated[float, Gt(0), Lt(1)] = 0.25

    def __call__(self, x: Tensor, encoding: Encoding, lead: tuple[int, ...], generator: torch.Generator) -> Tensor:
        # A cell below 1 is hit; its place between 0 and 1 decides the new value.
        place = per_cell(x, encoding, lead, generator) / self.rate
        out = x.expand(*lead, *x.shape).clone()
        for block in encoding.blocks:
            columns = len(block.columns)
            if block.kind in ("slots", "missing"):
                continue
            part = place[..., block.cell : block.cell + columns]
            if block.kind == "angle":
                turn = 2 * torch.pi * part
                noise = torch.cat([turn.cos(), turn.sin()], dim=-1)
            elif block.stop - block.start > columns:
                levels = (block.stop - block.start) // columns
                drawn = (part * levels).long().clamp_max(levels - 1)
                noise = (drawn.unsqueeze(-2) == torch.arange(levels, device=x.device)[:, None]).flatten(-2).to(x.dtype)
            else:
                low, high = encoding.range_on(block, x.device)
                noise = torch.where(part < 0.5, low, high)
            inputs = slice(block.start, block.stop)
            hit = (part < 1).tile((block.stop - block.start) // columns)
            out[..., inputs] = torch.where(hit, noise, out[..., inputs])
        return out


@corruptions.register("swap")
class Swap(Corruption):
    """x̃ gives each cell, with probability `rate`, that cell's value in another row of the batch.

    Each column keeps its distribution, and loses its relation to other columns. An angle's cosine and sine, or a
    category's levels, move as one.
    """

    rate: Annotated[float, Gt(0), Lt(1)] = 0.15

    def __call__(self, x: Tensor, encoding: Encoding, lead: tuple[int, ...], generator: torch.Generator) -> Tensor:
        n = x.shape[0]
        place = per_cell(x, encoding, lead, generator) / self.rate
        own = torch.arange(n, device=x.device)[:, None]
        # A number below the rate is uniform there, so it also chooses one of the n − 1 other rows.
        step = 1 + (place * (n - 1)).long().clamp_max(max(n - 2, 0))
        source = torch.where(place < 1, own + step, own) % n
        cell = encoding.places_on(x.device)[2]
        out = x.expand(*lead, *x.shape).clone()
        inputs = out[..., : len(cell)]
        out[..., : len(cell)] = inputs.gather(-2, source[..., cell])
        return out
