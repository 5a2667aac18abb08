"""A stack of entropy-coded symbols: what was pushed last is popped first, under whatever distribution.

Bits back (Townsend et al. 2019, arXiv:1901.04866): latents z popped under q(z|x) take in log₂ 1/q(z|x) bits that the
stack holds already; pushing x under p(x|z) and z under p(z) then adds −log₂ p(x|z) p(z) / q(z|x) bits in all, −ELBO in
the mean. A reader pops z and x, and pushes z under q(z|x) again, which gives the bits back. The coder is that of
`diabolo.compress.coder`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diabolo.compress.coder import LOWEST, PRECISION, TOTAL
from diabolo.errors import CompressedFileError

__all__ = ["Empty", "Stack"]

Found = tuple[np.ndarray, np.ndarray, np.ndarray]


class Empty(CompressedFileError):
    """Nothing is left to pop."""


class Stack:
    """L states and a pile of words; symbol i of a call belongs to state i mod L."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self.state = np.full(lanes, LOWEST, np.uint64)
        self.words = np.empty(1 << 12, np.uint64)
        self.top = 0

    def copy(self) -> Stack:
        other = Stack(self.lanes)
        other.state, other.words, other.top = self.state.copy(), self.words.copy(), self.top
        return other

    @property
    def bits(self) -> int:
        """Bits of its words, which popping can take."""
        return 32 * self.top

    def push(self, starts: np.ndarray, frequencies: np.ndarray) -> None:
        """Put symbols [n] on, the last first."""
        low, shift, room, precision = (np.uint64(v) for v in (0xFFFFFFFF, 32, 64 - PRECISION, PRECISION))
        c, f = starts.astype(np.uint64), frequencies.astype(np.uint64)
        if self.top + len(c) > len(self.words):
            self.words = np.concatenate([self.words, np.empty(len(self.words) + len(c), np.uint64)])
        for begin in reversed(range(0, len(c), self.lanes)):
            cs, fs = c[begin : begin + self.lanes], f[begin : begin + self.lanes]
            x = self.state[: len(cs)]
            full = (x >> room) >= fs
            count = int(np.count_nonzero(full))
            if count:
                self.words[self.top : self.top + count] = x[full] & low
                self.top += count
                x = np.where(full, x >> shift, x)
            whole = x // fs
            self.state[: len(cs)] = (whole << precision) + cs + (x - whole * fs)

    def pop(self, n: int, find: Callable[[np.ndarray, slice], Found]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Take n symbols off; their values, starts and frequencies, [n] int64.

        Args:
            find: (slots in [0, 2²⁸), which symbols) to their (values, starts, frequencies).

        Raises:
            Empty: there are too few bits.
        """
        out = np.empty((3, n), np.int64)
        mask, precision, shift = np.uint64(TOTAL - 1), np.uint64(PRECISION), np.uint64(32)
        for begin in range(0, n, self.lanes):
            part = slice(begin, min(begin + self.lanes, n))
            x = self.state[: part.stop - begin]
            slots = (x & mask).astype(np.int64)
            found = out[:, part]
            found[0], found[1], found[2] = find(slots, part)
            x = found[2].astype(np.uint64) * (x >> precision) + (slots - found[1]).astype(np.uint64)
            short = x < LOWEST
            count = int(np.count_nonzero(short))
            if count:
                if count > self.top:
                    raise Empty("its coded symbols end too early")
                x[short] = (x[short] << shift) | self.words[self.top - count : self.top]
                self.top -= count
            self.state[: part.stop - begin] = x
        return out[0], out[1], out[2]

    def to_bytes(self) -> bytes:
        return self.state.astype("<u8").tobytes() + self.words[: self.top].astype("<u4").tobytes()

    @staticmethod
    def from_bytes(data: bytes, lanes: int) -> Stack:
        if lanes < 1 or len(data) < 8 * lanes or (len(data) - 8 * lanes) % 4:
            raise CompressedFileError(f"its coded symbols have {len(data):,} bytes, which {lanes} states do not fit")
        stack = Stack(lanes)
        stack.state = np.frombuffer(data, "<u8", lanes).astype(np.uint64)
        stack.words = np.frombuffer(data, "<u4", offset=8 * lanes).astype(np.uint64)
        stack.top = len(stack.words)
        if (stack.state < LOWEST).any():
            raise CompressedFileError("its coded symbols are damaged: a state is below 2³²")
        return stack

    def finish(self) -> None:
        """Check that nothing is left, and that the states are those that coding began with."""
        if self.top or (self.state != LOWEST).any():
            raise CompressedFileError("its coded symbols are damaged: they do not end where they should")
