"""Many files by two workers: overhead over the sum of single pieces, memory, and 1e9 rows on 100 cores on paper.

Overhead is processor time of a driver in a process of its own, its imports and all its workers, over that of the same
pieces scored by two plain processes, every other file each, that had loaded the model before. Both keep two cores busy,
and they go in turn: beside one lone process workers would pay for the core that they share, and it would not.

Memory is a worker's private memory at its highest, above that of a worker with files of 1,000 rows. It is looked at
twenty times a second in runs of their own, since looking costs processor time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
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
from diabolo.threads import one_thread

COLUMNS, WORKERS = 21, 2
#: Files of the runs that look at memory.
LOOKED = 4


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
            time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        self._going = False
        self._thread.join()

    @property
    def largest(self) -> int:
        return max(self.most.values(), default=0)


def drive(folder: Path, out: str, looked: bool) -> None:
    """All pieces by the engine: processor seconds of all processes and of the pieces alone, or the largest worker."""
    jobs = [Job.of(piece) for piece in pieces_of(folder / "data")][: LOOKED if looked else None]
    engine, workers = engine_of(f"local:{WORKERS}")
    with Memory() if looked else contextlib.nullcontext() as memory:
        found: list[Outcome] = run(ScoreBatches(folder / "m.diabolo"), jobs, str(folder / out), engine, workers)
    failed = [o.failed for o in found if o.failed]
    if failed:
        raise SystemExit(failed[0])
    told = {"bytes": memory.largest} if memory else {"seconds": used(), "pieces": sum(o.seconds for o in found)}
    print(json.dumps(told))


def plain(folder: Path, turn: int) -> None:
    """Processor seconds of every other piece, one after the other in this process, which has the model."""
    jobs = [Job.of(piece) for piece in pieces_of(folder / "data")][turn::WORKERS]
    work, out = ScoreBatches(folder / "m.diabolo"), str(folder / f"plain-{turn}.parquet")
    with one_thread():
        work.part(jobs[0].piece, out)
        before = time.process_time()
        for job in jobs:
            work.part(job.piece, out)
    print(json.dumps({"seconds": time.process_time() - before}))


def told(*words: object) -> subprocess.Popen[str]:
    """A new process of this script, on one thread."""
    return subprocess.Popen([sys.executable, __file__, *map(str, words)], stdout=subprocess.PIPE, text=True)


def answers(*processes: subprocess.Popen[str]) -> list[dict[str, Any]]:
    said = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit("a process of this script has failed")
    return [json.loads(text) for text in said]


def together(folder: Path, turn: int, looked: bool = False) -> dict[str, Any]:
    """What `drive` tells in a new process, and its wall seconds."""
    wall = time.perf_counter()
    (found,) = answers(told("--look" if looked else "--drive", folder, f"out-{turn}-{looked}"))
    return {**found, "wall": time.perf_counter() - wall}


def apart(folder: Path) -> dict[str, Any]:
    """Processor seconds of all pieces by plain processes at the same time."""
    return {"seconds": sum(f["seconds"] for f in answers(*(told("--plain", folder, k) for k in range(WORKERS))))}


def measured(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    pieces, rows = (4, 2_000) if options.quick else (options.pieces, options.rows)
    written(folder, pieces, rows)
    small = folder / "small"
    small.mkdir()
    written(small, WORKERS, 1_000)
    begin = time.process_time()
    for piece in pieces_of(folder / "data"):
        Job.of(piece)
    footer = (time.process_time() - begin) / pieces
    rivals = {
        "idle": lambda turn: together(small, turn),  # what starting costs, with the model loaded by each worker
        "whole": lambda turn: together(folder, turn),
        "alone": lambda _: apart(folder),
    }
    found = common.rounds(rivals, 1 if options.quick else options.pairs, warm_up=False)
    memory = [together(place, 0, looked=True)["bytes"] for place in (small, folder)]
    piece = rows * COLUMNS * np.dtype(np.float32).itemsize
    return {"pieces": pieces, "rows": rows, "footer": footer, "piece": piece, "memory": memory, **found}


def show(m: dict[str, Any]) -> None:
    rows = m["pieces"] * m["rows"]
    alone, whole, idle = (common.column(m[name], "seconds") for name in ("alone", "whole", "idle"))
    pieces = common.column(m["whole"], "pieces")
    over, within = whole / alone - 1, whole / pieces - 1
    print(
        f"{m['pieces']} files of {m['rows']:,} rows x {COLUMNS}, score `auto`, {WORKERS} workers, one thread each, "
        f"{len(over)} rounds"
    )
    print(f"  {WORKERS} plain processes, the files alone      {common.spread(alone, '{:.1f}')} s of processor")
    print(f"  driver and workers, all of it           {common.spread(whole, '{:.1f}')} s")
    print(f"    of which the pieces themselves        {common.spread(pieces, '{:.1f}')} s")
    print(f"    driver, imports, {WORKERS} models, no pieces   {common.spread(idle, '{:.1f}')} s")
    worst = float(max(np.median(over), np.median(within)))
    verdict = "reached" if worst <= 0.15 else f"missed by {100 * (worst - 0.15):.1f} points"
    print(f"  overhead over the plain processes        {common.spread(100 * over, '{:.1f}')} %")
    print(f"  and over the pieces as workers did them  {common.spread(100 * within, '{:.1f}')} %")
    print(f"  the larger of both {100 * worst:.1f} %   target <= 15 %: {verdict}")
    small, large = m["memory"]
    used_up = (large - small) / m["piece"]
    verdict = "reached" if used_up <= 3 else f"missed, {used_up - 3:.1f} pieces more"
    print(
        f"  memory of a worker: {large / 2**20:.0f} MiB, with pieces of 1,000 rows {small / 2**20:.0f} MiB: "
        f"{used_up:.2f} pieces of {m['piece'] / 2**20:.1f} MiB   target <= 3: {verdict}"
    )
    cores, total = 100, 1e9
    each, start = float(np.median(alone)) / rows, float(np.median(idle))
    per_piece = max(0.0, float(np.median(whole - alone - idle))) / m["pieces"]
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
    parser = common.parser(__doc__, pairs=2)
    parser.add_argument("--pieces", type=int, default=20, help="files (default: 20)")
    parser.add_argument("--rows", type=int, default=75_000, help="rows of each (default: 75,000)")
    for inner in ("--drive", "--look", "--plain"):
        parser.add_argument(inner, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drive or options.look:
        folder, out = options.drive or options.look
        return drive(Path(folder), out, bool(options.look))
    if options.plain:
        return plain(Path(options.plain[0]), int(options.plain[1]))
    print(common.machine_line())
    os.environ["PYTHONWARNINGS"] = "ignore"
    with tempfile.TemporaryDirectory() as name:
        found = measured(options, Path(name))
    show(found)
    common.write_json(options.json, "cluster_scale", options, found)


if __name__ == "__main__":
    main()
