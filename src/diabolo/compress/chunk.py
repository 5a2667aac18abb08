"""One chunk of rows as bytes, and back; a chunk needs nothing but the file's plan."""

from __future__ import annotations

from typing import Any

import numpy as np

from diabolo.compress.bytesio import BytesReader, BytesWriter, pack
from diabolo.compress.coder import Decoder, Interval, encode, lanes_for
from diabolo.compress.columns import (
    carried,
    integers,
    ipc,
    is_coded,
    is_coded_list,
    is_float,
    is_text,
    rebuilt,
    rebuilt_integers,
    whole_width,
)
from diabolo.compress.context import Context
from diabolo.compress.grid import bits_of, from_bits
from diabolo.compress.integers import MODEL, Coded, coded, decoded
from diabolo.compress.limits import MOST_ROWS, Budget
from diabolo.compress.pixels import (
    BY_COLUMN,
    BY_MODEL,
    by_column,
    coded_pixels,
    decoded_pixels,
    pixel_columns,
    pixels_of,
)
from diabolo.compress.plan import Plan, Tally
from diabolo.data.weight import weight
from diabolo.errors import DAMAGE, CompressedFileError

__all__ = ["decode_chunk", "encode_chunk"]

#: Bits of a column's flags.
NULLS, ESCAPES = 1, 2
MOST_LANES = 1 << 12
#: Columns of pixels are tried one by one where a piece of images costs more than this share of their entropy.
NEAR = 0.95


class _Writing:
    def __init__(self, plan: Plan, rows: int) -> None:
        self.plan, self.rows = plan, rows
        self.head, self.tally = BytesWriter(), Tally.of(len(plan.schema))
        self.symbols: list[Interval] = []
        self.context: Context | None = None
        #: Lengths of lists that were coded, for columns of as long ones.
        self.lengths: list[np.ndarray] = []

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
        self.tally.values[i] += self.rows
        if self.plan.lists and is_coded_list(array.type):
            return self._list(i, array, True)
        if not is_coded(array.type):
            self.head.number(0)
            return self.piece(pack(ipc(array)), i)
        self._cells(i, array, there)

    def _cells(self, i: int, array: Any, there: np.ndarray | None, inside: bool = False) -> None:
        import pyarrow as pa

        kind, rows = array.type, len(array)
        text, named = is_text(kind), pa.types.is_dictionary(kind)
        flags, valid = 0, None
        if array.null_count:
            flags, valid = NULLS, ~array.is_null().to_numpy(zero_copy_only=False)
            array = array.drop_null()
        if is_float(kind):
            return self._floats(i, array, flags, valid, np.ones(rows, bool) if there is None else there, inside)
        if text:
            array = array.dictionary_encode()
        self.head.number(flags)
        if valid is not None:
            self.put(valid.astype(np.int64), i)
        if text or named:
            self.piece(pack(ipc(array.dictionary)), i)
            array = array.indices
        self.put(integers(array), i)

    def _list(self, i: int, array: Any, outermost: bool) -> None:
        """Whether each list is there, how long it is or which column's are as long, and the values of all."""
        missing = bool(array.null_count)
        self.head.number(NULLS if missing else 0)
        if missing:
            self.put((~array.is_null().to_numpy(zero_copy_only=False)).astype(np.int64), i)
        lengths = np.asarray(array.value_lengths().drop_null()).astype(np.int64)
        if outermost:
            same = next((k for k, other in enumerate(self.lengths) if np.array_equal(lengths, other)), -1)
            self.head.number(same + 1)
            if same < 0:
                self.lengths.append(lengths)
        if not outermost or same < 0:
            self.put(lengths, i)
        values = array.flatten()
        if is_coded_list(values.type):
            return self._list(i, values, False)
        self._cells(i, values, None, inside=True)

    def _floats(self, i: int, array: Any, flags: int, valid: np.ndarray | None, rows: np.ndarray, inside: bool) -> None:
        """Floats of the rows that have any; those `inside` lists know nothing of other columns."""
        grid, bound = self.plan.grids[i], self.plan.bounds[i]
        context = None if inside else self.context
        size = array.type.bit_width // 8
        x = np.frombuffer(array.buffers()[1], f"<f{size}", len(array), array.offset * size)
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
        autoregressive, rival = self.plan.autoregressive, None
        if autoregressive is not None and context is not None and i in autoregressive.place:
            rival = autoregressive.coded(i, context, fits, index[ok])
        self.put(index[ok], i, rival)
        if context is not None and i in context.objects.place:
            context.learn(i, fits, index[ok])
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
    if plan.autoregressive is not None:
        state.context = Context(plan.autoregressive, batch.num_rows, there)
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
        self.lengths: list[np.ndarray] = []

    def get(self, n: int, model: Any = None) -> np.ndarray:
        return decoded(self.reader, self.decoder, n, model)

    def presence(self) -> dict[int, np.ndarray]:
        there: dict[int, np.ndarray] = {}
        for start in range(0, len(self.plan.slots), 32):
            mask = self.get(self.rows)
            for bit, columns in enumerate(self.plan.slots[start : start + 32]):
                there |= dict.fromkeys(columns, (mask >> bit & 1).astype(bool))
        if self.plan.autoregressive is not None:
            self.context = Context(self.plan.autoregressive, self.rows, there)
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
        if self.plan.lists and is_coded_list(kind):
            return self._list(i, kind, self.rows, True)
        if not is_coded(kind):
            self.reader.number()
            return carried(self.reader.piece(), kind, self.rows, self.budget)
        return self._cells(i, kind, np.ones(self.rows, bool) if there is None else there.copy())

    def _cells(self, i: int, kind: Any, rows: np.ndarray, inside: bool = False) -> Any:
        import pyarrow as pa

        flags, n = self.reader.number(), len(rows)
        text, named = is_text(kind), pa.types.is_dictionary(kind)
        if not (text or named):
            self.budget.spend(n * (whole_width(kind) or kind.bit_width // 8))
        valid = None
        if flags & NULLS:
            valid = np.ones(n, bool)
            valid[rows] = self.get(int(rows.sum())).astype(bool)
            rows &= valid
        if is_float(kind):
            return rebuilt(self._floats(i, kind, flags, rows, inside), kind, valid)
        if not (text or named):
            full = np.zeros(n, np.int64)
            full[rows] = self.get(int(rows.sum()))
            return rebuilt_integers(full, kind, valid)
        words = carried(self.reader.piece(), kind.value_type if named else kind, None, self.budget)
        index = np.zeros(n, np.int64)
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

    def _list(self, i: int, kind: Any, n: int, outermost: bool) -> Any:
        import pyarrow as pa

        flags, valid = self.reader.number(), None
        self.budget.spend(8 * n)
        if flags & NULLS:
            valid = self.get(n).astype(bool)
        count = n if valid is None else int(valid.sum())
        same = self.reader.number() if outermost else 0
        lengths = self.lengths[same - 1] if same else self.get(count)
        if len(lengths) != count or (lengths < 0).any():
            raise CompressedFileError("lists of impossible lengths")
        # Values of nothing but nulls are no bytes in the file, yet a truth value each here.
        self.budget.spend(int(lengths.sum(dtype=object)))
        if outermost and not same:
            self.lengths.append(lengths)
        total, inner = int(lengths.sum()), kind.value_type
        if is_coded_list(inner):
            values = self._list(i, inner, total, False)
        else:
            values = self._cells(i, inner, np.ones(total, bool), inside=True)
        full = np.zeros(n, np.int64)
        full[slice(None) if valid is None else valid] = lengths
        large = pa.types.is_large_list(kind)
        offsets = pa.array(np.concatenate([[0], np.cumsum(full)]).astype(np.int64 if large else np.int32))
        way = pa.LargeListArray if large else pa.ListArray
        return way.from_arrays(offsets, values, type=kind, mask=None if valid is None else pa.array(~valid))

    def _floats(self, i: int, kind: Any, flags: int, rows: np.ndarray, inside: bool) -> np.ndarray:
        n, dtype = int(rows.sum()), np.dtype(f"<f{kind.bit_width // 8}")
        full, grid, autoregressive = np.zeros(len(rows), dtype), self.plan.grids[i], self.plan.autoregressive
        context = None if inside else self.context
        if grid is None:
            full[rows] = from_bits(self.get(n), dtype)
            return full
        ok = ~self.get(n).astype(bool) if flags & ESCAPES else np.ones(n, bool)
        fits, model = np.flatnonzero(rows)[ok], None
        if autoregressive is not None and context is not None and i in autoregressive.place:
            model = autoregressive.decoding(i, context, fits)
        index = self.get(len(fits), model)
        if context is not None and i in context.objects.place:
            context.learn(i, fits, index)
        x = np.empty(n, dtype)
        x[ok] = grid.value(index)
        if flags & ESCAPES:
            x[~ok] = from_bits(self.get(n - int(ok.sum())), dtype)
        full[rows] = x
        return full
