"""A fit by two processes beside one: seconds, loss curve and bits, of the same table in turn.

Each fit is the program itself, `diabolo fit ... --engine torchrun:2` and without. Seconds of training are what the
model file says of the fit, reading apart; wall seconds are all, with the start of every interpreter.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import common
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import diabolo

FILES, WORKERS = 4, 2


def written(folder: Path, rows: int) -> Path:
    """A folder of files of correlated columns."""
    data = folder / "data"
    data.mkdir()
    for k, part in enumerate(np.array_split(common.manifold(rows, 1), FILES)):
        pq.write_table(pa.table({f"x{i}": part[:, i] for i in range(part.shape[1])}), data / f"p{k}.parquet")
    return data


def fitted(data: Path, options: argparse.Namespace, engine: tuple[str, ...]) -> dict[str, Any]:
    """Wall seconds, seconds of training, losses and parameters of one fit."""
    out = data.parent / "m.diabolo"
    words = ["--method", "vae", "--hidden", options.hidden, "--only", "main", "--epochs", str(options.epochs), "-q"]
    words += ["--set", f"batch_size={options.batch}", "--memory", options.memory]
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "diabolo", "fit", data, "-o", out, *words, *engine], check=True, stdout=-3)
    wall = time.perf_counter() - begun
    model = diabolo.load(out)
    return {
        "wall": wall,
        "training": sum(e["seconds"] for e in model.history_),
        "losses": [e["validation"] for e in model.history_],
        "parameters": model.model_.store.flat.numpy().tobytes().hex(),
        "rows_per_s": options.rows * options.epochs / wall,
    }


def show(found: dict[str, list[dict[str, Any]]], options: argparse.Namespace) -> None:
    one, two = found["one process"], found["two processes"]
    print(
        f"{options.rows:,} rows x {common.COLUMNS} in {FILES} files, vae {options.hidden}, {options.epochs} epochs of "
        f"batches of {options.batch:,}, --memory {options.memory}, {len(one)} pairs"
    )
    for name, runs in found.items():
        for key in ("training", "wall"):
            print(f"  {name:<14} {key:<9} {common.spread(common.column(runs, key), '{:.1f}')} s")
    for key in ("training", "wall"):
        ratio = np.array([a[key] / b[key] for a, b in zip(one, two, strict=True)])
        print(f"  one / two, {key:<9} {common.spread(ratio)}   (2 would be all of it)")
    off = max(
        abs(b / a - 1) for x, y in zip(one, two, strict=True) for a, b in zip(x["losses"], y["losses"], strict=True)
    )
    print(f"  largest difference of a loss: {off:.2e}   target <= 1e-02: {'reached' if off <= 0.01 else 'missed'}")
    bits = len({run["parameters"] for run in two})
    print(f"  fits by two processes with other bits than the first: {bits - 1} of {len(two)}")
    print(f"  losses: {', '.join(f'{v:.3f}' for v in two[0]['losses'])}")


def main() -> None:
    parser = common.parser(__doc__, pairs=3)
    parser.add_argument("--rows", type=int, default=200_000, help="rows (default: 200,000)")
    parser.add_argument("--hidden", default="256,128", help="widths (default: 256,128)")
    parser.add_argument("--batch", type=int, default=4096, help="rows of a step (default: 4,096)")
    parser.add_argument("--epochs", type=int, default=3, help="epochs (default: 3)")
    parser.add_argument("--memory", default="1GiB", help="as of the program; 0 for caches on disk (default: 1GiB)")
    options = parser.parse_args()
    if options.quick:
        options.rows, options.epochs, options.pairs = 20_000, 2, min(options.pairs, 2)
    print(common.machine_line())
    with tempfile.TemporaryDirectory() as name:
        data = written(Path(name), options.rows)
        rivals = {
            "one process": lambda _: fitted(data, options, ()),
            "two processes": lambda _: fitted(data, options, ("--engine", f"torchrun:{WORKERS}")),
        }
        found = common.rounds(rivals, options.pairs, warm_up=False)
    show(found, options)
    common.write_json(options.json, "cluster_fit", options, found)


if __name__ == "__main__":
    main()
