"""CPU seconds and peak memory of `info` and a default fit of small tables, and of what they import.

    python bench/small_fits.py FILE ... [--pairs 5]

Each is a process of its own. The imports that a fit cannot do without run in the same rounds, so that a busy machine
slows them all alike. One unrecorded round comes first, which writes Python's bytecode, as an installed package has it.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

IMPORTS = {"import torch": "import torch", "and scikit-learn's base": "import torch, sklearn.base"}


def spent(environment: dict[str, str], *words: object) -> tuple[float, float]:
    """CPU seconds, and peak MB of the largest process until now."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *map(str, words)], check=True, capture_output=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, after.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--pairs", type=int, default=5, help="rounds (default: 5)")
    given = parser.parse_args()
    peak = 0.0
    taken: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        unset = "PYTHONDONTWRITEBYTECODE"
        environment = {k: v for k, v in os.environ.items() if k != unset} | {
            "PYTHONPYCACHEPREFIX": f"{folder}/pyc",
            "OMP_NUM_THREADS": "1",
        }
        works: dict[str, tuple[object, ...]] = {name: ("-c", code) for name, code in IMPORTS.items()}
        fit = ("-m", "diabolo", "fit", "-o", f"{folder}/m.diabolo", "-q")
        works |= {f"fit {f.name}, one epoch": (*fit, f, "--epochs", 1) for f in given.files[:1]}
        for f in given.files:
            works |= {f"info {f.name}": ("-m", "diabolo", "info", f), f"fit {f.name}": (*fit, f)}
        for i in range(given.pairs + 1):
            for name, words in works.items():
                seconds, peak = spent(environment, *words)
                if i:
                    taken.setdefault(name, []).append(seconds)
    base = np.array(taken["import torch"])
    print("| work | CPU seconds, median [least–most] | of `import torch` in the same round |\n|---|---|---|")
    for name, seconds in taken.items():
        low, middle, high = np.quantile(seconds, [0, 0.5, 1])
        print(f"| {name} | {middle:.2f} [{low:.2f}–{high:.2f}] | {np.median(np.array(seconds) / base):.2f} |")
    print(f"peak memory of the largest: {peak:.0f} MB")


if __name__ == "__main__":
    main()
