"""Progress of a call that lasts over a second: one bar on a terminal, one line in a notebook, nothing elsewhere.

A call opens `progress`; whatever loops below it calls `tick`, which costs nothing where nobody looks.
"""

from __future__ import annotations

import contextlib
import contextvars
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from diabolo.screen import console, visible

__all__ = ["Bar", "in_notebook", "progress", "tick"]

#: Seconds before anything is shown, and between two looks of a notebook.
PATIENCE, REFRESH = 1.0, 0.5
_open: contextvars.ContextVar[Bar | None] = contextvars.ContextVar("progress", default=None)


class Bar:
    """How far a call is; others read it from another thread."""

    def __init__(self, what: str) -> None:
        self.what, self.note = what, ""
        self.done, self.total = 0, 0
        self.begun = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.begun

    @property
    def said(self) -> str:
        """What is done, in a few words.

        >>> bar = Bar("fit")
        >>> bar.done, bar.total, bar.note = 3, 40, "epochs, validation 1.25"
        >>> bar.said
        'fit: 3 of 40 epochs, validation 1.25'
        """
        count = f"{self.done:,} of {self.total:,}" if self.total else ""
        words = " ".join(filter(None, [count, self.note]))
        return visible(f"{self.what}: {words}" if words else self.what)


def tick(done: int, total: int, note: str = "") -> None:
    """Say that so much of the innermost work is done, if anybody looks.

    Args:
        done: steps done.
        total: steps in all; 0 where it is not known.
        note: what is counted, in a few words.
    """
    bar = _open.get()
    if bar is not None:
        bar.done, bar.total, bar.note = done, total, note


@contextlib.contextmanager
def progress(what: str, verbose: int = 0) -> Iterator[Bar]:
    """Show how far a call is, from its first second on, and leave nothing behind on a terminal.

    Within another one it shows nothing of its own.

    Args:
        what: the call, in a word.
        verbose: 0 for a bar where a person looks; from 1 up also a line at the end where none does, as in a log;
            below 0 for nothing at all.
    """
    # A damaged file may have anything in its place.
    verbose = verbose if isinstance(verbose, int) else 0
    outer = _open.get()
    bar = Bar(what) if outer is None else outer
    where = _place() if outer is None and verbose >= 0 else None
    token, watcher = _open.set(bar), None
    if where is not None:
        ended = threading.Event()
        # ipykernel tells by the context which cell an output belongs to.
        run = contextvars.copy_context().run
        watcher = threading.Thread(target=run, args=(where, bar, ended), daemon=True, name="diabolo progress")
        watcher.start()
    try:
        yield bar
    finally:
        _open.reset(token)
        if watcher is not None:
            ended.set()
            watcher.join()
        elif outer is None and verbose > 0:
            sys.stderr.write(f"{visible(what)}: {bar.seconds:.1f} s\n")
            sys.stderr.flush()


def in_notebook() -> bool:
    """Whether a notebook's kernel runs this."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


def _place() -> Any:
    if in_notebook():
        return _in_notebook
    return _on_terminal if sys.stderr.isatty() else None


def _in_notebook(bar: Bar, ended: threading.Event) -> None:
    if ended.wait(PATIENCE):
        return
    display = sys.modules["IPython"].display.display
    shown = display({"text/plain": f"{bar.said}, {bar.seconds:.0f} s"}, raw=True, display_id=True)
    while not ended.wait(REFRESH):
        shown.update({"text/plain": f"{bar.said}, {bar.seconds:.0f} s"}, raw=True)
    shown.update({"text/plain": f"{bar.what}: {bar.seconds:.1f} s"}, raw=True)


def _on_terminal(bar: Bar, ended: threading.Event) -> None:
    if ended.wait(PATIENCE):
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(20), TimeElapsedColumn(), TimeRemainingColumn())
    # The streams stay as they are: a thread must not take them from the caller.
    settings: dict[str, Any] = {"transient": True, "redirect_stdout": False, "redirect_stderr": False}
    with Progress(*columns, console=console(stderr=True), **settings) as shown:
        task = shown.add_task(bar.said, total=bar.total or None)
        while not ended.wait(0.1):
            shown.update(task, description=bar.said, completed=bar.done, total=bar.total or None)
