"""From table cells to network inputs and back: scaling, angles, presence, and what cannot be read.

    values [n, C] ──▶ x [n, D] = │ reals, integers, counts, ordinals │ cos │ sin │ booleans │ levels │ slots │ missing │

Absent and missing cells enter as 0. `present` tells the likelihood which cells count; a slot group adds
one column, its count of filled slots. The layout is a list of `Block`s, so nothing downstream knows
single features.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from diabolo.data.integer_inputs import IntegerInputs
from diabolo.data.marginals import Marginals
from diabolo.data.schema import Schema
from diabolo.device import Constants, on_cpu
from diabolo.memory import Memory

__all__ = ["LIMIT", "SCALED", "SIGMA_FLOOR", "Block", "Encoded", "Encoding"]

#: Standardised values beyond this overflow single precision once squared and summed.
LIMIT = 1e15
#: Smallest σ in standardised units, so that a column that another one determines keeps a density.
SIGMA_FLOOR = 1e-3

BlockKind = Literal["real", "integer", "count", "ordinal", "angle", "boolean", "categorical", "slots", "missing"]
#: Blocks whose cells are centred and scaled, one input each.
SCALED: tuple[BlockKind, ...] = ("real", "integer", "count", "ordinal")


@dataclasses.dataclass(frozen=True)
class Block:
    """Columns of one kind that share a likelihood: which outputs they are, and where their inputs lie."""

    kind: BlockKind
    columns: tuple[int, ...]
    start: int
    stop: int
    #: Position of its first column among the cells of `Encoded.present`.
    cell: int = 0


@dataclasses.dataclass
class Encoded:
    """Rows ready for a model; every mask is None where it would be trivial."""

    x: Tensor  #: [n, D] float32, standardised, not clipped
    present: Tensor | None = None  #: [n, cells] bool, in the order of the blocks: the cell is there and counts
    missing: Tensor | None = None  #: [n, C] bool: the cell should be there
    changed: Tensor | None = None  #: [n, watched columns] bool: differs from the constant, or a category never seen
    bad: Tensor | None = None  #: [n] bool: cannot be scored
    largest: float = float("inf")  #: a bound of |x|, where it is known for free
    memory: Memory | None = None  #: what a model may compute in; set by loops over many batches
    count: int | None = None  #: how many of the rows are asked for, the others fill a tile; None for all
    own: Tensor | None = None  #: [n] int64: which of the stored rows each is, −1 for none; set where a score asks

    def __len__(self) -> int:
        return self.x.shape[0]

    def rows(self, index: Any) -> Encoded:
        return self._mapped(lambda t: t[index])

    def take(self, index: Tensor, memory: Memory) -> Encoded:
        """Rows by position, good until the next call with the same memory."""

        def gather(name: str, t: Tensor) -> Tensor:
            return torch.index_select(t, 0, index, out=memory.get(name, (len(index), t.shape[1]), t))

        present = None if self.present is None else gather("present", self.present)
        return Encoded(gather("taken", self.x), present, largest=self.largest)

    def to(self, device: str) -> Encoded:
        return self._mapped(lambda t: t.to(device))

    def clipped(self, clip: float) -> Encoded:
        """What enters the encoder; the distance keeps the unclipped values."""
        return self if self.largest <= clip else dataclasses.replace(self, x=self.x.clamp(-clip, clip), largest=clip)

    def batch(self, part: slice, memory: Memory) -> Encoded:
        """A slice of rows for one training step."""
        present = None if self.present is None else self.present[part]
        return Encoded(self.x[part], present, largest=self.largest, memory=memory)

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> Encoded:
        masks = (self.present, self.missing, self.changed, self.bad, self.own)
        present, missing, changed, bad, own = (None if m is None else change(m) for m in masks)
        return Encoded(change(self.x), present, missing, changed, bad, self.largest, own=own)


class Encoding:
    """The fitted map between a table in original units and the network's inputs; lives in the file."""

    def __init__(
        self,
        schema: Schema,
        center: np.ndarray,
        scale: np.ndarray,
        clip: float,
        n_train: int,
        marginals: Marginals | None = None,
        inputs: IntegerInputs | None = None,
    ) -> None:
        self.schema, self.clip, self.n_train, self.marginals = schema, clip, n_train, marginals
        #: Where cells come as whole numbers.
        self.inputs = inputs
        self.center, self.scale = np.asarray(center, np.float64), np.asarray(scale, np.float64)
        self.real, self.integer, self.count = (
            schema.positions("real", "date"),
            schema.positions("integer"),
            schema.positions("count"),
        )
        self.ordinal = schema.positions("ordinal")
        self.scaled = [*self.real, *self.integer, *self.count, *self.ordinal]
        self.angle, self.boolean = schema.positions("angle"), schema.positions("boolean")
        self.categorical, self.constant = schema.positions("categorical"), schema.positions("constant")
        #: Columns whose cells may be none of those that the network knows.
        self.watched = [*self.constant, *self.ordinal, *self.categorical]
        self.nullable = [i for i, c in enumerate(schema.columns) if c.missing > 0 and c.kind != "constant"]
        #: Constants that training cells lack.
        self.gappy = [i for i in self.constant if schema.columns[i].missing > 0]
        self.blocks = self._lay_out()
        self.width = self.blocks[-1].stop
        #: (h, w, channels) where the inputs are an image and nothing else.
        self.shape = schema.shape if self.width == len(schema.columns) else None
        #: Inputs that carry a continuous value; noise is added to these alone.
        self.continuous = len(self.scaled) + 2 * len(self.angle)
        self.cells = [*self.scaled, *self.angle, *self.boolean, *self.categorical]
        self._plain = self.scaled == list(range(len(schema.columns))) and not schema.groups
        self._plain &= not self.count and not self.ordinal
        constants = [schema.columns[i] for i in self.constant]
        #: NaN for one that was never there: any value is a change.
        self.constant_values = [c.low if c.missing < 1 else float("nan") for c in constants]
        #: What `encode` and others look up, on each device.
        self._fixed = Constants()

    def _lay_out(self) -> list[Block]:
        sizes: list[tuple[BlockKind, list[int], int]] = [
            ("real", self.real, len(self.real)),
            ("integer", self.integer, len(self.integer)),
            ("count", self.count, len(self.count)),
            *(("ordinal", [c], 1) for c in self.ordinal),
            ("angle", self.angle, 2 * len(self.angle)),
            ("boolean", self.boolean, len(self.boolean)),
        ]
        sizes += [("categorical", [c], len(self.schema.columns[c].levels)) for c in self.categorical]
        offset = len(self.schema.columns)
        sizes += [("slots", [offset + g], len(group.slots)) for g, group in enumerate(self.schema.groups)]
        sizes += [("missing", self.nullable, len(self.nullable))]
        blocks: list[Block] = []
        start = cell = 0
        for kind, columns, width in sizes:
            if width:
                blocks.append(Block(kind, tuple(columns), start, start + width, cell))
                start, cell = start + width, cell + len(columns)
        return blocks

    @functools.cached_property
    def parents(self) -> tuple[Tensor, Tensor]:
        """Of each variable the one that must be known before it: its slot group, and whether it is missing.

        Variables are cells first, then the counts of slot groups, then whether nullable cells are missing. One that
        needs none has itself.
        """
        groups, n = self.schema.groups, len(self.cells)
        by_slot = torch.arange(n + len(groups) + len(self.nullable))
        by_gap, place = by_slot.clone(), {c: i for i, c in enumerate(self.cells)}
        for g, group in enumerate(groups):
            for c in (c for slot in group.slots for c in slot if c in place):
                by_slot[place[c]] = n + g
        for i, c in enumerate(self.nullable):
            by_gap[place[c]] = n + len(groups) + i
        return by_slot, by_gap

    @functools.cached_property
    def variable_of_input(self) -> Tensor:
        """Which variable, in the order of `parents`, each of the D inputs is part of."""
        n = len(self.cells)
        out = [self.cell_of_input]
        for block in self.blocks:
            if block.kind == "slots":
                out.append(torch.full((block.stop - block.start,), n + block.columns[0] - len(self.schema.columns)))
            elif block.kind == "missing":
                out.append(n + len(self.schema.groups) + torch.arange(len(block.columns)))
        return torch.cat(out)

    @functools.cached_property
    def cell_of_input(self) -> Tensor:
        """Which of `cells` each input is part of, for the leading inputs, those that carry a cell's value.

        Inputs of one cell (an angle's cosine and sine, a category's levels) lie a block's number of columns apart.
        """
        valued = [b for b in self.blocks if b.kind not in ("slots", "missing")]
        return torch.cat([b.cell + torch.arange(b.stop - b.start) % len(b.columns) for b in valued])

    def places_on(self, device: torch.device) -> tuple[tuple[Tensor, Tensor], Tensor, Tensor]:
        """`parents`, `variable_of_input` and `cell_of_input` on a device."""
        return self._fixed("places", device, lambda: (self.parents, self.variable_of_input, self.cell_of_input))

    def range_of(self, block: Block) -> tuple[Tensor, Tensor]:
        """Lowest and highest training value of a block's columns as they enter the network: standardised, clipped."""
        at = list(block.columns)
        ends = np.array([[self.schema.columns[c].low, self.schema.columns[c].high] for c in at]).T
        scaled = ((ends - self.center[at]) / self.scale[at]).clip(-self.clip, self.clip)
        low, high = torch.tensor(scaled, dtype=torch.float32)
        return low, high

    def range_on(self, block: Block, device: torch.device) -> tuple[Tensor, Tensor]:
        """`range_of` on a device."""
        return self._fixed(("range", block.start), device, lambda: self.range_of(block))

    def may_lack(self, columns: int, device: torch.device) -> Tensor:
        """Which of the first columns some training row lacks, [columns] bool."""

        def made() -> Tensor:
            found = torch.zeros(columns, dtype=torch.bool)
            found[[*self.nullable, *self.gappy]] = True
            return found

        return self._fixed(("lack", columns), device, made)

    def gappy_on(self, device: torch.device) -> Tensor:
        """Share of training rows that lack each of `gappy`, on a device."""
        share = [self.schema.columns[c].missing for c in self.gappy]
        return self._fixed("gappy", device, lambda: torch.tensor(share, dtype=torch.float32))

    def gaps_on(self, device: torch.device) -> Tensor:
        """Share of training rows that lack each of `cells`, on a device."""
        return self._fixed("gaps", device, lambda: torch.tensor([self.schema.columns[c].missing for c in self.cells]))

    # ── table → inputs ────────────────────────────────────────────────────────────────────────────

    def encode(self, values: Tensor, memory: Memory | None = None) -> Encoded:
        """Map cells to inputs; never raises on a value: what cannot be scored is marked `bad`.

        With `memory`, the result is good until the next call with the same. Away from the processor every mask is made,
        for only the values would tell which are trivial.
        """
        if self._plain and not self.nullable and len(values) and on_cpu(values):
            center, inverse = self._affine(values)
            out = None if memory is None else memory.get("x", (len(values), values.shape[1]), values)
            x = torch.sub(values, center, out=out).mul_(inverse).to(torch.float32)
            x = x if self.inputs is None else self._whole(values, self.inputs)
            low, high = (float(v) for v in torch.aminmax(x))
            if low > -LIMIT and high < LIMIT:
                return Encoded(x, largest=max(-low, high), memory=memory)
        rows = self._encode_masked(values)
        rows.memory = memory
        return rows

    def _affine(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Centers and reciprocal scales in the type of values, where they lie."""
        dtype = values.dtype
        return self._fixed(
            dtype,
            values.device,
            lambda: (torch.tensor(self.center, dtype=dtype), torch.tensor(1 / self.scale, dtype=dtype)),
        )

    def at(self, columns: list[int], device: torch.device) -> Tensor:
        """Positions as a tensor on a device; a list would be copied there at each use."""
        return self._fixed(tuple(columns), device, lambda: torch.tensor(columns, dtype=torch.long))

    def _whole(self, values: Tensor, inputs: IntegerInputs) -> Tensor:
        """Cells as the hardware of a trigger makes them; what is no number stays none."""
        cells = values.numpy()
        found = np.isfinite(cells)
        x = inputs.inputs(inputs.words(np.where(found, cells, 0.0))) * 2.0**-inputs.fraction
        return torch.from_numpy(np.where(found, x, cells).astype(np.float32))

    def _encode_masked(self, values: Tensor) -> Encoded:
        center, inverse = self._affine(values)
        at = functools.partial(self.at, device=values.device)
        missing = torch.isnan(values)
        present = ~missing
        presences = []
        for number in range(len(self.schema.groups)):
            slots = self._slots(number, values.device)
            filled = (values[:, slots] != 0).any(dim=-1)  # [n, slots]
            presences.append(filled)
            present[:, slots] &= filled[:, :, None]
        scaled = ((values - center) * inverse).to(torch.float32)
        scaled = scaled if self.inputs is None else self._whole(values, self.inputs)
        unreadable = ~missing & ~(scaled.abs() < LIMIT)
        # A constant never enters the network, so its size is no obstacle.
        if self.constant:
            unreadable[:, at(self.constant)] = torch.isinf(values[:, at(self.constant)])
        keep = present & ~unreadable
        scaled = torch.where(keep, scaled, 0.0)
        if self.count:
            unreadable[:, at(self.count)] |= values[:, at(self.count)] < 0
        cells = []
        if self.scaled:
            cells.append(scaled[:, at(self.scaled)])
        if self.angle:
            phi, there = values[:, at(self.angle)], keep[:, at(self.angle)]
            phi = torch.where(there, phi, 0.0)
            cells += [torch.where(there, phi.cos(), 0.0), torch.where(there, phi.sin(), 0.0)]
        if self.boolean:
            # Beyond [0, 1] there is no Bernoulli likelihood: such a cell cannot be scored.
            cell = scaled[:, at(self.boolean)]
            unreadable[:, at(self.boolean)] |= (cell - 0.5).abs() > 0.5
            cells.append(cell.clamp(0, 1))
        unknown = self._levels(values, present, cells)
        cells += presences
        if self.nullable:
            cells.append(missing[:, at(self.nullable)])
        x = torch.cat([c.to(torch.float32) for c in cells], dim=1)
        modelled = [i for i in range(values.shape[1]) if i not in self.constant]
        bad = unreadable.any(dim=1) | missing[:, at(modelled)].all(dim=1)
        changed = torch.cat([self._other(values), *unknown], dim=1) if self.watched else None
        there = present[:, at(self.cells)]
        if not on_cpu(values):
            return Encoded(x, there, missing, changed, bad)
        return Encoded(
            x,
            None if bool(there.all()) else there,
            missing if bool(missing.any()) else None,
            changed,
            bad if bool(bad.any()) else None,
        )

    def _levels(self, values: Tensor, present: Tensor, cells: list[Tensor]) -> list[Tensor]:
        """Which cells [n, 1] of ordinal and categorical columns have no level; the levels are added to the inputs."""
        unknown = []
        for c in self.ordinal:
            known = self._fixed(
                ("levels", c, values.dtype), values.device, functools.partial(self._level, c, values.dtype)
            )
            off = (values[:, c, None] - known).abs().amin(dim=-1)
            unknown.append(off > 1e-6 * self.scale[c])
            present[:, c] &= ~unknown[-1]
        for c in self.categorical:
            levels = len(self.schema.columns[c].levels)
            cells.append(values[:, c, None] == torch.arange(levels, device=values.device))
            unknown.append(values[:, c] >= levels)
            present[:, c] &= ~unknown[-1]
        return [u[:, None] for u in unknown]

    def _level(self, column: int, dtype: torch.dtype) -> Tensor:
        return self.level_values(column).to(dtype)

    def _slots(self, group: int, device: torch.device) -> Tensor:
        """Columns of a group's slots, [slots, columns]."""
        return self._fixed(("slots", group), device, lambda: torch.tensor(self.schema.groups[group].slots))

    def _constants(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Values of the constant columns, float64, and which of them are kept in single precision."""

        def made() -> tuple[Tensor, Tensor]:
            single = [self.schema.columns[i].dtype in ("float32", "float16") for i in self.constant]
            return torch.tensor(self.constant_values, dtype=torch.float64), torch.tensor(single, dtype=torch.bool)

        return self._fixed("constants", device, made)

    def _other(self, values: Tensor) -> Tensor:
        """Which constants [n, constant] have another value."""
        constants, rounded = self._constants(values.device)
        cell = values[:, self.at(self.constant, values.device)].to(torch.float64)
        # A column of single precision keeps its value however the new rows are held; any other is compared exactly.
        same = (cell == constants) | (rounded & (cell.float() == constants.float()))
        return ~same & ~torch.isnan(cell)

    def level_values(self, column: int) -> Tensor:
        """The numbers that an ordinal column takes, [levels] float64, rising."""
        return torch.tensor([float(word) for word in self.schema.columns[column].levels], dtype=torch.float64)

    def flags(self, values: np.ndarray) -> list[str | None]:
        """Say per row why it cannot be scored, or None; the slow twin of `bad`, called when needed."""
        names = self.schema.names
        out: list[str | None] = []
        bad = self.encode(torch.from_numpy(np.ascontiguousarray(values))).bad
        for i in range(len(values)):
            if bad is None or not bool(bad[i]):
                out.append(None)
                continue
            row = values[i]
            infinite = [names[j] for j in np.flatnonzero(np.isinf(row))]
            odd = [names[j] for j in self.boolean if row[j] < 0 or row[j] > 1]
            negative = [names[j] for j in self.count if row[j] < 0]
            if infinite:
                out.append(f"infinite: {', '.join(infinite[:3])}")
            elif odd:
                out.append(f"outside 0..1: {', '.join(odd[:3])}")
            elif negative:
                out.append(f"negative count: {', '.join(negative[:3])}")
            elif np.isnan(np.delete(row, self.constant)).all():
                out.append("every cell is missing")
            else:
                far = np.nanargmax(np.abs((row.astype(np.float64) - self.center) / self.scale))
                out.append(f"overflow: {names[int(far)]}")
        return out

    # ── inputs → table ────────────────────────────────────────────────────────────────────────────

    def decode(self, parts: dict[int, Tensor]) -> Tensor:
        """Map one tensor per block, [*, columns of the block], back to cells [*, C] in original units."""
        first = next(iter(parts.values()))
        lead, device = first.shape[:-1], first.device
        values = torch.zeros(*lead, len(self.schema.columns), dtype=torch.float64, device=device)
        for i, block in enumerate(self.blocks):
            part, columns = parts[i].to(torch.float64), list(block.columns)
            if block.kind in SCALED:
                scale, center = self._scales(columns, device)
                part = part * scale + center
            elif block.kind == "angle":
                part = torch.where(self._turns(columns, device) & (part < 0), part + 2 * torch.pi, part)
            if block.kind not in ("slots", "missing"):
                values[..., self.at(columns, device)] = part
        for i, block in enumerate(self.blocks):
            if block.kind == "slots":
                slots = self._slots(block.columns[0] - len(self.schema.columns), device)
                filled = torch.arange(len(slots), device=device) < parts[i].round()
                values[..., slots] = torch.where(filled[..., None], values[..., slots], 0.0)
            elif block.kind == "missing":
                gone, at = parts[i] > 0.5, self.at(list(block.columns), device)
                values[..., at] = torch.where(gone, torch.nan, values[..., at])
        if self.constant:
            values[..., self.at(self.constant, device)] = self._constants(device)[0]
        if self.marginals is not None:
            atoms = self.marginals.atoms
            for column, low, high, atom in self._fixed("atoms", device, lambda: atoms):
                # A value that repeats comes back as itself, not to a rounding error.
                at = torch.searchsorted(high, values[..., column].contiguous()).clamp_max(len(atom) - 1)
                close = values[..., column] >= low[at]
                values[..., column] = torch.where(
                    close & (values[..., column] <= high[at]), atom[at], values[..., column]
                )
        return values

    def _scales(self, columns: list[int], device: torch.device) -> tuple[Tensor, Tensor]:
        """Scales and centers of some columns, float64."""
        return self._fixed(
            ("scales", *columns),
            device,
            lambda: (torch.tensor(self.scale[columns]), torch.tensor(self.center[columns])),
        )

    def _turns(self, columns: list[int], device: torch.device) -> Tensor:
        """Which of some angles lie between 0 and a whole turn."""
        return self._fixed(
            ("turns", *columns),
            device,
            lambda: torch.tensor([self.schema.columns[c].low >= 0 for c in columns]),
        )

    def values_of(self, x: Tensor) -> Tensor:
        """Cells [*, C] in original units of inputs [*, D], as `encode` gives them."""
        parts: dict[int, Tensor] = {}
        for i, block in enumerate(self.blocks):
            part = x[..., block.start : block.stop]
            if block.kind == "angle":
                c, s = part.chunk(2, dim=-1)
                part = torch.atan2(s, c)
            elif block.kind == "categorical":
                part = part.argmax(-1, keepdim=True)
            elif block.kind == "slots":
                part = part.sum(-1, keepdim=True)
            parts[i] = part
        return self.decode(parts)

    # ── what the likelihood and the file need ─────────────────────────────────────────────────────

    def sigma_floor(self, block: Block) -> np.ndarray:
        """Half a rounded column's spacing in standardised units, at least `SIGMA_FLOOR`."""
        # What a slot group's or an indicator's output has no spacing of, it does not ask for either.
        spacing = np.array([self.schema.columns[c].resolution for c in block.columns])
        least = SIGMA_FLOOR if self.inputs is None else max(SIGMA_FLOOR, 0.5 * 2.0**-self.inputs.fraction)
        return np.maximum(spacing / 2 / self.scale[list(block.columns)], least)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": self.schema.to_json(),
            "center": self.center.tolist(),
            "scale": self.scale.tolist(),
            "clip": self.clip,
            "n_train": self.n_train,
        }

    @staticmethod
    def from_json(state: dict[str, Any]) -> Encoding:
        schema = Schema.from_json(state["schema"])
        return Encoding(
            schema, state["center"], state["scale"], state["clip"], state["n_train"], state.get("marginals")
        )
