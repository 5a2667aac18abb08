"""The masked autoencoder's costs: a training step beside a plain PyTorch loop, and microseconds of a row.

The plain loop trains the same network on the same hidden cells: residual blocks of the same widths, one affine map out,
and, for each of 20 real columns, a Gaussian in normal scores whose groups are tilted, written with torch.nn, autograd
and torch.optim.AdamW(fused=True), without the linear part, validation or best weights. Pairs alternate, on one thread.
Then: conditionals of all 20 columns, the density by two orders, and draws, per row in a batch of 4,096.

    python bench/masked.py --fits    # instead: seconds of a default fit on each table of DIABOLO_DATA/adbench, beside
                                     # those of the VAE, the smallest table first
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from common import data_path, machine, parser

import numpy as np  # isort: skip
import torch
from torch import nn

COLUMNS, ROWS, WIDTH, CODE, GROUPS, BATCH = 20, 16_384, 128, 64, 32, 256


def table(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(7).normal(size=(5, COLUMNS))
    return np.tanh(rng.normal(size=(n, 5)) @ mixing) + 0.2 * rng.normal(size=(n, COLUMNS))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        h = x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt()
        return x + self.two(nn.functional.silu(self.one(h)))


def side(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, WIDTH), Block(), Block(), nn.Linear(WIDTH, outputs))


def plain_seconds(x: np.ndarray, steps: int) -> float:
    """Seconds of so many steps of the plain loop."""
    from scipy.stats import norm, rankdata

    torch.manual_seed(0)
    v = torch.tensor(norm.ppf((rankdata(x, axis=0) - 0.5) / len(x)), dtype=torch.float32)
    scaled = torch.tensor((x - x.mean(0)) / x.std(0), dtype=torch.float32)
    ends = torch.tensor(norm.ppf(np.arange(1, GROUPS) / GROUPS), dtype=torch.float32)
    group = torch.searchsorted(ends, v)
    net = nn.Sequential(side(COLUMNS * (3 + GROUPS), CODE), side(CODE, COLUMNS * (2 + GROUPS)))
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3, fused=True)
    began = time.perf_counter()
    for _ in range(steps):
        at = torch.randint(len(v), (BATCH,))
        b, s, g = v[at], scaled[at], group[at]
        seen = (torch.rand(BATCH, COLUMNS) > torch.rand(BATCH, 1)).float()
        one = nn.functional.one_hot(g, GROUPS) * seen.unsqueeze(-1)
        theta = net(torch.cat([s * seen, b * seen, seen, one.flatten(1)], 1))
        m, log_s = theta[:, :COLUMNS], theta[:, COLUMNS : 2 * COLUMNS].clamp(-5, 1.5)
        tilt = theta[:, 2 * COLUMNS :].reshape(BATCH, COLUMNS, GROUPS).tanh()
        t = (ends - m.unsqueeze(-1)) * (-log_s).exp().unsqueeze(-1)
        below = nn.functional.pad(nn.functional.pad(torch.special.ndtr(t), (1, 0)), (0, 1), value=1.0)
        total = ((below[..., 1:] - below[..., :-1]) * tilt.exp()).sum(-1).log()
        nll = total - tilt.gather(-1, g.unsqueeze(-1)).squeeze(-1) + 0.5 * ((b - m) * (-log_s).exp()) ** 2 + log_s
        hidden = 1 - seen
        loss = ((nll * hidden).sum(1) * COLUMNS / hidden.sum(1).clamp_min(1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.perf_counter() - began


def own_seconds(x: np.ndarray, steps: int) -> tuple[float, object]:
    """Seconds of so many steps of a fit: all of it but what a fit of one step takes too."""
    from diabolo import MaskedAutoencoder

    def fit(epochs: int):
        began = time.perf_counter()
        given = {"hidden": (WIDTH, WIDTH), "code_dim": CODE, "batch_size": BATCH, "stop_fraction": 0.0}
        ae = MaskedAutoencoder(epochs=epochs, patience=10_000, **given).fit(x)
        return time.perf_counter() - began, ae

    per_epoch = -(-len(x) // BATCH)
    short, _ = fit(1)
    long, ae = fit(1 + steps // per_epoch)
    return (long - short) * steps / (steps // per_epoch * per_epoch), ae


def fits(seconds: float) -> None:
    """Processor seconds of both on the normal rows of every table, until so many have gone in all."""
    from diabolo import MaskedAutoencoder, VariationalAutoencoder

    began, found = time.process_time(), []
    for path in sorted(data_path("adbench").glob("*.npz"), key=lambda p: p.stat().st_size):
        with np.load(path, allow_pickle=False) as data:
            x = data["X"][data["y"] == 0].astype(float)
        spent = []
        for cls in (MaskedAutoencoder, VariationalAutoencoder):
            start = time.process_time()
            cls(verbose=-1).fit(x)
            spent.append(time.process_time() - start)
        found.append(spent)
        masked, vae = spent
        print(
            f"| {path.stem} | {len(x):,} × {x.shape[1]} | {masked:.1f} | {vae:.1f} | {masked / vae:.1f} |", flush=True
        )
        if time.process_time() - began > seconds:
            break
    ratio = np.divide(*np.array(found).T)
    print(f"{len(found)} tables: median {np.median(found, axis=0).round(1)} s, ratio {np.median(ratio):.1f}")


def main() -> None:
    options = parser(__doc__, pairs=5)
    options.add_argument(
        "--fits", type=float, nargs="?", const=3600.0, help="seconds of default fits, this long at most"
    )
    args = options.parse_args()
    torch.set_num_threads(1)
    print(json.dumps(machine()))
    if args.fits:
        return fits(args.fits)
    x, steps = table(ROWS, 0), 64 if args.quick else 320
    ratios = []
    for pair in range(1 if args.quick else args.pairs):
        ours, ae = own_seconds(x, steps)
        plain = plain_seconds(x, steps)
        ratios.append(plain / ours)
        print(
            f"pair {pair}: {1e3 * ours / steps:.2f} ms a step, plain {1e3 * plain / steps:.2f}, ratio {ratios[-1]:.3f}"
        )
    print(f"step beside the plain loop: median {np.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")
    new = table(4096, 1)
    for name, call in (
        ("conditionals of 20 columns", lambda: ae.conditional(new)),
        ("their means", lambda: [law.mean() for law in ae.conditional(new).values()]),
        ("density, two orders", lambda: ae.nll(new)),
        ("a draw", lambda: ae.sample(4096, method="masked")),
    ):
        call()
        began = time.process_time()
        call()
        print(f"{name}: {1e6 * (time.process_time() - began) / 4096:.0f} µs a row")


if __name__ == "__main__":
    main()
