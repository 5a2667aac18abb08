"""Larger than memory: `diabolo fit` and `diabolo score` of many Parquet files as whole processes.

Makes the files on the spot (57 correlated single-precision columns, seeded), fits one epoch from the cache on disk and
scores all rows; prints the peak of resident memory against 2 GiB and rows/s of caching, training and scoring. Beside
them stands the same of one file, which fits into memory: its fit never touches a cache.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common
import numpy as np

#: Rows of a file; 0.9 GiB of values, below the default of --memory.
ROWS, ROW_GROUP = 1 << 22, 1 << 17
GIB, LIMIT = 2**30, 2.0


def make_files(folder: Path, size: float, rows: int) -> list[Path]:
    """Files of `rows` rows each until together they have `size` bytes: twelve common factors and own noise."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    mixing = np.random.default_rng(0).normal(size=(12, common.COLUMNS)).astype(np.float32) * np.sqrt(0.7 / 12)
    names = [f"c{i:02d}" for i in range(common.COLUMNS)]
    schema = pa.schema([(n, pa.float32()) for n in names])
    files: list[Path] = []
    while sum(f.stat().st_size for f in files) < size:
        path, g = folder / f"part-{len(files):03d}.parquet", np.random.default_rng([1, len(files)])
        # A dictionary of numbers that are all different, and their compression, cost time and gain nothing.
        with pq.ParquetWriter(path, schema, use_dictionary=False, compression="none") as writer:
            for start in range(0, rows, ROW_GROUP):
                n = min(ROW_GROUP, rows - start)
                x = g.standard_normal((n, common.COLUMNS), np.float32) * np.float32(np.sqrt(0.3))
                x += g.standard_normal((n, 12), np.float32) @ mixing.astype(np.float32)
                writer.write_table(pa.table([pa.array(np.ascontiguousarray(c)) for c in x.T], schema=schema))
        files.append(path)
    return files


def whole_process(words: list[str], said: Path) -> tuple[float, float, float]:
    """Seconds, processor seconds, and peak resident memory in GiB of `diabolo WORDS`; what it says goes to a file."""
    command = [sys.executable, "-m", "diabolo", *words]
    started = time.perf_counter()
    with open(said, "w") as handle:
        process = subprocess.Popen(command, stdout=handle, stderr=subprocess.STDOUT)
        # The child's own maximum: it starts at what this process had when it was forked, which is far less.
        _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        sys.exit(f"{' '.join(command)}\nended with status {status}: {said.read_text()[-2000:]}")
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / GIB


def rate(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    return float(found.group(1).replace(",", "")) if found else float("nan")


def measure(data: Path, folder: Path, rows: int, memory: str) -> common.Measured:
    """Fit one epoch, then score."""
    model, said = folder / "model.diabolo", folder / "said.txt"
    fit, fit_cpu, fit_peak = whole_process(
        ["fit", str(data), "-o", str(model), "--epochs", "1", "--memory", memory, "--cache", str(folder)], said
    )
    text = said.read_text()
    print(text.rstrip(), flush=True)
    score, score_cpu, score_peak = whole_process(
        ["score", str(model), str(data), "-o", str(folder / "scores.parquet")], said
    )
    print(said.read_text().rstrip(), flush=True)
    import pyarrow.parquet as pq

    if pq.ParquetFile(folder / "scores.parquet").metadata.num_rows != rows:
        sys.exit(f"{rows} rows are not {pq.ParquetFile(folder / 'scores.parquet').metadata.num_rows} scores")
    return {
        "rows": rows,
        "fit_seconds": fit,
        "score_seconds": score,
        "fit_peak_gib": fit_peak,
        "score_peak_gib": score_peak,
        "caching_rows_per_s": rate(r"cached in [\d.]+ s, ([\d,]+) rows/s", text),
        "training_rows_per_s": rate(r"epoch +1 .* ([\d,]+) rows/s", text),
        "fit_rows_per_s": rows / fit,
        "score_rows_per_s": rows / score,
        "fit_rows_per_cpu_s": rows / fit_cpu,
        "score_rows_per_cpu_s": rows / score_cpu,
    }


def main() -> None:
    parser = common.parser(__doc__, pairs=1)
    parser.add_argument("--gigabytes", type=float, default=20.0, help="size of the Parquet files (default: 20)")
    parser.add_argument("--folder", help="where to put them, and as much again (default: the temporary one)")
    parser.add_argument("--rows", type=int, default=ROWS, help=f"rows of a file (default: {ROWS:,})")
    parser.add_argument("--memory", default="1GiB", help="the option of diabolo fit (default: 1GiB)")
    options = parser.parse_args()
    print(common.machine_line())
    size, rows = options.gigabytes * 1e9, options.rows
    if options.quick:
        size, rows, options.memory = 3e7, 1 << 16, "16MiB"
    folder = Path(tempfile.mkdtemp(prefix="diabolo-large-", dir=options.folder))
    try:
        data = folder / "data"
        data.mkdir()
        started = time.perf_counter()
        files = make_files(data, size, rows)
        made = sum(f.stat().st_size for f in files)
        print(
            f"{len(files)} files, {made / 1e9:.2f} GB, {len(files) * rows:,} rows × {common.COLUMNS} columns, ", end=""
        )
        print(f"made in {time.perf_counter() - started:.0f} s")
        found = {
            "from disk": measure(data, folder, len(files) * rows, options.memory),
            "in memory": measure(files[0], folder, rows, options.memory),
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    disk, memory = found["from disk"], found["in memory"]
    for verb in ("fit", "score"):
        peak = disk[f"{verb}_peak_gib"]
        print(f"  {verb}: {disk[f'{verb}_seconds']:,.0f} s, peak of resident memory {peak:.2f} GiB", end="")
        print(f"   target ≤ {LIMIT:g} GiB: {'reached' if peak <= LIMIT else 'missed'}", end="")
        print(f"   (one file of {memory['rows']:,} rows, in memory: {memory[f'{verb}_peak_gib']:.2f} GiB)")
    print(f"  caching: {disk['caching_rows_per_s']:,.0f} rows/s")
    for what in ("training", "fit", "score"):
        a, b = disk[f"{what}_rows_per_s"], memory[f"{what}_rows_per_s"]
        print(f"  {what}: {a:,.0f} rows/s, in memory {b:,.0f} rows/s, ratio {a / b:.2f}")
    for what in ("fit", "score"):
        a, b = disk[f"{what}_rows_per_cpu_s"], memory[f"{what}_rows_per_cpu_s"]
        print(f"  {what}, by processor time: {a:,.0f} rows/s, in memory {b:,.0f} rows/s, ratio {a / b:.2f}")
    common.write_json(options.json, "large", options, found)


if __name__ == "__main__":
    main()
