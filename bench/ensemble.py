"""What M members cost that are trained as one batch, in steps of one model trained alone, by processor time.

Wall time beside other work says as much of that work. Both run diabolo's training loop on rows that are encoded
already, without stop rows, so that the time is that of steps. A ratio of M would be M models one after the other.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import common
import numpy as np
import torch
from common import Measured

from diabolo.config import build_config
from diabolo.data.scaling import fit_encoding
from diabolo.data.schema import infer_schema
from diabolo.data.sources import Rows
from diabolo.data.table import as_table
from diabolo.model.autoencoder import Model
from diabolo.model.checks import resolve
from diabolo.train.loop import fit

#: Columns, method and settings of the networks.
NETWORKS: dict[str, tuple[int, str, dict[str, Any]]] = {
    "denoiser, three layers of 96, 32 columns": (32, "denoising", {"hidden": (96,), "latent_dim": 96}),
    "default VAE, 56 columns": (56, "vae", {}),
}
#: Ratios that are promised: batch size up to which, for eight members, and the ratio.
SMALL, BAR, ANY = 64, 3.0, 8.0


def rival(network: str, members: int, batch: int, steps: int) -> Callable[[int], Measured]:
    columns, method, settings = NETWORKS[network]
    config = build_config({**settings, "batch_size": batch, "epochs": 1, "stop_fraction": 0.0}, method)
    rows = max(batch * steps, 4 * batch)
    table = as_table(common.correlated(rows, columns=columns))
    schema = infer_schema(table.values, table.names, table.dtypes, config)
    encoding = fit_encoding(table.values, schema, None, config)
    encoded = encoding.encode(torch.from_numpy(table.values)).clipped(encoding.clip)
    train, none = Rows(encoded, None), Rows(encoded.rows(slice(0, 0)), None)
    config = resolve(config, columns, encoding.width)

    def run(_: int) -> Measured:
        model, marks = Model(config, encoding, (members,) if members > 1 else ()), [time.process_time()]
        # The epoch alone: what follows describes the fitted model, once per fit.
        epoch = fit(model, train, none, lambda _: marks.append(time.process_time()))[-1]
        return {"rows": rows, "rows_per_s": rows / epoch.seconds, "seconds": epoch.seconds, "cpu": marks[1] - marks[0]}

    return run


def main() -> None:
    parser = common.parser(__doc__, pairs=5)
    parser.add_argument("--members", default="1,2,4,8,16", help="sizes of ensembles (default: 1,2,4,8,16)")
    parser.add_argument("--batches", default="16,64,256,1024", help="batch sizes (default: 16,64,256,1024)")
    options = parser.parse_args()
    pairs = 1 if options.quick else options.pairs
    sizes = [1, *(m for m in map(int, options.members.split(",")) if m != 1)]
    print(common.machine_line())
    print("processor time of a step of M members / of one model alone")
    results: dict[str, Any] = {}
    for network in NETWORKS:
        print(f"\n{network}")
        for batch in map(int, options.batches.split(",")):
            steps = 20 if options.quick else max(24, 6400 // batch)
            rivals = {str(m): rival(network, m, batch, steps) for m in sizes}
            found = common.rounds(rivals, pairs)
            results[f"{network}, batch {batch}"] = found
            alone, wall = common.column(found["1"], "cpu"), common.column(found["1"], "seconds")
            print(f"  batch {batch}: {1e3 * np.median(alone) / steps:.2f} ms of processor time a step alone")
            for m in sizes[1:]:
                ratio = common.column(found[str(m)], "cpu") / alone
                line = f"    M = {m:<3} {common.spread(ratio)}, by wall time "
                line += f"{np.median(common.column(found[str(m)], 'seconds') / wall):.2f}"
                if m == 8:
                    bar = BAR if batch <= SMALL else ANY
                    line += f"   target ≤ {bar:g}: {'reached' if np.median(ratio) <= bar else 'missed'}"
                print(line, flush=True)
    common.write_json(options.json, "ensemble", options, results)


if __name__ == "__main__":
    sys.exit(main())
