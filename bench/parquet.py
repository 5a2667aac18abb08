"""Parquet to Parquet: `diabolo score MODEL DATA -o OUT.parquet` as a whole process on one core.

Two files of different length give a slope, rows/s without the start-up, and the peak of resident memory. The
rival is the script that one would write by hand: read in batches, scale, forward, mean squared error, write
row and score (this file with --by-hand); it writes no p-value, verdict or reason, which diabolo does.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import common
import numpy as np
import torch

MIB = 2**20


def make_table(path: Path, rows: int, row_group: int) -> None:
    """57 float32 columns, in an own process so that this one stays small."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [f"c{i:02d}" for i in range(common.COLUMNS)]
    schema = pa.schema([(n, pa.float32()) for n in names])
    with pq.ParquetWriter(path, schema) as writer:
        for i, start in enumerate(range(0, rows, row_group)):
            x = common.correlated(min(row_group, rows - start), seed=i)
            writer.write_table(pa.table([pa.array(np.ascontiguousarray(c)) for c in x.T], schema=schema))


def fit_models(data: Path, folder: Path, main_only: bool) -> None:
    """A detector's file, or one of the autoencoder alone, and the hand-written network's."""
    import pyarrow.parquet as pq

    from diabolo import AnomalyDetector, Autoencoder

    table = next(pq.ParquetFile(data).iter_batches(20_000)).to_pandas()
    ae = Autoencoder(latent_dim=common.LATENT, hidden=common.HIDDEN, epochs=3)
    fitted = ae.fit(table) if main_only else AnomalyDetector(ae, score="mse").fit(table)
    fitted.save(folder / "model.diabolo")
    torch.manual_seed(0)
    torch.save(common.network().state_dict(), folder / "plain.pt")


def by_hand(model: Path, data: Path, out: Path) -> None:
    """The script that one would write without a library."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    net = common.network()
    net.load_state_dict(torch.load(model, weights_only=True))
    schema, at = pa.schema([("row", pa.int64()), ("score", pa.float64())]), 0
    mean, std = torch.zeros(common.COLUMNS), torch.ones(common.COLUMNS)
    with torch.inference_mode(), pq.ParquetFile(data) as file, pq.ParquetWriter(out, schema) as writer:
        for batch in file.iter_batches(65_536):
            x = torch.from_numpy(np.stack([c.to_numpy() for c in batch.columns], axis=1))
            x = (x - mean) / std
            scores = [(net(part) - part).square().mean(1) for part in x.split(4096)]
            score = torch.cat(scores).double().numpy()
            writer.write_batch(pa.record_batch([np.arange(at, at + len(score)), score], schema=schema))
            at += len(score)


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def whole_process(command: list[str], core: int | None) -> tuple[float, float, float]:
    """Run it pinned to a core; seconds, processor seconds, and the peak of resident memory in MiB.

    The peak is the kernel's high-water mark while the process lives: that of `getrusage` would start at the
    size of this process, from which the child is forked.
    """

    def pin() -> None:
        if core is not None:
            os.sched_setaffinity(0, {core})

    peak, used, started = 0.0, processor_seconds(), time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=pin)
    while process.poll() is None:
        peak = max(peak, resident_peak(process.pid))
        time.sleep(0.01)
    seconds = time.perf_counter() - started
    if process.returncode:
        sys.exit(f"{' '.join(command)}\nended with {process.returncode}: {process.stderr.read().decode()[-2000:]}")
    return seconds, processor_seconds() - used, peak


def resident_peak(pid: int) -> float:
    try:
        with open(f"/proc/{pid}/status") as handle:
            return next((int(line.split()[1]) / 1024 for line in handle if line.startswith("VmHWM")), 0.0)
    except OSError:  # it has just ended, or this is no Linux
        import psutil

        try:
            return psutil.Process(pid).memory_info().rss / MIB
        except psutil.Error:
            return 0.0


def rival(build: Callable[[Path, Path], list[str]], files: list[Path], sizes: list[int], core: int | None, out: Path):
    def run(_: int) -> common.Measured:
        (short, cpu_short, _), (long, cpu_long, peak) = (whole_process(build(f, out), core) for f in files)
        import pyarrow.parquet as pq

        written = pq.ParquetFile(out).metadata.num_rows
        if written != sizes[1]:
            sys.exit(f"{out} has {written} rows of {sizes[1]}")
        return {
            "seconds_short": short,
            "seconds_long": long,
            "rows_per_s": (sizes[1] - sizes[0]) / (long - short),
            "rows_per_cpu_s": (sizes[1] - sizes[0]) / (cpu_long - cpu_short),
            "whole_rows_per_s": sizes[1] / long,
            "peak_mib": peak,
        }

    return run


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--rows", default="1000000,5000000", help="short and long file (default: 1000000,5000000)")
    parser.add_argument("--row-group", type=int, default=2**20, help="rows per row group (default: 1,048,576)")
    parser.add_argument("--main-only", action="store_true", help="a model file without a detector")
    parser.add_argument("--score", help="score to compute (default: mse for a detector, else the model's own)")
    parser.add_argument("--core", type=int, help="core to pin to (default: the last one)")
    parser.add_argument("--folder", help="where to put the files, some 280 bytes a row (default: the temporary one)")
    parser.add_argument("--by-hand", nargs=3, metavar=("MODEL", "DATA", "OUT"), help="run the rival's script")
    parser.add_argument("--make", nargs=2, metavar=("FILE", "ROWS"), help="only write such a table")
    options = parser.parse_args()
    if options.by_hand:
        return by_hand(*map(Path, options.by_hand))
    if options.make:
        return make_table(Path(options.make[0]), int(options.make[1]), options.row_group)
    options.pairs = min(options.pairs, 1) if options.quick else options.pairs
    sizes = [100_000, 500_000] if options.quick else [int(n) for n in options.rows.split(",")]
    core = None
    if hasattr(os, "sched_setaffinity") and common.THREADS == 1:
        core = options.core if options.core is not None else max(os.sched_getaffinity(0))
    print(common.machine_line())
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="diabolo-bench-") as name:
        folder, me = Path(name), [sys.executable, __file__, "--threads", str(common.THREADS)]
        files = [folder / f"{n}.parquet" for n in sizes]
        for file, rows in zip(files, sizes, strict=True):
            subprocess.run([*me, "--row-group", str(options.row_group), "--make", str(file), str(rows)], check=True)
        fit_models(files[0], folder, options.main_only)
        extra = ["--score", options.score] if options.score else []
        rivals = {
            "diabolo score": lambda data, out: [
                *(sys.executable, "-m", "diabolo", "score", str(folder / "model.diabolo"), str(data)),
                *("-o", str(out), *extra),
            ],
            "by hand": lambda data, out: [*me, "--by-hand", str(folder / "plain.pt"), str(data), str(out)],
        }
        print(f"\nParquet to Parquet, {sizes[0]:,} and {sizes[1]:,} × {common.COLUMNS} float32, core {core}")
        out = folder / "scores.parquet"
        runs = {n: rival(build, files, sizes, core, out) for n, build in rivals.items()}
        found = common.rounds(runs, options.pairs, warm_up=not options.quick)
    print("slope between the two files:")
    common.print_rates(found)
    print("slope by processor time, which other load on the core leaves alone:")
    common.print_rates(found, "rows_per_cpu_s")
    print("whole process, longer file:")
    common.print_rates(found, "whole_rows_per_s")
    for name, measured in found.items():
        print(f"  {name:<34} peak {common.spread(common.column(measured, 'peak_mib'), '{:,.0f}')} MiB resident")
    slope = float(np.median(common.column(found["diabolo score"], "rows_per_s")))
    peak = float(np.max(common.column(found["diabolo score"], "peak_mib")))
    print(f"  target ≥ 700,000 rows/s: {'reached' if slope >= 700_000 else 'missed'} ({slope:,.0f})")
    print(f"  target < 1,536 MiB: {'reached' if peak < 1536 else 'missed'} ({peak:,.0f})")
    common.print_ratio(found, "diabolo score", "by hand")
    common.write_json(options.json, "parquet", options, found)
    return None


if __name__ == "__main__":
    sys.exit(main())
