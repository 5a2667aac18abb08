"""Entropy coding of integers under integer frequencies: interleaved rANS, exact on every machine.

A symbol is the interval [start, start + frequency) of 2²⁸. A state x in [2³², 2⁶⁴) takes it in as
x ← ⌊x / frequency⌋·2²⁸ + start + x mod frequency, after giving off its lower 32 bits where it would overflow
(Duda 2013, arXiv:1311.2540; interleaved: Giesen 2014, arXiv:1402.3392). Symbol i of a column belongs to state i mod L.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from diabolo.errors import CompressedFileError

__all__ = ["PRECISION", "TOTAL", "Decoder", "encode", "information", "lanes_for"]

PRECISION = 28
#: Frequencies add up to this.
TOTAL = 1 << PRECISION
LOWEST = 1 << 32
MOST_LANES = 1024
#: Bytes of coded symbols for each state, of which some 6 are its own cost.
BYTES_PER_LANE = 1_600

Interval = tuple[np.ndarray, np.ndarray]


def information(columns: Sequence[Interval]) -> float:
    """Bits that the symbols are worth: Σ −log₂(frequency / 2²⁸)."""
    return sum(float((PRECISION - np.log2(f.astype(np.float64))).sum()) for _, f in columns)


def lanes_for(bits: float) -> int:
    """Number of interleaved states: more are faster, and cost some 6 bytes each."""
    return max(1, min(MOST_LANES, int(bits / 8 / BYTES_PER_LANE)))


def encode(columns: Sequence[Interval], lanes: int) -> bytes:
    """Code columns of symbols, which a `Decoder` reads in the same order.

    Args:
        columns: (starts, frequencies) of each column, [n] int64, frequencies from 1 up.
        lanes: L.

    Returns:
        L states of 8 bytes, then words of 4 bytes, little-endian.
    """
    state = np.full(lanes, LOWEST, np.uint64)
    blocks: list[np.ndarray] = []
    low, shift, room, precision = np.uint64(0xFFFFFFFF), np.uint64(32), np.uint64(64 - PRECISION), np.uint64(PRECISION)
    for starts, frequencies in reversed(columns):
        c, f = starts.astype(np.uint64), frequencies.astype(np.uint64)
        for begin in reversed(range(0, len(c), lanes)):
            cs, fs = c[begin : begin + lanes], f[begin : begin + lanes]
            x = state[: len(cs)]
            full = (x >> room) >= fs
            if full.any():
                blocks.append((x[full] & low).astype("<u4"))
                x = np.where(full, x >> shift, x)
            whole = x // fs
            state[: len(cs)] = (whole << precision) + cs + (x - whole * fs)
    words = np.concatenate(blocks[::-1]) if blocks else np.empty(0, "<u4")
    return state.astype("<u8").tobytes() + words.tobytes()


class Decoder:
    """Reads columns of symbols from what `encode` wrote.

    Raises:
        CompressedFileError: the bytes end too early, or go on after the last symbol (`finish`).
    """

    def __init__(self, data: bytes, lanes: int) -> None:
        if len(data) < 8 * lanes or (len(data) - 8 * lanes) % 4 or lanes < 1:
            raise CompressedFileError(f"its coded symbols have {len(data):,} bytes, which {lanes} states do not fit")
        self.state = np.frombuffer(data, "<u8", lanes).astype(np.uint64)
        self.words = np.frombuffer(data, "<u4", offset=8 * lanes).astype(np.uint64)
        self.at, self.lanes = 0, lanes
        if (self.state < LOWEST).any():
            raise CompressedFileError("its coded symbols are damaged: a state is below 2³²")

    def column(
        self, n: int, find: Callable[[np.ndarray, slice], tuple[np.ndarray, np.ndarray, np.ndarray]]
    ) -> np.ndarray:
        """The next n symbols, [n] int64.

        Args:
            find: (slots in [0, 2²⁸), which symbols of the column) to their (values, starts, frequencies).
        """
        out = np.empty(n, np.int64)
        mask, precision, shift = np.uint64(TOTAL - 1), np.uint64(PRECISION), np.uint64(32)
        for begin in range(0, n, self.lanes):
            part = slice(begin, min(begin + self.lanes, n))
            x = self.state[: part.stop - begin]
            slots = (x & mask).astype(np.int64)
            out[part], starts, frequencies = find(slots, part)
            x = frequencies.astype(np.uint64) * (x >> precision) + (slots - starts).astype(np.uint64)
            short = x < LOWEST
            count = int(np.count_nonzero(short))
            if count:
                if self.at + count > len(self.words):
                    raise CompressedFileError("its coded symbols end too early")
                x[short] = (x[short] << shift) | self.words[self.at : self.at + count]
                self.at += count
            self.state[: part.stop - begin] = x
        return out

    def finish(self) -> None:
        """Check that nothing is left, and that the states are those that coding began with."""
        if self.at != len(self.words) or (self.state != LOWEST).any():
            raise CompressedFileError("its coded symbols are damaged: they do not end where they should")
