"""Results of detectors on tables, one line of JSON each, kept so that no cell is computed twice."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import protocols
import rivals

Line = dict[str, Any]


class Cache:
    """Results as lines of JSON, one file per protocol and detector; of equal keys the last line counts."""

    KEY = ("table", "digest", "protocol", "seed", "method", "version")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[Path, tuple[object, list[Line]]] = {}

    def _path(self, protocol: str, method: str) -> Path:
        return self.folder / protocol / f"{re.sub(r'[^A-Za-z0-9]+', '_', method)}.jsonl"

    def lines(self, protocol: str, method: str) -> list[Line]:
        path = self._path(protocol, method)
        if not path.exists():
            return []
        state = path.stat()
        if self._read.get(path, (None, []))[0] != (state.st_mtime_ns, state.st_size):
            self._read[path] = (state.st_mtime_ns, state.st_size), self._parsed(path)
        return self._read[path][1]

    def _parsed(self, path: Path) -> list[Line]:
        found = []
        for text in path.read_text().splitlines():
            try:
                found.append(json.loads(text))
            except json.JSONDecodeError:  # the last line of a run that was killed
                continue
        return list({tuple(line[k] for k in self.KEY): line for line in found}.values())

    def add(self, line: Line) -> None:
        path = self._path(line["protocol"], line["method"])
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as handle:
            handle.write("\n" * _cut(path) + json.dumps(line) + "\n")

    def find(self, table: protocols.Labelled, protocol: str, seed: int, method: str, version: str | None):
        """The latest line of this cell; of any version if that is None."""
        want = (table.name, table.digest, protocol, seed, method)
        found = [
            line
            for line in self.lines(protocol, method)
            if tuple(line[k] for k in self.KEY[:-1]) == want and version in (None, line["version"])
        ]
        return max(found, key=lambda line: line["when"]) if found else None


def _cut(path: Path) -> bool:
    """Whether the file ends inside a line."""
    if not path.exists() or not path.stat().st_size:
        return False
    with path.open("rb") as handle:
        handle.seek(-1, 2)
        return handle.read(1) != b"\n"


# ── one cell ──────────────────────────────────────────────────────────────────────────────────────


def measure(
    table: protocols.Labelled, protocol: str, seed: int, method: rivals.Method, clock: Callable[[], Any]
) -> Line:
    cut = protocols.split(table, protocol, seed)
    train, test = (cut.raw_train, cut.raw_test) if method.original else (cut.train, cut.test)
    line: Line = {
        "table": table.name,
        "digest": table.digest,
        "protocol": protocol,
        "seed": seed,
        "method": method.name,
        "version": method.version(),
        "when": time.strftime("%Y-%m-%d %H:%M:%S"),
        "n_train": len(train),
        "n_test": len(test),
        "columns": train.shape[1],
        "anomalies": float(cut.anomalous.mean()),
    }
    try:
        scores, own, seconds = rivals.run(method, seed, train, test, clock)
    except Exception as error:  # whatever a detector raises is a result about it
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"
        return line | {"status": "failed", "reason": reason, "auroc": 0.5, "ap": line["anomalies"]}
    auroc, precision, lost = protocols.judge(cut.anomalous, scores)
    line |= {"status": "ok", "auroc": auroc, "ap": precision, "not_finite": lost, **seconds}
    if protocol == "unsupervised" and own is not None:
        # A neighbour detector asked about its own training row finds the row itself; these scores leave it out.
        line["auroc_own"], line["ap_own"], _ = protocols.judge(cut.anomalous, own)
    return line
