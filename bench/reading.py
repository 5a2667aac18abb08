"""Peak memory of reading large files: a CSV and a Parquet of about 500 MB, made here and removed again.

    python bench/reading.py [--megabytes 500] [--folder /tmp]
    python bench/reading.py --pairs 9 --megabytes 150   # speed beside PyArrow and pandas

Each work is a process of its own: the imports alone, all batches one after another, `diabolo info`, and
`diabolo encode` by a small model. Of the speed, rivals read the same file in turn, in one process and one thread, and
each round gives a ratio of processor times.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

COLUMNS, ROWS = 12, 50_000
IMPORTS = "import diabolo.data.formats, pyarrow.parquet, pyarrow.csv"
BATCHES = """
import sys
from diabolo.data.formats import read_batches
print(sum(batch.num_rows for batch in read_batches(sys.argv[1])))
"""


def write(path: Path, size: int, seed: int = 0) -> None:
    """Normal numbers, until the file has that many bytes."""
    rng = np.random.default_rng(seed)
    schema = pa.schema([(f"c{i}", pa.float64()) for i in range(COLUMNS)])
    text = path.suffix == ".csv"
    with (pa.csv.CSVWriter if text else pa.parquet.ParquetWriter)(str(path), schema) as writer:
        while not path.exists() or path.stat().st_size < size:
            cells = rng.normal(size=(COLUMNS, ROWS)).round(6 if text else 15)
            writer.write_table(pa.table(dict(zip(schema.names, cells, strict=True)), schema=schema))


def peak(*words: object) -> tuple[float, float, str]:
    """Peak MB and CPU seconds of a process, which measures its own child, and what that printed."""
    code = (
        "import resource, subprocess, sys; r = subprocess.run(sys.argv[1:], capture_output=True, text=True);"
        "u = resource.getrusage(resource.RUSAGE_CHILDREN); print(u.ru_maxrss, u.ru_utime + u.ru_stime);"
        "print((r.stdout or r.stderr).strip().splitlines()[0] if r.stdout or r.stderr else ''); sys.exit(r.returncode)"
    )
    given = [sys.executable, "-c", code, sys.executable, *map(str, words)]
    told = subprocess.run(given, capture_output=True, text=True, check=True).stdout.splitlines()
    size, seconds = map(float, told[0].split())
    return size / 1024, seconds, told[1] if len(told) > 1 else ""


def readers(path: Path) -> dict[str, Callable[[], int]]:
    """Ways to read all rows of a file; each returns their number."""
    import pandas as pd

    from diabolo.data.formats import read_batches

    def of_text(types: dict[str, object] | None = None) -> int:
        options = pa.csv.ReadOptions(block_size=1 << 22, use_threads=False)
        more = pa.csv.ConvertOptions(column_types=types)
        with pa.csv.open_csv(path, read_options=options, convert_options=more) as reader:
            return sum(batch.num_rows for batch in reader)

    def of_parquet() -> int:
        with pa.parquet.ParquetFile(path) as file:
            return sum(batch.num_rows for batch in file.iter_batches(ROWS, use_threads=False))

    own = {"diabolo, batches": lambda: sum(batch.num_rows for batch in read_batches(path))}
    if path.suffix == ".csv":
        numbers = {f"c{i}": pa.float64() for i in range(COLUMNS)}
        return own | {
            "PyArrow, batches": of_text,
            "PyArrow, batches, types given": lambda: of_text(numbers),
            "PyArrow, whole": lambda: pa.csv.read_csv(path).num_rows,
            "pandas, whole": lambda: len(pd.read_csv(path)),
        }
    return own | {
        "PyArrow, batches": of_parquet,
        "PyArrow, whole": lambda: pa.parquet.read_table(path, use_threads=False).num_rows,
        "pandas, whole": lambda: len(pd.read_parquet(path)),
    }


def speed(path: Path, pairs: int) -> None:
    """Processor seconds of each way, and the ratio to this package's of each round."""
    ways = readers(path)
    if len({way() for way in ways.values()}) != 1:
        raise SystemExit(f"{path.name}: the ways do not agree on the number of rows")
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for i in range(pairs):
        for name in list(ways) if i % 2 == 0 else list(ways)[::-1]:
            begun = time.process_time()
            ways[name]()
            taken[name].append(time.process_time() - begun)
    own = np.array(taken["diabolo, batches"])
    for name, seconds in taken.items():
        low, middle, high = np.quantile(own / np.array(seconds), [0, 0.5, 1])
        print(
            f"| {path.suffix[1:]} | {path.stat().st_size / 1e6:.0f} | {name} | {np.median(seconds):.2f} "
            f"| {middle:.2f} [{low:.2f}–{high:.2f}] |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--folder", type=Path, help="where the files lie meanwhile")
    parser.add_argument("--pairs", type=int, help="rounds of speed, in place of memory")
    given = parser.parse_args()
    if given.pairs:
        pa.set_cpu_count(1)
        print("| file | MB | way | CPU seconds | diabolo's time of this |\n|---|---|---|---|---|", flush=True)
        with tempfile.TemporaryDirectory(dir=given.folder) as name:
            for suffix in ("csv", "parquet"):
                write(path := Path(name, f"t.{suffix}"), given.megabytes * 10**6)
                speed(path, given.pairs)
                path.unlink()
        return
    print("| file | MB | work | peak MB | CPU seconds |\n|---|---|---|---|---|", flush=True)
    print(f"| | | imports alone | {peak('-c', IMPORTS)[0]:.0f} | |", flush=True)
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        head, model = Path(name, "head.csv"), Path(name, "m.diabolo")
        write(head, 100_000)
        fit = ("fit", head, "-o", model, "-q", "--epochs", "1", "--only", "main")
        subprocess.run([sys.executable, "-m", "diabolo", *map(str, fit)], check=True, capture_output=True)
        for suffix in ("csv", "parquet"):
            path = Path(name, f"t.{suffix}")
            write(path, given.megabytes * 10**6)
            works = {
                "all batches": ("-c", BATCHES, path),
                "`info`": ("-m", "diabolo", "info", path),
                "`encode`": ("-m", "diabolo", "encode", model, path, "-o", Path(name, "z.parquet"), "-q"),
            }
            for work, words in works.items():
                most, seconds, _ = peak(*words)
                print(
                    f"| {suffix} | {path.stat().st_size / 1e6:.0f} | {work} | {most:.0f} | {seconds:.1f} |", flush=True
                )
            path.unlink()


if __name__ == "__main__":
    main()
