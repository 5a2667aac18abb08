"""Processes of their own without the seconds of importing: children forked from a clean process that has imported all.

The stem runs nothing but imports, so a child's state is that of a new interpreter after the same imports. A child's
death is a real one, its exit status is the system's, and its signals, limits and memory are its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

#: All that a fit loads, and the table reader's libraries.
IMPORTS = (
    "pyarrow.parquet",
    "pydantic",
    "rich.progress",
    "diabolo.cli.verbs.fit",
    "diabolo.fitted.stream",
    "diabolo.file.detector",
    "diabolo.train.checkpoint",
)


class Stem:
    """One process of imports; `run` forks a child from it, one at a time."""

    #: CPU seconds of children that have ended, of stems that have not.
    seconds = 0.0

    def __init__(self):
        here = Path(__file__)
        self.process = subprocess.Popen(
            [sys.executable, str(here)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.own = 0.0

    def start(self, code, words=(), env=None, errors=os.devnull):
        """A child that runs `code` with `words` as its command line; what it says on stderr goes into a file."""
        request = {"code": code, "words": [*map(str, words)], "cwd": os.getcwd(), "errors": str(errors)}
        request["env"] = {**os.environ, **(env or {})}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return Child(self, int(self.process.stdout.readline()))

    def run(self, code, words=()):
        """(exit status, stderr) of a child that has ended."""
        with tempfile.TemporaryDirectory() as folder:
            errors = Path(folder) / "errors"
            return self.start(code, words, errors=errors).wait(), errors.read_text()

    def close(self):
        self.process.communicate()
        Stem.seconds -= self.own


class Child:
    """A running child: its process id, and its exit status once it has one."""

    def __init__(self, stem, pid):
        self.stem, self.pid = stem, pid

    def wait(self):
        """The exit status; a signal's number with a minus, as `subprocess` has it."""
        status, seconds = json.loads(self.stem.process.stdout.readline())
        self.stem.own += seconds
        Stem.seconds += seconds
        return status


def serve():
    """Fork a child for each line of JSON on stdin; returns in the child, with its code."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            request = json.loads(line)
            os.chdir(request["cwd"])
            os.environ.clear()
            os.environ.update(request["env"])
            for stream, path in ((0, os.devnull), (1, os.devnull), (2, request["errors"])):
                file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
                os.dup2(file, stream)
                os.close(file)
            sys.argv = ["diabolo", *request["words"]]
            return request["code"]
        answer(pid)
        _, status, usage = os.wait4(pid, 0)
        answer(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime]))
    sys.exit(0)


def answer(words):
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    for name in IMPORTS:
        __import__(name)
    exec(serve(), {"__name__": "__main__"})
