"""A card beside the processor: agreement, training, scores of resident rows and of a file, in under ten minutes.

Wherever a CUDA device is found, `python bench/gpu.py` measures all of it in one run. Each block prints at once and has
a limit of its own, so that a run that is cut short has still said something. Rivals: a plain PyTorch loop of the same
network and loss, and brute-force neighbors (`torch.cdist` and `topk`) over the same stored rows. Without a card it ends
with one line and status 2; `--device cpu --rows 2000` shows that the script runs, and says nothing of a card.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import common
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from common import COLUMNS, HIDDEN, LATENT

from diabolo import AnomalyDetector, Autoencoder, VariationalAutoencoder
from diabolo.config import build_config
from diabolo.data.encoding import Encoded
from diabolo.data.sources import Rows, encoded_rows
from diabolo.data.table import as_table
from diabolo.detect.choice import applicable, check_score
from diabolo.detect.dataset import Counts, RowScores, scored
from diabolo.detect.reference import Reference
from diabolo.detect.scores.auto import views_of
from diabolo.detect.scoring import score_table
from diabolo.detect.tiling import wide_rows
from diabolo.device import choose_device
from diabolo.errors import ConfigError
from diabolo.fitted.prepare import prepare
from diabolo.model.autoencoder import Model
from diabolo.threads import threads_for
from diabolo.train.engine import Engine
from diabolo.train.loop import run_epoch
from diabolo.train.schedule import Schedule, schedule_of
from diabolo.train.state import State
from diabolo.train.step import Recorded, Step, cuda_graph, side_stream

#: Seconds of each block, and of all.
LIMITS = {"parity": 60, "bits": 60, "training": 150, "resident": 120, "stream": 120}
WHOLE = 570
BATCHES, MEMBERS = (1_024, 4_096, 16_384, 65_536), (1, 4, 16)
#: Seconds of one measurement at least, and how often it is taken.
LEAST, TIMES = 0.3, 3
NUMBERS: dict[str, Any] = {}


class Late(Exception):
    """The block has used its time."""


class Block:
    """A part of the run: what it says, and how long it may take."""

    def __init__(self, name: str, device: str, limit: float, least: float) -> None:
        self.name, self.device, self._least = name, device, least
        self._end = time.perf_counter() + limit

    def say(self, what: str, value: Any, text: str) -> None:
        NUMBERS[f"{self.name}: {what}"] = value
        print(f"{self.name:9s} {what:48s} {text}", flush=True)

    def check(self) -> None:
        if time.perf_counter() > self._end:
            raise Late

    def rate(self, what: str, rows: int, call: Callable[[], Any]) -> float:
        """Rows per second of a call, the middle of three, with their spread; the first call is not counted."""
        self.check()
        call()
        found = []
        for _ in range(TIMES):
            self.check()
            wait(self.device)
            begun, calls = time.perf_counter(), 0
            while calls == 0 or time.perf_counter() - begun < self._least:
                call()
                wait(self.device)
                calls += 1
            found.append(rows * calls / (time.perf_counter() - begun))
        middle = float(np.median(found))
        self.say(what, found, f"{middle:12.4g} rows/s  ({min(found):.4g} to {max(found):.4g})")
        return middle


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def rows_of(n: int, seed: int = 0) -> np.ndarray:
    """Rows [n, 57] on a bent sheet of three dimensions, with noise."""
    rng = np.random.default_rng(seed)
    turn, z = np.random.default_rng(1).normal(size=(6, COLUMNS)), rng.normal(size=(n, 3))
    x = np.concatenate([z, np.tanh(z)], axis=1) @ turn + 0.3 * rng.normal(size=(n, COLUMNS))
    return x.astype(np.float32)


def detector_of(kind: Callable[..., Autoencoder], x: np.ndarray) -> AnomalyDetector:
    epochs = 2 if len(x) > 5_000 else 1
    return AnomalyDetector(kind(latent_dim=LATENT, hidden=HIDDEN, epochs=epochs, device="cpu")).fit(x)


def placed(detector: AnomalyDetector, device: str) -> Reference:
    return detector.calibrated_.reference.on(device).placed


# ── the blocks ────────────────────────────────────────────────────────────────────────────────────


def parity(block: Block, n: int) -> None:
    """Scores of the card and of the processor, and how many verdicts differ at 1 %."""
    for kind in (Autoencoder, VariationalAutoencoder):
        detector = detector_of(kind, rows_of(min(n, 20_000)))
        own, values = detector.calibrated_.reference, rows_of(n, 5)
        for name in applicable(own):
            block.check()
            some = values[: min(n, 20_000)] if check_score(own, name).costly else values
            here = score_table(own, some, [name])[name]
            there = score_table(own.on(block.device), some, [name])[name]
            off = float(np.max(np.abs(there - here) / np.maximum(np.abs(here), 1e-6)))
            limit = np.quantile(here, 0.99)
            turned = int(((here > limit) != (there > limit)).sum())
            what = f"{kind.__name__} {name}"
            block.say(what, [off, turned], f"off by {off:8.1e} at most, {turned} of {len(some):,} verdicts differ")


def bits(block: Block, n: int) -> None:
    """Two fits by one seed: the same weights?"""
    x = rows_of(n)
    weights = []
    for _ in range(2):
        block.check()
        ae = VariationalAutoencoder(latent_dim=LATENT, hidden=HIDDEN, epochs=2, device=block.device).fit(x)
        weights.append(ae.model_.store.flat)
    same = bool(torch.equal(*weights))
    off = float((weights[0] - weights[1]).abs().max())
    block.say("two fits by one seed", [same, off], "the same bits" if same else f"off by {off:.1e}")


def prepared(x: np.ndarray, device: str) -> tuple[Model, Rows]:
    """A model, and the rows of a table on a device; once for all fits of it, as it takes a core seconds."""
    model = prepare(as_table(x), build_config({"latent_dim": LATENT, "hidden": HIDDEN})).model
    return model, encoded_rows(model.encoding, x, None, np.arange(len(x))).to(device)


def trained(how: str, device: str, members: int, batch: int, table: tuple[Model, Rows]) -> Callable[[], None]:
    """One epoch of diabolo's steps, as they are or recorded."""
    found, rows = table
    config = dataclasses.replace(found.config, batch_size=batch)
    model = Model(config, found.encoding, (members,) if members > 1 else ())
    model.to(device)
    steps = schedule_of(model.config, len(rows))
    steps = Schedule(**{**vars(steps), "epochs": 1_000})
    engine = Engine(model, model.config)
    state = State(model, engine)
    step: Step = Step(engine, model, state)
    if how == "graph":
        step = Recorded(engine, model, state, steps.rows_per_step, cuda_graph, apart=side_stream)

    def epoch() -> None:
        run_epoch(step, rows, steps, None)
        state.end_epoch(None)  # type: ignore[arg-type]

    return epoch


def plain_loop(device: str, batch: int, x: np.ndarray) -> Callable[[], None]:
    """An epoch of the same network, loss, batch and optimizer as people write it."""
    widths = [COLUMNS, *HIDDEN, LATENT, *HIDDEN[::-1], COLUMNS]
    layers: list[torch.nn.Module] = []
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        layers.append(torch.nn.Linear(a, b))
        if i not in (len(HIDDEN), len(widths) - 2):
            layers.append(torch.nn.ReLU())
    net = torch.nn.Sequential(*layers).to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    data = torch.from_numpy((x - x.mean(0)) / x.std(0)).to(device)

    def epoch() -> None:
        order = torch.randperm(len(data), device=device)
        for start in range(0, len(data), batch):
            rows = data[order[start : start + batch]]
            loss = 0.5 * (net(rows) - rows).square().sum(-1).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
            optimizer.step()

    return epoch


def training(block: Block, n: int) -> None:
    """Rows times epochs per second: on a core, on the card as it is and recorded, and a plain loop."""
    x = rows_of(n)
    core = x[: min(n, 100_000)]
    with threads_for(0):
        one = block.rate("one core, batch 1024", len(core), trained("steps", "cpu", 1, 1_024, prepared(core, "cpu")))
    best, table = 0.0, prepared(x, block.device)
    for batch in [b for b in BATCHES if b <= max(n, BATCHES[0])]:
        for members in MEMBERS:
            for how in ("steps", "graph") if block.device == "cuda" else ("steps",):
                what = f"{how}, batch {batch}, {members} members"
                speed = block.rate(what, len(x), trained(how, block.device, members, batch, table))
                best = max(best, speed if batch == 16_384 and members == 1 else 0.0)
        block.rate(f"plain PyTorch loop, batch {batch}", len(x), plain_loop(block.device, batch, x))
    if best:
        block.say("batch 16384 over one core", best / one, f"{best / one:.1f} times; the target is 30")


def peak(device: str) -> float:
    """Multiplications and additions per second of a large product in single precision."""
    side = 8_192 if device == "cuda" else 512
    a = torch.randn(side, side, device=device)
    a @ a  # the first one loads the library
    wait(device)
    begun = time.perf_counter()
    for _ in range(10):
        a @ a
    wait(device)
    return 10 * 2 * side**3 / (time.perf_counter() - begun)


def resident(block: Block, n: int) -> None:
    """Scores of rows that lie on the card: nll, the default, and their rivals."""
    detector = detector_of(Autoencoder, rows_of(min(n, 40_000)))
    there = placed(detector, block.device)
    size = wide_rows(there.model) if block.device != "cpu" else min(n, 4_096)
    count = max(size, n // size * size)
    x = torch.from_numpy(rows_of(size, 7)).to(block.device).repeat(count // size, 1)
    views = views_of(there)
    cells, stored = views.table.shape  # type: ignore[union-attr]
    operations, most = 2 * cells * stored, peak(block.device)
    block.say("fp32 peak of a large product", most, f"{most / 1e12:.3g} TFLOP/s")

    def passes(name: str) -> Callable[[], None]:
        score = check_score(there, name)

        def call() -> None:
            with torch.inference_mode():
                for part in x.split(size):
                    rows = there.model.encoding.encode(part)
                    rows.count = size
                    score(there, rows)

        return call

    for tf32 in (False, True) if block.device == "cuda" else (False,):
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        word = "tf32" if tf32 else "fp32"
        speed = block.rate(f"nll {word}", count, passes("nll"))
        speed = block.rate(f"default {word}", count, passes("auto"))
        if not tf32:
            share = speed * operations / most
            block.say("default: share of that peak", share, f"{100 * share:.0f} %, {operations:,} operations a row")
    torch.set_float32_matmul_precision("highest")
    model = there.model

    def plain() -> None:
        with torch.inference_mode():
            for part in x.split(size):
                z = (part - 0.1) * 0.9
                out = model.decode(model.posterior(Encoded(z, largest=1.0)).mean)
                (out - z).square().sum(-1)

    block.rate("plain forward and squared error", count, plain)
    known = torch.from_numpy(rows_of(stored)).to(block.device)

    def brute() -> None:
        for part in x[: min(count, 65_536)].split(4_096):
            torch.cdist(part, known).topk(5, largest=False).values.mean(-1)

    block.rate("brute-force neighbors, cdist and topk", min(count, 65_536), brute)


def stream(block: Block, n: int) -> None:
    """A Parquet file to scores, with pinned buffers and without."""
    detector = detector_of(Autoencoder, rows_of(min(n, 40_000)))
    there = detector.calibrated_.on(block.device)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.parquet")
        names = detector.calibrated_.reference.model.encoding.schema.names
        pq.write_table(pa.table(dict(zip(names, rows_of(n, 9).T, strict=True))), path, row_group_size=1 << 18)
        for pinned in (True, False) if block.device == "cuda" else (True,):
            with unpinned() if not pinned else contextlib.nullcontext():
                for name in ("nll", "auto"):
                    rows = RowScores(there.reference.model, None, name, device=block.device)
                    rows.reference.stored = there.reference.stored

                    def call(rows: RowScores = rows) -> None:
                        _, batches = scored(rows, path, Counts(), lambda _: None)
                        for _ in batches:
                            pass

                    block.rate(f"{name} of a file, {'pinned' if pinned else 'not pinned'}", n, call)


@contextlib.contextmanager
def unpinned() -> Iterator[None]:
    """Buffers that the card cannot copy from by itself."""
    from diabolo.staging import Cuda

    before = Cuda.pinned
    Cuda.pinned = lambda self, cells, dtype: torch.empty(cells, dtype=dtype)  # type: ignore[method-assign]
    try:
        yield
    finally:
        Cuda.pinned = before  # type: ignore[method-assign]


#: Rows of each block by default.
BLOCKS: dict[str, tuple[Callable[[Block, int], None], int]] = {
    "parity": (parity, 50_000),
    "bits": (bits, 200_000),
    "training": (training, 1_000_000),
    "resident": (resident, 10_000_000),
    "stream": (stream, 2_000_000),
}


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to see that the script runs (default: cuda)")
    parser.add_argument("--rows", type=int, help="rows of every block, for a look (default: each block's own)")
    parser.add_argument("--least", type=float, default=LEAST, help=f"seconds of a measurement (default: {LEAST})")
    parser.add_argument("--only", choices=list(BLOCKS), action="append", help="these blocks alone")
    asked = parser.parse_args()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    try:
        device = choose_device(asked.device)
    except ConfigError as error:
        print(f"bench/gpu.py: {error}; nothing was measured: run it where there is a card", file=sys.stderr)
        return 2
    print(common.machine_line())
    print(
        f"# {torch.cuda.get_device_name() if device == 'cuda' else 'no card: nothing here is said of one'}", flush=True
    )
    begun, failed = time.perf_counter(), 0
    for name in asked.only or BLOCKS:
        call, rows = BLOCKS[name]
        left = WHOLE - (time.perf_counter() - begun)
        block = Block(name, device, min(LIMITS[name], left), asked.least)
        try:
            call(block, asked.rows or rows)
        except Late:
            print(f"{name:9s} its time is over; what is above stands", flush=True)
        except Exception as error:  # whatever one block meets, the others are measured
            failed += 1
            print(f"{name:9s} failed: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}", flush=True)
            traceback.print_exc()
        if asked.json:
            Path(asked.json).write_text(json.dumps({"machine": common.machine(), "numbers": NUMBERS}, indent=1))
    print(f"# {time.perf_counter() - begun:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
