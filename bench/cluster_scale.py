"""Many files by two workers: overhead over the sum of single pieces, memory, and 1e9 rows on 100 cores on paper.

Overhead is processor time of a driver in a process of its own, its imports and all its workers, over that of the same
pieces scored one after the other, at the same time, in a process that had loaded the model before. Memory is a worker's
private memory at its highest, sampled five times a second, above that of a worker with the model and 1,000 rows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import common
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from diabolo import AnomalyDetector, LinearAutoencoder
from diabolo.data.formats import pieces_of
from diabolo.distributed import ScoreBatches
from diabolo.distributed.parts import Job, Outcome
from diabolo.distributed.running import engine_of, run

COLUMNS, WORKERS = 21, 2


def written(folder: Path, pieces: int, rows: int) -> Path:
    """Files of correlated columns, and a detector fitted on other rows of their kind."""
    (folder / "data").mkdir()
    for k in range(pieces):
        x = common.correlated(rows, 100 + k, COLUMNS)
        pq.write_table(pa.table({f"x{i}": x[:, i] for i in range(COLUMNS)}), folder / "data" / f"p{k:04d}.parquet")
    train = common.correlated(20_000, 0, COLUMNS)
    frame = pa.table({f"x{i}": train[:, i] for i in range(COLUMNS)})
    AnomalyDetector(LinearAutoencoder(latent_dim=8)).fit(frame).save(folder / "m.diabolo")
    return folder


def used() -> float:
    """Processor seconds of this process, its children and theirs; those of workers once they have ended."""
    import psutil

    me = psutil.Process()
    for child in me.children():
        while [p for p in child.children() if p.status() != psutil.STATUS_ZOMBIE]:
            time.sleep(0.01)
    return sum(sum(p.cpu_times()[:4]) for p in (me, *me.children()))


class Memory:
    """Highest private bytes of each worker while pieces run."""

    def __enter__(self) -> Memory:
        self.most: dict[int, int] = {}
        self.cost = 0.0  # processor seconds of the look itself
        self._going = True
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        import psutil

        me = psutil.Process()
        while self._going:
            try:  # a worker's parent is the process that workers are forked from
                for one in [worker for child in me.children() for worker in child.children()]:
                    self.most[one.pid] = max(self.most.get(one.pid, 0), one.memory_full_info().uss)
            except psutil.Error:
                pass
            time.sleep(0.2)
        self.cost = time.thread_time()

    def __exit__(self, *_: object) -> None:
        self._going = False
        self._thread.join()

    @property
    def largest(self) -> int:
        return max(self.most.values(), default=0)


def drive(folder: Path, out: str) -> None:
    """All pieces by the engine: processor seconds of all processes and of the pieces alone, and the largest worker."""
    jobs = [Job.of(piece) for piece in pieces_of(folder / "data")]
    engine, workers = engine_of(f"local:{WORKERS}")
    with Memory() as memory:
        found: list[Outcome] = run(ScoreBatches(folder / "m.diabolo"), jobs, str(folder / out), engine, workers)
    failed = [o.failed for o in found if o.failed]
    if failed:
        raise SystemExit(failed[0])
    seconds = used() - memory.cost
    print(json.dumps({"seconds": seconds, "pieces": sum(o.seconds for o in found), "bytes": memory.largest}))


def together(folder: Path, out: str) -> dict[str, Any]:
    """What `drive` tells in a new process, and its wall seconds."""
    wall = time.perf_counter()
    words = [sys.executable, __file__, "--drive", str(folder), out]
    said = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
    return {**json.loads(said), "wall": time.perf_counter() - wall}


def single(folder: Path, jobs: list[Job]) -> float:
    """Processor seconds of the pieces one after the other in this process, which has the model."""
    work = ScoreBatches(folder / "m.diabolo")
    work.part(jobs[0].piece, str(folder / "warm.parquet"))
    before = time.process_time()
    for job in jobs:
        work.part(job.piece, str(folder / "alone.parquet"))
    return time.process_time() - before


def measured(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    pieces, rows = (4, 2_000) if options.quick else (options.pieces, options.rows)
    written(folder, pieces, rows)
    small = folder / "small"
    small.mkdir()
    written(small, WORKERS, 1_000)
    begin = time.process_time()
    jobs = [Job.of(piece) for piece in pieces_of(folder / "data")]
    footer = (time.process_time() - begin) / pieces
    idle = together(small, "out")  # what starting costs, with the model loaded by each worker
    with ThreadPoolExecutor(1) as aside:  # at the same time, so that both feel the same load
        whole = aside.submit(together, folder, "out")
        alone = single(folder, jobs)
    return {
        "pieces": pieces,
        "rows": rows,
        "footer": footer,
        "piece": rows * COLUMNS * np.dtype(np.float32).itemsize,
        "idle": idle,
        "whole": whole.result(),
        "alone": alone,
    }


def show(m: dict[str, Any]) -> None:
    rows, alone, whole = m["pieces"] * m["rows"], m["alone"], m["whole"]
    over = whole["seconds"] / alone - 1
    print(f"{m['pieces']} files of {m['rows']:,} rows x {COLUMNS}, score `auto`, {WORKERS} workers, one thread each")
    print(f"  one process, files one after the other   {alone:8.2f} s of processor, {rows / alone:,.0f} rows/s")
    print(f"  driver and workers, all of it            {whole['seconds']:8.2f} s, wall {whole['wall']:.1f} s")
    print(f"    of which the pieces themselves         {whole['pieces']:8.2f} s")
    print(f"    driver, imports, {WORKERS} models, no pieces    {m['idle']['seconds']:8.2f} s")
    verdict = "reached" if over <= 0.15 else f"missed by {100 * (over - 0.15):.1f} points"
    print(f"  overhead {over:.1%}   target <= 15 %: {verdict}")
    used_up = (whole["bytes"] - m["idle"]["bytes"]) / m["piece"]
    verdict = "reached" if used_up <= 3 else f"missed, {used_up - 3:.1f} pieces more"
    print(
        f"  memory of a worker: {whole['bytes'] / 2**20:.0f} MiB, with pieces of 1,000 rows "
        f"{m['idle']['bytes'] / 2**20:.0f} MiB: {used_up:.2f} pieces of {m['piece'] / 2**20:.1f} MiB   "
        f"target <= 3: {verdict}"
    )
    cores, total = 100, 1e9
    each, start = alone / rows, m["idle"]["seconds"]
    per_piece = max(0.0, whole["seconds"] - alone - start) / m["pieces"]
    count = total / m["rows"]
    print(f"on paper, {total:.0e} rows on {cores} cores in {count:,.0f} files of this size:")
    print(f"  rows        {total * each / cores:10,.0f} s on each core ({total * each / 3600:.2f} core-hours)")
    print(
        f"  pieces      {count * per_piece / cores:10,.1f} s ({1000 * per_piece:.0f} ms a piece: hash, note, sending)"
    )
    print(f"  start       {start:10,.1f} s on each core, were each one its own machine")
    print(f"  the driver reads every file's footer itself, one after the other: {m['footer'] * count:,.1f} s")
    print(f"  input       {total * COLUMNS * 4 / 1e9:,.0f} GB, read twice (hash, rows)")


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--pieces", type=int, default=20, help="files (default: 20)")
    parser.add_argument("--rows", type=int, default=75_000, help="rows of each (default: 75,000)")
    parser.add_argument("--drive", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drive:
        return drive(Path(options.drive[0]), options.drive[1])
    print(common.machine_line())
    os.environ["PYTHONWARNINGS"] = "ignore"
    with tempfile.TemporaryDirectory() as name:
        found = measured(options, Path(name))
    show(found)
    common.write_json(options.json, "cluster_scale", options, found)


if __name__ == "__main__":
    main()
