"""TabularARGN (Tiwald et al. 2025, arXiv:2501.12012), the package mostlyai-engine's, for `generate.py --argn`.

It runs by the interpreter of an environment of its own, which needs no diabolo:

    python -m venv ARGN && ARGN/bin/pip install mostlyai-engine
    ARGN/bin/python bench/argn.py TRAIN.parquet ROWS SEED MINUTES OUT.parquet

Settings are the package's defaults, but for the protection of rare values, which is off unless --protect: it takes
rare levels and the ends of columns away, which a judge would see. Prints the seconds of the fit and of the draw.
"""

from __future__ import annotations

import argparse
import json
import os
import time

import pandas as pd


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("train")
    options.add_argument("rows", type=int)
    options.add_argument("seed", type=int)
    options.add_argument("minutes", type=float, help="of training at most")
    options.add_argument("out")
    options.add_argument("--protect", action="store_true", help="rare values protected, as the package has it")
    options.add_argument("--threads", type=int, default=1)
    args = options.parse_args()

    import torch
    from mostlyai.engine import TabularARGN

    torch.set_num_threads(args.threads)
    train = pd.read_parquet(args.train)
    began = time.perf_counter()
    model = TabularARGN(
        max_training_time=args.minutes, value_protection=args.protect, random_state=args.seed, device="cpu"
    )
    model.fit(train)
    fitted, busy = time.perf_counter(), sum(os.times()[:4])
    drawn = model.sample(args.rows)[list(train)]
    drawn.to_parquet(args.out, index=False)
    seconds = {"fit": fitted - began, "fit_processor": busy, "draw": time.perf_counter() - fitted}
    print(json.dumps({k: round(v, 1) for k, v in seconds.items()}))


if __name__ == "__main__":
    main()
