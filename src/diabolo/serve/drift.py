"""The rows of late, and whether they still look like the calibration rows: `diabolo health` over a window."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import orjson
import pyarrow as pa

from diabolo.detect.health import Health
from diabolo.serve.backends import Diagnosing

__all__ = ["Drift", "Window"]

#: Tables of a window before they are made one: each costs memory of its own.
PIECES = 256
#: Verdicts that are kept, for a picture of time.
KEPT = 288


class Window:
    """The last rows that came, at most so many."""

    def __init__(self, most: int) -> None:
        self.most, self.seen = most, 0
        self._pieces: deque[pa.Table] = deque()
        self._rows = 0

    def add(self, table: pa.Table) -> None:
        """Rows that were scored."""
        self.seen += table.num_rows
        if table.num_rows > self.most:
            table = table.slice(table.num_rows - self.most)
        self._pieces.append(table)
        self._rows += table.num_rows
        while self._rows - self._pieces[0].num_rows >= self.most:
            self._rows -= self._pieces.popleft().num_rows
        if len(self._pieces) > PIECES:
            whole = self.table()
            self._pieces = deque([whole])
            self._rows = whole.num_rows

    def table(self) -> pa.Table:
        """The rows, oldest first."""
        whole = pa.concat_tables(self._pieces).combine_chunks()
        return whole.slice(max(0, whole.num_rows - self.most)) if whole.num_rows > self.most else whole

    def __len__(self) -> int:
        return min(self._rows, self.most)


class Drift:
    """Verdicts on a model's window over time.

    Args:
        most: rows of the window.
        level: probability of an alarm of one verdict where nothing has changed, at most.
    """

    def __init__(self, most: int, level: float) -> None:
        self.window, self.level = Window(most), level
        self.history: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.latest: dict[str, Any] | None = None
        self._judged = -1

    @property
    def stale(self) -> bool:
        """Whether rows have come since the latest verdict."""
        return len(self.window) > 0 and self._judged != self.window.seen

    def judge(self, backend: Diagnosing, table: pa.Table, seen: int) -> dict[str, Any]:
        """A verdict on a window's table, when so many rows had been seen; runs in a thread."""
        found = backend.health(table, self.level)
        self._judged = seen
        self.latest = _said(found)
        rate = found.rate
        point = {"time": time.time(), "alarm": not found.healthy, "rows": found.n_rows, "promised": rate.promised}
        self.history.append({**point, "now": rate.now, "low": rate.low, "high": rate.high})
        return self.latest


def _said(found: Health) -> dict[str, Any]:
    said: dict[str, Any] = orjson.loads(found.to_json())
    return {"alarm": not found.healthy, "drifted": list(found.drifted), **said}
