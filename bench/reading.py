"""Peak memory of reading large files: a CSV and a Parquet of about 500 MB, made here and removed again.

    python bench/reading.py [--megabytes 500] [--folder /tmp]

Each work is a process of its own: the imports alone, all batches one after another, `diabolo info`, and
`diabolo encode` by a small model.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--folder", type=Path, help="where the files lie meanwhile")
    given = parser.parse_args()
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
