"""One chunk of rows as bytes, and back; a chunk needs nothing but the file's plan."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from diabolo.compress.bytesio import BytesReader, BytesWriter, pack
from diabolo.compress.coder import Decoder, Interval, encode, lanes_for
from diabolo.compress.columns import (
    carried,
    integers,
    ipc,
    is_float,
    is_text,
    rebuilt,
    rebuilt_integers,
    whole_width,
)
from diabolo.compress.context import Context
from diabolo.compress.grid import Bound, Grid, bits_of, from_bits
from diabolo.compress.image_model import ImageModel
from diabolo.compress.integers import MODEL, Coded, coded, decoded
from diabolo.compress.limits import MOST_ROWS, Budget
from diabolo.compress.masked import Masked
from diabolo.compress.pixels import (
    BY_COLUMN,
    BY_MODEL,
    by_column,
    coded_pixels,
    decoded_pixels,
    pixel_columns,
    pixels_of,
)
from diabolo.data.weight import weight
from diabolo.errors import DAMAGE, CompressedFileError

__all__ = ["Plan", "Tally", "decode_chunk", "encode_chunk"]

#: Bits of a column's flags.
NULLS, ESCAPES = 1, 2
MOST_LANES = 1 << 12
#: Columns of pixels are tried one by one where a piece of images costs more than this share of their entropy.
NEAR = 0.95


@dataclasses.dataclass
class Plan:
    """What all chunks of a file share."""

    schema: Any
    bounds: list[Bound | None]
    grids: list[Grid | None]
    #: Columns of floats that are all +0.0 together where an object is absent.
    slots: list[list[int]]
    masked: Masked | None = None
    images: ImageModel | None = None

    @property
    def codec(self) -> bytes:
        """The codec section, empty without one."""
        model = self.masked or self.images
        return b"" if model is None else model.to_bytes()

    @property
    def order(self) -> list[int]:
        """The order in which columns are coded."""
        first = [] if self.masked is None else self.masked.order
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


class _Writing:
    def __init__(self, plan: Plan, rows: int) -> None:
        self.plan, self.rows = plan, rows
        self.head, self.tally = BytesWriter(), Tally.of(len(plan.schema))
        self.symbols: list[Interval] = []
        self.context: Context | None = None

    def put(self, values: np.ndarray, column: int, rival: Coded | None = None) -> None:
        best = coded(values, rival)
        self.head.data += best.head
        self.symbols += best.symbols
        self.tally.bits[column] += best.cost
        self.tally.by_model[column] += best.code == MODEL

    def piece(self, data: bytes, column: int) -> None:
        before = len(self.head.data)
        self.head.piece(data)
        self.tally.bits[column] += 8 * (len(self.head.data) - before)

    def column(self, i: int, array: Any, there: np.ndarray | None) -> None:
        kind = array.type
        import pyarrow as pa

        text, whole = is_text(kind), whole_width(kind)
        named = pa.types.is_dictionary(kind)
        if not (is_float(kind) or text or whole or named):
            self.head.number(0)
            self.tally.values[i] += self.rows
            return self.piece(pack(ipc(array)), i)
        flags, valid = 0, None
        if array.null_count:
            flags, valid = NULLS, ~array.is_null().to_numpy(zero_copy_only=False)
            array = array.drop_null()
        self.tally.values[i] += self.rows
        if is_float(kind):
            return self._floats(i, array, flags, valid, there)
        if text:
            array = array.dictionary_encode()
        self.head.number(flags)
        if valid is not None:
            self.put(valid.astype(np.int64), i)
        if text or named:
            self.piece(pack(ipc(array.dictionary)), i)
            array = array.indices
        self.put(integers(array), i)

    def _floats(self, i: int, array: Any, flags: int, valid: np.ndarray | None, there: np.ndarray | None) -> None:
        grid, bound = self.plan.grids[i], self.plan.bounds[i]
        size = array.type.bit_width // 8
        x = np.frombuffer(array.buffers()[1], f"<f{size}", len(array), array.offset * size)
        rows = np.ones(self.rows, bool) if there is None else there
        if valid is not None:
            x = x[rows[valid]]
            # Nulls are told of the rows that are there.
            told = valid[rows]
            rows = rows & valid
        else:
            x = x[rows]
        if grid is None:
            self.head.number(flags)
            if valid is not None:
                self.put(told.astype(np.int64), i)
            return self.put(bits_of(x), i)
        index = grid.index(x)
        y = grid.value(index)
        ok = bound.holds(x, y) if bound is not None else bits_of(x) == bits_of(y)
        self.tally.escapes[i] += int((~ok).sum())
        self.head.number(flags | (0 if ok.all() else ESCAPES))
        if valid is not None:
            self.put(told.astype(np.int64), i)
        if not ok.all():
            self.put((~ok).astype(np.int64), i)
        fits = np.flatnonzero(rows)[ok]
        masked, rival = self.plan.masked, None
        if masked is not None and self.context is not None and i in masked.place:
            rival = masked.coded(i, self.context, fits, index[ok])
        self.put(index[ok], i, rival)
        if self.context is not None and i in self.context.masked.place:
            self.context.learn(i, fits, index[ok])
        if not ok.all():
            self.put(bits_of(x[~ok]), i)


def encode_chunk(plan: Plan, batch: Any) -> tuple[bytes, Tally]:
    """A record batch of the plan's schema as bytes, and what they came to."""
    state = _Writing(plan, batch.num_rows)
    presence = _presence(plan, batch, state)
    pixels, inside = _pixels(plan, batch, state)
    for i in plan.order:
        if i not in inside:
            state.column(i, batch.column(i), presence.get(i))
    symbols = state.symbols
    lanes = lanes_for(float(state.tally.bits.sum()) - 8.0 * len(pixels))
    out = BytesWriter()
    out.number(batch.num_rows)
    out.number(lanes)
    out.piece(encode(symbols, lanes) if symbols else b"")
    return bytes(out.data + pixels + state.head.data), state.tally


def _pixels(plan: Plan, batch: Any, state: _Writing) -> tuple[bytes, set[int]]:
    """The piece of images and the columns in it: none where the schema has no images, or columns cost less."""
    there = pixel_columns(plan.schema)
    if there is None:
        return b"", set()
    columns, rows = there[1], batch.num_rows
    images = pixels_of(batch, columns)
    piece, way, bits = coded_pixels(plan.images, images)
    if images is not None and way != BY_COLUMN and bits > NEAR * by_column(images):
        trial = _Writing(plan, rows)
        for i in columns:
            trial.column(i, batch.column(i), None)
        if trial.tally.bits.sum() < bits:
            way = BY_COLUMN
    if way == BY_COLUMN:
        return bytes([BY_COLUMN]), set()
    state.tally.bits[columns] += bits / len(columns)
    state.tally.values[columns] += rows
    state.tally.by_model[columns] += way == BY_MODEL
    return piece, set(columns)


def _presence(plan: Plan, batch: Any, state: _Writing) -> dict[int, np.ndarray]:
    """Which rows have each slot, coded as masks of up to 32 slots."""
    there: dict[int, np.ndarray] = {}
    for start in range(0, len(plan.slots), 32):
        mask = np.zeros(batch.num_rows, np.int64)
        for bit, columns in enumerate(plan.slots[start : start + 32]):
            present = np.zeros(batch.num_rows, bool)
            for i in columns:
                array = batch.column(i)
                size = array.type.bit_width // 8
                cells = np.frombuffer(array.buffers()[1], f"<i{size}", len(array), array.offset * size)
                present |= cells != 0
                if array.null_count:
                    present |= array.is_null().to_numpy(zero_copy_only=False)
            there |= dict.fromkeys(columns, present)
            mask |= present.astype(np.int64) << bit
        state.put(mask, plan.slots[start][0])
    if plan.masked is not None:
        state.context = Context(plan.masked, batch.num_rows, there)
    return there


def decode_chunk(plan: Plan, data: bytes, expected: int | None = None) -> Any:
    """The record batch that `encode_chunk` coded, floats within their bounds.

    Args:
        expected: number of rows, where it is known.

    Raises:
        CompressedFileError: the bytes are damaged.
    """
    import pyarrow as pa

    reader = BytesReader(data)
    rows, lanes = reader.number(), reader.number()
    if rows > MOST_ROWS or not 1 <= lanes <= MOST_LANES:
        raise CompressedFileError(f"{rows:,} rows or {lanes:,} states are impossible")
    if expected is not None and rows != expected:
        raise CompressedFileError(f"has {rows:,} rows, not {expected:,}")
    symbols = reader.piece()
    state = _Reading(plan, rows, reader, Decoder(symbols or encode([], lanes), lanes), Budget(len(data)))
    try:
        there = state.presence()
        arrays = state.pixels()
        for i in plan.order:
            if i not in arrays:
                arrays[i] = state.column(i, plan.schema.field(i).type, there.get(i))
        reader.finish()
        state.decoder.finish()
        return pa.RecordBatch.from_arrays([arrays[i] for i in range(len(arrays))], schema=plan.schema)
    except (*DAMAGE, pa.ArrowException) as error:
        if isinstance(error, CompressedFileError):
            raise
        raise CompressedFileError(f"its cells make no sense ({str(error)[:100]})") from error


class _Reading:
    def __init__(self, plan: Plan, rows: int, reader: BytesReader, decoder: Decoder, budget: Budget) -> None:
        self.plan, self.rows, self.reader, self.decoder, self.budget = plan, rows, reader, decoder, budget
        self.context: Context | None = None

    def get(self, n: int, model: Any = None) -> np.ndarray:
        return decoded(self.reader, self.decoder, n, model)

    def presence(self) -> dict[int, np.ndarray]:
        there: dict[int, np.ndarray] = {}
        for start in range(0, len(self.plan.slots), 32):
            mask = self.get(self.rows)
            for bit, columns in enumerate(self.plan.slots[start : start + 32]):
                there |= dict.fromkeys(columns, (mask >> bit & 1).astype(bool))
        if self.plan.masked is not None:
            self.context = Context(self.plan.masked, self.rows, there)
        return there

    def pixels(self) -> dict[int, Any]:
        """Columns of a piece of images."""
        there = pixel_columns(self.plan.schema)
        if there is None:
            return {}
        self.budget.spend(self.rows * len(there[1]))
        images = decoded_pixels(self.plan.images, self.reader, self.rows, len(there[1]))
        if images is None:
            return {}
        return {i: rebuilt(images[:, k], self.plan.schema.field(i).type, None) for k, i in enumerate(there[1])}

    def column(self, i: int, kind: Any, there: np.ndarray | None) -> Any:
        import pyarrow as pa

        flags = self.reader.number()
        text, named = is_text(kind), pa.types.is_dictionary(kind)
        if not (is_float(kind) or text or whole_width(kind) or named):
            return carried(self.reader.piece(), kind, self.rows, self.budget)
        if not (text or named):
            self.budget.spend(self.rows * (whole_width(kind) or kind.bit_width // 8))
        rows = np.ones(self.rows, bool) if there is None else there.copy()
        valid = None
        if flags & NULLS:
            valid = np.ones(self.rows, bool)
            valid[rows] = self.get(int(rows.sum())).astype(bool)
            rows &= valid
        if is_float(kind):
            return rebuilt(self._floats(i, kind, flags, rows), kind, valid)
        if not (text or named):
            full = np.zeros(self.rows, np.int64)
            full[rows] = self.get(int(rows.sum()))
            return rebuilt_integers(full, kind, valid)
        words = carried(self.reader.piece(), kind.value_type if named else kind, None, self.budget)
        index = np.zeros(self.rows, np.int64)
        index[rows] = self.get(int(rows.sum()))
        if (index < 0).any() or (rows.any() and int(index[rows].max()) >= len(words)):
            raise CompressedFileError("a word that is not in its list")
        # Of one long word, each row may be another copy.
        places = pa.array(index, mask=None if valid is None else ~valid)
        self.budget.spend(weight(pa.DictionaryArray.from_arrays(places, words)))
        if text:
            return words.take(places)
        positions = rebuilt_integers(index, kind.index_type, valid)
        return pa.DictionaryArray.from_arrays(positions, words, ordered=kind.ordered)

    def _floats(self, i: int, kind: Any, flags: int, rows: np.ndarray) -> np.ndarray:
        n, dtype = int(rows.sum()), np.dtype(f"<f{kind.bit_width // 8}")
        full, grid, masked = np.zeros(self.rows, dtype), self.plan.grids[i], self.plan.masked
        if grid is None:
            full[rows] = from_bits(self.get(n), dtype)
            return full
        ok = ~self.get(n).astype(bool) if flags & ESCAPES else np.ones(n, bool)
        fits, model = np.flatnonzero(rows)[ok], None
        if masked is not None and self.context is not None and i in masked.place:
            model = masked.decoding(i, self.context, fits)
        index = self.get(len(fits), model)
        if self.context is not None and i in self.context.masked.place:
            self.context.learn(i, fits, index)
        x = np.empty(n, dtype)
        x[ok] = grid.value(index)
        if flags & ESCAPES:
            x[~ok] = from_bits(self.get(n - int(ok.sum())), dtype)
        full[rows] = x
        return full
