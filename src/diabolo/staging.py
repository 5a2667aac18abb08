"""Rows on their way to a card: read ahead by a thread, and copied from two pinned buffers while the card computes.

A copy from pinned memory needs no processor and stops nobody. Of two buffers one is filled while the other one is still
being copied. On the processor rows stay where they are, and nothing is read ahead.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from diabolo.device import class_of

__all__ = ["Card", "Lane", "read_ahead"]

T = TypeVar("T")


class Card(Protocol):
    """What a lane asks of a card: memory that it can copy from by itself, and a stream of copies."""

    def pinned(self, cells: int, dtype: torch.dtype) -> Tensor:
        """Memory of the processor that the card copies from by itself."""
        ...

    def copying(self) -> AbstractContextManager[Any]:
        """Within it copies are enqueued on a stream of their own."""
        ...

    def mark(self) -> Any:
        """A mark behind the copies so far."""
        ...

    def wait(self, mark: Any) -> None:
        """The processor waits for a mark."""
        ...

    def follow(self, mark: Any, tensor: Tensor) -> None:
        """What the card computes from now on waits for a mark, and holds the tensor."""
        ...


class Cuda:
    """A card of NVIDIA's. It has not run on one so far (docs/gpu.md)."""

    def __init__(self, device: str) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def pinned(self, cells: int, dtype: torch.dtype) -> Tensor:
        return torch.empty(cells, dtype=dtype, pin_memory=True)

    def copying(self) -> AbstractContextManager[Any]:
        return torch.cuda.stream(self._stream)

    def mark(self) -> Any:
        return self._stream.record_event()

    def wait(self, mark: Any) -> None:
        mark.synchronize()

    def follow(self, mark: Any, tensor: Tensor) -> None:
        computing = torch.cuda.current_stream(tensor.device)
        computing.wait_event(mark)
        tensor.record_stream(computing)


class Lane:
    """Sends arrays to a device; on the processor they are tensors of the same memory."""

    def __init__(self, device: str, card: Card | None = None) -> None:
        self.device = device
        self._card = card if card is not None or class_of(device) != "cuda" else Cuda(device)
        #: By name, two buffers and the marks behind the last copies from them; the next one to fill comes first.
        self._buffers: dict[str, list[tuple[Tensor | None, Any]]] = {}

    def send(self, name: str, array: np.ndarray) -> Tensor:
        """The array on the device. What is enqueued after it may use it, and no call waits but for a buffer.

        Args:
            name: of the kind of array; each kind has two buffers.
        """
        cells = torch.from_numpy(array)
        if self._card is None:
            return cells.to(self.device)
        (buffer, mark), other = self._buffers.get(name, [(None, None), (None, None)])
        if mark is not None:
            self._card.wait(mark)
        if buffer is None or buffer.numel() < cells.numel() or buffer.dtype != cells.dtype:
            buffer = self._card.pinned(cells.numel(), cells.dtype)
        staged = buffer[: cells.numel()].view(cells.shape).copy_(cells)
        with self._card.copying():
            sent = staged.to(self.device, non_blocking=True)
            mark = self._card.mark()
        self._card.follow(mark, sent)
        self._buffers[name] = [other, (buffer, mark)]
        return sent


def read_ahead(items: Iterable[T], device: str) -> Iterator[T]:
    """The same items, the next one made by a thread while this one is used; on the processor without a thread."""
    if class_of(device) == "cpu":
        yield from items
        return
    waiting: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=1)
    over = threading.Event()

    def put(what: str, value: Any) -> bool:
        while not over.is_set():
            try:
                waiting.put((what, value), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def read() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:  # every fault is the caller's
            put("fault", error)

    thread = threading.Thread(target=read, name="diabolo-reads-ahead", daemon=True)
    thread.start()
    try:
        while True:
            what, value = waiting.get()
            if what == "end":
                return
            if what == "fault":
                raise value
            yield value
    finally:
        over.set()
        thread.join()
