"""What a chunk of a `*.dbl` file may ask of a reader's memory: writers keep to it, readers refuse the rest."""

from __future__ import annotations

from diabolo.data.messages import DamagedError, of_stream
from diabolo.errors import CompressedFileError

__all__ = ["CHUNK_BYTES", "CHUNK_ROWS", "MOST_ROWS", "Budget", "check_plain", "most_text", "most_weights"]

#: Rows of a chunk: enough that its tables and states cost a fraction of a per cent.
CHUNK_ROWS = 131_072
#: Rows of a chunk at most.
MOST_ROWS = CHUNK_ROWS
#: Bytes of a chunk's cells, written out plain, that a writer puts into one chunk.
CHUNK_BYTES = 1 << 27
#: Bytes that any chunk may take while it is decoded, and how many more each byte of it in the file pays for: the
#: largest ratio that zlib reaches.
FREE, RATIO = 3 << 27, 1032


class Budget:
    """Bytes that decoding so many bytes of a file may take.

    >>> Budget(10).spend(1 << 30)
    Traceback (most recent call last):
    diabolo.errors.CompressedFileError: 10 bytes of it would take 1,073,741,824 bytes of memory or more
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.left = max(FREE, RATIO * size)
        self.spent = 0

    def spend(self, count: int) -> None:
        """Take so many bytes.

        Raises:
            CompressedFileError: more than are left.
        """
        self.spent += count
        if count > self.left:
            raise CompressedFileError(f"{self.size:,} bytes of it would take {self.spent:,} bytes of memory or more")
        self.left -= count


def most_weights(size: int) -> int:
    """Weights of networks that a codec section of so many bytes may have: each learnt one takes bits of it."""
    return max(1 << 21, 64 * size)


def most_text(size: int) -> int:
    """Bytes of a card that so many packed bytes may hold."""
    return min(1 << 26, max(1 << 20, RATIO * size))


def check_plain(data: bytes) -> None:
    """Refuse an Arrow stream with compressed buffers: what they unpack to is no part of a budget.

    Raises:
        CompressedFileError: one of its messages says that its body is compressed, or makes no sense.
    """
    try:
        if any(body.compressed for body in of_stream(data)):
            raise CompressedFileError("an Arrow stream with compressed buffers in it")
    except DamagedError as error:
        raise CompressedFileError(f"an Arrow stream in it is damaged ({error})") from None
