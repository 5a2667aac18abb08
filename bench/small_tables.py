"""Whole files of small real tables that scikit-learn and statsmodels ship: diabolo's beside xz -9 of the CSV.

Each table is written as CSV, compressed without loss by the program itself, given back, and compared cell by cell.
Every byte of a file counts. `python bench/compress.py --small` runs this alone (it needs statsmodels).
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

#: scikit-learn's and statsmodels' tables of numbers and words, named before anything was measured.
SKLEARN = ("breast_cancer", "digits", "wine", "diabetes")
STATSMODELS = ("fair", "randhie", "anes96", "star98", "modechoice", "macrodata")


def tables():
    """(name, frame) of each."""
    import statsmodels.api
    from sklearn import datasets

    for name in SKLEARN:
        given = {"scaled": False} if name == "diabetes" else {}
        yield name, getattr(datasets, f"load_{name}")(as_frame=True, **given).frame
    for name in STATSMODELS:
        yield name, getattr(statsmodels.api.datasets, name).load_pandas().data


def run(*words):
    """CPU seconds of a verb, its start among them."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run([sys.executable, "-m", "diabolo", *map(str, words)], check=True, capture_output=True, text=True)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def main() -> None:
    print("| table | rows × columns | CSV | gzip -9 | bz2 -9 | xz -9 | diabolo | of the least | CPU seconds |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    wins = total = 0
    for name, frame in tables():
        with tempfile.TemporaryDirectory() as folder:
            csv, model, dbl, back = (Path(folder, n) for n in ("t.csv", "m.diabolo", "t.dbl", "back.csv"))
            frame.to_csv(csv, index=False)
            data = csv.read_bytes()
            run("fit", csv, "-o", model, "--only", "main", "-q", "--epochs", 1)
            seconds = run("compress", model, csv, "-o", dbl, "--no-verdict")
            run("decompress", dbl, "-o", back)
            pd.testing.assert_frame_equal(pd.read_csv(csv), pd.read_csv(back), check_dtype=False, check_exact=True)
            rivals = [len(gzip.compress(data, 9)), len(bz2.compress(data, 9)), len(lzma.compress(data, preset=9))]
            ours = dbl.stat().st_size
        wins, total = wins + (ours < rivals[2]), total + 1
        sizes = " | ".join(f"{n:,}" for n in (len(data), *rivals, ours))
        shape = f"{len(frame):,} × {frame.shape[1]}"
        print(f"| {name} | {shape} | {sizes} | {ours / min(rivals):.2f} | {seconds:.1f} |", flush=True)
    print(f"\nsmaller than xz -9 of the CSV on {wins} of {total}")


if __name__ == "__main__":
    main()
